//! The HorizontalPodAutoscaler's spec. Pure.

use serde_json::{Map, Value, json};

use super::ChildKind;
use crate::domain::workload::{Scaling, Workload};

/// `HorizontalPodAutoscalerSpec`; `None`: nothing to scale, or something else does it.
pub(super) fn spec(workload: &Workload) -> Option<Map<String, Value>> {
    let Scaling::Managed {
        min,
        max,
        metrics,
        behavior,
        replicas: _,
    } = &workload.scaling
    else {
        return None;
    };
    if min == max {
        return None;
    }
    let mut spec = Map::new();
    spec.insert(
        "scaleTargetRef".into(),
        json!({
            "apiVersion": ChildKind::Deployment.api_version(),
            "kind": ChildKind::Deployment.kind(),
            "name": workload.name,
        }),
    );
    spec.insert("minReplicas".into(), (*min).into());
    spec.insert("maxReplicas".into(), (*max).into());
    if !metrics.is_empty() {
        spec.insert(
            "metrics".into(),
            metrics.iter().cloned().map(Value::Object).collect(),
        );
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), Value::Object(behavior.clone()));
    }
    Some(spec)
}
