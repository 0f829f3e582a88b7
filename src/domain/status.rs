//! Status and conditions, from the previous ones, the decision and its outcome. Pure.
//!
//! Nothing ticks: a status of an unchanged world is equal to the one before, times included.

mod announce;
mod bounds;
mod locks;
mod mirrors;
mod progress;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(in crate::domain) mod rules;
mod safety;
mod verdict;

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Decision, Now, Observed,
    advisory::{Advised, advise},
    children::{FailureKind, Live, Outcome},
    finding::{bounded, whole_seconds},
    incident,
    judgement::Sight,
    locks::Mode,
    memory::Memory,
    rollout::DeploymentView,
};
use crate::api::{
    CoordinatedWorkloadStatus, WORKLOAD_LABEL,
    conditions::{ConditionType, Reason},
    spec,
    status::{self, Child},
};

pub use self::{announce::announce, mirrors::EXHAUSTED_AFTER};

/// A condition's status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What one condition says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Its status.
    pub truth: Truth,
    /// Its reason: one of ours, or the word of whoever is quoted.
    pub reason: Cow<'static, str>,
    /// Its message.
    pub message: String,
}

impl Verdict {
    pub(super) fn new(truth: Truth, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            truth,
            reason: Cow::Borrowed(reason.as_str()),
            message: bounded(&message.into()),
        }
    }

    /// What somebody else says, in their words. Without a word that can stand as a reason it is no verdict: the apiserver
    /// would refuse the whole status for it.
    pub(super) fn quoted(truth: Truth, reason: &str, message: &str) -> Self {
        let pending = Reason::Pending.as_str();
        if reason == pending || !can_be_reason(reason) {
            return Self::new(Truth::Unknown, Reason::Pending, message);
        }
        Self {
            truth,
            reason: Cow::Owned(reason.to_owned()),
            message: bounded(message),
        }
    }

    pub(super) fn is(&self, reason: Reason) -> bool {
        self.reason == reason.as_str()
    }
}

/// Whether metav1.Condition takes it as a reason.
fn can_be_reason(word: &str) -> bool {
    const LONGEST: usize = 1024;
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_,:".contains(&byte);
    let begins = word.starts_with(|first: char| first.is_ascii_alphabetic());
    let ends = word.ends_with(|last: char| last.is_ascii_alphanumeric() || last == '_');
    begins && ends && word.len() <= LONGEST && word.bytes().all(inside)
}

/// The condition of this type, if there is one.
#[must_use]
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// See [`super::report`].
pub(super) fn report(
    observed: &Observed<'_>,
    decision: &Decision,
    outcome: Option<&Outcome>,
    memory: &mut Memory,
    now: Now,
) -> CoordinatedWorkloadStatus {
    let previous = observed.resource.status.clone().unwrap_or_default();
    let generation = observed.resource.metadata.generation.unwrap_or_default();
    let deployment = newest_deployment(observed, outcome);
    let workload = observed.workload.as_ref().ok();
    let mut said = verdict::Said::default();
    verdict::locks(
        &mut said,
        observed,
        &decision.assessment,
        deployment.as_ref(),
        &previous,
        memory,
        now.wall,
    );
    mirrors::mirrors(
        &mut said,
        observed,
        deployment.as_ref(),
        &previous,
        memory,
        now.mono,
    );
    let pass = progress::Pass {
        observed,
        decision,
        outcome,
        now,
    };
    progress::workload(&mut said, &pass, deployment.as_ref(), &previous, memory);
    let conditions = said.into_conditions(&previous.conditions, generation, now.wall);
    outages(memory, &previous, &conditions, now);
    let advisories = match workload {
        Some(workload) => advise(&Advised {
            spec: &observed.resource.spec,
            workload,
            deployment: deployment.as_ref(),
            store: observed.store,
            neighbours: observed.neighbours,
            drift: &memory.children.drift,
            repeats: &memory.repeats,
            now: now.mono,
            previous: &previous.advisories,
        }),
        // A spec that can't be read gives no ground for advice: what was said stands.
        None => previous.advisories.clone(),
    };
    let seen = deployment.unwrap_or_default();
    let locks = match workload {
        Some(workload) if !workload.locks.is_empty() => {
            locks::status(workload, &decision.assessment, &previous, memory)
        }
        Some(_) => None,
        None => previous.locks.clone(),
    };
    let store = match &decision.assessment.sight {
        Sight::Clear { mode, version, .. } => Some(status::Store {
            mode: match mode {
                Mode::Tracking => "Tracking".to_owned(),
                Mode::Polling => "Polling".to_owned(),
            },
            version: version.clone(),
        }),
        Sight::Pending | Sight::Blind { .. } if observed.store.is_some() || workload.is_none() => {
            previous.store.clone()
        }
        Sight::Pending | Sight::Blind { .. } => None,
    };
    let summary = status::Summary {
        pods: format!("{}/{}", seen.ready, seen.wanted),
        locks: locks::in_good_hands(workload, &decision.assessment, &previous),
        spread: locks::spread(workload, &decision.assessment, &previous, memory),
        problem: verdict::problem(&conditions).to_owned(),
    };
    let mut status = CoordinatedWorkloadStatus {
        conditions,
        observed_generation: generation,
        selector: Some(format!(
            "{WORKLOAD_LABEL}={}",
            observed.resource.metadata.name.as_deref().unwrap_or_default()
        )),
        replicas: seen.replicas,
        ready_replicas: seen.ready,
        updated_replicas: seen.updated,
        available_replicas: seen.available,
        summary: Some(summary),
        children: children(observed, decision, outcome, &previous.children),
        advisories,
        store,
        locks,
        recent: memory.recent.clone(),
    };
    bounds::fit(&mut status);
    status
}

/// The Deployment as it is known best: the answer to a write is newer than any cache.
fn newest_deployment(observed: &Observed<'_>, outcome: Option<&Outcome>) -> Option<DeploymentView> {
    let written = outcome
        .and_then(|outcome| outcome.children.deployment.as_ref())
        .and_then(|applied| applied.live.as_ref());
    written.or(observed.deployment()).map(DeploymentView::of)
}

/// The children that exist: ours, and those that were until somebody took the owner reference away. Only status knows
/// that these were no strangers.
fn children(
    observed: &Observed<'_>,
    decision: &Decision,
    outcome: Option<&Outcome>,
    listed: &[Child],
) -> Vec<Child> {
    let name = observed.resource.metadata.name.clone().unwrap_or_default();
    let owner = observed.resource.metadata.uid.as_deref();
    let child = |kind: &str, uid: &str| Child {
        kind: kind.to_owned(),
        name: name.clone(),
        uid: uid.to_owned(),
    };
    let wanted = |kind| {
        let prepared = decision.children.as_ref().map(|(prepared, _)| prepared);
        prepared.is_none_or(|prepared| prepared.get(kind).is_some())
    };
    let was_ours = |live: &Live| listed.iter().any(|child| child.uid == live.uid());
    let cached = observed.live.iter().filter_map(|(kind, live)| {
        let live = live.as_ref()?;
        let ours = live.controller() == owner || (wanted(kind) && was_ours(live));
        ours.then_some((kind, live))
    });
    let Some(outcome) = outcome else {
        return cached
            .map(|(kind, live)| child(kind.kind(), live.uid()))
            .collect();
    };
    let mut list: Vec<_> = outcome
        .children
        .iter()
        .filter_map(|(kind, applied)| Some((kind, child(kind.kind(), &applied.as_ref()?.uid))))
        .collect();
    // What failed this time may well exist.
    for (kind, live) in cached {
        let deleted = outcome.deleted.iter().any(|(_, uid)| uid == live.uid());
        if !deleted && !list.iter().any(|(listed, _)| *listed == kind) {
            list.push((kind, child(kind.kind(), live.uid())));
        }
    }
    // Without its label it is in no cache either; that it was taken away is known only as long as status lists it.
    for failure in &outcome.failures {
        let known = listed.iter().find(|child| child.kind == failure.child.kind());
        if failure.kind == FailureKind::OwnershipLost
            && let Some(known) = known
            && !list.iter().any(|(listed, _)| *listed == failure.child)
        {
            list.push((failure.child, known.clone()));
        }
    }
    list.sort_by_key(|(kind, _)| *kind);
    list.into_iter().map(|(_, child)| child).collect()
}

/// Outages of the store in `status.recent`: begun when it is said, ended when it answers again.
fn outages(memory: &mut Memory, previous: &CoordinatedWorkloadStatus, conditions: &[Condition], now: Now) {
    let status_of = |conditions: &[Condition]| {
        find(conditions, ConditionType::StoreReachable)
            .map(|condition| (condition.status.clone(), condition.reason.clone()))
    };
    let was_down = status_of(&previous.conditions).is_some_and(|(status, _)| status == "False");
    let open = memory
        .recent
        .iter()
        .position(|entry| entry.set.is_none() && entry.gap.is_none());
    match status_of(conditions) {
        Some((status, reason)) if status == "False" => {
            if !was_down && open.is_none() {
                let when = whole_seconds(memory.store.down_since.unwrap_or(now.wall));
                let outage = status::Incident {
                    set: None,
                    lock: None,
                    cause: reason,
                    from: None,
                    to: None,
                    when: when.into(),
                    gap: None,
                };
                incident::remember(memory, outage);
            }
        }
        Some((status, _)) if status == "True" => {
            if let Some(entry) = open.and_then(|index| memory.recent.get_mut(index)) {
                // It began at a whole second, too.
                let lasted = whole_seconds(now.wall).duration_since(entry.when.0);
                entry.gap = Some(spec::Duration::from(lasted.unsigned_abs()).0);
            }
        }
        Some(_) | None => {}
    }
}
