//! What is known of one endpoint and who wants to know it: written by its supervisor, read by `observe`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::domain::locks::table::{Effect, Event, Table};
use crate::domain::locks::{Key, Link, Mode, Mono, Observation, Trouble};
use crate::observer::changes::Pending;
use crate::observer::{Target, WorkloadKey, difference, lock};

/// One endpoint. All methods return at once; the lock is never held across an await.
pub(in crate::observer) struct Endpoint {
    target: Target,
    state: Mutex<State>,
    /// Wakes the supervisor when a key was added.
    interest: Notify,
    changes: Arc<Pending>,
}

struct State {
    table: Table,
    link: Link,
    /// How the connection that stands learns changes, and of which version the server is; `None` without one.
    connection: Option<(Mode, Option<String>)>,
    /// Who watches each key of the table.
    watchers: HashMap<Key, Vec<Arc<WorkloadKey>>>,
    workloads: HashSet<Arc<WorkloadKey>>,
}

impl Endpoint {
    pub(in crate::observer) fn new(target: Target, changes: Arc<Pending>, now: Mono) -> Self {
        let state = State {
            table: Table::default(),
            link: Link::Connecting {
                since: now,
                trouble: None,
            },
            connection: None,
            watchers: HashMap::new(),
            workloads: HashSet::new(),
        };
        Self {
            target,
            state: Mutex::new(state),
            interest: Notify::new(),
            changes,
        }
    }

    pub(in crate::observer) fn target(&self) -> &Target {
        &self.target
    }

    /// Makes `new` what a workload is interested in, instead of `old`.
    pub(in crate::observer) fn change_interest(
        &self,
        who: &Arc<WorkloadKey>,
        old: &[Key],
        new: &[Key],
        now: Mono,
    ) {
        let (added, removed) = difference(old, new);
        let mut state = lock(&self.state);
        state.workloads.insert(Arc::clone(who));
        for key in &added {
            state.table.watch(key, now);
            state
                .watchers
                .entry(Key::clone(key))
                .or_default()
                .push(Arc::clone(who));
        }
        for key in removed {
            state.unwatch(key, who);
        }
        drop(state);
        if !added.is_empty() {
            self.interest.notify_one();
        }
    }

    /// Forgets a workload, which was interested in `keys`; whether it was the last one.
    pub(in crate::observer) fn forget_workload(&self, who: &WorkloadKey, keys: &[Key]) -> bool {
        let mut state = lock(&self.state);
        for key in keys {
            state.unwatch(key, who);
        }
        state.workloads.remove(who);
        state.workloads.is_empty()
    }

    /// What is known now. A key that the server refuses to show concerns the link of those who asked for it only.
    pub(in crate::observer) fn observation(&self, keys: &[Key], now: Mono) -> Observation {
        let state = lock(&self.state);
        let refusal = keys.iter().find_map(|key| state.table.refusal(key));
        let link = match (&state.link, refusal) {
            (Link::Up { .. }, Some((trouble, since))) => Link::Down { since, trouble },
            (link, _) => link.clone(),
        };
        Observation {
            at: now,
            link,
            keys: keys.iter().map(|key| state.table.snapshot(key)).collect(),
        }
    }

    /// Returns when a key was added since the last call.
    pub(super) async fn interest_changed(&self) {
        self.interest.notified().await;
    }

    pub(super) fn due(&self, limit: usize, now: Mono) -> Vec<Key> {
        lock(&self.state).table.due(now, limit)
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        lock(&self.state).table.next_deadline()
    }

    /// A verified connection stands. The link is up once everything is read.
    pub(super) fn connected(&self, mode: Mode, version: Option<String>, now: Mono) {
        let mut state = lock(&self.state);
        state.connection = Some((mode, version));
        state.table.apply(Event::Up(mode), now);
        self.complete(&mut state, now);
    }

    /// The connection is lost, or could not be made.
    pub(super) fn lost(&self, trouble: Trouble, now: Mono) {
        let mut state = lock(&self.state);
        state.connection = None;
        state.table.apply(Event::Doubt, now);
        let link = match state.link {
            Link::Up { .. } => Link::Down { since: now, trouble },
            Link::Down { since, .. } => Link::Down { since, trouble },
            Link::Connecting { since, .. } => Link::Connecting {
                since,
                trouble: Some(trouble),
            },
        };
        self.relink(&mut state, link);
    }

    pub(super) fn invalidated(&self, keys: &[Vec<u8>], at: Mono) {
        let mut state = lock(&self.state);
        for key in keys {
            state.table.apply(Event::Invalidated(key), at);
        }
    }

    /// All keys may have changed: they are read again, on the same connection, on which tracking goes on.
    pub(super) fn flushed(&self, at: Mono) {
        let mut state = lock(&self.state);
        let Some((mode, _)) = state.connection else { return };
        if matches!(state.link, Link::Up { .. }) {
            self.relink(
                &mut state,
                Link::Down {
                    since: at,
                    trouble: Trouble::Stale,
                },
            );
        }
        state.table.apply(Event::Doubt, at);
        state.table.apply(Event::Up(mode), at);
        self.complete(&mut state, at);
    }

    /// Takes in answers received at `now`; whether the connection can still be relied on.
    pub(super) fn answered<'a>(&self, events: impl Iterator<Item = Event<'a>>, now: Mono) -> bool {
        let mut state = lock(&self.state);
        for event in events {
            let (Event::Answered(key, _) | Event::Refused(key, _)) = event else {
                continue;
            };
            match state.table.apply(event, now) {
                Effect::Nothing => {}
                Effect::Changed => self.changes.push(state.watchers.get(key).into_iter().flatten()),
                Effect::TrackingLost => return false,
            }
        }
        self.complete(&mut state, now);
        true
    }

    /// The link is up as soon as everything was read on the connection that stands.
    fn complete(&self, state: &mut State, now: Mono) {
        if matches!(state.link, Link::Up { .. }) || !state.table.is_complete() {
            return;
        }
        if let Some((mode, version)) = state.connection.clone() {
            self.relink(
                state,
                Link::Up {
                    since: now,
                    mode,
                    version,
                },
            );
        }
    }

    fn relink(&self, state: &mut State, link: Link) {
        if state.link != link {
            tracing::info!(
                host = self.target.host,
                port = self.target.port,
                ?link,
                "Redis endpoint"
            );
            state.link = link;
            self.changes.push(&state.workloads);
        }
    }
}

impl State {
    fn unwatch(&mut self, key: &Key, who: &WorkloadKey) {
        if let Some(watchers) = self.watchers.get_mut(key) {
            watchers.retain(|watcher| **watcher != *who);
            if watchers.is_empty() {
                self.watchers.remove(key);
                self.table.forget(key);
            }
        }
    }
}
