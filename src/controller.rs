//! Parts of the cluster, concurrency, shutdown. I/O.
//!
//! What is worked in is the whole cluster, or some namespaces, each of them a [`Part`] with watches, caches and passes of
//! its own: a namespace in which a right is missing holds up no other. Connections to Redis, the claim to lead and the
//! number of passes at a time are common to all. Triggers come from the [`watches`] and from Redis; the scheduler behind
//! `applier` runs one pass per resource at a time and merges what waits.

mod watches;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{
    FutureExt as _, StreamExt as _,
    channel::mpsc::{UnboundedReceiver, unbounded},
    future::{self, BoxFuture, Shared},
};
use kube::{
    Client,
    runtime::{
        applier,
        controller::Config,
        reflector::{ObjectRef, Store, store::Writer},
    },
};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
};

use self::watches::{Scope, Triggers, Watches};
use crate::{
    api::CoordinatedWorkload,
    cluster::{CachedChild, Claim, Cluster},
    domain::children::Children,
    observer::{Observers, Settings, WorkloadKey},
    reconcile::{ChildCaches, Context, error_policy, key_of, reconcile},
    telemetry::{Sources, Telemetry},
};

/// Passes at a time: enough to hide the apiserver's latency, few enough not to crowd out others.
const CONCURRENCY: u16 = 16;

/// What this operator looks at, and how often.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Work in these namespaces only; none: in the whole cluster.
    pub namespaces: BTreeSet<String>,
    /// Without any reason, a resource is looked at again after this long, give or take a fifth.
    pub resync: Duration,
    /// The right to write: until it is won, the caches are kept and nothing else is done.
    pub claim: Claim,
}

/// Runs until `shutdown` is ready, then ends the passes that are under way.
///
/// Fails if a watch task ended, which none should, and if another operator leads after this one did: what this one
/// remembers is then out of date.
pub async fn run(
    client: Client,
    instance: String,
    settings: Settings,
    duty: Duty,
    telemetry: Telemetry,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let (observers, mut changes) = Observers::new(settings);
    let common = Common {
        cluster: Cluster::new(client.clone(), instance).fenced(duty.claim.clone()),
        observers: Arc::new(observers),
        telemetry: telemetry.clone(),
        resync: duty.resync,
        claim: duty.claim.clone(),
        permits: Arc::new(Semaphore::new(CONCURRENCY.into())),
    };
    let mut tasks = JoinSet::new();
    let parts: Vec<_> = scopes(&client, &duty.namespaces)
        .map(|scope| Part::begin(scope, &common, &mut tasks))
        .collect();
    telemetry.ask(sources(&parts, &common.observers));
    let observed: Vec<_> = parts.iter().map(|part| part.watches.clone()).collect();
    tasks.spawn(async move {
        loop {
            let key = changes.recv().await;
            for part in observed.iter().filter(|part| part.scope.covers(&key)) {
                part.triggers.trigger(&key);
            }
        }
    });

    let shutdown = async {
        shutdown.await;
        tracing::info!("shutting down: the passes under way are ended");
    }
    .boxed()
    .shared();
    let all_cached = future::join_all(parts.iter().map(|part| part.cached.clone()));
    let told = async {
        telemetry.leads(duty.claim.is_held());
        all_cached.await;
        telemetry.health.caches_ready();
        duty.claim.won().await;
        telemetry.leads(true);
        future::pending::<()>().await;
    };
    let work = parts.into_iter().map(|part| part.work(&common, shutdown.clone()));
    tokio::select! {
        _ = future::join_all(work) => Ok(()),
        () = told => Ok(()),
        () = duty.claim.replaced() => Err(Error::Replaced),
        _ = tasks.join_next() => Err(Error::WatchEnded),
    }
}

/// The controller can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A watch task ended; watches never end by themselves.
    #[error("a watch ended; this is a defect, please report it with the log before this line")]
    WatchEnded,
    /// Another operator leads after this one did.
    #[error("another operator leads now; this one ends, to begin anew as the one that stands by")]
    Replaced,
}

/// What all parts have in common.
struct Common {
    cluster: Cluster,
    observers: Arc<Observers>,
    telemetry: Telemetry,
    resync: Duration,
    claim: Claim,
    /// One for each pass under way.
    permits: Arc<Semaphore>,
}

/// The whole cluster, or each of the namespaces.
fn scopes(client: &Client, namespaces: &BTreeSet<String>) -> impl Iterator<Item = Scope> {
    let everywhere = namespaces.is_empty().then_some(None);
    let each = namespaces.iter().map(|namespace| Some(namespace.as_str().into()));
    everywhere.into_iter().chain(each).map(|namespace| Scope {
        client: client.clone(),
        namespace,
    })
}

/// The whole cluster or one namespace: its watches, its caches, its passes.
struct Part {
    watches: Watches,
    resources: Store<CoordinatedWorkload>,
    requests: UnboundedReceiver<ObjectRef<CoordinatedWorkload>>,
    /// Ready once every cache is complete.
    cached: Shared<BoxFuture<'static, ()>>,
}

impl Part {
    /// Starts the watches.
    fn begin(scope: Scope, common: &Common, tasks: &mut JoinSet<()>) -> Self {
        let (queue, requests) = unbounded();
        let mut writers = vec![];
        let stores = Children::from_fn(|kind| {
            let writer = Writer::<CachedChild>::new(kind);
            let store = writer.as_reader();
            writers.push((kind, writer));
            store
        });
        let context = Arc::new(Context::new(
            common.cluster.clone(),
            Arc::clone(&common.observers),
            ChildCaches::new(stores.clone()),
            common.resync,
            common.telemetry.clone(),
        ));
        let watches = Watches {
            scope,
            context,
            triggers: Triggers(queue, common.telemetry.clone()),
        };
        for (kind, writer) in writers {
            tasks.spawn(watches.clone().children(kind, writer));
        }
        let (pods_listed, pods_ready) = oneshot::channel();
        tasks.spawn(watches.clone().pods(pods_listed));
        let writer = Writer::<CoordinatedWorkload>::default();
        let resources = writer.as_reader();
        tasks.spawn(watches.clone().resources(writer));

        let (listed, namespace) = (resources.clone(), watches.scope.namespace.clone());
        let cached = async move {
            for (_, store) in stores.iter() {
                let _ = store.wait_until_ready().await;
            }
            let _ = pods_ready.await;
            let _ = listed.wait_until_ready().await;
            tracing::info!(namespace = namespace.as_deref(), "caches are ready");
        };
        Self {
            watches,
            resources,
            requests,
            cached: cached.boxed().shared(),
        }
    }

    /// Once the caches are complete and this process leads: pass after pass, until `shutdown`.
    async fn work(mut self, common: &Common, shutdown: impl Future<Output = ()> + Clone) {
        let leads = async {
            self.cached.await;
            stand_by(&common.claim, &mut self.requests, &common.telemetry).await;
        };
        tokio::select! {
            () = leads => {}
            () = shutdown.clone() => return,
        }
        for resource in self.resources.state() {
            self.watches.triggers.trigger(&key_of(&resource));
        }
        applier(
            |resource, context| {
                let permits = Arc::clone(&common.permits);
                Box::pin(async move {
                    // Never closed.
                    let _permit = permits.acquire().await;
                    reconcile(resource, context).await
                })
            },
            |resource, error, context| error_policy(&resource, error, &context),
            self.watches.context,
            self.resources,
            self.requests
                .map(Ok::<_, std::convert::Infallible>)
                .take_until(shutdown),
            Config::default().concurrency(CONCURRENCY),
        )
        // Every failure was logged where it happened; a resource that went meanwhile is none.
        .for_each(|_| future::ready(()))
        .await;
    }
}

/// Ready when this process leads. What is asked of one who stands by is asked of the leader, too: it must not pile up
/// here.
async fn stand_by(
    claim: &Claim,
    requests: &mut UnboundedReceiver<ObjectRef<CoordinatedWorkload>>,
    telemetry: &Telemetry,
) {
    let passed_over = async {
        while let Some(request) = requests.next().await {
            telemetry.passed_over(&WorkloadKey {
                namespace: request.namespace.unwrap_or_default(),
                name: request.name,
            });
        }
    };
    tokio::select! {
        () = claim.won() => {}
        () = passed_over => {}
    }
}

/// Where the figures are that nobody tells: of the observers, as long as there are any, and of the caches.
fn sources(parts: &[Part], observers: &Arc<Observers>) -> Sources {
    let observers = Arc::downgrade(observers);
    let caches: Vec<_> = parts.iter().map(|part| part.resources.clone()).collect();
    Sources {
        store: Box::new(move |key| observers.upgrade()?.figures(key)),
        exists: Box::new(move |key| {
            let resource = ObjectRef::new(&key.name).within(&key.namespace);
            caches.iter().any(|cache| cache.get(&resource).is_some())
        }),
    }
}
