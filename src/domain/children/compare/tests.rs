use serde_json::{Value, json};

use super::first_difference;

fn difference(intent: &Value, live: &Value) -> Option<String> {
    let of = |value: &Value| json!({ "spec": value }).as_object().unwrap().clone();
    first_difference(&of(intent), &of(live))
}

#[test]
fn equal_as_the_apiserver_stores_it() {
    for (intent, live) in [
        // Defaults and other managers' fields.
        (json!({ "a": 1 }), json!({ "a": 1, "b": 2 })),
        // Dropped when empty.
        (
            json!({ "command": [], "nodeSelector": {}, "value": "", "affinity": null }),
            json!({}),
        ),
        (
            json!({ "securityContext": { "supplementalGroups": [] } }),
            json!({}),
        ),
        (
            json!({ "hostNetwork": false, "readOnly": false, "hostPort": 0, "minReadySeconds": 0 }),
            json!({}),
        ),
        // Defaulted when empty.
        (
            json!({ "imagePullPolicy": "", "timeoutSeconds": 0, "httpGet": { "path": "", "scheme": "" } }),
            json!({ "imagePullPolicy": "Always", "timeoutSeconds": 1, "httpGet": { "path": "/", "scheme": "HTTP" } }),
        ),
        (
            json!({ "fieldRef": { "apiVersion": "" }, "image": { "pullPolicy": "" }, "strategy": { "type": "" } }),
            json!({ "fieldRef": { "apiVersion": "v1" }, "image": { "pullPolicy": "Always" }, "strategy": { "type": "RollingUpdate" } }),
        ),
        (
            json!({ "scaleIO": { "sslEnabled": false } }),
            json!({ "scaleIO": {} }),
        ),
        // Quantities.
        (
            json!({ "limits": { "cpu": 1, "memory": "1024Mi" }, "emptyDir": { "sizeLimit": "1024Ki" } }),
            json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "emptyDir": { "sizeLimit": "1Mi" } }),
        ),
        (
            json!({ "target": { "averageValue": "1500m" } }),
            json!({ "target": { "averageValue": "1.5" } }),
        ),
        (
            json!({ "target": { "value": 1000 } }),
            json!({ "target": { "value": "1k" } }),
        ),
        (
            json!({ "scaleDown": { "tolerance": "0.2" } }),
            json!({ "scaleDown": { "tolerance": "200m" } }),
        ),
        // Times.
        (
            json!({ "creationTimestamp": "2026-01-02T04:04:05.678+01:00" }),
            json!({ "creationTimestamp": "2026-01-02T03:04:05Z" }),
        ),
        // Merged by key, with another manager's items between.
        (
            json!({ "env": [{ "name": "A", "value": "1" }, { "name": "B" }] }),
            json!({ "env": [{ "name": "X" }, { "name": "A", "value": "1" }, { "name": "Y" }, { "name": "B" }] }),
        ),
        (
            json!({ "ports": [{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 53 }] }),
            json!({ "ports": [{ "containerPort": 53, "protocol": "TCP" }, { "containerPort": 53, "protocol": "UDP" }] }),
        ),
        // Within a whole, what the API adds.
        (
            json!({ "ingress": [{ "ports": [{ "port": 80 }], "from": [] }] }),
            json!({ "ingress": [{ "ports": [{ "port": 80, "protocol": "TCP" }] }] }),
        ),
        (
            json!({ "podSelector": { "matchLabels": {} } }),
            json!({ "podSelector": {} }),
        ),
    ] {
        assert_eq!(difference(&intent, &live), None, "{intent} {live}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn differences_are_found_and_named() {
    for (intent, live, path) in [
        (json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } }), "spec.a.b"),
        (json!({ "a": { "b": 1 } }), json!({}), "spec.a.b"),
        (
            json!({ "args": ["a", "b"] }),
            json!({ "args": ["b", "a"] }),
            "spec.args[0]",
        ),
        (
            json!({ "args": ["a"] }),
            json!({ "args": ["a", "b"] }),
            "spec.args",
        ),
        (
            json!({ "command": [] }),
            json!({ "command": ["x"] }),
            "spec.command",
        ),
        (json!({ "value": "" }), json!({ "value": "x" }), "spec.value"),
        // A variable is text, whatever it looks like.
        (
            json!({ "env": [{ "name": "A", "value": "1000m" }] }),
            json!({ "env": [{ "name": "A", "value": "1" }] }),
            "spec.env[A].value",
        ),
        (
            json!({ "env": [{ "name": "A" }] }),
            json!({ "env": [{ "name": "B" }] }),
            "spec.env[A]",
        ),
        (
            json!({ "env": [{ "name": "A" }, { "name": "B" }] }),
            json!({ "env": [{ "name": "B" }, { "name": "A" }] }),
            "spec.env[B]",
        ),
        (
            json!({ "ports": [{ "containerPort": 53, "protocol": "UDP" }] }),
            json!({ "ports": [{ "containerPort": 53, "protocol": "TCP" }] }),
            "spec.ports[53]",
        ),
        // Pointers keep their zeros: removed, these mean something else.
        (
            json!({ "allowPrivilegeEscalation": false }),
            json!({}),
            "spec.allowPrivilegeEscalation",
        ),
        (json!({ "runAsUser": 0 }), json!({}), "spec.runAsUser"),
        (
            json!({ "automountServiceAccountToken": false }),
            json!({}),
            "spec.automountServiceAccountToken",
        ),
        (
            json!({ "readOnly": false }),
            json!({ "readOnly": true }),
            "spec.readOnly",
        ),
        // A whole with more in it than intended.
        (
            json!({ "ingress": [{ "from": [{ "podSelector": {} }] }] }),
            json!({ "ingress": [{ "from": [{ "podSelector": {}, "namespaceSelector": {} }] }] }),
            "spec.ingress[0].from[0].namespaceSelector",
        ),
        (
            json!({ "ingress": [{}] }),
            json!({ "ingress": [{ "ports": [{ "port": 1 }] }] }),
            "spec.ingress[0].ports",
        ),
        (
            json!({ "ingress": [{ "ports": [{ "port": 80 }] }] }),
            json!({ "ingress": [{ "ports": [{ "port": 80, "protocol": "UDP" }] }] }),
            "spec.ingress[0].ports[0].protocol",
        ),
        (
            json!({ "podSelector": {} }),
            json!({ "podSelector": { "matchLabels": { "a": "b" } } }),
            "spec.podSelector.matchLabels",
        ),
        (json!({ "podSelector": {} }), json!({}), "spec.podSelector"),
        // An apply that empties an object drops it; only a map is as good as absent then.
        (json!({ "livenessProbe": {} }), json!({}), "spec.livenessProbe"),
        (
            json!({ "env": [{ "name": "A", "valueFrom": {} }] }),
            json!({ "env": [{ "name": "A" }] }),
            "spec.env[A].valueFrom",
        ),
        (
            json!({ "creationTimestamp": "2026-01-02T03:04:05Z" }),
            json!({ "creationTimestamp": "2026-01-02T03:04:06Z" }),
            "spec.creationTimestamp",
        ),
        (
            json!({ "nodeSelector": { "a": "b" } }),
            json!({ "nodeSelector": { "a": "b", "c": "d" } }),
            "spec.nodeSelector.c",
        ),
        (
            json!({ "limits": { "cpu": "1" } }),
            json!({ "limits": { "cpu": "2" } }),
            "spec.limits.cpu",
        ),
    ] {
        assert_eq!(
            difference(&intent, &live).as_deref(),
            Some(path),
            "{intent} {live}"
        );
    }
}

#[test]
fn kind_and_version_are_not_compared() {
    // Items of a list carry neither.
    let intent = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" } });
    let live = json!({ "metadata": { "name": "web" } });
    assert_eq!(
        first_difference(intent.as_object().unwrap(), live.as_object().unwrap()),
        None
    );
}

#[test]
fn an_object_that_becomes_empty_is_noticed_before() {
    let empties =
        |intent: &Value, live: &Value| super::empties(intent.as_object().unwrap(), live.as_object().unwrap());
    let probe = json!({ "exec": { "command": ["x"] } });
    for (intent, live) in [
        (json!({ "livenessProbe": {} }), json!({ "livenessProbe": probe })),
        (
            json!({ "containers": [{ "name": "b", "livenessProbe": {} }] }),
            json!({ "containers": [{ "name": "a" }, { "name": "b", "livenessProbe": probe }] }),
        ),
        (
            json!({ "from": [{ "podSelector": {} }] }),
            json!({ "from": [{ "podSelector": { "a": 1 } }] }),
        ),
    ] {
        assert!(empties(&intent, &live), "{intent} {live}");
    }
    for (intent, live) in [
        (json!({ "livenessProbe": {} }), json!({})),
        (json!({ "emptyDir": {} }), json!({ "emptyDir": {} })),
        (json!({ "labels": {} }), json!({ "labels": { "a": "b" } })),
        (
            json!({ "livenessProbe": probe }),
            json!({ "livenessProbe": probe }),
        ),
        (
            json!({ "containers": [{ "name": "a", "livenessProbe": {} }] }),
            json!({ "containers": [{ "name": "b", "livenessProbe": probe }] }),
        ),
    ] {
        assert!(!empties(&intent, &live), "{intent} {live}");
    }
}

/// A map that isn't listed would look like drift for ever, were it empty.
#[test]
fn every_map_of_the_definition_is_known() {
    fn collect(schema: &Value, field: &str, found: &mut std::collections::BTreeSet<String>) {
        if schema.get("additionalProperties").is_some() {
            found.insert(field.to_owned());
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            collect(schema, name, found);
        }
        for below in ["items", "additionalProperties"] {
            if let Some(schema) = schema.get(below) {
                collect(schema, field, found);
            }
        }
    }
    let definition = serde_json::to_value(crate::api::crd()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = std::collections::BTreeSet::new();
    collect(schema, "spec", &mut found);
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), super::MAPS);
}
