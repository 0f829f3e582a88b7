//! Renders the chart, and takes what was rendered apart. I/O.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::LazyLock;

use lockstep_cluster::{Helm, HelmVersion};
use serde::Deserialize as _;
use serde_json::Value;

pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockstep");
/// As in the documentation.
pub(crate) const NAMESPACE: &str = "lockstep-system";

static HELM3: LazyLock<Helm> = LazyLock::new(|| Helm::get(HelmVersion::V3).unwrap());
static HELM4: LazyLock<Helm> = LazyLock::new(|| Helm::get(HelmVersion::V4).unwrap());

pub(crate) fn helm(version: HelmVersion) -> &'static Helm {
    match version {
        HelmVersion::V3 => &HELM3,
        HelmVersion::V4 => &HELM4,
    }
}

/// What Helm says to these values: what it rendered, or why it did not.
pub(crate) fn template(version: HelmVersion, options: &[&str], values: &Value) -> Result<String, String> {
    let mut command = helm(version).command(None).unwrap();
    command.args(["template", "lockstep", CHART, "--namespace", NAMESPACE]);
    command.args(["--values", "-"]).args(options);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(values.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The objects that the chart makes of these values.
pub(crate) fn render(version: HelmVersion, values: &Value) -> Vec<Value> {
    objects(&template(version, &[], values).unwrap_or_else(|error| panic!("{values}: {error}")))
}

/// The documents of a YAML stream.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// The only object of this kind.
pub(crate) fn only<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let mut found = of_kind(objects, kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    first
}

pub(crate) fn of_kind<'o>(objects: &'o [Value], kind: &str) -> impl Iterator<Item = &'o Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}
