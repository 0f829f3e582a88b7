//! `docs/troubleshooting.md` leaves no reason out, and what it quotes is what is said.

use std::{collections::BTreeSet, fs, path::Path};

use lockstep::api::conditions::Reason;

use crate::{
    README, ROOT,
    markdown::{code, name, rows, section},
    read,
};

const PAGE: &str = "docs/troubleshooting.md";

/// Reasons that ask for something, by the README's tables, and that the page doesn't name.
fn reason_faults(page: &str) -> Vec<String> {
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let conditions = section(&README, 2, "Conditions");
    let told: BTreeSet<&str> = code(page).into_iter().collect();
    let table_rows = conditions.split("\n### ").flat_map(rows);
    let silent: BTreeSet<&str> = table_rows
        .filter(|row| row.last().is_some_and(|step| !step.starts_with("nothing")))
        .map(|row| name(&row))
        .filter(|reason| known.contains(reason) && !told.contains(reason))
        .collect();
    silent
        .into_iter()
        .map(|reason| format!("{reason} is not named"))
        .collect()
}

/// What the first cells of the tables of a section quote and none of these texts says.
fn quote_faults(page: &str, heading: &str, sources: &str) -> Vec<String> {
    let text = section(page, 2, heading);
    // Every table of the section: each begins after an empty line.
    let quoted = text.split("\n\n").flat_map(rows);
    let pieces: Vec<&str> = quoted.flat_map(|row| code(row[0])).collect();
    assert!(pieces.len() > 5, "{heading}: {pieces:?}");
    let fragments = pieces.iter().flat_map(|piece| piece.split('…')).map(str::trim);
    let missing = fragments.filter(|fragment| !fragment.is_empty() && !sources.contains(fragment));
    missing
        .map(|fragment| format!("{heading}: nothing says {fragment:?}"))
        .collect()
}

/// The operator's sources, in one text.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all += &fs::read_to_string(path).unwrap();
        }
    }
    all
}

#[test]
fn every_reason_that_asks_for_something_is_named() {
    let page = read(PAGE);
    assert_eq!(reason_faults(&page), Vec::<String>::new());
    assert_eq!(
        reason_faults(&page.replace("`ClusterDown`", "`ClusterUp`")),
        ["ClusterDown is not named"]
    );
}

#[test]
fn what_is_quoted_is_what_is_said() {
    let page = read(PAGE);
    let operator = sources(&Path::new(ROOT).join("src"));
    let chart = read("charts/lockstep/templates/validate.yaml");
    assert_eq!(
        quote_faults(&page, "The operator", &operator),
        Vec::<String>::new()
    );
    assert_eq!(
        quote_faults(&page, "It is refused at once", &chart),
        Vec::<String>::new()
    );
    assert_eq!(
        quote_faults(
            &page.replace("`standing by`", "`standing by and by`"),
            "The operator",
            &operator
        ),
        ["The operator: nothing says \"standing by and by\""]
    );
}
