//! The conditions of store and locks, each by the contract's section 4. Pure.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Truth, Verdict, find, safety};
use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::{ConditionType, Reason},
        status::LockState,
    },
    domain::{
        Observed,
        assessment::Assessment,
        finding::{Finding, bounded, listed, summarize, time},
        judgement::Sight,
        locks::{Mode, Trouble},
        memory::Memory,
        rollout::DeploymentView,
        workload::Workload,
    },
};

/// Conditions as they are said, in the order of [`ConditionType::ALL`].
#[derive(Debug, Default)]
pub(super) struct Said(Vec<(ConditionType, Verdict)>);

impl Said {
    pub(super) fn say(&mut self, type_: ConditionType, verdict: Verdict) {
        self.0.push((type_, verdict));
    }

    pub(super) fn get(&self, type_: ConditionType) -> Option<&Verdict> {
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
                    reason: verdict.reason.into_owned(),
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
pub(super) fn again(previous: &CoordinatedWorkloadStatus, type_: ConditionType) -> Option<Verdict> {
    let before = find(&previous.conditions, type_)?;
    let truth = match before.status.as_str() {
        "True" => Truth::True,
        "False" => Truth::False,
        _ => Truth::Unknown,
    };
    Some(Verdict {
        truth,
        reason: Cow::Owned(before.reason.clone()),
        message: before.message.clone(),
    })
}

/// StoreReachable, StoreSafe, LocksHeld, LocksBalanced.
pub(super) fn locks(
    said: &mut Said,
    observed: &Observed<'_>,
    assessment: &Assessment,
    deployment: Option<&DeploymentView>,
    previous: &CoordinatedWorkloadStatus,
    memory: &mut Memory,
    now: Timestamp,
) {
    let all = [
        ConditionType::StoreReachable,
        ConditionType::StoreSafe,
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
    let nobody_wanted = deployment.is_some_and(|deployment| deployment.wanted == 0);
    let Some(store) = observed.store else { return };
    let place = store.place.as_str();
    let not_observed = || {
        Verdict::new(
            Truth::Unknown,
            Reason::NotObserved,
            "No complete answer from Redis; see StoreReachable.",
        )
    };
    said.say(
        ConditionType::StoreReachable,
        reachable(assessment, place, previous),
    );
    said.say(
        ConditionType::StoreSafe,
        safety::verdict(&observed.resource.spec, store, &assessment.sight, previous, now),
    );
    if workload.locks.is_empty() {
        return;
    }
    let held = match &assessment.sight {
        _ if nobody_wanted => {
            memory.had_verdict = false;
            no_replicas_wanted()
        }
        Sight::Clear { .. } => held(assessment, previous, memory),
        Sight::Pending => again(previous, ConditionType::LocksHeld).unwrap_or_else(not_observed),
        Sight::Blind { .. } => not_observed(),
    };
    said.say(ConditionType::LocksHeld, held);
    if workload.locks.iter().any(|set| set.balance.is_some()) {
        let balanced = match &assessment.sight {
            Sight::Clear { hidden: None, .. } => balanced(workload, assessment, previous),
            Sight::Pending => again(previous, ConditionType::LocksBalanced).unwrap_or_else(not_observed),
            Sight::Clear { hidden: Some(_), .. } | Sight::Blind { .. } => not_observed(),
        };
        said.say(ConditionType::LocksBalanced, balanced);
    }
}

/// StoreReachable, by what could be read.
fn reachable(assessment: &Assessment, place: &str, previous: &CoordinatedWorkloadStatus) -> Verdict {
    match &assessment.sight {
        Sight::Clear {
            hidden: Some((trouble, since)),
            ..
        } => {
            let unseen = assessment
                .locks
                .iter()
                .filter(|lock| lock.state == LockState::Unknown);
            let names: Vec<_> = unseen.map(|lock| lock.name.as_str()).collect();
            let whole = unreachable(*trouble, *since, place);
            Verdict {
                message: bounded(&format!(
                    "Not all locks can be read: {}. {}",
                    listed(&names),
                    whole.message
                )),
                ..whole
            }
        }
        Sight::Clear {
            mode,
            version,
            missing,
            hidden: None,
        } => {
            let version = version.as_deref().unwrap_or("of unknown version");
            let how = match mode {
                Mode::Tracking => "changes are pushed",
                Mode::Polling => "the server refuses tracking, so the locks are read every 2 s",
            };
            Verdict::new(
                Truth::True,
                Reason::Reachable,
                match missing {
                    None => format!("Redis {version} at {place} answers; {how}."),
                    Some(trouble) => format!(
                        "Redis {version} at {place} answers, all but one that is not needed to see the locks ({}); {how}.",
                        words(*trouble).0.as_str()
                    ),
                },
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
    }
}

fn no_replicas_wanted() -> Verdict {
    Verdict::new(
        Truth::Unknown,
        Reason::NoReplicasWanted,
        "No replicas are wanted, so nobody can hold the locks.",
    )
}

fn held(assessment: &Assessment, previous: &CoordinatedWorkloadStatus, memory: &mut Memory) -> Verdict {
    let findings: Vec<&Finding> = assessment.findings.iter().collect();
    if let Some(worst) = findings.first() {
        memory.had_verdict = true;
        let same = |finding: &&&Finding| finding.reason() == worst.reason();
        if memory.told_verdict.take() == Some(worst.reason())
            && findings.iter().filter(same).all(|finding| finding.told)
            && let Some(told) = again(previous, ConditionType::LocksHeld)
            && told.is(worst.reason())
        {
            // How a pod ended, or who gave up a lock, is in the words of status and nowhere else.
            memory.told_verdict = Some(worst.reason());
            return told;
        }
        return Verdict::new(Truth::False, worst.reason(), summarize(&findings));
    }
    if assessment
        .locks
        .iter()
        .any(|lock| lock.continuous && lock.state == LockState::Unknown)
    {
        // What is seen is in good hands; of the rest nothing is known.
        return Verdict::new(
            Truth::Unknown,
            Reason::NotObserved,
            "Nothing is wrong with the locks that can be read, but not all of them can; see StoreReachable.",
        );
    }
    let awaiting: Vec<_> = assessment
        .locks
        .iter()
        .filter(|lock| lock.awaiting)
        .map(|lock| lock.name.as_str())
        .collect();
    if !awaiting.is_empty() && !memory.had_verdict {
        let message = format!("No holder yet, within the grace: {}.", listed(&awaiting));
        return Verdict::new(Truth::Unknown, Reason::AwaitingHolder, message);
    }
    memory.had_verdict = true;
    memory.told_verdict = None;
    let untold = assessment
        .locks
        .iter()
        .any(|lock| lock.continuous && lock.state == LockState::Unattributed);
    if !awaiting.is_empty() {
        let names = listed(&awaiting);
        let message =
            format!("Nothing is wrong; {names} has no holder at the moment, for less than its grace.");
        let before = again(previous, ConditionType::LocksHeld);
        let was_untold = before.is_some_and(|before| before.is(Reason::HeldUnattributed));
        let reason = if untold || was_untold {
            Reason::HeldUnattributed
        } else {
            Reason::AllHeld
        };
        return Verdict::new(Truth::True, reason, message);
    }
    let continuous = || assessment.locks.iter().filter(|lock| lock.continuous);
    if continuous().next().is_none() {
        let message = "Nothing is wrong with the locks; none of them must be held at all times.";
        return Verdict::new(Truth::True, Reason::AllHeld, message);
    }
    if untold {
        let message = "Every Continuous lock is held, some by owners that can't be told.";
        return Verdict::new(Truth::True, Reason::HeldUnattributed, message);
    }
    let of_others = continuous()
        .filter(|lock| lock.state == LockState::Foreign)
        .count();
    if of_others > 0 {
        let message = format!(
            "Every Continuous lock is in good hands, {of_others} of them in those of others, as foreignHolders expects."
        );
        return Verdict::new(Truth::True, Reason::AllHeld, message);
    }
    Verdict::new(
        Truth::True,
        Reason::AllHeld,
        "Every Continuous lock is in good hands.",
    )
}

fn balanced(workload: &Workload, assessment: &Assessment, previous: &CoordinatedWorkloadStatus) -> Verdict {
    let order = [
        Reason::Concentrated,
        Reason::SingleReplica,
        Reason::TooFewLocks,
        Reason::Unattributed,
        Reason::Settling,
        Reason::Balanced,
    ];
    let worst = assessment
        .balance
        .iter()
        .min_by_key(|set| order.iter().position(|reason| *reason == set.reason));
    let Some(set) = worst else {
        return Verdict::new(Truth::True, Reason::Balanced, "No set is judged.");
    };
    let numbers = &set.numbers;
    match set.reason {
        // While it settles or calms down, today's numbers don't explain the verdict that stands.
        Reason::Concentrated if !set.over && was(previous, Reason::Concentrated) => {
            again(previous, ConditionType::LocksBalanced).unwrap_or_else(|| {
                Verdict::new(
                    Truth::False,
                    set.reason,
                    format!("One pod held too many locks of set {}.", set.set),
                )
            })
        }
        Reason::Concentrated => {
            let holder = numbers.top.first().map_or("one pod", |top| top.pod.as_str());
            Verdict::new(
                Truth::False,
                set.reason,
                format!(
                    "{holder} holds {} of {} locks of set {}; a fair share on {} pods is {}{}{}. {}",
                    numbers.max,
                    numbers.locks,
                    set.set,
                    numbers.pods,
                    numbers.ideal,
                    // One pod with everything is too much, whatever the limit.
                    if numbers.max > numbers.limit {
                        format!(", up to {} are tolerated", numbers.limit)
                    } else {
                        String::new()
                    },
                    match numbers.idle {
                        0 => String::new(),
                        1 => ", and 1 pod has none".to_owned(),
                        idle => format!(", and {idle} pods have none"),
                    },
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
        _ => {
            let message = format!(
                "No pod holds more than its share{}.",
                not_counted(workload, assessment)
            );
            Verdict::new(Truth::True, set.reason, message)
        }
    }
}

/// Locks of pods of which no share is expected, in the balanced sets: SPREAD shows them, the balance doesn't.
fn not_counted(workload: &Workload, assessment: &Assessment) -> String {
    let is_balanced = |index: usize| workload.locks.get(index).is_some_and(|set| set.balance.is_some());
    let held = assessment
        .locks
        .iter()
        .filter(|lock| lock.state == LockState::Held);
    let held = held.filter(|lock| is_balanced(lock.set)).count();
    let counted: i32 = assessment.balance.iter().map(|set| set.numbers.locks).sum();
    match held.saturating_sub(usize::try_from(counted).unwrap_or_default()) {
        0 => String::new(),
        1 => "; 1 more lock is held by a pod that is terminating, or not Ready for long enough, and not counted".to_owned(),
        more => format!(
            "; {more} more locks are held by pods that are terminating, or not Ready for long enough, and not counted"
        ),
    }
}

fn was(previous: &CoordinatedWorkloadStatus, reason: Reason) -> bool {
    find(&previous.conditions, ConditionType::LocksBalanced)
        .is_some_and(|condition| condition.reason == reason.as_str())
}

fn unreachable(trouble: Trouble, since: Timestamp, place: &str) -> Verdict {
    let (reason, why, next) = words(trouble);
    Verdict::new(
        Truth::False,
        reason,
        format!(
            "No usable answer from Redis at {place} since {}: {why}. An application that goes on without its locks while \
             Redis is away (fails open) now does so in every pod. Next: {next}.",
            time(since)
        ),
    )
}

/// The reason of StoreReachable for a trouble, why that is, and the next step.
fn words(trouble: Trouble) -> (Reason, &'static str, &'static str) {
    match trouble {
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
            "check certificate authority, server name and client certificate",
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
            "a Secret or ConfigMap, or a key in it, is missing",
            "create it in the resource's namespace",
        ),
        Trouble::SecretForbidden => (
            Reason::SecretNotFound,
            "the operator may not read a Secret or ConfigMap",
            "allow it to get secrets and configmaps in this namespace",
        ),
        Trouble::Loading => (Reason::Loading, "the server loads its data", "wait"),
        Trouble::NotMaster => (
            Reason::NotMaster,
            "the server is a replica",
            "name the master, or its Sentinels",
        ),
        Trouble::UnknownMaster => (
            Reason::NotMaster,
            "the Sentinels watch no master of this name",
            "compare masterName with SENTINEL MASTERS",
        ),
        Trouble::FailoverInProgress => (Reason::FailoverInProgress, "a failover is going on", "wait"),
        Trouble::ClusterDown => (Reason::ClusterDown, "the cluster is down", "see CLUSTER INFO"),
        Trouble::EndpointForbidden => (
            Reason::EndpointForbidden,
            "the operator's settings forbid this address",
            "ask whoever runs the operator",
        ),
        Trouble::TooManyEndpoints => (
            Reason::EndpointForbidden,
            "this namespace named more than 10 new Redis endpoints within a minute",
            "wait a minute",
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
    }
}

/// The STATUS column: Ready's reason if it isn't, else the first that is False, else Reconciled.
pub(super) fn problem(conditions: &[Condition]) -> &str {
    let order = [
        ConditionType::Ready,
        ConditionType::LocksHeld,
        ConditionType::StoreReachable,
        ConditionType::LocksBalanced,
        ConditionType::StoreSafe,
        ConditionType::DisruptionsAllowed,
        ConditionType::ScalingActive,
    ];
    order
        .iter()
        .filter_map(|type_| find(conditions, *type_))
        .find(|condition| condition.status == "False")
        .map_or(Reason::Reconciled.as_str(), |condition| condition.reason.as_str())
}
