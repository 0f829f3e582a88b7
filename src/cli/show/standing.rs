//! Whether a workload is well, in one word: the exit code of `status`. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{View, text::Tone};
use crate::api::conditions::{ConditionType, Reason};

/// Whether a workload is well.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    /// This spec runs, and nothing is wrong with its locks.
    Well,
    /// It can't be said, or not yet: work goes on, or Redis has not been read.
    Unknown,
    /// Somebody must look at it.
    Wrong,
}

impl Standing {
    /// Of the workload as a whole.
    #[must_use]
    pub fn of(view: &View<'_>) -> Self {
        if view.caveat().is_some() {
            return Self::Unknown;
        }
        let conditions = view.status().conditions.iter();
        let said = conditions
            .map(|condition| of(view, condition))
            .max()
            .unwrap_or(Self::Unknown);
        // What was well may not be any more; what was wrong still wants somebody to look.
        if view.abandoned().is_some() {
            return said.max(Self::Unknown);
        }
        said
    }

    /// In which colour it is shown.
    #[must_use]
    pub fn tone(self) -> Tone {
        match self {
            Self::Well => Tone::Good,
            Self::Unknown => Tone::Unsure,
            Self::Wrong => Tone::Bad,
        }
    }
}

/// What one condition means for the whole.
#[must_use]
pub fn of(view: &View<'_>, condition: &Condition) -> Standing {
    let type_ = ConditionType::ALL
        .iter()
        .find(|type_| type_.as_str() == condition.type_);
    let Some(type_) = type_ else {
        // Of a newer operator: what it means is not known here.
        return Standing::Well;
    };
    let is_working = view.is(ConditionType::Reconciling, "True");
    match (type_, condition.status.as_str()) {
        (ConditionType::Reconciling, "True") => Standing::Unknown,
        (ConditionType::Stalled, "True") => Standing::Wrong,
        // By wish.
        (ConditionType::Reconciling | ConditionType::Stalled | ConditionType::Suspended, _) | (_, "True") => {
            Standing::Well
        }
        // A rollout is not yet a fault, nor are the pods that it waits for.
        (ConditionType::Ready | ConditionType::Available, "False") if is_working => Standing::Unknown,
        (_, "False") => Standing::Wrong,
        // Nothing is wrong that could be told: of these three an Unknown may last, and StoreReachable speaks for the rest.
        (ConditionType::StoreSafe | ConditionType::LocksBalanced | ConditionType::DisruptionsAllowed, _) => {
            Standing::Well
        }
        (ConditionType::LocksHeld, _) if condition.reason == Reason::NoReplicasWanted.as_str() => {
            Standing::Well
        }
        (
            ConditionType::Ready
            | ConditionType::Available
            | ConditionType::StoreReachable
            | ConditionType::LocksHeld
            | ConditionType::ScalingActive,
            _,
        ) => Standing::Unknown,
    }
}
