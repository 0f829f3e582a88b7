//! Holds that last longer than `maxHold`.

use serde_json::json;

use super::*;

/// Continuous locks x and y of which each may be held for 15 min.
fn bounded() -> Value {
    spec(
        &["x", "y"],
        &json!({ "maxHold": "15m", "balance": { "enabled": false } }),
    )
}

#[test]
fn a_hold_that_lasts_too_long_is_said_once_until_it_ends() {
    let mut world = World::new(&bounded());
    world.take("x", A);
    world.take("y", B);
    world.advance(secs(600));
    // Another holder, another hold.
    world.take("y", C);
    world.advance(secs(299));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![]));
    let since = row(&world, "x").since.clone().unwrap();
    world.advance(secs(3));
    assert_eq!(world.held(), "Overheld");
    assert_eq!(row(&world, "x").flags, [Flag::Overheld]);
    assert_eq!(row(&world, "y").flags, [], "the pod that took it over has time");
    assert_eq!(row(&world, "x").since, Some(since));
    let message = world.message(LocksHeld).to_owned();
    for part in [
        "x (set jobs)",
        A,
        "since 2027-01-15T08:00:00Z",
        "maxHold of 15m",
        "by 2027-01-15T08:15:00Z",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(
        world.status().summary.as_ref().unwrap().locks,
        "2/2",
        "somebody does hold it"
    );
    world.at_rest();
    world.restart();
    world.advance(secs(60));
    assert_eq!((world.held(), world.message(LocksHeld)), ("Overheld", &*message));
    world.at_rest();
    world.release("x");
    world.advance(secs(1));
    world.take("x", A);
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld", "the same pod again is another hold, too");
    assert_eq!(
        world.said(),
        [E::LockOverheld],
        "nothing was lost, nothing recovered"
    );
    world.at_rest();
}

#[test]
fn neither_a_restart_nor_an_outage_starts_its_clock_anew() {
    for outage in [false, true] {
        let mut world = World::new(&bounded());
        world.take("x", A);
        world.take("y", B);
        world.advance(secs(300));
        if outage {
            world.cut();
            world.advance(secs(120));
            world.mend(Mode::Polling);
        } else {
            world.restart();
            world.advance(secs(120));
        }
        world.advance(secs(475));
        assert_eq!(world.held(), "AllHeld");
        world.advance(secs(10));
        assert_eq!(world.held(), "Overheld", "outage: {outage}");
        world.at_rest();
    }
}

#[test]
fn a_lock_that_another_pod_took_meanwhile_is_another_hold() {
    let mut world = World::new(&bounded());
    world.take("x", A);
    world.take("y", B);
    world.advance(secs(910));
    assert_eq!(world.held(), "Overheld");
    world.restart();
    world.take("x", C);
    world.take("y", C);
    world.advance(secs(3));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![E::LockOverheld]));
    world.at_rest();
    world.restart();
    // Nobody had it for a moment that the new operator saw: what the row says is over.
    world.release("x");
    world.release("y");
    world.advance(secs(2));
    world.take("x", C);
    world.take("y", C);
    world.advance(secs(880));
    assert_eq!(world.held(), "AllHeld");
    world.advance(secs(30));
    assert_eq!(world.held(), "Overheld");
}

#[test]
fn work_that_takes_too_long_is_said_in_an_intermittent_set_too() {
    let mut world = World::new(&spec(&["x"], &json!({ "hold": "Intermittent", "maxHold": "5m" })));
    world.advance(secs(10));
    let writes = world.writes;
    world.take("x", A);
    world.advance(secs(280));
    world.release("x");
    world.advance(secs(60));
    assert_eq!(world.writes, writes, "work that ends in time");
    world.take("x", A);
    world.advance(secs(303));
    assert_eq!(world.held(), "Overheld");
    world.at_rest();
    world.restart();
    world.advance(secs(3));
    assert_eq!(world.held(), "Overheld", "its row is all that is known of it");
    world.at_rest();
    world.release("x");
    world.advance(secs(3));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![E::LockOverheld]));
    assert_eq!(world.status().locks.as_ref().unwrap().rows, []);
    world.at_rest();
    // What status said is over, although this operator saw no end of it.
    world.take("x", A);
    world.advance(secs(303));
    world.restart();
    world.release("x");
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld");
    world.take("x", A);
    world.advance(secs(200));
    assert_eq!(world.held(), "AllHeld");
    world.at_rest();
}

#[test]
fn whoever_holds_it_for_too_long() {
    let bounded = |change: Value| {
        let mut set = json!({ "maxHold": "5m" });
        for (field, value) in change.as_object().unwrap() {
            set[field] = value.clone();
        }
        World::new(&spec(&["x"], &set))
    };
    let put = |world: &mut World, owner: &str| {
        let value = format!("{owner}-{SECRET}");
        world.put(&World::key("x"), value, Some(secs(3000)), false);
        world.advance(secs(303));
        assert_eq!(row(world, "x").flags, [Flag::Overheld]);
        world.at_rest();
    };
    let mut world = bounded(json!({}));
    put(&mut world, "laptop");
    assert_eq!(world.held(), "ForeignHolder", "the worse of the two");
    let mut world = bounded(json!({ "foreignHolders": "Expected" }));
    put(&mut world, "laptop");
    assert_eq!(world.held(), "Overheld");
    assert!(
        world.message(LocksHeld).contains("an unknown holder"),
        "{}",
        world.message(LocksHeld)
    );
    // Its pod is gone, the lock is not.
    let mut world = bounded(json!({}));
    put(&mut world, "shop-7d9c8b6f5d-zzzzz");
    assert_eq!(
        (world.held(), row(&world, "x").state),
        ("Overheld", LockState::Orphaned)
    );
    assert!(
        world.message(LocksHeld).contains("whose process ended"),
        "{}",
        world.message(LocksHeld)
    );
    assert_eq!(world.said(), [E::LocksOrphaned, E::LockOverheld]);
    world.restart();
    world.at_rest();
    assert_eq!(world.held(), "Overheld");
}

#[test]
fn who_raises_the_limit_is_believed_also_after_a_restart() {
    let mut world = World::new(&spec(&["x"], &json!({ "maxHold": "5m" })));
    world.take("x", A);
    world.advance(secs(310));
    assert_eq!(world.held(), "Overheld");
    world.restart();
    world.advance(secs(3));
    assert_eq!(world.held(), "Overheld");
    world.respec(&spec(&["x"], &json!({ "maxHold": "10m" })));
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld");
    world.advance(secs(290));
    assert_eq!(world.held(), "Overheld");
    world.respec(&spec(&["x"], &json!({})));
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld");
    world.at_rest();
}

#[test]
fn more_than_status_has_room_for() {
    let names: Vec<String> = (0..150).map(|at| format!("lock-{at:0>3}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let change = json!({ "maxHold": "5m", "balance": { "enabled": false } });
    let mut world = World::new(&spec(&names, &change));
    for name in &names {
        world.take(name, A);
    }
    world.advance(secs(303));
    assert_eq!(world.held(), "Overheld");
    assert!(
        world.message(LocksHeld).contains("and 147 more"),
        "{}",
        world.message(LocksHeld)
    );
    world.restart();
    world.at_rest();
    world.release("lock-000");
    world.advance(secs(3));
    assert_eq!(world.held(), "Overheld");
    assert!(
        !world.message(LocksHeld).contains("lock-000"),
        "{}",
        world.message(LocksHeld)
    );
    world.at_rest();
    assert_eq!(world.said(), [E::LockOverheld]);
}

#[test]
fn a_lock_that_turned_up_counts_if_it_is_a_pod_s_of_the_workload() {
    let mut world = World::new(&spec(
        &["x"],
        &json!({ "hold": "Intermittent", "discover": true, "maxHold": "5m" }),
    ));
    for name in ["b", "a", "c"] {
        world.turn_up(name);
    }
    world.advance(secs(10));
    let writes = world.writes;
    world.put(&World::key("b"), format!("laptop-{SECRET}"), Some(secs(30)), true);
    for _ in 0..3 {
        world.take("a", A);
        world.advance(secs(60));
        world.release("a");
        world.advance(secs(60));
    }
    assert_eq!((world.held(), world.writes), ("AllHeld", writes), "daily work");
    world.take("c", C);
    world.advance(secs(303));
    assert_eq!((world.held(), world.said()), ("Overheld", vec![E::LockOverheld]));
    assert!(
        world.message(LocksHeld).starts_with("c (set jobs)"),
        "{}",
        world.message(LocksHeld)
    );
    assert_eq!(row(&world, "c").flags, [Flag::Overheld]);
    world.at_rest();
    world.restart();
    world.at_rest();
    world.release("c");
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld");
    // A holder of such a lock that dies is a loss that is said and no condition.
    world.take("a", A);
    world.advance(secs(5));
    world.delete(A);
    world.advance(secs(40));
    assert_eq!(world.said(), [E::LockOverheld, E::LocksOrphaned, E::LocksLost]);
    assert_eq!(world.held(), "AllHeld");
    world.at_rest();
}
