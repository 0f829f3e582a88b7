//! Who keeps changing what Lockstep owns, and how patiently it is changed back. Pure.
//!
//! In: each plan, and what came of it. Out: what of a plan waits, what is said, and whom a fight is with. The first
//! change is taken back at once. Two that insist would otherwise write in turns for ever, as fast as the apiserver lets
//! them.
//!
//! A change is somebody else's only if what is now wanted had been in place before: another intent, or other replicas,
//! is what the spec says, and never waits.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    children::{
        Action, Applied, ChildKind, Children, Correction, Outcome, Plan, Prepared, Reason, ReplicasStep, Step,
    },
    locks::Mono,
};

/// After the first correction the next one waits this long; the wait doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// From this correction in a row on, it is a fight: said in status, and Ready is False.
const FIGHT: u32 = 3;
/// Whoever is silent for so long has given up: twice the longest wait, so that a rival that only answers is never
/// taken for one.
const CALM: Duration = Duration::from_mins(10);
/// A correction stays in the advisories for so long.
const ADVISED: Duration = Duration::from_hours(1);
/// Rivals of one object that are told apart.
const MOST_RIVALS: usize = 4;
/// The rival when nobody owns the change.
const SOMEBODY: &str = "somebody";
/// The rival when a change is not in the answer to its own apply.
const ADMISSION: &str = "an admission webhook or policy";

/// What is changed back as one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Contested {
    /// The fields of a child.
    Child(ChildKind),
    /// The Deployment's replicas.
    Replicas,
}

impl fmt::Display for Contested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Child(kind) => kind.kind(),
            Self::Replicas => ChildKind::Deployment.kind(),
        })
    }
}

/// A row of corrections of the same rival's changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// What is contested.
    pub what: Contested,
    /// Name of the field manager, or words for one that has no name.
    pub rival: String,
    /// The field that was changed, the last time.
    pub field: String,
    /// Corrections in a row.
    pub count: u32,
    /// Whether the last one made it a fight, with whoever else takes part.
    pub begins_fight: bool,
    /// When the last one was made.
    last: Mono,
}

impl Row {
    /// Whether this correction is one of those that are announced: each rival's first, and the one that makes it a fight.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.count == 1 || self.begins_fight
    }

    /// Whether nobody but the apiserver's own admission changed it, so that it could not be changed back at all.
    #[must_use]
    pub fn is_admission(&self) -> bool {
        self.rival == ADMISSION
    }
}

/// The corrections of one object, whoever made them necessary.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Contest {
    /// By rival, the latest last.
    rows: Vec<Row>,
    /// Corrections in a row, of all rivals.
    count: u32,
    /// When the last one was made.
    last: Mono,
}

impl Contest {
    fn wait(&self) -> Duration {
        let doublings = self.count.saturating_sub(1).min(16);
        FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
    }

    fn is_held(&self, now: Mono) -> bool {
        self.count > 0 && now < self.last + self.wait()
    }

    fn is_fight(&self, now: Mono) -> bool {
        self.count >= FIGHT && now.since(self.last) < CALM
    }

    fn correct(&mut self, what: Contested, rival: &str, field: &str, now: Mono) -> Row {
        if now.since(self.last) >= CALM {
            *self = Self::default();
        }
        let known = self.rows.iter().position(|row| row.rival == rival);
        let count = known.map_or(0, |at| self.rows.remove(at).count);
        if self.rows.len() >= MOST_RIVALS {
            self.rows.remove(0);
        }
        self.count = self.count.saturating_add(1);
        let row = Row {
            what,
            rival: rival.to_owned(),
            field: field.to_owned(),
            count: count.saturating_add(1),
            begins_fight: self.count == FIGHT,
            last: now,
        };
        self.rows.push(row.clone());
        self.last = now;
        row
    }
}

/// The corrections of one workload.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Drift {
    contests: BTreeMap<Contested, Contest>,
    /// UID and hash of each child that was as intended.
    settled: BTreeMap<ChildKind, (String, String)>,
    /// Replicas that were as the spec fixes them.
    settled_replicas: Option<i32>,
    /// When this process looked first.
    since: Option<Mono>,
}

impl Drift {
    /// Takes in a plan, and lets wait what of it would be one more correction too soon. `fixed` are the replicas that
    /// the spec fixes.
    pub fn hold(&mut self, plan: &mut Plan, prepared: &Children<Prepared>, fixed: Option<i32>, now: Mono) {
        self.since.get_or_insert(now);
        self.settle(plan, prepared, fixed);
        let contests = &self.contests;
        let held = |what| contests.get(&what).is_some_and(|contest| contest.is_held(now));
        for (kind, intent) in prepared.iter() {
            if held(Contested::Child(kind)) {
                plan.held.insert(kind);
            }
            let step = plan.steps.get_mut(kind);
            let (Step::Apply { uid, reason, .. }, Some(intent)) = (&mut *step, intent) else {
                continue;
            };
            let settled = self.settled.get(&kind);
            let same_intent = settled.is_some_and(|(known, hash)| known == uid && hash == intent.hash());
            if same_intent && *reason == Reason::NewIntent {
                // It was there: somebody took the hash away, or wrote another.
                *reason = Reason::Drift("metadata.annotations".into());
            }
            let correction = match reason {
                Reason::Drift(_) => true,
                Reason::Adoption => settled.is_some_and(|(known, _)| known == uid),
                Reason::NewIntent => false,
            };
            if correction && plan.held.contains(&kind) {
                *step = Step::Hold { uid: uid.clone() };
            }
        }
        if let ReplicasStep::Apply(count) = plan.replicas
            && self.settled_replicas == Some(count)
            && held(Contested::Replicas)
        {
            plan.replicas = ReplicasStep::Hold;
        }
    }

    /// What is in place now.
    fn settle(&mut self, plan: &Plan, prepared: &Children<Prepared>, fixed: Option<i32>) {
        for (kind, step) in plan.steps.iter() {
            match (step, prepared.get(kind)) {
                (Step::Nothing { uid: Some(uid) }, Some(intent)) => {
                    self.settled.insert(kind, (uid.clone(), intent.hash().to_owned()));
                }
                (_, None) => {
                    self.settled.remove(&kind);
                }
                (_, Some(_)) => {}
            }
        }
        let deployment = matches!(
            plan.steps.deployment,
            Step::Nothing { uid: Some(_) } | Step::Apply { .. } | Step::Hold { .. }
        );
        if self.settled_replicas != fixed {
            self.settled_replicas = None;
        }
        if fixed.is_none() {
            self.contests.remove(&Contested::Replicas);
        }
        if deployment && plan.replicas == ReplicasStep::Leave {
            self.settled_replicas = fixed;
        }
    }

    /// Takes in what came of a pass; the rows that this moved on.
    pub fn record(&mut self, outcome: &Outcome, now: Mono) -> Vec<Row> {
        let mut moved = Vec::new();
        for (kind, applied) in outcome.children.iter() {
            let Some(applied) = applied else { continue };
            moved.extend(self.record_child(kind, applied, now));
            if applied.action != Action::None {
                self.settled
                    .insert(kind, (applied.uid.clone(), applied.hash.clone()));
            }
        }
        if let Some(replicas) = &outcome.replicas {
            if self.settled_replicas == Some(replicas.count) {
                let correction = Correction {
                    field: Some("spec.replicas".into()),
                    overrides: replicas.overrides.clone(),
                };
                moved.push(self.take_back(Contested::Replicas, &correction, now));
            } else if replicas.overrides.is_empty() {
                self.contests.remove(&Contested::Replicas);
            }
            self.settled_replicas = Some(replicas.count);
        }
        moved
    }

    fn record_child(&mut self, kind: ChildKind, applied: &Applied, now: Mono) -> Option<Row> {
        let what = Contested::Child(kind);
        match &applied.action {
            Action::None | Action::Created => None,
            Action::Adopted { .. } => {
                let again = self
                    .settled
                    .get(&kind)
                    .is_some_and(|(uid, _)| *uid == applied.uid);
                again.then(|| self.correct(what, SOMEBODY, "metadata.ownerReferences", now))
            }
            Action::Updated {
                unsettled: Some(field),
                ..
            } => Some(self.correct(what, ADMISSION, field, now)),
            Action::Updated {
                correction: Some(correction),
                unsettled: None,
            } => Some(self.take_back(what, correction, now)),
            // A new intent that nobody's value stands against: who took the advice of the fight has ended it.
            Action::Updated {
                correction: None,
                unsettled: None,
            } => {
                self.contests.remove(&what);
                None
            }
        }
    }

    fn take_back(&mut self, what: Contested, correction: &Correction, now: Mono) -> Row {
        let other = correction.overrides.first();
        let rival = other.map_or(SOMEBODY, |other| other.manager.as_str());
        let owned = other.and_then(|other| other.fields.first());
        let field = correction
            .field
            .as_ref()
            .or(owned)
            .map_or("a field", String::as_str);
        self.correct(what, rival, field, now)
    }

    fn correct(&mut self, what: Contested, rival: &str, field: &str, now: Mono) -> Row {
        self.contests
            .entry(what)
            .or_default()
            .correct(what, rival, field, now)
    }

    /// Those who insist, one for each object, in the order of children.
    pub fn fights(&self, now: Mono) -> impl Iterator<Item = &Row> {
        let fights = self
            .contests
            .values()
            .filter(move |contest| contest.is_fight(now));
        fights.filter_map(|contest| contest.rows.last())
    }

    /// The last correction of something that is held.
    #[must_use]
    pub fn of(&self, what: Contested) -> Option<&Row> {
        self.contests.get(&what)?.rows.last()
    }

    /// Corrections of the last hour.
    pub fn recent(&self, now: Mono) -> impl Iterator<Item = &Row> {
        let rows = self.contests.values().flat_map(|contest| &contest.rows);
        rows.filter(move |row| now.since(row.last) < ADVISED)
    }

    /// Whether a fight that a process before this one told of may still go on.
    #[must_use]
    pub fn may_be_fought(&self, now: Mono) -> bool {
        self.is_young(now, CALM)
    }

    /// Whether a correction that a process before this one told of may be younger than an hour.
    #[must_use]
    pub fn may_be_recent(&self, now: Mono) -> bool {
        self.is_young(now, ADVISED)
    }

    fn is_young(&self, now: Mono, span: Duration) -> bool {
        self.contests.is_empty() && self.since.is_none_or(|since| now.since(since) < span)
    }

    /// The next moment at which time alone changes something.
    #[must_use]
    pub fn recheck_at(&self, now: Mono) -> Option<Mono> {
        let contests = self.contests.values();
        let moments = contests.flat_map(|contest| {
            let ends = contest.rows.iter().map(|row| row.last + ADVISED);
            ends.chain([contest.last + contest.wait(), contest.last + CALM])
        });
        let young = self
            .since
            .into_iter()
            .flat_map(|since| [since + CALM, since + ADVISED]);
        moments.chain(young).filter(|moment| *moment > now).min()
    }
}

#[cfg(test)]
mod tests;
