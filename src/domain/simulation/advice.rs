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

#[test]
fn where_no_expiry_is_expected_its_lack_is_advised_on_whether_or_not_there_is_work() {
    let custom = json!({ "hold": "Intermittent", "dialect": "Custom", "keyPrefix": "rigatoni:lock:",
        "holder": { "pattern": "(?<owner>.*)-[0-9a-f]{8}-.*" } });
    let mut world = World::new(&spec(&["x", "y"], &custom));
    world.advance(secs(5));
    let given = |world: &World| codes(world).contains(&"LocksWithoutExpiry");
    let put = |world: &mut World, ttl: Option<u64>, lasts: u64| {
        let value = format!("{A}-{SECRET}");
        world.put(&World::key("x"), value, ttl.map(secs), false);
        world.advance(secs(lasts));
    };
    put(&mut world, None, 1);
    assert!(
        !given(&world),
        "one answer may lie between taking it and setting its expiry"
    );
    world.advance(secs(5));
    assert!(given(&world));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![]));
    world.at_rest();
    world.restart();
    world.at_rest();
    let writes = world.writes;
    for _ in 0..3 {
        world.release("x");
        world.advance(secs(10));
        put(&mut world, None, 10);
    }
    assert!(given(&world));
    assert_eq!(world.writes, writes, "daily work");
    world.cut();
    world.advance(secs(60));
    assert!(given(&world), "blind");
    world.mend(Mode::Tracking);
    world.advance(secs(10));
    world.release("x");
    world.restart();
    world.at_rest();
    assert!(given(&world), "nobody holds it");
    put(&mut world, Some(60), 5);
    assert!(!given(&world), "the application was corrected");
    world.at_rest();
}
