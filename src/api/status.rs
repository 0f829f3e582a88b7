//! `status`: what Lockstep says. Pure.
//!
//! Every list and string is bounded, here for the apiserver and by the writer for real: a status that breaks a bound is
//! not stored at all, so the bounds here leave room.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions::EventReason, schema};

/// Observed state of a `CoordinatedWorkload`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CoordinatedWorkloadStatus {
    /// Conditions, by type. `Ready`: this spec runs. `Reconciling` and `Stalled`: why it doesn't yet, or won't.
    /// `Suspended`: nothing is changed. `Available`, `ScalingActive`, `DisruptionsAllowed`: what the Deployment, the
    /// autoscaler and the budget say. `StoreReachable` and `StoreSafe`: Redis. `LocksHeld` and `LocksBalanced`: the locks.
    #[serde(default)]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status speaks of; −1 before the first.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// Label selector of the pods, in its string form, for `/scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Replicas of the Deployment.
    #[serde(default)]
    pub replicas: i32,
    /// Ready replicas of the Deployment.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Replicas of the Deployment that run the current template.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Available replicas of the Deployment.
    #[serde(default)]
    pub available_replicas: i32,
    /// The columns of `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The objects that were made for this resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub children: Vec<Child>,
    /// Advice, worst first. It refuses nothing and makes no condition False.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub advisories: Vec<Advisory>,
    /// How Redis is observed. Absent until it answered once, and without `spec.redis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// The locks. Absent without `spec.locks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locks: Option<Locks>,
    /// The last losses, failovers and outages, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub recent: Vec<Incident>,
}

fn never_observed() -> i64 {
    -1
}

impl Default for CoordinatedWorkloadStatus {
    fn default() -> Self {
        Self {
            conditions: Vec::new(),
            observed_generation: never_observed(),
            selector: None,
            replicas: 0,
            ready_replicas: 0,
            updated_replicas: 0,
            available_replicas: 0,
            summary: None,
            children: Vec::new(),
            advisories: Vec::new(),
            store: None,
            locks: None,
            recent: Vec::new(),
        }
    }
}

impl CoordinatedWorkloadStatus {
    /// Since when the condition that an event is about has the status that it has; the epoch if there is none.
    ///
    /// Of that condition alone: the others turn for reasons of their own, also between a crash and what is said again.
    #[must_use]
    pub fn told_until(&self, event: EventReason) -> Timestamp {
        let about = event.about().as_str();
        let condition = self.conditions.iter().find(|condition| condition.type_ == about);
        condition.map_or(Timestamp::default(), |condition| condition.last_transition_time.0)
    }
}

/// The columns of `kubectl get cwl`.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Ready and wanted pods, such as `3/3`.
    #[schemars(length(max = 128))]
    pub pods: String,
    /// Continuous locks in good hands and declared, such as `4/4`; `?/4` while Redis can't be read, `-` without any.
    #[schemars(length(max = 128))]
    pub locks: String,
    /// Continuous locks held by each live pod, largest first, such as `2-1-1`; five at most, then `+n`. `?` while Redis
    /// can't be read.
    #[schemars(length(max = 128))]
    pub spread: String,
    /// The reason that needs attention first, or `Reconciled`.
    #[schemars(length(max = 128))]
    pub problem: String,
}

/// An object made for this resource.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Kind, such as `Deployment`.
    #[schemars(length(max = 256))]
    pub kind: String,
    /// Name, which is that of the resource.
    #[schemars(length(max = 1024))]
    pub name: String,
    /// UID, which tells it from another object of that name.
    #[schemars(length(max = 256))]
    pub uid: String,
}

/// A piece of advice.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advisory {
    /// What it is about, of a closed vocabulary, such as `TtlDiffers`.
    #[schemars(length(max = 256))]
    pub code: String,
    /// What, why, and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// How the store is observed.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// How changes are learned: `Tracking` (the server sends them) or `Polling` (it is asked every 2 s).
    #[schemars(length(max = 256))]
    pub mode: String,
    /// The server's version, as it says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
}

/// The locks: counts over all sets, and the rows that matter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Locks {
    /// Continuous locks that are declared.
    pub expected: i32,
    /// Locks that a live pod of this workload holds.
    pub held: i32,
    /// Locks that nobody holds.
    pub unheld: i32,
    /// Locks whose owner was a pod of this workload and is gone.
    pub orphaned: i32,
    /// Locks that somebody else holds.
    pub foreign: i32,
    /// Locks that are held by somebody who can't be told.
    pub unattributed: i32,
    /// Locks of which nothing certain is known now.
    pub unknown: i32,
    /// Locks that never expire by themselves.
    pub without_expiry: i32,
    /// Every Continuous lock, and of other sets the locks with which something is wrong, worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub rows: Vec<Row>,
    /// Number of rows that did not fit.
    #[serde(default)]
    pub rows_omitted: i32,
    /// One entry per lock set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub sets: Vec<SetStatus>,
}

/// One lock.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Name of the set.
    #[schemars(length(max = 256))]
    pub set: String,
    /// Name of the lock.
    #[schemars(length(max = 1024))]
    pub name: String,
    /// Who holds it: `Unknown`, nothing certain is known; `Unheld`, nobody; `Unattributed`, somebody who can't be told;
    /// `Orphaned`, a pod of this workload that is gone; `Held`, a live pod of this workload; `Foreign`, somebody else.
    pub state: LockState,
    /// What else is wrong. `Lost`: a loss that nobody made good yet. `Malformed`: the wrong type, or a value that doesn't
    /// fit. `NoExpiry`: it never expires. `Overheld`: held longer than `maxHold`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub flags: Vec<Flag>,
    /// The pod that holds it or held it; absent if none can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub pod: Option<String>,
    /// Since when it is in this state, as far as was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the lock becomes free by itself, if its owner is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees_at: Option<Time>,
}

/// State of a lock, in the order in which the first that applies is taken.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum LockState {
    /// No complete answer since the last doubt.
    Unknown,
    /// Nobody holds it.
    Unheld,
    /// Somebody holds it who can't be told.
    Unattributed,
    /// The owner was a pod of this workload and is gone.
    Orphaned,
    /// A live pod of this workload holds it.
    Held,
    /// Somebody else holds it.
    Foreign,
}

/// A flag of a lock.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Flag {
    /// A loss not yet made good.
    Lost,
    /// Wrong type, or a value that does not fit.
    Malformed,
    /// The lock never expires.
    NoExpiry,
    /// Held longer than `maxHold`.
    Overheld,
}

/// One lock set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetStatus {
    /// Name of the set.
    #[schemars(length(max = 1024))]
    pub name: String,
    /// Timings that were assumed where the spec is silent. Absent if it says all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed: Option<Assumed>,
    /// How evenly the pods hold the locks. Absent if that is not judged; of an Intermittent set only while it is concentrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceStatus>,
    /// The last loss. Absent if none was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<LastLoss>,
}

/// Settings that were assumed.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assumed {
    /// Lifetime of a lock without renewal, a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub ttl: Option<String>,
    /// How often a lock is renewed, a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub renew_interval: Option<String>,
    /// How often a pod without the lock tries to take it, a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub retry_interval: Option<String>,
}

/// How evenly the pods hold the locks of a set.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BalanceStatus {
    /// Locks that are held by the pods that count.
    pub locks: i32,
    /// Pods that count: Ready for `warmUp`, and not terminating.
    pub pods: i32,
    /// Number of locks of the pod with the most.
    pub max: i32,
    /// Number of locks that each pod would hold at most if they were spread evenly: `locks` / `pods`, rounded up.
    pub ideal: i32,
    /// Number of locks above which a pod holds more than its share.
    pub limit: i32,
    /// `max` − `ideal`.
    pub excess: i32,
    /// Number of locks that would have to move to spread them evenly.
    pub moves: i32,
    /// Pods without a lock while there are enough locks for all pods.
    pub idle: i32,
    /// The pods with the most locks, the most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub top: Vec<PodLocks>,
}

/// Locks of one pod.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodLocks {
    /// Name of the pod.
    #[schemars(length(max = 256))]
    pub pod: String,
    /// Number of locks that it holds.
    pub locks: i32,
}

/// The last loss of a set.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastLoss {
    /// Name of the lock.
    #[schemars(length(max = 1024))]
    pub lock: String,
    /// How the hold ended, such as `Expired`, `HolderGone`, `StoreFailover`; in `recent` also what kept Redis away.
    #[schemars(length(max = 256))]
    pub cause: String,
    /// The pod that lost it; absent if none can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub from: Option<String>,
    /// When it was lost.
    pub when: Time,
}

/// A loss, a failover or an outage.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Name of the set; absent for an outage of Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub set: Option<String>,
    /// Name of the lock; absent for an outage of Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub lock: Option<String>,
    /// How the hold ended, such as `Expired`, `HolderGone`, `StoreFailover`; in `recent` also what kept Redis away.
    #[schemars(length(max = 256))]
    pub cause: String,
    /// The pod that lost it; absent if none can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub from: Option<String>,
    /// The pod that took it next; absent if none can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub to: Option<String>,
    /// When it was lost, or the outage began.
    pub when: Time,
    /// How long nobody held the lock, or Redis was away, a duration; absent while that lasts, and where it wasn't measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub gap: Option<String>,
}
