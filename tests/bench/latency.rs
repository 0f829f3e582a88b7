//! How long after something happened to a lock an independent watch of the resource shows it: a real apiserver, a real
//! Redis, the operator as a process, 300 workloads with a lock each. Prints JSON, one object per line, times in
//! milliseconds; asserts nothing about them.
//!
//! An expiry counts from the moment that the server itself names (PEXPIRETIME) to the receipt of the first change that
//! shows it; what a client does counts from the receipt of its answer. Both clocks are this machine's.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests are tests; figures and progress are printed"
)]
#![expect(
    dead_code,
    reason = "the tests of the operator use more of what they share with this"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../operator/locks.rs"]
mod locks;
#[path = "../operator/operator.rs"]
mod operator;
#[path = "../operator/place.rs"]
mod place;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use lockstep::api::CoordinatedWorkload;
use lockstep_cluster::RedisOptions;
use serde_json::{Value, json};

use self::locks::{Holders, key, redis};
use self::place::Place;

const LOCKS: usize = 300;
/// Between two expiries, and between two things that clients do: no two resources change at once, and what one needs is
/// done before the next.
const STEP: Duration = Duration::from_millis(60);
/// After the last change of a resource its next one is written at once.
const QUIET: Duration = Duration::from_secs(3);
/// Time to take all locks and to see them taken, before the first runs out.
const LEAD: Duration = Duration::from_secs(15);
/// Other keys that expire, in turn.
const CROWDS: [usize; 3] = [0, 100_000, 1_000_000];

/// What the column LOCKS showed, and when that was received, oldest first.
type Shown = Arc<Mutex<BTreeMap<String, Vec<(Timestamp, String)>>>>;

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run());
}

async fn run() {
    let place = Place::new("bench").await;
    let shown = watch(&place);
    let _operator = operator::operator(&place, &[]).await;
    for mode in ["Tracking", "Polling"] {
        let redis = redis(options(mode)).await;
        let holders = Holders::of(&redis).await;
        let spec = resource(&redis.url());
        secret(&place).await;
        eprintln!("{mode}: {LOCKS} workloads");
        stream::iter(0..LOCKS)
            .for_each_concurrent(8, |at| {
                let mut spec = spec.clone();
                spec["locks"][0]["names"] = json!([name(mode, at)]);
                let place = &place;
                async move {
                    place.apply(&name(mode, at), &spec).await;
                }
            })
            .await;
        let mut pods = Vec::new();
        for at in 0..LOCKS {
            pods.push(place.ready_pods(&name(mode, at), 1).await.remove(0));
        }
        let bench = Bench {
            shown: Arc::clone(&shown),
            holders,
            pods,
            mode,
        };
        let mut present = 0;
        for others in CROWDS {
            eprintln!("{mode}: {others} other keys that expire");
            bench.holders.crowd(others.saturating_sub(present)).await;
            present = others;
            bench.expiry(others).await;
        }
        bench.hands(present).await;
        place.kubectl(&["delete", "cwl", "--all"]).await;
    }
}

fn name(mode: &str, at: usize) -> String {
    format!("{}-{at}", mode.to_lowercase())
}

fn options(mode: &str) -> RedisOptions {
    let user = "on >secret resetkeys resetchannels -@all +hello +auth +ping +info +role +time +getrange +pttl ~rigatoni:lock:*";
    let mut args = vec!["--user".to_owned(), "reader".to_owned()];
    args.extend(user.split(' ').map(str::to_owned));
    if mode == "Tracking" {
        args.push("+client|tracking".into());
    }
    RedisOptions {
        args,
        ..RedisOptions::default()
    }
}

fn resource(redis: &str) -> Value {
    let mut spec = place::spec_with_locks(1, redis, &[]);
    let from = |key: &str| json!({ "secretKeyRef": { "name": "redis", "key": key } });
    spec["redis"]["usernameFrom"] = from("username");
    spec["redis"]["passwordFrom"] = from("password");
    spec["locks"][0]["ttl"] = json!("2m");
    spec["locks"][0]["renewInterval"] = json!("30s");
    spec
}

async fn secret(place: &Place) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "redis", "namespace": "bench" },
        "stringData": { "username": "reader", "password": "secret" },
    });
    place
        .kubectl_stdin(&["apply", "--filename=-"], &secret.to_string())
        .await;
}

/// Follows all resources, as anybody could.
fn watch(place: &Place) -> Shown {
    let shown = Shown::default();
    let api: Api<CoordinatedWorkload> = place.api();
    let seen = Arc::clone(&shown);
    place.background(async move {
        let changes = watcher(api, watcher::Config::default()).applied_objects();
        let mut changes = std::pin::pin!(changes);
        while let Some(change) = changes.next().await {
            let Ok(resource) = change else { continue };
            #[expect(clippy::disallowed_methods, reason = "what is measured")]
            let now = Timestamp::now();
            let locks = resource
                .status
                .as_ref()
                .and_then(|status| status.summary.as_ref());
            let locks = locks.map(|summary| summary.locks.clone()).unwrap_or_default();
            let mut seen = seen.lock().unwrap();
            let history = seen.entry(resource.name_any()).or_default();
            if history.last().is_none_or(|(_, last)| *last != locks) {
                history.push((now, locks));
            }
        }
    });
    shown
}

struct Bench {
    shown: Shown,
    holders: Holders,
    pods: Vec<String>,
    mode: &'static str,
}

impl Bench {
    fn name(&self, at: usize) -> String {
        name(self.mode, at)
    }

    /// All locks are taken, so that they run out one after the other, with nobody who wants them.
    async fn expiry(&self, others: usize) {
        let mut expires = Vec::new();
        for (at, pod) in self.pods.iter().enumerate() {
            let ttl = LEAD + STEP * u32::try_from(at).unwrap();
            let value = value(pod);
            let ttl = ttl.as_millis().to_string();
            let _: () = self
                .holders
                .run(&["SET", &key(&self.name(at)), &value, "PX", &ttl])
                .await;
            expires.push(self.holders.expires(&self.name(at)).await);
        }
        self.all("1/1").await;
        let lags = self.lags(&expires, "0/1").await;
        print("expiry", self.mode, others, lags);
    }

    /// Locks are taken, handed over and given up.
    async fn hands(&self, others: usize) {
        let mut taken = Vec::new();
        for (at, pod) in self.pods.iter().enumerate() {
            let _: () = self
                .holders
                .run(&["SET", &key(&self.name(at)), &value(pod), "PX", "120000"])
                .await;
            taken.push(now());
            tokio::time::sleep(STEP).await;
        }
        print("taken", self.mode, others, self.lags(&taken, "1/1").await);
        tokio::time::sleep(QUIET).await;
        let mut released = Vec::new();
        for at in 0..LOCKS {
            let _: i64 = self.holders.run(&["DEL", &key(&self.name(at))]).await;
            released.push(now());
            tokio::time::sleep(STEP).await;
        }
        print("released", self.mode, others, self.lags(&released, "0/1").await);
        tokio::time::sleep(QUIET).await;
    }

    /// Waits until every resource shows this.
    async fn all(&self, locks: &str) {
        place::eventually("every resource shows its lock", async || {
            let shown = self.shown.lock().unwrap();
            let now = |at: usize| shown.get(&self.name(at)).and_then(|history| history.last());
            (0..LOCKS)
                .all(|at| now(at).is_some_and(|(_, last)| last == locks))
                .then_some(())
        })
        .await;
    }

    /// How long after each moment the resource first showed this, milliseconds.
    async fn lags(&self, moments: &[Timestamp], locks: &str) -> Vec<i64> {
        self.all(locks).await;
        let shown = self.shown.lock().unwrap();
        moments
            .iter()
            .enumerate()
            .map(|(at, moment)| {
                let history = &shown[&self.name(at)];
                let (first, _) = history.last().unwrap();
                first.as_millisecond() - moment.as_millisecond()
            })
            .collect()
    }
}

fn value(pod: &str) -> String {
    format!("{pod}-9b2e1f64-0c5d-4b7a-8f3e-6a1d2c3b4e5f")
}

#[expect(clippy::disallowed_methods, reason = "what is measured")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn print(what: &str, mode: &str, others: usize, mut lags: Vec<i64>) {
    lags.sort_unstable();
    let at = |share: usize| lags[(lags.len() * share / 100).min(lags.len() - 1)];
    println!(
        "{}",
        json!({
            "benchmark": what, "mode": mode, "locks": lags.len(), "otherExpiringKeys": others,
            "milliseconds": { "p50": at(50), "p99": at(99), "max": at(100) },
        })
    );
}
