//! `spec`: what a user writes. Field names of built-in APIs keep their name, type and meaning. Pure.
//!
//! The doc comments of the fields are what `kubectl explain` prints; the rules (CEL) hold everything that can be checked
//! without the cluster, and say what to do.

#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct, with its visibility, into a function"
)]

mod duration;
mod locks;
mod store;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use duration::{Duration, InvalidDuration};
pub use locks::{
    Balance, Dialect, ForeignHolders, Hold, HolderRule, HolderSource, HolderSourceType, LockSet, OwnerMatch,
    OwnerMatchType, Readiness, Registry, ScoreUnit,
};
pub use store::{CaSource, Endpoints, KeySelector, Redis, SecretSource, Sentinel, Tls};

use super::{schema, status::CoordinatedWorkloadStatus};

/// A part of a built-in API that is carried as it was written, so that no field is lost that these types don't know.
pub type Verbatim = Map<String, Value>;

/// What is wanted: the workload, how it scales, and the locks through which its replicas coordinate.
#[derive(CustomResource, Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "lockstep.dev",
    version = "v1alpha1",
    kind = "CoordinatedWorkload",
    namespaced,
    status = "CoordinatedWorkloadStatus",
    shortname = "cwl",
    category = "lockstep",
    derive = "PartialEq",
    doc = "A workload whose replicas coordinate through locks in Redis. Lockstep makes a Deployment, a HorizontalPodAutoscaler, a PodDisruptionBudget and a NetworkPolicy of the same name from it, watches the locks that the pods hold, and says in status which lock is in which pod's hands and whether that is as it should be.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "Whether this spec runs: the children are as wanted, the rollout is done, the workload is available",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Pods",
        type_ = "string",
        description = "Ready and wanted pods",
        json_path = ".status.summary.pods"
    ),
    printcolumn(
        name = "Locks",
        type_ = "string",
        description = "Continuous locks in good hands, and declared",
        json_path = ".status.summary.locks"
    ),
    printcolumn(
        name = "Spread",
        type_ = "string",
        description = "Locks held per live pod, largest first",
        json_path = ".status.summary.spread"
    ),
    printcolumn(
        name = "Balanced",
        type_ = "string",
        description = "Whether no pod holds more than its share of the locks",
        json_path = r#".status.conditions[?(@.type=="LocksBalanced")].status"#
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        description = "What needs attention first",
        json_path = ".status.summary.problem"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        description = "What Ready says",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(
        name = "Store",
        type_ = "string",
        description = "How changes of the locks are learned",
        json_path = ".status.store.mode",
        priority = 1
    ),
    printcolumn(
        name = "Min",
        type_ = "integer",
        description = "Fewest replicas when autoscaling",
        json_path = ".spec.autoscaling.minReplicas",
        priority = 1
    ),
    printcolumn(
        name = "Max",
        type_ = "integer",
        description = "Most replicas when autoscaling",
        json_path = ".spec.autoscaling.maxReplicas",
        priority = 1
    ),
    validation = (
        "self.metadata.name.size() <= 46",
        "metadata.name must have at most 46 characters: the names of the pods are made from it and keep their form only then"
    ),
    validation = (
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be a DNS-1035 label, since every child has this name: lower-case letters, digits and '-', with a letter first and no '-' last"
    )
)]
#[x_kube(
    validation = (
        "self.?progressDeadlineSeconds.orValue(600) > self.?minReadySeconds.orValue(0)",
        "progressDeadlineSeconds (600 unless given) must be greater than minReadySeconds: no rollout could finish in time"
    ),
    validation = (
        "!has(self.disruptionBudget) || !has(self.disruptionBudget.minAvailable) || !self.disruptionBudget.?enabled.orValue(true) || self.disruptionBudget.?allowBlocking.orValue(false) || self.?autoscaling.?mode.orValue('Managed') == 'External' || [self.?autoscaling.?minReplicas.orValue(self.?replicas.orValue(0))].all(wanted, wanted < 1 || (type(self.disruptionBudget.minAvailable) == int ? self.disruptionBudget.minAvailable < wanted : !self.disruptionBudget.minAvailable.matches('^[0-9]{1,3}%$') || (int(self.disruptionBudget.minAvailable.replace('%', '')) * wanted + 99) / 100 < wanted))",
        "disruptionBudget.minAvailable allows no eviction while the workload has its wanted minimum of pods (autoscaling.minReplicas, else replicas), so that draining a node would hang: lower it, use maxUnavailable, or accept that with allowBlocking: true"
    ),
    validation = (
        "!has(self.locks) || self.locks.size() == 0 || has(self.redis)",
        "locks need redis, which says where they are"
    ),
    validation = (
        "!has(self.locks) || self.locks.map(set, set.?names.orValue([]).size()).sum() <= 2000",
        "all sets of locks together may declare at most 2000 names"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CoordinatedWorkloadSpec {
    /// Wanted replicas while nothing autoscales; with `autoscaling` the count to begin with. Default: the Deployment
    /// begins with 1, and from then on the number is not Lockstep's, as in a Deployment manifest without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// The pods: a `PodTemplateSpec` of core/v1, whole. No selector is needed: Lockstep adds its own label and selects by
    /// that. Fields that this cluster's Deployment doesn't know are answered in its own words (Stalled,
    /// `InvalidPodTemplate`).
    #[schemars(schema_with = "schema::pod_template")]
    pub template: Verbatim,
    /// How pods are replaced: the `DeploymentStrategy` of apps/v1. Default: that API's, a rolling update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::deployment_strategy")]
    pub strategy: Option<Verbatim>,
    /// Seconds that a new pod must be ready before it counts as available, as in apps/v1. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_ready_seconds: Option<i32>,
    /// Seconds without progress after which a rollout counts as failed, as in apps/v1. Default: 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub progress_deadline_seconds: Option<i32>,
    /// Number of old `ReplicaSet`s that are kept to go back to, as in apps/v1. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub revision_history_limit: Option<i32>,
    /// Autoscaling of the replicas. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// How many pods may be evicted at a time. Default: one (`maxUnavailable: 1`), and pods that are not healthy always
    /// (`unhealthyPodEvictionPolicy: AlwaysAllow`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudget>,
    /// Who may talk to the pods, and to whom they may talk. Default: every port from pods of the same namespace, the
    /// declared ports from anywhere, and no restriction on what the pods reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// A Service for the pods. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// What Lockstep adds to the pods unless the template says otherwise. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_defaults: Option<PodDefaults>,
    /// Where the locks are. Lockstep only reads there. Default: no store is watched; `locks` need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// Sets of locks: an application often has a leader lock and collection locks and job locks. Default: no locks are
    /// watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub locks: Vec<LockSet>,
    /// True: nothing is changed in the cluster, while observing and reporting go on. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// What happens when there is an object of a child's name that Lockstep did not make. `Fail`: it is left alone and
    /// named in status (Stalled, `NameConflict`). `Adopt`: it is taken over, unless it has another controller. Default:
    /// `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_policy: Option<ConflictPolicy>,
}

/// Who owns the Deployment's replicas while something autoscales.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(transform = schema::described_by_field)]
pub enum AutoscalingMode {
    /// Lockstep makes a HorizontalPodAutoscaler.
    #[default]
    Managed,
    /// Something else scales the Deployment.
    External,
}

/// Autoscaling of the replicas.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = (
        "self.?mode.orValue('Managed') != 'External' || !(has(self.minReplicas) || has(self.maxReplicas) || has(self.metrics) || has(self.behavior) || has(self.targetCPUUtilizationPercentage) || has(self.targetMemoryUtilizationPercentage))",
        "with mode: External something else decides on the replicas: leave out all other fields of autoscaling"
    ),
    validation = (
        "self.?mode.orValue('Managed') != 'Managed' || has(self.maxReplicas)",
        "autoscaling needs maxReplicas; or mode: External, if something else scales the Deployment"
    ),
    validation = (
        "!has(self.maxReplicas) || self.?minReplicas.orValue(1) <= self.maxReplicas",
        "minReplicas must not be greater than maxReplicas"
    ),
    validation = (
        "!has(self.metrics) || self.metrics.size() == 0 || !(has(self.targetCPUUtilizationPercentage) || has(self.targetMemoryUtilizationPercentage))",
        "targetCPUUtilizationPercentage and targetMemoryUtilizationPercentage stand for metrics: give these or metrics, not both"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// `Managed`: Lockstep makes a HorizontalPodAutoscaler. `External`: something else owns the Deployment's replicas (a
    /// HorizontalPodAutoscaler of your own, KEDA); all other fields are left out then. Default: `Managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AutoscalingMode>,
    /// Fewest replicas, as in autoscaling/v2. Equal to `maxReplicas`: no autoscaler is made and the replicas are fixed.
    /// Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_replicas: Option<i32>,
    /// Most replicas, as in autoscaling/v2. Replicas beyond the Continuous locks only stand by. Default: none, since
    /// `mode: Managed` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replicas: Option<i32>,
    /// What is scaled on: `MetricSpec`s of autoscaling/v2. Default: the shorthands below, else that API's: 80 % of the
    /// requested CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::metrics")]
    pub metrics: Option<Vec<Verbatim>>,
    /// How fast it scales: the `HorizontalPodAutoscalerBehavior` of autoscaling/v2. Default: that API's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::behavior")]
    pub behavior: Option<Verbatim>,
    /// Shorthand for a metric: average CPU use of the pods, in percent of what their containers request. Only without
    /// `metrics`. Default: no such metric.
    #[serde(
        default,
        rename = "targetCPUUtilizationPercentage",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1))]
    pub target_cpu_utilization_percentage: Option<i32>,
    /// Shorthand for a metric: average memory use of the pods, in percent of what their containers request. Only without
    /// `metrics`. Default: no such metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub target_memory_utilization_percentage: Option<i32>,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = (
        "!(has(self.minAvailable) && has(self.maxUnavailable))",
        "give minAvailable or maxUnavailable, not both"
    ),
    validation = (
        "!has(self.minAvailable) || (type(self.minAvailable) == int ? self.minAvailable >= 0 : self.minAvailable.matches('^(100|[0-9]{1,2})%$'))",
        "minAvailable must be a number of pods such as 1, or a percentage such as \"50%\""
    ),
    validation = (
        "!has(self.maxUnavailable) || (type(self.maxUnavailable) == int ? self.maxUnavailable >= 0 : self.maxUnavailable.matches('^(100|[0-9]{1,2})%$'))",
        "maxUnavailable must be a number of pods such as 1, or a percentage such as \"50%\""
    )
)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// Whether there is a budget. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Pods that must stay available in an eviction, as in policy/v1: a number or a percentage (rounded up). Refused
    /// when it leaves no eviction at the wanted minimum of pods, unless `allowBlocking` is true. Default: not given;
    /// `maxUnavailable` holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
    /// Pods that may be unavailable after an eviction, as in policy/v1: a number or a percentage (rounded up). Default: 1,
    /// unless `minAvailable` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// When pods that are not healthy may be evicted, as in policy/v1: always, so that a broken workload never blocks a
    /// drain, or only while enough others are healthy. Default: `AlwaysAllow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["AlwaysAllow", "IfHealthyBudget"]))]
    pub unhealthy_pod_eviction_policy: Option<String>,
    /// True: accept a `minAvailable` that leaves no eviction, and with it that draining a node waits for people. Default:
    /// false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_blocking: Option<bool>,
}

/// A NetworkPolicy. Whether it is enforced depends on the cluster's network plugin.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether there is a policy. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Who may reach the pods: `NetworkPolicyIngressRule`s of networking/v1. They replace the default; an empty list lets
    /// nobody in. Default: every port from pods of the same namespace, and the declared ports from anywhere; without
    /// declared ports, no rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ingress_rules")]
    pub ingress: Option<Vec<Verbatim>>,
    /// What the pods may reach: `NetworkPolicyEgressRule`s of networking/v1. DNS and the ports of Redis in this spec are
    /// added. Default: not restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::egress_rules")]
    pub egress: Option<Vec<Verbatim>>,
}

/// A Service for the pods.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = (
        "has(self.ports) && self.ports.size() > 0",
        "service needs at least one entry in ports"
    ),
    validation = (
        "!has(self.externalTrafficPolicy) || self.?type.orValue('ClusterIP') != 'ClusterIP'",
        "externalTrafficPolicy goes with type: NodePort or LoadBalancer only, where traffic comes from outside"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Kind of Service, as in core/v1. Default: `ClusterIP`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["ClusterIP", "NodePort", "LoadBalancer"]))]
    pub type_: Option<String>,
    /// The ports: `ServicePort`s of core/v1. Default: none, but at least one is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::service_ports")]
    pub ports: Vec<Verbatim>,
    /// Whether a client stays with a pod, as in core/v1. Default: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["None", "ClientIP"]))]
    pub session_affinity: Option<String>,
    /// For how long a client stays with a pod: the `SessionAffinityConfig` of core/v1. Default: that API's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::session_affinity_config")]
    pub session_affinity_config: Option<Verbatim>,
    /// How traffic from outside reaches the pods, as in core/v1. Default: `Cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Cluster", "Local"]))]
    pub external_traffic_policy: Option<String>,
    /// Annotations of the Service, such as those that a cloud's load balancer reads. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What Lockstep adds to every pod unless the template says otherwise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodDefaults {
    /// Whether `POD_NAME`, `POD_NAMESPACE` and `POD_UID` are put first into the environment of every container that doesn't
    /// set them itself, so that other variables can refer to them. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<bool>,
    /// Whether the pods are spread over the nodes (by hostname, `ScheduleAnyway`) if the template has no
    /// topologySpreadConstraints of its own. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_spread: Option<bool>,
}

/// What to do with an object of the same name that Lockstep did not make.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(transform = schema::described_by_field)]
pub enum ConflictPolicy {
    /// Leave it alone and say so.
    #[default]
    Fail,
    /// Take it over, unless another controller owns it.
    Adopt,
}
