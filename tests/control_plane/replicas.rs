//! Who sets the Deployment's replicas, and when: with the real autoscaler and its real managedFields.

use lockstep::domain::children::{ChildKind, FailureKind, Outcome};
use serde_json::{Value, json};

use super::harness::{Room, eventually, kubectl, ordinary};

fn with(changes: &Value) -> Value {
    let mut spec = ordinary();
    spec.as_object_mut().unwrap().remove("replicas");
    spec.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    spec
}

/// Managers of `spec.replicas`.
async fn managers(room: &Room) -> Vec<String> {
    let deployment = room.deployment("web").await;
    let entries = deployment["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .clone();
    let owns = |entry: &Value| entry["fieldsV1"]["f:spec"].get("f:replicas").is_some();
    entries
        .iter()
        .filter(|entry| owns(entry))
        .map(|entry| entry["manager"].as_str().unwrap().to_owned())
        .collect()
}

/// The replicas that a pass applied.
fn counted(outcome: &Outcome) -> Option<i32> {
    outcome.replicas.as_ref().map(|replicas| replicas.count)
}

#[tokio::test]
async fn creation_carries_the_replicas() {
    let room = Room::new("initial-replicas").await;
    for (name, changes, replicas) in [
        ("given", json!({ "replicas": 4 }), 4),
        ("unset", json!({}), 1),
        ("zero", json!({ "replicas": 0 }), 0),
        (
            "within",
            json!({ "replicas": 4, "autoscaling": { "minReplicas": 2, "maxReplicas": 6 } }),
            4,
        ),
        (
            "below",
            json!({ "replicas": 1, "autoscaling": { "minReplicas": 2, "maxReplicas": 6 } }),
            2,
        ),
        (
            "above",
            json!({ "replicas": 9, "autoscaling": { "minReplicas": 2, "maxReplicas": 6 } }),
            6,
        ),
        (
            "minimum",
            json!({ "autoscaling": { "minReplicas": 3, "maxReplicas": 6 } }),
            3,
        ),
        (
            "equal",
            json!({ "autoscaling": { "minReplicas": 5, "maxReplicas": 5 } }),
            5,
        ),
        (
            "external",
            json!({ "replicas": 3, "autoscaling": { "mode": "External" } }),
            3,
        ),
    ] {
        let workload = room.set(name, &with(&changes)).await;
        room.converge(&workload).await;
        assert_eq!(room.replicas(name).await, replicas, "{name}");
    }
}

#[tokio::test]
async fn fixed_replicas_are_kept_and_others_are_left() {
    let room = Room::new("fixed-replicas").await;
    let workload = room.set("web", &with(&json!({ "replicas": 2 }))).await;
    room.converge(&workload).await;
    kubectl(&[
        "scale",
        "deployment/web",
        "--namespace=fixed-replicas",
        "--replicas=5",
    ])
    .await;
    let outcome = room.pass(&workload).await;
    assert_eq!((counted(&outcome), room.replicas("web").await), (Some(2), 2));
    assert_eq!(managers(&room).await, ["lockstep-replicas"]);

    let workload = room.set("web", &with(&json!({ "replicas": 3 }))).await;
    room.converge(&workload).await;
    assert_eq!(room.replicas("web").await, 3);

    // Left out: no longer Lockstep's, and not defaulted to 1 either.
    let workload = room.set("web", &with(&json!({}))).await;
    room.converge(&workload).await;
    assert_eq!(room.replicas("web").await, 3);
    kubectl(&[
        "scale",
        "deployment/web",
        "--namespace=fixed-replicas",
        "--replicas=4",
    ])
    .await;
    assert!(room.plan(&workload).await.1.is_empty());

    let workload = room
        .set(
            "web",
            &with(&json!({ "replicas": 9, "autoscaling": { "mode": "External" } })),
        )
        .await;
    room.converge(&workload).await;
    assert_eq!(room.replicas("web").await, 4, "something else scales");
}

#[tokio::test]
async fn an_autoscaler_comes_and_goes_and_never_does_anybody_else_change_the_count() {
    let room = Room::new("handover").await;
    let fixed = room.set("web", &with(&json!({ "replicas": 2 }))).await;
    room.converge(&fixed).await;
    kubectl(&["scale", "deployment/web", "--namespace=handover", "--replicas=1"]).await;
    room.converge(&fixed).await;
    assert_eq!(managers(&room).await, ["lockstep-replicas"]);

    // On. The autoscaler raises the count to its minimum, without metrics too, and takes the field over.
    let managed = room
        .set(
            "web",
            &with(&json!({ "autoscaling": { "minReplicas": 4, "maxReplicas": 6 } })),
        )
        .await;
    room.converge(&managed).await;
    eventually("the autoscaler scales", async || {
        (room.replicas("web").await == 4).then_some(())
    })
    .await;
    assert_eq!(managers(&room).await, ["kube-controller-manager"]);
    assert!(room.plan(&managed).await.1.is_empty());

    // A change of the template under it leaves the count alone.
    let mut spec = with(&json!({ "autoscaling": { "minReplicas": 4, "maxReplicas": 6 } }));
    spec["template"]["spec"]["containers"][0]["image"] = "web:2".into();
    let managed = room.set("web", &spec).await;
    room.converge(&managed).await;
    assert_eq!(room.replicas("web").await, 4);

    // Deleted by hand: created again, replicas untouched.
    room.delete(ChildKind::HorizontalPodAutoscaler, "web").await;
    let outcome = room.pass(&managed).await;
    assert_eq!((counted(&outcome), outcome.failures.len()), (None, 0));
    assert!(
        room.get(ChildKind::HorizontalPodAutoscaler, "web")
            .await
            .is_some()
    );
    assert_eq!(room.replicas("web").await, 4);

    // Off without replicas: the current value stays.
    let unset = room.set("web", &with(&json!({}))).await;
    room.converge(&unset).await;
    assert!(
        room.get(ChildKind::HorizontalPodAutoscaler, "web")
            .await
            .is_none()
    );
    assert_eq!(room.replicas("web").await, 4);

    // On again, then to equal bounds: no autoscaler, and that count.
    room.converge(&managed).await;
    let equal = room
        .set(
            "web",
            &with(&json!({ "autoscaling": { "minReplicas": 3, "maxReplicas": 3 } })),
        )
        .await;
    let outcome = room.pass(&equal).await;
    assert_eq!(outcome.deleted.len(), 1);
    room.converge(&equal).await;
    assert_eq!(room.replicas("web").await, 3);
    assert_eq!(managers(&room).await, ["lockstep-replicas"]);

    // And off to fixed.
    room.converge(&managed).await;
    eventually("the autoscaler scales", async || {
        (room.replicas("web").await == 4).then_some(())
    })
    .await;
    room.converge(&fixed).await;
    assert_eq!(room.replicas("web").await, 2);
}

/// Replicas are applied only once the apiserver itself says that the autoscaler is gone, whatever a cache shows.
#[tokio::test]
async fn replicas_wait_until_the_autoscaler_is_seen_gone() {
    let room = Room::new("seen-gone").await;
    let spec = with(&json!({ "replicas": 2, "autoscaling": { "minReplicas": 2, "maxReplicas": 6 } }));
    let managed = room.set("web", &spec).await;
    room.converge(&managed).await;
    kubectl(&["scale", "deployment/web", "--namespace=seen-gone", "--replicas=5"]).await;
    let hold = json!({ "metadata": { "finalizers": ["test/hold"] } });
    room.meddle(ChildKind::HorizontalPodAutoscaler, "web", "test", &hold)
        .await;

    let fixed = room.set("web", &with(&json!({ "replicas": 2 }))).await;
    let outcome = room.pass(&fixed).await;
    assert_eq!(
        (counted(&outcome), outcome.waiting.len()),
        (None, 1),
        "{outcome:?}"
    );
    let outcome = room.pass(&fixed).await;
    assert_eq!(
        (counted(&outcome), outcome.waiting.len()),
        (None, 1),
        "{outcome:?}"
    );
    assert_eq!(room.replicas("web").await, 5);

    // A cache that does not show the autoscaler changes nothing about that.
    let prepared = lockstep::domain::children::build(&fixed);
    let mut live = room.live("web").await;
    live.autoscaler = None;
    let plan = lockstep::domain::children::plan(&fixed, &prepared, &live, &[]);
    let outcome = room.writer().apply(&fixed, &prepared, &plan).await;
    assert_eq!(
        (counted(&outcome), outcome.waiting.len()),
        (None, 1),
        "{outcome:?}"
    );

    let free = json!({ "metadata": { "finalizers": null } });
    room.meddle(ChildKind::HorizontalPodAutoscaler, "web", "test", &free)
        .await;
    room.converge(&fixed).await;
    assert_eq!(room.replicas("web").await, 2);
}

/// An autoscaler scales by name: it must not be made for a Deployment that isn't ours.
#[tokio::test]
async fn a_strangers_deployment_gets_no_autoscaler() {
    let room = Room::new("strangers-scale").await;
    kubectl(&[
        "create",
        "deployment",
        "web",
        "--namespace=strangers-scale",
        "--image=theirs",
        "--replicas=1",
    ])
    .await;
    let spec = with(&json!({ "autoscaling": { "minReplicas": 3, "maxReplicas": 6 } }));
    let workload = room.set("web", &spec).await;
    let outcome = room.pass(&workload).await;
    assert_eq!(outcome.first_failure().unwrap().kind, FailureKind::NameConflict);
    assert!(
        room.get(ChildKind::HorizontalPodAutoscaler, "web")
            .await
            .is_none()
    );
}
