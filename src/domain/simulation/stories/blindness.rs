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
