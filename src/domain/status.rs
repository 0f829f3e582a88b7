//! Status and conditions, from the previous ones, the decision and its outcome. Pure.
//!
//! Nothing ticks: a status of an unchanged world is equal to the one before, times included.

mod locks;
mod verdict;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Decision, Now, Observed,
    assessment::Sight,
    children::Outcome,
    finding::{Finding, bounded, whole_seconds},
    incident,
    locks::Mode,
    memory::{self, Announcement, Memory},
    rollout::DeploymentView,
};
use crate::api::{
    CoordinatedWorkloadStatus, WORKLOAD_LABEL,
    conditions::{ConditionType, EventReason, Reason},
    spec,
    status::{self, Child},
};

/// A condition's status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What one condition says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Its status.
    pub truth: Truth,
    /// Its reason.
    pub reason: Reason,
    /// Its message.
    pub message: String,
}

impl Verdict {
    pub(super) fn new(truth: Truth, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            truth,
            reason,
            message: bounded(&message.into()),
        }
    }
}

/// The condition of this type, if there is one.
#[must_use]
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// See [`super::report`].
pub(super) fn report(
    observed: &Observed<'_>,
    decision: &Decision,
    outcome: Option<&Outcome>,
    memory: &mut Memory,
    now: Now,
) -> CoordinatedWorkloadStatus {
    let previous = observed.resource.status.clone().unwrap_or_default();
    let generation = observed.resource.metadata.generation.unwrap_or_default();
    let deployment = newest_deployment(observed, outcome);
    let workload = observed.workload.as_ref().ok();
    let mut said = verdict::Said::default();
    verdict::locks(
        &mut said,
        observed,
        &decision.assessment,
        deployment.as_ref(),
        &previous,
        memory,
    );
    verdict::workload(
        &mut said,
        observed,
        decision,
        outcome,
        deployment.as_ref(),
        &previous,
    );
    let conditions = said.into_conditions(&previous.conditions, generation, now.wall);
    outages(memory, &previous, &conditions, now);
    let seen = deployment.unwrap_or_default();
    let locks = match workload {
        Some(workload) if !workload.locks.is_empty() => {
            locks::status(workload, &decision.assessment, &previous, memory)
        }
        Some(_) => None,
        None => previous.locks.clone(),
    };
    let store = match &decision.assessment.sight {
        Sight::Clear { mode, version } => Some(status::Store {
            mode: match mode {
                Mode::Tracking => "Tracking".to_owned(),
                Mode::Polling => "Polling".to_owned(),
            },
            version: version.clone(),
        }),
        Sight::Pending | Sight::Blind { .. } if observed.store.is_some() || workload.is_none() => {
            previous.store.clone()
        }
        Sight::Pending | Sight::Blind { .. } => None,
    };
    let summary = status::Summary {
        pods: format!("{}/{}", seen.ready, seen.wanted),
        locks: locks::in_good_hands(workload, &decision.assessment, &previous),
        spread: locks::spread(workload, &decision.assessment, &previous, memory),
        problem: verdict::problem(&conditions).to_owned(),
    };
    CoordinatedWorkloadStatus {
        conditions,
        observed_generation: generation,
        selector: Some(format!(
            "{WORKLOAD_LABEL}={}",
            observed.resource.metadata.name.as_deref().unwrap_or_default()
        )),
        replicas: seen.replicas,
        ready_replicas: seen.ready,
        updated_replicas: seen.updated,
        available_replicas: seen.available,
        summary: Some(summary),
        children: children(observed, outcome),
        advisories: Vec::new(),
        store,
        locks,
        recent: memory.recent.clone(),
    }
}

/// The Deployment as it is known best: the answer to a write is newer than any cache.
fn newest_deployment(observed: &Observed<'_>, outcome: Option<&Outcome>) -> Option<DeploymentView> {
    let written = outcome
        .and_then(|outcome| outcome.children.deployment.as_ref())
        .and_then(|applied| applied.live.as_ref());
    written
        .or(observed.live.deployment.as_ref())
        .map(DeploymentView::of)
}

fn children(observed: &Observed<'_>, outcome: Option<&Outcome>) -> Vec<Child> {
    let name = observed.resource.metadata.name.clone().unwrap_or_default();
    let owner = observed.resource.metadata.uid.as_deref();
    let child = |kind: &str, uid: &str| Child {
        kind: kind.to_owned(),
        name: name.clone(),
        uid: uid.to_owned(),
    };
    let cached = observed
        .live
        .iter()
        .filter_map(|(kind, live)| Some((kind, live.as_ref().filter(|live| live.controller() == owner)?)));
    let Some(outcome) = outcome else {
        return cached
            .map(|(kind, live)| child(kind.kind(), live.uid()))
            .collect();
    };
    let mut list: Vec<_> = outcome
        .children
        .iter()
        .filter_map(|(kind, applied)| Some((kind, child(kind.kind(), &applied.as_ref()?.uid))))
        .collect();
    // What failed this time may well exist.
    for (kind, live) in cached {
        let deleted = outcome.deleted.iter().any(|(_, uid)| uid == live.uid());
        if !deleted && !list.iter().any(|(listed, _)| *listed == kind) {
            list.push((kind, child(kind.kind(), live.uid())));
        }
    }
    list.sort_by_key(|(kind, _)| *kind);
    list.into_iter().map(|(_, child)| child).collect()
}

/// Outages of the store in `status.recent`: begun when it is said, ended when it answers again.
fn outages(memory: &mut Memory, previous: &CoordinatedWorkloadStatus, conditions: &[Condition], now: Now) {
    let status_of = |conditions: &[Condition]| {
        find(conditions, ConditionType::StoreReachable)
            .map(|condition| (condition.status.clone(), condition.reason.clone()))
    };
    let was_down = status_of(&previous.conditions).is_some_and(|(status, _)| status == "False");
    let open = memory
        .recent
        .iter()
        .position(|entry| entry.set.is_none() && entry.gap.is_none());
    match status_of(conditions) {
        Some((status, reason)) if status == "False" => {
            if !was_down && open.is_none() {
                let when = whole_seconds(memory.store.down_since.unwrap_or(now.wall));
                let outage = status::Incident {
                    set: None,
                    lock: None,
                    cause: reason,
                    from: None,
                    to: None,
                    when: when.into(),
                    gap: None,
                };
                incident::remember(memory, outage);
            }
        }
        Some((status, _)) if status == "True" => {
            if let Some(entry) = open.and_then(|index| memory.recent.get_mut(index)) {
                let lasted = now.wall.duration_since(entry.when.0);
                entry.gap = Some(spec::Duration::from(lasted.unsigned_abs()).0);
            }
        }
        Some(_) | None => {}
    }
}

/// Puts into the outbox what the step from `previous` to `next` announces. To be called when `next` is about to be
/// written: what was never written was never said.
pub fn announce(
    previous: &CoordinatedWorkloadStatus,
    next: &CoordinatedWorkloadStatus,
    findings: &[Finding],
    memory: &mut Memory,
) {
    let ready = find(&previous.conditions, ConditionType::Ready);
    let mut say = |reason: EventReason, before: Option<&Condition>, note: &str| {
        // A condition that was absent has no transition of its own; that of Ready is as old as what it replaces.
        let key = before.or(ready).map_or_else(
            || "first".to_owned(),
            |before| before.last_transition_time.0.to_string(),
        );
        memory.outbox.push(Announcement {
            reason,
            key,
            note: note.to_owned(),
            pod: None,
        });
    };
    let mut unheld = None;
    for next in &next.conditions {
        let before = find(&previous.conditions, spelt(&next.type_));
        let same = before.is_some_and(|before| before.status == next.status && before.reason == next.reason);
        let was_false = before.is_some_and(|before| before.status == "False");
        if same {
            continue;
        }
        match (spelt(&next.type_), next.status.as_str()) {
            (ConditionType::LocksHeld, "False") => {
                let worst = findings.first();
                if let Some(event) = worst.and_then(Finding::event) {
                    say(event, before, &next.message);
                    if event == EventReason::LocksUnheld {
                        unheld = Some(next.last_transition_time.0);
                    }
                }
            }
            (ConditionType::LocksBalanced, "False") => {
                say(EventReason::LocksConcentrated, before, &next.message)
            }
            (ConditionType::LocksBalanced, "True") if was_false => {
                say(EventReason::LocksRebalanced, before, &next.message)
            }
            (ConditionType::StoreReachable, "False") if !was_false => {
                say(EventReason::StoreUnreachable, before, &next.message);
            }
            (ConditionType::StoreReachable, "True") if was_false => {
                say(EventReason::StoreReachable, before, &next.message)
            }
            (ConditionType::Suspended, "True") => say(EventReason::Suspended, before, &next.message),
            (ConditionType::Stalled, _) if next.reason == Reason::InvalidSpec.as_str() => {
                say(EventReason::InvalidSpec, before, &next.message);
            }
            (ConditionType::Stalled, _) if next.reason == Reason::NameConflict.as_str() => {
                say(EventReason::NameConflict, before, &next.message);
            }
            (ConditionType::Stalled, _) if next.reason == Reason::ProgressDeadlineExceeded.as_str() => {
                say(EventReason::RolloutStuck, before, &next.message);
            }
            (ConditionType::Stalled, _) => say(EventReason::ApplyFailed, before, &next.message),
            (ConditionType::Reconciling, _) if next.reason == Reason::Retrying.as_str() => {
                say(EventReason::ApplyFailed, before, &next.message);
            }
            _ => {}
        }
    }
    let reason_of = |status: &CoordinatedWorkloadStatus, type_| {
        find(&status.conditions, type_).map(|condition| condition.reason.clone())
    };
    let was_rolling =
        reason_of(previous, ConditionType::Reconciling).as_deref() == Some(Reason::RollingOut.as_str());
    if was_rolling && reason_of(next, ConditionType::Ready).as_deref() == Some(Reason::Reconciled.as_str()) {
        say(
            EventReason::RolloutComplete,
            find(&previous.conditions, ConditionType::Ready),
            "The Deployment runs the current template.",
        );
    }
    if find(&previous.conditions, ConditionType::Suspended).is_some()
        && find(&next.conditions, ConditionType::Suspended).is_none()
    {
        say(
            EventReason::Resumed,
            find(&previous.conditions, ConditionType::Suspended),
            "Lockstep works on this resource again.",
        );
    }
    if let Some(transition) = unheld {
        let incident = memory.incident.get_or_insert_with(|| memory::Incident {
            anchor: transition.to_string(),
            ..memory::Incident::default()
        });
        incident.locks.extend(
            findings
                .iter()
                .map(|finding| (finding.set.clone(), finding.lock.clone())),
        );
    }
    let held =
        find(&next.conditions, ConditionType::LocksHeld).is_some_and(|condition| condition.status == "True");
    if held {
        let before = find(&previous.conditions, ConditionType::LocksHeld)
            .filter(|condition| condition.status != "True");
        incident::recover(memory, before.map(|condition| condition.last_transition_time.0));
    }
}

fn spelt(type_: &str) -> ConditionType {
    ConditionType::ALL
        .iter()
        .copied()
        .find(|known| known.as_str() == type_)
        .unwrap_or(ConditionType::Ready)
}
