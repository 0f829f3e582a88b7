//! Advice about others that act on the same objects, and about work that was done twice.

use super::{Advice, Advised, listed};
use crate::domain::{neighbours::Target, repeats::NEXT_STEP, workload::Scaling};

/// Somebody insists on other values than the spec's; Ready is False meanwhile.
pub(super) fn field_conflict(advised: &Advised<'_>) -> Option<Advice> {
    let fights: Vec<_> = advised
        .drift
        .fights(advised.now)
        .map(|row| format!("{} over {} of the {}", row.rival, row.field, row.what))
        .collect();
    (!fights.is_empty()).then(|| {
        Advice::new(
            format!(
                "Lockstep and another writer change the same field in turns: {}. Lockstep goes on, ever more rarely.",
                listed(&fights)
            ),
            "Stop the other writer, or put the value that it wants into the spec.",
        )
    })
}

/// What was changed back within the hour, and is no fight.
pub(super) fn drift_corrected(advised: &Advised<'_>) -> Option<Advice> {
    let fights: Vec<_> = advised.drift.fights(advised.now).collect();
    let corrected: Vec<_> = advised
        .drift
        .recent(advised.now)
        .filter(|row| !fights.contains(row))
        .map(|row| format!("{} of the {} by {}", row.field, row.what, row.rival))
        .collect();
    (!corrected.is_empty()).then(|| {
        Advice::new(
            format!(
                "within the last hour Lockstep changed back what others had changed: {}.",
                listed(&corrected)
            ),
            "Change the CoordinatedWorkload instead of its objects.",
        )
    })
}

/// An autoscaler that the spec makes no room for. One may scale the Deployment with `mode: External`, or the resource
/// with `replicas` and without `autoscaling`; never two, for they would take turns.
pub(super) fn foreign_autoscaler(advised: &Advised<'_>) -> Option<Advice> {
    let all = &advised.neighbours.autoscalers;
    let allowed = match advised.workload.scaling {
        Scaling::External { .. } => Some(Target::Deployment),
        Scaling::Fixed { replicas: Some(_) } => Some(Target::Resource),
        Scaling::Fixed { replicas: None } | Scaling::Managed { .. } => None,
    };
    let fits = all.len() == 1 && all.iter().all(|(_, target)| Some(*target) == allowed);
    if all.is_empty() || fits {
        return None;
    }
    let names: Vec<_> = all
        .iter()
        .map(|(name, target)| match target {
            Target::Deployment => format!("HorizontalPodAutoscaler {name} (of the Deployment)"),
            Target::Resource => format!("HorizontalPodAutoscaler {name} (of this resource)"),
        })
        .collect();
    let (why, next_step) = match advised.workload.scaling {
        Scaling::Managed { min, max, .. } if min == max => (
            "while spec.autoscaling fixes the replicas (minReplicas equals maxReplicas): Lockstep and it undo each \
             other's work",
            "Delete it, or set spec.autoscaling.mode to External and leave the other fields out.",
        ),
        Scaling::Managed { .. } => (
            "besides the one of spec.autoscaling: two autoscalers undo each other's work",
            "Delete it, or set spec.autoscaling.mode to External and leave the other fields out.",
        ),
        Scaling::Fixed { .. } if all.len() == 1 => (
            "while the spec makes no room for it",
            "Set spec.autoscaling.mode to External for one of the Deployment; for one of this resource give \
             spec.replicas and no spec.autoscaling.",
        ),
        Scaling::Fixed { .. } | Scaling::External { .. } => (
            "and only one of them may: of the Deployment with spec.autoscaling.mode External, of this resource without",
            "Delete what is too much.",
        ),
    };
    Some(Advice::new(
        format!("{} scales this workload too, {why}.", listed(&names)),
        next_step,
    ))
}

/// What was taken twice within the hour.
pub(super) fn lock_repeated(advised: &Advised<'_>) -> Option<Advice> {
    let locks: Vec<_> = advised
        .repeats
        .recent(advised.now)
        .map(|(set, lock)| format!("{lock} (set {set})"))
        .collect();
    (!locks.is_empty()).then(|| {
        Advice::new(
            format!(
                "within the last hour a lock that is to be taken once in its period was taken twice within half of it: {}.",
                listed(&locks)
            ),
            NEXT_STEP,
        )
    })
}
