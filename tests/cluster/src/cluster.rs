//! The cluster as its users see it.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::binaries::{KUBERNETES, KWOK};
use crate::certificates::Authority;
use crate::control_plane::{self, ControlPlane, Network};
use crate::processes::{Cleanup, Supervisor};
use crate::{Error, progress};

/// How much of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        }
    }
}

/// A running cluster. It ends when it is dropped, or when this process ends.
#[derive(Debug)]
pub struct Cluster {
    supervisor: Supervisor,
    plane: ControlPlane,
}

impl Cluster {
    /// Starts a cluster and waits until it is ready to take pods.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let say = |text: &str| {
            if options.verbose {
                progress::line(text);
            }
        };
        let binaries = KUBERNETES.programs(&[
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubectl",
        ])?;
        if options.fake_nodes > 0 {
            KWOK.programs(&["kwok"])?;
        }
        if options.profile == Profile::Node {
            return Err(Error::Unsupported("the node profile is not built yet".to_owned()));
        }
        let supervisor = Supervisor::new("cluster", Cleanup::default())?;
        say(&format!(
            "start a control plane in {}",
            supervisor.folder().display()
        ));
        let authority = Authority::new(&supervisor.folder().join("certificates"))?;
        let network = Network::loopback();
        let plane = control_plane::start(&supervisor, &binaries, &authority, &network, &options)?;
        say(&format!("ready: {}", plane.kubectl.kubeconfig().display()));
        Ok(Self { supervisor, plane })
    }

    /// A kubeconfig of an administrator. It holds its credentials itself, so it can be copied.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.plane.kubectl.kubeconfig()
    }

    /// `https://address:port` of the apiserver.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("https://{}", self.plane.server)
    }

    /// The folder of the cluster. Its logs are in `logs`, one for each component.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.supervisor.folder()
    }

    /// The certificate of the authority that signed the apiserver's certificate.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.dir().join("certificates/ca.crt")
    }

    /// The log of a component.
    #[must_use]
    pub fn log_path(&self, component: Component) -> PathBuf {
        self.supervisor.log_path(component.name())
    }

    /// The program `kubectl` that fits the cluster.
    #[must_use]
    pub fn kubectl_path(&self) -> &Path {
        self.plane.kubectl.program()
    }

    /// A `kubectl` with the cluster's credentials, to be given arguments and started.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        self.plane.kubectl.command()
    }

    /// Runs `kubectl` and hands back what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        self.plane.kubectl.run(arguments)
    }

    /// Runs `kubectl` with this standard input and hands back what it printed.
    pub fn kubectl_stdin(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        self.plane.kubectl.run_with_input(arguments, input)
    }

    /// Lets a component stand still with its connections open (SIGSTOP).
    pub fn freeze(&self, component: Component) -> Result<(), Error> {
        self.supervisor.signal(component.name(), Signal::STOP)
    }

    /// Ends [`freeze`](Self::freeze).
    pub fn thaw(&self, component: Component) -> Result<(), Error> {
        self.supervisor.signal(component.name(), Signal::CONT)
    }

    /// Kills a component with SIGKILL and starts it again with the same arguments, so on the same port.
    ///
    /// For the apiserver and for etcd, it waits until the apiserver is ready again.
    pub fn restart(&self, component: Component) -> Result<(), Error> {
        let spec = self.supervisor.kill(component.name())?;
        self.supervisor.spawn(spec)?;
        match component {
            Component::ApiServer | Component::Etcd => {
                control_plane::until_ready(&self.supervisor, &self.plane)
            }
            Component::ControllerManager | Component::Scheduler | Component::Kwok => Ok(()),
        }
    }

    /// The process id of a component, if it runs.
    #[must_use]
    pub fn pid(&self, component: Component) -> Option<u32> {
        self.supervisor.pid(component.name())
    }
}
