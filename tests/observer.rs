//! The observer against a real redis-server.

#[path = "observer/support.rs"]
mod support;

use std::time::Duration;

use lockstep::domain::locks::{KeyState, Link, Mode};

use support::{Redis, View, target};

#[tokio::test]
async fn a_hold_is_seen_when_taken_renewed_and_released() {
    let redis = Redis::start(&[]);
    let mut view = View::new(target(redis.port), &["lock"]);
    let seen = view.up().await;
    assert!(matches!(&seen.link, Link::Up { mode: Mode::Tracking, version: Some(_), .. }), "{:?}", seen.link);
    assert!(matches!(seen.keys[0].state, KeyState::Absent { .. }));

    redis.command(&["SET", "lock", "pod-a", "NX", "PX", "30000"]);
    let seen = view.held_by("pod-a").await;
    let KeyState::Held(taken) = &seen.keys[0].state else { unreachable!() };
    assert!(taken.seen_taken && taken.last_renewed.is_none(), "{taken:?}");
    let ttl = taken.deadline.unwrap().since(taken.last_answer);
    assert!(Duration::from_millis(29_000) < ttl && ttl <= Duration::from_secs(30), "{ttl:?}");

    redis.command(&["PEXPIRE", "lock", "60000"]);
    let mut renewed = taken.clone();
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    while renewed.last_renewed.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "renewal not seen: {renewed:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        if let KeyState::Held(hold) = &view.now().keys[0].state {
            renewed = hold.clone();
        }
    }
    assert_eq!(renewed.first_seen, taken.first_seen);

    redis.command(&["DEL", "lock"]);
    let seen = view.absent().await;
    let [end] = &seen.keys[0].ends[..] else { panic!("{:?}", seen.keys[0].ends) };
    assert!(end.watched && !end.shortened, "{end:?}");
    assert!(end.hold.last_answer <= end.ended && end.ended <= end.noticed, "{end:?}");
    assert!(end.noticed < end.hold.deadline.unwrap());
}
