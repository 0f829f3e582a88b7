//! States of locks, and how holds end.

use serde_json::json;

use super::*;

#[test]
fn a_new_workload_awaits_holders_then_has_them() {
    let mut world = World::new(&two());
    world.advance(secs(1));
    assert_eq!(world.held(), "AwaitingHolder");
    world.take("x", A);
    world.advance(secs(3));
    assert_eq!(world.held(), "AwaitingHolder", "one of two");
    world.at_rest();
    world.take("y", B);
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld");
    let summary = world.status().summary.clone().unwrap();
    assert_eq!(
        (&*summary.pods, &*summary.locks, &*summary.spread),
        ("3/3", "2/2", "1-1-0")
    );
    assert_eq!(world.said(), []);
    world.at_rest();
}

#[test]
fn a_lock_that_nobody_takes_is_unheld_after_its_grace() {
    let mut world = World::new(&one());
    world.advance(secs(29));
    assert_eq!(world.held(), "AwaitingHolder");
    world.advance(secs(4));
    assert_eq!(world.held(), "LocksUnheld");
    assert!(
        world
            .message(LocksHeld)
            .contains("redis:6379 (database 0), key rigatoni:lock:x")
    );
    assert_eq!(world.said(), [E::LocksUnheld]);
    world.at_rest();
    world.restart();
    world.advance(secs(20));
    assert_eq!(
        world.held(),
        "LocksUnheld",
        "what was said stands, without a new grace"
    );
    world.take("x", A);
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld");
    assert_eq!(world.said(), [E::LocksUnheld, E::LocksRecovered]);
    world.at_rest();
}

#[test]
fn the_grace_runs_only_while_a_pod_is_ready_replicas_are_wanted_and_redis_is_seen() {
    let mut world = World::healthy(&one());
    world.release("x");
    world.advance(secs(20));
    world.cut();
    world.advance(secs(40));
    assert_eq!(world.held(), "NotObserved");
    world.mend(Mode::Tracking);
    world.advance(secs(3));
    for name in [A, B, C] {
        world.pod(name).ready_since = None;
    }
    world.advance(secs(60));
    assert_eq!(world.held(), "AllHeld", "the verdict before stands");
    assert_eq!(row(&world, "x").state, LockState::Unheld);
    world.wanted = 0;
    world.pods.clear();
    world.advance(secs(60));
    assert_eq!(world.held(), "NoReplicasWanted");
    world.at_rest();
    world.wanted = 3;
    world.start(A);
    world.advance(secs(3));
    assert_eq!(world.held(), "AwaitingHolder", "a new beginning");
    world.advance(secs(9));
    assert_eq!(world.held(), "LocksUnheld", "20 s and 3 s were counted before");
}

#[test]
fn a_release_and_a_new_hold_are_a_handover() {
    let mut world = World::healthy(&two());
    let writes = world.writes;
    world.release("x");
    world.advance(secs(5));
    assert_eq!(world.held(), "AllHeld");
    world.take("x", C);
    world.advance(secs(5));
    assert_eq!(
        (world.held(), row(&world, "x").pod.as_deref()),
        ("AllHeld", Some(C))
    );
    assert_eq!(world.said(), []);
    assert_eq!(world.status().recent, [], "a handover is no incident");
    assert_eq!(world.writes - writes, 2);
    world.at_rest();
}

#[test]
fn a_given_up_lock_that_nobody_takes_is_unheld() {
    let mut world = World::healthy(&one());
    world.release("x");
    world.advance(secs(40));
    assert_eq!(world.held(), "LocksUnheld");
    assert!(
        world.message(LocksHeld).contains("given up by"),
        "{}",
        world.message(LocksHeld)
    );
    world.at_rest();
}

#[test]
fn a_killed_process_is_orphaned_then_lost_then_made_good_and_said_once() {
    let mut world = World::healthy(&two());
    world.take("y", A);
    world.advance(secs(4));
    world.take("x", A);
    world.advance(secs(1));
    world.crash(A);
    world.advance(secs(9));
    assert_eq!(world.held(), "AllHeld", "it may still renew");
    world.advance(secs(4));
    assert_eq!(world.held(), "OrphanedOwner");
    assert_eq!(row(&world, "x").state, LockState::Orphaned);
    world.at_rest();
    world.advance(secs(11));
    // y freed 4 s before x: one incident.
    assert_eq!(world.held(), "LocksLost");
    assert_eq!(row(&world, "y").flags, [Flag::Lost]);
    world.at_rest();
    world.advance(secs(4));
    world.take("x", B);
    world.advance(secs(3));
    assert_eq!(
        world.held(),
        "LocksLost",
        "it stands until the lock is in good hands"
    );
    world.at_rest();
    world.take("y", B);
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld");
    assert_eq!(world.said(), [E::LocksOrphaned, E::LocksLost, E::LocksRecovered]);
    assert!(
        world.events[1].note.contains("1 more lock of that pod"),
        "{}",
        world.events[1].note
    );
    assert!(
        world.events[2].note.contains("2 locks"),
        "{}",
        world.events[2].note
    );
    let recent = &world.status().recent;
    assert_eq!(recent.len(), 2);
    for loss in recent {
        assert_eq!(
            (&*loss.cause, loss.from.as_deref(), loss.to.as_deref()),
            ("HolderGone", Some(A), Some(B))
        );
        assert!(loss.gap.is_some());
    }
    world.at_rest();
}

#[test]
fn causes_are_told_by_the_table() {
    // What is done to the holder of x, then the cause, and whether it is a loss.
    type Deed = fn(&mut World);
    let stories: [(&str, Deed, &str); 6] = [
        ("its pod is gone", |world| world.delete(A), "HolderGone"),
        ("its container restarted", |world| world.crash(A), "HolderGone"),
        ("it stopped renewing", |world| world.silence(A), "Expired"),
        (
            "its pod goes after the lock",
            |world| {
                world.silence(A);
                world.advance(secs(31));
                world.delete(A);
            },
            "Expired",
        ),
        ("it releases", |world| world.release("x"), ""),
        (
            "it lets the lock run out early",
            |world| {
                world.advance(secs(1));
                world.put(&World::key("x"), format!("{A}-{SECRET}"), Some(secs(2)), false);
            },
            "",
        ),
    ];
    for (story, deed, cause) in stories {
        let mut world = World::healthy(&one());
        deed(&mut world);
        world.advance(secs(32));
        let causes: Vec<_> = world
            .status()
            .recent
            .iter()
            .map(|loss| loss.cause.as_str())
            .collect();
        let expected: &[&str] = if cause.is_empty() { &[] } else { &[cause] };
        assert_eq!(causes, expected, "{story}");
        assert_eq!(world.said().contains(&E::LocksLost), !cause.is_empty(), "{story}");
        world.at_rest();
    }
}

#[test]
fn a_crash_loop_makes_one_orphan_not_several() {
    let mut world = World::healthy(&one());
    world.crash(A);
    world.advance(secs(12));
    assert_eq!(world.held(), "OrphanedOwner");
    world.crash(A);
    world.advance(secs(4));
    assert_eq!(world.held(), "OrphanedOwner", "a second crash is no sign of life");
    assert_eq!(world.said(), [E::LocksOrphaned]);
    world.at_rest();
}

#[test]
fn a_renewal_is_proof_of_life() {
    let mut world = World::healthy(&one());
    world.crash(A);
    world.advance(secs(3));
    world.take("x", A);
    world.advance(secs(60));
    assert_eq!(world.held(), "AllHeld");
    assert_eq!(world.said(), []);
}

#[test]
fn what_renews_after_its_pod_went_is_foreign() {
    for mode in [Mode::Tracking, Mode::Polling] {
        let mut world = World::healthy(&one());
        world.cut();
        world.mend(mode);
        world.advance(secs(4));
        world.pods.retain(|pod| pod.name != A);
        // Who polls looks once more.
        world.advance(secs(if mode == Mode::Polling { 3 } else { 1 }));
        assert_eq!(world.held(), "OrphanedOwner", "{mode:?}");
        world.advance(secs(25));
        assert_eq!(world.held(), "ForeignHolder", "{mode:?}");
        assert_eq!(world.said(), [E::LocksOrphaned, E::ForeignLockHolder]);
        world.at_rest();
    }
}

#[test]
fn a_last_renewal_that_is_noticed_late_makes_no_ghost() {
    let mut world = World::healthy(&one());
    world.cut();
    world.mend(Mode::Polling);
    world.advance(secs(4));
    // Renewed, then killed and gone, all between two polls.
    world.take("x", A);
    world.delete(A);
    world.look();
    world.advance(secs(28));
    assert!(
        !world.said().contains(&E::ForeignLockHolder),
        "{:?}",
        world.said()
    );
}

#[test]
fn what_a_pod_releases_as_it_ends_is_no_orphan_though_it_shows_only_at_the_next_poll() {
    let mut world = World::healthy(&one());
    world.cut();
    world.mend(Mode::Polling);
    world.advance(secs(4));
    world.advance(Duration::from_millis(500));
    world.release("x");
    world.delete(A);
    world.look();
    world.advance(secs(3));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![]));
    assert_eq!(row(&world, "x").state, LockState::Unheld);
    world.at_rest();
}

#[test]
fn a_pod_that_takes_a_lock_before_it_is_seen_is_no_ghost() {
    const NEW: &str = "shop-7d9c8b6f5d-fffff";
    let mut world = World::healthy(&one());
    world.release("x");
    world.advance(secs(3));
    world.take("x", NEW);
    world.advance(secs(5));
    assert_eq!(
        (row(&world, "x").state, world.held()),
        (LockState::Held, "AllHeld")
    );
    world.at_rest();
    world.start(NEW);
    world.advance(secs(20));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![]));
    // One that never turns up is none of ours any more: it is alive, as its renewals show.
    world.take("x", "shop-7d9c8b6f5d-zzzzz");
    world.advance(secs(9));
    assert_eq!(world.held(), "AllHeld");
    world.advance(secs(30));
    assert_eq!(world.held(), "ForeignHolder");
    world.at_rest();
}

#[test]
fn what_another_clock_cuts_short_is_not_called_given_up() {
    let mut world = World::healthy(&one());
    world.silence(A);
    world.advance(secs(1));
    // The server's clock is set by five seconds: so much less is left of everything.
    let stored = world.data.get_mut(&World::key("x")).unwrap();
    stored.expires = stored.expires.map(|at| Mono(at.0.saturating_sub(secs(5))));
    world.strike(Evidence::CLOCK_JUMP);
    world.advance(secs(30));
    assert_eq!(world.held(), "LocksLost");
    assert!(
        world.message(LocksHeld).contains("Expired"),
        "{}",
        world.message(LocksHeld)
    );
    world.at_rest();
}

#[test]
fn a_grace_leaves_the_word_as_it_was() {
    let mut world = World::new(&spec(
        &["x", "y"],
        &json!({ "dialect": "RedisPy", "keyPrefix": "rigatoni:lock:", "ttl": "30s" }),
    ));
    world.take("x", A);
    world.take("y", B);
    world.advance(secs(10));
    assert_eq!(world.held(), "HeldUnattributed");
    world.release("x");
    world.advance(secs(10));
    assert_eq!(world.held(), "HeldUnattributed");
    world.release("y");
    world.advance(secs(10));
    assert_eq!(world.held(), "HeldUnattributed");
    world.at_rest();
}

#[test]
fn strangers_are_foreign_or_expected() {
    for (foreign, held, locks) in [("Report", "ForeignHolder", "0/1"), ("Expected", "AllHeld", "1/1")] {
        let mut world = World::new(&spec(&["x"], &json!({ "foreignHolders": foreign })));
        world.put(&World::key("x"), format!("laptop-{SECRET}"), Some(secs(30)), true);
        world.advance(secs(5));
        assert_eq!(world.held(), held);
        assert_eq!(world.status().summary.as_ref().unwrap().locks, locks);
        assert!(!serde_json::to_string(world.status()).unwrap().contains("laptop"));
        world.at_rest();
    }
}

#[test]
fn a_lock_without_expiry_is_in_good_hands_and_a_finding() {
    let mut world = World::new(&one());
    world.put(&World::key("x"), format!("{A}-{SECRET}"), None, false);
    world.advance(secs(1));
    assert_eq!(
        world.held(),
        "AllHeld",
        "one answer may lie between SETNX and PEXPIRE"
    );
    world.advance(secs(4));
    assert_eq!(world.held(), "NoExpiry");
    assert_eq!(
        world.status().summary.as_ref().unwrap().locks,
        "1/1",
        "held all the same"
    );
    assert_eq!(world.said(), [E::LockWithoutExpiry]);
    world.at_rest();
}

#[test]
fn where_no_expiry_is_expected_its_lack_is_a_finding_once_orphaned() {
    let custom = json!({ "dialect": "Custom", "keyPrefix": "rigatoni:lock:",
        "holder": { "pattern": "(?<owner>.*)-[0-9a-f]{8}-.*" } });
    let mut world = World::new(&spec(&["x"], &custom));
    world.put(&World::key("x"), format!("{A}-{SECRET}"), None, false);
    world.advance(secs(5));
    assert_eq!(world.held(), "AllHeld");
    assert_eq!(row(&world, "x").flags, [Flag::NoExpiry]);
    world.delete(A);
    world.advance(secs(3));
    assert_eq!(world.held(), "NoExpiry");
    world.at_rest();
}

#[test]
fn what_does_not_fit_is_malformed() {
    let mut world = World::new(&one());
    world.put(&World::key("x"), "no owner".into(), Some(secs(30)), true);
    world.advance(secs(5));
    assert_eq!(world.held(), "Malformed");
    world.put(&World::key("x"), "no owner".into(), None, false);
    world.advance(secs(5));
    assert_eq!(world.held(), "Malformed", "before NoExpiry");
    world.at_rest();
}

#[test]
fn the_worst_reason_comes_first() {
    let mut world = World::healthy(&spec(
        &["a", "b", "c", "d", "e", "f"],
        &json!({ "balance": { "enabled": false } }),
    ));
    world.release("b");
    world.put(&World::key("c"), "?".into(), Some(secs(3000)), false);
    world.put(&World::key("d"), format!("{A}-{SECRET}"), None, false);
    world.put(
        &World::key("e"),
        format!("laptop-{SECRET}"),
        Some(secs(3000)),
        false,
    );
    world.put(
        &World::key("f"),
        format!("shop-7d9c8b6f5d-zzzzz-{SECRET}"),
        Some(secs(3000)),
        false,
    );
    world.silence(A);
    world.advance(secs(40));
    let names = |world: &World| {
        let rows = &world.status().locks.as_ref().unwrap().rows;
        rows.iter().map(|row| row.name.clone()).collect::<String>()
    };
    assert_eq!((world.held(), &*names(&world)), ("LocksLost", "abcdef"));
    for (name, held) in [
        ("a", "LocksUnheld"),
        ("b", "Malformed"),
        ("c", "NoExpiry"),
        ("d", "ForeignHolder"),
        ("e", "OrphanedOwner"),
        ("f", "AllHeld"),
    ] {
        world.at_rest();
        world.take(name, B);
        world.advance(secs(3));
        assert_eq!(world.held(), held, "after {name}");
    }
    world.at_rest();
}

#[test]
fn a_pod_that_renews_nothing_while_others_do_is_one_finding() {
    let all = spec(&["x", "y", "z"], &json!({ "balance": { "enabled": false } }));
    // A holds x and y, renewed 4 s apart, and B holds z.
    let begun = || {
        let mut world = World::healthy(&all);
        world.take("y", A);
        world.take("z", B);
        world.advance(secs(4));
        world.take("x", A);
        world.advance(secs(1));
        world
    };
    let cut_off = "it is cut off from Redis or starved";
    let mut world = begun();
    world.silence(A);
    world.advance(secs(27));
    assert_eq!(
        (world.held(), row(&world, "x").state),
        ("LocksLost", LockState::Held)
    );
    let note = &world.events[0].note;
    assert!(note.contains(cut_off) && note.contains(A), "{note}");
    world.at_rest();
    let message = world.message(LocksHeld);
    assert!(
        message.contains("x and y (set jobs) were lost") && message.contains(cut_off),
        "{message}"
    );
    world.restart();
    world.at_rest();
    world.take("x", B);
    world.take("y", B);
    world.advance(secs(3));
    assert_eq!(world.said(), [E::LocksLost, E::LocksRecovered]);
    world.at_rest();
    // One of two that it renews is no such thing, and neither are those of which nobody renews any.
    let deeds: [fn(&mut World); 2] = [
        |world| world.data.get_mut(&World::key("y")).unwrap().renewed_next = None,
        |world| [A, B].into_iter().for_each(|pod| world.silence(pod)),
    ];
    for deed in deeds {
        let mut world = begun();
        deed(&mut world);
        world.advance(secs(27));
        assert_eq!(world.held(), "LocksLost");
        assert!(
            !world.message(LocksHeld).contains(cut_off),
            "{}",
            world.message(LocksHeld)
        );
        world.at_rest();
    }
}
