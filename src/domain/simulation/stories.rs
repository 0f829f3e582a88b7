//! The contract's lines as stories: section 3's states, causes, memory and concentration, section 5's incidents.

use serde_json::json;

use super::*;
use crate::api::status::{Flag, LockState};
use ConditionType::{LocksBalanced, LocksHeld, Ready, StoreReachable};
use EventReason as E;

fn one() -> Value {
    spec(&["x"], &json!({}))
}

fn two() -> Value {
    spec(&["x", "y"], &json!({}))
}

fn row<'w>(world: &'w World, name: &str) -> &'w crate::api::status::Row {
    let rows = &world.status().locks.as_ref().unwrap().rows;
    rows.iter().find(|row| row.name == name).unwrap()
}

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
            .contains("redis:6379, database 0, key rigatoni:lock:x")
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
        world.advance(secs(1));
        assert_eq!(world.held(), "OrphanedOwner");
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
fn an_outage_says_nothing_of_the_locks() {
    let mut world = World::healthy(&one());
    world.cut();
    world.advance(secs(4));
    assert_eq!(
        (world.reason(StoreReachable), world.held()),
        ("Reachable", "AllHeld"),
        "not yet"
    );
    world.silence(A);
    world.advance(secs(56));
    assert_eq!(
        (world.reason(StoreReachable), world.held()),
        ("Unreachable", "NotObserved")
    );
    assert_eq!(world.reason(LocksBalanced), "NotObserved");
    assert_eq!(world.status().locks.as_ref().unwrap().unknown, 1);
    world.at_rest();
    world.mend(Mode::Tracking);
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld", "unheld, within its grace");
    world.take("x", B);
    world.advance(secs(3));
    assert_eq!(world.said(), [E::StoreUnreachable, E::StoreReachable]);
    let recent = &world.status().recent;
    assert_eq!(recent.len(), 1, "an outage, no loss");
    assert!(recent[0].set.is_none() && recent[0].gap.is_some());
    world.at_rest();
}

#[test]
fn blindness_repeats_no_news() {
    let mut world = World::new(&one());
    world.advance(secs(40));
    world.cut();
    world.advance(secs(60));
    world.mend(Mode::Tracking);
    world.advance(secs(60));
    assert_eq!(world.held(), "LocksUnheld");
    assert_eq!(
        world.said(),
        [E::LocksUnheld, E::StoreUnreachable, E::StoreReachable]
    );
}

#[test]
fn a_first_read_may_take_30_s() {
    let mut world = World::new(&one());
    world.cut();
    world.advance(secs(29));
    assert_eq!(
        (world.reason(StoreReachable), world.held()),
        ("Connecting", "NotObserved")
    );
    world.advance(secs(4));
    assert_eq!(
        (world.reason(StoreReachable), world.held()),
        ("Unreachable", "NotObserved")
    );
    world.at_rest();
}

#[test]
fn the_first_read_of_an_operator_judges_states_only() {
    let mut world = World::healthy(&one());
    world.restart();
    world.delete(A);
    world.data.clear();
    world.advance(secs(3));
    assert_eq!(
        (world.held(), world.said()),
        ("AllHeld", vec![]),
        "no cause, no event"
    );
    world.advance(secs(40));
    assert_eq!(world.held(), "LocksUnheld");
    assert!(world.status().recent.is_empty());
}

#[test]
fn a_loss_stands_over_a_restart_and_is_recovered_from_once() {
    let mut world = World::healthy(&one());
    world.silence(A);
    world.advance(secs(32));
    assert_eq!(world.held(), "LocksLost");
    world.restart();
    world.advance(secs(60));
    assert_eq!(world.held(), "LocksLost");
    world.at_rest();
    world.take("x", B);
    world.advance(secs(3));
    assert_eq!(world.said(), [E::LocksLost, E::LocksRecovered]);
    assert!(
        world.events[1].note.starts_with("x is in good hands"),
        "{}",
        world.events[1].note
    );
}

#[test]
fn a_loss_made_good_before_it_was_written_is_still_said() {
    let mut world = World::healthy(&one());
    world.data.get_mut(&World::key("x")).unwrap().renewed_next = None;
    let expires = world.data[&World::key("x")].expires.unwrap();
    world.advance(
        expires
            .since(world.now)
            .saturating_sub(Duration::from_millis(1500)),
    );
    // Something else is written just before, so that the pace delays what comes.
    world.pod(C).ready_since = None;
    world.advance(Duration::from_millis(1502));
    world.take("x", B);
    world.advance(secs(5));
    assert_eq!(world.held(), "AllHeld");
    assert_eq!(world.said(), [E::LocksLost, E::LocksRecovered]);
    assert_eq!(world.status().recent.len(), 1);
    world.at_rest();
}

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
