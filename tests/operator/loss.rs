//! A lock is lost: it is said which, by which pod and why, within a second after the key expired, and once.

use lockstep_cluster::{Redis, RedisOptions};
use serde_json::json;

use super::locks::{Holders, redis};
use super::operator::{Process, operator};
use super::place::{History, Place, QUIET, Seen, spec_with_locks};

const LOCKS: [&str; 4] = ["mydb:users", "mydb:orders", "mydb:products", "mydb:logs"];
/// Keys of others in the same database.
const CROWD: usize = 100_000;
/// How long after the key expired the loss may be seen by an independent watch, milliseconds.
const LIMIT: i64 = 1000;

/// Three pods that hold four locks, 2-1-1, among 100,000 other expiring keys, and nobody contends.
struct Workload {
    place: Place,
    holders: Holders,
    history: History,
    pods: Vec<String>,
    _operator: Process,
    _redis: Redis,
}

impl Workload {
    async fn start(namespace: &str) -> Self {
        let place = Place::new(namespace).await;
        let redis = redis(RedisOptions::default()).await;
        let holders = Holders::of(&redis).await;
        holders.crowd(CROWD).await;
        let operator = operator(&place, &[]).await;
        let history = place.follow("web");
        place
            .apply("web", &spec_with_locks(3, &redis.url(), &LOCKS))
            .await;
        let pods = place.ready_pods("web", 3).await;
        for (lock, pod) in LOCKS.iter().zip([0, 0, 1, 2]) {
            holders.take(lock, &pods[pod]).await;
        }
        history
            .first(0, "all locks are held", |seen| {
                seen.says("LocksHeld") == "True/AllHeld" && seen.is_ready()
            })
            .await;
        Self {
            place,
            holders,
            history,
            pods,
            _operator: operator,
            _redis: redis,
        }
    }

    /// Waits for the orphaned lock, and then for its loss; within the limit after `expires`.
    async fn is_lost(&self, lock: &str, pod: &str, expires: jiff::Timestamp, case: &str) -> Seen {
        let lost = self
            .history
            .first(0, "the lock is lost", |seen| {
                seen.says("LocksHeld") == "False/LocksLost"
            })
            .await;
        let late = lost.at.as_millisecond() - expires.as_millisecond();
        println!("{case}: the loss is seen {late} ms after PEXPIRETIME, among {CROWD} other expiring keys");
        assert!(
            (0..=LIMIT).contains(&late),
            "{case}: {late} ms after the key expired"
        );
        let message = lost.message("LocksHeld");
        for part in [lock, pod] {
            assert!(message.contains(part), "{part} is missing: {message}");
        }
        let row = lost.row(lock);
        assert_eq!(
            (&row["state"], &row["flags"]),
            (&json!("Unheld"), &json!(["Lost"])),
            "{row}"
        );
        lost
    }

    /// Every write of status changed something.
    async fn wrote_changes_only(&self) {
        self.history.rests().await;
        let requests = super::audit::requests(&self.place.user(), 0);
        let written = requests
            .iter()
            .filter(|request| request.resource == "coordinatedworkloads/status" && request.code == 200)
            .filter(|request| request.object.ends_with("/web"))
            .count();
        let all = self.history.all();
        // The first was the resource without a status.
        assert_eq!(written, all.len() - 1, "writes, and what they changed");
        for (before, after) in all.iter().skip(1).zip(all.iter().skip(2)) {
            let apart = after.at.as_millisecond() - before.at.as_millisecond();
            assert!(apart > 1700, "two writes {apart} ms apart");
        }
    }

    /// Posted before status was written, so it is there.
    async fn said_once(&self, reason: &str) {
        let events = self.place.events("web").await;
        let count = events.iter().filter(|event| event.reason == reason).count();
        assert_eq!(count, 1, "{reason}: {events:#?}");
    }
}

pub(crate) async fn a_restarted_container_orphans_its_lock_and_loses_it_when_the_key_expires() {
    let workload = Workload::start("loss-restart").await;
    let quiet = QUIET.read().await;
    let pod = &workload.pods[1];
    let expires = workload.holders.abandon("mydb:products").await;
    workload.place.restart_container(pod, "OOMKilled").await;
    let orphaned = workload
        .history
        .first(0, "the lock is orphaned", |seen| {
            seen.says("LocksHeld") == "False/OrphanedOwner"
        })
        .await;
    assert!(orphaned.at < expires, "while the TTL runs");
    let row = orphaned.row("mydb:products");
    assert_eq!(
        (&row["state"], &row["pod"]),
        (&json!("Orphaned"), &json!(pod)),
        "{row}"
    );
    let lost = workload
        .is_lost("mydb:products", pod, expires, "container restarted")
        .await;
    drop(quiet);
    assert!(
        lost.message("LocksHeld").contains("HolderGone"),
        "{}",
        lost.message("LocksHeld")
    );
    assert!(
        lost.message("LocksHeld").contains("OOMKilled"),
        "{}",
        lost.message("LocksHeld")
    );
    let recent = &lost.status()["recent"][0];
    assert_eq!(
        (&recent["cause"], &recent["lock"], &recent["from"]),
        (&json!("HolderGone"), &json!("mydb:products"), &json!(pod))
    );
    workload.said_once("LocksLost").await;

    workload.holders.take("mydb:products", &workload.pods[2]).await;
    let mark = workload.history.mark();
    let good = workload
        .history
        .first(mark, "all locks are held again", |seen| {
            seen.says("LocksHeld") == "True/AllHeld"
        })
        .await;
    assert_eq!(good.status()["summary"]["locks"], "4/4");
    workload.said_once("LocksLost").await;
    workload.said_once("LocksRecovered").await;
    workload.wrote_changes_only().await;
}

pub(crate) async fn a_pod_that_went_with_two_locks_is_one_incident_until_both_are_taken_again() {
    let workload = Workload::start("loss-pod").await;
    let quiet = QUIET.read().await;
    let pod = &workload.pods[0];
    let first = workload.holders.abandon("mydb:users").await;
    // The other lock was renewed later, so it expires later.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let second = workload.holders.abandon("mydb:orders").await;
    workload.place.restart_container(pod, "Error").await;
    workload.place.delete_pod(pod).await;
    let orphaned = workload
        .history
        .first(0, "the locks are orphaned", |seen| {
            seen.says("LocksHeld") == "False/OrphanedOwner"
        })
        .await;
    assert!(orphaned.at < first, "while the TTL runs");
    let lost = workload.is_lost("mydb:users", pod, first, "pod gone").await;
    assert!(
        lost.message("LocksHeld").contains("HolderGone"),
        "{}",
        lost.message("LocksHeld")
    );
    let both = workload
        .history
        .first(0, "the second lock is lost too", |seen| {
            seen.row("mydb:orders")["flags"] == json!(["Lost"])
        })
        .await;
    let late = both.at.as_millisecond() - second.as_millisecond();
    println!("pod gone, its second lock: {late} ms after PEXPIRETIME");
    assert!(
        (0..=LIMIT).contains(&late),
        "{late} ms after the second key expired"
    );
    drop(quiet);
    workload.said_once("LocksLost").await;

    let pods = workload.place.ready_pods("web", 3).await;
    assert!(!pods.contains(pod));
    let mark = workload.history.mark();
    workload.holders.take("mydb:users", &pods[0]).await;
    workload
        .history
        .first(mark, "one of two is taken again", |seen| {
            seen.row("mydb:users")["state"] == "Held"
        })
        .await;
    workload.holders.take("mydb:orders", &pods[1]).await;
    let good = workload
        .history
        .first(mark, "all locks are held again", |seen| {
            seen.says("LocksHeld") == "True/AllHeld"
        })
        .await;
    workload.said_once("LocksLost").await;
    workload.said_once("LocksRecovered").await;
    let recent = good.status()["recent"].clone();
    assert_eq!(recent.as_array().map(Vec::len), Some(2), "{recent:#}");
    for entry in recent.as_array().unwrap() {
        assert_eq!(
            (&entry["cause"], &entry["from"]),
            (&json!("HolderGone"), &json!(pod)),
            "{entry}"
        );
        assert!(
            entry["gap"].is_string() && entry["to"].is_string(),
            "the gap is closed: {entry}"
        );
    }
    workload.wrote_changes_only().await;
}

pub(crate) async fn a_live_pod_that_stops_renewing_loses_its_lock_as_expired() {
    let workload = Workload::start("loss-silent").await;
    let quiet = QUIET.read().await;
    let pod = &workload.pods[2];
    let expires = workload.holders.abandon("mydb:logs").await;
    let lost = workload
        .is_lost("mydb:logs", pod, expires, "renewal stopped")
        .await;
    drop(quiet);
    let message = lost.message("LocksHeld");
    assert!(
        message.contains("Expired") && message.contains("still runs"),
        "{message}"
    );
    workload.history.never(0, "its owner is there", |seen| {
        seen.says("LocksHeld") == "False/OrphanedOwner"
    });
    workload.said_once("LocksLost").await;
    workload.holders.take("mydb:logs", pod).await;
    let mark = workload.history.mark();
    workload
        .history
        .first(mark, "it is held again", |seen| {
            seen.says("LocksHeld") == "True/AllHeld"
        })
        .await;
    workload.said_once("LocksRecovered").await;
}
