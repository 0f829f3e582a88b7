//! The figures of the operator itself. No I/O.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use super::lock;
use crate::{
    api::conditions::EventReason,
    clock,
    cluster::RequestTally,
    domain::{category::Category, locks::Mono},
};

/// Upper bounds of the buckets of a pass, seconds: from one that makes no request to one that waits for its deadlines.
const PASSES: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

type Labels = [(&'static str, &'static str); 1];

/// What is counted of the operator.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    pub(super) passes: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    duration: Histogram,
    pub(super) events: Family<[(&'static str, &'static str); 2], Counter>,
    pub(super) leader: Gauge,
    /// What the client counts.
    pub(super) requests: RequestTally,
    next: Arc<AtomicU64>,
    running: Arc<Mutex<HashMap<u64, Running>>>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    /// Seconds since 1970.
    since: i64,
}

impl Operator {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let operator = Self {
            passes: Family::default(),
            errors: Family::default(),
            duration: Histogram::new(PASSES),
            events: Family::default(),
            leader: Gauge::default(),
            requests: RequestTally::default(),
            next: Arc::default(),
            running: Arc::default(),
        };
        // They exist from the start, so that the first one is an increase.
        for result in ["ok", "error"] {
            drop(operator.passes.get_or_create(&[("result", result)]));
        }
        for category in Category::ALL {
            drop(operator.errors.get_or_create(&[("category", category.as_str())]));
        }
        for reason in EventReason::ALL {
            drop(operator.events.get_or_create(&event_labels(*reason)));
        }
        // Where nobody is elected, every operator leads.
        operator.leader.set(1);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The operator's version", Info::new(version));
        registry.register(
            "reconciles",
            "Passes over resources, by result",
            operator.passes.clone(),
        );
        registry.register(
            "reconcile_errors",
            "What failed in passes, by category",
            operator.errors.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "How long passes took",
            operator.duration.clone(),
        );
        registry.register("events", "Events that were posted", operator.events.clone());
        registry.register(
            "kubernetes_requests",
            "Requests to Kubernetes, by verb, resource and class of the answer; `none`: there was none in time",
            operator.requests.sent.clone(),
        );
        registry.register(
            "kubernetes_request_duration_seconds",
            "How long it took until Kubernetes began to answer, or was no longer waited for",
            operator.requests.took.clone(),
        );
        registry.register(
            "leader",
            "Whether this operator writes what only one may write",
            operator.leader.clone(),
        );
        operator
    }

    /// Something failed in a pass.
    pub(super) fn failed(&self, category: Category) {
        let labels = [("category", category.as_str())];
        self.errors.get_or_create(&labels).inc();
    }

    /// A pass begins; it ends with what is handed back.
    pub(super) fn begin(&self) -> Pass {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let since = clock::wall().as_second();
        lock(&self.running).insert(number, Running { since });
        Pass {
            operator: self.clone(),
            number,
            started: clock::mono(),
        }
    }

    /// How many passes are under way, and when the oldest began, in seconds since 1970; 0 without any.
    pub(super) fn running(&self) -> (usize, i64) {
        let running = lock(&self.running);
        let oldest = running.values().map(|pass| pass.since).min();
        (running.len(), oldest.unwrap_or(0))
    }
}

/// The labels of an event.
pub(super) fn event_labels(reason: EventReason) -> [(&'static str, &'static str); 2] {
    let kind = if reason.is_warning() { "Warning" } else { "Normal" };
    [("type", kind), ("reason", reason.as_str())]
}

/// A pass that is under way, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    operator: Operator,
    number: u64,
    started: Mono,
}

impl Pass {
    /// It came to its end.
    pub fn ended(self, result: Result<(), Category>) {
        let result = match result {
            Ok(()) => "ok",
            Err(category) => {
                self.operator.failed(category);
                "error"
            }
        };
        self.operator.passes.get_or_create(&[("result", result)]).inc();
        let took = clock::mono().since(self.started);
        self.operator.duration.observe(took.as_secs_f64());
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        lock(&self.operator.running).remove(&self.number);
    }
}
