//! Sets and workloads: incidents, balance, readiness, bounds.

use serde_json::json;

use super::*;

#[test]
fn further_losses_are_said_at_most_once_in_5_minutes() {
    let mut world = World::healthy(&spec(
        &["a", "b", "c"],
        &json!({ "balance": { "enabled": false } }),
    ));
    for pod in [A, B, C] {
        world.silence(pod);
        world.advance(secs(40));
    }
    assert_eq!(world.said(), [E::LocksLost], "two more wait");
    world.restart();
    world.advance(secs(100));
    assert_eq!(world.said(), [E::LocksLost]);
    for name in ["a", "b", "c"] {
        world.take(name, A);
    }
    world.advance(secs(3));
    assert_eq!(world.said(), [E::LocksLost, E::LocksRecovered]);
    assert!(
        world.events[1].note.starts_with("3 locks"),
        "{}",
        world.events[1].note
    );

    let mut world = World::healthy(&spec(
        &["a", "b", "c"],
        &json!({ "balance": { "enabled": false } }),
    ));
    for pod in [A, B, C] {
        world.silence(pod);
        world.advance(secs(40));
    }
    world.advance(secs(300));
    assert_eq!(world.said(), [E::LocksLost, E::LocksLost]);
    let note = &world.events[1].note;
    assert!(
        note.contains("b (set jobs)") && note.contains("c (set jobs)"),
        "{note}"
    );
}

#[test]
fn intermittent_locks_cause_no_writes_and_their_losses_no_condition() {
    let mut world = World::new(&spec(&["x"], &json!({ "hold": "Intermittent" })));
    world.advance(secs(10));
    let writes = world.writes;
    for _ in 0..5 {
        world.take("x", A);
        world.advance(secs(5));
        world.release("x");
        world.advance(secs(5));
    }
    assert_eq!((world.writes, world.held()), (writes, "AllHeld"), "daily work");
    assert_eq!(world.status().locks.as_ref().unwrap().rows, []);
    world.take("x", A);
    world.delete(A);
    world.advance(secs(5));
    assert_eq!(world.held(), "OrphanedOwner", "in a set that renews");
    world.at_rest();
    world.advance(secs(30));
    assert_eq!(world.held(), "AllHeld");
    assert_eq!(world.said(), [E::LocksOrphaned, E::LocksLost]);
    let set = &world.status().locks.as_ref().unwrap().sets[0];
    assert_eq!(set.last_loss.as_ref().unwrap().cause, "HolderGone");
    world.at_rest();
}

#[test]
fn locks_of_a_library_that_never_renews_lapse() {
    let custom = json!({ "hold": "Intermittent", "dialect": "Custom", "keyPrefix": "rigatoni:lock:", "ttl": "30s",
        "holder": { "pattern": "(?<owner>.*)-[0-9a-f]{8}-.*" } });
    let mut world = World::new(&spec(&["x"], &custom));
    world.advance(secs(10));
    world.put(&World::key("x"), format!("{A}-{SECRET}"), Some(secs(30)), false);
    world.delete(A);
    world.advance(secs(60));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![]));
    assert!(world.status().recent.is_empty());
    let mut continuous = custom;
    continuous["hold"] = json!("Continuous");
    let mut world = World::new(&spec(&["x"], &continuous));
    world.put(&World::key("x"), format!("{A}-{SECRET}"), Some(secs(30)), false);
    world.advance(secs(32));
    assert_eq!(
        world.held(),
        "LocksLost",
        "in a Continuous set they are always lost"
    );
}

#[test]
fn one_pod_with_everything_is_concentrated_and_the_rest_rebalances() {
    let mut world = World::new(&spec(&["a", "b", "c", "d"], &json!({})));
    for name in ["a", "b", "c", "d"] {
        world.take(name, A);
    }
    world.advance(secs(30));
    assert_eq!(world.reason(LocksBalanced), "Settling", "warming up");
    world.advance(secs(40));
    assert_eq!(world.reason(LocksBalanced), "Balanced", "not for long enough");
    world.advance(secs(120));
    assert_eq!(world.reason(LocksBalanced), "Concentrated");
    assert_eq!(world.status().summary.as_ref().unwrap().spread, "4-0-0");
    let balance = world.status().locks.as_ref().unwrap().sets[0]
        .balance
        .clone()
        .unwrap();
    assert_eq!(
        (balance.locks, balance.pods, balance.max, balance.ideal),
        (4, 3, 4, 2)
    );
    assert_eq!(
        (balance.limit, balance.excess, balance.moves, balance.idle),
        (3, 2, 2, 2)
    );
    world.at_rest();
    world.restart();
    world.take("a", B);
    world.take("b", C);
    world.advance(secs(100));
    assert_eq!(
        world.reason(LocksBalanced),
        "Concentrated",
        "not good for long enough"
    );
    world.at_rest();
    world.advance(secs(30));
    assert_eq!(world.reason(LocksBalanced), "Balanced");
    assert_eq!(world.said(), [E::LocksConcentrated, E::LocksRebalanced]);
    world.at_rest();
}

#[test]
fn a_rollout_defers_the_verdict_for_10_minutes_at_most() {
    let mut world = World::healthy(&spec(&["a", "b", "c", "d"], &json!({})));
    world.rolling = true;
    for name in ["a", "b", "c", "d"] {
        world.take(name, A);
    }
    world.advance(secs(590));
    assert_eq!(
        (world.reason(LocksBalanced), world.reason(Ready)),
        ("Balanced", "Progressing")
    );
    world.advance(secs(140));
    assert_eq!(world.reason(LocksBalanced), "Concentrated");
    assert_eq!(world.said(), [E::LocksConcentrated]);
}

#[test]
fn too_little_to_judge_is_balanced() {
    let mut world = World::healthy(&one());
    assert_eq!(world.reason(LocksBalanced), "TooFewLocks");
    world.wanted = 1;
    world.advance(secs(3));
    assert_eq!(world.reason(LocksBalanced), "SingleReplica");
    world.at_rest();
}

#[test]
fn required_locks_make_ready_false() {
    let mut world = World::new(&spec(&["x"], &json!({ "readiness": "Required" })));
    world.advance(secs(3));
    assert_eq!(world.reason(Ready), "LocksNotHeld");
    world.take("x", A);
    world.advance(secs(3));
    assert_eq!(world.reason(Ready), "Reconciled");
    world.cut();
    world.advance(secs(10));
    assert_eq!(world.reason(Ready), "LocksNotObserved");
    world.at_rest();
    let idle = json!({ "readiness": "Required", "hold": "Intermittent" });
    let mut world = World::new(&spec(&["x"], &idle));
    world.advance(secs(3));
    assert_eq!(world.reason(Ready), "Reconciled", "no work is no fault");
}

#[test]
fn a_spec_with_new_required_locks_is_not_ready_by_what_was_said_of_the_old_one() {
    let mut world = World::healthy(&one());
    assert_eq!(world.reason(Ready), "Reconciled");
    world.respec(&spec(&["x", "z"], &json!({ "readiness": "Required" })));
    let server = world.server.take();
    world.look();
    assert_eq!(world.reason(Ready), "LocksNotObserved");
    world.server = server;
    world.advance(secs(3));
    assert_eq!(world.reason(Ready), "LocksNotHeld");
}

#[test]
fn each_episode_of_a_failure_has_its_own_event() {
    let mut world = World::healthy(&one());
    for _ in 0..2 {
        world.failure = Some(FailureKind::NameConflict);
        world.advance(secs(10));
        assert_eq!(world.reason(Ready), "NameConflict");
        world.failure = None;
        world.advance(secs(10));
        assert_eq!(world.reason(Ready), "Reconciled");
    }
    assert_eq!(world.said(), [E::NameConflict, E::NameConflict]);
    assert_ne!(world.events[0].key, world.events[1].key);
}

#[test]
fn a_spec_that_cannot_be_read_leaves_what_was_said_of_the_locks() {
    let mut world = World::healthy(&one());
    world.respec(&spec(&["x", "x"], &json!({})));
    world.advance(secs(60));
    assert_eq!((world.reason(Ready), world.held()), ("InvalidSpec", "AllHeld"));
    assert_eq!(world.said(), [E::InvalidSpec]);
    world.at_rest();
}

#[test]
fn what_is_learned_of_a_lifetime_is_kept() {
    let custom = json!({ "dialect": "Custom", "keyPrefix": "rigatoni:lock:",
        "holder": { "pattern": "(?<owner>.*)-[0-9a-f]{8}-.*" } });
    let mut world = World::new(&spec(&["x"], &custom));
    let assumed = |world: &World| {
        world.status().locks.as_ref().unwrap().sets[0]
            .assumed
            .clone()
            .unwrap()
            .ttl
            .unwrap()
    };
    world.advance(secs(1));
    assert_eq!(assumed(&world), "30s");
    world.put(&World::key("x"), format!("{A}-{SECRET}"), Some(secs(90)), true);
    world.advance(secs(5));
    assert_eq!(assumed(&world), "1m30s");
    world.at_rest();
}

#[test]
fn moments_do_not_move_with_the_wall_clock() {
    let mut world = World::healthy(&one());
    world.delete(A);
    world.advance(secs(5));
    let before = row(&world, "x").clone();
    let (frees_at, message) = (before.frees_at.clone(), world.message(LocksHeld).to_owned());
    for _ in 0..20 {
        world.advance(Duration::from_millis(997));
    }
    assert_eq!(row(&world, "x").frees_at, frees_at);
    assert_eq!(world.message(LocksHeld), message);
}

#[test]
fn two_thousand_locks_fit() {
    let names: Vec<String> = (0..1000)
        .map(|at| format!("\"{at}\"{}", "ä\\".repeat(100)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut both = spec(&names, &json!({}));
    let mut second = both["locks"][0].clone();
    second["name"] = json!("more");
    second["keyPrefix"] = json!("more:");
    both["locks"].as_array_mut().unwrap().push(second);
    let mut world = World::new(&both);
    world.advance(secs(40));
    assert_eq!(world.held(), "LocksUnheld");
    world.at_rest();
    for name in &names {
        world.take(name, A);
    }
    world.advance(secs(3));
    world.delete(A);
    world.silence(A);
    world.advance(secs(40));
    assert_eq!(world.held(), "LocksLost");
    world.at_rest();
}
