//! What the watches hold: the children and the pods of all workloads, by workload. No I/O: the watches feed it.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Mutex, MutexGuard},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodStatus};
use kube::{
    ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};

use crate::{
    api::WORKLOAD_LABEL,
    cluster::CachedChild,
    domain::{
        children::{ChildKind, Children, Live},
        ownership::{ContainerEnd, ContainerView, PodView},
    },
    mutex::lock,
    observer::WorkloadKey,
};

/// Longest value of an annotation that an owner is compared with: what is longer is no name of anything.
const LONGEST_OWNER: usize = 256;

/// The children of all resources.
pub struct ChildCaches(Children<Store<CachedChild>>);

impl ChildCaches {
    /// Over the stores that the watches fill.
    #[must_use]
    pub fn new(stores: Children<Store<CachedChild>>) -> Self {
        Self(stores)
    }

    /// The child of one kind of one resource: it has the resource's name.
    #[must_use]
    pub fn get(&self, kind: ChildKind, key: &WorkloadKey) -> Option<Live> {
        let reference = ObjectRef::new_with(&key.name, kind).within(&key.namespace);
        self.0.get(kind).get(&reference).map(|cached| cached.live())
    }
}

/// Pods by workload and name, reduced to what verdicts need.
#[derive(Default)]
pub struct PodIndex(Mutex<Pods>);

#[derive(Default)]
struct Pods {
    current: ByWorkload,
    /// What a list that is under way has brought so far.
    listing: Option<ByWorkload>,
}

type ByWorkload = HashMap<WorkloadKey, BTreeMap<String, PodView>>;

impl PodIndex {
    /// The pods of one workload, by name.
    #[must_use]
    pub fn of(&self, key: &WorkloadKey) -> Vec<PodView> {
        self.lock()
            .current
            .get(key)
            .map(|pods| pods.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether there is such a pod of a workload.
    #[must_use]
    pub fn has(&self, key: &WorkloadKey, pod: &str) -> bool {
        let pods = self.lock();
        pods.current.get(key).is_some_and(|pods| pods.contains_key(pod))
    }

    /// Takes in what the watch brings; says whose pods changed.
    pub fn apply(&self, event: Event<Pod>) -> Vec<WorkloadKey> {
        let mut pods = self.lock();
        match event {
            Event::Init => pods.listing = Some(ByWorkload::new()),
            Event::InitApply(pod) => {
                if let (Some(listing), Some(key)) = (&mut pods.listing, workload_of(&pod)) {
                    listing.entry(key).or_default().insert(pod.name_any(), view(&pod));
                }
            }
            Event::InitDone => {
                let listed = pods.listing.take().unwrap_or_default();
                let before = std::mem::replace(&mut pods.current, listed);
                return before.into_keys().chain(pods.current.keys().cloned()).collect();
            }
            Event::Apply(pod) => {
                let Some(key) = workload_of(&pod) else {
                    return vec![];
                };
                let view = view(&pod);
                let known = pods.current.entry(key.clone()).or_default();
                if known.get(&view.name) == Some(&view) {
                    return vec![];
                }
                known.insert(view.name.clone(), view);
                return vec![key];
            }
            Event::Delete(pod) => {
                let Some(key) = workload_of(&pod) else {
                    return vec![];
                };
                if let Some(known) = pods.current.get_mut(&key) {
                    known.remove(&pod.name_any());
                    if known.is_empty() {
                        pods.current.remove(&key);
                    }
                }
                return vec![key];
            }
        }
        vec![]
    }

    fn lock(&self) -> MutexGuard<'_, Pods> {
        lock(&self.0)
    }
}

fn workload_of(pod: &Pod) -> Option<WorkloadKey> {
    let name = pod.labels().get(WORKLOAD_LABEL)?.clone();
    Some(WorkloadKey {
        namespace: pod.namespace()?,
        name,
    })
}

fn view(pod: &Pod) -> PodView {
    let status = pod.status.as_ref();
    let condition = |type_: &str| {
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions.and_then(|conditions| conditions.iter().find(|condition| condition.type_ == type_))
    };
    let ready = condition("Ready").filter(|condition| condition.status == "True");
    let scheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.as_slice());
    let init_containers = spec.and_then(|spec| spec.init_containers.as_deref());
    let statuses = status.and_then(|status| status.container_statuses.as_deref());
    let init_statuses = status.and_then(|status| status.init_container_statuses.as_deref());
    PodView {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        finished: status
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| phase == "Failed" || phase == "Succeeded"),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        ready_since: ready.map(|ready| {
            ready
                .last_transition_time
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |since| since.0)
        }),
        containers: views(containers, statuses),
        init_containers: views(init_containers, init_statuses),
        reason: status.and_then(|status| status.reason.clone()),
        unschedulable: scheduled.and_then(|scheduled| scheduled.message.clone()),
        labels: pod.labels().clone(),
        annotations: pod
            .annotations()
            .iter()
            .filter(|(_, value)| value.len() <= LONGEST_OWNER)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        addresses: addresses(status),
    }
}

/// Its addresses, as they are compared.
fn addresses(status: Option<&PodStatus>) -> Vec<IpAddr> {
    let ips = status.and_then(|status| status.pod_ips.as_ref());
    let ips = ips.into_iter().flatten();
    ips.filter_map(|ip| Some(ip.ip.parse::<IpAddr>().ok()?.to_canonical()))
        .collect()
}

/// In the order of the spec: "the first container" is the first that was written.
fn views(containers: Option<&[Container]>, statuses: Option<&[ContainerStatus]>) -> Vec<ContainerView> {
    let containers = containers.unwrap_or_default().iter();
    containers
        .map(|written| {
            let mut statuses = statuses.unwrap_or_default().iter();
            match statuses.find(|status| status.name == written.name) {
                Some(status) => container(status),
                None => ContainerView {
                    name: written.name.clone(),
                    ..ContainerView::default()
                },
            }
        })
        .collect()
}

fn container(status: &ContainerStatus) -> ContainerView {
    let end = |state: Option<&ContainerState>| {
        let ended = state.and_then(|state| state.terminated.as_ref())?;
        Some(ContainerEnd {
            reason: ended.reason.clone().unwrap_or_default(),
            exit_code: ended.exit_code,
        })
    };
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    ContainerView {
        name: status.name.clone(),
        restarts: status.restart_count,
        running: status.state.as_ref().is_some_and(|state| state.running.is_some()),
        ready: status.ready,
        waiting: waiting.map(|waiting| {
            (
                waiting.reason.clone().unwrap_or_default(),
                waiting.message.clone().unwrap_or_default(),
            )
        }),
        last_end: end(status.state.as_ref()).or_else(|| end(status.last_state.as_ref())),
    }
}
