//! Timings of the lock sets, as written and as the locks show them.

use serde_json::{Value, json};

use super::*;
use crate::domain::locks::{
    Hold, HolderValue, KeySnapshot, KeyState, Link, Mode, Mono, Observation, Text, probe::Probe,
};

#[test]
fn work_must_fit_into_the_grace_period() {
    use AdvisoryCode::GraceShorterThanHold;
    let cron = |change: &Value| {
        let mut set = json!({ "name": "cron", "hold": "Intermittent", "dialect": "Custom", "names": ["hourly"],
            "holder": { "pattern": "(?<owner>.+)" } });
        for (field, value) in change.as_object().unwrap() {
            set[field] = value.clone();
        }
        ("/locks", json!([set]))
    };
    let grace = |seconds: u64| ("/template/spec/terminationGracePeriodSeconds", json!(seconds));
    let ttl = cron(&json!({ "ttl": "10m" }));
    let message = Case::of(std::slice::from_ref(&ttl)).message(GraceShorterThanHold);
    assert_says(
        &message,
        &[
            "ttl of set cron, which nobody renews, is 10m",
            "is 30 (the default)",
        ],
    );
    let message = Case::of(&[ttl.clone(), grace(599)]).message(GraceShorterThanHold);
    assert_says(&message, &["is 599:"]);
    none(&[ttl.clone(), grace(600)]);
    none(&[cron(&json!({ "ttl": "10m", "renewInterval": "1m" }))]);
    none(&[cron(&json!({}))]); // Whatever ttl is learned is no setting.

    let max_hold = ("/locks/0/maxHold", json!("1m"));
    let with_max_hold = |sets: (&'static str, Value), more: &[(&str, Value)]| {
        let mut changes = vec![sets];
        changes.extend(more.iter().cloned());
        Case::with(&changes, std::slice::from_ref(&max_hold))
    };
    let renewed = cron(&json!({ "ttl": "30s", "renewInterval": "10s" }));
    let message = with_max_hold(renewed.clone(), &[]).message(GraceShorterThanHold);
    assert_says(&message, &["maxHold of set cron is 1m"]);
    assert_eq!(with_max_hold(renewed, &[grace(60)]).codes(), [""; 0]);
    assert_eq!(
        with_max_hold(ttl, &[grace(60)]).codes(),
        [""; 0],
        "maxHold counts before ttl"
    );
    let continuous = Case::with(&[], &[max_hold]);
    assert_eq!(
        continuous.codes(),
        [""; 0],
        "a leader stops when it is told, however long it may lead"
    );
}

#[test]
fn renewals_should_leave_room_for_failures() {
    use AdvisoryCode::RenewIntervalLong;
    let custom = |ttl: &str, renew: &str| {
        let mut set = set("jobs", &["x", "y"]);
        set["dialect"] = json!("Custom");
        set["holder"] = json!({ "pattern": "(?<owner>.+)" });
        set["ttl"] = json!(ttl);
        set["renewInterval"] = json!(renew);
        set
    };
    let case = |ttl: &str, renew: &str| Case::of(&[("/locks", json!([custom(ttl, renew)]))]);
    let third = case("30s", "10s1ms").message(RenewIntervalLong);
    assert_says(
        &third,
        &[
            "renewInterval of set jobs is 10s1ms, more than a third of its ttl of 30s",
            "two renewals in a row",
        ],
    );
    assert_eq!(case("30s", "10s").codes(), [""; 0], "exactly a third is the rule");
    assert_says(
        &case("30s", "15s").message(RenewIntervalLong),
        &["more than a third"],
    );
    let half = case("30s", "15s1ms").message(RenewIntervalLong);
    assert_says(&half, &["more than half of its ttl", "a single renewal"]);

    // The worse first, in one entry.
    let mut worse = custom("30s", "20s");
    worse["name"] = json!("worse");
    worse["names"] = json!(["z"]);
    let both = Case::of(&[("/locks", json!([custom("30s", "12s"), worse]))]).message(RenewIntervalLong);
    assert!(
        both.starts_with("renewInterval of set worse is 20s, more than half"),
        "{both}"
    );

    // Rigatoni's own: 10s of 30s, and the same share of another ttl.
    none(&[("/locks/0/ttl", json!("30s"))]);
    none(&[
        ("/locks/0/ttl", json!("1m")),
        ("/locks/0/renewInterval", json!("20s")),
    ]);
    let slower = ("/locks/0/renewInterval", json!("14s"));
    assert_says(&Case::of(&[slower]).message(RenewIntervalLong), &["14s", "30s"]);
}

#[test]
fn sets_that_this_version_cannot_observe_are_advised_on_as_far_as_they_are_known() {
    let jobs = json!({ "name": "jobs", "hold": "Intermittent", "dialect": "BullMQ", "names": ["q"], "ttl": "30s", "renewInterval": "15s" });
    let cron = json!({ "name": "cron", "hold": "Intermittent", "dialect": "Redlock", "names": ["hourly"], "ttl": "10m",
        "maxHold": "10m", "every": "1h" });
    let grace = |seconds: u64| ("/template/spec/terminationGracePeriodSeconds", json!(seconds));
    let owners = "OwnersNotTold";
    assert_eq!(
        Case::of(&[("/locks", json!([jobs, cron])), grace(660)]).codes(),
        [owners]
    );
    let case = Case::of(&[("/locks", json!([jobs, cron])), grace(45)]);
    assert_eq!(case.codes(), ["GraceShorterThanHold", owners]);
    assert_says(
        &case.under(AdvisoryCode::GraceShorterThanHold).unwrap(),
        &["maxHold of set cron is 10m", "is 45:"],
    );
    // Whether this library renews by itself is not known.
    let redisson = [
        ("/locks/0/dialect", json!("Redisson")),
        ("/locks/0/ttl", json!("10m")),
    ];
    assert_eq!(Case::of(&redisson).codes(), [owners]);
    // Their locks count all the same.
    let leaders = ("/locks/0/dialect", json!("RedisPy"));
    assert_eq!(
        Case::of(&[leaders, ("/replicas", json!(3))]).codes(),
        [owners, "ReplicasExceedLocks"]
    );
}

const fn secs(secs: u64) -> std::time::Duration {
    std::time::Duration::from_secs(secs)
}

/// A lock with so much left at most, and whether the whole of it was in sight.
fn held(largest: Option<u64>, whole: bool) -> KeyState {
    KeyState::Held(Hold {
        value: HolderValue(b"web-0-5ec2e7ab-aaaa-4bbb-8ccc-0123456789ab".as_slice().into()),
        text: Text::One(HolderValue(
            b"web-0-5ec2e7ab-aaaa-4bbb-8ccc-0123456789ab".as_slice().into(),
        )),
        beside: None,
        first_seen: Mono(secs(100)),
        seen_taken: whole,
        last_answer: Mono(secs(100)),
        last_renewed: None,
        deadline: None,
        uncertainty: secs(0),
        no_expiry: largest.is_none(),
        largest_ttl: largest.map(secs),
    })
}

fn sees(case: &mut Case, states: &[KeyState]) {
    let keys = states.iter().map(|state| KeySnapshot {
        probe: Probe::string(b"x").into(),
        state: state.clone(),
        ends: vec![],
        touched: None,
    });
    case.store = Some(StoreView {
        place: String::new(),
        port: Some(6379),
        identity: 1,
        seen: Ok(Observation {
            at: Mono(secs(100)),
            link: Link::Up {
                since: Mono(secs(50)),
                mode: Mode::Tracking,
                version: None,
            },
            hidden: None,
            health: Some(std::sync::Arc::default()),
            discovered: vec![],
            keys: keys.collect(),
        }),
    });
}

#[test]
fn a_ttl_is_compared_with_what_the_locks_show() {
    let absent = KeyState::Absent { since: Mono(secs(1)) };
    let unknown = KeyState::Unknown;
    let (longer, shorter) = (
        "set jobs (ttl 30s, seen longer)",
        "set jobs (ttl 30s, seen shorter)",
    );
    let mut renewed = held(Some(10), false);
    let mut renewed_before = renewed.clone();
    for (hold, at) in [(&mut renewed, 51), (&mut renewed_before, 49)] {
        if let KeyState::Held(hold) = hold {
            hold.last_renewed = Some(Mono(secs(at)));
        }
    }
    for (states, expected, undecided) in [
        ([held(Some(60), false), absent.clone()], Some(longer), false),
        ([held(Some(60), true), held(Some(30), true)], Some(longer), false),
        ([held(Some(31), true), absent.clone()], None, false),
        ([held(Some(30), true), held(Some(5), true)], None, false),
        ([held(Some(18), true), absent.clone()], None, false),
        ([held(Some(10), true), absent.clone()], Some(shorter), false),
        ([renewed, absent.clone()], Some(shorter), false),
        // Renewed while nobody was connected: how long ago can't be told.
        ([renewed_before, absent.clone()], None, true),
        ([held(Some(10), false), absent.clone()], None, true),
        ([held(Some(30), true), held(Some(10), false)], None, true),
        ([held(Some(10), true), unknown], None, true),
        ([absent.clone(), absent.clone()], None, true),
        ([held(None, true), absent], None, true),
    ] {
        let mut case = Case::of(&[]);
        sees(&mut case, &states);
        if let Some(expected) = expected {
            assert_says(&case.message(AdvisoryCode::TtlDiffers), &[expected]);
        } else {
            assert_eq!(case.codes(), [""; 0], "{states:?}");
        }
        for part in [longer, shorter] {
            case.previous = vec![Advisory {
                code: "TtlDiffers".into(),
                message: format!("... of {part}: ..."),
            }];
            let stays = expected.map_or(undecided, |expected| expected == part);
            let said = case.advice().iter().any(|said| said.message.contains(part));
            assert_eq!(said, stays, "{part} was said, {states:?}");
        }
    }
}

#[test]
fn what_was_said_of_another_ttl_does_not_stay() {
    let mut case = Case::of(&[]);
    sees(&mut case, &[held(Some(60), true), KeyState::Unknown]);
    let before = case.advice();
    let mut corrected = Case::of(&[("/locks/0/ttl", json!("1m"))]);
    corrected.previous.clone_from(&before);
    assert_eq!(corrected.codes(), [""; 0]);
    let mut blind = Case::of(&[]);
    blind.previous = before.clone();
    assert_eq!(blind.advice(), before, "word by word");
    // A learned ttl is what is seen.
    let learned = json!({ "name": "jobs", "hold": "Continuous", "dialect": "Custom", "names": ["x", "y"], "holder": { "pattern": "(?<owner>.+)" } });
    let mut case = Case::of(&[("/locks", json!([learned, set("more", &["z"])]))]);
    sees(
        &mut case,
        &[held(Some(999), true), held(Some(1), true), held(Some(60), true)],
    );
    assert_says(
        &case.message(AdvisoryCode::TtlDiffers),
        &["set more (ttl 30s, seen longer):"],
    );
}

#[test]
fn more_locks_than_are_watched_are_not_passed_over() {
    let set = |name: &str, prefix: &str| json!({ "name": name, "hold": "Intermittent", "dialect": "Rigatoni", "discover": true, "keyPrefix": prefix });
    let mut case = Case::of(&[("/locks", json!([set("jobs", "jobs:"), set("jobs-2", "more:")]))]);
    let finds = |case: &mut Case, more: [bool; 2]| {
        sees(case, &[]);
        let Some(Ok(seen)) = case.store.as_mut().map(|store| store.seen.as_mut()) else {
            panic!("it was seen");
        };
        seen.discovered = more
            .map(|more| crate::domain::locks::Discovered { keys: vec![], more })
            .into();
    };
    case.now = Mono(secs(1000));
    finds(&mut case, [false, true]);
    let message = case.under(AdvisoryCode::LocksNotWatched).unwrap();
    assert_says(&message, &["100,000", "set jobs-2:"]);
    case.previous = case.advice();
    finds(&mut case, [false, false]);
    // A new connection has not looked through all of it.
    case.now = Mono(secs(60));
    assert_eq!(case.under(AdvisoryCode::LocksNotWatched), Some(message.clone()));
    case.store = None;
    assert_eq!(case.under(AdvisoryCode::LocksNotWatched), Some(message));
    finds(&mut case, [false, false]);
    case.now = Mono(secs(1000));
    assert_eq!(case.under(AdvisoryCode::LocksNotWatched), None);
    case.previous = case.advice();
    case.now = Mono(secs(60));
    assert_eq!(case.under(AdvisoryCode::LocksNotWatched), None);
}
