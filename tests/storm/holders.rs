//! What the application in each pod does: it takes its locks one after the other and renews them as Rigatoni would. I/O.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult};
use tokio::task::JoinSet;

/// What each lock is taken for, and how often it is renewed: twice the library's defaults, so that what is measured is
/// the storm. [`super::crowd`] writes the same into the specs.
pub(crate) const TTL: Duration = Duration::from_mins(1);
pub(crate) const RENEWAL: Duration = Duration::from_secs(20);

/// The applications of many pods. Dropped, they do nothing more: their locks stay until they expire.
pub(crate) struct Holders {
    connection: MultiplexedConnection,
    /// They end only by failing.
    pods: JoinSet<RedisResult<()>>,
}

impl Holders {
    pub(crate) async fn of(url: &str) -> Self {
        // Cores are shared: an answer may take longer than the half second of the default.
        let settings = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = redis::Client::open(url)
            .unwrap()
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .unwrap();
        Self {
            connection,
            pods: JoinSet::new(),
        }
    }

    /// From `start` on, a pod takes these keys, with `step` between two of them, and keeps them.
    pub(crate) fn hold(&mut self, pod: &str, keys: Vec<String>, start: Duration, step: Duration) {
        let value = format!("{pod}-9b2e1f64-0c5d-4b7a-8f3e-6a1d2c3b4e5f");
        let mut connection = self.connection.clone();
        self.pods.spawn(async move {
            tokio::time::sleep(start).await;
            for key in &keys {
                let mut take = redis::cmd("SET");
                take.arg(key)
                    .arg(&value)
                    .arg("NX")
                    .arg("PX")
                    .arg(TTL.as_secs() * 1000);
                let taken: Option<String> = take.query_async(&mut connection).await?;
                assert_eq!(taken.as_deref(), Some("OK"), "{key} was free");
                tokio::time::sleep(step).await;
            }
            loop {
                tokio::time::sleep(RENEWAL).await;
                let mut renew = redis::pipe();
                for key in &keys {
                    renew.cmd("PEXPIRE").arg(key).arg(TTL.as_secs() * 1000);
                }
                let renewed: Vec<bool> = renew.query_async(&mut connection).await?;
                assert!(renewed.iter().all(|renewed| *renewed), "{keys:?} are held");
            }
        });
    }

    /// Fails if one of them lost a lock or could not reach Redis.
    pub(crate) fn are_well(&mut self) {
        if let Some(ended) = self.pods.try_join_next() {
            panic!("a holder ended: {ended:?}");
        }
    }
}
