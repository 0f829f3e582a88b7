//! Who keeps changing what Lockstep owns, and how patiently it is changed back. Pure.
//!
//! In: what came of each pass. Out: what of a plan waits, what is said, and whom a fight is with. The first change is
//! taken back at once. Two that insist would otherwise write in turns for ever, as fast as the apiserver lets them.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    children::{Action, ChildKind, Correction, Outcome, Plan, Reason, ReplicasStep, Step},
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
    /// When the last one was made.
    last: Mono,
}

impl Row {
    fn wait(&self) -> Duration {
        let doublings = self.count.saturating_sub(1).min(16);
        FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
    }

    /// Whether this correction is one of those that are announced: the first, and the one that makes it a fight.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.count == 1 || self.count == FIGHT
    }

    fn is_fight(&self, now: Mono) -> bool {
        self.count >= FIGHT && now.since(self.last) < CALM
    }
}

/// The corrections of one workload.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Drift(BTreeMap<Contested, Row>);

impl Drift {
    /// Takes in what came of a pass; the rows that this moved on. With a `new_spec`, other replicas are what the spec
    /// now says, not somebody's change.
    pub fn record(&mut self, outcome: &Outcome, new_spec: bool, now: Mono) -> Vec<Row> {
        let mut moved = Vec::new();
        for (kind, applied) in outcome.children.iter() {
            let Some(Action::Updated {
                correction,
                unsettled,
            }) = applied.as_ref().map(|applied| &applied.action)
            else {
                continue;
            };
            let what = Contested::Child(kind);
            match (correction, unsettled) {
                (_, Some(field)) => moved.push(self.correct(what, ADMISSION, field, now)),
                (Some(correction), None) => moved.push(self.take_back(what, correction, now)),
                (None, None) => {}
            }
        }
        if let Some(replicas) = outcome.replicas.as_ref().filter(|_| !new_spec) {
            let correction = Correction {
                field: Some("spec.replicas".into()),
                overrides: replicas.overrides.clone(),
            };
            moved.push(self.take_back(Contested::Replicas, &correction, now));
        }
        moved
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
        let before = self.0.get(&what);
        let goes_on = before.filter(|row| row.rival == rival && now.since(row.last) < CALM);
        let row = Row {
            what,
            rival: rival.to_owned(),
            field: field.to_owned(),
            count: goes_on.map_or(0, |row| row.count).saturating_add(1),
            last: now,
        };
        self.0.insert(what, row.clone());
        row
    }

    /// Lets wait what of the plan would be one more correction too soon. A new intent never waits.
    pub fn hold(&self, plan: &mut Plan, new_spec: bool, now: Mono) {
        let held = |what| self.0.get(&what).is_some_and(|row| now < row.last + row.wait());
        for kind in ChildKind::ALL {
            let step = plan.steps.get_mut(kind);
            if let Step::Apply {
                uid,
                reason: Reason::Drift(_),
                convert: _,
            } = step
                && held(Contested::Child(kind))
            {
                *step = Step::Hold { uid: uid.clone() };
            }
        }
        if let ReplicasStep::Apply(_) = plan.replicas
            && !new_spec
            && held(Contested::Replicas)
        {
            plan.replicas = ReplicasStep::Hold;
        }
    }

    /// Those who insist, in the order of children.
    pub fn fights(&self, now: Mono) -> impl Iterator<Item = &Row> {
        self.0.values().filter(move |row| row.is_fight(now))
    }

    /// The row of something that is held.
    #[must_use]
    pub fn of(&self, what: Contested) -> Option<&Row> {
        self.0.get(&what)
    }

    /// Corrections of the last hour.
    pub fn recent(&self, now: Mono) -> impl Iterator<Item = &Row> {
        self.0.values().filter(move |row| now.since(row.last) < ADVISED)
    }

    /// The next moment at which time alone changes something.
    #[must_use]
    pub fn recheck_at(&self, now: Mono) -> Option<Mono> {
        let moments = self
            .0
            .values()
            .flat_map(|row| [row.wait(), CALM, ADVISED].map(|wait| row.last + wait));
        moments.filter(|moment| *moment > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::children::{Applied, Override, ReplicasApplied};

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    fn corrected(manager: &str, unsettled: Option<&str>) -> Outcome {
        let overrides = vec![Override {
            manager: manager.into(),
            fields: vec![".spec.x".into()],
        }];
        let mut outcome = Outcome::default();
        outcome.children.deployment = Some(Applied {
            uid: "u".into(),
            hash: "h".into(),
            action: Action::Updated {
                correction: Some(Correction {
                    field: Some("spec.x".into()),
                    overrides,
                }),
                unsettled: unsettled.map(str::to_owned),
            },
            live: None,
        });
        outcome
    }

    fn drifted() -> Plan {
        let mut plan = Plan::default();
        plan.steps.deployment = Step::Apply {
            uid: "u".into(),
            convert: false,
            reason: Reason::Drift("spec.x".into()),
        };
        plan
    }

    #[test]
    fn the_third_correction_in_a_row_is_a_fight_until_the_rival_is_silent() {
        let mut drift = Drift::default();
        let mut told = Vec::new();
        for (number, second) in [0, 2, 5, 20].into_iter().enumerate() {
            let row = drift
                .record(&corrected("rival", None), false, at(second))
                .remove(0);
            told.push(row.is_told());
            assert_eq!(
                drift.fights(at(second)).count(),
                usize::from(number >= 2),
                "{number}"
            );
        }
        assert_eq!(told, [true, false, true, false]);
        assert_eq!(drift.fights(at(20 + 599)).count(), 1);
        assert_eq!(drift.fights(at(20 + 600)).count(), 0);
        // Whoever begins again after that begins at one.
        let row = drift.record(&corrected("rival", None), false, at(700)).remove(0);
        assert_eq!((row.count, row.rival.as_str()), (1, "rival"));
    }

    #[test]
    fn another_rival_is_another_row() {
        let mut drift = Drift::default();
        for second in 0..2 {
            drift.record(&corrected("one", None), false, at(second));
        }
        assert_eq!(drift.record(&corrected("other", None), false, at(3))[0].count, 1);
        let row = drift
            .record(&corrected("x", Some("spec.y")), false, at(4))
            .remove(0);
        assert_eq!((row.rival.as_str(), row.field.as_str()), (ADMISSION, "spec.y"));
    }

    #[test]
    fn corrections_wait_ever_longer_and_a_new_intent_never() {
        let mut drift = Drift::default();
        let waits = |drift: &Drift, now| {
            let mut plan = drifted();
            drift.hold(&mut plan, false, now);
            plan.steps.deployment == Step::Hold { uid: "u".into() }
        };
        assert!(!waits(&drift, at(0)), "the first is made at once");
        let mut now = 0;
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            drift.record(&corrected("rival", None), false, at(now));
            assert!(
                waits(&drift, at(now + wait - 1)) && !waits(&drift, at(now + wait)),
                "{wait}"
            );
            assert!(drift.recheck_at(at(now)) <= Some(at(now + wait)));
            now += wait;
        }
        let mut plan = drifted();
        plan.steps.deployment = Step::Apply {
            uid: "u".into(),
            convert: false,
            reason: Reason::NewIntent,
        };
        let before = plan.clone();
        drift.hold(&mut plan, true, at(now - 300));
        assert_eq!(plan, before);
    }

    #[test]
    fn replicas_are_drift_only_while_the_spec_is_the_old_one() {
        let mut drift = Drift::default();
        let outcome = Outcome {
            replicas: Some(ReplicasApplied {
                count: 3,
                overrides: vec![Override {
                    manager: "kubectl".into(),
                    fields: vec![],
                }],
            }),
            ..Outcome::default()
        };
        assert_eq!(drift.record(&outcome, true, at(0)), []);
        let row = drift.record(&outcome, false, at(1)).remove(0);
        assert_eq!((row.what, row.rival.as_str()), (Contested::Replicas, "kubectl"));
        let mut plan = Plan {
            replicas: ReplicasStep::Apply(3),
            ..Plan::default()
        };
        let wanted = plan.clone();
        drift.hold(&mut plan, true, at(1));
        assert_eq!(plan, wanted);
        drift.hold(&mut plan, false, at(1));
        assert_eq!(plan.replicas, ReplicasStep::Hold);
    }
}
