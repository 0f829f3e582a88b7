//! From the entry that a POST leaves in managedFields to the one that server-side apply continues. Pure.
//!
//! A POST is an Update to the apiserver, and an Update entry owns its fields for ever: a later apply by the same
//! manager that leaves one out doesn't remove it. What client-go's csaupgrade does for objects of `kubectl apply`,
//! this does for those of a POST.

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
        let is = |field: &str, wanted: &str| other.get(field).is_some_and(|value| value == wanted);
        let ours =
            is("manager", FIELD_MANAGER) && is("operation", "Apply") && other.get("subresource").is_none();
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
    fn without_an_entry_of_the_post_there_is_nothing_to_do() {
        let applied = json!({ "manager": "lockstep", "operation": "Apply", "fieldsV1": {} });
        let foreign = json!({ "manager": "kubectl", "operation": "Update", "fieldsV1": {} });
        let status =
            json!({ "manager": "lockstep", "operation": "Update", "subresource": "status", "fieldsV1": {} });
        assert_eq!(converted(&object(&json!([applied, foreign, status]))), None);
        assert_eq!(converted(&Object::new()), None);
    }
}
