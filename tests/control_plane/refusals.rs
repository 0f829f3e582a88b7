//! What the apiserver refuses, and what that is called.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, DeleteParams, PostParams};
use lockstep::domain::children::{ChildKind, FailureKind, RetryCause};
use lockstep::domain::workload::Workload;
use serde_json::{Value, json};

use super::harness::{Room, config, control_plane, eventually, kubectl, ordinary};

/// Applies a manifest as an administrator.
async fn manifest(value: &Value) {
    let cluster = control_plane().await;
    let text = value.to_string();
    let run = move || cluster.kubectl_stdin(&["apply", "--filename=-"], &text);
    tokio::task::spawn_blocking(run).await.unwrap().unwrap();
}

/// The first failure of one pass.
async fn failure(room: &Room, workload: &Workload) -> (ChildKind, FailureKind, String) {
    let outcome = room.pass(workload).await;
    let failure = outcome
        .first_failure()
        .unwrap_or_else(|| panic!("no failure: {outcome:?}"));
    (failure.child, failure.kind, failure.message.clone())
}

#[tokio::test]
async fn a_strangers_object_is_untouched() {
    let room = Room::new("name-conflict").await;
    kubectl(&[
        "create",
        "deployment",
        "web",
        "--namespace=name-conflict",
        "--image=theirs",
    ])
    .await;
    let before = room.deployment("web").await;
    let workload = room.set("web", &ordinary()).await;
    for _ in 0..2 {
        let (child, kind, message) = failure(&room, &workload).await;
        assert_eq!((child, kind), (ChildKind::Deployment, FailureKind::NameConflict));
        assert_eq!(message, "deployments.apps \"web\" already exists");
    }
    let after = room.deployment("web").await;
    assert_eq!(
        (&before["spec"], &before["metadata"]["uid"]),
        (&after["spec"], &after["metadata"]["uid"])
    );

    // Nor is it touched if it bears our label, and so is in the cache.
    kubectl(&[
        "label",
        "deployment/web",
        "--namespace=name-conflict",
        "lockstep.dev/workload=web",
    ])
    .await;
    let (_, kind, message) = failure(&room, &workload).await;
    assert_eq!(kind, FailureKind::NameConflict);
    assert!(message.contains("Lockstep did not make"), "{message}");
    assert_eq!(room.deployment("web").await["spec"], before["spec"]);

    kubectl(&["delete", "deployment/web", "--namespace=name-conflict"]).await;
    room.converge(&workload).await;
}

#[tokio::test]
async fn an_owner_reference_taken_away_is_told_from_a_stranger() {
    let room = Room::new("ownership").await;
    let workload = room.set("web", &ordinary()).await;
    room.converge(&workload).await;
    let uid = room.deployment("web").await["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    room.meddle(
        ChildKind::Deployment,
        "web",
        "x",
        &json!({ "metadata": { "ownerReferences": null } }),
    )
    .await;
    let listed = [lockstep::api::status::Child {
        kind: "Deployment".into(),
        name: "web".into(),
        uid,
    }];
    let prepared = lockstep::domain::children::build(&workload);
    let plan = lockstep::domain::children::plan(&workload, &prepared, &room.live("web").await, &listed);
    let writes = room.faults.writes().len();
    let outcome = room.writer().apply(&workload, &prepared, &plan).await;
    assert_eq!(outcome.first_failure().unwrap().kind, FailureKind::OwnershipLost);
    assert_eq!(room.faults.writes().len(), writes);
    // Without the label too, when it is in no cache.
    let labels = json!({ "metadata": { "labels": { "lockstep.dev/workload": null } } });
    room.meddle(ChildKind::Deployment, "web", "x", &labels).await;
    let plan = lockstep::domain::children::plan(&workload, &prepared, &room.live("web").await, &listed);
    let outcome = room.writer().apply(&workload, &prepared, &plan).await;
    assert_eq!(outcome.first_failure().unwrap().kind, FailureKind::OwnershipLost);
}

#[tokio::test]
async fn what_the_api_refuses_is_said_in_its_words() {
    let room = Room::new("invalid").await;
    let changed = |path: &str, value: Value| {
        let mut spec = ordinary();
        *spec.pointer_mut(path).unwrap() = value;
        spec
    };
    let pod = "/template/spec";
    let container = |value: Value| changed("/template/spec/containers", json!([value]));
    let mut misspelt = ordinary();
    misspelt["template"]["spec"]["restartPolcy"] = "Always".into();
    let mut policy = ordinary();
    policy["networkPolicy"] = json!({ "ingress": [{ "from": [{ "ipBlock": { "cidr": "nonsense" } }] }] });
    let cases = [
        (
            "misspelt",
            misspelt,
            ChildKind::Deployment,
            FailureKind::InvalidPodTemplate,
            "restartPolcy",
        ),
        (
            "no-image",
            container(json!({ "name": "web" })),
            ChildKind::Deployment,
            FailureKind::InvalidPodTemplate,
            "image: Required value",
        ),
        (
            "no-containers",
            changed(pod, json!({ "containers": [] })),
            ChildKind::Deployment,
            FailureKind::InvalidPodTemplate,
            "containers: Required value",
        ),
        (
            "policy",
            policy,
            ChildKind::NetworkPolicy,
            FailureKind::InvalidSpec,
            "nonsense",
        ),
    ];
    for (name, spec, child, kind, words) in cases {
        // At creation, and as a change of what is there.
        let fresh = room.set(name, &spec).await;
        let (failed, found, message) = failure(&room, &fresh).await;
        assert_eq!((failed, found), (child, kind), "{name}: {message}");
        assert!(message.contains(words), "{name}: {message}");

        let changing = format!("{name}-later");
        let workload = room.set(&changing, &ordinary()).await;
        room.converge(&workload).await;
        let workload = room.set(&changing, &spec).await;
        let (failed, found, message) = failure(&room, &workload).await;
        assert_eq!((failed, found), (child, kind), "{changing}: {message}");
        assert!(message.contains(words), "{changing}: {message}");
    }
}

/// A POST takes a key twice, an apply does not.
#[tokio::test]
async fn a_variable_given_twice_is_refused_by_the_first_apply() {
    let room = Room::new("twice").await;
    let mut workload = room.set("web", &ordinary()).await;
    let env = json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]);
    workload.template["spec"]["containers"][0]["env"] = env;
    room.pass(&workload).await;
    let (child, kind, message) = failure(&room, &workload).await;
    assert_eq!(
        (child, kind),
        (ChildKind::Deployment, FailureKind::InvalidPodTemplate),
        "{message}"
    );
    assert!(message.contains("duplicate entries"), "{message}");
}

#[tokio::test]
async fn one_refused_child_does_not_keep_the_others_from_being_made() {
    let room = Room::new("others").await;
    let mut spec = ordinary();
    spec["networkPolicy"] = json!({ "ingress": [{ "from": [{ "ipBlock": { "cidr": "nonsense" } }] }] });
    let workload = room.set("web", &spec).await;
    let outcome = room.pass(&workload).await;
    assert_eq!(outcome.failures.len(), 1);
    assert!(room.get(ChildKind::Deployment, "web").await.is_some());
    assert!(room.get(ChildKind::PodDisruptionBudget, "web").await.is_some());
}

#[tokio::test]
async fn an_immutable_field_is_named() {
    let room = Room::new("immutable").await;
    let workload = room.set("web", &ordinary()).await;
    // As a former version with another selector would have left it.
    let mut prepared = serde_json::to_value(
        lockstep::domain::children::build(&workload)
            .deployment
            .as_ref()
            .unwrap()
            .body(),
    )
    .unwrap();
    prepared["spec"]["selector"]["matchLabels"]["app"] = "web".into();
    let object = serde_json::from_value(prepared).unwrap();
    room.api(ChildKind::Deployment)
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    let (child, kind, message) = failure(&room, &workload).await;
    assert_eq!(
        (child, kind),
        (ChildKind::Deployment, FailureKind::ImmutableField),
        "{message}"
    );
}

#[tokio::test]
async fn missing_rights_are_told_from_a_policy() {
    let room = Room::new("rights").await;
    let workload = room.set("web", &ordinary()).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(room.client.clone(), "rights");
    eventually("the account", async || accounts.get("default").await.ok()).await;
    let mut config = config().await;
    config.auth_info.impersonate = Some("system:serviceaccount:rights:default".into());
    let powerless = room.with_config(config);
    let (_, kind, message) = failure(&powerless, &workload).await;
    assert_eq!(kind, FailureKind::Forbidden, "{message}");
    assert!(message.contains("cannot create resource"), "{message}");

    for (name, action) in [("policy", "Deny")] {
        manifest(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["deployments"] }] },
                "validations": [{ "expression": "has(object.metadata.labels) && 'team' in object.metadata.labels",
                                  "message": "every Deployment names its team" }],
            },
        }))
        .await;
        manifest(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": [action], "matchResources": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "rights" } } } },
        }))
        .await;
    }
    // A policy takes a moment until it is in force.
    let message = eventually("the policy denies", async || {
        let outcome = room.pass(&workload).await;
        if let Some(failure) = outcome.first_failure() {
            assert_eq!(failure.kind, FailureKind::AdmissionDenied, "{failure:?}");
            return Some(failure.message.clone());
        }
        room.delete(ChildKind::Deployment, "web").await;
        None
    })
    .await;
    assert!(message.contains("every Deployment names its team"), "{message}");
}

#[tokio::test]
async fn a_used_up_quota_is_tried_again() {
    let room = Room::new("quota").await;
    manifest(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none", "namespace": "quota" },
        "spec": { "hard": { "count/deployments.apps": "0" } },
    }))
    .await;
    let workload = room.set("web", &ordinary()).await;
    // The quota is enforced once its usage was counted, until then creation is refused in other words.
    eventually("the quota is used up", async || {
        let outcome = room.pass(&workload).await;
        let failure = outcome.first_failure()?;
        assert_eq!(failure.kind, FailureKind::Retry(RetryCause::Quota), "{failure:?}");
        failure.message.contains("exceeded quota").then_some(())
    })
    .await;
    kubectl(&["delete", "resourcequota/none", "--namespace=quota"]).await;
    room.converge(&workload).await;
}

#[tokio::test]
async fn a_namespace_that_goes_is_tried_again() {
    let room = Room::new("going").await;
    let workload = room.set("web", &ordinary()).await;
    // Something that keeps the namespace from being gone at once.
    manifest(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "hold", "namespace": "going", "finalizers": ["test/hold"] },
    }))
    .await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(room.client.clone());
    namespaces
        .delete("going", &DeleteParams::default())
        .await
        .unwrap();
    let (_, kind, message) = failure(&room, &workload).await;
    assert_eq!(
        kind,
        FailureKind::Retry(RetryCause::NamespaceTerminating),
        "{message}"
    );
    kubectl(&[
        "patch",
        "configmap/hold",
        "--namespace=going",
        "--type=merge",
        "--patch={\"metadata\":{\"finalizers\":null}}",
    ])
    .await;
    eventually("the namespace is gone", async || {
        namespaces.get_opt("going").await.unwrap().is_none().then_some(())
    })
    .await;
    let (_, kind, message) = failure(&room, &workload).await;
    assert_eq!(
        kind,
        FailureKind::Retry(RetryCause::NamespaceTerminating),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_too_large_is_said_to_be() {
    let room = Room::new("too-large").await;
    let mut workload = room.set("web", &ordinary()).await;
    // More than the store takes; the resource itself could not hold it, so it is put into what was parsed.
    let container = &mut workload.template["spec"]["containers"][0];
    container["args"] = vec!["x".repeat(1000); 2000].into();
    let (child, kind, message) = failure(&room, &workload).await;
    assert_eq!(
        (child, kind),
        (ChildKind::Deployment, FailureKind::ObjectTooLarge),
        "{message}"
    );
    workload.template["spec"]["containers"][0]["args"] = vec!["x".repeat(1000); 4000].into();
    let (_, kind, message) = failure(&room, &workload).await;
    assert_eq!(kind, FailureKind::ObjectTooLarge, "{message}");
}

#[tokio::test]
async fn an_apiserver_that_is_away_is_asked_again() {
    let room = Room::new("away").await;
    let workload = room.set("web", &ordinary()).await;
    let mut nowhere = config().await;
    // A port that nothing listens on.
    nowhere.cluster_url = "https://127.0.0.1:1".parse().unwrap();
    let cut_off = room.with_config(nowhere);
    let (prepared, plan) = room.plan(&workload).await;
    let outcome = cut_off.writer().apply(&workload, &prepared, &plan).await;
    assert_eq!(outcome.failures.len(), 1, "one is enough to know: {outcome:?}");
    assert_eq!(
        outcome.failures[0].kind,
        FailureKind::Retry(RetryCause::Unreachable)
    );
}
