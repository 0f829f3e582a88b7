//! `status --watch`: shows a workload again whenever it or its pods change. I/O.

use std::{io::IsTerminal as _, time::Duration};

use futures::{StreamExt as _, stream};
use kube::runtime::{WatchStreamExt as _, watcher};

use super::{
    Exit, Shown,
    access::{Access, Error},
    complain, exit, print,
    show::{standing::Standing, status},
};
use crate::api::WORKLOAD_LABEL;

/// Changes that come together are shown together.
const QUIET: Duration = Duration::from_millis(300);
/// An apiserver that does not answer is asked again after this time.
const AGAIN: Duration = Duration::from_secs(2);
/// Nothing that is watched says that an operator died or came back: it is looked for this often.
const LOOK: Duration = Duration::from_secs(5);

/// Until the workload is well, or the time is up.
pub(super) async fn until_well(
    access: &Access,
    name: &str,
    timeout: Option<Duration>,
) -> Result<Exit, Error> {
    let watching = Box::pin(show_changes(access, name));
    match timeout {
        None => watching.await,
        Some(timeout) => tokio::time::timeout(timeout, watching)
            .await
            .unwrap_or(Ok(Exit::TimedOut)),
    }
}

async fn show_changes(access: &Access, name: &str) -> Result<Exit, Error> {
    // Asked for once before anything is watched: a watch doesn't say that there is nothing of this name.
    let mut shown = Shown::read(access, name).await?;
    let named = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let labelled = watcher::Config::default().labels(&format!("{WORKLOAD_LABEL}={name}"));
    let resources = watcher(access.resources(), named).default_backoff().map(drop);
    let pods = watcher(access.pods(), labelled).default_backoff().map(drop);
    let mut changes = std::pin::pin!(stream::select(resources, pods));
    let mut before = None;
    loop {
        let view = shown.view();
        let now = (
            shown.resource.metadata.resource_version.clone(),
            shown.pods.clone(),
            view.abandoned().is_some(),
        );
        if before.as_ref() != Some(&now) {
            show(&status::page(&view), before.is_some());
        }
        if Standing::of(&view) == Standing::Well {
            return Ok(exit(&view));
        }
        before = Some(now);
        if let Ok(None) = tokio::time::timeout(LOOK, changes.next()).await {
            return Ok(exit(&view));
        }
        while tokio::time::timeout(QUIET, changes.next()).await.is_ok() {}
        shown = loop {
            match Shown::read(access, name).await {
                // An apiserver that restarts, for one: the watches come back by themselves.
                Err(error @ Error::Unreachable(_)) => {
                    complain(&error);
                    tokio::time::sleep(AGAIN).await;
                }
                read => break read?,
            }
        };
    }
}

/// On a terminal in place of what was shown before; else below it.
fn show(page: &str, is_again: bool) {
    if std::io::stdout().is_terminal() {
        print("\u{1b}[H\u{1b}[2J");
    } else if is_again {
        print("\n");
    }
    print(page);
}
