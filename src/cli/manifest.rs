//! Manifests: files or standard input → the resources in them, or what is wrong, with file, document and field. Reading
//! is I/O, the rest pure.

use std::{io::Read as _, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde::Deserialize as _;
use serde_json::Value;

use super::access::Error;
use crate::api::{CoordinatedWorkload, GROUP, KIND, VERSION, crd};

/// A resource as somebody wrote it.
#[derive(Debug)]
pub(super) struct Manifest {
    /// File and number of the document.
    pub(super) place: String,
    /// The resource, or the field that can't be read and why.
    pub(super) resource: Result<Box<CoordinatedWorkload>, String>,
    /// Fields that the definition doesn't have: the apiserver refuses them, or drops them.
    pub(super) unknown: Vec<String>,
    /// Fields of the verbatim parts that aren't known to this version: the apiserver decides.
    pub(super) unsure: Vec<String>,
}

/// The resources of these files; `-` is standard input. Objects of other kinds are passed over; without any resource
/// it is an error.
pub(super) fn read(files: &[String]) -> Result<Vec<Manifest>, Error> {
    let mut manifests = vec![];
    let mut others = 0;
    for file in files {
        let (name, text) = text(file)?;
        for (at, document) in documents(&name, &text)?.into_iter().enumerate() {
            let place = format!("{name}, document {}", at + 1);
            for object in objects(document) {
                if is_ours(&object) {
                    manifests.push(manifest(place.clone(), &object));
                } else {
                    others += 1;
                }
            }
        }
    }
    if manifests.is_empty() {
        let files = files.join(", ");
        return Err(Error::Manifest(format!(
            "{files}: no {KIND} of {GROUP}/{VERSION} in it, and {others} objects of other kinds"
        )));
    }
    Ok(manifests)
}

fn text(file: &str) -> Result<(String, String), Error> {
    let mut text = String::new();
    let (name, read) = if file == "-" {
        (
            "standard input",
            std::io::stdin().read_to_string(&mut text).map(drop),
        )
    } else {
        (
            file,
            std::fs::read_to_string(Path::new(file)).map(|read| text = read),
        )
    };
    match read {
        Ok(()) => Ok((name.to_owned(), text)),
        Err(error) => Err(Error::Manifest(format!("{name} can't be read: {error}"))),
    }
}

/// The documents of a text, empty ones included so that they count as an editor counts them.
fn documents(name: &str, text: &str) -> Result<Vec<Value>, Error> {
    let documents = serde_yaml::Deserializer::from_str(text).enumerate();
    documents
        .map(|(at, document)| {
            Value::deserialize(document)
                .map_err(|error| Error::Manifest(format!("{name}, document {}: no YAML: {error}", at + 1)))
        })
        .collect()
}

/// The objects of a document: a List has several.
fn objects(document: Value) -> Vec<Value> {
    let is_list = document.get("kind").and_then(Value::as_str) == Some("List");
    match document {
        Value::Object(mut list) if is_list => match list.remove("items") {
            Some(Value::Array(items)) => items,
            Some(_) | None => vec![],
        },
        Value::Null => vec![],
        other => vec![other],
    }
}

fn is_ours(object: &Value) -> bool {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    text("kind") == KIND && text("apiVersion") == format!("{GROUP}/{VERSION}")
}

fn manifest(place: String, object: &Value) -> Manifest {
    let resource = serde_path_to_error::deserialize(object);
    let mut found = Unknown::default();
    let definition = crd();
    let schema = definition.spec.versions.first();
    let schema = schema.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let spec = schema.and_then(|schema| schema.properties.as_ref()?.get("spec"));
    if let (Some(schema), Some(spec)) = (spec, object.get("spec")) {
        found.walk(schema, spec, "spec", false);
    }
    Manifest {
        place,
        resource: resource
            .map(Box::new)
            .map_err(|error: serde_path_to_error::Error<serde_json::Error>| {
                let field = error.path().to_string();
                format!("{field}: {}", error.into_inner())
            }),
        unknown: found.refused,
        unsure: found.unsure,
    }
}

/// Fields that a schema doesn't have.
#[derive(Default)]
struct Unknown {
    refused: Vec<String>,
    unsure: Vec<String>,
}

impl Unknown {
    fn walk(&mut self, schema: &JSONSchemaProps, value: &Value, path: &str, is_verbatim: bool) {
        let is_verbatim = is_verbatim || schema.x_kubernetes_preserve_unknown_fields == Some(true);
        match value {
            Value::Object(fields) => {
                let values = match &schema.additional_properties {
                    Some(JSONSchemaPropsOrBool::Schema(values)) => Some(values.as_ref()),
                    Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
                };
                for (name, value) in fields {
                    let path = format!("{path}.{name}");
                    let known = schema.properties.as_ref().and_then(|known| known.get(name));
                    match known.or(values) {
                        Some(schema) => self.walk(schema, value, &path, is_verbatim),
                        // Nothing is said of what may be in it.
                        None if schema.properties.is_none() => {}
                        None if is_verbatim => self.unsure.push(path),
                        None => self.refused.push(path),
                    }
                }
            }
            Value::Array(items) => {
                let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else {
                    return;
                };
                for (at, item) in items.iter().enumerate() {
                    self.walk(schema, item, &format!("{path}[{at}]"), is_verbatim);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_counted_and_lists_opened() {
        let text = "---\nkind: List\nitems: [{kind: A}, {kind: B}]\n---\n# nothing\n---\nkind: C\n";
        let documents = documents("x", text).unwrap();
        let objects: Vec<_> = documents.into_iter().map(objects).collect();
        assert_eq!(objects.last().unwrap(), &[json!({ "kind": "C" })]);
        assert_eq!(objects[0].len(), 2);
    }

    #[test]
    fn a_fault_has_its_place() {
        let error = super::documents("x.yaml", "a: 1\n---\nb: [\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("x.yaml, document 2: no YAML: "), "{error}");
        let object = json!({
            "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload", "metadata": { "name": "shop" },
            "spec": {
                "replica": 3,
                "template": { "spec": { "containers": [{ "name": "main", "imagePullPolice": "Always" }] } },
                "locks": [{ "name": "a", "hold": "Continous" }],
            },
        });
        let manifest = manifest("here".into(), &object);
        let why = manifest.resource.unwrap_err();
        assert!(
            why.starts_with("spec.locks[0].hold: unknown variant `Continous`"),
            "{why}"
        );
        assert_eq!(manifest.unknown, ["spec.replica"]);
        assert_eq!(
            manifest.unsure,
            ["spec.template.spec.containers[0].imagePullPolice"]
        );
    }
}
