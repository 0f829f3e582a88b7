//! Broken by a change of the manifest, in each way that the apiserver, the scheduler or Lockstep itself refuses it, and
//! healed by the good manifest.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::lifecycle::{children, runs};
use super::operator::operator;
use super::place::{Place, Seen, eventually, spec};

/// A broken state: what to change, and what the resource then says.
struct Broken {
    what: &'static str,
    change: fn(&mut Value),
    says: fn(&Seen) -> bool,
}

fn container(spec: &mut Value) -> &mut Value {
    &mut spec["template"]["spec"]["containers"][0]
}

const BROKEN: [Broken; 8] = [
    Broken {
        what: "a spec that can't be used",
        change: |spec| {
            let set = |name: &str| json!({ "name": name, "hold": "Continuous", "dialect": "Rigatoni", "names": ["a"] });
            spec["redis"] = json!({ "url": "redis://redis:6379" });
            spec["locks"] = json!([set("one"), set("two")]);
        },
        says: |seen| seen.says("Stalled") == "True/InvalidSpec",
    },
    Broken {
        what: "a misspelt field",
        change: |spec| container(spec)["imagePullPolice"] = json!("Always"),
        says: |seen| {
            seen.says("Stalled") == "True/InvalidPodTemplate"
                && seen.message("Stalled").contains("imagePullPolice")
        },
    },
    Broken {
        what: "a policy that the apiserver refuses",
        change: |spec| spec["networkPolicy"] = json!({ "ingress": [{ "ports": [{ "port": 70_000 }] }] }),
        says: |seen| seen.says("Stalled") == "True/InvalidSpec" && seen.message("Stalled").contains("65535"),
    },
    Broken {
        what: "pods that no node takes",
        change: |spec| spec["template"]["spec"]["nodeSelector"] = json!({ "nowhere": "true" }),
        says: |seen| {
            seen.says("Reconciling") == "True/RollingOut"
                && seen.message("Reconciling").contains("can't be scheduled")
        },
    },
    Broken {
        what: "pods beyond the quota",
        change: |spec| container(spec)["resources"]["requests"]["memory"] = json!("2Gi"),
        says: |seen| {
            seen.says("Reconciling") == "True/RollingOut"
                && seen.message("Reconciling").contains("exceeded quota")
        },
    },
    Broken {
        what: "a child beyond the quota",
        change: |spec| spec["service"] = json!({ "type": "LoadBalancer", "ports": [{ "port": 80 }] }),
        says: |seen| {
            seen.says("Ready") == "False/ChildApplyFailed"
                && seen.message("Reconciling").contains("exceeded quota")
        },
    },
    Broken {
        what: "a policy that denies",
        change: |spec| container(spec)["image"] = json!("denied:1"),
        says: |seen| {
            seen.says("Stalled") == "True/AdmissionDenied"
                && seen.message("Stalled").contains("not this image")
        },
    },
    Broken {
        what: "no progress",
        change: |spec| {
            spec["progressDeadlineSeconds"] = json!(1);
            spec["template"]["spec"]["nodeSelector"] = json!({ "nowhere": "true" });
        },
        says: |seen| seen.says("Stalled") == "True/ProgressDeadlineExceeded",
    },
];

/// A quota, and a policy that denies an image in this namespace.
async fn restrict(place: &Place) {
    let namespace = place.namespace.as_str();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "quota", "namespace": namespace },
        "spec": { "hard": { "requests.memory": "1Gi", "services.loadbalancers": "0" } },
    });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": namespace },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["deployments"],
            }] },
            "validations": [{
                "expression": "object.spec.template.spec.containers.all(c, c.image != 'denied:1')",
                "message": "not this image",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": namespace },
        "spec": {
            "policyName": namespace, "validationActions": ["Deny"],
            "matchResources": { "namespaceSelector": {
                "matchLabels": { "kubernetes.io/metadata.name": namespace },
            } },
        },
    });
    for object in [quota, policy, binding] {
        place
            .kubectl_stdin(&["apply", "--filename=-"], &object.to_string())
            .await;
    }
    let api = place.api::<Deployment>();
    let denied = json!({
        "metadata": { "name": "probe" },
        "spec": {
            "selector": { "matchLabels": { "app": "probe" } },
            "template": {
                "metadata": { "labels": { "app": "probe" } },
                "spec": { "containers": [{ "name": "a", "image": "denied:1" }] },
            },
        },
    });
    let denied: Deployment = serde_json::from_value(denied).unwrap();
    let dry = kube::api::PostParams {
        dry_run: true,
        ..kube::api::PostParams::default()
    };
    eventually("the policy is in force", async || {
        api.create(&dry, &denied).await.err()
    })
    .await;
    eventually("the quota is in force", async || {
        let used = ["get", "resourcequota/quota", "--output=jsonpath={.status.used}"];
        place.kubectl(&used).await.contains("memory").then_some(())
    })
    .await;
}

pub(crate) async fn from_every_broken_state_the_good_manifest_heals() {
    let place = Place::new("healed").await;
    restrict(&place).await;
    let _operator = operator(&place, &[]).await;
    let mut good = spec(2);
    container(&mut good)["resources"] = json!({ "requests": { "memory": "1Mi" } });
    // Side by side: each waits more than it works.
    let heal = async |number: usize, broken: &Broken| {
        let name = format!("web-{number}");
        let what = broken.what;
        let history = place.follow(&name);
        runs(&history, &place.apply(&name, &good).await).await;
        let first = children(&place, &name).await;
        let mut bad = good.clone();
        (broken.change)(&mut bad);
        let generation = place.apply(&name, &bad).await.metadata.generation;
        let of_bad = |seen: &Seen| {
            let observed = seen
                .resource
                .status
                .as_ref()
                .map(|status| status.observed_generation);
            observed == generation
        };
        history
            .first(0, what, |seen| of_bad(seen) && (broken.says)(seen))
            .await;
        history.never(0, what, |seen| {
            of_bad(seen) && seen.says("Ready").starts_with("True")
        });
        runs(&history, &place.apply(&name, &good).await).await;
        assert_eq!(children(&place, &name).await, first, "{what}");
        assert_eq!(place.ready_pods(&name, 2).await.len(), 2, "{what}");
    };
    let all = BROKEN
        .iter()
        .enumerate()
        .map(|(number, broken)| heal(number, broken));
    tokio::time::timeout(Duration::from_mins(4), futures::future::join_all(all))
        .await
        .expect("all heal");
}
