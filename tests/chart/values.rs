//! `values.yaml` as the documentation that it is: every key has a comment, and from both the table of the chart's
//! README is made.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::helm::CHART;

/// A documented key of `values.yaml`.
pub(crate) struct Entry {
    pub(crate) path: Vec<String>,
    words: String,
    default: Value,
}

fn text() -> String {
    fs::read_to_string(format!("{CHART}/values.yaml")).unwrap()
}

fn defaults() -> Value {
    let mut defaults: Value = serde_yaml::from_str(&text()).unwrap();
    // Whether maps are sorted depends on the packages that are built along with this one.
    defaults.sort_all_objects();
    defaults
}

fn at<'v>(values: &'v Value, path: &[String]) -> &'v Value {
    path.iter().fold(values, |value, key| &value[key])
}

/// `key: …` with its indentation.
fn key(line: &str) -> Option<(usize, &str)> {
    let trimmed = line.trim_start();
    let (key, _) = trimmed.split_once(':')?;
    let is_key = !trimmed.starts_with(['#', '-']);
    is_key.then_some((line.len() - trimmed.len(), key))
}

/// Every key that has a comment right above it, in order.
pub(crate) fn documented() -> Vec<Entry> {
    let (text, defaults) = (text(), defaults());
    let mut entries = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        if let Some(words) = line.trim_start().strip_prefix("# ") {
            let space = if comment.is_empty() { "" } else { " " };
            comment.push_str(space);
            comment.push_str(words);
        } else if let Some((indentation, name)) = key(line) {
            path.retain(|(above, _)| *above < indentation);
            path.push((indentation, name.to_owned()));
            let names: Vec<String> = path.iter().map(|(_, name)| name.clone()).collect();
            if !comment.is_empty() {
                let default = at(&defaults, &names).clone();
                entries.push(Entry {
                    path: names,
                    words: std::mem::take(&mut comment),
                    default,
                });
            }
        } else {
            // What is separated by an empty line describes nothing.
            comment.clear();
        }
    }
    entries
}

/// Maps whose keys are documented one by one: the whole, and every part that is no value for itself.
pub(crate) fn documented_maps() -> Vec<Vec<String>> {
    let mut maps: Vec<Vec<String>> = documented()
        .iter()
        .flat_map(|entry| (0..entry.path.len()).map(|length| entry.path[..length].to_vec()))
        .collect();
    maps.sort();
    maps.dedup();
    maps
}

/// Values with this one key in this map.
pub(crate) fn with(path: &[String], key: &str, value: &Value) -> Value {
    path.iter()
        .rev()
        .fold(json!({ key: value }), |inner, name| json!({ name: inner }))
}

/// The table of the README.
pub(crate) fn table() -> String {
    let rows = documented().into_iter().map(|entry| {
        let default = match &entry.default {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let default = if default.is_empty() {
            String::new()
        } else {
            format!("`{default}`")
        };
        let words = entry.words.replace('|', "\\|");
        format!("| `{}` | {default} | {words} |\n", entry.path.join("."))
    });
    format!(
        "| value | default | meaning |\n|---|---|---|\n{}",
        rows.collect::<String>()
    )
}

/// Leaves without words of their own or of what they are a part of.
fn undocumented(value: &Value, path: &mut Vec<String>, entries: &[Entry]) -> Vec<String> {
    if entries.iter().any(|entry| entry.path == *path) {
        return Vec::new();
    }
    let Value::Object(map) = value else {
        return vec![path.join(".")];
    };
    let mut found = Vec::new();
    for (key, value) in map {
        path.push(key.clone());
        found.extend(undocumented(value, path, entries));
        path.pop();
    }
    found
}

#[test]
fn every_value_is_documented() {
    let entries = documented();
    assert_eq!(
        undocumented(&defaults(), &mut Vec::new(), &entries),
        Vec::<String>::new()
    );
    // It would be noticed.
    assert_eq!(
        undocumented(&json!({ "image": { "other": 1 } }), &mut Vec::new(), &entries),
        ["image.other"]
    );
}

#[test]
fn the_schema_knows_no_value_that_is_not_there() {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap()).unwrap();
    let mut maps = documented_maps();
    // What an empty list or map would hold is the API's business.
    maps.retain(|path| at(&defaults(), path).is_object());
    for path in maps {
        let part = path
            .iter()
            .fold(&schema, |schema, name| &schema["properties"][name]);
        assert_eq!(part["additionalProperties"], false, "{path:?}");
        let known = part["properties"].as_object().unwrap().keys();
        let known: BTreeSet<_> = known.filter(|key| *key != "global").cloned().collect();
        let defaults = defaults();
        let there = at(&defaults, &path).as_object().unwrap().keys();
        assert_eq!(known, there.cloned().collect(), "{path:?}");
    }
}
