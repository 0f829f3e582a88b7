//! `render` and `diff`: the children as YAML, and how they differ from those in the cluster. Pure.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};

use super::text::{Tone, clean, paint};
use crate::{
    api::APPLIED_ANNOTATION,
    domain::children::{ChildKind, Children, Prepared},
};

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// Metadata that the apiserver writes and nobody wants to read in a difference.
const WRITTEN: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Every child as the operator would create it. Of a resource that has no UID yet, what the UID decides is left out.
pub fn render(children: &Children<Prepared>, has_uid: bool) -> Result<String, serde_yaml::Error> {
    let mut text = String::new();
    for (_, intent) in children.iter() {
        let Some(intent) = intent else { continue };
        let mut body = Value::Object(intent.creation_body());
        if !has_uid {
            forget_uid(&mut body);
        }
        text += "---\n";
        text += &yaml(body)?;
    }
    Ok(text)
}

/// The owner's UID, and the hash that covers it.
fn forget_uid(body: &mut Value) {
    if let Some(owners) = body
        .pointer_mut("/metadata/ownerReferences")
        .and_then(Value::as_array_mut)
    {
        for owner in owners.iter_mut().filter_map(Value::as_object_mut) {
            owner.remove("uid");
        }
    }
    forget_hash(body);
}

fn forget_hash(body: &mut Value) {
    let Some(metadata) = body.pointer_mut("/metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(APPLIED_ANNOTATION);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

fn yaml(mut object: Value) -> Result<String, serde_yaml::Error> {
    // Whether maps are sorted depends on the packages that are built along with this one.
    object.sort_all_objects();
    serde_yaml::to_string(&object)
}

/// An object without what the apiserver writes into it, as YAML.
fn readable(object: &Map<String, Value>) -> Result<String, serde_yaml::Error> {
    let mut object = Value::Object(object.clone());
    forget_hash(&mut object);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            for written in WRITTEN {
                metadata.remove(written);
            }
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                annotations.remove("deployment.kubernetes.io/revision");
                if annotations.is_empty() {
                    metadata.remove("annotations");
                }
            }
        }
    }
    yaml(object)
}

/// The difference between a child as it is and as it would be; empty without any. `None`: it is not there.
pub fn difference(
    kind: ChildKind,
    name: &str,
    before: Option<&Map<String, Value>>,
    after: Option<&Map<String, Value>>,
) -> Result<String, serde_yaml::Error> {
    let text = |object: Option<&Map<String, Value>>| object.map(readable).transpose();
    let (old, new) = (
        text(before)?.unwrap_or_default(),
        text(after)?.unwrap_or_default(),
    );
    if old == new {
        return Ok(String::new());
    }
    let name = clean(name);
    let place = |object: Option<&_>, where_: &str| match object {
        Some(_) => format!("{}/{name} ({where_})", kind.kind()),
        None => format!("/dev/null ({} {name} is not there)", kind.kind()),
    };
    let mut shown = paint(Tone::Strong, &format!("--- {}", place(before, "cluster"))) + "\n";
    shown += &paint(Tone::Strong, &format!("+++ {}", place(after, "manifest")));
    shown.push('\n');
    let lines = TextDiff::from_lines(&old, &new);
    for hunk in lines.unified_diff().context_radius(CONTEXT).iter_hunks() {
        let _ = writeln!(shown, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, tone) = match change.tag() {
                ChangeTag::Delete => ('-', Tone::Bad),
                ChangeTag::Insert => ('+', Tone::Good),
                ChangeTag::Equal => (' ', Tone::Plain),
            };
            let line = clean(change.value().trim_end_matches('\n'));
            let _ = writeln!(shown, "{}", paint(tone, &format!("{sign}{line}")));
        }
    }
    Ok(shown)
}

/// Takes out of `object` what was intended before and is no longer. A dry run doesn't as long as the creation still owns
/// the fields; the operator sees to that first.
pub fn without_what_left(
    object: &mut Map<String, Value>,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) {
    for (field, old) in before {
        let Some(new) = after.get(field) else {
            object.remove(field);
            continue;
        };
        let Some(value) = object.get_mut(field) else {
            continue;
        };
        match (value, old, new) {
            (Value::Object(value), Value::Object(old), Value::Object(new)) => {
                without_what_left(value, old, new);
            }
            (Value::Array(values), Value::Array(old), Value::Array(new)) => {
                let (old, new) = (by_key(old), by_key(new));
                values.retain(|value| key(value).is_none_or(|key| !is_in(&old, &key) || is_in(&new, &key)));
                for value in values.iter_mut() {
                    let at = key(value);
                    let of = |items: &[(String, &Map<String, Value>)]| {
                        let item = items.iter().find(|(key, _)| Some(key) == at.as_ref());
                        item.map(|(_, item)| (*item).clone())
                    };
                    if let (Some(old), Some(new), Some(value)) = (of(&old), of(&new), value.as_object_mut()) {
                        without_what_left(value, &old, &new);
                    }
                }
            }
            _ => {}
        }
    }
}

/// By what an item of a merged list is told from others.
fn key(item: &Value) -> Option<String> {
    ["name", "containerPort", "mountPath", "port", "topologyKey", "uid"]
        .iter()
        .find_map(|field| Some(format!("{field}={}", item.get(field)?)))
}

fn by_key(items: &[Value]) -> Vec<(String, &Map<String, Value>)> {
    items
        .iter()
        .filter_map(|item| Some((key(item)?, item.as_object()?)))
        .collect()
}

fn is_in(items: &[(String, &Map<String, Value>)], wanted: &str) -> bool {
    items.iter().any(|(key, _)| key == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else {
            panic!("{value} is no object")
        };
        object
    }

    #[test]
    fn what_left_the_intent_goes_and_what_others_added_stays() {
        let before = object(json!({ "spec": { "a": 1, "b": { "c": 1 }, "env": [
            { "name": "X", "value": "1" }, { "name": "Y", "value": "1" },
        ] } }));
        let after = object(json!({ "spec": { "b": {}, "env": [{ "name": "X", "value": "2" }] } }));
        let mut merged = object(json!({ "spec": { "a": 1, "b": { "c": 1, "other": 2 }, "env": [
            { "name": "X", "value": "2" }, { "name": "Y", "value": "1" }, { "name": "Z", "value": "others" },
        ] } }));
        without_what_left(&mut merged, &before, &after);
        let wanted = json!({ "spec": { "b": { "other": 2 }, "env": [
            { "name": "X", "value": "2" }, { "name": "Z", "value": "others" },
        ] } });
        assert_eq!(Value::Object(merged), wanted);
    }

    #[test]
    fn a_difference_names_both_sides_and_leaves_out_what_the_apiserver_wrote() {
        let live = object(
            json!({ "kind": "Deployment", "metadata": { "name": "shop", "uid": "u", "generation": 4,
            "annotations": { "lockstep.dev/applied": "0123" } }, "spec": { "a": 1 }, "status": { "x": 1 } }),
        );
        let mut same = live.clone();
        same["metadata"]["annotations"]["lockstep.dev/applied"] = "4567".into();
        same["metadata"]["generation"] = 5.into();
        let difference = |one: Option<&Map<_, _>>, two: Option<&Map<_, _>>| {
            let text = super::difference(ChildKind::Deployment, "shop", one, two).unwrap();
            anstream::adapter::strip_str(&text).to_string()
        };
        assert_eq!(difference(Some(&live), Some(&same)), "");
        same["spec"]["a"] = 2.into();
        assert_eq!(
            difference(Some(&live), Some(&same)),
            "--- Deployment/shop (cluster)\n+++ Deployment/shop (manifest)\n@@ -2,4 +2,4 @@\n metadata:\n   name: shop\n \
             spec:\n-  a: 1\n+  a: 2\n"
        );
        let created = difference(None, Some(&same));
        assert!(
            created.starts_with("--- /dev/null (Deployment shop is not there)\n+++ Deployment/shop"),
            "{created}"
        );
    }
}
