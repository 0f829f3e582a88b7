//! What the operator says of itself beside status and events: whether it works, and its figures. No I/O: the parts of the
//! operator tell it, [`crate::admin`] serves it.
//!
//! In: what passes concluded, and what the operator did. Out: `OpenMetrics` text. Nothing read from Redis and no credential
//! is among it: its labels are names of resources, their sets and pods, places as status names them, and words of closed
//! vocabularies.

pub mod health;
mod operator;
pub mod workload;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

pub use self::operator::Pass;
use self::{
    health::Health,
    operator::{Operator, event_labels},
    workload::{AllFigures, Concluded, Kind, Metric, Value},
};
use crate::{
    api::{CoordinatedWorkloadStatus, conditions::EventReason},
    cluster::RequestTally,
    domain::category::Category,
    mutex::lock,
    observer::{StoreFigures, WorkloadKey},
};

/// Content type of [`Telemetry::metrics`].
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Prefix of the name of every metric.
pub const PREFIX: &str = "lockstep";

/// Health and figures of one operator; clones share them.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Whether it works.
    pub health: Health,
    operator: Operator,
    shared: Arc<Shared>,
    registry: Arc<Mutex<Registry>>,
}

/// An answer about a resource.
type Asked<T> = Box<dyn Fn(&WorkloadKey) -> T + Send + Sync>;

/// What is known elsewhere, and asked for when it is wanted.
pub struct Sources {
    /// The figures of a workload's store; `None`: it observes none.
    pub store: Asked<Option<StoreFigures>>,
    /// Whether there is such a resource.
    pub exists: Asked<bool>,
}

#[derive(Default)]
struct Shared {
    workloads: Mutex<AllFigures>,
    /// Resources that are to be looked at.
    queue: Mutex<HashSet<WorkloadKey>>,
    sources: OnceLock<Sources>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let operator = Operator::new(&mut registry);
        let shared = Arc::<Shared>::default();
        registry.register_collector(Box::new(Figures {
            operator: operator.clone(),
            shared: Arc::clone(&shared),
        }));
        Self {
            health: Health::default(),
            operator,
            shared,
            registry: Arc::new(Mutex::new(registry)),
        }
    }
}

impl Telemetry {
    /// All metrics, as `OpenMetrics` text.
    ///
    /// # Errors
    ///
    /// Writing to a string does not fail; a metric that can't be written would.
    pub fn metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &lock(&self.registry))?;
        Ok(text)
    }

    /// Asks these from now on. Only the first sources count: there is one controller in a process.
    pub fn ask(&self, sources: Sources) {
        let _ = self.shared.sources.set(sources);
    }

    /// Where the client of Kubernetes counts its requests.
    #[must_use]
    pub fn requests(&self) -> RequestTally {
        self.operator.requests.clone()
    }

    /// Whether this operator leads: until this is said, nobody is elected, and it does.
    pub fn leads(&self, leads: bool) {
        self.operator.leader.set(i64::from(leads));
    }

    /// Somebody asks for a pass over a resource.
    pub fn queued(&self, key: &WorkloadKey) {
        lock(&self.shared.queue).insert(key.clone());
    }

    /// No pass is made over a resource for which one was asked: that is up to the leader.
    pub fn passed_over(&self, key: &WorkloadKey) {
        lock(&self.shared.queue).remove(key);
    }

    /// A pass over a resource begins.
    #[must_use]
    pub fn begin(&self, key: &WorkloadKey) -> Pass {
        lock(&self.shared.queue).remove(key);
        self.operator.begin()
    }

    /// Takes in what a pass decided.
    pub fn record(&self, key: &WorkloadKey, concluded: Concluded<'_>) {
        let mut workloads = lock(&self.shared.workloads);
        let figures = match workloads.get_mut(key) {
            Some(figures) => figures,
            None => workloads.entry(key.clone()).or_default(),
        };
        figures.record(concluded);
    }

    /// Takes in the status that a pass came to, after what it decided.
    pub fn report(&self, key: &WorkloadKey, status: &CoordinatedWorkloadStatus) {
        if let Some(figures) = lock(&self.shared.workloads).get_mut(key) {
            figures.report(status);
        }
    }

    /// A child could not be written, or what `spec.redis` names could not be read.
    pub fn failed(&self, category: Category) {
        self.operator.failed(category);
    }

    /// An event was posted.
    pub fn posted(&self, reason: EventReason) {
        self.operator.events.get_or_create(&event_labels(reason)).inc();
    }

    /// Forgets a resource that is gone.
    pub fn release(&self, key: &WorkloadKey) {
        lock(&self.shared.workloads).remove(key);
        lock(&self.shared.queue).remove(key);
    }
}

/// What is put together when it is asked for.
#[derive(Debug)]
struct Figures {
    operator: Operator,
    shared: Arc<Shared>,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sources = self.shared.sources.get();
        let exists = |key: &WorkloadKey| sources.is_none_or(|sources| (sources.exists)(key));
        let queued = {
            let mut queue = lock(&self.shared.queue);
            // Children that outlive their resource ask for it in vain.
            queue.retain(exists);
            queue.len()
        };
        let (running, oldest) = self.operator.running();
        let mut workloads = lock(&self.shared.workloads);
        // A pass that was under way when its resource went has told of it once more.
        workloads.retain(|key, _| exists(key));
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, value) in [
            (
                "queue_depth",
                "Resources that wait to be looked at",
                count(queued),
            ),
            ("reconciles_in_progress", "Passes under way", count(running)),
            (
                "reconcile_oldest_start_time_seconds",
                "When the oldest pass under way began, in seconds since 1970; 0 without any",
                oldest,
            ),
            (
                "workloads",
                "Resources that are looked after",
                count(workloads.len()),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let stores: Vec<_> = workloads
            .keys()
            .map(|key| sources.and_then(|sources| (sources.store)(key)))
            .collect();
        for metric in Metric::ALL {
            let kind = match metric.kind() {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name(), metric.help(), None, kind)?;
            for ((key, figures), store) in workloads.iter().zip(&stores) {
                let own = [("namespace", key.namespace.as_str()), ("name", key.name.as_str())];
                figures.samples(*metric, *store, &mut |labels, value| {
                    let labels: Vec<_> = own.iter().chain(labels).copied().collect();
                    let sample = family.encode_family(&labels)?;
                    match value {
                        Value::Gauge(value) => ConstGauge::new(value).encode(sample),
                        Value::Counter(value) => ConstCounter::new(value).encode(sample),
                        Value::Histogram(histogram) => histogram.encode(sample),
                    }
                })?;
            }
        }
        Ok(())
    }
}
