//! What the tests of this crate share.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The command `lockstep-cluster` with arguments.
pub(crate) fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep-cluster"));
    command.args(line.split(' '));
    command
}

/// Runs `lockstep-cluster up …` until the cluster is ready. The answer is its owner and its folder.
pub(crate) fn start_owner(line: &str) -> (Child, PathBuf) {
    let mut owner = command(line).stdout(Stdio::piped()).spawn().unwrap();
    let mut kubeconfig = String::new();
    BufReader::new(owner.stdout.take().unwrap())
        .read_line(&mut kubeconfig)
        .unwrap();
    (
        owner,
        PathBuf::from(kubeconfig.trim()).parent().unwrap().to_owned(),
    )
}

/// The lines of a program's output that contain a word.
pub(crate) fn lines_with(word: &str, program: &str, arguments: &str) -> Vec<String> {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter(|line| line.contains(word))
        .map(str::to_owned)
        .collect()
}

/// The command lines of processes that name a folder.
pub(crate) fn processes_of(folder: &Path) -> Vec<String> {
    lines_with(&folder.to_string_lossy(), "ps", "-e -o args=")
}

/// Waits half a minute for a condition.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(condition(), "{what} did not come true");
}
