//! At rest the operator asks for nothing but watches and writes nothing, also after a restart: counted by the apiserver.

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
use super::place::{Place, QUIET, Seen, eventually, spec, spec_with_locks};

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
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
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
