//! The Service's spec. Pure.

use serde_json::{Map, Value, json};

use crate::api::WORKLOAD_LABEL;
use crate::domain::{template::protocol, workload::Workload};

/// `ServiceSpec`; `None`: none is wanted.
pub(super) fn spec(workload: &Workload) -> Option<Map<String, Value>> {
    let service = workload.service.as_ref()?;
    let mut spec = service.spec.clone();
    if spec
        .get("sessionAffinity")
        .is_none_or(|affinity| affinity != "ClientIP")
    {
        // Dropped by the API, which would look like drift for ever.
        spec.remove("sessionAffinityConfig");
    }
    // Also of a Deployment that was adopted with another selector: its pods bear this label too.
    spec.insert("selector".into(), json!({ WORKLOAD_LABEL: workload.name }));
    Some(spec)
}

/// Ports of the pods that the Service leads to by number, with their protocols; ports that it leads to by name are
/// declared by the containers.
pub(super) fn numeric_targets(workload: &Workload) -> impl Iterator<Item = (u64, &str)> {
    let ports = workload
        .service
        .as_ref()
        .and_then(|service| service.spec.get("ports"))
        .and_then(Value::as_array);
    ports.into_iter().flatten().filter_map(|port| {
        // Without a target, as which it counts 0 and "" too, the API takes the Service's own port.
        let target = port
            .get("targetPort")
            .filter(|target| !target.is_null() && **target != 0 && **target != "");
        let number = target.or(port.get("port"))?.as_u64()?;
        Some((number, protocol(port)))
    })
}
