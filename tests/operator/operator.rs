//! The program under test, as a process that ends with its test, and with the test program.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::place::{PATIENCE, Place, control_plane, eventually};

/// Kills its process group when this program ends, of whatever kind its end is.
struct Watchdog {
    group: i32,
    /// Reads from a pipe that ends with this program.
    _shell: Child,
}

static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(|| {
    let shell = Command::new("/bin/sh")
        .args(["-c", "trap '' HUP INT TERM; read -r _; kill -s KILL -- -$$"])
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    Watchdog {
        group: i32::try_from(shell.id()).unwrap(),
        _shell: shell,
    }
});

/// A process that is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it prints goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .process_group(WATCHDOG.group)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Processor time that it used so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: f64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<f64>().unwrap())
            .sum();
        // Linux counts in hundredths of a second wherever this runs.
        ticks / 100.0
    }

    /// Bytes that it has in memory.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }

    /// What it printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Where it serves health and metrics, as soon as it says so.
    pub(crate) async fn admin(&self) -> SocketAddr {
        eventually("the operator serves", async || {
            let log = self.log();
            let line = log.lines().rfind(|line| line.contains("serving /livez"))?;
            let port = line.rsplit(':').next()?;
            let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
            Some(SocketAddr::from(([127, 0, 0, 1], digits.parse().ok()?)))
        })
        .await
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stands still from now on.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Goes on after [`Process::pause`].
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Whether it still runs.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself; whether that was in order, and what it logged.
    pub(crate) async fn ended(mut self) -> (bool, String) {
        let status = super::place::eventually("the process ends by itself", async || {
            self.child.try_wait().unwrap()
        })
        .await;
        (status.success(), std::fs::read_to_string(&self.log).unwrap())
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn terminate(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        for _ in 0..PATIENCE.as_millis() / 50 {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "it ends in order");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("in vain: the process ends by itself");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let last = lines.len().saturating_sub(40);
            println!("{} ends with:\n{}", self.log.display(), lines[last..].join("\n"));
        }
    }
}

/// What is answered to a GET.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
}

/// Asks for a page; `None`: nobody answers.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<Page> {
    // In this version every answer comes in one piece.
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, text) = answer.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.to_owned()))
    };
    Some(Page {
        status: head.split(' ').nth(1)?.parse().ok()?,
        content_type: header("content-type").unwrap_or_default(),
        text: text.to_owned(),
    })
}

/// Starts an operator for a namespace.
pub(crate) async fn operator(place: &Place, arguments: &[&str]) -> Process {
    operator_as(place, "operator", &place.kubeconfig, arguments).await
}

/// Starts an operator for a namespace that logs in by `kubeconfig`; its log is named after `name`.
pub(crate) async fn operator_as(place: &Place, name: &str, kubeconfig: &Path, arguments: &[&str]) -> Process {
    let logs = control_plane().await.dir().join("logs");
    let log = logs.join(format!("{name}-{}.log", place.namespace));
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command
        .args(["run", "--watch-namespace", &place.namespace])
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        // Many operators share this machine: whoever asks one of them gives it an address.
        .env("LOCKSTEP_ADMIN_BIND", "off")
        .env("LOCKSTEP_LOG", "info,lockstep=debug");
    Process::start(&mut command, &log)
}
