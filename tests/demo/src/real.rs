//! The demo on a real node (I/O): images from local programs, Redis as a Deployment, and the process behind a pod.

use std::fs;
use std::path::Path;

use lockstep_cluster::{Cluster, Image};

use crate::failure::{Failure, WhileTrying as _};
use crate::shell::Shell;
use crate::stories::Stage;
use crate::tell::{line, step};
use crate::view::Pod;

const REDIS_IMAGE: &str = "lockstep.dev/redis:dev";
/// The name that the example uses.
const WORKER_IMAGE: &str = "lockstep.dev/rigatoni-worker:dev";

/// Redis as the example's `redis://redis:6379` finds it. The label is the one that the example's policy lets out to.
const REDIS: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: redis}
spec:
  selector: {matchLabels: {app: redis}}
  # Two Redis side by side, even for a moment, would be two stores of locks.
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: redis}}
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: redis
          image: lockstep.dev/redis:dev
          imagePullPolicy: IfNotPresent
          ports: [{name: redis, containerPort: 6379}]
          readinessProbe: {tcpSocket: {port: redis}, periodSeconds: 1}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: redis}
spec:
  selector: {app: redis}
  ports: [{name: redis, port: 6379, targetPort: redis}]
";

/// The container of the example that holds the locks.
const CONTAINER: &str = "rigatoni";

/// The stage that the stories see.
pub(crate) struct Real<'a> {
    pub(crate) cluster: &'a Cluster,
}

impl Real<'_> {
    /// Builds the images and starts Redis. What is there already stays as it is; `note` remembers the images.
    pub(crate) fn set(&self, shell: &Shell, worker: &Path, note: &Path) -> Result<(), Failure> {
        let file = fs::metadata(worker).while_trying("look at", worker)?;
        let images = format!(
            "{} {} {:?}",
            self.cluster.dir().display(),
            file.len(),
            file.modified().ok()
        );
        if fs::read_to_string(note).is_ok_and(|noted| noted == images) {
            line("... the images of Redis and of the worker are on the node already");
        } else {
            step("put the images of Redis and of the worker on the node", || {
                self.load_images(worker)
            })?;
            fs::write(note, images).while_trying("write", note)?;
        }
        step("start Redis in the cluster", || {
            self.cluster
                .kubectl_stdin(&["--namespace", crate::NAMESPACE, "apply", "--filename=-"], REDIS)?;
            shell
                .run("kubectl rollout status deployment/redis --timeout=120s")
                .map(drop)
        })
    }

    fn load_images(&self, worker: &Path) -> Result<(), Failure> {
        self.cluster.load_image(&Image::redis(REDIS_IMAGE)?)?;
        let path = "/usr/bin/rigatoni-worker";
        let image = Image::new(WORKER_IMAGE).program(worker, path)?.entrypoint([path]);
        Ok(self.cluster.load_image(&image)?)
    }
}

impl Stage for Real<'_> {
    fn apply_command(&self, filter: Option<&str>) -> Result<String, Failure> {
        let example = crate::EXAMPLE;
        Ok(match filter {
            None => format!("kubectl apply -f {example}"),
            Some(filter) => format!("sed '{filter}' {example} | kubectl apply -f -"),
        })
    }

    fn lock_process(&self, pod: &Pod) -> Result<(u32, String), Failure> {
        let process = self
            .cluster
            .container_pid(crate::NAMESPACE, &pod.name, CONTAINER)?;
        let how = "its id on the node is that of the process whose control group (/proc/ID/cgroup) names the container \
                   (kubectl get pod, .status.containerStatuses[0].containerID).";
        Ok((process, how.to_owned()))
    }
}
