//! One connection that serves: reads what is due, takes in what the server says unasked, and ends on any doubt. I/O.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};

use super::board::Endpoint;
use super::scout::Scout;
use super::{Peer, STALE, Supervisor, sentinel};
use crate::clock;
use crate::domain::locks::health::Sign;
use crate::domain::locks::probe::Probe;
use crate::domain::locks::table::{Event, Lane};
use crate::domain::locks::{Evidence, Key, Mode, Mono, Trouble};
use crate::observer::wire::{
    Beat, Cache, Connection, Counters, Fault, Info, Push, Redirect, Reply, Verified,
};

/// PING, ROLE and TIME this often.
const BEAT: Duration = Duration::from_secs(2);

/// INFO with every so many beats: every 10 s.
const BEATS_PER_INFO: u32 = 5;

/// Keys per pipeline: about 40 kB of commands, a few milliseconds of the server's time.
const BATCH: usize = 500;

/// Entries of an index that are read: more jobs than that don't run at once.
const INDEX: usize = 10_000;

/// A key that is due for longer than this means that answers don't keep up, although they come.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// A clock that runs ahead by more than this between two looks was set.
const JUMP: i128 = 1_000_000;

/// What was asked, with the answer.
enum Outcome {
    Read(Result<Read, Fault>, Cache),
    Listed(Key, Result<Result<Vec<Vec<u8>>, Trouble>, Fault>),
    Beat(Result<Beat, Fault>, Mono),
    Info(Result<Info, Fault>),
    Counted(Result<(Option<Duration>, Counters), Fault>, Mono),
}

/// Locks that were read, and what was asked about the server right after.
struct Read {
    probes: Vec<(Arc<Probe>, bool)>,
    replies: Vec<Reply>,
    received: Mono,
    /// When it was asked, and what it said.
    counters: Option<(Mono, Option<Duration>, Counters)>,
}

/// The server's clock against ours, microseconds: at least and at most so far ahead, by how long the answer took.
#[derive(Clone, Copy)]
pub(super) struct Offset {
    least: i128,
    most: i128,
}

impl Offset {
    pub(super) fn of(time: Duration, asked: Mono, received: Mono) -> Self {
        let micros = |duration: Duration| i128::try_from(duration.as_micros()).unwrap_or(i128::MAX);
        Self {
            least: micros(time) - micros(received.0),
            most: micros(time) - micros(asked.0),
        }
    }

    /// Whether the server's clock was set forward since `before`, whatever the answers took.
    pub(super) fn is_ahead_of(self, before: Self) -> bool {
        self.least - before.most > JUMP
    }
}

pub(super) struct Session<'a> {
    supervisor: &'a mut Supervisor,
    connection: Connection,
    peer: Peer,
    lane: Lane,
    mode: Mode,
    /// One pipeline of reads at a time: what comes due meanwhile goes together into the next, so that a storm of
    /// changes makes larger pipelines, not more of them.
    reading: bool,
    cache: Cache,
    /// Whether the server may evict locks: its counter is then read with every batch.
    evicts: bool,
    counters: Counters,
    asked: FuturesUnordered<BoxFuture<'static, Outcome>>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        supervisor: &'a mut Supervisor,
        connection: Connection,
        peer: Peer,
        verified: &Verified,
    ) -> Self {
        let lane = supervisor.lane;
        Self {
            supervisor,
            connection,
            peer,
            lane,
            mode: verified.mode,
            reading: false,
            cache: Cache::default(),
            evicts: verified.info.evicts(),
            counters: Counters {
                evicted: verified.info.evicted_keys(),
                flushes: verified.flushes,
            },
            asked: FuturesUnordered::new(),
        }
    }

    pub(super) async fn serve(mut self) -> Result<Infallible, Fault> {
        let endpoint = Arc::clone(&self.supervisor.endpoint);
        let mut interest = endpoint.interest();
        let mut beat = interval_at(clock::instant(clock::mono() + BEAT), BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats: u32 = 0;
        self.count_unannounced();
        let mut scout = Scout::new(Arc::clone(&endpoint), self.peer.clone(), self.lane);
        let topology = Arc::clone(&self.supervisor.topology);
        let mut switched = Box::pin(sentinel::switched(
            topology,
            Arc::clone(&endpoint),
            self.peer.clone(),
        ));
        loop {
            let wake = self.ask_what_is_due(&endpoint);
            tokio::select! {
                Some((at, push)) = self.connection.pushes.recv() => {
                    self.pushed(push, at)?;
                    self.pushed_meanwhile()?;
                }
                Some(outcome) = self.asked.next() => {
                    // What the server said before this answer is in the queue by now, and must be known first.
                    self.pushed_meanwhile()?;
                    self.answered(outcome, clock::mono())?;
                }
                () = sleep_until(clock::instant(wake.unwrap_or_default())), if wake.is_some() => {}
                Ok(()) = interest.changed() => {}
                () = scout.search() => {}
                trouble = &mut switched => return Err(Fault::said(trouble)),
                _ = beat.tick() => {
                    if endpoint.overdue_since(self.lane).is_some_and(|due| clock::mono().since(due) > STALE_AFTER) {
                        return Err(STALE);
                    }
                    endpoint.tidy(clock::mono());
                    beats = beats.wrapping_add(1);
                    let (commands, asked) = (self.connection.commands(), clock::mono());
                    self.asked.push(Box::pin(async move { Outcome::Beat(commands.beat().await, asked) }));
                    self.count_unannounced();
                    if beats.is_multiple_of(BEATS_PER_INFO) {
                        let commands = self.connection.commands();
                        self.asked.push(Box::pin(async move { Outcome::Info(commands.info().await) }));
                    }
                }
            }
        }
    }

    /// Where nothing is announced, a flush shows in a counter only, which must have been read shortly before.
    fn count_unannounced(&self) {
        if self.mode == Mode::Polling {
            self.count();
        }
    }

    fn count(&self) {
        let (commands, asked) = (self.connection.commands(), clock::mono());
        self.asked.push(Box::pin(async move {
            Outcome::Counted(commands.counters().await, asked)
        }));
    }

    /// Sends what is to be read now; when something is next.
    fn ask_what_is_due(&mut self, endpoint: &Endpoint) -> Option<Mono> {
        let now = clock::mono();
        for index in endpoint.due_indexes(self.lane, now) {
            let commands = self.connection.commands();
            self.asked.push(Box::pin(async move {
                let listed = commands.list(&index, INDEX).await;
                Outcome::Listed(index, listed)
            }));
        }
        if self.reading {
            return None;
        }
        let probes = endpoint.due(self.lane, BATCH, now);
        if probes.is_empty() {
            return endpoint.next_deadline(self.lane);
        }
        self.reading = true;
        let commands = self.connection.commands();
        let count = self.evicts;
        let mut cache = std::mem::take(&mut self.cache);
        self.asked.push(Box::pin(async move {
            let read = async {
                let replies = commands.read(&probes, &mut cache).await?;
                let received = clock::mono();
                let counters = if count {
                    let (time, counters) = commands.counters().await?;
                    Some((received, time, counters))
                } else {
                    None
                };
                Ok(Read {
                    probes,
                    replies,
                    received,
                    counters,
                })
            };
            let read = read.await;
            Outcome::Read(read, cache)
        }));
        None
    }

    fn pushed_meanwhile(&mut self) -> Result<(), Fault> {
        while let Ok((at, push)) = self.connection.pushes.try_recv() {
            self.pushed(push, at)?;
        }
        Ok(())
    }

    fn pushed(&mut self, push: Push, at: Mono) -> Result<(), Fault> {
        match push {
            Push::Invalidated(keys) => {
                self.supervisor.endpoint.invalidated(&keys, at);
                Ok(())
            }
            Push::Flushed => {
                self.supervisor.endpoint.doubt(self.lane, Evidence::FLUSHED, at);
                // It was said: until it is known how it counts, the next connection has nothing to compare with.
                self.supervisor.flushes = None;
                self.count();
                Ok(())
            }
            Push::Published => Ok(()),
            Push::Closed => Err(Fault::said(Trouble::Unreachable)),
        }
    }

    fn answered(&mut self, outcome: Outcome, now: Mono) -> Result<(), Fault> {
        match outcome {
            Outcome::Beat(beat, asked) => {
                let Beat {
                    time,
                    pong,
                    round_trip,
                } = beat?;
                let beat = Sign::Beat {
                    pong,
                    round_trip,
                    tells_time: time.is_some(),
                };
                self.supervisor.endpoint.sign(self.lane, beat, now);
                self.take_time(time, asked, asked + round_trip);
                Ok(())
            }
            Outcome::Counted(counted, asked) => {
                let (time, counters) = counted?;
                self.weigh(time, counters, asked, now);
                Ok(())
            }
            Outcome::Info(info) => {
                let info = info?;
                self.evicts = info.evicts();
                let vital = Sign::Vital(info.vital());
                self.supervisor.endpoint.sign(self.lane, vital, now);
                let identity = info.identity();
                let known = self.supervisor.known.as_ref();
                if known.is_none_or(|known| identity.continues(known)) {
                    self.supervisor.known = Some(identity);
                    Ok(())
                } else {
                    // Something between us and the servers has put another one in its place.
                    Err(STALE)
                }
            }
            Outcome::Listed(index, listed) => {
                self.supervisor.endpoint.listed(self.lane, &index, &listed?, now);
                Ok(())
            }
            Outcome::Read(read, cache) => {
                self.cache = cache;
                self.take_in(read?, now)
            }
        }
    }

    /// Takes in what was read; if a hold ended before its time, only once it is known what happened to the server.
    fn take_in(&mut self, mut read: Read, now: Mono) -> Result<(), Fault> {
        let endpoint = Arc::clone(&self.supervisor.endpoint);
        if let Some((asked, time, counters)) = read.counters.take() {
            self.weigh(time, counters, asked, now);
        } else {
            let answers = read.probes.iter().zip(&read.replies);
            let answers = answers.filter_map(|((probe, _), reply)| match reply {
                Reply::Complete(answer) => Some((probe, answer)),
                Reply::Refused(_) | Reply::Redirected(_) => None,
            });
            if endpoint.would_end_early(answers, read.received) {
                let commands = self.connection.commands();
                let cache = std::mem::take(&mut self.cache);
                self.asked.push(Box::pin(async move {
                    let asked = clock::mono();
                    let counted = commands.counters().await.map(|(time, counters)| Read {
                        counters: Some((asked, time, counters)),
                        ..read
                    });
                    Outcome::Read(counted, cache)
                }));
                return Ok(());
            }
        }
        self.reading = false;
        let mut moved = false;
        let mut events = Vec::with_capacity(read.probes.len());
        for ((probe, asking), reply) in read.probes.iter().zip(read.replies) {
            match reply {
                Reply::Complete(answer) => events.push(Event::Answered(probe, answer)),
                Reply::Refused(trouble) => events.push(Event::Refused(probe, trouble)),
                Reply::Redirected(Redirect::Moved) => {
                    if *asking {
                        endpoint.ask_no_more(probe, now);
                    }
                    moved = true;
                    events.push(Event::Refused(probe, Trouble::ClusterDown));
                }
                Reply::Redirected(Redirect::Ask { host, port }) => {
                    let slots = endpoint.slots();
                    let lane = slots.and_then(|slots| slots.lane_at(&host, port));
                    if let Some(lane) = lane {
                        endpoint.ask(probe, lane, now);
                    } else {
                        moved = true;
                        events.push(Event::Refused(probe, Trouble::ClusterDown));
                    }
                }
            }
        }
        if !endpoint.answered(self.lane, events, read.received) {
            self.supervisor.unannounced += 1;
            return Err(STALE);
        }
        if moved {
            endpoint.map_is_old();
        }
        Ok(())
    }

    /// What the server's clock and counters say about the time since they were read last.
    fn weigh(&mut self, time: Option<Duration>, counters: Counters, asked: Mono, received: Mono) {
        self.take_time(time, asked, received);
        let rose = |before: Option<u64>, after: Option<u64>| before.zip(after).is_some_and(|(a, b)| b > a);
        let evidence = Evidence {
            evicted: self.evicts && rose(self.counters.evicted, counters.evicted),
            // Announced, where changes are.
            flushed: self.mode == Mode::Polling && rose(self.counters.flushes, counters.flushes),
            ..Evidence::default()
        };
        self.counters = counters;
        self.supervisor.flushes = counters.flushes;
        if evidence != Evidence::NONE {
            self.supervisor.endpoint.happened(self.lane, evidence, received);
        }
    }

    /// A clock that ran ahead of ours: locks expired before their time, and everything is read again.
    fn take_time(&mut self, time: Option<Duration>, asked: Mono, received: Mono) {
        let Some(time) = time else { return };
        let offset = Offset::of(time, asked, received);
        if let Some(before) = self.supervisor.offset.replace(offset) {
            let clock_jump = offset.is_ahead_of(before);
            if clock_jump || before.is_ahead_of(offset) {
                let evidence = Evidence {
                    clock_jump,
                    ..Evidence::default()
                };
                let endpoint = &self.supervisor.endpoint;
                endpoint.sign(self.lane, Sign::ClockJump, received);
                endpoint.doubt(self.lane, evidence, received);
            }
        }
    }
}

/// Waits for a change of what is read, for those that have nothing else to wait for.
pub(super) async fn changed(interest: &mut watch::Receiver<u64>) {
    if interest.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
