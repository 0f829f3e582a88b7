//! What happens to a lock of each library.

use std::time::Duration;

use lockstep::api::status::LockState;
use lockstep::clock;
use lockstep::domain::locks::dialect::{self, Named};
use lockstep::domain::locks::{KeyState, Text};
use lockstep_workers::{Library, Options, Worker};
use serde_json::json;

use crate::scene::{A, B, Look, Scene};
use crate::table::Row;

/// The time to live here: short, and whole seconds, as some libraries know no others.
const TTL: Duration = Duration::from_secs(3);
/// How often a lock is seen to be renewed.
const RENEWALS: u32 = 10;

fn worker(scene: &Scene, library: Library, owner: Option<&str>) -> Worker {
    let options = Options::new(scene.redis.url(), "orders").ttl(TTL);
    let options = match owner {
        Some(owner) => options.owner(owner),
        None => options,
    };
    Worker::start(library, &options).expect("a worker")
}

/// Looks until the lock is in the hands of `pod`, or in hands that can't be told.
fn held(scene: &mut Scene, pod: Option<&str>) -> Look {
    let scheme = scene.workload.locks[0].scheme.clone();
    scene.wait(&format!("a holder: {pod:?}"), |look| {
        let hold = look.hold()?;
        let told = match scheme.named(hold) {
            Named::Owner(owner) => Some(owner.as_str().to_owned()),
            Named::Nobody => None,
            Named::Unfit => panic!("{look:#?}"),
        };
        (told.as_deref() == pod).then_some(())
    });
    let look = scene.look();
    let declared = !look.seen.keys.is_empty();
    match (look.judged.first(), pod) {
        (Some(judged), Some(pod)) => {
            assert_eq!(
                (judged.state, judged.pod.as_deref()),
                (LockState::Held, Some(pod)),
                "{look:#?}"
            );
        }
        (Some(judged), None) => {
            assert_eq!(
                (judged.state, judged.good),
                (LockState::Unattributed, true),
                "{look:#?}"
            );
        }
        // What is found counts once it is known to be a pod's.
        (None, None) => assert!(!declared, "{look:#?}"),
        (None, Some(_)) => panic!("{look:#?}"),
    }
    if declared {
        let reason = if pod.is_some() {
            "AllHeld"
        } else {
            "HeldUnattributed"
        };
        assert_eq!(look.reason("LocksHeld"), reason, "{look:#?}");
    }
    look
}

pub(crate) fn is_taken_renewed_and_released(row: &Row) {
    let (set, told) = row.best();
    let mut scene = Scene::new(&set);
    let library = row.library;
    let mut holder = worker(&scene, library, Some(A));
    let before = scene.up();
    assert!(before.hold().is_none(), "{before:#?}");

    holder.take().expect("taken");
    let taken = held(&mut scene, told.then_some(A));
    let hold = taken.hold().unwrap().clone();
    assert!(hold.seen_taken || row.is_job(), "{taken:#?}");
    let ttl = hold.deadline.unwrap().since(hold.first_seen);
    assert!(ttl <= TTL + Duration::from_secs(1), "{ttl:?}");

    let mut last = hold.clone();
    for _ in 0..RENEWALS {
        if !library.renews() {
            // Later than a round trip takes: else it would show no later expiry.
            let soon = last.last_answer + Duration::from_millis(100);
            scene.wait("some time to run", |_| (clock::mono() > soon).then_some(()));
            holder.extend().expect("extended");
        }
        last = scene.wait("a renewal", |look| {
            let now = look.hold()?;
            assert_eq!(
                (&now.value, now.first_seen),
                (&hold.value, hold.first_seen),
                "one hold"
            );
            (now.last_renewed > last.last_renewed).then(|| now.clone())
        });
        held(&mut scene, told.then_some(A));
    }
    let defaults = dialect::defaults(scene.workload.locks[0].dialect);
    if let (true, Some(ttl), Some(interval)) = (library.renews(), defaults.ttl, defaults.renew_interval) {
        // As the library's own default, in proportion: BullMQ's is an upper bound.
        let expected = TTL.mul_f64(interval.as_secs_f64() / ttl.as_secs_f64());
        let found = last.last_renewed.unwrap().since(hold.first_seen) / RENEWALS;
        let shortest = if library == Library::BullMq {
            expected / 2
        } else {
            expected
        };
        assert!(
            shortest.mul_f64(0.7) < found && found < expected.mul_f64(1.4),
            "renewed every {found:?}, not {expected:?}"
        );
    }

    holder.release().expect("released");
    let end = scene.wait("the release", |look| {
        let key = look.key()?;
        matches!(key.state, KeyState::Absent { .. }).then(|| key.ends.clone())
    });
    let [end] = &end[..] else { panic!("{end:#?}") };
    assert!(end.watched && end.ended < end.hold.deadline.unwrap(), "{end:#?}");
    let after = scene.look();
    assert_eq!(after.status.recent, [], "a release is no loss");
    assert!(holder.terminate().expect("an end").success());
}

pub(crate) fn outlives_its_killed_holder_and_is_taken_over(row: &Row) {
    let (set, told) = row.best();
    let mut scene = Scene::new(&set);
    scene.up();
    let mut holder = worker(&scene, row.library, Some(A));
    let mut heir = worker(&scene, row.library, Some(B));
    holder.take().expect("taken");
    let first = held(&mut scene, told.then_some(A)).hold().unwrap().clone();
    heir.ask_to_take().expect("asked");
    if row.library.renews() {
        scene.wait("a renewal", |look| look.hold()?.last_renewed.map(drop));
    }
    holder.kill().expect("killed");
    scene.pods.retain(|pod| pod.name != A);
    scene.look();
    heir.await_taken().expect("taken over");
    scene.wait("the heir", |look| {
        (look.hold()?.value != first.value).then_some(())
    });
    let look = held(&mut scene, told.then_some(B));
    let end = look.key().unwrap().ends.first().unwrap();
    let deadline = end.hold.deadline.unwrap();
    assert!(
        end.watched && end.ended + end.hold.uncertainty >= deadline,
        "{end:#?}"
    );
    assert_eq!(end.hold.value, first.value);

    let causes: Vec<_> = look
        .status
        .recent
        .iter()
        .map(|incident| (incident.cause.as_str(), incident.from.as_deref()))
        .collect();
    let expected = match (told, row.is_job()) {
        (true, _) => vec![("HolderGone", Some(A))],
        (false, false) => vec![("Expired", None)],
        (false, true) => vec![],
    };
    assert_eq!(causes, expected, "{look:#?}");
}

pub(crate) fn is_in_good_hands_that_nobody_knows(row: &Row) {
    let mut scene = Scene::new(&row.untold().unwrap());
    scene.up();
    let mut holder = worker(&scene, row.library, None);
    holder.take().expect("taken");
    let look = held(&mut scene, None);
    assert_eq!(look.status.recent, []);
    // Also of workers that could have a name, once it is certain that they have none.
    scene.wait("the advice", |look| {
        let mut advisories = look.status.advisories.iter();
        advisories
            .any(|advice| advice.code == "OwnersNotTold")
            .then_some(())
    });
    holder.release().expect("released");
    scene.wait("the release", |look| {
        matches!(look.key()?.state, KeyState::Absent { .. }).then_some(())
    });
}

/// The library's own time to live is the one that its dialect assumes.
pub(crate) fn has_the_dialect_s_time_to_live(row: &Row) {
    let (mut set, _) = row.best();
    if let Some(untold) = row.untold() {
        set = untold;
    }
    for field in ["ttl", "renewInterval"] {
        set.as_object_mut().unwrap().remove(field);
    }
    let mut scene = Scene::new(&set);
    scene.up();
    let options = Options::new(scene.redis.url(), "orders");
    let mut holder = Worker::start(row.library, &options).expect("a worker");
    holder.take().expect("taken");
    let defaults = dialect::defaults(scene.workload.locks[0].dialect);
    if row.library.endless_by_default() {
        assert_eq!(defaults.ttl, None);
        let look = scene
            .wait("no expiry", |look| {
                look.hold()?.no_expiry.then(|| look.hold().cloned())
            })
            .unwrap();
        assert_eq!(look.deadline, None);
    } else {
        let seen = scene.wait("an expiry", |look| look.hold()?.largest_ttl);
        // Elsewhere the application must say it, and the program does.
        if let Some(ttl) = defaults.ttl {
            assert!(
                ttl.saturating_sub(Duration::from_secs(3)) <= seen && seen <= ttl,
                "{seen:?}, not {ttl:?}"
            );
        }
    }
}

pub(crate) fn is_nobody_s_while_several_have_it(row: &Row) {
    let mut scene = Scene::new(&row.told().unwrap());
    scene.up();
    let mut first = worker(&scene, row.library, Some(A));
    let mut second = worker(&scene, row.library, Some(B));
    first.take().expect("taken");
    held(&mut scene, Some(A));
    second.take().expect("taken");
    scene.wait("both", |look| (look.hold()?.text == Text::Several).then_some(()));
    held(&mut scene, None);
    first.release().expect("released");
    held(&mut scene, Some(B));
    second.release().expect("released");
    scene.wait("the release", |look| {
        matches!(look.key()?.state, KeyState::Absent { .. }).then_some(())
    });
    assert_eq!(scene.look().status.recent, []);
}

pub(crate) fn a_queue_is_read_through_its_own_index() {
    for (library, dialect) in [(Library::Bull, "Bull"), (Library::BullMq, "BullMQ")] {
        let set = json!({ "hold": "Intermittent", "dialect": dialect, "names": ["orders"], "ttl": "3s", "renewInterval": "1s" });
        let mut scene = Scene::new(&set);
        let mut before = worker(&scene, library, Some(A));
        before.take().expect("taken");
        scene.up();
        scene.wait("a job that ran already", |look| look.hold().map(drop));
        let options = Options::new(scene.redis.url(), "orders")
            .ttl(TTL)
            .owner(B)
            .job("other");
        let mut after = Worker::start(library, &options).expect("a worker");
        after.take().expect("taken");
        let keys = scene.wait("a job that came", |look| {
            let keys = &look.seen.discovered[0].keys;
            (keys.len() == 2).then(|| keys.clone())
        });
        let names: Vec<_> = keys
            .iter()
            .map(|key| key.probe.key.escape_ascii().to_string())
            .collect();
        assert_eq!(names, ["bull:orders:job:lock", "bull:orders:other:lock"]);
        if library == Library::BullMq {
            scene.wait("both workers' names", |look| {
                let pods: Vec<_> = look
                    .judged
                    .iter()
                    .filter_map(|judged| judged.pod.as_deref())
                    .collect();
                (pods == [A, B]).then_some(())
            });
        }
        before.release().expect("released");
        after.release().expect("released");
        scene.wait("their ends", |look| {
            let mut keys = look.seen.discovered[0].keys.iter();
            keys.all(|key| matches!(key.state, KeyState::Absent { .. }))
                .then_some(())
        });
        assert_eq!(scene.calls("scan"), 0, "{library}");
    }
}

pub(crate) fn jobs_of_every_queue_are_found_by_their_prefix() {
    let set = json!({ "hold": "Intermittent", "dialect": "BullMQ", "discover": true, "ttl": "3s", "renewInterval": "1s" });
    let mut scene = Scene::new(&set);
    let mut holder = worker(&scene, Library::BullMq, Some(A));
    holder.take().expect("taken");
    let look = held(&mut scene, Some(A));
    assert_eq!(look.judged[0].name, "orders:job");
    holder.kill().expect("killed");
    scene.pods.retain(|pod| pod.name != A);
    let causes = scene.wait("the loss", |look| {
        let recent = look.status.recent.iter();
        let causes: Vec<_> = recent.map(|incident| incident.cause.clone()).collect();
        (!causes.is_empty()).then_some(causes)
    });
    assert_eq!(causes, ["HolderGone"]);
}

pub(crate) fn locks_under_a_prefix_are_found_by_one_scan_and_then_announced() {
    let set = json!({ "hold": "Intermittent", "dialect": "Rigatoni", "discover": true, "ttl": "3s", "renewInterval": "1s" });
    let mut scene = Scene::new(&set);
    scene
        .redis
        .cli(&["SET", "rigatoni:resume_token:x", "no lock"])
        .unwrap();
    let mut before = worker(&scene, Library::Rigatoni, Some(A));
    before.take().expect("taken");
    scene.up();
    held(&mut scene, Some(A));
    let scans = scene.calls("scan");
    assert!(scans > 0);
    let options = Options::new(scene.redis.url(), "mydb:users").ttl(TTL).owner(B);
    let mut after = Worker::start(Library::Rigatoni, &options).expect("a worker");
    after.take().expect("taken");
    let names = scene.wait("another lock", |look| {
        let judged = look.judged.iter();
        let names: Vec<_> = judged
            .map(|judged| (judged.name.clone(), judged.pod.clone()))
            .collect();
        (names.len() == 2).then_some(names)
    });
    let said: Vec<_> = names
        .iter()
        .map(|(name, pod)| (name.as_str(), pod.as_deref()))
        .collect();
    assert_eq!(said, [("mydb:orders", Some(A)), ("mydb:users", Some(B))]);
    assert_eq!(scene.calls("scan"), scans, "once per connection");
}
