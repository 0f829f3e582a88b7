//! Advice on the number of replicas.

use super::{Advice, Advised};
use crate::{
    api::{CoordinatedWorkloadSpec, spec::Hold},
    domain::workload::Scaling,
};

/// A wanted minimum of 1, whether there are locks or not: the contract makes no difference, and a workload that
/// coordinates has more than one replica in mind. 0 is a decision to stand still.
pub(super) fn single(advised: &Advised<'_>) -> Option<Advice> {
    let (wanted, field) = match &advised.workload.scaling {
        Scaling::Fixed {
            replicas: Some(replicas),
        } => (*replicas, "spec.replicas"),
        // Not Lockstep's number: what the Deployment wants counts, and it begins with 1.
        Scaling::Fixed { replicas: None } => (
            advised.deployment.map_or(1, |deployment| deployment.wanted),
            "spec.replicas is absent, and the Deployment's",
        ),
        Scaling::Managed { min, .. } => (*min, "spec.autoscaling.minReplicas"),
        Scaling::External { .. } => return None,
    };
    (wanted == 1).then(|| {
        let what = if continuous_locks(advised.spec) > 0 {
            "locks"
        } else {
            "work"
        };
        Advice::new(
            format!(
                "{field} is 1: when the only pod goes (an eviction, a crash, its node), nobody takes over its {what} \
                 until a new one is up."
            ),
            "Want at least 2.",
        )
    })
}

/// Replicas beyond the Continuous locks only stand by. Not said where the spec shows that they have other work
/// (Intermittent locks, a Service), nor of one replica that stands by for a single lock: with fewer nobody takes over.
pub(super) fn exceed_locks(advised: &Advised<'_>) -> Option<Advice> {
    let (most, field) = match &advised.workload.scaling {
        Scaling::Fixed { replicas } => ((*replicas)?, "spec.replicas"),
        Scaling::Managed { max, .. } => (*max, "spec.autoscaling.maxReplicas"),
        Scaling::External { .. } => return None,
    };
    let locks = continuous_locks(advised.spec);
    let intermittent = advised
        .spec
        .locks
        .iter()
        .any(|set| set.hold == Hold::Intermittent);
    let other_work = advised.spec.service.is_some() || intermittent;
    if locks == 0 || other_work || usize::try_from(most).unwrap_or(0) <= locks.max(2) {
        return None;
    }
    let there = if locks == 1 {
        "there is 1 Continuous lock".to_owned()
    } else {
        format!("there are {locks} Continuous locks")
    };
    Some(Advice::new(
        format!(
            "{field} is {most}, but {there}: pods beyond that only stand by, and load on those that hold a lock is not \
             lowered by them."
        ),
        "Lower it, or leave it if the pods also do work that needs no lock.",
    ))
}

/// `replicas` beside autoscaling is where the count starts; afterwards it says something that is not so.
pub(super) fn ignored(advised: &Advised<'_>) -> Option<Advice> {
    let (replicas, who) = match &advised.workload.scaling {
        Scaling::Fixed { .. } => return None,
        Scaling::Managed {
            min, max, replicas, ..
        } if min == max => (
            (*replicas)?,
            "spec.autoscaling, with minReplicas equal to maxReplicas, decides",
        ),
        Scaling::Managed { replicas, .. } => ((*replicas)?, "the HorizontalPodAutoscaler decides"),
        Scaling::External { replicas } => (
            (*replicas)?,
            "something else decides, by spec.autoscaling.mode: External,",
        ),
    };
    // The Deployment's number is left out: it would be written anew with every scaling.
    (advised.deployment?.wanted != replicas).then(|| {
        Advice::new(
            format!(
                "spec.replicas is {replicas} and the Deployment wants another number: {who} on it, and changing \
                 spec.replicas (kubectl scale of this resource) has no effect."
            ),
            "Leave out spec.replicas, and set the limits in spec.autoscaling or where it is scaled.",
        )
    })
}

fn continuous_locks(spec: &CoordinatedWorkloadSpec) -> usize {
    let continuous = spec.locks.iter().filter(|set| set.hold == Hold::Continuous);
    continuous.map(|set| set.names.len()).sum()
}
