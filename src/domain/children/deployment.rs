//! The Deployment's spec. Pure.

use serde_json::{Map, Value, json};

use super::{Live, selector};
use crate::api::WORKLOAD_LABEL;
use crate::domain::workload::{Scaling, Workload};

/// Variables that tell a process which pod it is: by these, lock libraries name their owner.
const POD_VARIABLES: [(&str, &str); 3] = [
    ("POD_NAME", "metadata.name"),
    ("POD_NAMESPACE", "metadata.namespace"),
    ("POD_UID", "metadata.uid"),
];

/// `DeploymentSpec` without replicas, over a Deployment that exists, if one does.
pub(super) fn spec(workload: &Workload, existing: Option<&Live>) -> Map<String, Value> {
    let mut spec = workload.deployment.clone();
    let mut template = template(workload);
    let kept = existing.and_then(|live| live.object().get("spec")?.get("selector"));
    if let (Some(existing), Some(kept)) = (existing, kept) {
        add_selected_labels(&mut template, kept, existing);
    }
    spec.insert(
        "selector".into(),
        kept.cloned().unwrap_or_else(|| selector(workload)),
    );
    spec.insert("template".into(), Value::Object(template));
    spec
}

/// Puts the labels that `selector` asks for into a template that doesn't have them. One that has another value there is
/// left as it was written: the apiserver says what is wrong with it.
fn add_selected_labels(template: &mut Map<String, Value>, selector: &Value, existing: &Live) {
    let listed = selector.get("matchExpressions").and_then(Value::as_array);
    let by_expression = listed
        .into_iter()
        .flatten()
        .filter_map(|expression| expression.get("key")?.as_str());
    let by_label = selector.get("matchLabels").and_then(Value::as_object);
    let keys = by_label.into_iter().flat_map(Map::keys).map(String::as_str);
    // What the pods bear now fits the selector, whatever it asks.
    let present = existing.object().get("spec").and_then(|spec| {
        let metadata = spec.get("template")?.get("metadata")?;
        metadata.get("labels")?.as_object()
    });
    let (Some(present), Some(labels)) = (
        present,
        object(template, "metadata").and_then(|metadata| object(metadata, "labels")),
    ) else {
        return;
    };
    for key in keys.chain(by_expression) {
        if let (Some(value), false) = (present.get(key), labels.contains_key(key)) {
            labels.insert(key.to_owned(), value.clone());
        }
    }
}

/// Replicas that the POST carries; `None`: the API's own default.
pub(super) fn initial_replicas(scaling: &Scaling) -> Option<i32> {
    match scaling {
        Scaling::Fixed { replicas } => Some(replicas.unwrap_or(1)),
        // `max` then `min`, not `clamp`: that one panics on bounds that are the wrong way round.
        Scaling::Managed {
            min, max, replicas, ..
        } => Some(replicas.unwrap_or(*min).max(*min).min(*max)),
        Scaling::External { replicas } => *replicas,
    }
}

/// What isn't of the expected shape is passed on: the apiserver's words about it are better than ours.
fn template(workload: &Workload) -> Map<String, Value> {
    let mut template = workload.template.clone();
    if let Some(labels) = object(&mut template, "metadata").and_then(|metadata| object(metadata, "labels")) {
        labels.insert(WORKLOAD_LABEL.into(), workload.name.as_str().into());
    }
    if let Some(Value::Object(spec)) = template.get_mut("spec") {
        name_service_account(spec);
        if workload.inject_env {
            for list in ["containers", "initContainers"] {
                if let Some(Value::Array(containers)) = spec.get_mut(list) {
                    containers
                        .iter_mut()
                        .filter_map(Value::as_object_mut)
                        .for_each(inject_env);
                }
            }
        }
        let constraints = spec.get("topologySpreadConstraints").and_then(Value::as_array);
        if workload.topology_spread && constraints.is_none_or(Vec::is_empty) {
            let constraint = json!({
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": selector(workload),
            });
            spec.insert("topologySpreadConstraints".into(), json!([constraint]));
        }
    }
    template
}

/// `serviceAccount` is the old name of `serviceAccountName`. The API keeps the two equal, so that one that is left out of
/// an apply comes back from the other, and one that differs never does. So both are applied, or neither.
fn name_service_account(spec: &mut Map<String, Value>) {
    const NAMES: [&str; 2] = ["serviceAccountName", "serviceAccount"];
    let given = |name: &&str| match spec.get(*name) {
        Some(Value::String(account)) if !account.is_empty() => Some(account.clone()),
        Some(_) | None => None,
    };
    if let Some(account) = NAMES.iter().find_map(given) {
        for name in NAMES {
            spec.insert(name.into(), account.as_str().into());
        }
    }
}

/// Puts the variables first, so that the container's own can refer to them with `$(POD_NAME)`.
fn inject_env(container: &mut Map<String, Value>) {
    let env = container.entry("env").or_insert_with(|| json!([]));
    if env.is_null() {
        *env = json!([]);
    }
    let Value::Array(env) = env else { return };
    let missing: Vec<Value> = POD_VARIABLES
        .iter()
        .filter(|(name, _)| !env.iter().any(|variable| variable.get("name").is_some_and(|n| n == name)))
        .map(|(name, path)| {
            json!({ "name": name, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } } })
        })
        .collect();
    env.splice(0..0, missing);
}

/// The object under `key`, made if absent or null; `None` if something else is there.
fn object<'a>(parent: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let value = parent.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}
