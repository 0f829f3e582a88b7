//! What is known of the locks that workloads keep in Redis: [`Observers::observe`] says what is known now,
//! [`Changes`] says for whom that became something else. I/O.
//!
//! One connection serves every workload that names the same endpoint, credentials and database. Each has its own
//! supervisor task ([`endpoint`]), so that no endpoint delays another; all of them end with [`Observers`].

mod changes;
mod endpoint;
mod newcomers;
mod renewals;
mod slots;
mod topology;
mod wire;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

pub use self::changes::Changes;
use self::changes::Pending;
use self::endpoint::Endpoint;
use self::newcomers::Newcomers;
pub use self::renewals::{RenewalTally, Renewed, RenewedSet};
pub use self::topology::EndpointRules;
use self::topology::Topology;
use crate::clock;
use crate::domain::locks::Observation;
use crate::domain::locks::probe::{Discovery, Probe};
use crate::mutex::lock;

/// The workload on whose behalf something is observed.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WorkloadKey {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A user name or password. Neither `Debug` nor anything else shows it.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(secret.into())
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The Redis that a resource names, with the credentials as they were read.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// Namespace of the resource: in it, short names mean what they mean to its pods.
    pub namespace: String,
    /// The servers.
    pub servers: Servers,
    /// Database number.
    pub database: u16,
    /// ACL user; `None` is the default user.
    pub username: Option<Secret>,
    /// Password, if one is needed.
    pub password: Option<Secret>,
    /// TLS; `None`: the connection is plain.
    pub tls: Option<Tls>,
}

/// How a Redis is made up.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Servers {
    /// One server.
    One(Host),
    /// A master that Sentinels watch.
    Sentinel(Sentinel),
    /// A cluster, of which these servers are known.
    Cluster(Vec<Host>),
}

/// A server by name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Host {
    /// Host name or address; an IPv6 address with or without brackets.
    pub name: String,
    /// Port.
    pub port: u16,
}

/// Who knows which server is the master.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sentinel {
    /// The master's name among the Sentinels.
    pub master: String,
    /// The Sentinels.
    pub endpoints: Vec<Host>,
    /// ACL user of the Sentinels themselves.
    pub username: Option<Secret>,
    /// Password of the Sentinels themselves.
    pub password: Option<Secret>,
    /// TLS towards the Sentinels.
    pub tls: Option<Tls>,
}

/// TLS settings, as they were read. The server's certificate is always verified.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Tls {
    /// Certificate authorities, PEM; `None`: those of the operator's system.
    pub ca: Option<Secret>,
    /// Certificate and key to show, PEM.
    pub client: Option<(Secret, Secret)>,
    /// The name that the server's certificate must carry; `None`: the host that is connected to.
    pub server_name: Option<String>,
}

impl Tls {
    /// What of these settings can't be used, for people; nothing of their content is repeated.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        wire::tls::problem(self)
    }
}

impl Servers {
    /// Every host that is written down.
    fn hosts(&self) -> &[Host] {
        match self {
            Self::One(host) => std::slice::from_ref(host),
            Self::Sentinel(sentinel) => &sentinel.endpoints,
            Self::Cluster(hosts) => hosts,
        }
    }

    fn hosts_mut(&mut self) -> &mut [Host] {
        match self {
            Self::One(host) => std::slice::from_mut(host),
            Self::Sentinel(sentinel) => &mut sentinel.endpoints,
            Self::Cluster(hosts) => hosts,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') && !self.name.starts_with('[') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(host) => host.fmt(f),
            Self::Sentinel(Sentinel {
                master, endpoints, ..
            }) => {
                write!(f, "master {master} of the Sentinels ")?;
                list(endpoints, f)
            }
            Self::Cluster(hosts) => {
                f.write_str("the cluster of ")?;
                list(hosts, f)
            }
        }
    }
}

fn list(hosts: &[Host], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, host) in hosts.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        write!(f, "{separator}{host}")?;
    }
    Ok(())
}

/// What a workload wants to know of an endpoint.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Interest {
    /// Locks by name, in this order, possibly with repetitions.
    pub locks: Vec<Arc<Probe>>,
    /// Places where locks turn up, in this order.
    pub places: Vec<Arc<Discovery>>,
    /// Those of the locks by name whose renewals are counted, set by set.
    pub renewed: Vec<Renewed>,
}

/// Settings of all observers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's DNS domain, `cluster.local` almost everywhere.
    pub cluster_domain: String,
    /// The DNS server to ask; `None` means those of the system.
    pub dns_server: Option<SocketAddr>,
    /// Whether this process runs in a pod. Outside, loopback is allowed and the hosts file counts.
    pub in_cluster: bool,
    /// Which endpoints may be connected to.
    pub rules: EndpointRules,
}

/// All endpoints that workloads are interested in.
pub struct Observers {
    cluster_domain: String,
    topology: Arc<Topology>,
    newcomers: Arc<Newcomers>,
    changes: Arc<Pending>,
    registry: Mutex<Registry>,
}

/// What can be counted and measured of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreFigures {
    /// Whether there is a connection to all of its servers, and all is read.
    pub up: bool,
    /// Whether changes are announced, so that nothing is polled.
    pub tracking: bool,
    /// Median time that a PING takes; `None`: too few were sent.
    pub latency: Option<Duration>,
    /// Commands that were sent to it, on behalf of all that observe it.
    pub commands: u64,
}

impl StoreFigures {
    fn worst(self, other: Self) -> Self {
        Self {
            up: self.up && other.up,
            tracking: self.tracking && other.tracking,
            latency: self.latency.max(other.latency),
            commands: self.commands + other.commands,
        }
    }
}

#[derive(Default)]
struct Registry {
    endpoints: HashMap<Arc<EndpointId>, Registered>,
    interests: HashMap<Arc<WorkloadKey>, Interested>,
    /// The supervisors: dropped, and thereby ended, with this.
    tasks: JoinSet<()>,
}

struct Registered {
    endpoint: Arc<Endpoint>,
    task: AbortHandle,
}

struct Interested {
    endpoints: Vec<Arc<EndpointId>>,
    interest: Interest,
}

/// What two workloads must have in common to share a connection: a target with the namespace left out where it
/// doesn't matter.
#[derive(Eq, Hash, PartialEq)]
struct EndpointId {
    scope: Option<String>,
    target: Target,
}

impl Observers {
    /// Creates the observers, without any endpoint, and the one stream of their changes.
    #[must_use]
    pub fn new(mut settings: Settings) -> (Self, Changes) {
        settings.cluster_domain = settings.cluster_domain.trim_matches('.').to_ascii_lowercase();
        settings.rules.allow_loopback |= !settings.in_cluster;
        let changes = Arc::new(Pending::default());
        let observers = Self {
            topology: Arc::new(Topology::new(&settings)),
            newcomers: Arc::default(),
            cluster_domain: settings.cluster_domain,
            changes: Arc::clone(&changes),
            registry: Mutex::default(),
        };
        (observers, Changes::new(changes))
    }

    /// Says what is known now of these locks at each of these targets, in that order, and goes on observing them, and
    /// them alone, on behalf of `who`. Never waits for Redis: a lock that is new, or whose endpoint is, is `Unknown`, and
    /// `who` comes up in [`Changes`] once it isn't.
    ///
    /// To be called from within a tokio runtime, on which the endpoints live.
    pub fn observe(&self, who: &WorkloadKey, targets: Vec<Target>, interest: Interest) -> Vec<Observation> {
        let ids: Vec<_> = targets
            .into_iter()
            .map(|target| self.endpoint_id(target))
            .collect();
        let mut registry = lock(&self.registry);
        let endpoints: Vec<_> = ids
            .into_iter()
            .map(|id| self.endpoint(&mut registry, id, &who.namespace))
            .collect();
        let who = match registry.interests.get_key_value(who) {
            Some((who, _)) => Arc::clone(who),
            None => Arc::new(who.clone()),
        };
        let known = registry.interests.remove(&who);
        let now = clock::mono();
        let nothing = Interest::default();
        for (at, (id, endpoint)) in endpoints.iter().enumerate() {
            let place = known
                .as_ref()
                .and_then(|known| known.endpoints.iter().position(|known| known == id));
            let before = known.as_ref().filter(|_| place.is_some());
            let before = before.map(|known| &known.interest);
            // A renewal reaches every server of a quorum: it is counted at the first.
            let counts = at == 0;
            if before != Some(&interest) || counts != (place == Some(0)) {
                let before = before.unwrap_or(&nothing);
                endpoint.change_interest(&who, before, &interest, counts, now);
            }
        }
        let new: Vec<_> = endpoints.iter().map(|(id, _)| Arc::clone(id)).collect();
        if let Some(known) = known {
            for old in known.endpoints.iter().filter(|old| !new.contains(old)) {
                registry.leave(&who, old, &known.interest);
            }
        }
        let seen = endpoints
            .iter()
            .map(|(_, endpoint)| endpoint.observation(&interest, now))
            .collect();
        let interested = Interested {
            endpoints: new,
            interest,
        };
        registry.interests.insert(who, interested);
        seen
    }

    /// Forgets a workload. An endpoint that nobody needs any longer is disconnected.
    pub fn release(&self, who: &WorkloadKey) {
        lock(&self.registry).release(who);
    }

    /// The figures of what `who` observes, the worst of its endpoints; `None`: it observes nothing.
    #[must_use]
    pub fn figures(&self, who: &WorkloadKey) -> Option<StoreFigures> {
        let registry = lock(&self.registry);
        let endpoints = &registry.interests.get(who)?.endpoints;
        let figures = endpoints.iter().filter_map(|id| registry.endpoints.get(id));
        figures
            .map(|registered| registered.endpoint.figures())
            .reduce(StoreFigures::worst)
    }

    fn endpoint_id(&self, mut target: Target) -> EndpointId {
        for host in target.servers.hosts_mut() {
            host.name.make_ascii_lowercase();
        }
        let relative =
            |host: &Host| topology::scope(&host.name, &target.namespace, &self.cluster_domain).is_some();
        let relative = match &target.servers {
            Servers::One(host) => relative(host),
            // Whatever their own names, they may announce short ones.
            Servers::Sentinel(_) | Servers::Cluster(_) => true,
        };
        let scope = relative.then(|| target.namespace.clone());
        target.namespace = scope.clone().unwrap_or_default();
        EndpointId { scope, target }
    }

    fn endpoint(
        &self,
        registry: &mut Registry,
        id: EndpointId,
        namespace: &str,
    ) -> (Arc<EndpointId>, Arc<Endpoint>) {
        if let Some((id, registered)) = registry.endpoints.get_key_value(&id) {
            return (Arc::clone(id), Arc::clone(&registered.endpoint));
        }
        // Ended supervisors stay in the set until they are asked for.
        while registry.tasks.try_join_next().is_some() {}
        let endpoint = Arc::new(Endpoint::new(
            id.target.clone(),
            Arc::clone(&self.changes),
            clock::mono(),
        ));
        let supervisor = endpoint::supervise(Arc::clone(&endpoint), Arc::clone(&self.topology));
        let admitted = endpoint::admitted(
            Arc::clone(&endpoint),
            Arc::clone(&self.newcomers),
            namespace.to_owned(),
        );
        let task = registry.tasks.spawn(async move {
            admitted.await;
            supervisor.await;
        });
        let id = Arc::new(id);
        registry.endpoints.insert(
            Arc::clone(&id),
            Registered {
                endpoint: Arc::clone(&endpoint),
                task,
            },
        );
        (id, endpoint)
    }
}

impl Registry {
    fn release(&mut self, who: &WorkloadKey) {
        let Some((who, interested)) = self.interests.remove_entry(who) else {
            return;
        };
        for id in &interested.endpoints {
            self.leave(&who, id, &interested.interest);
        }
    }

    /// Ends a workload's interest in an endpoint, and the endpoint if it was the last one.
    fn leave(&mut self, who: &WorkloadKey, id: &Arc<EndpointId>, interest: &Interest) {
        let Some(registered) = self.endpoints.get(id) else {
            return;
        };
        if registered.endpoint.forget_workload(who, interest) {
            registered.task.abort();
            self.endpoints.remove(id);
        }
    }
}

/// What is in `new` and not in `old`, and the reverse, each once.
fn difference<'a, T: Eq + Hash>(old: &'a [T], new: &'a [T]) -> (HashSet<&'a T>, HashSet<&'a T>) {
    let (old, new): (HashSet<_>, HashSet<_>) = (old.iter().collect(), new.iter().collect());
    (
        new.difference(&old).copied().collect(),
        old.difference(&new).copied().collect(),
    )
}
