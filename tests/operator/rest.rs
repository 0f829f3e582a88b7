//! At rest the operator asks for nothing but watches and writes nothing, also after a restart: counted by the apiserver.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use kube::api::ListParams;
use lockstep::api::CoordinatedWorkload;
use lockstep_cluster::RedisOptions;
use serde_json::{Value, json};

use super::audit::{self, Request};
use super::locks::{Holders, redis};
use super::operator::operator;
use super::place::{Place, QUIET, Seen, control_plane, eventually, spec, spec_with_locks};

const RESOURCES: usize = 200;
/// Of these, so many have two pods and two locks that are renewed all the time,
const WITH_LOCKS: usize = 20;
/// and so many are autoscaled.
const AUTOSCALED: usize = 20;
/// Writes of the operator that are this far apart have nothing to do with each other.
const PAUSE: Duration = Duration::from_secs(6);

/// How long to watch it rest. Longer, such as 120, by the environment: `LOCKSTEP_REST_SECONDS=120`.
fn window() -> Duration {
    let seconds = std::env::var("LOCKSTEP_REST_SECONDS").ok();
    Duration::from_secs(seconds.map_or(30, |seconds| seconds.parse().unwrap()))
}

fn name(number: usize) -> String {
    format!("web-{number}")
}

fn locks(number: usize) -> [String; 2] {
    [format!("web-{number}:a"), format!("web-{number}:b")]
}

fn resource(number: usize, redis: &str) -> Value {
    if number < WITH_LOCKS {
        let [a, b] = locks(number);
        let mut spec = spec_with_locks(2, redis, &[&a, &b]);
        spec["locks"][0]["balance"] = json!({ "for": "1s", "warmUp": "1s" });
        return spec;
    }
    let mut spec = spec(1);
    if number < WITH_LOCKS + AUTOSCALED {
        spec["autoscaling"] = json!({ "minReplicas": 1, "maxReplicas": 3 });
    }
    spec
}

fn settled(resource: CoordinatedWorkload) -> bool {
    let seen = Seen {
        at: jiff::Timestamp::UNIX_EPOCH,
        resource,
    };
    let has_locks = seen.resource.spec.locks.is_empty();
    seen.is_ready()
        && (has_locks
            || seen.says("LocksHeld") == "True/AllHeld" && seen.says("LocksBalanced") == "True/Balanced")
}

/// By verb and resource, for people.
fn list(requests: &[Request]) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for request in requests {
        *counts
            .entry(format!("{} {}", request.verb, request.resource))
            .or_default() += 1;
    }
    format!("{counts:?}")
}

pub(crate) async fn two_hundred_resources_at_rest_cost_watches_only_and_a_restart_writes_nothing() {
    let place = Place::new("rest").await;
    let redis = redis(RedisOptions::default()).await;
    let holders = Holders::of(&redis).await;
    let process = operator(&place, &[]).await;

    let busy = QUIET.write().await;
    let begun = lockstep::clock::mono();
    let url = redis.url();
    stream::iter(0..RESOURCES)
        .for_each_concurrent(8, async |number| {
            place.apply(&name(number), &resource(number, &url)).await;
        })
        .await;
    stream::iter(0..WITH_LOCKS)
        .for_each_concurrent(4, async |number| {
            let pods = place.ready_pods(&name(number), 2).await;
            for (lock, pod) in locks(number).iter().zip(&pods) {
                holders.take(lock, pod).await;
            }
        })
        .await;
    eventually("all resources are settled", async || {
        let all = place.api::<CoordinatedWorkload>();
        let all = all.list(&ListParams::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let rest: Vec<_> = all
            .items
            .into_iter()
            .filter(|resource| !settled(resource.clone()))
            .map(|resource| resource.name_any())
            .collect();
        rest.is_empty().then_some(())
    })
    .await;
    println!(
        "{RESOURCES} resources are settled after {:.1} s",
        lockstep::clock::mono().since(begun).as_secs_f64()
    );
    drop(busy);
    let user = place.user();
    let made = audit::requests(&user, 0);
    println!("to get there: {}", list(&made));
    assert!(
        made.iter().filter(|request| request.is_write()).count() > 4 * RESOURCES,
        "they are counted"
    );
    let mut mark = audit::now();
    eventually("the last writes are made", async || {
        tokio::time::sleep(PAUSE).await;
        let quiet = !audit::requests(&user, mark).iter().any(Request::is_write);
        mark = audit::now();
        quiet.then_some(())
    })
    .await;

    let before = process.cpu();
    tokio::time::sleep(window()).await;
    let asked = audit::requests(&user, mark);
    println!(
        "{} s at rest with {RESOURCES} resources, {} locks renewed every 3 s: {}; CPU {:.2} % of a core; {} MB",
        window().as_secs(),
        2 * WITH_LOCKS,
        list(&asked),
        100.0 * (process.cpu() - before) / window().as_secs_f64(),
        process.memory() / 1_000_000,
    );
    let beyond: Vec<_> = asked.iter().filter(|request| request.verb != "watch").collect();
    assert!(beyond.is_empty(), "{beyond:#?}");

    let events = place.all_events().await;
    process.kill();
    let mark = audit::now();
    let process = operator(&place, &[]).await;
    eventually("the new operator watches", async || {
        let watches = audit::requests(&user, mark);
        let lists = watches.iter().filter(|request| request.verb == "list").count();
        (lists >= 7).then_some(())
    })
    .await;
    tokio::time::sleep(window()).await;
    let asked = audit::requests(&user, mark);
    println!("{} s after a restart: {}", window().as_secs(), list(&asked));
    let writes: Vec<_> = asked.iter().filter(|request| request.is_write()).collect();
    assert!(writes.is_empty(), "{writes:#?}");
    assert_eq!(place.all_events().await, events, "nothing is said again");
    process.terminate().await;
}

/// How often each resource was looked at since a place in the log.
fn passes(log: &Path, from: u64) -> BTreeMap<String, usize> {
    let mut file = File::open(log).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    // What a terminal would show in colour.
    let text = text
        .replace("\u{1b}[0m", "")
        .replace("\u{1b}[3m", "")
        .replace("\u{1b}[2m", "");
    let mut passes = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("looked at")) {
        if let Some((_, rest)) = line.split_once("key=") {
            let key = rest.split_whitespace().next().unwrap().to_owned();
            *passes.entry(key).or_default() += 1;
        }
    }
    passes
}

pub(crate) async fn five_hundred_resources_are_looked_at_again_without_a_request() {
    const RESOURCES: usize = 500;
    /// The others have a Deployment only: it is not their making that is tested.
    const WITH_ALL_CHILDREN: usize = 50;
    /// After the first: a pass that something else caused is not taken for one of a round.
    const ROUNDS: usize = 3;
    let place = Place::new("resync").await;
    let making = operator(&place, &[]).await;
    let busy = QUIET.write().await;
    let begun = lockstep::clock::mono();
    stream::iter(0..RESOURCES)
        .for_each_concurrent(8, async |number| {
            let mut spec = spec(0);
            if number >= WITH_ALL_CHILDREN {
                spec["disruptionBudget"] = json!({ "enabled": false });
                spec["networkPolicy"] = json!({ "enabled": false });
            }
            place.apply(&format!("web-{number}"), &spec).await;
        })
        .await;
    eventually("all run", async || {
        let all = place.api::<CoordinatedWorkload>();
        let all = all.list(&ListParams::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        all.items.into_iter().all(settled).then_some(())
    })
    .await;
    println!(
        "{RESOURCES} resources run after {:.1} s",
        lockstep::clock::mono().since(begun).as_secs_f64()
    );
    drop(busy);
    making.terminate().await;

    let log = control_plane().await.dir().join("logs/operator-resync.log");
    let length = || std::fs::metadata(&log).unwrap().len();
    let at_least = async |from: u64, times: usize| {
        eventually(&format!("each was looked at {times} times"), async || {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let passes = passes(&log, from);
            let enough = passes.values().filter(|count| **count >= times).count();
            (enough == RESOURCES).then_some(passes)
        })
        .await
    };
    let started = length();
    let operator = operator(&place, &["--resync", "3", "--log", "info,lockstep=trace"]).await;
    at_least(started, 1).await;
    let (mark, from) = (audit::now(), length());
    let (begun, cpu) = (lockstep::clock::mono(), operator.cpu());
    let seen = at_least(from, ROUNDS).await;
    let asked = audit::requests(&place.user(), mark);
    let seconds = lockstep::clock::mono().since(begun).as_secs_f64();
    println!(
        "{} passes over {RESOURCES} resources in {seconds:.1} s: {} requests beside watches; CPU {:.0} % of a core",
        seen.values().sum::<usize>(),
        asked.iter().filter(|request| request.verb != "watch").count(),
        100.0 * (operator.cpu() - cpu) / seconds,
    );
    let beyond: Vec<_> = asked.iter().filter(|request| request.verb != "watch").collect();
    assert!(beyond.is_empty(), "{beyond:#?}");
    // The settings say how often: no more often than that either.
    let most = seen.values().max().copied().unwrap_or_default();
    assert!(
        f64::from(u32::try_from(most).unwrap()) <= 1.0 + seconds / (3.0 * 0.8),
        "{most} in {seconds} s"
    );
    operator.terminate().await;
}
