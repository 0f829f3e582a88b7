//! What is known of one endpoint and who wants to know it: written by its supervisors, read by `observe`.

mod state;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use self::state::{LaneState, State, Watcher, is_at, lane_in};
use super::places::Places;
use crate::domain::locks::health::Sign;
use crate::domain::locks::probe::Probe;
use crate::domain::locks::table::{Effect, Event, Lane, ONLY, Table};
use crate::domain::locks::{Answer, Evidence, Key, Link, Mode, Mono, Observation, Trouble};
use crate::observer::changes::Pending;
use crate::observer::slots::SlotMap;
use crate::observer::{Interest, Renewed, Servers, StoreFigures, Target, WorkloadKey, difference, lock};

/// One endpoint. All methods return at once; the lock is never held across an await.
pub(in crate::observer) struct Endpoint {
    target: Target,
    state: Mutex<State>,
    /// Rises when something was added to what the supervisors read: each of them must hear of it.
    interest: watch::Sender<u64>,
    /// A server said that it hasn't what the map says it has.
    old_map: Notify,
    changes: Arc<Pending>,
    /// Commands that were sent to its servers.
    sent: Arc<AtomicU64>,
}

impl Endpoint {
    pub(in crate::observer) fn new(target: Target, changes: Arc<Pending>, now: Mono) -> Self {
        let is_cluster = matches!(target.servers, Servers::Cluster(_));
        let connecting = Link::Connecting {
            since: now,
            trouble: None,
        };
        let state = State {
            table: Table::default(),
            places: Places::default(),
            slots: is_cluster.then(SlotMap::default),
            lanes: if is_cluster {
                BTreeMap::new()
            } else {
                BTreeMap::from([(ONLY, LaneState::new(now))])
            },
            whole: is_cluster.then_some(connecting),
            asking: HashSet::new(),
            watchers: HashMap::new(),
            workloads: HashSet::new(),
        };
        Self {
            target,
            state: Mutex::new(state),
            interest: watch::Sender::new(0),
            old_map: Notify::new(),
            changes,
            sent: Arc::default(),
        }
    }

    pub(in crate::observer) fn target(&self) -> &Target {
        &self.target
    }

    /// Where the commands that are sent to its servers are counted.
    pub(super) fn sent(&self) -> &Arc<AtomicU64> {
        &self.sent
    }

    /// Its figures, the worst of its servers.
    pub(in crate::observer) fn figures(&self) -> StoreFigures {
        let state = lock(&self.state);
        let lanes = || state.lanes.values();
        let up = |lane: &LaneState| matches!(lane.link, Link::Up { .. });
        let whole = state
            .whole
            .as_ref()
            .is_none_or(|whole| matches!(whole, Link::Up { .. }));
        let connected = lanes().filter(|lane| up(lane));
        StoreFigures {
            up: whole && lanes().next().is_some() && lanes().all(up),
            tracking: lanes().all(|lane| {
                !matches!(
                    lane.link,
                    Link::Up {
                        mode: Mode::Polling,
                        ..
                    }
                )
            }),
            latency: connected.filter_map(|lane| lane.vitals.median()).max(),
            commands: self.sent.load(Ordering::Relaxed),
        }
    }

    /// Makes `new` what a workload is interested in, instead of `old`; `counts`: here its renewals are counted.
    pub(in crate::observer) fn change_interest(
        &self,
        who: &Arc<WorkloadKey>,
        old: &Interest,
        new: &Interest,
        counts: bool,
        now: Mono,
    ) {
        let (added, removed) = difference(&old.locks, &new.locks);
        let (new_places, old_places) = difference(&old.places, &new.places);
        let mut state = lock(&self.state);
        state.workloads.insert(Arc::clone(who));
        for probe in &added {
            let lane = state.lane_of(&probe.key);
            state.table.watch(probe, lane, now);
            let watchers = state.watchers.entry(Arc::clone(probe)).or_default();
            watchers.push(Watcher {
                who: Arc::clone(who),
                renewed: None,
            });
        }
        for probe in removed {
            state.unwatch(probe, who);
        }
        for place in &new_places {
            state.places.add(place, who, now);
        }
        for place in old_places {
            state.leave(place, who);
        }
        for (at, probe) in new.locks.iter().enumerate() {
            let renewed = Renewed::at(&new.renewed, at).filter(|_| counts);
            state.renews(probe, who, renewed);
        }
        drop(state);
        if !added.is_empty() || !new_places.is_empty() {
            self.interest_changed();
        }
    }

    /// Forgets a workload, which was interested in this; whether it was the last one.
    pub(in crate::observer) fn forget_workload(&self, who: &WorkloadKey, interest: &Interest) -> bool {
        let mut state = lock(&self.state);
        for probe in &interest.locks {
            state.unwatch(probe, who);
        }
        for place in &interest.places {
            state.leave(place, who);
        }
        state.workloads.remove(who);
        state.workloads.is_empty()
    }

    /// What is known now. A lock that the server refuses to show concerns the link of those who asked for it only.
    pub(in crate::observer) fn observation(&self, interest: &Interest, now: Mono) -> Observation {
        let state = lock(&self.state);
        let (link, hidden) = state.link(&interest.locks);
        let refusal = || {
            let mut refusals = interest
                .locks
                .iter()
                .filter_map(|probe| state.table.refusal(probe));
            refusals.next().or_else(|| {
                interest
                    .places
                    .iter()
                    .find_map(|place| state.places.refusal(place))
            })
        };
        let link = match link {
            Link::Up { .. } => refusal().map_or(link, |(trouble, since)| Link::Down { since, trouble }),
            Link::Connecting { .. } | Link::Down { .. } => link,
        };
        Observation {
            at: now,
            link,
            hidden,
            health: state.health(),
            keys: interest
                .locks
                .iter()
                .map(|probe| state.table.snapshot(probe))
                .collect(),
            discovered: interest
                .places
                .iter()
                .map(|place| state.places.discovered(place, &state.table))
                .collect(),
        }
    }

    /// Changes when something was added to what is read.
    pub(super) fn interest(&self) -> watch::Receiver<u64> {
        self.interest.subscribe()
    }

    fn interest_changed(&self) {
        self.interest
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(super) fn due(&self, lane: Lane, limit: usize, now: Mono) -> Vec<(Arc<Probe>, bool)> {
        let mut state = lock(&self.state);
        let due = state.table.due(lane, now, limit);
        let asking = |probe: &Arc<Probe>| state.asking.contains(probe);
        due.into_iter()
            .map(|probe| {
                let asking = asking(&probe);
                (probe, asking)
            })
            .collect()
    }

    /// Indexes that are to be read from this server now.
    pub(super) fn due_indexes(&self, lane: Lane, now: Mono) -> Vec<Key> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        state.places.due(now, is_at(state.slots.as_ref(), lane))
    }

    pub(super) fn next_deadline(&self, lane: Lane) -> Option<Mono> {
        let state = lock(&self.state);
        let indexes = state.lanes.get(&lane).and_then(|lane| lane.connection.as_ref());
        let index = indexes.and_then(|_| {
            let slots = state.slots.as_ref();
            state.places.next(is_at(slots, lane))
        });
        [state.table.next_deadline(lane), index]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the oldest lock was to be read that has not been asked for.
    pub(super) fn overdue_since(&self, lane: Lane) -> Option<Mono> {
        lock(&self.state).table.next_deadline(lane)
    }

    /// The prefixes under which somebody wants to know every lock, merged so that none begins another.
    pub(super) fn prefixes(&self) -> Vec<Vec<u8>> {
        lock(&self.state).places.prefixes()
    }

    /// A verified connection stands. The link is up once everything is read.
    pub(super) fn connected(&self, lane: Lane, mode: Mode, version: Option<String>, now: Mono) {
        let mut state = lock(&self.state);
        let known = state.lanes.entry(lane).or_insert_with(|| LaneState::new(now));
        known.connection = Some((mode, version));
        self.read_all(&mut state, lane, mode, now);
    }

    /// Something was heard of how a server fares. Whoever watches it hears of it if another judgement follows.
    pub(super) fn sign(&self, lane: Lane, sign: Sign, now: Mono) {
        let mut state = lock(&self.state);
        let known = state.lanes.entry(lane).or_insert_with(|| LaneState::new(now));
        if known.vitals.take(sign, now) {
            self.changes.push(&state.workloads);
        }
    }

    /// The connection is lost, or could not be made.
    pub(super) fn lost(&self, lane: Lane, trouble: Trouble, now: Mono) {
        let mut state = lock(&self.state);
        state.table.apply(Event::Doubt(lane), now);
        let known = state.lanes.entry(lane).or_insert_with(|| LaneState::new(now));
        known.connection = None;
        let link = match known.link {
            Link::Up { .. } => Link::Down { since: now, trouble },
            Link::Down { since, .. } => Link::Down { since, trouble },
            Link::Connecting { since, .. } => Link::Connecting {
                since,
                trouble: Some(trouble),
            },
        };
        self.relink(&mut state, lane, link);
    }

    pub(super) fn invalidated(&self, keys: &[Vec<u8>], at: Mono) {
        let mut state = lock(&self.state);
        for key in keys {
            state.table.apply(Event::Invalidated(key), at);
            state.places.invalidated(key, at);
        }
    }

    /// These keys under a prefix changed, or were found there.
    pub(super) fn found(&self, keys: impl IntoIterator<Item = Vec<u8>>, now: Mono) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let mut added = false;
        for key in keys {
            for probe in state.places.found(&key) {
                let lane = lane_in(state.slots.as_ref(), &probe.key);
                state.table.watch(&probe, lane, now);
                added = true;
            }
        }
        if added {
            self.interest_changed();
        }
    }

    /// Something happened to the server that bears on how holds ended.
    pub(super) fn happened(&self, lane: Lane, evidence: Evidence, now: Mono) {
        lock(&self.state)
            .table
            .apply(Event::Happened(lane, evidence), now);
    }

    /// All locks may have changed: they are read again, on the same connection, on which tracking goes on.
    pub(super) fn doubt(&self, lane: Lane, evidence: Evidence, at: Mono) {
        let mut state = lock(&self.state);
        let Some(known) = state.lanes.get(&lane) else {
            return;
        };
        let Some((mode, _)) = known.connection else { return };
        if matches!(known.link, Link::Up { .. }) {
            self.relink(
                &mut state,
                lane,
                Link::Down {
                    since: at,
                    trouble: Trouble::Stale,
                },
            );
        }
        state.table.apply(Event::Happened(lane, evidence), at);
        self.read_all(&mut state, lane, mode, at);
    }

    /// Whether these answers end a hold that would still have run.
    pub(super) fn would_end_early<'a>(
        &self,
        answers: impl IntoIterator<Item = (&'a Arc<Probe>, &'a Answer)>,
        now: Mono,
    ) -> bool {
        let state = lock(&self.state);
        let mut answers = answers.into_iter();
        answers.any(|(probe, answer)| state.table.would_end_early(probe, answer, now))
    }

    /// Takes in answers received at `now`; whether the connection can still be relied on.
    pub(super) fn answered<'a>(
        &self,
        lane: Lane,
        events: impl IntoIterator<Item = Event<'a>>,
        now: Mono,
    ) -> bool {
        let mut state = lock(&self.state);
        for event in events {
            let (Event::Answered(probe, _) | Event::Refused(probe, _)) = event else {
                continue;
            };
            let effect = state.table.apply(event, now);
            state.count_renewals(probe);
            match effect {
                Effect::Nothing => {}
                Effect::Changed => {
                    let watchers = state.watchers.get(probe).into_iter().flatten();
                    self.changes.push(watchers.map(|watcher| &watcher.who));
                    self.changes.push_later(state.places.watchers(probe));
                }
                Effect::TrackingLost => return false,
            }
        }
        self.complete(&mut state, lane, now);
        true
    }

    /// Takes in what an index lists, or why it isn't shown.
    pub(super) fn listed(&self, lane: Lane, index: &Key, names: &Result<Vec<Vec<u8>>, Trouble>, now: Mono) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        for probe in state.places.listed(index, names, now) {
            let lane = lane_in(state.slots.as_ref(), &probe.key);
            state.table.watch(&probe, lane, now);
        }
        self.complete(state, lane, now);
    }

    /// Forgets locks that turned up and have long been free.
    pub(super) fn tidy(&self, now: Mono) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        for probe in state.places.stale(&state.table, now) {
            state.forget_unwanted(&probe);
        }
    }

    /// A server says that this lock is about to move to another one, where it is to be asked for.
    pub(super) fn ask(&self, probe: &Arc<Probe>, lane: Lane, now: Mono) {
        let mut state = lock(&self.state);
        state.asking.insert(Arc::clone(probe));
        state.table.watch(probe, lane, now);
        drop(state);
        self.interest_changed();
    }

    /// The server that was to get a lock didn't: it is asked for where the map says.
    pub(super) fn ask_no_more(&self, probe: &Arc<Probe>, now: Mono) {
        let mut state = lock(&self.state);
        if state.asking.remove(probe) {
            let lane = state.lane_of(&probe.key);
            state.table.watch(probe, lane, now);
            drop(state);
            self.interest_changed();
        }
    }

    /// Why the whole endpoint isn't there, or that it is.
    pub(super) fn mapped(&self, result: Result<SlotMap, Trouble>, now: Mono) {
        let mut state = lock(&self.state);
        match result {
            Ok(slots) => state.remap(slots, now),
            Err(trouble) => {
                let link = match state.whole {
                    Some(Link::Down { since, .. }) => Link::Down { since, trouble },
                    Some(Link::Connecting { since, .. }) => Link::Connecting {
                        since,
                        trouble: Some(trouble),
                    },
                    Some(Link::Up { .. }) | None => return,
                };
                if state.whole.as_ref() != Some(&link) {
                    state.whole = Some(link);
                    self.changes.push(&state.workloads);
                }
                return;
            }
        }
        self.changes.push(&state.workloads);
        drop(state);
        self.interest_changed();
    }

    /// A server hasn't what the map says it has.
    pub(super) fn map_is_old(&self) {
        self.old_map.notify_one();
    }

    /// Returns when a server said so.
    pub(super) async fn old_map(&self) {
        self.old_map.notified().await;
    }

    /// The map of the cluster as it is known.
    pub(super) fn slots(&self) -> Option<SlotMap> {
        lock(&self.state).slots.clone()
    }

    /// Everything of a server is to be read, on the connection that stands.
    fn read_all(&self, state: &mut State, lane: Lane, mode: Mode, now: Mono) {
        state.table.apply(Event::Up(lane, mode), now);
        state.places.read_again(now, is_at(state.slots.as_ref(), lane));
        self.complete(state, lane, now);
    }

    /// The link is up as soon as everything was read on the connection that stands.
    fn complete(&self, state: &mut State, lane: Lane, now: Mono) {
        let Some(known) = state.lanes.get(&lane) else {
            return;
        };
        let slots = state.slots.as_ref();
        if matches!(known.link, Link::Up { .. })
            || !state.table.is_complete(lane)
            || !state.places.is_complete(is_at(slots, lane))
        {
            return;
        }
        if let Some((mode, version)) = known.connection.clone() {
            self.relink(
                state,
                lane,
                Link::Up {
                    since: now,
                    mode,
                    version,
                },
            );
        }
    }

    fn relink(&self, state: &mut State, lane: Lane, link: Link) {
        let known = state.lanes.get_mut(&lane);
        if let Some(known) = known.filter(|known| known.link != link) {
            tracing::info!(endpoint = %self.target.servers, lane, ?link, "Redis endpoint");
            known.link = link;
            self.changes.push(&state.workloads);
        }
    }
}
