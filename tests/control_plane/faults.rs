//! A layer around the client that counts requests, and spoils the k-th: what a bad network, a bad apiserver or SIGKILL
//! would do, at a place of one's choosing.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Method, Request};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::sync::watch;
use tower::{BoxError, Layer, Service};

/// What happens to the k-th request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It isn't sent.
    Refuse,
    /// It is sent and carried out, and its answer is lost.
    LoseAnswer,
    /// It is sent and carried out; nothing comes back from it or any later one, and no later one is sent. Whoever
    /// waits for [`Faults::crashed`] then drops what was running, as SIGKILL would.
    Crash,
}

/// A request that was sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sent {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
}

impl Sent {
    /// Whether it may change something.
    pub(crate) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it is the start of a watch.
    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains("watch=true") || self.query.contains("watch=1")
    }
}

/// The layer. Clones share their count.
#[derive(Clone)]
pub(crate) struct Faults(Arc<Shared>);

struct Shared {
    /// Which request to spoil, counted from 1, and how.
    fault: Option<(usize, Fault)>,
    sent: Mutex<Vec<Sent>>,
    /// Requests so far that count.
    counted: Mutex<usize>,
    crashed: watch::Sender<bool>,
}

impl Faults {
    /// Only counts.
    pub(crate) fn none() -> Self {
        Self::new(None)
    }

    /// Spoils the k-th request, counted from 1. Watches don't count: when they begin anew is chance.
    pub(crate) fn at(k: usize, fault: Fault) -> Self {
        Self::new(Some((k, fault)))
    }

    fn new(fault: Option<(usize, Fault)>) -> Self {
        let crashed = watch::Sender::new(false);
        Self(Arc::new(Shared {
            fault,
            sent: Mutex::default(),
            counted: Mutex::default(),
            crashed,
        }))
    }

    /// A client whose requests pass through here, without retries of its own.
    pub(crate) fn client(&self, mut config: Config) -> Client {
        config.default_retry = false;
        ClientBuilder::try_from(config).unwrap().with_layer(self).build()
    }

    /// Everything that was sent, watches too.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.0.sent.lock().unwrap().clone()
    }

    /// What was sent and may have changed something.
    pub(crate) fn writes(&self) -> Vec<Sent> {
        self.sent().into_iter().filter(Sent::is_write).collect()
    }

    /// Requests that count: all but watches, spoiled ones too.
    pub(crate) fn count(&self) -> usize {
        *self.0.counted.lock().unwrap()
    }

    /// Waits until the crash.
    pub(crate) async fn crashed(&self) {
        let _ = self.0.crashed.subscribe().wait_for(|crashed| *crashed).await;
    }

    /// What is to happen to this request.
    fn next(&self, request: &Sent) -> Option<Fault> {
        if request.is_watch() {
            return None;
        }
        let mut counted = self.0.counted.lock().unwrap();
        *counted += 1;
        self.0
            .fault
            .filter(|(k, _)| k == &*counted)
            .map(|(_, fault)| fault)
    }
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty {
            inner,
            faults: self.clone(),
        }
    }
}

/// The service made by the layer.
#[derive(Clone)]
pub(crate) struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let crashed = &self.faults.0.crashed;
        if *crashed.borrow() {
            return Box::pin(pending());
        }
        let sent = Sent {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
        };
        let fault = self.faults.next(&sent);
        if fault == Some(Fault::Refuse) {
            return Box::pin(async { Err("a fault of the test: not sent".into()) });
        }
        self.faults.0.sent.lock().unwrap().push(sent);
        let answer = self.inner.call(request);
        let crashed = crashed.clone();
        Box::pin(async move {
            let answer = answer.await;
            match fault {
                Some(Fault::LoseAnswer) => Err("a fault of the test: the answer is lost".into()),
                Some(Fault::Crash) => {
                    crashed.send_replace(true);
                    pending().await
                }
                // While this one was on its way, another one crashed.
                _ if *crashed.borrow() => pending().await,
                Some(Fault::Refuse) | None => answer,
            }
        })
    }
}
