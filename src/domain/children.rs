//! [`Workload`] → the intent of each child, and what is left to do about it. Pure.
//!
//! In: a valid resource; then what the caches hold. Out: [`build`] makes the whole of what should be applied, as JSON,
//! with a hash of it; [`plan()`] compares it with the live objects. Verbatim parts of the resource are never decoded, so
//! no field is lost that this version doesn't know.

mod autoscaler;
mod compare;
mod deployment;
mod disruption_budget;
mod duplicates;
mod live;
mod network_policy;
mod outcome;
mod plan;
mod quantity;
mod service;

pub use live::Live;
pub(crate) use live::is_creation_entry;
pub(in crate::domain) use network_policy::declared_ports;
pub use outcome::{
    Action, Applied, Correction, Failure, FailureKind, Outcome, Override, ReplicasApplied, RetryCause,
};
pub use plan::{Claim, Plan, Reason, Refusal, ReplicasStep, Step, plan, step};

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::{APPLIED_ANNOTATION, GROUP, KIND, VERSION, WORKLOAD_LABEL};
use crate::domain::workload::Workload;

/// Kind of a child. The order is the one of reports.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ChildKind {
    /// apps/v1 Deployment.
    Deployment,
    /// autoscaling/v2 HorizontalPodAutoscaler.
    HorizontalPodAutoscaler,
    /// policy/v1 PodDisruptionBudget.
    PodDisruptionBudget,
    /// networking.k8s.io/v1 NetworkPolicy.
    NetworkPolicy,
    /// core/v1 Service.
    Service,
}

impl ChildKind {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 5] = [
        Self::Deployment,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
        Self::NetworkPolicy,
        Self::Service,
    ];

    /// `kind` of the API.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
        }
    }

    /// API group; empty for core.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Deployment => "apps",
            Self::HorizontalPodAutoscaler => "autoscaling",
            Self::PodDisruptionBudget => "policy",
            Self::NetworkPolicy => "networking.k8s.io",
            Self::Service => "",
        }
    }

    /// API version within the group.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::HorizontalPodAutoscaler => "v2",
            Self::Deployment | Self::PodDisruptionBudget | Self::NetworkPolicy | Self::Service => "v1",
        }
    }

    /// Resource name in URLs and RBAC rules.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::HorizontalPodAutoscaler => "horizontalpodautoscalers",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::NetworkPolicy => "networkpolicies",
            Self::Service => "services",
        }
    }

    /// `apiVersion` of the API.
    #[must_use]
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }
}

/// One value per child. Code that handles children destructures this without `..`, so that a new child can't be
/// forgotten.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Children<S> {
    /// The Deployment.
    pub deployment: S,
    /// The HorizontalPodAutoscaler.
    pub autoscaler: S,
    /// The PodDisruptionBudget.
    pub disruption_budget: S,
    /// The NetworkPolicy.
    pub network_policy: S,
    /// The Service.
    pub service: S,
}

/// What should be: the intent, or `None` for a child that must not exist.
pub type Prepared = Option<Intent>;

/// What the caches hold; `None`: no such object.
pub type LiveChildren = Children<Option<Live>>;

impl<S> Children<S> {
    /// The value of one kind.
    pub const fn get(&self, kind: ChildKind) -> &S {
        match kind {
            ChildKind::Deployment => &self.deployment,
            ChildKind::HorizontalPodAutoscaler => &self.autoscaler,
            ChildKind::PodDisruptionBudget => &self.disruption_budget,
            ChildKind::NetworkPolicy => &self.network_policy,
            ChildKind::Service => &self.service,
        }
    }

    /// The value of one kind.
    pub const fn get_mut(&mut self, kind: ChildKind) -> &mut S {
        match kind {
            ChildKind::Deployment => &mut self.deployment,
            ChildKind::HorizontalPodAutoscaler => &mut self.autoscaler,
            ChildKind::PodDisruptionBudget => &mut self.disruption_budget,
            ChildKind::NetworkPolicy => &mut self.network_policy,
            ChildKind::Service => &mut self.service,
        }
    }

    /// Makes every value from its kind.
    pub fn from_fn(mut f: impl FnMut(ChildKind) -> S) -> Self {
        Self {
            deployment: f(ChildKind::Deployment),
            autoscaler: f(ChildKind::HorizontalPodAutoscaler),
            disruption_budget: f(ChildKind::PodDisruptionBudget),
            network_policy: f(ChildKind::NetworkPolicy),
            service: f(ChildKind::Service),
        }
    }

    /// Every kind with its value, in the order of reports.
    pub fn iter(&self) -> impl Iterator<Item = (ChildKind, &S)> {
        let Self {
            deployment,
            autoscaler,
            disruption_budget,
            network_policy,
            service,
        } = self;
        [
            (ChildKind::Deployment, deployment),
            (ChildKind::HorizontalPodAutoscaler, autoscaler),
            (ChildKind::PodDisruptionBudget, disruption_budget),
            (ChildKind::NetworkPolicy, network_policy),
            (ChildKind::Service, service),
        ]
        .into_iter()
    }
}

/// Exactly what is applied to one child.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    kind: ChildKind,
    hash: String,
    body: Map<String, Value>,
    initial_replicas: Option<i32>,
}

impl Intent {
    /// Puts metadata and spec together and seals them with their hash.
    fn new(workload: &Workload, kind: ChildKind, spec: Map<String, Value>) -> Self {
        let mut body = Map::new();
        body.insert("apiVersion".into(), kind.api_version().into());
        body.insert("kind".into(), kind.kind().into());
        body.insert("metadata".into(), metadata(workload, kind));
        body.insert("spec".into(), Value::Object(spec));
        let hash = hash(&body);
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            annotations[APPLIED_ANNOTATION] = hash.as_str().into();
        }
        Self {
            kind,
            hash,
            body,
            initial_replicas: None,
        }
    }

    /// Kind of the child.
    #[must_use]
    pub const fn kind(&self) -> ChildKind {
        self.kind
    }

    /// Hash of everything that is applied, without the annotation that carries it; 16 hex digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What is applied: apiVersion, kind, metadata, spec. Never has `spec.replicas`.
    #[must_use]
    pub const fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// Why no later apply would be taken, in the apiserver's words; `None`: nothing is there twice. Asked before the POST,
    /// which would be taken.
    #[must_use]
    pub fn duplicate(&self) -> Option<String> {
        duplicates::first(&self.body)
    }

    /// What creates it: the same, and the replicas to start with.
    #[must_use]
    pub fn creation_body(&self) -> Map<String, Value> {
        let mut body = self.body.clone();
        if let (Some(replicas), Some(Value::Object(spec))) = (self.initial_replicas, body.get_mut("spec")) {
            spec.insert("replicas".into(), replicas.into());
        }
        body
    }
}

/// The intent of every child of a workload that has none yet.
#[must_use]
pub fn build(workload: &Workload) -> Children<Prepared> {
    build_over(workload, None)
}

/// The intent of every child of a workload, over the Deployment that is there: its selector can't be changed, so it is
/// kept, whoever chose it.
#[must_use]
pub fn build_over(workload: &Workload, existing: Option<&Live>) -> Children<Prepared> {
    let seal = |kind, spec: Option<Map<String, Value>>| spec.map(|spec| Intent::new(workload, kind, spec));
    let mut children = Children {
        deployment: seal(ChildKind::Deployment, Some(deployment::spec(workload, existing))),
        autoscaler: seal(ChildKind::HorizontalPodAutoscaler, autoscaler::spec(workload)),
        disruption_budget: seal(ChildKind::PodDisruptionBudget, disruption_budget::spec(workload)),
        network_policy: seal(ChildKind::NetworkPolicy, network_policy::spec(workload)),
        service: seal(ChildKind::Service, service::spec(workload)),
    };
    if let Some(deployment) = &mut children.deployment {
        deployment.initial_replicas = deployment::initial_replicas(&workload.scaling);
    }
    children
}

fn metadata(workload: &Workload, kind: ChildKind) -> Value {
    let pod_label = |key: &str| {
        let label = workload
            .template
            .get("metadata")
            .and_then(|m| m.get("labels"))
            .and_then(|l| l.get(key));
        label.and_then(Value::as_str)
    };
    let mut labels = Map::new();
    // The application's own name for itself, where the template tells it.
    let name = pod_label("app.kubernetes.io/name").unwrap_or(&workload.name);
    labels.insert("app.kubernetes.io/name".into(), name.into());
    labels.insert("app.kubernetes.io/instance".into(), workload.name.as_str().into());
    labels.insert("app.kubernetes.io/managed-by".into(), "lockstep".into());
    if let Some(part_of) = pod_label("app.kubernetes.io/part-of") {
        labels.insert("app.kubernetes.io/part-of".into(), part_of.into());
    }
    labels.insert(WORKLOAD_LABEL.into(), workload.name.as_str().into());
    let mut metadata = json!({
        "name": workload.name,
        "namespace": workload.namespace,
        "labels": labels,
        // As metav1.NewControllerRef: foreground deletion waits for the children.
        "ownerReferences": [{
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": KIND,
            "name": workload.name,
            "uid": workload.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    });
    if let (ChildKind::Service, Some(service)) = (kind, &workload.service)
        && !service.annotations.is_empty()
    {
        metadata["annotations"] = json!(service.annotations);
    }
    metadata
}

/// The label that selects the workload's pods, and nothing else does.
fn selector(workload: &Workload) -> Value {
    json!({ "matchLabels": { WORKLOAD_LABEL: workload.name } })
}

/// 64 bits of SHA-256: it tells one object's successive intents apart, it isn't a defence.
fn hash(body: &Map<String, Value>) -> String {
    let mut text = String::new();
    write_canonical(body, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(String::new(), |mut hex, byte| {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// JSON with the keys of every object in order. Whether `serde_json` sorts them is for whoever builds to decide: one
/// crate in the build that wants them as they were written is enough, and every hash would change.
fn write_canonical(object: &Map<String, Value>, text: &mut String) {
    let sorted: BTreeMap<&String, &Value> = object.iter().collect();
    text.push('{');
    for (key, value) in sorted {
        // Writing to a String can't fail.
        let _ = write!(text, "{}:", Value::from(key.as_str()));
        write_value(value, text);
        text.push(',');
    }
    text.push('}');
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => write_canonical(object, text),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_value(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(text, "{value}");
        }
    }
}

#[cfg(test)]
mod tests;
