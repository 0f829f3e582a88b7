//! A real redis-server per test, and observers that are asked until they show what is waited for.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockstep::domain::locks::{Key, KeyState, Link, Observation};
use lockstep::observer::{Changes, EndpointRules, Observers, Secret, Settings, Target, WorkloadKey};

/// Longest wait for anything that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server of its own, without persistence; killed on drop.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    options: Vec<String>,
}

impl Redis {
    pub(crate) fn start(options: &[&str]) -> Self {
        let port = free_port();
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let redis = Self { child: spawn(port, &options), port, options };
        redis.wait();
        redis
    }

    /// A blocking connection as the default user.
    pub(crate) fn client(&self) -> redis::Connection {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap().get_connection().unwrap()
    }

    pub(crate) fn command(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut self.client()).unwrap()
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.port, &self.options);
        self.wait();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The CLIENT LIST lines of other clients than the asking one.
    pub(crate) fn other_clients(&self) -> Vec<String> {
        let mut client = self.client();
        let own: i64 = redis::cmd("CLIENT").arg("ID").query(&mut client).unwrap();
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut client).unwrap();
        list.lines().filter(|line| !line.starts_with(&format!("id={own} "))).map(str::to_owned).collect()
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, options: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(options)
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn settings() -> Settings {
    Settings {
        cluster_domain: "cluster.local".into(),
        dns_server: None,
        in_cluster: false,
        rules: EndpointRules::default(),
    }
}

pub(crate) fn target(port: u16) -> Target {
    Target {
        namespace: "shop".into(),
        host: "127.0.0.1".into(),
        port,
        database: 0,
        username: None,
        password: None,
    }
}

pub(crate) fn key(name: &str) -> Key {
    name.as_bytes().into()
}

pub(crate) fn who(name: &str) -> WorkloadKey {
    WorkloadKey { namespace: "shop".into(), name: name.into() }
}

pub(crate) fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text))
}

/// One workload's view of one endpoint.
pub(crate) struct View {
    pub(crate) observers: Observers,
    pub(crate) changes: Changes,
    pub(crate) target: Target,
    pub(crate) keys: Vec<Key>,
}

impl View {
    pub(crate) fn new(target: Target, keys: &[&str]) -> Self {
        let (observers, changes) = Observers::new(settings());
        Self { observers, changes, target, keys: keys.iter().map(|name| key(name)).collect() }
    }

    pub(crate) fn now(&self) -> Observation {
        self.observers.observe(&who("w"), self.target.clone(), self.keys.clone())
    }

    /// Asks until `wanted` says yes, only ever after something was announced: what is never announced is never seen.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Observation) -> bool) -> Observation {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let seen = self.now();
            if wanted(&seen) {
                return seen;
            }
            if tokio::time::timeout_at(deadline, self.changes.recv()).await.is_err() {
                panic!("not seen in time: {what}; last {seen:?}");
            }
        }
    }

    pub(crate) async fn up(&mut self) -> Observation {
        self.until("a link", |seen| matches!(seen.link, Link::Up { .. })).await
    }

    /// Waits until the first key is held by `value`.
    pub(crate) async fn held_by(&mut self, value: &str) -> Observation {
        self.until(value, |seen| holder(&seen.keys[0].state) == Some(value.as_bytes())).await
    }

    pub(crate) async fn absent(&mut self) -> Observation {
        self.until("absence", |seen| matches!(seen.keys[0].state, KeyState::Absent { .. })).await
    }
}

pub(crate) fn holder(state: &KeyState) -> Option<&[u8]> {
    match state {
        KeyState::Held(hold) => Some(&hold.value.0),
        _ => None,
    }
}
