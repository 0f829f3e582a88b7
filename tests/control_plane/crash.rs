//! Stopped at any request, and begun anew, it ends in the same state.

use futures::StreamExt;
use lockstep::domain::children::{ChildKind, LiveChildren};
use lockstep::domain::workload::Workload;
use serde_json::{Value, json};

use super::faults::{Fault, Faults};
use super::harness::{Room, ordinary};

/// The life of a resource: created, autoscaled, changed, everything turned off but the Deployment, fixed anew.
fn life() -> Vec<Value> {
    let mut managed = ordinary();
    managed["autoscaling"] = json!({ "minReplicas": 2, "maxReplicas": 5 });
    let mut changed = managed.clone();
    changed["template"]["spec"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    changed["disruptionBudget"] = json!({ "minAvailable": 1 });
    let mut fixed = changed.clone();
    fixed.as_object_mut().unwrap().remove("autoscaling");
    fixed["replicas"] = 4.into();
    fixed["disruptionBudget"] = json!({ "enabled": false });
    fixed["networkPolicy"] = json!({ "enabled": false });
    vec![ordinary(), managed, changed, fixed]
}

async fn rests(room: &Room, workload: &Workload) {
    let writes = room.faults.writes().len();
    assert!(room.pass(workload).await.is_complete());
    assert_eq!(room.faults.writes().len(), writes, "at rest nothing is written");
}

/// What must be the same in the end, however often it was interrupted.
async fn end_state(room: &Room, name: &str) -> Vec<Option<Value>> {
    let live: LiveChildren = room.live(name).await;
    let mut state = Vec::new();
    for kind in ChildKind::ALL {
        let object = room.get(kind, name).await;
        assert_eq!(object.is_some(), live.get(kind).is_some());
        state.push(object.map(|object| {
            let owned = object["metadata"]["managedFields"].as_array().unwrap().iter();
            let ours = owned.filter(|entry| entry["manager"].as_str().unwrap().starts_with("lockstep"));
            let mut ours: Vec<Value> = ours
                .map(|entry| json!([entry["manager"], entry["operation"], entry["fieldsV1"]["f:spec"]]))
                .collect();
            ours.sort_by_key(ToString::to_string);
            json!({ "spec": object["spec"], "ours": ours })
        }));
    }
    state
}

/// One life, spoiled at the k-th request of its pass through one stage; and whether there was such a request. Others
/// write to the objects too, and what is tried again because of them is one more or less.
async fn spoiled(namespace: &str, stage: usize, k: usize, fault: Fault) -> (Vec<Option<Value>>, bool) {
    let mut was_spoiled = false;
    let room = Room::new(namespace).await;
    for (index, spec) in life().into_iter().enumerate() {
        let workload = room.set("web", &spec).await;
        if index == stage {
            let first = room.reopened(Faults::at(k, fault)).await;
            tokio::select! {
                _ = first.pass(&workload) => {}
                () = first.faults.crashed() => {}
            }
            was_spoiled = first.faults.count() >= k;
        }
        let next = room.reopened(Faults::none()).await;
        next.converge(&workload).await;
        rests(&next, &workload).await;
    }
    (end_state(&room, "web").await, was_spoiled)
}

#[tokio::test]
async fn spoiled_at_any_request_it_ends_in_the_same_state() {
    let room = Room::new("unspoiled").await;
    // How many requests each stage takes when nothing goes wrong.
    let mut stages = Vec::new();
    for spec in life() {
        let workload = room.set("web", &spec).await;
        let counted = room.reopened(Faults::none()).await;
        assert!(counted.pass(&workload).await.is_complete());
        stages.push(counted.faults.count());
        rests(&counted, &workload).await;
    }
    let wanted = &end_state(&room, "web").await;
    println!("requests per stage: {stages:?}");

    let mut cases = Vec::new();
    for (fault, name) in [
        (Fault::Crash, "crash"),
        (Fault::LoseAnswer, "lose"),
        (Fault::Refuse, "refuse"),
    ] {
        for (stage, count) in stages.iter().enumerate() {
            cases.extend((1..=*count).map(|k| (format!("{name}-{stage}-{k}"), stage, k, fault)));
        }
    }
    let all = cases.len();
    let hit: Vec<bool> = futures::stream::iter(cases)
        .map(|(namespace, stage, k, fault)| async move {
            let (state, was_spoiled) = spoiled(&namespace, stage, k, fault).await;
            assert_eq!(&state, wanted, "{namespace}");
            was_spoiled
        })
        .buffer_unordered(8)
        .collect()
        .await;
    let hit = hit.into_iter().filter(|spoiled| *spoiled).count();
    println!("{hit} of {all} lives were spoiled");
    assert!(hit * 10 >= all * 9, "only {hit} of {all} lives were spoiled");
}
