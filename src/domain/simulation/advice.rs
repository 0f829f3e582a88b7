//! Advice in a world that goes on: it stays as it is while nothing changes, also with another operator.

use serde_json::json;

use super::*;

fn codes(world: &World) -> Vec<&str> {
    let advice = world.status().advisories.iter();
    advice.map(|said| said.code.as_str()).collect()
}

#[test]
fn advice_stands_through_restarts_and_outages() {
    let mut world = World::healthy(&spec(&["x"], &json!({})));
    let quiet = codes(&world).len();
    assert!(!codes(&world).contains(&"TtlDiffers"), "{:?}", codes(&world));
    let held = |world: &mut World, ttl| {
        world.put(&World::key("x"), format!("{A}-{SECRET}"), Some(secs(ttl)), true);
    };
    held(&mut world, 60);
    world.advance(secs(5));
    assert!(codes(&world).contains(&"TtlDiffers"), "{:?}", codes(&world));
    let said = world.status().advisories.clone();
    // A new operator finds less than 30 s left, and can't tell.
    world.silence(A);
    world.advance(secs(40));
    world.restart();
    world.at_rest();
    assert_eq!(world.status().advisories, said);
    world.cut();
    world.advance(secs(60));
    assert_eq!(world.status().advisories, said, "blind");
    world.mend(Mode::Polling);
    world.advance(secs(10));
    assert_eq!(world.status().advisories, said, "nobody holds it");
    // The application was corrected.
    held(&mut world, 30);
    world.advance(secs(15));
    assert_eq!(codes(&world).len(), quiet, "{:?}", codes(&world));
    world.at_rest();
}

#[test]
fn a_spec_that_cannot_be_used_keeps_its_advice() {
    let mut world = World::healthy(&spec(&["x"], &json!({})));
    let said = world.status().advisories.clone();
    assert!(!said.is_empty());
    world.respec(&spec(&["x", "x"], &json!({})));
    world.at_rest();
    assert_eq!(world.reason(ConditionType::Ready), "InvalidSpec");
    assert_eq!(world.status().advisories, said);
}
