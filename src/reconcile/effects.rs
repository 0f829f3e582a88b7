//! The last part of a pass: children, events, status, in this order. I/O.
//!
//! What fails waits for its own backoff and is told of meanwhile; it keeps nothing else from being done.

use std::time::Duration;

use kube::ResourceExt as _;

use super::{Error, Pass, events};
use crate::{
    api::{CoordinatedWorkload, CoordinatedWorkloadStatus},
    clock,
    domain::{
        Now, Observed,
        children::{self, Children, Live, Outcome},
        finding::Finding,
        locks::Mono,
        status::announce,
        workload::Workload,
    },
    observer::WorkloadKey,
};

/// Status is written at most this often per resource.
pub(super) const STATUS_PACE: Duration = Duration::from_secs(2);

impl Pass<'_> {
    pub(super) async fn execute(
        &mut self,
        workload: &Workload,
        prepared: &Children<children::Prepared>,
        plan: &children::Plan,
        observed: &Observed<'_>,
    ) -> Option<Outcome> {
        let generation = workload.generation;
        if plan.is_idle() {
            self.entry.apply_backoff.reset();
            self.entry.failed = None;
            return None;
        }
        let mut told = None;
        if let Some((failed, outcome)) = &self.entry.failed {
            if *failed != generation {
                self.entry.apply_backoff.reset();
            } else if !self.entry.apply_backoff.is_over(clock::mono()) {
                told = Some(outcome.clone());
            }
        }
        let Some(told) = told else {
            let outcome = self.context.cluster.apply(workload, prepared, plan).await;
            self.take_in(&outcome, observed);
            if outcome.failures.is_empty() {
                self.entry.apply_backoff.reset();
                self.entry.failed = None;
            } else {
                self.failed(generation, &outcome);
            }
            return Some(outcome);
        };
        // What failed has to wait; the others need not.
        let waiting: Vec<_> = told.failures.iter().map(|failure| failure.child).collect();
        let rest = plan.without(&waiting);
        if told.is_hopeless() || rest.is_idle() {
            return Some(told);
        }
        let mut outcome = self.context.cluster.apply(workload, prepared, &rest).await;
        self.take_in(&outcome, observed);
        let failed = !outcome.failures.is_empty();
        outcome.failures.extend(told.failures);
        outcome.failures.sort_by_key(|failure| failure.child);
        if failed {
            self.failed(generation, &outcome);
        }
        Some(outcome)
    }

    /// Takes in what was written: what is newer than the caches, what it says of others, and what is said of it.
    fn take_in(&mut self, outcome: &Outcome, observed: &Observed<'_>) {
        for (kind, applied) in outcome.children.iter() {
            let Some(applied) = applied else { continue };
            if let Some(live) = &applied.live {
                *self.entry.newer.get_mut(kind) = Some((clock::mono(), live.clone()));
            }
            if matches!(applied.action, children::Action::Adopted { .. }) {
                self.entry.memory.children.adopted.insert(applied.uid.clone());
            }
        }
        for (kind, _) in &outcome.deleted {
            *self.entry.newer.get_mut(*kind) = None;
        }
        let corrected = self.entry.memory.children.drift.record(outcome, clock::mono());
        let said = events::announce_children(
            outcome,
            &self.key.name,
            &corrected,
            observed.is_changed_spec(),
            observed.deployment().and_then(Live::replicas),
        );
        self.entry.memory.outbox.extend(said);
    }

    /// Remembers what failed until it may be tried again.
    fn failed(&mut self, generation: i64, outcome: &Outcome) {
        let failures = &outcome.failures;
        let at_least = failures.iter().filter_map(|failure| failure.retry_after).max();
        for failure in failures {
            self.context.telemetry.failed(failure.kind.category());
            tracing::warn!(
                key = %self.key,
                child = failure.child.kind(),
                category = failure.kind.category().as_str(),
                message = failure.message,
                "a child could not be written"
            );
        }
        self.entry.apply_backoff.failed(clock::mono(), at_least);
        // Told again while waiting: the same failure, but not the same deeds.
        let mut told = outcome.clone();
        for kind in children::ChildKind::ALL {
            if let Some(applied) = told.children.get_mut(kind) {
                applied.live = None;
            }
        }
        self.entry.failed = Some((generation, told));
    }

    /// Posts what waits, and writes status if it changed; says when it may be written if that is later.
    pub(super) async fn write(
        &mut self,
        resource: &CoordinatedWorkload,
        status: CoordinatedWorkloadStatus,
        findings: &[Finding],
        at: Now,
    ) -> Result<Option<Mono>, Error> {
        let previous = resource.status.clone().unwrap_or_default();
        let changed = status != previous;
        let due = self
            .entry
            .memory
            .status_written
            .map(|last| last + STATUS_PACE)
            .filter(|due| *due > at.mono);
        let due = due.max(self.entry.report_backoff.until().filter(|until| *until > at.mono));
        let write_now = changed && due.is_none();
        if write_now {
            announce(&previous, &status, findings, &mut self.entry.memory);
        }
        if self.entry.report_backoff.is_over(at.mono) {
            self.post(resource).await?;
        }
        if !write_now {
            return Ok(due.filter(|_| changed));
        }
        let version = resource.resource_version().unwrap_or_default();
        let WorkloadKey { namespace, name } = &self.key;
        match self
            .context
            .cluster
            .write_status(namespace, name, &version, &status)
            .await
        {
            Ok(version) => {
                self.entry.memory.status_written = Some(clock::mono());
                self.entry.written = Some((version, status));
                self.entry.report_backoff.reset();
                Ok(None)
            }
            // Somebody wrote in between, or deleted it: the watch will bring it.
            Err(error) if error.is_conflict() || error.is_not_found() => {
                Ok(Some(clock::mono() + STATUS_PACE))
            }
            Err(error) => {
                self.entry.report_backoff.failed(clock::mono(), None);
                Err(Error::Status(error))
            }
        }
    }

    async fn post(&mut self, resource: &CoordinatedWorkload) -> Result<(), Error> {
        while let Some(announcement) = self.entry.memory.outbox.first() {
            let status = resource.status.as_ref();
            let told_until = status.map(|status| status.told_until(announcement.reason));
            let event = events::event(
                resource,
                announcement,
                told_until.unwrap_or_default(),
                clock::wall(),
            );
            match self.context.cluster.post_event(&event).await {
                Ok(_) => {
                    self.context.telemetry.posted(announcement.reason);
                    self.entry.memory.outbox.remove(0);
                }
                Err(error) => {
                    self.entry.report_backoff.failed(clock::mono(), None);
                    return Err(Error::Event(error));
                }
            }
        }
        Ok(())
    }
}
