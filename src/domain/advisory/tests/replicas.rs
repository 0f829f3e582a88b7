//! The number of replicas.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_wanted_minimum_of_one_leaves_nobody_to_take_over() {
    use AdvisoryCode::SingleReplicaWanted;
    let one = ("/replicas", json!(1));
    let message = Case::of(std::slice::from_ref(&one)).message(SingleReplicaWanted);
    assert_says(&message, &["spec.replicas is 1", "its locks", "Want at least 2."]);
    let without_locks = Case::of(&[one, ("/locks", json!([]))]).message(SingleReplicaWanted);
    assert_says(&without_locks, &["its work"]);
    let by_default = ("/autoscaling", json!({ "maxReplicas": 2 }));
    let message = Case::of(&[by_default, ("/replicas", Value::Null)]).message(SingleReplicaWanted);
    assert_says(&message, &["spec.autoscaling.minReplicas is 1"]);
    // Without spec.replicas the Deployment begins with one, and then the number is not Lockstep's.
    let absent = [("/replicas", Value::Null)];
    assert_says(
        &Case::of(&absent).message(SingleReplicaWanted),
        &["the Deployment's is 1"],
    );
    assert_eq!(Case::of(&absent).wanting(3).codes(), [""; 0]);
    none(&[("/replicas", json!(0))]);
    none(&[
        ("/replicas", json!(1)),
        ("/autoscaling", json!({ "mode": "External" })),
    ]);
}

#[test]
fn replicas_beyond_the_continuous_locks_only_stand_by() {
    use AdvisoryCode::ReplicasExceedLocks;
    let three = ("/replicas", json!(3));
    let message = Case::of(std::slice::from_ref(&three)).message(ReplicasExceedLocks);
    assert_says(
        &message,
        &[
            "spec.replicas is 3, but there are 2 Continuous locks",
            "only stand by",
        ],
    );
    let scaled = (
        "/autoscaling",
        json!({ "minReplicas": 2, "maxReplicas": 10, "targetCPUUtilizationPercentage": 70 }),
    );
    let message = Case::of(&[scaled, ("/replicas", Value::Null)]).message(ReplicasExceedLocks);
    assert_says(&message, &["spec.autoscaling.maxReplicas is 10"]);
    let one_lock = ("/locks/0/names", json!(["x"]));
    assert_says(
        &Case::of(&[one_lock.clone(), three.clone()]).message(ReplicasExceedLocks),
        &["there is 1 Continuous lock:"],
    );

    none(&[one_lock]); // One stands by, or nobody could take over.
    none(&[("/locks/0/names", json!(["x", "y", "z"])), three.clone()]);
    none(&[three.clone(), ("/locks", json!([]))]);
    none(&[three.clone(), ("/locks/0/hold", json!("Intermittent"))]);
    let mut jobs = set("more", &["z"]);
    jobs["hold"] = json!("Intermittent");
    none(&[three.clone(), ("/locks/-", jobs)]);
    let served = Case::with(&[three], &[("/service", json!({ "ports": [{ "port": 80 }] }))]);
    assert_eq!(served.codes(), [""; 0], "a Service: the pods have other work");
}

#[test]
fn replicas_beside_autoscaling_say_what_is_not_so() {
    use AdvisoryCode::ReplicasIgnored;
    let locks = ("/locks/0/names", json!(["a", "b", "c", "d", "e"]));
    let case = |autoscaling: Value| {
        let changes = [
            locks.clone(),
            ("/replicas", json!(3)),
            ("/autoscaling", autoscaling),
        ];
        Case::of(&changes)
    };
    let managed =
        || case(json!({ "minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70 }));
    let message = managed().wanting(4).message(ReplicasIgnored);
    assert_says(
        &message,
        &[
            "spec.replicas is 3",
            "HorizontalPodAutoscaler decides",
            "kubectl scale",
        ],
    );
    assert_eq!(
        managed().wanting(5).message(ReplicasIgnored),
        message,
        "scaling changes no words"
    );
    assert_eq!(managed().wanting(3).codes(), [""; 0]);
    assert_eq!(managed().codes(), [""; 0], "there is no Deployment yet");
    let fixed = case(json!({ "minReplicas": 5, "maxReplicas": 5 })).wanting(5);
    assert_says(
        &fixed.message(ReplicasIgnored),
        &["minReplicas equal to maxReplicas"],
    );
    let external = case(json!({ "mode": "External" })).wanting(5);
    assert_says(&external.message(ReplicasIgnored), &["mode: External"]);
    assert_eq!(
        Case::of(&[]).wanting(7).codes(),
        [""; 0],
        "that is put right, not told"
    );
}
