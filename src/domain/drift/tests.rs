//! Rivals of all kinds, in simulated time.

use serde_json::json;

use super::*;
use crate::{
    api::CoordinatedWorkload,
    domain::{
        children::{Override, ReplicasApplied, build},
        workload::parse,
    },
};

fn at(seconds: u64) -> Mono {
    Mono(Duration::from_secs(seconds))
}

fn prepared(image: &str) -> Children<Prepared> {
    let resource: CoordinatedWorkload = serde_json::from_value(json!({
        "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
        "metadata": { "name": "web", "namespace": "shop", "uid": "r", "generation": 1 },
        "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": image }] } } },
    }))
    .unwrap();
    build(&parse(&resource).unwrap())
}

fn hash(prepared: &Children<Prepared>) -> String {
    prepared.deployment.as_ref().unwrap().hash().to_owned()
}

/// The Deployment was written, and this is what came of it.
fn written(action: Action) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.children.deployment = Some(Applied {
        uid: "u".into(),
        hash: hash(&prepared("web:1")),
        action,
        live: None,
    });
    outcome
}

fn by(manager: &str) -> Vec<Override> {
    vec![Override {
        manager: manager.into(),
        fields: vec![".spec.x".into()],
    }]
}

fn corrected(manager: &str) -> Outcome {
    written(Action::Updated {
        correction: Some(Correction {
            field: Some("spec.x".into()),
            overrides: by(manager),
        }),
        unsettled: None,
    })
}

fn apply(reason: Reason) -> Plan {
    let mut plan = Plan::default();
    plan.steps.deployment = Step::Apply {
        uid: "u".into(),
        convert: false,
        empties: false,
        reason,
    };
    plan
}

fn drifted() -> Plan {
    apply(Reason::Drift("spec.x".into()))
}

/// What is left of a plan.
fn held(drift: &mut Drift, mut plan: Plan, image: &str, now: Mono) -> Step {
    drift.hold(&mut plan, &prepared(image), None, now);
    plan.steps.deployment
}

fn is_held(step: &Step) -> bool {
    *step == Step::Hold { uid: "u".into() }
}

#[test]
fn the_third_correction_in_a_row_is_a_fight_until_the_rival_is_silent() {
    let mut drift = Drift::default();
    let mut told = Vec::new();
    for (number, second) in [0, 2, 5, 20].into_iter().enumerate() {
        let row = drift.record(&corrected("rival"), at(second)).remove(0);
        told.push(row.is_told());
        let fights = drift.fights(at(second)).count();
        assert_eq!(fights, usize::from(number >= 2), "{number}");
    }
    assert_eq!(told, [true, false, true, false]);
    assert_eq!(drift.fights(at(20 + 599)).count(), 1);
    assert_eq!(drift.fights(at(20 + 600)).count(), 0);
    // Whoever begins again after that begins at one.
    let row = drift.record(&corrected("rival"), at(700)).remove(0);
    assert_eq!((row.count, row.rival.as_str()), (1, "rival"));
}

#[test]
fn rivals_that_take_turns_are_told_apart_and_held_together() {
    let mut drift = Drift::default();
    let mut told = 0;
    for turn in 0..8 {
        let rival = ["one", "other"][turn % 2];
        let now = at(100 * turn as u64);
        told += drift
            .record(&corrected(rival), now)
            .iter()
            .filter(|row| row.is_told())
            .count();
        assert_eq!(drift.fights(now).count(), usize::from(turn >= 2));
    }
    assert_eq!(told, 3, "each at the first, and the one that makes it a fight");
    assert!(is_held(&held(&mut drift, drifted(), "web:1", at(700 + 127))));
    assert!(!is_held(&held(&mut drift, drifted(), "web:1", at(700 + 128))));
}

#[test]
fn who_takes_the_advice_of_the_fight_has_ended_it() {
    let mut drift = Drift::default();
    for second in [0, 10, 20] {
        drift.record(&corrected("rival"), at(second));
    }
    assert_eq!(drift.fights(at(20)).count(), 1);
    let applied = written(Action::Updated {
        correction: None,
        unsettled: None,
    });
    drift.record(&applied, at(30));
    assert_eq!(drift.fights(at(30)).count(), 0);
}

#[test]
fn what_admission_changes_in_every_apply_is_a_rival_too() {
    let mut drift = Drift::default();
    let outcome = written(Action::Updated {
        correction: None,
        unsettled: Some("spec.y".into()),
    });
    let row = drift.record(&outcome, at(1)).remove(0);
    assert!(row.is_admission() && row.field == "spec.y", "{row:?}");
}

#[test]
fn corrections_wait_ever_longer_and_a_new_intent_never() {
    let mut drift = Drift::default();
    assert!(
        !is_held(&held(&mut drift, drifted(), "web:1", at(0))),
        "the first is made at once"
    );
    let mut now = 0;
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        drift.record(&corrected("rival"), at(now));
        assert!(
            is_held(&held(&mut drift, drifted(), "web:1", at(now + wait - 1))),
            "{wait}"
        );
        assert!(
            !is_held(&held(&mut drift, drifted(), "web:1", at(now + wait))),
            "{wait}"
        );
        assert!(drift.recheck_at(at(now)) <= Some(at(now + wait)));
        now += wait;
    }
    let new = held(&mut drift, apply(Reason::NewIntent), "web:2", at(now - 300));
    assert_eq!(new, apply(Reason::NewIntent).steps.deployment);
}

#[test]
fn whoever_takes_the_hash_away_is_a_rival_and_no_new_intent() {
    let mut drift = Drift::default();
    let mut settled = Plan::default();
    settled.steps.deployment = Step::Nothing {
        uid: Some("u".into()),
    };
    held(&mut drift, settled, "web:1", at(0));
    let Step::Apply { reason, .. } = held(&mut drift, apply(Reason::NewIntent), "web:1", at(1)) else {
        panic!("the first is made at once");
    };
    assert_eq!(reason, Reason::Drift("metadata.annotations".into()));
    drift.record(&corrected("rival"), at(1));
    assert!(is_held(&held(
        &mut drift,
        apply(Reason::NewIntent),
        "web:1",
        at(1)
    )));
    assert!(!is_held(&held(
        &mut drift,
        apply(Reason::NewIntent),
        "web:2",
        at(1)
    )));
    // Another object of the name is another matter.
    let mut other = apply(Reason::NewIntent);
    if let Step::Apply { uid, .. } = &mut other.steps.deployment {
        *uid = "v".into();
    }
    let wanted = other.steps.deployment.clone();
    assert_eq!(held(&mut drift, other, "web:1", at(1)), wanted);
}

#[test]
fn a_first_adoption_is_none_of_it_and_the_next_ones_are() {
    let mut drift = Drift::default();
    let adopted = written(Action::Adopted { changed: true });
    assert_eq!(drift.record(&adopted, at(0)), []);
    assert!(!is_held(&held(
        &mut drift,
        apply(Reason::Adoption),
        "web:1",
        at(0)
    )));
    assert_eq!(drift.record(&adopted, at(1)).len(), 1);
    assert!(is_held(&held(
        &mut drift,
        apply(Reason::Adoption),
        "web:1",
        at(1)
    )));
}

#[test]
fn what_is_only_found_when_it_is_written_is_held_by_its_kind() {
    let mut drift = Drift::default();
    drift.record(&corrected("rival"), at(0));
    let mut plan = Plan::default();
    plan.steps.deployment = Step::Create;
    drift.hold(&mut plan, &prepared("web:1"), None, at(0));
    assert!(plan.held.contains(&ChildKind::Deployment));
    drift.hold(&mut plan, &prepared("web:1"), None, at(0));
    let mut later = Plan::default();
    drift.hold(&mut later, &prepared("web:1"), None, at(1));
    assert!(later.held.is_empty());
}

#[test]
fn replicas_are_drift_only_if_they_had_been_in_place() {
    let outcome = |count| Outcome {
        replicas: Some(ReplicasApplied {
            count,
            overrides: by("kubectl"),
        }),
        ..Outcome::default()
    };
    let plan = |replicas| {
        let mut plan = Plan {
            replicas,
            ..Plan::default()
        };
        plan.steps.deployment = Step::Nothing {
            uid: Some("u".into()),
        };
        plan
    };
    let mut drift = Drift::default();
    let hold = |drift: &mut Drift, replicas, fixed, now| {
        let mut plan = plan(replicas);
        drift.hold(&mut plan, &prepared("web:1"), fixed, now);
        plan.replicas
    };
    // The spec says three from now on.
    assert_eq!(
        hold(&mut drift, ReplicasStep::Apply(3), Some(3), at(0)),
        ReplicasStep::Apply(3)
    );
    assert_eq!(drift.record(&outcome(3), at(0)), []);
    assert_eq!(
        hold(&mut drift, ReplicasStep::Leave, Some(3), at(1)),
        ReplicasStep::Leave
    );
    // Somebody says otherwise.
    assert_eq!(
        hold(&mut drift, ReplicasStep::Apply(3), Some(3), at(2)),
        ReplicasStep::Apply(3)
    );
    let row = drift.record(&outcome(3), at(2)).remove(0);
    assert_eq!((row.what, row.rival.as_str()), (Contested::Replicas, "kubectl"));
    assert_eq!(
        hold(&mut drift, ReplicasStep::Apply(3), Some(3), at(2)),
        ReplicasStep::Hold
    );
    // The spec says four: that never waits.
    assert_eq!(
        hold(&mut drift, ReplicasStep::Apply(4), Some(4), at(2)),
        ReplicasStep::Apply(4)
    );
    assert_eq!(drift.record(&outcome(4), at(2)), []);
}

#[test]
fn a_new_process_gives_what_was_told_the_time_it_would_have_had() {
    let mut drift = Drift::default();
    held(&mut drift, Plan::default(), "web:1", at(100));
    assert!(drift.may_be_fought(at(100 + 599)) && !drift.may_be_fought(at(100 + 600)));
    assert!(drift.may_be_recent(at(100 + 3599)) && !drift.may_be_recent(at(100 + 3600)));
    assert_eq!(drift.recheck_at(at(100)), Some(at(700)));
    drift.record(&corrected("rival"), at(101));
    assert!(!drift.may_be_fought(at(101)), "now it is known");
}
