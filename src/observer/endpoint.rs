//! The supervisors of one endpoint: resolve, connect, verify, track, read everything, serve; on any doubt from the
//! start. I/O.
//!
//! A single server has one supervisor, a cluster one for each master and one that keeps the map. The redis crate's
//! `ConnectionManager` is no help here: it connects again by itself and does not turn tracking on again, and nobody
//! would notice.

mod board;
mod cluster;
mod places;
mod scout;
mod sentinel;
mod session;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, sleep_until};

pub(super) use self::board::Endpoint;
use self::session::{Offset, Session};
use super::newcomers::Newcomers;
use super::topology::Topology;
use super::wire::{Connection, Fault, Identity, Login};
use super::{Host, Servers};
use crate::clock;
use crate::domain::locks::health::Sign;
use crate::domain::locks::table::{Lane, ONLY};
use crate::domain::locks::{Evidence, Mode, Trouble};
use crate::retry::draw;

/// First and longest wait between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A connection that stood this long was a good one: the next attempts are fast again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// How many addresses of a name are tried in one attempt.
const ADDRESSES: usize = 4;

/// After so many changes that were not announced, this server is asked instead. Once may be a SWAPDB.
const UNANNOUNCED: u32 = 2;

/// Waits until an endpoint may be connected to on behalf of this namespace.
pub(super) async fn admitted(endpoint: Arc<Endpoint>, newcomers: Arc<Newcomers>, namespace: String) {
    let hosts = endpoint.target().servers.hosts();
    loop {
        let now = clock::mono();
        let Err(again) = newcomers.admit(&namespace, hosts, now) else {
            return;
        };
        match &endpoint.target().servers {
            Servers::One(_) | Servers::Sentinel(_) => endpoint.lost(ONLY, Trouble::TooManyEndpoints, now),
            Servers::Cluster(_) => endpoint.mapped(Err(Trouble::TooManyEndpoints), now),
        }
        sleep_until(clock::instant(again)).await;
    }
}

/// Observes an endpoint until the task is aborted.
pub(super) async fn supervise(endpoint: Arc<Endpoint>, topology: Arc<Topology>) {
    // Neither ever ends.
    let _: Infallible = match &endpoint.target().servers {
        Servers::One(host) => {
            let place = Whereabouts::At(host.clone());
            Supervisor::new(Arc::clone(&endpoint), topology, ONLY, place)
                .run()
                .await
        }
        Servers::Sentinel(_) => {
            let place = Whereabouts::BySentinels;
            Supervisor::new(Arc::clone(&endpoint), topology, ONLY, place)
                .run()
                .await
        }
        Servers::Cluster(seeds) => cluster::supervise(Arc::clone(&endpoint), topology, seeds).await,
    };
}

/// How a server's address is found.
enum Whereabouts {
    At(Host),
    BySentinels,
}

/// A server that is connected to.
#[derive(Clone, Debug)]
struct Peer {
    /// As it is written, or as others announce it.
    host: Host,
    /// What it resolved to, and was checked.
    address: SocketAddr,
}

/// Keeps one server under observation.
struct Supervisor {
    endpoint: Arc<Endpoint>,
    topology: Arc<Topology>,
    lane: Lane,
    place: Whereabouts,
    /// The address that is known to speak Redis. Of any other only "unreachable" is said, or a resource would be a
    /// port scanner.
    spoke: Option<SocketAddr>,
    /// How often changes were not announced by a server that had agreed to.
    unannounced: u32,
    /// Who answered last.
    known: Option<Identity>,
    /// Its clock against ours, as it was last.
    offset: Option<Offset>,
    /// How often it had been flushed, as far as is known and was said.
    flushes: Option<u64>,
}

impl Supervisor {
    fn new(endpoint: Arc<Endpoint>, topology: Arc<Topology>, lane: Lane, place: Whereabouts) -> Self {
        Self {
            endpoint,
            topology,
            lane,
            place,
            spoke: None,
            unannounced: 0,
            known: None,
            offset: None,
            flushes: None,
        }
    }

    async fn run(mut self) -> Infallible {
        let mut attempt = 0;
        loop {
            let started = clock::mono();
            let trouble = self.session().await;
            let now = clock::mono();
            self.endpoint.lost(self.lane, trouble, now);
            attempt = if now.since(started) > GOOD_AFTER {
                0
            } else {
                attempt + 1
            };
            sleep(backoff(attempt)).await;
        }
    }

    /// One connection from its making to its end; says what ended it.
    async fn session(&mut self) -> Trouble {
        let target = self.endpoint.target();
        let found = match &self.place {
            Whereabouts::At(host) => {
                let addresses = self.topology.resolve(host, &target.namespace).await;
                addresses.map(|addresses| (host.clone(), addresses))
            }
            Whereabouts::BySentinels => sentinel::master(&self.topology, target).await,
        };
        let (host, addresses) = match found {
            Ok(found) => found,
            Err(trouble) => return trouble,
        };
        let mut trouble = Trouble::Unreachable;
        for address in addresses.into_iter().take(ADDRESSES) {
            let opened = Connection::open(address, &Login::of(self.endpoint.target(), &host.name)).await;
            match opened {
                Ok(mut connection) => {
                    connection.count(self.endpoint.sent());
                    self.spoke = Some(address);
                    let peer = Peer { host, address };
                    let Err(fault) = self.use_connection(connection, peer).await;
                    return self.shown(fault, address);
                }
                Err(fault) => trouble = self.shown(fault, address),
            }
        }
        trouble
    }

    fn shown(&mut self, fault: Fault, address: SocketAddr) -> Trouble {
        if fault.trouble == Trouble::TlsFailure && fault.spoke {
            // It spoke TLS, or the fault is ours: neither says that Redis is behind it.
            return fault.trouble;
        }
        if fault.spoke {
            self.spoke = Some(address);
        }
        match (&self.place, fault.trouble) {
            _ if self.spoke != Some(address) => Trouble::Unreachable,
            // Who was the master is none any more, or is none yet: the Sentinels will say.
            (Whereabouts::BySentinels, Trouble::NotMaster) => Trouble::FailoverInProgress,
            (Whereabouts::At(_) | Whereabouts::BySentinels, trouble) => trouble,
        }
    }

    async fn use_connection(&mut self, mut connection: Connection, peer: Peer) -> Result<Infallible, Fault> {
        let want = if self.unannounced < UNANNOUNCED {
            Mode::Tracking
        } else {
            Mode::Polling
        };
        let asked = clock::mono();
        let verified = connection.verify(want).await?;
        let identity = verified.info.identity();
        let now = clock::mono();
        let failover = self
            .known
            .as_ref()
            .is_some_and(|known| !identity.continues(known));
        self.known = Some(identity);
        // What was flushed while nobody was connected is told by no other sign.
        let before = self.flushes.take().filter(|_| !failover);
        self.flushes = verified.flushes;
        let flushed = before.zip(self.flushes).is_some_and(|(before, now)| now > before);
        let offset = verified.time.map(|time| Offset::of(time, asked, now));
        let before = std::mem::replace(&mut self.offset, offset).filter(|_| !failover);
        let evidence = Evidence {
            failover,
            flushed,
            // Set while nobody was connected: what is gone now may have run out by it.
            clock_jump: offset
                .zip(before)
                .is_some_and(|(now, before)| now.is_ahead_of(before)),
            ..Evidence::default()
        };
        self.endpoint.happened(self.lane, evidence, now);
        let vital = Sign::Connected(verified.info.vital(), verified.time.is_some());
        self.endpoint.sign(self.lane, vital, now);
        if evidence.clock_jump {
            self.endpoint.sign(self.lane, Sign::ClockJump, now);
        }
        self.endpoint
            .connected(self.lane, verified.mode, verified.info.version(), now);
        Session::new(self, connection, peer, &verified).serve().await
    }
}

const STALE: Fault = Fault::said(Trouble::Stale);

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
