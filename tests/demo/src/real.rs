//! The demo on a real node (I/O): images from local programs, Redis as a Deployment, the operator installed with Helm, and
//! the process behind a pod.

use std::fs;
use std::path::Path;

use lockstep_cluster::{Cluster, Image};

use crate::failure::{Failure, WhileTrying as _};
use crate::shell::Shell;
use crate::stories::Stage;
use crate::tell::{line, step};
use crate::view::Pod;

const REDIS_IMAGE: &str = "lockstep.dev/redis:dev";
/// The name that the chart uses unless it is told another.
const OPERATOR_IMAGE: &str = concat!("lockstep.dev/operator:", env!("CARGO_PKG_VERSION"));
/// The name that the example uses.
const WORKER_IMAGE: &str = "lockstep.dev/rigatoni-worker:dev";

/// Redis as the example finds it.
const REDIS: &str = include_str!("../../common/redis.yaml");

/// The container of the example that holds the locks.
const CONTAINER: &str = "rigatoni";

/// The stage that the stories see.
pub(crate) struct Real<'a> {
    pub(crate) cluster: &'a Cluster,
}

impl Real<'_> {
    /// Builds the images and starts Redis. What is there already stays as it is; `note` remembers the images.
    pub(crate) fn set(
        &self,
        shell: &Shell,
        operator: &Path,
        worker: &Path,
        note: &Path,
    ) -> Result<(), Failure> {
        let images = format!(
            "{} {} {}",
            self.cluster.dir().display(),
            build(operator)?,
            build(worker)?
        );
        if fs::read_to_string(note).is_ok_and(|noted| noted == images) {
            line("... the images of the operator, of the worker and of Redis are on the node already");
        } else {
            step(
                "put the images of the operator, of the worker and of Redis on the node",
                || self.load_images(operator, worker),
            )?;
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

    /// Installs the operator, or another build of it over the one from before.
    pub(crate) fn install(shell: &Shell, operator: &Path) -> Result<(), Failure> {
        // The image keeps its name: that it is another one, the pod's annotation says.
        let build = build(operator)?;
        shell.show(&format!(
            "helm upgrade --install lockstep charts/lockstep --namespace {} --create-namespace --wait --timeout 180s \
             --hide-notes --set-string podAnnotations.build={build}",
            crate::OPERATOR_NAMESPACE
        ))?;
        shell.show(&format!(
            "helm test lockstep --namespace {} --timeout 60s",
            crate::OPERATOR_NAMESPACE
        ))?;
        Ok(())
    }

    fn load_images(&self, operator: &Path, worker: &Path) -> Result<(), Failure> {
        self.cluster.load_image(&Image::redis(REDIS_IMAGE)?)?;
        let path = "/lockstep";
        let image = Image::new(OPERATOR_IMAGE).program(operator, path)?;
        self.cluster.load_image(&image.entrypoint([path]))?;
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

/// What tells one build of a program from another.
fn build(program: &Path) -> Result<String, Failure> {
    let file = fs::metadata(program).while_trying("look at", program)?;
    let modified = file.modified().while_trying("look at", program)?;
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{}-{}", file.len(), modified.as_millis()))
}
