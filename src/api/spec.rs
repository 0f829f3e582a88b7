//! `spec`: what a user writes. Field names of built-in APIs keep their name, type and meaning.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A part of a built-in API that is carried as it was written, so that no field is lost that these types don't know.
pub type Verbatim = Map<String, Value>;

/// Desired state of a workload whose replicas coordinate through locks in Redis.
#[derive(CustomResource, Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "lockstep.dev",
    version = "v1alpha1",
    kind = "CoordinatedWorkload",
    namespaced,
    status = "crate::api::status::CoordinatedWorkloadStatus",
    shortname = "cwl",
    category = "lockstep",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct CoordinatedWorkloadSpec {
    /// Wanted replicas while nothing autoscales. Absent: 1 at creation, afterwards not Lockstep's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// PodTemplateSpec of core/v1.
    pub template: Verbatim,
    /// DeploymentStrategy of apps/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Verbatim>,
    /// As in apps/v1, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
    /// As in apps/v1, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// As in apps/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
    /// Autoscaling of the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Disruption budget; on by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudget>,
    /// Network policy; on by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// Service; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// What Lockstep adds to the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_defaults: Option<PodDefaults>,
    /// Where the locks are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// Lock sets, keyed by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockSet>,
    /// Change nothing, keep observing and reporting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// What to do with an object of the same name that Lockstep did not make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_policy: Option<ConflictPolicy>,
}

/// Who owns the Deployment's replicas while something autoscales.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AutoscalingMode {
    /// Lockstep makes a HorizontalPodAutoscaler.
    #[default]
    Managed,
    /// Something else scales the Deployment.
    External,
}

/// A HorizontalPodAutoscaler's fields, with shorthands.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Managed or External.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AutoscalingMode>,
    /// As in autoscaling/v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// As in autoscaling/v2; required with mode Managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i32>,
    /// As in autoscaling/v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<Verbatim>>,
    /// As in autoscaling/v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Verbatim>,
    /// Shorthand for a Resource metric on CPU utilization, percent, when `metrics` is absent.
    #[serde(default, rename = "targetCPUUtilizationPercentage", skip_serializing_if = "Option::is_none")]
    pub target_cpu_utilization_percentage: Option<i32>,
    /// Shorthand for a Resource metric on memory utilization, percent, when `metrics` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_memory_utilization_percentage: Option<i32>,
}

/// A PodDisruptionBudget's fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// Whether there is a budget; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// As in policy/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
    /// As in policy/v1; 1 when neither is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// As in policy/v1; `AlwaysAllow` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_pod_eviction_policy: Option<String>,
    /// Accept a `minAvailable` that leaves no eviction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_blocking: Option<bool>,
}

/// A NetworkPolicy's rules.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether there is a policy; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// NetworkPolicyIngressRules of networking/v1; replace the default ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<Verbatim>>,
    /// NetworkPolicyEgressRules of networking/v1; DNS and Redis are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<Verbatim>>,
}

/// A Service's fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// As in core/v1.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// As in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Verbatim>,
    /// As in core/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<String>,
    /// As in core/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<Verbatim>,
    /// As in core/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<String>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// What Lockstep adds to every pod unless the template says otherwise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodDefaults {
    /// POD_NAME, POD_NAMESPACE and POD_UID first in every container's env; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<bool>,
    /// Spread by hostname, ScheduleAnyway; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_spread: Option<bool>,
}

/// What to do with an object of the same name that Lockstep did not make.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ConflictPolicy {
    /// Leave it alone and say so.
    #[default]
    Fail,
    /// Take it over, unless another controller owns it.
    Adopt,
}

/// A key of a Secret or ConfigMap of the resource's own namespace.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySelector {
    /// Name of the object.
    pub name: String,
    /// Key in its data.
    pub key: String,
}

/// A value that is read from a Secret.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// The Secret's key.
    pub secret_key_ref: KeySelector,
}

/// A value that is read from a Secret or a ConfigMap.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaSource {
    /// The Secret's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeySelector>,
    /// The ConfigMap's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeySelector>,
}

/// Where the locks are: exactly one of `url`, `urlFrom`, `sentinel`, `cluster`, `quorum`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// `redis://host:port` or `rediss://host:port`, without user info, path or query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The same from a Secret; user info is allowed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretSource>,
    /// A master behind Sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// A Redis Cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Endpoints>,
    /// Independent servers that hold each lock by majority (Redlock).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Endpoints>,
    /// ACL user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_from: Option<SecretSource>,
    /// Password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretSource>,
    /// TLS; its presence turns TLS on where there is no scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Number of the logical database; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<i32>,
}

/// A master behind Sentinels.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sentinel {
    /// Name of the master as the Sentinels know it.
    pub master_name: String,
    /// `host:port` of each Sentinel.
    pub endpoints: Vec<String>,
    /// ACL user of the Sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_from: Option<SecretSource>,
    /// Password of the Sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretSource>,
    /// TLS towards the Sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A list of servers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// `host:port` of each server.
    pub endpoints: Vec<String>,
}

/// TLS settings; the server is always verified.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificate authorities, PEM; absent: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<CaSource>,
    /// A Secret of type kubernetes.io/tls with the client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_name: Option<String>,
    /// Name that the server's certificate must carry; absent: the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A set of locks with common settings.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockSet {
    /// Name of the set, a DNS label.
    pub name: String,
    /// Whether somebody must hold the locks at all times.
    pub hold: Hold,
    /// Names of the declared locks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What stands before a name in Redis; absent: the dialect's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// What stands behind a name in Redis; absent: the dialect's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_suffix: Option<String>,
    /// Also watch undeclared locks under the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover: Option<bool>,
    /// The lock library.
    pub dialect: Dialect,
    /// Where the holder is and whom it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderRule>,
    /// The library's lifetime of a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// How often the library renews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_interval: Option<Duration>,
    /// How often the library tries to take a lock that it does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_interval: Option<Duration>,
    /// How long a Continuous lock may be unheld before that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unheld_grace: Option<Duration>,
    /// Longest acceptable hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hold: Option<Duration>,
    /// Intermittent: taken once per this period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How evenly the pods should hold the locks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// Whether others share these locks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_holders: Option<ForeignHolders>,
    /// Whether unheld or unobserved locks make Ready False.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
}

/// A GEP-2257 duration such as `30s` or `1h30m`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Duration(pub String);

/// Whether somebody must hold a lock at all times.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Hold {
    /// Somebody must hold it at all times.
    Continuous,
    /// Taken while there is work.
    Intermittent,
}

/// The lock libraries that Lockstep knows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names of the libraries")]
pub enum Dialect {
    Rigatoni,
    Redlock,
    Bull,
    BullMQ,
    Redisson,
    ShedLock,
    SpringIntegration,
    DistributedLockNet,
    RedisPy,
    RedBeat,
    Laravel,
    Custom,
}

/// Where the holder is (Custom) and whom it names.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderRule {
    /// Where the holder is; a string value by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<HolderSource>,
    /// Anchored pattern with the named groups `owner`, `holder`, `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What of a pod `owner` is; its name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<OwnerMatch>,
    /// A registry from holder to pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
    /// Container whose restarts count; the first by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// Where the holder is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderSource {
    /// Kind of the place.
    #[serde(rename = "type")]
    pub type_: HolderSourceType,
    /// Fields or members to pass over (HashField, SortedSetMember).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// JSON pointer (JsonPointer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Key beside the lock, `{name}` stands for the lock's name (SiblingKey, SiblingField).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Field of that key (SiblingField).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Unit of the scores (SortedSetMember).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_unit: Option<ScoreUnit>,
}

/// Kind of place where a holder is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "Redis' own terms")]
pub enum HolderSourceType {
    #[default]
    StringValue,
    HashField,
    JsonPointer,
    SortedSetMember,
    SetMember,
    SiblingKey,
    SiblingField,
}

/// Unit of a sorted set's scores.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "units")]
pub enum ScoreUnit {
    Seconds,
    Milliseconds,
}

/// What of a pod an owner is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerMatch {
    /// Kind of the match.
    #[serde(rename = "type")]
    pub type_: OwnerMatchType,
    /// Key of the label or annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What of a pod an owner is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "Kubernetes' own terms")]
pub enum OwnerMatchType {
    #[default]
    PodName,
    PodUID,
    PodIP,
    Label,
    Annotation,
}

/// A key that maps a holder to a pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    /// Key; `{holder}` stands for the holder.
    pub key: String,
    /// Field of a hash; `{holder}` stands for the holder. Absent: the key is a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// How evenly the pods should hold the locks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// True by default for Continuous sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Locks above the ideal that are still fine; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<i32>,
    /// Multiple of the mean that is still fine; 2 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// A limit that replaces slack and ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_instance: Option<i32>,
    /// How long before it is said; max(2 × ttl, 2 min), at most 10 min, by default.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_: Option<Duration>,
    /// How long a pod must be Ready before it counts; 60 s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
}

/// Whether others share these locks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ForeignHolders {
    /// A foreign holder is a finding.
    #[default]
    Report,
    /// Others share these locks.
    Expected,
}

/// Whether unheld or unobserved locks make Ready False.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Readiness {
    /// They don't.
    #[default]
    Advisory,
    /// They do.
    Required,
}
