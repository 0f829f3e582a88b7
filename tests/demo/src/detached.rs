//! Processes that outlive the demo (I/O): the operator, and the players of the pods where there is no real node.
//! Each has a session of its own, a log, and a note of its process id by which a later run finds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Failure, WhileTrying as _};
use crate::tell::{self, Probe};

/// The operator ends within 10 s; workers release their locks within a few.
const END_LIMIT: Duration = Duration::from_secs(20);

/// A process by the name of its log and its note.
#[derive(Debug)]
pub(crate) struct Detached {
    name: &'static str,
    folder: PathBuf,
}

impl Detached {
    pub(crate) fn new(name: &'static str, folder: &Path) -> Self {
        Self {
            name,
            folder: folder.to_owned(),
        }
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn note(&self) -> PathBuf {
        self.folder.join(format!("{}.pid", self.name))
    }

    /// Starts it; one that runs from before is ended first, so that what runs is what was built.
    pub(crate) fn start(&self, program: &Path, configure: impl FnOnce(&mut Command)) -> Result<(), Failure> {
        self.end()?;
        let log = fs::File::create(self.log()).while_trying("create", self.log())?;
        let errors = log.try_clone().while_trying("open", self.log())?;
        // Its own session: Ctrl-C at the demo's terminal, or its end, must not reach it. As `setsid` is no leader of a
        // process group here, it becomes the program without a fork, and the id that is noted is the program's.
        let mut command = Command::new("setsid");
        command
            .arg(program)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        configure(&mut command);
        let child = command.spawn().while_trying("start", program)?;
        let id = child.id();
        let started = started(id).unwrap_or_default();
        fs::write(self.note(), format!("{id} {started}")).while_trying("write", self.note())
    }

    /// The id of the process, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        let note = fs::read_to_string(self.note()).ok()?;
        let (id, noted) = note.split_once(' ')?;
        let id = id.parse().ok()?;
        // An id is used again after a while; together with the start it is one process only.
        (started(id)? == noted).then_some(id)
    }

    /// Ends it and its session in order, or by force when that takes too long.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        if let Some(id) = self.id() {
            signal("TERM", id)?;
            let gone = tell::until(&format!("the end of {}", self.name), END_LIMIT, "", || {
                Ok(if self.id().is_none() {
                    Probe::Ready(())
                } else {
                    Probe::NotYet("it runs".to_owned())
                })
            });
            if gone.is_err() {
                signal("KILL", id)?;
            }
        }
        match fs::remove_file(self.note()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).while_trying("remove", self.note())
            }
            _ => Ok(()),
        }
    }
}

/// Sends a signal to the process group that `leader` leads.
fn signal(signal: &str, leader: u32) -> Result<(), Failure> {
    let status = Command::new("kill")
        .args(["-s", signal, "--", &format!("-{leader}")])
        .status();
    // A status other than success means that nobody is left in the group.
    status.while_trying("run", "kill").map(drop)
}

/// When a process started, in the kernel's ticks; nothing for one that is gone or only waits to be collected.
fn started(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program comes second and may hold anything; what follows its bracket does not.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let is_over = matches!(fields.next()?, "Z" | "X");
    // Field 22 of proc(5), counted from the third.
    (!is_over).then(|| fields.nth(18).map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_id_and_start() {
        let own = started(std::process::id()).expect("this process runs");
        assert!(own.parse::<u64>().is_ok(), "{own}");
        let folder = std::env::temp_dir().join(format!("lockstep-demo-test-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let detached = Detached::new("sleeper", &folder);
        assert_eq!(detached.id(), None);
        detached
            .start(Path::new("sleep"), |command| {
                command.arg("60");
            })
            .expect("starts");
        assert!(detached.id().is_some());
        detached.end().expect("ends");
        assert_eq!(detached.id(), None);
        fs::write(detached.note(), format!("{} 1", std::process::id())).expect("a note of another's id");
        assert_eq!(detached.id(), None);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
