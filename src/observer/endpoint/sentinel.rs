//! Which server is the master, as the Sentinels see it. I/O.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Peer;
use super::board::Endpoint;
use crate::domain::locks::Trouble;
use crate::observer::topology::Topology;
use crate::observer::{Host, Servers, Target};

/// The addresses of the master, allowed ones only, at least one.
#[expect(clippy::unused_async, reason = "to come")]
pub(super) async fn master(
    _topology: &Topology,
    _target: &Target,
) -> Result<(Host, Vec<SocketAddr>), Trouble> {
    Err(Trouble::FailoverInProgress)
}

/// Returns when the Sentinels name another master than the one at this address; never where there are none.
pub(super) async fn switched(_topology: Arc<Topology>, endpoint: Arc<Endpoint>, _peer: Peer) -> Trouble {
    match &endpoint.target().servers {
        Servers::One(_) | Servers::Cluster(_) | Servers::Sentinel(_) => std::future::pending().await,
    }
}
