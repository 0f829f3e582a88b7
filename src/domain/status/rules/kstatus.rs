//! What kstatus concludes of an object (cli-utils, `pkg/kstatus/status`): Argo CD's and Flux' health, `kapp`, `kpt`. Pure.

use serde_json::Value;

/// kstatus' verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kstatus {
    Current,
    InProgress,
    Failed,
    Terminating,
}

/// The verdict on an object of a kind that kstatus has no rules of its own for.
pub(super) fn compute(object: &Value) -> Kstatus {
    let metadata = |field: &str| object.get("metadata").and_then(|metadata| metadata.get(field));
    let deleted = metadata("deletionTimestamp").and_then(Value::as_str);
    if deleted.is_some_and(|time| !time.is_empty()) {
        return Kstatus::Terminating;
    }
    let status = object.get("status");
    let observed = status.and_then(|status| status.get("observedGeneration"));
    // Only what is there can differ: who doesn't report a generation is believed.
    if let (Some(generation), Some(observed)) = (metadata("generation"), observed)
        && generation != observed
    {
        return Kstatus::InProgress;
    }
    let conditions = status.and_then(|status| status.get("conditions")?.as_array());
    let conditions = || conditions.into_iter().flatten();
    let is = |condition: &Value, field: &str, text: &str| {
        condition.get(field).and_then(Value::as_str) == Some(text)
    };
    // Whichever of the two stands first in the list.
    for condition in conditions().filter(|condition| is(condition, "status", "True")) {
        if is(condition, "type", "Reconciling") {
            return Kstatus::InProgress;
        }
        if is(condition, "type", "Stalled") {
            return Kstatus::Failed;
        }
    }
    for ready in conditions().filter(|condition| is(condition, "type", "Ready")) {
        match ready.get("status").and_then(Value::as_str) {
            Some("True") => return Kstatus::Current,
            Some("False" | "Unknown") => return Kstatus::InProgress,
            Some(_) | None => {}
        }
    }
    // The quirk that makes a resource nobody has looked at healthy.
    Kstatus::Current
}
