//! What the Deployment says of itself. Pure.

use serde_json::{Map, Value};

use super::{
    children::Live,
    judgement::Rollout,
    ownership::{ContainerView, PodView},
};

/// A Deployment's spec and status, as far as the verdict needs them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeploymentView {
    /// `spec.replicas`.
    pub wanted: i32,
    /// `status.replicas`.
    pub replicas: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.updatedReplicas`.
    pub updated: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// Where its rollout stands.
    pub phase: Phase,
    /// Its Available condition: status and message.
    pub availability: Option<(bool, String)>,
    /// Why pods are missing that it wants: its `ReplicaFailure` condition, in the words with which the apiserver
    /// refused them (a quota, Pod Security, a webhook).
    pub refused: Option<String>,
}

/// Where a rollout stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Phase {
    /// The Deployment controller has not seen the latest change.
    #[default]
    Unobserved,
    /// The template is being rolled out.
    Rolling,
    /// No progress within the deadline; the controller's words.
    Stuck(String),
    /// The current template runs.
    Complete,
}

impl DeploymentView {
    /// Reads a live Deployment.
    #[must_use]
    pub fn of(live: &Live) -> Self {
        let object = live.object();
        let section = |name: &str| object.get(name).and_then(Value::as_object);
        let count = |name: &str| integer(section("status"), name).unwrap_or(0);
        let generation = section("metadata")
            .and_then(|metadata| metadata.get("generation"))
            .and_then(Value::as_i64);
        let observed = section("status")
            .and_then(|status| status.get("observedGeneration"))
            .and_then(Value::as_i64);
        let progressing = condition(section("status"), "Progressing");
        let wanted = integer(section("spec"), "replicas").unwrap_or(1);
        let (replicas, updated) = (count("replicas"), count("updatedReplicas"));
        let phase = if observed.unwrap_or(0) < generation.unwrap_or(0) {
            Phase::Unobserved
        } else {
            match progressing {
                Some((_, "ProgressDeadlineExceeded", message)) => Phase::Stuck(message.to_owned()),
                // A rollback keeps the old condition until the first new pod; the counts tell.
                Some((_, "NewReplicaSetAvailable", _)) if replicas == updated => Phase::Complete,
                // A Deployment without a progress deadline has no such condition.
                None if replicas == updated && updated == wanted => Phase::Complete,
                Some(_) | None => Phase::Rolling,
            }
        };
        Self {
            wanted,
            replicas,
            ready: count("readyReplicas"),
            updated,
            available: count("availableReplicas"),
            phase,
            availability: condition(section("status"), "Available")
                .map(|(status, _, message)| (status == "True", message.to_owned())),
            refused: condition(section("status"), "ReplicaFailure")
                .filter(|(status, ..)| *status == "True")
                .map(|(_, _, message)| message.to_owned()),
        }
    }

    /// Its part in the verdict on the locks.
    #[must_use]
    pub fn rollout(&self) -> Rollout {
        Rollout {
            wanted: Some(self.wanted),
            rolling: matches!(self.phase, Phase::Rolling | Phase::Stuck(_)),
        }
    }
}

fn integer(section: Option<&Map<String, Value>>, name: &str) -> Option<i32> {
    section?
        .get(name)?
        .as_i64()
        .and_then(|number| i32::try_from(number).ok())
}

/// Status, reason and message of a condition.
fn condition<'a>(status: Option<&'a Map<String, Value>>, type_: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = status?.get("conditions")?.as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.get("type").is_some_and(|name| name == type_))?;
    let text = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
    Some((text("status"), text("reason"), text("message")))
}

/// Why pods of a workload are missing or don't work, in the words of the apiserver, the scheduler and the kubelet.
#[must_use]
pub fn pod_trouble(deployment: Option<&DeploymentView>, pods: &[PodView]) -> Option<String> {
    let refused = deployment.and_then(|deployment| deployment.refused.as_ref());
    let refused = refused.map(|words| format!("pods can't be created: {}", words.trim_end_matches('.')));
    let parts: Vec<_> = refused.into_iter().chain(first_trouble(pods)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What keeps the first pod, in order of names, from running; if all run, what keeps the first from being ready.
fn first_trouble(pods: &[PodView]) -> Option<String> {
    let mut pods: Vec<_> = pods
        .iter()
        .filter(|pod| !pod.terminating && pod.ready_since.is_none())
        .collect();
    pods.sort_by_key(|pod| &pod.name);
    let does_not_run = pods.iter().find_map(|pod| does_not_run(pod));
    does_not_run.or_else(|| pods.iter().find_map(|pod| is_not_ready(pod)))
}

fn does_not_run(pod: &PodView) -> Option<String> {
    let waiting = pod.init_containers.iter().chain(&pod.containers);
    let mut waiting = waiting.filter_map(|container| Some((container, container.waiting.as_ref()?)));
    let stuck = waiting.find(|(_, (reason, _))| reason != "ContainerCreating" && reason != "PodInitializing");
    if let Some((container, (reason, message))) = stuck {
        let why = match reason.as_str() {
            // One failure, of which the kubelet says the one or the other in turn.
            "ErrImagePull" | "ImagePullBackOff" => "ImagePullBackOff".to_owned(),
            // Names the Secret or ConfigMap that is missing, or its key. The messages of other reasons tell times.
            "CreateContainerConfigError" if !message.is_empty() => format!("{reason} ({message})"),
            _ => reason.clone(),
        };
        let (name, end) = (&container.name, last_end(container));
        return Some(format!("pod {}, container {name}: {why}{end}", pod.name));
    }
    if let Some(words) = &pod.unschedulable {
        let words = words.trim_end_matches('.');
        return Some(format!("pod {} can't be scheduled: {words}", pod.name));
    }
    let reason = pod.reason.as_ref()?;
    Some(format!("pod {}: {reason}", pod.name))
}

fn is_not_ready(pod: &PodView) -> Option<String> {
    if pod.finished || pod.containers.is_empty() || !pod.containers.iter().all(|container| container.running)
    {
        return None;
    }
    let of_the_pod = || {
        format!(
            "pod {}: its containers are ready, a readiness gate of it is not met",
            pod.name
        )
    };
    let sidecars = pod.init_containers.iter().filter(|container| container.running);
    let mut containers = pod.containers.iter().chain(sidecars);
    let not_ready = containers.find(|container| !container.ready);
    Some(not_ready.map_or_else(of_the_pod, |container| {
        let (name, end) = (&container.name, last_end(container));
        format!(
            "pod {}, container {name}: its readiness probe fails, or has not passed yet{end}",
            pod.name
        )
    }))
}

fn last_end(container: &ContainerView) -> String {
    container
        .last_end
        .as_ref()
        .map_or_else(String::new, |end| format!(" (ended last with {end})"))
}

#[cfg(test)]
mod tests;
