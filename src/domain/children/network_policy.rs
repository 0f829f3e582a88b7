//! The NetworkPolicy's spec. Pure.

use serde_json::{Map, Value, json};

use super::{selector, service};
use crate::domain::{
    template::{lasting_containers, protocol},
    workload::Workload,
};

/// DNS: 53, and 5353, where `OpenShift`'s DNS pods listen. To anywhere: a node-local cache is no pod that a selector
/// could name.
const DNS_PORTS: [u16; 2] = [53, 5353];

/// `NetworkPolicySpec`; `None`: turned off, or nothing would be isolated. A policy that isolates nothing would have to
/// allow everything, and so take back what other policies of the namespace deny.
pub(super) fn spec(workload: &Workload) -> Option<Map<String, Value>> {
    let policy = workload.network_policy.as_ref()?;
    let ingress = match &policy.ingress {
        Some(rules) => Some(rules.iter().cloned().map(Value::Object).collect()),
        None => default_ingress(workload),
    };
    let egress = policy.egress.as_ref().map(|rules| {
        let rules = rules.iter().cloned().map(Value::Object);
        rules.chain(additional_egress(workload)).collect::<Vec<Value>>()
    });

    let mut types = Vec::new();
    let mut spec = Map::new();
    // An empty list of rules denies everything; the API drops it, the policy type says it.
    for (direction, field, rules) in [("Ingress", "ingress", ingress), ("Egress", "egress", egress)] {
        if let Some(rules) = rules {
            types.push(direction);
            if !rules.is_empty() {
                spec.insert(field.into(), Value::Array(rules));
            }
        }
    }
    if types.is_empty() {
        return None;
    }
    spec.insert("podSelector".into(), selector(workload));
    spec.insert("policyTypes".into(), json!(types));
    Some(spec)
}

/// Every port from the same namespace, the declared ones from anywhere; `None` where none is declared: nobody knows
/// what the application listens on, so nothing is closed.
fn default_ingress(workload: &Workload) -> Option<Vec<Value>> {
    let ports = declared_ports(workload);
    (!ports.is_empty()).then(|| {
        vec![
            json!({ "from": [{ "podSelector": {} }] }),
            json!({ "ports": ports }),
        ]
    })
}

/// The ports that the template and the Service declare, each once, as a rule names them: number and protocol.
pub(in crate::domain) fn declared_ports(workload: &Workload) -> Vec<Value> {
    let of_containers = lasting_containers(&workload.template)
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten()
        .filter_map(|port| Some((port.get("containerPort")?.as_u64()?, protocol(port))));
    let mut ports = Vec::new();
    for (number, protocol) in of_containers.chain(service::numeric_targets(workload)) {
        let entry = json!({ "port": number, "protocol": protocol });
        if !ports.contains(&entry) {
            ports.push(entry);
        }
    }
    ports
}

/// What a workload of ours can't do without: names, and its locks.
fn additional_egress(workload: &Workload) -> Vec<Value> {
    let dns: Vec<Value> = DNS_PORTS
        .iter()
        .flat_map(|port| ["UDP", "TCP"].map(|protocol| json!({ "port": port, "protocol": protocol })))
        .collect();
    let mut rules = vec![json!({ "ports": dns })];
    let redis = workload.store_ports.iter();
    let redis: Vec<Value> = redis
        .map(|port| json!({ "port": port, "protocol": "TCP" }))
        .collect();
    // Without ports, the rule would let everything out.
    if !redis.is_empty() {
        rules.push(json!({ "ports": redis }));
    }
    rules
}
