//! Holds one lock in one or more independent Redis servers with the crate `rslock`: its `using` renews by itself.

use std::process::ExitCode;
use std::time::Duration;

use lockstep_workers_rust::{Library, Settings, emit_lost, serve};
use rslock::LockManager;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

struct Rslock {
    settings: Settings,
    manager: LockManager,
}

struct Held {
    release: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Library for Rslock {
    type Held = Held;

    const NAME: &'static str = "rslock";

    fn key(&self) -> String {
        self.settings.name.clone()
    }

    async fn take(&self) -> Result<Held, String> {
        let (manager, name) = (self.manager.clone(), self.settings.name.clone());
        // The library has no time of its own.
        let ttl = self.settings.ttl.unwrap_or(Duration::from_secs(10));
        let (has_it, taken) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let ended = spawn_local(async move {
            let held = manager
                .using(name.as_bytes(), ttl, async move || {
                    let _ = has_it.send(());
                    let _ = released.await;
                })
                .await;
            if let Err(error) = held {
                emit_lost(&error.to_string());
            }
        });
        taken
            .await
            .map_err(|_| "it ended before it had the lock".to_owned())?;
        Ok(Held { release, ended })
    }

    async fn release(&self, held: Held) -> Result<(), String> {
        let _ = held.release.send(());
        held.ended.await.map_err(|error| error.to_string())
    }
}

fn main() -> ExitCode {
    serve(Settings::from_environment().map(|settings| Rslock {
        manager: LockManager::new(settings.urls.clone()),
        settings,
    }))
}
