//! Advice: what would be better otherwise, and is nobody's fault. It never refuses anything and turns no condition. Pure.
//!
//! In: the spec, the workload that was parsed from it, and what is seen of both. Out: the entries of
//! `status.advisories`, the worst first. Every code is said at most once and names up to three places, so that the list
//! is bounded by itself. Only what was changed back is told for a time; and what can't be told at the moment stays as it was said: an
//! unchanged world gets the same advice, also from another operator.

mod locks;
mod network;
mod others;
mod owners;
mod replicas;
mod store;
mod template;
#[cfg(test)]
mod tests;

use super::{
    assessment::StoreView,
    drift::Drift,
    finding::{listed, with_next_step},
    locks::Mono,
    neighbours::Neighbours,
    repeats::Repeats,
    rollout::DeploymentView,
    workload::Workload,
};
use crate::api::{CoordinatedWorkloadSpec, conditions::AdvisoryCode, status::Advisory};

/// Most entries of `status.advisories`.
const MOST: usize = 20;

/// What advice is given on.
#[derive(Clone, Copy, Debug)]
pub struct Advised<'a> {
    /// The spec as written.
    pub spec: &'a CoordinatedWorkloadSpec,
    /// What it means.
    pub workload: &'a Workload,
    /// Its Deployment, if there is one.
    pub deployment: Option<&'a DeploymentView>,
    /// Its store, with `spec.redis`.
    pub store: Option<&'a StoreView>,
    /// Others' objects that act on its pods.
    pub neighbours: &'a Neighbours,
    /// Others' changes that were taken back.
    pub drift: &'a Drift,
    /// Locks that were taken twice.
    pub repeats: &'a Repeats,
    /// The present moment: a correction is told for an hour.
    pub now: Mono,
    /// The advice that status holds.
    pub previous: &'a [Advisory],
}

impl Advised<'_> {
    /// What was said under this code.
    fn said(&self, code: AdvisoryCode) -> Option<&str> {
        let said = self.previous.iter().find(|said| said.code == code.as_str());
        said.map(|said| said.message.as_str())
    }

    /// What a process before this one said of others' changes, and of work done twice: this one knows nothing of them,
    /// and gives them the time that they would have had.
    fn still_said(&self, code: AdvisoryCode) -> Option<&Advisory> {
        let fought = code == AdvisoryCode::FieldConflict && self.drift.may_be_fought(self.now);
        let recent = code == AdvisoryCode::DriftCorrected && self.drift.may_be_recent(self.now);
        let repeated = code == AdvisoryCode::LockRepeated && self.repeats.may_be_recent(self.now);
        let mut previous = self.previous.iter().filter(|_| fought || recent || repeated);
        previous.find(|said| said.code == code.as_str())
    }
}

/// What is said under one code.
struct Advice {
    /// What is so, and why it matters.
    text: String,
    /// What to do.
    next_step: &'static str,
}

impl Advice {
    fn new(text: String, next_step: &'static str) -> Self {
        Self { text, next_step }
    }
}

/// The advice on a workload, worst first.
#[must_use]
pub fn advise(advised: &Advised<'_>) -> Vec<Advisory> {
    let given = AdvisoryCode::ALL.iter().filter_map(|code| {
        if let Some(said) = advised.still_said(*code) {
            return Some(said.clone());
        }
        let Advice { mut text, next_step } = advice(*code, advised)?;
        // A sentence begins with a capital letter, a field as it is written.
        if ["container", "locks ", "more ", "the ", "this ", "within "]
            .iter()
            .any(|word| text.starts_with(word))
        {
            text[..1].make_ascii_uppercase();
        }
        Some(Advisory {
            code: code.to_string(),
            message: with_next_step(&text, next_step),
        })
    });
    given.take(MOST).collect()
}

fn advice(code: AdvisoryCode, advised: &Advised<'_>) -> Option<Advice> {
    let Advised { spec, workload, .. } = *advised;
    match code {
        AdvisoryCode::FieldConflict => others::field_conflict(advised),
        AdvisoryCode::ForeignAutoscaler => others::foreign_autoscaler(advised),
        AdvisoryCode::LockRepeated => others::lock_repeated(advised),
        AdvisoryCode::RedisHostDiffers => store::host_differs(advised),
        AdvisoryCode::LocksWithoutExpiry => locks::without_expiry(advised),
        AdvisoryCode::LocksNotWatched => locks::not_watched(advised),
        AdvisoryCode::TtlDiffers => locks::ttl_differs(advised),
        AdvisoryCode::RenewIntervalLong => locks::renew_interval_long(spec),
        AdvisoryCode::GraceShorterThanHold => locks::grace_shorter_than_hold(spec),
        AdvisoryCode::StoreWithoutPersistence => store::without_persistence(advised),
        AdvisoryCode::StoreWithoutReplica => store::without_replica(advised),
        AdvisoryCode::NoResourceRequests => template::no_resource_requests(workload),
        AdvisoryCode::NoReadinessProbe => template::no_readiness_probe(spec),
        AdvisoryCode::LivenessEqualsReadiness => template::liveness_equals_readiness(spec),
        AdvisoryCode::SingleReplicaWanted => replicas::single(advised),
        AdvisoryCode::PortsUnreachable => network::ports_unreachable(workload),
        AdvisoryCode::RedisPortGuessed => store::port_guessed(advised),
        AdvisoryCode::OwnersNotTold => owners::not_told(advised),
        AdvisoryCode::ReplicasIgnored => replicas::ignored(advised),
        AdvisoryCode::ReplicasExceedLocks => replicas::exceed_locks(advised),
        AdvisoryCode::NotIsolated => network::not_isolated(workload),
        AdvisoryCode::StoreWithoutPassword => store::without_password(spec),
        AdvisoryCode::StoreWithoutTls => store::without_tls(spec),
        AdvisoryCode::PolicyNeedsCni => network::needs_cni(workload),
        AdvisoryCode::DriftCorrected => others::drift_corrected(advised),
    }
}

/// `container a has`, `containers a and b have`.
fn containers_have(names: &[&str]) -> String {
    let list = listed(names);
    if names.len() == 1 {
        format!("container {list} has")
    } else {
        format!("containers {list} have")
    }
}
