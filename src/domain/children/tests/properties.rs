//! What holds of every workload.

use proptest::prelude::*;

use super::*;

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
