//! The conditions that repeat what others conclude: the autoscaler, and the budget's controller. Pure.

use std::time::Duration;

use serde_json::Value;

use super::{
    Truth, Verdict,
    verdict::{Said, again},
};
use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::{ConditionType, Reason},
    },
    domain::{
        Observed,
        children::{ChildKind, Live},
        finding::listed,
        locks::Mono,
        memory::Memory,
        rollout::{DeploymentView, Phase},
        workload::Workload,
    },
};

/// A budget without an eviction left is no finding until it has been so for this long: pods come and go.
pub const EXHAUSTED_AFTER: Duration = Duration::from_mins(10);

/// Says `ScalingActive` and `DisruptionsAllowed`.
pub(super) fn mirrors(
    said: &mut Said,
    observed: &Observed<'_>,
    deployment: Option<&DeploymentView>,
    previous: &CoordinatedWorkloadStatus,
    memory: &mut Memory,
    now: Mono,
) {
    let Ok(workload) = observed.workload else {
        for type_ in [ConditionType::ScalingActive, ConditionType::DisruptionsAllowed] {
            if let Some(before) = again(previous, type_) {
                said.say(type_, before);
            }
        }
        return;
    };
    if workload.scaling.has_autoscaler() {
        said.say(
            ConditionType::ScalingActive,
            scaling(own(observed, ChildKind::HorizontalPodAutoscaler)),
        );
    }
    if workload.disruption_budget.is_some() {
        // Scaling is unseen by its controller for a moment, and no rollout.
        let rolling = deployment.is_some_and(|deployment| deployment.phase == Phase::Rolling);
        let budget = own(observed, ChildKind::PodDisruptionBudget);
        let verdict = disruptions(observed, workload, budget, rolling, previous, memory, now);
        said.say(ConditionType::DisruptionsAllowed, verdict);
    } else {
        memory.children.exhausted_since = None;
    }
}

/// The live child, if it is ours.
fn own<'a>(observed: &Observed<'a>, kind: ChildKind) -> Option<&'a Live> {
    let owner = observed.resource.metadata.uid.as_deref();
    let live = observed.live.get(kind).as_ref();
    live.filter(|live| live.controller() == owner)
}

fn scaling(autoscaler: Option<&Live>) -> Verdict {
    let conditions = autoscaler.and_then(|live| live.object().get("status")?.get("conditions")?.as_array());
    let find = |type_: &str| {
        let mut conditions = conditions.into_iter().flatten();
        conditions.find(|condition| condition.get("type").is_some_and(|name| name == type_))
    };
    let is = |condition: &&Value, status: &str| condition.get("status").is_some_and(|value| value == status);
    // What it can't scale at all, it can't scale by its metrics either.
    let unable = find("AbleToScale").filter(|condition| is(condition, "False"));
    let Some(condition) = unable.or_else(|| find("ScalingActive")) else {
        return Verdict::new(
            Truth::Unknown,
            Reason::Pending,
            "The HorizontalPodAutoscaler has not said yet whether it can scale.",
        );
    };
    let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
    let truth = match text("status") {
        "True" => Truth::True,
        "False" => Truth::False,
        _ => Truth::Unknown,
    };
    let message = match text("message").trim() {
        "" => "The HorizontalPodAutoscaler says no more than that.",
        words => words,
    };
    Verdict::quoted(truth, text("reason"), message)
}

fn disruptions(
    observed: &Observed<'_>,
    workload: &Workload,
    budget: Option<&Live>,
    rolling: bool,
    previous: &CoordinatedWorkloadStatus,
    memory: &mut Memory,
    now: Mono,
) -> Verdict {
    let counts = budget.and_then(Counts::of);
    let exhausted = |counts: &Counts| counts.allowed <= 0 && counts.desired < counts.expected;
    if rolling || counts.as_ref().is_some_and(|counts| !exhausted(counts)) {
        memory.children.exhausted_since = None;
    } else if counts.is_some() {
        memory.children.exhausted_since.get_or_insert(now);
    }
    let others = &observed.neighbours.budgets;
    if !others.is_empty() {
        let message = format!(
            "PodDisruptionBudget {} covers these pods too, and a pod of two budgets can't be evicted. Next: delete it, \
             or set spec.disruptionBudget.enabled to false.",
            listed(others)
        );
        return Verdict::new(Truth::False, Reason::OverlappingBudgets, message);
    }
    let pending = || {
        Verdict::new(
            Truth::Unknown,
            Reason::Pending,
            "The PodDisruptionBudget has not been evaluated yet.",
        )
    };
    // A verdict that the counts made stands until they make another; one that they can't change doesn't.
    let told = again(previous, ConditionType::DisruptionsAllowed)
        .filter(|told| told.is(Reason::BudgetAvailable) || told.is(Reason::BudgetExhausted));
    let Some(counts) = counts else {
        return told.unwrap_or_else(pending);
    };
    if counts.allowed > 0 || counts.expected == 0 {
        return Verdict::new(
            Truth::True,
            Reason::BudgetAvailable,
            "The budget allows an eviction.",
        );
    }
    if counts.desired >= counts.expected {
        let message = format!(
            "The budget allows no eviction even while every pod is healthy: of {} pods, {} must be. A node with one of \
             them can't be drained. Next: lower minAvailable, use maxUnavailable, or run more replicas.",
            counts.expected, counts.desired
        );
        return Verdict::new(Truth::False, Reason::BudgetBlocksEviction, message);
    }
    let was_exhausted = told.as_ref().is_some_and(|told| told.is(Reason::BudgetExhausted));
    if let Some(since) = memory.children.exhausted_since
        && (now.since(since) >= EXHAUSTED_AFTER || was_exhausted)
    {
        let message = format!(
            "The budget allows no eviction: too few pods of {} are healthy ({} must be), for more than 10 minutes \
                 and without a rollout. Draining a node waits meanwhile. Next: see Available, and kubectl get pods -l \
                 {}={}.",
            counts.expected,
            counts.desired,
            crate::api::WORKLOAD_LABEL,
            workload.name
        );
        return Verdict::new(Truth::False, Reason::BudgetExhausted, message);
    }
    told.unwrap_or_else(pending)
}

/// What the budget's controller counted.
struct Counts {
    allowed: i64,
    desired: i64,
    expected: i64,
}

impl Counts {
    /// `None`: it has not counted since the budget changed.
    fn of(budget: &Live) -> Option<Self> {
        let object = budget.object();
        let status = object.get("status")?;
        let count = |field: &str| status.get(field).and_then(Value::as_i64);
        let generation = object.get("metadata")?.get("generation").and_then(Value::as_i64);
        (count("observedGeneration") >= generation).then_some(())?;
        Some(Self {
            allowed: count("disruptionsAllowed").unwrap_or(0),
            desired: count("desiredHealthy")?,
            expected: count("expectedPods")?,
        })
    }
}
