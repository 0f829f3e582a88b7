//! Free ports.

use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::Error;

/// A port that nobody listens on at this moment.
///
/// It can be gone before its server binds it, so who uses it has to see that and try again.
pub(crate) fn free(address: IpAddr) -> Result<u16, Error> {
    TcpListener::bind((address, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Io {
            action: format!("find a free port on {address}"),
            source,
        })
}

/// Fails if somebody listens on this port: a probe would take them for the server that is to be started.
pub(crate) fn check_free(address: SocketAddr) -> Result<(), Error> {
    let bound = TcpListener::bind(address);
    bound.map(drop).map_err(|source| Error::Io {
        action: format!("listen on {address}"),
        source,
    })
}

/// Whether a server died of a port that somebody else took first, or was not even started for that.
pub(crate) fn was_taken(error: &Error) -> bool {
    match error {
        Error::Ended { log, .. } => log.contains("ddress already in use"),
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
        _ => false,
    }
}

/// Starts a server on free ports, with other ports if somebody else took one in between.
pub(crate) fn retry<T>(mut start: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    const ATTEMPTS: usize = 5;
    for _ in 1..ATTEMPTS {
        match start() {
            Err(error) if was_taken(&error) => {}
            done => return done,
        }
    }
    start()
}
