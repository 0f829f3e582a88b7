//! Looks for locks that nobody declared, under a few prefixes, over a connection of its own: tracking by prefix and by
//! key can't be had on one. I/O.
//!
//! It only finds keys; they are read where all others are. SCAN goes through the whole database, so it is done once per
//! connection, in small steps; after that the server announces every change under the prefixes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};

use super::board::Endpoint;
use super::session::changed;
use super::{Peer, backoff};
use crate::clock;
use crate::domain::locks::Trouble;
use crate::domain::locks::table::Lane;
use crate::observer::wire::{Connection, Fault, Login, Push};

/// Keys per step of a scan.
const STEP: usize = 500;

/// Time between two steps: at most 50 in a second.
const PAUSE: Duration = Duration::from_millis(20);

/// Where a server doesn't announce changes by prefix, it is scanned again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// The search at one server. Without prefixes it does nothing and has no connection.
pub(super) struct Scout {
    search: BoxFuture<'static, Infallible>,
}

impl Scout {
    pub(super) fn new(endpoint: Arc<Endpoint>, peer: Peer, lane: Lane) -> Self {
        Self {
            search: Box::pin(search(endpoint, peer, lane)),
        }
    }

    /// Goes on searching; never ends. Cancel-safe: it goes on where it was.
    pub(super) async fn search(&mut self) {
        match (&mut self.search).await {}
    }
}

async fn search(endpoint: Arc<Endpoint>, peer: Peer, lane: Lane) -> Infallible {
    let mut interest = endpoint.interest();
    let mut failures = 0;
    loop {
        interest.mark_unchanged();
        let prefixes = endpoint.prefixes();
        if prefixes.is_empty() {
            changed(&mut interest).await;
            continue;
        }
        let others = async {
            loop {
                changed(&mut interest).await;
                if endpoint.prefixes() != prefixes {
                    break;
                }
            }
        };
        tokio::select! {
            Err(fault) = look(&endpoint, &peer, &prefixes) => {
                failures += 1;
                tracing::warn!(lane, ?fault.trouble, "looking for locks by prefix failed");
            }
            () = others => {
                failures = 0;
                continue;
            }
        }
        sleep(backoff(failures)).await;
    }
}

async fn look(endpoint: &Endpoint, peer: &Peer, prefixes: &[Vec<u8>]) -> Result<Infallible, Fault> {
    let mut connection =
        Connection::open(peer.address, &Login::of(endpoint.target(), &peer.host.name)).await?;
    // First announced, then scanned: what comes to be meanwhile is found one way or the other.
    let announced = connection.broadcast(prefixes).await?;
    let commands = connection.commands();
    loop {
        for prefix in prefixes {
            let mut cursor = 0;
            loop {
                let (next, keys) = commands.scan(cursor, prefix, STEP).await?;
                endpoint.found(keys, clock::mono());
                cursor = next;
                if cursor == 0 {
                    break;
                }
                let go_on = Instant::now() + PAUSE;
                listen(&mut connection, endpoint, Some(go_on)).await?;
            }
        }
        let again = (!announced).then(|| Instant::now() + AGAIN);
        // Time is over, or everything was flushed: what came to be before that was known is found by another scan.
        listen(&mut connection, endpoint, again).await?;
    }
}

/// Takes in what is announced until `until`, or, without one, until a flush.
async fn listen(
    connection: &mut Connection,
    endpoint: &Endpoint,
    until: Option<Instant>,
) -> Result<(), Fault> {
    let closed = Fault::said(Trouble::Unreachable);
    loop {
        tokio::select! {
            pushed = connection.pushes.recv() => match pushed {
                Some((at, Push::Invalidated(keys))) => endpoint.found(keys, at),
                Some((_, Push::Flushed)) => return Ok(()),
                Some((_, Push::Published)) => {}
                Some((_, Push::Closed)) | None => return Err(closed),
            },
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return Ok(()),
        }
    }
}
