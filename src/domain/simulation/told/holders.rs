//! Pods and processes that hold locks and shouldn't, or should and don't.

use super::*;

#[test]
fn killed_holder() {
    let mut world = usual();
    // Its locks were renewed at different moments.
    world.take("users", A);
    world.advance(secs(4));
    world.take("logs", A);
    world.advance(secs(3));
    world.crash(A);
    world.advance(secs(24));
    assert_eq!(world.held(), "LocksLost");
    tell(&world, "killed_holder");
    world.advance(secs(6));
    world.take("users", B);
    world.take("logs", C);
    world.advance(secs(60));
    assert_eq!(world.held(), "AllHeld");
    tell(&world, "killed_holder_replaced");
    world.at_rest();
}

#[test]
fn first_pod_takes_all() {
    let mut world = World::new(&shop(&[collections(&json!({}))]));
    for name in world.names() {
        world.take(&name, A);
    }
    world.advance(secs(10 * 60));
    assert_eq!(world.reason(ConditionType::LocksBalanced), "Concentrated");
    tell(&world, "first_pod_takes_all");
    world.at_rest();
}

#[test]
fn stuck_lock_without_expiry() {
    let mut world = usual();
    world.put(&World::key("orders"), format!("{B}-{SECRET}"), None, false);
    world.advance(secs(60));
    world.delete(B);
    world.start("shop-7d9c8b6f5d-fffff");
    world.take("logs", C);
    world.advance(secs(120));
    assert_eq!(world.held(), "NoExpiry");
    tell(&world, "stuck_lock_without_expiry");
    world.at_rest();
}
