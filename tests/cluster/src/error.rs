//! What can go wrong, each with what it was doing, where, why, and what to do next.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a cluster, a Redis or an image could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that this crate can't build is not on the machine.
    #[error("`{tool}` is needed and was not found: {next_step}")]
    MissingTool {
        /// The program that was looked for.
        tool: String,
        /// The command that installs it.
        next_step: String,
    },

    /// The node profile makes namespaces, mounts and network links.
    #[error(
        "the node profile needs root, since it makes namespaces, mounts and network links: run it as root, or use \
         the control-plane profile, whose KWOK nodes need no privileges"
    )]
    NeedsRoot,

    /// Every slot for a real node on this machine is taken.
    #[error("all places for a node on this machine are taken, by {}: end one of them first", holders.join(", "))]
    NodeSlotsTaken {
        /// Who holds each place, as they wrote it down.
        holders: Vec<String>,
    },

    /// A component ended although it should run.
    #[error("{component} ended with {status}; the end of its log {}:\n{log}", log_path.display())]
    Ended {
        /// The component, e.g. `kube-apiserver`.
        component: String,
        /// How it ended.
        status: String,
        /// Where its whole log was; it goes with the cluster unless `LOCKSTEP_KEEP` is set.
        log_path: PathBuf,
        /// The last lines of the log.
        log: String,
    },

    /// A condition did not come true in time.
    #[error("{what} did not come within {} s; last seen: {last_seen}", waited.as_secs())]
    Timeout {
        /// The condition.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last answer, or the end of the log of the component that should have made it true.
        last_seen: String,
    },

    /// A command answered with a failure.
    #[error("`{command}` failed with {status}: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it wrote to its standard error.
        stderr: String,
    },

    /// The operating system refused something.
    #[error("could not {action}: {source}")]
    Io {
        /// What was tried, with the path.
        action: String,
        /// The reason.
        source: std::io::Error,
    },

    /// A certificate could not be made.
    #[error("could not make the certificate of {subject}: {source}")]
    Certificate {
        /// Whose certificate.
        subject: String,
        /// The reason.
        source: rcgen::Error,
    },

    /// The call does not fit this cluster.
    #[error("{0}")]
    Unsupported(String),

    /// An answer was not what the protocol or format promises.
    #[error("{what} is not as expected: {why}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Says what was tried on which path, when the operating system refuses it.
pub trait IoContext<T> {
    /// `action` is the start of a sentence that the path ends: "create", "write".
    fn while_trying(self, action: &str, path: &Path) -> Result<T, Error>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn while_trying(self, action: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action: format!("{action} {}", path.display()),
            source,
        })
    }
}
