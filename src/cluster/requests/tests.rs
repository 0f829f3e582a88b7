//! What a request is counted as, and that each is, once.

use std::future;

use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;

#[test]
fn a_request_is_called_what_rbac_calls_it_and_names_are_in_no_label() {
    for (method, uri, expected) in [
        (Method::GET, "/api/v1/namespaces/shop/pods/web-1", ("get", "pods")),
        (
            Method::GET,
            "/api/v1/namespaces/shop/pods?limit=100",
            ("list", "pods"),
        ),
        (
            Method::GET,
            "/api/v1/pods?labelSelector=a&watch=true&timeoutSeconds=60",
            ("watch", "pods"),
        ),
        (Method::GET, "/api/v1/pods?&watch=1", ("watch", "pods")),
        (
            Method::POST,
            "/apis/apps/v1/namespaces/shop/deployments?fieldManager=lockstep",
            ("create", "deployments"),
        ),
        (
            Method::PATCH,
            "/apis/lockstep.dev/v1alpha1/namespaces/shop/coordinatedworkloads/web/status",
            ("patch", "coordinatedworkloads"),
        ),
        (
            Method::PUT,
            "/apis/coordination.k8s.io/v1/namespaces/pods/leases/lockstep",
            ("update", "leases"),
        ),
        (
            Method::DELETE,
            "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/secrets",
            ("delete", "poddisruptionbudgets"),
        ),
        (
            Method::GET,
            "/apis/lockstep.dev/v1alpha1/coordinatedworkloads",
            ("list", "coordinatedworkloads"),
        ),
        (Method::GET, "/api/v1/namespaces/shop", ("list", "other")),
        (Method::GET, "/version", ("list", "other")),
        (Method::GET, "/pods/pods/pods/pods", ("list", "other")),
        (
            Method::GET,
            "/apis/x/v1/namespaces/shop/tenants/pods",
            ("get", "other"),
        ),
        (Method::OPTIONS, "/api/v1/secrets", ("other", "secrets")),
    ] {
        assert_eq!(kind(&method, &uri.parse().unwrap()), expected, "{method} {uri}");
    }
}

/// Answers, refuses, breaks or never answers, as the path says.
#[derive(Clone)]
struct Server;

impl Service<Request<()>> for Server {
    type Response = Response<()>;
    type Error = &'static str;
    type Future = BoxFuture<'static, Result<Response<()>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let answer = |code: u16| Ok(Response::builder().status(code).body(()).unwrap());
        match request.uri().path().rsplit('/').next() {
            Some("there") => future::ready(answer(200)).boxed(),
            Some("missing") => future::ready(answer(404)).boxed(),
            Some("broken") => future::ready(Err("no connection")).boxed(),
            _ => future::pending().boxed(),
        }
    }
}

#[tokio::test]
async fn each_request_is_counted_once_by_its_answer_also_if_nobody_waits_for_that() {
    let tally = RequestTally::default();
    let mut client = tally.layer(Server);
    let mut ask = |name: &str| {
        let uri = format!("/api/v1/namespaces/shop/secrets/{name}");
        client.call(Request::get(uri).body(()).unwrap())
    };
    for name in ["there", "there", "missing"] {
        ask(name).await.unwrap();
    }
    assert_eq!(ask("broken").await.unwrap_err(), "no connection");
    assert!(ask("silent").now_or_never().is_none());

    let mut registry = Registry::default();
    registry.register("sent", "", tally.sent.clone());
    registry.register("took", "", tally.took.clone());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for (code, count) in [("2xx", 2), ("4xx", 1), ("none", 2)] {
        let line = format!("sent_total{{verb=\"get\",resource=\"secrets\",code=\"{code}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    let line = "took_count{verb=\"get\",resource=\"secrets\"} 5\n";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("shop") && !text.contains("missing"), "{text}");
}
