//! Finds out whether an operator lives: status does not say, since nothing in it ticks. I/O.
//!
//! In: the Leases of operators, wherever they may be read. Out: an [`Operator`], and the apiserver's time. How old a Lease
//! is, is counted between two moments of the apiserver's own clock (when it stored the last renewal, and the `Date` of its
//! answer), so that neither a laptop's clock nor that of the operator's node can make a living operator look dead.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::DATE};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::Body;
use serde::Deserialize;

use super::{
    access::Access,
    show::operator::{Lead, Operator, judge},
};
use crate::{api::FIELD_MANAGER, cluster::LEASE_LABEL};

/// Where the documentation installs it.
const USUAL_NAMESPACE: &str = "lockstep-system";
/// What an operator calls its Lease unless it is told otherwise.
const USUAL_LEASE: &str = "lockstep";
/// How long a Lease holds that doesn't say.
const LASTS: SignedDuration = SignedDuration::from_secs(15);
/// Nobody waits longer for what is said beside the point.
const LIMIT: Duration = Duration::from_secs(5);

/// What was found out, and the apiserver's time.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) operator: Operator,
    /// `None`: it didn't say.
    pub(super) now: Option<Timestamp>,
}

/// Looks for the operator's Lease. Whatever fails is part of the answer.
pub(super) async fn look(access: &Access) -> Seen {
    let mut search = Search {
        access,
        now: None,
        refused: None,
    };
    let found = tokio::time::timeout(LIMIT, search.run()).await;
    let operator = match (found, search.refused) {
        (Ok(leads), Some(refused)) if leads.is_empty() => Operator::Unchecked(refused),
        (Ok(leads), _) => judge(leads),
        (Err(_), _) => Operator::Unchecked("the apiserver did not answer in time".to_owned()),
    };
    Seen {
        operator,
        now: search.now,
    }
}

struct Search<'a> {
    access: &'a Access,
    now: Option<Timestamp>,
    /// Why the last Lease that was asked for can't be read.
    refused: Option<String>,
}

/// One Lease, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Leases {
    List { items: Vec<Lease> },
    One(Box<Lease>),
}

impl Search<'_> {
    async fn run(&mut self) -> Vec<Lead> {
        if let Some(namespace) = self.access.operator_namespace.clone() {
            return self.within(&namespace).await;
        }
        let anywhere = self.labelled("/apis/coordination.k8s.io/v1/leases").await;
        if !anywhere.is_empty() {
            return anywhere;
        }
        // Rights to all namespaces are rare.
        let own = self.access.namespace.clone();
        let mut found = self.within(&own).await;
        if found.is_empty() && own != USUAL_NAMESPACE {
            found = self.within(USUAL_NAMESPACE).await;
        }
        found
    }

    async fn within(&mut self, namespace: &str) -> Vec<Lead> {
        let place = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        // A right to one Lease is often a right by its name.
        let found = self.ask(format!("{place}/{USUAL_LEASE}")).await;
        if found.is_empty() {
            // It may have another name.
            return self.labelled(&place).await;
        }
        found
    }

    async fn labelled(&mut self, place: &str) -> Vec<Lead> {
        let (key, value) = LEASE_LABEL;
        self.ask(format!("{place}?labelSelector={key}%3D{value}")).await
    }

    async fn ask(&mut self, uri: String) -> Vec<Lead> {
        match self.try_ask(&uri).await {
            Ok(leads) => leads,
            Err(why) => {
                self.refused = Some(why);
                vec![]
            }
        }
    }

    async fn try_ask(&mut self, uri: &str) -> Result<Vec<Lead>, String> {
        let request = http::Request::get(uri).body(Body::empty());
        let request = request.map_err(|error| error.to_string())?;
        let response = self.access.client.send(request).await;
        let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
        let now = date(&head.headers);
        self.now = now.or(self.now);
        match head.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(vec![]),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                let namespace = uri.split('/').skip_while(|part| *part != "namespaces").nth(1);
                let place = namespace.map_or_else(String::new, |namespace| format!(" in {namespace}"));
                return Err(format!(
                    "you may not get leases of coordination.k8s.io{place}, where it says that it lives"
                ));
            }
            status => return Err(format!("the apiserver answers {status}")),
        }
        let Some(now) = now else {
            return Err("the apiserver does not say what time it is".to_owned());
        };
        let body = body.collect_bytes().await.map_err(|error| error.to_string())?;
        let leases = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let leases = match leases {
            Leases::List { items } => items,
            Leases::One(lease) => vec![*lease],
        };
        Ok(leases.into_iter().filter_map(|lease| lead(lease, now)).collect())
    }
}

/// The apiserver's time.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The Lease at this moment; `None`: nobody ever had it.
fn lead(lease: Lease, now: Timestamp) -> Option<Lead> {
    let spec = lease.spec.unwrap_or_default();
    let entries = lease.metadata.managed_fields.unwrap_or_default();
    // The apiserver notes when it stored what the operator wrote last; renewTime is by the operator's clock.
    let stored = entries
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
        .filter_map(|entry| entry.time.as_ref())
        .map(|time| time.0)
        .max();
    let renewed = stored.or(spec.renew_time.map(|time| time.0))?;
    let lasts = spec
        .lease_duration_seconds
        .map_or(LASTS, |seconds| SignedDuration::from_secs(seconds.into()));
    Some(Lead {
        namespace: lease.metadata.namespace.unwrap_or_default(),
        lease: lease.metadata.name.unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        renewed: renewed.duration_until(now).max(SignedDuration::ZERO),
        lasts,
    })
}
