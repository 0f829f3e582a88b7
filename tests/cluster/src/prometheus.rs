//! Prometheus and promtool, of the Debian package `prometheus`: unpacked into the cache rather than installed, since the
//! package would also start a server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Error;
use crate::cache::{self, Lock};
use crate::error::IoContext as _;
use crate::progress::Step;
use crate::tools::{find, run};

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Prometheus {
    /// The server.
    pub server: PathBuf,
    /// Checks rules and runs their tests.
    pub promtool: PathBuf,
}

impl Prometheus {
    /// Those of the machine if it has them, else those of the Debian package, fetched once.
    pub fn find() -> Result<Self, Error> {
        if let (Some(server), Some(promtool)) = (find("prometheus"), find("promtool")) {
            return Ok(Self { server, promtool });
        }
        let folder = cache::folder()?.join("debian/prometheus");
        let unpacked = Self {
            server: folder.join("usr/bin/prometheus"),
            promtool: folder.join("usr/bin/promtool"),
        };
        if unpacked.server.exists() {
            return Ok(unpacked);
        }
        // Another test process may be fetching the same.
        let _lock = Lock::take("packages")?;
        if unpacked.server.exists() {
            return Ok(unpacked);
        }
        if find("apt-get").is_none() || find("dpkg").is_none() {
            return Err(Error::MissingTool {
                tool: "prometheus".to_owned(),
                next_step:
                    "install Prometheus with its promtool; on Debian or Ubuntu: apt-get install prometheus"
                        .to_owned(),
            });
        }
        let step = Step::start("fetch the Debian package prometheus", "half a minute");
        let fresh = folder.with_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).while_trying("remove", &fresh)?;
        }
        fs::create_dir_all(&fresh).while_trying("create", &fresh)?;
        // Its list of packages may be old, or not there yet.
        let fetch = "apt-get download prometheus || { apt-get update && apt-get download prometheus; }";
        let unpack = "dpkg -x prometheus_*.deb . && rm prometheus_*.deb";
        run(Command::new("sh")
            .args(["-c", &format!("{{ {fetch}; }} && {unpack}")])
            .current_dir(&fresh))?;
        fs::rename(&fresh, &folder).while_trying("rename", &fresh)?;
        step.done();
        Ok(unpacked)
    }
}
