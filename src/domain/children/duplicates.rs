//! Items of a list that have the same key: a POST takes some of them, and no apply takes any. Pure.
//!
//! Two variables of one name, for instance: the Deployment would be made, and could never be changed.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::compare;

/// Lists that hold each value once, by the field around them: `x-kubernetes-list-type: set`.
const SETS: [(&str, &str); 2] = [("metadata", "finalizers"), ("exitCodes", "values")];

/// What an apply would be answered, in the apiserver's words; `None`: no key is there twice.
pub(super) fn first(body: &Map<String, Value>) -> Option<String> {
    in_object(body, "", "")
}

fn in_object(fields: &Map<String, Value>, around: &str, path: &str) -> Option<String> {
    let fields = fields.iter().filter(|(field, _)| !compare::is_whole(field));
    fields.into_iter().find_map(|(field, value)| {
        let path = format!("{path}.{field}");
        match value {
            Value::Object(fields) => in_object(fields, field, &path),
            Value::Array(items) => in_list(items, around, field, &path),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    })
}

fn in_list(items: &[Value], around: &str, field: &str, path: &str) -> Option<String> {
    let keys = compare::keys_of(field, items).unwrap_or_default();
    let is_set = SETS.contains(&(around, field));
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let key = if is_set {
            format!("={item}")
        } else {
            let parts = keys
                .iter()
                .map(|key| format!("{key}={}", compare::key_of(item, key)));
            parts.collect::<Vec<_>>().join(",")
        };
        let place = if key.is_empty() {
            format!("{path}[{index}]")
        } else {
            format!("{path}[{key}]")
        };
        if let Some(found) = item
            .as_object()
            .and_then(|fields| in_object(fields, field, &place))
        {
            return Some(found);
        }
        if !key.is_empty() && !seen.insert(key.clone()) {
            return Some(format!("{path}: duplicate entries for key [{key}]"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::first;

    #[test]
    fn what_no_apply_takes_is_found_and_named() {
        let found = |spec| first(json!({ "spec": spec }).as_object().unwrap());
        for (spec, words) in [
            (
                json!({ "containers": [{ "name": "web", "env": [{ "name": "A" }, { "name": "B" }, { "name": "A", "value": "x" }] }] }),
                ".spec.containers[name=\"web\"].env: duplicate entries for key [name=\"A\"]",
            ),
            (
                json!({ "ports": [{ "containerPort": 53 }, { "containerPort": 53, "protocol": "TCP" }] }),
                ".spec.ports: duplicate entries for key [containerPort=53,protocol=\"TCP\"]",
            ),
            (
                json!({ "restartPolicyRules": [{ "exitCodes": { "values": [1, 2, 1] } }] }),
                ".spec.restartPolicyRules[0].exitCodes.values: duplicate entries for key [=1]",
            ),
        ] {
            assert_eq!(found(spec.clone()).as_deref(), Some(words), "{spec}");
        }
        for spec in [
            json!({ "ports": [{ "containerPort": 53 }, { "containerPort": 53, "protocol": "UDP" }] }),
            json!({ "ingress": [{ "ports": [{ "port": 1 }, { "port": 1 }] }] }),
            json!({ "args": ["a", "a"], "env": [{ "name": "A" }, { "name": "B" }] }),
            json!({ "matchExpressions": [{ "key": "a", "values": ["x", "x"] }] }),
        ] {
            assert_eq!(found(spec.clone()), None, "{spec}");
        }
    }
}
