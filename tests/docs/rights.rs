//! `docs/security.md` lists every right that the chart grants, and no other.

use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    markdown::{name, rows, section},
    read,
};

const PAGE: &str = "docs/security.md";

/// A row of a table of rights, by its cells.
type Row = Vec<String>;

fn list(value: &Value) -> String {
    let words: Vec<_> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    words.join(", ")
}

/// The rules of a role of `manifests/install.yaml`, which is the chart rendered with its default values: group, resources
/// with the names that they are limited to, verbs.
fn granted(kind: &str, role: &str) -> Vec<Row> {
    let text = read("manifests/install.yaml");
    let objects = serde_yaml::Deserializer::from_str(&text).map(|object| Value::deserialize(object).unwrap());
    let found: Vec<_> = objects
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == role)
        .collect();
    assert_eq!(found.len(), 1, "{kind} {role}");
    let rules = found[0]["rules"].as_array().unwrap();
    let row = |rule: &Value| {
        let group = match list(&rule["apiGroups"]).as_str() {
            "" => "core".to_owned(),
            group => group.to_owned(),
        };
        let names = rule
            .get("resourceNames")
            .map(|names| format!(" ({})", list(names)));
        let resources = list(&rule["resources"]) + &names.unwrap_or_default();
        vec![group, resources, list(&rule["verbs"])]
    };
    rules.iter().map(row).collect()
}

/// What the first table after these words says, without its last column.
fn described(page: &str, heading: &str, after: &str) -> Vec<Row> {
    let text = section(page, 2, heading);
    let (_, text) = text.split_once(after).unwrap_or_default();
    let rows = rows(text).into_iter();
    rows.map(|row| row[..3].iter().map(|cell| (*cell).to_owned()).collect())
        .collect()
}

fn right_faults(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut compare = |what: &str, described: &[Row], granted: &[Row]| {
        let missing = granted.iter().filter(|row| !described.contains(row));
        faults.extend(missing.map(|row| format!("{what}: {} is granted and not told", row.join(" | "))));
        let invented = described.iter().filter(|row| !granted.contains(row));
        faults.extend(invented.map(|row| format!("{what}: {} is told and not granted", row.join(" | "))));
    };
    let heading = "What the operator may do";
    compare(
        "watched namespaces",
        &described(page, heading, "\n"),
        &granted("ClusterRole", "lockstep"),
    );
    compare(
        "own namespace",
        &described(page, heading, "leaderElection.enabled"),
        &granted("Role", "lockstep-leader-election"),
    );
    for role in ["lockstep-view", "lockstep-edit"] {
        let table = section(page, 2, "What the chart grants");
        let described = rows(table).into_iter().filter(|row| name(row) == role);
        let described: Vec<Row> = described
            .map(|row| vec!["lockstep.dev".to_owned(), row[2].to_owned(), row[3].to_owned()])
            .collect();
        compare(role, &described, &granted("ClusterRole", role));
    }
    faults
}

#[test]
fn the_tables_of_rights_are_what_the_chart_grants() {
    let page = read(PAGE);
    assert_eq!(right_faults(&page), Vec::<String>::new());
    for (from, to, fault) in [
        (
            "| core | pods | list, watch |",
            "| core | pods | list |",
            "watched namespaces: core | pods | list, watch is granted and not told",
        ),
        (
            "| core | pods | list, watch |",
            "| core | pods | list, watch, delete |",
            "watched namespaces: core | pods | list, watch, delete is told and not granted",
        ),
        (
            "leases (lockstep)",
            "leases",
            "own namespace: coordination.k8s.io | leases (lockstep) | get, update is granted and not told",
        ),
        (
            "| coordinatedworkloads/scale | update, patch |",
            "| coordinatedworkloads/scale | update |",
            "lockstep-edit: lockstep.dev | coordinatedworkloads/scale | update, patch is granted and not told",
        ),
    ] {
        assert!(page.contains(from), "{from}");
        let faults = right_faults(&page.replace(from, to));
        assert!(faults.contains(&fault.to_owned()), "{faults:?}");
    }
}
