//! What is said of pods that don't come.

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::domain::ownership::ContainerEnd;

fn container(name: &str) -> ContainerView {
    ContainerView {
        name: name.into(),
        running: true,
        ready: true,
        ..ContainerView::default()
    }
}

fn waiting(name: &str, reason: &str, message: &str) -> ContainerView {
    ContainerView {
        name: name.into(),
        waiting: Some((reason.into(), message.into())),
        ..ContainerView::default()
    }
}

fn pod(name: &str, containers: &[ContainerView]) -> PodView {
    PodView {
        name: name.into(),
        containers: containers.to_vec(),
        ..PodView::default()
    }
}

fn said(pods: &[PodView]) -> String {
    pod_trouble(None, pods).unwrap_or_default()
}

fn deployment(conditions: &Value) -> DeploymentView {
    let object = json!({
        "metadata": { "generation": 1 },
        "spec": { "replicas": 3 },
        "status": { "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "conditions": conditions },
    });
    DeploymentView::of(&Live::new(object.as_object().unwrap().clone()))
}

#[test]
fn pods_that_are_refused_are_told_in_the_words_of_the_apiserver() {
    let words = "pods \"web-x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1";
    let failure = |status: &str| json!([{ "type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": words }]);
    let refused = deployment(&failure("True"));
    let pods_are_refused = format!("pods can't be created: {words}");
    assert_eq!(pod_trouble(Some(&refused), &[]), Some(pods_are_refused.clone()));
    let stuck = pod("a", &[waiting("app", "ImagePullBackOff", "")]);
    assert_eq!(
        pod_trouble(Some(&refused), &[stuck]),
        Some(format!(
            "{pods_are_refused}; pod a, container app: ImagePullBackOff"
        ))
    );
    assert_eq!(pod_trouble(Some(&deployment(&failure("False"))), &[]), None);
    assert_eq!(pod_trouble(Some(&deployment(&json!([]))), &[]), None);
}

#[test]
fn a_container_that_waits_says_why_and_nothing_that_ticks() {
    let missing = waiting("app", "CreateContainerConfigError", "secret \"db\" not found");
    assert_eq!(
        said(&[pod("a", &[container("sidecar"), missing])]),
        "pod a, container app: CreateContainerConfigError (secret \"db\" not found)"
    );
    let mut crashed = waiting(
        "app",
        "CrashLoopBackOff",
        "back-off 2m40s restarting failed container=app",
    );
    crashed.last_end = Some(ContainerEnd {
        reason: "Error".into(),
        exit_code: 3,
    });
    assert_eq!(
        said(&[pod("a", &[crashed])]),
        "pod a, container app: CrashLoopBackOff (ended last with exit code 3)"
    );
    // The kubelet says now this, now that.
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        let pull = waiting("app", reason, "Back-off pulling image \"x:nope\"");
        assert_eq!(
            said(&[pod("a", &[pull])]),
            "pod a, container app: ImagePullBackOff"
        );
    }
    for reason in ["ContainerCreating", "PodInitializing"] {
        assert_eq!(said(&[pod("a", &[waiting("app", reason, "")])]), "", "{reason}");
    }
}

#[test]
fn an_init_container_that_fails_is_found_behind_containers_that_wait_for_it() {
    let mut stuck = pod("a", &[waiting("app", "PodInitializing", "")]);
    stuck.init_containers = vec![waiting("migrate", "CrashLoopBackOff", "")];
    assert_eq!(said(&[stuck]), "pod a, container migrate: CrashLoopBackOff");
}

#[test]
fn a_pod_that_runs_and_is_not_ready_is_told_after_those_that_do_not_run() {
    let mut unready = container("app");
    unready.ready = false;
    let slow = pod("a", &[container("sidecar"), unready.clone()]);
    let not_passed = "pod a, container app: its readiness probe fails, or has not passed yet";
    assert_eq!(said(std::slice::from_ref(&slow)), not_passed);
    let stuck = pod("b", &[waiting("app", "ImagePullBackOff", "")]);
    assert_eq!(
        said(&[slow.clone(), stuck]),
        "pod b, container app: ImagePullBackOff"
    );
    unready.last_end = Some(ContainerEnd {
        reason: "OOMKilled".into(),
        exit_code: 137,
    });
    assert_eq!(
        said(&[pod("a", &[unready.clone()])]),
        format!("{not_passed} (ended last with OOMKilled)")
    );
    // A sidecar counts while it runs, an init container that is done does not.
    let mut with_sidecar = pod("a", &[container("app")]);
    unready.name = "proxy".into();
    unready.last_end = None;
    with_sidecar.init_containers = vec![ContainerView::default(), unready];
    assert_eq!(said(&[with_sidecar]), not_passed.replace("app", "proxy"));
    let gated = pod("a", &[container("app")]);
    assert_eq!(
        said(&[gated]),
        "pod a: its containers are ready, a readiness gate of it is not met"
    );

    let mut starting = slow.clone();
    starting.containers[0].running = false;
    let mut terminating = slow.clone();
    terminating.terminating = true;
    let mut ready = slow.clone();
    ready.ready_since = Some(Timestamp::UNIX_EPOCH);
    let mut finished = slow;
    finished.finished = true;
    assert_eq!(said(&[starting, terminating, ready, finished]), "");
}

#[test]
fn a_pod_that_cannot_be_placed_or_ended_as_a_whole_says_why() {
    let mut unplaced = pod("a", &[]);
    unplaced.unschedulable = Some("0/3 nodes are available: 3 Insufficient cpu.".into());
    assert_eq!(
        said(&[unplaced]),
        "pod a can't be scheduled: 0/3 nodes are available: 3 Insufficient cpu"
    );
    let mut evicted = pod("a", &[container("app")]);
    evicted.reason = Some("Evicted".into());
    assert_eq!(said(&[evicted]), "pod a: Evicted");
}
