//! What every status that is written must keep to: the rules of those who read it (kstatus, Flux, `kubectl wait`), and
//! the contract's own. Pure; for tests, which show of each rule that it fires.
//!
//! In: a status, the one it is written over, and the generation. Out: the rules that it breaks, by name.

mod flux;
mod kstatus;
mod schema;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;

use self::kstatus::Kstatus;
pub(in crate::domain) use self::vocabulary::contract_knows;
use super::find;
use crate::api::{
    CoordinatedWorkloadStatus,
    conditions::{AdvisoryCode, ConditionType},
};

/// Longest message, bytes: events and tables show it whole.
const MESSAGE: usize = 1000;
/// Largest status, bytes.
const WHOLE: usize = 32 * 1024;
/// Largest `locks.rows`, bytes; with the brackets.
const ROWS: usize = 20 * 1024 + 2;

/// A status that is about to be written.
#[derive(Clone, Copy)]
pub(in crate::domain) struct Write<'a> {
    /// What it is written over.
    pub(in crate::domain) previous: &'a CoordinatedWorkloadStatus,
    /// What is written.
    pub(in crate::domain) next: &'a CoordinatedWorkloadStatus,
    /// Generation of the resource.
    pub(in crate::domain) generation: i64,
}

impl Write<'_> {
    fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        find(&self.next.conditions, type_)
    }

    /// Status and reason of a condition; two empty strings for one that is absent.
    fn verdict(&self, type_: ConditionType) -> (&str, &str) {
        self.condition(type_).map_or(("", ""), |condition| {
            (condition.status.as_str(), condition.reason.as_str())
        })
    }
}

/// Whether a rule is kept, or how it is broken.
type Rule = fn(&Write<'_>) -> Result<(), String>;

/// The contract's own rules. Those of Flux stand in [`flux::RULES`].
const RULES: &[(&str, Rule)] = &[
    ("kstatus", kstatus_agrees),
    ("generation", generation),
    ("types", types),
    ("ready", ready),
    ("abnormal", abnormal),
    ("ready-says-why", ready_says_why),
    ("reasons", reasons),
    ("pattern", pattern),
    ("messages", messages),
    ("transitions", transitions),
    ("column", column),
    ("lists", lists),
    ("rows", rows),
    ("size", size),
    ("schema", schema::fits),
];

/// The rules that a status breaks, each with how.
pub(in crate::domain) fn broken(write: &Write<'_>) -> Vec<String> {
    let all = RULES.iter().chain(flux::RULES);
    all.filter_map(|(name, rule)| rule(write).err().map(|how| format!("{name}: {how}")))
        .collect()
}

/// Panics if a status breaks a rule.
pub(in crate::domain) fn check(write: &Write<'_>) {
    let broken = broken(write);
    assert!(
        broken.is_empty(),
        "{}\n{}",
        broken.join("\n"),
        serde_json::to_string_pretty(&write.next.conditions).unwrap_or_default()
    );
}

/// `Err` with these words unless it holds.
fn ensure(holds: bool, how: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(how()) }
}

/// kstatus sees what the conditions mean: at rest, at work, or stuck; and never believes what is older than the spec.
fn kstatus_agrees(write: &Write<'_>) -> Result<(), String> {
    let next = write.next;
    let status = json!({ "observedGeneration": next.observed_generation, "conditions": next.conditions });
    let mut object = json!({ "metadata": {}, "status": status });
    let stalled = write.condition(ConditionType::Stalled).is_some();
    let means = match write.verdict(ConditionType::Ready).0 {
        "True" => Kstatus::Current,
        _ if stalled => Kstatus::Failed,
        _ => Kstatus::InProgress,
    };
    for (generation, deleted, wanted) in [
        (write.generation, false, means),
        (write.generation + 1, false, Kstatus::InProgress),
        (write.generation, true, Kstatus::Terminating),
    ] {
        object["metadata"] = json!({ "generation": generation });
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let seen = kstatus::compute(&object);
        ensure(seen == wanted, || {
            format!("{seen:?} at generation {generation}, not {wanted:?}")
        })?;
    }
    Ok(())
}

/// `kubectl wait` ignores a condition that speaks of an older generation, for as long as it does.
fn generation(write: &Write<'_>) -> Result<(), String> {
    let seen = write.next.observed_generation;
    ensure(seen == write.generation, || format!("status speaks of {seen}"))?;
    let other = write
        .next
        .conditions
        .iter()
        .find(|condition| condition.observed_generation != Some(write.generation));
    ensure(other.is_none(), || format!("{other:?}"))
}

/// Known types, each once, in the order of the documentation.
fn types(write: &Write<'_>) -> Result<(), String> {
    let types: Vec<&str> = write
        .next
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    let known: Vec<&str> = ConditionType::ALL
        .iter()
        .map(|type_| type_.as_str())
        .filter(|type_| types.contains(type_))
        .collect();
    ensure(types == known, || format!("{types:?}"))
}

/// Ready is always there and decided.
fn ready(write: &Write<'_>) -> Result<(), String> {
    let (status, _) = write.verdict(ConditionType::Ready);
    ensure(matches!(status, "True" | "False"), || format!("{status:?}"))
}

/// What is abnormal is True or absent; and nobody both works and has given up.
fn abnormal(write: &Write<'_>) -> Result<(), String> {
    let all = [
        ConditionType::Reconciling,
        ConditionType::Stalled,
        ConditionType::Suspended,
    ];
    for type_ in all {
        let (status, _) = write.verdict(type_);
        ensure(matches!(status, "" | "True"), || format!("{type_} is {status}"))?;
    }
    let both = write.condition(ConditionType::Reconciling).is_some()
        && write.condition(ConditionType::Stalled).is_some();
    ensure(!both, || "Reconciling and Stalled".into())
}

/// Ready is False while something works or is stuck, and says which; `Suspended` alone turns nothing.
fn ready_says_why(write: &Write<'_>) -> Result<(), String> {
    let ready = write.verdict(ConditionType::Ready);
    let suspended = write.condition(ConditionType::Suspended).is_some();
    if let Some(stalled) = write.condition(ConditionType::Stalled) {
        let says = write.condition(ConditionType::Ready).map(|ready| &ready.message);
        return ensure(
            ready == ("False", &stalled.reason) && says == Some(&stalled.message),
            || format!("{ready:?} while stalled by {}", stalled.reason),
        );
    }
    let wanted = match write.verdict(ConditionType::Reconciling).1 {
        "NewGeneration" | "RollingOut" => Some("Progressing"),
        "Retrying" => Some("ChildApplyFailed"),
        _ => None,
    };
    if ready.1 == "SuspendedWithChanges" {
        return ensure(suspended, || format!("{ready:?} without Suspended"));
    }
    match wanted {
        Some(reason) => ensure(ready == ("False", reason), || format!("{ready:?}, not {reason}")),
        None => ensure(!matches!(ready.1, "Progressing" | "ChildApplyFailed"), || {
            format!("{ready:?} without Reconciling")
        }),
    }
}

/// Each reason belongs to the closed set of its type and status.
fn reasons(write: &Write<'_>) -> Result<(), String> {
    let other = write
        .next
        .conditions
        .iter()
        .find(|condition| !contract_knows(&condition.type_, &condition.status, &condition.reason));
    ensure(other.is_none(), || format!("{other:?}"))
}

/// As metav1.Condition spells a type and a reason: whatever else is written, the apiserver refuses the whole status.
fn pattern(write: &Write<'_>) -> Result<(), String> {
    let word = |text: &str, inner: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || inner.as_bytes().contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let last = text
            .bytes()
            .next_back()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        first && last && text.bytes().all(allowed) && text.len() <= 1024
    };
    let other = write.next.conditions.iter().find(|condition| {
        !word(&condition.reason, "_,:") || !word(&condition.type_, "") || condition.type_.len() > 316
    });
    ensure(other.is_none(), || format!("{other:?}"))
}

/// Everybody is told something, and not more than fits on a page.
fn messages(write: &Write<'_>) -> Result<(), String> {
    let conditions = write.next.conditions.iter().map(|condition| &condition.message);
    let advisories = write.next.advisories.iter().map(|advisory| &advisory.message);
    let mut all = conditions.chain(advisories);
    let other = all.find(|message| message.trim().is_empty() || message.len() > MESSAGE);
    ensure(other.is_none(), || format!("{other:?}"))
}

/// A transition time moves with the status and never otherwise, and not back.
fn transitions(write: &Write<'_>) -> Result<(), String> {
    for condition in &write.next.conditions {
        let before = write
            .previous
            .conditions
            .iter()
            .find(|before| before.type_ == condition.type_);
        let Some(before) = before else { continue };
        let (was, is) = (before.last_transition_time.0, condition.last_transition_time.0);
        // Two transitions within a second can't be told apart.
        let kept = if before.status == condition.status {
            was == is
        } else {
            was <= is
        };
        ensure(kept, || format!("{before:?} → {condition:?}"))?;
    }
    Ok(())
}

/// The STATUS column names what needs attention first.
fn column(write: &Write<'_>) -> Result<(), String> {
    let ready = write.verdict(ConditionType::Ready);
    let order = [
        "LocksHeld",
        "StoreReachable",
        "LocksBalanced",
        "StoreSafe",
        "DisruptionsAllowed",
        "ScalingActive",
    ];
    let named = |name: &&str| {
        let conditions = write.next.conditions.iter();
        conditions
            .filter(|condition| condition.type_ == **name && condition.status == "False")
            .map(|condition| condition.reason.as_str())
            .next()
    };
    let wanted = if ready.0 == "True" {
        order.iter().find_map(named).unwrap_or("Reconciled")
    } else {
        ready.1
    };
    let shown = write
        .next
        .summary
        .as_ref()
        .map(|summary| summary.problem.as_str());
    ensure(shown == Some(wanted), || format!("{shown:?}, not {wanted}"))
}

/// What is listed is known, once, and not too long.
fn lists(write: &Write<'_>) -> Result<(), String> {
    let next = write.next;
    let (recent, advisories) = (next.recent.len(), next.advisories.len());
    ensure(recent <= 10 && advisories <= 20, || {
        format!("{recent} incidents, {advisories} advisories")
    })?;
    let codes: Vec<&str> = next
        .advisories
        .iter()
        .map(|advisory| advisory.code.as_str())
        .collect();
    let known: Vec<&str> = AdvisoryCode::ALL
        .iter()
        .map(|code| code.as_str())
        .filter(|code| codes.contains(code))
        .collect();
    ensure(codes == known, || format!("{codes:?}"))?;
    let uids: BTreeSet<&str> = next.children.iter().map(|child| child.uid.as_str()).collect();
    let kinds: BTreeSet<&str> = next.children.iter().map(|child| child.kind.as_str()).collect();
    let children = next.children.len();
    ensure(uids.len() == children && kinds.len() == children, || {
        format!("{:?}", next.children)
    })
}

/// Every Continuous lock is a row, or counted among those that did not fit.
fn rows(write: &Write<'_>) -> Result<(), String> {
    let Some(locks) = &write.next.locks else {
        return Ok(());
    };
    let count = i32::try_from(locks.rows.len()).unwrap_or(i32::MAX);
    ensure(locks.rows.len() <= 100, || format!("{count} rows"))?;
    let text = serde_json::to_string(&locks.rows).unwrap_or_default();
    ensure(text.len() <= ROWS, || format!("{} bytes of rows", text.len()))?;
    ensure(count.saturating_add(locks.rows_omitted) >= locks.expected, || {
        format!(
            "{count} rows and {} omitted of {}",
            locks.rows_omitted, locks.expected
        )
    })
}

/// The whole, as it is sent.
fn size(write: &Write<'_>) -> Result<(), String> {
    let text = serde_json::to_string(write.next).unwrap_or_default();
    ensure(text.len() <= WHOLE, || format!("{} bytes", text.len()))
}

/// Fails unless both are equal: as JSON, so that a difference can be read.
pub(in crate::domain) fn same(old: &CoordinatedWorkloadStatus, new: &CoordinatedWorkloadStatus, when: &str) {
    if old != new {
        let text = |status| serde_json::to_string_pretty(status).unwrap();
        let (old, new) = (text(old), text(new));
        let differ = old.lines().zip(new.lines()).filter(|(old, new)| old != new);
        let differ: Vec<_> = differ
            .take(6)
            .map(|(old, new)| format!("{old:.600}\n{new:.600}"))
            .collect();
        panic!("{when}, status changes:\n{}", differ.join("\n\n"));
    }
}
