//! Advice about others, and about what is left out.

use serde_json::json;

use super::*;
use crate::domain::{
    children::{self, Action, Applied, Correction, Outcome, Override},
    neighbours::Target,
};

fn autoscalers(changes: &[(&str, Value)], found: &[(&str, Target)]) -> Option<String> {
    let mut case = Case::of(changes);
    case.neighbours.autoscalers = found
        .iter()
        .map(|(name, target)| ((*name).to_owned(), *target))
        .collect();
    case.under(AdvisoryCode::ForeignAutoscaler)
}

#[test]
fn an_autoscaler_is_foreign_unless_the_spec_makes_room_for_it() {
    use Target::{Deployment, Resource};
    let fixed = [];
    let unsaid = [("/replicas", Value::Null)];
    let managed = [("/autoscaling", json!({ "minReplicas": 2, "maxReplicas": 2 }))];
    let external = [("/autoscaling", json!({ "mode": "External" }))];
    assert_eq!(autoscalers(&managed, &[]), None);
    assert_eq!(autoscalers(&external, &[("keda", Deployment)]), None);
    assert_eq!(autoscalers(&fixed, &[("hpa", Resource)]), None);
    for (spec, found) in [
        (&fixed[..], &[("hpa", Deployment)][..]),
        (&fixed, &[("hpa", Resource), ("other", Resource)]),
        (&unsaid, &[("hpa", Resource)]),
        (&unsaid, &[("hpa", Deployment)]),
        (&managed, &[("hpa", Deployment)]),
        (&managed, &[("hpa", Resource)]),
        (&external, &[("hpa", Resource)]),
        (&external, &[("hpa", Deployment), ("other", Deployment)]),
    ] {
        let message =
            autoscalers(spec, found).unwrap_or_else(|| panic!("nothing on {found:?} with {spec:?}"));
        assert!(message.contains("HorizontalPodAutoscaler hpa"), "{message}");
    }
}

#[test]
fn what_was_changed_back_is_told_for_an_hour_and_a_fight_by_its_own_name() {
    let at = |minutes: u64| Mono(std::time::Duration::from_mins(minutes));
    let mut case = Case::of(&[]);
    let mut outcome = Outcome::default();
    outcome.children.deployment = Some(Applied {
        uid: "u".into(),
        hash: "h".into(),
        action: Action::Updated {
            correction: Some(Correction {
                field: Some("spec.template".into()),
                overrides: vec![Override {
                    manager: "kubectl-edit".into(),
                    fields: vec![],
                }],
            }),
            unsettled: None,
        },
        live: None,
    });
    case.drift.record(&outcome, at(1));
    case.now = at(1);
    let message = case.under(AdvisoryCode::DriftCorrected).unwrap();
    assert!(
        message.contains("spec.template of the Deployment by kubectl-edit"),
        "{message}"
    );
    case.now = at(61);
    assert_eq!(case.under(AdvisoryCode::DriftCorrected), None);

    for minute in 62..65 {
        case.drift.record(&outcome, at(minute));
        case.now = at(minute);
    }
    let message = case.under(AdvisoryCode::FieldConflict).unwrap();
    assert!(
        message.contains("kubectl-edit over spec.template of the Deployment"),
        "{message}"
    );
    assert_eq!(case.under(AdvisoryCode::DriftCorrected), None, "not twice");
}

#[test]
fn another_process_goes_on_telling_what_it_can_know_nothing_of() {
    let mut case = Case::of(&[]);
    let told = |code: AdvisoryCode| Advisory {
        code: code.to_string(),
        message: "as before".into(),
    };
    case.previous = vec![
        told(AdvisoryCode::FieldConflict),
        told(AdvisoryCode::DriftCorrected),
    ];
    let nothing = children::Children::default();
    case.drift
        .hold(&mut children::Plan::default(), &nothing, None, Mono::default());
    assert_eq!(case.advice(), case.previous);
    case.now = Mono(std::time::Duration::from_mins(10));
    assert_eq!(case.codes(), ["DriftCorrected"]);
    case.now = Mono(std::time::Duration::from_hours(1));
    assert_eq!(case.codes(), [""; 0]);
}
