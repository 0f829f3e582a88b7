//! Redis, and pods that take, renew and release locks in it as the Rigatoni library does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use lockstep_cluster::{Redis, RedisOptions};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

/// What each lock is taken for, and how often it is renewed; [`super::place::spec_with_locks`] says the same.
pub(crate) const TTL: Duration = Duration::from_secs(12);
const RENEWAL: Duration = Duration::from_secs(3);

/// Starts a Redis.
pub(crate) async fn redis(options: RedisOptions) -> Redis {
    tokio::task::spawn_blocking(|| Redis::start(options).unwrap())
        .await
        .unwrap()
}

/// The key of a lock.
pub(crate) fn key(name: &str) -> String {
    format!("rigatoni:lock:{name}")
}

/// The holders of locks in one Redis. Dropped, they stop renewing.
pub(crate) struct Holders {
    connection: MultiplexedConnection,
    /// Value and lifetime of what is renewed, by key.
    renewed: Arc<Mutex<BTreeMap<String, String>>>,
    _renewals: JoinSet<()>,
}

impl Holders {
    pub(crate) async fn of(redis: &Redis) -> Self {
        let connection = connect(redis).await;
        let renewed = Arc::new(Mutex::new(BTreeMap::<String, String>::new()));
        let mut renewals = JoinSet::new();
        renewals.spawn({
            let renewed = Arc::clone(&renewed);
            let mut connection = connection.clone();
            async move {
                loop {
                    tokio::time::sleep(RENEWAL).await;
                    let keys = renewed.lock().unwrap().clone();
                    for key in keys.into_keys() {
                        // An error is what a holder meets too while Redis is away.
                        let _ = renew(&mut connection, &key).await;
                    }
                }
            }
        });
        Self {
            connection,
            renewed,
            _renewals: renewals,
        }
    }

    /// `pod` takes the lock and renews it from now on.
    pub(crate) async fn take(&self, name: &str, pod: &str) {
        let value = format!("{pod}-9b2e1f64-0c5d-4b7a-8f3e-6a1d2c3b4e5f");
        let taken: Option<String> = redis::cmd("SET")
            .arg(key(name))
            .arg(&value)
            .arg("EX")
            .arg(TTL.as_secs())
            .arg("NX")
            .query_async(&mut self.connection.clone())
            .await
            .unwrap();
        assert_eq!(taken.as_deref(), Some("OK"), "{name} was free");
        self.renewed.lock().unwrap().insert(key(name), value);
    }

    /// The lock is renewed no more, as if its holder had died. Answers when it will be gone, after a last renewal.
    pub(crate) async fn abandon(&self, name: &str) -> Timestamp {
        let key = key(name);
        self.renewed.lock().unwrap().remove(&key);
        renew(&mut self.connection.clone(), &key).await.unwrap();
        self.expires(name).await
    }

    /// When the lock will be gone, as the server says.
    pub(crate) async fn expires(&self, name: &str) -> Timestamp {
        let at: i64 = redis::cmd("PEXPIRETIME")
            .arg(key(name))
            .query_async(&mut self.connection.clone())
            .await
            .unwrap();
        assert!(at > 0, "{name} is held and expires");
        Timestamp::from_millisecond(at).unwrap()
    }

    /// The lock is renewed now.
    pub(crate) async fn renew(&self, name: &str) {
        renew(&mut self.connection.clone(), &key(name)).await.unwrap();
    }

    /// The lock is released.
    pub(crate) async fn release(&self, name: &str) {
        self.renewed.lock().unwrap().remove(&key(name));
        self.run::<()>(&["DEL", &key(name)]).await;
    }

    /// Runs a command.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command
            .query_async(&mut self.connection.clone())
            .await
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// So many other keys that expire, but not soon: a server looks for expired keys by chance among all that expire.
    pub(crate) async fn crowd(&self, keys: usize) {
        let script = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'other:' .. i, 'x', 'EX', 3600) end";
        self.run::<()>(&["EVAL", script, "0", &keys.to_string()]).await;
    }
}

async fn connect(redis: &Redis) -> MultiplexedConnection {
    // Cores are shared: an answer may take longer than the half second of the default.
    let settings = AsyncConnectionConfig::new().set_response_timeout(None);
    redis::Client::open(redis.url())
        .unwrap()
        .get_multiplexed_async_connection_with_config(&settings)
        .await
        .unwrap()
}

async fn renew(connection: &mut MultiplexedConnection, key: &str) -> redis::RedisResult<()> {
    redis::cmd("PEXPIRE")
        .arg(key)
        .arg(TTL.as_millis().to_string())
        .query_async(connection)
        .await
}
