//! The words of conditions and events, story by story, to be read by a person.

use std::fmt::Write as _;

use serde_json::json;

use super::*;

/// Conditions, then what was said.
fn told(world: &World) -> String {
    let mut text = String::new();
    for condition in &world.status().conditions {
        let _ = writeln!(
            text,
            "{} {} {}\n    {}",
            condition.type_, condition.status, condition.reason, condition.message
        );
    }
    for event in &world.events {
        let kind = if event.reason.is_warning() {
            "Warning"
        } else {
            "Normal"
        };
        let _ = writeln!(text, "* {kind} {}\n    {}", event.reason, event.note);
    }
    text
}

/// Without what is always the same.
fn locks(world: &World) -> String {
    let other = ["Ready", "Available"];
    let told = told(world);
    let mut lines = told.lines();
    let mut text = String::new();
    while let (Some(head), Some(body)) = (lines.next(), lines.next()) {
        if !other.iter().any(|other| head.starts_with(other)) {
            let _ = writeln!(text, "{head}\n{body}");
        }
    }
    text
}

#[test]
fn healthy() {
    let world = World::healthy(&spec(&["users", "orders", "products"], &json!({})));
    insta::assert_snapshot!(told(&world));
}

#[test]
fn killed_holder() {
    let mut world = World::healthy(&spec(&["users", "orders"], &json!({})));
    world.take("orders", A);
    world.advance(secs(4));
    world.take("users", A);
    world.advance(secs(1));
    world.crash(A);
    world.advance(secs(20));
    let mut text = format!("ORPHANED\n{}", locks(&world));
    world.advance(secs(7));
    let _ = writeln!(text, "LOST\n{}", locks(&world));
    world.advance(secs(6));
    let _ = writeln!(text, "BOTH LOST\n{}", locks(&world));
    world.take("users", B);
    world.take("orders", C);
    world.advance(secs(3));
    let _ = writeln!(text, "RECOVERED\n{}", locks(&world));
    insta::assert_snapshot!(text);
}

#[test]
fn stopped_renewing() {
    let mut world = World::healthy(&spec(&["users"], &json!({})));
    world.silence(A);
    world.advance(secs(32));
    insta::assert_snapshot!(locks(&world));
}

#[test]
fn redis_outage() {
    let mut world = World::healthy(&spec(&["users"], &json!({ "readiness": "Required" })));
    world.cut();
    world.advance(secs(60));
    let mut text = format!("DOWN\n{}", told(&world));
    world.mend(Mode::Polling);
    world.advance(secs(10));
    let _ = writeln!(text, "UP AGAIN\n{}", told(&world));
    insta::assert_snapshot!(text);
}

#[test]
fn concentrated() {
    let mut world = World::healthy(&spec(&["users", "orders", "products", "logs"], &json!({})));
    for name in world.names() {
        world.take(&name, A);
    }
    world.advance(secs(125));
    insta::assert_snapshot!(locks(&world));
}

#[test]
fn foreign() {
    let mut world = World::healthy(&spec(&["users", "orders"], &json!({})));
    world.put(
        &World::key("users"),
        format!("laptop-{SECRET}"),
        Some(secs(30)),
        true,
    );
    world.pods.retain(|pod| pod.name != B);
    world.advance(secs(30));
    insta::assert_snapshot!(locks(&world));
}

#[test]
fn no_expiry() {
    let mut world = World::healthy(&spec(&["users"], &json!({})));
    world.put(&World::key("users"), format!("{A}-{SECRET}"), None, false);
    world.advance(secs(10));
    let mut text = format!("HELD\n{}", locks(&world));
    world.delete(A);
    world.advance(secs(10));
    let _ = writeln!(text, "ORPHANED\n{}", locks(&world));
    insta::assert_snapshot!(text);
}

#[test]
fn unheld() {
    let mut world = World::new(&spec(&["users", "orders", "products", "logs"], &json!({})));
    world.advance(secs(10));
    let mut text = format!("AWAITING\n{}", locks(&world));
    world.advance(secs(30));
    let _ = writeln!(text, "NEVER SEEN\n{}", locks(&world));
    let mut world = World::healthy(&spec(&["users"], &json!({})));
    world.release("users");
    world.advance(secs(40));
    let _ = writeln!(text, "GIVEN UP\n{}", locks(&world));
    insta::assert_snapshot!(text);
}

#[test]
fn malformed() {
    let mut world = World::healthy(&spec(&["users"], &json!({})));
    world.put(&World::key("users"), "?".into(), Some(secs(30)), true);
    world.advance(secs(10));
    insta::assert_snapshot!(locks(&world));
}

#[test]
fn name_conflict() {
    let mut world = World::new(&spec(&["users"], &json!({})));
    world.failure = Some(FailureKind::NameConflict);
    world.advance(secs(10));
    insta::assert_snapshot!(told(&world));
}

#[test]
fn pods_refused() {
    let mut world = World::new(&spec(&["users"], &json!({})));
    world.pods.clear();
    world.refused = Some("pods \"shop-x\" is forbidden: exceeded quota: small");
    world.advance(secs(10));
    let mut text = format!("UNAVAILABLE\n{}", told(&world));
    world.rolling = true;
    world.restart();
    world.respec(&spec(&["users", "orders"], &json!({})));
    world.advance(secs(10));
    let _ = writeln!(text, "ROLLING OUT\n{}", told(&world));
    insta::assert_snapshot!(text);
}

#[test]
fn invalid_spec() {
    let mut world = World::new(&spec(&["users"], &json!({ "ttl": "10s", "renewInterval": "5s" })));
    world.advance(secs(10));
    insta::assert_snapshot!(told(&world));
}

#[test]
fn opaque_owners() {
    let mut world = World::new(&spec(
        &["users"],
        &json!({ "dialect": "Redlock", "keyPrefix": "rigatoni:lock:" }),
    ));
    world.take("users", A);
    world.advance(secs(60));
    insta::assert_snapshot!(told(&world));
}
