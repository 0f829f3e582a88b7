//! Pods, their processes, and a Deployment controller, as far as locks see them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lockstep::domain::ownership::{ContainerEnd, ContainerView, PodView};
use serde_json::{Map, Value, json};

use crate::plan::Ms;

/// The workload's name.
pub const NAME: &str = "shop";

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `NAME-HASH-5CHARS`.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Since when it is Ready.
    pub ready: Option<Ms>,
    /// Since when it is being deleted.
    pub terminating: Option<Ms>,
    /// Since when it is Failed.
    pub failed: Option<Ms>,
    /// When its object went.
    pub gone: Option<Ms>,
    /// Restarts of the lock container.
    pub restarts: i32,
    /// Whether the lock container runs.
    pub running: bool,
    /// How it ended last.
    pub last_end: Option<(&'static str, i32)>,
    /// Restarts of the other container.
    pub sidecar_restarts: i32,
    /// The process in the lock container, or the last one.
    pub process: usize,
    /// Version of the template.
    pub version: u32,
}

/// A process in a pod's lock container.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its pod.
    pub pod: usize,
    /// When it began.
    pub began: Ms,
    /// When it ended.
    pub ended: Option<Ms>,
    /// When the kubelet saw that; a node that is lost says nothing.
    pub shown_ended: Option<Ms>,
    /// It stands still until then.
    pub paused: Ms,
    /// It can't reach Redis until then.
    pub cut: Ms,
    /// It was told to go.
    pub leaving: bool,
    /// What it believes to hold, by lock.
    pub held: BTreeMap<usize, usize>,
}

impl Pod {
    /// A new pod, the `number`th.
    #[must_use]
    pub fn new(number: usize, process: usize, version: u32) -> Self {
        Self {
            name: name(number, version),
            uid: format!("{number:08x}-1111-4222-8333-444444444444"),
            ready: None,
            terminating: None,
            failed: None,
            gone: None,
            restarts: 0,
            running: true,
            last_end: None,
            sidecar_restarts: 0,
            process,
            version,
        }
    }

    /// Whether the Deployment counts on it.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.terminating.is_none() && self.failed.is_none() && self.gone.is_none()
    }

    /// As the apiserver shows it; `epoch` is the wall clock at 0.
    #[must_use]
    pub fn view(&self, epoch: Timestamp) -> PodView {
        let container = |name: &str, running, restarts, last_end: Option<(&str, i32)>| ContainerView {
            name: name.into(),
            restarts,
            running,
            ready: running,
            waiting: None,
            last_end: last_end.map(|(reason, exit_code)| ContainerEnd {
                reason: reason.into(),
                exit_code,
            }),
        };
        let sidecar_end = (self.sidecar_restarts > 0).then_some(("Error", 1));
        PodView {
            name: self.name.clone(),
            uid: self.uid.clone(),
            finished: self.failed.is_some(),
            terminating: self.terminating.is_some(),
            ready_since: self.ready.map(|ready| wall(epoch, ready)),
            containers: vec![
                container("main", self.running, self.restarts, self.last_end),
                container("proxy", self.running, self.sidecar_restarts, sidecar_end),
            ],
            reason: self.failed.map(|_| "Evicted".to_owned()),
            ..PodView::default()
        }
    }
}

/// The wall clock at `at`, in whole milliseconds.
#[must_use]
pub fn wall(epoch: Timestamp, at: Ms) -> Timestamp {
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(epoch.as_millisecond().saturating_add(at)).unwrap_or(epoch)
}

/// The Deployment's object, over its `intent`.
#[must_use]
pub fn deployment(
    intent: &Map<String, Value>,
    pods: &[Pod],
    wanted: usize,
    version: u32,
) -> Map<String, Value> {
    // One pod at a time is replaced: as long as an old one counts, the rollout goes on.
    let mut object = intent.clone();
    let there: Vec<_> = pods.iter().filter(|pod| pod.counts()).collect();
    let ready = there.iter().filter(|pod| pod.ready.is_some()).count();
    let updated = there.iter().filter(|pod| pod.version == version).count();
    let reason = if updated < there.len() {
        "ReplicaSetUpdated"
    } else {
        "NewReplicaSetAvailable"
    };
    let available = if ready >= wanted.min(1) { "True" } else { "False" };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".into(), json!("uid of the Deployment"));
        metadata.insert("resourceVersion".into(), json!("1"));
        metadata.insert("generation".into(), json!(1));
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".into(), json!(wanted));
    }
    object.insert(
        "status".into(),
        json!({
            "observedGeneration": 1, "replicas": there.len(), "readyReplicas": ready,
            "updatedReplicas": updated, "availableReplicas": ready,
            "conditions": [
                { "type": "Available", "status": available, "reason": "x", "message": "x" },
                { "type": "Progressing", "status": "True", "reason": reason, "message": "x" },
            ],
        }),
    );
    object
}

/// A name in the letters that Kubernetes uses.
fn name(number: usize, version: u32) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digits = |mut number: usize, count: usize| {
        let mut text = String::new();
        for _ in 0..count {
            text.insert(0, LETTERS[number % LETTERS.len()].into());
            number /= LETTERS.len();
        }
        text
    };
    let hash = digits(7_000_003 * (usize::try_from(version).unwrap_or(0) + 1), 9);
    format!("{NAME}-{hash}-{}", digits(number, 5))
}
