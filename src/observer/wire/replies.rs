//! What single replies say.

use std::time::Duration;

use redis::{ServerError, Value};

use super::Fault;
use crate::domain::locks::Trouble;
use crate::observer::slots::{Node, SlotRange};

pub(super) fn require_master(reply: Option<Value>) -> Result<(), Fault> {
    let trouble = match reply {
        Some(Value::Array(parts)) => match parts.first().and_then(text) {
            Some("master") => return Ok(()),
            Some(_) => Trouble::NotMaster,
            None => Trouble::ProtocolError,
        },
        Some(Value::ServerError(error)) => trouble_of(&error),
        _ => Trouble::ProtocolError,
    };
    Err(Fault::said(trouble))
}

/// TIME: seconds and microseconds since 1970.
pub(super) fn server_time(reply: &Value) -> Option<Duration> {
    let Value::Array(parts) = reply else { return None };
    let [seconds, micros] = &parts[..] else {
        return None;
    };
    let seconds = Duration::from_secs(text(seconds)?.parse().ok()?);
    Some(seconds + Duration::from_micros(text(micros)?.parse().ok()?))
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

pub(super) fn trouble_of(error: &ServerError) -> Trouble {
    trouble(error.code())
}

/// What the first word of a Redis error says.
pub(super) fn trouble(code: &str) -> Trouble {
    match code {
        "NOAUTH" | "WRONGPASS" => Trouble::AuthenticationFailed,
        // DENIED: protected mode.
        "NOPERM" | "DENIED" => Trouble::PermissionDenied,
        "LOADING" => Trouble::Loading,
        "MASTERDOWN" => Trouble::NotMaster,
        "MOVED" | "ASK" | "CLUSTERDOWN" | "TRYAGAIN" => Trouble::ClusterDown,
        // A script runs: it answers, but nothing of use.
        "BUSY" => Trouble::Stale,
        _ => Trouble::ProtocolError,
    }
}

/// What an error about one key says: whatever this key is, the next one may be shown, unless the whole connection is
/// refused.
pub(super) fn of_one_key(error: &ServerError) -> Result<Trouble, Fault> {
    match trouble_of(error) {
        trouble @ (Trouble::PermissionDenied | Trouble::ClusterDown | Trouble::ProtocolError) => Ok(trouble),
        trouble => Err(Fault::said(trouble)),
    }
}

/// A pattern for SCAN that fits what begins like this.
pub(super) fn glob(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

/// A reply of SCAN: the next cursor and the keys.
pub(super) fn scanned(parts: Vec<Value>) -> Option<(u64, Vec<Vec<u8>>)> {
    let mut parts = parts.into_iter();
    let cursor = text(&parts.next()?)?.parse().ok()?;
    let Value::Array(keys) = parts.next()? else {
        return None;
    };
    Some((cursor, keys.into_iter().filter_map(bytes).collect()))
}

/// One entry of CLUSTER SLOTS: first and last slot, then the master's host, port and id.
pub(super) fn slot_range(entry: Value) -> Option<SlotRange> {
    let Value::Array(parts) = entry else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    };
    let [first, last, Value::Array(master), ..] = &parts[..] else {
        return None;
    };
    let [host, port, id, ..] = &master[..] else {
        return None;
    };
    Some(SlotRange {
        first: number(first)?,
        last: number(last)?,
        master: Node {
            id: text(id)?.to_owned(),
            // Nothing, or `?`: where the one who was asked is.
            host: text(host)
                .filter(|host| *host != "?")
                .unwrap_or_default()
                .to_owned(),
            port: number(port)?,
        },
    })
}
