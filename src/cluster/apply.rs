//! The order in which children are written, and section 2's protocol for each. I/O.
//!
//! | order | why |
//! |---|---|
//! | deletions | an autoscaler that must go is gone before replicas are applied |
//! | NetworkPolicy, budget, Service | in force before the first pod |
//! | Deployment, replicas | |
//! | HorizontalPodAutoscaler | it scales by name, so never before that name is our Deployment's |

use serde_json::Value;

use super::error::{Error, refused_spec};
use super::managed_fields;
use super::rest::{Force, Object, Rest, Target};
use crate::domain::children::{
    Action, Applied, ChildKind, Children, Correction, Failure, FailureKind, Intent, Live, Outcome, Override,
    Plan, Prepared, Reason, Refusal, ReplicasApplied, ReplicasStep, RetryCause, Step, build_over, step,
};
use crate::domain::workload::Workload;

/// The order of writes.
const ORDER: [ChildKind; 5] = [
    ChildKind::NetworkPolicy,
    ChildKind::PodDisruptionBudget,
    ChildKind::Service,
    ChildKind::Deployment,
    ChildKind::HorizontalPodAutoscaler,
];

/// How often a write is tried on a newer version of an object that others write to. The status of a Deployment that
/// rolls out was seen to change faster than three attempts.
const ATTEMPTS: u32 = 6;

/// One pass over the children of a workload.
pub(super) struct Pass<'a> {
    rest: &'a Rest,
    workload: &'a Workload,
    prepared: &'a Children<Prepared>,
    plan: &'a Plan,
    outcome: Outcome,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        rest: &'a Rest,
        workload: &'a Workload,
        prepared: &'a Children<Prepared>,
        plan: &'a Plan,
    ) -> Self {
        Self {
            rest,
            workload,
            prepared,
            plan,
            outcome: Outcome::default(),
        }
    }

    pub(super) async fn run(mut self) -> Outcome {
        for kind in ORDER {
            if let Step::Delete { uid } = self.plan.steps.get(kind) {
                self.delete(kind, uid).await;
            }
        }
        for kind in ORDER {
            if self.outcome.is_hopeless() {
                break;
            }
            if kind == ChildKind::HorizontalPodAutoscaler && !self.deployment_is_ours() {
                continue;
            }
            if let Some(intent) = self.prepared.get(kind) {
                self.write(intent).await;
            }
            if let (ChildKind::Deployment, ReplicasStep::Apply(count)) = (kind, self.plan.replicas)
                && !self.outcome.is_hopeless()
            {
                self.replicas(count).await;
            }
        }
        self.outcome.failures.sort_by_key(|failure| failure.child);
        self.outcome
    }

    fn deployment_is_ours(&self) -> bool {
        match &self.plan.steps.deployment {
            Step::Nothing { uid: Some(_) } | Step::Apply { .. } | Step::Hold { .. } => true,
            Step::Create => self.outcome.children.deployment.is_some(),
            Step::Nothing { uid: None } | Step::Delete { .. } | Step::AwaitDeletion | Step::Refuse(_) => {
                false
            }
        }
    }

    fn target(&self, kind: ChildKind) -> Target<'a> {
        Target {
            kind,
            namespace: &self.workload.namespace,
            name: &self.workload.name,
        }
    }

    fn record(&mut self, kind: ChildKind, result: Result<Applied, Failure>) {
        match result {
            Ok(applied) => *self.outcome.children.get_mut(kind) = Some(applied),
            Err(failure) => self.outcome.failures.push(failure),
        }
    }

    fn await_deletion(&mut self, kind: ChildKind) {
        self.outcome
            .waiting
            .push(format!("the {} is being deleted", kind.kind()));
    }

    async fn delete(&mut self, kind: ChildKind, uid: &str) {
        match self.rest.delete(self.target(kind), uid).await {
            Ok(true) => self.outcome.deleted.push((kind, uid.to_owned())),
            Ok(false) => {}
            Err(error) => self.outcome.failures.push(error.failure(kind)),
        }
    }

    async fn write(&mut self, intent: &Intent) {
        let kind = intent.kind();
        match self.plan.steps.get(kind) {
            Step::Create => self.create(intent).await,
            step => self.carry_out(intent, step, None).await,
        }
    }

    async fn create(&mut self, intent: &Intent) {
        let kind = intent.kind();
        if let Some(message) = intent.duplicate() {
            let failure = Failure {
                child: kind,
                kind: refused_spec(kind),
                message,
                retry_after: None,
            };
            return self.record(kind, Err(failure));
        }
        match self.rest.create(self.target(kind), &intent.creation_body()).await {
            Ok(live) => {
                let applied = Applied {
                    uid: live.uid().to_owned(),
                    hash: intent.hash().to_owned(),
                    action: Action::Created,
                    live: Some(live),
                };
                self.record(kind, Ok(applied));
            }
            Err(error) if error.is_already_exists() => self.name_is_taken(intent, &error).await,
            Err(error) => self.record(kind, Err(error.failure(kind))),
        }
    }

    /// The name is taken: by a stranger, or by our own object that the cache doesn't show yet (or, without our label,
    /// can't).
    async fn name_is_taken(&mut self, intent: &Intent, error: &Error) {
        let kind = intent.kind();
        match self.rest.get(self.target(kind)).await {
            Ok(Some(object)) => {
                let live = Live::new(object);
                // A Deployment keeps its selector, and so its intent depends on the one that is there.
                let rebuilt = (kind == ChildKind::Deployment)
                    .then(|| build_over(self.workload, Some(&live)).deployment)
                    .flatten();
                let intent = rebuilt.as_ref().unwrap_or(intent);
                match step(&self.plan.claim, Some(intent), Some(&live)) {
                    Step::Refuse(Refusal::Foreign) => {
                        let failure = Failure {
                            kind: FailureKind::NameConflict,
                            ..error.failure(kind)
                        };
                        self.record(kind, Err(failure));
                    }
                    Step::Apply {
                        uid,
                        reason: Reason::Drift(_) | Reason::Adoption,
                        ..
                    } if self.plan.held.contains(&kind) => {
                        self.carry_out(intent, &Step::Hold { uid }, Some(live)).await;
                    }
                    // No watch shows an object without our label, nor its end.
                    Step::AwaitDeletion => {
                        let failure = Failure {
                            child: kind,
                            kind: FailureKind::Retry(RetryCause::Conflict),
                            message: format!("another {} of this name is being deleted", kind.kind()),
                            retry_after: None,
                        };
                        self.record(kind, Err(failure));
                    }
                    step => self.carry_out(intent, &step, Some(live)).await,
                }
            }
            // Gone in between: the next pass creates it.
            Ok(None) => self.record(kind, Err(error.failure(kind))),
            Err(error) => self.record(kind, Err(error.failure(kind))),
        }
    }

    /// Carries out a step on an object that exists; `read` is that object, if it was just read.
    async fn carry_out(&mut self, intent: &Intent, step: &Step, read: Option<Live>) {
        let kind = intent.kind();
        match step {
            Step::Nothing { uid } => {
                let applied = uid.as_ref().map(|uid| Applied {
                    uid: uid.clone(),
                    hash: intent.hash().to_owned(),
                    action: Action::None,
                    live: read,
                });
                *self.outcome.children.get_mut(kind) = applied;
            }
            Step::Apply {
                uid,
                convert,
                empties,
                reason,
            } => {
                let result = match self.would_be_valid(intent, *empties).await {
                    Ok(()) => self.update(intent, uid, *convert, reason).await,
                    Err(error) => Err(error),
                };
                self.record(kind, result.map_err(|error| error.failure(kind)));
            }
            Step::Hold { uid } => {
                let applied = Applied {
                    uid: uid.clone(),
                    hash: intent.hash().to_owned(),
                    action: Action::None,
                    live: read,
                };
                self.record(kind, Ok(applied));
            }
            Step::AwaitDeletion => self.await_deletion(kind),
            Step::Refuse(refusal) => self.record(kind, Err(refused(kind, refusal))),
            // With an intent and an object, neither is ever a step.
            Step::Create | Step::Delete { .. } => {}
        }
    }

    async fn update(
        &self,
        intent: &Intent,
        uid: &str,
        convert: bool,
        reason: &Reason,
    ) -> Result<Applied, Error> {
        let target = self.target(intent.kind());
        let before = match reason {
            Reason::Adoption => {
                self.rewrite_managed_fields(target, managed_fields::taken_over)
                    .await?
            }
            Reason::NewIntent | Reason::Drift(_) if convert => {
                self.rewrite_managed_fields(target, managed_fields::converted)
                    .await?
            }
            Reason::NewIntent | Reason::Drift(_) => None,
        };
        let (mut live, mut overrides) = self.apply(intent, uid).await?;
        let mut unsettled = self.unsettled(intent, &live);
        if unsettled.is_some() {
            // An object that an apply empties is dropped by it. The next one puts it there, empty, as it was intended.
            let (settled, more) = self.apply(intent, uid).await?;
            unsettled = self.unsettled(intent, &settled);
            live = settled;
            overrides.extend(more);
        }
        let template = |object: &Object| object.get("spec").and_then(|spec| spec.get("template")).cloned();
        let action = match reason {
            // Not by its generation: that counts defaults that went and came back.
            Reason::Adoption => Some(Action::Adopted {
                changed: before.as_ref().and_then(template) != template(live.object()),
            }),
            Reason::NewIntent | Reason::Drift(_) => None,
        };
        let field = match reason {
            Reason::NewIntent | Reason::Adoption => None,
            Reason::Drift(field) => Some(field.clone()),
        };
        let corrected = field.is_some() || !overrides.is_empty();
        let correction = corrected.then_some(Correction { field, overrides });
        Ok(Applied {
            uid: live.uid().to_owned(),
            hash: intent.hash().to_owned(),
            action: action.unwrap_or(Action::Updated {
                correction,
                unsettled,
            }),
            live: Some(live),
        })
    }

    /// The first intended field that an answer lacks.
    fn unsettled(&self, intent: &Intent, live: &Live) -> Option<String> {
        match step(&self.plan.claim, Some(intent), Some(live)) {
            Step::Apply {
                reason: Reason::Drift(field),
                ..
            } => Some(field),
            Step::Apply {
                reason: Reason::NewIntent | Reason::Adoption,
                ..
            } => Some("metadata".into()),
            Step::Nothing { .. }
            | Step::Hold { .. }
            | Step::Create
            | Step::Delete { .. }
            | Step::AwaitDeletion
            | Step::Refuse(_) => None,
        }
    }

    /// What an apply empties it drops, so that the apiserver would not say what is wrong with it: a probe without a
    /// handler, for instance. Of a POST it does. Nothing in another child is wrong for being empty.
    async fn would_be_valid(&self, intent: &Intent, empties: bool) -> Result<(), Error> {
        if empties && intent.kind() == ChildKind::Deployment {
            let target = self.target(intent.kind());
            self.rest.would_create(target, &intent.creation_body()).await?;
        }
        Ok(())
    }

    /// Applies an intent, past what the API added by default to an earlier one. Also whose fields were overwritten.
    async fn apply(&self, intent: &Intent, uid: &str) -> Result<(Live, Vec<Override>), Error> {
        match self.try_apply(intent, uid).await {
            Err(error) if error.is_invalid() => {
                let target = self.target(intent.kind());
                let before = self
                    .rewrite_managed_fields(target, managed_fields::claimed)
                    .await?;
                if before.as_ref().and_then(managed_fields::claimed).is_none() {
                    return Err(error);
                }
                self.try_apply(intent, uid).await
            }
            result => result,
        }
    }

    async fn try_apply(&self, intent: &Intent, uid: &str) -> Result<(Live, Vec<Override>), Error> {
        let target = self.target(intent.kind());
        match self.rest.apply(target, uid, intent.body(), Force::No).await {
            Ok(live) => Ok((live, Vec::new())),
            Err(error) => {
                let overrides = error.overrides();
                if overrides.is_empty() {
                    return Err(error);
                }
                let live = self.rest.apply(target, uid, intent.body(), Force::Yes).await?;
                Ok((live, overrides))
            }
        }
    }

    /// Before the first apply to an object; the object as it was then. Others write to it meanwhile, hence the attempts.
    async fn rewrite_managed_fields(
        &self,
        target: Target<'_>,
        rewritten: fn(&Object) -> Option<Vec<Value>>,
    ) -> Result<Option<Object>, Error> {
        let mut attempt = 1;
        loop {
            // If it is gone, the apply says so.
            let Some(object) = self.rest.get(target).await? else {
                return Ok(None);
            };
            let Some(entries) = rewritten(&object) else {
                return Ok(Some(object));
            };
            match self.rest.replace_managed_fields(target, &object, entries).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                result => return result.map(|()| Some(object)),
            }
        }
    }

    /// Applies the Deployment's replicas, once the autoscaler is seen gone by the apiserver itself: a cache may lag
    /// behind, and two that set replicas would take turns.
    async fn replicas(&mut self, count: i32) {
        match self.try_replicas(count).await {
            Ok(Some((live, overrides))) => {
                self.outcome.replicas = Some(ReplicasApplied { count, overrides });
                if let Some(deployment) = &mut self.outcome.children.deployment {
                    deployment.live = Some(live);
                }
            }
            Ok(None) => {}
            Err(error) => self.outcome.failures.push(error.failure(ChildKind::Deployment)),
        }
    }

    /// The Deployment afterwards, and whose replicas were overwritten.
    async fn try_replicas(&mut self, count: i32) -> Result<Option<(Live, Vec<Override>)>, Error> {
        let autoscaler = self
            .rest
            .get(self.target(ChildKind::HorizontalPodAutoscaler))
            .await?
            .map(Live::new);
        if autoscaler.is_some_and(|live| live.controller() == Some(&self.workload.uid)) {
            self.await_deletion(ChildKind::HorizontalPodAutoscaler);
            return Ok(None);
        }
        let target = self.target(ChildKind::Deployment);
        let mut attempt = 1;
        loop {
            let Some(live) = self.rest.get(target).await?.map(Live::new) else {
                return Ok(None);
            };
            let ours = live.controller() == Some(&self.workload.uid) && !live.is_deleting();
            if !ours || live.replicas() == Some(i64::from(count)) {
                return Ok(None);
            }
            // Without force first, to learn who set them.
            let mut result = self.rest.apply_replicas(target, &live, count, Force::No).await;
            let overrides = result.as_ref().err().map(Error::overrides).unwrap_or_default();
            if !overrides.is_empty() {
                result = self.rest.apply_replicas(target, &live, count, Force::Yes).await;
            }
            match result {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                result => return result.map(|live| Some((live, overrides))),
            }
        }
    }
}

fn refused(kind: ChildKind, refusal: &Refusal) -> Failure {
    let noun = kind.kind();
    let (kind_of_failure, message) = match refusal {
        Refusal::Foreign => (
            FailureKind::NameConflict,
            format!("a {noun} of this name exists that Lockstep did not make for this resource"),
        ),
        Refusal::Controlled(controller) => (
            FailureKind::NameConflict,
            format!("a {noun} of this name exists that {controller} controls"),
        ),
        Refusal::OwnershipLost => (
            FailureKind::OwnershipLost,
            format!("the {noun} no longer names this resource as its controller in ownerReferences"),
        ),
    };
    Failure {
        child: kind,
        kind: kind_of_failure,
        message,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_child_is_written() {
        let mut order = ORDER;
        order.sort();
        assert_eq!(order, ChildKind::ALL);
    }
}
