//! One pod holds everything while others stand by: said after the time that was set, and taken back when it is over.

use lockstep_cluster::RedisOptions;
use serde_json::json;

use super::locks::{Holders, redis};
use super::operator::operator;
use super::place::{Place, spec_with_locks};

pub(crate) async fn four_locks_on_one_of_three_pods_are_concentrated_until_they_are_spread() {
    const LOCKS: [&str; 4] = ["a", "b", "c", "d"];
    let place = Place::new("balance").await;
    let redis = redis(RedisOptions::default()).await;
    let holders = Holders::of(&redis).await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let mut spec = spec_with_locks(3, &redis.url(), &LOCKS);
    spec["locks"][0]["balance"] = json!({ "for": "3s", "warmUp": "1s" });
    place.apply("web", &spec).await;
    let pods = place.ready_pods("web", 3).await;
    for lock in LOCKS {
        holders.take(lock, &pods[0]).await;
    }
    let concentrated = history
        .first(0, "one pod holds all", |seen| {
            seen.says("LocksBalanced") == "False/Concentrated"
        })
        .await;
    let message = concentrated.message("LocksBalanced");
    assert!(
        message.contains(&pods[0]) && message.contains("4 of 4"),
        "{message}"
    );
    let status = concentrated.status();
    assert_eq!(status["summary"]["spread"], "4-0-0");
    assert_eq!(status["summary"]["problem"], "Concentrated");
    let numbers = &status["locks"]["sets"][0]["balance"];
    for (name, number) in [
        ("locks", 4),
        ("pods", 3),
        ("max", 4),
        ("ideal", 2),
        ("limit", 3),
        ("excess", 2),
        ("moves", 2),
        ("idle", 2),
    ] {
        assert_eq!(numbers[name], number, "{name}: {numbers:#}");
    }
    assert_eq!(concentrated.says("LocksHeld"), "True/AllHeld");
    assert_eq!(concentrated.says("Ready"), "True/Reconciled");
    assert_eq!(place.count("web", "LocksConcentrated").await, 1);

    for (lock, pod) in [("c", &pods[1]), ("d", &pods[2])] {
        holders.release(lock).await;
        holders.take(lock, pod).await;
    }
    let mark = history.mark();
    let balanced = history
        .first(mark, "the locks are spread", |seen| {
            seen.says("LocksBalanced") == "True/Balanced"
        })
        .await;
    assert_eq!(balanced.status()["summary"]["spread"], "2-1-1");
    assert_eq!(balanced.status()["summary"]["problem"], "Reconciled");
    let events = place.events("web").await;
    let said: Vec<_> = events
        .iter()
        .map(|event| event.reason.as_str())
        .filter(|reason| reason.starts_with("Locks"))
        .collect();
    assert_eq!(said, ["LocksConcentrated", "LocksRebalanced"]);
}
