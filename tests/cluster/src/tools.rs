//! Programs that come from the machine rather than from our own builds.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Error;
use crate::cache::Lock;
use crate::progress::Step;

/// Where programs for the administrator lie, which are often missing from `PATH`.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name on `PATH`, or an absolute path for what lies outside of it.
    pub program: &'static str,
    /// What `apt-get install` calls it.
    pub debian_package: &'static str,
}

pub(crate) const REDIS_SERVER: Tool = Tool {
    program: "redis-server",
    debian_package: "redis-server",
};
pub(crate) const REDIS_CLI: Tool = Tool {
    program: "redis-cli",
    debian_package: "redis-tools",
};

/// Makes sure that all `tools` are there, installing what is missing where that can be done.
pub fn require(tools: &[Tool]) -> Result<(), Error> {
    if missing(tools).is_empty() {
        return Ok(());
    }
    // Another test process may be installing the same.
    let _lock = Lock::take("packages")?;
    let missing = missing(tools);
    let Some(first) = missing.first() else {
        return Ok(());
    };

    let packages: Vec<&str> = missing.iter().map(|tool| tool.debian_package).collect();
    let command = format!(
        "apt-get update && apt-get install --no-install-recommends -y {}",
        packages.join(" ")
    );
    if !rustix::process::geteuid().is_root() || find("apt-get").is_none() {
        return Err(Error::MissingTool {
            tool: first.program.to_owned(),
            next_step: format!("on Debian or Ubuntu, install it as root with `{command}`"),
        });
    }
    let step = Step::start(
        &format!("install Debian packages {}", packages.join(" ")),
        "half a minute",
    );
    run(Command::new("sh")
        .args(["-c", &command])
        .env("DEBIAN_FRONTEND", "noninteractive"))?;
    step.done();
    match self::missing(tools).first() {
        None => Ok(()),
        Some(tool) => Err(Error::MissingTool {
            tool: tool.program.to_owned(),
            next_step: format!(
                "package `{}` was installed and does not have it",
                tool.debian_package
            ),
        }),
    }
}

fn missing(tools: &[Tool]) -> Vec<&Tool> {
    tools.iter().filter(|tool| find(tool.program).is_none()).collect()
}

/// Finds a program on `PATH` and in the folders for the administrator.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Path::new(program).exists().then(|| PathBuf::from(program));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// `PATH` with the folders for the administrator at its end.
pub(crate) fn search_path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from));
    // Joining fails only for a folder with a colon in its name, which a split never yields.
    env::join_paths(folders).unwrap_or(path)
}

/// Cargo, also from inside of a test. What it says there about the tested package is taken back: build scripts look at
/// such variables, and would build their crates anew, and then again without them.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let said = name.to_string_lossy();
        if said.starts_with("CARGO_PKG_") || said.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end and hands back what it printed.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let output = command.output().map_err(|source| Error::Io {
        action: format!("run {}", command.get_program().display()),
        source,
    })?;
    checked(command, &output)
}

/// The standard output of a finished command, or the error that its exit status means.
pub(crate) fn checked(command: &Command, output: &Output) -> Result<String, Error> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::Command {
        command: shown(command),
        status: output.status.to_string(),
        // Some tools complain on their standard output.
        stderr: if stderr.trim().is_empty() {
            stdout
        } else {
            stderr.trim().to_owned()
        },
    })
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
