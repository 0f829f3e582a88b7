//! A real node: containerd, kubelet, kube-proxy and `CoreDNS`, in namespaces of their own.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::binaries::{Binaries, CONTAINERD, COREDNS, KUBERNETES, PAUSE};
use crate::certificates::{Authority, write_private};
use crate::control_plane::{ADMINISTRATORS, ControlPlane, Network, http_get};
use crate::error::IoContext;
use crate::image::Image;
use crate::namespaces::{Namespaces, Slot};
use crate::processes::{Spec, Supervisor};
use crate::tools::{self, Tool};
use crate::wait::Probe;
use crate::{Component, Error, namespaces};

const START_LIMIT: Duration = Duration::from_mins(2);

const NODE_NAME: &str = "node";
const PAUSE_IMAGE: &str = "lockstep.dev/pause:1";
const CNI_PLUGINS: &str = "/usr/lib/cni";

const DNS_PORT: u16 = 53;
const DNS_READINESS_PORT: u16 = 8181;
const PROXY_HEALTH_PORT: u16 = 10256;

const TOOLS: [Tool; 4] = [
    Tool {
        program: "runc",
        debian_package: "runc",
    },
    Tool {
        program: "nft",
        debian_package: "nftables",
    },
    // The plugins, and what the bridge plugin calls.
    Tool {
        program: "/usr/lib/cni/bridge",
        debian_package: "containernetworking-plugins",
    },
    Tool {
        program: "iptables",
        debian_package: "iptables",
    },
];

/// How to reach a running node; written down for those who attach to it later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeAccess {
    pub(crate) address: IpAddr,
    ctr: PathBuf,
    containerd_socket: PathBuf,
}

/// The programs of a node, all built.
pub(crate) struct NodeBinaries {
    kubernetes: Binaries,
    containerd: Binaries,
    coredns: Binaries,
    pause: Binaries,
}

impl NodeBinaries {
    pub(crate) fn get() -> Result<Self, Error> {
        Ok(Self {
            kubernetes: KUBERNETES.programs(&["kubelet", "kube-proxy"])?,
            containerd: CONTAINERD.programs(&["containerd", "containerd-shim-runc-v2", "ctr"])?,
            coredns: COREDNS.programs(&["coredns"])?,
            pause: PAUSE.programs(&["pause"])?,
        })
    }
}

/// Fails early, and with what to do, if this machine or user can't have a node.
pub(crate) fn check_possible() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NeedsRoot);
    }
    tools::require(&namespaces::TOOLS)?;
    tools::require(&TOOLS)
}

/// The control plane of a node listens where pods can reach it.
pub(crate) fn control_plane_network(slot: &Slot) -> Network {
    Network {
        address: slot.outer_address().into(),
        service_range: slot.service_range(),
        first_service: slot.first_service(),
    }
}

/// Starts the node and waits until it is ready and names resolve.
pub(crate) fn start(
    supervisor: &Supervisor,
    binaries: &NodeBinaries,
    authority: &Authority,
    slot: &Slot,
    namespaces: &Namespaces,
    plane: &ControlPlane,
) -> Result<NodeAccess, Error> {
    let access = NodeAccess {
        address: slot.node_address().into(),
        ctr: binaries.containerd.path("ctr"),
        containerd_socket: supervisor.folder().join("containerd.sock"),
    };
    let starter = Starter {
        supervisor,
        binaries,
        authority,
        slot,
        namespaces,
        plane,
        access: &access,
    };
    starter.containerd()?;
    let pause = Image::new(PAUSE_IMAGE)
        .file(binaries.pause.path("pause"), "/pause", 0o755)
        .entrypoint(["/pause"]);
    access.load_image(&pause, supervisor.folder())?;
    starter.kubelet()?;
    starter.kube_proxy()?;
    starter.coredns()?;
    starter.until_ready()?;
    Ok(access)
}

struct Starter<'a> {
    supervisor: &'a Supervisor,
    binaries: &'a NodeBinaries,
    authority: &'a Authority,
    slot: &'a Slot,
    namespaces: &'a Namespaces,
    plane: &'a ControlPlane,
    access: &'a NodeAccess,
}

impl Starter<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.supervisor.folder().join(name)
    }

    /// Writes a file that a program reads its settings from. JSON serves where YAML is expected.
    fn settings(&self, name: &str, settings: &Value) -> Result<PathBuf, Error> {
        let path = self.path(name);
        write_private(&path, &format!("{settings:#}\n"))?;
        Ok(path)
    }

    fn kubeconfig(&self, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        let identity = self.authority.client(user, group)?;
        let path = self.path(&format!("{}.kubeconfig", user.replace(':', "-")));
        self.authority
            .kubeconfig(&path, &format!("https://{}", self.plane.server), &identity)?;
        Ok(path)
    }

    fn containerd(&self) -> Result<(), Error> {
        let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
        let runc = tools::find("runc").unwrap_or_default();
        let config = format!(
            r#"version = 3
root = {root}
state = {state}

[grpc]
address = {socket}

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
# A process without CAP_SYS_RESOURCE must not lower its score; with this it does not try.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = {cni}

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = {runc}
SystemdCgroup = false
"#,
            root = quoted(&self.path("containerd")),
            state = quoted(&self.path("containerd-state")),
            socket = quoted(&self.access.containerd_socket),
            cni = quoted(&self.path("cni")),
            runc = quoted(&runc),
        );
        let config_path = self.path("containerd.toml");
        write_private(&config_path, &config)?;

        let bridge = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge",
                "bridge": "pods",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": self.path("pod-addresses"),
                    "ranges": [[{"subnet": self.slot.pod_range()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        });
        let cni = self.path("cni");
        fs::create_dir(&cni).while_trying("create", &cni)?;
        self.settings("cni/10-bridge.conflist", &bridge)?;

        // containerd looks for its shim on PATH.
        let mut path = self.binaries.containerd.folder().as_os_str().to_owned();
        path.push(":");
        path.push(tools::search_path());
        let spec = Spec::new(
            Component::Containerd.name(),
            self.binaries.containerd.path("containerd"),
        )
        .flag("config", config_path)
        .env("PATH", path)
        .within(&self.namespaces.all());
        self.supervisor.spawn(spec)?;
        self.supervisor.until(
            Component::Containerd.name(),
            "readiness of containerd",
            START_LIMIT,
            || {
                if !self.access.containerd_socket.exists() {
                    return Ok(Probe::NotYet("its socket is not there".to_owned()));
                }
                match tools::run(self.access.ctr().arg("version")) {
                    Ok(_) => Ok(Probe::Ready(())),
                    Err(error) => Ok(Probe::NotYet(error.to_string())),
                }
            },
        )
    }

    fn kubelet(&self) -> Result<(), Error> {
        let resolv_conf = self.path("resolv.conf");
        write_private(&resolv_conf, &format!("nameserver {}\n", self.access.address))?;
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.access.address,
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": false},
                "x509": {"clientCAFile": self.authority.certificate()},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "clusterDomain": "cluster.local",
            "clusterDNS": [self.access.address],
            "resolvConf": resolv_conf,
            "containerRuntimeEndpoint": format!("unix://{}", self.access.containerd_socket.display()),
            "podLogsDir": self.path("pod-logs"),
            // Machines with version 1 of control groups, and without any manager for them, are welcome.
            "failCgroupV1": false,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.slot.control_group()),
            "enforceNodeAllocatable": [],
            "localStorageCapacityIsolation": false,
            "failSwapOn": false,
            "makeIPTablesUtilChains": false,
            // A full disk of the machine is not this cluster's business.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
        });
        let spec = Spec::new(
            Component::Kubelet.name(),
            self.binaries.kubernetes.path("kubelet"),
        )
        .flag("config", self.settings("kubelet.json", &config)?)
        .flag(
            "kubeconfig",
            self.kubeconfig(&format!("system:node:{NODE_NAME}"), Some("system:nodes"))?,
        )
        .flag("hostname-override", NODE_NAME)
        .flag("node-ip", self.access.address.to_string())
        .flag("root-dir", self.path("kubelet"))
        .flag("cert-dir", self.path("kubelet-certificates"))
        .env("PATH", tools::search_path())
        .within(&self.namespaces.all());
        self.supervisor.spawn(spec)
    }

    fn kube_proxy(&self) -> Result<(), Error> {
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "bindAddress": self.access.address,
            "clusterCIDR": self.slot.pod_range(),
            "hostnameOverride": NODE_NAME,
            "healthzBindAddress": SocketAddr::new(self.access.address, PROXY_HEALTH_PORT),
            "metricsBindAddress": "",
            "clientConnection": {"kubeconfig": self.kubeconfig("system:kube-proxy", None)?},
            // Limits of connection tracking belong to the machine; they can't be set from inside.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "nftables": {"syncPeriod": "30s", "minSyncPeriod": "100ms"},
        });
        let spec = Spec::new(
            Component::KubeProxy.name(),
            self.binaries.kubernetes.path("kube-proxy"),
        )
        .flag("config", self.settings("kube-proxy.json", &config)?)
        .env("PATH", tools::search_path())
        .within(&self.namespaces.network());
        self.supervisor.spawn(spec)
    }

    fn coredns(&self) -> Result<(), Error> {
        let address = self.access.address;
        let corefile = self.path("Corefile");
        let text = format!(
            "cluster.local:{DNS_PORT} {{
    bind {address}
    errors
    ready {address}:{DNS_READINESS_PORT}
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
        ttl 1
    }}
}}
# There is no world outside, and it is better to hear that at once than to wait for it.
.:{DNS_PORT} {{
    bind {address}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
",
            kubeconfig = self.kubeconfig("coredns", ADMINISTRATORS)?.display(),
        );
        write_private(&corefile, &text)?;
        let spec = Spec::new(Component::CoreDns.name(), self.binaries.coredns.path("coredns"))
            .arg("-conf")
            .arg(corefile)
            .within(&self.namespaces.network());
        self.supervisor.spawn(spec)
    }

    fn until_ready(&self) -> Result<(), Error> {
        let answers_ok = |port, path| match http_get(SocketAddr::new(self.access.address, port), path) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(Probe::Ready(())),
            Ok(answer) => Ok(Probe::NotYet(answer)),
            Err(error) => Ok(Probe::NotYet(error.to_string())),
        };
        let until = |component: Component, probe: &dyn Fn() -> Result<Probe<()>, Error>| {
            let what = format!("readiness of {}", component.name());
            self.supervisor.until(component.name(), &what, START_LIMIT, probe)
        };
        until(Component::CoreDns, &|| answers_ok(DNS_READINESS_PORT, "/ready"))?;
        until(Component::KubeProxy, &|| {
            answers_ok(PROXY_HEALTH_PORT, "/healthz")
        })?;
        until(Component::Kubelet, &|| {
            let jsonpath = r#"--output=jsonpath={.status.conditions[?(@.type=="Ready")]}"#;
            Ok(
                match self
                    .plane
                    .kubectl
                    .run(&["get", "node", NODE_NAME, "--ignore-not-found", jsonpath])?
                {
                    condition if condition.contains(r#""status":"True""#) => Probe::Ready(()),
                    condition => Probe::NotYet(condition),
                },
            )
        })
    }
}

impl NodeAccess {
    /// Where the cluster's names are resolved.
    pub(crate) fn dns_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, DNS_PORT)
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new(&self.ctr);
        command
            .arg("--address")
            .arg(&self.containerd_socket)
            .args(["--namespace", "k8s.io"]);
        command
    }

    /// Puts an image where pods find it. The archive is written into `folder` and removed again.
    pub(crate) fn load_image(&self, image: &Image, folder: &Path) -> Result<(), Error> {
        let archive = image.write_archive(folder)?;
        tools::run(self.ctr().args(["images", "import"]).arg(archive.path())).map(drop)
    }
}

/// The process id, as the machine counts, of the first process of a container.
///
/// The container's processes are those in its control group; the first one is number 1 in the namespace of
/// its own.
pub(crate) fn first_process(container_id: &str) -> Result<u32, Error> {
    let processes = Path::new("/proc");
    for entry in fs::read_dir(processes).while_trying("list", processes)? {
        let path = entry.while_trying("list", processes)?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
            continue;
        };
        // Processes come and go while we look.
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        if !read("cgroup").contains(container_id) {
            continue;
        }
        let status = read("status");
        let numbers = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .unwrap_or_default();
        if numbers.split_whitespace().next_back() == Some("1") {
            return Ok(pid);
        }
    }
    Err(Error::Unsupported(format!(
        "container {container_id} has no running process on this machine"
    )))
}
