//! The `CustomResourceDefinition` as it is installed. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::CoordinatedWorkload;

/// First lines of the printed definition.
const HEADER: &str = "# Printed by `lockstep crd`; edit src/api instead.\n";

/// The definition of `CoordinatedWorkload`: what the derive makes of the types, made to behave like a built-in API.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = CoordinatedWorkload::crd();
    let schemas = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|validation| validation.open_api_v3_schema.as_mut()) {
        plain(schema);
        if let Some(status) = schema
            .properties
            .as_mut()
            .and_then(|properties| properties.get_mut("status"))
        {
            // Until the first status is written, `observedGeneration` must differ from every generation: tools that
            // wait would otherwise take a new resource for a finished one.
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
            if let Some(generation) = status
                .properties
                .as_mut()
                .and_then(|all| all.get_mut("observedGeneration"))
            {
                generation.default = Some(JSON(json!(-1)));
            }
        }
    }
    crd
}

/// The definition as the YAML that `lockstep crd` prints and `crds/` holds.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    Ok(format!("{HEADER}{}", serde_yaml::to_string(&crd())?))
}

/// Takes back three things that come from Rust, not from the API.
///
/// `nullable`, from `Option`: without it the apiserver drops a null as if the field were absent, as in built-in APIs; with
/// it rules would have to tell null from absent. `default`, from serde's: it would write into the resource what the user
/// left out. Line breaks within a paragraph, from doc comments: `kubectl explain` breaks lines itself.
fn plain(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.default = None;
    if let Some(description) = &mut schema.description {
        let paragraphs = description.split("\n\n");
        *description = paragraphs
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
        .for_each(plain);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        plain(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        plain(values);
    }
}
