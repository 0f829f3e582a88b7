//! Work that is done now and then: crons and jobs.

use super::*;

/// A set of one job, with a library that never renews.
fn nightly(every: Option<&str>) -> World {
    let mut set = json!({
        "name": "nightly",
        "hold": "Intermittent",
        "dialect": "ShedLock",
        "keyPrefix": "rigatoni:lock:",
        "names": ["report"],
        "ttl": "1m",
    });
    if let Some(every) = every {
        set["every"] = json!(every);
    }
    let mut world = World::new(&shop(&[set]));
    world.advance(secs(60));
    world
}

/// Takes the job's lock, which is not renewed.
fn begin(world: &mut World, pod: &str) {
    let value = format!("ADDED:2027-01-15T08:01:00.123Z@{pod}");
    world.put(&World::key("report"), value, Some(secs(60)), false);
}

#[test]
fn a_job_outlasts_its_ttl() {
    let mut world = nightly(None);
    // It works for four minutes; nobody renews the lock meanwhile.
    begin(&mut world, A);
    world.advance(secs(4 * 60));
    begin(&mut world, B);
    world.advance(secs(4 * 60));
    assert_calm(&world);
    tell(&world, "a_job_outlasts_its_ttl");
    world.at_rest();
}

#[test]
fn a_cron_ran_twice() {
    let mut world = nightly(Some("1h"));
    for (pod, pause) in [(A, 3600), (C, 3600 - 8)] {
        begin(&mut world, pod);
        world.advance(secs(3));
        world.release("report");
        world.advance(secs(pause - 3));
    }
    // Both pods wake up on the hour; one clock is a little ahead, and the work is done before the other looks.
    for pod in [A, B] {
        begin(&mut world, pod);
        world.advance(secs(3));
        world.release("report");
        world.advance(secs(5));
    }
    world.advance(secs(10 * 60));
    assert_eq!(world.said(), [EventReason::LockRepeated]);
    tell(&world, "a_cron_ran_twice");
    world.at_rest();
}

#[test]
fn a_cron_did_not_run() {
    let mut world = nightly(Some("1h"));
    begin(&mut world, A);
    world.advance(secs(3));
    world.release("report");
    world.advance(secs(90 * 60));
    assert_eq!(world.held(), "LocksOverdue");
    tell(&world, "a_cron_did_not_run");
    world.at_rest();
}
