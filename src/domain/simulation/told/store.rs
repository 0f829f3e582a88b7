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
