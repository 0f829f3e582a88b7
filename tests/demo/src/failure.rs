//! What can go wrong in the demo, each with what was tried, where, why, and where to look.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the demo ended before its end.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The cluster, Redis or an image could not be had.
    #[error(transparent)]
    Cluster(#[from] lockstep_cluster::Error),
    /// A command failed.
    #[error("`{command}` failed with {status}:\n{output}")]
    Command {
        /// As a user would type it.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed.
        output: String,
    },
    /// A condition did not come true.
    #[error("waited {seconds} s in vain for {what}\n  last seen: {last_seen}\n  {look}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long.
        seconds: u64,
        /// The last state.
        last_seen: String,
        /// Where to look.
        look: String,
    },
    /// Something came out differently than the story says.
    #[error("the story came out differently: {what}\n  {look}")]
    Story {
        /// What is different.
        what: String,
        /// Where to look.
        look: String,
    },
    /// The operating system refused something.
    #[error("could not {action}: {source}")]
    Io {
        /// What was tried, with the path.
        action: String,
        /// The reason.
        source: io::Error,
    },
    /// A program answered with something else than its format promises.
    #[error("{what} is not as expected: {why}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Says what was tried on which path, when the operating system refuses it.
pub(crate) trait WhileTrying<T> {
    /// `action` is the start of a sentence that the path ends.
    fn while_trying(self, action: &str, path: impl AsRef<Path>) -> Result<T, Failure>;
}

impl<T> WhileTrying<T> for io::Result<T> {
    fn while_trying(self, action: &str, path: impl AsRef<Path>) -> Result<T, Failure> {
        let path: PathBuf = path.as_ref().to_owned();
        self.map_err(|source| Failure::Io {
            action: format!("{action} {}", path.display()),
            source,
        })
    }
}
