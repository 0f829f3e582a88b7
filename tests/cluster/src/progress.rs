//! One line for every step that takes long, so that nobody has to guess whether a silent build still lives.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait::Stopwatch;

const HEARTBEAT: Duration = Duration::from_secs(30);

/// Writes one line to the standard error, past the capture of the test harness: a build of minutes has to be
/// seen.
pub(crate) fn line(text: &str) {
    // A closed standard error is no reason to fail a build.
    let _ = writeln!(std::io::stderr(), "lockstep-cluster: {text}");
}

/// A long step: says that it starts, that it goes on, and how long it took.
pub struct Step {
    what: String,
    stopwatch: Stopwatch,
    end: Option<Sender<()>>,
    heartbeat: Option<JoinHandle<()>>,
}

impl Step {
    /// Announces the step with the time it usually takes.
    #[must_use]
    pub fn start(what: &str, expected: &str) -> Self {
        line(&format!("{what} (usually {expected})"));
        let stopwatch = Stopwatch::start();
        let (end, ended) = mpsc::channel();
        let name = what.to_owned();
        let heartbeat = thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(HEARTBEAT) {
                line(&format!(
                    "{name}: still at it after {} s",
                    stopwatch.elapsed().as_secs()
                ));
            }
        });
        Self {
            what: what.to_owned(),
            stopwatch,
            end: Some(end),
            heartbeat: Some(heartbeat),
        }
    }

    /// Says that the step is done.
    pub fn done(self) {
        line(&format!(
            "{}: done in {:.1} s",
            self.what,
            self.stopwatch.elapsed().as_secs_f64()
        ));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(heartbeat) = self.heartbeat.take() {
            let _ = heartbeat.join();
        }
    }
}
