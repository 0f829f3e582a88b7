//! What Helm refuses before anything is installed: misspelt keys, wrong kinds of values, and values that contradict each
//! other, each in words that say what to do.

use lockstep_cluster::HelmVersion;
use serde_json::{Value, json};

use crate::helm::{CHART, helm, template};
use crate::values::{documented_maps, with};

#[test]
fn lint_has_nothing_to_say() {
    for version in HelmVersion::ALL {
        let said = helm(version).run(None, &["lint", "--strict", CHART]).unwrap();
        assert!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{said}");
        assert!(!said.contains("[WARNING]"), "{said}");
    }
}

#[test]
fn a_misspelt_key_is_rejected_wherever_it_stands() {
    let maps = documented_maps();
    assert!(maps.len() > 10, "{maps:?}");
    for path in maps {
        let said = template(HelmVersion::V4, &[], &with(&path, "misspelt", &json!(1))).unwrap_err();
        assert!(said.contains("'misspelt' not allowed"), "{path:?}: {said}");
    }
    let said = template(HelmVersion::V3, &[], &json!({ "replicas": 2 })).unwrap_err();
    assert!(said.contains("'replicas' not allowed"), "{said}");
}

#[test]
fn a_wrong_value_is_rejected() {
    let cases = [
        json!({ "replicaCount": "two" }),
        json!({ "image": { "digest": "sha256:1" } }),
        json!({ "image": { "pullPolicy": "Sometimes" } }),
        json!({ "watchNamespaces": "team-a" }),
        json!({ "watchNamespaces": ["team-a", "team-a"] }),
        json!({ "watchNamespaces": [""] }),
        json!({ "redisEndpoints": { "deny": ["10.0.0.1"] } }),
        json!({ "dnsServer": "10.96.0.10" }),
        json!({ "bindAddress": "localhost" }),
        json!({ "resyncSeconds": 0 }),
        json!({ "networkPolicy": { "redis": { "ports": [] } } }),
        json!({ "networkPolicy": { "ingress": { "from": [{}] } } }),
        json!({ "podDisruptionBudget": { "maxUnavailable": 0 } }),
        json!({ "serviceMonitor": { "interval": "30" } }),
        json!({ "extraEnv": [{ "value": "nameless" }] }),
    ];
    for values in cases {
        let said = template(HelmVersion::V4, &[], &values).expect_err(&values.to_string());
        assert!(said.contains("schema"), "{values}: {said}");
    }
}

#[test]
fn contradictions_are_refused_in_words() {
    let cases: [(Value, &str); 6] = [
        (
            json!({ "replicaCount": 2, "leaderElection": { "enabled": false } }),
            "replicaCount above 1 needs leaderElection.enabled=true",
        ),
        (
            json!({ "serviceAccount": { "create": false } }),
            "serviceAccount.create=false needs serviceAccount.name",
        ),
        (
            json!({ "serviceMonitor": { "enabled": true }, "service": { "enabled": false } }),
            "serviceMonitor.enabled=true needs service.enabled=true",
        ),
        (
            json!({ "serviceMonitor": { "enabled": true }, "podMonitor": { "enabled": true } }),
            "choose one",
        ),
        (
            json!({ "redisEndpoints": { "allow": ["10.0.0.0/8"], "deny": ["10.0.0.0/8"] } }),
            "redisEndpoints allows and denies 10.0.0.0/8",
        ),
        (
            json!({ "commonLabels": { "app.kubernetes.io/name": "other" } }),
            "commonLabels can't change app.kubernetes.io/name",
        ),
    ];
    for (values, words) in cases {
        let said = template(HelmVersion::V4, &[], &values).expect_err(&values.to_string());
        assert!(said.contains(words), "{values}: {said}");
    }
}
