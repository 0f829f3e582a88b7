//! A pod in one line, as `kubectl get pods` has it. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What is shown of a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodLine {
    /// Its name.
    pub name: String,
    /// Ready containers and all of them.
    pub ready: (usize, usize),
    /// What it is up to: its phase, or what keeps it from running, in the kubelet's words.
    pub status: String,
    /// Restarts of all its containers.
    pub restarts: i32,
    /// Since when it is there.
    pub created: Option<Timestamp>,
}

impl PodLine {
    /// Whether all its containers are ready and nothing is in their way.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.ready.0 == self.ready.1 && self.status == "Running"
    }
}

impl From<&Pod> for PodLine {
    fn from(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let sidecars = |pod: &Pod| -> Vec<String> {
            let init = pod
                .spec
                .iter()
                .flat_map(|spec| spec.init_containers.iter().flatten());
            init.filter(|container| container.restart_policy.as_deref() == Some("Always"))
                .map(|container| container.name.clone())
                .collect()
        };
        let sidecars = sidecars(pod);
        let init: Vec<&ContainerStatus> = status
            .into_iter()
            .flat_map(|status| status.init_container_statuses.iter().flatten())
            .collect();
        let lasting = init.iter().copied().filter(|init| sidecars.contains(&init.name));
        let main = status
            .into_iter()
            .flat_map(|status| status.container_statuses.iter().flatten());
        let lasting: Vec<&ContainerStatus> = main.chain(lasting).collect();
        let wanted = pod.spec.as_ref().map_or(0, |spec| spec.containers.len()) + sidecars.len();
        let phase = status.and_then(|status| status.reason.clone().or_else(|| status.phase.clone()));
        let trouble = lasting.iter().copied().chain(init).find_map(trouble);
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            ready: (lasting.iter().filter(|container| container.ready).count(), wanted),
            status: if pod.metadata.deletion_timestamp.is_some() {
                "Terminating".to_owned()
            } else {
                trouble.or(phase).unwrap_or_else(|| "Unknown".to_owned())
            },
            restarts: lasting.iter().map(|container| container.restart_count).sum(),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }
}

/// Why a container doesn't run; `None`: it does, or ended as it should.
fn trouble(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        return waiting.reason.clone();
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    Some(
        ended
            .reason
            .clone()
            .unwrap_or_else(|| format!("ExitCode:{}", ended.exit_code)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(status: &serde_json::Value) -> PodLine {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "shop-7d9c8b6f5d-bbbbb", "creationTimestamp": "2027-01-15T08:00:00Z" },
            "spec": {
                "containers": [{ "name": "main" }],
                "initContainers": [{ "name": "migrate" }, { "name": "proxy", "restartPolicy": "Always" }],
            },
            "status": status,
        }))
        .unwrap();
        PodLine::from(&pod)
    }

    #[test]
    fn a_pod_is_what_keeps_it_from_running() {
        let running = json!({ "running": {} });
        let proxy = json!({ "name": "proxy", "ready": true, "restartCount": 0, "state": running });
        let migrated = json!({ "name": "migrate", "ready": true, "restartCount": 0,
            "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } });
        let main = |ready: bool, state: &serde_json::Value| {
            json!([
                { "name": "main", "ready": ready, "restartCount": 3, "state": state },
            ])
        };
        let well = line(
            &json!({ "phase": "Running", "containerStatuses": main(true, &running),
            "initContainerStatuses": [migrated, proxy] }),
        );
        assert_eq!(
            (well.ready, well.status.as_str(), well.restarts),
            ((2, 2), "Running", 3)
        );
        assert!(well.is_well());
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let crashing = line(
            &json!({ "phase": "Running", "containerStatuses": main(false, &waiting),
            "initContainerStatuses": [migrated, proxy] }),
        );
        assert_eq!(
            (crashing.ready, crashing.status.as_str()),
            ((1, 2), "CrashLoopBackOff")
        );
        let failed = json!({ "name": "migrate", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff" } } });
        let stuck = line(&json!({ "phase": "Pending", "initContainerStatuses": [failed] }));
        assert_eq!((stuck.ready, stuck.status.as_str()), ((0, 2), "ImagePullBackOff"));
        let evicted = line(&json!({ "phase": "Failed", "reason": "Evicted" }));
        assert_eq!((evicted.ready, evicted.status.as_str()), ((0, 2), "Evicted"));
    }
}
