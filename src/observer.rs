//! What is known of the locks that workloads keep in Redis: [`Observers::observe`] says what is known now,
//! [`Changes`] says for whom that became something else. I/O.
//!
//! One connection serves every workload that names the same endpoint, credentials and database. Each has its own
//! supervisor task ([`endpoint`]), so that no endpoint delays another; all of them end with [`Observers`].

mod changes;
mod endpoint;
mod topology;
mod wire;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{AbortHandle, JoinSet};

pub use self::changes::Changes;
use self::changes::Pending;
use self::endpoint::Endpoint;
pub use self::topology::EndpointRules;
use self::topology::Topology;
use crate::clock;
use crate::domain::locks::{Key, Observation};

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
    /// Host name or address, without a port; an IPv6 address with or without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database number.
    pub database: u16,
    /// ACL user; `None` is the default user.
    pub username: Option<Secret>,
    /// Password, if one is needed.
    pub password: Option<Secret>,
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
    changes: Arc<Pending>,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    endpoints: HashMap<Arc<EndpointId>, Registered>,
    interests: HashMap<Arc<WorkloadKey>, Interest>,
    /// The supervisors: dropped, and thereby ended, with this.
    tasks: JoinSet<()>,
}

struct Registered {
    endpoint: Arc<Endpoint>,
    task: AbortHandle,
}

struct Interest {
    id: Arc<EndpointId>,
    /// As asked for: in this order, possibly with repetitions.
    keys: Vec<Key>,
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
            cluster_domain: settings.cluster_domain,
            changes: Arc::clone(&changes),
            registry: Mutex::default(),
        };
        (observers, Changes::new(changes))
    }

    /// Says what is known now of these keys at that endpoint, and goes on observing them, and them alone, on behalf
    /// of `who`. Never waits for Redis: a key that is new, or whose endpoint is, is `Unknown`, and `who` comes up in
    /// [`Changes`] once it isn't.
    ///
    /// To be called from within a tokio runtime, on which the endpoints live.
    pub fn observe(&self, who: &WorkloadKey, target: Target, keys: Vec<Key>) -> Observation {
        let id = self.endpoint_id(target);
        let mut registry = lock(&self.registry);
        if registry
            .interests
            .get(who)
            .is_some_and(|interest| *interest.id != id)
        {
            registry.release(who);
        }
        let (id, endpoint) = self.endpoint(&mut registry, id);
        let who = match registry.interests.get_key_value(who) {
            Some((who, _)) => Arc::clone(who),
            None => Arc::new(who.clone()),
        };
        let interest = registry
            .interests
            .entry(Arc::clone(&who))
            .or_insert(Interest { id, keys: Vec::new() });
        if interest.keys != keys || keys.is_empty() {
            endpoint.change_interest(&who, &interest.keys, &keys, clock::mono());
            interest.keys = keys;
        }
        endpoint.observation(&interest.keys, clock::mono())
    }

    /// Forgets a workload. An endpoint that nobody needs any longer is disconnected.
    pub fn release(&self, who: &WorkloadKey) {
        lock(&self.registry).release(who);
    }

    fn endpoint_id(&self, mut target: Target) -> EndpointId {
        target.host.make_ascii_lowercase();
        let scope = topology::scope(&target.host, &target.namespace, &self.cluster_domain).map(str::to_owned);
        target.namespace = scope.clone().unwrap_or_default();
        EndpointId { scope, target }
    }

    fn endpoint(&self, registry: &mut Registry, id: EndpointId) -> (Arc<EndpointId>, Arc<Endpoint>) {
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
        let task = registry.tasks.spawn(endpoint::supervise(
            Arc::clone(&endpoint),
            Arc::clone(&self.topology),
        ));
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
        let Some((who, interest)) = self.interests.remove_entry(who) else {
            return;
        };
        let Some(registered) = self.endpoints.get(&interest.id) else {
            return;
        };
        if registered.endpoint.forget_workload(&who, &interest.keys) {
            registered.task.abort();
            self.endpoints.remove(&interest.id);
        }
    }
}

/// Locks; a poisoned lock is as good as any: whoever panicked ended the process, or a test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is in `new` and not in `old`, and the reverse, each once.
fn difference<'a>(old: &'a [Key], new: &'a [Key]) -> (HashSet<&'a Key>, HashSet<&'a Key>) {
    let (old, new): (HashSet<_>, HashSet<_>) = (old.iter().collect(), new.iter().collect());
    (
        new.difference(&old).copied().collect(),
        old.difference(&new).copied().collect(),
    )
}
