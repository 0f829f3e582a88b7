//! What is said of the operator beside what status says: one that leads, one that died, one that was ended, and one of
//! which nothing can be told.

use std::{collections::BTreeSet, fs, path::Path};

use jiff::SignedDuration;
use lockstep::cli::show::{
    Page, View,
    operator::{Lead, Operator},
    standing::Standing,
};

use super::stories::{pods, shown, stories, unfit};

fn lead(holder: Option<&str>, renewed: i64) -> Operator {
    Operator::Elected(Lead {
        namespace: "lockstep-system".into(),
        lease: "lockstep".into(),
        holder: holder.map(str::to_owned),
        renewed: SignedDuration::from_secs(renewed),
        lasts: SignedDuration::from_secs(15),
    })
}

#[test]
fn every_state_of_the_operator_as_it_is_shown() {
    let pod = Some("lockstep-6c8f9d7b54-x2x4z_0f3a9c517be20d46");
    let cases = [
        ("running", "healthy", lead(pod, 3), Standing::Well),
        ("dead", "healthy", lead(pod, 241), Standing::Unknown),
        (
            "dead_and_something_was_wrong",
            "stuck_lock_without_expiry",
            lead(pod, 241),
            Standing::Wrong,
        ),
        ("ended", "healthy", lead(None, 7260), Standing::Unknown),
        (
            "not_told",
            "healthy",
            Operator::Unchecked(
                "you may not get leases of coordination.k8s.io in lockstep-system, where it says that it lives"
                    .into(),
            ),
            Standing::Well,
        ),
    ];
    let stories = stories();
    let mut names = BTreeSet::new();
    for (name, story, operator, standing) in cases {
        names.insert(format!("{name}.snap"));
        let (_, told) = stories.iter().find(|(known, _)| known == story).unwrap();
        let pods = pods(told);
        let view =
            View::new(&told.resource, Some(&pods), told.now, Page::terminal(80)).with_operator(operator);
        assert_eq!(Standing::of(&view), standing, "{name}");
        let text = shown(&view);
        assert_eq!(unfit(&text), Vec::<&str>::new(), "{name}");
        insta::with_settings!({
            snapshot_path => "operator",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, text);
        });
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/operator");
    let kept: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept, names, "a snapshot for each, and no other");
}
