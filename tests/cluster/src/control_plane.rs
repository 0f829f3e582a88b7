//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and KWOK, as processes on free ports.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::binaries::{Binaries, KWOK};
use crate::certificates::{Authority, Identity, write_private};
use crate::kubectl::Kubectl;
use crate::processes::{Spec, Supervisor};
use crate::wait::Probe;
use crate::{Component, Error, Options, ports};

/// Generous, since tests of several binaries may start theirs at once on two cores.
const START_LIMIT: Duration = Duration::from_mins(2);

/// The group that Kubernetes never refuses anything.
pub(crate) const ADMINISTRATORS: Option<&str> = Some("system:masters");

/// Where the control plane listens and which addresses it hands out.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) address: IpAddr,
    pub(crate) service_range: String,
    /// The address of the `kubernetes` service: the first one of the range.
    pub(crate) first_service: IpAddr,
}

impl Network {
    /// Nothing but this machine can reach it, and nothing routes to its services.
    pub(crate) fn loopback() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            service_range: "10.0.0.0/16".to_owned(),
            first_service: Ipv4Addr::new(10, 0, 0, 1).into(),
        }
    }
}

/// A control plane that is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ControlPlane {
    pub(crate) kubectl: Kubectl,
    pub(crate) server: SocketAddr,
}

/// Starts the control plane and waits until it serves and its fake nodes are ready.
pub(crate) fn start(
    supervisor: &Supervisor,
    binaries: &Binaries,
    authority: &Authority,
    network: &Network,
    options: &Options,
) -> Result<ControlPlane, Error> {
    let starter = Starter {
        supervisor,
        binaries,
        authority,
        network,
        options,
    };
    let etcd = ports::retry(|| starter.etcd())?;
    let files = starter.apiserver_files()?;
    let plane = ports::retry(|| starter.apiserver(etcd, &files))?;
    starter.controllers(&plane, &files)?;
    if options.fake_nodes > 0 {
        starter.fake_nodes(&plane)?;
    }
    // Pods are refused as long as the controller manager has not made their service account.
    supervisor.until(
        Component::ControllerManager.name(),
        "the default service account",
        START_LIMIT,
        || {
            supervisor.check(Component::ApiServer.name())?;
            plane
                .kubectl
                .probe(&["get", "serviceaccount", "default", "--namespace=default"])
        },
    )?;
    Ok(plane)
}

/// Waits until the apiserver says that it is ready.
pub(crate) fn until_ready(supervisor: &Supervisor, plane: &ControlPlane) -> Result<(), Error> {
    supervisor.until(
        Component::ApiServer.name(),
        "readiness of kube-apiserver",
        START_LIMIT,
        || {
            supervisor.check(Component::Etcd.name())?;
            // Asking costs a process each time, so it begins when somebody listens.
            if let Err(error) = TcpStream::connect(plane.server) {
                return Ok(Probe::NotYet(error.to_string()));
            }
            plane.kubectl.probe(&["get", "--raw=/readyz"])
        },
    )
}

struct Starter<'a> {
    supervisor: &'a Supervisor,
    binaries: &'a Binaries,
    authority: &'a Authority,
    network: &'a Network,
    options: &'a Options,
}

struct ApiserverFiles {
    serving: Identity,
    kubelet_client: Identity,
    service_accounts: Identity,
    admin: Identity,
}

impl Starter<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.supervisor.folder().join(name)
    }

    fn spec(&self, component: Component) -> Spec {
        Spec::new(component.name(), self.binaries.path(component.name()))
    }

    fn etcd(&self) -> Result<SocketAddr, Error> {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let client = SocketAddr::new(loopback, ports::free(loopback)?);
        let peer = SocketAddr::new(loopback, ports::free(loopback)?);
        let client_url = format!("http://{client}");
        let peer_url = format!("http://{peer}");
        let spec = self
            .spec(Component::Etcd)
            .flag("data-dir", self.path("etcd"))
            .flag("listen-client-urls", &client_url)
            .flag("advertise-client-urls", &client_url)
            .flag("listen-peer-urls", &peer_url)
            .flag("initial-advertise-peer-urls", &peer_url)
            .flag("initial-cluster", format!("default={peer_url}"))
            // The data ends with the cluster: nothing to keep over a power cut.
            .arg("--unsafe-no-fsync");
        self.supervisor.spawn(spec)?;
        self.supervisor
            .until(Component::Etcd.name(), "readiness of etcd", START_LIMIT, || {
                Ok(match http_get(client, "/readyz") {
                    Ok(answer) if answer.starts_with("HTTP/1.1 200") => Probe::Ready(client),
                    Ok(answer) => Probe::NotYet(answer),
                    Err(error) => Probe::NotYet(error.to_string()),
                })
            })
    }

    fn apiserver_files(&self) -> Result<ApiserverFiles, Error> {
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        let addresses = [
            Ipv4Addr::LOCALHOST.into(),
            self.network.address,
            self.network.first_service,
        ];
        if self.options.audit_log.is_some() {
            let policy = json!({
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "omitStages": ["RequestReceived"],
                "rules": [{"level": "Metadata"}],
            });
            write_private(&self.path("audit-policy.json"), &policy.to_string())?;
        }
        Ok(ApiserverFiles {
            serving: self.authority.server("kube-apiserver", &addresses, &names)?,
            kubelet_client: self
                .authority
                .client("kube-apiserver-kubelet-client", ADMINISTRATORS)?,
            service_accounts: self.authority.service_account_keys()?,
            admin: self.authority.client("admin", ADMINISTRATORS)?,
        })
    }

    fn apiserver(&self, etcd: SocketAddr, files: &ApiserverFiles) -> Result<ControlPlane, Error> {
        let server = SocketAddr::new(self.network.address, ports::free(self.network.address)?);
        let mut spec = self
            .spec(Component::ApiServer)
            .flag("etcd-servers", format!("http://{etcd}"))
            .flag("bind-address", server.ip().to_string())
            .flag("advertise-address", server.ip().to_string())
            .flag("secure-port", server.port().to_string())
            .flag("service-cluster-ip-range", &self.network.service_range)
            .flag("authorization-mode", "Node,RBAC")
            .flag("client-ca-file", self.authority.certificate())
            .flag("tls-cert-file", &files.serving.certificate)
            .flag("tls-private-key-file", &files.serving.key)
            .flag("service-account-issuer", "https://kubernetes.default.svc")
            .flag("service-account-key-file", &files.service_accounts.certificate)
            .flag("service-account-signing-key-file", &files.service_accounts.key)
            // For logs, exec and port-forward.
            .flag("kubelet-client-certificate", &files.kubelet_client.certificate)
            .flag("kubelet-client-key", &files.kubelet_client.key)
            .flag("kubelet-preferred-address-types", "InternalIP")
            .flag("allow-privileged", "true");
        if server.ip().is_loopback() {
            // Endpoints must not be loopback addresses, and without pods nobody asks for them.
            spec = spec.flag("endpoint-reconciler-type", "none");
        }
        if let Some(log) = &self.options.audit_log {
            spec = spec
                .flag("audit-policy-file", self.path("audit-policy.json"))
                .flag("audit-log-path", log)
                // Who counts requests must not lose some to a rotation.
                .flag("audit-log-maxsize", "100000");
        }
        self.supervisor.spawn(spec.args(&self.options.apiserver_args))?;

        let kubeconfig = self.path("kubeconfig");
        self.authority
            .kubeconfig(&kubeconfig, &format!("https://{server}"), &files.admin)?;
        let kubectl = Kubectl::new(self.binaries.path("kubectl"), kubeconfig);
        let plane = ControlPlane { kubectl, server };
        until_ready(self.supervisor, &plane)?;
        Ok(plane)
    }

    /// Writes a kubeconfig for a component of the control plane, under its own user: audit logs then tell
    /// them apart.
    fn component_kubeconfig(
        &self,
        server: SocketAddr,
        user: &str,
        group: Option<&str>,
    ) -> Result<PathBuf, Error> {
        let identity = self.authority.client(user, group)?;
        let path = self.path(&format!("{}.kubeconfig", user.replace(':', "-")));
        self.authority
            .kubeconfig(&path, &format!("https://{server}"), &identity)?;
        Ok(path)
    }

    fn controllers(&self, plane: &ControlPlane, files: &ApiserverFiles) -> Result<(), Error> {
        let disabled = if self.options.horizontal_pod_autoscaler {
            ""
        } else {
            ",-horizontal-pod-autoscaler-controller"
        };
        let fast = [
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--leader-elect=false",
            "--secure-port=0",
        ];

        let user = self.component_kubeconfig(plane.server, "system:kube-controller-manager", None)?;
        let spec = self
            .spec(Component::ControllerManager)
            .flag("kubeconfig", user)
            .flag("controllers", format!("*{disabled}"))
            .flag("use-service-account-credentials", "true")
            .flag("service-account-private-key-file", &files.service_accounts.key)
            .flag("root-ca-file", self.authority.certificate())
            .flag("horizontal-pod-autoscaler-sync-period", "2s")
            .args(fast);
        self.supervisor
            .spawn(spec.args(&self.options.controller_manager_args))?;

        let user = self.component_kubeconfig(plane.server, "system:kube-scheduler", None)?;
        self.supervisor.spawn(
            self.spec(Component::Scheduler)
                .flag("kubeconfig", user)
                .args(fast),
        )
    }

    fn fake_nodes(&self, plane: &ControlPlane) -> Result<(), Error> {
        let binaries = KWOK.programs(&["kwok"])?;
        let user = self.component_kubeconfig(plane.server, "kwok", ADMINISTRATORS)?;
        let mut spec = Spec::new(Component::Kwok.name(), binaries.path("kwok"))
            .flag("kubeconfig", user)
            // Leaves a real node beside them alone.
            .flag("manage-all-nodes", "false")
            .flag("manage-nodes-with-annotation-selector", "kwok.x-k8s.io/node=fake")
            // Without leases nobody renews a node's, and after 50 s all of them are lost, with their pods.
            .flag("node-lease-duration-seconds", "40");
        for stage in KWOK.data(&binaries) {
            spec = spec.flag("config", stage);
        }
        self.supervisor.spawn(spec)?;

        let names: Vec<_> = (0..self.options.fake_nodes)
            .map(|number| format!("fake-{number}"))
            .collect();
        let nodes: Vec<_> = names
            .iter()
            .map(|name| {
                json!({
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {
                        "name": name,
                        "annotations": {"kwok.x-k8s.io/node": "fake"},
                        "labels": {
                            "kubernetes.io/hostname": name,
                            "kubernetes.io/os": "linux",
                            "type": "kwok",
                        },
                    },
                })
            })
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": nodes});
        plane
            .kubectl
            .run_with_input(&["create", "--filename=-"], &list.to_string())?;

        let jsonpath = r#"--output=jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
        self.supervisor.until(
            Component::Kwok.name(),
            "readiness of the fake nodes",
            START_LIMIT,
            || {
                let states = plane
                    .kubectl
                    .run(&["get", "nodes", "--selector=type=kwok", jsonpath])?;
                let ready = states.lines().filter(|state| *state == "True").count();
                Ok(if ready == names.len() {
                    Probe::Ready(())
                } else {
                    Probe::NotYet(format!("{ready} of {} are ready", names.len()))
                })
            },
        )
    }
}

/// One request without TLS, for readiness only.
pub(crate) fn http_get(server: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
