//! The Lease by which one of several operators is told from the others. I/O.
//!
//! The one write that needs no claim: it is how a claim is made.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::error::Error;
use super::rest::limited;
use crate::api::FIELD_MANAGER;

/// Label of every Lease by which operators are told apart: whoever asks whether an operator lives finds it by this,
/// wherever it is.
pub const LEASE_LABEL: (&str, &str) = ("app.kubernetes.io/part-of", "lockstep");

/// What a Lease says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeaseRecord {
    /// Who holds it; `None`: nobody, it was released.
    pub holder: Option<String>,
    /// How long it holds after a renewal.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// When it was taken, for people.
    pub acquired: Option<Timestamp>,
    /// When it was renewed, for people: the clock of another machine decides nothing.
    pub renewed: Option<Timestamp>,
    /// The version of the object: another one is a sign of life. Empty: there is no such object yet.
    pub version: String,
}

/// A Lease, by name.
#[derive(Clone)]
pub struct LeaseObject {
    api: Api<Lease>,
    name: String,
}

impl LeaseObject {
    /// The Lease `name` in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::all(client).constrain(namespace),
            name: name.to_owned(),
        }
    }

    /// Reads it, in at most `limit`; `None`: there is none yet.
    pub async fn read(&self, limit: Duration) -> Result<Option<LeaseRecord>, Error> {
        let found = limited(limit, self.api.get_opt(&self.name)).await?;
        Ok(found.map(record))
    }

    /// Writes `record` over the version that it names, in at most `limit`; answers what is stored. Another writer in
    /// between is [`Error::is_conflict`] or [`Error::is_already_exists`].
    pub async fn write(&self, record: &LeaseRecord, limit: Duration) -> Result<LeaseRecord, Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(BTreeMap::from(
                    [LEASE_LABEL].map(|(key, value)| (key.into(), value.into())),
                )),
                resource_version: Some(record.version.clone()).filter(|version| !version.is_empty()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone().unwrap_or_default()),
                lease_duration_seconds: i32::try_from(record.duration.as_secs()).ok(),
                lease_transitions: Some(record.transitions),
                acquire_time: record.acquired.map(MicroTime),
                renew_time: record.renewed.map(MicroTime),
                ..LeaseSpec::default()
            }),
        };
        let parameters = PostParams {
            dry_run: false,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let stored = if record.version.is_empty() {
            limited(limit, self.api.create(&parameters, &lease)).await?
        } else {
            limited(limit, self.api.replace(&self.name, &parameters, &lease)).await?
        };
        Ok(self::record(stored))
    }
}

fn record(lease: Lease) -> LeaseRecord {
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    LeaseRecord {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        transitions: spec.lease_transitions.unwrap_or_default(),
        acquired: spec.acquire_time.map(|at| at.0),
        renewed: spec.renew_time.map(|at| at.0),
        version: lease.metadata.resource_version.unwrap_or_default(),
    }
}
