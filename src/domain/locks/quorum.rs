//! Locks that live on several independent servers at once (Redlock): held by whoever a majority shows. Pure; what a
//! lock was before is kept here, time comes with each call.
//!
//! With n servers and q = ⌊n/2⌋ + 1, of which a(v) show v in a fresh answer and r have no fresh answer: Held by v if
//! a(v) ≥ q, Unheld if max a(v) + r < q, else Unknown. The deadline D of a hold is the q-th largest of its deadlines.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::probe::Probe;
use super::table::ENDS_PER_KEY;
use super::{
    Discovered, End, Evidence, Hold, HolderValue, Key, KeySnapshot, KeyState, Link, Mode, Mono, Observation,
    Trouble,
};

/// What is remembered of the locks of one quorum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quorum {
    locks: BTreeMap<Key, Lock>,
    /// Number of the last end.
    seq: u64,
}

/// One lock, as a majority showed it last.
#[derive(Clone, Debug, PartialEq)]
struct Lock {
    /// The last state that was no doubt; `Unknown` before the first.
    state: KeyState,
    /// Whether every look since then was as good.
    watched: bool,
    ends: VecDeque<End>,
    /// Whether this look showed it.
    seen: bool,
}

/// What the servers say of one lock.
struct Votes<'a> {
    /// Of each server, `None` without a fresh answer.
    snapshots: Vec<Option<&'a KeySnapshot>>,
    majority: usize,
}

impl Quorum {
    /// One observation of what each server's observation shows: of the same locks, in the same order.
    pub fn combine(&mut self, observations: &[Observation], now: Mono) -> Observation {
        let majority = observations.len() / 2 + 1;
        for lock in self.locks.values_mut() {
            lock.seen = false;
        }
        let up: Vec<bool> = observations
            .iter()
            .map(|observation| matches!(observation.link, Link::Up { .. }))
            .collect();
        let count = observations.first().map_or(0, |first| first.keys.len());
        let keys = (0..count)
            .filter_map(|at| {
                let snapshots = observations.iter().zip(&up);
                let snapshots = snapshots
                    .map(|(one, up)| one.keys.get(at).filter(|_| *up))
                    .collect();
                let probe = &observations.first()?.keys.get(at)?.probe;
                Some(self.lock(probe, &Votes { snapshots, majority }, now))
            })
            .collect();
        let places = observations.first().map_or(0, |first| first.discovered.len());
        let discovered = (0..places)
            .map(|at| self.place(observations, &up, at, majority, now))
            .collect();
        self.locks.retain(|_, lock| lock.seen);
        let (link, hidden) = link(observations, majority);
        Observation {
            at: now,
            link,
            hidden,
            health: Health::worst(observations.iter().filter_map(|one| one.health.as_ref())),
            keys,
            discovered,
        }
    }

    /// What turned up in one place, on whichever server.
    fn place(
        &mut self,
        observations: &[Observation],
        up: &[bool],
        at: usize,
        majority: usize,
        now: Mono,
    ) -> Discovered {
        let found: Vec<Option<&Discovered>> = observations.iter().map(|one| one.discovered.get(at)).collect();
        let mut by_key: BTreeMap<&Key, Vec<Option<&KeySnapshot>>> = BTreeMap::new();
        for (server, found) in found.iter().enumerate() {
            for snapshot in found.iter().flat_map(|found| &found.keys) {
                let votes = by_key
                    .entry(&snapshot.probe.key)
                    .or_insert_with(|| vec![None; observations.len()]);
                votes[server] = Some(snapshot);
            }
        }
        let absent = |probe: &Arc<Probe>| KeySnapshot {
            probe: Arc::clone(probe),
            state: KeyState::Absent { since: now },
            ends: vec![],
            touched: None,
        };
        let keys = by_key
            .into_values()
            .filter_map(|votes| {
                let probe = &votes.iter().flatten().next()?.probe;
                // Where it did not turn up it is free.
                let free = absent(probe);
                let snapshots = votes.iter().zip(up);
                let snapshots = snapshots
                    .map(|(vote, up)| up.then(|| vote.unwrap_or(&free)))
                    .collect();
                Some(self.lock(probe, &Votes { snapshots, majority }, now))
            })
            .collect();
        Discovered {
            keys,
            more: found.iter().flatten().any(|found| found.more),
        }
    }

    /// One lock by a majority.
    fn lock(&mut self, probe: &Arc<Probe>, votes: &Votes<'_>, now: Mono) -> KeySnapshot {
        let lock = self.locks.entry(Key::clone(&probe.key)).or_insert_with(|| Lock {
            state: KeyState::Unknown,
            watched: false,
            ends: VecDeque::new(),
            seen: true,
        });
        lock.seen = true;
        let state = votes.state(lock, now);
        if state == KeyState::Unknown {
            lock.watched = false;
        } else {
            let ended = match (&lock.state, &state) {
                (KeyState::Held(before), KeyState::Held(after)) => before.value != after.value,
                (KeyState::Held(_), KeyState::Absent { .. } | KeyState::WrongType { .. }) => true,
                _ => false,
            };
            if let KeyState::Held(hold) = &lock.state
                && ended
            {
                self.seq = (self.seq + 1).max(u64::try_from(now.0.as_micros()).unwrap_or(u64::MAX));
                let end = votes.end(hold, self.seq, lock.watched, now);
                if lock.ends.len() == ENDS_PER_KEY {
                    lock.ends.pop_front();
                }
                lock.ends.push_back(end);
            }
            lock.state = state.clone();
            lock.watched = true;
        }
        KeySnapshot {
            probe: Arc::clone(probe),
            state,
            ends: lock.ends.iter().cloned().collect(),
            touched: votes.touched(),
        }
    }
}

impl Votes<'_> {
    fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.snapshots
            .iter()
            .flatten()
            .filter_map(|snapshot| match &snapshot.state {
                KeyState::Held(hold) => Some(hold),
                KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
            })
    }

    /// When a majority had seen it touched.
    fn touched(&self) -> Option<Mono> {
        let snapshots = self.snapshots.iter().flatten();
        let mut touched: Vec<Mono> = snapshots.filter_map(|snapshot| snapshot.touched).collect();
        touched.sort_unstable_by(|a, b| b.cmp(a));
        touched.get(self.majority - 1).copied()
    }

    fn state(&self, before: &Lock, now: Mono) -> KeyState {
        let mut by_value: BTreeMap<&[u8], Vec<&Hold>> = BTreeMap::new();
        for hold in self.holds() {
            by_value.entry(&hold.value.0).or_default().push(hold);
        }
        let most = by_value.into_values().max_by_key(Vec::len).unwrap_or_default();
        if most.len() >= self.majority {
            return KeyState::Held(self.hold(&most, before));
        }
        let seen = self.snapshots.iter().flatten();
        let fresh = seen.filter(|snapshot| snapshot.state != KeyState::Unknown);
        let unseen = self.snapshots.len() - fresh.count();
        let wrong = self.snapshots.iter().flatten();
        let wrong = wrong.filter(|snapshot| matches!(snapshot.state, KeyState::WrongType { .. }));
        if wrong.count() >= self.majority {
            return match &before.state {
                known @ KeyState::WrongType { .. } => known.clone(),
                KeyState::Unknown | KeyState::Absent { .. } | KeyState::Held(_) => {
                    KeyState::WrongType { since: now }
                }
            };
        }
        if most.len() + unseen >= self.majority {
            return KeyState::Unknown;
        }
        match &before.state {
            known @ KeyState::Absent { .. } => known.clone(),
            KeyState::Unknown | KeyState::Held(_) | KeyState::WrongType { .. } => {
                KeyState::Absent { since: now }
            }
        }
    }

    /// The hold that a majority shows. What counts is what a majority has: the q-th largest of each moment.
    fn hold(&self, holds: &[&Hold], before: &Lock) -> Hold {
        let by_majority = |mut moments: Vec<Mono>| {
            moments.sort_unstable_by(|a, b| b.cmp(a));
            moments.get(self.majority - 1).copied()
        };
        let never = Mono(Duration::MAX);
        let deadlines = holds.iter().map(|hold| hold.deadline.unwrap_or(never)).collect();
        let deadline = by_majority(deadlines).filter(|deadline| *deadline != never);
        let renewals = holds.iter().filter_map(|hold| hold.last_renewed).collect();
        let mut first: Vec<Mono> = holds.iter().map(|hold| hold.first_seen).collect();
        first.sort_unstable();
        let known = match &before.state {
            KeyState::Held(known) => holds
                .first()
                .filter(|hold| hold.value == known.value)
                .map(|_| known),
            KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
        };
        let beside = holds.iter().find_map(|hold| hold.beside.clone());
        let any = holds[0];
        Hold {
            value: any.value.clone(),
            text: any.text.clone(),
            beside: beside.or_else(|| known.and_then(|known| known.beside.clone())),
            first_seen: known.map_or(first[self.majority - 1], |known| known.first_seen),
            seen_taken: known.map_or(before.watched, |known| known.seen_taken),
            last_answer: holds
                .iter()
                .map(|hold| hold.last_answer)
                .max()
                .unwrap_or_default(),
            last_renewed: by_majority(renewals).max(known.and_then(|known| known.last_renewed)),
            deadline,
            uncertainty: holds
                .iter()
                .map(|hold| hold.uncertainty)
                .max()
                .unwrap_or_default(),
            no_expiry: deadline.is_none()
                && holds.iter().filter(|hold| hold.no_expiry).count() >= self.majority,
            largest_ttl: holds.iter().filter_map(|hold| hold.largest_ttl).max(),
        }
    }

    /// How the hold ended: when so many servers had lost it that no majority was left.
    fn end(&self, hold: &Hold, seq: u64, watched: bool, now: Mono) -> End {
        let is_end = |value: &HolderValue| *value == hold.value;
        let still = self.holds().filter(|other| is_end(&other.value)).count();
        let mut ends: Vec<&End> = self
            .snapshots
            .iter()
            .flatten()
            .filter(|snapshot| !matches!(&snapshot.state, KeyState::Held(other) if is_end(&other.value)))
            .filter_map(|snapshot| {
                let mut ends = snapshot.ends.iter().rev();
                ends.find(|end| is_end(&end.hold.value) && end.hold.last_answer >= hold.first_seen)
            })
            .collect();
        ends.sort_by_key(|end| end.ended);
        // So many showed it; with so many ends only a minority was left.
        let shown = still + ends.len();
        let decisive = shown
            .checked_sub(self.majority)
            .and_then(|at| ends.get(at))
            .copied();
        let counted = &ends[..decisive.map_or(ends.len(), |_| shown + 1 - self.majority)];
        End {
            seq,
            hold: hold.clone(),
            ended: decisive.map_or(now, |end| end.ended.clamp(hold.first_seen, now)),
            noticed: decisive.map_or(now, |end| end.noticed.clamp(hold.first_seen, now)),
            watched: watched && decisive.is_some() && counted.iter().all(|end| end.watched),
            shortened: !counted.is_empty() && counted.iter().all(|end| end.shortened),
            evidence: counted
                .iter()
                .fold(Evidence::default(), |evidence, end| evidence.with(end.evidence)),
        }
    }
}

/// The store is there while a majority is; why the others aren't.
fn link(observations: &[Observation], majority: usize) -> (Link, Option<(Trouble, Mono)>) {
    let mut up = Vec::new();
    let mut trouble = None;
    let mut connecting = None;
    let mut how = Mode::Tracking;
    let mut says = None;
    for observation in observations {
        match &observation.link {
            Link::Up { since, mode, version } => {
                up.push(*since);
                if *mode == Mode::Polling {
                    how = Mode::Polling;
                }
                says = says.or_else(|| version.clone());
            }
            Link::Down { since, trouble: why }
            | Link::Connecting {
                since,
                trouble: Some(why),
            } => {
                trouble = trouble.or(Some((*why, *since)));
            }
            Link::Connecting { since, trouble: None } => connecting = connecting.or(Some(*since)),
        }
    }
    up.sort_unstable();
    if let Some(since) = up.get(majority - 1) {
        let link = Link::Up {
            since: *since,
            mode: how,
            version: says,
        };
        let missing = trouble.or(connecting.map(|since| (Trouble::Timeout, since)));
        return (link, missing);
    }
    match (trouble, connecting) {
        // Whoever has never answered may yet.
        (_, Some(since)) if !up.is_empty() || trouble.is_none() => (
            Link::Connecting {
                since,
                trouble: trouble.map(|(trouble, _)| trouble),
            },
            None,
        ),
        (Some((trouble, since)), _) => (Link::Down { since, trouble }, None),
        (None, since) => (
            Link::Connecting {
                since: since.unwrap_or_default(),
                trouble: None,
            },
            None,
        ),
    }
}
