//! From intents and live objects to steps.

use super::*;

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
fn what_a_deleted_resource_of_the_same_name_left_is_waited_for() {
    let workload = workload();
    let predecessor = Workload {
        uid: "uid-0".into(),
        ..workload.clone()
    };
    let mut live = all_created(&build(&predecessor));
    let plan = planned(&workload, &live);
    assert_eq!(plan.steps.deployment, Step::AwaitDeletion);
    assert_eq!(plan.steps.network_policy, Step::AwaitDeletion);
    assert_eq!(plan.replicas, ReplicasStep::Leave);
    // That of another name may live as long as it likes.
    let mut other = live.deployment.unwrap().object().clone();
    other["metadata"]["ownerReferences"][0]["name"] = "other".into();
    live.deployment = Some(Live::new(other));
    let refused = Step::Refuse(Refusal::Controlled("CoordinatedWorkload other".into()));
    assert_eq!(planned(&workload, &live).steps.deployment, refused);
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
