//! The definition on a real apiserver: it is accepted, its rules refuse what they should in the words they should, and
//! verbatim parts survive.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use lockstep_cluster::{Cluster, Options};
use serde_json::{Value, json};

#[path = "crd_rules/cases.rs"]
mod cases;

use cases::{accepted, json_patch, refused};

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::start(&Options {
        fake_nodes: 0,
        ..Options::control_plane()
    })
    .unwrap();
    // As a user would, client-side.
    cluster
        .kubectl(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/crds/")])
        .unwrap();
    // `explain` trusts the discovery that kubectl keeps on disk; what it keeps from before this kind is served lasts.
    for _ in 0..300 {
        if cluster
            .kubectl(&["explain", "cwl.spec", "--cache-dir=/dev/null"])
            .is_ok()
        {
            return cluster;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("the kind is not served after a minute");
});

#[test]
fn every_rule_refuses_in_its_own_words() {
    let mut cases: Vec<(Value, &str)> = refused()
        .into_iter()
        .map(|(change, message)| (with(&change), message))
        .collect();
    for (case, (object, _)) in cases.iter_mut().enumerate() {
        object["metadata"]["name"] = json!(format!("case-{case}"));
    }
    for (name, message) in [
        ("a".repeat(47), "metadata.name must have at most 46"),
        ("a.b".to_owned(), "metadata.name must be a DNS-1035"),
        ("1a".to_owned(), "metadata.name must be a DNS-1035"),
    ] {
        let mut object = with(&json!({}));
        object["metadata"]["name"] = json!(name);
        cases.push((object, message));
    }
    let objects: Vec<&Value> = cases.iter().map(|(object, _)| object).collect();
    let answer = create(&objects, "ignore").unwrap_err();
    let mut without_case = messages();
    let mut faults = Vec::new();
    for (object, message) in &cases {
        let start = format!(
            "CoordinatedWorkload.lockstep.dev {} is invalid:",
            object["metadata"]["name"]
        );
        let about = answer
            .split_once(&start)
            .map(|(_, rest)| rest.split("\nError from server").next().unwrap());
        match about {
            None => faults.push(format!("accepted: {}\n  wanted: {message}", object["spec"])),
            Some(found) if !found.contains(message) => {
                faults.push(format!(
                    "other message: {}\n  wanted: {message}\n  found: {found}",
                    object["spec"]
                ));
            }
            Some(_) => {}
        }
        without_case.retain(|rule| !rule.starts_with(message));
    }
    faults.extend(
        without_case
            .into_iter()
            .map(|rule| format!("no case for the rule: {rule}")),
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_the_rules_must_let_through() {
    let mut objects: Vec<Value> = accepted().iter().map(with).collect();
    for (case, object) in objects.iter_mut().enumerate() {
        object["metadata"]["name"] = json!(format!("accepted-{case}"));
    }
    create(&objects.iter().collect::<Vec<_>>(), "strict").unwrap();
}

#[test]
fn a_name_may_have_46_characters() {
    let mut object = with(&json!({}));
    object["metadata"]["name"] = json!("a".repeat(46));
    create(&[&object], "strict").unwrap();
}

#[test]
fn the_examples_are_accepted() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/examples/");
    CLUSTER
        .kubectl(&["create", "--dry-run=server", "-f", examples])
        .unwrap();
}

#[test]
fn kubectl_explain_walks_into_verbatim_parts_and_shows_our_own_words() {
    let explain = |path: &str| {
        let said = CLUSTER
            .kubectl(&["explain", path, "--cache-dir=/dev/null"])
            .unwrap();
        // It breaks lines where it likes.
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(explain("cwl.spec.template.spec.containers").contains("readinessProbe"));
    assert!(explain("cwl.spec.template.spec.containers.readinessProbe.httpGet").contains("httpHeaders"));
    assert!(explain("cwl.spec.autoscaling.metrics.resource.target").contains("averageUtilization"));
    assert!(explain("cwl.spec.networkPolicy.egress.to").contains("podSelector"));
    assert!(explain("cwl.spec.template.spec.containers.resources").contains("limits"));
    assert!(explain("cwl.spec.locks.hold").contains("somebody must hold each lock"));
    assert!(explain("cwl.spec.conflictPolicy").contains("unless it has another controller"));
}

#[test]
fn verbatim_parts_come_back_whole() {
    let mut object = with(&json!({
        "template": { "metadata": { "labels": { "app": "x" }, "annotations": { "a": "b" }, "creationTimestamp": null }, "spec": {
            "madeUp": { "field": [1, "two"] },
            "containers": [{
                "name": "main",
                "image": "x",
                "madeUp": true,
                "resources": { "requests": { "cpu": 1, "memory": "1Gi" }, "limits": { "cpu": 0.5 } },
                "ports": [{ "containerPort": 80, "name": "http" }],
                "readinessProbe": { "httpGet": { "path": "/", "port": "http" } },
            }],
        }},
        "strategy": { "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 }, "madeUp": 1 },
        "networkPolicy": { "ingress": [{ "from": [{ "madeUp": {} }] }], "egress": [{}] },
        "autoscaling": { "minReplicas": 1, "maxReplicas": 3, "metrics": [{ "type": "Pods", "madeUp": { "a": 1 } }], "behavior": { "scaleUp": { "madeUp": 2 } } },
    }));
    object["metadata"]["name"] = json!("whole");
    CLUSTER
        .kubectl_stdin(&["apply", "-f", "-"], &object.to_string())
        .unwrap();
    let found: Value =
        serde_json::from_str(&CLUSTER.kubectl(&["get", "cwl", "whole", "-o", "json"]).unwrap()).unwrap();
    let metadata = object["spec"]["template"]["metadata"].as_object_mut().unwrap();
    assert_eq!(
        metadata.remove("creationTimestamp"),
        Some(Value::Null),
        "a null is as good as nothing, as in built-in APIs"
    );
    assert_eq!(found["spec"], object["spec"]);
    assert_eq!(found["status"], json!({ "observedGeneration": -1 }));
    object["metadata"]["name"] = json!("whole-server-side");
    let applied = CLUSTER
        .kubectl_stdin(
            &["apply", "--server-side", "-o", "json", "-f", "-"],
            &object.to_string(),
        )
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&applied).unwrap()["spec"],
        object["spec"]
    );
}

#[test]
fn a_status_is_stored_as_it_was_written() {
    let mut object = with(&json!({}));
    object["metadata"]["name"] = json!("status");
    CLUSTER
        .kubectl_stdin(&["apply", "-f", "-"], &object.to_string())
        .unwrap();
    let name = "x".repeat(256);
    let row = json!({
        "set": "a", "name": name, "state": "Orphaned", "flags": ["Lost", "Malformed", "NoExpiry", "Overheld"],
        "pod": "p", "since": "2026-01-02T03:04:05Z", "freesAt": "2026-01-02T03:04:05Z",
    });
    let loss = json!({ "lock": name, "cause": "HolderGone", "from": "p", "when": "2026-01-02T03:04:05Z" });
    let mut incident = loss.clone();
    json_patch(&mut incident, &json!({ "set": "a", "to": "q", "gap": "1m30s" }));
    let set = json!({
        "name": "a", "lastLoss": loss, "assumed": { "ttl": "30s", "renewInterval": "10s", "retryInterval": "5s" },
        "balance": {
            "locks": 4, "pods": 3, "max": 4, "ideal": 2, "limit": 3, "excess": 2, "moves": 2, "idle": 2,
            "top": vec![json!({ "pod": "p", "locks": 4 }); 10],
        },
    });
    let status = json!({
        "observedGeneration": 1, "selector": "lockstep.dev/workload=status", "replicas": 3, "readyReplicas": 3,
        "updatedReplicas": 3, "availableReplicas": 3,
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "LocksNotHeld", "message": "m".repeat(1024),
            "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
        }],
        "summary": { "pods": "3/3", "locks": "4/4", "spread": "2-1-1-0-0+5", "problem": "Reconciled" },
        "children": [{ "kind": "Deployment", "name": "status", "uid": "u" }],
        "advisories": vec![json!({ "code": "NoReadinessProbe", "message": "m".repeat(512) }); 20],
        "store": { "mode": "Tracking", "version": "7.2.4" },
        "locks": {
            "expected": 1, "held": 2, "unheld": 3, "orphaned": 4, "foreign": 5, "unattributed": 6, "unknown": 7,
            "withoutExpiry": 8, "rows": vec![row; 50], "rowsOmitted": 9,
            "sets": [set],
        },
        "recent": vec![incident; 10],
    });
    // Through the types and back: what they write is what the schema knows.
    let typed: lockstep::api::CoordinatedWorkloadStatus = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap(), status);
    let patch = json!({ "status": typed }).to_string();
    CLUSTER
        .kubectl(&[
            "patch",
            "cwl/status",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .unwrap();
    let found: Value =
        serde_json::from_str(&CLUSTER.kubectl(&["get", "cwl", "status", "-o", "json"]).unwrap()).unwrap();
    assert_eq!(found["status"], status);
    let wide = CLUSTER.kubectl(&["get", "cwl", "status", "-o", "wide"]).unwrap();
    for shown in [
        "False",
        "3/3",
        "4/4",
        "2-1-1-0-0+5",
        "Reconciled",
        "Tracking",
        "mmm",
    ] {
        assert!(wide.contains(shown), "{shown} in {wide}");
    }
}

#[test]
fn the_scale_subresource_sets_replicas() {
    let mut object = with(&json!({ "replicas": 2 }));
    object["metadata"]["name"] = json!("scaled");
    CLUSTER
        .kubectl_stdin(&["apply", "-f", "-"], &object.to_string())
        .unwrap();
    CLUSTER.kubectl(&["scale", "cwl/scaled", "--replicas=5"]).unwrap();
    assert_eq!(
        CLUSTER
            .kubectl(&["get", "cwl", "scaled", "-o", "jsonpath={.spec.replicas}"])
            .unwrap(),
        "5"
    );
    let columns = CLUSTER.kubectl(&["get", "cwl", "scaled"]).unwrap();
    let header: Vec<&str> = columns.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        header,
        [
            "NAME", "READY", "PODS", "LOCKS", "SPREAD", "BALANCED", "STATUS", "AGE"
        ]
    );
}

/// The messages of all rules.
fn messages() -> BTreeSet<String> {
    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        if let Some(rules) = value.get("x-kubernetes-validations").and_then(Value::as_array) {
            found.extend(
                rules
                    .iter()
                    .filter_map(|rule| Some(rule["message"].as_str()?.to_owned())),
            );
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
            Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(&serde_json::to_value(lockstep::api::crd()).unwrap(), &mut found);
    found
}

/// What the apiserver says to all of them, without storing anything. With `ignore` kubectl checks nothing itself.
fn create(objects: &[&Value], validate: &str) -> Result<String, String> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let validate = format!("--validate={validate}");
    let create = ["create", "--dry-run=server", &validate, "-f", "-"];
    CLUSTER
        .kubectl_stdin(&create, &list.to_string())
        .map_err(|error| error.to_string())
}

/// The smallest resource with a lock, changed.
fn with(change: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "lockstep.dev/v1alpha1",
        "kind": "CoordinatedWorkload",
        "metadata": { "name": "base", "namespace": "default" },
        "spec": {
            "template": { "spec": { "containers": [{ "name": "main", "image": "x" }] } },
            "redis": { "url": "redis://redis:6379" },
            "locks": [{ "name": "a", "hold": "Continuous", "dialect": "Rigatoni", "names": ["x"] }],
        },
    });
    json_patch(&mut object["spec"], change);
    object
}
