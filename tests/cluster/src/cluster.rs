//! The cluster as its users see it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::binaries::{Binaries, KUBERNETES, KWOK};
use crate::certificates::Authority;
use crate::control_plane::{self, ControlPlane, Network};
use crate::namespaces::{Namespaces, Slot};
use crate::node::{NodeAccess, NodeBinaries};
use crate::processes::{Cleanup, Supervisor};
use crate::{Error, Image, node, processes, progress};

/// How much of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// A control plane with fake nodes: pods become ready without anything running in them.
    ControlPlane,
    /// A control plane with one real node. Needs root.
    Node,
}

/// What to start. Begin with [`Options::control_plane`] or [`Options::node`] and change what should differ.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much of a cluster.
    pub profile: Profile,
    /// How many fake nodes KWOK keeps ready; with none, KWOK is not started.
    pub fake_nodes: usize,
    /// Where to write an audit log, one JSON line for each request, at level `Metadata`.
    pub audit_log: Option<PathBuf>,
    /// Whether the controller that scales by metrics runs.
    pub horizontal_pod_autoscaler: bool,
    /// Further arguments of kube-apiserver.
    pub apiserver_args: Vec<String>,
    /// Further arguments of kube-controller-manager.
    pub controller_manager_args: Vec<String>,
    /// Say each step, not only the long ones.
    pub verbose: bool,
}

impl Options {
    /// A control plane with three fake nodes.
    #[must_use]
    pub fn control_plane() -> Self {
        Self {
            profile: Profile::ControlPlane,
            fake_nodes: 3,
            audit_log: None,
            horizontal_pod_autoscaler: true,
            apiserver_args: Vec::new(),
            controller_manager_args: Vec::new(),
            verbose: false,
        }
    }

    /// A control plane with one real node and no fake ones.
    #[must_use]
    pub fn node() -> Self {
        Self {
            profile: Profile::Node,
            fake_nodes: 0,
            ..Self::control_plane()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::control_plane()
    }
}

/// A process of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// etcd.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// KWOK, which plays the fake nodes.
    Kwok,
    /// containerd, which runs the containers of the real node.
    Containerd,
    /// kubelet of the real node.
    Kubelet,
    /// kube-proxy of the real node, which makes services reachable.
    KubeProxy,
    /// `CoreDNS`, which resolves the names of services.
    CoreDns,
}

impl Component {
    /// Its name, also that of its program and its log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::CoreDns => "coredns",
        }
    }
}

/// A running cluster. It ends when it is dropped, or when this process ends, unless it was attached to.
#[derive(Debug)]
pub struct Cluster {
    access: Access,
    /// Absent if another process owns the cluster.
    supervisor: Option<Supervisor>,
}

/// How to reach a running cluster; written down for those who attach to it later.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Access {
    profile: Profile,
    pub(crate) folder: PathBuf,
    plane: ControlPlane,
    node: Option<NodeAccess>,
}

impl Cluster {
    /// Starts a cluster and waits until it is ready to take pods.
    ///
    /// A node profile without root privileges is an [`Error::NeedsRoot`].
    pub fn start(options: &Options) -> Result<Self, Error> {
        let real_node = match options.profile {
            Profile::ControlPlane => None,
            Profile::Node => {
                node::check_possible()?;
                Some((NodeBinaries::get()?, Slot::take()?))
            }
        };
        let binaries = control_plane_binaries(options)?;
        let (network, cleanup) = match &real_node {
            None => (Network::loopback(), Cleanup::default()),
            Some((_, slot)) => (
                node::control_plane_network(slot),
                Cleanup {
                    command: slot.cleanup_command(),
                    lock: Some(slot.lock.share()?),
                },
            ),
        };
        let supervisor = Supervisor::new("cluster", cleanup)?;
        let folder = supervisor.folder().to_owned();
        let say = |text: &str| {
            if options.verbose {
                progress::line(text);
            }
        };
        say(&format!("start a control plane in {}", folder.display()));
        let authority = Authority::new(&folder.join("certificates"))?;
        // Before the control plane, which listens at the near end of their cable.
        let namespaces = match &real_node {
            None => None,
            Some((_, slot)) => Some(Namespaces::start(&supervisor, slot)?),
        };
        let plane = control_plane::start(&supervisor, &binaries, &authority, &network, options)?;
        let node = match (&real_node, &namespaces) {
            (Some((binaries, slot)), Some(namespaces)) => {
                say("start a node");
                Some(node::start(
                    &supervisor,
                    binaries,
                    &authority,
                    slot,
                    namespaces,
                    &plane,
                )?)
            }
            _ => None,
        };
        say(&format!("ready: {}", plane.kubectl.kubeconfig().display()));
        let access = Access {
            profile: options.profile,
            folder,
            plane,
            node,
        };
        Ok(Self {
            access,
            supervisor: Some(supervisor),
        })
    }

    /// A cluster that another process owns and goes on owning.
    pub(crate) fn attached(access: Access) -> Self {
        Self {
            access,
            supervisor: None,
        }
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Builds what clusters with these options need, so that starting one is quick.
    pub fn build(options: &Options) -> Result<(), Error> {
        control_plane_binaries(options)?;
        if options.profile == Profile::Node {
            NodeBinaries::get()?;
        }
        Ok(())
    }

    /// How much of a cluster it is.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.access.profile
    }

    /// A kubeconfig of an administrator. It holds its credentials itself, so it can be copied.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.access.plane.kubectl.kubeconfig()
    }

    /// `https://address:port` of the apiserver.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("https://{}", self.access.plane.server)
    }

    /// The folder of the cluster. Its logs are in `logs`, one for each component.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.access.folder
    }

    /// The certificate of the authority that signed the apiserver's certificate.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.dir().join("certificates/ca.crt")
    }

    /// The log of a component.
    #[must_use]
    pub fn log_path(&self, component: Component) -> PathBuf {
        processes::log_path(self.dir(), component.name())
    }

    /// The program `kubectl` that fits the cluster.
    #[must_use]
    pub fn kubectl_path(&self) -> &Path {
        self.access.plane.kubectl.program()
    }

    /// A `kubectl` with the cluster's credentials, to be given arguments and started.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        self.access.plane.kubectl.command()
    }

    /// Runs `kubectl` and hands back what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        self.access.plane.kubectl.run(arguments)
    }

    /// Runs `kubectl` with this standard input and hands back what it printed.
    pub fn kubectl_stdin(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        self.access.plane.kubectl.run_with_input(arguments, input)
    }

    /// Makes an image known to the real node. Pods use it with `imagePullPolicy: Never`.
    pub fn load_image(&self, image: &Image) -> Result<(), Error> {
        self.node()?.load_image(image, self.dir())
    }

    /// The process id of a container's first process, as this machine counts: to send it signals.
    pub fn container_pid(&self, namespace: &str, pod: &str, container: &str) -> Result<u32, Error> {
        self.node()?;
        let pod_json = self.kubectl(&["get", "pod", pod, "--namespace", namespace, "--output=json"])?;
        node::first_process(&container_id(&pod_json, container)?)
    }

    /// Where the names of services are resolved; reachable from this machine too.
    pub fn dns_address(&self) -> Result<SocketAddr, Error> {
        self.node().map(NodeAccess::dns_address)
    }

    fn node(&self) -> Result<&NodeAccess, Error> {
        let missing = "this cluster has no real node: start it with the node profile";
        self.access
            .node
            .as_ref()
            .ok_or_else(|| Error::Unsupported(missing.to_owned()))
    }

    /// Lets a component stand still with its connections open (SIGSTOP).
    pub fn freeze(&self, component: Component) -> Result<(), Error> {
        self.supervisor()?.signal(component.name(), Signal::STOP)
    }

    /// Ends [`freeze`](Self::freeze).
    pub fn thaw(&self, component: Component) -> Result<(), Error> {
        self.supervisor()?.signal(component.name(), Signal::CONT)
    }

    /// Kills a component with SIGKILL and starts it again with the same arguments, so on the same port.
    ///
    /// For the apiserver and for etcd, it waits until the apiserver is ready again.
    pub fn restart(&self, component: Component) -> Result<(), Error> {
        let supervisor = self.supervisor()?;
        let spec = supervisor.kill(component.name())?;
        supervisor.spawn(spec)?;
        match component {
            Component::ApiServer | Component::Etcd => {
                control_plane::until_ready(supervisor, &self.access.plane)
            }
            _ => Ok(()),
        }
    }

    /// The process id of a component, if it runs and belongs to this process.
    #[must_use]
    pub fn pid(&self, component: Component) -> Option<u32> {
        self.supervisor.as_ref()?.pid(component.name())
    }

    fn supervisor(&self) -> Result<&Supervisor, Error> {
        let foreign =
            "this cluster belongs to another process, so its components can't be disturbed from here";
        self.supervisor
            .as_ref()
            .ok_or_else(|| Error::Unsupported(foreign.to_owned()))
    }
}

fn control_plane_binaries(options: &Options) -> Result<Binaries, Error> {
    if options.fake_nodes > 0 {
        KWOK.programs(&["kwok"])?;
    }
    KUBERNETES.programs(&[
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubectl",
    ])
}

/// The id that containerd knows a container of a pod by.
fn container_id(pod_json: &str, container: &str) -> Result<String, Error> {
    let malformed = |why: String| Error::Malformed {
        what: "the pod that kubectl printed".to_owned(),
        why,
    };
    let pod: Value = serde_json::from_str(pod_json).map_err(|error| malformed(error.to_string()))?;
    let statuses = pod["status"]["containerStatuses"].as_array();
    statuses
        .into_iter()
        .flatten()
        .find(|status| status["name"] == container)
        .and_then(|status| status["containerID"].as_str()?.strip_prefix("containerd://"))
        .map(str::to_owned)
        .ok_or_else(|| {
            malformed(format!(
                "container {container} was not started yet: wait until the pod is ready"
            ))
        })
}
