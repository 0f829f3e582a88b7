//! A queue in which nothing is wrong, worked by BullMQ itself, costs no write and no word. I/O.

use std::time::Duration;

use lockstep_workers::{Library, Options, Worker};
use serde_json::json;

use super::audit;
use super::crowd::{Crowd, key};
use super::place::{Place, Seen, spec};
use super::story::watches_only;

const NAME: &str = "queue";
/// The workers of the pod's process. Each works
const WORKERS: usize = 4;
/// so many jobs, one after the other, and begins one every
const JOBS: u32 = 100;
const PACE: Duration = Duration::from_millis(200);
/// The lock of a job is renewed after half of it. Short: one that isn't must be lost before patience is.
const TTL: Duration = Duration::from_secs(6);

pub(crate) async fn run(place: &Place, crowd: &Crowd, redis: &str) {
    let mut spec = spec(1);
    spec["redis"] = json!({ "url": redis });
    spec["locks"] = json!([{
        "name": "jobs", "dialect": "BullMQ", "hold": "Intermittent", "names": ["orders"],
        "ttl": format!("{}s", TTL.as_secs()), "renewInterval": format!("{}s", TTL.as_secs() / 2),
    }]);
    place.apply(NAME, &spec).await;
    let pod = place.ready_pods(NAME, 1).await.remove(0);
    let workers = start(redis, &pod).await;
    let queue = key(&place.namespace, NAME);
    let is_well =
        |seen: &Seen| seen.says("Ready") == "True/Reconciled" && seen.says("LocksHeld") == "True/AllHeld";
    crowd.one(&queue, "it is watched", is_well).await;
    crowd.rests(Duration::from_secs(3)).await;

    let events = place.events(NAME).await.len();
    let mark = audit::now();
    let begun = lockstep::clock::mono();
    let mut workers = work(workers).await;
    let seconds = lockstep::clock::mono().since(begun).as_secs_f64();
    let jobs = JOBS * u32::try_from(WORKERS).unwrap();
    println!(
        "{jobs} jobs in {seconds:.1} s: {:.1} a second",
        f64::from(jobs) / seconds
    );
    watches_only(&audit::requests(&place.user(), mark));
    assert_eq!(place.events(NAME).await.len(), events, "nothing is said");

    // It was watched all the while: a worker that hangs loses its job's lock, and that is said.
    let hung = tokio::task::spawn_blocking(move || {
        let mut worker = workers.remove(0);
        worker.take().unwrap();
        worker.freeze().unwrap();
        (worker, workers)
    })
    .await
    .unwrap();
    let is_told = |seen: &Seen| {
        seen.status()["recent"]
            .as_array()
            .is_some_and(|recent| !recent.is_empty())
    };
    crowd.one(&queue, "a lost job is told", is_told).await;
    let said = place.events(NAME).await.split_off(events);
    let reasons: Vec<_> = said.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["LocksLost"]);
    tokio::task::spawn_blocking(|| drop(hung)).await.unwrap();
}

/// The workers of one process, in the pod's name.
async fn start(redis: &str, pod: &str) -> Vec<Worker> {
    let options = Options::new(redis, "orders").owner(pod).ttl(TTL);
    let starts = (0..WORKERS).map(|number| {
        let options = options.clone().job(format!("job-{number}"));
        tokio::task::spawn_blocking(move || {
            let mut worker = Worker::start(Library::BullMq, &options).unwrap();
            // The first job makes the queue.
            worker.take().unwrap();
            worker.release().unwrap();
            worker
        })
    });
    all(starts).await
}

/// Each takes, works and finishes its jobs.
async fn work(workers: Vec<Worker>) -> Vec<Worker> {
    let works = workers.into_iter().map(|mut worker| {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            for _ in 0..JOBS {
                let next = tokio::time::Instant::now() + PACE;
                worker.take().unwrap();
                worker.release().unwrap();
                runtime.block_on(tokio::time::sleep_until(next));
            }
            worker
        })
    });
    all(works).await
}

async fn all<T>(tasks: impl IntoIterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let tasks: Vec<_> = tasks.into_iter().collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}
