//! Pods as the verdict sees them, and from an owner's name to a pod. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;

use super::locks::dialect::OwnerMatch;

/// A pod, reduced to what a verdict needs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PodView {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Failed or Succeeded.
    pub finished: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// Since when its Ready condition is True, by the clock of its node; `None`: not Ready.
    pub ready_since: Option<Timestamp>,
    /// Its containers, in the order of the spec.
    pub containers: Vec<ContainerView>,
    /// Its init containers, sidecars among them, in the order of the spec.
    pub init_containers: Vec<ContainerView>,
    /// Why it ended as a whole (`Evicted`, `NodeLost`, …), if it did.
    pub reason: Option<String>,
    /// The scheduler's words if it can't be placed.
    pub unschedulable: Option<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`, those that are short enough to be an owner's.
    pub annotations: BTreeMap<String, String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ContainerView {
    /// Name.
    pub name: String,
    /// Restarts so far.
    pub restarts: i32,
    /// It runs.
    pub running: bool,
    /// It counts as ready: its readiness probe passes, or it has none and runs.
    pub ready: bool,
    /// Why it waits, in the kubelet's words (`CrashLoopBackOff`, `ImagePullBackOff`), with its message.
    pub waiting: Option<(String, String)>,
    /// How it ended last: the current end if it is not running, else the one before its restart.
    pub last_end: Option<ContainerEnd>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ContainerEnd {
    /// The kubelet's reason (`OOMKilled`, `Error`, `Completed`).
    pub reason: String,
    /// Exit code.
    pub exit_code: i32,
}

impl std::fmt::Display for ContainerEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.reason == "OOMKilled" {
            f.write_str("OOMKilled")
        } else {
            write!(f, "exit code {}", self.exit_code)
        }
    }
}

impl PodView {
    /// The container whose restarts count: the named one, which may be a sidecar, else the first.
    #[must_use]
    pub fn lock_container(&self, name: Option<&str>) -> Option<&ContainerView> {
        match name {
            Some(name) => self.all_containers().find(|container| container.name == name),
            None => self.containers.first(),
        }
    }

    /// Whether an owner that is matched in this way is this pod.
    #[must_use]
    pub fn is(&self, matches: &OwnerMatch, owner: &str) -> bool {
        match matches {
            OwnerMatch::PodName => self.name == owner,
            OwnerMatch::PodUid => self.uid == owner,
            OwnerMatch::PodIp => owner
                .parse()
                .is_ok_and(|address| self.addresses.contains(&address)),
            OwnerMatch::Label(key) => self.labels.get(key).is_some_and(|value| value == owner),
            OwnerMatch::Annotation(key) => self.annotations.get(key).is_some_and(|value| value == owner),
        }
    }

    /// Its containers, then its init containers.
    pub fn all_containers(&self) -> impl Iterator<Item = &ContainerView> {
        self.containers.iter().chain(&self.init_containers)
    }

    /// Whether the pod counts as alive for the locks it holds: it has not finished, and its lock container has not
    /// ended for good (in a pod that is being deleted nothing is restarted).
    #[must_use]
    pub fn live(&self, lock_container: Option<&str>) -> bool {
        let ended_for_good = self.terminating
            && self
                .lock_container(lock_container)
                .is_some_and(|container| !container.running && container.last_end.is_some());
        !self.finished && !ended_for_good
    }
}

/// Whether `pod` has the form of a name that a Deployment called `workload` gives its pods: `NAME-HASH-5CHARS`.
#[must_use]
pub fn has_pod_name_form(workload: &str, pod: &str) -> bool {
    // Kubernetes draws suffixes from consonants and digits only, so that no words come out
    // (apimachinery, util/rand, `alphanums`); the hash is a number written in the same letters.
    let of_letters = |part: &str| {
        part.bytes()
            .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
    };
    pod.strip_prefix(workload)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(hash, suffix)| {
            (1..=10).contains(&hash.len()) && of_letters(hash) && suffix.len() == 5 && of_letters(suffix)
        })
}

/// The workload whose pod has this name, by its form.
#[must_use]
pub fn workload_of_pod_name(pod: &str) -> Option<&str> {
    let (rest, _) = pod.rsplit_once('-')?;
    let (workload, _) = rest.rsplit_once('-')?;
    (!workload.is_empty() && has_pod_name_form(workload, pod)).then_some(workload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_name_is_told_by_its_form() {
        assert!(has_pod_name_form("rigatoni", "rigatoni-7d9c8b6f5d-x2x9z"));
        for other in [
            "rigatoni",
            "rigatoni-x2x9z",
            "rigatoni2-7d9c8b6f5d-x2x9z",
            "rigatoni-7d9c8b6f5d-x2x9",
            "rigatoni-hello-world",
            "laptop",
        ] {
            assert!(!has_pod_name_form("rigatoni", other), "{other}");
        }
        for (pod, workload) in [
            ("rigatoni-7d9c8b6f5d-x2x9z", Some("rigatoni")),
            ("shop-green-7d9c8b6f5d-x2x9z", Some("shop-green")),
            ("rigatoni-hello-world", None),
            ("7d9c8b6f5d-x2x9z", None),
            ("-7d9c8b6f5d-x2x9z", None),
            ("laptop", None),
        ] {
            assert_eq!(workload_of_pod_name(pod), workload, "{pod}");
        }
    }

    #[test]
    fn a_terminating_pod_is_live_until_its_lock_container_ended() {
        let container = ContainerView {
            name: "app".into(),
            running: true,
            ..ContainerView::default()
        };
        let mut pod = PodView {
            terminating: true,
            containers: vec![container],
            ..PodView::default()
        };
        assert!(pod.live(None));
        pod.containers[0].running = false;
        pod.containers[0].last_end = Some(ContainerEnd::default());
        assert!(!pod.live(None), "nothing restarts in a pod that is being deleted");
        pod.init_containers = vec![ContainerView {
            name: "sidecar".into(),
            running: true,
            ..ContainerView::default()
        }];
        assert!(pod.live(Some("sidecar")), "a sidecar may hold the locks, too");
        pod.terminating = false;
        assert!(pod.live(None), "the kubelet will restart it");
    }
}
