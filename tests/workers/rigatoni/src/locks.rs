//! One loop per collection (I/O): take the lock, refresh it while working, release it at the end, and stop
//! working when it is lost. In: the settings, the stop signal; out: the work, shown on the [`Board`].
//!
//! This is what the library's guide promises. The library's own pipeline (0.2.0) never tries a lock again that it
//! did not get, and goes on working after it lost one; its lock calls, which are used here, are sound.

use std::sync::Arc;
use std::time::Duration;

use rigatoni_core::state::{StateStore, StateStoreError};
use rigatoni_stores::redis::{RedisConfig, RedisStore};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::health::Board;
use crate::settings::Settings;

/// Longest wait for one answer of Redis. The library's pool has no limit of its own, so a server that goes
/// silent would otherwise hold a loop for ever. Three of them fit between two refreshes of a 30 s lock.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Pause between two attempts to reach Redis at start. Short, as nobody is served meanwhile.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Why Redis gave no usable answer.
#[derive(Debug, Error)]
enum CallError {
    #[error("Redis refused or could not be reached")]
    Store(#[source] StateStoreError),
    #[error("no answer from Redis within {} s", ANSWER_LIMIT.as_secs())]
    Silent,
}

/// How an attempt to take a lock ended.
enum Attempt {
    /// The lock is ours until this moment, unless it is refreshed.
    Taken(Instant),
    /// Another instance holds it.
    Elsewhere,
    /// Redis gave no answer. It may have stored the lock in our name all the same.
    Unclear,
}

/// How a hold ended.
enum End {
    /// The instance is asked to stop; the lock is still in its name.
    Stopping,
    /// The lock is another's by now, or may be.
    Lost,
}

/// What the loops of all collections share.
pub(crate) struct Keeper {
    settings: Settings,
    store: RedisStore,
    owner: String,
    /// One permit per lock that this instance may hold. It is fair: whoever waits longest tries next.
    permits: Semaphore,
    board: Arc<Board>,
    renewal: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
}

impl Keeper {
    /// Waits until Redis answers, however long that takes; `None` when asked to stop before.
    pub(crate) async fn connect(
        settings: Settings,
        board: Arc<Board>,
        renewal: watch::Receiver<bool>,
        stop: watch::Receiver<bool>,
    ) -> Option<Self> {
        // No retries inside the library: it would repeat a SET NX whose answer was lost, read "already held", and
        // never learn that the holder is itself. Each loop here repeats what failed, and asks that first.
        let config = RedisConfig {
            url: settings.redis_url.clone(),
            max_retries: 0,
            ..RedisConfig::default()
        };
        let store = loop {
            let attempt = tokio::select! {
                attempt = timeout(ANSWER_LIMIT, RedisStore::new(config.clone())) => attempt,
                () = stopped(stop.clone()) => return None,
            };
            let error = match attempt {
                Ok(Ok(store)) => break store,
                Ok(Err(error)) => CallError::Store(error),
                Err(_) => CallError::Silent,
            };
            warn!(error = %chain(&error), next_try_seconds = CONNECT_PAUSE.as_secs(), "no Redis yet");
            tokio::select! {
                () = sleep(CONNECT_PAUSE) => {}
                () = stopped(stop.clone()) => return None,
            }
        };
        board.redis_answered();
        let permits = Semaphore::new(settings.max_locks.unwrap_or(Semaphore::MAX_PERMITS));
        let owner = settings.new_owner_id();
        Some(Self {
            settings,
            store,
            owner,
            permits,
            board,
            renewal,
            stop,
        })
    }

    /// Keeps one collection until asked to stop. The first attempt is made at once.
    pub(crate) async fn keep(self: Arc<Self>, collection: String) {
        let key = self.settings.lock_key(&collection);
        // A phase of its own spreads the loops of all instances over the retry interval, so that locks that are
        // freed together don't all go to whoever happens to try next.
        let mut pause = self.settings.retry.mul_f64(fastrand::f64());
        let mut unclear = false;
        loop {
            let permit = tokio::select! {
                permit = self.permits.acquire() => permit,
                () = stopped(self.stop.clone()) => break,
            };
            let attempt = self.take(&key, unclear).await;
            unclear = matches!(attempt, Attempt::Unclear);
            if let Attempt::Taken(until) = attempt {
                info!(collection, "lock taken");
                match self.hold(&collection, &key, until).await {
                    End::Stopping => {
                        self.release(&collection, &key).await;
                        return;
                    }
                    End::Lost if !*self.renewal.borrow() => {
                        // The loop that should have renewed is the one that would try again: both hang.
                        info!(collection, "renewal is off: the lock is not tried again");
                        drop(permit);
                        stopped(self.stop.clone()).await;
                        return;
                    }
                    End::Lost => pause = self.settings.retry,
                }
            }
            // Given back before the pause, so that another collection can be tried meanwhile.
            drop(permit);
            tokio::select! {
                () = sleep(pause) => pause = self.settings.retry,
                () = stopped(self.stop.clone()) => break,
            }
        }
        if unclear {
            self.release(&collection, &key).await;
        }
    }

    async fn take(&self, key: &str, unclear: bool) -> Attempt {
        // The lock counts from before the question was sent: Redis cannot have started its clock earlier.
        let asked = Instant::now();
        let ttl = self.settings.ttl;
        let answer = async {
            // After an attempt without an answer the lock may be in our name already.
            if unclear && self.call(self.store.refresh_lock(key, &self.owner, ttl)).await? {
                return Ok(true);
            }
            self.call(self.store.try_acquire_lock(key, &self.owner, ttl))
                .await
        };
        match answer.await {
            Ok(true) => Attempt::Taken(asked + ttl),
            Ok(false) => Attempt::Elsewhere,
            Err(error) => {
                warn!(key, error = %chain(&error), retry_seconds = self.settings.retry.as_secs(), "lock not taken");
                Attempt::Unclear
            }
        }
    }

    /// Works on the collection until the lock is lost or the instance stops.
    async fn hold(&self, collection: &str, key: &str, mut until: Instant) -> End {
        let _working = self.board.work_on(collection);
        let refresh = self.settings.refresh;
        let mut ticks = interval_at(Instant::now() + refresh, refresh);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopped(self.stop.clone()) => return End::Stopping,
                () = sleep_until(until) => {
                    // No refresh got through for a whole TTL: another instance may work on it by now.
                    warn!(collection, "lock lost: not renewed in time; work stopped");
                    return End::Lost;
                }
                _ = ticks.tick() => {}
            }
            if !*self.renewal.borrow() {
                continue;
            }
            let asked = Instant::now();
            let answer = tokio::select! {
                answer = self.call(self.store.refresh_lock(key, &self.owner, self.settings.ttl)) => answer,
                // Not waiting for an answer beyond the lock's end: the next turn of the loop says what is due.
                () = sleep_until(until) => continue,
            };
            match answer {
                Ok(true) => until = asked + self.settings.ttl,
                Ok(false) => {
                    warn!(
                        collection,
                        "lock lost: it expired or another instance holds it; work stopped"
                    );
                    return End::Lost;
                }
                Err(error) => {
                    let seconds = refresh.as_secs();
                    warn!(collection, error = %chain(&error), next_try_seconds = seconds, "lock not renewed");
                }
            }
        }
    }

    async fn release(&self, collection: &str, key: &str) {
        match self.call(self.store.release_lock(key, &self.owner)).await {
            Ok(true) => info!(collection, "lock released"),
            Ok(false) => info!(collection, "nothing to release: the lock was not ours any more"),
            Err(error) => warn!(
                collection,
                error = %chain(&error),
                expires_within_seconds = self.settings.ttl.as_secs(),
                "lock not released: it is left to expire"
            ),
        }
    }

    async fn call(
        &self,
        call: impl Future<Output = Result<bool, StateStoreError>>,
    ) -> Result<bool, CallError> {
        match timeout(ANSWER_LIMIT, call).await {
            Ok(answer) => answer.map_err(CallError::Store),
            Err(_) => Err(CallError::Silent),
        }
    }
}

/// Ends when the instance is asked to stop.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // The sender lives in `main` until the loops have ended; should it be gone, that too means stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
