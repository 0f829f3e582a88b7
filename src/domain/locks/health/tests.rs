use std::collections::HashMap;

use super::*;

/// INFO of a healthy server, Redis 7.0.15, with these fields otherwise; an empty value: without it.
fn info(changes: &[(&str, &str)]) -> Box<Vital> {
    let mut fields: HashMap<&str, &str> = [
        ("server_time_usec", "1795243371724559"),
        ("connected_clients", "8"),
        ("cluster_connections", "0"),
        ("maxclients", "100"),
        ("used_memory", "1000"),
        ("mem_not_counted_for_evict", "0"),
        ("maxmemory", "0"),
        ("maxmemory_policy", "noeviction"),
        ("rdb_changes_since_last_save", "5"),
        ("rdb_bgsave_in_progress", "0"),
        ("rdb_last_save_time", "1795243000"),
        ("rdb_last_bgsave_status", "ok"),
        ("aof_enabled", "0"),
        ("aof_last_write_status", "ok"),
        ("rejected_connections", "0"),
        ("connected_slaves", "1"),
        ("slave0", "ip=10.0.0.2,port=6379,state=online,offset=84,lag=1"),
    ]
    .into();
    fields.extend(changes.iter().copied());
    Box::new(Vital::of(|name| {
        fields.get(name).copied().filter(|value| !value.is_empty())
    }))
}

fn at(seconds: u64) -> Mono {
    Mono(Duration::from_secs(1000 + seconds))
}

fn connected(changes: &[(&str, &str)]) -> Vitals {
    let mut vitals = Vitals::default();
    assert!(vitals.health().is_none());
    vitals.take(Sign::Connected(info(changes), true), at(0));
    vitals
}

fn ping(vitals: &mut Vitals, millis: u64, seconds: u64) -> bool {
    let beat = Sign::Beat {
        pong: Pong::Fine,
        round_trip: Duration::from_millis(millis),
        tells_time: true,
    };
    vitals.take(beat, at(seconds))
}

fn pong(vitals: &mut Vitals, pong: Pong, seconds: u64) {
    let beat = Sign::Beat {
        pong,
        round_trip: Duration::from_millis(1),
        tells_time: pong != Pong::Refused,
    };
    vitals.take(beat, at(seconds));
}

fn told(vitals: &Vitals) -> Health {
    Health::clone(vitals.health().unwrap())
}

/// What is judged from INFO as it is at the connection's beginning, field by field.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn info_is_read_field_by_field() {
    let well = Health {
        alone: Some(false),
        persistence: Some(Persistence::Kept),
        ..Health::default()
    };
    let evicts = |policy| Health {
        evicts: Some(policy),
        ..well.clone()
    };
    let refuses = |refusal| Health {
        refuses: vec![refusal],
        ..well.clone()
    };
    let alone = Health {
        alone: Some(true),
        ..well.clone()
    };
    let persistence = |persistence| Health {
        persistence,
        ..well.clone()
    };
    let unseen = |what| Health {
        unseen: vec![what],
        ..well.clone()
    };
    let cases: &[(&[(&str, &str)], Health)] = &[
        (&[], well.clone()),
        (&[("maxmemory_policy", "allkeys-lru")], well.clone()),
        (
            &[("maxmemory", "5000"), ("maxmemory_policy", "allkeys-lru")],
            evicts("allkeys-lru"),
        ),
        (
            &[("maxmemory", "5000"), ("maxmemory_policy", "volatile-ttl")],
            evicts("volatile-ttl"),
        ),
        (
            &[("maxmemory", "5000"), ("maxmemory_policy", "<b>new</b>")],
            evicts("another than noeviction"),
        ),
        (&[("maxmemory", "1000")], well.clone()),
        (&[("maxmemory", "999")], refuses(Refusal::MemoryFull)),
        (
            &[("maxmemory", "999"), ("mem_not_counted_for_evict", "1")],
            well.clone(),
        ),
        // An eviction policy makes room.
        (
            &[("maxmemory", "999"), ("maxmemory_policy", "volatile-lru")],
            evicts("volatile-lru"),
        ),
        // What was refused before this connection is no news.
        (&[("errorstat_OOM", "count=9")], well.clone()),
        (&[("rejected_connections", "3")], well.clone()),
        (&[("connected_clients", "89")], well.clone()),
        (&[("connected_clients", "90")], refuses(Refusal::ClientsNearLimit)),
        (
            &[("connected_clients", "80"), ("cluster_connections", "10")],
            refuses(Refusal::ClientsNearLimit),
        ),
        (
            &[("min_slaves_good_slaves", "0")],
            refuses(Refusal::TooFewReplicas),
        ),
        (&[("min_slaves_good_slaves", "1")], well.clone()),
        (&[("connected_slaves", "0"), ("slave0", "")], alone.clone()),
        (
            &[("slave0", "ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0")],
            alone.clone(),
        ),
        (
            &[("slave0", "ip=10.0.0.2,port=6379,state=online,offset=84,lag=31")],
            alone,
        ),
        // Replicas that are only counted.
        (&[("slave0", "")], well.clone()),
        // A failed snapshot: whether writes are stopped says PING.
        (
            &[("rdb_last_bgsave_status", "err")],
            persistence(Some(Persistence::Failed)),
        ),
        (
            &[("rdb_last_bgsave_status", "err"), ("aof_enabled", "1")],
            well.clone(),
        ),
        (
            &[("aof_enabled", "1"), ("aof_last_write_status", "err")],
            refuses(Refusal::DiskFailed),
        ),
        (&[("aof_last_write_status", "err")], well.clone()),
        (
            &[("rdb_last_save_time", "1795236171")],
            persistence(Some(Persistence::Unsaved)),
        ),
        (&[("rdb_last_save_time", "1795236172")], well.clone()),
        (
            &[("rdb_last_save_time", "1"), ("rdb_changes_since_last_save", "0")],
            well.clone(),
        ),
        (
            &[("rdb_last_save_time", "1"), ("rdb_bgsave_in_progress", "1")],
            well.clone(),
        ),
        (&[("rdb_last_save_time", "1"), ("aof_enabled", "1")], well.clone()),
        (&[("aof_enabled", "")], persistence(None)),
        (&[("maxmemory", "")], unseen(Unseen::Memory)),
        // Without a limit no policy matters.
        (&[("maxmemory_policy", "")], well.clone()),
        (
            &[("maxmemory", "5000"), ("maxmemory_policy", "")],
            unseen(Unseen::Memory),
        ),
        (
            &[("maxmemory", "5000"), ("used_memory", "")],
            unseen(Unseen::Memory),
        ),
        (&[("maxclients", "")], unseen(Unseen::Clients)),
        (
            &[("connected_slaves", "")],
            Health {
                alone: None,
                ..unseen(Unseen::Replicas)
            },
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(told(&connected(changes)), *expected, "{changes:?}");
    }
}

#[test]
fn numbers_that_go_up_and_down_are_no_change() {
    let mut vitals = connected(&[]);
    let before = Arc::clone(vitals.health().unwrap());
    for (second, used) in [(10, "2000"), (20, "1500"), (30, "999999")] {
        let next = info(&[("used_memory", used), ("connected_clients", "50")]);
        assert!(!vitals.take(Sign::Vital(next), at(second)));
        assert!(!ping(&mut vitals, second, second + 2));
    }
    assert!(Arc::ptr_eq(&before, vitals.health().unwrap()));
    let limited = info(&[("maxmemory", "5000"), ("maxmemory_policy", "allkeys-lfu")]);
    assert!(vitals.take(Sign::Vital(limited), at(40)));
}

#[test]
fn the_median_of_thirty_pings_is_slow_after_a_minute_above_and_fast_again_below_another_limit() {
    let mut vitals = connected(&[]);
    let mut second = 0;
    let mut beat = |vitals: &mut Vitals, millis: u64| {
        second += 2;
        ping(vitals, millis, second);
        (told(vitals).slow, second)
    };
    for count in 1..PINGS {
        assert_eq!(beat(&mut vitals, 500).0, None, "after {count}");
    }
    // From here on there is a median, which is slow from the first.
    let (slow, first) = beat(&mut vitals, 500);
    assert_eq!(slow, Some(false));
    loop {
        let (slow, now) = beat(&mut vitals, 11);
        assert_eq!(slow, Some(now >= first + 60), "{} s later", now - first);
        if slow == Some(true) {
            break;
        }
    }
    // Between the two limits nothing changes.
    for _ in 0..2 * PINGS {
        assert_eq!(beat(&mut vitals, 9).0, Some(true));
    }
    for _ in 0..PINGS / 2 - 1 {
        assert_eq!(beat(&mut vitals, 1).0, Some(true));
    }
    // Half of them: the median is between 1 and 9.
    assert_eq!(beat(&mut vitals, 1).0, Some(false));
    // A minute of which not every moment was slow doesn't count.
    for round in 0..3 {
        for _ in 0..PINGS {
            assert_eq!(beat(&mut vitals, 10).0, Some(false), "round {round}");
        }
        for _ in 0..PINGS - 2 {
            assert_eq!(beat(&mut vitals, 11).0, Some(false), "round {round}");
        }
    }
}

#[test]
fn single_slow_answers_are_nothing() {
    let mut vitals = connected(&[]);
    for beat in 0..300 {
        ping(&mut vitals, if beat % 2 == 0 { 2 } else { 1900 }, beat * 2);
        // Half of them slow: that is the limit, and the mean of the two in the middle is above it.
        if beat % 3 == 0 {
            ping(&mut vitals, 2, beat * 2);
        }
    }
    assert_eq!(told(&vitals).slow, Some(false));
}

#[test]
fn a_clock_that_was_set_is_said_for_ten_minutes() {
    let mut vitals = connected(&[]);
    assert_eq!(told(&vitals).clock_jumped, None, "too early");
    assert!(vitals.take(Sign::ClockJump, at(5)));
    for second in [6, 300, 604] {
        ping(&mut vitals, 1, second);
        assert_eq!(told(&vitals).clock_jumped, Some(true), "{second}");
    }
    ping(&mut vitals, 1, 605);
    assert_eq!(told(&vitals).clock_jumped, Some(false));

    let mut vitals = connected(&[]);
    ping(&mut vitals, 1, 599);
    assert_eq!(told(&vitals).clock_jumped, None);
    ping(&mut vitals, 1, 600);
    assert_eq!(told(&vitals).clock_jumped, Some(false), "watched for ten minutes");
}

#[test]
fn memory_that_is_full_now_and_then_is_full_until_a_minute_went_without() {
    let limited = |used, refused| {
        info(&[
            ("maxmemory", "5000"),
            ("used_memory", used),
            ("errorstat_OOM", refused),
        ])
    };
    let mut vitals = Vitals::default();
    vitals.take(Sign::Connected(limited("4999", "count=3"), true), at(0));
    assert_eq!(told(&vitals).refuses, []);
    // Refused, although there was room again when INFO was asked.
    vitals.take(Sign::Vital(limited("4999", "count=4")), at(10));
    assert_eq!(told(&vitals).refuses, [Refusal::MemoryFull]);
    vitals.take(Sign::Vital(limited("5001", "count=4")), at(20));
    for second in [30, 60, 79] {
        vitals.take(Sign::Vital(limited("4000", "count=4")), at(second));
        assert_eq!(told(&vitals).refuses, [Refusal::MemoryFull], "{second}");
    }
    ping(&mut vitals, 1, 80);
    assert_eq!(told(&vitals).refuses, []);
    // Another server has counted otherwise.
    vitals.take(Sign::Connected(limited("4000", "count=400"), true), at(90));
    assert_eq!(told(&vitals).refuses, []);
}

#[test]
fn writes_that_are_stopped_by_the_disk_are_told_by_ping_alone() {
    let failed = [("rdb_last_bgsave_status", "err")];
    let mut vitals = connected(&failed);
    pong(&mut vitals, Pong::Fine, 2);
    assert_eq!(told(&vitals).refuses, [], "stop-writes-on-bgsave-error no");
    pong(&mut vitals, Pong::DiskFailed, 4);
    assert_eq!(told(&vitals).refuses, [Refusal::DiskFailed]);
    pong(&mut vitals, Pong::Fine, 6);
    assert_eq!(told(&vitals).refuses, [], "a snapshot succeeded");
    pong(&mut vitals, Pong::Refused, 8);
    assert_eq!(told(&vitals).unseen, [Unseen::Ping, Unseen::Clock]);
    assert_eq!(told(&vitals).refuses, []);
}

#[test]
fn how_many_replicas_are_too_few_is_learned_from_what_is_refused() {
    let following = |good, refused| {
        info(&[
            ("min_slaves_good_slaves", good),
            ("errorstat_NOREPLICAS", refused),
        ])
    };
    let mut vitals = Vitals::default();
    vitals.take(Sign::Connected(following("1", "count=7"), true), at(0));
    assert_eq!(told(&vitals).refuses, [], "whether one is enough isn't shown");
    vitals.take(Sign::Vital(following("1", "count=8")), at(10));
    assert_eq!(told(&vitals).refuses, [Refusal::TooFewReplicas]);
    vitals.take(Sign::Vital(following("1", "count=8")), at(20));
    assert_eq!(told(&vitals).refuses, [Refusal::TooFewReplicas]);
    vitals.take(Sign::Vital(following("2", "count=8")), at(30));
    assert_eq!(told(&vitals).refuses, [], "one more than were too few");
    vitals.take(Sign::Vital(following("0", "count=8")), at(40));
    assert_eq!(
        told(&vitals).refuses,
        [Refusal::TooFewReplicas],
        "none is never enough"
    );
    vitals.take(Sign::Vital(info(&[])), at(50));
    assert_eq!(told(&vitals).refuses, [], "min-replicas-to-write was taken back");
}

#[test]
fn a_client_that_was_turned_away_counts_though_there_is_room_again() {
    let mut vitals = connected(&[("rejected_connections", "3")]);
    vitals.take(Sign::Vital(info(&[("rejected_connections", "4")])), at(10));
    assert_eq!(told(&vitals).refuses, [Refusal::ClientsNearLimit]);
    vitals.take(Sign::Vital(info(&[("rejected_connections", "4")])), at(70));
    assert_eq!(told(&vitals).refuses, []);
}

#[test]
fn a_replica_may_restart_unless_there_never_was_one() {
    let none = || info(&[("connected_slaves", "0"), ("slave0", "")]);
    let mut vitals = connected(&[]);
    for second in [10, 40, 69] {
        vitals.take(Sign::Vital(none()), at(second));
        assert_eq!(told(&vitals).alone, Some(false), "{second}");
    }
    vitals.take(Sign::Vital(none()), at(70));
    assert_eq!(told(&vitals).alone, Some(true));
    vitals.take(Sign::Vital(info(&[])), at(80));
    assert_eq!(told(&vitals).alone, Some(false));
    // After a failover the replicas come to their new master one by one.
    vitals.take(Sign::Connected(none(), true), at(90));
    assert_eq!(told(&vitals).alone, Some(false));
    ping(&mut vitals, 1, 150);
    assert_eq!(told(&vitals).alone, Some(true));
}

#[test]
fn of_several_servers_the_worst_counts() {
    let known = Health {
        clock_jumped: Some(false),
        slow: Some(false),
        alone: Some(false),
        persistence: Some(Persistence::Kept),
        ..Health::default()
    };
    let bad = Health {
        clock_jumped: Some(true),
        evicts: Some("allkeys-lru"),
        refuses: vec![Refusal::DiskFailed],
        alone: None,
        outvoted: Some(true),
        slow: None,
        persistence: Some(Persistence::Failed),
        unseen: vec![Unseen::Clients],
    };
    let other = Health {
        refuses: vec![Refusal::MemoryFull, Refusal::DiskFailed],
        unseen: vec![Unseen::Clock],
        alone: Some(true),
        ..known.clone()
    };
    let [known, bad, other] = [known, bad, other].map(Arc::new);
    assert_eq!(Health::worst([]), None);
    assert!(Arc::ptr_eq(&Health::worst([&known, &known]).unwrap(), &known));
    assert_eq!(Health::worst([&known, &bad]), Health::worst([&bad, &known]));
    assert_eq!(
        *Health::worst([&known, &bad, &other]).unwrap(),
        Health {
            refuses: vec![Refusal::MemoryFull, Refusal::DiskFailed],
            unseen: vec![Unseen::Clock, Unseen::Clients],
            alone: Some(true),
            ..Health::clone(&bad)
        }
    );
}
