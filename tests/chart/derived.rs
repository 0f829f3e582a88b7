//! Files that are made of others: the definition in the chart, the table of its README, `manifests/install.yaml`.

use std::{env, fs};

use lockstep_cluster::HelmVersion;
use serde_json::{Value, json};

use crate::helm::{CHART, NAMESPACE, of_kind, only, render, template};
use crate::values;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A file is what it should be; `UPDATE=1` makes it so.
fn same(path: &str, wanted: &str) {
    if env::var_os("UPDATE").is_some() {
        fs::write(path, wanted).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == wanted,
        "{path} is not what it is made of; `make manifests` writes it anew"
    );
}

/// With every number as a float: Helm reads 1.0 and writes 1, which is the same to the API.
fn as_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(as_numbers).collect(),
        Value::Object(map) => {
            let map = map.iter().map(|(key, value)| (key.clone(), as_numbers(value)));
            Value::Object(map.collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn the_charts_definition_is_what_the_code_describes() {
    same(
        &format!("{CHART}/files/crd.yaml"),
        &lockstep::api::crd_yaml().unwrap(),
    );
    let wanted = serde_json::to_value(lockstep::api::crd()).unwrap();
    for (values, annotations) in [
        (json!({}), json!({ "helm.sh/resource-policy": "keep" })),
        (json!({ "crds": { "keep": false } }), Value::Null),
    ] {
        let objects = render(HelmVersion::V4, &values);
        let crd = only(&objects, "CustomResourceDefinition");
        assert_eq!(as_numbers(&crd["spec"]), as_numbers(&wanted["spec"]));
        assert_eq!(crd["metadata"]["name"], wanted["metadata"]["name"]);
        assert_eq!(crd["metadata"]["annotations"], annotations);
    }
    let objects = render(HelmVersion::V4, &json!({ "crds": { "enabled": false } }));
    assert_eq!(of_kind(&objects, "CustomResourceDefinition").count(), 0);
}

#[test]
fn the_charts_readme_has_its_values() {
    let path = format!("{CHART}/README.md");
    let found = fs::read_to_string(&path).unwrap();
    let (head, rest) = found.split_once("\n## Values\n\n").unwrap();
    let foot = rest.split_once("\n## ").map(|(_, foot)| format!("\n## {foot}"));
    let wanted = format!(
        "{head}\n## Values\n\n{}{}",
        values::table(),
        foot.unwrap_or_default()
    );
    same(&path, &wanted);
}

#[test]
fn the_manifest_is_the_chart_rendered() {
    let namespace = format!(
        "# The chart charts/lockstep with its default values; `make manifests` writes it anew.\n\
         apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n"
    );
    let rendered = template(HelmVersion::V4, &["--no-hooks"], &json!({})).unwrap();
    same(
        &format!("{ROOT}/manifests/install.yaml"),
        &format!("{namespace}{rendered}"),
    );
}

#[test]
fn the_charts_version_is_that_of_the_program() {
    let chart = fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap();
    let chart: Value = serde_yaml::from_str(&chart).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
