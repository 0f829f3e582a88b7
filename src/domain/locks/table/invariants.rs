//! What holds after any sequence of events, against a model of a server with tracking.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Answer, End, Key, KeyState, Mode, Mono, probe::Probe};
use super::{ByAddress, Effect, Event, ONLY, Table};

/// What a step of a test does.
#[derive(Clone, Debug)]
enum Step {
    Watch(u8),
    Forget(u8),
    Set(u8, u8, Option<u16>),
    Delete(u8),
    Flush,
    Advance(u16),
    /// The table's due keys are asked for; the server answers, but the answers are on their way.
    Ask,
    /// The answers arrive.
    Receive,
    Disconnect,
    Connect(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..3_u8;
    prop_oneof![
        1 => key.clone().prop_map(Step::Watch),
        1 => key.clone().prop_map(Step::Forget),
        6 => (key.clone(), 0..3_u8, proptest::option::weighted(0.8, 0..5000_u16)).prop_map(|(k, v, t)| Step::Set(k, v, t)),
        3 => key.prop_map(Step::Delete),
        1 => Just(Step::Flush),
        6 => (0..3000_u16).prop_map(Step::Advance),
        8 => Just(Step::Ask),
        8 => Just(Step::Receive),
        1 => Just(Step::Disconnect),
        2 => any::<bool>().prop_map(Step::Connect),
    ]
}

/// A server, the wire and a table.
struct World {
    table: Table,
    now: Mono,
    mode: Option<Mode>,
    data: BTreeMap<Key, (u8, Option<Mono>)>,
    tracked: BTreeSet<Key>,
    answers: VecDeque<(Arc<Probe>, Answer)>,
    /// All ends ever seen, by their numbers.
    ended: BTreeMap<u64, (Arc<Probe>, End)>,
}

fn name(key: u8) -> Arc<Probe> {
    Probe::string(&[b'k', key]).into()
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            table: Table::default(),
            now: Mono(Duration::from_hours(1)),
            mode: None,
            data: BTreeMap::new(),
            tracked: BTreeSet::new(),
            answers: VecDeque::new(),
            ended: BTreeMap::new(),
        };
        world.table.watch(&name(0), ONLY, world.now);
        world.table.watch(&name(1), ONLY, world.now);
        world
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Watch(key) => self.table.watch(&name(*key), ONLY, self.now),
            Step::Forget(key) => self.table.forget(&name(*key)),
            Step::Set(key, value, ttl) => {
                let deadline = ttl.map(|ttl| self.now + Duration::from_millis(ttl.into()));
                self.data.insert(Key::clone(&name(*key).key), (*value, deadline));
                self.touched(&name(*key).key);
            }
            Step::Delete(key) => {
                if self.data.remove(&name(*key).key).is_some() {
                    self.touched(&name(*key).key);
                }
            }
            Step::Flush => {
                self.data.clear();
                self.tracked.clear();
                if let Some(mode) = self.mode.filter(|mode| *mode == Mode::Tracking) {
                    self.table.apply(Event::Doubt(ONLY), self.now);
                    self.table.apply(Event::Up(ONLY, mode), self.now);
                }
            }
            Step::Advance(ms) => self.now = self.now + Duration::from_millis((*ms).into()),
            Step::Ask => self.ask(),
            Step::Receive => self.receive(),
            Step::Disconnect => {
                self.mode = None;
                self.tracked.clear();
                self.answers.clear();
                self.table.apply(Event::Doubt(ONLY), self.now);
            }
            Step::Connect(tracking) => {
                self.take(&Step::Disconnect);
                let mode = if *tracking { Mode::Tracking } else { Mode::Polling };
                self.mode = Some(mode);
                self.table.apply(Event::Up(ONLY, mode), self.now);
            }
        }
        self.check();
    }

    fn touched(&mut self, key: &Key) {
        if self.tracked.remove(key) {
            self.table.apply(Event::Invalidated(key), self.now);
        }
    }

    fn ask(&mut self) {
        if self.mode.is_none() || !self.answers.is_empty() {
            return;
        }
        for probe in self.table.due(ONLY, self.now, 2) {
            let key = Key::clone(&probe.key);
            if self
                .data
                .get(&key)
                .is_some_and(|(_, deadline)| deadline.is_some_and(|at| at < self.now))
            {
                self.data.remove(&key);
                self.touched(&key);
            }
            let answer = self.data.get(&key).map_or(Answer::Absent, |(value, deadline)| {
                Answer::held(&[*value], deadline.map(|at| at.since(self.now)))
            });
            if self.mode == Some(Mode::Tracking) {
                self.tracked.insert(key);
            }
            self.answers.push_back((probe, answer));
        }
    }

    fn receive(&mut self) {
        while let Some((key, answer)) = self.answers.pop_front() {
            let effect = self.table.apply(Event::Answered(&key, answer.clone()), self.now);
            assert_ne!(effect, Effect::TrackingLost, "this server announces everything");
            let once = self.table.snapshot(&key);
            assert_eq!(
                self.table.apply(Event::Answered(&key, answer), self.now),
                Effect::Nothing
            );
            assert_eq!(
                self.table.snapshot(&key),
                once,
                "an answer twice is an answer once"
            );
        }
    }

    fn check(&mut self) {
        let wakes: BTreeSet<_> = self
            .table
            .entries
            .iter()
            .filter_map(|(probe, entry)| Some((entry.wake()?, ByAddress(Arc::clone(probe)))))
            .collect();
        let queue = self.table.lanes.get(&ONLY);
        assert_eq!(queue.map_or(&BTreeSet::new(), |queue| &queue.wakes), &wakes);
        assert_eq!(
            queue.map_or(0, |queue| queue.unread),
            self.table
                .entries
                .values()
                .filter(|entry| entry.is_unread())
                .count()
        );

        let keys: Vec<_> = self.table.entries.keys().cloned().collect();
        for key in keys {
            let snapshot = self.table.snapshot(&key);
            let (mut last, mut begun) = (None, Mono::default());
            for end in &snapshot.ends {
                assert!(last < Some(end.seq), "ends are in order");
                last = Some(end.seq);
                let first = self
                    .ended
                    .entry(end.seq)
                    .or_insert_with(|| (Arc::clone(&key), end.clone()));
                assert_eq!(
                    (&first.0, &first.1),
                    (&key, end),
                    "a number means one end, for ever"
                );
                assert!(begun <= end.hold.first_seen && end.hold.first_seen <= end.hold.last_answer);
                begun = end.noticed;
                assert!(
                    end.hold.last_answer <= end.ended && end.ended <= end.noticed && end.noticed <= self.now
                );
            }
            let KeyState::Held(hold) = &snapshot.state else {
                continue;
            };
            assert!(
                snapshot.ends.iter().all(|end| end.noticed <= hold.first_seen),
                "a hold that ended is not held"
            );
            assert!(hold.last_answer <= self.now);
            // No hold is believed past its deadline without a read that is under way or will be at the deadline.
            if let (Some(deadline), Some(entry)) = (hold.deadline, self.table.entries.get(&key)) {
                let latest = self.now.max(deadline + Duration::from_millis(2));
                assert!(
                    entry.wake().map_or(entry.is_reading(), |wake| wake <= latest),
                    "{entry:?}"
                );
            }
        }
    }

    /// Answers everything that is due until nothing is: then table and server agree.
    fn settle(&mut self) {
        self.receive();
        for _ in 0..20 {
            self.ask();
            self.receive();
        }
        self.check();
        assert!(self.table.is_complete(ONLY));
        for key in self.table.entries.keys() {
            let known = match self.table.snapshot(key).state {
                KeyState::Held(hold) => Some(hold.value.0[0]),
                KeyState::Absent { .. } => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(known, self.data.get(&key.key).map(|(value, _)| *value));
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_of_events_keeps_the_invariants(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
    }

    #[test]
    fn a_table_that_is_served_agrees_with_the_server(steps in proptest::collection::vec(step(), 1..80), tracking: bool) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        if world.mode != Some(Mode::Tracking) {
            // Polling agrees after an interval; a new connection agrees at once.
            world.take(&Step::Connect(tracking));
        }
        world.settle();
    }
}
