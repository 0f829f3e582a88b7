//! Redis goes away and comes back: nothing is invented about the time in which nothing could be seen.

use lockstep_cluster::{Redis, RedisOptions};
use serde_json::json;

use super::locks::{Holders, TTL, redis};
use super::operator::{Process, operator};
use super::place::{History, Place, Seen, spec_with_locks};

const LOCKS: [&str; 2] = ["mydb:users", "mydb:orders"];

/// Two pods that hold one lock each.
struct Workload {
    place: Place,
    redis: Redis,
    history: History,
    pods: Vec<String>,
    holders: Holders,
    _operator: Process,
}

impl Workload {
    async fn start(namespace: &str) -> Self {
        let place = Place::new(namespace).await;
        let redis = redis(RedisOptions::default()).await;
        let holders = Holders::of(&redis).await;
        let operator = operator(&place, &[]).await;
        let history = place.follow("web");
        place
            .apply("web", &spec_with_locks(2, &redis.url(), &LOCKS))
            .await;
        let pods = place.ready_pods("web", 2).await;
        take(&holders, &pods).await;
        history
            .first(0, "all locks are held", |seen| {
                seen.says("LocksHeld") == "True/AllHeld" && seen.is_ready()
            })
            .await;
        Self {
            place,
            redis,
            history,
            pods,
            holders,
            _operator: operator,
        }
    }

    /// What must never be said, whatever became of Redis.
    async fn nothing_invented(&self) {
        self.history.never(0, "a loss was invented", |seen| {
            let status = seen.status();
            let rows = status["locks"]["rows"].as_array().cloned().unwrap_or_default();
            let recent = status["recent"].as_array().cloned().unwrap_or_default();
            seen.says("LocksHeld").starts_with("False")
                || rows.iter().any(|row| !row["flags"].is_null())
                || recent.iter().any(|entry| !entry["lock"].is_null())
        });
        for reason in ["LocksLost", "LocksRecovered", "LocksUnheld"] {
            assert_eq!(self.place.count("web", reason).await, 0, "{reason}");
        }
    }
}

async fn take(holders: &Holders, pods: &[String]) {
    for (lock, pod) in LOCKS.iter().zip(pods) {
        holders.take(lock, pod).await;
    }
}

fn is_blind(seen: &Seen) -> bool {
    seen.says("StoreReachable").starts_with("False") && seen.says("LocksHeld") == "Unknown/NotObserved"
}

pub(crate) async fn away_for_longer_than_the_ttl_is_an_outage_and_no_loss() {
    let workload = Workload::start("store-stopped").await;
    let Workload {
        place,
        redis,
        history,
        ..
    } = &workload;
    redis.stop().unwrap();
    let stopped = lockstep::clock::wall();
    let blind = history.first(0, "the store is away", is_blind).await;
    println!(
        "an outage is said {} ms after Redis stopped",
        blind.at.as_millisecond() - stopped.as_millisecond()
    );
    assert_eq!(blind.says("StoreReachable"), "False/Unreachable");
    assert_eq!(blind.says("Ready"), "True/Reconciled", "the spec still runs");
    assert_eq!(blind.status()["summary"]["locks"], "?/2");
    assert_eq!(place.count("web", "StoreUnreachable").await, 1);
    tokio::time::sleep(TTL).await;
    redis.restart().unwrap();
    let holders = Holders::of(redis).await;
    let mark = history.mark();
    let back = history
        .first(mark, "the store is back", |seen| {
            seen.says("StoreReachable") == "True/Reachable"
        })
        .await;
    for lock in LOCKS {
        assert_eq!(back.row(lock)["state"], "Unheld", "{:#}", back.status());
    }
    // The other way round: nobody could see who took what.
    let swapped: Vec<_> = workload.pods.iter().rev().cloned().collect();
    take(&holders, &swapped).await;
    let good = history
        .first(mark, "all locks are held", |seen| {
            seen.row(LOCKS[0])["pod"] == json!(swapped[0]) && seen.says("LocksHeld") == "True/AllHeld"
        })
        .await;
    workload.nothing_invented().await;
    let recent = &good.status()["recent"];
    assert_eq!(
        recent.as_array().map(Vec::len),
        Some(1),
        "the outage alone: {recent:#}"
    );
    assert_eq!(recent[0]["cause"], "Unreachable");
    assert!(recent[0]["gap"].is_string(), "{recent:#}");
    assert_eq!(place.warnings("web").await, ["StoreUnreachable"]);
    assert_eq!(place.count("web", "StoreReachable").await, 1);
}

pub(crate) async fn away_shortly_and_back_empty_is_one_loss_by_the_store() {
    let workload = Workload::start("store-restarted").await;
    let Workload {
        place,
        redis,
        history,
        ..
    } = &workload;
    let mark = history.mark();
    redis.restart().unwrap();
    let lost = history
        .first(mark, "the empty store was read", |seen| {
            LOCKS.iter().all(|lock| seen.row(lock)["state"] == "Unheld")
        })
        .await;
    assert_eq!(lost.says("LocksHeld"), "False/LocksLost");
    let message = lost.message("LocksHeld");
    assert!(message.contains("StoreFailover"), "{message}");
    let holders = Holders::of(redis).await;
    take(&holders, &workload.pods).await;
    let back = history
        .first(mark, "all locks are held", |seen| {
            seen.says("LocksHeld") == "True/AllHeld"
                && LOCKS.iter().all(|lock| seen.row(lock)["state"] == "Held")
        })
        .await;
    let recent = back.status()["recent"].clone();
    let recent = recent.as_array().unwrap();
    assert_eq!(recent.len(), LOCKS.len(), "{recent:?}");
    for loss in recent {
        assert_eq!(loss["cause"], "StoreFailover");
        assert!(loss["gap"].is_null(), "when it went is not known: {loss}");
    }
    // One event for both pods' locks.
    assert_eq!(place.count("web", "LocksLost").await, 1);
    place_says_recovered(place).await;
}

async fn place_says_recovered(place: &Place) {
    super::place::eventually("that it is over", async || {
        (place.count("web", "LocksRecovered").await == 1).then_some(())
    })
    .await;
}

pub(crate) async fn a_store_that_hangs_while_its_locks_live_on_lost_nothing() {
    let workload = Workload::start("store-frozen").await;
    let Workload {
        place,
        redis,
        history,
        ..
    } = &workload;
    for lock in LOCKS {
        // A whole lifetime from now on: renewals wait as well.
        workload.holders.renew(lock).await;
    }
    redis.freeze().unwrap();
    let blind = history.first(0, "the store hangs", is_blind).await;
    println!("a store that hangs is {}", blind.says("StoreReachable"));
    redis.thaw().unwrap();
    let mark = history.mark();
    let back = history
        .first(mark, "the store is back", |seen| {
            seen.says("StoreReachable") == "True/Reachable"
        })
        .await;
    assert_eq!(back.says("LocksHeld"), "True/AllHeld");
    assert_eq!(back.status()["summary"]["locks"], "2/2");
    workload.nothing_invented().await;
    assert_eq!(place.warnings("web").await, ["StoreUnreachable"]);
}
