//! What is counted of the requests to Kubernetes: each of them, whoever makes it, since it is the client that counts. No
//! I/O of its own.
//!
//! In: requests and the heads of their answers. Out: counters and durations. Labels are words of closed vocabularies: no
//! name of an object and no path is among them.

#[cfg(test)]
mod tests;

use std::task::{Context, Poll};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response, StatusCode, Uri};
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use tower::{Layer, Service};

use crate::{clock, domain::locks::Mono};

/// Upper bounds of the buckets of a request, seconds: up to the time limit of all requests but those of a watch.
const DURATIONS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0];

/// What the operator asks for, as it stands in paths; anything else is `other`.
const RESOURCES: [&str; 11] = [
    "configmaps",
    "coordinatedworkloads",
    "deployments",
    "events",
    "horizontalpodautoscalers",
    "leases",
    "networkpolicies",
    "poddisruptionbudgets",
    "pods",
    "secrets",
    "services",
];
/// What is none of these.
const OTHER: &str = "other";
/// The class of what was not answered, or not in time.
const NO_ANSWER: &str = "none";

type Label = (&'static str, &'static str);

/// The requests of a client; clones share them.
#[derive(Clone, Debug)]
pub struct RequestTally {
    /// Requests, by verb, resource and class of the answer.
    pub(crate) sent: Family<[Label; 3], Counter>,
    /// How long until an answer began, by verb and resource.
    pub(crate) took: Family<[Label; 2], Histogram, fn() -> Histogram>,
}

impl Default for RequestTally {
    fn default() -> Self {
        let tally = Self {
            sent: Family::default(),
            took: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
        };
        // What people are told goes these two ways. They exist from the start, so that the first failure is an increase.
        for (verb, resource) in [("update", "coordinatedworkloads"), ("create", "events")] {
            let [verb, resource] = [("verb", verb), ("resource", resource)];
            for code in ["2xx", "4xx", "5xx", NO_ANSWER] {
                drop(tally.sent.get_or_create(&[verb, resource, ("code", code)]));
            }
            drop(tally.took.get_or_create(&[verb, resource]));
        }
        tally
    }
}

impl RequestTally {
    /// A request is made; it is counted when this is dropped.
    fn begin(&self, method: &Method, uri: &Uri) -> Open {
        let (verb, resource) = kind(method, uri);
        Open {
            tally: self.clone(),
            verb,
            resource,
            code: NO_ANSWER,
            since: clock::mono(),
        }
    }
}

/// A request under way: who loses patience drops it.
struct Open {
    tally: RequestTally,
    verb: &'static str,
    resource: &'static str,
    code: &'static str,
    since: Mono,
}

impl Open {
    fn answered(&mut self, code: StatusCode) {
        self.code = class(code);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let [verb, resource] = [("verb", self.verb), ("resource", self.resource)];
        let sent = [verb, resource, ("code", self.code)];
        self.tally.sent.get_or_create(&sent).inc();
        let took = clock::mono().since(self.since);
        let durations = self.tally.took.get_or_create(&[verb, resource]);
        durations.observe(took.as_secs_f64());
    }
}

/// Verb and resource of a request, as RBAC calls them; without the subresource.
fn kind(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    let mut path = uri.path().split('/').filter(|part| !part.is_empty());
    // `/api/v1/…`, `/apis/GROUP/VERSION/…`
    let known = match path.next() {
        Some("api") => path.next().is_some(),
        Some("apis") => path.next().is_some() && path.next().is_some(),
        _ => false,
    };
    let mut path = path.filter(|_| known);
    let mut resource = path.next();
    if resource == Some("namespaces") && path.next().is_some() {
        resource = path.next();
    }
    let resource = RESOURCES.into_iter().find(|known| resource == Some(known));
    let named = path.next().is_some();
    let watch = uri.query().is_some_and(|query| {
        let mut parameters = query.split('&');
        parameters.any(|parameter| matches!(parameter, "watch=true" | "watch=1"))
    });
    let verb = match *method {
        Method::GET if watch => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => OTHER,
    };
    (verb, resource.unwrap_or(OTHER))
}

/// The class of an answer.
fn class(code: StatusCode) -> &'static str {
    match code.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

impl<S> Layer<S> for RequestTally {
    type Service = Counted<S>;

    fn layer(&self, service: S) -> Counted<S> {
        Counted {
            service,
            tally: self.clone(),
        }
    }
}

/// A client whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    service: S,
    tally: RequestTally,
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<A>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut open = self.tally.begin(request.method(), request.uri());
        let answer = self.service.call(request);
        let counted = async move {
            let answer = answer.await;
            if let Ok(answer) = &answer {
                open.answered(answer.status());
            }
            answer
        };
        counted.boxed()
    }
}
