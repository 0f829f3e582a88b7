//! The pure core: what should be, what is concluded, what is said. No client, no clock, no task, no randomness.
//!
//! [`decide`] takes what was gathered and says what to do; it can't fail: a spec that can't be used is a finding.
//! [`report`] takes what came of it and says the status. Between them lies the execution, in `reconcile`.
//!
//! Two things here have state, both plain values with injected time: [`locks::table`] (one per endpoint) and
//! [`memory::Memory`] (one per workload).

pub mod advisory;
pub mod assessment;
pub mod balance;
pub mod category;
pub mod children;
pub mod drift;
pub mod finding;
pub mod incident;
pub mod judgement;
pub mod locks;
pub mod memory;
pub mod neighbours;
pub mod ownership;
pub mod repeats;
pub mod rollout;
pub mod selector;
#[cfg(test)]
mod simulation;
pub mod status;
pub mod template;
pub mod workload;

use jiff::{SignedDuration, Timestamp};

use self::{
    assessment::{Assessment, StoreView, assess},
    children::{Children, Live, LiveChildren, Outcome, Plan, Prepared},
    locks::Mono,
    memory::Memory,
    neighbours::Neighbours,
    ownership::PodView,
    rollout::DeploymentView,
    workload::{Problem, Workload},
};
use crate::api::{CoordinatedWorkload, CoordinatedWorkloadStatus, spec::ConflictPolicy};

/// The present moment on both clocks: verdicts use the monotonic one, people the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// Local monotonic clock.
    pub mono: Mono,
    /// Wall clock.
    pub wall: Timestamp,
}

impl Now {
    /// What the wall clock shows, or showed, at `at`.
    #[must_use]
    pub fn wall_at(&self, at: Mono) -> Timestamp {
        let ahead = SignedDuration::try_from(at.since(self.mono)).unwrap_or_default();
        let behind = SignedDuration::try_from(self.mono.since(at)).unwrap_or_default();
        self.wall.checked_add(ahead - behind).unwrap_or(self.wall)
    }
}

/// Everything that a decision is made from.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The resource, with the status that was written last.
    pub resource: &'a CoordinatedWorkload,
    /// Its spec, parsed, or what is wrong with it.
    pub workload: &'a Result<Workload, Vec<Problem>>,
    /// Its children, as the caches hold them.
    pub live: &'a LiveChildren,
    /// Its pods.
    pub pods: &'a [PodView],
    /// Others' objects that act on its pods.
    pub neighbours: &'a Neighbours,
    /// Its store; `None` without `spec.redis`.
    pub store: Option<&'a StoreView>,
}

impl Observed<'_> {
    /// Whether this is another spec than one that was reported on before; not so if it is the first.
    #[must_use]
    pub fn is_changed_spec(&self) -> bool {
        let reported = self
            .resource
            .status
            .as_ref()
            .map(|status| status.observed_generation);
        reported.is_some_and(|reported| reported > 0) && reported != self.resource.metadata.generation
    }

    /// The live Deployment, unless it is somebody else's of the same name.
    #[must_use]
    pub fn deployment(&self) -> Option<&Live> {
        let listed = self
            .resource
            .status
            .as_ref()
            .map(|status| status.children.as_slice());
        self.live.deployment.as_ref().filter(|live| {
            let known = listed
                .unwrap_or_default()
                .iter()
                .any(|child| child.uid == live.uid());
            known || live.controller() == self.resource.metadata.uid.as_deref()
        })
    }
}

/// What to do, and what is concluded.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What should be, and what is left to do about it; `None`: the spec can't be used.
    pub children: Option<(Children<Prepared>, Plan)>,
    /// Store and locks.
    pub assessment: Assessment,
}

/// Decides: what the children should be, and what is to be concluded of the locks. Memory moves forward.
#[must_use]
pub fn decide(observed: &Observed<'_>, memory: &mut Memory, now: Now) -> Decision {
    memory.see_pods(observed.pods, now.mono, now.wall);
    let listed = observed
        .resource
        .status
        .as_ref()
        .map(|status| status.children.as_slice())
        .unwrap_or_default();
    let children = observed.workload.as_ref().ok().map(|workload| {
        let prepared = children::build_over(workload, kept_deployment(workload, observed.live));
        let mut plan = children::plan(workload, &prepared, observed.live, listed);
        memory
            .children
            .drift
            .hold(&mut plan, &prepared, workload.scaling.fixed(), now.mono);
        (prepared, plan)
    });
    let rollout = observed
        .deployment()
        .map(DeploymentView::of)
        .map(|deployment| deployment.rollout())
        .unwrap_or_default();
    let assessment = if let Ok(workload) = observed.workload {
        assess(
            workload,
            observed.store,
            &observed.neighbours.pods,
            rollout,
            memory,
            now,
        )
    } else {
        memory.interrupt(now.mono);
        Assessment::unjudged()
    };
    Decision { children, assessment }
}

/// The Deployment whose selector is kept: ours, or one that may become ours.
#[must_use]
pub fn kept_deployment<'a>(workload: &Workload, live: &'a LiveChildren) -> Option<&'a Live> {
    let ours = |live: &Live| match live.controller() {
        Some(controller) => controller == workload.uid,
        None => workload.conflict_policy == ConflictPolicy::Adopt,
    };
    live.deployment.as_ref().filter(|live| ours(live))
}

/// Says the status that follows from a decision and what came of it. `outcome` is `None` if nothing was tried.
#[must_use]
pub fn report(
    observed: &Observed<'_>,
    decision: &Decision,
    outcome: Option<&Outcome>,
    memory: &mut Memory,
    now: Now,
) -> CoordinatedWorkloadStatus {
    status::report(observed, decision, outcome, memory, now)
}
