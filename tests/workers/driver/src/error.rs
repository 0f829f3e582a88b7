//! What can go wrong with a worker, each with what to look at next.

use std::time::Duration;

/// Why a worker could not be installed, started or driven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine lacks something, or refused something.
    #[error(transparent)]
    Machine(#[from] lockstep_cluster::Error),

    /// The library refused a command.
    #[error("{library}: `{command}` failed: {error}")]
    Refused {
        /// The library's name.
        library: &'static str,
        /// What it was asked to do.
        command: String,
        /// Its own words.
        error: String,
    },

    /// The worker said nothing, or something else than what was awaited.
    #[error("{library}: no event `{awaited}` within {} s; its log ends with:\n{log}", waited.as_secs())]
    Silent {
        /// The library's name.
        library: &'static str,
        /// The event that did not come.
        awaited: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// The last lines of the worker's standard error.
        log: String,
    },

    /// The worker ended although it was to go on.
    #[error("{library}: the worker ended; its log ends with:\n{log}")]
    Ended {
        /// The library's name.
        library: &'static str,
        /// The last lines of its standard error.
        log: String,
    },

    /// The worker wrote a line that is no event.
    #[error("{library}: not an event ({source}): {line}")]
    Malformed {
        /// The library's name.
        library: &'static str,
        /// What it wrote.
        line: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}
