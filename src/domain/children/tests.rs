//! What the children should be, and the plan that leads there.

mod intents;
mod plans;
mod properties;

use serde_json::{Value, json};

use super::*;
use crate::api::spec::ConflictPolicy;
use crate::api::status::Child;
use crate::domain::workload::{Budget, BudgetBound, Policy, Scaling, Service};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn workload() -> Workload {
    Workload {
        name: "web".into(),
        namespace: "shop".into(),
        uid: "uid-1".into(),
        generation: 1,
        template: map(json!({
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [
                { "name": "web", "image": "web:1", "env": [{ "name": "A", "value": "$(POD_NAME)" }],
                  "ports": [{ "containerPort": 80 }, { "containerPort": 80, "protocol": "TCP" }] },
            ] },
        })),
        deployment: Map::new(),
        scaling: Scaling::Fixed { replicas: Some(2) },
        disruption_budget: Some(Budget {
            bound: BudgetBound::MaxUnavailable(1.into()),
            unhealthy_pod_eviction_policy: "AlwaysAllow".into(),
        }),
        network_policy: Some(Policy {
            ingress: None,
            egress: None,
        }),
        inject_env: true,
        topology_spread: true,
        service: None,
        store: None,
        store_ports: Vec::new(),
        locks: Vec::new(),
        suspend: false,
        conflict_policy: ConflictPolicy::Fail,
    }
}

fn managed(min: i32, max: i32, replicas: Option<i32>) -> Scaling {
    Scaling::Managed {
        min,
        max,
        metrics: Vec::new(),
        behavior: None,
        replicas,
    }
}

/// The object that an apiserver would make of an intent, if it defaulted nothing.
fn created(intent: &Intent) -> Live {
    let mut object = intent.creation_body();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.insert("uid".into(), format!("uid-of-{}", intent.kind().kind()).into());
        metadata.insert("resourceVersion".into(), "1".into());
    }
    Live::new(object)
}

fn all_created(children: &Children<Prepared>) -> LiveChildren {
    Children::from_fn(|kind| children.get(kind).as_ref().map(created))
}

fn deployment(workload: &Workload) -> Value {
    Value::Object(build(workload).deployment.unwrap().body().clone())
}

fn planned(workload: &Workload, live: &LiveChildren) -> Plan {
    plan(workload, &build(workload), live, &[])
}
