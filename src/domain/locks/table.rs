//! One endpoint's keys as a state machine without I/O: events and answers in, holds, ends and the next moment at
//! which a key must be read out. Pure: time comes with each call.
//!
//! It is level-triggered: an invalidation, a deadline and a poll all mean "read this key again", and only a complete
//! answer says what is so. What was known before a doubt (a lost connection, a flush) is kept, so that a hold shown
//! again is the same hold, but is [`KeyState::Unknown`] to the outside until an answer of the new connection.

mod entry;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use self::entry::Entry;
use super::{Answer, Key, KeySnapshot, KeyState, Mode, Mono, Trouble};

/// How many of a key's last ends are kept. A consumer that looks every few seconds misses none of a lock that is
/// handed over about once a second; holds shorter than that belong in a counter, not in a story.
pub const ENDS_PER_KEY: usize = 8;

/// How often a key is read where changes are not announced.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Something that happened to an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// A verified connection stands and changes are learned in this way from now on: everything is to be read.
    Up(Mode),
    /// The connection is lost, or what it said can't be relied on (a flush): nothing is known until it is read again.
    Doubt,
    /// The server announced a change of this key.
    Invalidated(&'a [u8]),
    /// A complete answer to the read that [`Table::due`] asked for.
    Answered(&'a [u8], Answer),
    /// The server refuses to show this key.
    Refused(&'a [u8], Trouble),
}

/// What an event did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Nothing that changes a verdict: a plain renewal, a repetition.
    Nothing,
    /// The key's state changed other than by a renewal, or a hold ended.
    Changed,
    /// The answer shows a change that should have been announced and was not: the server doesn't track (any more).
    /// The answer is not used; the caller reports a [`Event::Doubt`] and connects anew.
    TrackingLost,
}

/// All keys of one endpoint that somebody is interested in.
#[derive(Debug, Default)]
pub struct Table {
    /// How changes are learned; `None` while there is no connection.
    mode: Option<Mode>,
    entries: HashMap<Key, Entry>,
    /// When each key is to be read next. Holds exactly the entries' own `wake`s: always changed by [`Table::with`].
    wakes: BTreeSet<(Mono, Key)>,
    /// How many entries have had no answer since the last doubt.
    unread: usize,
    /// Number of the last end: its `noticed` in microseconds, or one more than the number before.
    seq: u64,
}

impl Table {
    /// Takes an interest in a key: it is read as soon as there is a connection. Without effect on a known key.
    pub fn watch(&mut self, key: &Key, now: Mono) {
        if self.entries.contains_key(key) {
            return;
        }
        self.entries.insert(Key::clone(key), Entry::default());
        self.unread += 1;
        if self.mode.is_some() {
            self.with(key, |entry, _, _| entry.read_at(now));
        }
    }

    /// Forgets a key; an answer that is still under way is ignored.
    pub fn forget(&mut self, key: &[u8]) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            if let Some(wake) = entry.wake() {
                self.wakes.remove(&(wake, key));
            }
            if entry.is_unread() {
                self.unread -= 1;
            }
        }
    }

    /// Takes in an event received at `now`. Events of one connection come in the order in which the server sent them,
    /// except that an invalidation may come before an answer that was sent earlier, never after one sent later.
    pub fn apply(&mut self, event: Event<'_>, now: Mono) -> Effect {
        match event {
            Event::Up(mode) => {
                self.doubt();
                self.mode = Some(mode);
                self.with_all(|entry| entry.read_at(now));
                Effect::Changed
            }
            Event::Doubt => {
                self.doubt();
                Effect::Changed
            }
            Event::Invalidated(key) => {
                self.with(key, |entry, _, _| entry.invalidated(now));
                Effect::Nothing
            }
            Event::Answered(key, answer) => self
                .with(key, |entry, mode, seq| entry.answered(answer, mode, seq, now))
                .unwrap_or(Effect::Nothing),
            Event::Refused(key, trouble) => self
                .with(key, |entry, _, _| entry.refused(trouble, now))
                .unwrap_or(Effect::Nothing),
        }
    }

    /// When [`Table::due`] has something next; `None` without a connection or when no time is waited for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// At most `limit` keys that are to be read now, longest due first. They count as being read from `now` on: each
    /// must be answered, or refused, or the connection doubted.
    pub fn due(&mut self, now: Mono, limit: usize) -> Vec<Key> {
        let keys: Vec<Key> = self
            .wakes
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(limit)
            .map(|(_, key)| Key::clone(key))
            .collect();
        for key in &keys {
            self.with(key, |entry, _, _| entry.reading(now));
        }
        keys
    }

    /// Whether every key was answered, or refused, since the last doubt.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unread == 0
    }

    /// What is known of a key now; [`KeyState::Unknown`] for one that nobody watches.
    #[must_use]
    pub fn snapshot(&self, key: &Key) -> KeySnapshot {
        let (state, ends) = self
            .entries
            .get(key)
            .map_or((KeyState::Unknown, Vec::new()), |entry| {
                (entry.state(), entry.ends())
            });
        KeySnapshot {
            key: Key::clone(key),
            state,
            ends,
        }
    }

    /// Why, and since when, the server doesn't show this key, if it refuses to.
    #[must_use]
    pub fn refusal(&self, key: &[u8]) -> Option<(Trouble, Mono)> {
        self.entries.get(key).and_then(Entry::refusal)
    }

    fn doubt(&mut self) {
        self.mode = None;
        self.with_all(Entry::doubted);
    }

    /// Changes one entry, if it exists and there is a connection, and keeps the timers and the count in step.
    fn with<T>(&mut self, key: &[u8], change: impl FnOnce(&mut Entry, Mode, &mut u64) -> T) -> Option<T> {
        let mode = self.mode?;
        let key = Key::clone(self.entries.get_key_value(key)?.0);
        let entry = self.entries.get_mut(&key)?;
        let (wake, unread) = (entry.wake(), entry.is_unread());
        let result = change(entry, mode, &mut self.seq);
        self.unread = self.unread + usize::from(entry.is_unread()) - usize::from(unread);
        if entry.wake() != wake {
            // Removed before inserted: the set must never hold two wakes of a key.
            if let Some(wake) = wake {
                self.wakes.remove(&(wake, Key::clone(&key)));
            }
            if let Some(wake) = entry.wake() {
                self.wakes.insert((wake, key));
            }
        }
        Some(result)
    }

    /// Changes all entries and builds the timers and the count anew.
    fn with_all(&mut self, change: impl Fn(&mut Entry)) {
        self.entries.values_mut().for_each(change);
        self.wakes = self
            .entries
            .iter()
            .filter_map(|(key, entry)| Some((entry.wake()?, Key::clone(key))))
            .collect();
        self.unread = self.entries.values().filter(|entry| entry.is_unread()).count();
    }
}
