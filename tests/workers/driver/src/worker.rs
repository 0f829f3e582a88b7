//! One running program that holds a lock (I/O). In: a library, where to lock and what; out: what it says, and signals
//! to it.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use lockstep_cluster::program::{Program, ProgramOptions};
use serde::Deserialize;

use crate::install;
use crate::{Error, Library, OwnerIn};

/// A program of any language has started, taken a free lock, or ended after this long, however busy the machine.
const LIMIT: Duration = Duration::from_mins(1);

/// What a worker is told when it starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to lock: `redis://address:port`. Only libraries with a quorum take more than one.
    pub redis: Vec<String>,
    /// The lock's name as the library calls it; the queue for Bull and `BullMQ`; the key prefix for `RedBeat`.
    pub name: String,
    /// The job for Bull and `BullMQ`; `job` if none is named.
    pub job: Option<String>,
    /// The time to live; the library's own default if none is named.
    pub ttl: Option<Duration>,
    /// The pod's name; where it is seen depends on the library ([`Library::owner_in`]).
    pub owner: Option<String>,
}

impl Options {
    /// A lock in one Redis, with the library's own time to live and without an owner.
    pub fn new(redis: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            redis: vec![redis.into()],
            name: name.into(),
            job: None,
            ttl: None,
            owner: None,
        }
    }

    /// With a time to live. Some libraries know whole seconds only: they round it.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// With an owner.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// With another job than `job`.
    #[must_use]
    pub fn job(mut self, job: impl Into<String>) -> Self {
        self.job = Some(job.into());
        self
    }
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// It runs, and holds nothing yet.
    Ready {
        /// The library's version, as the library itself says it.
        version: String,
        /// The key that the lock will have.
        key: String,
    },
    /// The library says that it has the lock.
    Taken,
    /// The library has released the lock.
    Released,
    /// The library has extended the lock, as it was asked to.
    Extended,
    /// The library says that it lost the lock.
    Lost {
        /// What the library calls it.
        error: String,
    },
    /// The library could not do what it was asked to.
    Failed {
        /// The command.
        command: String,
        /// The library's own words.
        error: String,
    },
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Taken => "taken",
            Self::Released => "released",
            Self::Extended => "extended",
            Self::Lost { .. } => "lost",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A running program with one lock, taken or not. It ends when it is dropped, or when this process ends.
#[derive(Debug)]
pub struct Worker {
    library: Library,
    program: Program,
    input: ChildStdin,
    events: Receiver<Result<Event, Error>>,
    version: String,
    key: String,
}

impl Worker {
    /// Installs the library if it isn't, starts its program, and waits until that is ready.
    pub fn start(library: Library, options: &Options) -> Result<Self, Error> {
        let command = install::command(library)?;
        let mut environment: Vec<(String, OsString)> = vec![
            ("REDIS_URL".to_owned(), options.redis.join(",").into()),
            ("LOCK_NAME".to_owned(), options.name.clone().into()),
        ];
        let ttl = options.ttl.map(|ttl| ttl.as_millis().to_string());
        let optional = [
            ("LOCK_TTL_MS", ttl.as_ref()),
            ("LOCK_OWNER", options.owner.as_ref()),
            ("LOCK_JOB", options.job.as_ref()),
        ];
        for (name, value) in optional {
            environment.push((name.to_owned(), value.cloned().unwrap_or_default().into()));
        }
        let hostname = options
            .owner
            .clone()
            .filter(|_| library.owner_in() == OwnerIn::HostName);
        let named = hostname.clone().unwrap_or_else(own_hostname);
        let (program, input, output) = Program::start(&ProgramOptions {
            name: library.name().to_owned(),
            program: command.program,
            arguments: command.arguments,
            environment,
            files: vec![(
                install::HOSTS.to_owned(),
                format!("127.0.0.1 {named} localhost\n"),
            )],
            hostname,
        })?;
        let mut worker = Self {
            library,
            program,
            input,
            events: listen(library, output),
            version: String::new(),
            key: String::new(),
        };
        if let Event::Ready { version, key } = worker.next("ready", LIMIT)? {
            worker.version = version;
            worker.key = key;
        }
        Ok(worker)
    }

    /// The library.
    #[must_use]
    pub fn library(&self) -> Library {
        self.library
    }

    /// The library's version, as it says it itself.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The key of the lock, taken or not.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The process id, until it is killed or has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.program.pid()
    }

    /// Takes the lock, and waits until it has it.
    pub fn take(&mut self) -> Result<(), Error> {
        self.ask_to_take()?;
        self.await_taken()
    }

    /// Lets the worker try to take the lock until it has it.
    pub fn ask_to_take(&mut self) -> Result<(), Error> {
        self.ask("take")
    }

    /// Waits until the worker has the lock.
    pub fn await_taken(&mut self) -> Result<(), Error> {
        self.next("taken", LIMIT).map(drop)
    }

    /// Releases the lock through the library.
    pub fn release(&mut self) -> Result<(), Error> {
        self.ask("release")?;
        self.next("released", LIMIT).map(drop)
    }

    /// Extends the lock to its whole time to live through the library. One that renews by itself refuses.
    pub fn extend(&mut self) -> Result<(), Error> {
        self.ask("extend")?;
        self.next("extended", LIMIT).map(drop)
    }

    /// The next thing that it says without being asked, such as [`Event::Lost`].
    pub fn event(&mut self, limit: Duration) -> Result<Event, Error> {
        self.receive("", limit)
    }

    /// Asks it to end, as a kubelet would (SIGTERM): it releases what it holds. Waits until it has ended.
    pub fn terminate(self) -> Result<ExitStatus, Error> {
        Ok(self.program.terminate(LIMIT)?)
    }

    /// Kills it with SIGKILL, as a crash would: what it holds stays until it expires.
    pub fn kill(self) -> Result<(), Error> {
        Ok(self.program.kill()?)
    }

    /// Lets it stand still with its connections open (SIGSTOP): nothing is renewed.
    pub fn freeze(&self) -> Result<(), Error> {
        Ok(self.program.freeze()?)
    }

    /// Ends [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<(), Error> {
        Ok(self.program.thaw()?)
    }

    fn ask(&mut self, command: &str) -> Result<(), Error> {
        let sent = writeln!(self.input, "{command}").and_then(|()| self.input.flush());
        sent.map_err(|_| self.ended())
    }

    /// Waits for one kind of event; a failure in its place is an error, other events are passed over.
    fn next(&mut self, awaited: &'static str, limit: Duration) -> Result<Event, Error> {
        loop {
            match self.receive(awaited, limit)? {
                event if event.name() == awaited => return Ok(event),
                Event::Failed { command, error } => {
                    return Err(Error::Refused {
                        library: self.library.name(),
                        command,
                        error,
                    });
                }
                Event::Ready { .. }
                | Event::Taken
                | Event::Released
                | Event::Extended
                | Event::Lost { .. } => {}
            }
        }
    }

    fn receive(&self, awaited: &'static str, limit: Duration) -> Result<Event, Error> {
        match self.events.recv_timeout(limit) {
            Ok(event) => event,
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
            Err(RecvTimeoutError::Timeout) => Err(Error::Silent {
                library: self.library.name(),
                awaited,
                waited: limit,
                log: self.program.log_tail(),
            }),
        }
    }

    fn ended(&self) -> Error {
        Error::Ended {
            library: self.library.name(),
            log: self.program.log_tail(),
        }
    }
}

/// The machine's name, as its kernel says it.
fn own_hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Reads events in a thread of its own, so that they can be awaited with a limit. It ends with the program.
fn listen(library: Library, output: ChildStdout) -> Receiver<Result<Event, Error>> {
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let event = serde_json::from_str(&line).map_err(|source| Error::Malformed {
                library: library.name(),
                line,
                source,
            });
            if said.send(event).is_err() {
                return;
            }
        }
    });
    heard
}
