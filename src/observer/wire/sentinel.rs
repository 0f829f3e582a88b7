//! What a Sentinel is asked. I/O.

use redis::{Pipeline, Value};

use super::replies::{self, trouble_of};
use super::{Commands, Connection, Fault, PROTOCOL_ERROR, fault};
use crate::domain::locks::Trouble;

/// What is published when another server becomes the master: by the Sentinel that promotes it, then by all.
const CHANNELS: [&str; 2] = ["+switch-master", "+promoted-slave"];

/// The master, as one Sentinel sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::observer) struct Named {
    /// Its host name or address, as the Sentinel announces it.
    pub(in crate::observer) host: String,
    /// Its port.
    pub(in crate::observer) port: u16,
    /// The number of the failover that made it the master: of two Sentinels that name another, the one with the larger
    /// number is right. `None`: the ACL doesn't let us ask.
    pub(in crate::observer) epoch: Option<u64>,
}

impl Commands {
    /// Asks who is the master; `None`: this Sentinel watches none of that name.
    pub(in crate::observer) async fn master(&self, name: &str) -> Result<Option<Named>, Fault> {
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(name)
            .cmd("SENTINEL")
            .arg("MASTER")
            .arg(name);
        let mut answers = self.send(&pipeline).await?.into_iter();
        let (host, port) = match answers.next() {
            Some(Value::Nil) => return Ok(None),
            Some(Value::Array(parts)) => match &parts[..] {
                [host, port] => replies::text(host)
                    .zip(replies::text(port))
                    .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
                    .ok_or(PROTOCOL_ERROR)?,
                _ => return Err(PROTOCOL_ERROR),
            },
            Some(Value::ServerError(error)) => {
                return Err(Fault::said(trouble_of(&error)));
            }
            _ => return Err(PROTOCOL_ERROR),
        };
        let epoch = answers
            .next()
            .and_then(|fields| field(fields, "config-epoch")?.parse().ok());
        Ok(Some(Named { host, port, epoch }))
    }

    /// Asks whether enough Sentinels see each other to agree on a failover; `None`: it can't be told.
    pub(in crate::observer) async fn ckquorum(&self, name: &str) -> Option<bool> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("SENTINEL").arg("CKQUORUM").arg(name);
        match self.send(&pipeline).await.ok()?.into_iter().next()? {
            Value::ServerError(error) => (error.code() == "NOQUORUM").then_some(false),
            reply => replies::text(&reply).map(|text| text.starts_with("OK")),
        }
    }
}

impl Connection {
    /// Asks a Sentinel to say when another server becomes the master; whether it will.
    pub(in crate::observer) async fn subscribe_to_switches(&self) -> Result<bool, Fault> {
        if !self.resp3 {
            return Ok(false);
        }
        let mut connection = self.commands.connection.clone();
        match connection
            .subscribe(&CHANNELS)
            .await
            .map_err(|error| fault(&error))
        {
            Ok(()) => Ok(true),
            Err(Fault {
                trouble: Trouble::PermissionDenied,
                ..
            }) => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

/// A field of a map, which comes as pairs or, in RESP2, flat.
fn field(fields: Value, name: &str) -> Option<String> {
    let value = match fields {
        Value::Map(pairs) => pairs
            .into_iter()
            .find(|(field, _)| replies::text(field) == Some(name))
            .map(|(_, value)| value),
        Value::Array(parts) => {
            let mut parts = parts.into_iter();
            parts.find(|part| replies::text(part) == Some(name))?;
            parts.next()
        }
        _ => None,
    };
    replies::text(&value?).map(str::to_owned)
}
