//! Leader election by a Lease: one operator writes, the others stand by with their caches filled. I/O; what to do next
//! is decided by [`Candidate`], which is pure.
//!
//! Two clocks are never compared. Who stands by counts from when it saw the Lease change last, on its own monotonic
//! clock; who leads falls silent before they may have counted to the end, [`CLAIM`] after it *sent* its last renewal. (The
//! published crates for this compare the Lease's `renewTime` with the local wall clock, and tell only whether a process
//! leads, not until when.)

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::Client;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    clock,
    cluster::{Claim, LeaseObject, LeaseRecord, Standing},
    domain::locks::Mono,
    retry::dice,
};

/// How long a Lease holds after a renewal.
const DURATION: Duration = Duration::from_secs(15);
/// How long a leader may write after it sent its last renewal: 5 s less than its Lease holds, by which what it sent last
/// must have been carried out.
const CLAIM: Duration = Duration::from_secs(10);
/// A leader renews this often.
const RENEW: Duration = Duration::from_secs(5);
/// Who stands by, or failed, looks again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Longest that one request may take: two fit into the time that a leader has.
const LIMIT: Duration = Duration::from_secs(3);

/// Which Lease, and who asks for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the Lease: the operator's own.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who this process is, in the Lease: no two processes are called the same.
    pub identity: String,
}

/// Who this process is, of all that ever were called `instance`: after a restart in the same pod it is another one.
#[must_use]
pub fn identity(instance: &str) -> String {
    format!("{instance}_{:016x}", dice())
}

/// An election that this process takes part in.
pub struct Election {
    claim: Claim,
    leave: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Election {
    /// Takes part from now on.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the task is awaited in `leave`, and ends with the process otherwise"
    )]
    pub fn join(client: Client, settings: Settings) -> Self {
        let (standing, followed) = watch::channel(Standing::Standby);
        let leave = Arc::new(Notify::new());
        let asked = Arc::clone(&leave);
        let task = tokio::spawn(async move {
            let object = LeaseObject::new(client, &settings.namespace, &settings.name);
            tokio::select! {
                () = take_part(&object, &settings, &standing) => {}
                () = asked.notified() => {
                    standing.send_replace(Standing::Standby);
                    release(&object, &settings.identity).await;
                }
            }
        });
        Self {
            claim: Claim::of(followed),
            leave,
            task,
        }
    }

    /// The right to write that it grants.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Gives the Lease back if it is this process', so that the next one need not wait. To be called when nothing is
    /// written any more.
    pub async fn leave(self) {
        self.leave.notify_one();
        let _ = self.task.await;
    }
}

/// Looks, takes and renews, until another process leads after this one did.
async fn take_part(lease: &LeaseObject, settings: &Settings, standing: &watch::Sender<Standing>) {
    let mut candidate = Candidate::new(settings.identity.clone());
    let (mut holder, mut trouble) = (None, None);
    while !candidate.replaced {
        let sent = clock::mono();
        let outcome = match candidate.step(sent, clock::wall()) {
            Step::Look => lease
                .read(LIMIT)
                .await
                .map(|found| candidate.looked(found, clock::mono())),
            Step::Write(record) => lease
                .write(&record, LIMIT)
                .await
                .map(|stored| candidate.wrote(stored, sent, clock::mono())),
        };
        if let Err(error) = outcome {
            candidate.failed();
            // Another one was first: what it wrote is read next.
            let lost = error.is_conflict() || error.is_already_exists();
            let words = Some(error.message()).filter(|_| !lost);
            if words.is_some() && words != trouble {
                tracing::warn!(
                    lease = settings.name,
                    namespace = settings.namespace,
                    category = error.category().as_str(),
                    error = words,
                    "the lease can't be read or written, and is tried again; needed are the verbs get, create and update \
                     on leases of coordination.k8s.io in this namespace"
                );
            }
            trouble = words;
        } else {
            trouble = None;
        }
        standing.send_replace(candidate.standing());
        if candidate.holder() != holder.as_deref() {
            holder = candidate.holder().map(str::to_owned);
            let (lease, identity) = (&settings.name, &settings.identity);
            match candidate.standing() {
                Standing::Leads { .. } => tracing::info!(lease, identity, "leading"),
                Standing::Standby => tracing::info!(lease, identity, holder, "standing by"),
                Standing::Replaced => tracing::error!(lease, identity, holder, "another operator leads now"),
            }
        }
        tokio::time::sleep(candidate.wait(clock::mono())).await;
    }
}

/// Gives it back if it is this process', as it is now: a renewal may have been under way.
async fn release(lease: &LeaseObject, identity: &str) {
    let released = async {
        let record = lease.read(LIMIT).await?;
        let Some(own) = record.filter(|record| record.holder.as_deref() == Some(identity)) else {
            return Ok(false);
        };
        let record = LeaseRecord {
            holder: None,
            renewed: Some(clock::wall()),
            ..own
        };
        lease.write(&record, LIMIT).await.map(|_| true)
    };
    match released.await {
        Ok(true) => tracing::info!("the lease is released"),
        Ok(false) => {}
        // It ends by itself.
        Err(error) => tracing::warn!(error = error.message(), "the lease could not be released"),
    }
}

/// The next request.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    /// Read the Lease.
    Look,
    /// Write it, over the version that it names.
    Write(LeaseRecord),
}

/// The last request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Last {
    Looked,
    Wrote,
    /// Whether it was carried out is not known.
    Failed,
}

/// One who would lead. Pure.
#[derive(Debug)]
struct Candidate {
    identity: String,
    last: Last,
    /// The Lease as it was read or written last, and since when it is known to be like that; `None`: there is none.
    seen: Option<(LeaseRecord, Mono)>,
    /// Until when this one leads, or led.
    until: Option<Mono>,
    replaced: bool,
}

impl Candidate {
    fn new(identity: String) -> Self {
        Self {
            identity,
            last: Last::Failed,
            seen: None,
            until: None,
            replaced: false,
        }
    }

    fn holder(&self) -> Option<&str> {
        self.seen
            .as_ref()
            .and_then(|(record, _)| record.holder.as_deref())
    }

    /// What to ask the apiserver now.
    fn step(&self, now: Mono, wall: Timestamp) -> Step {
        // Somebody else may have it since, and what is known of it be old.
        let lapsed = self.last == Last::Wrote && self.until.is_none_or(|until| now >= until);
        if self.last == Last::Failed || lapsed {
            return Step::Look;
        }
        let own = LeaseRecord {
            holder: Some(self.identity.clone()),
            duration: DURATION,
            transitions: 0,
            acquired: Some(wall),
            renewed: Some(wall),
            version: String::new(),
        };
        let Some((record, since)) = &self.seen else {
            return Step::Write(own);
        };
        let version = record.version.clone();
        match &record.holder {
            Some(holder) if *holder == self.identity => Step::Write(LeaseRecord {
                version,
                acquired: record.acquired,
                transitions: record.transitions,
                ..own
            }),
            Some(_) if now < *since + record.duration => Step::Look,
            Some(_) | None => Step::Write(LeaseRecord {
                version,
                transitions: record.transitions.saturating_add(1),
                ..own
            }),
        }
    }

    /// It was read.
    fn looked(&mut self, record: Option<LeaseRecord>, now: Mono) {
        self.last = Last::Looked;
        let known = self.seen.take();
        self.seen = record.map(|record| {
            let other = record
                .holder
                .as_ref()
                .is_some_and(|holder| *holder != self.identity);
            self.replaced |= other && self.until.is_some();
            let same = known.filter(|(known, _)| known.version == record.version);
            (record, same.map_or(now, |(_, since)| since))
        });
    }

    /// It was written; `sent`: when that was begun.
    fn wrote(&mut self, record: LeaseRecord, sent: Mono, now: Mono) {
        self.last = Last::Wrote;
        self.until = Some(sent + CLAIM);
        self.seen = Some((record, now));
    }

    /// The last request failed.
    fn failed(&mut self) {
        self.last = Last::Failed;
    }

    fn standing(&self) -> Standing {
        match self.until {
            _ if self.replaced => Standing::Replaced,
            Some(until) => Standing::Leads { until },
            None => Standing::Standby,
        }
    }

    /// How long until the next request.
    fn wait(&self, now: Mono) -> Duration {
        match (self.last, &self.seen) {
            (Last::Failed, _) => RETRY,
            (Last::Wrote, _) => RENEW,
            (Last::Looked, Some((record, since)))
                if record
                    .holder
                    .as_ref()
                    .is_some_and(|holder| *holder != self.identity) =>
            {
                (*since + record.duration).since(now).min(RETRY)
            }
            // It is there to be taken, or to be renewed.
            (Last::Looked, _) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests;
