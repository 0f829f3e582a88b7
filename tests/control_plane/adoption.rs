//! Objects that Lockstep did not make and is asked to take over.

use lockstep::domain::children::{self, Action, ChildKind, FailureKind};
use serde_json::{Value, json};

use super::harness::{Room, kubectl, ordinary};

/// An ordinary spec that adopts and says nothing about replicas.
fn adopting() -> Value {
    let mut spec = ordinary();
    spec.as_object_mut().unwrap().remove("replicas");
    spec["conflictPolicy"] = "Adopt".into();
    spec
}

async fn converge(room: &Room, spec: &Value) {
    let workload = room.set("web", spec).await;
    // As the reconciler does: over the Deployment that is there.
    super::harness::eventually("nothing is left to do", async || {
        let live = room.live("web").await;
        let prepared = children::build_over(&workload, live.deployment.as_ref());
        let plan = children::plan(&workload, &prepared, &live, &[]);
        let outcome = room.writer().apply(&workload, &prepared, &plan).await;
        assert_eq!(outcome.failures, [], "{outcome:?}");
        plan.is_empty().then_some(())
    })
    .await;
}

fn containers(deployment: &Value) -> Vec<&str> {
    let containers = deployment["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    containers
        .iter()
        .map(|container| container["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_deployment_keeps_its_selector_and_replicas_and_nothing_of_its_former_template() {
    let room = Room::new("adopt").await;
    kubectl(&[
        "create",
        "deployment",
        "web",
        "--namespace=adopt",
        "--image=theirs",
        "--replicas=5",
    ])
    .await;
    let annotation = "description=theirs";
    kubectl(&["annotate", "deployment/web", "--namespace=adopt", annotation]).await;
    let before = room.deployment("web").await;
    assert_eq!(containers(&before), ["theirs"]);
    converge(&room, &adopting()).await;

    let after = room.deployment("web").await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["spec"]["selector"], before["spec"]["selector"]);
    assert_eq!(after["spec"]["replicas"], 5);
    assert_eq!(containers(&after), ["web"], "of the former life nothing stays");
    assert_eq!(
        after["spec"]["template"]["metadata"]["labels"],
        json!({ "app": "web", "lockstep.dev/workload": "web" })
    );
    assert_eq!(
        after["metadata"]["annotations"]["description"], "theirs",
        "what isn't in its spec does"
    );
    let template = |deployment: &Value| deployment["metadata"]["generation"].as_i64().unwrap();
    assert_eq!(template(&after), template(&before) + 1, "one rollout");

    // From then on it is a child like any other.
    let mut spec = adopting();
    spec["template"]["spec"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    converge(&room, &spec).await;
    let env = room.deployment("web").await["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    assert!(!env.to_string().contains("MODE"), "{env}");
    spec["replicas"] = 3.into();
    converge(&room, &spec).await;
    assert_eq!(room.replicas("web").await, 3);
}

#[tokio::test]
async fn every_kind_of_child_is_taken_over_whole() {
    let room = Room::new("adopt-all").await;
    let foreign = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" },
          "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "old" } } } },
        { "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "web" },
          "spec": { "podSelector": {}, "egress": [{}], "policyTypes": ["Egress"] } },
        { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
          "spec": { "selector": { "app": "old" }, "ports": [{ "port": 1234 }] } },
        { "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
          "spec": { "minReplicas": 3, "maxReplicas": 9, "behavior": { "scaleDown": { "stabilizationWindowSeconds": 5 } },
                    "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "other" } } },
    ] });
    room.manifest(&foreign).await;
    let mut spec = adopting();
    spec["autoscaling"] = json!({ "minReplicas": 1, "maxReplicas": 2 });
    spec["service"] = json!({ "ports": [{ "port": 80 }] });
    converge(&room, &spec).await;

    let budget = room.get(ChildKind::PodDisruptionBudget, "web").await.unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert!(budget["spec"].get("minAvailable").is_none(), "{budget}");
    let policy = room.get(ChildKind::NetworkPolicy, "web").await.unwrap();
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    assert!(policy["spec"].get("egress").is_none(), "{policy}");
    let service = room.get(ChildKind::Service, "web").await.unwrap();
    let ports = service["spec"]["ports"].as_array().unwrap();
    assert_eq!((ports.len(), &ports[0]["port"]), (1, &json!(80)));
    assert_eq!(
        service["spec"]["selector"],
        json!({ "lockstep.dev/workload": "web" })
    );
    let autoscaler = room.get(ChildKind::HorizontalPodAutoscaler, "web").await.unwrap();
    assert_eq!(autoscaler["spec"]["scaleTargetRef"]["name"], "web");
    assert!(autoscaler["spec"].get("behavior").is_none(), "{autoscaler}");
}

#[tokio::test]
async fn another_controllers_object_is_never_taken() {
    let room = Room::new("adopt-never").await;
    kubectl(&[
        "create",
        "deployment",
        "web",
        "--namespace=adopt-never",
        "--image=theirs",
    ])
    .await;
    let owner = json!({ "metadata": { "ownerReferences": [{
        "apiVersion": "example.org/v1", "kind": "Boss", "name": "b", "uid": "00000000-0000-0000-0000-000000000001",
        "controller": true,
    }] } });
    room.meddle(ChildKind::Deployment, "web", "boss", &owner).await;
    let before = room.deployment("web").await;
    let workload = room.set("web", &adopting()).await;
    let outcome = room.pass(&workload).await;
    let failure = outcome.first_failure().unwrap();
    assert_eq!(
        (failure.child, failure.kind),
        (ChildKind::Deployment, FailureKind::NameConflict)
    );
    assert!(failure.message.contains("Boss b controls"), "{}", failure.message);
    assert_eq!(room.deployment("web").await["spec"], before["spec"]);
}

#[tokio::test]
async fn what_was_left_behind_is_taken_back_without_a_rollout() {
    let room = Room::new("adopt-orphans").await;
    let workload = room.set("web", &ordinary()).await;
    room.converge(&workload).await;
    room.rolled_out("web").await;
    let before = room.deployment("web").await;
    kubectl(&[
        "delete",
        "cwl",
        "web",
        "--namespace=adopt-orphans",
        "--cascade=orphan",
    ])
    .await;
    super::harness::eventually("nobody owns it", async || {
        let owners = room.deployment("web").await["metadata"]["ownerReferences"].clone();
        owners.is_null().then_some(())
    })
    .await;

    let refused = room.set("web", &ordinary()).await;
    let outcome = room.pass(&refused).await;
    assert_eq!(
        outcome.first_failure().unwrap().kind,
        FailureKind::NameConflict,
        "not unasked"
    );
    let mut spec = ordinary();
    spec["conflictPolicy"] = "Adopt".into();
    let workload = room.set("web", &spec).await;
    let outcome = room.pass(&workload).await;
    let deployment = outcome.children.deployment.as_ref().unwrap();
    assert_eq!(deployment.action, Action::Adopted { changed: false });
    room.converge(&workload).await;
    let after = room.deployment("web").await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    room.rolled_out("web").await;
    let after = room.deployment("web").await;
    assert_eq!(after["spec"], before["spec"]);
    let revision = "deployment.kubernetes.io/revision";
    assert_eq!(
        after["metadata"]["annotations"][revision], "1",
        "no pod was touched"
    );
    assert_ne!(
        after["metadata"]["ownerReferences"],
        before["metadata"]["ownerReferences"]
    );
}
