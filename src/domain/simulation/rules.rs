//! What kstatus and Flux ask of every status that is written, and what the contract bounds.

use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::{AdvisoryCode, ConditionType, Reason},
    },
    domain::status::find,
};

/// Checks a status that is written over another one.
pub(super) fn check(previous: &CoordinatedWorkloadStatus, next: &CoordinatedWorkloadStatus, generation: i64) {
    // kstatus and kubectl wait: what speaks of an older spec is not believed.
    assert_eq!(next.observed_generation, generation);
    let mut types: Vec<_> = next.conditions.iter().map(|condition| &condition.type_).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), next.conditions.len(), "one condition of each type");
    for condition in &next.conditions {
        assert_eq!(condition.observed_generation, Some(generation), "{condition:?}");
        assert!(
            ConditionType::ALL
                .iter()
                .any(|type_| type_.as_str() == condition.type_)
        );
        assert!(
            Reason::ALL
                .iter()
                .any(|reason| reason.as_str() == condition.reason),
            "{condition:?}"
        );
        assert!(["True", "False", "Unknown"].contains(&condition.status.as_str()));
        assert!(
            !condition.message.is_empty() && condition.message.len() <= 1000,
            "{condition:?}"
        );
        let before = previous
            .conditions
            .iter()
            .find(|before| before.type_ == condition.type_);
        if let Some(before) = before {
            let same_time = before.last_transition_time == condition.last_transition_time;
            // Two transitions within a second can't be told apart.
            assert!(
                before.status != condition.status || same_time,
                "{before:?} → {condition:?}"
            );
        }
    }
    let status_of = |type_| find(&next.conditions, type_).map(|condition| condition.status.as_str());
    let (reconciling, stalled) = (
        status_of(ConditionType::Reconciling),
        status_of(ConditionType::Stalled),
    );
    let ready = status_of(ConditionType::Ready);
    assert!(
        matches!(ready, Some("True" | "False")),
        "Ready is always there and decided: {ready:?}"
    );
    assert!(
        matches!(reconciling, None | Some("True")),
        "absent, not False: {reconciling:?}"
    );
    assert!(
        matches!(stalled, None | Some("True")),
        "absent, not False: {stalled:?}"
    );
    assert!(reconciling.is_none() || stalled.is_none(), "never both");
    if reconciling.or(stalled).is_some() {
        assert_eq!(ready, Some("False"));
    }
    let held = find(&next.conditions, ConditionType::LocksHeld);
    assert!(held.is_none_or(|held| match held.status.as_str() {
        "True" => ["AllHeld", "HeldUnattributed"].contains(&held.reason.as_str()),
        "Unknown" => ["NoReplicasWanted", "NotObserved", "AwaitingHolder"].contains(&held.reason.as_str()),
        _ => true,
    }));
    let text = serde_json::to_string(next).unwrap();
    assert!(text.len() <= 32 * 1024, "{} bytes", text.len());
    assert!(!text.contains(super::SECRET), "a raw holder is shown");
    assert!(next.recent.len() <= 10 && next.advisories.len() <= 20);
    let known = |code: &str| AdvisoryCode::ALL.iter().any(|known| known.as_str() == code);
    for advisory in &next.advisories {
        assert!(known(&advisory.code), "{advisory:?}");
        assert!(!advisory.message.is_empty() && advisory.message.len() <= 1000);
    }
    if let Some(locks) = &next.locks {
        assert!(
            locks.rows.len() <= 100 && serde_json::to_string(&locks.rows).unwrap().len() <= 20 * 1024 + 2
        );
        let shown = i32::try_from(locks.rows.len()).unwrap();
        assert!(
            shown + locks.rows_omitted >= locks.expected,
            "every Continuous lock is a row or counted"
        );
    }
}
