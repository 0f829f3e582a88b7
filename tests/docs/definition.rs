//! Columns, fields and manifests on the pages are those of the definition.

use std::sync::LazyLock;

use lockstep::{
    api::{CoordinatedWorkload, crd},
    domain::workload::{Problem, Workload, parse},
};
use regex::Regex;
use serde_json::{Value, json};

use crate::{
    README, faults,
    markdown::{code, fenced, rows, section, table_faults},
};

/// The version's part of the definition.
pub(crate) static VERSION: LazyLock<Value> = LazyLock::new(|| {
    let definition = serde_json::to_value(crd()).unwrap();
    definition["spec"]["versions"][0].clone()
});

fn column_faults(readme: &str) -> Vec<String> {
    let columns: Vec<_> = VERSION["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|column| column["priority"].as_i64().unwrap_or(0) == 0 && column["name"] != "Age")
        .map(|column| column["name"].as_str().unwrap().to_uppercase())
        .collect();
    let wanted = columns.iter().map(String::as_str).collect();
    let reading = section(readme, 2, "Reading it");
    let mut faults = table_faults("columns", &rows(reading), &wanted);
    let head = format!("NAME {} AGE", columns.join(" "));
    let shown = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") == head;
    if !reading.lines().any(shown) {
        faults.push(format!("columns: no example has the head {head}"));
    }
    faults
}

#[test]
fn the_columns_are_those_of_the_definition() {
    assert_eq!(column_faults(&README), Vec::<String>::new());
    let other = README
        .replace("| SPREAD |", "| SPREADS |")
        .replace(" SPREAD ", " SPREADS ");
    assert_eq!(
        column_faults(&other).len(),
        3,
        "unknown, missing, and the example"
    );
}

/// Fields that are written as `spec.a.b[].c` or `status.a`, and that the definition does not have.
fn field_faults(text: &str) -> Vec<String> {
    let schema = &VERSION["schema"]["openAPIV3Schema"];
    let is_field = Regex::new(r"^(spec|status)(\.[A-Za-z]+(\[\])?)+$").unwrap();
    let exists = |path: &str| {
        let mut place = schema;
        for part in path.split('.') {
            place = &place["properties"][part.trim_end_matches("[]")];
            if part.ends_with("[]") {
                place = &place["items"];
            }
        }
        !place.is_null()
    };
    code(text)
        .into_iter()
        .filter(|piece| is_field.is_match(piece) && !exists(piece))
        .map(|piece| format!("{piece} is no field"))
        .collect()
}

#[test]
fn fields_that_are_mentioned_exist() {
    faults(|_, text| field_faults(text));
    let text = "`spec.locks[].holder.pattern`, `spec.lock`, `spec.locks.holder` and\n    status.recents\n";
    assert_eq!(
        field_faults(text),
        [
            "spec.lock is no field",
            "spec.locks.holder is no field",
            "status.recents is no field"
        ]
    );
}

// Manifests.

fn merged(mut base: Value, change: &Value) -> Value {
    for (field, value) in change.as_object().unwrap() {
        base[field] = value.clone();
    }
    base
}

fn parsed(resource: Value) -> Result<Workload, Vec<Problem>> {
    let mut resource: CoordinatedWorkload = serde_json::from_value(resource).unwrap();
    resource
        .metadata
        .namespace
        .get_or_insert_with(|| "demo".to_owned());
    resource.metadata.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
    parse(&resource)
}

fn resource(spec: &Value) -> Value {
    json!({
        "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload", "metadata": { "name": "a" }, "spec": spec,
    })
}

/// A spec in which nothing is wrong, for parts of one.
fn base_spec() -> Value {
    json!({
        "template": { "spec": { "containers": [{ "name": "a", "image": "a" }] } },
        "redis": { "url": "redis://redis:6379" },
    })
}

fn manifest_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for block in fenced(text, "yaml") {
        let value: Value = match serde_yaml::from_str(block) {
            Ok(value) => value,
            Err(error) => {
                faults.push(format!("no YAML: {error}\n{block}"));
                continue;
            }
        };
        // What is not a whole resource is a part of a spec.
        let value = if value["kind"] == "CoordinatedWorkload" {
            value
        } else {
            resource(&merged(base_spec(), &value))
        };
        if let Err(error) = serde_json::from_value::<CoordinatedWorkload>(value.clone()) {
            faults.push(format!("no CoordinatedWorkload: {error}\n{block}"));
            continue;
        }
        if let Err(problems) = parsed(value) {
            faults.extend(problems.iter().map(ToString::to_string));
        }
    }
    faults
}

#[test]
fn manifests_can_be_used_as_they_are() {
    assert_eq!(fenced(&README, "yaml").len(), 1, "the first workload");
    assert!(README.contains("\n  name: pipeline\n"), "a whole resource");
    faults(|_, text| manifest_faults(text));
    for (from, to) in [
        ("dialect: Rigatoni", "dialect: Pasta"),
        ("dialect: Rigatoni", "dialect: Redlok"),
        ("      names:", "      name:"),
        ("redis:\n    url:", "redis:\n    uri:"),
        ("  template:", "template:"),
    ] {
        assert!(README.contains(from), "{from}");
        assert_ne!(
            manifest_faults(&README.replace(from, to)),
            Vec::<String>::new(),
            "{to}"
        );
    }
}
