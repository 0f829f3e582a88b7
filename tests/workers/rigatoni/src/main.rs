//! A worker as the multi-instance guide of Rigatoni describes it: it holds one Redis lock per collection, works on
//! what it holds, and stands by for the rest. It exists so that Lockstep is tried on real locks of a real library:
//! all lock calls are those of the published crate `rigatoni-stores`.
//!
//! # Settings (environment)
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `REDIS_URL` | required | where the locks are |
//! | `DATABASE`, `COLLECTIONS` | required | the locks: `rigatoni:lock:{DATABASE}:{collection}` for each of a comma list |
//! | `LOCK_TTL_SECONDS`, `LOCK_REFRESH_SECONDS`, `LOCK_RETRY_SECONDS` | 30, 10, 5 | whole seconds, as the library has no others |
//! | `MAX_LOCKS` | none | how many locks this instance holds at most |
//! | `LOCK_RENEWAL` | `on` | `off`: a lock that was taken is never renewed |
//! | `POD_NAME`, else `HOSTNAME` | host name | the first part of the owner id `{hostname}-{uuid}` |
//! | `HEALTH_ADDRESS` | `0.0.0.0:8080` | `/readyz` (200 once Redis has answered), `/collections` (worked on now) |
//! | `RUST_LOG` | `info` | what is logged |
//!
//! # Signals
//!
//! - SIGTERM and SIGINT: the work stops, all locks are released, exit status 0.
//! - SIGUSR1: renewal stops, the process lives on, as if the renewing task hung. Work on a collection still stops
//!   when its lock runs out, and a lock lost that way is not tried again by this process.

mod health;
mod locks;
mod settings;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::health::Board;
use crate::locks::Keeper;
use crate::settings::{Settings, SettingsError};

/// Why the worker cannot run at all. Redis is not among the reasons: it is waited for.
#[derive(Debug, Error)]
enum WorkerError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("signals cannot be received ({0}): start the worker as an ordinary process")]
    Signals(#[source] io::Error),
    #[error(
        "the readiness endpoint cannot listen on {address} ({source}): set HEALTH_ADDRESS to a free address"
    )]
    Listen {
        address: std::net::SocketAddr,
        source: io::Error,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    start_logging();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging() {
    // The library writes lock values into its own lines; a lock's value is nobody's business but the owner's.
    let ours = filter_fn(|metadata| !metadata.target().starts_with("rigatoni_stores"));
    let level = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(ours))
        .with(level)
        .init();
}

async fn run() -> Result<(), WorkerError> {
    let settings = Settings::from_environment()?;
    // Before anything else is done: a signal that comes early must not end the process the hard way.
    let receive = |kind| signal(kind).map_err(WorkerError::Signals);
    let (terminate, interrupt) = (
        receive(SignalKind::terminate())?,
        receive(SignalKind::interrupt())?,
    );
    let hang = receive(SignalKind::user_defined1())?;
    let address = settings.health_address;
    let unusable = |source| WorkerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;

    let (stop, stopping) = watch::channel(false);
    let (renewal, renewing) = watch::channel(settings.renewal);
    let board = Arc::new(Board::default());
    info!(
        instance = settings.hostname,
        database = settings.database,
        collections = settings.collections.join(","),
        ttl_seconds = settings.ttl.as_secs(),
        max_locks = settings.max_locks,
        renewal = settings.renewal,
        %address,
        "started"
    );

    let mut aside = JoinSet::new();
    aside.spawn(hear(terminate, interrupt, hang, stop, renewal));
    let pages = health::serve(listener, Arc::clone(&board));
    aside.spawn(async move {
        if let Err(error) = pages.await {
            error!(%error, "the readiness endpoint ended: the pod will be taken for unready");
        }
    });

    let collections = settings.collections.clone();
    if let Some(keeper) = Keeper::connect(settings, board, renewing, stopping).await {
        let keeper = Arc::new(keeper);
        let mut loops: JoinSet<()> = collections
            .into_iter()
            .map(|collection| Arc::clone(&keeper).keep(collection))
            .collect();
        while loops.join_next().await.is_some() {}
    }
    info!("stopped");
    Ok(())
}

/// Turns signals into what the loops look at; returns when the instance is to stop.
async fn hear(
    mut terminate: Signal,
    mut interrupt: Signal,
    mut hang: Signal,
    stop: watch::Sender<bool>,
    renewal: watch::Sender<bool>,
) {
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang.recv() => {
                info!("SIGUSR1: renewal stops, the process lives on");
                renewal.send_replace(false);
            }
        }
    }
    info!("asked to stop: work ends, locks are released");
    stop.send_replace(true);
}
