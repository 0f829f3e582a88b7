//! What one endpoint's board holds, and what follows from it. Plain data.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::super::places::Places;
use crate::domain::locks::health::{Health, Vitals};
use crate::domain::locks::probe::{Discovery, Probe};
use crate::domain::locks::table::{Beat, Lane, ONLY, Table};
use crate::domain::locks::{Evidence, Link, Mode, Mono, Trouble};
use crate::observer::slots::{SlotMap, UNCOVERED};
use crate::observer::{RenewedSet, WorkloadKey};

pub(super) struct State {
    pub(super) table: Table,
    pub(super) places: Places,
    /// Which server has which key; `None`: there is only one.
    pub(super) slots: Option<SlotMap>,
    /// What is known of each server; of a cluster none before its map is known.
    pub(super) lanes: BTreeMap<Lane, LaneState>,
    /// The endpoint as a whole, where it is not just its one server: why there is no map of the cluster.
    pub(super) whole: Option<Link>,
    /// Locks that are asked for at a server which is about to get them (ASK).
    pub(super) asking: HashSet<Arc<Probe>>,
    /// Who watches each lock of the table that was asked for by name.
    pub(super) watchers: HashMap<Arc<Probe>, Vec<Watcher>>,
    pub(super) workloads: HashSet<Arc<WorkloadKey>>,
}

/// Who watches a lock.
pub(super) struct Watcher {
    pub(super) who: Arc<WorkloadKey>,
    /// The set that it belongs to, if that renews and is counted here.
    pub(super) renewed: Option<Arc<RenewedSet>>,
}

pub(super) struct LaneState {
    pub(super) link: Link,
    /// How the connection that stands learns changes, and of which version the server is; `None` without one.
    pub(super) connection: Option<(Mode, Option<String>)>,
    /// How the server fares.
    pub(super) vitals: Vitals,
}

impl LaneState {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            link: Link::Connecting {
                since: now,
                trouble: None,
            },
            connection: None,
            vitals: Vitals::default(),
        }
    }
}

impl State {
    pub(super) fn lane_of(&self, key: &[u8]) -> Lane {
        lane_in(self.slots.as_ref(), key)
    }

    /// How the servers fare that there is a connection to: the worst of all.
    pub(super) fn health(&self) -> Option<Arc<Health>> {
        let connected = self.lanes.values().filter(|lane| lane.connection.is_some());
        Health::worst(connected.filter_map(|lane| lane.vitals.health()))
    }

    /// The link of whoever is interested in these locks, and why some of them aren't seen.
    pub(super) fn link(&self, locks: &[Arc<Probe>]) -> (Link, Option<(Trouble, Mono)>) {
        let Some(whole) = &self.whole else {
            let only = self.lanes.get(&ONLY).map(|lane| lane.link.clone());
            // There always is one.
            let none = Link::Connecting {
                since: Mono::default(),
                trouble: None,
            };
            return (only.unwrap_or(none), None);
        };
        if self.slots.as_ref().is_none_or(SlotMap::is_empty) {
            return (whole.clone(), None);
        }
        let lanes: HashSet<Lane> = if locks.is_empty() {
            self.lanes.keys().copied().collect()
        } else {
            locks.iter().filter_map(|probe| self.table.lane(probe)).collect()
        };
        let mut up: Option<Link> = None;
        let mut down: Option<(Trouble, Mono)> = None;
        let mut connecting = None;
        for lane in lanes {
            match self.lanes.get(&lane).map(|lane| &lane.link) {
                Some(link @ Link::Up { mode, .. }) => {
                    // The slowest way of learning is what can be promised.
                    if up.is_none() || *mode == Mode::Polling {
                        up = Some(link.clone());
                    }
                }
                Some(Link::Down { since, trouble }) => {
                    down = down.or(Some((*trouble, *since)));
                }
                Some(Link::Connecting { since, trouble }) => match trouble {
                    Some(trouble) => down = down.or(Some((*trouble, *since))),
                    None => connecting = connecting.or(Some(*since)),
                },
                None => {
                    let since = match whole {
                        Link::Up { since, .. }
                        | Link::Down { since, .. }
                        | Link::Connecting { since, .. } => *since,
                    };
                    down = down.or(Some((Trouble::ClusterDown, since)));
                }
            }
        }
        match (up, down, connecting) {
            (Some(up), down, since) => (up, down.or(since.map(|since| (Trouble::Timeout, since)))),
            (None, Some((trouble, since)), _) => (Link::Down { since, trouble }, None),
            (None, None, Some(since)) => (Link::Connecting { since, trouble: None }, None),
            (None, None, None) => (whole.clone(), None),
        }
    }

    /// Another map: locks go where their slots went. Where the old server is none any more, another one took its place.
    pub(super) fn remap(&mut self, slots: SlotMap, now: Mono) {
        self.whole = Some(Link::Up {
            since: now,
            mode: Mode::Tracking,
            version: None,
        });
        let replaced = |lane: Lane| lane != UNCOVERED && !slots.has_lane(lane);
        let probes: Vec<Arc<Probe>> = self
            .watchers
            .keys()
            .cloned()
            .chain(self.places.probes())
            .collect();
        for probe in probes {
            let (old, new) = (self.table.lane(&probe), slots.lane(&probe.key));
            if old == Some(new) {
                // It has arrived where it was asked for.
                self.asking.remove(&probe);
            } else if old.is_some_and(replaced) {
                self.asking.remove(&probe);
                self.table.happened(&probe, Evidence::FAILOVER);
                self.table.watch(&probe, new, now);
            } else if !self.asking.contains(&probe) {
                self.table.watch(&probe, new, now);
            }
        }
        self.lanes.retain(|lane, _| slots.has_lane(*lane));
        for lane in slots.lanes() {
            self.lanes.entry(lane).or_insert_with(|| LaneState::new(now));
        }
        self.slots = Some(slots);
    }

    pub(super) fn unwatch(&mut self, probe: &Arc<Probe>, who: &WorkloadKey) {
        if let Some(watchers) = self.watchers.get_mut(probe) {
            watchers.retain(|watcher| *watcher.who != *who);
            if watchers.is_empty() {
                self.watchers.remove(probe);
                self.forget_unwanted(probe);
            }
        }
    }

    /// For this workload a lock belongs to such a set. Those who share it may see it differently: the rarest renewals that
    /// anybody reckons with are nobody's delay.
    pub(super) fn renews(
        &mut self,
        probe: &Arc<Probe>,
        who: &WorkloadKey,
        renewed: Option<&Arc<RenewedSet>>,
    ) {
        let Some(watchers) = self.watchers.get_mut(probe) else {
            return;
        };
        for watcher in watchers.iter_mut().filter(|watcher| *watcher.who == *who) {
            watcher.renewed = renewed.cloned();
        }
        let intervals = watchers.iter().flat_map(|watcher| &watcher.renewed);
        let interval = intervals.map(|set| set.interval).max();
        self.table.renews(probe, interval);
    }

    /// Counts what the last answer told of a lock's renewals, for everybody whose set it belongs to.
    pub(super) fn count_renewals(&mut self, probe: &Probe) {
        let beat = self.table.beat(probe);
        if beat == Beat::default() {
            return;
        }
        let watchers = self.watchers.get(probe).into_iter().flatten();
        for set in watchers.flat_map(|watcher| &watcher.renewed) {
            set.tally.take(beat);
        }
    }

    pub(super) fn leave(&mut self, place: &Arc<Discovery>, who: &WorkloadKey) {
        for probe in self.places.leave(place, who) {
            self.forget_unwanted(&probe);
        }
    }

    /// Forgets a lock that nobody asks for by name and no place lists any more.
    pub(super) fn forget_unwanted(&mut self, probe: &Arc<Probe>) {
        if !self.watchers.contains_key(probe) && !self.places.has(probe) {
            self.table.forget(probe);
            self.asking.remove(probe);
        }
    }
}

/// The server that has a key: the only one, or the master of its slot.
pub(super) fn lane_in(slots: Option<&SlotMap>, key: &[u8]) -> Lane {
    slots.map_or(ONLY, |slots| slots.lane(key))
}

/// Whether a key is at this server.
pub(super) fn is_at(slots: Option<&SlotMap>, lane: Lane) -> impl Fn(&[u8]) -> bool {
    move |key| lane_in(slots, key) == lane
}
