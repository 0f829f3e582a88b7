//! Runs the real pipeline of the crate `rigatoni-core` over the store of `rigatoni-stores`. Its locks need no `MongoDB`:
//! the pipeline takes them before it connects, and goes on renewing them although its workers can't.
//!
//! `LOCK_NAME` is `database:collection`, or a collection of `mydb`; `database:__database__` and `__deployment__` make it
//! watch more. The pipeline never tries again what another held when it started, so for as long as that is so this
//! program makes a new pipeline, with a new owner id, as a container that is started again would.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bson::Document;
use lockstep_workers_rust::{Library, Settings, emit_lost, serve};
use rigatoni_core::destination::{Destination, DestinationError};
use rigatoni_core::event::ChangeEvent;
use rigatoni_core::pipeline::{DistributedLockConfig, Pipeline, PipelineConfig};
use rigatoni_core::state::{StateStore, StateStoreError};
use rigatoni_stores::redis::{RedisConfig, RedisStore};

/// Nobody listens there, and the driver gives up at once.
const NO_MONGODB: &str = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100&connectTimeoutMS=100";

/// The library's store, with a note of what came of the last attempt to take a lock.
struct Noting {
    store: RedisStore,
    taken: Arc<AtomicBool>,
}

#[async_trait]
impl StateStore for Noting {
    async fn save_resume_token(&self, collection: &str, token: &Document) -> Result<(), StateStoreError> {
        self.store.save_resume_token(collection, token).await
    }

    async fn get_resume_token(&self, collection: &str) -> Result<Option<Document>, StateStoreError> {
        self.store.get_resume_token(collection).await
    }

    async fn delete_resume_token(&self, collection: &str) -> Result<(), StateStoreError> {
        self.store.delete_resume_token(collection).await
    }

    async fn list_resume_tokens(&self) -> Result<HashMap<String, Document>, StateStoreError> {
        self.store.list_resume_tokens().await
    }

    async fn close(&self) -> Result<(), StateStoreError> {
        self.store.close().await
    }

    async fn try_acquire_lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<bool, StateStoreError> {
        let taken = self.store.try_acquire_lock(key, owner, ttl).await?;
        self.taken.store(taken, Ordering::Relaxed);
        Ok(taken)
    }

    async fn refresh_lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<bool, StateStoreError> {
        let kept = self.store.refresh_lock(key, owner, ttl).await?;
        if !kept {
            emit_lost("another instance has it, or it expired");
        }
        Ok(kept)
    }

    async fn release_lock(&self, key: &str, owner: &str) -> Result<bool, StateStoreError> {
        self.store.release_lock(key, owner).await
    }

    async fn is_locked(&self, key: &str) -> Result<bool, StateStoreError> {
        self.store.is_locked(key).await
    }
}

/// Where nothing ever arrives.
struct Nowhere;

#[async_trait]
impl Destination for Nowhere {
    async fn write_batch(&mut self, _events: &[ChangeEvent]) -> Result<(), DestinationError> {
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), DestinationError> {
        Ok(())
    }

    fn supports_transactions(&self) -> bool {
        false
    }
}

struct Rigatoni {
    url: String,
    database: String,
    /// `None`: all of them.
    collection: Option<String>,
    deployment: bool,
    locks: DistributedLockConfig,
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Rigatoni {
    fn new(settings: Settings) -> Result<Self, String> {
        let [url] = settings
            .urls
            .try_into()
            .map_err(|_| "rigatoni locks in one Redis")?;
        let mut locks = DistributedLockConfig::builder();
        if let Some(ttl) = settings.ttl {
            // The library's own proportion.
            locks = locks.ttl(ttl).refresh_interval(ttl / 3);
        }
        let (database, collection) = settings.name.split_once(':').unwrap_or(("mydb", &settings.name));
        Ok(Self {
            url,
            database: database.to_owned(),
            collection: (collection != "__database__").then(|| collection.to_owned()),
            deployment: settings.name == "__deployment__",
            locks: locks.build().map_err(said)?,
        })
    }

    fn config(&self) -> Result<PipelineConfig, String> {
        let config = PipelineConfig::builder()
            .mongodb_uri(NO_MONGODB)
            .database(&self.database)
            .distributed_lock(self.locks.clone());
        let config = match &self.collection {
            _ if self.deployment => config.watch_deployment(),
            Some(collection) => config.watch_collections(vec![collection.clone()]),
            None => config.watch_database(),
        };
        config.build().map_err(said)
    }
}

impl Library for Rigatoni {
    type Held = Pipeline<Noting, Nowhere>;

    const NAME: &'static str = "rigatoni-core";

    fn key(&self) -> String {
        if self.deployment {
            return "rigatoni:lock:__deployment__".to_owned();
        }
        let collection = self.collection.as_deref().unwrap_or("__database__");
        format!("rigatoni:lock:{}:{collection}", self.database)
    }

    async fn take(&self) -> Result<Self::Held, String> {
        let store = RedisConfig {
            url: self.url.clone(),
            ..RedisConfig::default()
        };
        let store = RedisStore::new(store).await.map_err(said)?;
        let taken = Arc::new(AtomicBool::new(false));
        loop {
            let store = Noting {
                store: store.clone(),
                taken: Arc::clone(&taken),
            };
            let mut pipeline = Pipeline::new(self.config()?, store, Nowhere)
                .await
                .map_err(said)?;
            // For a whole database, a lock that another holds is an error; for a collection it is not.
            let started = pipeline.start().await;
            if taken.load(Ordering::Relaxed) {
                started.map_err(said)?;
                return Ok(pipeline);
            }
            pipeline.stop().await.map_err(said)?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn release(&self, mut pipeline: Self::Held) -> Result<(), String> {
        pipeline.stop().await.map_err(said)
    }
}

fn main() -> ExitCode {
    serve(Settings::from_environment().and_then(Rigatoni::new))
}
