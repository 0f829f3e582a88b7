//! Owners that are something else than a pod's name, and owners that can't be told.

use serde_json::json;

use super::*;

/// One lock, whose value is an owner, a bar and something random.
fn matched(matches: &Value) -> World {
    World::new(&spec(
        &["x"],
        &json!({ "dialect": "Custom", "keyPrefix": "rigatoni:lock:", "ttl": "30s", "renewInterval": "10s",
            "holder": { "pattern": "(?<owner>[^|]+)[|].*", "matches": matches } }),
    ))
}

fn taken_by(world: &mut World, owner: &str) {
    world.put(
        &World::key("x"),
        format!("{owner}|{SECRET}"),
        Some(secs(30)),
        true,
    );
    world.advance(secs(3));
}

fn state(world: &World) -> (LockState, Option<&str>) {
    let row = row(world, "x");
    (row.state, row.pod.as_deref())
}

#[test]
fn a_pod_is_known_by_its_uid() {
    let mut world = matched(&json!({ "type": "PodUID" }));
    let uid = "3f0c4a2e-0000-4000-8000-00000000000a";
    world.pod(A).uid = uid.into();
    taken_by(&mut world, &uid.to_ascii_uppercase());
    assert_eq!(state(&world), (LockState::Held, Some(A)));
    assert_eq!(world.held(), "AllHeld");
    world.at_rest();
    // Who it was is remembered for as long as it holds the lock.
    world.pods.retain(|pod| pod.name != A);
    world.data.get_mut(&World::key("x")).unwrap().renewed_next = None;
    world.advance(secs(5));
    assert_eq!(state(&world), (LockState::Orphaned, Some(A)));
    assert_eq!(world.held(), "OrphanedOwner");
    world.at_rest();
    // Another operator never saw that pod: it takes status' word for it.
    world.restart();
    world.advance(secs(5));
    assert_eq!(state(&world), (LockState::Orphaned, Some(A)));
    world.advance(secs(30));
    assert_eq!(world.held(), "LocksLost");
    assert_eq!(world.said(), [E::LocksOrphaned, E::LocksLost]);
    let lost = &world.status().recent[0];
    assert_eq!((&*lost.cause, lost.from.as_deref()), ("HolderGone", Some(A)));
    world.at_rest();
}

#[test]
fn a_pod_is_known_by_any_of_its_addresses() {
    let mut world = matched(&json!({ "type": "PodIP" }));
    world.pod(B).addresses = vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    for owner in ["10.0.0.7", "::ffff:10.0.0.7", "[FD00::0007]"] {
        taken_by(&mut world, owner);
        assert_eq!(state(&world), (LockState::Held, Some(B)), "{owner}");
    }
    taken_by(&mut world, "10.0.0.8");
    assert_eq!(
        (state(&world), world.held()),
        ((LockState::Unattributed, None), "HeldUnattributed"),
        "whose address that is nobody knows"
    );
    taken_by(&mut world, "shop-1");
    assert_eq!(world.held(), "Malformed", "that is no address");
    world.at_rest();
}

#[test]
fn two_pods_that_match_are_nobody() {
    for (matches, annotation) in [("Label", false), ("Annotation", true)] {
        let mut world = matched(&json!({ "type": matches, "key": "example.com/instance" }));
        let set = |world: &mut World, pod: &str, value: &str| {
            let pod = world.pod(pod);
            let fields = if annotation {
                &mut pod.annotations
            } else {
                &mut pod.labels
            };
            fields.insert("example.com/instance".into(), value.into());
        };
        set(&mut world, A, "blue");
        set(&mut world, B, "green");
        taken_by(&mut world, "blue");
        assert_eq!(state(&world), (LockState::Held, Some(A)), "{matches}");
        set(&mut world, B, "blue");
        world.advance(secs(3));
        assert_eq!(state(&world), (LockState::Unattributed, None), "{matches}");
        assert_eq!(world.held(), "HeldUnattributed");
        world.at_rest();
        set(&mut world, A, "Blue");
        world.advance(secs(3));
        assert_eq!(
            state(&world),
            (LockState::Held, Some(B)),
            "{matches}: case counts"
        );
    }
}

#[test]
fn locks_of_owners_that_cannot_be_told_are_in_good_hands_and_out_of_balance() {
    let redlock =
        json!({ "dialect": "Redlock", "keyPrefix": "rigatoni:lock:", "ttl": "30s", "renewInterval": "10s" });
    let mut world = World::new(&spec(&["x", "y", "z"], &redlock));
    for name in ["x", "y", "z"] {
        world.put(&World::key(name), SECRET.into(), Some(secs(30)), true);
    }
    world.advance(secs(200));
    assert_eq!((world.held(), world.said()), ("HeldUnattributed", vec![]));
    assert_eq!(world.reason(LocksBalanced), "Unattributed");
    let locks = world.status().locks.as_ref().unwrap();
    assert_eq!((locks.unattributed, locks.unheld, locks.orphaned), (3, 0, 0));
    world.at_rest();
    // Neither a pod's end nor another token changes hands that nobody knows; an expiry is a loss all the same.
    world.pods.retain(|pod| pod.name != A);
    world.put(&World::key("x"), format!("{SECRET}2"), Some(secs(30)), true);
    world.advance(secs(3));
    assert_eq!(world.held(), "HeldUnattributed");
    world.data.get_mut(&World::key("y")).unwrap().renewed_next = None;
    world.advance(secs(40));
    assert_eq!(world.held(), "LocksLost");
    assert_eq!(world.said(), [E::LocksLost]);
    assert!(row(&world, "y").flags.contains(&Flag::Lost));
    world.at_rest();
}

#[test]
fn a_value_of_something_else_is_malformed_and_in_no_hands() {
    let mut world = World::new(&spec(
        &["x"],
        &json!({ "dialect": "ShedLock", "keyPrefix": "rigatoni:lock:" }),
    ));
    world.put(
        &World::key("x"),
        format!("ADDED:2026-03-01T12:00:00Z@{A}:{SECRET}"),
        Some(secs(30)),
        false,
    );
    world.advance(secs(3));
    assert_eq!(state(&world), (LockState::Held, Some(A)));
    world.put(&World::key("x"), format!("{A}-{SECRET}"), Some(secs(30)), false);
    world.advance(secs(3));
    assert_eq!(
        (state(&world), world.held()),
        ((LockState::Unattributed, None), "Malformed")
    );
    assert_eq!(row(&world, "x").flags, [Flag::Malformed]);
    world.at_rest();
}

#[test]
fn status_word_for_an_orphan_holds_only_until_somebody_renews_it() {
    let mut world = matched(&json!({ "type": "PodUID" }));
    world.pod(A).uid = "a".into();
    taken_by(&mut world, "a");
    world.pods.retain(|pod| pod.name != A);
    world.data.get_mut(&World::key("x")).unwrap().renewed_next = None;
    world.advance(secs(5));
    assert_eq!(state(&world), (LockState::Orphaned, Some(A)));
    world.restart();
    world.put(&World::key("x"), format!("a|{SECRET}"), Some(secs(60)), false);
    world.advance(secs(5));
    assert_eq!(state(&world), (LockState::Unattributed, None));
    world.at_rest();
}
