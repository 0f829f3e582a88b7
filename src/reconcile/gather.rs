//! The first part of a pass: what is known of a resource, its children, and who holds its locks. I/O: of Secrets and of the
//! observers; the rest is in the caches.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;

use super::{Entry, Pass, credentials};
use crate::{
    api::CoordinatedWorkload,
    clock,
    domain::{
        assessment::StoreView,
        children::{Children, Live, LiveChildren},
        locks::Mono,
        memory::Memory,
        neighbours::strangers,
        workload::Workload,
    },
    observer::{Interest, Renewed, RenewedSet, Servers, WorkloadKey},
};

/// An answer of the apiserver counts for more than a cache that shows an older version, or nothing, for this long: by
/// then the watch has come so far, and what it doesn't show is gone.
const WATCH_LAG: Duration = Duration::from_secs(10);

impl Pass<'_> {
    /// The resource as it is known best: our own last write may be newer than the cache. A new object under an old name
    /// starts anew.
    pub(super) fn adopt(&mut self, cached: &CoordinatedWorkload) -> CoordinatedWorkload {
        let mut resource = cached.clone();
        let uid = resource.uid().unwrap_or_default();
        if self.entry.uid != uid {
            self.context.observers.release(&self.key);
            let status = resource.status.clone().unwrap_or_default();
            *self.entry = Entry {
                uid,
                memory: Memory::from_status(&status),
                ..Entry::default()
            };
        }
        if let Some((version, status)) = &self.entry.written {
            if is_newer(version, &resource.resource_version().unwrap_or_default()) {
                resource.metadata.resource_version = Some(version.clone());
                resource.status = Some(status.clone());
            } else {
                self.entry.written = None;
            }
        }
        resource
    }

    /// The children as they are known best, and when to look again at one that no watch shows.
    pub(super) fn live_children(&mut self) -> (LiveChildren, Option<Mono>) {
        let now = clock::mono();
        let mut lagging = None;
        let live = Children::from_fn(|kind| {
            let cached = self.context.children.get(kind, &self.key);
            let newer = self.entry.newer.get_mut(kind);
            let version = cached.as_ref().map_or("", Live::resource_version);
            let outruns = |(answered, live): &(Mono, Live)| {
                now.since(*answered) < WATCH_LAG && is_newer(live.resource_version(), version)
            };
            if !newer.as_ref().is_some_and(outruns) {
                *newer = None;
            }
            if let (Some((answered, _)), None) = (&*newer, &cached) {
                // Either the watch is late, or it is gone: by then that is certain.
                lagging = lagging.into_iter().chain([*answered + WATCH_LAG]).min();
            }
            newer.as_ref().map(|(_, live)| live.clone()).or(cached)
        });
        (live, lagging)
    }

    /// The declared locks of sets that renew, and where their renewals are counted.
    fn renewed(&mut self, workload: &Workload) -> Vec<Renewed> {
        let tallies = &mut self.entry.renewals;
        let mut before = std::mem::take(tallies);
        let mut renewed = Vec::new();
        let mut first = 0;
        for set in &workload.locks {
            let count = set.locks.len();
            if let Some(interval) = set.renew_interval.filter(|_| count > 0) {
                let tally = before.remove(&set.name).unwrap_or_default();
                tallies.insert(set.name.clone(), tally.clone());
                let set = Arc::new(RenewedSet { interval, tally });
                renewed.push(Renewed { first, count, set });
            }
            first += count;
        }
        renewed
    }

    pub(super) async fn observe(&mut self, workload: &Workload) -> Option<StoreView> {
        let store = workload.store.as_ref()?;
        let interest = Interest {
            locks: workload.probes().cloned().collect(),
            places: workload.places().cloned().collect(),
            renewed: self.renewed(workload),
        };
        let reader = credentials::Reader {
            cluster: &self.context.cluster,
            namespace: &self.key.namespace,
            telemetry: &self.context.telemetry,
        };
        let credentials = &mut self.entry.credentials;
        let observers = &self.context.observers;
        let seen = async {
            let targets = credentials.targets(reader, store, clock::mono()).await?;
            let seen = observers.observe(&self.key, targets.clone(), interest.clone());
            if !credentials.renew(reader, &seen, clock::mono()).await? {
                return Ok((targets, seen));
            }
            let targets = credentials.targets(reader, store, clock::mono()).await?;
            let seen = observers.observe(&self.key, targets.clone(), interest);
            Ok((targets, seen))
        };
        let (targets, mut observations) = match seen.await {
            Ok(seen) => seen,
            Err(trouble) => {
                observers.release(&self.key);
                return Some(StoreView {
                    place: credentials::place(store, &[]),
                    port: None,
                    identity: 0,
                    seen: Err(trouble),
                });
            }
        };
        let port = match targets.first().map(|target| &target.servers) {
            Some(Servers::One(host)) => Some(host.port),
            Some(Servers::Sentinel(_) | Servers::Cluster(_)) | None => None,
        };
        let observation = if observations.len() > 1 {
            self.entry.memory.quorum.combine(&observations, clock::mono())
        } else {
            observations.pop()?
        };
        Some(StoreView {
            place: credentials::place(store, &targets),
            port,
            identity: self.context.hasher.hash_one(credentials::servers(&targets)),
            seen: Ok(observation),
        })
    }

    /// Pods of other workloads of the namespace that hold our locks.
    pub(super) fn strangers(
        &self,
        workload: &Workload,
        store: Option<&StoreView>,
    ) -> BTreeMap<String, String> {
        let observation = store.and_then(|store| store.seen.as_ref().ok());
        let mut strangers =
            observation.map_or_else(BTreeMap::new, |observation| strangers(workload, observation));
        strangers.retain(|pod, of| {
            let namespace = self.key.namespace.clone();
            let key = WorkloadKey {
                namespace,
                name: of.clone(),
            };
            self.context.pods.has(&key, pod)
        });
        strangers
    }
}

/// Whether version `a` of an object is newer than `b`. The apiserver's versions are integers and comparable.
fn is_newer(a: &str, b: &str) -> bool {
    a.parse::<u64>().unwrap_or(0) > b.parse::<u64>().unwrap_or(0)
}
