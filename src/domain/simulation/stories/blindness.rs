//! Outages, restarts, and what is said when sight is back.

use super::*;

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
        world.events[1].note.starts_with("x (set jobs) is in good hands"),
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

/// Redis goes, the operator restarts while it is gone and once more, and only then `meanwhile` happens and Redis is back.
fn outage_with_restarts(world: &mut World, meanwhile: impl FnOnce(&mut World)) {
    world.cut();
    world.advance(secs(30));
    assert_eq!(world.held(), "NotObserved");
    world.at_rest();
    for _ in 0..2 {
        world.restart();
        world.advance(secs(60));
        assert_eq!(world.held(), "NotObserved");
    }
    world.at_rest();
    meanwhile(world);
    world.mend(Mode::Tracking);
    world.advance(secs(5));
}

#[test]
fn what_lasted_too_long_is_remembered_over_a_restart_in_an_outage() {
    for hold in ["Continuous", "Intermittent"] {
        let overheld = || {
            let change = json!({ "hold": hold, "maxHold": "5m" });
            let mut world = World::new(&spec(&["x"], &change));
            world.take("x", A);
            world.advance(secs(310));
            assert_eq!((world.held(), world.said()), ("Overheld", vec![E::LockOverheld]));
            world
        };
        let outage = [E::LockOverheld, E::StoreUnreachable, E::StoreReachable];
        let mut world = overheld();
        let (message, before) = (world.message(LocksHeld).to_owned(), row(&world, "x").clone());
        outage_with_restarts(&mut world, |world| {
            assert_eq!(row(world, "x").flags, [Flag::Overheld]);
            assert_eq!(row(world, "x").state, LockState::Unknown);
        });
        assert_eq!(world.held(), "Overheld", "{hold}");
        assert_eq!((world.message(LocksHeld), row(&world, "x")), (&*message, &before));
        assert_eq!(world.said(), outage);
        world.at_rest();
        // Another pod's hold is another one.
        let mut world = overheld();
        outage_with_restarts(&mut world, |world| world.take("x", B));
        assert_eq!((world.held(), world.said()), ("AllHeld", outage.to_vec()));
        world.at_rest();
    }
}

#[test]
fn that_nobody_holds_it_is_remembered_over_a_restart_in_an_outage() {
    let unheld = || {
        let mut world = World::new(&one());
        world.advance(secs(40));
        assert_eq!(
            (world.held(), world.said()),
            ("LocksUnheld", vec![E::LocksUnheld])
        );
        world
    };
    let outage = [E::LocksUnheld, E::StoreUnreachable, E::StoreReachable];
    let mut world = unheld();
    outage_with_restarts(&mut world, |_| {});
    assert_eq!(
        (world.held(), world.said()),
        ("LocksUnheld", outage.to_vec()),
        "without a new grace"
    );
    world.at_rest();
    let mut world = unheld();
    outage_with_restarts(&mut world, |world| world.take("x", A));
    let said: Vec<_> = world.said();
    assert_eq!(world.held(), "AllHeld");
    assert!(said.contains(&E::LocksRecovered), "{said:?}");
    assert_eq!(said.len(), outage.len() + 1, "{said:?}");
    world.at_rest();
    // Within its grace nothing was said: that it runs out is news.
    let mut world = World::new(&one());
    world.advance(secs(5));
    outage_with_restarts(&mut world, |_| {});
    assert_ne!(world.held(), "LocksUnheld");
    world.advance(secs(40));
    assert_eq!(world.held(), "LocksUnheld");
    assert_eq!(
        world.said(),
        [E::StoreUnreachable, E::StoreReachable, E::LocksUnheld]
    );
}

#[test]
fn that_it_was_not_taken_in_time_is_remembered_over_a_restart_in_an_outage() {
    let overdue = || {
        let change = json!({ "hold": "Intermittent", "every": "10m" });
        let mut world = World::new(&spec(&["x"], &change));
        world.advance(secs(660));
        assert_eq!(
            (world.held(), world.said()),
            ("LocksOverdue", vec![E::LocksOverdue])
        );
        world
    };
    let outage = [E::LocksOverdue, E::StoreUnreachable, E::StoreReachable];
    let mut world = overdue();
    outage_with_restarts(&mut world, |_| {});
    assert_eq!((world.held(), world.said()), ("LocksOverdue", outage.to_vec()));
    world.at_rest();
    let mut world = overdue();
    outage_with_restarts(&mut world, |world| world.take("x", A));
    assert_eq!((world.held(), world.said()), ("AllHeld", outage.to_vec()));
    world.at_rest();
}

#[test]
fn a_lock_without_expiry_is_remembered_over_a_restart_in_an_outage() {
    let mut world = World::healthy(&one());
    world.put(&World::key("x"), format!("{A}-{SECRET}"), None, false);
    world.advance(secs(5));
    assert_eq!(world.held(), "NoExpiry");
    let said = world.said();
    outage_with_restarts(&mut world, |_| {});
    assert_eq!(world.held(), "NoExpiry");
    assert_eq!(
        world.said()[said.len()..],
        [E::StoreUnreachable, E::StoreReachable]
    );
    world.at_rest();
}

#[test]
fn a_loss_that_waits_to_be_said_is_said_in_its_time_though_nothing_is_seen_then() {
    let mut world = World::healthy(&two());
    world.silence(A);
    world.advance(secs(60));
    world.silence(B);
    world.advance(secs(60));
    assert_eq!(
        world.said(),
        [E::LocksLost],
        "the second one comes within five minutes"
    );
    world.cut();
    world.advance(secs(400));
    let losses = world.said().into_iter().filter(|said| *said == E::LocksLost);
    assert_eq!(losses.count(), 2);
    let writes = world.writes;
    world.advance(secs(600));
    assert_eq!(world.writes, writes, "nothing ticks");
}
