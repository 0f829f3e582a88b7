//! From a workload without advice, one change at a time: which code it gives, in which words, and what gives none.

mod locks;
mod network;
mod others;
mod owners;
mod replicas;
mod store;
mod template;

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::{api::CoordinatedWorkload, domain::workload};

/// A workload that nothing can be advised on. TLS is put into the spec after parsing: this version would not observe it.
fn quiet() -> Value {
    json!({
        "replicas": 2,
        "template": { "spec": { "containers": [container("app")] } },
        "networkPolicy": { "enabled": false },
        "redis": { "url": "redis://redis:6379", "passwordFrom": { "secretKeyRef": { "name": "redis", "key": "p" } } },
        "locks": [set("jobs", &["x", "y"])],
    })
}

fn container(name: &str) -> Value {
    json!({
        "name": name, "image": "x",
        "ports": [{ "name": "web", "containerPort": 8080 }],
        "readinessProbe": { "httpGet": { "path": "/ready", "port": "web" } },
        "livenessProbe": { "httpGet": { "path": "/live", "port": "web" } },
        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
    })
}

fn set(name: &str, names: &[&str]) -> Value {
    json!({ "name": name, "hold": "Continuous", "dialect": "Rigatoni", "names": names })
}

/// What is advised on, owned.
struct Case {
    resource: CoordinatedWorkload,
    workload: Workload,
    deployment: Option<DeploymentView>,
    store: Option<StoreView>,
    neighbours: Neighbours,
    drift: Drift,
    now: Mono,
    previous: Vec<Advisory>,
}

impl Case {
    /// Changes the quiet spec, given by JSON pointers, and parses it; `later` are changes that parsing doesn't see.
    fn with(changes: &[(&str, Value)], later: &[(&str, Value)]) -> Self {
        let mut spec = quiet();
        change(&mut spec, changes);
        let resource = |spec: &Value| -> CoordinatedWorkload {
            serde_json::from_value(json!({
                "apiVersion": "lockstep.dev/v1alpha1",
                "kind": "CoordinatedWorkload",
                "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "generation": 1 },
                "spec": spec,
            }))
            .unwrap()
        };
        let workload = workload::parse(&resource(&spec)).unwrap();
        if spec.pointer("/redis/url").is_some() && !changes.iter().any(|(at, _)| at.starts_with("/redis")) {
            spec["redis"]["url"] = json!("rediss://redis:6379");
        }
        change(&mut spec, later);
        Self::new(resource(&spec), workload)
    }

    /// With nothing seen yet.
    fn new(resource: CoordinatedWorkload, workload: Workload) -> Self {
        Self {
            resource,
            workload,
            deployment: None,
            store: None,
            neighbours: Neighbours::default(),
            drift: Drift::default(),
            now: Mono::default(),
            previous: vec![],
        }
    }

    fn of(changes: &[(&str, Value)]) -> Self {
        Self::with(changes, &[])
    }

    fn wanting(mut self, wanted: i32) -> Self {
        self.deployment = Some(DeploymentView {
            wanted,
            ..DeploymentView::default()
        });
        self
    }

    fn advice(&self) -> Vec<Advisory> {
        advise(&Advised {
            spec: &self.resource.spec,
            workload: &self.workload,
            deployment: self.deployment.as_ref(),
            store: self.store.as_ref(),
            neighbours: &self.neighbours,
            drift: &self.drift,
            repeats: &Repeats::default(),
            now: self.now,
            previous: &self.previous,
        })
    }

    /// Codes that are said, in their order.
    fn codes(&self) -> Vec<String> {
        self.advice().into_iter().map(|said| said.code).collect()
    }

    /// What is said under this code.
    fn under(&self, code: AdvisoryCode) -> Option<String> {
        let mut said = self.advice().into_iter();
        said.find(|said| said.code == code.as_str())
            .map(|said| said.message)
    }

    /// The one thing that is said.
    fn message(&self, code: AdvisoryCode) -> String {
        let said = self.advice();
        assert_eq!(
            said.iter().map(|said| said.code.as_str()).collect::<Vec<_>>(),
            [code.as_str()],
            "{said:#?}"
        );
        said[0].message.clone()
    }
}

/// Sets values at JSON pointers; null takes away.
fn change(spec: &mut Value, changes: &[(&str, Value)]) {
    for (at, value) in changes {
        let (parent, field) = at.rsplit_once('/').unwrap();
        let parent = spec.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
        match parent {
            Value::Array(items) => items.push(value.clone()),
            _ if value.is_null() => {
                parent.as_object_mut().unwrap().remove(field);
            }
            _ => parent[field] = value.clone(),
        }
    }
}

const CONTAINERS: &str = "/template/spec/containers";
const APP: &str = "/template/spec/containers/0";

fn of_app(field: &str) -> String {
    format!("{APP}/{field}")
}

fn none(changes: &[(&str, Value)]) {
    let case = Case::of(changes);
    assert_eq!(case.codes(), [""; 0], "{changes:?}");
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn a_good_workload_gets_no_advice() {
    none(&[]);
}

#[test]
fn the_order_is_the_one_of_the_codes_and_every_message_is_bounded() {
    // Everything at once, with names as long as they may be.
    let long = "n".repeat(63);
    let containers: Vec<_> = (0..9)
        .map(|at| {
            json!({
                "name": format!("{}{at}", &long[1..]),
                "env": [{ "name": format!("{}REDIS_HOST", "V".repeat(900)), "value": "h".repeat(253) }],
                "livenessProbe": { "exec": {} },
                "ports": [{ "containerPort": 1000 + at }],
            })
        })
        .collect();
    let sets: Vec<_> = (0..16)
        .map(|at| {
            json!({ "name": format!("{}{at:02}", &long[2..]), "hold": "Continuous", "dialect": "Custom", "names": [format!("l{at}")],
                "holder": { "pattern": "(?<owner>.+)" }, "ttl": "59m59s999ms", "renewInterval": "59m59s998ms" })
        })
        .collect();
    let case = Case::of(&[
        (CONTAINERS, json!(containers)),
        ("/locks", json!(sets)),
        ("/networkPolicy", json!({ "ingress": [], "egress": [] })),
        ("/redis", json!({ "url": "redis://redis" })),
        (
            "/autoscaling",
            json!({ "maxReplicas": 99, "targetCPUUtilizationPercentage": 1 }),
        ),
    ])
    .wanting(1);
    let advice = case.advice();
    let order: Vec<_> = AdvisoryCode::ALL.iter().map(|code| code.as_str()).collect();
    let places: Vec<_> = advice
        .iter()
        .map(|said| order.iter().position(|code| *code == said.code).unwrap())
        .collect();
    assert!(places.is_sorted() && places.len() >= 9, "{places:?}");
    for said in advice {
        assert!(said.message.len() <= 1000, "{} bytes", said.message.len());
        // However long what comes before it is, what to do is never cut.
        assert!(said.message.ends_with('.'), "{}", said.message);
    }
}

/// What a new resource in the cluster would be told: its Deployment wants what the spec says.
#[test]
fn the_examples_get_the_advice_that_their_comments_announce() {
    let mut words = String::new();
    for manifest in [
        include_str!("../../../manifests/examples/rigatoni.yaml"),
        include_str!("../../../manifests/examples/reporadar-compose.yaml"),
        include_str!("../../../manifests/examples/reporadar-kubernetes.yaml"),
        include_str!("../../../manifests/examples/mongodb-crud-api.yaml"),
        include_str!("../../../manifests/examples/taskflow.yaml"),
    ] {
        let mut resource: CoordinatedWorkload = serde_yaml::from_str(manifest).unwrap();
        resource.metadata.namespace = Some("default".into());
        let workload = workload::parse(&resource).unwrap();
        let _ = writeln!(words, "{}", resource.metadata.name.as_deref().unwrap());
        let case = Case::new(resource, workload);
        for said in case.wanting(3).advice() {
            let _ = writeln!(words, "  {}\n    {}", said.code, said.message);
        }
    }
    // Read them too: these are the words.
    insta::assert_snapshot!(words);
}
