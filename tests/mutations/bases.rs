//! Specs in which the fields of the definition stand, from `bases/`. Pure.

use serde_json::{Map, Value, json};

use super::exceptions;
use super::schema::{Field, Step, fields};

/// A spec to start from.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) spec: Value,
}

/// Where in a spec a value is.
pub(crate) type Place = Vec<Token>;

/// A step to a value that is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    Key(String),
    Index(usize),
}

/// All of them.
pub(crate) fn all() -> Vec<Base> {
    let mut bases = Vec::new();
    // In these only the Deployment is of interest.
    for text in [include_str!("bases/pod.yaml"), include_str!("bases/volumes.yaml")] {
        for document in documents(text) {
            let mut spec = alone();
            merge(&mut spec, &document["spec"]);
            bases.push(base(document["name"].as_str().unwrap(), &spec));
        }
    }
    for document in documents(include_str!("bases/containers.yaml")) {
        bases.extend(containers(&document));
    }
    for text in [
        include_str!("bases/children.yaml"),
        include_str!("bases/store.yaml"),
    ] {
        for document in documents(text) {
            bases.push(base(document["name"].as_str().unwrap(), &document["spec"]));
        }
    }
    bases
}

/// Puts the pod that all bases share around what a base says itself.
fn base(name: &str, spec: &Value) -> Base {
    let mut whole = json!({
        "template": { "spec": { "containers": [{ "name": "main", "image": "web:1" }] } },
    });
    merge(&mut whole, spec);
    Base {
        name: name.to_owned(),
        spec: whole,
    }
}

fn alone() -> Value {
    json!({ "disruptionBudget": { "enabled": false }, "networkPolicy": { "enabled": false } })
}

/// The container as a plain one, and as one that starts first and stays.
fn containers(document: &Value) -> [Base; 2] {
    let name = document["name"].as_str().unwrap();
    let pod = document.get("pod").cloned().unwrap_or_else(|| json!({}));
    let mut container = json!({ "name": "main", "image": "web:1" });
    merge(&mut container, &document["container"]);
    let spec = |containers: Value| {
        let mut spec = alone();
        merge(&mut spec, &json!({ "template": { "spec": pod } }));
        merge(&mut spec, &json!({ "template": { "spec": containers } }));
        spec
    };
    let mut first = container.clone();
    first["name"] = "first".into();
    let first = first.as_object_mut().unwrap();
    first.entry("restartPolicy").or_insert("Always".into());
    [
        base(
            &format!("container-{name}"),
            &spec(json!({ "containers": [container] })),
        ),
        base(
            &format!("init-container-{name}"),
            &spec(json!({ "initContainers": [first] })),
        ),
    ]
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

/// Objects are merged, everything else is replaced.
pub(crate) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The first place of a field in a spec.
pub(crate) fn place(spec: &Value, steps: &[Step]) -> Option<Place> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(Vec::new());
    };
    let below = |token: Token, value: &Value| {
        let mut place = place(value, rest)?;
        place.insert(0, token);
        Some(place)
    };
    match (step, spec) {
        (Step::Key(key), Value::Object(fields)) => below(Token::Key(key.clone()), fields.get(key)?),
        (Step::Entry, Value::Object(fields)) => fields
            .iter()
            .find_map(|(key, value)| below(Token::Key(key.clone()), value)),
        (Step::Item, Value::Array(items)) => items
            .iter()
            .enumerate()
            .find_map(|(index, value)| below(Token::Index(index), value)),
        _ => None,
    }
}

/// The value at a place.
pub(crate) fn at<'a>(spec: &'a Value, place: &[Token]) -> &'a Value {
    place.iter().fold(spec, |value, token| match token {
        Token::Key(key) => &value[key],
        Token::Index(index) => &value[*index],
    })
}

/// The spec with another value at a place; `None`: without it.
pub(crate) fn with(spec: &Value, place: &[Token], value: Option<Value>) -> Value {
    let mut spec = spec.clone();
    let (last, above) = place.split_last().unwrap();
    let parent = above.iter().fold(&mut spec, |value, token| match token {
        Token::Key(key) => &mut value[key],
        Token::Index(index) => &mut value[*index],
    });
    match (last, value) {
        (Token::Key(key), Some(value)) => parent[key] = value,
        (Token::Index(index), Some(value)) => parent[*index] = value,
        (Token::Key(key), None) => {
            let removed = parent
                .as_object_mut()
                .map(|fields: &mut Map<_, _>| fields.remove(key));
            assert!(removed.is_some_and(|value| value.is_some()), "{key} is not there");
        }
        (Token::Index(index), None) => {
            parent.as_array_mut().unwrap().remove(*index);
        }
    }
    spec
}

/// Each field stands in a base, or is listed with a reason why it can't.
pub(crate) fn check() {
    let bases = all();
    let is_in_a_base = |field: &Field| bases.iter().any(|base| place(&base.spec, &field.steps).is_some());
    let mut faults = Vec::new();
    for field in fields() {
        let path = field.path();
        match (is_in_a_base(&field), exceptions::has_no_base(&path)) {
            (true, None) | (false, Some(_)) => {}
            (true, Some(reason)) => faults.push(format!("{path} stands in a base, and is listed: {reason}")),
            (false, None) => faults.push(format!("{path} stands in no base")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
