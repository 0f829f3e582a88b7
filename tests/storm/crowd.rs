//! The resources, and what a watch shows of them and of their pods. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event as Said;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use lockstep::api::{CoordinatedWorkload, WORKLOAD_LABEL};
use lockstep::domain::locks::Mono;
use serde_json::{Value, json};

use super::holders::{RENEWAL, TTL};
use super::place::{Place, Seen, is_ready, spec};

/// Locks of each resource.
pub(crate) const LOCKS: usize = 10;
/// Longest wait for what takes long with so many of them on few cores.
const PATIENCE: Duration = Duration::from_mins(5);

/// Resources that are being made at a time.
const UNDER_WAY: usize = 40;
/// How often it is looked whether what is waited for is there.
const LOOK: Duration = Duration::from_millis(100);

/// A resource: `namespace/name`.
pub(crate) type Key = String;
/// What the conditions of a resource say, by type, such as `True/AllHeld`.
pub(crate) type Words = BTreeMap<String, String>;

/// What the watches showed.
#[derive(Default)]
struct Shown {
    /// Each state of each resource, and when it came.
    resources: Mutex<BTreeMap<Key, Vec<(Mono, Words)>>>,
    last: Mutex<BTreeMap<Key, Seen>>,
    /// The pod of each resource, once it is Ready.
    pods: Mutex<BTreeMap<Key, String>>,
}

/// All resources.
pub(crate) struct Crowd {
    shown: Arc<Shown>,
    client: Client,
}

impl Crowd {
    /// Follows all resources of the cluster as long as `place` exists.
    pub(crate) fn follow(place: &Place) -> Self {
        let shown = Arc::<Shown>::default();
        let resources = Api::<CoordinatedWorkload>::all(place.client.clone());
        let mut changes = watcher::watcher(resources, watcher::Config::default()).boxed();
        let seen = Arc::clone(&shown);
        place.background(async move {
            while let Some(change) = changes.next().await {
                if let Ok(Event::Apply(resource) | Event::InitApply(resource)) = change {
                    seen.resource(resource);
                }
            }
        });
        let pods = Api::<Pod>::all(place.client.clone());
        let mut changes = watcher::watcher(pods, watcher::Config::default().labels(WORKLOAD_LABEL)).boxed();
        let seen = Arc::clone(&shown);
        place.background(async move {
            while let Some(change) = changes.next().await {
                if let Ok(Event::Apply(pod) | Event::InitApply(pod)) = change {
                    seen.pod(&pod);
                }
            }
        });
        Self {
            shown,
            client: place.client.clone(),
        }
    }

    /// Makes so many resources, spread over the places, and waits until each says this. Few are under way at a time: what
    /// takes long for each of them is written more often.
    pub(crate) async fn make(
        &self,
        places: &[Place],
        count: usize,
        redis: &str,
        fits: impl Fn(&Words) -> bool,
    ) {
        let fits = &fits;
        stream::iter(0..count)
            .for_each_concurrent(UNDER_WAY, async |number| {
                let place = &places[number % places.len()];
                let name = format!("web-{number}");
                place.apply(&name, &resource(number, redis)).await;
                let what = "it was made";
                self.one(&key(&place.namespace, &name), what, |seen| {
                    fits(&words(&seen.resource))
                })
                .await;
            })
            .await;
    }

    /// The pods as they become Ready, each once.
    pub(crate) async fn each_pod(&self, count: usize, mut found: impl FnMut(&Key, &str)) {
        let deadline = lockstep::clock::mono() + PATIENCE;
        let mut known = BTreeSet::new();
        while known.len() < count {
            let pods = self.shown.pods.lock().unwrap().clone();
            for (key, pod) in &pods {
                if known.insert(key.clone()) {
                    found(key, pod);
                }
            }
            assert!(
                lockstep::clock::mono() < deadline,
                "in vain: {} of {count} pods are ready",
                known.len()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until every resource says this.
    pub(crate) async fn until(&self, count: usize, what: &str, fits: impl Fn(&Words) -> bool) {
        let deadline = lockstep::clock::mono() + PATIENCE;
        loop {
            let all_fit = {
                let resources = self.shown.resources.lock().unwrap();
                let fits = |seen: &Vec<(Mono, Words)>| seen.last().is_some_and(|(_, words)| fits(words));
                let rest: Vec<_> = resources.iter().filter(|(_, seen)| !fits(seen)).collect();
                let some: Vec<_> = rest
                    .iter()
                    .take(5)
                    .map(|(key, seen)| (key, seen.last()))
                    .collect();
                assert!(
                    lockstep::clock::mono() < deadline,
                    "in vain: {what}; of {} resources {} don't, among them {some:#?}",
                    resources.len(),
                    rest.len(),
                );
                resources.len() == count && rest.is_empty()
            };
            if all_fit {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// When each resource that ever said this since a moment first did.
    pub(crate) fn first(&self, from: Mono, fits: impl Fn(&Words) -> bool) -> Vec<Mono> {
        let resources = self.shown.resources.lock().unwrap();
        let first = |seen: &Vec<(Mono, Words)>| {
            let fitting = seen.iter().find(|(at, words)| *at > from && fits(words));
            fitting.map(|(at, _)| *at)
        };
        resources.values().filter_map(first).collect()
    }

    /// When each resource changed last.
    pub(crate) fn last_changes(&self) -> Vec<Mono> {
        let resources = self.shown.resources.lock().unwrap();
        let last = |seen: &Vec<(Mono, Words)>| seen.last().map(|(at, _)| *at);
        resources.values().filter_map(last).collect()
    }

    /// Waits until one resource is like this.
    pub(crate) async fn one(&self, key: &str, what: &str, fits: impl Fn(&Seen) -> bool) {
        let deadline = lockstep::clock::mono() + PATIENCE;
        loop {
            if self.shown.last.lock().unwrap().get(key).is_some_and(&fits) {
                return;
            }
            if lockstep::clock::mono() > deadline {
                let last = self.shown.last.lock().unwrap().get(key).map(Seen::status);
                panic!("in vain: {what}: {key}: {last:#?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until no resource changed for so long.
    pub(crate) async fn rests(&self, pause: Duration) {
        loop {
            let changes = |shown: &Shown| {
                shown
                    .resources
                    .lock()
                    .unwrap()
                    .values()
                    .map(Vec::len)
                    .sum::<usize>()
            };
            let before = changes(&self.shown);
            tokio::time::sleep(pause).await;
            if changes(&self.shown) == before {
                return;
            }
        }
    }

    /// What each condition of any resource said since a moment, and what it said then, with how many resources said so.
    pub(crate) fn words(&self, from: Mono) -> BTreeMap<(String, String), usize> {
        let mut words = BTreeMap::new();
        for seen in self.shown.resources.lock().unwrap().values() {
            let first = seen.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
            let said: BTreeSet<_> = seen[first..].iter().flat_map(|(_, words)| words).collect();
            for (condition, verdict) in said {
                *words.entry((condition.clone(), verdict.clone())).or_default() += 1;
            }
        }
        words
    }

    /// Each resource as it was seen last.
    pub(crate) fn last(&self) -> BTreeMap<Key, Seen> {
        self.shown.last.lock().unwrap().clone()
    }

    /// The pod of each resource.
    pub(crate) fn pods(&self) -> BTreeMap<Key, String> {
        self.shown.pods.lock().unwrap().clone()
    }

    /// Names of all events about resources, with the resource and the reason.
    pub(crate) async fn events(&self) -> BTreeMap<String, (Key, String)> {
        let about = ListParams::default().fields("regarding.kind=CoordinatedWorkload");
        let list = Api::<Said>::all(self.client.clone()).list(&about).await.unwrap();
        let said = list.items.into_iter().map(|event| {
            let name = format!("{}/{}", event.namespace().unwrap_or_default(), event.name_any());
            let about = event.regarding.unwrap_or_default();
            let key = format!(
                "{}/{}",
                about.namespace.unwrap_or_default(),
                about.name.unwrap_or_default()
            );
            (name, (key, event.reason.unwrap_or_default()))
        });
        said.collect()
    }
}

impl Shown {
    fn resource(&self, resource: CoordinatedWorkload) {
        let key = key(&resource.namespace().unwrap_or_default(), &resource.name_any());
        let words = words(&resource);
        let mut all = self.resources.lock().unwrap();
        all.entry(key.clone())
            .or_default()
            .push((lockstep::clock::mono(), words));
        let at: Timestamp = lockstep::clock::wall();
        self.last.lock().unwrap().insert(key, Seen { at, resource });
    }

    fn pod(&self, pod: &Pod) {
        let name = pod.labels().get(WORKLOAD_LABEL).cloned().unwrap_or_default();
        if is_ready(pod) {
            let key = key(&pod.namespace().unwrap_or_default(), &name);
            self.pods.lock().unwrap().insert(key, pod.name_any());
        }
    }
}

fn words(resource: &CoordinatedWorkload) -> Words {
    let conditions = resource.status.iter().flat_map(|status| &status.conditions);
    conditions
        .map(|condition| {
            let verdict = format!("{}/{}", condition.status, condition.reason);
            (condition.type_.clone(), verdict)
        })
        .collect()
}

pub(crate) fn key(namespace: &str, name: &str) -> Key {
    format!("{namespace}/{name}")
}

/// The locks of a resource, as their names are in the spec.
pub(crate) fn names(name: &str) -> impl Iterator<Item = String> {
    (0..LOCKS).map(move |lock| format!("{name}:collection-{lock}"))
}

/// One pod and ten locks, and no children but the Deployment: it is not their making that is tested. Nor are the numbers of
/// balance, which change once more when a pod has been warming up long enough.
fn resource(number: usize, redis: &str) -> Value {
    let mut spec = spec(1);
    spec["disruptionBudget"] = json!({ "enabled": false });
    spec["networkPolicy"] = json!({ "enabled": false });
    spec["redis"] = json!({ "url": redis });
    spec["locks"] = json!([{
        "name": "collections", "dialect": "Rigatoni", "hold": "Continuous",
        "names": names(&format!("web-{number}")).collect::<Vec<_>>(),
        "ttl": format!("{}s", TTL.as_secs()), "renewInterval": format!("{}s", RENEWAL.as_secs()),
        "balance": { "for": "1s", "warmUp": "1s" },
    }]);
    spec
}
