//! Events under names that the caller makes, so that none is ever said twice. I/O.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::Request;
use kube::core::params::PostParams;
use serde_json::json;

use super::error::{Error, bounded};
use super::rest::encode;
use super::{Cluster, TIME_LIMIT};
use crate::api::FIELD_MANAGER;

/// Who says it; a qualified name, as the API asks.
const CONTROLLER: &str = "lockstep.dev/lockstep";
/// The API's limit of a note, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Type of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventType {
    /// For the record.
    Normal,
    /// Somebody should look.
    Warning,
}

/// An event of events.k8s.io/v1.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Name of the event: the same announcement always has the same.
    pub name: String,
    /// Normal or Warning.
    pub type_: EventType,
    /// Reason, such as `ChildCreated`.
    pub reason: String,
    /// What was done or found out, such as `Apply`, `Observe`.
    pub action: String,
    /// In words; at most 1 KiB are posted.
    pub note: String,
    /// The resource, with its namespace.
    pub regarding: ObjectReference,
    /// When.
    pub at: Timestamp,
}

impl Cluster {
    /// Posts an event. `false`: one of that name was posted before, so it has been said.
    pub async fn post_event(&self, event: &Event) -> Result<bool, Error> {
        // Events about what has no namespace go into this one, by the API's rule.
        let namespace = event.regarding.namespace.as_deref().unwrap_or("default");
        let body = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": event.name, "namespace": namespace },
            // The API's MicroTime always has six digits.
            "eventTime": format!("{:.6}", event.at),
            "type": match event.type_ {
                EventType::Normal => "Normal",
                EventType::Warning => "Warning",
            },
            "reason": event.reason,
            "action": event.action,
            "note": bounded(&event.note, NOTE_LIMIT),
            "regarding": event.regarding,
            "reportingController": CONTROLLER,
            "reportingInstance": bounded(&self.instance, 128),
        });
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let parameters = PostParams {
            dry_run: false,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let request = Request::new(path).create(&parameters, encode(&body)?)?;
        match self.rest.send(TIME_LIMIT, request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
