//! The PodDisruptionBudget's spec. Pure.

use serde_json::{Map, Value};

use super::selector;
use crate::domain::workload::{BudgetBound, Workload};

/// `PodDisruptionBudgetSpec`; `None`: turned off.
pub(super) fn spec(workload: &Workload) -> Option<Map<String, Value>> {
    let budget = workload.disruption_budget.as_ref()?;
    let (field, value) = match &budget.bound {
        BudgetBound::MinAvailable(value) => ("minAvailable", value),
        BudgetBound::MaxUnavailable(value) => ("maxUnavailable", value),
    };
    let mut spec = Map::new();
    spec.insert("selector".into(), selector(workload));
    spec.insert(field.into(), value.clone());
    spec.insert(
        "unhealthyPodEvictionPolicy".into(),
        budget.unhealthy_pod_eviction_policy.as_str().into(),
    );
    Some(spec)
}
