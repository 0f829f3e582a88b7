//! One pass over one resource: gather → decide → execute → report. I/O; the only place that knows the order of effects.
//!
//! Events are posted before the status that they belong to, under names made from what they announce: a crash between
//! the two repeats neither. Whatever fails is tried again with backoff; what was concluded meanwhile is not lost, since
//! memory and its outbox outlive the pass.

mod credentials;
mod events;
mod index;
mod neighbours;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    hash::BuildHasher as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{ResourceExt as _, runtime::controller::Action};

use self::credentials::Credentials;
pub use self::events::event;
pub use self::index::{ChildCaches, PodIndex};
pub use self::neighbours::{Concerned, NEIGHBOURS, NeighbourIndex};
use crate::{
    api::{CoordinatedWorkload, CoordinatedWorkloadStatus},
    clock,
    cluster::Cluster,
    domain::{
        self, Now, Observed,
        assessment::StoreView,
        children::{self, Children, Live, LiveChildren, Outcome},
        locks::Mono,
        memory::Memory,
        neighbours::{Neighbours, strangers},
        status::announce,
        workload::{Workload, parse},
    },
    mutex::lock,
    observer::{Interest, Observers, Servers, WorkloadKey},
    retry::{Backoff, draw},
    telemetry::{Telemetry, workload::Concluded},
};

/// Status is written at most this often per resource.
const STATUS_PACE: Duration = Duration::from_secs(2);
/// Without any reason, a resource is looked at again after this long, unless the operator is told otherwise; give or
/// take a fifth, so that what began together does not stay together.
pub const RESYNC: Duration = Duration::from_mins(10);

/// An answer of the apiserver counts for more than a cache that shows an older version, or nothing, for this long: by
/// then the watch has come so far, and what it doesn't show is gone.
const WATCH_LAG: Duration = Duration::from_secs(10);
/// While this process may not write for a moment, what it would have written is looked at again after this long.
const NOT_LEADING: Duration = Duration::from_secs(2);
/// Whatever time alone changes is looked at again no sooner than this; what happens triggers a pass by itself.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// What every pass shares.
pub struct Context {
    /// Writes to Kubernetes.
    pub cluster: Cluster,
    /// Redis.
    pub observers: Arc<Observers>,
    /// The children of all resources, as the watches hold them.
    pub children: ChildCaches,
    /// The pods of all resources.
    pub pods: PodIndex,
    /// Others' autoscalers and budgets.
    pub neighbours: NeighbourIndex,
    /// What the operator says of itself.
    pub telemetry: Telemetry,
    /// See [`RESYNC`].
    resync: Duration,
    workloads: Mutex<HashMap<WorkloadKey, Arc<tokio::sync::Mutex<Entry>>>>,
    /// Tells targets apart; keyed anew in every process, so that it reveals nothing of a password.
    hasher: std::hash::RandomState,
}

/// What one resource keeps between passes.
#[derive(Default)]
struct Entry {
    uid: String,
    memory: Memory,
    /// Status and version of the resource after the last write: newer than the cache for a moment.
    written: Option<(String, CoordinatedWorkloadStatus)>,
    /// Children as the apiserver answered, and when: newer than the cache for a moment.
    newer: Children<Option<(Mono, Live)>>,
    /// The generation whose children could not be written, what came of it, and when to try again.
    failed: Option<(i64, Outcome)>,
    apply_backoff: Backoff,
    report_backoff: Backoff,
    credentials: Credentials,
}

/// A pass could not be ended; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An event could not be posted.
    #[error("an event could not be posted")]
    Event(#[source] crate::cluster::Error),
    /// Status could not be written.
    #[error("status could not be written")]
    Status(#[source] crate::cluster::Error),
}

impl Error {
    /// Closed vocabulary for metrics and logs.
    #[must_use]
    pub fn category(&self) -> domain::category::Category {
        match self {
            Self::Event(error) | Self::Status(error) => error.category(),
        }
    }
}

impl Context {
    /// The context of a fresh process; `resync`: see [`RESYNC`].
    #[must_use]
    pub fn new(
        cluster: Cluster,
        observers: Arc<Observers>,
        children: ChildCaches,
        resync: Duration,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            cluster,
            observers,
            children,
            pods: PodIndex::default(),
            neighbours: NeighbourIndex::default(),
            telemetry,
            resync,
            workloads: Mutex::default(),
            hasher: std::hash::RandomState::new(),
        }
    }

    /// Forgets a resource that is gone.
    pub fn release(&self, key: &WorkloadKey) {
        self.observers.release(key);
        self.workloads().remove(key);
        self.telemetry.release(key);
    }

    /// The resources of a namespace that were looked at.
    pub fn of_namespace(&self, namespace: &str) -> Vec<WorkloadKey> {
        let known = self.workloads();
        let keys = known.keys().filter(|key| key.namespace == namespace);
        keys.cloned().collect()
    }

    /// Forgets every resource that `exists` does not know.
    pub fn retain(&self, exists: impl Fn(&WorkloadKey) -> bool) {
        let gone: Vec<_> = self
            .workloads()
            .keys()
            .filter(|key| !exists(key))
            .cloned()
            .collect();
        for key in gone {
            self.release(&key);
        }
    }

    fn workloads(&self) -> std::sync::MutexGuard<'_, HashMap<WorkloadKey, Arc<tokio::sync::Mutex<Entry>>>> {
        lock(&self.workloads)
    }

    fn entry(&self, key: &WorkloadKey) -> Arc<tokio::sync::Mutex<Entry>> {
        Arc::clone(self.workloads().entry(key.clone()).or_default())
    }
}

/// Name of the resource, as the observers know it.
#[must_use]
pub fn key_of(resource: &CoordinatedWorkload) -> WorkloadKey {
    WorkloadKey {
        namespace: resource.namespace().unwrap_or_default(),
        name: resource.name_any(),
    }
}

/// One pass over one resource.
pub async fn reconcile(resource: Arc<CoordinatedWorkload>, context: Arc<Context>) -> Result<Action, Error> {
    if resource.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let key = key_of(&resource);
    let entry = context.entry(&key);
    let mut entry = entry.lock().await;
    let measured = context.telemetry.begin(&key);
    let pass = Pass {
        context: &context,
        entry: &mut entry,
        key,
    };
    // Boxed: with everything that it awaits, it is too large for a stack.
    let result = Box::pin(pass.run(&resource)).await;
    measured.ended(result.as_ref().map(|_| ()).map_err(Error::category));
    result
}

/// What to do after a pass that failed: its own backoff decides.
pub fn error_policy(resource: &CoordinatedWorkload, error: &Error, context: &Context) -> Action {
    let key = key_of(resource);
    tracing::warn!(%key, category = error.category().as_str(), error = %chain(error), "the pass will be repeated");
    let now = clock::mono();
    let until = context
        .entry(&key)
        .try_lock()
        .ok()
        .and_then(|entry| entry.report_backoff.until());
    Action::requeue(until.map_or(STATUS_PACE, |until| until.since(now)))
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

fn now() -> Now {
    Now {
        mono: clock::mono(),
        wall: clock::wall(),
    }
}

/// Whether version `a` of an object is newer than `b`. The apiserver's versions are integers and comparable.
fn is_newer(a: &str, b: &str) -> bool {
    a.parse::<u64>().unwrap_or(0) > b.parse::<u64>().unwrap_or(0)
}

struct Pass<'a> {
    context: &'a Context,
    entry: &'a mut Entry,
    key: WorkloadKey,
}

impl Pass<'_> {
    async fn run(mut self, cached: &CoordinatedWorkload) -> Result<Action, Error> {
        let resource = self.adopt(cached);
        // Gather.
        let workload = parse(&resource);
        let (live, lagging) = self.live_children();
        let pods = self.context.pods.of(&self.key);
        let store = match &workload {
            Ok(workload) => self.observe(workload).await,
            Err(_) => None,
        };
        let neighbours = workload.as_ref().map_or_else(
            |_| Neighbours::default(),
            |workload| Neighbours {
                pods: self.strangers(workload, store.as_ref()),
                ..self.context.neighbours.of(&self.key, workload, &live)
            },
        );
        let observed = Observed {
            resource: &resource,
            workload: &workload,
            live: &live,
            pods: &pods,
            neighbours: &neighbours,
            store: store.as_ref(),
        };
        // Decide.
        let decision = domain::decide(&observed, &mut self.entry.memory, now());
        let concluded = Concluded {
            workload: workload.as_ref().ok(),
            assessment: &decision.assessment,
            memory: &self.entry.memory,
            place: store.as_ref().map(|store| store.place.as_str()),
        };
        self.context.telemetry.record(&self.key, concluded);
        // What was concluded stays in memory until it may be said.
        let leads = self.context.cluster.leads();
        self.context.telemetry.leads(leads);
        if !leads {
            return Ok(Action::requeue(NOT_LEADING));
        }
        // Execute.
        let outcome = match (&workload, &decision.children) {
            (Ok(workload), Some((prepared, plan))) if !workload.suspend => {
                self.execute(workload, prepared, plan, &observed).await
            }
            _ => None,
        };
        // Report.
        let at = now();
        let status = domain::report(&observed, &decision, outcome.as_ref(), &mut self.entry.memory, at);
        self.context.telemetry.report(&self.key, &status);
        let status_due = self
            .write(&resource, status, &decision.assessment.findings, at)
            .await;
        let ahead = |moment: Option<Mono>| moment.filter(|moment| *moment > at.mono);
        let recheck = [
            decision.assessment.recheck_at,
            self.entry.memory.children.recheck_at(at.mono),
            ahead(self.entry.apply_backoff.until()),
            ahead(self.entry.credentials.retry_at()),
            ahead(lagging),
        ];
        let wait = next(self.context.resync, recheck, status_due?);
        tracing::trace!(key = %self.key, next = ?wait, "looked at");
        Ok(Action::requeue(wait))
    }

    /// The resource as it is known best: our own last write may be newer than the cache. A new object under an old name
    /// starts anew.
    fn adopt(&mut self, cached: &CoordinatedWorkload) -> CoordinatedWorkload {
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
    fn live_children(&mut self) -> (LiveChildren, Option<Mono>) {
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

    async fn observe(&mut self, workload: &Workload) -> Option<StoreView> {
        let store = workload.store.as_ref()?;
        let interest = Interest {
            locks: workload.probes().cloned().collect(),
            places: workload.places().cloned().collect(),
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
    fn strangers(&self, workload: &Workload, store: Option<&StoreView>) -> BTreeMap<String, String> {
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

    async fn execute(
        &mut self,
        workload: &Workload,
        prepared: &Children<children::Prepared>,
        plan: &children::Plan,
        observed: &Observed<'_>,
    ) -> Option<Outcome> {
        let generation = workload.generation;
        if plan.is_idle() {
            self.entry.apply_backoff.reset();
            self.entry.failed = None;
            return None;
        }
        let mut told = None;
        if let Some((failed, outcome)) = &self.entry.failed {
            if *failed != generation {
                self.entry.apply_backoff.reset();
            } else if !self.entry.apply_backoff.is_over(clock::mono()) {
                told = Some(outcome.clone());
            }
        }
        let Some(told) = told else {
            let outcome = self.context.cluster.apply(workload, prepared, plan).await;
            self.take_in(&outcome, observed);
            if outcome.failures.is_empty() {
                self.entry.apply_backoff.reset();
                self.entry.failed = None;
            } else {
                self.failed(generation, &outcome);
            }
            return Some(outcome);
        };
        // What failed has to wait; the others need not.
        let waiting: Vec<_> = told.failures.iter().map(|failure| failure.child).collect();
        let rest = plan.without(&waiting);
        if told.is_hopeless() || rest.is_idle() {
            return Some(told);
        }
        let mut outcome = self.context.cluster.apply(workload, prepared, &rest).await;
        self.take_in(&outcome, observed);
        let failed = !outcome.failures.is_empty();
        outcome.failures.extend(told.failures);
        outcome.failures.sort_by_key(|failure| failure.child);
        if failed {
            self.failed(generation, &outcome);
        }
        Some(outcome)
    }

    /// Takes in what was written: what is newer than the caches, what it says of others, and what is said of it.
    fn take_in(&mut self, outcome: &Outcome, observed: &Observed<'_>) {
        for (kind, applied) in outcome.children.iter() {
            let Some(applied) = applied else { continue };
            if let Some(live) = &applied.live {
                *self.entry.newer.get_mut(kind) = Some((clock::mono(), live.clone()));
            }
            if matches!(applied.action, children::Action::Adopted { .. }) {
                self.entry.memory.children.adopted.insert(applied.uid.clone());
            }
        }
        for (kind, _) in &outcome.deleted {
            *self.entry.newer.get_mut(*kind) = None;
        }
        let corrected = self.entry.memory.children.drift.record(outcome, clock::mono());
        let said = events::announce_children(
            outcome,
            &self.key.name,
            &corrected,
            observed.is_changed_spec(),
            observed.deployment().and_then(Live::replicas),
        );
        self.entry.memory.outbox.extend(said);
    }

    /// Remembers what failed until it may be tried again.
    fn failed(&mut self, generation: i64, outcome: &Outcome) {
        let failures = &outcome.failures;
        let at_least = failures.iter().filter_map(|failure| failure.retry_after).max();
        for failure in failures {
            self.context.telemetry.failed(failure.kind.category());
            tracing::warn!(
                key = %self.key,
                child = failure.child.kind(),
                category = failure.kind.category().as_str(),
                message = failure.message,
                "a child could not be written"
            );
        }
        self.entry.apply_backoff.failed(clock::mono(), at_least);
        // Told again while waiting: the same failure, but not the same deeds.
        let mut told = outcome.clone();
        for kind in children::ChildKind::ALL {
            if let Some(applied) = told.children.get_mut(kind) {
                applied.live = None;
            }
        }
        self.entry.failed = Some((generation, told));
    }

    /// Posts what waits, and writes status if it changed; says when it may be written if that is later.
    async fn write(
        &mut self,
        resource: &CoordinatedWorkload,
        status: CoordinatedWorkloadStatus,
        findings: &[domain::finding::Finding],
        at: Now,
    ) -> Result<Option<Mono>, Error> {
        let previous = resource.status.clone().unwrap_or_default();
        let changed = status != previous;
        let due = self
            .entry
            .memory
            .status_written
            .map(|last| last + STATUS_PACE)
            .filter(|due| *due > at.mono);
        let due = due.max(self.entry.report_backoff.until().filter(|until| *until > at.mono));
        let write_now = changed && due.is_none();
        if write_now {
            announce(&previous, &status, findings, &mut self.entry.memory);
        }
        if self.entry.report_backoff.is_over(at.mono) {
            self.post(resource).await?;
        }
        if !write_now {
            return Ok(due.filter(|_| changed));
        }
        let version = resource.resource_version().unwrap_or_default();
        let WorkloadKey { namespace, name } = &self.key;
        match self
            .context
            .cluster
            .write_status(namespace, name, &version, &status)
            .await
        {
            Ok(version) => {
                self.entry.memory.status_written = Some(clock::mono());
                self.entry.written = Some((version, status));
                self.entry.report_backoff.reset();
                Ok(None)
            }
            // Somebody wrote in between, or deleted it: the watch will bring it.
            Err(error) if error.is_conflict() || error.is_not_found() => {
                Ok(Some(clock::mono() + STATUS_PACE))
            }
            Err(error) => {
                self.entry.report_backoff.failed(clock::mono(), None);
                Err(Error::Status(error))
            }
        }
    }

    async fn post(&mut self, resource: &CoordinatedWorkload) -> Result<(), Error> {
        while let Some(announcement) = self.entry.memory.outbox.first() {
            let status = resource.status.as_ref();
            let told_until = status.map(|status| status.told_until(announcement.reason));
            let event = events::event(
                resource,
                announcement,
                told_until.unwrap_or_default(),
                clock::wall(),
            );
            match self.context.cluster.post_event(&event).await {
                Ok(_) => {
                    self.context.telemetry.posted(announcement.reason);
                    self.entry.memory.outbox.remove(0);
                }
                Err(error) => {
                    self.entry.report_backoff.failed(clock::mono(), None);
                    return Err(Error::Event(error));
                }
            }
        }
        Ok(())
    }
}

/// How long until it is looked at again.
fn next(resync: Duration, recheck: [Option<Mono>; 5], status_due: Option<Mono>) -> Duration {
    let now = clock::mono();
    let resync = now + resync.mul_f64(0.8 + 0.4 * draw());
    let next = recheck
        .into_iter()
        .flatten()
        .chain(status_due)
        .fold(resync, Mono::min);
    next.since(now).max(SHORTEST_WAIT)
}
