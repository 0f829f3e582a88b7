//! Locks that are to be taken once in a period: crons that don't run, and crons that run twice.

use serde_json::json;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

/// Two jobs of every hour.
fn hourly() -> World {
    let mut world = World::new(&spec(
        &["x", "y"],
        &json!({ "hold": "Intermittent", "every": "1h", "dialect": "ShedLock", "keyPrefix": "rigatoni:lock:", "ttl": "1m" }),
    ));
    world.advance(secs(60));
    world
}

/// A run of so many seconds.
fn run(world: &mut World, name: &str, pod: &str, lasts: u64) {
    let value = format!("ADDED:2026-03-01T12:00:00Z@{pod}");
    world.put(&World::key(name), value, Some(secs(60)), false);
    world.advance(secs(lasts));
    world.release(name);
}

/// What `x` and `y` do in an hour, which begins now.
fn an_hour(world: &mut World) {
    let begin = world.now;
    run(world, "x", A, 5);
    run(world, "y", B, 5);
    world.advance(HOUR.saturating_sub(world.now.since(begin)));
}

#[test]
fn jobs_that_run_in_time_cause_neither_a_word_nor_a_write() {
    let mut world = hourly();
    an_hour(&mut world);
    let writes = world.writes;
    for _ in 0..5 {
        an_hour(&mut world);
        // A little late.
        world.advance(secs(50));
    }
    assert_eq!(
        (world.held(), world.said(), world.writes),
        ("AllHeld", vec![], writes)
    );
    world.at_rest();
}

#[test]
fn a_job_that_does_not_run_is_overdue_until_it_does() {
    let mut world = hourly();
    an_hour(&mut world);
    for _ in 0..2 {
        run(&mut world, "x", C, 5);
        world.advance(secs(55));
        assert_eq!(world.held(), "AllHeld", "as long as a dead holder would keep it");
        world.advance(secs(10));
        assert_eq!(world.held(), "LocksOverdue");
        let row = row(&world, "y");
        assert_eq!(
            (row.state, row.pod.as_deref(), &*row.flags),
            (LockState::Unheld, Some(B), &[][..])
        );
        let message = world.message(LocksHeld).to_owned();
        for part in ["y (set jobs)", "since 2027-01-15T", B, "every 1h"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!message.contains("x (set"), "{message}");
        world.at_rest();
        world.restart();
        world.advance(secs(1800));
        assert_eq!(
            (world.held(), world.message(LocksHeld)),
            ("LocksOverdue", &*message)
        );
        world.at_rest();
        run(&mut world, "y", B, 5);
        world.advance(secs(3));
        assert_eq!((world.held(), world.said()), ("AllHeld", vec![E::LocksOverdue]));
        assert_eq!(world.status().locks.as_ref().unwrap().rows, []);
        world.at_rest();
        world.events.clear();
        run(&mut world, "x", C, 5);
        world.advance(secs(1750));
        run(&mut world, "x", C, 5);
        world.events.clear();
        world.advance(HOUR.saturating_sub(secs(1780)));
    }
}

#[test]
fn a_take_that_only_its_end_shows_is_one() {
    let mut world = hourly();
    for _ in 0..4 {
        an_hour(&mut world);
    }
    // Both are taken and given up between two looks of the operator at what was read.
    for name in ["x", "y"] {
        let value = format!("ADDED:2026-03-01T12:00:00Z@{A}");
        world.put(&World::key(name), value, Some(secs(60)), false);
        World::serve(world.server, &world.data, &mut world.operator, world.now);
        world.release(name);
    }
    world.advance(HOUR + secs(55));
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![]));
    world.advance(secs(10));
    assert_eq!(world.held(), "LocksOverdue");
}

#[test]
fn a_hold_that_is_over_before_it_can_be_read_is_a_take() {
    let mut world = hourly();
    for _ in 0..4 {
        for name in ["x", "y"] {
            world.put(&World::key(name), "x".into(), Some(secs(60)), false);
            world.release(name);
        }
        world.advance(HOUR);
    }
    assert_eq!((world.held(), world.said()), ("AllHeld", vec![]));
    // One that runs out is announced when somebody looks, and is no other one.
    for name in ["x", "y"] {
        let value = format!("ADDED:2026-03-01T12:00:00Z@{A}");
        world.put(&World::key(name), value, Some(secs(60)), false);
    }
    world.advance(secs(61));
    for name in ["x", "y"] {
        world.changed(&World::key(name));
    }
    world.advance(HOUR);
    assert_eq!(world.held(), "LocksOverdue", "{:?}", world.said());
    assert!(!world.said().contains(&E::LockRepeated));
    world.at_rest();
}

#[test]
fn nothing_is_concluded_from_a_blind_spot() {
    // Breaks in which a take could not be seen, or none was to be expected.
    type Break = fn(&mut World);
    let breaks: [(&str, Break); 4] = [
        ("an outage", |world| {
            world.cut();
            world.advance(secs(120));
            world.mend(Mode::Tracking);
        }),
        ("another operator", World::restart),
        ("no pod is ready", |world| {
            for name in [A, B, C] {
                world.pod(name).ready_since = None;
            }
            world.advance(secs(120));
            for name in [A, B, C] {
                let now = world.wall();
                world.pod(name).ready_since = Some(now);
            }
        }),
        ("scaled to zero", |world| {
            let pods = std::mem::take(&mut world.pods);
            world.wanted = 0;
            world.advance(secs(120));
            world.wanted = 3;
            world.pods = pods;
        }),
    ];
    for (what, happens) in breaks {
        let mut world = hourly();
        an_hour(&mut world);
        world.advance(secs(10));
        happens(&mut world);
        world.advance(HOUR);
        assert_eq!(world.held(), "AllHeld", "{what}");
        world.advance(secs(62));
        assert_eq!(world.held(), "LocksOverdue", "{what}");
        world.at_rest();
        assert!(
            world.message(LocksHeld).contains("nobody has taken")
                || world.message(LocksHeld).contains("Nobody has taken"),
            "{}",
            world.message(LocksHeld)
        );
    }
}

#[test]
fn polling_judges_only_what_it_can_see() {
    let mut world = hourly();
    world.cut();
    world.mend(Mode::Polling);
    world.advance(HOUR * 3);
    assert_eq!(
        (world.held(), world.said()),
        ("AllHeld", vec![]),
        "nothing was seen yet"
    );
    an_hour(&mut world);
    an_hour(&mut world);
    world.advance(secs(70));
    assert_eq!(world.held(), "LocksOverdue");
    world.at_rest();
}

#[test]
fn a_job_that_hangs_is_overdue_although_it_holds_its_lock() {
    let mut world = World::new(&spec(
        &["x"],
        &json!({ "hold": "Intermittent", "every": "1h", "maxHold": "30m" }),
    ));
    world.advance(secs(10));
    world.take("x", A);
    world.advance(HOUR + secs(25));
    assert_eq!(world.held(), "Overheld");
    world.restart();
    world.advance(HOUR + secs(33));
    assert_eq!(world.held(), "LocksOverdue", "renewals are no takes");
    assert!(
        world.message(LocksHeld).contains(&format!("{A} holds it still")),
        "{}",
        world.message(LocksHeld)
    );
    assert_eq!(row(&world, "x").flags, [Flag::Overheld]);
    world.at_rest();
    world.restart();
    world.advance(secs(10));
    assert_eq!(world.held(), "LocksOverdue");
    world.cut();
    world.advance(secs(60));
    world.mend(Mode::Tracking);
    world.advance(secs(3));
    assert_eq!(world.held(), "LocksOverdue", "the same holder again is no take");
    let said = world.said();
    assert_eq!(
        said,
        [
            E::LockOverheld,
            E::LocksOverdue,
            E::StoreUnreachable,
            E::StoreReachable
        ]
    );
    world.take("x", B);
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld");
    world.at_rest();
}

#[test]
fn a_job_that_runs_twice_is_said_once_and_advised_on_for_an_hour() {
    let mut world = hourly();
    an_hour(&mut world);
    let codes = |world: &World| {
        let advice = world.status().advisories.iter();
        advice
            .filter(|advice| advice.code == "LockRepeated")
            .map(|advice| advice.message.clone())
            .collect::<Vec<_>>()
    };
    run(&mut world, "x", A, 5);
    run(&mut world, "y", A, 5);
    world.advance(secs(2));
    assert_eq!(codes(&world), [""; 0]);
    run(&mut world, "x", B, 5);
    world.advance(secs(3));
    assert_eq!(world.held(), "AllHeld", "it is no state that could be put right");
    assert_eq!(world.said(), [E::LockRepeated]);
    let note = world.events[0].note.clone();
    for part in ["x (set jobs)", A, B, "1h"] {
        assert!(note.contains(part), "{part}: {note}");
    }
    let said = codes(&world);
    assert!(
        said[0].contains("x (set jobs)") && !said[0].contains("y (set"),
        "{said:?}"
    );
    world.at_rest();
    world.restart();
    world.at_rest();
    assert_eq!(codes(&world), said);
    world.advance(HOUR.saturating_sub(secs(60)));
    run(&mut world, "x", A, 5);
    run(&mut world, "y", A, 5);
    assert_eq!(codes(&world), said);
    world.advance(secs(60));
    assert_eq!(codes(&world), [""; 0]);
    assert_eq!(world.said(), [E::LockRepeated]);
    world.at_rest();
}

#[test]
fn work_that_runs_more_often_than_every_says_is_one_event_not_many() {
    let mut world = hourly();
    for _ in 0..30 {
        run(&mut world, "x", A, 5);
        run(&mut world, "y", B, 5);
        world.advance(secs(590));
    }
    let first: Vec<_> = world.said();
    assert_eq!(
        first,
        [E::LockRepeated, E::LockRepeated],
        "two locks, 5 min apart"
    );
    world.at_rest();
}

#[test]
fn who_first_sees_a_holder_does_not_know_when_it_took_the_lock() {
    let mut world = hourly();
    an_hour(&mut world);
    let value = format!("ADDED:2026-03-01T12:00:00Z@{A}");
    world.put(&World::key("x"), value, Some(secs(600)), false);
    world.advance(secs(10));
    world.restart();
    world.advance(secs(10));
    world.release("x");
    world.advance(secs(5));
    run(&mut world, "x", B, 5);
    world.advance(secs(3));
    assert_eq!(world.said(), []);
    // A renewal is no take either.
    let value = format!("ADDED:2026-03-01T13:00:00Z@{A}");
    world.put(&World::key("y"), value, Some(secs(60)), true);
    world.advance(secs(100));
    assert_eq!(world.said(), []);
}
