//! What the watches hold of autoscalers and budgets that are no children. No I/O: the watches feed it.
//!
//! They can't be selected by label, so all of their kinds are watched; of those that aren't Lockstep's, next to nothing
//! is kept.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
};

use kube::{ResourceExt as _, runtime::watcher::Event};

use crate::{
    cluster::CachedChild,
    domain::{
        children::{ChildKind, LiveChildren},
        neighbours::{Neighbour, Neighbours},
        workload::Workload,
    },
    mutex::lock,
    observer::WorkloadKey,
};

/// The kinds of which others' objects matter.
pub const NEIGHBOURS: [ChildKind; 2] = [ChildKind::HorizontalPodAutoscaler, ChildKind::PodDisruptionBudget];

/// Autoscalers and budgets of others, by namespace.
#[derive(Default)]
pub struct NeighbourIndex(Mutex<Kinds>);

#[derive(Default)]
struct Kinds(HashMap<ChildKind, Known>);

/// One kind.
#[derive(Default)]
struct Known {
    current: ByNamespace,
    /// What a list that is under way has brought so far.
    listing: Option<ByNamespace>,
}

type ByNamespace = HashMap<String, BTreeMap<String, Neighbour>>;

/// Whom a change of a neighbour may concern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Concerned {
    /// One resource.
    One(WorkloadKey),
    /// Every resource of a namespace.
    Namespace(String),
}

impl NeighbourIndex {
    /// Those of one workload.
    #[must_use]
    pub fn of(&self, key: &WorkloadKey, workload: &Workload, live: &LiveChildren) -> Neighbours {
        let kinds = self.lock();
        let all = NEIGHBOURS
            .iter()
            .filter_map(|kind| kinds.0.get(kind)?.current.get(&key.namespace))
            .flatten();
        Neighbours::among(all, workload, live)
    }

    /// Takes in what the watch of a kind brings; hands on what of it is about children, and says whom the rest concerns.
    pub fn split(
        &self,
        kind: ChildKind,
        event: Event<CachedChild>,
    ) -> (Option<Event<CachedChild>>, Vec<Concerned>) {
        let mut kinds = self.lock();
        let known = kinds.0.entry(kind).or_default();
        match event {
            Event::Init => {
                known.listing = Some(ByNamespace::new());
                (Some(Event::Init), vec![])
            }
            Event::InitApply(object) if object.is_labelled() => (Some(Event::InitApply(object)), vec![]),
            Event::InitApply(object) => {
                if let (Some(listing), Some(neighbour)) = (&mut known.listing, read(kind, &object)) {
                    let namespace = listing.entry(object.namespace().unwrap_or_default()).or_default();
                    namespace.insert(object.name_any(), neighbour);
                }
                (None, vec![])
            }
            Event::InitDone => {
                let listed = known.listing.take().unwrap_or_default();
                let before = std::mem::replace(&mut known.current, listed);
                let namespaces = before.keys().chain(known.current.keys());
                let changed = namespaces
                    .filter(|namespace| before.get(*namespace) != known.current.get(*namespace))
                    .map(|namespace| Concerned::Namespace(namespace.clone()));
                let changed = changed.collect();
                (Some(Event::InitDone), changed)
            }
            Event::Apply(object) if object.is_labelled() => {
                let concerned = known.set(&object, None);
                (Some(Event::Apply(object)), concerned)
            }
            Event::Apply(object) => {
                let concerned = known.set(&object, read(kind, &object));
                // Its label may have been taken away.
                (Some(Event::Delete(object)), concerned)
            }
            Event::Delete(object) => {
                let concerned = known.set(&object, None);
                (Some(Event::Delete(object)), concerned)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kinds> {
        lock(&self.0)
    }
}

impl Known {
    /// Puts an object in the place of what was known of it, or forgets it.
    fn set(&mut self, object: &CachedChild, now: Option<Neighbour>) -> Vec<Concerned> {
        let namespace = object.namespace().unwrap_or_default();
        let objects = self.current.entry(namespace.clone()).or_default();
        let before = match now.clone() {
            Some(neighbour) => objects.insert(object.name_any(), neighbour),
            None => objects.remove(&object.name_any()),
        };
        if objects.is_empty() {
            self.current.remove(&namespace);
        }
        if before == now {
            return vec![];
        }
        let changed = before.into_iter().chain(now);
        changed
            .map(|neighbour| concerned(&namespace, neighbour))
            .collect()
    }
}

fn read(kind: ChildKind, object: &CachedChild) -> Option<Neighbour> {
    Neighbour::of(kind, object.live().object())
}

fn concerned(namespace: &str, neighbour: Neighbour) -> Concerned {
    match neighbour {
        Neighbour::Autoscaler { of, .. } => Concerned::One(WorkloadKey {
            namespace: namespace.to_owned(),
            name: of,
        }),
        Neighbour::Budget(_) => Concerned::Namespace(namespace.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: &Value) -> CachedChild {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn autoscaler(name: &str, of: &str, labels: &Value) -> CachedChild {
        object(&json!({
            "metadata": { "name": name, "namespace": "shop", "labels": labels },
            "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": of } },
        }))
    }

    const KIND: ChildKind = ChildKind::HorizontalPodAutoscaler;

    fn known(index: &NeighbourIndex) -> usize {
        index
            .lock()
            .0
            .get(&KIND)
            .map_or(0, |known| known.current.values().map(BTreeMap::len).sum())
    }

    #[test]
    fn a_stranger_is_known_and_no_child_until_it_is_labelled_or_gone() {
        let index = NeighbourIndex::default();
        let web = Concerned::One(WorkloadKey {
            namespace: "shop".into(),
            name: "web".into(),
        });
        let stranger = autoscaler("web", "web", &json!({}));
        let (event, concerned) = index.split(KIND, Event::Apply(stranger.clone()));
        assert!(
            matches!(event, Some(Event::Delete(_))),
            "not to the cache of children"
        );
        assert_eq!(
            (concerned.as_slice(), known(&index)),
            ([web.clone()].as_slice(), 1)
        );
        assert_eq!(
            index.split(KIND, Event::Apply(stranger.clone())).1,
            [],
            "nothing new"
        );

        let labelled = autoscaler("web", "web", &json!({ "lockstep.dev/workload": "web" }));
        let (event, concerned) = index.split(KIND, Event::Apply(labelled));
        assert!(matches!(event, Some(Event::Apply(_))));
        assert_eq!(
            (concerned.as_slice(), known(&index)),
            ([web.clone()].as_slice(), 0)
        );

        index.split(KIND, Event::Apply(stranger.clone()));
        assert_eq!(index.split(KIND, Event::Delete(stranger)).1, [web]);
        assert_eq!(known(&index), 0);
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let index = NeighbourIndex::default();
        index.split(KIND, Event::Apply(autoscaler("gone", "web", &json!({}))));
        index.split(KIND, Event::Init);
        let (event, _) = index.split(KIND, Event::InitApply(autoscaler("there", "web", &json!({}))));
        assert!(event.is_none());
        let (_, concerned) = index.split(KIND, Event::InitDone);
        assert!(concerned.contains(&Concerned::Namespace("shop".into())));
        assert_eq!(known(&index), 1);
    }
}
