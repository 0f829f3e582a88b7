//! Processes that end with their parent, however it ends.
//!
//! Destructors are not enough: statics of a test binary are never dropped, and nothing runs after a SIGKILL.
//! A parent death signal is no way either, since it fires when the *thread* that spawned the process ends. So
//! each [`Supervisor`] starts a watchdog, a shell that does nothing but read from a pipe whose other end only
//! the parent holds. The end of the parent, of whatever kind, ends the pipe; the watchdog then kills its
//! process group, which all supervised processes are in, and removes their folder. `Drop` takes the same way,
//! so there is one clean-up to trust.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::Error;
use crate::error::IoContext;
use crate::tools;
use crate::wait::{self, Probe};

/// Arguments: folder, clean-up command, and whether to keep the folder. Its standard error is not for
/// messages: it carries a lock that has to be held until all is cleaned up.
///
/// The shell ignores signals, since a terminal or a test runner sends them to more than the parent. The
/// killing is done from a new session, for the shell is itself in the group that dies. After it, zombies
/// count as gone: they wait for somebody else, and hold nothing.
const WATCHDOG: &str = r#"
trap '' HUP INT QUIT TERM
while read -r _; do :; done
exec setsid --fork sh -c '
    kill -s KILL -- "-$1"
    tries=200
    while sed "s/.*) //" /proc/[0-9]*/stat | grep -q "^[^ZX] [0-9]* $1 " && [ "$tries" -gt 0 ]; do
        sleep 0.05
        tries=$((tries - 1))
    done
    sh -c "$3"
    [ -n "$4" ] || rm -rf -- "$2" || { sleep 0.2; rm -rf -- "$2"; }
' watchdog "$$" "$@" 9>&2 2>/dev/null
"#;

/// How a process is started; kept, so that it can be started again.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Its name, also that of its log.
    name: String,
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Whether the program starts the actual one as its child, and ends with it.
    forks: bool,
    /// Whether the caller has its standard input and output, rather than nobody and the log.
    piped: bool,
}

impl Spec {
    pub(crate) fn new(name: &str, program: impl AsRef<OsStr>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            forks: false,
            piped: false,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Adds `--name=value`.
    pub(crate) fn flag(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut argument = OsString::from(format!("--{name}="));
        argument.push(value);
        self.arg(argument)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Leaves standard input and output to the caller; [`Supervisor::pipes`] hands them out.
    pub(crate) fn piped(mut self) -> Self {
        self.piped = true;
        self
    }

    /// The same process, started by another program that gets it as its arguments.
    pub(crate) fn within(mut self, launcher: &Launcher) -> Self {
        let Some((program, arguments)) = launcher.words.split_first() else {
            return self;
        };
        self.forks = launcher.forks;
        let inner = std::mem::replace(&mut self.program, program.into());
        let rest = std::mem::take(&mut self.arguments);
        self.arguments = arguments
            .iter()
            .map(OsString::from)
            .chain([inner])
            .chain(rest)
            .collect();
        self
    }
}

/// The start of a command line that ends with another command line.
pub(crate) struct Launcher {
    pub(crate) words: Vec<String>,
    /// Whether it runs the other command as its child rather than in its own place.
    pub(crate) forks: bool,
}

/// A folder and the processes that work in it; all of them go together.
#[derive(Debug)]
pub(crate) struct Supervisor {
    folder: PathBuf,
    watchdog: Child,
    /// Never written to; that it is open says that the parent lives.
    alive: Option<ChildStdin>,
    processes: Mutex<BTreeMap<String, Process>>,
}

#[derive(Debug)]
struct Process {
    spec: Spec,
    child: Child,
}

/// A killed process is gone after this long, however busy the machine.
const END_LIMIT: Duration = Duration::from_secs(30);

impl Process {
    /// The process that does the work.
    fn id(&self) -> Pid {
        let launched = Pid::from_child(&self.child);
        if !self.spec.forks {
            return launched;
        }
        let pid = launched.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let child = children
            .split_whitespace()
            .next()
            .and_then(|child| child.parse().ok());
        // Without a child, it is about to start it or to end.
        child.and_then(Pid::from_raw).unwrap_or(launched)
    }

    fn signal(&self, signal: Signal) -> std::io::Result<()> {
        Ok(rustix::process::kill_process(self.id(), signal)?)
    }
}

/// What else goes at the end, beside the processes and the folder.
#[derive(Default)]
pub(crate) struct Cleanup {
    /// A shell command that runs after all processes are gone.
    pub(crate) command: String,
    /// A lock to hold until everything is gone.
    pub(crate) lock: Option<File>,
}

impl Supervisor {
    /// Makes a new folder in the folder for temporary files, with nobody in it yet.
    pub(crate) fn new(purpose: &str, cleanup: Cleanup) -> Result<Self, Error> {
        let folder = new_folder(purpose)?;
        let logs = folder.join("logs");
        fs::create_dir(&logs).while_trying("create", &logs)?;
        let keep = std::env::var_os("LOCKSTEP_KEEP").unwrap_or_default();
        let mut watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&folder)
            .args([cleanup.command.into(), keep])
            .env("PATH", tools::search_path())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(cleanup.lock.map_or_else(Stdio::null, Stdio::from))
            .spawn()
            .while_trying("start the watchdog of", &folder)?;
        let alive = watchdog.stdin.take();
        Ok(Self {
            folder,
            watchdog,
            alive,
            processes: Mutex::default(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        log_path(&self.folder, name)
    }

    /// The last lines of a process's log.
    pub(crate) fn log_tail(&self, name: &str) -> String {
        last_lines(&self.log_path(name))
    }

    /// Starts a process; one of the same name must not be running.
    pub(crate) fn spawn(&self, spec: Spec) -> Result<(), Error> {
        let child = self.launch(&spec)?;
        self.lock().insert(spec.name.clone(), Process { spec, child });
        Ok(())
    }

    fn launch(&self, spec: &Spec) -> Result<Child, Error> {
        let log_path = self.log_path(&spec.name);
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(&log_path)
                .while_trying("open", &log_path)
        };
        let group = i32::try_from(self.watchdog.id()).unwrap_or(0);
        Command::new(&spec.program)
            .args(&spec.arguments)
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .process_group(group)
            .stdin(if spec.piped { Stdio::piped() } else { Stdio::null() })
            .stdout(if spec.piped {
                Stdio::piped()
            } else {
                open()?.into()
            })
            .stderr(open()?)
            .spawn()
            .while_trying("start", Path::new(&spec.program))
    }

    /// Standard input and output of a process that was started with [`Spec::piped`]; once, as they have one owner.
    pub(crate) fn pipes(&self, name: &str) -> Result<(ChildStdin, ChildStdout), Error> {
        let mut processes = self.lock();
        let process = processes.get_mut(name).ok_or_else(|| not_running(name))?;
        let (input, output) = (process.child.stdin.take(), process.child.stdout.take());
        input.zip(output).ok_or_else(|| not_running(name))
    }

    /// Waits until a process ends by itself, and says how.
    pub(crate) fn ended(&self, name: &str, limit: Duration) -> Result<ExitStatus, Error> {
        let status = wait::until(&format!("the end of {name}"), limit, || {
            let mut processes = self.lock();
            let process = processes.get_mut(name).ok_or_else(|| not_running(name))?;
            let status = process.child.try_wait();
            Ok(match status.while_trying("ask after", Path::new(name))? {
                Some(status) => Probe::Ready(status),
                None => Probe::NotYet(self.log_tail(name)),
            })
        })?;
        self.lock().remove(name);
        Ok(status)
    }

    /// Fails if the process ended by itself, with the reason from its log.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        let mut processes = self.lock();
        let Some(process) = processes.get_mut(name) else {
            return Ok(());
        };
        let status = process
            .child
            .try_wait()
            .while_trying("ask after", Path::new(name))?;
        let Some(status) = status else { return Ok(()) };
        processes.remove(name);
        Err(Error::Ended {
            component: name.to_owned(),
            status: status.to_string(),
            log_path: self.log_path(name),
            log: self.log_tail(name),
        })
    }

    /// Waits for a condition that process `name` makes true; fails at once if that process ends.
    pub(crate) fn until<T>(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Result<Probe<T>, Error>,
    ) -> Result<T, Error> {
        let waited = wait::until(what, limit, || {
            let seen = probe()?;
            // Afterwards: if it is dead, somebody else on its port answered the probe.
            self.check(name)?;
            Ok(seen)
        });
        waited.map_err(|error| match error {
            Error::Timeout {
                what,
                waited,
                last_seen,
            } => Error::Timeout {
                what,
                waited,
                last_seen: format!(
                    "{last_seen}\nthe log of {name} ends with:\n{}",
                    self.log_tail(name)
                ),
            },
            other => other,
        })
    }

    /// The process id, if it was started and not killed since.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        self.lock()
            .get(name)
            .map(|process| process.id().as_raw_nonzero().get().unsigned_abs())
    }

    pub(crate) fn signal(&self, name: &str, signal: Signal) -> Result<(), Error> {
        let processes = self.lock();
        let process = processes.get(name).ok_or_else(|| not_running(name))?;
        process
            .signal(signal)
            .while_trying("send a signal to", Path::new(name))
    }

    /// Kills a process and waits until it is gone. The answer is how to start it again.
    pub(crate) fn kill(&self, name: &str) -> Result<Spec, Error> {
        let mut process = self.lock().remove(name).ok_or_else(|| not_running(name))?;
        // An error means that it ended already.
        let _ = process.signal(Signal::KILL);
        let launcher = Pid::from_child(&process.child);
        wait::until(&format!("the end of {name}"), END_LIMIT, || {
            let ended = process
                .child
                .try_wait()
                .while_trying("wait for the end of", Path::new(name))?;
            if ended.is_some() {
                return Ok(Probe::Ready(()));
            }
            // What launched it stops when it sees its child stopped, which may be after the child was continued: then
            // nobody would ever take note of the end.
            let _ = rustix::process::kill_process(launcher, Signal::CONT);
            Ok(Probe::NotYet("it is still there".to_owned()))
        })?;
        Ok(process.spec)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        // The map is whole after every statement, so a panic elsewhere leaves nothing half done.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.alive.take());
        let mut processes = std::mem::take(&mut *self.lock());
        for process in processes.values_mut() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        let _ = self.watchdog.wait();
        if let Some(mut output) = self.watchdog.stdout.take() {
            // It ends when the last shell of the watchdog does: then everything is gone.
            let _ = output.read_to_end(&mut Vec::new());
        }
    }
}

/// Where a process of a supervisor with this folder logs to.
pub(crate) fn log_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("logs").join(format!("{name}.log"))
}

/// The end of a log; nothing if there is none.
pub(crate) fn last_lines(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let start = lines.len().saturating_sub(LINES);
    lines[start..].join("\n")
}

fn not_running(name: &str) -> Error {
    Error::Unsupported(format!(
        "{name} does not run in this cluster, so it can't be signalled or stopped"
    ))
}

/// A folder that only this user can read, since it will hold private keys.
fn new_folder(purpose: &str) -> Result<PathBuf, Error> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lockstep-{purpose}-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            // A leftover of a process that had our id before.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).while_trying("create", &folder),
        }
    }
}
