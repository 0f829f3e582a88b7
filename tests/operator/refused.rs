//! What the apiserver refuses: quota, policies, rights, a namespace that goes, an object too large.

use std::collections::BTreeMap;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use lockstep::api::CoordinatedWorkload;
use serde_json::{Value, json};

use super::audit;
use super::conflicts::{becomes_a_fight, consistent, tells, tried_with_patience};
use super::operator::operator;
use super::place::{Place, Seen, eventually, spec};

/// Applies what is not of the namespace, or of no kind that children are of.
async fn manifest(place: &Place, object: &Value) {
    place
        .kubectl_stdin(&["apply", "--filename=-"], &object.to_string())
        .await;
}

/// An admission policy on this namespace's Deployments, and its binding; both have the namespace's name.
async fn admission(place: &Place, kind: &str, more: &Value) {
    let name = &place.namespace;
    let mut policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name },
        "spec": { "matchConstraints": { "resourceRules": [{
            "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"] }] } },
    });
    for (field, value) in more.as_object().unwrap() {
        policy["spec"][field] = value.clone();
    }
    let mut binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}Binding"),
        "metadata": { "name": name },
        "spec": { "policyName": name, "matchResources": {
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } } },
    });
    if kind == "ValidatingAdmissionPolicy" {
        binding["spec"]["validationActions"] = json!(["Deny"]);
    }
    manifest(place, &policy).await;
    manifest(place, &binding).await;
}

fn with_image(image: &str) -> Value {
    let mut spec = spec(1);
    spec["template"]["spec"]["containers"][0]["image"] = image.into();
    spec
}

fn image(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]["image"]
}

/// Waits until a policy on images is in force for a Deployment that nobody keeps.
async fn in_force(place: &Place, image: &str, shows: impl Fn(&Result<String, String>) -> bool) {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "probe" },
        "spec": { "selector": { "matchLabels": { "app": "probe" } }, "template": {
            "metadata": { "labels": { "app": "probe" } },
            "spec": { "containers": [{ "name": "web", "image": image }] } } },
    });
    let object: kube::api::DynamicObject = serde_json::from_value(object).unwrap();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    eventually("the policy is in force", async || {
        let made = place.children("Deployment").create(&dry, &object).await;
        let answer = made
            .map(|made| {
                let made = serde_json::to_value(made).unwrap();
                self::image(&made).as_str().unwrap().to_owned()
            })
            .map_err(|error| error.to_string());
        shows(&answer).then_some(())
    })
    .await;
}

pub(crate) async fn a_quota_that_is_used_up_is_named_and_nothing_else_waits() {
    let place = Place::new("quotas").await;
    manifest(
        &place,
        &json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "few" },
            "spec": { "hard": { "pods": "1", "services": "0" } },
        }),
    )
    .await;
    place
        .kubectl(&[
            "wait",
            "--for=jsonpath={.status.hard.services}=0",
            "resourcequota/few",
        ])
        .await;
    let _operator = operator(&place, &[]).await;
    let (pods, served) = (place.follow("pods"), place.follow("served"));
    let from = audit::now();
    place.apply("pods", &spec(2)).await;
    let seen = pods
        .first(0, "a pod is missing", |seen| {
            seen.says("Reconciling") == "True/RollingOut"
                && seen.says("Available") == "False/MinimumReplicasUnavailable"
                && seen.message("Available").contains("quota")
        })
        .await;
    for type_ in ["Available", "Reconciling"] {
        let message = seen.message(type_);
        assert!(message.contains("exceeded quota: few"), "{type_}: {message}");
    }

    let mut with_service = spec(0);
    with_service["service"] = json!({ "ports": [{ "port": 80, "targetPort": 8080 }] });
    place.apply("served", &with_service).await;
    let seen = served
        .first(0, "the Service is refused", |seen| {
            seen.says("Reconciling") == "True/Retrying"
        })
        .await;
    assert_eq!(seen.says("Ready"), "False/ChildApplyFailed");
    tells(
        &seen.message("Reconciling"),
        &["Service", "exceeded quota: few", "room in the quota"],
    );
    for kind in ["Deployment", "NetworkPolicy", "PodDisruptionBudget"] {
        assert!(place.child(kind, "served").await.is_some(), "{kind}");
    }
    tried_with_patience(&place, "services", from).await;
    assert_eq!(place.warnings("served").await, ["ApplyFailed"]);

    // With room again, both run without another word.
    place.kubectl(&["delete", "resourcequota/few"]).await;
    for history in [&pods, &served] {
        history.first(0, "it runs", Seen::is_ready).await;
        history.never(0, "it stalled", |seen| !seen.says("Stalled").is_empty());
        consistent(history);
    }
    assert_eq!(place.warnings("served").await, ["ApplyFailed"]);
}

pub(crate) async fn what_a_policy_denies_stalls_in_the_policys_words_and_pods_that_are_denied_are_said() {
    let place = Place::new("denied").await;
    let rule = json!({ "validations": [{
        "expression": "object.spec.template.spec.containers.all(c, !c.image.startsWith('bad'))",
        "message": "images come from the company's registry" }] });
    admission(&place, "ValidatingAdmissionPolicy", &rule).await;
    in_force(&place, "bad:1", Result::is_err).await;
    let _operator = operator(&place, &[]).await;
    let (web, waits) = (place.follow("web"), place.follow("waits"));
    let from = audit::now();
    for (name, history) in [("web", &web), ("waits", &waits)] {
        place.apply(name, &with_image("bad:1")).await;
        let seen = history
            .first(0, "it stalls", |seen| {
                seen.says("Stalled") == "True/AdmissionDenied"
            })
            .await;
        assert_eq!(seen.says("Ready"), "False/AdmissionDenied");
        let words = [
            "Deployment",
            "'denied'",
            "images come from the company's registry",
        ];
        tells(&seen.message("Stalled"), &words);
        for kind in ["NetworkPolicy", "PodDisruptionBudget"] {
            assert!(place.child(kind, name).await.is_some(), "{kind}");
        }
        assert_eq!(place.warnings(name).await, ["ApplyFailed"]);
        if name == "web" {
            tried_with_patience(&place, "deployments", from).await;
            // By now the next attempt is seconds away; a good manifest doesn't wait for it.
            let mark = audit::now();
            let applied = lockstep::clock::wall();
            place.apply(name, &with_image("web:1")).await;
            eventually("the Deployment is made", async || {
                place.child("Deployment", name).await
            })
            .await;
            let requests = audit::requests(&place.user(), mark);
            let made = requests
                .iter()
                .find(|request| request.verb == "create" && request.resource == "deployments")
                .unwrap();
            assert!(made.code < 300, "{made:?}");
            let pause = made.at.duration_since(applied).as_millis();
            assert!(pause < 1500, "a good manifest waited for {pause} ms");
            history.first(0, "the good manifest runs", Seen::is_ready).await;
        }
    }
    // As a change of what runs, it is denied too, and the former pods stay.
    let mark = web.mark();
    place.apply("web", &with_image("bad:2")).await;
    web.first(mark, "it stalls", |seen| {
        seen.says("Stalled") == "True/AdmissionDenied"
    })
    .await;
    let running = place.child("Deployment", "web").await.unwrap();
    assert_eq!(image(&running), "web:1");
    // Without the policy, what waited runs by itself.
    place
        .kubectl(&["delete", "validatingadmissionpolicybinding/denied"])
        .await;
    waits.first(0, "it runs", Seen::is_ready).await;
    let changed = |seen: &Seen| seen.is_ready() && seen.resource.metadata.generation == Some(3);
    web.first(mark, "it runs too", changed).await;

    // Pod Security lets the Deployment in, and none of its pods.
    let enforce = "pod-security.kubernetes.io/enforce";
    place
        .kubectl(&["label", "namespace/denied", &format!("{enforce}=restricted")])
        .await;
    let loose = place.follow("loose");
    place.apply("loose", &spec(1)).await;
    let seen = loose
        .first(0, "its pods are refused", |seen| {
            seen.says("Available") == "False/MinimumReplicasUnavailable"
                && seen.message("Available").contains("PodSecurity")
        })
        .await;
    let message = seen.message("Available");
    assert!(message.contains("violates PodSecurity \"restricted"), "{message}");
    assert_eq!(seen.says("Reconciling"), "True/RollingOut");
    place
        .kubectl(&["label", "namespace/denied", &format!("{enforce}-")])
        .await;
    loose.first(0, "its pods are made", Seen::is_ready).await;
    for history in [&web, &waits, &loose] {
        consistent(history);
    }
}

pub(crate) async fn a_policy_that_changes_an_owned_field_back_is_a_fight_with_nobody() {
    let place = Place::new("mutated").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &spec(1)).await;
    history.first(0, "it runs", Seen::is_ready).await;

    let rule = json!({
        "reinvocationPolicy": "Never", "failurePolicy": "Fail",
        "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression":
            "[JSONPatch{op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'mirror/web:1'}]" } }],
    });
    admission(&place, "MutatingAdmissionPolicy", &rule).await;
    in_force(&place, "web:1", |image| image.as_deref() == Ok("mirror/web:1")).await;
    let (mark, from) = (history.mark(), audit::now());
    let mut changed = spec(1);
    changed["template"]["spec"]["containers"][0]["env"][0]["value"] = "b".into();
    place.apply("web", &changed).await;
    becomes_a_fight(
        &history,
        mark,
        &["an admission webhook or policy", "image", "Deployment"],
    )
    .await;
    assert_eq!(place.count("web", "DriftCorrected").await, 2);
    let mut writes = audit::requests(&place.user(), from);
    writes.retain(|write| write.is_write() && write.resource == "deployments");
    assert!(writes.len() <= 9, "{writes:?}");
    consistent(&history);
}

pub(crate) async fn a_right_that_is_missing_is_named_and_its_grant_heals() {
    let place = Place::new("powerless").await;
    // All the rights but one.
    let all = place
        .kubectl(&["get", "clusterrole/lockstep", "--output=json"])
        .await;
    let mut role: Value = serde_json::from_str(&all).unwrap();
    role["metadata"] = json!({ "name": "lockstep-but-one" });
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"] == json!(["poddisruptionbudgets"]) {
            rule["verbs"] = json!(["get", "list", "watch", "patch", "delete"]);
        }
    }
    manifest(&place, &role).await;
    place.kubectl(&["delete", "rolebinding/operator"]).await;
    let binding = |role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": role },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": "operator", "namespace": "powerless" }],
        })
    };
    manifest(&place, &binding("lockstep-but-one")).await;
    let may = async |verb: &str| {
        let review = json!({ "spec": { "user": place.user(), "resourceAttributes": {
            "namespace": "powerless", "verb": verb, "group": "policy", "resource": "poddisruptionbudgets" } } });
        let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
        let reviews: Api<SubjectAccessReview> = Api::all(place.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await.unwrap();
        review.status.is_some_and(|status| status.allowed)
    };
    eventually("the right is taken away", async || {
        (may("list").await && !may("create").await).then_some(())
    })
    .await;

    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let from = audit::now();
    place.apply("web", &spec(1)).await;
    let seen = history
        .first(0, "it stalls", |seen| seen.says("Stalled") == "True/Forbidden")
        .await;
    assert_eq!(seen.says("Ready"), "False/Forbidden");
    tells(
        &seen.message("Stalled"),
        &[
            "PodDisruptionBudget",
            "cannot create resource \"poddisruptionbudgets\"",
            "permission",
        ],
    );
    for kind in ["Deployment", "NetworkPolicy"] {
        assert!(place.child(kind, "web").await.is_some(), "{kind}");
    }
    tried_with_patience(&place, "poddisruptionbudgets", from).await;
    assert_eq!(place.warnings("web").await, ["ApplyFailed"]);
    manifest(&place, &binding("lockstep")).await;
    history.first(0, "it runs", Seen::is_ready).await;
    assert!(place.child("PodDisruptionBudget", "web").await.is_some());
    assert_eq!(place.warnings("web").await, ["ApplyFailed"]);
    consistent(&history);
}

pub(crate) async fn a_namespace_that_goes_is_left_in_peace_and_its_successor_served() {
    // The operator's account, and so its rights, are elsewhere.
    let home = Place::new("going-home").await;
    let mut place = Place::new("going-away").await;
    place.kubeconfig.clone_from(&home.kubeconfig);
    manifest(
        &home,
        &json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": "going-home" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lockstep" },
            "subjects": [{ "kind": "ServiceAccount", "name": "operator", "namespace": "going-home" }],
        }),
    )
    .await;
    let operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &spec(1)).await;
    history.first(0, "it runs", Seen::is_ready).await;

    let kept = json!({ "metadata": { "name": "kept", "finalizers": ["test/kept"] } });
    let kept: ConfigMap = serde_json::from_value(kept).unwrap();
    let maps = place.api::<ConfigMap>();
    maps.create(&PostParams::default(), &kept).await.unwrap();
    let from = audit::now();
    let began = lockstep::clock::wall();
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let name = place.namespace.as_str();
    namespaces.delete(name, &DeleteParams::default()).await.unwrap();
    eventually("only what is kept is left", async || {
        let namespace = namespaces.get(name).await.unwrap();
        let conditions = namespace.status?.conditions?;
        let finalizers = conditions
            .iter()
            .any(|condition| condition.type_ == "NamespaceFinalizersRemaining" && condition.status == "True");
        let resources = place.api::<CoordinatedWorkload>();
        let gone = resources.get_opt("web").await.unwrap().is_none();
        (finalizers && gone && place.child("Deployment", "web").await.is_none()).then_some(())
    })
    .await;
    let released = json!({ "metadata": { "finalizers": null } });
    maps.patch("kept", &PatchParams::default(), &Patch::Merge(&released))
        .await
        .unwrap();
    eventually("the namespace is gone", async || {
        namespaces.get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
    let writes: Vec<_> = audit::requests(&home.user(), from)
        .into_iter()
        .filter(audit::Request::is_write)
        .collect();
    let mut refused: BTreeMap<(String, String), usize> = BTreeMap::new();
    for write in &writes {
        if write.code >= 400 {
            *refused
                .entry((write.verb.clone(), write.resource.clone()))
                .or_default() += 1;
        }
    }
    let seconds = lockstep::clock::wall().duration_since(began).as_secs();
    let most = usize::try_from(2 + 2 * seconds).unwrap();
    for (what, times) in refused {
        assert!(times <= most, "{what:?} was refused {times} times in {seconds} s");
    }

    let again: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    namespaces.create(&PostParams::default(), &again).await.unwrap();
    let mark = history.mark();
    place.apply("web", &spec(1)).await;
    history.first(mark, "its successor runs", Seen::is_ready).await;
    consistent(&history);
    operator.terminate().await;
}

pub(crate) async fn a_deployment_too_large_for_the_store_stalls_until_it_is_shorter() {
    let place = Place::new("large").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    // Small in the resource; each container grows by defaults and by the three variables.
    let mut containers: Vec<_> = (0..10_000)
        .map(|number| json!({ "name": format!("c{number}"), "image": "web:1" }))
        .collect();
    containers[0]["ports"] = json!([{ "containerPort": 8080 }]);
    let mut large = spec(1);
    large["template"]["spec"]["containers"] = containers.into();
    let from = audit::now();
    place.apply("web", &large).await;
    let seen = history
        .first(0, "it stalls", |seen| {
            seen.says("Stalled") == "True/ObjectTooLarge"
        })
        .await;
    assert_eq!(seen.says("Ready"), "False/ObjectTooLarge");
    tells(
        &seen.message("Stalled"),
        &["Deployment", "large", "shorten the template"],
    );
    for kind in ["NetworkPolicy", "PodDisruptionBudget"] {
        assert!(place.child(kind, "web").await.is_some(), "{kind}");
    }
    tried_with_patience(&place, "deployments", from).await;
    assert_eq!(place.warnings("web").await, ["ApplyFailed"]);
    place.apply("web", &spec(1)).await;
    history.first(0, "the shorter one runs", Seen::is_ready).await;
    assert_eq!(place.warnings("web").await, ["ApplyFailed"]);
    consistent(&history);
}
