//! spec → [`Workload`]: parsed and defaulted, or the problems that say why not. Pure.
//!
//! In: the resource. Out: a value in which no `Option` means "default"; the verbatim parts are carried untouched.

mod locks;
mod parse;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde_json::{Map, Value};

pub use parse::parse;

use super::locks::{
    dialect::Scheme,
    probe::{Discovery, Probe},
};
use crate::api::spec::{ConflictPolicy, Dialect, ForeignHolders, Hold, KeySelector, Readiness, Verbatim};

/// Why a resource is no valid workload, or what of a valid one this version can't do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Path of the field, such as `spec.locks[0].ttl`.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A valid resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// `metadata.name`; every child's name.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `PodTemplateSpec` as written.
    pub template: Verbatim,
    /// Fields of `DeploymentSpec` that the resource has under the same name (`strategy`, `minReadySeconds`,
    /// `progressDeadlineSeconds`, `revisionHistoryLimit`), as written.
    pub deployment: Map<String, Value>,
    /// Who decides on replicas.
    pub scaling: Scaling,
    /// The budget; `None`: turned off.
    pub disruption_budget: Option<Budget>,
    /// The policy; `None`: turned off.
    pub network_policy: Option<Policy>,
    /// Whether `POD_NAME`, `POD_NAMESPACE` and `POD_UID` are put into every container.
    pub inject_env: bool,
    /// Whether a spread by hostname is added to a template that has none.
    pub topology_spread: bool,
    /// The Service; `None`: none is wanted.
    pub service: Option<Service>,
    /// Where the locks are; `None`: nowhere.
    pub store: Option<Store>,
    /// TCP ports of Redis, its Sentinels and its cluster's nodes, as far as the spec tells, else the usual ones.
    pub store_ports: Vec<u16>,
    /// The lock sets.
    pub locks: Vec<LockSet>,
    /// Change nothing.
    pub suspend: bool,
    /// What to do with foreign objects.
    pub conflict_policy: ConflictPolicy,
}

impl Workload {
    /// Every declared lock, in the order of the spec.
    pub fn probes(&self) -> impl Iterator<Item = &Arc<Probe>> {
        self.locks
            .iter()
            .flat_map(|set| set.locks.iter().map(|lock| &lock.probe))
    }

    /// Every place where locks turn up, in the order of the spec.
    pub fn places(&self) -> impl Iterator<Item = &Arc<Discovery>> {
        self.locks.iter().flat_map(LockSet::places)
    }
}

impl LockSet {
    /// Every place where locks of this set turn up: its queues, then wherever it discovers them.
    pub fn places(&self) -> impl Iterator<Item = &Arc<Discovery>> {
        let queues = self.queues.iter().map(|queue| &queue.jobs);
        queues.chain(&self.discover)
    }
}

/// Who decides on the Deployment's replicas.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Nothing autoscales.
    Fixed {
        /// `spec.replicas`; `None`: 1 at creation, afterwards not Lockstep's.
        replicas: Option<i32>,
    },
    /// Lockstep's HorizontalPodAutoscaler; with `min == max` there is none and replicas are fixed.
    Managed {
        /// `minReplicas`, 1 by default.
        min: i32,
        /// `maxReplicas`.
        max: i32,
        /// autoscaling/v2 metrics, the shorthands resolved; empty: the API's own default.
        metrics: Vec<Verbatim>,
        /// autoscaling/v2 behavior as written.
        behavior: Option<Verbatim>,
        /// `spec.replicas`: the count at creation, clamped.
        replicas: Option<i32>,
    },
    /// Something else scales the Deployment.
    External {
        /// `spec.replicas`: the count at creation.
        replicas: Option<i32>,
    },
}

impl Scaling {
    /// The replicas that nobody but the spec decides on.
    #[must_use]
    pub fn fixed(&self) -> Option<i32> {
        match self {
            Self::Fixed { replicas } => *replicas,
            Self::Managed { min, max, .. } => (min == max).then_some(*min),
            Self::External { replicas: _ } => None,
        }
    }

    /// Whether there is a HorizontalPodAutoscaler of ours.
    #[must_use]
    pub fn has_autoscaler(&self) -> bool {
        match self {
            Self::Managed { min, max, .. } => min != max,
            Self::Fixed { .. } | Self::External { .. } => false,
        }
    }
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// `minAvailable` or `maxUnavailable`, with its value (an integer or a percentage string).
    pub bound: BudgetBound,
    /// `unhealthyPodEvictionPolicy`.
    pub unhealthy_pod_eviction_policy: String,
}

/// The one bound of a budget.
#[derive(Clone, Debug, PartialEq)]
pub enum BudgetBound {
    /// `minAvailable`.
    MinAvailable(Value),
    /// `maxUnavailable`.
    MaxUnavailable(Value),
}

/// A NetworkPolicy's own rules; `None`: the default.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Rules that replace the default ingress.
    pub ingress: Option<Vec<Verbatim>>,
    /// Rules to which DNS and Redis are added; `None`: egress is not restricted.
    pub egress: Option<Vec<Verbatim>>,
}

/// A Service's own fields; the selector is Lockstep's.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Fields of `ServiceSpec` that the resource has under the same name, as written.
    pub spec: Map<String, Value>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Where the locks are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// The servers.
    pub address: StoreAddress,
    /// ACL user.
    pub username_from: Option<KeySelector>,
    /// Password.
    pub password_from: Option<KeySelector>,
    /// TLS; `None`: plain, unless a URL in a Secret says otherwise.
    pub tls: Option<StoreTls>,
    /// Logical database.
    pub database: i64,
}

/// How the servers are named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreAddress {
    /// One server, written in the spec.
    Url(StoreHost),
    /// A URL in a Secret, user info allowed.
    Secret(KeySelector),
    /// A master that Sentinels watch.
    Sentinel(StoreSentinel),
    /// Members of a Redis Cluster.
    Cluster(Vec<StoreHost>),
    /// Independent servers of which a majority holds each lock.
    Quorum(Vec<StoreHost>),
}

/// A server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreHost {
    /// Host name or IP as written, IPv6 without brackets.
    pub name: String,
    /// TCP port.
    pub port: u16,
}

/// A master that Sentinels watch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreSentinel {
    /// The name under which they know it.
    pub master: String,
    /// The Sentinels.
    pub endpoints: Vec<StoreHost>,
    /// Their ACL user.
    pub username_from: Option<KeySelector>,
    /// Their password.
    pub password_from: Option<KeySelector>,
    /// TLS towards them; `None`: plain.
    pub tls: Option<StoreTls>,
}

/// TLS settings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoreTls {
    /// Where the authorities are; `None`: those of the operator's system.
    pub ca_from: Option<StoreCa>,
    /// The Secret (kubernetes.io/tls) with the certificate to show.
    pub client_certificate: Option<String>,
    /// The name that the server's certificate must carry; `None`: its host.
    pub server_name: Option<String>,
}

/// Where certificate authorities are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreCa {
    /// In a Secret.
    Secret(KeySelector),
    /// In a `ConfigMap`.
    ConfigMap(KeySelector),
}

impl fmt::Display for StoreHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// A lock set with its dialect's defaults applied.
#[derive(Clone, Debug, PartialEq)]
pub struct LockSet {
    /// Name of the set.
    pub name: String,
    /// Continuous or Intermittent.
    pub hold: Hold,
    /// The lock library.
    pub dialect: Dialect,
    /// How its locks are read, and how their holders are told.
    pub scheme: Scheme,
    /// Container whose restarts count; `None`: the first.
    pub container: Option<String>,
    /// Declared locks, in the order of the spec.
    pub locks: Vec<Lock>,
    /// Declared queues, whose job locks come and go.
    pub queues: Vec<Queue>,
    /// Where locks turn up that are not declared.
    pub discover: Option<Arc<Discovery>>,
    /// Lifetime of a lock: given or the dialect's; `None`: learned (largest PTTL seen; 30 s until then).
    pub ttl: Option<Duration>,
    /// Renewal: given or the dialect's; `None`: the set does not renew.
    pub renew_interval: Option<Duration>,
    /// Retry: given, the dialect's, or 5 s.
    pub retry_interval: Duration,
    /// Which of ttl, renewInterval, retryInterval the spec left out and were assumed, for status.
    pub assumed: AssumedTimings,
    /// How long a Continuous lock may be unheld before that is said.
    pub unheld_grace: Duration,
    /// How long a hold may last; `None`: for ever.
    pub max_hold: Option<Duration>,
    /// In which time each declared lock is taken once; `None`: at any time.
    pub every: Option<Duration>,
    /// Balance; `None`: not judged.
    pub balance: Option<Balance>,
    /// Whether a foreign holder is a finding.
    pub foreign_holders: ForeignHolders,
    /// Whether this set counts for Ready.
    pub readiness: Readiness,
}

/// A declared lock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lock {
    /// As declared.
    pub name: String,
    /// Full key in Redis: prefix + name + suffix.
    pub key: String,
    /// How it is read.
    pub probe: Arc<Probe>,
}

/// A declared queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Queue {
    /// As declared.
    pub name: String,
    /// Where its job locks are.
    pub jobs: Arc<Discovery>,
}

/// Timings that the spec left out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AssumedTimings {
    /// `ttl` is the dialect's or learned.
    pub ttl: bool,
    /// `renewInterval` is the dialect's or none.
    pub renew_interval: bool,
    /// `retryInterval` is the dialect's or 5 s.
    pub retry_interval: bool,
}

/// Balance settings of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// Locks above the ideal that are still fine.
    pub slack: i64,
    /// Multiple of the mean that is still fine.
    pub ratio: f64,
    /// A limit that replaces slack and ratio.
    pub max_per_instance: Option<i64>,
    /// How long before it is said, and before it is taken back; `None`: max(2 × ttl, 2 min), at most 10 min, with the
    /// ttl learned.
    pub sustained: Option<Duration>,
    /// How long a pod must be Ready before it counts.
    pub warm_up: Duration,
}
