//! One endpoint's keys as a state machine without I/O: events and answers in, holds, ends and the next moment at
//! which a key must be read out. Pure: time comes with each call.
//!
//! It is level-triggered: an invalidation, a deadline and a poll all mean "read this key again", and only a complete
//! answer says what is so. What was known before a doubt (a lost connection, a flush) is kept, so that a hold shown
//! again is the same hold, but is [`KeyState::Unknown`] to the outside until an answer of the new connection.

mod entry;
#[cfg(test)]
mod invariants;
mod rhythm;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use self::entry::Entry;
pub use self::rhythm::Beat;
use super::probe::Probe;
use super::{Answer, Evidence, Key, KeySnapshot, KeyState, Mode, Mono, Trouble};

/// How many of a key's last ends are kept. A consumer that looks every few seconds misses none of a lock that is
/// handed over about once a second; holds shorter than that belong in a counter, not in a story.
pub const ENDS_PER_KEY: usize = 8;

/// How often a key is read where changes are not announced.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// One of the servers of an endpoint: its only one, or a master of a cluster.
pub type Lane = u16;

/// The only server of an endpoint that has one.
pub const ONLY: Lane = 0;

/// Something that happened to an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// A verified connection stands and changes are learned in this way from now on: everything there is to be read.
    Up(Lane, Mode),
    /// The connection is lost, or what it said can't be relied on: nothing is known until it is read again.
    Doubt(Lane),
    /// This happened to the server, at some time since the last answers.
    Happened(Lane, Evidence),
    /// The server announced a change of this key.
    Invalidated(&'a [u8]),
    /// A complete answer to the read that [`Table::due`] asked for.
    Answered(&'a Probe, Answer),
    /// The server refuses to show this lock.
    Refused(&'a Probe, Trouble),
}

/// What an event did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Nothing that changes a verdict: a plain renewal, a repetition.
    Nothing,
    /// The lock's state changed other than by a renewal, or a hold ended.
    Changed,
    /// The answer shows a change that should have been announced and was not: the server doesn't track (any more).
    /// The answer is not used; the caller reports a [`Event::Doubt`] and connects anew.
    TrackingLost,
}

/// All locks of one endpoint that somebody is interested in.
#[derive(Debug, Default)]
pub struct Table {
    lanes: BTreeMap<Lane, Queue>,
    entries: HashMap<Arc<Probe>, Entry>,
    /// Which entries read a key: what an invalidation of it means.
    readers: HashMap<Key, Vec<Arc<Probe>>>,
    /// Number of the last end: its `noticed` in microseconds, or one more than the number before.
    seq: u64,
}

/// One server's part of the table.
#[derive(Debug, Default)]
struct Queue {
    /// How changes are learned; `None` while there is no connection.
    mode: Option<Mode>,
    /// When each lock is to be read next. Holds exactly its entries' own `wake`s.
    wakes: BTreeSet<(Mono, ByAddress)>,
    /// How many entries have had no answer since the last doubt.
    unread: usize,
}

/// A probe, ordered by where it lies in memory: any order will do, and comparing keys costs more.
#[derive(Clone, Debug)]
struct ByAddress(Arc<Probe>);

impl ByAddress {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl PartialEq for ByAddress {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for ByAddress {}

impl PartialOrd for ByAddress {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByAddress {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.address().cmp(&other.address())
    }
}

impl Table {
    /// Takes an interest in a lock: it is read as soon as there is a connection to its server. Known already, it is
    /// only moved to that server: what was known of it stays, but is in doubt.
    pub fn watch(&mut self, probe: &Arc<Probe>, lane: Lane, now: Mono) {
        if let Some(entry) = self.entries.get(&**probe) {
            if entry.lane() != lane {
                self.change(probe, Some(lane), |entry, mode, _| {
                    entry.doubted();
                    if mode.is_some() {
                        entry.read_at(now);
                    }
                });
            }
            return;
        }
        self.entries.insert(Arc::clone(probe), Entry::new(probe, lane));
        for key in probe.keys() {
            let readers = self.readers.entry(Key::clone(key)).or_default();
            readers.push(Arc::clone(probe));
        }
        let queue = self.lanes.entry(lane).or_default();
        queue.unread += 1;
        if queue.mode.is_some() {
            self.change(probe, None, |entry, _, _| entry.read_at(now));
        }
    }

    /// From now on it is learned how regularly a lock is renewed, which is to be this often; `None`: no longer.
    pub fn renews(&mut self, probe: &Probe, interval: Option<Duration>) {
        if let Some(entry) = self.entries.get_mut(probe) {
            entry.renews(interval);
        }
    }

    /// What the last answer told of a lock's renewals, once.
    pub fn beat(&mut self, probe: &Probe) -> Beat {
        self.entries.get_mut(probe).map(Entry::beat).unwrap_or_default()
    }

    /// Forgets a lock; an answer that is still under way is ignored.
    pub fn forget(&mut self, probe: &Probe) {
        let Some((probe, entry)) = self.entries.remove_entry(probe) else {
            return;
        };
        if let Some(queue) = self.lanes.get_mut(&entry.lane()) {
            queue.unread -= usize::from(entry.is_unread());
            if let Some(wake) = entry.wake() {
                queue.wakes.remove(&(wake, ByAddress(Arc::clone(&probe))));
            }
        }
        for key in probe.keys() {
            if let Some(readers) = self.readers.get_mut(key) {
                readers.retain(|reader| *reader != probe);
                if readers.is_empty() {
                    self.readers.remove(key);
                }
            }
        }
    }

    /// Takes in an event received at `now`. Events of one connection come in the order in which the server sent them,
    /// except that an invalidation may come before an answer that was sent earlier, never after one sent later.
    pub fn apply(&mut self, event: Event<'_>, now: Mono) -> Effect {
        match event {
            Event::Up(lane, mode) => {
                self.doubt(lane);
                self.lanes.entry(lane).or_default().mode = Some(mode);
                self.change_lane(lane, |entry| entry.read_at(now));
                Effect::Changed
            }
            Event::Doubt(lane) => {
                self.doubt(lane);
                Effect::Changed
            }
            Event::Happened(lane, evidence) => {
                self.change_lane(lane, |entry| entry.happened(evidence));
                Effect::Nothing
            }
            Event::Invalidated(key) => {
                for probe in self.readers.get(key).cloned().unwrap_or_default() {
                    self.change(&probe, None, |entry, mode, _| {
                        if mode.is_some() {
                            entry.invalidated(now);
                        }
                    });
                }
                Effect::Nothing
            }
            Event::Answered(probe, answer) => {
                let answered = self.change(probe, None, |entry, mode, seq| {
                    Some(entry.answered(answer, mode?, seq, now))
                });
                answered.flatten().unwrap_or(Effect::Nothing)
            }
            Event::Refused(probe, trouble) => {
                let refused = self.change(probe, None, |entry, mode, _| {
                    mode.map(|_| entry.refused(trouble, now))
                });
                refused.flatten().unwrap_or(Effect::Nothing)
            }
        }
    }

    /// This happened to the server of one lock, at some time since its last answer.
    pub fn happened(&mut self, probe: &Probe, evidence: Evidence) {
        self.change(probe, None, |entry, _, _| entry.happened(evidence));
    }

    /// When [`Table::due`] has something next for this server; `None` without a connection or when no time is waited
    /// for.
    #[must_use]
    pub fn next_deadline(&self, lane: Lane) -> Option<Mono> {
        let (at, _) = self.lanes.get(&lane)?.wakes.first()?;
        Some(*at)
    }

    /// At most `limit` locks that are to be read now from this server, longest due first. They count as being read from
    /// `now` on: each must be answered, or refused, or the connection doubted.
    pub fn due(&mut self, lane: Lane, now: Mono, limit: usize) -> Vec<Arc<Probe>> {
        let Some(queue) = self.lanes.get(&lane) else {
            return vec![];
        };
        let due = queue.wakes.iter().take_while(|(at, _)| *at <= now).take(limit);
        let probes: Vec<_> = due.map(|(_, probe)| Arc::clone(&probe.0)).collect();
        for probe in &probes {
            self.change(probe, None, |entry, _, _| entry.reading(now));
        }
        probes
    }

    /// Whether an answer shows that a hold ended before it ran out: what happened to the server must be known before
    /// it is taken in.
    #[must_use]
    pub fn would_end_early(&self, probe: &Probe, answer: &Answer, now: Mono) -> bool {
        let entry = self.entries.get(probe);
        entry.is_some_and(|entry| entry.would_end_early(answer, now))
    }

    /// Whether every lock of this server was answered, or refused, since the last doubt.
    #[must_use]
    pub fn is_complete(&self, lane: Lane) -> bool {
        self.lanes.get(&lane).is_none_or(|queue| queue.unread == 0)
    }

    /// The server that a lock is read from.
    #[must_use]
    pub fn lane(&self, probe: &Probe) -> Option<Lane> {
        self.entries.get(probe).map(Entry::lane)
    }

    /// What is known of a lock now; [`KeyState::Unknown`] for one that nobody watches.
    #[must_use]
    pub fn snapshot(&self, probe: &Arc<Probe>) -> KeySnapshot {
        let entry = self.entries.get(&**probe);
        KeySnapshot {
            probe: Arc::clone(probe),
            state: entry.map_or(KeyState::Unknown, Entry::state),
            ends: entry.map(Entry::ends).unwrap_or_default(),
            touched: entry.and_then(Entry::touched),
        }
    }

    /// Why, and since when, the server doesn't show this lock, if it refuses to.
    #[must_use]
    pub fn refusal(&self, probe: &Probe) -> Option<(Trouble, Mono)> {
        self.entries.get(probe).and_then(Entry::refusal)
    }

    /// Since when nobody holds this lock, if that is so.
    #[must_use]
    pub fn absent_since(&self, probe: &Probe) -> Option<Mono> {
        self.entries.get(probe)?.absent_since()
    }

    fn doubt(&mut self, lane: Lane) {
        self.lanes.entry(lane).or_default().mode = None;
        self.change_lane(lane, Entry::doubted);
    }

    /// Changes one entry, if it exists, possibly moving it to another server, and keeps timers and counts in step.
    fn change<T>(
        &mut self,
        probe: &Probe,
        to: Option<Lane>,
        change: impl FnOnce(&mut Entry, Option<Mode>, &mut u64) -> T,
    ) -> Option<T> {
        let probe = Arc::clone(self.entries.get_key_value(probe)?.0);
        let entry = self.entries.get_mut(&probe)?;
        let (from, wake, unread) = (entry.lane(), entry.wake(), entry.is_unread());
        let to = to.unwrap_or(from);
        entry.move_to(to);
        let mode = self.lanes.get(&to).and_then(|queue| queue.mode);
        let result = change(entry, mode, &mut self.seq);
        let (now_wake, now_unread) = (entry.wake(), entry.is_unread());
        if (to, now_wake, now_unread) != (from, wake, unread) {
            // Taken out before it is put in: the set must never hold two wakes of a lock.
            let queue = self.lanes.entry(from).or_default();
            queue.unread -= usize::from(unread);
            if let Some(wake) = wake {
                queue.wakes.remove(&(wake, ByAddress(Arc::clone(&probe))));
            }
            let queue = self.lanes.entry(to).or_default();
            queue.unread += usize::from(now_unread);
            if let Some(wake) = now_wake {
                queue.wakes.insert((wake, ByAddress(probe)));
            }
        }
        Some(result)
    }

    /// Changes all entries of a server and builds its timers and its count anew.
    fn change_lane(&mut self, lane: Lane, change: impl Fn(&mut Entry)) {
        let entries = self.entries.iter_mut().filter(|(_, entry)| entry.lane() == lane);
        let queue = self.lanes.entry(lane).or_default();
        queue.wakes.clear();
        queue.unread = 0;
        for (probe, entry) in entries {
            change(entry);
            queue.unread += usize::from(entry.is_unread());
            if let Some(wake) = entry.wake() {
                queue.wakes.insert((wake, ByAddress(Arc::clone(probe))));
            }
        }
    }
}
