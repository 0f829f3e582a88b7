//! What Flux' checker asks of a resource after a full reconciliation (fluxcd/pkg, `runtime/conditions/check`). Pure.
//!
//! Every pass of ours ends with the status that it leaves, so none is "mid-reconciliation" and all rules hold always;
//! FAIL0011, which is made for such, is kept as well. There is no FAIL0010.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Rule, Write, ensure};

/// The rules, by their names there.
pub(super) const RULES: &[(&str, Rule)] = &[
    ("FAIL0001", fail0001),
    ("FAIL0002", fail0002),
    ("FAIL0003", fail0003),
    ("FAIL0004", fail0004),
    ("FAIL0005", fail0005),
    ("FAIL0006", fail0006),
    ("FAIL0007", fail0007),
    ("FAIL0008", fail0008),
    ("FAIL0009", fail0009),
    ("FAIL0011", fail0011),
    ("WARN0001", warn0001),
    ("WARN0002", warn0002),
    ("WARN0003", warn0003),
    ("WARN0004", warn0004),
    ("WARN0005", warn0005),
];

const READY: &str = "Ready";
const RECONCILING: &str = "Reconciling";
const STALLED: &str = "Stalled";
/// Types whose True is bad, the worst first. `Suspended` is none: whoever suspends has it so.
const NEGATIVE: [&str; 2] = [STALLED, RECONCILING];

fn get<'a>(write: &Write<'a>, type_: &str) -> Option<&'a Condition> {
    let mut conditions = write.next.conditions.iter();
    conditions.find(|condition| condition.type_ == type_)
}

fn is(write: &Write<'_>, type_: &str, status: &str) -> bool {
    get(write, type_).is_some_and(|condition| condition.status == status)
}

/// Flux' `IsReady`: Ready, and neither of the two that contradict it alone.
fn is_ready(write: &Write<'_>) -> bool {
    let (reconciling, stalled) = (is(write, RECONCILING, "True"), is(write, STALLED, "True"));
    reconciling == stalled && is(write, READY, "True")
}

/// A condition's generation, 0 for none, as Go has it.
fn generation(condition: &Condition) -> i64 {
    condition.observed_generation.unwrap_or_default()
}

/// Types of the conditions of which this holds.
fn of_which(write: &Write<'_>, holds: impl Fn(&Condition) -> bool) -> Vec<String> {
    let conditions = write.next.conditions.iter().filter(|condition| holds(condition));
    conditions.map(|condition| condition.type_.clone()).collect()
}

fn none_of(bad: &[String]) -> Result<(), String> {
    ensure(bad.is_empty(), || bad.join(", "))
}

/// No negative condition is True while Ready is True.
fn fail0001(write: &Write<'_>) -> Result<(), String> {
    let negative =
        |condition: &Condition| NEGATIVE.contains(&condition.type_.as_str()) && condition.status == "True";
    if is(write, READY, "True") {
        none_of(&of_which(write, negative))?;
    }
    Ok(())
}

/// Ready is there.
fn fail0002(write: &Write<'_>) -> Result<(), String> {
    ensure(get(write, READY).is_some(), || "no Ready".into())
}

/// Ready is False while this condition is True.
fn false_while(write: &Write<'_>, type_: &str) -> Result<(), String> {
    let Some(ready) = get(write, READY) else {
        return Ok(());
    };
    ensure(!is(write, type_, "True") || ready.status == "False", || {
        format!("Ready is {}", ready.status)
    })
}

/// Ready is False while Reconciling is True.
fn fail0003(write: &Write<'_>) -> Result<(), String> {
    false_while(write, RECONCILING)
}

/// Ready is False while Stalled is True.
fn fail0004(write: &Write<'_>) -> Result<(), String> {
    false_while(write, STALLED)
}

/// Reconciling and Stalled are never both there, whatever they say.
fn fail0005(write: &Write<'_>) -> Result<(), String> {
    let both = get(write, RECONCILING).is_some() && get(write, STALLED).is_some();
    ensure(!both, || "both are there".into())
}

/// Status doesn't speak of a generation to come.
fn fail0006(write: &Write<'_>) -> Result<(), String> {
    let seen = write.next.observed_generation;
    ensure(seen <= write.generation, || seen.to_string())
}

/// Not ready while status speaks of an older generation.
fn fail0007(write: &Write<'_>) -> Result<(), String> {
    let seen = write.next.observed_generation;
    ensure(seen >= write.generation || !is_ready(write), || seen.to_string())
}

/// Not ready while any condition speaks of an older generation.
fn fail0008(write: &Write<'_>) -> Result<(), String> {
    if is_ready(write) {
        none_of(&of_which(write, |condition| {
            generation(condition) < write.generation
        }))?;
    }
    Ok(())
}

/// If ready, every condition speaks of the generation that status speaks of.
fn fail0009(write: &Write<'_>) -> Result<(), String> {
    let seen = write.next.observed_generation;
    if is_ready(write) {
        none_of(&of_which(write, |condition| generation(condition) != seen))?;
    }
    Ok(())
}

/// Ready is Unknown, or absent, only while Reconciling is True.
fn fail0011(write: &Write<'_>) -> Result<(), String> {
    let unknown = get(write, READY).is_none_or(|ready| ready.status == "Unknown");
    ensure(!unknown || is(write, RECONCILING, "True"), || {
        "Ready is not known, without Reconciling".into()
    })
}

/// No negative condition is even there while Ready is True.
fn warn0001(write: &Write<'_>) -> Result<(), String> {
    if is(write, READY, "True") {
        none_of(&of_which(write, |condition| {
            NEGATIVE.contains(&condition.type_.as_str())
        }))?;
    }
    Ok(())
}

/// Ready repeats the worst negative condition.
fn warn0002(write: &Write<'_>) -> Result<(), String> {
    repeats_the_worst(write, &NEGATIVE)
}

/// The same for any list of negative conditions, the worst first. Flux spares Reconciling and Stalled; ours are no others
/// so far, so that this waits for the day when there is one.
pub(super) fn repeats_the_worst(write: &Write<'_>, negative: &[&str]) -> Result<(), String> {
    if is(write, READY, "True") {
        return Ok(());
    }
    let worst = negative.iter().find_map(|type_| get(write, type_));
    let Some(worst) = worst.filter(|worst| worst.type_ != RECONCILING && worst.type_ != STALLED) else {
        return Ok(());
    };
    let ready = get(write, READY).map(|ready| (&ready.reason, &ready.message));
    ensure(ready == Some((&worst.reason, &worst.message)), || {
        format!("Ready does not repeat {}", worst.type_)
    })
}

/// A Reconciling that is False should be absent.
fn warn0003(write: &Write<'_>) -> Result<(), String> {
    ensure(!is(write, RECONCILING, "False"), || "it is False".into())
}

/// A Stalled that is False should be absent.
fn warn0004(write: &Write<'_>) -> Result<(), String> {
    ensure(!is(write, STALLED, "False"), || "it is False".into())
}

/// Every condition says of which generation it speaks.
fn warn0005(write: &Write<'_>) -> Result<(), String> {
    none_of(&of_which(write, |condition| generation(condition) < 1))
}
