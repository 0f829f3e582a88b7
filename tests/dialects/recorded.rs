//! Values of libraries that don't run in these tests, and values that none of them writes.
//!
//! DistributedLock.Redis 2.8.1: `RedLockHelper.CreateLockId` makes `{MachineName}_{process id}_{GUID, format N}`, and
//! `SET key value NX PX` takes the lock. Laravel 13.26: `RedisLock::acquire` sends `SET key owner EX seconds NX`, or
//! `SETNX key owner` with 0 seconds; an owner that the application doesn't name is 16 random letters and digits.

use lockstep::api::status::{Flag, LockState};
use lockstep::domain::locks::KeyState;
use serde_json::{Value, json};

use crate::scene::{A, Scene};

/// As the library takes it.
fn set(scene: &Scene, key: &str, value: &str, ttl: &[&str]) {
    let command = [&["SET", key, value], ttl].concat();
    assert_eq!(scene.redis.cli(&command).unwrap(), "OK");
}

/// A set, a key and its value, how long it lives, and the pod that it names.
type Case<'a> = (Value, &'a str, &'a str, &'a [&'a str], Option<&'a str>);

pub(crate) fn values_of_libraries_that_do_not_run_here() {
    let id = format!("{A}_17_0b8f9c1e3a524d3e9f2a6c1d2e3f4a5b");
    let net = |kind: &str, prefix: &str| json!({ "dialect": kind, "names": ["orders"], "keyPrefix": prefix });
    let laravel = "laravel-database-laravel-cache-orders";
    let told = format!("{A}:kXb1cV9zQ0aLmN4p");
    let own = json!({ "dialect": "Custom", "names": ["orders"], "keyPrefix": "laravel-database-laravel-cache-",
        "holder": { "pattern": "(?<owner>[^:]+):.*" } });
    let cases: [Case<'_>; 4] = [
        (
            net("DistributedLockNet", ""),
            "orders",
            &id,
            &["PX", "30000", "NX"],
            Some(A),
        ),
        (
            json!({ "dialect": "Laravel", "names": ["orders"] }),
            laravel,
            "kXb1cV9zQ0aLmN4p",
            &["EX", "3600", "NX"],
            None,
        ),
        (
            json!({ "dialect": "Laravel", "names": ["orders"] }),
            laravel,
            "kXb1cV9zQ0aLmN4p",
            &["NX"],
            None,
        ),
        (own, laravel, &told, &["EX", "3600", "NX"], Some(A)),
    ];
    for (spec, key, value, ttl, pod) in cases {
        let mut scene = Scene::new(&spec);
        scene.up();
        set(&scene, key, value, ttl);
        let judged = scene.wait(&spec.to_string(), |look| {
            let judged = look.judged.first()?;
            (judged.state != LockState::Unheld && judged.state != LockState::Unknown).then(|| judged.clone())
        });
        let state = if pod.is_some() {
            LockState::Held
        } else {
            LockState::Unattributed
        };
        assert_eq!(
            (judged.state, judged.pod.as_deref(), judged.good),
            (state, pod, true),
            "{spec}"
        );
        if !ttl.contains(&"EX") && !ttl.contains(&"PX") {
            scene.wait("that it never expires", |look| {
                look.judged[0].flags.contains(&Flag::NoExpiry).then_some(())
            });
        }
    }
}

pub(crate) fn what_no_library_writes_is_malformed() {
    let long = "x".repeat(4096);
    for dialect in [
        "Rigatoni",
        "Bull",
        "BullMQ",
        "ShedLock",
        "SpringIntegration",
        "DistributedLockNet",
    ] {
        let jobs = dialect.starts_with("Bull");
        // Those of a queue are found by their prefix, as jobs that run are not listed here.
        let spec = if jobs {
            json!({ "dialect": dialect, "hold": "Intermittent", "discover": true, "keyPrefix": "bull:orders:" })
        } else {
            json!({ "dialect": dialect, "names": ["orders"], "keyPrefix": "p:" })
        };
        let key = if jobs {
            "bull:orders:orders:lock"
        } else {
            "p:orders"
        };
        let mut scene = Scene::new(&spec);
        scene.up();
        for value in ["", "orders", &long] {
            set(&scene, key, value, &["PX", "30000"]);
            scene.wait(dialect, |look| {
                (look.hold()?.value.0.len() == value.len()).then_some(())
            });
            let look = scene.look();
            let Some(judged) = look.judged.first() else {
                assert!(jobs, "what is found and nobody's is not shown: {look:#?}");
                continue;
            };
            assert_eq!(
                (judged.state, judged.good, &judged.flags[..]),
                (LockState::Unattributed, false, &[Flag::Malformed][..]),
                "{dialect}"
            );
            assert_eq!(look.reason("LocksHeld"), "Malformed", "{dialect}");
        }
    }
}

pub(crate) fn a_key_of_another_type_is_malformed() {
    for (dialect, command) in [
        ("Redlock", ["LPUSH", "orders", "x"]),
        ("Redisson", ["SET", "orders", "x"]),
        ("ShedLock", ["SADD", "orders", "x"]),
    ] {
        let mut scene = Scene::new(&json!({ "dialect": dialect, "names": ["orders"], "keyPrefix": "" }));
        scene.up();
        scene.redis.cli(&command).unwrap();
        let judged = scene.wait(dialect, |look| {
            matches!(look.key()?.state, KeyState::WrongType { .. }).then(|| look.judged[0].clone())
        });
        assert_eq!(
            (judged.good, &judged.flags[..]),
            (false, &[Flag::Malformed][..]),
            "{dialect}"
        );
    }
}
