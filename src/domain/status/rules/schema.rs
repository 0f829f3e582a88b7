//! What the definition bounds: a status that breaks a bound is not stored at all, and nobody learns anything. Pure.

use std::{collections::HashMap, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use super::Write;
use crate::api::crd;

static STATUS: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(crd()).unwrap_or_default();
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
    crd.pointer(path).cloned().unwrap_or_default()
});

/// The patterns of the definition, compiled once.
static PATTERNS: LazyLock<HashMap<String, Regex>> = LazyLock::new(|| {
    fn collect(schema: &Value, found: &mut HashMap<String, Regex>) {
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && let Ok(regex) = Regex::new(pattern)
        {
            found.insert(pattern.to_owned(), regex);
        }
        match schema {
            Value::Object(fields) => fields.values().for_each(|schema| collect(schema, found)),
            Value::Array(items) => items.iter().for_each(|schema| collect(schema, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = HashMap::new();
    collect(&STATUS, &mut found);
    found
});

/// Whether the apiserver would store it, by the definition's schema.
pub(super) fn fits(write: &Write<'_>) -> Result<(), String> {
    let status = serde_json::to_value(write.next).map_err(|error| error.to_string())?;
    value("status", &status, &STATUS)
}

fn value(path: &str, found: &Value, schema: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{path}: {what}: {:.200}", found.to_string()));
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let within = |count: usize, least: &str, most: &str| {
        let count = count as u64;
        bound(least).is_none_or(|bound| count >= bound) && bound(most).is_none_or(|bound| count <= bound)
    };
    let listed = schema.get("enum").and_then(Value::as_array);
    if listed.is_some_and(|listed| !listed.contains(found)) {
        return wrong("not in the enum");
    }
    match (schema.get("type").and_then(Value::as_str), found) {
        (Some("object"), Value::Object(fields)) => {
            let required = schema.get("required").and_then(Value::as_array);
            let missing = required
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .find(|name| !fields.contains_key(*name));
            if let Some(missing) = missing {
                return wrong(&format!("lacks {missing}"));
            }
            for (name, found) in fields {
                let Some(schema) = schema
                    .get("properties")
                    .and_then(|properties| properties.get(name))
                else {
                    return wrong(&format!("{name} would be pruned"));
                };
                value(&format!("{path}.{name}"), found, schema)?;
            }
            Ok(())
        }
        (Some("array"), Value::Array(items)) => {
            if !within(items.len(), "minItems", "maxItems") {
                return wrong("number of items");
            }
            let schema = schema.get("items").unwrap_or(&Value::Null);
            let mut items = items.iter().enumerate();
            items.try_for_each(|(at, item)| value(&format!("{path}[{at}]"), item, schema))
        }
        (Some("string"), Value::String(text)) => {
            let pattern = schema.get("pattern").and_then(Value::as_str);
            let regex = pattern.and_then(|pattern| PATTERNS.get(pattern));
            if !within(text.chars().count(), "minLength", "maxLength") {
                return wrong("length");
            }
            if regex.is_some_and(|regex| !regex.is_match(text)) {
                return wrong("pattern");
            }
            Ok(())
        }
        (Some("integer"), Value::Number(number)) => {
            let least = schema.get("minimum").and_then(Value::as_f64);
            let small = least.is_some_and(|least| number.as_f64().is_some_and(|number| number < least));
            if number.is_f64() || small {
                return wrong("number");
            }
            Ok(())
        }
        (Some("boolean"), Value::Bool(_)) => Ok(()),
        (Some(_) | None, _) => wrong("type"),
    }
}
