//! The tables of conditions, reasons, events and advisories have the names of the closed vocabulary, each once.

use std::collections::BTreeSet;

use lockstep::api::conditions::{AdvisoryCode, ConditionType, EventReason, Reason};

use crate::{
    ADVICE, README,
    markdown::{headings, name, rows, section, table_faults},
};

/// Conditions that share one table of reasons.
const SHARED: (&str, [&str; 4]) = (
    "Ready, Reconciling, Stalled, Suspended",
    ["Ready", "Reconciling", "Stalled", "Suspended"],
);

fn condition_faults(readme: &str) -> Vec<String> {
    let conditions = section(readme, 2, "Conditions");
    let types = ConditionType::ALL.iter().map(|type_| type_.as_str()).collect();
    let mut faults = table_faults("conditions", &rows(conditions), &types);

    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut described = BTreeSet::new();
    let mut headed = BTreeSet::new();
    for heading in headings(conditions, 3) {
        if heading == SHARED.0 {
            headed.extend(SHARED.1);
        } else {
            headed.insert(heading);
        }
        let rows = rows(section(conditions, 3, heading));
        // A reason may belong to several conditions: within one table each stands once.
        let named = rows
            .iter()
            .map(|row| name(row))
            .filter(|name| known.contains(name));
        let here: BTreeSet<&str> = named.collect();
        faults.extend(table_faults(heading, &rows, &here));
        described.extend(here);
    }
    faults.extend(
        known
            .difference(&described)
            .map(|name| format!("reasons: {name} has no row")),
    );
    if headed != types {
        faults.push(format!(
            "the tables of reasons are those of {headed:?}, not of {types:?}"
        ));
    }
    faults
}

fn event_faults(readme: &str) -> Vec<String> {
    let rows = rows(section(readme, 2, "Events"));
    let known = EventReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut faults = table_faults("events", &rows, &known);
    for reason in EventReason::ALL {
        let wanted = if reason.is_warning() { "Warning" } else { "Normal" };
        let row = rows.iter().find(|row| name(row) == reason.as_str());
        if row.is_some_and(|row| row.get(1) != Some(&wanted)) {
            faults.push(format!("events: {reason} is {wanted}"));
        }
    }
    faults
}

fn advisory_faults(page: &str) -> Vec<String> {
    let rows = rows(page);
    let known = AdvisoryCode::ALL.iter().map(|code| code.as_str()).collect();
    let mut faults = table_faults("advisories", &rows, &known);
    // In status they come in this order.
    let listed: Vec<_> = rows.iter().map(|row| name(row)).collect();
    let order: Vec<_> = AdvisoryCode::ALL.iter().map(|code| code.as_str()).collect();
    if faults.is_empty() && listed != order {
        faults.push(format!("advisories: the order is {order:?}"));
    }
    faults
}

#[test]
fn every_condition_reason_event_and_advisory_has_its_row() {
    assert_eq!(condition_faults(&README), Vec::<String>::new());
    assert_eq!(event_faults(&README), Vec::<String>::new());
    assert_eq!(advisory_faults(&ADVICE), Vec::<String>::new());
}

#[test]
fn a_wrong_table_is_noticed() {
    let without = |page: &str, row: &str| {
        let start = format!("| `{row}` |");
        let lines = page.lines().filter(|line| !line.starts_with(&start));
        lines.collect::<Vec<_>>().join("\n")
    };
    for type_ in ConditionType::ALL {
        let fault = format!("conditions: {type_} has no row");
        assert!(
            condition_faults(&without(&README, type_.as_str())).contains(&fault),
            "{fault}"
        );
    }
    for reason in Reason::ALL {
        let fault = format!("reasons: {reason} has no row");
        assert!(
            condition_faults(&without(&README, reason.as_str())).contains(&fault),
            "{fault}"
        );
    }
    for reason in EventReason::ALL {
        let fault = format!("events: {reason} has no row");
        assert!(
            event_faults(&without(&README, reason.as_str())).contains(&fault),
            "{fault}"
        );
    }
    for code in AdvisoryCode::ALL {
        let fault = format!("advisories: {code} has no row");
        assert!(
            advisory_faults(&without(&ADVICE, code.as_str())).contains(&fault),
            "{fault}"
        );
    }

    let change = |page: &str, from: &str, to: &str| {
        assert!(page.contains(from), "{from}");
        page.replace(from, to)
    };
    let changed = |from: &str, to: &str| change(&README, from, to);
    let misspelt = changed("| `AllHeld` |", "| `AllHolds` |");
    assert!(condition_faults(&misspelt).contains(&"LocksHeld: AllHolds is no name of the code".to_owned()));
    let misspelt = changed("| `LocksLost` | Warning |", "| `LockLost` | Normal |");
    assert!(event_faults(&misspelt).contains(&"events: LockLost is no name of the code".to_owned()));
    let normal = changed("| `LocksLost` | Warning |", "| `LocksLost` | Normal |");
    assert!(event_faults(&normal).contains(&"events: LocksLost is Warning".to_owned()));
    let twice = changed("| `AllHeld` |", "| `AllHeld` | True | x | y |\n| `AllHeld` |");
    assert!(condition_faults(&twice).contains(&"LocksHeld: AllHeld stands there twice".to_owned()));
    let misspelt = change(&ADVICE, "| `TtlDiffers` |", "| `TTLDiffers` |");
    assert!(advisory_faults(&misspelt).contains(&"advisories: TTLDiffers is no name of the code".to_owned()));
    let (first, second) = ("| `NotIsolated` |", "| `PolicyNeedsCni` |");
    let swapped = change(&ADVICE, first, "| ? |")
        .replace(second, first)
        .replace("| ? |", second);
    assert!(
        advisory_faults(&swapped)
            .iter()
            .any(|fault| fault.starts_with("advisories: the order"))
    );
    let row = README
        .lines()
        .find(|line| line.starts_with("| `Loading` |"))
        .unwrap();
    let silent = changed(row, "| `Loading` | False | the server loads | |");
    assert!(condition_faults(&silent).contains(&"StoreReachable: Loading has no next step".to_owned()));
    let headless = changed("\n### Available\n", "\n### Availability\n");
    assert!(
        condition_faults(&headless)
            .iter()
            .any(|fault| fault.starts_with("the tables"))
    );
}
