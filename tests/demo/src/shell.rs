//! Commands (I/O): run exactly as they are printed, so that a reader can type them after the demo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;
use crate::tell::{self, line};

/// No command of the demo has business for longer; those that wait have a shorter limit of their own.
const COMMAND_LIMIT_SECONDS: &str = "300";

/// Where commands run: in the repository, with the cluster's programs first on the path.
#[derive(Debug)]
pub(crate) struct Shell {
    kubeconfig: PathBuf,
    path: OsString,
    repository: PathBuf,
    /// Where to look when something did not come true.
    pub(crate) look: String,
}

impl Shell {
    pub(crate) fn new(programs: &[&Path], kubeconfig: &Path, repository: &Path, look: String) -> Self {
        let mut path = OsString::new();
        for folder in programs.iter().filter_map(|program| program.parent()) {
            path.push(folder);
            path.push(":");
        }
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Self {
            kubeconfig: kubeconfig.to_owned(),
            path,
            repository: repository.to_owned(),
            look,
        }
    }

    /// Prints the command, runs it, prints and hands back its output.
    pub(crate) fn show(&self, command: &str) -> Result<String, Failure> {
        line(&format!("$ {command}"));
        let output = self.run(command)?;
        if !output.is_empty() {
            line(output.trim_end());
        }
        Ok(output)
    }

    /// Runs a command without a word.
    pub(crate) fn run(&self, command: &str) -> Result<String, Failure> {
        let failed = |source| Failure::Io {
            action: format!("run `{command}`"),
            source,
        };
        let output = self.command(command).output().map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(self.failure(command, &output))
    }

    fn failure(&self, command: &str, output: &Output) -> Failure {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
        Failure::Command {
            command: command.to_owned(),
            status: output.status.to_string(),
            output: format!("{}\n  {}", printed.trim_end(), self.look),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", COMMAND_LIMIT_SECONDS, "sh", "-c", line]);
        // A kubectl of the user's own settings would print something else.
        command
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBERC", "off");
        command.current_dir(&self.repository).stdin(Stdio::null());
        command
    }

    /// What `kubectl get … -o json` says.
    pub(crate) fn get(&self, what: &str) -> Result<Value, Failure> {
        let command = format!("kubectl get {what} -o json");
        let text = self.run(&command)?;
        serde_json::from_str(&text).map_err(|error| Failure::Malformed {
            what: command,
            why: error.to_string(),
        })
    }

    /// Waits for a condition of the cluster.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        probe: impl FnMut() -> Result<tell::Probe<T>, Failure>,
    ) -> Result<T, Failure> {
        tell::until(what, limit, &self.look, probe)
    }
}
