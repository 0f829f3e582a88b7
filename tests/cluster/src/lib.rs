//! A real Kubernetes on one machine, without containers around it, for tests, demo and benchmarks.
//!
//! The programs are built once from pinned Go modules into a cache outside the repository (`LOCKSTEP_CACHE`,
//! or `lockstep` in the user's cache folder; some ten minutes on two cores, with progress on the standard
//! error). After that a control plane is ready in seconds. Everything listens on loopback or on links made by
//! this crate, on free ports, so that any number can run side by side. Everything ends with its owner: when
//! it is dropped, when the process ends, also by SIGKILL. `LOCKSTEP_KEEP=1` keeps the folders with the logs.
//!
//! ```no_run
//! use lockstep_cluster::{Cluster, Dns, Options, Redis, RedisOptions};
//!
//! # fn main() -> Result<(), lockstep_cluster::Error> {
//! // etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and KWOK with three fake nodes.
//! let cluster = Cluster::start(&Options::control_plane())?;
//! cluster.kubectl(&["create", "deployment", "web", "--image=web", "--replicas=3"])?;
//! let namespace = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}"#;
//! cluster.kubectl_stdin(&["apply", "--filename=-"], namespace)?;
//! println!("{} {}", cluster.server_url(), cluster.kubeconfig().display());
//! cluster.freeze(lockstep_cluster::Component::ApiServer)?;
//! cluster.thaw(lockstep_cluster::Component::ApiServer)?;
//! cluster.restart(lockstep_cluster::Component::ApiServer)?;
//!
//! let redis = Redis::start(RedisOptions::default())?;
//! redis.cli(&["SET", "lock", "pod-0", "PX", "10000"])?;
//! redis.freeze()?;
//! redis.thaw()?;
//! redis.stop()?;
//! redis.restart()?;
//!
//! let dns = Dns::start([("redis.example", vec![redis.address()])])?;
//! dns.set("redis.example", vec![]);
//! println!("{}", dns.address());
//! # Ok(())
//! # }
//! ```
//!
//! With root privileges, a cluster can have a real node, with containerd, kubelet, kube-proxy and `CoreDNS`.
//! All of it lives in namespaces of its own, so that the kernel cleans up after it. Images come from local
//! files.
//!
//! ```no_run
//! use lockstep_cluster::{Cluster, Image, Options};
//!
//! # fn main() -> Result<(), lockstep_cluster::Error> {
//! let cluster = Cluster::start(&Options::node())?;
//! cluster.load_image(&Image::redis("lockstep.dev/redis:dev")?)?;
//! let operator = Image::new("lockstep.dev/lockstep:dev")
//!     .program("target/release/lockstep".as_ref(), "/lockstep")?
//!     .entrypoint(["/lockstep"]);
//! cluster.load_image(&operator)?;
//! cluster.kubectl(&["apply", "--filename=manifests"])?;
//! let pid = cluster.container_pid("default", "worker-0", "worker")?;
//! println!("kill -9 {pid}; names resolve at {}", cluster.dns_address()?);
//! # Ok(())
//! # }
//! ```
//!
//! The command `lockstep-cluster` keeps named clusters for the demo: `up`, `down`, `status`.
//! [`Cluster::attach`] finds them: `Cluster::attach("demo")?` is the running cluster of that name, if there
//! is one.
//!
//! # Code map
//! - [`Cluster`] (`cluster`) puts together `control_plane`, `kubectl`, and for a real node `namespaces` and
//!   `node`.
//! - [`NamedCluster`] (`named`) lets several commands share a cluster.
//! - [`Image`] writes images; [`Redis`], [`RedisCluster`] and [`Dns`] stand alone.
//! - [`Helm`] is built like the programs of the cluster.
//! - [`Program`] is any other program that ends with its owner, spoken to over its standard input and output.
//! - [`Prometheus`] finds or fetches Prometheus and promtool.
//! - `processes` starts processes that end with their parent; `binaries` builds them; `tools` finds what the
//!   machine has; `certificates`, `ports`, `wait`, `progress` and `cache` are what their names say.

mod binaries;
pub mod cache;
mod certificates;
mod cluster;
mod control_plane;
mod digest;
mod dns;
pub mod error;
mod helm;
mod image;
mod kubectl;
pub mod named;
mod namespaces;
mod node;
mod ports;
mod processes;
pub mod program;
pub mod progress;
mod prometheus;
mod redis;
pub mod tools;
mod wait;

pub use cluster::{Cluster, Component, Options, Profile};
pub use dns::Dns;
pub use error::Error;
pub use helm::{Helm, HelmVersion};
pub use image::Image;
pub use named::NamedCluster;
pub use program::Program;
pub use prometheus::Prometheus;
pub use redis::{Redis, RedisCluster, RedisOptions};
