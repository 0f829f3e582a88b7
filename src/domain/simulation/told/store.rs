//! What happened to Redis.

use super::*;

#[test]
fn redis_outage() {
    let mut world = usual();
    world.cut();
    world.advance(secs(90));
    assert_eq!(world.held(), "NotObserved");
    tell(&world, "redis_outage");
    world.mend(Mode::Tracking);
    for (name, pod) in [("users", A), ("orders", B), ("products", C), ("logs", A)] {
        world.take(name, pod);
    }
    world.advance(secs(30));
    tell(&world, "redis_outage_over");
    world.at_rest();
}

#[test]
fn failover_with_lost_locks() {
    let mut world = usual();
    // The replica that took over had none of the locks.
    world.data.clear();
    world.strike(Evidence::FAILOVER);
    world.advance(secs(4));
    assert_eq!(world.held(), "LocksLost");
    tell(&world, "failover_with_lost_locks");
    world.advance(secs(2));
    for (name, pod) in [("users", B), ("orders", B), ("products", C), ("logs", A)] {
        world.take(name, pod);
    }
    world.advance(secs(60));
    assert_eq!(world.held(), "AllHeld");
    tell(&world, "failover_with_lost_locks_over");
    world.at_rest();
}

#[test]
fn eviction() {
    let mut world = usual();
    world
        .operator
        .table
        .apply(Event::Happened(ONLY, Evidence::EVICTED), world.now);
    world.release("products");
    world.advance(secs(10));
    assert_eq!(world.held(), "LocksLost");
    tell(&world, "eviction");
    world.at_rest();
}
