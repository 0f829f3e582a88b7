//! What a user asked of the apiserver, from the apiserver's own log.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use jiff::Timestamp;
use serde_json::Value;

use super::place::AUDIT_LOG;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) verb: String,
    /// Such as `deployments` or `coordinatedworkloads/status`.
    pub(crate) resource: String,
    /// `namespace/name` of what it was about.
    pub(crate) object: String,
    /// The answer's.
    pub(crate) code: u64,
    /// When it came.
    pub(crate) at: Timestamp,
}

impl Request {
    /// Whether it may change something.
    pub(crate) fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// Where the log ends now.
pub(crate) fn now() -> u64 {
    std::fs::metadata(&*AUDIT_LOG).unwrap().len()
}

/// The requests of a user that were answered since the log was `from` bytes long.
pub(crate) fn requests(user: &str, from: u64) -> Vec<Request> {
    let user_name = format!("\"username\":\"{user}\"");
    read(from, |line| line.contains(&user_name))
}

/// The requests of all operators of all tests.
pub(crate) fn of_operators() -> Vec<Request> {
    read(0, |line| {
        line.contains("\"username\":\"system:serviceaccount:") && line.contains(":operator\"")
    })
}

fn read(from: u64, wanted: impl Fn(&str) -> bool) -> Vec<Request> {
    let mut file = File::open(&*AUDIT_LOG).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .filter(|line| wanted(line))
        // The first or the last line may be cut.
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|entry| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let object = &entry["objectRef"];
            let mut resource = text(&object["resource"]);
            if let Some(subresource) = object["subresource"].as_str() {
                resource = format!("{resource}/{subresource}");
            }
            Request {
                verb: text(&entry["verb"]),
                resource,
                object: format!("{}/{}", text(&object["namespace"]), text(&object["name"])),
                at: text(&entry["requestReceivedTimestamp"])
                    .parse()
                    .unwrap_or_default(),
                code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
            }
        })
        .collect()
}
