//! What happens to a thousand workloads, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, PostParams};
use lockstep::domain::locks::Mono;
use lockstep_cluster::RedisOptions;
use serde_json::json;

use super::audit::{self, Request};
use super::crowd::{Crowd, LOCKS, Words, names};
use super::holders::Holders;
use super::locks::{key, redis};
use super::operator::{Process, get};
use super::place::{Place, control_plane};
use super::queue;

const NAMESPACES: [&str; 4] = ["storm-a", "storm-b", "storm-c", "storm-d"];
/// Nothing was written for so long: what happens next has nothing to do with what happened before.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the pods' applications need to notice that Redis is back. By then, some losses are written and some are not.
const AWAY: Duration = Duration::from_secs(6);
/// Then they come back within so long,
const RETURN: Duration = Duration::from_secs(4);
/// and each takes its locks one after the other, so that a resource's state changes more often than it may be written.
const STEP: Duration = Duration::from_millis(250);
/// Writes of status for a resource, from the loss of all its locks until all are held again.
const MOST_WRITES: usize = 5;
/// Series of metrics of a resource with one set of locks.
const MOST_SERIES: usize = 200;
/// Prometheus' own default.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

fn count() -> usize {
    let count = std::env::var("LOCKSTEP_STORM_RESOURCES").ok();
    count.map_or(1000, |count| count.parse().unwrap())
}

/// An operator for all namespaces, with the rights of the first place's.
async fn operator(place: &Place) -> Process {
    let binding = json!({
        "metadata": { "name": "operator" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lockstep" },
        "subjects": [{ "kind": "ServiceAccount", "name": "operator", "namespace": place.namespace }],
    });
    Api::<ClusterRoleBinding>::all(place.client.clone())
        .create(&PostParams::default(), &serde_json::from_value(binding).unwrap())
        .await
        .unwrap();
    let log = control_plane().await.dir().join("logs/operator-storm.log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command
        .args(["run", "--admin-bind", "127.0.0.1:0"])
        .env_clear()
        .env("KUBECONFIG", &place.kubeconfig)
        .env("LOCKSTEP_LOG", "info");
    Process::start(&mut command, &log)
}

/// Prints how long each part took, and what the operator used for it.
struct Meter<'a> {
    operator: &'a Process,
    at: Mono,
    cpu: f64,
}

impl<'a> Meter<'a> {
    fn new(operator: &'a Process) -> Self {
        Self {
            operator,
            at: lockstep::clock::mono(),
            cpu: operator.cpu(),
        }
    }

    fn lap(&mut self, what: &str) {
        let (at, cpu) = (lockstep::clock::mono(), self.operator.cpu());
        let seconds = at.since(self.at).as_secs_f64();
        println!(
            "{what}: {seconds:.1} s; the operator used {:.0} % of a core and has {} MB",
            100.0 * (cpu - self.cpu) / seconds,
            self.operator.memory() / 1_000_000
        );
        (self.at, self.cpu) = (at, cpu);
    }
}

pub(crate) async fn run() {
    let count = count();
    let mut places = Vec::new();
    for namespace in NAMESPACES {
        places.push(Place::new(namespace).await);
    }
    let redis = redis(RedisOptions::default()).await;
    let url = redis.url();
    let operator = operator(&places[0]).await;
    let user = places[0].user();
    let crowd = Crowd::follow(&places[0]);
    let mut meter = Meter::new(&operator);

    // They are made, their pods come, and each takes its locks.
    let mut holders = Holders::of(&url).await;
    tokio::join!(
        crowd.make(&places, count, &url, is_well),
        crowd.each_pod(count, |resource, pod| {
            holders.hold(pod, keys(resource), Duration::ZERO, Duration::ZERO);
        })
    );
    crowd.until(count, "every resource is well", is_well).await;
    meter.lap(&format!("{count} resources with {LOCKS} locks each are well"));
    crowd.rests(PAUSE).await;
    holders.are_well();
    println!("to get there: {}", list(&audit::requests(&user, 0)));

    // Redis goes, with all that it knew, and its successor comes at once.
    let said_before = crowd.events().await;
    let mark = audit::now();
    let killed = lockstep::clock::mono();
    drop(holders);
    meter = Meter::new(&operator);
    let redis = tokio::task::spawn_blocking(move || {
        redis.restart().unwrap();
        redis
    })
    .await
    .unwrap();
    let back = lockstep::clock::mono();
    tokio::time::sleep_until(lockstep::clock::instant(back + AWAY)).await;
    let mut holders = Holders::of(&redis.url()).await;
    let pods = crowd.pods();
    for ((resource, pod), place) in pods.iter().zip(0u32..) {
        let start = RETURN * place / u32::try_from(count).unwrap();
        holders.hold(pod, keys(resource), start, STEP);
    }
    crowd.until(count, "every resource is well again", is_well).await;
    // Some of these had not yet been told of their loss.
    crowd.rests(PAUSE).await;
    crowd.until(count, "every resource stays well", is_well).await;
    holders.are_well();
    meter.lap("the storm");
    let since = |moments: Vec<Mono>| {
        let ends = moments.iter().min().zip(moments.iter().max());
        ends.map(|(first, last)| {
            (
                first.since(killed).as_secs_f32(),
                last.since(killed).as_secs_f32(),
            )
        })
    };
    let lost = crowd.first(killed, is_lost);
    println!(
        "Redis was away for {:.1} s. Seconds since it was killed: {} losses are shown in {:?}, the last change of each in {:?}",
        back.since(killed).as_secs_f64(),
        lost.len(),
        since(lost),
        since(crowd.last_changes()),
    );

    let requests = audit::requests(&user, mark);
    println!("for the storm: {}", list(&requests));
    let refused: Vec<_> = requests.iter().filter(|request| request.code >= 400).collect();
    assert!(refused.is_empty(), "nothing is tried in vain: {refused:#?}");
    few_writes(&requests, count);
    one_word_each(&crowd, &said_before).await;
    no_other_verdict(&crowd, killed);
    every_loss_is_told(&crowd);
    let beyond = requests.iter().filter(|request| {
        !["coordinatedworkloads/status", "events"].contains(&request.resource.as_str())
            && request.verb != "watch"
    });
    let beyond: Vec<_> = beyond.collect();
    assert!(beyond.is_empty(), "nothing else is asked: {beyond:#?}");

    few_series(&operator, count).await;

    // Over is over: a thousand workloads rest, and renew all the while.
    meter = Meter::new(&operator);
    queue::run(&places[0], &crowd, &redis.url()).await;
    holders.are_well();
    meter.lap("the queue");
    operator.terminate().await;
}

/// Where the locks of a resource are.
fn keys(resource: &str) -> Vec<String> {
    let (_, name) = resource.split_once('/').unwrap();
    names(name).map(|name| key(&name)).collect()
}

fn is_lost(words: &Words) -> bool {
    words
        .get("LocksHeld")
        .is_some_and(|held| held == "False/LocksLost")
}

fn is_well(words: &Words) -> bool {
    let says = |condition: &str| words.get(condition).map_or("", String::as_str);
    says("LocksHeld") == "True/AllHeld" && says("Ready") == "True/Reconciled"
}

/// By verb, resource and answer, for people.
fn list(requests: &[Request]) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for request in requests {
        *counts
            .entry(format!("{} {} {}", request.verb, request.resource, request.code))
            .or_default() += 1;
    }
    format!("{counts:?}")
}

/// Fails if anything was asked but by watches.
pub(crate) fn watches_only(requests: &[Request]) {
    let beyond: Vec<_> = requests
        .iter()
        .filter(|request| request.verb != "watch")
        .collect();
    assert!(beyond.is_empty(), "at rest: {beyond:#?}");
}

/// How many resources had how much of something, for people.
fn shares<'a>(counts: impl IntoIterator<Item = &'a usize>) -> BTreeMap<usize, usize> {
    let mut shares = BTreeMap::new();
    for count in counts {
        *shares.entry(*count).or_default() += 1;
    }
    shares
}

fn few_writes(requests: &[Request], count: usize) {
    let mut writes = BTreeMap::<&str, usize>::new();
    for request in requests {
        if request.resource == "coordinatedworkloads/status" {
            *writes.entry(&request.object).or_default() += 1;
        }
    }
    println!(
        "{} writes of status; resources by their number: {:?}",
        writes.values().sum::<usize>(),
        shares(writes.values())
    );
    assert_eq!(writes.len(), count, "each is written");
    let many: Vec<_> = writes
        .iter()
        .filter(|(_, writes)| **writes > MOST_WRITES)
        .collect();
    assert!(
        many.is_empty(),
        "more than {MOST_WRITES} writes of status: {many:?}"
    );
}

/// Said since: the loss and the recovery, once each, of every resource, and nothing else.
/// What Prometheus fetches grows with the number of resources, by a number that doesn't grow with their locks, and is
/// there before it would ask again.
async fn few_series(operator: &Process, count: usize) {
    let address = operator.admin().await;
    let begin = lockstep::clock::mono();
    let page = get(address, "/metrics").await.unwrap();
    let took = lockstep::clock::mono().since(begin);
    let lines = page.text.lines().filter(|line| !line.starts_with('#'));
    let mut series = BTreeMap::<(&str, &str), usize>::new();
    for line in lines.clone() {
        // As in `metric{namespace="storm-a",name="web-1",set=…`.
        if let Some((_, labels)) = line.split_once("namespace=\"") {
            let mut words = labels.split('"');
            let (namespace, name) = (words.next().unwrap(), words.nth(1).unwrap());
            *series.entry((namespace, name)).or_default() += 1;
        }
    }
    println!(
        "metrics: {} series of {} resources, {:.1} MB, in {:.0} ms; series of a resource: {:?}",
        lines.count(),
        series.len(),
        f64::from(u32::try_from(page.text.len()).unwrap()) / 1e6,
        took.as_secs_f64() * 1e3,
        shares(series.values()),
    );
    assert_eq!(series.len(), count, "each has its series");
    assert!(series.values().all(|series| *series <= MOST_SERIES));
    assert!(took < SCRAPE_TIMEOUT, "{took:?}");
}

async fn one_word_each(crowd: &Crowd, before: &BTreeMap<String, (String, String)>) {
    let mut said = BTreeMap::<String, BTreeMap<String, usize>>::new();
    for (name, (resource, reason)) in crowd.events().await {
        if !before.contains_key(&name) {
            *said.entry(resource).or_default().entry(reason).or_default() += 1;
        }
    }
    let mut reasons = BTreeMap::<&str, usize>::new();
    for (reason, count) in said.values().flatten() {
        *reasons.entry(reason).or_default() += count;
    }
    println!("events: {reasons:?}");
    let expected = BTreeMap::from([("LocksLost".to_owned(), 1), ("LocksRecovered".to_owned(), 1)]);
    for resource in crowd.last().keys() {
        assert_eq!(said.get(resource), Some(&expected), "{resource}");
    }
}

/// But for the locks, every condition went on saying what it said.
fn no_other_verdict(crowd: &Crowd, from: Mono) {
    let words = crowd.words(from);
    println!("conditions: {words:?}");
    let mut said = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (condition, verdict) in words.keys() {
        said.entry(condition).or_default().insert(verdict);
    }
    assert_eq!(
        said["LocksHeld"],
        BTreeSet::from(["False/LocksLost", "True/AllHeld"])
    );
    assert_eq!(said["StoreReachable"], BTreeSet::from(["True/Reachable"]));
    said.remove("LocksHeld");
    assert!(said.values().all(|verdicts| verdicts.len() == 1), "{said:?}");
}

fn every_loss_is_told(crowd: &Crowd) {
    for (resource, seen) in crowd.last() {
        let status = seen.status();
        let recent = status["recent"].as_array().cloned().unwrap_or_default();
        let locks: BTreeSet<_> = recent.iter().filter_map(|loss| loss["lock"].as_str()).collect();
        assert_eq!(locks.len(), LOCKS, "{resource}: {recent:#?}");
        assert!(
            recent.iter().all(|loss| loss["cause"] == "StoreFailover"),
            "{resource}: {recent:#?}"
        );
        assert_eq!(
            status["summary"]["locks"],
            format!("{LOCKS}/{LOCKS}"),
            "{resource}"
        );
    }
}
