//! Sets whose owners can't be told.

use serde_json::{Value, json};

use super::*;
use crate::domain::locks::{
    Discovered, End, Evidence, Hold, HolderValue, KeySnapshot, KeyState, Link, Mode, Observation, Text,
    probe::Probe,
};
use AdvisoryCode::OwnersNotTold;

fn of(sets: &Value) -> Case {
    Case::of(&[("/locks", sets.clone())])
}

fn intermittent(name: &str, dialect: &str, lock: &str) -> Value {
    // Short enough for the default grace period, and longer than RedBeat's renewals.
    let ttl = if dialect == "RedBeat" { "25m" } else { "30s" };
    json!({ "name": name, "hold": "Intermittent", "dialect": dialect, "names": [lock], "ttl": ttl })
}

#[test]
fn libraries_that_never_say_who_holds_are_named_with_what_helps() {
    for (dialect, line) in [
        ("Redlock", "_random"),
        ("Bull", "queue.token"),
        ("Redisson", "redisson.getId()"),
        ("SpringIntegration", "redis.opsForHash()"),
        ("RedisPy", "lock.acquire(token="),
        ("RedBeat", "beat_init.connect"),
        ("Laravel", "Cache::lock("),
    ] {
        let case = of(&json!([intermittent("cron", dialect, "hourly")]));
        let message = case.message(OwnersNotTold);
        let (set, with) = (format!("in set cron ({dialect}): "), format!("With {dialect}: "));
        assert_says(
            &message,
            &[&set, &with, line, "dialect: Custom", "See docs/dialects.md."],
        );
    }
    for dialect in ["Rigatoni", "ShedLock", "DistributedLockNet", "BullMQ"] {
        none(&[("/locks", json!([intermittent("cron", dialect, "hourly")]))]);
    }
}

#[test]
fn several_sets_are_one_piece_of_advice_and_each_library_is_explained_once() {
    let sets = [
        intermittent("a", "RedisPy", "x"),
        intermittent("b", "RedisPy", "y"),
        intermittent("c", "Laravel", "z"),
    ];
    let message = of(&json!(sets)).message(OwnersNotTold);
    assert_says(&message, &["set a (RedisPy), set b (RedisPy), set c (Laravel):"]);
    assert_eq!(message.matches("With RedisPy").count(), 1, "{message}");
    assert!(message.ends_with("See docs/dialects.md."), "{message}");
}

#[test]
fn a_pattern_without_an_owner_tells_none() {
    let custom = |holder: Value| {
        let mut set = intermittent("own", "Custom", "x");
        set["holder"] = holder;
        json!([set])
    };
    let message = of(&custom(json!({ "pattern": "(?<holder>.+)" }))).message(OwnersNotTold);
    assert_says(&message, &["set own (Custom)", "give holder.pattern a group"]);
    none(&[("/locks", custom(json!({ "pattern": "(?<owner>.+)" })))]);
    none(&[("/locks", custom(json!({ "registry": { "key": "{holder}" } })))]);
}

/// A hold with or without something beside it.
fn hold(beside: bool, renewed: bool) -> Hold {
    let value = HolderValue(b"x".as_slice().into());
    Hold {
        text: Text::One(value.clone()),
        beside: beside.then(|| value.clone()),
        value,
        first_seen: Mono::default(),
        seen_taken: true,
        last_answer: Mono::default(),
        last_renewed: renewed.then(Mono::default),
        deadline: None,
        uncertainty: std::time::Duration::ZERO,
        no_expiry: false,
        largest_ttl: None,
    }
}

fn key(now: Option<Hold>, before: &[Hold]) -> KeySnapshot {
    let since = Mono::default();
    KeySnapshot {
        probe: Probe::string(b"x").into(),
        state: now.map_or(KeyState::Absent { since }, KeyState::Held),
        ends: before
            .iter()
            .map(|hold| End {
                seq: 1,
                hold: hold.clone(),
                ended: since,
                noticed: since,
                watched: true,
                shortened: false,
                evidence: Evidence::default(),
            })
            .collect(),
        touched: None,
    }
}

fn sees(case: &mut Case, keys: Vec<KeySnapshot>, discovered: Vec<Vec<KeySnapshot>>) {
    let found = |keys| Discovered { keys, more: false };
    case.store = Some(StoreView {
        place: String::new(),
        port: Some(6379),
        identity: 1,
        seen: Ok(Observation {
            at: Mono::default(),
            link: Link::Up {
                since: Mono::default(),
                mode: Mode::Tracking,
                version: None,
            },
            hidden: None,
            health: None,
            keys,
            discovered: discovered.into_iter().map(found).collect(),
        }),
    });
}

#[test]
fn workers_without_a_name_are_told_by_what_stands_beside_their_locks() {
    let sets = json!([intermittent("jobs", "BullMQ", "q"), set("others", &["x"])]);
    let silent = || hold(false, false);
    for (jobs, said) in [
        (vec![], None),
        (vec![key(Some(silent()), &[])], None),
        // Released while it was read, or a job of another worker: not by itself.
        (vec![key(Some(silent()), &[silent()])], None),
        (vec![key(Some(silent()), &[silent(), silent()])], Some(true)),
        (
            vec![key(None, &[silent(), silent()]), key(Some(silent()), &[])],
            Some(true),
        ),
        (vec![key(Some(hold(false, true)), &[])], Some(true)),
        (vec![key(Some(hold(true, false)), &[])], Some(false)),
        (
            vec![key(Some(silent()), &[silent(), silent(), hold(true, false)])],
            Some(false),
        ),
    ] {
        let mut case = of(&sets);
        sees(
            &mut case,
            vec![key(Some(hold(false, true)), &[])],
            vec![jobs.clone()],
        );
        assert_eq!(
            case.codes().contains(&OwnersNotTold.as_str().to_owned()),
            said == Some(true),
            "{jobs:?}"
        );
        let mut unnamed = of(&sets);
        sees(
            &mut unnamed,
            vec![],
            vec![vec![key(Some(hold(false, true)), &[])]],
        );
        case.previous = unnamed.advice();
        let message = unnamed.message(OwnersNotTold);
        assert_says(&message, &["set jobs (BullMQ)", "name: process.env.POD_NAME"]);
        let stays = said != Some(false);
        assert_eq!(
            case.codes().contains(&OwnersNotTold.as_str().to_owned()),
            stays,
            "was said, {jobs:?}"
        );
        case.store = None;
        assert_eq!(case.advice(), unnamed.advice(), "blind: word by word");
    }
}

#[test]
fn a_registry_in_which_nobody_writes_is_noticed() {
    let mut own = intermittent("own", "Custom", "x");
    own["holder"] = json!({ "registry": { "key": "instances", "field": "{holder}" } });
    let sets = json!([set("others", &["y"]), own]);
    let mut case = of(&sets);
    let renewed = || key(Some(hold(false, true)), &[]);
    sees(&mut case, vec![renewed(), renewed()], vec![]);
    assert_says(
        &case.message(OwnersNotTold),
        &["in set own (Custom):", "write what holder points to"],
    );
    sees(
        &mut case,
        vec![renewed(), key(Some(hold(true, false)), &[])],
        vec![],
    );
    case.previous = case.advice();
    assert_eq!(case.codes(), [""; 0]);
}
