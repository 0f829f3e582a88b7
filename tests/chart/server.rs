//! Everything that the chart renders is taken by a real apiserver with strict validation, in a namespace that enforces
//! Pod Security "restricted", without a warning.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use lockstep_cluster::{Cluster, HelmVersion, Options};
use serde_json::{Value, json};

use crate::helm::{CHART, NAMESPACE, only, render};

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::start(&Options {
        fake_nodes: 0,
        ..Options::control_plane()
    })
    .unwrap();
    let namespace = |name: &str| {
        let levels: Value = ["enforce", "warn", "audit"]
            .iter()
            .map(|mode| (format!("pod-security.kubernetes.io/{mode}"), json!("restricted")))
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": levels } })
    };
    let mut objects: Vec<Value> = [NAMESPACE, "team-a", "team-b"].map(namespace).into();
    objects.extend(monitoring());
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    cluster
        .kubectl_stdin(&["create", "--filename=-"], &list.to_string())
        .unwrap();
    // `kubectl wait` fails on definitions that are so new that they have no conditions yet.
    for _ in 0..300 {
        if cluster
            .kubectl(&["get", "servicemonitors,podmonitors,prometheusrules"])
            .is_ok()
        {
            return cluster;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the monitoring kinds are not served");
});

/// Definitions of the Prometheus operator's kinds, as far as the chart uses them: what else there were would be
/// unknown, and refused.
fn monitoring() -> Vec<Value> {
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "object", "additionalProperties": text });
    let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    let list = |items: Value| json!({ "type": "array", "minItems": 1, "items": items });
    let endpoint = object(
        json!({ "port": text, "path": text, "interval": text, "honorLabels": { "type": "boolean" } }),
        &["port"],
    );
    let monitor = |endpoints: &str| {
        let selector = object(json!({ "matchLabels": texts }), &["matchLabels"]);
        object(
            json!({ "selector": selector, endpoints: list(endpoint.clone()) }),
            &["selector", endpoints],
        )
    };
    let rule = object(
        json!({
            "alert": text, "record": text, "expr": text, "for": text, "keep_firing_for": text, "labels": texts,
            "annotations": texts,
        }),
        &["expr"],
    );
    let group = object(
        json!({ "name": text, "interval": text, "rules": list(rule) }),
        &["name", "rules"],
    );
    let rules = object(json!({ "groups": list(group) }), &["groups"]);
    [
        ("ServiceMonitor", monitor("endpoints")),
        ("PodMonitor", monitor("podMetricsEndpoints")),
        ("PrometheusRule", rules),
    ]
    .map(|(kind, spec)| {
        let (singular, group) = (kind.to_lowercase(), "monitoring.coreos.com");
        let plural = format!("{singular}s");
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "singular": singular },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": object(json!({ "spec": spec }), &["spec"]) },
                }],
            },
        })
    })
    .into()
}

/// What the apiserver would say to making these objects: nothing, if all is well.
fn complaints(objects: &[&Value]) -> String {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let mut command = CLUSTER.kubectl_command();
    command.args(["create", "--dry-run=server", "--validate=strict", "--filename=-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(list.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), !said.contains("rror"), "{said}");
    said
}

/// Each value of each axis with each of every other.
fn combinations() -> Vec<Value> {
    let has = |file: &str| fs::exists(format!("{CHART}/files/{file}")).unwrap();
    let axes = [
        vec![json!({}), json!({ "replicaCount": 2 })],
        vec![
            json!({}),
            json!({ "watchNamespaces": ["team-a", "team-b"], "rbac": { "secretNames": ["redis"] } }),
        ],
        vec![
            json!({}),
            json!({ "serviceMonitor": { "enabled": true, "labels": { "release": "prometheus" } } }),
            json!({ "podMonitor": { "enabled": true }, "service": { "enabled": false } }),
        ],
        vec![
            json!({}),
            json!({
                "networkPolicy": {
                    "enabled": true,
                    "ingress": { "from": [{ "namespaceSelector": { "matchLabels": { "monitoring": "true" } } }] },
                    "apiServer": { "to": [{ "ipBlock": { "cidr": "10.0.0.1/32" } }] },
                    "redis": { "ports": [6379], "to": [{ "podSelector": {} }] },
                    "extraEgress": [{ "ports": [{ "port": 7000, "protocol": "TCP" }] }],
                },
                "crds": { "enabled": false },
                "prometheusRule": { "enabled": has("rules.yaml") },
                "dashboard": { "enabled": has("dashboard.json"), "annotations": { "folder": "Lockstep" } },
            }),
        ],
        vec![
            json!({}),
            json!({
                "image": { "digest": format!("sha256:{}", "a".repeat(64)) },
                "imagePullSecrets": [{ "name": "registry" }],
                "fullnameOverride": "locks",
                "commonLabels": { "team": "platform" },
                "serviceAccount": { "create": false, "name": "other" },
                "rbac": { "aggregate": false },
                "redisEndpoints": {
                    "allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"], "allowLoopback": true, "allowLinkLocal": true,
                    "allowReservedPorts": true,
                },
                "dnsServer": "[fd00::10]:53",
                "bindAddress": "[::]",
                "extraEnv": [{ "name": "A", "value": "b" }],
                "priorityClassName": "",
                "nodeSelector": { "kubernetes.io/os": "linux" },
                "tolerations": [{ "key": "infra", "operator": "Exists" }],
                "affinity": { "nodeAffinity": {} },
                "topologySpreadConstraints": [
                    { "maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {} },
                ],
                "podAnnotations": { "a": "b" },
                "podLabels": { "a": "b" },
                "deploymentAnnotations": { "a": "b" },
                "service": { "annotations": { "a": "b" } },
                "podDisruptionBudget": { "maxUnavailable": "50%" },
            }),
        ],
    ];
    axes.iter().fold(vec![json!({})], |all, axis| {
        let each = |values: &Value| axis.iter().map(|further| merged(values, further)).collect();
        all.iter()
            .flat_map(|values| -> Vec<Value> { each(values) })
            .collect()
    })
}

fn merged(one: &Value, other: &Value) -> Value {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut map = one.clone();
            for (key, value) in other {
                let value = map
                    .get(key)
                    .map_or_else(|| value.clone(), |old| merged(old, value));
                map.insert(key.clone(), value);
            }
            Value::Object(map)
        }
        _ => other.clone(),
    }
}

#[test]
fn every_combination_is_taken_by_the_apiserver_without_a_warning() {
    let mut distinct = BTreeSet::new();
    let mut tried = 0;
    for values in combinations() {
        // A ServiceMonitor without a Service is a contradiction, and refused as such.
        let service = &values["service"]["enabled"];
        if values["serviceMonitor"]["enabled"] == true && *service == false {
            continue;
        }
        tried += 1;
        distinct.extend(render(HelmVersion::V4, &values).iter().map(Value::to_string));
    }
    println!("{tried} combinations, {} distinct objects", distinct.len());
    assert!(tried >= 40 && distinct.len() >= 40, "{tried}, {}", distinct.len());
    let objects: Vec<Value> = distinct
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    assert_eq!(complaints(&objects.iter().collect::<Vec<_>>()), "");
}

#[test]
fn both_generations_of_helm_render_the_same() {
    for values in [json!({}), combinations().pop().unwrap()] {
        let [three, four] = HelmVersion::ALL.map(|version| {
            let objects = render(version, &values);
            objects.iter().map(Value::to_string).collect::<BTreeSet<_>>()
        });
        assert_eq!(three, four);
    }
}

#[test]
fn what_is_wrong_would_be_seen() {
    let objects = render(HelmVersion::V4, &json!({ "serviceMonitor": { "enabled": true } }));
    let mut deployment = only(&objects, "Deployment").clone();
    deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] =
        json!(true);
    let said = complaints(&[&deployment]);
    assert!(said.contains("would violate PodSecurity"), "{said}");
    let mut deployment = only(&objects, "Deployment").clone();
    deployment["spec"]["template"]["spec"]["misspelt"] = json!(1);
    let said = complaints(&[&deployment]);
    assert!(said.contains("unknown field"), "{said}");
    let mut monitor = only(&objects, "ServiceMonitor").clone();
    monitor["spec"]["misspelt"] = json!(1);
    let said = complaints(&[&monitor]);
    assert!(said.contains("unknown field"), "{said}");
}
