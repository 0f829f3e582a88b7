//! Golden stories: what the operator would have written, the resource with its status and the events, for situations in
//! which somebody reads `kubectl describe` and has to act, or should be left alone. Each is kept as it was told; a test
//! against a real apiserver (`tests/control_plane/golden.rs`) shows the same to the real kubectl.

mod calm;
mod holders;
mod jobs;
mod store;

use serde_json::json;

use super::*;

/// The lock set that most stories are about.
fn collections(change: &Value) -> Value {
    let mut set = json!({
        "name": "collections",
        "hold": "Continuous",
        "dialect": "Rigatoni",
        "names": ["users", "orders", "products", "logs"],
    });
    for (name, value) in change.as_object().into_iter().flatten() {
        set[name] = value.clone();
    }
    set
}

/// An ordinary manifest with these lock sets.
fn shop(sets: &[Value]) -> Value {
    json!({
        "replicas": 3,
        "template": { "spec": { "containers": [{
            "name": "main",
            "image": "registry.example.com/shop:1.4.2",
            "ports": [{ "name": "http", "containerPort": 8080 }],
            "readinessProbe": { "httpGet": { "path": "/ready", "port": "http" } },
        }] } },
        "redis": { "url": "redis://redis:6379" },
        "locks": sets,
    })
}

/// The usual beginning: three pods with four locks.
fn usual() -> World {
    World::healthy(&shop(&[collections(&json!({}))]))
}

/// Compares what is told by now with what was told when somebody read it last.
fn tell(world: &World, story: &str) {
    let said = world.events.iter().zip(&world.posted);
    let events: Vec<_> = said
        .clone()
        .map(|(event, (told_until, at))| {
            let reason = event.reason.as_str();
            json!({ "toldUntil": told_until, "at": at, "reason": reason, "key": event.key, "note": event.note })
        })
        .collect();
    // The order in which they are shown: what was posted together has none of its own.
    let order: Vec<_> = said
        .map(|(event, (until, at))| ((until, !event.reason.is_warning()), at))
        .collect();
    let in_order = |pair: &[(_, &Timestamp)]| pair[0].0 < pair[1].0 || pair[0].1 == pair[1].1;
    assert!(order.windows(2).all(in_order), "{order:#?}");
    // What `kubectl get pods` would show, for those who show the story (`tests/cli`).
    let pods = world.pods.iter().map(|pod| {
        let containers = pod.all_containers();
        json!({
            "name": pod.name, "readySince": pod.ready_since, "terminating": pod.terminating,
            "ready": if pod.ready_since.is_some() { pod.containers.len() } else { 0 },
            "containers": pod.containers.len(),
            "restarts": containers.map(|container| container.restarts).sum::<i32>(),
        })
    });
    let pods: Vec<_> = pods.collect();
    let mut told = json!({ "now": world.wall(), "resource": world.resource, "events": events, "pods": pods });
    // Whether maps are sorted depends on the packages that are built along with this one.
    told.sort_all_objects();
    let told = serde_json::to_string_pretty(&told).unwrap();
    insta::with_settings!({
        snapshot_path => "told",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(story, told);
    });
}

/// Nothing was said that could wake anybody, and nothing is.
fn assert_calm(world: &World) {
    let warnings: Vec<_> = world
        .events
        .iter()
        .filter(|event| event.reason.is_warning())
        .collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    let bad: Vec<_> = world
        .status()
        .conditions
        .iter()
        .filter(|condition| condition.status == "False")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(world.status().recent.is_empty(), "{:#?}", world.status().recent);
}
