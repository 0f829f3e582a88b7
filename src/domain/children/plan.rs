//! What is left to do, by comparing intents with live objects. Pure.
//!
//! No request is made if and only if the hash on the object is today's **and** every intended field equals the live
//! one: the hash notices what left the intent, the comparison notices drift.

use std::collections::BTreeSet;

use super::{ChildKind, Children, Intent, Live, LiveChildren, Prepared, compare};
use crate::api::spec::ConflictPolicy;
use crate::api::status::Child;
use crate::domain::workload::{Scaling, Workload};

/// What is left to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Per child.
    pub steps: Children<Step>,
    /// The Deployment's replicas.
    pub replicas: ReplicasStep,
    /// What makes a child ours.
    pub claim: Claim,
    /// Kinds of which a correction would come too soon, should one be found only when they are written.
    pub held: BTreeSet<ChildKind>,
}

/// What makes a child ours, or may make it so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claim {
    /// UID of the resource.
    pub owner: String,
    /// Whether an object of the name that nobody controls is taken over.
    pub adopt: bool,
    /// UIDs that status lists as ours: what tells a child whose owner reference was taken away from a stranger.
    pub known: BTreeSet<String>,
}

impl Default for Step {
    fn default() -> Self {
        Self::Nothing { uid: None }
    }
}

impl Plan {
    /// Whether every child is as intended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.replicas == ReplicasStep::Leave
            && self
                .steps
                .iter()
                .all(|(_, step)| matches!(step, Step::Nothing { .. }))
    }

    /// What is left without these kinds.
    #[must_use]
    pub fn without(&self, kinds: &[ChildKind]) -> Self {
        let mut plan = self.clone();
        for kind in kinds {
            *plan.steps.get_mut(*kind) = Step::default();
        }
        if kinds.contains(&ChildKind::Deployment) {
            plan.replicas = ReplicasStep::Leave;
        }
        plan
    }

    /// Whether nothing is to be done now; something may have to wait.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let idle = |step: &Step| matches!(step, Step::Nothing { .. } | Step::Hold { .. });
        matches!(self.replicas, ReplicasStep::Leave | ReplicasStep::Hold)
            && self.steps.iter().all(|(_, step)| idle(step))
    }
}

/// What is left to do for one child.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// It is as intended, or rightly absent.
    Nothing {
        /// UID of the child, if it is there.
        uid: Option<String>,
    },
    /// It is missing.
    Create,
    /// It differs.
    Apply {
        /// UID of the object that is meant.
        uid: String,
        /// Whether the entry of the POST must be turned into an Apply entry first.
        convert: bool,
        /// Whether an object within it becomes an empty one, which an apply drops without a word, whatever it means.
        empties: bool,
        /// What differs.
        reason: Reason,
    },
    /// It must go.
    Delete {
        /// UID of the object that is meant.
        uid: String,
    },
    /// It differs again, because somebody insists: for a while nothing is done about it.
    Hold {
        /// UID of the object that is meant.
        uid: String,
    },
    /// It is being deleted, or will be, since its owner was (deleted and created again under the same name): nothing can
    /// be done until it is gone.
    AwaitDeletion,
    /// It isn't ours.
    Refuse(Refusal),
}

/// Why a child is applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The intent is another one than the one applied last.
    NewIntent,
    /// The intent is the same, and the object differs from it, first in this field.
    Drift(String),
    /// Nobody controls the object, and `conflictPolicy` is `Adopt`.
    Adoption,
}

/// Why a child isn't touched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Lockstep did not make it for this resource.
    Foreign,
    /// It is another controller's: this one's.
    Controlled(String),
    /// It was ours, and our owner reference was taken away.
    OwnershipLost,
}

/// What is left to do about the Deployment's replicas.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReplicasStep {
    /// They are right, or not ours.
    #[default]
    Leave,
    /// They differ again, because somebody insists: for a while nothing is done about it.
    Hold,
    /// Apply them, once no HorizontalPodAutoscaler of ours is there any more.
    Apply(i32),
}

/// What is left to do for every child, given what the caches hold and the children that status lists.
#[must_use]
pub fn plan(
    workload: &Workload,
    prepared: &Children<Prepared>,
    live: &LiveChildren,
    listed: &[Child],
) -> Plan {
    let claim = Claim {
        owner: workload.uid.clone(),
        adopt: workload.conflict_policy == ConflictPolicy::Adopt,
        known: listed.iter().map(|child| child.uid.clone()).collect(),
    };
    let steps = Children::from_fn(|kind: ChildKind| {
        step(&claim, prepared.get(kind).as_ref(), live.get(kind).as_ref())
    });
    let replicas = match (&steps.deployment, &live.deployment) {
        (Step::Nothing { .. } | Step::Apply { .. } | Step::Hold { .. }, Some(deployment)) => {
            replicas_step(&workload.scaling, deployment)
        }
        // Creation carries them; and what isn't ours isn't scaled.
        (
            Step::Nothing { .. }
            | Step::Apply { .. }
            | Step::Hold { .. }
            | Step::Create
            | Step::Delete { .. }
            | Step::AwaitDeletion
            | Step::Refuse(_),
            _,
        ) => ReplicasStep::Leave,
    };
    Plan {
        steps,
        replicas,
        claim,
        held: BTreeSet::new(),
    }
}

/// What is left to do for one child.
#[must_use]
pub fn step(claim: &Claim, intent: Option<&Intent>, live: Option<&Live>) -> Step {
    match (intent, live) {
        (None, None) => Step::Nothing { uid: None },
        (Some(_), None) => Step::Create,
        // What isn't ours isn't deleted either.
        (None, Some(live)) if live.controller() != Some(&claim.owner) => Step::Nothing { uid: None },
        (Some(_), Some(live)) if live.controller() != Some(&claim.owner) => unowned(claim, live),
        (_, Some(live)) if live.is_deleting() => Step::AwaitDeletion,
        (None, Some(live)) => Step::Delete {
            uid: live.uid().to_owned(),
        },
        (Some(intent), Some(live)) => {
            let reason = if live.applied_hash() == Some(intent.hash()) {
                compare::first_difference(intent.body(), live.object()).map(Reason::Drift)
            } else {
                Some(Reason::NewIntent)
            };
            let uid = live.uid().to_owned();
            match reason {
                None => Step::Nothing { uid: Some(uid) },
                Some(reason) => Step::Apply {
                    uid,
                    convert: live.unconverted(),
                    empties: compare::empties(intent.body(), live.object()),
                    reason,
                },
            }
        }
    }
}

/// What to do about an object that this resource does not control.
fn unowned(claim: &Claim, live: &Live) -> Step {
    let known = claim.known.contains(live.uid());
    if live.is_made_for_its_name() {
        return Step::AwaitDeletion;
    }
    match live.controller_name() {
        Some(_) if known => Step::Refuse(Refusal::OwnershipLost),
        Some(controller) => Step::Refuse(Refusal::Controlled(controller)),
        None if claim.adopt && live.is_deleting() => Step::AwaitDeletion,
        None if claim.adopt => Step::Apply {
            uid: live.uid().to_owned(),
            convert: false,
            empties: false,
            reason: Reason::Adoption,
        },
        None if known => Step::Refuse(Refusal::OwnershipLost),
        None => Step::Refuse(Refusal::Foreign),
    }
}

fn replicas_step(scaling: &Scaling, deployment: &Live) -> ReplicasStep {
    match scaling.fixed() {
        Some(count) if deployment.replicas() != Some(i64::from(count)) => ReplicasStep::Apply(count),
        Some(_) | None => ReplicasStep::Leave,
    }
}
