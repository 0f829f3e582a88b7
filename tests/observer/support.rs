//! What the observer's tests share: a client for what a holder or an administrator does, and a view that asks the
//! observers until they show what is waited for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockstep::domain::locks::probe::{Discovery, Probe};
use lockstep::domain::locks::{Hold, KeySnapshot, KeyState, Link, Mode, Observation, Trouble};
use lockstep::observer::{
    Changes, EndpointRules, Host, Interest, Observers, Renewed, RenewedSet, Secret, Servers, Settings,
    Target, WorkloadKey,
};
use lockstep_cluster::{Redis, RedisOptions};

use crate::certificates::{self, Authority, Identity};
use crate::rights::NAME;
pub(crate) use crate::rights::user;

/// Longest wait for anything that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn redis() -> Redis {
    redis_with(&[""; 0])
}

pub(crate) fn redis_with(args: &[impl ToString]) -> Redis {
    let args = args.iter().map(ToString::to_string);
    Redis::start(RedisOptions {
        args: user().into_iter().chain(args).collect(),
        ..RedisOptions::default()
    })
    .expect("Redis starts")
}

/// A server with TLS, and that user.
pub(crate) fn with_tls(
    folder: &Path,
    authority: &Authority,
    identity: &Identity,
    clients: &str,
) -> RedisOptions {
    let options = certificates::options(folder, authority, identity, clients);
    RedisOptions {
        args: [user(), options.args].concat(),
        ..options
    }
}

/// A blocking client as the default user.
pub(crate) struct Client(redis::Connection);

impl Client {
    pub(crate) fn of(redis: &Redis) -> Self {
        Self(
            redis::Client::open(redis.url())
                .unwrap()
                .get_connection()
                .unwrap(),
        )
    }

    pub(crate) fn run<T: redis::FromRedisValue>(&mut self, line: &str) -> T {
        self.attempt(line)
            .unwrap_or_else(|error| panic!("{}: {error}", &line[..line.len().min(100)]))
    }

    /// What may be refused.
    pub(crate) fn attempt<T: redis::FromRedisValue>(&mut self, line: &str) -> redis::RedisResult<T> {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.0)
    }

    pub(crate) fn pipeline(&mut self, pipeline: &redis::Pipeline) {
        pipeline.exec(&mut self.0).unwrap();
    }

    /// The CLIENT LIST lines of the other clients.
    pub(crate) fn others(&mut self) -> Vec<String> {
        let own: i64 = self.run("CLIENT ID");
        let list: String = self.run("CLIENT LIST");
        list.lines()
            .filter(|line| !line.starts_with(&format!("id={own} ")))
            .map(str::to_owned)
            .collect()
    }

    /// How often a command was called.
    pub(crate) fn calls(&mut self, command: &str) -> u64 {
        let stats: String = self.run("INFO commandstats");
        let prefix = format!("cmdstat_{command}:calls=");
        stats
            .lines()
            .find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok())
            .unwrap_or(0)
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        cluster_domain: "cluster.local".into(),
        dns_server: None,
        in_cluster: false,
        rules: EndpointRules::default(),
    }
}

pub(crate) fn target(redis: &Redis) -> Target {
    let target = target_at(&redis.address().to_string(), redis.port());
    as_user(target, NAME, NAME)
}

pub(crate) fn target_at(host: &str, port: u16) -> Target {
    Target {
        namespace: "shop".into(),
        servers: Servers::One(Host {
            name: host.into(),
            port,
        }),
        database: 0,
        username: None,
        password: None,
        tls: None,
    }
}

pub(crate) fn as_user(mut target: Target, name: &str, password: &str) -> Target {
    target.username = Some(Secret::new(name));
    target.password = Some(Secret::new(password));
    target
}

pub(crate) fn key(name: &str) -> Arc<Probe> {
    Probe::string(name.as_bytes()).into()
}

/// One look at one target for one workload.
pub(crate) fn look(
    observers: &Observers,
    who: &WorkloadKey,
    target: &Target,
    locks: &[Arc<Probe>],
) -> Observation {
    let interest = Interest {
        locks: locks.to_vec(),
        places: vec![],
        renewed: vec![],
    };
    observers
        .observe(who, vec![target.clone()], interest)
        .pop()
        .unwrap()
}

pub(crate) fn who(name: &str) -> WorkloadKey {
    WorkloadKey {
        namespace: "shop".into(),
        name: name.into(),
    }
}

/// One workload's view of one endpoint.
pub(crate) struct View {
    pub(crate) observers: Observers,
    pub(crate) changes: Changes,
    pub(crate) target: Target,
    pub(crate) keys: Vec<Arc<Probe>>,
    pub(crate) places: Vec<Arc<Discovery>>,
    /// The set that all of these locks belong to, if that renews.
    pub(crate) renewed: Option<RenewedSet>,
}

impl View {
    pub(crate) fn new(target: Target, keys: &[&str]) -> Self {
        Self::with(settings(), target, keys)
    }

    pub(crate) fn with(settings: Settings, target: Target, keys: &[&str]) -> Self {
        let (observers, changes) = Observers::new(settings);
        Self {
            observers,
            changes,
            target,
            keys: keys.iter().map(|name| key(name)).collect(),
            places: vec![],
            renewed: None,
        }
    }

    pub(crate) fn now(&self) -> Observation {
        let renewed = self.renewed.iter().map(|set| Renewed {
            first: 0,
            count: self.keys.len(),
            set: Arc::new(set.clone()),
        });
        let interest = Interest {
            locks: self.keys.clone(),
            places: self.places.clone(),
            renewed: renewed.collect(),
        };
        let targets = vec![self.target.clone()];
        self.observers
            .observe(&who("w"), targets, interest)
            .pop()
            .unwrap()
    }

    pub(crate) fn first(&self) -> KeySnapshot {
        self.now().keys.swap_remove(0)
    }

    /// Asks until `wanted` says yes, and only after something was announced: a change that isn't is never seen.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Observation) -> bool) -> Observation {
        self.until_within(PATIENCE, what, wanted).await
    }

    /// The same for what takes longer.
    pub(crate) async fn until_within(
        &mut self,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Observation) -> bool,
    ) -> Observation {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let seen = self.now();
            if wanted(&seen) {
                return seen;
            }
            if tokio::time::timeout_at(deadline, self.changes.recv())
                .await
                .is_err()
            {
                let mut seen = format!("{seen:?}");
                seen.truncate(4000);
                panic!("not seen in time: {what}; last {seen}");
            }
        }
    }

    pub(crate) async fn up(&mut self) -> Observation {
        self.until("a link", |seen| matches!(seen.link, Link::Up { .. }))
            .await
    }

    pub(crate) async fn down(&mut self) -> Trouble {
        let seen = self.until("trouble", |seen| trouble(&seen.link).is_some()).await;
        trouble(&seen.link).unwrap()
    }

    /// Waits until the first key is held by `value`.
    pub(crate) async fn held_by(&mut self, value: &str) -> Hold {
        let seen = self
            .until(value, |seen| {
                hold(&seen.keys[0]).is_some_and(|hold| *hold.value.0 == *value.as_bytes())
            })
            .await;
        hold(&seen.keys[0]).unwrap().clone()
    }

    /// Waits until nobody holds the first key.
    pub(crate) async fn absent(&mut self) -> KeySnapshot {
        self.until("absence", |seen| {
            matches!(seen.keys[0].state, KeyState::Absent { .. })
        })
        .await
        .keys
        .swap_remove(0)
    }
}

/// What was refused to the documented user: nothing ever may be. A server that is gone can't be asked, nor one that asks
/// for a password.
impl Drop for View {
    fn drop(&mut self) {
        let Servers::One(host) = &self.target.servers else {
            return;
        };
        let refused = trouble(&self.now().link) == Some(Trouble::PermissionDenied);
        let spoken_to = refused || matches!(self.now().link, Link::Up { .. });
        if std::thread::panicking() || !spoken_to {
            return;
        }
        let Ok(client) = redis::Client::open(format!("redis://{}:{}", host.name, host.port)) else {
            return;
        };
        let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(1)) else {
            return;
        };
        connection.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let refused: Vec<Vec<redis::Value>> = match redis::cmd("ACL").arg("LOG").query(&mut connection) {
            Ok(refused) => refused,
            Err(_) => return,
        };
        let ours = |entry: &&Vec<redis::Value>| {
            let name = redis::Value::BulkString(NAME.into());
            entry.contains(&name)
        };
        let refused: Vec<_> = refused.iter().filter(ours).collect();
        assert!(refused.is_empty(), "ACL LOG: {refused:?}");
    }
}

/// The link is up, and changes are announced.
pub(crate) fn is_tracked(seen: &Observation) {
    assert!(
        matches!(
            seen.link,
            Link::Up {
                mode: Mode::Tracking,
                ..
            }
        ),
        "{:?}",
        seen.link
    );
}

pub(crate) fn hold(key: &KeySnapshot) -> Option<&Hold> {
    match &key.state {
        KeyState::Held(hold) => Some(hold),
        _ => None,
    }
}

pub(crate) fn trouble(link: &Link) -> Option<Trouble> {
    match link {
        Link::Up { .. } => None,
        Link::Connecting { trouble, .. } => *trouble,
        Link::Down { trouble, .. } => Some(*trouble),
    }
}

/// Waits for what is not announced, such as a renewal.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not seen in time: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
