//! What single values do to what is rendered.

use lockstep_cluster::HelmVersion;
use serde_json::{Value, json};

use crate::helm::{NAMESPACE, of_kind, only, render};

fn rendered(values: &Value) -> Vec<Value> {
    render(HelmVersion::V4, values)
}

fn variable(objects: &[Value], name: &str) -> Value {
    let containers = &only(objects, "Deployment")["spec"]["template"]["spec"]["containers"];
    let variables = containers[0]["env"].as_array().unwrap();
    let found = variables.iter().find(|variable| variable["name"] == name);
    found.map_or(Value::Null, |variable| variable["value"].clone())
}

fn image(values: &Value) -> Value {
    only(&rendered(values), "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"].clone()
}

#[test]
fn an_image_is_named_by_digest_or_tag() {
    let version = env!("CARGO_PKG_VERSION");
    let digest = format!("sha256:{}", "a".repeat(64));
    assert_eq!(image(&json!({})), format!("lockstep.dev/operator:{version}"));
    assert_eq!(
        image(&json!({ "image": { "tag": "dev" } })),
        "lockstep.dev/operator:dev"
    );
    assert_eq!(
        image(&json!({ "image": { "tag": "dev", "digest": digest } })),
        format!("lockstep.dev/operator@{digest}")
    );
}

#[test]
fn rights_are_the_same_in_the_cluster_and_in_namespaces_and_nowhere_else() {
    let everywhere = rendered(&json!({}));
    let cluster_role =
        of_kind(&everywhere, "ClusterRole").find(|role| role["metadata"]["name"] == "lockstep");
    let namespaces = ["team-a", "team-b"];
    let there = rendered(&json!({ "watchNamespaces": namespaces, "rbac": { "aggregate": false } }));
    assert_eq!(of_kind(&there, "ClusterRole").count(), 0);
    assert_eq!(of_kind(&there, "ClusterRoleBinding").count(), 0);
    for namespace in namespaces {
        let is_there = |object: &&Value| object["metadata"]["namespace"] == namespace;
        let role = of_kind(&there, "Role").find(is_there).unwrap();
        assert_eq!(role["rules"], cluster_role.unwrap()["rules"]);
        let binding = of_kind(&there, "RoleBinding").find(is_there).unwrap();
        assert_eq!(binding["subjects"][0]["namespace"], NAMESPACE);
    }
    assert_eq!(variable(&there, "LOCKSTEP_WATCH_NAMESPACE"), "team-a,team-b");
    assert_eq!(of_kind(&there, "Role").count(), 3, "and one for the Lease");
    // Leases in the release's own namespace only, and only the one.
    let leases = |rules: &Value| rules.to_string().contains("leases");
    for objects in [&everywhere, &there] {
        for kind in ["Role", "ClusterRole"] {
            for role in of_kind(objects, kind).filter(|role| leases(&role["rules"])) {
                assert_eq!(role["metadata"]["namespace"], NAMESPACE);
                assert_eq!(role["rules"][1]["resourceNames"], json!(["lockstep"]));
            }
        }
    }
}

#[test]
fn runbooks_are_where_the_values_say() {
    let alerts = |values: &Value| {
        let objects = rendered(values);
        let groups = only(&objects, "PrometheusRule")["spec"]["groups"].clone();
        let groups = groups.as_array().unwrap().clone().into_iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
        rules.filter(|rule| rule["alert"].is_string()).collect::<Vec<_>>()
    };
    for (values, base) in [
        (json!({ "enabled": true }), "https://lockstep.dev/docs/runbooks"),
        (
            json!({ "enabled": true, "runbookUrl": "https://wiki.example.com/lockstep/" }),
            "https://wiki.example.com/lockstep",
        ),
    ] {
        let alerts = alerts(&json!({ "prometheusRule": values }));
        assert!(alerts.len() > 10);
        for alert in alerts {
            let page = format!("{base}/{}.md", alert["alert"].as_str().unwrap());
            assert_eq!(alert["annotations"]["runbook_url"], page.as_str());
        }
    }
}

#[test]
fn secrets_are_read_one_by_one() {
    for names in [json!([]), json!(["redis"])] {
        let objects = rendered(&json!({ "rbac": { "secretNames": names } }));
        let role = of_kind(&objects, "ClusterRole").find(|role| role["metadata"]["name"] == "lockstep");
        let rules = role.unwrap()["rules"].as_array().unwrap().clone();
        let secrets = rules
            .iter()
            .find(|rule| rule["resources"].to_string().contains("secrets"));
        assert_eq!(secrets.unwrap()["verbs"], json!(["get"]));
        let only_these = secrets.unwrap().get("resourceNames").cloned();
        assert_eq!(only_these.unwrap_or(json!([])), names);
    }
}

#[test]
fn a_budget_needs_a_second_replica() {
    assert_eq!(of_kind(&rendered(&json!({})), "PodDisruptionBudget").count(), 0);
    let two = rendered(&json!({ "replicaCount": 2 }));
    assert_eq!(only(&two, "PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
}

#[test]
fn without_an_election_two_pods_never_run_side_by_side() {
    let with = rendered(&json!({}));
    assert_eq!(only(&with, "Deployment")["spec"]["strategy"], Value::Null);
    assert_eq!(variable(&with, "LOCKSTEP_LEADER_ELECT"), "true");
    let without = rendered(&json!({ "leaderElection": { "enabled": false } }));
    assert_eq!(
        only(&without, "Deployment")["spec"]["strategy"]["type"],
        "Recreate"
    );
    assert_eq!(variable(&without, "LOCKSTEP_LEADER_ELECT"), "false");
    assert_eq!(of_kind(&without, "Role").count(), 0);
}

#[test]
fn endpoints_are_handed_on() {
    let lists =
        json!({ "allow": ["10.0.0.0/8", "fd00::/8"], "deny": ["10.1.0.0/16"], "allowLoopback": true });
    let objects = rendered(&json!({ "redisEndpoints": lists }));
    assert_eq!(
        variable(&objects, "LOCKSTEP_ALLOW_ENDPOINT"),
        "10.0.0.0/8,fd00::/8"
    );
    assert_eq!(variable(&objects, "LOCKSTEP_DENY_ENDPOINT"), "10.1.0.0/16");
    assert_eq!(variable(&objects, "LOCKSTEP_ALLOW_LOOPBACK"), "true");
    assert_eq!(
        variable(&rendered(&json!({})), "LOCKSTEP_ALLOW_LOOPBACK"),
        Value::Null
    );
}

#[test]
fn nothing_selects_the_pod_of_helm_test() {
    let objects = rendered(&json!({ "replicaCount": 2, "networkPolicy": { "enabled": true } }));
    let test = only(&objects, "Pod");
    let selectors = [
        &only(&objects, "Service")["spec"]["selector"],
        &only(&objects, "Deployment")["spec"]["selector"]["matchLabels"],
        &only(&objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &only(&objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ];
    let pods = &only(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"];
    for selector in selectors {
        let selects = |labels: &Value| {
            let wanted = selector.as_object().unwrap();
            !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
        };
        assert!(selects(pods), "{selector}");
        assert!(!selects(&test["metadata"]["labels"]), "{selector}");
    }
}
