//! Helm, built as the programs of the cluster are (I/O). In: which of its two generations; out: a command that neither
//! reads nor writes what the user's own Helm keeps.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{HELM3, HELM4};
use crate::{Error, cache, tools};

/// A generation of Helm. They differ in how they apply: 3 patches on the client, 4 lets the server apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelmVersion {
    /// Helm 3.
    V3,
    /// Helm 4.
    V4,
}

impl HelmVersion {
    /// Both, oldest first.
    pub const ALL: [Self; 2] = [Self::V3, Self::V4];
}

/// A built `helm`.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
}

impl Helm {
    /// Builds it unless that was done before.
    pub fn get(version: HelmVersion) -> Result<Self, Error> {
        let module = match version {
            HelmVersion::V3 => &HELM3,
            HelmVersion::V4 => &HELM4,
        };
        let program = module.programs(&["helm"])?.path("helm");
        Ok(Self { program })
    }

    /// Its file.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command that is not started yet; with a kubeconfig it talks to that cluster, without one to none.
    pub fn command(&self, kubeconfig: Option<&Path>) -> Result<Command, Error> {
        let home = cache::folder()?.join("helm");
        let mut command = Command::new(&self.program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("HELM_") {
                command.env_remove(variable);
            }
        }
        command
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .env("KUBECONFIG", kubeconfig.unwrap_or(Path::new("/dev/null")));
        Ok(command)
    }

    /// Runs it and hands back what it printed.
    pub fn run(&self, kubeconfig: Option<&Path>, arguments: &[&str]) -> Result<String, Error> {
        tools::run(self.command(kubeconfig)?.args(arguments))
    }
}
