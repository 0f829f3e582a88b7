//! What is done to managedFields, so that an apply removes what it should. Pure.
//!
//! A POST is an Update to the apiserver, and an Update entry owns its fields for ever: a later apply by the same
//! manager that leaves one out doesn't remove it. What client-go's csaupgrade does for objects of `kubectl apply`,
//! [`converted`] does for those of a POST.
//!
//! And what the API itself added, by default, is nobody's: no apply removes it, and where it must not stand beside what
//! is intended now (a `rollingUpdate` beside `type: Recreate`), every apply is refused. [`claimed`] makes it ours, for
//! the next apply to remove.

use serde_json::{Map, Value};

use super::rest::Object;
use crate::api::{FIELD_MANAGER, REPLICAS_FIELD_MANAGER};
use crate::domain::children::is_creation_entry;

/// The managedFields to write, or `None` if there is no entry of our POST.
pub(super) fn converted(object: &Object) -> Option<Vec<Value>> {
    let entries = object.get("metadata")?.get("managedFields")?.as_array()?;
    let (created, mut kept): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(is_creation_entry);
    let mut entry = created.first()?.as_object()?.clone();
    entry.insert("operation".into(), "Apply".into());

    let mut owned = Map::new();
    for fields in created.iter().filter_map(fields) {
        unite(&mut owned, fields);
    }
    // Replicas never belong to this manager: they are another's, or nobody's.
    if let Some(Value::Object(spec)) = owned.get_mut("f:spec") {
        spec.remove("f:replicas");
    }
    // An apply that came before the conversion, which should not happen, made an entry of its own.
    kept.retain(|other| {
        let ours = is_our_apply(other);
        if ours && let Some(fields) = fields(other) {
            unite(&mut owned, fields);
        }
        !ours
    });
    entry.insert("fieldsV1".into(), Value::Object(owned));
    kept.push(Value::Object(entry));
    Some(kept)
}

/// The managedFields of an adopted object: everything in its spec becomes the applier's, whoever set it, so that the
/// next apply removes what the intent doesn't have. Two things stay others': replicas, and whatever is outside spec.
///
/// Without this, the containers and variables of the object's former life would stay beside those of the template.
pub(super) fn taken_over(object: &Object) -> Option<Vec<Value>> {
    let entries = object.get("metadata")?.get("managedFields")?.as_array()?;
    let mut spec = Map::new();
    let mut kept = Vec::new();
    let mut ours = None;
    for entry in entries {
        let is = |field: &str, wanted: &str| entry.get(field).is_some_and(|value| value == wanted);
        let of_subresource = entry
            .get("subresource")
            .and_then(Value::as_str)
            .is_some_and(|name| !name.is_empty());
        if of_subresource || is("manager", REPLICAS_FIELD_MANAGER) {
            kept.push(entry.clone());
            continue;
        }
        let mut entry = entry.clone();
        if let Some(Value::Object(fields)) = entry.get_mut("fieldsV1") {
            if let Some(Value::Object(mut theirs)) = fields.remove("f:spec") {
                let replicas = theirs.remove("f:replicas");
                unite(&mut spec, &theirs);
                if let Some(replicas) = replicas {
                    fields.insert("f:spec".into(), Value::from_iter([("f:replicas", replicas)]));
                }
            }
            if fields.is_empty() {
                continue;
            }
        }
        if ours.is_none() && is("manager", FIELD_MANAGER) && is("operation", "Apply") {
            ours = Some(entry);
        } else {
            kept.push(entry);
        }
    }
    let mut ours = ours.unwrap_or_else(|| {
        Value::from_iter([
            ("manager", Value::from(FIELD_MANAGER)),
            ("operation", "Apply".into()),
            (
                "apiVersion",
                object.get("apiVersion").cloned().unwrap_or_default(),
            ),
            ("fieldsType", "FieldsV1".into()),
            ("fieldsV1", Value::Object(Map::new())),
        ])
    });
    if let Some(Value::Object(fields)) = ours.get_mut("fieldsV1") {
        fields.insert("f:spec".into(), Value::Object(spec));
    }
    kept.push(ours);
    Some(kept)
}

/// The managedFields with which all of the spec that is nobody's is ours; `None` if nothing is nobody's, or nothing was
/// ever applied by us.
pub(super) fn claimed(object: &Object) -> Option<Vec<Value>> {
    let mut entries = object.get("metadata")?.get("managedFields")?.as_array()?.clone();
    let mut owned = Map::new();
    entries
        .iter()
        .filter_map(fields)
        .for_each(|fields| unite(&mut owned, fields));
    let owned = owned.get("f:spec")?.as_object()?;
    let mut spec = object.get("spec")?.as_object()?.clone();
    // Never ours, whoever's they are.
    spec.remove("replicas");
    let unowned = unowned(&spec, owned);
    if unowned.is_empty() {
        return None;
    }
    let ours = entries.iter_mut().find(|entry| is_our_apply(entry))?;
    let fields = ours.get_mut("fieldsV1")?.as_object_mut()?;
    unite(
        fields,
        &Map::from_iter([("f:spec".to_owned(), Value::Object(unowned))]),
    );
    Some(entries)
}

/// The fields of a value that are in no set of owned ones, as such a set.
fn unowned(value: &Object, owned: &Object) -> Object {
    let mut found = Map::new();
    for (key, value) in value {
        let key = format!("f:{key}");
        let below = match (owned.get(&key), value) {
            (None, value) => everything(value),
            // Owned as a whole.
            (Some(Value::Object(owned)), _) if owned.is_empty() => continue,
            (Some(Value::Object(owned)), Value::Object(value)) => unowned(value, owned),
            (Some(Value::Object(owned)), Value::Array(items)) => unowned_in_items(items, owned),
            (Some(_), _) => continue,
        };
        if !below.is_empty() || !owned.contains_key(&key) {
            found.insert(key, Value::Object(below));
        }
    }
    found
}

/// The same within the items of a list that is merged by key. Items that are nobody's stay.
fn unowned_in_items(items: &[Value], owned: &Object) -> Object {
    let mut found = Map::new();
    for (key, owned) in owned {
        let keys = key
            .strip_prefix("k:")
            .and_then(|keys| serde_json::from_str::<Object>(keys).ok());
        let Some(keys) = keys else { continue };
        let mut items = items.iter().filter_map(Value::as_object);
        let item = items.find(|item| keys.iter().all(|(key, value)| item.get(key) == Some(value)));
        if let (Some(item), Value::Object(owned)) = (item, owned) {
            let below = unowned(item, owned);
            if !below.is_empty() {
                found.insert(key.clone(), Value::Object(below));
            }
        }
    }
    found
}

/// All fields of a value, as a set of owned ones.
fn everything(value: &Value) -> Object {
    let fields = value.as_object().into_iter().flatten();
    fields
        .map(|(key, value)| (format!("f:{key}"), Value::Object(everything(value))))
        .collect()
}

fn is_our_apply(entry: &Value) -> bool {
    let is = |field: &str, wanted: &str| entry.get(field).is_some_and(|value| value == wanted);
    is("manager", FIELD_MANAGER) && is("operation", "Apply") && entry.get("subresource").is_none()
}

fn fields(entry: &Value) -> Option<&Object> {
    entry.get("fieldsV1")?.as_object()
}

fn unite(into: &mut Object, from: &Object) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => unite(into, from),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(managed_fields: &Value) -> Object {
        let object = json!({ "metadata": { "managedFields": managed_fields } });
        object.as_object().unwrap().clone()
    }

    #[test]
    fn the_entry_of_the_post_becomes_one_of_apply_without_replicas() {
        let other =
            json!({ "manager": "kube-controller-manager", "operation": "Update", "subresource": "status" });
        let posted = json!({
            "manager": "lockstep", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsV1": { "f:spec": { "f:replicas": {}, "f:template": { "f:spec": {} } } },
        });
        let expected = json!({
            "manager": "lockstep", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsV1": { "f:spec": { "f:template": { "f:spec": {} } } },
        });
        assert_eq!(
            converted(&object(&json!([posted, other]))),
            Some(vec![other, expected])
        );
    }

    #[test]
    fn an_apply_entry_beside_it_is_united_with_it() {
        let posted = json!({ "manager": "lockstep", "operation": "Update", "fieldsV1": { "f:a": {}, "f:b": { "f:x": {} } } });
        let applied = json!({ "manager": "lockstep", "operation": "Apply", "fieldsV1": { "f:b": { "f:y": {} }, "f:c": {} } });
        let united = json!({ "f:a": {}, "f:b": { "f:x": {}, "f:y": {} }, "f:c": {} });
        let entries = converted(&object(&json!([posted, applied]))).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["fieldsV1"], united);
    }

    #[test]
    fn an_adopted_spec_is_the_appliers_but_for_replicas() {
        let created = json!({
            "manager": "kubectl-create", "operation": "Update",
            "fieldsV1": { "f:metadata": { "f:labels": {} }, "f:spec": { "f:replicas": {}, "f:template": { "f:a": {} } } },
        });
        let edited = json!({
            "manager": "kubectl-edit", "operation": "Update", "fieldsV1": { "f:spec": { "f:template": { "f:b": {} } } },
        });
        let scaled = json!({
            "manager": "kubectl", "operation": "Update", "subresource": "scale",
            "fieldsV1": { "f:spec": { "f:replicas": {} } },
        });
        let ours = json!({
            "manager": "lockstep-replicas", "operation": "Apply", "fieldsV1": { "f:spec": { "f:replicas": {} } },
        });
        let mut object = object(&json!([created, edited, scaled, ours]));
        object.insert("apiVersion".into(), "apps/v1".into());
        let entries = taken_over(&object).unwrap();
        let left = json!({
            "manager": "kubectl-create", "operation": "Update",
            "fieldsV1": { "f:metadata": { "f:labels": {} }, "f:spec": { "f:replicas": {} } },
        });
        let applied = json!({
            "manager": "lockstep", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "fieldsV1": { "f:spec": { "f:template": { "f:a": {}, "f:b": {} } } },
        });
        assert_eq!(entries, [left, scaled, ours, applied]);

        // Done again, after a crash in between, it changes nothing.
        object["metadata"]["managedFields"] = json!(entries);
        assert_eq!(taken_over(&object), Some(entries));
    }

    #[test]
    fn what_is_nobodys_becomes_ours_replicas_aside() {
        let applied = json!({ "manager": "lockstep", "operation": "Apply", "fieldsV1": {
            "f:metadata": {},
            "f:spec": {
                "f:selector": {},
                "f:strategy": { "f:type": {} },
                "f:template": { "f:spec": { "f:volumes": {
                    "k:{\"name\":\"a\"}": { ".": {}, "f:name": {} },
                    "k:{\"name\":\"gone\"}": { ".": {}, "f:name": {} },
                } } },
            },
        } });
        let other = json!({ "manager": "kubectl", "operation": "Update", "fieldsV1": { "f:spec": { "f:paused": {} } } });
        let mut object = object(&json!([other, applied]));
        object.insert(
            "spec".into(),
            json!({
                "replicas": 3, "paused": true, "selector": { "matchLabels": { "a": "b" } },
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%" } },
                "template": { "spec": {
                    "volumes": [{ "name": "a", "emptyDir": {} }, { "name": "others", "emptyDir": {} }],
                    "dnsPolicy": "ClusterFirst",
                } },
            }),
        );
        let entries = claimed(&object).unwrap();
        assert_eq!(entries[0], other);
        assert_eq!(
            entries[1]["fieldsV1"]["f:spec"],
            json!({
                "f:selector": {},
                "f:strategy": { "f:type": {}, "f:rollingUpdate": { "f:maxSurge": {} } },
                "f:template": { "f:spec": {
                    "f:volumes": {
                        "k:{\"name\":\"a\"}": { ".": {}, "f:name": {}, "f:emptyDir": {} },
                        "k:{\"name\":\"gone\"}": { ".": {}, "f:name": {} },
                    },
                    "f:dnsPolicy": {},
                } },
            })
        );
        object["metadata"]["managedFields"] = entries.into();
        assert_eq!(claimed(&object), None, "it is ours already");
    }

    #[test]
    fn without_an_entry_of_the_post_there_is_nothing_to_do() {
        let applied = json!({ "manager": "lockstep", "operation": "Apply", "fieldsV1": {} });
        let foreign = json!({ "manager": "kubectl", "operation": "Update", "fieldsV1": {} });
        let status =
            json!({ "manager": "lockstep", "operation": "Update", "subresource": "status", "fieldsV1": {} });
        assert_eq!(converted(&object(&json!([applied, foreign, status]))), None);
        assert_eq!(converted(&Object::new()), None);
    }
}
