//! What the demo says (I/O), and how it waits. The only place that prints and the only one that reads a clock.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

const POLL: Duration = Duration::from_millis(250);
/// Nobody should have to guess whether a silent wait still lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One line, or several.
pub(crate) fn line(text: &str) {
    // Standard output may be closed by a pager; the stories go on, as what they set up is left running.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The beginning of a story.
pub(crate) fn heading(text: &str) {
    line(&format!("\n=== {text}"));
}

/// What a story says between its commands.
pub(crate) fn remark(text: &str) {
    line(&format!("# {text}"));
}

/// A running stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "a real cluster takes real time; there is no clock to inject"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn seconds(self) -> u64 {
        self.elapsed().as_secs()
    }
}

/// A step that may take long: says that it begins and how long it took.
pub(crate) fn step<T>(what: &str, act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    line(&format!("... {what}"));
    let stopwatch = Stopwatch::start();
    let done = act()?;
    line(&format!("    done in {:.1} s", stopwatch.elapsed().as_secs_f64()));
    Ok(done)
}

/// What a probe saw: the awaited value, or what there was instead.
pub(crate) enum Probe<T> {
    Ready(T),
    NotYet(String),
}

/// Calls `probe` until it has the value, fails, or the time is up. `look` says where to look in that case.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    look: &str,
    mut probe: impl FnMut() -> Result<Probe<T>, Failure>,
) -> Result<T, Failure> {
    let stopwatch = Stopwatch::start();
    let mut said = Duration::ZERO;
    loop {
        let last_seen = match probe()? {
            Probe::Ready(value) => return Ok(value),
            Probe::NotYet(last_seen) => last_seen,
        };
        let waited = stopwatch.elapsed();
        if waited >= limit {
            return Err(Failure::Timeout {
                what: what.to_owned(),
                seconds: limit.as_secs(),
                last_seen,
                look: look.to_owned(),
            });
        }
        if waited >= said + HEARTBEAT {
            said = waited;
            line(&format!(
                "    waiting for {what} ({} s): {last_seen}",
                waited.as_secs()
            ));
        }
        thread::sleep(POLL);
    }
}
