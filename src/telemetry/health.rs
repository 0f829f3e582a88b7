//! Whether the operator lives, and whether it is ready to work, in words. No I/O.
//!
//! In: what happens to the watches, each of which holds a [`Watch`]. Out: what is missing. A standby that does not lead is
//! ready as well: leadership has no part in this.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use kube::runtime::watcher;

use super::lock;

/// What is said while the definition of the resource isn't there.
pub const CRD_MISSING: &str = "the definition of CoordinatedWorkload is not installed in this cluster: install it with \
                               the chart, or with `kubectl apply -f crds/lockstep.dev_coordinatedworkloads.yaml`; the \
                               operator waits for it";

/// Whether the operator lives and is ready; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The caches were complete once.
    caches: bool,
    watches: BTreeMap<usize, Watched>,
    /// Number of the next watch.
    next: usize,
    /// Watches that ended, which none should.
    ended: Vec<String>,
}

#[derive(Debug)]
struct Watched {
    /// The kind and, where it is watched in one namespace only, that.
    name: String,
    /// Its list was complete once.
    listed: bool,
    /// What went wrong since something last came.
    trouble: Option<Trouble>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Trouble {
    CrdMissing,
    Other(String),
}

impl Trouble {
    fn of(kind: &str, error: &watcher::Error) -> Self {
        let answer = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => match error {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            watcher::Error::WatchError(status) => Some(status),
            watcher::Error::NoResourceVersion => None,
        };
        match answer {
            // Without the kind there is no such page, and its text is no Status: only the code tells.
            Some(status) if kind == RESOURCES && status.code == 404 => Self::CrdMissing,
            // kube's errors carry their sources in their text.
            _ => Self::Other(error.to_string()),
        }
    }
}

/// The kind whose absence means that the definition is not installed.
const RESOURCES: &str = "coordinatedworkloads";

impl Health {
    /// A watch begins, of a kind in one namespace or in all of them.
    #[must_use]
    pub fn watch(&self, kind: &'static str, namespace: Option<&str>) -> Watch {
        let mut state = lock(&self.0);
        let number = state.next;
        state.next += 1;
        let name = match namespace {
            Some(namespace) => format!("{kind} in namespace {namespace}"),
            None => kind.to_owned(),
        };
        let watched = Watched {
            name: name.clone(),
            listed: false,
            trouble: None,
        };
        state.watches.insert(number, watched);
        Watch {
            health: self.clone(),
            kind,
            name,
            number,
        }
    }

    /// All caches are complete.
    pub fn caches_ready(&self) {
        lock(&self.0).caches = true;
    }

    /// Why the process does not live, or nothing.
    #[must_use]
    pub fn dead(&self) -> Option<String> {
        let state = lock(&self.0);
        let ended = &state.ended;
        (!ended.is_empty()).then(|| format!("the watch of {} ended", ended.join(", ")))
    }

    /// What is missing before the operator can work, for people; empty if it is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let state = lock(&self.0);
        let mut missing: Vec<_> = state
            .watches
            .values()
            .filter_map(|watched| match &watched.trouble {
                Some(Trouble::CrdMissing) => Some(CRD_MISSING.to_owned()),
                // What was listed once is good enough to work with while a watch is made again.
                _ if watched.listed => None,
                Some(Trouble::Other(error)) => Some(format!("{} can't be listed: {error}", watched.name)),
                None => Some(format!("the list of {} is not complete yet", watched.name)),
            })
            .collect();
        if missing.is_empty() && !state.caches {
            missing.push("the caches are not complete yet".to_owned());
        }
        // The definition is missing in every namespace at once.
        missing.sort();
        missing.dedup();
        missing
    }
}

/// A watch, from its begin to its end: its drop is its end.
#[derive(Debug)]
pub struct Watch {
    health: Health,
    kind: &'static str,
    name: String,
    number: usize,
}

impl Watch {
    /// The kind that is watched, and where, if not everywhere.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Something came: it works. `listed`: and the list is complete.
    pub fn works(&self, listed: bool) {
        self.with(|watched| {
            watched.trouble = None;
            watched.listed |= listed;
        });
    }

    /// It failed and will be tried again. What is to be said of that, if it was not said of the last failure.
    #[must_use]
    pub fn failed(&self, error: &watcher::Error) -> Option<String> {
        let trouble = Trouble::of(self.kind, error);
        let said = match &trouble {
            Trouble::CrdMissing => CRD_MISSING.to_owned(),
            Trouble::Other(error) => error.clone(),
        };
        let mut news = true;
        self.with(|watched| {
            news = watched.trouble.as_ref() != Some(&trouble);
            watched.trouble = Some(trouble);
        });
        news.then_some(said)
    }

    fn with(&self, change: impl FnOnce(&mut Watched)) {
        if let Some(watched) = lock(&self.health.0).watches.get_mut(&self.number) {
            change(watched);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = lock(&self.health.0);
        state.watches.remove(&self.number);
        state.ended.push(std::mem::take(&mut self.name));
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16, reason: &str) -> watcher::Error {
        let status =
            Status::failure("the server could not find the requested resource", reason).with_code(code);
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn it_is_ready_once_every_list_and_the_caches_are_complete() {
        let health = Health::default();
        assert_eq!(health.missing(), ["the caches are not complete yet"]);
        let (pods, resources) = (
            health.watch("pods", Some("team-a")),
            health.watch(RESOURCES, None),
        );
        assert_eq!(
            health.missing(),
            [
                "the list of coordinatedworkloads is not complete yet",
                "the list of pods in namespace team-a is not complete yet"
            ]
        );
        pods.works(true);
        resources.works(true);
        health.caches_ready();
        assert!(health.missing().is_empty());
        assert!(pods.failed(&refused(500, "InternalError")).is_some());
        assert!(health.missing().is_empty(), "what was listed is good enough");
    }

    #[test]
    fn a_missing_definition_is_named_and_said_once_whenever_it_goes() {
        let health = Health::default();
        let resources = health.watch(RESOURCES, None);
        assert_eq!(
            resources
                .failed(&refused(404, "Failed to parse error data"))
                .as_deref(),
            Some(CRD_MISSING)
        );
        assert_eq!(resources.failed(&refused(404, "NotFound")), None);
        assert_eq!(health.missing(), [CRD_MISSING]);
        resources.works(true);
        health.caches_ready();
        assert!(health.missing().is_empty());
        assert_eq!(
            resources.failed(&refused(404, "NotFound")).as_deref(),
            Some(CRD_MISSING)
        );
        assert_eq!(health.missing(), [CRD_MISSING]);
        let pods = health.watch("pods", None);
        let said = pods.failed(&refused(404, "")).unwrap();
        assert!(!said.contains("CoordinatedWorkload"), "{said}");
    }

    #[test]
    fn it_is_dead_once_a_watch_ended() {
        let health = Health::default();
        let watch = health.watch("pods", None);
        assert_eq!(health.dead(), None);
        drop(watch);
        assert_eq!(health.dead().as_deref(), Some("the watch of pods ended"));
    }
}
