//! The folder outside the repository that keeps what is expensive to make, and locks across processes.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::Pid;

use crate::Error;
use crate::error::IoContext;
use crate::progress::Step;

/// `LOCKSTEP_CACHE`, or `lockstep` in the user's cache folder.
pub fn folder() -> Result<PathBuf, Error> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("LOCKSTEP_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("lockstep")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/lockstep")))
        .unwrap_or_else(|| env::temp_dir().join("lockstep-cache"));
    fs::create_dir_all(&folder).while_trying("create", &folder)?;
    Ok(folder)
}

/// A lock across processes, held until it is dropped or its process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock `name`, waiting for whoever has it.
    pub fn take(name: &str) -> Result<Self, Error> {
        let folder = folder()?.join("locks");
        fs::create_dir_all(&folder).while_trying("create", &folder)?;
        let path = folder.join(name);
        if let Some(lock) = Self::try_take(&path)? {
            return Ok(lock);
        }
        let step = Step::start(
            &format!("wait for {} to finish with {name}", Self::holder(&path)),
            "minutes",
        );
        loop {
            if let Some(lock) = Self::try_take(&path)? {
                step.done();
                return Ok(lock);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Takes the lock in the file `path`, unless somebody has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, Error> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .while_trying("open", path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(source).while_trying("lock", path);
            }
        }
        let arguments: Vec<_> = env::args_os().take(4).collect();
        let shown = arguments.join(" ".as_ref());
        let holder = format!("process {} ({})", std::process::id(), shown.to_string_lossy());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .while_trying("clear", path)?;
        file.write_all(holder.as_bytes()).while_trying("write", path)?;
        Ok(Some(Self { file }))
    }

    /// The process that holds the lock in this file, if one does.
    pub(crate) fn holder_pid(path: &Path) -> Result<Option<Pid>, Error> {
        let mut file = File::open(path).while_trying("open", path)?;
        match file.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(source).while_trying("lock", path),
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder).while_trying("read", path)?;
        let pid = holder
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .and_then(Pid::from_raw);
        pid.map(Some).ok_or_else(|| Error::Malformed {
            what: format!("the lock {}", path.display()),
            why: format!("it does not say which process holds it: `{holder}`"),
        })
    }

    /// Who holds the lock in this file, in their own words.
    pub(crate) fn holder(path: &Path) -> String {
        let mut holder = String::new();
        let read = File::open(path).and_then(|mut file| file.read_to_string(&mut holder));
        if read.is_err() || holder.is_empty() {
            "another process".to_owned()
        } else {
            holder
        }
    }

    /// A second handle, so that the lock outlives this process as long as whoever gets the handle.
    pub(crate) fn share(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(|source| Error::Io {
            action: "share a lock".to_owned(),
            source,
        })
    }
}
