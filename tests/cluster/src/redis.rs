//! A Redis server for a test, with whatever a network or an administrator can do to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::processes::{Cleanup, Spec, Supervisor};
use crate::wait::Probe;
use crate::{Error, ports, tools};

const NAME: &str = "redis-server";
const START_LIMIT: Duration = Duration::from_secs(20);

/// How a Redis is started. `RedisOptions::default()` is a standalone server on a free loopback port, without
/// persistence and without a password.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The port; a free one if none is named.
    pub port: Option<u16>,
    /// The addresses to listen on. The first is where [`Redis::cli`] connects.
    pub bind: Vec<IpAddr>,
    /// Further arguments, one word each, e.g. `["--user", "reader", "on", ">secret", "~*", "+@read"]`,
    /// `["--maxmemory", "2mb"]`. The last of two settings with the same name wins.
    pub args: Vec<String>,
    /// Arguments that `redis-cli` needs besides the address, e.g. `["--user", "admin", "--pass", "secret"]`,
    /// `["--tls"]`.
    pub cli_args: Vec<String>,
    /// Start a Sentinel rather than a server; `args` then hold its monitors.
    pub sentinel: bool,
    /// Start a member of a cluster; [`RedisCluster`] makes a whole one.
    pub cluster: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            port: None,
            bind: vec![Ipv4Addr::LOCALHOST.into()],
            args: Vec::new(),
            cli_args: Vec::new(),
            sentinel: false,
            cluster: false,
        }
    }
}

/// A running Redis. It ends when it is dropped, or when this process ends.
#[derive(Debug)]
pub struct Redis {
    supervisor: Supervisor,
    options: RedisOptions,
    port: u16,
    /// Where the members of a cluster talk to each other; unused outside of one.
    cluster_port: u16,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub fn start(options: RedisOptions) -> Result<Self, Error> {
        tools::require(&[tools::REDIS_SERVER, tools::REDIS_CLI])?;
        let supervisor = Supervisor::new("redis", Cleanup::default())?;
        let address = options
            .bind
            .first()
            .copied()
            .unwrap_or(Ipv4Addr::LOCALHOST.into());
        let port = options.port;
        let mut redis = Self {
            supervisor,
            options,
            port: 0,
            cluster_port: 0,
        };
        let mut attempt = |port| {
            redis.port = port;
            redis.cluster_port = ports::free(address)?;
            redis.launch()
        };
        match port {
            Some(port) => attempt(port)?,
            None => ports::retry(|| attempt(ports::free(address)?))?,
        }
        Ok(redis)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address it listens on first.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.options
            .bind
            .first()
            .copied()
            .unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    /// `redis://address:port`, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.socket_address())
    }

    fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address(), self.port)
    }

    /// Its working folder, where dumps and logs lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.supervisor.folder()
    }

    /// The process id, unless it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.pid(NAME)
    }

    /// Kills the server with SIGKILL, as a crash would.
    pub fn stop(&self) -> Result<(), Error> {
        self.supervisor.kill(NAME).map(drop)
    }

    /// Ends the server in order, without saving.
    pub fn shutdown(&self) -> Result<(), Error> {
        // The connection closes without an answer, which redis-cli does not call an error.
        self.cli(&["SHUTDOWN", "NOSAVE"])?;
        self.stop()
    }

    /// Starts the server again on the same port, stopping it first if it runs.
    pub fn restart(&self) -> Result<(), Error> {
        if self.pid().is_some() {
            self.stop()?;
        }
        self.launch()
    }

    /// Lets the server stand still with its connections open (SIGSTOP).
    pub fn freeze(&self) -> Result<(), Error> {
        self.supervisor.signal(NAME, Signal::STOP)
    }

    /// Ends [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<(), Error> {
        self.supervisor.signal(NAME, Signal::CONT)
    }

    /// Runs a command through `redis-cli` and hands back its raw output, without the line break at its end.
    ///
    /// An error that Redis answers with is an [`Error::Command`].
    pub fn cli(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = self.cli_command(arguments);
        let output = command.output().map_err(|source| Error::Io {
            action: "run redis-cli".to_owned(),
            source,
        })?;
        let answer = tools::checked(&command, &output)?;
        Ok(answer.strip_suffix('\n').unwrap_or(&answer).to_owned())
    }

    fn cli_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tools::REDIS_CLI.program);
        command
            .args([
                "-e",
                "--no-auth-warning",
                "-h",
                &self.address().to_string(),
                "-p",
                &self.port.to_string(),
            ])
            .args(&self.options.cli_args)
            .args(arguments);
        command
    }

    fn launch(&self) -> Result<(), Error> {
        ports::check_free(self.socket_address())?;
        self.supervisor.spawn(self.spec()?)?;
        self.supervisor
            .until(NAME, "an answer of Redis", START_LIMIT, || {
                let output = self.cli_command(&["PING"]).output();
                Ok(match output {
                    Ok(output) if answers(&output) => Probe::Ready(()),
                    Ok(output) => Probe::NotYet(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
                    Err(error) => Probe::NotYet(error.to_string()),
                })
            })
    }

    fn spec(&self) -> Result<Spec, Error> {
        let folder = self.supervisor.folder();
        let bind = self
            .options
            .bind
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        let mut spec = Spec::new(NAME, tools::find(NAME).unwrap_or_else(|| NAME.into()));
        if self.options.sentinel {
            // Sentinel insists on a file that it can rewrite.
            let path = folder.join("sentinel.conf");
            if !path.exists() {
                crate::certificates::write_private(&path, "")?;
            }
            spec = spec.arg(path).arg("--sentinel");
        }
        spec = spec.args(["--port", &self.port.to_string(), "--dir"]).arg(folder);
        spec = spec.arg("--bind").args(&bind);
        if !self.options.sentinel {
            // Replicas get their copy at once, rather than after seconds in which others might join.
            spec = spec.args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ]);
        }
        if self.options.cluster {
            let timeout_ms = "1000";
            spec = spec.args(["--cluster-enabled", "yes", "--cluster-node-timeout", timeout_ms]);
            // By default it is the port plus 10000, which may not exist.
            spec = spec.args(["--cluster-port", &self.cluster_port.to_string()]);
        }
        Ok(spec.args(&self.options.args))
    }
}

/// A Redis Cluster. It ends when it is dropped, or when this process ends.
#[derive(Debug)]
pub struct RedisCluster {
    members: Vec<Redis>,
}

impl RedisCluster {
    /// Starts a cluster of so many primaries, at least three, each with so many replicas, and waits until
    /// every member sees it whole and every replica has its copy.
    pub fn start(primaries: usize, replicas: usize, options: &RedisOptions) -> Result<Self, Error> {
        let start = |_| {
            Redis::start(RedisOptions {
                cluster: true,
                port: None,
                ..options.clone()
            })
        };
        let members = (0..primaries * (1 + replicas))
            .map(start)
            .collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<_> = members
            .iter()
            .map(|member| member.socket_address().to_string())
            .collect();
        let replicas = replicas.to_string();
        let mut create = vec![
            "--cluster",
            "create",
            "--cluster-yes",
            "--cluster-replicas",
            &replicas,
        ];
        create.extend(addresses.iter().map(String::as_str));
        let Some(first) = members.first() else {
            return Ok(Self { members });
        };
        first.cli(&create)?;
        for member in &members {
            member
                .supervisor
                .until(NAME, "agreement of the Redis Cluster", START_LIMIT, || {
                    let info = member.cli(&["CLUSTER", "INFO"])?;
                    let nodes = member.cli(&["CLUSTER", "NODES"])?;
                    let whole = info.contains("cluster_state:ok") && nodes.lines().count() == members.len();
                    // A replica without a copy never takes over.
                    let copied = !member
                        .cli(&["INFO", "replication"])?
                        .contains("master_link_status:down");
                    Ok(if whole && copied {
                        Probe::Ready(())
                    } else {
                        Probe::NotYet(nodes)
                    })
                })?;
        }
        Ok(Self { members })
    }

    /// All members; the first ones began as primaries.
    #[must_use]
    pub fn members(&self) -> &[Redis] {
        &self.members
    }
}

/// It is up if it answers, even if the answer is that the caller may not ask.
fn answers(output: &Output) -> bool {
    let said = |bytes: &[u8], word: &str| String::from_utf8_lossy(bytes).contains(word);
    said(&output.stdout, "PONG")
        || ["NOAUTH", "NOPERM", "WRONGPASS"]
            .iter()
            .any(|word| said(&output.stdout, word) || said(&output.stderr, word))
}
