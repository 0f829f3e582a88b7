//! A rolling update of workers that release their locks when they are asked to end: locks change hands, and nobody is
//! warned. Real workers, one process per pod; what a kubelet does for them is done here.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use lockstep_cluster::RedisOptions;
use serde_json::json;

use super::locks::redis;
use super::operator::{Process, operator};
use super::place::{Place, Seen, control_plane, is_ready, spec_with_locks};
use super::worker::worker;

const LOCKS: [&str; 4] = ["mydb:users", "mydb:orders", "mydb:products", "mydb:logs"];
/// Keeps a deleted pod in the API until its process has ended, as a kubelet would.
const FINALIZER: &str = "lockstep.dev/test";

/// Plays the kubelet: a worker for each pod that is Ready, ended with SIGTERM when its pod is deleted.
async fn play(pods: Api<Pod>, program: PathBuf, logs: PathBuf, redis: String) {
    let mut workers = BTreeMap::<String, Process>::new();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Ok(list) = pods.list(&ListParams::default()).await else {
            continue;
        };
        for pod in list {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() {
                if let Some(worker) = workers.remove(&name) {
                    worker.terminate().await;
                }
                let patch = json!({ "metadata": { "finalizers": null } });
                // A failure means that it is gone.
                let _ = pods
                    .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await;
            } else if is_ready(&pod) && !workers.contains_key(&name) {
                let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
                let mut command = Command::new(&program);
                command.env_clear().envs([
                    ("REDIS_URL", redis.as_str()),
                    ("DATABASE", "mydb"),
                    ("COLLECTIONS", "users,orders,products,logs"),
                    ("LOCK_TTL_SECONDS", "12"),
                    ("LOCK_REFRESH_SECONDS", "3"),
                    ("LOCK_RETRY_SECONDS", "1"),
                    ("MAX_LOCKS", "2"),
                    ("POD_NAME", name.as_str()),
                    ("HEALTH_ADDRESS", port.unwrap().to_string().as_str()),
                ]);
                let log = logs.join(format!("worker-{name}.log"));
                workers.insert(name, Process::start(&mut command, &log));
            }
        }
    }
}

pub(crate) async fn a_rolling_update_of_workers_that_release_warns_nobody() {
    let place = Place::new("handover").await;
    let redis = redis(RedisOptions::default()).await;
    let program = tokio::task::spawn_blocking(worker).await.unwrap();
    let logs = control_plane().await.dir().join("logs");
    place.background(play(place.api(), program, logs, redis.url()));
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let mut spec = spec_with_locks(3, &redis.url(), &LOCKS);
    spec["locks"][0]["retryInterval"] = json!("1s");
    spec["locks"][0].as_object_mut().unwrap().remove("balance");
    spec["template"]["metadata"]["finalizers"] = json!([FINALIZER]);
    place.apply("web", &spec).await;
    let before = history
        .first(0, "all locks are held", |seen| {
            seen.says("LocksHeld") == "True/AllHeld" && seen.is_ready()
        })
        .await;
    let owners =
        |seen: &Seen| LOCKS.map(|lock| seen.row(lock)["pod"].as_str().unwrap_or_default().to_owned());
    let old = owners(&before);

    spec["template"]["spec"]["containers"][0]["env"][1]["value"] = json!("debug");
    history.rests().await;
    let begun = lockstep::clock::mono();
    let changed = place.apply("web", &spec).await;
    let mark = history.mark();
    let after = history
        .first(
            mark,
            "the update is done, and all locks are held by new pods",
            |seen| {
                seen.is_ready()
                    && seen.resource.metadata.generation == changed.metadata.generation
                    && seen.status()["summary"]["locks"] == "4/4"
                    && owners(seen)
                        .iter()
                        .all(|pod| !pod.is_empty() && !old.contains(pod))
            },
        )
        .await;
    println!(
        "a rolling update of three pods, all four locks handed over: {:.1} s",
        lockstep::clock::mono().since(begun).as_secs_f64()
    );
    assert_eq!(after.says("LocksHeld"), "True/AllHeld");
    history.never(mark, "nothing was wrong at any time", |seen| {
        seen.says("LocksHeld").starts_with("False")
    });
    assert!(
        after.status()["recent"].is_null(),
        "{:#}",
        after.status()["recent"]
    );
    assert_eq!(place.warnings("web").await, Vec::<String>::new());
    assert_eq!(place.count("web", "RolloutComplete").await, 2);
}
