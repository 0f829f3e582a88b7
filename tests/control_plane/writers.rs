//! Status, events and Secrets.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use lockstep::api::CoordinatedWorkloadStatus;
use lockstep::api::status::Summary;
use lockstep::cluster::{Event, EventType, SecretError};

use super::harness::{Room, kubectl, ordinary};

#[tokio::test]
async fn status_is_replaced_as_a_whole_and_nothing_else_is() {
    let room = Room::new("status").await;
    let workload = room.set("web", &ordinary()).await;
    kubectl(&["label", "cwl/web", "--namespace=status", "team=a"]).await;
    let before = room.resources().get("web").await.unwrap();
    let version = before.metadata.resource_version.clone().unwrap();
    let summary = Summary {
        pods: "2/2".into(),
        problem: "Reconciled".into(),
        ..Summary::default()
    };
    let status = CoordinatedWorkloadStatus {
        observed_generation: workload.generation,
        replicas: 2,
        selector: Some("lockstep.dev/workload=web".into()),
        summary: Some(summary),
        ..CoordinatedWorkloadStatus::default()
    };
    let next = room
        .writer()
        .write_status("status", "web", &version, &status)
        .await
        .unwrap();
    let after = room.resources().get("web").await.unwrap();
    assert_eq!(after.status.as_ref(), Some(&status));
    assert_eq!(after.metadata.resource_version.as_ref(), Some(&next));
    assert_eq!(
        (&after.spec, &after.metadata.labels),
        (&before.spec, &before.metadata.labels)
    );
    assert_eq!(after.metadata.generation, before.metadata.generation);

    // From an older version: refused.
    let refused = room
        .writer()
        .write_status("status", "web", &version, &status)
        .await
        .unwrap_err();
    assert!(refused.is_conflict(), "{refused:?}");
    // What left the status is gone.
    let smaller = CoordinatedWorkloadStatus {
        summary: None,
        ..status
    };
    room.writer()
        .write_status("status", "web", &next, &smaller)
        .await
        .unwrap();
    assert_eq!(
        room.resources().get("web").await.unwrap().status,
        Some(smaller.clone())
    );
    let gone = room
        .writer()
        .write_status("status", "nobody", &next, &smaller)
        .await
        .unwrap_err();
    assert!(gone.is_not_found());
}

#[tokio::test]
async fn an_event_is_posted_once() {
    let room = Room::new("events").await;
    let workload = room.set("web", &ordinary()).await;
    let event = Event {
        name: "web.child-created.0123".into(),
        type_: EventType::Normal,
        reason: "ChildCreated".into(),
        action: "Apply".into(),
        note: "ä".repeat(2000),
        regarding: ObjectReference {
            api_version: Some("lockstep.dev/v1alpha1".into()),
            kind: Some("CoordinatedWorkload".into()),
            name: Some("web".into()),
            namespace: Some("events".into()),
            uid: Some(workload.uid.clone()),
            ..ObjectReference::default()
        },
        at: Timestamp::UNIX_EPOCH,
    };
    assert!(room.writer().post_event(&event).await.unwrap());
    assert!(
        !room.writer().post_event(&event).await.unwrap(),
        "it has been said"
    );
    let described = kubectl(&["describe", "cwl/web", "--namespace=events"]).await;
    assert!(described.contains("ChildCreated"), "{described}");
}

#[tokio::test]
async fn a_key_of_a_secret_is_read_and_never_printed() {
    let room = Room::new("secrets").await;
    kubectl(&[
        "create",
        "secret",
        "generic",
        "redis",
        "--namespace=secrets",
        "--from-literal=password=hunter2",
    ])
    .await;
    let cluster = room.writer();
    let value = cluster.secret_key("secrets", "redis", "password").await.unwrap();
    assert_eq!(value.expose(), b"hunter2");
    assert!(!format!("{value:?}").contains("hunter2"));
    let error = cluster.secret_key("secrets", "redis", "user").await.unwrap_err();
    assert!(matches!(error, SecretError::NoSuchKey), "{error:?}");
    let error = cluster
        .secret_key("secrets", "nothing", "user")
        .await
        .unwrap_err();
    assert!(matches!(error, SecretError::NotFound), "{error:?}");
    // A name that could lead elsewhere in the API isn't even asked for.
    let requests = room.faults.count();
    for name in [
        "../configmaps/x",
        "../../default/secrets/x",
        "x?y",
        "",
        "..",
        "a/b",
    ] {
        let error = cluster.secret_key("secrets", name, "user").await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound), "{error:?}");
    }
    assert_eq!(room.faults.count(), requests);
}
