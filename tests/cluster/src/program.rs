//! Any program that ends with its owner, spoken to over its standard input and output (I/O). In: the program, its
//! arguments and environment; out: its two pipes, and signals to it. Its standard error goes to a log.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use crate::error::IoContext;
use crate::processes::{Cleanup, Launcher, Spec, Supervisor};
use crate::{Error, tools};

/// How a program is started.
#[derive(Debug, Clone, Default)]
pub struct ProgramOptions {
    /// What to call it in messages and in the name of its log.
    pub name: String,
    /// Its file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables that it has beside those of this process.
    pub environment: Vec<(String, OsString)>,
    /// Names and texts of files that it finds in its working folder.
    pub files: Vec<(String, String)>,
    /// The host name that it sees, as a container sees its pod's name; that of the machine if none is given.
    pub hostname: Option<String>,
}

/// A running program. It ends when it is dropped, or when this process ends.
#[derive(Debug)]
pub struct Program {
    supervisor: Supervisor,
    name: String,
}

impl Program {
    /// Starts a program and hands out its standard input and output.
    pub fn start(options: &ProgramOptions) -> Result<(Self, ChildStdin, ChildStdout), Error> {
        let name = &options.name;
        let supervisor = Supervisor::new(name, Cleanup::default())?;
        for (file, text) in &options.files {
            let path = supervisor.folder().join(file);
            fs::write(&path, text).while_trying("write", &path)?;
        }
        let mut spec = Spec::new(name, &options.program).args(&options.arguments).piped();
        for (name, value) in &options.environment {
            spec = spec.env(name, value);
        }
        if let Some(hostname) = &options.hostname {
            spec = spec.within(&named(hostname));
        }
        supervisor.spawn(spec)?;
        let (input, output) = supervisor.pipes(name)?;
        let name = name.clone();
        Ok((Self { supervisor, name }, input, output))
    }

    /// The process id, unless it was killed or its end was awaited.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.pid(&self.name)
    }

    /// Its working folder; it goes with the program.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.supervisor.folder()
    }

    /// The last lines of its standard error.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.supervisor.log_tail(&self.name)
    }

    /// Asks it to end, as a kubelet would (SIGTERM), and waits until it has.
    pub fn terminate(&self, limit: Duration) -> Result<ExitStatus, Error> {
        self.supervisor.signal(&self.name, Signal::TERM)?;
        self.ended(limit)
    }

    /// Waits until it ends by itself.
    pub fn ended(&self, limit: Duration) -> Result<ExitStatus, Error> {
        self.supervisor.ended(&self.name, limit)
    }

    /// Kills it with SIGKILL, as a crash would, and waits until it is gone.
    pub fn kill(&self) -> Result<(), Error> {
        self.supervisor.kill(&self.name).map(drop)
    }

    /// Lets it stand still with its connections open (SIGSTOP).
    pub fn freeze(&self) -> Result<(), Error> {
        self.supervisor.signal(&self.name, Signal::STOP)
    }

    /// Ends [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<(), Error> {
        self.supervisor.signal(&self.name, Signal::CONT)
    }
}

/// Starts another program where this machine has another name. Every step replaces the one before it, so that the
/// process that was started is the program itself.
fn named(hostname: &str) -> Launcher {
    let mut words = vec!["unshare".to_owned(), "--uts".to_owned()];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user".to_owned(), "--map-root-user".to_owned()]);
    }
    let hostname_program = tools::find("hostname").unwrap_or_else(|| "hostname".into());
    let script = r#"set -e; "$0" "$1"; shift; exec "$@""#;
    words.extend(["sh".to_owned(), "-c".to_owned(), script.to_owned()]);
    words.extend([hostname_program.display().to_string(), hostname.to_owned()]);
    Launcher { words, forks: false }
}
