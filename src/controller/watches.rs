//! Watches of one part of the cluster: what they bring goes into the caches and becomes triggers. I/O.
//!
//! Each kind is watched by a task of its own with a backoff of its own: in kube's `Controller` one failing watch delays
//! every trigger. Triggers say which resource to look at, never why.

use std::sync::Arc;

use futures::{
    StreamExt as _,
    channel::mpsc::UnboundedSender,
    stream::{self, BoxStream},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef, store::Writer},
        watcher::{self, Event},
    },
};
use tokio::sync::oneshot;

use crate::{
    api::{CoordinatedWorkload, WORKLOAD_LABEL},
    cluster::CachedChild,
    domain::children::ChildKind,
    observer::WorkloadKey,
    reconcile::{Concerned, Context, NEIGHBOURS, key_of},
    telemetry::{Telemetry, health::Watch},
};

/// A watch is renewed this often, seconds: also how long a dead one can go unnoticed.
const WATCH_TIMEOUT: u32 = 60;
/// Objects a page of a list, for the sake of memory.
const PAGE: u32 = 100;

/// Where to watch: in one namespace, or everywhere.
#[derive(Clone)]
pub(super) struct Scope {
    pub(super) client: Client,
    pub(super) namespace: Option<Arc<str>>,
}

impl Scope {
    /// Whether a resource is in it.
    pub(super) fn covers(&self, key: &WorkloadKey) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| namespace == key.namespace)
    }

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

/// What the watches of one scope share.
#[derive(Clone)]
pub(super) struct Watches {
    pub(super) scope: Scope,
    pub(super) context: Arc<Context>,
    pub(super) triggers: Triggers,
}

/// Where passes are asked for.
#[derive(Clone)]
pub(super) struct Triggers(
    pub(super) UnboundedSender<ObjectRef<CoordinatedWorkload>>,
    pub(super) Telemetry,
);

impl Triggers {
    pub(super) fn trigger(&self, key: &WorkloadKey) {
        self.1.queued(key);
        // The receiver ends first only when the process ends.
        let _ = self
            .0
            .unbounded_send(ObjectRef::new(&key.name).within(&key.namespace));
    }
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT).page_size(PAGE)
}

impl Watches {
    /// Keeps the cache of one kind of children.
    pub(super) async fn children(self, kind: ChildKind, mut writer: Writer<CachedChild>) {
        let Self {
            scope,
            context,
            triggers,
        } = self;
        let api = scope.api::<CachedChild>(&kind);
        let reader = writer.as_reader();
        let with_neighbours = NEIGHBOURS.contains(&kind);
        let config = if with_neighbours {
            config()
        } else {
            config().labels(WORKLOAD_LABEL)
        };
        let mut events = watched(api, config);
        let watch = context
            .telemetry
            .health
            .watch(kind.plural(), scope.namespace.as_deref());
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

    /// Keeps the pods; `listed` is told once all of them are known.
    pub(super) async fn pods(self, listed: oneshot::Sender<()>) {
        let Self {
            scope,
            context,
            triggers,
        } = self;
        let api = scope.api::<Pod>(&());
        let mut events = watched(api, config().labels(WORKLOAD_LABEL));
        let watch = context.telemetry.health.watch("pods", scope.namespace.as_deref());
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

    /// Keeps the resources themselves.
    pub(super) async fn resources(self, mut writer: Writer<CoordinatedWorkload>) {
        let Self {
            scope,
            context,
            triggers,
        } = self;
        let api = scope.api::<DeserializeGuard<CoordinatedWorkload>>(&());
        let mut events = watched(api, config());
        let watch = context
            .telemetry
            .health
            .watch("coordinatedworkloads", scope.namespace.as_deref());
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
                tracing::warn!(kind = watch.name(), error, "a watch failed and is tried again");
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
