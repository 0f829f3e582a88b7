//! Creation, rest, changes and drift of the children.

use kube::api::{Patch, PatchParams};
use lockstep::domain::children::{Action, ChildKind, Failure, FailureKind, RetryCause};
use serde_json::{Value, json};

use super::harness::{Room, eventually, kubectl, ordinary};

/// The names of the variables of the first container.
fn variables(deployment: &Value) -> Vec<&str> {
    let env = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    env.as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect()
}

/// Specs that exercise every way in which the apiserver stores something else than what it was sent.
#[expect(clippy::too_many_lines, reason = "a table")]
fn shapes() -> Vec<(&'static str, Value)> {
    let with = |changes: Value| {
        let mut spec = ordinary();
        spec.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        spec
    };
    let template = |changes: Value| {
        let mut spec = ordinary();
        let pod = spec["template"]["spec"].as_object_mut().unwrap();
        pod.extend(changes.as_object().unwrap().clone());
        spec
    };
    vec![
        ("ordinary", ordinary()),
        (
            "managed",
            with(json!({
                "autoscaling": {
                    "minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70,
                    "behavior": { "scaleDown": { "policies": [{ "type": "Pods", "value": 1, "periodSeconds": 60 }] } },
                },
                "disruptionBudget": { "minAvailable": 1 },
            })),
        ),
        (
            "metrics",
            with(json!({
                "autoscaling": { "maxReplicas": 4, "metrics": [
                    { "type": "Pods", "pods": {
                        "metric": { "name": "queue", "selector": { "matchLabels": { "a": "b" } } },
                        "target": { "type": "AverageValue", "averageValue": "1500m" } } },
                    { "type": "External", "external": {
                        "metric": { "name": "lag" }, "target": { "type": "Value", "value": 10000 } } },
                ] },
            })),
        ),
        (
            "equal-bounds",
            with(json!({ "autoscaling": { "minReplicas": 3, "maxReplicas": 3 } })),
        ),
        ("external", with(json!({ "autoscaling": { "mode": "External" } }))),
        (
            "sections-off",
            with(json!({
                "networkPolicy": { "enabled": false }, "disruptionBudget": { "enabled": false },
                "podDefaults": { "env": false, "topologySpread": false },
            })),
        ),
        (
            "deployment-fields",
            with(json!({
                "minReadySeconds": 0, "progressDeadlineSeconds": 900, "revisionHistoryLimit": 0,
                "strategy": { "rollingUpdate": { "maxSurge": "50%", "maxUnavailable": 0 } },
            })),
        ),
        (
            "policy",
            with(json!({
                "redis": { "url": "redis://redis:6390" },
                "networkPolicy": {
                    "ingress": [
                        {},
                        { "from": [], "ports": [{ "port": "http" }] },
                        { "from": [{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "a": "b" } } }] },
                        { "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": [] } }] },
                    ],
                    "egress": [{ "to": [{ "podSelector": {} }], "ports": [{ "protocol": "TCP", "port": 80, "endPort": 90 }] }],
                },
            })),
        ),
        (
            "closed",
            with(json!({ "networkPolicy": { "ingress": [], "egress": [] } })),
        ),
        ("strategy", with(json!({ "strategy": { "type": "Recreate" } }))),
        (
            "quantities",
            template(json!({
                "overhead": {}, "nodeSelector": {}, "tolerations": [],
                "volumes": [{ "name": "cache", "emptyDir": { "sizeLimit": "1024Mi" } }, { "name": "plain", "emptyDir": {} }],
                "containers": [{
                    "name": "web", "image": "web:1",
                    "env": [
                        { "name": "EMPTY", "value": "" }, { "name": "NUMBER", "value": "1000m" },
                        { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu", "divisor": 1 } } },
                    ],
                    "resources": {
                        "requests": { "cpu": 0.5, "memory": "1e9", "ephemeral-storage": "1024Mi" },
                        "limits": { "cpu": 1, "memory": 2_147_483_648_u64 },
                    },
                    "volumeMounts": [{ "name": "cache", "mountPath": "/cache", "readOnly": false }],
                }],
            })),
        ),
        (
            "zeros",
            template(json!({
                "hostNetwork": false, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "dnsPolicy": "", "schedulerName": "", "serviceAccountName": "", "imagePullSecrets": [], "hostAliases": [],
                "securityContext": { "runAsUser": 0, "supplementalGroups": [] },
                "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
                    { "weight": 1, "podAffinityTerm": {
                        "topologyKey": "zone", "labelSelector": { "matchExpressions": [
                            { "key": "app", "operator": "In", "values": ["web"] }] } } }] } },
                "containers": [{
                    "name": "web", "image": "web:1", "imagePullPolicy": "", "command": [], "tty": false, "stdin": false,
                    "ports": [{ "containerPort": 8080, "hostPort": 0, "protocol": "" }, { "containerPort": 53, "protocol": "UDP" }],
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"], "add": [] } },
                    "livenessProbe": { "httpGet": { "port": 8080, "path": "", "scheme": "" }, "initialDelaySeconds": 0,
                        "timeoutSeconds": 0, "periodSeconds": 0, "failureThreshold": 0, "successThreshold": 0 },
                    "readinessProbe": { "grpc": { "port": 8080 } },
                }],
            })),
        ),
        (
            "many-parts",
            template(json!({
                "initContainers": [
                    { "name": "b", "image": "init:1" },
                    { "name": "a", "image": "init:1", "restartPolicy": "Always", "ports": [{ "containerPort": 9090 }] },
                ],
                "topologySpreadConstraints": [
                    { "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {} }],
                "volumes": [
                    { "name": "token", "projected": { "sources": [
                        { "serviceAccountToken": { "path": "token" } },
                        { "configMap": { "name": "c", "items": [{ "key": "k", "path": "p" }] } },
                        { "downwardAPI": { "items": [{ "path": "l", "fieldRef": { "fieldPath": "metadata.labels" } }] } }] } },
                    { "name": "data", "ephemeral": { "volumeClaimTemplate": { "spec": {
                        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1.5Gi" } } } } } },
                    { "name": "secret", "secret": { "secretName": "s", "optional": false } },
                    { "name": "host", "hostPath": { "path": "/tmp", "type": "" } },
                ],
                "containers": [
                    { "name": "web", "image": "web:1", "envFrom": [{ "configMapRef": { "name": "c", "optional": true } }],
                      "env": [{ "name": "POD_NAME", "value": "mine" },
                              { "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k", "optional": false } } }] },
                    { "name": "side", "image": "side:1", "args": ["--a", ""], "workingDir": "" },
                ],
            })),
        ),
    ]
}

#[tokio::test]
async fn what_was_created_is_what_was_intended_whatever_its_shape() {
    let room = Room::new("shapes").await;
    for (name, spec) in shapes() {
        let workload = room.set(name, &spec).await;
        let outcome = room.pass(&workload).await;
        assert_eq!(outcome.failures, [], "{name}");
        let wanted = lockstep::domain::children::build(&workload);
        for (kind, applied) in outcome.children.iter() {
            assert_eq!(applied.is_some(), wanted.get(kind).is_some(), "{name} {kind:?}");
            assert!(
                applied
                    .as_ref()
                    .is_none_or(|child| child.action == Action::Created),
                "{name} {kind:?}"
            );
        }
        let writes = room.faults.writes().len();
        let (_, plan) = room.plan(&workload).await;
        assert!(plan.is_empty(), "{name}: {plan:?}");
        let outcome = room.pass(&workload).await;
        assert!(
            outcome.is_complete() && room.faults.writes().len() == writes,
            "{name}: {outcome:?}"
        );
    }
}

/// As above, but through the other door: an apply may store what a POST would not, and the reverse.
#[tokio::test]
async fn what_was_applied_is_what_was_intended_whatever_its_shape() {
    let room = Room::new("shapes-applied").await;
    for (name, spec) in shapes() {
        let workload = room
            .set(
                name,
                &json!({ "template": { "spec": { "containers": [
            { "name": "first", "image": "first:1", "env": [{ "name": "GONE", "value": "x" }] }] } } }),
            )
            .await;
        room.converge(&workload).await;
        let workload = room.set(name, &spec).await;
        // The rollout of the first template writes to the Deployment too, faster than any number of attempts.
        let outcome = eventually("it is written", async || {
            let outcome = room.pass(&workload).await;
            let conflicts = |failure: &Failure| failure.kind == FailureKind::Retry(RetryCause::Conflict);
            assert!(outcome.failures.iter().all(conflicts), "{name}: {outcome:?}");
            outcome.failures.is_empty().then_some(outcome)
        })
        .await;
        for (kind, applied) in outcome.children.iter() {
            if let Some(Action::Updated {
                correction,
                unsettled,
            }) = applied.as_ref().map(|child| &child.action)
            {
                assert_eq!((correction, unsettled), (&None, &None), "{name} {kind:?}");
            }
        }
        let (_, plan) = room.plan(&workload).await;
        assert!(plan.is_empty(), "{name}: {plan:?}");
    }
}

#[tokio::test]
async fn the_deployment_is_the_template_and_what_lockstep_adds() {
    let room = Room::new("additions").await;
    let workload = room.set("web", &ordinary()).await;
    room.converge(&workload).await;
    let deployment = room.deployment("web").await;
    assert_eq!(
        variables(&deployment),
        ["POD_NAME", "POD_NAMESPACE", "POD_UID", "MODE", "LEVEL"]
    );
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(
        deployment["spec"]["selector"],
        json!({ "matchLabels": { "lockstep.dev/workload": "web" } })
    );
    let template = &deployment["spec"]["template"];
    assert_eq!(
        template["metadata"]["labels"],
        json!({ "app": "web", "lockstep.dev/workload": "web" })
    );
    assert_eq!(
        template["spec"]["topologySpreadConstraints"][0]["topologyKey"],
        "kubernetes.io/hostname"
    );
    assert_eq!(
        deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "lockstep"
    );
    let owner = &deployment["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"]),
        (&"CoordinatedWorkload".into(), &workload.uid.clone().into())
    );
}

#[tokio::test]
async fn a_variable_removed_as_the_first_change_is_gone() {
    let room = Room::new("removed-variable").await;
    let mut spec = ordinary();
    let workload = room.set("web", &spec).await;
    room.converge(&workload).await;
    room.meddle(
        ChildKind::Deployment,
        "web",
        "somebody",
        &json!({ "spec": { "replicas": 7 } }),
    )
    .await;

    spec["template"]["spec"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    spec.as_object_mut().unwrap().remove("replicas");
    let workload = room.set("web", &spec).await;
    room.converge(&workload).await;
    let deployment = room.deployment("web").await;
    assert_eq!(
        variables(&deployment),
        ["POD_NAME", "POD_NAMESPACE", "POD_UID", "LEVEL"]
    );
    assert_eq!(deployment["spec"]["replicas"], 7, "replicas stay");
    assert!(room.plan(&workload).await.1.is_empty());
    // The POST's entry is an Apply entry now, and nobody's second one stands beside it.
    let entries = deployment["metadata"]["managedFields"].as_array().unwrap();
    let ours: Vec<_> = entries
        .iter()
        .filter(|entry| entry["manager"] == "lockstep")
        .collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!(ours[0]["operation"], "Apply");
    assert!(ours[0]["fieldsV1"]["f:spec"].get("f:replicas").is_none());
}

/// The POST set them, and owned them: leaving them out of the spec must not give them back to the default.
#[tokio::test]
async fn replicas_left_out_as_the_first_change_stay() {
    let room = Room::new("left-out-replicas").await;
    let mut spec = ordinary();
    spec["replicas"] = 3.into();
    let workload = room.set("web", &spec).await;
    room.converge(&workload).await;
    spec.as_object_mut().unwrap().remove("replicas");
    spec["template"]["spec"]["containers"][0]["image"] = "web:2".into();
    let workload = room.set("web", &spec).await;
    room.converge(&workload).await;
    let deployment = room.deployment("web").await;
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:2"
    );
}

#[tokio::test]
async fn changes_of_order_arrive() {
    let room = Room::new("order").await;
    let container = |name: &str| json!({ "name": name, "image": "x:1" });
    let spec = |names: [&str; 3], variables: [&str; 2]| {
        let mut spec = ordinary();
        spec["template"]["spec"]["initContainers"] = names.iter().map(|name| container(name)).collect();
        spec["template"]["spec"]["containers"][0]["env"] = variables
            .iter()
            .map(|name| json!({ "name": name, "value": "x" }))
            .collect();
        spec
    };
    let workload = room.set("web", &spec(["a", "b", "c"], ["X", "Y"])).await;
    room.converge(&workload).await;
    let workload = room.set("web", &spec(["c", "a", "b"], ["Y", "X"])).await;
    room.converge(&workload).await;
    room.rolled_out("web").await;
    let deployment = room.deployment("web").await;
    let init = deployment["spec"]["template"]["spec"]["initContainers"]
        .as_array()
        .unwrap();
    assert_eq!(
        init.iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["c", "a", "b"]
    );
    assert_eq!(
        variables(&deployment),
        ["POD_NAME", "POD_NAMESPACE", "POD_UID", "Y", "X"]
    );
}

#[tokio::test]
async fn drift_is_put_right_and_its_author_named() {
    let room = Room::new("drift").await;
    let workload = room.set("web", &ordinary()).await;
    room.converge(&workload).await;
    room.rolled_out("web").await;
    let image =
        json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil" }]);
    let patch = Patch::Json::<()>(serde_json::from_value(image).unwrap());
    let parameters = PatchParams {
        field_manager: Some("kubectl-edit".into()),
        ..PatchParams::default()
    };
    room.api(ChildKind::Deployment)
        .patch("web", &parameters, &patch)
        .await
        .unwrap();
    let budget = json!({ "spec": { "maxUnavailable": 2 } });
    room.meddle(ChildKind::PodDisruptionBudget, "web", "kubectl-edit", &budget)
        .await;
    let policy = json!({ "spec": { "ingress": [{}] } });
    room.meddle(ChildKind::NetworkPolicy, "web", "kubectl-edit", &policy)
        .await;

    let outcome = room.pass(&workload).await;
    assert_eq!(outcome.failures, []);
    for (kind, field, owned) in [
        (
            ChildKind::Deployment,
            "spec.template.spec.containers[web].image",
            ".spec.template.spec.containers[name=\"web\"].image",
        ),
        (
            ChildKind::PodDisruptionBudget,
            "spec.maxUnavailable",
            ".spec.maxUnavailable",
        ),
        (ChildKind::NetworkPolicy, "spec.ingress", ".spec.ingress"),
    ] {
        let applied = outcome.children.get(kind).as_ref().unwrap();
        let Action::Updated {
            correction: Some(correction),
            unsettled: None,
        } = &applied.action
        else {
            panic!("{kind:?} {applied:?}");
        };
        assert_eq!(correction.field.as_deref(), Some(field));
        assert_eq!(correction.overrides[0].manager, "kubectl-edit");
        assert_eq!(correction.overrides[0].fields, [owned]);
    }
    assert!(room.plan(&workload).await.1.is_empty());
    assert_eq!(
        room.deployment("web").await["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:1"
    );
}

#[tokio::test]
async fn what_lockstep_does_not_set_stays_the_users() {
    let room = Room::new("users-fields").await;
    let workload = room.set("web", &ordinary()).await;
    room.converge(&workload).await;
    kubectl(&["rollout", "restart", "deployment/web", "--namespace=users-fields"]).await;
    kubectl(&["label", "deployment/web", "--namespace=users-fields", "team=a"]).await;
    assert!(room.plan(&workload).await.1.is_empty());

    let mut spec = ordinary();
    spec["template"]["spec"]["containers"][0]["image"] = "web:2".into();
    let workload = room.set("web", &spec).await;
    room.converge(&workload).await;
    let deployment = room.deployment("web").await;
    assert_eq!(deployment["metadata"]["labels"]["team"], "a");
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_string());
}

#[tokio::test]
async fn sections_turned_off_take_their_child_with_them() {
    let room = Room::new("sections").await;
    let mut spec = ordinary();
    spec["autoscaling"] = json!({ "minReplicas": 2, "maxReplicas": 4 });
    spec["service"] = json!({ "ports": [{ "port": 80, "targetPort": 8080 }] });
    let workload = room.set("web", &spec).await;
    room.converge(&workload).await;
    for kind in ChildKind::ALL {
        assert!(room.get(kind, "web").await.is_some(), "{kind:?}");
    }
    spec.as_object_mut().unwrap().remove("autoscaling");
    spec.as_object_mut().unwrap().remove("service");
    spec["disruptionBudget"] = json!({ "enabled": false });
    spec["networkPolicy"] = json!({ "enabled": false });
    let workload = room.set("web", &spec).await;
    let outcome = room.pass(&workload).await;
    assert_eq!(outcome.deleted.len(), 4, "{outcome:?}");
    for kind in ChildKind::ALL {
        assert_eq!(
            room.get(kind, "web").await.is_some(),
            kind == ChildKind::Deployment,
            "{kind:?}"
        );
    }
    let workload = room.set("web", &ordinary()).await;
    room.converge(&workload).await;
    assert!(room.get(ChildKind::NetworkPolicy, "web").await.is_some());
}

#[tokio::test]
async fn a_bound_of_the_budget_replaces_the_other() {
    let room = Room::new("bounds").await;
    let mut spec = ordinary();
    for (bound, value) in [
        ("minAvailable", json!(1)),
        ("maxUnavailable", json!("50%")),
        ("minAvailable", json!("10%")),
    ] {
        spec["disruptionBudget"] = json!({ bound: value });
        let workload = room.set("web", &spec).await;
        room.converge(&workload).await;
        let budget = room.get(ChildKind::PodDisruptionBudget, "web").await.unwrap();
        let bounds = ["minAvailable", "maxUnavailable"].map(|bound| budget["spec"].get(bound).is_some());
        assert_eq!(bounds.iter().filter(|present| **present).count(), 1);
        assert_eq!(budget["spec"][bound], value);
    }
}

#[tokio::test]
async fn a_child_deleted_by_hand_comes_back() {
    let room = Room::new("deleted-child").await;
    let mut spec = ordinary();
    spec["autoscaling"] = json!({ "minReplicas": 2, "maxReplicas": 4 });
    spec["service"] = json!({ "ports": [{ "port": 80, "targetPort": 8080 }] });
    let workload = room.set("web", &spec).await;
    room.converge(&workload).await;
    for kind in ChildKind::ALL {
        room.delete(kind, "web").await;
        room.converge(&workload).await;
        assert!(room.get(kind, "web").await.is_some(), "{kind:?}");
    }
}

/// A cache that does not show yet what was just written must do no harm.
#[tokio::test]
async fn a_stale_cache_does_no_harm() {
    let room = Room::new("stale").await;
    let workload = room.set("web", &ordinary()).await;
    let (prepared, empty) = room.plan(&workload).await;
    let created = room.writer().apply(&workload, &prepared, &empty).await;
    let again = room.writer().apply(&workload, &prepared, &empty).await;
    assert_eq!(again.failures, []);
    for (kind, applied) in again.children.iter() {
        let before = created.children.get(kind).as_ref().map(|child| &child.uid);
        assert_eq!(applied.as_ref().map(|child| &child.uid), before);
        assert!(applied.as_ref().is_none_or(|child| child.action == Action::None));
    }

    let mut spec = ordinary();
    spec["template"]["spec"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    let changed = room.set("web", &spec).await;
    let (prepared, change) = room.plan(&changed).await;
    room.writer().apply(&changed, &prepared, &change).await;
    let version = room.deployment("web").await["metadata"]["generation"].clone();
    let again = room.writer().apply(&changed, &prepared, &change).await;
    assert_eq!(again.failures, []);
    assert_eq!(room.deployment("web").await["metadata"]["generation"], version);

    // The object that the plan means is gone, and another one of its name is there.
    room.delete(ChildKind::PodDisruptionBudget, "web").await;
    room.converge(&changed).await;
    let mut off = spec.clone();
    off["disruptionBudget"] = json!({ "enabled": false });
    let off = room.set("web", &off).await;
    let (prepared, deletion) = room.plan(&off).await;
    room.delete(ChildKind::PodDisruptionBudget, "web").await;
    room.converge(&changed).await;
    let outcome = room.writer().apply(&off, &prepared, &deletion).await;
    assert!(
        matches!(outcome.failures[0].kind, FailureKind::Retry(_)),
        "{outcome:?}"
    );
    assert!(room.get(ChildKind::PodDisruptionBudget, "web").await.is_some());
}
