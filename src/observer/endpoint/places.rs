//! Places where locks turn up that nobody declared: indexes that libraries keep, and prefixes. Plain data: what is
//! found goes in, what is to be read comes out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::locks::probe::{Discovery, Place, Probe};
use crate::domain::locks::table::{POLL_INTERVAL, Table};
use crate::domain::locks::{Discovered, Key, Mono, Trouble};
use crate::observer::WorkloadKey;

/// How many locks of one place are kept an eye on.
const LOCKS: usize = 100_000;

/// An index that changes all the time is read this often.
const INDEX_PACE: Duration = Duration::from_millis(250);

/// An index that the server refuses to show is tried again after this.
const REFUSED_RETRY: Duration = Duration::from_secs(5);

/// A lock that turned up and is free for this long is forgotten: by then every interested workload has heard how its
/// last hold ended.
const KEPT: Duration = Duration::from_mins(1);

/// All places of one endpoint.
#[derive(Default)]
pub(super) struct Places {
    places: HashMap<Arc<Discovery>, Found>,
}

struct Found {
    workloads: Vec<Arc<WorkloadKey>>,
    locks: BTreeMap<Key, Arc<Probe>>,
    more: bool,
    /// When its index is to be read next; `None`: while it is being read, or if it has none.
    due: Option<Mono>,
    /// When its index was read last.
    read: Option<Mono>,
    /// Whether its index changed while it was being read.
    changed: bool,
    /// Whether its index was read since the connection stands.
    complete: bool,
    refused: Option<(Trouble, Mono)>,
}

impl Places {
    pub(super) fn add(&mut self, place: &Arc<Discovery>, who: &Arc<WorkloadKey>, now: Mono) {
        let is_index = index(place).is_some();
        let found = self.places.entry(Arc::clone(place)).or_insert_with(|| Found {
            workloads: vec![],
            locks: BTreeMap::new(),
            more: false,
            due: is_index.then_some(now),
            read: None,
            changed: false,
            complete: !is_index,
            refused: None,
        });
        found.workloads.push(Arc::clone(who));
    }

    /// A workload is no longer interested; the locks that nobody else found here.
    pub(super) fn leave(&mut self, place: &Arc<Discovery>, who: &WorkloadKey) -> Vec<Arc<Probe>> {
        let Some(found) = self.places.get_mut(place) else {
            return vec![];
        };
        found.workloads.retain(|workload| **workload != *who);
        if !found.workloads.is_empty() {
            return vec![];
        }
        let gone = self.places.remove(place);
        gone.into_iter()
            .flat_map(|found| found.locks.into_values())
            .collect()
    }

    /// The indexes that are to be read now; they count as being read from then on.
    pub(super) fn due(&mut self, now: Mono, here: impl Fn(&[u8]) -> bool) -> Vec<Key> {
        let mut keys = Vec::new();
        for (place, found) in &mut self.places {
            if let Some(key) = index(place).filter(|key| here(key))
                && found.due.is_some_and(|due| due <= now)
            {
                found.due = None;
                found.changed = false;
                if !keys.contains(key) {
                    keys.push(Key::clone(key));
                }
            }
        }
        keys
    }

    /// When an index is to be read next.
    pub(super) fn next(&self, here: impl Fn(&[u8]) -> bool) -> Option<Mono> {
        let places = self.places.iter();
        places
            .filter(|(place, _)| index(place).is_some_and(|key| here(key)))
            .filter_map(|(_, found)| found.due)
            .min()
    }

    /// A new connection stands, or everything is in doubt.
    pub(super) fn read_again(&mut self, now: Mono, here: impl Fn(&[u8]) -> bool) {
        for (place, found) in &mut self.places {
            if index(place).is_some_and(|key| here(key)) {
                found.due = Some(now);
                found.complete = false;
                found.refused = None;
            }
        }
    }

    pub(super) fn invalidated(&mut self, key: &[u8], at: Mono) {
        for (place, found) in &mut self.places {
            if index(place).is_some_and(|index| **index == *key) {
                found.changed = true;
                let pace = found.read.map_or(at, |read| read + INDEX_PACE);
                if let Some(due) = &mut found.due {
                    *due = (*due).min(at.max(pace));
                }
            }
        }
    }

    /// Takes in what an index lists; the locks that are new.
    pub(super) fn listed(
        &mut self,
        key: &Key,
        names: &Result<Vec<Vec<u8>>, Trouble>,
        now: Mono,
    ) -> Vec<Arc<Probe>> {
        let mut new = Vec::new();
        for (place, found) in &mut self.places {
            if index(place) != Some(key) || found.due.is_some() {
                continue;
            }
            found.read = Some(now);
            found.complete = true;
            match names {
                Ok(names) => {
                    found.refused = None;
                    found.more = false;
                    // Without announcements it is read at the interval; with them this finds what was missed.
                    let pace = if found.changed { INDEX_PACE } else { POLL_INTERVAL };
                    found.due = Some(now + pace);
                    for name in names {
                        found.take(place.named(name), &mut new);
                    }
                }
                Err(trouble) => {
                    found.refused = Some(match found.refused {
                        Some((known, since)) if known == *trouble => (known, since),
                        _ => (*trouble, now),
                    });
                    found.due = Some(now + REFUSED_RETRY);
                }
            }
        }
        new
    }

    /// Takes in a key under a prefix; the locks that are new.
    pub(super) fn found(&mut self, key: &[u8]) -> Vec<Arc<Probe>> {
        let mut new = Vec::new();
        for (place, found) in &mut self.places {
            if place.place == Place::Keys
                && let Some(name) = place.name(key)
            {
                found.take(place.named(name), &mut new);
            }
        }
        new
    }

    /// What to scan for: the prefixes, without those that another one includes.
    pub(super) fn prefixes(&self) -> Vec<Vec<u8>> {
        let keys = self.places.keys().filter(|place| place.place == Place::Keys);
        let mut prefixes: Vec<Vec<u8>> = keys.map(|place| place.prefix.as_bytes().to_vec()).collect();
        prefixes.sort();
        prefixes.dedup();
        let mut merged: Vec<Vec<u8>> = Vec::new();
        for prefix in prefixes {
            // Sorted: whatever begins with a prefix stands behind it.
            if !merged.last().is_some_and(|last| prefix.starts_with(last)) {
                merged.push(prefix);
            }
        }
        merged
    }

    /// Takes out the locks that have been free for long.
    pub(super) fn stale(&mut self, table: &Table, now: Mono) -> Vec<Arc<Probe>> {
        let mut gone = Vec::new();
        for found in self.places.values_mut() {
            found.locks.retain(|_, probe| {
                let free = table
                    .absent_since(probe)
                    .is_some_and(|since| now.since(since) > KEPT);
                if free {
                    gone.push(Arc::clone(probe));
                }
                !free
            });
        }
        gone
    }

    pub(super) fn discovered(&self, place: &Arc<Discovery>, table: &Table) -> Discovered {
        self.places
            .get(place)
            .map(|found| Discovered {
                keys: found.locks.values().map(|probe| table.snapshot(probe)).collect(),
                more: found.more,
            })
            .unwrap_or_default()
    }

    pub(super) fn refusal(&self, place: &Arc<Discovery>) -> Option<(Trouble, Mono)> {
        self.places.get(place)?.refused
    }

    pub(super) fn is_complete(&self, here: impl Fn(&[u8]) -> bool) -> bool {
        self.places
            .iter()
            .all(|(place, found)| found.complete || !index(place).is_some_and(|key| here(key)))
    }

    /// Who is interested in a lock because it turned up.
    pub(super) fn watchers<'a>(&'a self, probe: &'a Probe) -> impl Iterator<Item = &'a Arc<WorkloadKey>> {
        self.places
            .values()
            .filter(|found| found.has(probe))
            .flat_map(|found| &found.workloads)
    }

    pub(super) fn has(&self, probe: &Probe) -> bool {
        self.places.values().any(|found| found.has(probe))
    }

    pub(super) fn probes(&self) -> impl Iterator<Item = Arc<Probe>> {
        self.places
            .values()
            .flat_map(|found| found.locks.values().cloned())
    }
}

impl Found {
    fn take(&mut self, probe: Probe, new: &mut Vec<Arc<Probe>>) {
        if self.locks.contains_key(&probe.key) {
            return;
        }
        if self.locks.len() >= LOCKS {
            self.more = true;
            return;
        }
        let probe = Arc::new(probe);
        self.locks.insert(Key::clone(&probe.key), Arc::clone(&probe));
        new.push(probe);
    }

    fn has(&self, probe: &Probe) -> bool {
        self.locks.get(&probe.key).is_some_and(|known| **known == *probe)
    }
}

fn index(place: &Discovery) -> Option<&Key> {
    match &place.place {
        Place::Index(key) => Some(key),
        Place::Keys => None,
    }
}
