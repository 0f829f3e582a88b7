//! Kubernetes, as far as Lockstep writes to it: children, status, events; and the Secrets it reads. I/O.
//!
//! In: intents and plans that `domain` made. Out: what came of them. No decision is made here that a plan didn't make,
//! except where only an answer of the apiserver can tell: whose object a name is taken by, and who changed a field.
//!
//! k8s-openapi's feature is `v1_36`, not `latest`: `v1_37` makes fields of Deployment conditions optional, and typed
//! structs never send a field that an older apiserver doesn't have.

mod apply;
mod cached;
mod claim;
mod error;
mod events;
mod lease;
mod managed_fields;
mod requests;
mod rest;
mod secrets;
mod status;

pub use cached::CachedChild;
pub use claim::{Claim, Standing};
pub use error::Error;
pub use events::{Event, EventType};
pub use lease::{LEASE_LABEL, LeaseObject, LeaseRecord};
pub use requests::{Counted, RequestTally};
pub use secrets::{SecretBytes, SecretError};

use std::time::Duration;

use kube::{Client, Config, client::ClientBuilder};

use crate::domain::children::{Children, Outcome, Plan, Prepared};
use crate::domain::workload::Workload;

/// Longest that any request but a status write may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Longest that a status write may take.
const STATUS_TIME_LIMIT: Duration = Duration::from_secs(5);

/// A Kubernetes cluster.
#[derive(Clone)]
pub struct Cluster {
    rest: rest::Rest,
    instance: String,
}

impl Cluster {
    /// A cluster behind `client`, which should be made by [`client()`]; `instance` is what events name as their
    /// reporting instance, such as the operator's pod.
    #[must_use]
    pub fn new(client: Client, instance: impl Into<String>) -> Self {
        Self {
            rest: rest::Rest::new(client),
            instance: instance.into(),
        }
    }

    /// The same cluster, in which nothing is changed but while `claim` is held.
    #[must_use]
    pub fn fenced(mut self, claim: Claim) -> Self {
        self.rest.fence(claim);
        self
    }

    /// Whether this process may change anything at the moment.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.rest.claim().is_held()
    }

    /// Carries out a plan.
    ///
    /// Children are written one after the other. What fails doesn't keep the others from being written, unless it
    /// looks as if they would fail too. Stopped at any point and planned anew, it ends in the same state.
    pub async fn apply(&self, workload: &Workload, prepared: &Children<Prepared>, plan: &Plan) -> Outcome {
        apply::Pass::new(&self.rest, workload, prepared, plan).run().await
    }
}

/// A client that doesn't try again by itself: kube's default one does so fifteen times within a call, and every caller
/// here has a backoff and a time limit of its own.
pub fn client(config: Config) -> Result<Client, kube::Error> {
    counted_client(config, &RequestTally::default())
}

/// The same, whose requests are counted: those of watches and of the election, too.
pub fn counted_client(mut config: Config, tally: &RequestTally) -> Result<Client, kube::Error> {
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(tally).build())
}
