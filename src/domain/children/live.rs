//! A live child as planning sees it. Pure.

use serde_json::{Map, Value};

use crate::api::{APPLIED_ANNOTATION, FIELD_MANAGER, GROUP, KIND};

/// A child as the apiserver last showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    uid: String,
    resource_version: String,
    unconverted: bool,
    object: Map<String, Value>,
}

impl Live {
    /// From the object's JSON as the apiserver sends it. managedFields are dropped: they outweigh the rest, and all
    /// that is asked of them is whether the entry of the POST is still there.
    #[must_use]
    pub fn new(mut object: Map<String, Value>) -> Self {
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        let managed_fields = metadata.and_then(|metadata| metadata.remove("managedFields"));
        let entries = managed_fields
            .as_ref()
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let unconverted = entries.iter().any(is_creation_entry);
        Self::from_parts(object, unconverted)
    }

    /// From an object whose managedFields were looked at before.
    #[must_use]
    pub fn from_parts(object: Map<String, Value>, unconverted: bool) -> Self {
        let text = |field: &str| {
            let value = object.get("metadata").and_then(|metadata| metadata.get(field));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Self {
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            unconverted,
            object,
        }
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// `metadata.resourceVersion`.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        &self.resource_version
    }

    /// Whether managedFields still have the entry that the POST made: it keeps every field it set, also those that
    /// later leave the intent, until it is turned into an Apply entry.
    #[must_use]
    pub const fn unconverted(&self) -> bool {
        self.unconverted
    }

    /// The whole object, without managedFields.
    #[must_use]
    pub const fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// `spec.replicas` of a Deployment.
    #[must_use]
    pub fn replicas(&self) -> Option<i64> {
        self.object.get("spec")?.get("replicas")?.as_i64()
    }

    /// Whether a deletion is under way.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.metadata("deletionTimestamp").is_some()
    }

    /// Hash of the intent that was applied last.
    #[must_use]
    pub fn applied_hash(&self) -> Option<&str> {
        self.metadata("annotations")?.get(APPLIED_ANNOTATION)?.as_str()
    }

    /// UID of the controller owner.
    #[must_use]
    pub fn controller(&self) -> Option<&str> {
        let owners = self.metadata("ownerReferences")?.as_array()?;
        let controller = owners
            .iter()
            .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
        controller.get("uid")?.as_str()
    }

    /// Kind and name of the controller owner, for people.
    #[must_use]
    pub fn controller_name(&self) -> Option<String> {
        let owners = self.metadata("ownerReferences")?.as_array()?;
        let controller = owners
            .iter()
            .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
        let text = |field: &str| controller.get(field).and_then(Value::as_str).unwrap_or_default();
        Some(format!("{} {}", text("kind"), text("name")))
    }

    /// Whether its controller owner is a resource of ours under the name that the object has. If that is not the one of
    /// today, it is one that was deleted under this name, and the garbage collector is about to delete the object.
    #[must_use]
    pub fn is_made_for_its_name(&self) -> bool {
        let Some(owners) = self.metadata("ownerReferences").and_then(Value::as_array) else {
            return false;
        };
        let name = self.metadata("name");
        let group = |owner: &Value| {
            let version = owner
                .get("apiVersion")
                .and_then(Value::as_str)
                .unwrap_or_default();
            version.split_once('/').is_some_and(|(group, _)| group == GROUP)
        };
        owners.iter().any(|owner| {
            owner.get("controller") == Some(&Value::Bool(true))
                && owner.get("kind").is_some_and(|kind| kind == KIND)
                && owner.get("name") == name
                && group(owner)
        })
    }

    fn metadata(&self, field: &str) -> Option<&Value> {
        self.object
            .get("metadata")?
            .get(field)
            .filter(|value| !value.is_null())
    }
}

/// Whether a managedFields entry is the one that our POST left.
#[must_use]
pub(crate) fn is_creation_entry(entry: &Value) -> bool {
    let is = |field: &str, wanted: &str| entry.get(field).is_some_and(|value| value == wanted);
    is("manager", FIELD_MANAGER)
        && is("operation", "Update")
        && entry
            .get("subresource")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
}
