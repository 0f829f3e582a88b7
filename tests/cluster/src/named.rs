//! Clusters that several commands find under a name.
//!
//! The process that owns a named cluster holds a lock as long as it lives, and writes down how to reach the
//! cluster. Whether a cluster runs is asked of the lock alone: what a crash leaves lying about can't mislead
//! anybody.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::cache::{self, Lock};
use crate::certificates::write_private;
use crate::cluster::Access;
use crate::error::IoContext;
use crate::processes::last_lines;
use crate::wait::{self, Probe};
use crate::{Cluster, Error, Options};

/// A running cluster with a name. It ends when it is dropped, or when this process ends.
#[derive(Debug)]
pub struct NamedCluster {
    // In this order: who finds the lock free must find the cluster gone.
    cluster: Cluster,
    files: Files,
    _lock: Lock,
}

impl NamedCluster {
    /// Starts a cluster that [`Cluster::attach`] finds by its name.
    pub fn start(name: &str, options: &Options) -> Result<Self, Error> {
        let files = Files::of(name)?;
        // Whoever looks whether the cluster runs has the lock for a moment.
        let lock = wait::until(
            "the end of others' use of this name",
            Duration::from_secs(2),
            || {
                Ok(match Lock::try_take(&files.lock)? {
                    Some(lock) => Probe::Ready(lock),
                    None => Probe::NotYet(format!("{} has it", Lock::holder(&files.lock))),
                })
            },
        )?;
        // A leftover of a crash would otherwise describe this cluster until it is ready.
        files.forget()?;
        let cluster = Cluster::start(options)?;
        let access = serde_json::to_string_pretty(cluster.access()).map_err(|error| Error::Malformed {
            what: "the cluster's description".to_owned(),
            why: error.to_string(),
        })?;
        write_private(&files.access_draft, &access)?;
        fs::rename(&files.access_draft, &files.access).while_trying("write", &files.access)?;
        Ok(Self {
            cluster,
            files,
            _lock: lock,
        })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

impl Drop for NamedCluster {
    fn drop(&mut self) {
        // If it stays, the free lock still says that nothing runs.
        let _ = self.files.forget();
    }
}

impl Cluster {
    /// The running cluster of this name, if there is one. The answer is for use only: it does not end the
    /// cluster.
    pub fn attach(name: &str) -> Result<Option<Self>, Error> {
        let files = Files::of(name)?;
        if files.owner()?.is_none() {
            return Ok(None);
        }
        // It may still be starting.
        let Ok(text) = fs::read_to_string(&files.access) else {
            return Ok(None);
        };
        let access: Access = serde_json::from_str(&text).map_err(|error| Error::Malformed {
            what: files.access.display().to_string(),
            why: format!("{error}; was this cluster started by another version? End it with that one"),
        })?;
        Ok(access.folder.exists().then(|| Self::attached(access)))
    }
}

/// Starts a cluster in a process of its own, which stays when this one ends, and waits until it is ready.
///
/// `owner` is the command of a process that calls [`NamedCluster::start`] with this name.
pub fn start_detached(name: &str, owner: &Command) -> Result<Cluster, Error> {
    const LIMIT: Duration = Duration::from_mins(5);
    let files = Files::of(name)?;
    let log = File::create(&files.log).while_trying("create", &files.log)?;
    // A new session, so that neither Ctrl-C nor the end of the terminal reaches it.
    let mut process = Command::new("setsid")
        .arg(owner.get_program())
        .args(owner.get_args())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .while_trying("start the owner of", &files.access)?;
    wait::until("readiness of the detached cluster", LIMIT, || {
        let tail = || last_lines(&files.log);
        if let Some(status) = process
            .try_wait()
            .while_trying("ask after the owner of", &files.access)?
        {
            return Err(Error::Ended {
                component: format!("the owner of cluster {name}"),
                status: status.to_string(),
                log: tail(),
                log_path: files.log.clone(),
            });
        }
        Ok(Cluster::attach(name)?.map_or_else(|| Probe::NotYet(tail()), Probe::Ready))
    })
}

/// Ends the cluster of this name and waits until all of it is gone. Says whether there was one.
pub fn stop(name: &str) -> Result<bool, Error> {
    const LIMIT: Duration = Duration::from_mins(1);
    let files = Files::of(name)?;
    let Some(owner) = files.owner()? else {
        files.forget()?;
        return Ok(false);
    };
    rustix::process::kill_process(owner, Signal::TERM)
        .map_err(std::io::Error::from)
        .while_trying("end the owner of", &files.access)?;
    wait::until(&format!("the end of cluster {name}"), LIMIT, || {
        Ok(match files.owner()? {
            None => Probe::Ready(true),
            Some(_) => Probe::NotYet(format!("{} still owns it", Lock::holder(&files.lock))),
        })
    })
}

/// Where things about one name lie.
#[derive(Debug)]
struct Files {
    lock: PathBuf,
    access: PathBuf,
    access_draft: PathBuf,
    log: PathBuf,
}

impl Files {
    fn of(name: &str) -> Result<Self, Error> {
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Error::Unsupported(format!(
                "`{name}` can't name a cluster: take letters, digits and hyphens"
            )));
        }
        let folder = cache::folder()?.join("run");
        fs::create_dir_all(&folder).while_trying("create", &folder)?;
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        Ok(Self {
            lock: file("lock"),
            access: file("json"),
            access_draft: file("json.draft"),
            log: file("log"),
        })
    }

    /// The process that owns the cluster, if one does.
    fn owner(&self) -> Result<Option<Pid>, Error> {
        if !self.lock.exists() {
            return Ok(None);
        }
        Lock::holder_pid(&self.lock)
    }

    fn forget(&self) -> Result<(), Error> {
        match fs::remove_file(&self.access) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.while_trying("remove", &self.access),
        }
    }
}
