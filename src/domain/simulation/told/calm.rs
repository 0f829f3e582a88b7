//! Days on which nothing is wrong: no Warning, no False.

use super::*;

/// Pods of the next template.
const NEXT: [&str; 3] = [
    "shop-6c5f9d7b84-bbbbb",
    "shop-6c5f9d7b84-ccccc",
    "shop-6c5f9d7b84-ddddd",
];

#[test]
fn rolling_update() {
    let mut world = usual();
    let mut next = shop(&[collections(&json!({}))]);
    next["template"]["spec"]["containers"][0]["image"] = json!("registry.example.com/shop:1.5.0");
    world.respec(&next);
    world.rolling = true;
    for (old, new) in [A, B, C].into_iter().zip(NEXT) {
        world.start(new);
        world.advance(secs(15));
        // SIGTERM: it gives its locks up and ends.
        world.pod(old).terminating = true;
        let its: Vec<_> = world
            .names()
            .into_iter()
            .filter(|name| world.is_held_by(name, old))
            .collect();
        for name in &its {
            world.release(name);
        }
        world.advance(secs(2));
        world.delete(old);
        for name in &its {
            world.take(name, new);
        }
        world.advance(secs(8));
    }
    world.rolling = false;
    world.advance(secs(15 * 60));
    assert_calm(&world);
    tell(&world, "rolling_update");
    world.at_rest();
}
