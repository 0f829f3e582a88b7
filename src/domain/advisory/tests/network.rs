//! The policy.

use serde_json::{Value, json};

use super::*;

fn policy(policy: &Value, template: &[(&str, Value)]) -> Vec<String> {
    let mut changes = vec![("/networkPolicy", policy.clone())];
    changes.extend(template.iter().cloned());
    Case::of(&changes).codes()
}

#[test]
fn a_policy_needs_a_network_plugin_and_ports() {
    let bare = (&*of_app("ports"), Value::Null);
    let probes = [
        (&*of_app("readinessProbe"), json!({ "exec": {} })),
        (&*of_app("livenessProbe"), Value::Null),
        bare,
    ];
    assert_eq!(policy(&json!({}), &[]), ["PolicyNeedsCni"]);
    assert_eq!(policy(&json!({}), &probes), ["NotIsolated"], "no policy is made");
    assert_eq!(
        policy(&json!({ "egress": [] }), &probes),
        ["NotIsolated", "PolicyNeedsCni"]
    );
    assert_eq!(policy(&json!({ "ingress": [] }), &probes), ["PolicyNeedsCni"]);
    assert_eq!(policy(&json!({ "enabled": false }), &probes), [""; 0]);
}

#[test]
fn declared_ports_that_nobody_outside_can_reach_are_named() {
    let metrics = json!({ "name": "metrics", "containerPort": 9090 });
    let template = [("/template/spec/containers/0/ports/-", metrics)];
    let shut = |rules: Value| {
        let mut changes = vec![("/networkPolicy", json!({ "ingress": rules }))];
        changes.extend(template.iter().cloned());
        let advice = Case::of(&changes).advice();
        let said = advice.into_iter().find(|said| said.code == "PortsUnreachable");
        said.map(|said| said.message)
    };
    let anybody = json!({ "namespaceSelector": {} });
    let open = json!({ "ports": [{ "port": 8080 }] });
    let only_metrics = shut(json!([open])).unwrap();
    assert_says(&only_metrics, &["port 9090/TCP:", "Prometheus"]);
    for (rules, why) in [
        (json!([]), "nobody"),
        (
            json!([{ "from": [{ "podSelector": {} }] }]),
            "pods of this namespace",
        ),
        (
            json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "prod" } } }] }]),
            "this namespace by its name",
        ),
        (
            json!([{ "from": [{ "namespaceSelector": { "matchExpressions": [
                { "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["prod"] }] } }] }]),
            "the same, written otherwise",
        ),
        (
            json!([{ "from": [anybody], "ports": [{ "port": 8080, "protocol": "UDP" }, { "port": "wob" }, { "port": 1, "endPort": 8079 }] }]),
            "other ports",
        ),
    ] {
        let message = shut(rules).unwrap_or_else(|| panic!("{why}"));
        assert_says(&message, &["ports 8080/TCP and 9090/TCP"]);
    }
    for rules in [
        json!([{}]),
        json!([{ "from": [], "ports": [] }]),
        json!([{ "from": [anybody] }]),
        json!([{ "from": [{ "podSelector": {} }] }, { "ports": [{ "port": "web" }, { "port": "metrics" }] }]),
        json!([{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }], "ports": [{ "port": 8000, "endPort": 9999 }] }]),
        json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "ingress" } } }], "ports": [{}] }]),
        json!([{ "from": [{ "namespaceSelector": { "matchExpressions": [
            { "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["prod", "ingress"] }] } }] }]),
    ] {
        assert_eq!(shut(rules.clone()), None, "{rules}");
    }
    let service = (
        "/service",
        json!({ "ports": [{ "port": 80, "targetPort": 7000 }] }),
    );
    let case = Case::of(&[("/networkPolicy", json!({ "ingress": [open] })), service]);
    let advice = case.advice();
    assert_says(&advice[0].message, &["port 7000/TCP:"]);
}
