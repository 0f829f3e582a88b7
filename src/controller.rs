//! Watches, triggers, concurrency, shutdown. I/O.
//!
//! Each kind is watched by a task of its own with a backoff of its own: in kube's `Controller` one failing watch delays
//! every trigger. Triggers say which resource to look at, never why; the scheduler behind `applier` runs one pass per
//! resource at a time and merges what waits.

use std::{sync::Arc, time::Duration};

use futures::{
    StreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    stream::{self, BoxStream},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _, applier,
        controller::Config,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event},
    },
};
use tokio::task::JoinSet;

use crate::{
    api::{CoordinatedWorkload, WORKLOAD_LABEL},
    cluster::{CachedChild, Claim, Cluster},
    domain::children::{ChildKind, Children},
    observer::{Observers, Settings, WorkloadKey},
    reconcile::{ChildCaches, Concerned, Context, NEIGHBOURS, error_policy, key_of, reconcile},
    telemetry::{Sources, Telemetry, health::Watch},
};

/// Passes at a time: enough to hide the apiserver's latency, few enough not to crowd out others.
const CONCURRENCY: u16 = 16;
/// A watch is renewed this often, seconds: also how long a dead one can go unnoticed.
const WATCH_TIMEOUT: u32 = 60;
/// Objects a page of a list, for the sake of memory.
const PAGE: u32 = 100;

/// What this operator looks at, and how often.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Watch this namespace only.
    pub namespace: Option<String>,
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
    let (queue, mut requests) = unbounded();
    let triggers = Triggers(queue, telemetry.clone());
    let (observers, mut changes) = Observers::new(settings);
    let mut watches = JoinSet::new();
    let scope = Scope {
        client: client.clone(),
        namespace: duty.namespace,
    };

    let mut writers = Children::from_fn(|kind| Some(Writer::<CachedChild>::new(kind)));
    let stores = Children::from_fn(|kind| writers.get(kind).as_ref().map(Writer::as_reader));
    let stores = Children::from_fn(|kind| {
        stores
            .get(kind)
            .clone()
            .unwrap_or_else(|| Writer::new(kind).as_reader())
    });
    let context = Arc::new(Context::new(
        Cluster::new(client, instance).fenced(duty.claim.clone()),
        observers,
        ChildCaches::new(stores.clone()),
        duty.resync,
        telemetry.clone(),
    ));
    for kind in ChildKind::ALL {
        if let Some(writer) = writers.get_mut(kind).take() {
            watches.spawn(watch_children(
                scope.clone(),
                kind,
                writer,
                Arc::clone(&context),
                triggers.clone(),
            ));
        }
    }
    let (pods_listed, pods_ready) = tokio::sync::oneshot::channel();
    watches.spawn(watch_pods(
        scope.clone(),
        Arc::clone(&context),
        triggers.clone(),
        pods_listed,
    ));
    let writer = Writer::<CoordinatedWorkload>::default();
    let resources = writer.as_reader();
    telemetry.ask(sources(&context, &resources));
    watches.spawn(watch_resources(
        scope,
        writer,
        Arc::clone(&context),
        triggers.clone(),
    ));
    let observed = triggers.clone();
    watches.spawn(async move {
        loop {
            observed.trigger(&changes.recv().await);
        }
    });

    let shutdown = async {
        shutdown.await;
        tracing::info!("shutting down: the passes under way are ended");
    };
    tokio::pin!(shutdown);
    let caches = async {
        for (_, store) in stores.iter() {
            let _ = store.wait_until_ready().await;
        }
        let _ = pods_ready.await;
        let _ = resources.wait_until_ready().await;
        telemetry.health.caches_ready();
        tracing::info!("caches are ready");
        stand_by(&duty.claim, &mut requests, &telemetry).await;
    };
    tokio::select! {
        () = caches => {}
        () = &mut shutdown => return Ok(()),
        _ = watches.join_next() => return Err(Error::WatchEnded),
    }
    for resource in resources.state() {
        triggers.trigger(&key_of(&resource));
    }
    let passes = applier(
        |resource, context| Box::pin(reconcile(resource, context)),
        |resource, error, context| error_policy(&resource, error, &context),
        context,
        resources,
        requests
            .map(Ok::<_, std::convert::Infallible>)
            .take_until(shutdown),
        Config::default().concurrency(CONCURRENCY),
    )
    // Every failure was logged where it happened; a resource that went meanwhile is none.
    .for_each(|_| std::future::ready(()));
    tokio::select! {
        () = passes => Ok(()),
        () = duty.claim.replaced() => Err(Error::Replaced),
        _ = watches.join_next() => Err(Error::WatchEnded),
    }
}

/// Ready when this process leads. What is asked of one who stands by is asked of the leader, too: it must not pile up
/// here.
async fn stand_by(
    claim: &Claim,
    requests: &mut UnboundedReceiver<ObjectRef<CoordinatedWorkload>>,
    telemetry: &Telemetry,
) {
    telemetry.leads(claim.is_held());
    let passed_over = async {
        while let Some(request) = requests.next().await {
            telemetry.passed_over(&WorkloadKey {
                namespace: request.namespace.unwrap_or_default(),
                name: request.name,
            });
        }
    };
    tokio::select! {
        () = claim.won() => telemetry.leads(true),
        () = passed_over => {}
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

/// Where to watch.
#[derive(Clone)]
struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    fn api<K>(&self, kind: &K::DynamicType) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
    {
        let everywhere = Api::all_with(self.client.clone(), kind);
        match &self.namespace {
            Some(namespace) => everywhere.constrain(namespace),
            None => everywhere,
        }
    }
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT).page_size(PAGE)
}

/// Where passes are asked for.
#[derive(Clone)]
struct Triggers(UnboundedSender<ObjectRef<CoordinatedWorkload>>, Telemetry);

impl Triggers {
    fn trigger(&self, key: &WorkloadKey) {
        self.1.queued(key);
        // The receiver ends first only when the process ends.
        let _ = self
            .0
            .unbounded_send(ObjectRef::new(&key.name).within(&key.namespace));
    }
}

async fn watch_children(
    scope: Scope,
    kind: ChildKind,
    mut writer: Writer<CachedChild>,
    context: Arc<Context>,
    triggers: Triggers,
) {
    let api = scope.api::<CachedChild>(&kind);
    let reader = writer.as_reader();
    let with_neighbours = NEIGHBOURS.contains(&kind);
    let config = if with_neighbours {
        config()
    } else {
        config().labels(WORKLOAD_LABEL)
    };
    let mut events = watched(api, config);
    let watch = context.telemetry.health.watch(kind.plural());
    while let Some(event) = events.next().await {
        let Some(mut event) = logged(event, &watch) else {
            continue;
        };
        if with_neighbours {
            let (child, concerned) = context.neighbours.split(kind, event);
            for concerned in concerned {
                match concerned {
                    Concerned::One(key) => triggers.trigger(&key),
                    Concerned::Namespace(namespace) => {
                        for key in context.of_namespace(&namespace) {
                            triggers.trigger(&key);
                        }
                    }
                }
            }
            let Some(child) = child else { continue };
            // What never was a child ends as none.
            if let Event::Delete(gone) = &child
                && reader.get(&ObjectRef::from_obj_with(gone, kind)).is_none()
            {
                continue;
            }
            event = child;
        }
        writer.apply_watcher_event(&event);
        if let Event::Apply(child) | Event::InitApply(child) | Event::Delete(child) = &event {
            triggers.trigger(&WorkloadKey {
                namespace: child.namespace().unwrap_or_default(),
                name: child.name_any(),
            });
        }
    }
}

async fn watch_pods(
    scope: Scope,
    context: Arc<Context>,
    triggers: Triggers,
    listed: tokio::sync::oneshot::Sender<()>,
) {
    let api = scope.api::<Pod>(&());
    let mut events = watched(api, config().labels(WORKLOAD_LABEL));
    let watch = context.telemetry.health.watch("pods");
    let mut listed = Some(listed);
    while let Some(event) = events.next().await {
        let Some(event) = logged(event, &watch) else {
            continue;
        };
        let done = matches!(event, Event::InitDone);
        for key in context.pods.apply(event) {
            triggers.trigger(&key);
        }
        if let Some(listed) = listed.take_if(|_| done) {
            let _ = listed.send(());
        }
    }
}

async fn watch_resources(
    scope: Scope,
    mut writer: Writer<CoordinatedWorkload>,
    context: Arc<Context>,
    triggers: Triggers,
) {
    let api = scope.api::<DeserializeGuard<CoordinatedWorkload>>(&());
    let mut events = watched(api, config());
    let watch = context.telemetry.health.watch("coordinatedworkloads");
    let store = writer.as_reader();
    while let Some(event) = events.next().await {
        let Some(event) = logged(event, &watch).and_then(decoded) else {
            continue;
        };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(resource) | Event::InitApply(resource) => triggers.trigger(&key_of(resource)),
            // Neither a deletion nor one that was missed asks for a pass; nothing outside the process needs one.
            Event::Delete(resource) => context.release(&key_of(resource)),
            Event::InitDone => {
                context.retain(|key| {
                    store
                        .get(&ObjectRef::new(&key.name).within(&key.namespace))
                        .is_some()
                });
            }
            Event::Init => {}
        }
    }
}

/// Where the figures are that nobody tells: of the observers, as long as there are any, and of the cache.
fn sources(context: &Arc<Context>, resources: &Store<CoordinatedWorkload>) -> Sources {
    let (context, resources) = (Arc::downgrade(context), resources.clone());
    Sources {
        store: Box::new(move |key| context.upgrade()?.observers.figures(key)),
        exists: Box::new(move |key| {
            let resource = ObjectRef::new(&key.name).within(&key.namespace);
            resources.get(&resource).is_some()
        }),
    }
}

/// What a watch brings, with a backoff of its own.
///
/// That a list begins is told only when something came of it: kube starts the backoff anew at every event, so that a list
/// that fails (there is no such kind) would be asked for again every second.
fn watched<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut begun = false;
    watcher::watcher(api, config)
        .flat_map(move |event| {
            let begins = matches!(event, Ok(Event::Init));
            let told = std::mem::replace(&mut begun, begins) && event.is_ok();
            let init = told.then_some(Ok(Event::Init));
            stream::iter(init.into_iter().chain((!begins).then_some(event)))
        })
        .default_backoff()
        .boxed()
}

/// What came of a watch, after its health was told; a failure is logged once until something comes.
fn logged<K>(event: watcher::Result<Event<K>>, watch: &Watch) -> Option<Event<K>> {
    match event {
        Ok(event) => {
            watch.works(matches!(event, Event::InitDone));
            Some(event)
        }
        Err(error) => {
            if let Some(error) = watch.failed(&error) {
                tracing::warn!(kind = watch.kind(), error, "a watch failed and is tried again");
            }
            None
        }
    }
}

/// Passes over objects that can't be decoded: one of them must not stop the list.
fn decoded(event: Event<DeserializeGuard<CoordinatedWorkload>>) -> Option<Event<CoordinatedWorkload>> {
    let decode = |guard: DeserializeGuard<CoordinatedWorkload>| match guard.0 {
        Ok(mut resource) => {
            resource.metadata.managed_fields = None;
            Some(resource)
        }
        Err(error) => {
            let (namespace, name) = (
                error.metadata.namespace.as_deref(),
                error.metadata.name.as_deref(),
            );
            tracing::warn!(
                namespace,
                name,
                error = error.error,
                "a resource can't be decoded; is the CRD older or newer?"
            );
            None
        }
    };
    Some(match event {
        Event::Apply(guard) => Event::Apply(decode(guard)?),
        Event::Delete(guard) => Event::Delete(decode(guard)?),
        Event::InitApply(guard) => Event::InitApply(decode(guard)?),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    })
}
