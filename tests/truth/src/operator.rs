//! One process of the operator: the session that feeds the real table, and the passes through the real core.
//!
//! The session does what `lockstep::observer` does with a connection, in simulated time: connect, compare identities,
//! read everything, then read what is due; the table decides what that is.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use lockstep::{
    api::{CoordinatedWorkload, CoordinatedWorkloadStatus, conditions::EventReason},
    domain::{
        Decision, Now, Observed,
        assessment::StoreView,
        children::{Live, LiveChildren},
        decide,
        locks::{
            Answer, End, Evidence, HolderValue, KeySnapshot, Link, Mode, Mono, Observation, Text, Trouble,
            probe::Probe,
            table::{Effect, Event, ONLY, Table},
        },
        memory::{Announcement, Memory},
        neighbours::Neighbours,
        ownership::PodView,
        report,
        status::announce,
        workload::Workload,
    },
};

use crate::{
    plan::Ms,
    server::{Push, Shown},
    wrong::Wrong,
};

/// Status is written at most this often.
const PACE: Ms = 2_000;
/// What time alone changes is looked at again no sooner than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// How far the server's clock must run ahead to be called set, as the observer has it.
const JUMP: Ms = 1_000;

/// What the operator sees of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Pods.
    pub pods: Vec<PodView>,
    /// The Deployment.
    pub deployment: Live,
}

/// What the server counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Keys evicted.
    pub evicted: u64,
    /// Flushes.
    pub flushes: u64,
    /// By how much its clock is ahead.
    pub ahead: Ms,
}

/// A connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connection {
    /// There is none.
    Down,
    /// It stands.
    Up,
}

/// The moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds since the world began.
    pub at: Ms,
    /// What the operator's monotonic clock showed when the world began.
    pub boot: Mono,
    /// What the operator's wall clock shows.
    pub wall: Timestamp,
    /// By how much that clock was set.
    pub set_by: i64,
}

/// One end, as it was concluded.
#[derive(Clone, Debug)]
pub struct Concluded {
    /// The lock.
    pub lock: usize,
    /// How its hold ended, as the table saw it.
    pub end: End,
    /// As the core says it.
    pub ended: lockstep::domain::judgement::Ended,
}

/// What a pass did.
#[derive(Debug, Default)]
pub struct Done {
    /// Ends that were concluded.
    pub concluded: Vec<Concluded>,
    /// Locks and values that are shown as held.
    pub shown: Vec<(usize, HolderValue)>,
    /// The status, if it was written.
    pub written: Option<CoordinatedWorkloadStatus>,
    /// Events that were posted.
    pub events: Vec<Announcement>,
    /// What can't be.
    pub faults: Vec<String>,
}

/// One process.
pub struct Operator {
    wrong: Option<Wrong>,
    probes: Vec<Arc<Probe>>,
    table: Table,
    memory: Memory,
    link: Link,
    mode: Mode,
    /// The connection, and its number.
    pub connection: Connection,
    /// Tells connections apart.
    pub serial: u32,
    /// The server that was connected to last.
    run: Option<u32>,
    counters: Counters,
    /// Whether a read is under way.
    pub reading: bool,
    /// What it sees of the cluster.
    pub cluster: ClusterView,
    dirty: bool,
    recheck: Option<Mono>,
    due: Option<Ms>,
    written_at: Option<Ms>,
    posted: BTreeSet<(EventReason, String)>,
    last_ends: Vec<u64>,
    first_pass: bool,
}

impl Operator {
    /// A process that knows nothing but status.
    #[must_use]
    pub fn new(
        status: &CoordinatedWorkloadStatus,
        probes: Vec<Arc<Probe>>,
        mode: Mode,
        cluster: ClusterView,
        now: Moment,
        wrong: Option<Wrong>,
    ) -> Self {
        let mut table = Table::default();
        let since = mono(now, wrong);
        for probe in &probes {
            table.watch(probe, ONLY, since);
        }
        let memory = match wrong {
            Some(Wrong::ForgetfulRestart) => Memory::default(),
            _ => Memory::from_status(status),
        };
        Self {
            wrong,
            last_ends: vec![0; probes.len()],
            probes,
            table,
            memory,
            link: Link::Connecting { since, trouble: None },
            mode,
            connection: Connection::Down,
            serial: 0,
            run: None,
            counters: Counters::default(),
            reading: false,
            cluster,
            dirty: true,
            recheck: None,
            due: None,
            written_at: None,
            posted: BTreeSet::new(),
            first_pass: true,
        }
    }

    // The session.

    /// A connection stands, to the server `run`.
    pub fn connected(&mut self, run: u32, counters: Counters, now: Moment) {
        let at = mono(now, self.wrong);
        let other = self.run.replace(run).is_some_and(|known| known != run);
        let evidence = Evidence {
            failover: other,
            flushed: !other && counters.flushes > self.counters.flushes,
            clock_jump: counters.ahead > self.counters.ahead + JUMP,
            evicted: false,
        };
        // What the first connection finds is where counting begins.
        if self.serial > 0 {
            self.table.apply(Event::Happened(ONLY, evidence), at);
        }
        self.counters = counters;
        self.serial += 1;
        self.connection = Connection::Up;
        self.reading = false;
        self.table.apply(Event::Up(ONLY, self.mode), at);
        self.dirty = true;
    }

    /// The connection is lost, or there is none.
    pub fn lost(&mut self, trouble: Trouble, now: Moment) {
        let since = mono(now, self.wrong);
        self.serial += 1;
        self.connection = Connection::Down;
        self.reading = false;
        if self.wrong != Some(Wrong::StaleAsFresh) {
            self.table.apply(Event::Doubt(ONLY), since);
            self.link = match &self.link {
                Link::Up { .. } => Link::Down { since, trouble },
                Link::Down { since, .. } => Link::Down {
                    since: *since,
                    trouble,
                },
                Link::Connecting { since, .. } => Link::Connecting {
                    since: *since,
                    trouble: Some(trouble),
                },
            };
        }
        self.dirty = true;
    }

    /// What is to be read now, if anything is.
    pub fn ask(&mut self, now: Moment) -> Vec<usize> {
        if self.connection == Connection::Down || self.reading {
            return vec![];
        }
        let probes = self.table.due(ONLY, mono(now, self.wrong), 10_000);
        self.reading = !probes.is_empty();
        let index = |probe: &Arc<Probe>| self.probes.iter().position(|known| known == probe);
        probes.iter().filter_map(index).collect()
    }

    /// The server announces something.
    pub fn pushed(&mut self, push: Push, now: Moment) {
        let at = mono(now, self.wrong);
        match push {
            Push::Changed(lock) => {
                let probe = Arc::clone(&self.probes[lock]);
                self.table.apply(Event::Invalidated(&probe.key), at);
                if self.wrong == Some(Wrong::EdgeTriggered) && !self.reading {
                    let _ = self.table.due(ONLY, at, 10_000);
                    self.table.apply(Event::Answered(&probe, Answer::Absent), at);
                    self.dirty = true;
                }
            }
            Push::Flushed => self.doubt(Evidence::FLUSHED, at),
        }
    }

    /// What was asked for, and what the server counted by then.
    pub fn answered(
        &mut self,
        answers: Vec<(usize, Answer)>,
        counters: Counters,
        now: Moment,
    ) -> Result<bool, String> {
        let doubted = self.weigh(counters, now);
        let at = mono(now, self.wrong);
        self.reading = false;
        for (lock, answer) in answers {
            let probe = Arc::clone(&self.probes[lock]);
            match self.table.apply(Event::Answered(&probe, answer), at) {
                Effect::Nothing => {}
                Effect::Changed => self.dirty = true,
                Effect::TrackingLost => return Err("the table misses an announcement".into()),
            }
        }
        if self.table.is_complete(ONLY) && !matches!(self.link, Link::Up { .. }) {
            self.link = Link::Up {
                since: at,
                mode: self.mode,
                version: Some("7.4.0".into()),
            };
            self.dirty = true;
        }
        Ok(doubted)
    }

    /// Clock and counters say something of the time since they were read last; whether that puts all in doubt.
    pub fn weigh(&mut self, counters: Counters, now: Moment) -> bool {
        let at = mono(now, self.wrong);
        let before = std::mem::replace(&mut self.counters, counters);
        let evidence = Evidence {
            evicted: counters.evicted > before.evicted,
            flushed: self.mode == Mode::Polling && counters.flushes > before.flushes,
            ..Evidence::NONE
        };
        self.table.apply(Event::Happened(ONLY, evidence), at);
        let jumped = counters.ahead > before.ahead + JUMP;
        if jumped {
            self.doubt(Evidence::CLOCK_JUMP, at);
        }
        jumped
    }

    /// Everything is read again, on the same connection.
    fn doubt(&mut self, evidence: Evidence, at: Mono) {
        self.table.apply(Event::Happened(ONLY, evidence), at);
        self.table.apply(Event::Up(ONLY, self.mode), at);
        self.reading = false;
        if let Link::Up { .. } = self.link {
            let trouble = Trouble::Stale;
            self.link = Link::Down { since: at, trouble };
        }
        self.dirty = true;
    }

    /// The cluster changed.
    pub fn saw(&mut self, cluster: ClusterView) {
        self.cluster = cluster;
        self.dirty = true;
    }

    /// Whether there is a complete, fresh answer about everything.
    #[must_use]
    pub fn sees(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// When it must be woken.
    #[must_use]
    pub fn wake(&self, now: Moment) -> Option<Ms> {
        let moment = |at: Mono| {
            let since_boot = at.since(now.boot).as_micros().div_ceil(1000);
            let at = i64::try_from(since_boot).unwrap_or(i64::MAX);
            let set_by = if self.wrong == Some(Wrong::WallClock) {
                now.set_by
            } else {
                0
            };
            u64::try_from(at.saturating_sub(set_by)).unwrap_or(0)
        };
        let reads = match self.wrong {
            Some(Wrong::PushOnlyExpiry) if self.mode == Mode::Tracking => None,
            _ if self.connection == Connection::Down || self.reading => None,
            _ => self.table.next_deadline(ONLY).map(moment),
        };
        [reads, self.recheck.map(moment), self.due]
            .into_iter()
            .flatten()
            .min()
    }

    /// The names of this, for what was read.
    #[must_use]
    pub fn answer(shown: Option<Shown>, value: Option<&str>) -> Answer {
        match (shown, value) {
            (None, _) => Answer::Absent,
            (Some(_), None) => Answer::WrongType,
            (Some(shown), Some(value)) => {
                let value = HolderValue(value.as_bytes().into());
                Answer::Present {
                    text: Text::One(value.clone()),
                    value,
                    beside: None,
                    expires_in: shown.left.map(Duration::from_millis),
                }
            }
        }
    }

    // The passes.

    /// A pass, if there is a reason for one: by the table of this process, or by what a real observer has seen.
    pub fn pass(
        &mut self,
        resource: &CoordinatedWorkload,
        workload: &Workload,
        seen: Option<Observation>,
        now: Moment,
    ) -> Option<Done> {
        let time = mono(now, self.wrong);
        let recheck = self.recheck.is_some_and(|at| at <= time);
        let due = self.due.is_some_and(|due| due <= now.at);
        if !self.dirty && !recheck && !due && seen.is_none() {
            return None;
        }
        self.dirty = false;
        self.due = None;
        let mut done = Done::default();
        let workload = Wrong::workload(self.wrong, workload);
        let result = Ok(workload.into_owned());
        let mut observation = match seen {
            Some(seen) => {
                self.link = seen.link.clone();
                seen
            }
            None => self.observation(time),
        };
        let keys = observation.keys.clone();
        for (lock, key) in keys.iter().enumerate() {
            if let lockstep::domain::locks::KeyState::Held(hold) = &key.state {
                done.shown.push((lock, hold.value.clone()));
            }
        }
        Wrong::observation(self.wrong, &mut observation);
        let store = StoreView {
            place: "redis:6379, database 0".into(),
            port: Some(6379),
            identity: 1,
            seen: Ok(observation),
        };
        let pods = Wrong::pods(self.wrong, &self.cluster.pods);
        let live = LiveChildren {
            deployment: Some(self.cluster.deployment.clone()),
            ..LiveChildren::default()
        };
        let observed = Observed {
            resource,
            workload: &result,
            live: &live,
            pods: &pods,
            neighbours: &Neighbours::default(),
            store: Some(&store),
        };
        let now_both = Now {
            mono: time,
            wall: now.wall,
        };
        Wrong::memory(self.wrong, &mut self.memory);
        let mut decision = decide(&observed, &mut self.memory, now_both);
        if let Ok(workload) = &result {
            Wrong::decision(self.wrong, &mut decision, workload);
        }
        self.pair(&decision, &keys, &mut done);
        let status = report(&observed, &decision, None, &mut self.memory, now_both);
        // What is due already is looked at again no sooner than this, as in `reconcile`.
        self.recheck = decision
            .assessment
            .recheck_at
            .map(|at| at.max(time + SHORTEST_WAIT));
        let previous = resource.status.clone().unwrap_or_default();
        if status != previous {
            let due = self.written_at.map(|at| at + PACE).filter(|due| *due > now.at);
            if due.is_some() {
                self.due = due;
            } else {
                announce(
                    &previous,
                    &status,
                    &decision.assessment.findings,
                    &mut self.memory,
                );
                self.written_at = Some(now.at);
                done.written = Some(status);
            }
        }
        for event in self.memory.outbox.drain(..) {
            // Two restarts of a rollout between which it was never Ready leave nothing by which to tell their ends apart,
            // nor do two losses of one lock within a second.
            let untold = matches!(
                event.reason,
                EventReason::RolloutComplete | EventReason::LocksLost
            );
            if !self.posted.insert((event.reason, event.key.clone())) && !untold {
                done.faults.push(format!("said twice: {event:?}"));
            }
            done.events.push(event);
        }
        Some(done)
    }

    /// What the table knows.
    fn observation(&self, at: Mono) -> Observation {
        Observation {
            at,
            link: self.link.clone(),
            hidden: None,
            health: Some(Arc::default()),
            keys: self
                .probes
                .iter()
                .map(|probe| self.table.snapshot(probe))
                .collect(),
            discovered: vec![],
        }
    }

    /// Which hold each conclusion is about: of each lock, the last of the ends that the table has.
    fn pair(&mut self, decision: &Decision, keys: &[KeySnapshot], done: &mut Done) {
        let first = std::mem::replace(&mut self.first_pass, false);
        for (lock, key) in keys.iter().enumerate() {
            let known = self.last_ends[lock];
            let new: Vec<_> = key.ends.iter().filter(|end| end.seq > known).collect();
            self.last_ends[lock] = key.ends.last().map_or(known, |end| end.seq);
            let concluded: Vec<_> = decision
                .assessment
                .ended
                .iter()
                .filter(|ended| name_of(lock) == ended.id.1)
                .collect();
            if matches!(
                decision.assessment.sight,
                lockstep::domain::judgement::Sight::Clear { .. }
            ) || !concluded.is_empty()
            {
                if !first && concluded.len() != new.len() {
                    done.faults.push(format!(
                        "of {} ends of lock {lock}, {} were judged",
                        new.len(),
                        concluded.len()
                    ));
                    continue;
                }
            } else {
                // Not judged yet: they are new at the next pass.
                self.last_ends[lock] = known;
            }
            for (end, ended) in new.iter().zip(concluded) {
                done.concluded.push(Concluded {
                    lock,
                    end: (*end).clone(),
                    ended: ended.clone(),
                });
            }
        }
    }
}

/// A lock's name.
#[must_use]
pub fn name_of(lock: usize) -> String {
    format!("lock{lock}")
}

/// The operator's monotonic clock.
fn mono(now: Moment, wrong: Option<Wrong>) -> Mono {
    let at = now.boot.0 + Duration::from_millis(now.at);
    if wrong != Some(Wrong::WallClock) {
        return Mono(at);
    }
    let by = Duration::from_millis(now.set_by.unsigned_abs());
    Mono(if now.set_by < 0 {
        at.saturating_sub(by)
    } else {
        at + by
    })
}

/// Milliseconds since the world began, of a moment on the operator's clock.
#[must_use]
pub fn since_start(at: Mono, boot: Mono) -> Ms {
    u64::try_from(at.since(boot).as_millis()).unwrap_or(u64::MAX)
}
