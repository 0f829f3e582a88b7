//! One pass over one resource: gather → decide → execute → report. I/O; the only place that knows the order of effects.
//!
//! Events are posted before the status that they belong to, under names made from what they announce: a crash between
//! the two repeats neither. Whatever fails is tried again with backoff; what was concluded meanwhile is not lost, since
//! memory and its outbox outlive the pass.

mod credentials;
mod effects;
mod events;
mod gather;
mod index;
mod neighbours;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
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
        children::{Children, Live, Outcome},
        locks::Mono,
        memory::Memory,
        neighbours::Neighbours,
        workload::parse,
    },
    mutex::lock,
    observer::{Observers, RenewalTally, WorkloadKey},
    retry::{Backoff, draw},
    telemetry::{Telemetry, workload::Concluded},
};

/// Without any reason, a resource is looked at again after this long, unless the operator is told otherwise; give or
/// take a fifth, so that what began together does not stay together.
pub const RESYNC: Duration = Duration::from_mins(10);

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
    /// What is counted of the renewals of each set that renews.
    renewals: BTreeMap<String, RenewalTally>,
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
    Action::requeue(until.map_or(effects::STATUS_PACE, |until| until.since(now)))
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
            renewals: &self.entry.renewals,
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
