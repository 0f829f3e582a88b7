//! Days on which nothing is wrong: no Warning, no False.

use super::*;

/// Pods of the next template.
const NEXT: [&str; 3] = [
    "shop-6c5f9d7b84-bbbbb",
    "shop-6c5f9d7b84-ccccc",
    "shop-6c5f9d7b84-ddddd",
];

/// Gives up all locks of a pod, and says which.
fn release_all(world: &mut World, pod: &str) -> Vec<String> {
    let all = world.names().into_iter();
    let its: Vec<_> = all.filter(|name| world.is_held_by(name, pod)).collect();
    for name in &its {
        world.release(name);
    }
    its
}

#[test]
fn healthy() {
    let world = usual();
    assert_calm(&world);
    tell(&world, "healthy");
}

#[test]
fn rolling_update() {
    let mut world = usual();
    let mut next = shop(&[collections(&json!({}))]);
    next["template"]["spec"]["containers"][0]["image"] = json!("registry.example.com/shop:1.5.0");
    world.respec(&next);
    world.rolling = true;
    for (old, new) in [A, B, C].into_iter().zip(NEXT) {
        world.start(new);
        world.advance(secs(15));
        // SIGTERM: it gives its locks up and ends.
        world.pod(old).terminating = true;
        let its: Vec<_> = world
            .names()
            .into_iter()
            .filter(|name| world.is_held_by(name, old))
            .collect();
        for name in &its {
            world.release(name);
        }
        world.advance(secs(2));
        world.delete(old);
        for name in &its {
            world.take(name, new);
        }
        world.advance(secs(8));
    }
    world.rolling = false;
    world.advance(secs(15 * 60));
    assert_calm(&world);
    tell(&world, "rolling_update");
    world.at_rest();
}

#[test]
fn scale_down_of_a_holder() {
    let mut world = usual();
    world.wanted = 2;
    world.pod(A).terminating = true;
    let its = release_all(&mut world, A);
    world.advance(secs(3));
    world.delete(A);
    for (name, pod) in its.iter().zip([B, C]) {
        world.take(name, pod);
    }
    world.advance(secs(15 * 60));
    assert_calm(&world);
    tell(&world, "scale_down_of_a_holder");
    world.at_rest();
}

#[test]
fn all_locks_on_a_terminating_pod() {
    let mut world = usual();
    for name in world.names() {
        world.take(&name, A);
    }
    world.wanted = 2;
    world.pod(A).terminating = true;
    // It ends its work first, and has been given the time for it.
    world.advance(secs(5 * 60));
    assert_calm(&world);
    tell(&world, "all_locks_on_a_terminating_pod");
    world.at_rest();
    release_all(&mut world, A);
    world.delete(A);
    for (name, pod) in world.names().iter().zip([B, C, B, C]) {
        world.take(name, pod);
    }
    world.advance(secs(15 * 60));
    assert_calm(&world);
    world.at_rest();
}

#[test]
fn sidecar_restarts() {
    let mut world = usual();
    for pod in &mut world.pods {
        pod.init_containers = vec![ContainerView {
            name: "proxy".into(),
            running: true,
            ..ContainerView::default()
        }];
    }
    world.advance(secs(10));
    for restart in 1..=5 {
        let sidecar = &mut world.pod(A).init_containers[0];
        sidecar.restarts = restart;
        sidecar.last_end = Some(ContainerEnd {
            reason: "Error".into(),
            exit_code: 1,
        });
        world.advance(secs(60));
    }
    assert_calm(&world);
    tell(&world, "sidecar_restarts");
    world.at_rest();
}

#[test]
fn blue_green() {
    let mut world = World::healthy(&shop(&[collections(&json!({ "foreignHolders": "Expected" }))]));
    world.others.insert("shop-green-5f6d8c9b7-kkkkk");
    for name in ["users", "orders"] {
        world.release(name);
        world.take(name, "shop-green-5f6d8c9b7-kkkkk");
    }
    world.advance(secs(15 * 60));
    assert_calm(&world);
    tell(&world, "blue_green");
    world.at_rest();
}

#[test]
fn scaled_to_zero() {
    let mut world = usual();
    world.wanted = 0;
    for pod in [A, B, C] {
        world.pod(pod).terminating = true;
        release_all(&mut world, pod);
    }
    world.advance(secs(5));
    world.pods.clear();
    world.advance(secs(8 * 60));
    assert_calm(&world);
    assert_eq!(world.held(), "NoReplicasWanted");
    tell(&world, "scaled_to_zero");
    world.at_rest();
    world.wanted = 3;
    for pod in NEXT {
        world.start(pod);
    }
    world.advance(secs(3));
    for (name, pod) in world.names().iter().zip([0, 1, 2, 0]) {
        world.take(name, NEXT[pod]);
    }
    world.advance(secs(15 * 60));
    assert_calm(&world);
    world.at_rest();
}

#[test]
fn owners_that_cannot_be_told() {
    let mut world = World::new(&shop(&[collections(&json!({
        "dialect": "Redlock", "keyPrefix": "rigatoni:lock:", "ttl": "30s", "renewInterval": "10s",
    }))]));
    for name in world.names() {
        world.put(&World::key(&name), SECRET.into(), Some(secs(30)), true);
    }
    world.advance(secs(15 * 60));
    assert_eq!(world.held(), "HeldUnattributed");
    assert_calm(&world);
    tell(&world, "owners_that_cannot_be_told");
    world.at_rest();
}
