//! Until when this process may write to Kubernetes.
//!
//! The claim is made and prolonged by the election (`leader`); every request that changes something asks it
//! immediately before it is sent, and is cut off when it ends. So a process that was paused, or cut off from the
//! apiserver, is silent before another one may speak.

use std::{future::pending, time::Duration};

use tokio::sync::watch;

use crate::{clock, domain::locks::Mono};

/// Where a process stands in the election.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Another one leads, or nobody does yet.
    Standby,
    /// This one leads; it may write until this moment.
    Leads {
        /// On the local clock.
        until: Mono,
    },
    /// This one led, and then another one did: what it remembers is out of date.
    Replaced,
}

/// The right to write, as the election grants it. Without an election it never ends.
#[derive(Clone, Debug, Default)]
pub struct Claim(Option<watch::Receiver<Standing>>);

impl Claim {
    /// The claim that follows an election.
    #[must_use]
    pub fn of(election: watch::Receiver<Standing>) -> Self {
        Self(Some(election))
    }

    /// How long this process may still write; `None`: it may not.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let Some(election) = &self.0 else {
            return Some(Duration::MAX);
        };
        match *election.borrow() {
            Standing::Leads { until } => {
                let remaining = until.since(clock::mono());
                (!remaining.is_zero()).then_some(remaining)
            }
            Standing::Standby | Standing::Replaced => None,
        }
    }

    /// Whether this process may write.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.remaining().is_some()
    }

    /// Ready when this process leads.
    pub async fn won(&self) {
        self.reached(|standing| matches!(standing, Standing::Leads { .. }))
            .await;
    }

    /// Ready when another process leads after this one did; never without an election.
    pub async fn replaced(&self) {
        match &self.0 {
            Some(_) => self.reached(|standing| *standing == Standing::Replaced).await,
            None => pending().await,
        }
    }

    async fn reached(&self, wanted: impl FnMut(&Standing) -> bool) {
        if let Some(mut election) = self.0.clone()
            && election.wait_for(wanted).await.is_err()
        {
            // The election ended with the process; nothing will be reached any more.
            pending::<()>().await;
        }
    }
}
