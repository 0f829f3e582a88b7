//! The worker's HTTP endpoint (I/O): `/readyz` for a readiness probe, `/collections` for tests and curious people.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

/// What the endpoint tells: written by the lock loops, read by requests.
#[derive(Debug, Default)]
pub(crate) struct Board {
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    redis_answered: bool,
    working: BTreeSet<String>,
}

impl Board {
    /// Redis has answered. This is never taken back: a pod that cannot reach Redis now still stands by, and
    /// making it unready would only hide which of the two is ill.
    pub(crate) fn redis_answered(&self) {
        self.with(|facts| facts.redis_answered = true);
    }

    /// Begins the work on a collection; it ends when the value that is returned is dropped.
    pub(crate) fn work_on(self: &Arc<Self>, collection: &str) -> Working {
        self.with(|facts| facts.working.insert(collection.to_owned()));
        Working {
            board: Arc::clone(self),
            collection: collection.to_owned(),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Facts) -> T) -> T {
        // A set and a flag are whole after every single write, so a poisoned lock holds nothing broken.
        act(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The work on one collection. It stands in for the change stream that the library's pipeline would read: what
/// matters to Lockstep is only when work begins and ends.
#[derive(Debug)]
pub(crate) struct Working {
    board: Arc<Board>,
    collection: String,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.board.with(|facts| facts.working.remove(&self.collection));
    }
}

/// Serves requests until the caller drops the future.
pub(crate) async fn serve(listener: TcpListener, board: Arc<Board>) -> io::Result<()> {
    let routes = Router::new()
        .route("/readyz", get(ready))
        .route("/collections", get(collections));
    axum::serve(listener, routes.with_state(board)).await
}

async fn ready(State(board): State<Arc<Board>>) -> (StatusCode, &'static str) {
    if board.with(|facts| facts.redis_answered) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Redis has not answered yet\n")
    }
}

/// One line per collection that is worked on.
async fn collections(State(board): State<Arc<Board>>) -> String {
    board.with(|facts| {
        facts
            .working
            .iter()
            .flat_map(|name| [name.as_str(), "\n"])
            .collect()
    })
}
