//! The workload's conditions: Ready, Reconciling, Stalled, Suspended, Available. Pure.

use super::{
    Truth, Verdict, find,
    verdict::{Said, again},
};
use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::{AdvisoryCode, ConditionType, Reason},
        spec::{Hold, Readiness},
    },
    domain::{
        Decision, Now, Observed,
        children::{Action, ChildKind, FailureKind, Outcome, ReplicasStep, RetryCause, Step},
        drift::{Contested, Row},
        finding::{listed, with_next_step},
        judgement::Sight,
        locks::Mono,
        memory::{Memory, TemplateProgress},
        rollout::{DeploymentView, Phase, pod_trouble},
    },
};

/// What was seen, decided and done.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) observed: &'a Observed<'a>,
    pub(super) decision: &'a Decision,
    pub(super) outcome: Option<&'a Outcome>,
    pub(super) now: Now,
}

/// Says them all; those of the locks must have been said before.
pub(super) fn workload(
    said: &mut Said,
    pass: &Pass<'_>,
    deployment: Option<&DeploymentView>,
    previous: &CoordinatedWorkloadStatus,
    memory: &mut Memory,
) {
    let Pass {
        observed,
        decision,
        outcome,
        now,
    } = *pass;
    let trouble = pod_trouble(deployment, observed.pods);
    let available = available(deployment, trouble.as_deref());
    let unavailable = available.truth != Truth::True;
    let available_message = available.message.clone();
    said.say(ConditionType::Available, available);

    let suspended = observed.workload.as_ref().is_ok_and(|workload| workload.suspend);
    if suspended {
        let message = "spec.suspend is true: Lockstep observes and reports, and changes nothing.";
        said.say(
            ConditionType::Suspended,
            Verdict::new(Truth::True, Reason::SuspendedByUser, message),
        );
    }
    let generation = observed.resource.metadata.generation.unwrap_or_default();
    let rollout = rollout(
        outcome,
        deployment,
        previous,
        generation,
        trouble.as_deref(),
        memory,
    );
    let fight = fight(decision, outcome, previous, memory, now.mono).filter(|_| !suspended);
    let spec = trouble_of_spec(observed, outcome);
    memory.children.fighting = spec.is_none() && fight.is_some();
    // What waiting won't help comes first; a rollout, which ends by itself, last.
    let progress = match (spec, rollout) {
        (Some(trouble), _) => Some(trouble),
        (None, Some(stuck @ Progress::Stalled(_))) => {
            memory.children.fighting = false;
            Some(stuck)
        }
        (None, rolling) => fight.or(rolling),
    };
    let (stalled, reconciling) = progress.map_or((None, None), Progress::split);
    let ready = if let Some(stalled) = &stalled {
        Verdict {
            truth: Truth::False,
            ..stalled.clone()
        }
    } else if suspended
        && decision
            .children
            .as_ref()
            .is_some_and(|(_, plan)| !plan.is_empty())
    {
        let message =
            "Suspended while the children differ from the spec; set spec.suspend to false to apply it.";
        Verdict::new(Truth::False, Reason::SuspendedWithChanges, message)
    } else if let Some(reconciling) = &reconciling {
        let retrying = reconciling.is(Reason::Retrying);
        let reason = if retrying {
            Reason::ChildApplyFailed
        } else {
            Reason::Progressing
        };
        Verdict::new(Truth::False, reason, reconciling.message.clone())
    } else if unavailable {
        Verdict::new(Truth::False, Reason::DeploymentUnavailable, available_message)
    } else if let Some(locks) = required_locks(said, observed, decision, previous) {
        locks
    } else {
        let message =
            "The spec runs: every child is as intended, and the Deployment has rolled out and is available.";
        Verdict::new(Truth::True, Reason::Reconciled, message)
    };
    said.say(ConditionType::Ready, ready);
    if let Some(stalled) = stalled {
        said.say(ConditionType::Stalled, stalled);
    } else if let Some(reconciling) = reconciling {
        said.say(ConditionType::Reconciling, reconciling);
    }
}

/// Why a resource is not at rest.
enum Progress {
    /// Waiting will not help.
    Stalled(Verdict),
    /// Work is going on.
    Reconciling(Verdict),
}

impl Progress {
    fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self::Stalled(Verdict::new(Truth::True, reason, message))
    }

    fn reconciling(reason: Reason, message: impl Into<String>) -> Self {
        Self::Reconciling(Verdict::new(Truth::True, reason, message))
    }

    /// As the conditions Stalled and Reconciling, which are never there together.
    fn split(self) -> (Option<Verdict>, Option<Verdict>) {
        match self {
            Self::Stalled(verdict) => (Some(verdict), None),
            Self::Reconciling(verdict) => (None, Some(verdict)),
        }
    }
}

/// What keeps the children from being as the spec wants them.
fn trouble_of_spec(observed: &Observed<'_>, outcome: Option<&Outcome>) -> Option<Progress> {
    if let Err(problems) = observed.workload {
        let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let next = "Next: correct the spec; nothing was changed meanwhile.";
        let message = with_next_step(&format!("{}.", list.join("; ")), next);
        return Some(Progress::stalled(Reason::InvalidSpec, message));
    }
    let outcome = outcome?;
    if let Some(failure) = outcome.first_failure() {
        let words = failure.message.trim_end_matches('.');
        let text = format!("{}: {words}.", failure.child.kind());
        let message = with_next_step(&text, next_step(failure.kind));
        let reason = failure_reason(failure.kind);
        return Some(if failure.kind.is_retried() {
            Progress::reconciling(reason, message)
        } else {
            Progress::stalled(reason, message)
        });
    }
    let waiting = outcome.waiting.first()?;
    Some(Progress::reconciling(
        Reason::NewGeneration,
        format!("Waiting: {waiting}."),
    ))
}

/// Somebody who insists on other values than the spec's, or whose last change has to wait until it is taken back, or was
/// there again before this pass had ended.
fn fight(
    decision: &Decision,
    outcome: Option<&Outcome>,
    previous: &CoordinatedWorkloadStatus,
    memory: &Memory,
    now: Mono,
) -> Option<Progress> {
    let held = decision.children.as_ref().and_then(|(_, plan)| {
        let held = |(kind, step): (ChildKind, &Step)| {
            matches!(step, Step::Hold { .. }).then_some(Contested::Child(kind))
        };
        let replicas = (plan.replicas == ReplicasStep::Hold).then_some(Contested::Replicas);
        let what = plan.steps.iter().find_map(held).or(replicas)?;
        memory.children.drift.of(what)
    });
    let unsettled = || {
        let (kind, _) = outcome?.children.iter().find(|(_, applied)| {
            let action = applied.as_ref().map(|applied| &applied.action);
            matches!(
                action,
                Some(Action::Updated {
                    unsettled: Some(_),
                    ..
                })
            )
        })?;
        memory.children.drift.of(Contested::Child(kind))
    };
    let row = memory.children.drift.fights(now).next().or(held);
    let Some(row) = row.or_else(unsettled) else {
        // A process before this one told of it; this one can't know yet that it is over.
        let told = previous
            .advisories
            .iter()
            .any(|said| said.code == AdvisoryCode::FieldConflict.as_str());
        let before = again(previous, ConditionType::Reconciling).filter(|before| before.is(Reason::Retrying));
        return before
            .filter(|_| told && memory.children.drift.may_be_fought(now))
            .map(Progress::Reconciling);
    };
    let Row {
        what, rival, field, ..
    } = row;
    let text = if row.is_admission() {
        format!(
            "{rival} changes {field} of the {what} whenever Lockstep applies it; Lockstep tries again, ever more rarely."
        )
    } else {
        // Not how often exactly: that would be one more write of status for each correction.
        let times = match row.count {
            1 => "once",
            2 => "twice",
            _ => "three times or more in a row",
        };
        format!(
            "{rival} keeps changing {field} of the {what}; Lockstep has changed it back {times}, and does so ever more \
             rarely."
        )
    };
    let message = with_next_step(
        &text,
        "Next: stop it, or put the value that it wants into the spec.",
    );
    Some(Progress::reconciling(Reason::Retrying, message))
}

/// Where the Deployment's rollout stands; `None`: at its end.
fn rollout(
    outcome: Option<&Outcome>,
    deployment: Option<&DeploymentView>,
    previous: &CoordinatedWorkloadStatus,
    generation: i64,
    trouble: Option<&str>,
    memory: &mut Memory,
) -> Option<Progress> {
    let rolling = |message: String| Some(Progress::reconciling(Reason::RollingOut, message));
    let Some(deployment) = deployment else {
        let tried = outcome.is_some();
        return tried
            .then(|| Progress::reconciling(Reason::NewGeneration, "The children are being created."));
    };
    let wrote = outcome.and_then(|outcome| outcome.children.deployment.as_ref());
    match wrote.map(|applied| &applied.action) {
        Some(Action::Created | Action::Adopted { .. } | Action::Updated { .. }) => {
            memory.template = TemplateProgress::Written;
        }
        Some(Action::None) | None => {}
    }
    // Scaling, too, is unseen by the Deployment controller for a moment, and it is no rollout: one begins with a write
    // of ours, or was under way when this process began.
    let under_way = find(&previous.conditions, ConditionType::Ready).is_none()
        || find(&previous.conditions, ConditionType::Reconciling).is_some()
        || find(&previous.conditions, ConditionType::Stalled).is_some();
    let unseen = "The Deployment controller has not seen the latest change yet.";
    match (&deployment.phase, memory.template) {
        (Phase::Unobserved, TemplateProgress::Written) => return rolling(unseen.into()),
        (Phase::Unobserved, _) if under_way => return rolling(unseen.into()),
        // A process before this one may have written a template and died, or only scaled: the controller will tell.
        (Phase::Unobserved, TemplateProgress::Unknown) if previous.observed_generation != generation => {
            return Some(Progress::reconciling(Reason::NewGeneration, unseen));
        }
        (Phase::Unobserved, TemplateProgress::Unknown | TemplateProgress::Seen) => return None,
        (Phase::Complete | Phase::Rolling | Phase::Stuck(_), _) => memory.template = TemplateProgress::Seen,
    }
    match (&deployment.phase, trouble) {
        (Phase::Complete | Phase::Unobserved, _) => None,
        (Phase::Rolling, Some(trouble)) => rolling(format!(
            "The Deployment rolls out the current template; {trouble}."
        )),
        (Phase::Rolling, None) => rolling("The Deployment rolls out the current template.".into()),
        (Phase::Stuck(words), trouble) => {
            let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
            let message = with_next_step(
                &format!("{words}{trouble}"),
                "Next: correct the template, or see kubectl describe pods.",
            );
            Some(Progress::stalled(Reason::ProgressDeadlineExceeded, message))
        }
    }
}

/// What to do about a child that can't be written.
fn next_step(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::NameConflict => {
            "Lockstep did not make it and leaves it alone. Next: delete that object, give this resource another name, or, \
             if nothing else controls it, take it over with spec.conflictPolicy: Adopt."
        }
        FailureKind::OwnershipLost => {
            "Next: put the owner reference back, set spec.conflictPolicy: Adopt, or delete the object; it is made anew."
        }
        FailureKind::InvalidPodTemplate => "Next: correct spec.template by these words.",
        FailureKind::InvalidSpec => "Next: correct the section of this object in the spec by these words.",
        FailureKind::ImmutableField => "Next: take the change back, or delete the object; it is made anew.",
        FailureKind::Forbidden => "Next: grant the operator this permission.",
        FailureKind::AdmissionDenied => {
            "Next: change the template, or ask the owner of the policy or webhook."
        }
        FailureKind::ObjectTooLarge => "Next: shorten the template; long values belong in a ConfigMap.",
        FailureKind::Retry(RetryCause::Quota) => {
            "It is tried again, after 5 min at the latest. Next: make room in the quota."
        }
        FailureKind::Retry(_) => "It is tried again, after 5 min at the latest.",
    }
}

fn failure_reason(kind: FailureKind) -> Reason {
    match kind {
        FailureKind::NameConflict => Reason::NameConflict,
        FailureKind::OwnershipLost => Reason::OwnershipLost,
        FailureKind::InvalidPodTemplate => Reason::InvalidPodTemplate,
        FailureKind::InvalidSpec => Reason::InvalidSpec,
        FailureKind::ImmutableField => Reason::ImmutableField,
        FailureKind::Forbidden => Reason::Forbidden,
        FailureKind::AdmissionDenied => Reason::AdmissionDenied,
        FailureKind::ObjectTooLarge => Reason::ObjectTooLarge,
        FailureKind::Retry(_) => Reason::Retrying,
    }
}

fn available(deployment: Option<&DeploymentView>, trouble: Option<&str>) -> Verdict {
    match deployment.map(|deployment| (deployment.wanted, &deployment.availability)) {
        Some((0, _)) => Verdict::new(Truth::True, Reason::NoReplicasWanted, "No replicas are wanted."),
        Some((_, Some((true, _)))) => Verdict::new(
            Truth::True,
            Reason::MinimumReplicasAvailable,
            "The Deployment has its minimum of available pods.",
        ),
        Some((_, Some((false, words)))) => {
            let words = match words.trim() {
                "" | "." => "The Deployment does not have its minimum of available pods.",
                words => words,
            };
            let because = |trouble| format!("{}; {trouble}.", words.trim_end_matches('.'));
            let message = trouble.map_or_else(|| words.to_owned(), because);
            Verdict::new(Truth::False, Reason::MinimumReplicasUnavailable, message)
        }
        Some((_, None)) | None => Verdict::new(
            Truth::Unknown,
            Reason::Pending,
            "The Deployment has not said yet whether it is available.",
        ),
    }
}

/// False by a set with `readiness: Required`, if one is unheld or unobserved.
fn required_locks(
    said: &Said,
    observed: &Observed<'_>,
    decision: &Decision,
    previous: &CoordinatedWorkloadStatus,
) -> Option<Verdict> {
    let workload = observed.workload.as_ref().ok()?;
    let required = |index: usize| {
        workload
            .locks
            .get(index)
            .is_some_and(|set| set.readiness == Readiness::Required)
    };
    // An Intermittent lock without a holder is one without work.
    let must_be_held = |index: usize| {
        workload
            .locks
            .get(index)
            .is_some_and(|set| set.hold == Hold::Continuous)
    };
    if !(0..workload.locks.len()).any(required)
        || said.get(ConditionType::LocksHeld)?.is(Reason::NoReplicasWanted)
    {
        return None;
    }
    let names = workload
        .locks
        .iter()
        .filter(|set| set.readiness == Readiness::Required);
    let names: Vec<_> = names.map(|set| set.name.as_str()).collect();
    let not_observed = format!(
        "The locks of {}, which are part of Ready by readiness: Required, can't be seen; see StoreReachable.",
        listed(&names)
    );
    // What was said of another spec says nothing of the locks of this one.
    let same_generation =
        previous.observed_generation == observed.resource.metadata.generation.unwrap_or_default();
    match decision.assessment.sight {
        Sight::Clear { .. } => {
            let bad = decision
                .assessment
                .locks
                .iter()
                .find(|lock| required(lock.set) && !lock.good && must_be_held(lock.set))?;
            let set = workload.locks.get(bad.set).map(|set| set.name.as_str());
            let message = format!(
                "{} (set {}), which is part of Ready by readiness: Required, is not in good hands; see LocksHeld.",
                bad.name,
                set.unwrap_or_default()
            );
            Some(Verdict::new(Truth::False, Reason::LocksNotHeld, message))
        }
        Sight::Pending => match again(previous, ConditionType::Ready).filter(|_| same_generation) {
            Some(before) if before.is(Reason::LocksNotHeld) || before.is(Reason::LocksNotObserved) => {
                Some(before)
            }
            Some(before) if before.is(Reason::Reconciled) => None,
            Some(_) | None => Some(Verdict::new(Truth::False, Reason::LocksNotObserved, not_observed)),
        },
        Sight::Blind { .. } => Some(Verdict::new(Truth::False, Reason::LocksNotObserved, not_observed)),
    }
}
