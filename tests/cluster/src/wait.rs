//! Waiting for conditions, with a deadline. The only place of this crate that reads the clock.

use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// A running stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "real processes take real time; there is no clock to inject"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// What a probe saw: the awaited value, or what there was instead.
pub(crate) enum Probe<T> {
    Ready(T),
    /// Not yet; the text ends up in the error if the deadline passes.
    NotYet(String),
}

/// Calls `probe` until it has the value, fails, or the deadline passes.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Probe<T>, Error>,
) -> Result<T, Error> {
    let stopwatch = Stopwatch::start();
    loop {
        match probe()? {
            Probe::Ready(value) => return Ok(value),
            Probe::NotYet(last_seen) if stopwatch.elapsed() >= limit => {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    waited: limit,
                    last_seen,
                });
            }
            Probe::NotYet(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}
