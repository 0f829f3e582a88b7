//! `locks --live`: asks the operator that leads for what it counts, through the apiserver's proxy. I/O.
//!
//! In: the operator's Lease, which names its pod. Out: the sets of one workload, or in words why they can't be shown.

use http::StatusCode;
use kube::client::Body;

use super::{
    access::{Access, Error},
    show::{
        View,
        live::{self, Set},
        operator::Operator,
    },
};

/// What the operator counts of the workload, and who it is.
pub(super) async fn read(access: &Access, view: &View<'_>, port: u16) -> Result<(String, Vec<Set>), Error> {
    let lead = match &view.operator {
        Operator::Elected(lead) if lead.is_alive() => lead,
        Operator::Elected(lead) => {
            return Err(Error::Figures(format!("{}: nobody counts", lead.fault())));
        }
        Operator::Unchecked(why) => {
            return Err(Error::Figures(format!(
                "which pod the operator is, is known by its lease, and {why}"
            )));
        }
        Operator::Unasked => return Err(Error::Figures("nobody looked for an operator".to_owned())),
    };
    let (namespace, pod) = (&lead.namespace, lead.pod());
    let who = format!("{namespace}/{pod}");
    let page = page(access, namespace, pod, port).await?;
    match live::read(&page, view.namespace(), view.name()) {
        None => Err(Error::Figures(format!(
            "what answers at port {port} of {who} is no operator, or one that is too old to count"
        ))),
        Some(sets) if sets.is_empty() && !view.resource.spec.locks.is_empty() => {
            Err(Error::Figures(format!(
                "{who} counts nothing of {} in namespace {}: it has not looked at it yet, or does not watch this namespace",
                view.name(),
                view.namespace()
            )))
        }
        Some(sets) => Ok((who, sets)),
    }
}

async fn page(access: &Access, namespace: &str, pod: &str, port: u16) -> Result<String, Error> {
    let uri = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
    let request = http::Request::get(uri).body(Body::empty());
    let request = request.map_err(|error| Error::Figures(error.to_string()))?;
    let response = access.client.send(request).await;
    let (head, body) = response
        .map_err(|error| Error::Unreachable(error.to_string()))?
        .into_parts();
    let body = body
        .collect_bytes()
        .await
        .map_err(|error| Error::Unreachable(error.to_string()))?;
    let text = String::from_utf8_lossy(&body);
    // What the apiserver says is for programs, with the words for people inside.
    let said = || {
        let status: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let message = status.as_ref().and_then(|status| status.get("message")?.as_str());
        message.unwrap_or(&text).to_owned()
    };
    match head.status {
        StatusCode::OK => Ok(text.into_owned()),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(Error::Figures(format!(
            "you may not get pods/proxy in {namespace}, by which the operator's figures are read"
        ))),
        StatusCode::NOT_FOUND => Err(Error::Figures(format!(
            "there is no pod {pod} in {namespace}: the operator ended a moment ago, or runs outside of the cluster"
        ))),
        _ => Err(Error::Figures(format!(
            "the operator {namespace}/{pod} does not answer at port {port} (its --admin-bind): {}",
            said()
        ))),
    }
}
