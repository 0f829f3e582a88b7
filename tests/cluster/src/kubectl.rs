//! The `kubectl` of the cluster.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::wait::Probe;
use crate::{Error, tools};

/// `kubectl` with the credentials of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A command that is not started yet. What the user's own configuration says does not reach it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let cache = self.kubeconfig.with_file_name("kubectl-cache");
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", cache)
            .env("KUBERC", "off");
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, Error> {
        tools::run(self.command().args(arguments))
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        let failed = |source| Error::Io {
            action: format!("run kubectl {}", arguments.join(" ")),
            source,
        };
        let mut command = self.command();
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        // Its own thread: a command that prints while it reads would otherwise wait for us, and we for it.
        let writer = child.stdin.take().map(|mut stdin| {
            let input = input.to_owned();
            std::thread::spawn(move || stdin.write_all(input.as_bytes()))
        });
        let output = child.wait_with_output().map_err(failed)?;
        // A failed write means that the command ended early; its status says why.
        drop(writer.map(std::thread::JoinHandle::join));
        tools::checked(&command, &output)
    }

    /// Whether a command succeeds by now.
    pub(crate) fn probe(&self, arguments: &[&str]) -> Result<Probe<()>, Error> {
        match self.run(arguments) {
            Ok(_) => Ok(Probe::Ready(())),
            Err(Error::Command { stderr, .. }) => Ok(Probe::NotYet(stderr)),
            Err(error) => Err(error),
        }
    }
}
