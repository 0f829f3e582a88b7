//! What the workers of this crate have in common: settings from the environment, commands from the standard input,
//! events to the standard output, and a proper end (I/O). `../README.md` describes the protocol.
//!
//! In: a [`Library`]. Out: one JSON object per line. No lock's value is ever written.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::{LocalSet, spawn_local};

/// How long an attempt that is under way at the end may still take.
const LAST_ATTEMPT: Duration = Duration::from_secs(1);

/// What a worker is told by its environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `REDIS_URL`, split at its commas.
    pub urls: Vec<String>,
    /// `LOCK_NAME`.
    pub name: String,
    /// `LOCK_TTL_MS`; without it, the library's own default holds.
    pub ttl: Option<Duration>,
}

impl Settings {
    /// Reads the environment; the answer to a setting that can't be used is what to correct.
    pub fn from_environment() -> Result<Self, String> {
        // An empty variable is one that is not set.
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed =
            |name| variable(name).ok_or_else(|| format!("{name} is needed, see tests/workers/README.md"));
        let milliseconds = variable("LOCK_TTL_MS").map(|value| {
            value
                .parse()
                .map_err(|_| "LOCK_TTL_MS is no number of milliseconds")
        });
        Ok(Self {
            urls: needed("REDIS_URL")?.split(',').map(str::to_owned).collect(),
            name: needed("LOCK_NAME")?,
            ttl: milliseconds.transpose()?.map(Duration::from_millis),
        })
    }
}

/// What a worker needs of a library. It runs on one thread.
#[allow(async_fn_in_trait, reason = "nothing here is sent to another thread")]
pub trait Library {
    /// A lock that is held. The library renews it by itself.
    type Held;

    /// The crate's name.
    const NAME: &'static str;

    /// The key of the lock.
    fn key(&self) -> String;

    /// Takes the lock, however long that takes.
    async fn take(&self) -> Result<Self::Held, String>;

    /// Releases it.
    async fn release(&self, held: Self::Held) -> Result<(), String>;
}

/// Writes one event.
pub fn emit(event: &serde_json::Value) {
    // A reader that is gone also ends the commands, which ends the worker.
    let _ = writeln!(io::stdout(), "{event}");
}

/// Says that the library lost the lock.
pub fn emit_lost(error: &str) {
    emit(&json!({ "event": "lost", "error": error }));
}

/// Serves commands until the worker is to end.
pub fn serve<L: Library + 'static>(library: Result<L, String>) -> ExitCode {
    let served = library.and_then(|library| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        LocalSet::new().block_on(&runtime, run(library))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            emit(&json!({ "event": "failed", "command": "quit", "error": error }));
            ExitCode::FAILURE
        }
    }
}

async fn run<L: Library + 'static>(library: L) -> Result<(), String> {
    let receive = |kind| signal(kind).map_err(|error| format!("no signals can be received: {error}"));
    let (mut terminate, mut interrupt) = (
        receive(SignalKind::terminate())?,
        receive(SignalKind::interrupt())?,
    );
    let mut commands = commands();
    let library = std::rc::Rc::new(library);
    let mut held = None;
    let mut taking = None;
    emit(&json!({ "event": "ready", "library": L::NAME, "version": version(L::NAME), "key": library.key() }));
    loop {
        let attempt = async {
            match taking.as_mut() {
                Some(attempt) => attempt.await,
                None => std::future::pending().await,
            }
        };
        let command = tokio::select! {
            taken = attempt => {
                taking = None;
                match joined(taken) {
                    Ok(lock) => {
                        held = Some(lock);
                        emit(&json!({ "event": "taken" }));
                    }
                    Err(error) => emit(&json!({ "event": "failed", "command": "take", "error": error })),
                }
                continue;
            }
            command = commands.recv() => command.unwrap_or_else(|| "quit".to_owned()),
            _ = terminate.recv() => "quit".to_owned(),
            _ = interrupt.recv() => "quit".to_owned(),
        };
        let done = match command.as_str() {
            "quit" => break,
            "take" if held.is_none() && taking.is_none() => {
                let library = library.clone();
                // A task: a lock that another holds must not keep anybody from `quit`.
                taking = Some(spawn_local(async move { library.take().await }));
                continue;
            }
            "take" => Err("the lock is held or being taken already".to_owned()),
            "release" => match held.take() {
                Some(lock) => library.release(lock).await.map(|()| "released"),
                None => Err("the lock is not held".to_owned()),
            },
            "extend" => Err(format!("{} renews by itself", L::NAME)),
            _ => Err("there is no such command".to_owned()),
        };
        match done {
            Ok(event) => emit(&json!({ "event": event })),
            Err(error) => emit(&json!({ "event": "failed", "command": command, "error": error })),
        }
    }
    if let Some(attempt) = taking
        && let Ok(taken) = tokio::time::timeout(LAST_ATTEMPT, attempt).await
    {
        held = joined(taken).ok();
    }
    match held {
        Some(lock) => library.release(lock).await,
        None => Ok(()),
    }
}

fn joined<T>(ended: Result<Result<T, String>, tokio::task::JoinError>) -> Result<T, String> {
    ended.map_err(|error| error.to_string())?
}

/// The lines of the standard input, read by a thread that ends with the process.
fn commands() -> UnboundedReceiver<String> {
    let (said, heard) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if said.send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    heard
}

/// The version of a crate in the workspace's lock file, which is the one that was built in.
fn version(name: &str) -> &'static str {
    let locked = include_str!("../../../../Cargo.lock");
    let entry = format!("name = \"{name}\"\nversion = \"");
    let rest = locked.split_once(&entry).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split('"').next()).unwrap_or("unknown")
}
