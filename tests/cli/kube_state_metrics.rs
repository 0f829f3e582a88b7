//! `docs/kube-state-metrics.yaml`, evaluated over every golden story by the rules that its makers document: each path
//! exists in the definition of the resource, each metric says something somewhere, and what it says is so.

use std::{collections::BTreeSet, fs, path::Path};

use jiff::Timestamp;
use lockstep::api::crd;
use serde::Deserialize;
use serde_json::Value;

use super::stories::stories;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    kind: String,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    resources: Vec<Resource>,
}

/// Labels and the paths that they are read from.
type Labels = std::collections::BTreeMap<String, Vec<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Resource {
    group_version_kind: Meant,
    metric_name_prefix: String,
    labels_from_path: Labels,
    #[serde(rename = "errorLogV")]
    _error_log_v: u8,
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meant {
    group: String,
    version: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metric {
    name: String,
    help: String,
    each: Each,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "type")]
enum Each {
    Gauge {
        gauge: Gauge,
    },
    StateSet {
        #[serde(rename = "stateSet")]
        state_set: StateSet,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Gauge {
    path: Vec<String>,
    #[serde(default)]
    labels_from_path: Labels,
    #[serde(default)]
    value_from: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StateSet {
    path: Vec<String>,
    labels_from_path: Labels,
    value_from: Vec<String>,
    label_name: String,
    list: Vec<String>,
}

fn config() -> Resource {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kube-state-metrics.yaml");
    let config: Config = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(config.kind, "CustomResourceStateMetrics");
    let [resource] = <[_; 1]>::try_from(config.spec.resources).ok().unwrap();
    resource
}

/// What lies at a path; nothing if it isn't there.
fn at<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, part| value.get(part))
}

fn labels(paths: &Labels, value: &Value) -> Vec<String> {
    let found = paths.iter().filter_map(|(label, path)| {
        let text = at(value, path)?.as_str()?;
        Some(format!("{label}={text:?}"))
    });
    found.collect()
}

/// Numbers, and moments.
fn number(value: &Value) -> i64 {
    let moment = || value.as_str().unwrap().parse::<Timestamp>().unwrap();
    value.as_i64().unwrap_or_else(|| moment().as_second())
}

/// The elements of a list, or the one value.
fn elements(value: &Value) -> Vec<&Value> {
    value
        .as_array()
        .map_or_else(|| vec![value], |list| list.iter().collect())
}

/// The samples of one metric of an object.
fn samples(resource: &Resource, metric: &Metric, object: &Value) -> Vec<String> {
    let common = labels(&resource.labels_from_path, object);
    assert_eq!(common.len(), 2, "name and namespace: {common:?}");
    let line = |own: Vec<String>, value: i64| {
        let labels = [common.clone(), own].concat().join(",");
        format!(
            "{}_{}{{{labels}}} {value}",
            resource.metric_name_prefix, metric.name
        )
    };
    match &metric.each {
        Each::Gauge { gauge } => {
            let found = at(object, &gauge.path).map(elements).unwrap_or_default();
            let told = found.into_iter().filter_map(|element| {
                let value = number(at(element, &gauge.value_from)?);
                Some(line(labels(&gauge.labels_from_path, element), value))
            });
            told.collect()
        }
        Each::StateSet { state_set } => {
            let found = at(object, &state_set.path).map(elements).unwrap_or_default();
            let told = found.into_iter().flat_map(|element| {
                let value = at(element, &state_set.value_from).unwrap().as_str().unwrap();
                assert!(state_set.list.iter().any(|known| known == value), "{value}");
                let own = labels(&state_set.labels_from_path, element);
                state_set.list.iter().map(move |known| {
                    let label = format!("{}={known:?}", state_set.label_name);
                    ([own.clone(), vec![label]].concat(), i64::from(known == value))
                })
            });
            told.map(|(own, value)| line(own, value)).collect()
        }
    }
}

/// What the definition of the resource has at a path; in lists of their elements.
fn defined<'s>(schema: &'s Value, path: &[String]) -> Option<&'s Value> {
    path.iter().try_fold(schema, |schema, part| {
        let schema = schema.get("items").unwrap_or(schema);
        schema.get("properties")?.get(part)
    })
}

#[test]
fn every_path_is_defined_and_every_metric_says_something() {
    let resource = config();
    let definition = serde_json::to_value(crd()).unwrap();
    let kind = &resource.group_version_kind;
    assert_eq!(definition["spec"]["group"], *kind.group);
    assert_eq!(definition["spec"]["names"]["kind"], *kind.kind);
    let versions = definition["spec"]["versions"].as_array().unwrap();
    let version = versions
        .iter()
        .find(|version| version["name"] == *kind.version)
        .unwrap();
    let schema = &version["schema"]["openAPIV3Schema"];

    let stories: Vec<Value> = stories()
        .iter()
        .map(|(_, told)| serde_json::to_value(&told.resource).unwrap())
        .collect();
    let mut names = BTreeSet::new();
    for metric in &resource.metrics {
        let name = &metric.name;
        assert!(names.insert(name), "{name} stands there twice");
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        let (path, from, own) = match &metric.each {
            Each::Gauge { gauge } => (&gauge.path, &gauge.value_from, &gauge.labels_from_path),
            Each::StateSet { state_set } => (
                &state_set.path,
                &state_set.value_from,
                &state_set.labels_from_path,
            ),
        };
        // Metadata is not part of the definition.
        if path[0] != "metadata" {
            for below in own.values().chain([from]) {
                let whole = [path.as_slice(), below].concat();
                let field = defined(schema, &whole).unwrap_or_else(|| panic!("{name}: no field {whole:?}"));
                let type_ = field["type"].as_str().unwrap();
                assert!(
                    ["integer", "string"].contains(&type_),
                    "{name}: {whole:?} is {type_}"
                );
            }
        }
        let told: usize = stories
            .iter()
            .map(|object| samples(&resource, metric, object).len())
            .sum();
        // The apiserver adds it; stories come from no apiserver.
        assert!(told > 0 || name == "created", "{name} says nothing of any story");
        for object in &stories {
            let lines = samples(&resource, metric, object);
            let series: BTreeSet<_> = lines
                .iter()
                .map(|line| line.rsplit_once(' ').unwrap().0)
                .collect();
            assert_eq!(series.len(), lines.len(), "a series twice: {lines:?}");
        }
    }
}

#[test]
fn what_it_says_of_a_stuck_lock() {
    let resource = config();
    let stories = stories();
    let (_, told) = stories
        .iter()
        .find(|(name, _)| name == "stuck_lock_without_expiry")
        .unwrap();
    let object = serde_json::to_value(&told.resource).unwrap();
    let lines: BTreeSet<_> = resource
        .metrics
        .iter()
        .flat_map(|metric| samples(&resource, metric, &object))
        .collect();
    let labels = r#"name="shop",namespace="prod""#;
    let locks_held = r#"reason="NoExpiry",type="LocksHeld""#;
    for line in [
        format!("generation{{{labels}}} 1"),
        format!("status_observed_generation{{{labels}}} 1"),
        format!("status_condition{{{labels},{locks_held},status=\"True\"}} 0"),
        format!("status_condition{{{labels},{locks_held},status=\"False\"}} 1"),
        format!("status_condition{{{labels},{locks_held},status=\"Unknown\"}} 0"),
        format!("status_condition_last_transition_time{{{labels},type=\"LocksHeld\"}} 1800000705"),
        format!("status_replicas_ready{{{labels}}} 3"),
        format!("status_locks_expected{{{labels}}} 4"),
        format!("status_locks_held{{{labels}}} 3"),
        format!("status_locks_without_expiry{{{labels}}} 1"),
        format!("status_set_max_locks{{{labels},set=\"collections\"}} 2"),
    ] {
        let line = format!("kube_coordinatedworkload_{line}");
        assert!(lines.contains(&line), "{line} is not among\n{lines:#?}");
    }
}
