//! Every status that can be written keeps every rule: specs, children, controllers' words, pods and stores in all shapes,
//! in sequences, so that a previous status is always one that was really written.

mod scene;
mod steps;

use std::{cell::RefCell, collections::BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use proptest::{
    collection::vec,
    test_runner::{Config, TestRng, TestRunner},
};

use self::{
    scene::{Passed, Scene},
    steps::{How, Spec, Step, seldom, spec, step},
};
use super::{
    announce, find,
    rules::{self, Write},
};
use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::{ConditionType, Reason},
    },
    domain::{
        children::{Action, ChildKind, Outcome},
        memory::Memory,
    },
};

/// Passes after a step until nothing is left to do: creating, waiting, scaling, adopting, and one to spare.
const PASSES: usize = 6;
/// Sequences of the run that is always the same, and of the one that looks further.
const SEQUENCES: (u32, u32) = (320, 40);

/// What a run has seen.
#[derive(Default)]
struct Seen {
    reported: usize,
    written: usize,
    conditions: BTreeSet<(String, String, String)>,
}

#[test]
fn every_status_that_can_be_written_keeps_the_rules() {
    let (seen, well) = (RefCell::new(Seen::default()), How::well());
    let config = |cases| Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    // What is always the same can be asked for what it reaches.
    let (same, further) = (config(SEQUENCES.0), config(SEQUENCES.1));
    for (spec, steps) in seldom() {
        live(&spec, steps.iter().map(|step| (step, &well)), &seen);
    }
    let rng = TestRng::deterministic_rng(same.rng_algorithm);
    let reached = run(TestRunner::new_with_rng(same, rng), &seen);
    run(TestRunner::new(further), &seen);
    let seen = seen.into_inner();
    let (reported, written) = (seen.reported, seen.written);
    assert!(
        reported > 5000 && written > 1000,
        "too few: {reported} statuses reported, {written} of them written"
    );
    let missed: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !reached.iter().any(|(_, _, known)| known == reason.as_str()))
        .collect();
    assert_eq!(missed, Vec::<&Reason>::new(), "reasons that were never reached");
}

/// Runs sequences of steps; the conditions that it reached.
fn run(mut runner: TestRunner, seen: &RefCell<Seen>) -> BTreeSet<(String, String, String)> {
    let sequences = (spec(), vec(step(), 1..24));
    let result = runner.run(&sequences, |(spec, steps)| {
        live(&spec, steps.iter().map(|(step, how)| (step, how)), seen);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    seen.borrow().conditions.clone()
}

/// One workload's life.
fn live<'a>(spec: &Spec, steps: impl IntoIterator<Item = (&'a Step, &'a How)>, seen: &RefCell<Seen>) {
    let mut scene = Scene::new(spec);
    after(&mut scene, &How::well(), &mut seen.borrow_mut());
    for (step, how) in steps {
        scene.happen(step);
        after(&mut scene, how, &mut seen.borrow_mut());
    }
}

/// Passes until nothing is left to do; then none changes anything any more, whoever makes it.
fn after(scene: &mut Scene, how: &How, seen: &mut Seen) {
    let mut passed = one(scene, how, None, seen);
    let mut retold = told_again(passed.outcome.as_ref());
    for _ in 0..PASSES {
        if is_settled(passed.outcome.as_ref()) {
            break;
        }
        passed = one(scene, &How::well(), retold.as_ref(), seen);
        retold = told_again(passed.outcome.as_ref());
    }
    if !is_settled(passed.outcome.as_ref()) {
        // Two that insist; each pass is a new correction.
        return;
    }
    let status = scene.previous();
    seen.reported += 2;
    let again = scene.pass(&How::well(), retold.as_ref());
    rules::same(&status, &again.status, "when the same operator looks again");
    announce(
        &status,
        &again.status,
        &again.decision.assessment.findings,
        &mut scene.memory,
    );
    assert_eq!(scene.memory.outbox, [], "nothing is said twice");
    if scene.is_calm() {
        let mut fresh = Memory::from_status(&status);
        let told = scene.pass_with(&mut fresh, &How::well(), retold.as_ref());
        rules::same(&status, &told.status, "when another operator looks");
        announce(
            &status,
            &told.status,
            &told.decision.assessment.findings,
            &mut fresh,
        );
        assert_eq!(fresh.outbox, [], "another operator has nothing to say");
    }
}

/// Whether nothing was done, so that the next pass would find the same world.
fn is_settled(outcome: Option<&Outcome>) -> bool {
    outcome.is_none_or(|outcome| {
        let mut actions = outcome
            .children
            .iter()
            .filter_map(|(_, applied)| applied.as_ref());
        let idle = actions.all(|applied| applied.action == Action::None || applied.live.is_none());
        idle && outcome.deleted.is_empty() && outcome.replicas.is_none()
    })
}

/// What failed, as the next passes tell it until it is tried again.
fn told_again(outcome: Option<&Outcome>) -> Option<Outcome> {
    let mut told = outcome.filter(|outcome| !outcome.failures.is_empty())?.clone();
    for kind in ChildKind::ALL {
        if let Some(applied) = told.children.get_mut(kind) {
            applied.live = None;
        }
    }
    Some(told)
}

/// One pass, and its status as it is written.
fn one(scene: &mut Scene, how: &How, retold: Option<&Outcome>, seen: &mut Seen) -> Passed {
    let previous = scene.previous();
    let passed = scene.pass(how, retold);
    let next = &passed.status;
    seen.reported += 1;
    if *next != previous {
        seen.written += 1;
        rules::check(&Write {
            previous: &previous,
            next,
            generation: scene.generation(),
        });
        let stored: CoordinatedWorkloadStatus =
            serde_json::from_value(serde_json::to_value(next).unwrap()).unwrap();
        assert_eq!(stored, *next, "what the API stores is what was sent");
        announce(
            &previous,
            next,
            &passed.decision.assessment.findings,
            &mut scene.memory,
        );
        scene.resource.status = Some(next.clone());
    }
    // What was held back for a time is posted by a pass that writes nothing, too.
    for event in scene.memory.outbox.drain(..) {
        assert!(
            !event.note.trim().is_empty() && event.note.len() <= 1024,
            "{event:?}"
        );
    }
    seen.conditions.extend(next.conditions.iter().map(|condition| {
        let Condition {
            type_,
            status,
            reason,
            ..
        } = condition.clone();
        // What the autoscaler says is quoted.
        let reason = if type_ == "ScalingActive" && reason != "Pending" {
            "quoted".into()
        } else {
            reason
        };
        (type_, status, reason)
    }));
    sections(scene, next);
    honest(scene, &passed);
    passed
}

/// A section that is absent has no condition, and each that is there has one.
fn sections(scene: &Scene, status: &CoordinatedWorkloadStatus) {
    let has = |type_| find(&status.conditions, type_).is_some();
    let Ok(workload) = &scene.workload else { return };
    let spec = &scene.resource.spec;
    let balanced = workload.locks.iter().any(|set| set.balance.is_some());
    for (type_, wanted) in [
        (ConditionType::Available, true),
        (ConditionType::Suspended, spec.suspend == Some(true)),
        (ConditionType::StoreReachable, spec.redis.is_some()),
        (ConditionType::StoreSafe, spec.redis.is_some()),
        (ConditionType::LocksHeld, !spec.locks.is_empty()),
        (ConditionType::LocksBalanced, balanced),
        (ConditionType::ScalingActive, workload.scaling.has_autoscaler()),
        (
            ConditionType::DisruptionsAllowed,
            workload.disruption_budget.is_some(),
        ),
    ] {
        assert_eq!(has(type_), wanted, "{type_}");
    }
}

/// Ready is said of nothing that isn't.
fn honest(scene: &Scene, passed: &Passed) {
    let ready = find(&passed.status.conditions, ConditionType::Ready).unwrap();
    if ready.status != "True" {
        return;
    }
    assert_eq!(scene.must_not_be_ready(), None, "{ready:?}");
    let incomplete = passed.outcome.as_ref().filter(|outcome| !outcome.is_complete());
    assert_eq!(incomplete, None, "{ready:?}");
}
