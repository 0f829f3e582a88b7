//! The supervisor of one endpoint: resolve, connect, verify, track, read everything, serve; on any doubt from the
//! start. I/O.
//!
//! The redis crate's `ConnectionManager` is no help here: it connects again by itself and does not turn tracking on
//! again, and nobody would notice.

mod board;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{MissedTickBehavior, interval_at, sleep, sleep_until};

pub(super) use self::board::Endpoint;
use super::topology::Topology;
use super::wire::{Connection, Fault, Identity, Push, Reply};
use crate::clock;
use crate::domain::locks::table::Event;
use crate::domain::locks::{Key, Mode, Mono, Trouble};
use crate::retry::draw;

/// PING and ROLE this often.
const BEAT: Duration = Duration::from_secs(2);

/// INFO with every so many beats: every 10 s.
const BEATS_PER_INFO: u32 = 5;

/// Keys per pipeline: about 40 kB of commands, a few milliseconds of the server's time.
const BATCH: usize = 500;

/// A key that is due for longer than this means that answers don't keep up, although they come.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// First and longest wait between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A connection that stood this long was a good one: the next attempts are fast again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// How many addresses of a name are tried in one attempt.
const ADDRESSES: usize = 4;

/// After so many changes that were not announced, this server is asked instead. Once may be a SWAPDB.
const UNANNOUNCED: u32 = 2;

/// Observes an endpoint until the task is aborted.
pub(super) async fn supervise(endpoint: Arc<Endpoint>, topology: Arc<Topology>) {
    let mut supervisor = Supervisor {
        endpoint,
        topology,
        spoke: None,
        unannounced: 0,
    };
    let mut attempt = 0;
    loop {
        let started = clock::mono();
        let trouble = supervisor.session().await;
        let now = clock::mono();
        supervisor.endpoint.lost(trouble, now);
        attempt = if now.since(started) > GOOD_AFTER {
            0
        } else {
            attempt + 1
        };
        sleep(backoff(attempt)).await;
    }
}

struct Supervisor {
    endpoint: Arc<Endpoint>,
    topology: Arc<Topology>,
    /// The address that is known to speak Redis. Of any other only "unreachable" is said, or a resource would be a
    /// port scanner.
    spoke: Option<SocketAddr>,
    /// How often changes were not announced by a server that had agreed to.
    unannounced: u32,
}

/// What was asked, with the answer.
enum Outcome {
    Read(Vec<Key>, Result<Vec<Reply>, Fault>),
    Beat(Result<(), Fault>),
    Identity(Result<Identity, Fault>),
}

impl Supervisor {
    /// One connection from its making to its end; says what ended it.
    async fn session(&mut self) -> Trouble {
        let addresses = match self.topology.resolve(self.endpoint.target()).await {
            Ok(addresses) => addresses,
            Err(trouble) => return trouble,
        };
        let mut trouble = Trouble::Unreachable;
        for address in addresses.into_iter().take(ADDRESSES) {
            match Connection::open(address, self.endpoint.target()).await {
                Ok(connection) => {
                    self.spoke = Some(address);
                    let Err(fault) = self.use_connection(connection).await;
                    return self.shown(fault, address);
                }
                Err(fault) => trouble = self.shown(fault, address),
            }
        }
        trouble
    }

    fn shown(&mut self, fault: Fault, address: SocketAddr) -> Trouble {
        if fault.spoke {
            self.spoke = Some(address);
        }
        if self.spoke == Some(address) {
            fault.trouble
        } else {
            Trouble::Unreachable
        }
    }

    async fn use_connection(&mut self, mut connection: Connection) -> Result<Infallible, Fault> {
        let want = if self.unannounced < UNANNOUNCED {
            Mode::Tracking
        } else {
            Mode::Polling
        };
        let (identity, mode) = connection.verify(want).await?;
        self.endpoint
            .connected(mode, identity.version.clone(), clock::mono());
        Session {
            supervisor: self,
            connection,
            identity,
            reading: false,
        }
        .serve()
        .await
    }
}

struct Session<'a> {
    supervisor: &'a mut Supervisor,
    connection: Connection,
    identity: Identity,
    /// One pipeline of reads at a time: what comes due meanwhile goes together into the next, so that a storm of
    /// changes makes larger pipelines, not more of them.
    reading: bool,
}

impl Session<'_> {
    async fn serve(mut self) -> Result<Infallible, Fault> {
        let endpoint = Arc::clone(&self.supervisor.endpoint);
        let mut asked: FuturesUnordered<BoxFuture<'static, Outcome>> = FuturesUnordered::new();
        let mut beat = interval_at(clock::instant(clock::mono() + BEAT), BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats: u32 = 0;
        loop {
            let mut wake = None;
            if !self.reading {
                let keys = endpoint.due(BATCH, clock::mono());
                if keys.is_empty() {
                    wake = endpoint.next_deadline();
                } else {
                    self.reading = true;
                    let commands = self.connection.commands();
                    asked.push(Box::pin(async move {
                        let replies = commands.read(&keys).await;
                        Outcome::Read(keys, replies)
                    }));
                }
            }
            tokio::select! {
                Some((at, push)) = self.connection.pushes.recv() => {
                    self.pushed(push, at)?;
                    self.pushed_meanwhile()?;
                }
                Some(outcome) = asked.next() => {
                    // What the server said before this answer is in the queue by now, and must be known first.
                    self.pushed_meanwhile()?;
                    self.answered(outcome, clock::mono())?;
                }
                () = sleep_until(clock::instant(wake.unwrap_or_default())), if wake.is_some() => {}
                () = endpoint.interest_changed() => {}
                _ = beat.tick() => {
                    if endpoint.next_deadline().is_some_and(|due| clock::mono().since(due) > STALE_AFTER) {
                        return Err(Fault { trouble: Trouble::Stale, spoke: true });
                    }
                    beats = beats.wrapping_add(1);
                    let commands = self.connection.commands();
                    asked.push(Box::pin(async move { Outcome::Beat(commands.beat().await) }));
                    if beats.is_multiple_of(BEATS_PER_INFO) {
                        let commands = self.connection.commands();
                        asked.push(Box::pin(async move { Outcome::Identity(commands.identify().await) }));
                    }
                }
            }
        }
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
                self.supervisor.endpoint.flushed(at);
                Ok(())
            }
            Push::Closed => Err(Fault {
                trouble: Trouble::Unreachable,
                spoke: true,
            }),
        }
    }

    fn answered(&mut self, outcome: Outcome, now: Mono) -> Result<(), Fault> {
        match outcome {
            Outcome::Beat(result) => result,
            Outcome::Identity(identity) => {
                if identity?.run_id == self.identity.run_id {
                    Ok(())
                } else {
                    // Something between us and the servers has put another one in its place.
                    Err(STALE)
                }
            }
            Outcome::Read(keys, replies) => {
                self.reading = false;
                let events = keys.iter().zip(replies?).map(|(key, reply)| match reply {
                    Reply::Complete(answer) => Event::Answered(key, answer),
                    Reply::Refused(trouble) => Event::Refused(key, trouble),
                });
                if self.supervisor.endpoint.answered(events, now) {
                    Ok(())
                } else {
                    self.supervisor.unannounced += 1;
                    Err(STALE)
                }
            }
        }
    }
}

const STALE: Fault = Fault {
    trouble: Trouble::Stale,
    spoke: true,
};

/// How long to wait before the attempt after `failures` failed ones: doubling, between half and all of it, so that
/// endpoints lost together don't come back together.
fn backoff(failures: u32) -> Duration {
    let full = BACKOFF
        .0
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(BACKOFF.1);
    full / 2 + (full / 2).mul_f64(draw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_is_fast_at_first_and_bounded() {
        for (failures, full) in [(0, 100), (1, 100), (2, 200), (3, 400), (7, 5000), (1000, 5000)] {
            let (full, wait) = (Duration::from_millis(full), backoff(failures));
            assert!(full / 2 <= wait && wait <= full, "{failures}: {wait:?}");
        }
    }
}
