use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::spec::ConflictPolicy;
use crate::api::status::Child;
use crate::domain::workload::{Budget, BudgetBound, Policy, Scaling, Service};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn workload() -> Workload {
    Workload {
        name: "web".into(),
        namespace: "shop".into(),
        uid: "uid-1".into(),
        generation: 1,
        template: map(json!({
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [
                { "name": "web", "image": "web:1", "env": [{ "name": "A", "value": "$(POD_NAME)" }],
                  "ports": [{ "containerPort": 80 }, { "containerPort": 80, "protocol": "TCP" }] },
            ] },
        })),
        deployment: Map::new(),
        scaling: Scaling::Fixed { replicas: Some(2) },
        disruption_budget: Some(Budget {
            bound: BudgetBound::MaxUnavailable(1.into()),
            unhealthy_pod_eviction_policy: "AlwaysAllow".into(),
        }),
        network_policy: Some(Policy {
            ingress: None,
            egress: None,
        }),
        inject_env: true,
        topology_spread: true,
        service: None,
        store: None,
        store_ports: Vec::new(),
        locks: Vec::new(),
        unobserved: Vec::new(),
        not_supported: Vec::new(),
        suspend: false,
        conflict_policy: ConflictPolicy::Fail,
    }
}

fn managed(min: i32, max: i32, replicas: Option<i32>) -> Scaling {
    Scaling::Managed {
        min,
        max,
        metrics: Vec::new(),
        behavior: None,
        replicas,
    }
}

/// The object that an apiserver would make of an intent, if it defaulted nothing.
fn created(intent: &Intent) -> Live {
    let mut object = intent.creation_body();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.insert("uid".into(), format!("uid-of-{}", intent.kind().kind()).into());
        metadata.insert("resourceVersion".into(), "1".into());
    }
    Live::new(object)
}

fn all_created(children: &Children<Prepared>) -> LiveChildren {
    Children::from_fn(|kind| children.get(kind).as_ref().map(created))
}

fn deployment(workload: &Workload) -> Value {
    Value::Object(build(workload).deployment.unwrap().body().clone())
}

#[test]
fn the_hash_does_not_depend_on_the_order_of_keys() {
    let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
    let one = object(r#"{"b": [1, "x", null], "a": {"d": 1, "c": {"f": true, "e": "\""}}}"#);
    let other = object(r#"{"a": {"c": {"e": "\"", "f": true}, "d": 1}, "b": [1, "x", null]}"#);
    assert_eq!(super::hash(&one), super::hash(&other));
    let mut text = String::new();
    super::write_canonical(&one, &mut text);
    assert_eq!(
        text,
        r#"{"a":{"c":{"e":"\"","f":true,},"d":1,},"b":[1,"x",null,],}"#
    );
    // What is nested elsewhere, or split elsewhere, is something else.
    assert_ne!(
        super::hash(&object(r#"{"a": {"b": 1}}"#)),
        super::hash(&object(r#"{"a": {}, "b": 1}"#))
    );
    assert_ne!(
        super::hash(&object(r#"{"a": [[1], 2]}"#)),
        super::hash(&object(r#"{"a": [[1, 2]]}"#))
    );
}

#[test]
fn the_hash_is_of_everything_that_is_applied() {
    let before = build(&workload());
    assert_eq!(before, build(&workload()));
    let mut changed = workload();
    changed.template["spec"]["containers"][0]["image"] = "web:2".into();
    let after = build(&changed);
    assert_ne!(
        before.deployment.unwrap().hash(),
        after.deployment.unwrap().hash()
    );
    assert_eq!(
        before.network_policy.unwrap().hash(),
        after.network_policy.unwrap().hash()
    );
    // Another resource of the same name applies something else: its owner reference.
    let mut recreated = workload();
    recreated.uid = "uid-2".into();
    let recreated = build(&recreated);
    assert_ne!(
        before.disruption_budget.unwrap().hash(),
        recreated.disruption_budget.unwrap().hash()
    );
}

#[test]
fn replicas_are_in_the_creation_only_and_not_in_the_hash() {
    for (scaling, initial) in [
        (Scaling::Fixed { replicas: None }, Some(1)),
        (Scaling::Fixed { replicas: Some(0) }, Some(0)),
        (managed(2, 5, None), Some(2)),
        (managed(2, 5, Some(9)), Some(5)),
        (managed(2, 5, Some(1)), Some(2)),
        (Scaling::External { replicas: None }, None),
        (Scaling::External { replicas: Some(3) }, Some(3)),
    ] {
        let intent = build(&Workload {
            scaling,
            ..workload()
        })
        .deployment
        .unwrap();
        assert!(intent.body()["spec"].get("replicas").is_none());
        assert_eq!(
            intent.creation_body()["spec"].get("replicas").cloned(),
            initial.map(Value::from)
        );
        assert_eq!(intent.hash(), build(&workload()).deployment.unwrap().hash());
    }
}

#[test]
fn variables_come_first_and_only_where_they_are_missing() {
    let mut workload = workload();
    workload.template["spec"]["containers"] = json!([
        { "name": "a", "env": [{ "name": "X" }, { "name": "POD_NAME", "value": "mine" }] },
        { "name": "b" },
        { "name": "c", "env": null },
        { "name": "d", "env": "not a list" },
    ]);
    workload.template["spec"]["initContainers"] = json!([{ "name": "e", "env": [] }]);
    let spec = &deployment(&workload)["spec"]["template"]["spec"];
    let names = |container: &Value| -> Vec<String> {
        let env = container["env"].as_array().unwrap();
        env.iter()
            .map(|variable| variable["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&spec["containers"][0]),
        ["POD_NAMESPACE", "POD_UID", "X", "POD_NAME"]
    );
    for container in [
        &spec["containers"][1],
        &spec["containers"][2],
        &spec["initContainers"][0],
    ] {
        assert_eq!(names(container), ["POD_NAME", "POD_NAMESPACE", "POD_UID"]);
    }
    assert_eq!(spec["containers"][3]["env"], "not a list");
    workload.inject_env = false;
    assert!(
        deployment(&workload)["spec"]["template"]["spec"]["containers"][1]
            .get("env")
            .is_none()
    );
}

#[test]
fn pods_are_spread_unless_the_template_says_how() {
    let constraints = |workload: &Workload| {
        deployment(workload)["spec"]["template"]["spec"]["topologySpreadConstraints"].clone()
    };
    let mut workload = workload();
    assert_eq!(constraints(&workload)[0]["whenUnsatisfiable"], "ScheduleAnyway");
    workload.template["spec"]["topologySpreadConstraints"] = json!([]);
    assert_eq!(constraints(&workload)[0]["topologyKey"], "kubernetes.io/hostname");
    workload.template["spec"]["topologySpreadConstraints"] = json!([{ "topologyKey": "zone" }]);
    assert_eq!(constraints(&workload), json!([{ "topologyKey": "zone" }]));
    workload.template["spec"] = json!({});
    workload.topology_spread = false;
    assert_eq!(constraints(&workload), Value::Null);
}

#[test]
fn a_template_of_any_shape_is_carried() {
    for template in [
        json!({}),
        json!({ "metadata": null }),
        json!({ "metadata": "x", "spec": "y" }),
    ] {
        let built = deployment(&Workload {
            template: map(template.clone()),
            ..workload()
        });
        let carried = &built["spec"]["template"];
        if template["metadata"] == "x" {
            assert_eq!(carried, &template);
        } else {
            assert_eq!(carried["metadata"]["labels"][WORKLOAD_LABEL], "web");
        }
    }
    let mut unknown = workload();
    unknown.template["spec"]["fieldOfTheFuture"] = json!({ "a": [1, 2.5, null] });
    assert_eq!(
        deployment(&unknown)["spec"]["template"]["spec"]["fieldOfTheFuture"],
        json!({ "a": [1, 2.5, null] })
    );
}

#[test]
fn names_of_the_application_are_taken_from_its_template() {
    let mut workload = workload();
    let labels = json!({ "app.kubernetes.io/name": "shop", "app.kubernetes.io/part-of": "mall" });
    workload.template["metadata"]["labels"] = labels;
    let labels = &deployment(&workload)["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "shop");
    assert_eq!(labels["app.kubernetes.io/instance"], "web");
    assert_eq!(labels["app.kubernetes.io/part-of"], "mall");
}

#[test]
fn an_autoscaler_is_made_only_between_two_bounds() {
    let autoscaler = |scaling| {
        build(&Workload {
            scaling,
            ..workload()
        })
        .autoscaler
    };
    assert!(autoscaler(Scaling::Fixed { replicas: None }).is_none());
    assert!(autoscaler(Scaling::External { replicas: None }).is_none());
    assert!(autoscaler(managed(3, 3, None)).is_none());
    let intent = autoscaler(managed(2, 3, None)).unwrap();
    assert_eq!(
        intent.body()["spec"],
        json!({
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "minReplicas": 2, "maxReplicas": 3,
        })
    );
}

#[test]
fn the_default_policy_opens_the_declared_ports() {
    let mut workload = workload();
    let policy = |workload: &Workload| {
        build(workload)
            .network_policy
            .map(|intent| intent.body()["spec"].clone())
    };
    assert_eq!(
        policy(&workload).unwrap(),
        json!({
            "podSelector": { "matchLabels": { WORKLOAD_LABEL: "web" } },
            "policyTypes": ["Ingress"],
            "ingress": [
                { "from": [{ "podSelector": {} }] },
                { "ports": [{ "port": 80, "protocol": "TCP" }] },
            ],
        })
    );
    workload.template["spec"]["containers"] = json!([{ "name": "web" }]);
    assert_eq!(policy(&workload), None, "nobody knows what it listens on");
    workload.network_policy = Some(Policy {
        ingress: None,
        egress: Some(Vec::new()),
    });
    assert_eq!(policy(&workload).unwrap()["policyTypes"], json!(["Egress"]));
    workload.network_policy = Some(Policy {
        ingress: Some(Vec::new()),
        egress: None,
    });
    let closed = policy(&workload).unwrap();
    assert_eq!(
        (&closed["policyTypes"], closed.get("ingress")),
        (&json!(["Ingress"]), None)
    );
    workload.network_policy = None;
    assert_eq!(policy(&workload), None);
}

#[test]
fn restricted_egress_still_reaches_dns_and_redis() {
    let egress = |store_ports| {
        let egress = Some(vec![map(json!({ "to": [] }))]);
        let network_policy = Some(Policy {
            ingress: None,
            egress,
        });
        let built = build(&Workload {
            network_policy,
            store_ports,
            ..workload()
        });
        built.network_policy.unwrap().body()["spec"]["egress"].clone()
    };
    let ports = |rule: &Value| -> Vec<u64> {
        let ports = rule["ports"].as_array().unwrap();
        ports.iter().map(|port| port["port"].as_u64().unwrap()).collect()
    };
    let rules = egress(vec![6379, 7000]);
    assert_eq!(rules[0], json!({ "to": [] }));
    assert_eq!(ports(&rules[1]), [53, 53, 5353, 5353]);
    assert_eq!(ports(&rules[2]), [6379, 7000]);
    assert_eq!(
        egress(vec![]).as_array().unwrap().len(),
        2,
        "a rule without ports would let everything out"
    );
}

#[test]
fn a_service_leads_to_the_pods_and_opens_what_it_leads_to() {
    let service = Service {
        spec: map(json!({ "type": "LoadBalancer", "ports": [
            { "port": 80, "targetPort": 8080 }, { "port": 443, "targetPort": "https" }, { "port": 9000 },
            { "port": 53, "targetPort": 5353, "protocol": "UDP" }, { "port": 81, "targetPort": 80 },
        ] })),
        annotations: [("a".to_owned(), "b".to_owned())].into(),
    };
    let built = build(&Workload {
        service: Some(service.clone()),
        ..workload()
    });
    let child = built.service.unwrap();
    let body = Value::Object(child.body().clone());
    assert_eq!(
        (&body["apiVersion"], &body["kind"]),
        (&json!("v1"), &json!("Service"))
    );
    assert_eq!(
        body["spec"]["selector"],
        json!({ "lockstep.dev/workload": "web" })
    );
    assert_eq!(body["spec"]["ports"], service.spec["ports"], "verbatim");
    assert_eq!(body["metadata"]["annotations"]["a"], "b");
    assert_eq!(
        body["metadata"]["annotations"][crate::api::APPLIED_ANNOTATION],
        child.hash()
    );
    let open = built.network_policy.unwrap().body()["spec"]["ingress"][1]["ports"].clone();
    assert_eq!(
        open,
        json!([
            { "port": 80, "protocol": "TCP" }, { "port": 8080, "protocol": "TCP" }, { "port": 9000, "protocol": "TCP" },
            { "port": 5353, "protocol": "UDP" },
        ])
    );
    let without = build(&Workload {
        service: Some(Service {
            annotations: BTreeMap::new(),
            ..service
        }),
        ..workload()
    });
    assert_ne!(
        without.service.unwrap().hash(),
        child.hash(),
        "annotations are part of the intent"
    );
}

fn planned(workload: &Workload, live: &LiveChildren) -> Plan {
    plan(workload, &build(workload), live, &[])
}

#[test]
fn what_is_missing_is_created_and_what_is_turned_off_deleted() {
    let workload = workload();
    let plan = planned(&workload, &LiveChildren::default());
    assert_eq!(plan.steps.deployment, Step::Create);
    assert_eq!(plan.steps.autoscaler, Step::Nothing { uid: None });
    assert_eq!(plan.replicas, ReplicasStep::Leave, "creation carries them");

    let mut live = all_created(&build(&workload));
    let off = Workload {
        disruption_budget: None,
        ..workload.clone()
    };
    let uid = "uid-of-PodDisruptionBudget".to_owned();
    assert_eq!(planned(&off, &live).steps.disruption_budget, Step::Delete { uid });

    // Nor is anything deleted that isn't ours.
    let mut foreign = live.disruption_budget.clone().unwrap().object().clone();
    foreign["metadata"]["ownerReferences"] = Value::Null;
    live.disruption_budget = Some(Live::new(foreign));
    assert_eq!(
        planned(&off, &live).steps.disruption_budget,
        Step::Nothing { uid: None }
    );
    assert_eq!(
        planned(&workload, &live).steps.disruption_budget,
        Step::Refuse(Refusal::Foreign)
    );
    let listed = Child {
        uid: "uid-of-PodDisruptionBudget".into(),
        ..Child::default()
    };
    let plan = plan_listed(&workload, &live, listed);
    assert_eq!(plan.steps.disruption_budget, Step::Refuse(Refusal::OwnershipLost));
}

fn plan_listed(workload: &Workload, live: &LiveChildren, listed: Child) -> Plan {
    plan(workload, &build(workload), live, &[listed])
}

#[test]
fn an_object_that_nobody_controls_is_adopted_if_that_is_asked_for() {
    let adopting = Workload {
        conflict_policy: ConflictPolicy::Adopt,
        ..workload()
    };
    let mut live = all_created(&build(&adopting));
    let mut object = live.deployment.clone().unwrap().object().clone();
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("ownerReferences");
    object["spec"]["selector"] = json!({
        "matchLabels": { "app": "old", "track": "a" }, "matchExpressions": [{ "key": "tier", "operator": "Exists" }],
    });
    object["spec"]["template"]["metadata"]["labels"] =
        json!({ "app": "old", "track": "a", "tier": "x", "other": "y" });
    let orphan = Live::new(object.clone());
    live.deployment = Some(orphan.clone());
    let adopted = |step: &Step| {
        matches!(
            step,
            Step::Apply {
                reason: Reason::Adoption,
                ..
            }
        )
    };
    assert!(adopted(&planned(&adopting, &live).steps.deployment));
    let listed = Child {
        uid: orphan.uid().to_owned(),
        ..Child::default()
    };
    assert!(
        adopted(&plan_listed(&adopting, &live, listed).steps.deployment),
        "taken back"
    );

    // Its selector stays, with the labels that it asks for; one that the template has itself is left to it.
    let intent = build_over(&adopting, Some(&orphan)).deployment.unwrap();
    assert_eq!(
        intent.body()["spec"]["selector"],
        orphan.object()["spec"]["selector"]
    );
    assert_eq!(
        intent.body()["spec"]["template"]["metadata"]["labels"],
        json!({ "app": "web", "track": "a", "tier": "x", "lockstep.dev/workload": "web" })
    );

    object["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "x/v1", "kind": "Other", "name": "boss", "uid": "u", "controller": true }]);
    live.deployment = Some(Live::new(object));
    let refused = Step::Refuse(Refusal::Controlled("Other boss".into()));
    assert_eq!(planned(&adopting, &live).steps.deployment, refused);
}

#[test]
fn what_is_being_deleted_is_waited_for() {
    let workload = workload();
    let mut live = all_created(&build(&workload));
    let mut going = live.network_policy.unwrap().object().clone();
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    live.network_policy = Some(Live::new(going));
    assert_eq!(
        planned(&workload, &live).steps.network_policy,
        Step::AwaitDeletion
    );
    assert!(!planned(&workload, &live).is_empty());
}

#[test]
fn replicas_are_applied_only_while_they_are_fixed_and_differ() {
    let live = all_created(&build(&workload()));
    for (scaling, step) in [
        (Scaling::Fixed { replicas: Some(2) }, ReplicasStep::Leave),
        (Scaling::Fixed { replicas: Some(3) }, ReplicasStep::Apply(3)),
        (Scaling::Fixed { replicas: None }, ReplicasStep::Leave),
        (managed(4, 4, Some(9)), ReplicasStep::Apply(4)),
        (managed(4, 5, Some(9)), ReplicasStep::Leave),
        (Scaling::External { replicas: Some(9) }, ReplicasStep::Leave),
    ] {
        assert_eq!(
            planned(
                &Workload {
                    scaling,
                    ..workload()
                },
                &live
            )
            .replicas,
            step
        );
    }
}

#[test]
fn the_entry_of_the_post_is_seen_and_managed_fields_dropped() {
    let intent = build(&workload()).deployment.unwrap();
    let mut object = created(&intent).object().clone();
    object["metadata"]["managedFields"] = json!([{ "manager": "lockstep", "operation": "Update" }]);
    let live = Live::new(object.clone());
    assert!(live.unconverted() && live.object()["metadata"].get("managedFields").is_none());
    for entry in [
        json!({ "manager": "lockstep", "operation": "Apply" }),
        json!({ "manager": "lockstep", "operation": "Update", "subresource": "status" }),
        json!({ "manager": "kubectl", "operation": "Update" }),
    ] {
        object["metadata"]["managedFields"] = json!([entry]);
        assert!(!Live::new(object.clone()).unconverted());
    }
}

/// Any JSON that could stand in a template.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "a",
        "env",
        "name",
        "ports",
        "containerPort",
        "limits",
        "cpu",
        "labelSelector",
        "value",
        "path",
        "readOnly",
        "volumes",
        "nodeSelector",
        "protocol",
        "timeoutSeconds",
        "containers",
        "args",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..1000).prop_map(Value::from),
        prop::sample::select(vec!["", "x", "1", "100m", "TCP"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_workload() -> impl Strategy<Value = Workload> {
    let scaling = prop_oneof![
        prop::option::of(0..9).prop_map(|replicas| Scaling::Fixed { replicas }),
        prop::option::of(0..9).prop_map(|replicas| Scaling::External { replicas }),
        (1..5, 0..3, prop::option::of(0..9)).prop_map(|(min, more, replicas)| managed(
            min,
            min + more,
            replicas
        )),
    ];
    let rules = || {
        prop::option::of(prop::collection::vec(
            any_json().prop_map(|rule| map(json!({ "from": rule }))),
            0..3,
        ))
    };
    (any_json(), scaling, any::<[bool; 4]>(), rules(), rules()).prop_map(
        |(pod, scaling, [budget, policy, inject_env, topology_spread], ingress, egress)| {
            let base = workload();
            Workload {
                template: map(
                    json!({ "metadata": pod.clone(), "spec": { "containers": [pod.clone()], "x": pod } }),
                ),
                scaling,
                disruption_budget: base.disruption_budget.clone().filter(|_| budget),
                network_policy: policy.then_some(Policy { ingress, egress }),
                inject_env,
                topology_spread,
                ..base
            }
        },
    )
}

/// What an apiserver does to an object without changing what it means: drops what is empty, adds defaults.
fn stored(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), stored(value))).collect())
        }
        Value::Array(items) => items.iter().map(stored).collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn the_plan_of_an_applied_plan_is_empty(workload in any_workload()) {
        let children = build(&workload);
        let live = all_created(&children);
        let plan = planned(&workload, &live);
        let external = matches!(workload.scaling, Scaling::External { .. });
        prop_assert!(plan.is_empty() || external, "{plan:?}");
    }

    #[test]
    fn any_other_value_is_drift(workload in any_workload()) {
        let children = build(&workload);
        let mut live = all_created(&children);
        let mut object = live.deployment.unwrap().object().clone();
        object["spec"]["selector"] = json!({ "matchLabels": { "other": "label" } });
        live.deployment = Some(Live::new(object));
        let steps = planned(&workload, &live).steps;
        let drifted = matches!(steps.deployment, Step::Apply { reason: Reason::Drift(_), .. });
        prop_assert!(drifted);
    }

    #[test]
    fn a_new_intent_is_applied_even_where_every_field_is_equal(workload in any_workload()) {
        let children = build(&workload);
        let mut live = all_created(&children);
        let mut object = live.deployment.unwrap().object().clone();
        object["metadata"]["annotations"][crate::api::APPLIED_ANNOTATION] = "0".into();
        live.deployment = Some(Live::new(object));
        let steps = planned(&workload, &live).steps;
        let renewed = matches!(steps.deployment, Step::Apply { reason: Reason::NewIntent, .. });
        prop_assert!(renewed);
    }

    #[test]
    fn nulls_that_the_api_drops_are_no_drift(value in any_json()) {
        let intent = map(json!({ "spec": { "template": value } }));
        let live = map(stored(&Value::Object(intent.clone())));
        prop_assert_eq!(compare::first_difference(&intent, &live), None);
    }
}
