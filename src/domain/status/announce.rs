//! What the step from one status to the next announces. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::find;
use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::{ConditionType, EventReason, Reason},
        status::Child,
    },
    domain::{
        finding::{Finding, Problem, summarize},
        incident,
        memory::{Announcement, Incident, LockId, Memory},
    },
};

/// Puts into the outbox what the step from `previous` to `next` announces. To be called when `next` is about to be
/// written: what was never written was never said.
pub fn announce(
    previous: &CoordinatedWorkloadStatus,
    next: &CoordinatedWorkloadStatus,
    findings: &[Finding],
    memory: &mut Memory,
) {
    let speaker = Speaker {
        previous,
        generation: next.observed_generation,
    };
    for condition in &next.conditions {
        let Some(type_) = spelt(&condition.type_) else {
            continue;
        };
        speaker.transition(type_, condition, findings, memory);
    }
    let known = |uid: &str| previous.children.iter().any(|child| child.uid == uid);
    // Until a written status lists them: this one may be refused.
    memory.children.adopted.retain(|uid| !known(uid));
    let new = |child: &&Child| !known(&child.uid) && !memory.children.adopted.contains(&child.uid);
    for child in next.children.iter().filter(new) {
        memory.outbox.push(Announcement {
            reason: EventReason::ChildCreated,
            key: child.uid.clone(),
            note: format!("Created {} {}.", child.kind, child.name),
        });
    }
    let after = |type_| find(&next.conditions, type_);
    let before = |type_| find(&previous.conditions, type_);
    let was_rolling = before(ConditionType::Reconciling).is_some_and(|was| is(was, Reason::RollingOut));
    if was_rolling && after(ConditionType::Reconciling).is_none() && after(ConditionType::Stalled).is_none() {
        let note = "The Deployment runs the current template.";
        speaker.say(
            EventReason::RolloutComplete,
            before(ConditionType::Ready),
            note,
            memory,
        );
    }
    if let (Some(suspended), None) = (before(ConditionType::Suspended), after(ConditionType::Suspended)) {
        let note = "Lockstep works on this resource again.";
        speaker.say(EventReason::Resumed, Some(suspended), note, memory);
    }
    if let Some(incident) = &mut memory.incident {
        let joined = findings
            .iter()
            .filter(|finding| matches!(finding.problem, Problem::Lost(_) | Problem::Unheld { .. }));
        incident.locks.extend(joined.map(id));
    }
    let good = after(ConditionType::LocksHeld).is_some_and(|held| held.status == "True");
    if good {
        memory.said.clear();
        let was = before(ConditionType::LocksHeld).filter(|was| was.status != "True");
        incident::recover(memory, was.map(|was| was.last_transition_time.0));
    }
}

struct Speaker<'a> {
    previous: &'a CoordinatedWorkloadStatus,
    generation: i64,
}

impl Speaker<'_> {
    fn transition(&self, type_: ConditionType, next: &Condition, findings: &[Finding], memory: &mut Memory) {
        let before = find(&self.previous.conditions, type_);
        let is_blind =
            |condition: &Condition| is(condition, Reason::NotObserved) || is(condition, Reason::NotCheckable);
        let blind = before.is_some_and(is_blind);
        // What blindness replaced was said, and is no news when sight is back.
        let (status, reason) = match memory.before_blindness.get(&type_).filter(|_| blind) {
            Some((status, reason)) => (status.clone(), reason.clone()),
            None => before.map_or_else(Default::default, |before| {
                (before.status.clone(), before.reason.clone())
            }),
        };
        if !is_blind(next) {
            memory.before_blindness.remove(&type_);
        } else if !blind && before.is_some() {
            memory
                .before_blindness
                .insert(type_, (status.clone(), reason.clone()));
        }
        if status == next.status && reason == next.reason {
            if type_ == ConditionType::LocksHeld && is(next, Reason::NoExpiry) {
                self.stuck(before, findings, memory);
            }
            return;
        }
        if type_ == ConditionType::LocksHeld {
            if next.status == "False" {
                self.locks(before, next, findings, memory);
            }
        } else if let Some(event) = event_of(type_, next, status == "False")
            .filter(|event| *event != EventReason::ApplyFailed || !memory.children.fighting)
        {
            // Where the condition does not turn, its transition alone would name two announcements alike.
            let turned = before.is_none_or(|before| before.status != next.status);
            let key = if turned {
                self.key(before)
            } else {
                format!("{} {}", self.key(before), next.reason)
            };
            memory.outbox.push(Announcement {
                reason: event,
                key,
                note: next.message.clone(),
            });
        }
    }

    /// A reason of `LocksHeld` is said with the locks that it is said of: when a worse one is over, it is no news.
    fn locks(&self, before: Option<&Condition>, next: &Condition, findings: &[Finding], memory: &mut Memory) {
        let Some(event) = findings.first().and_then(Finding::event) else {
            return;
        };
        let new: Vec<LockId> = findings
            .iter()
            .filter(|finding| finding.event() == Some(event))
            .map(id)
            .filter(|id| !memory.said.contains(&(event, id.clone())))
            .collect();
        let Some((_, first)) = new.first() else { return };
        let mut key = self.key(before);
        if before.is_some_and(|before| before.status == "False") {
            // The condition does not turn: its transition alone would name two announcements alike.
            key = format!("{key} {first}");
        }
        memory.outbox.push(Announcement {
            reason: event,
            key,
            note: next.message.clone(),
        });
        memory.said.extend(new.into_iter().map(|id| (event, id)));
        memory
            .said
            .extend(findings.iter().filter(|finding| is_stuck(finding)).map(orphaned));
        if event == EventReason::LocksUnheld {
            let anchor = next.last_transition_time.0.to_string();
            memory.incident.get_or_insert_with(|| Incident {
                anchor,
                ..Incident::default()
            });
        }
    }

    /// A lock without an expiry was held, and its holder is gone now: nobody can take it any more. That is news, though
    /// the reason stays.
    fn stuck(&self, before: Option<&Condition>, findings: &[Finding], memory: &mut Memory) {
        let stuck = findings.iter().filter(|finding| is_stuck(finding));
        let new: Vec<_> = stuck
            .filter(|finding| !memory.said.contains(&orphaned(finding)))
            .collect();
        let Some(first) = new.first() else { return };
        memory.outbox.push(Announcement {
            reason: EventReason::LocksOrphaned,
            key: format!("{} {}", self.key(before), first.lock),
            note: summarize(&new),
        });
        memory.said.extend(new.into_iter().map(orphaned));
    }

    fn say(&self, reason: EventReason, before: Option<&Condition>, note: &str, memory: &mut Memory) {
        memory.outbox.push(Announcement {
            reason,
            key: self.key(before),
            note: note.to_owned(),
        });
    }

    /// What tells this transition from others. A condition that was absent has no transition of its own; that of Ready
    /// is as old as what it replaces, and the spec may have changed since.
    fn key(&self, before: Option<&Condition>) -> String {
        let time = |condition: &Condition| -> Timestamp { condition.last_transition_time.0 };
        let ready = find(&self.previous.conditions, ConditionType::Ready);
        match (before, ready) {
            (Some(before), _) => time(before).to_string(),
            (None, Some(ready)) => format!("{} {}", time(ready), self.generation),
            (None, None) => format!("first {}", self.generation),
        }
    }
}

/// The event that says that a condition turned to this.
fn event_of(type_: ConditionType, next: &Condition, was_false: bool) -> Option<EventReason> {
    match (type_, next.status.as_str()) {
        (ConditionType::LocksBalanced, "False") => Some(EventReason::LocksConcentrated),
        (ConditionType::LocksBalanced, "True") if was_false => Some(EventReason::LocksRebalanced),
        (ConditionType::StoreReachable, "False") if !was_false => Some(EventReason::StoreUnreachable),
        (ConditionType::StoreReachable, "True") if was_false => Some(EventReason::StoreReachable),
        (ConditionType::StoreSafe, "False") => Some(EventReason::StoreUnsafe),
        (ConditionType::DisruptionsAllowed, "False") => Some(EventReason::DrainBlocked),
        (ConditionType::Suspended, "True") => Some(EventReason::Suspended),
        (ConditionType::Stalled, _) => Some(if is(next, Reason::InvalidSpec) {
            EventReason::InvalidSpec
        } else if is(next, Reason::NameConflict) {
            EventReason::NameConflict
        } else if is(next, Reason::ProgressDeadlineExceeded) {
            EventReason::RolloutStuck
        } else {
            EventReason::ApplyFailed
        }),
        (ConditionType::Reconciling, _) if is(next, Reason::Retrying) => Some(EventReason::ApplyFailed),
        _ => None,
    }
}

fn is(condition: &Condition, reason: Reason) -> bool {
    condition.reason == reason.as_str()
}

fn is_stuck(finding: &Finding) -> bool {
    matches!(finding.problem, Problem::NoExpiry { orphaned: true, .. })
}

fn orphaned(finding: &Finding) -> (EventReason, LockId) {
    (EventReason::LocksOrphaned, id(finding))
}

fn id(finding: &Finding) -> LockId {
    (finding.set.clone(), finding.lock.clone())
}

fn spelt(type_: &str) -> Option<ConditionType> {
    ConditionType::ALL
        .iter()
        .copied()
        .find(|known| known.as_str() == type_)
}
