use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use super::*;
use crate::domain::locks::{Link, Mode, Mono, Observation, Trouble};

const NOW: i64 = 1_800_000_000;

fn spec(redis: &Value) -> CoordinatedWorkloadSpec {
    serde_json::from_value(json!({ "template": {}, "redis": redis })).unwrap()
}

fn plain() -> CoordinatedWorkloadSpec {
    spec(&json!({ "url": "redis://redis:6379" }))
}

fn behind_sentinels() -> CoordinatedWorkloadSpec {
    spec(&json!({ "sentinel": { "masterName": "m", "endpoints": ["sentinel:26379"] } }))
}

fn clustered() -> CoordinatedWorkloadSpec {
    spec(&json!({ "cluster": { "endpoints": ["redis:6379"] } }))
}

fn store(health: Option<Health>) -> StoreView {
    StoreView {
        place: "redis:6379 (database 0)".into(),
        port: Some(6379),
        identity: 1,
        seen: Ok(Observation {
            at: Mono(Duration::from_secs(9)),
            link: Link::Connecting {
                since: Mono::default(),
                trouble: None,
            },
            hidden: None,
            health: health.map(Arc::new),
            keys: vec![],
            discovered: vec![],
        }),
    }
}

fn clear() -> Sight {
    Sight::Clear {
        mode: Mode::Tracking,
        version: None,
        missing: None,
        hidden: None,
    }
}

/// A status that says this, since the beginning of the hour.
fn status(said: Option<(&str, Reason, &str)>) -> CoordinatedWorkloadStatus {
    let conditions = said.map(|(status, reason, message)| Condition {
        type_: "StoreSafe".into(),
        status: status.into(),
        reason: reason.to_string(),
        message: message.into(),
        observed_generation: Some(1),
        last_transition_time: Time(Timestamp::from_second(NOW - 600).unwrap()),
    });
    CoordinatedWorkloadStatus {
        conditions: conditions.into_iter().collect(),
        ..CoordinatedWorkloadStatus::default()
    }
}

fn judged(spec: &CoordinatedWorkloadSpec, health: Health, said: Option<(&str, Reason, &str)>) -> Verdict {
    let now = Timestamp::from_millisecond(NOW * 1000 + 900).unwrap();
    verdict(spec, &store(Some(health)), &clear(), &status(said), now)
}

fn everything_wrong() -> Health {
    Health {
        clock_jumped: Some(true),
        evicts: Some("volatile-lru"),
        refuses: vec![Refusal::MemoryFull, Refusal::ClientsNearLimit],
        alone: Some(true),
        outvoted: Some(true),
        slow: Some(true),
        persistence: None,
        unseen: vec![Unseen::Ping],
    }
}

#[test]
fn the_worst_is_said_first_and_what_is_seen_wins_over_what_is_not() {
    let mut health = everything_wrong();
    let sentinels = behind_sentinels();
    let mut said = vec![];
    let mut say = |health: &Health| {
        let verdict = judged(&sentinels, health.clone(), None);
        said.push((verdict.truth, verdict.reason.into_owned()));
    };
    say(&health);
    health.clock_jumped = Some(false);
    say(&health);
    health.evicts = None;
    say(&health);
    health.refuses.clear();
    say(&health);
    (health.alone, health.outvoted) = (Some(false), Some(false));
    say(&health);
    health.slow = Some(false);
    say(&health);
    health.unseen.clear();
    say(&health);
    let expected = [
        (Truth::False, "ClockJump"),
        (Truth::False, "EvictionPolicy"),
        (Truth::False, "RefusesWrites"),
        (Truth::False, "NoFailover"),
        (Truth::False, "Slow"),
        (Truth::Unknown, "NotCheckable"),
        (Truth::True, "Safe"),
    ]
    .map(|(truth, reason)| (truth, reason.to_owned()));
    assert_eq!(said, expected);
}

#[test]
fn a_replica_matters_only_where_something_could_fail_over() {
    let alone = Health {
        alone: Some(true),
        unseen: vec![],
        ..Health::default()
    };
    let hidden = Health {
        unseen: vec![Unseen::Replicas],
        ..Health::default()
    };
    for (spec, without, unseen) in [
        (plain(), Reason::Safe, Reason::Safe),
        (behind_sentinels(), Reason::NoFailover, Reason::NotCheckable),
        (clustered(), Reason::NoFailover, Reason::NotCheckable),
    ] {
        assert!(judged(&spec, alone.clone(), None).is(without), "{spec:?}");
        assert!(judged(&spec, hidden.clone(), None).is(unseen), "{spec:?}");
    }
}

#[test]
fn sentinels_that_are_too_few_are_no_failover_and_a_new_process_waits_for_their_word() {
    let health = |outvoted| Health {
        outvoted,
        ..Health::default()
    };
    let lost = judged(&behind_sentinels(), health(Some(true)), None);
    assert!(
        lost.is(Reason::NoFailover) && lost.message.contains("CKQUORUM"),
        "{lost:?}"
    );
    let told = Some(("False", Reason::NoFailover, "too few"));
    let next = |outvoted| judged(&behind_sentinels(), health(outvoted), told);
    assert!(next(None).is(Reason::NoFailover));
    assert!(next(Some(false)).is(Reason::Safe));
}

#[test]
fn a_message_names_what_since_when_why_and_what_next() {
    let new = judged(&plain(), everything_wrong(), None).message;
    assert!(new.contains("not safe since 2027-01-15T08:00:00Z"), "{new}");
    // The reason changes, the moment at which it was no longer safe doesn't.
    let mut health = everything_wrong();
    health.clock_jumped = Some(false);
    let before = Some(("False", Reason::ClockJump, "x"));
    assert_eq!(
        judged(&plain(), health.clone(), before).message,
        "Redis at redis:6379 (database 0) has a memory limit and the maxmemory-policy volatile-lru; not safe since \
         2027-01-15T07:50:00Z. When memory is full it evicts locks that are held, and another pod takes them beside the \
         holder. Next: set maxmemory-policy noeviction, or keep the locks on a server of their own."
    );
    health.evicts = None;
    assert_eq!(
        judged(&plain(), health, before).message,
        "Redis at redis:6379 (database 0) refuses writes, or is about to: memory is full under noeviction; nine tenths of \
         maxclients are connected, or a client was turned away; not safe since 2027-01-15T07:50:00Z. Locks can be \
         neither taken nor renewed then, and run out while their holders work. Next: raise maxmemory, or delete what \
         takes it (MEMORY STATS); find who opens so many connections (CLIENT LIST), or raise maxclients."
    );
    let hidden = Health {
        unseen: vec![Unseen::Ping, Unseen::Clock, Unseen::Replicas],
        ..Health::default()
    };
    assert_eq!(
        judged(&plain(), hidden, None).message,
        "Redis at redis:6379 (database 0) shows nothing wrong, but keeps to itself: PING (+ping) and TIME (+time). Next: grant the documented least rights."
    );
}

/// A process that has just started knows no medians and no clock of before.
#[test]
fn what_cant_be_told_yet_stays_as_it_was_said() {
    let young = Health::default();
    for reason in [Reason::ClockJump, Reason::Slow] {
        let before = Some(("False", reason, "told"));
        let told = judged(&plain(), young.clone(), before);
        assert_eq!(
            (told.truth, told.message.as_str()),
            (Truth::False, "told"),
            "{reason}"
        );
        assert!(told.is(reason));
        let old = Health {
            clock_jumped: Some(false),
            slow: Some(false),
            ..Health::default()
        };
        assert!(judged(&plain(), old, before).is(Reason::Safe));
        // Who may no longer look can't confirm it either.
        let blind = Health {
            unseen: vec![Unseen::Ping, Unseen::Clock],
            ..Health::default()
        };
        assert!(
            judged(&plain(), blind, before).is(Reason::NotCheckable),
            "{reason}"
        );
        // What is known is known at once.
        let evicts = Health {
            evicts: Some("allkeys-lfu"),
            slow: None,
            clock_jumped: Some(false),
            ..Health::default()
        };
        assert!(judged(&plain(), evicts, before).is(Reason::EvictionPolicy));
    }
    for reason in [
        Reason::EvictionPolicy,
        Reason::RefusesWrites,
        Reason::NoFailover,
        Reason::Safe,
    ] {
        let verdict = judged(&plain(), young.clone(), Some(("False", reason, "told")));
        assert!(verdict.is(Reason::Safe), "{reason}");
    }
}

#[test]
fn without_a_complete_answer_it_stays_for_a_while_and_is_unknown_then() {
    let now = Timestamp::from_second(NOW).unwrap();
    let (spec, view) = (plain(), store(Some(everything_wrong())));
    let before = status(Some(("True", Reason::Safe, "told")));
    let pending = verdict(&spec, &view, &Sight::Pending, &before, now);
    assert!(pending.is(Reason::Safe) && pending.message == "told");
    let blind = Sight::Blind {
        trouble: Trouble::Timeout,
        since: now,
    };
    let nothing = status(None);
    for verdict in [
        verdict(&spec, &view, &Sight::Pending, &nothing, now),
        verdict(&spec, &view, &blind, &before, now),
        verdict(&spec, &store(None), &clear(), &before, now),
        verdict(
            &spec,
            &StoreView {
                seen: Err(Trouble::SecretNotFound),
                ..view.clone()
            },
            &blind,
            &before,
            now,
        ),
    ] {
        assert!(verdict.is(Reason::NotCheckable) && verdict.truth == Truth::Unknown);
    }
}
