//! Each rule fires on a status that is made wrong, and none on a good one.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::from_value;

use super::*;
use crate::api::{
    conditions::Reason,
    status::{Advisory, Child, Row},
};

const GENERATION: i64 = 3;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(1_800_000_000 + second).unwrap())
}

fn condition(type_: &str, status: &str, reason: &str) -> Condition {
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: "All is said.".into(),
        observed_generation: Some(GENERATION),
        last_transition_time: at(0),
    }
}

/// A workload that runs.
fn good() -> CoordinatedWorkloadStatus {
    let mut status = CoordinatedWorkloadStatus {
        conditions: vec![
            condition("Ready", "True", "Reconciled"),
            condition("Available", "True", "MinimumReplicasAvailable"),
            condition("LocksHeld", "True", "AllHeld"),
            condition("ScalingActive", "True", "ValidMetricFound"),
        ],
        observed_generation: GENERATION,
        ..CoordinatedWorkloadStatus::default()
    };
    let locks = json!({
        "expected": 1, "held": 1, "unheld": 0, "orphaned": 0, "foreign": 0, "unattributed": 0, "unknown": 0,
        "withoutExpiry": 0, "rows": [{ "set": "jobs", "name": "a", "state": "Held", "pod": "shop-1" }],
    });
    status.locks = Some(from_value(locks).unwrap());
    status.children = vec![child("Deployment", "1"), child("Service", "2")];
    told(status)
}

fn child(kind: &str, uid: &str) -> Child {
    Child {
        kind: kind.into(),
        name: "shop".into(),
        uid: uid.into(),
    }
}

/// With the column as it should be.
fn told(mut status: CoordinatedWorkloadStatus) -> CoordinatedWorkloadStatus {
    let problem = crate::domain::status::verdict::problem(&status.conditions).to_owned();
    status.summary = Some(crate::api::status::Summary {
        problem,
        ..crate::api::status::Summary::default()
    });
    status
}

fn of<'a>(status: &'a mut CoordinatedWorkloadStatus, type_: &str) -> &'a mut Condition {
    let mut conditions = status.conditions.iter_mut();
    conditions.find(|condition| condition.type_ == type_).unwrap()
}

/// A stalled one, and one that works.
fn not_ready(type_: &str, reason: &str, ready: &str) -> CoordinatedWorkloadStatus {
    let mut status = good();
    *of(&mut status, "Ready") = condition("Ready", "False", ready);
    status.conditions.insert(1, condition(type_, "True", reason));
    told(status)
}

fn names(previous: &CoordinatedWorkloadStatus, next: &CoordinatedWorkloadStatus) -> BTreeSet<String> {
    let write = Write {
        previous,
        next,
        generation: GENERATION,
    };
    let broken = broken(&write);
    broken
        .iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn good_ones_keep_all_rules() {
    for status in [
        good(),
        not_ready("Stalled", "NameConflict", "NameConflict"),
        not_ready("Reconciling", "RollingOut", "Progressing"),
        not_ready("Reconciling", "Retrying", "ChildApplyFailed"),
        not_ready("Suspended", "SuspendedByUser", "SuspendedWithChanges"),
    ] {
        assert_eq!(
            names(&CoordinatedWorkloadStatus::default(), &status),
            BTreeSet::new()
        );
        assert_eq!(names(&status, &status), BTreeSet::new());
    }
}

/// What is made wrong, and the rules that must notice.
type Wrong = (fn(&mut CoordinatedWorkloadStatus), &'static [&'static str]);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_rule_fires() {
    let stalled = || not_ready("Stalled", "NameConflict", "NameConflict");
    let working = || not_ready("Reconciling", "RollingOut", "Progressing");
    let wrong_when_ready: &[Wrong] = &[
        (
            |status| {
                let stalled = condition("Stalled", "True", "InvalidSpec");
                status.conditions.insert(1, stalled);
            },
            &["kstatus", "FAIL0001", "FAIL0004", "WARN0001", "ready-says-why"],
        ),
        (
            |status| {
                let reconciling = condition("Reconciling", "True", "Retrying");
                status.conditions.insert(1, reconciling);
            },
            &["kstatus", "FAIL0001", "FAIL0003", "WARN0001", "ready-says-why"],
        ),
        (
            |status| {
                let reconciling = condition("Reconciling", "False", "Retrying");
                status.conditions.insert(1, reconciling);
            },
            &["abnormal", "WARN0003", "reasons"],
        ),
        (
            |status| {
                let stalled = condition("Stalled", "False", "InvalidSpec");
                status.conditions.insert(1, stalled);
            },
            &["abnormal", "WARN0004", "reasons"],
        ),
        (
            |status| {
                status.conditions.remove(0);
            },
            &["kstatus", "ready", "FAIL0002", "FAIL0011"],
        ),
        (
            |status| of(status, "Ready").status = "Unknown".into(),
            &["ready", "FAIL0011", "reasons"],
        ),
        (
            |status| status.observed_generation = GENERATION - 1,
            &["kstatus", "generation", "FAIL0007", "FAIL0009"],
        ),
        (
            |status| status.observed_generation = GENERATION + 1,
            &["generation", "FAIL0006"],
        ),
        (
            |status| of(status, "Available").observed_generation = Some(GENERATION - 1),
            &["generation", "FAIL0008", "FAIL0009"],
        ),
        (
            |status| of(status, "Available").observed_generation = None,
            &["generation", "FAIL0008", "WARN0005"],
        ),
        (|status| status.conditions.swap(1, 2), &["types"]),
        (
            |status| {
                let again = status.conditions[0].clone();
                status.conditions.insert(0, again);
            },
            &["types"],
        ),
        (
            |status| of(status, "LocksHeld").type_ = "Locked".into(),
            &["types", "reasons"],
        ),
        (
            |status| of(status, "Ready").reason = "Progressing".into(),
            &["ready-says-why", "reasons"],
        ),
        (
            |status| of(status, "Available").reason = "Good".into(),
            &["reasons"],
        ),
        (
            // Pending is always Unknown, also where somebody else is quoted.
            |status| of(status, "ScalingActive").reason = "Pending".into(),
            &["reasons"],
        ),
        (
            |status| of(status, "ScalingActive").reason = "no word".into(),
            &["pattern", "schema"],
        ),
        (
            |status| of(status, "ScalingActive").reason = String::new(),
            &["pattern", "schema", "reasons"],
        ),
        (
            |status| of(status, "ScalingActive").reason = "x".repeat(1025),
            &["pattern", "schema"],
        ),
        (|status| of(status, "Ready").message = " ".into(), &["messages"]),
        (
            |status| of(status, "Ready").message = "x".repeat(1001),
            &["messages"],
        ),
        (
            |status| {
                status.advisories.push(Advisory {
                    code: "FieldConflict".into(),
                    message: String::new(),
                });
            },
            &["messages"],
        ),
        (
            |status| of(status, "Ready").last_transition_time = at(1),
            &["transitions"],
        ),
        (
            |status| {
                *of(status, "LocksHeld") = condition("LocksHeld", "False", "LocksLost");
                of(status, "LocksHeld").last_transition_time = at(-1);
            },
            &["transitions", "column"],
        ),
        (
            |status| *of(status, "ScalingActive") = condition("ScalingActive", "False", "FailedGetScale"),
            &["column"],
        ),
        (|status| status.summary = None, &["column"]),
        (
            |status| {
                status.advisories = vec![
                    Advisory {
                        code: "PolicyNeedsCni".into(),
                        message: "x".into(),
                    };
                    2
                ];
            },
            &["lists"],
        ),
        (|status| status.children[1].uid = "1".into(), &["lists"]),
        (|status| status.children[1].kind = "Deployment".into(), &["lists"]),
        (|status| status.locks.as_mut().unwrap().rows.clear(), &["rows"]),
        (
            |status| {
                let locks = status.locks.as_mut().unwrap();
                locks.rows = vec![locks.rows[0].clone(); 101];
            },
            &["rows", "schema"],
        ),
        (
            |status| {
                let locks = status.locks.as_mut().unwrap();
                let name = "x".repeat(400);
                locks.rows = vec![
                    Row {
                        name,
                        ..locks.rows[0].clone()
                    };
                    90
                ];
            },
            &["rows", "size"],
        ),
        (|status| status.selector = Some("x".repeat(1025)), &["schema"]),
        (
            |status| {
                let locks = status.locks.as_mut().unwrap();
                locks.rows[0].flags = vec![crate::api::status::Flag::Lost; 9];
            },
            &["schema"],
        ),
    ];
    let wrong_when_stalled: &[Wrong] = &[
        (
            |status| {
                let reconciling = condition("Reconciling", "True", "Retrying");
                status.conditions.insert(1, reconciling);
            },
            &["abnormal", "FAIL0005", "kstatus"],
        ),
        (
            |status| of(status, "Stalled").reason = "Forbidden".into(),
            &["ready-says-why"],
        ),
        (
            |status| of(status, "Stalled").message = "Another one.".into(),
            &["ready-says-why"],
        ),
    ];
    let wrong_when_working: &[Wrong] = &[
        (
            |status| {
                status.conditions.remove(1);
            },
            &["ready-says-why"],
        ),
        (
            |status| of(status, "Ready").reason = "ChildApplyFailed".into(),
            &["ready-says-why", "column"],
        ),
        (
            |status| of(status, "Ready").reason = "SuspendedWithChanges".into(),
            &["ready-says-why", "column"],
        ),
    ];
    let mut fired = BTreeSet::new();
    for (base, cases) in [
        (good(), wrong_when_ready),
        (stalled(), wrong_when_stalled),
        (working(), wrong_when_working),
    ] {
        for (number, (spoil, rules)) in cases.iter().enumerate() {
            let mut status = base.clone();
            spoil(&mut status);
            let found = names(&base, &status);
            for rule in *rules {
                assert!(found.contains(*rule), "{number}: {rule} is silent: {found:?}");
            }
            fired.extend(rules.iter().copied());
        }
    }
    let all: BTreeSet<&str> = RULES.iter().chain(flux::RULES).map(|(name, _)| *name).collect();
    let silent: Vec<_> = all
        .difference(&fired)
        // It is for conditions that we don't have: see the next test.
        .filter(|rule| **rule != "WARN0002")
        .collect();
    assert_eq!(silent, Vec::<&&str>::new(), "no case shows that these fire");
}

#[test]
fn ready_would_have_to_repeat_a_negative_condition_of_another_kind() {
    let status = not_ready("Suspended", "SuspendedByUser", "SuspendedWithChanges");
    let write = Write {
        previous: &status,
        next: &status,
        generation: GENERATION,
    };
    assert!(flux::repeats_the_worst(&write, &["Stalled", "Reconciling"]).is_ok());
    assert!(flux::repeats_the_worst(&write, &["Stalled", "Suspended"]).is_err());
}

#[test]
fn kstatus_has_its_quirks() {
    let compute = |object| kstatus::compute(&object);
    assert_eq!(
        compute(json!({ "metadata": { "generation": 1 } })),
        Kstatus::Current
    );
    let fresh = json!({ "metadata": { "generation": 1 }, "status": { "observedGeneration": -1 } });
    assert_eq!(
        compute(fresh),
        Kstatus::InProgress,
        "why the definition has that default"
    );
    let both = |first: &str, second: &str| {
        let condition = |type_: &str| json!({ "type": type_, "status": "True" });
        json!({ "status": { "conditions": [condition(first), condition(second)] } })
    };
    assert_eq!(compute(both("Stalled", "Reconciling")), Kstatus::Failed);
    assert_eq!(compute(both("Reconciling", "Stalled")), Kstatus::InProgress);
    let ready = |status: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
    assert_eq!(compute(ready("True")), Kstatus::Current);
    assert_eq!(
        compute(ready("False")),
        Kstatus::InProgress,
        "never Failed by Ready alone"
    );
    assert_eq!(compute(ready("Unknown")), Kstatus::InProgress);
}

/// No reason is in the code that the contract doesn't know.
#[test]
fn every_reason_stands_in_the_table() {
    let known = |reason: &Reason| {
        ConditionType::ALL.iter().any(|type_| {
            let mut statuses = ["True", "False", "Unknown"].into_iter();
            // What the autoscaler may say says nothing about our own words.
            let pending = *reason == Reason::Pending;
            (*type_ != ConditionType::ScalingActive || pending)
                && statuses.any(|status| contract_knows(type_.as_str(), status, reason.as_str()))
        })
    };
    let unknown: Vec<_> = Reason::ALL.iter().filter(|reason| !known(reason)).collect();
    assert_eq!(unknown, Vec::<&Reason>::new());
}
