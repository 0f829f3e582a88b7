//! The conditions, each by the contract's section 4. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Truth, Verdict, find};
use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::{ConditionType, Reason},
        spec::{Hold, Readiness},
        status::LockState,
    },
    domain::{
        Decision, Observed,
        assessment::{Assessment, Sight},
        balance::SetBalance,
        children::{FailureKind, Outcome},
        finding::{Finding, summarize, time, with_next_step},
        locks::{Mode, Trouble},
        memory::Memory,
        rollout::{DeploymentView, Phase, pod_trouble},
    },
};

/// Conditions as they are said, in the order of [`ConditionType::ALL`].
#[derive(Debug, Default)]
pub(super) struct Said(Vec<(ConditionType, Verdict)>);

impl Said {
    fn say(&mut self, type_: ConditionType, verdict: Verdict) {
        self.0.push((type_, verdict));
    }

    fn get(&self, type_: ConditionType) -> Option<&Verdict> {
        self.0
            .iter()
            .find(|(said, _)| *said == type_)
            .map(|(_, verdict)| verdict)
    }

    /// As metav1.Condition: a transition time moves only with the status, the generation always.
    pub(super) fn into_conditions(
        mut self,
        previous: &[Condition],
        generation: i64,
        now: Timestamp,
    ) -> Vec<Condition> {
        self.0.sort_by_key(|(type_, _)| *type_);
        // Whole seconds: what the API stores must equal what was sent.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        self.0
            .into_iter()
            .map(|(type_, verdict)| {
                let before = find(previous, type_).filter(|before| before.status == verdict.truth.as_str());
                Condition {
                    type_: type_.to_string(),
                    status: verdict.truth.as_str().to_owned(),
                    reason: verdict.reason.to_string(),
                    message: verdict.message,
                    observed_generation: Some(generation),
                    last_transition_time: before
                        .map_or(Time(now), |before| before.last_transition_time.clone()),
                }
            })
            .collect()
    }
}

/// What a condition said before, to be said again.
fn again(previous: &CoordinatedWorkloadStatus, type_: ConditionType) -> Option<Verdict> {
    let before = find(&previous.conditions, type_)?;
    let truth = match before.status.as_str() {
        "True" => Truth::True,
        "False" => Truth::False,
        _ => Truth::Unknown,
    };
    let reason = Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == before.reason)?;
    Some(Verdict {
        truth,
        reason,
        message: before.message.clone(),
    })
}

/// StoreReachable, LocksHeld, LocksBalanced.
pub(super) fn locks(
    said: &mut Said,
    observed: &Observed<'_>,
    assessment: &Assessment,
    deployment: Option<&DeploymentView>,
    previous: &CoordinatedWorkloadStatus,
    memory: &mut Memory,
) {
    let all = [
        ConditionType::StoreReachable,
        ConditionType::LocksHeld,
        ConditionType::LocksBalanced,
    ];
    let Ok(workload) = observed.workload else {
        // A spec that can't be read says nothing about the world: what was said stands.
        for type_ in all {
            if let Some(before) = again(previous, type_) {
                said.say(type_, before);
            }
        }
        return;
    };
    let Some(store) = observed.store else { return };
    let place = store.place.as_str();
    let not_observed = || {
        Verdict::new(
            Truth::Unknown,
            Reason::NotObserved,
            "No complete answer from Redis; see StoreReachable.",
        )
    };
    let reachable = match &assessment.sight {
        Sight::Clear { mode, version } => {
            let version = version.as_deref().unwrap_or("of unknown version");
            let how = match mode {
                Mode::Tracking => "changes are pushed",
                Mode::Polling => "the server refuses tracking, so the locks are read every 2 s",
            };
            Verdict::new(
                Truth::True,
                Reason::Reachable,
                format!("Redis {version} at {place} answers; {how}."),
            )
        }
        Sight::Pending => again(previous, ConditionType::StoreReachable).unwrap_or_else(|| {
            Verdict::new(
                Truth::Unknown,
                Reason::Connecting,
                format!("Connecting to Redis at {place}."),
            )
        }),
        Sight::Blind { trouble, since } => unreachable(*trouble, *since, place),
    };
    said.say(ConditionType::StoreReachable, reachable);
    if workload.locks.is_empty() {
        return;
    }
    let wanted = deployment.map_or(0, |deployment| deployment.wanted);
    let held = match &assessment.sight {
        _ if deployment.is_some() && wanted == 0 => {
            memory.had_verdict = false;
            Verdict::new(
                Truth::Unknown,
                Reason::NoReplicasWanted,
                "No replicas are wanted, so nobody can hold the locks.",
            )
        }
        Sight::Clear { .. } => held(assessment, previous, memory),
        Sight::Pending => again(previous, ConditionType::LocksHeld).unwrap_or_else(not_observed),
        Sight::Blind { .. } => not_observed(),
    };
    said.say(ConditionType::LocksHeld, held);
    if workload.locks.iter().any(|set| set.balance.is_some()) {
        let balanced = match &assessment.sight {
            Sight::Clear { .. } => balanced(&assessment.balance),
            Sight::Pending => again(previous, ConditionType::LocksBalanced).unwrap_or_else(not_observed),
            Sight::Blind { .. } => not_observed(),
        };
        said.say(ConditionType::LocksBalanced, balanced);
    }
}

fn held(assessment: &Assessment, previous: &CoordinatedWorkloadStatus, memory: &mut Memory) -> Verdict {
    let findings: Vec<&Finding> = assessment.findings.iter().collect();
    if let Some(worst) = findings.first() {
        memory.had_verdict = true;
        let same = |finding: &&&Finding| finding.reason() == worst.reason();
        if std::mem::take(&mut memory.told_verdict)
            && findings.iter().filter(same).all(|finding| finding.told)
            && let Some(told) = again(previous, ConditionType::LocksHeld)
            && told.reason == worst.reason()
        {
            // How a pod ended, or who gave up a lock, is in the words of status and nowhere else.
            memory.told_verdict = true;
            return told;
        }
        return Verdict::new(Truth::False, worst.reason(), summarize(&findings));
    }
    let awaiting: Vec<_> = assessment
        .locks
        .iter()
        .filter(|lock| lock.awaiting)
        .map(|lock| lock.name.as_str())
        .collect();
    if !awaiting.is_empty() && !memory.had_verdict {
        let mut message = format!(
            "No holder yet, within the grace: {}",
            awaiting[..awaiting.len().min(3)].join(", ")
        );
        if awaiting.len() > 3 {
            let _ = write!(message, " and {} more", awaiting.len() - 3);
        }
        return Verdict::new(Truth::Unknown, Reason::AwaitingHolder, message + ".");
    }
    memory.had_verdict = true;
    memory.told_verdict = false;
    if assessment
        .locks
        .iter()
        .any(|lock| lock.state == LockState::Unattributed)
    {
        let message = "Every Continuous lock is held, some by owners that can't be told.";
        return Verdict::new(Truth::True, Reason::HeldUnattributed, message);
    }
    Verdict::new(
        Truth::True,
        Reason::AllHeld,
        "Every Continuous lock is in good hands.",
    )
}

fn balanced(sets: &[SetBalance]) -> Verdict {
    let order = [
        Reason::Concentrated,
        Reason::SingleReplica,
        Reason::TooFewLocks,
        Reason::Unattributed,
        Reason::Settling,
        Reason::Balanced,
    ];
    let worst = sets
        .iter()
        .min_by_key(|set| order.iter().position(|reason| *reason == set.reason));
    let Some(set) = worst else {
        return Verdict::new(Truth::True, Reason::Balanced, "No set is judged.");
    };
    let numbers = &set.numbers;
    match set.reason {
        Reason::Concentrated => {
            let holder = numbers.top.first().map_or("one pod", |top| top.pod.as_str());
            Verdict::new(
                Truth::False,
                set.reason,
                format!(
                    "{holder} holds {} of {} locks of set {}; on {} pods {} would be its share and {} the most. {}",
                    numbers.max,
                    numbers.locks,
                    set.set,
                    numbers.pods,
                    numbers.ideal,
                    numbers.limit,
                    set.remedy
                ),
            )
        }
        Reason::SingleReplica => Verdict::new(Truth::True, set.reason, "Fewer than two replicas are wanted."),
        Reason::TooFewLocks => Verdict::new(
            Truth::True,
            set.reason,
            format!("Set {} names fewer than two locks.", set.set),
        ),
        Reason::Unattributed => Verdict::new(
            Truth::Unknown,
            set.reason,
            format!(
                "More than a fifth of the held locks of set {} have no owner that can be told.",
                set.set
            ),
        ),
        Reason::Settling => Verdict::new(
            Truth::Unknown,
            set.reason,
            format!(
                "Too early to judge set {}: pods are starting, rolling out or warming up.",
                set.set
            ),
        ),
        _ => Verdict::new(Truth::True, set.reason, "No pod holds more than its share."),
    }
}

fn unreachable(trouble: Trouble, since: Timestamp, place: &str) -> Verdict {
    let (reason, why, next) = match trouble {
        Trouble::Unreachable => (
            Reason::Unreachable,
            "no connection",
            "see whether Redis runs and the network lets the operator through",
        ),
        Trouble::DnsFailure => (
            Reason::DnsFailure,
            "its name does not resolve",
            "check the host name and the Service",
        ),
        Trouble::Timeout => (
            Reason::Timeout,
            "no answer in time",
            "see whether Redis hangs or a firewall drops the packets",
        ),
        Trouble::TlsFailure => (
            Reason::TlsFailure,
            "the TLS handshake fails",
            "check certificate authority and server name",
        ),
        Trouble::AuthenticationFailed => (
            Reason::AuthenticationFailed,
            "user or password is refused",
            "compare the Secret with the server's ACL",
        ),
        Trouble::PermissionDenied => (
            Reason::PermissionDenied,
            "the ACL user lacks a command or key",
            "grant the documented least rights",
        ),
        Trouble::SecretNotFound => (
            Reason::SecretNotFound,
            "a Secret or its key is missing",
            "create it in the resource's namespace",
        ),
        Trouble::Loading => (Reason::Loading, "the server loads its data", "wait"),
        Trouble::NotMaster => (
            Reason::NotMaster,
            "the server is a replica",
            "name the master, or its Sentinels",
        ),
        Trouble::FailoverInProgress => (Reason::FailoverInProgress, "a failover is going on", "wait"),
        Trouble::ClusterDown => (Reason::ClusterDown, "the cluster is down", "see CLUSTER INFO"),
        Trouble::EndpointForbidden => (
            Reason::EndpointForbidden,
            "the operator's settings forbid this address",
            "ask whoever runs the operator",
        ),
        Trouble::ProtocolError => (
            Reason::ProtocolError,
            "the server does not speak Redis as expected",
            "check host and port",
        ),
        Trouble::Stale => (
            Reason::Stale,
            "connected, but no complete answer",
            "see whether Redis hangs",
        ),
    };
    Verdict::new(
        Truth::False,
        reason,
        format!(
            "No usable answer from Redis at {place} since {}: {why}. An application that fails open now works in every \
             pod. Next: {next}.",
            time(since)
        ),
    )
}

/// Ready, Reconciling, Stalled, Suspended, Available.
pub(super) fn workload(
    said: &mut Said,
    observed: &Observed<'_>,
    decision: &Decision,
    outcome: Option<&Outcome>,
    deployment: Option<&DeploymentView>,
    previous: &CoordinatedWorkloadStatus,
) {
    let trouble = pod_trouble(observed.pods);
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
    let (stalled, reconciling) = progress(observed, outcome, deployment, previous, trouble.as_deref());
    let ready = if let Some(stalled) = &stalled {
        Verdict::new(Truth::False, stalled.reason, stalled.message.clone())
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
        let retrying = reconciling.reason == Reason::Retrying;
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

/// Stalled and Reconciling; never both.
fn progress(
    observed: &Observed<'_>,
    outcome: Option<&Outcome>,
    deployment: Option<&DeploymentView>,
    previous: &CoordinatedWorkloadStatus,
    trouble: Option<&str>,
) -> (Option<Verdict>, Option<Verdict>) {
    if let Err(problems) = observed.workload {
        let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let next = "Next: correct the spec; nothing was changed meanwhile.";
        let message = with_next_step(&format!("{}.", list.join("; ")), next);
        return (
            Some(Verdict::new(Truth::True, Reason::InvalidSpec, message)),
            None,
        );
    }
    if let Some(failure) = outcome.and_then(Outcome::first_failure) {
        let reason = failure_reason(failure.kind);
        let message = format!("{} {}", failure.child.kind(), failure.message);
        let verdict = Verdict::new(Truth::True, reason, message);
        return if failure.kind.is_retried() {
            (None, Some(verdict))
        } else {
            (Some(verdict), None)
        };
    }
    if let Some(waiting) = outcome.and_then(|outcome| outcome.waiting.first()) {
        return (
            None,
            Some(Verdict::new(
                Truth::True,
                Reason::NewGeneration,
                format!("Waiting: {waiting}."),
            )),
        );
    }
    let rolling = |message: &str| (None, Some(Verdict::new(Truth::True, Reason::RollingOut, message)));
    let Some(deployment) = deployment else {
        if observed.workload.as_ref().is_ok_and(|workload| workload.suspend) {
            return (None, None);
        }
        return (
            None,
            Some(Verdict::new(
                Truth::True,
                Reason::NewGeneration,
                "The children are being created.",
            )),
        );
    };
    // Scaling, too, is unseen by the Deployment controller for a moment; it is no rollout.
    // What is unavailable or lacks a lock may be scaled, too: only Reconciling and Stalled tell of a rollout.
    let settled = find(&previous.conditions, ConditionType::Ready)
        .is_some_and(|ready| ready.observed_generation == observed.resource.metadata.generation)
        && find(&previous.conditions, ConditionType::Reconciling).is_none()
        && find(&previous.conditions, ConditionType::Stalled).is_none();
    let wrote = outcome
        .and_then(|outcome| outcome.children.deployment.as_ref())
        .is_some_and(|applied| applied.live.is_some());
    match &deployment.phase {
        Phase::Complete => (None, None),
        Phase::Unobserved if settled && !wrote => (None, None),
        Phase::Unobserved => rolling("The Deployment controller has not seen the latest change yet."),
        Phase::Rolling => match trouble {
            Some(trouble) => rolling(&format!(
                "The Deployment rolls out the current template; {trouble}."
            )),
            None => rolling("The Deployment rolls out the current template."),
        },
        Phase::Stuck(words) => {
            let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
            let message =
                format!("{words}{trouble} Next: correct the template, or see kubectl describe pods.");
            (
                Some(Verdict::new(
                    Truth::True,
                    Reason::ProgressDeadlineExceeded,
                    message,
                )),
                None,
            )
        }
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
            let message = trouble.map_or_else(|| words.clone(), |trouble| format!("{words} {trouble}."));
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
        || said.get(ConditionType::LocksHeld)?.reason == Reason::NoReplicasWanted
    {
        return None;
    }
    let not_observed = "A set with readiness: Required is not observed; see StoreReachable.";
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
            let message = format!(
                "{} of a set with readiness: Required is not in good hands; see LocksHeld.",
                bad.name
            );
            Some(Verdict::new(Truth::False, Reason::LocksNotHeld, message))
        }
        Sight::Pending => match again(previous, ConditionType::Ready).filter(|_| same_generation) {
            Some(before) if [Reason::LocksNotHeld, Reason::LocksNotObserved].contains(&before.reason) => {
                Some(before)
            }
            Some(before) if before.reason == Reason::Reconciled => None,
            Some(_) | None => Some(Verdict::new(Truth::False, Reason::LocksNotObserved, not_observed)),
        },
        Sight::Blind { .. } => Some(Verdict::new(Truth::False, Reason::LocksNotObserved, not_observed)),
    }
}

/// The STATUS column: Ready's reason if it isn't, else the first that is False, else Reconciled.
pub(super) fn problem(conditions: &[Condition]) -> &str {
    let order = [
        ConditionType::Ready,
        ConditionType::LocksHeld,
        ConditionType::StoreReachable,
        ConditionType::LocksBalanced,
    ];
    order
        .iter()
        .filter_map(|type_| find(conditions, *type_))
        .find(|condition| condition.status == "False")
        .map_or(Reason::Reconciled.as_str(), |condition| condition.reason.as_str())
}
