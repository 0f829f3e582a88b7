//! Locks that the store lost, and locks that can't be seen for a while.

use super::*;

/// All locks vanish at once by this.
fn all_vanish(evidence: Evidence) -> World {
    let mut world = World::healthy(&two());
    world.data.clear();
    world.strike(evidence);
    world.advance(secs(3));
    world
}

#[test]
fn what_the_store_did_is_one_incident_with_its_cause() {
    for (evidence, cause, next) in [
        (
            Evidence::FAILOVER,
            "StoreFailover",
            "Next: see why Redis failed over",
        ),
        (Evidence::FLUSHED, "Flushed", "Next: find out who flushes"),
        (Evidence::CLOCK_JUMP, "ClockJump", "Next: see to the clock"),
    ] {
        let mut world = all_vanish(evidence);
        assert_eq!(world.held(), "LocksLost", "{cause}");
        assert_eq!(world.said(), [E::LocksLost], "one event for all pods: {cause}");
        let message = world.message(LocksHeld).to_owned();
        assert!(message.contains(cause) && message.contains(A), "{message}");
        assert!(message.contains(next), "{message}");
        let recent = &world.status().recent;
        assert_eq!(recent.len(), 2, "both locks: {recent:?}");
        assert!(recent.iter().all(|entry| entry.cause == cause));
        // One comes back, the other is lost a second time in the same way: nothing more is said.
        world.take("x", B);
        world.advance(secs(3));
        assert_eq!(world.held(), "LocksLost");
        world.take("y", C);
        world.advance(secs(3));
        assert_eq!(world.held(), "AllHeld");
        assert_eq!(world.said(), [E::LocksLost, E::LocksRecovered]);
        assert!(
            world.status().recent.iter().all(|entry| entry.gap.is_none()),
            "when exactly they went is not known: {:?}",
            world.status().recent
        );
        world.at_rest();
    }
}

#[test]
fn a_failover_that_keeps_the_locks_says_nothing() {
    let mut world = World::healthy(&two());
    let writes = world.writes;
    world.strike(Evidence::FAILOVER);
    world.advance(secs(60));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![]));
    assert_eq!(world.writes, writes);
    world.at_rest();
}

#[test]
fn what_ran_out_anyway_was_not_lost_by_the_store() {
    let mut world = World::healthy(&one());
    world.silence(A);
    world.cut();
    world.advance(secs(40));
    world.mend(Mode::Tracking);
    world.strike(Evidence::FAILOVER);
    world.advance(secs(3));
    assert_ne!(world.held(), "LocksLost", "it ended while nobody looked");
    assert!(!world.said().contains(&E::LocksLost));
}

#[test]
fn an_eviction_is_said_only_of_a_lock_that_nobody_gave_up() {
    let mut world = World::healthy(&two());
    let before = world
        .operator
        .table
        .apply(Event::Happened(ONLY, Evidence::EVICTED), world.now);
    assert_eq!(before, crate::domain::locks::table::Effect::Nothing);
    world.release("x");
    world.advance(secs(3));
    assert_eq!(world.held(), "LocksLost");
    assert!(world.message(LocksHeld).contains("probably evicted"));
    world.take("x", B);
    world.advance(secs(3));
    // A pod that is being deleted gives its locks up.
    world.pod(B).terminating = true;
    world.advance(secs(1));
    world
        .operator
        .table
        .apply(Event::Happened(ONLY, Evidence::EVICTED), world.now);
    world.release("x");
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld", "{}", world.message(LocksHeld));
    assert_eq!(world.said(), [E::LocksLost, E::LocksRecovered]);
}

#[test]
fn a_restart_after_a_failover_says_nothing_twice() {
    let mut world = all_vanish(Evidence::FAILOVER);
    world.restart();
    world.advance(secs(60));
    assert_eq!(world.held(), "LocksLost");
    for name in ["x", "y"] {
        world.take(name, B);
    }
    world.advance(secs(3));
    assert_eq!(world.said(), [E::LocksLost, E::LocksRecovered]);
    world.at_rest();
}

#[test]
fn locks_that_can_not_be_seen_do_not_hide_the_others() {
    let mut world = World::healthy(&two());
    world.hide(Some("y"));
    world.advance(secs(4));
    assert_eq!(
        (world.reason(StoreReachable), world.held()),
        ("Reachable", "AllHeld"),
        "not yet"
    );
    world.advance(secs(4));
    assert_eq!(
        (world.reason(StoreReachable), world.held()),
        ("ClusterDown", "NotObserved")
    );
    assert!(
        world
            .message(StoreReachable)
            .contains("Not all locks can be read: y.")
    );
    assert_eq!(row(&world, "y").state, LockState::Unknown);
    assert_eq!(row(&world, "x").state, LockState::Held);
    assert_eq!(world.reason(LocksBalanced), "NotObserved");
    world.at_rest();
    // A loss among those that are seen is said at once, and wins over what isn't known.
    world.silence(A);
    world.advance(secs(31));
    assert_eq!(world.held(), "LocksLost");
    assert_eq!(world.said(), [E::StoreUnreachable, E::LocksLost]);
    world.take("x", B);
    world.advance(secs(3));
    assert_eq!(world.held(), "NotObserved", "it is not known whether all is well");
    world.hide(None);
    world.advance(secs(3));
    assert_eq!(
        (world.reason(StoreReachable), world.held()),
        ("Reachable", "AllHeld")
    );
    world.advance(secs(60));
    assert_eq!(
        world.said(),
        [
            E::StoreUnreachable,
            E::LocksLost,
            E::StoreReachable,
            E::LocksRecovered
        ]
    );
    world.at_rest();
}
