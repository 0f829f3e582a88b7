//! `/livez`, `/readyz` and `/metrics`, over plain HTTP. I/O.
//!
//! In: [`Telemetry`]. Out: words for people with the status code that probes read, and metrics for Prometheus. Nothing can
//! be changed through it, and it shows no secret: whoever reaches the port may read.

use std::{fmt, io, net::SocketAddr, str::FromStr};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::telemetry::{METRICS_TYPE, Telemetry};

/// Where the endpoints are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bind {
    /// Nowhere.
    Off,
    /// At this address; port 0 takes any free one, which is logged.
    At(SocketAddr),
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map(Self::At);
        address.map_err(|_| "expected ADDRESS:PORT, such as 0.0.0.0:8080 or [::]:8080, or off".to_owned())
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// The endpoints can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or can't be used.
    #[error(
        "can't serve health and metrics at {address}: {source}; choose another address with --admin-bind, or turn them \
         off with --admin-bind off"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why, which belongs to the sentence: whoever starts the operator reads this line alone.
        source: io::Error,
    },
}

/// The endpoints, at an address that is taken.
#[derive(Debug)]
pub struct Admin(Option<TcpListener>);

impl Admin {
    /// Takes the address, so that a taken one fails the start.
    pub async fn bind(at: Bind) -> Result<Self, Error> {
        let address = match at {
            Bind::Off => return Ok(Self(None)),
            Bind::At(address) => address,
        };
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Bind { address, source })?;
        // The port that was asked for may be 0.
        let bound = listener.local_addr().unwrap_or(address);
        tracing::info!(address = %bound, "serving /livez, /readyz and /metrics");
        Ok(Self(Some(listener)))
    }

    /// Serves until it is dropped.
    pub async fn serve(self, telemetry: Telemetry) {
        let Some(listener) = self.0 else {
            return;
        };
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(telemetry);
        // It never ends by itself: an accept that fails is tried again.
        let _ = axum::serve(listener, router).await;
    }
}

async fn livez(State(telemetry): State<Telemetry>) -> Response {
    match telemetry.health.dead() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("dead: {why}\n")).into_response(),
    }
}

async fn readyz(State(telemetry): State<Telemetry>) -> Response {
    let missing = telemetry.health.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let lines = missing.join("\nnot ready: ");
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {lines}\n")).into_response()
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    match telemetry.metrics() {
        Ok(text) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_its_port_or_off() {
        let at = |text: &str| Bind::At(text.parse().unwrap());
        assert_eq!("off".parse(), Ok(Bind::Off));
        for text in ["0.0.0.0:8080", "[::]:0", "127.0.0.1:1"] {
            assert_eq!(text.parse(), Ok(at(text)));
            assert_eq!(at(text).to_string(), text);
        }
        for text in ["", "8080", ":8080", "localhost:8080", "Off", "0.0.0.0"] {
            assert!(text.parse::<Bind>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_said_with_what_helps() {
        let first = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.0.as_ref().unwrap().local_addr().unwrap();
        let error = Admin::bind(Bind::At(address)).await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(
            error.contains("in use") && error.contains("--admin-bind off"),
            "{error}"
        );
    }
}
