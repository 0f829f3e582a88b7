//! Schemas that no derive writes: the parts of built-in APIs that are carried verbatim, and conditions. Pure.
//!
//! A verbatim part is typed from the newest `OpenAPI` at hand, so that `kubectl explain` can walk it and a misspelt type
//! is refused early. Descriptions are dropped: with them a pod template alone is beyond what client-side apply can
//! store. Every object keeps fields that the schema doesn't know, so that nothing newer than this schema is lost.

use k8s_openapi::{
    api::{
        apps::v1::DeploymentStrategy,
        autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec},
        core::v1::{PodTemplateSpec, ServicePort, SessionAffinityConfig},
        networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value};

const PRESERVE_UNKNOWN_FIELDS: &str = "x-kubernetes-preserve-unknown-fields";

/// `PodTemplateSpec` of core/v1.
pub(crate) fn pod_template(_: &mut SchemaGenerator) -> Schema {
    verbatim::<PodTemplateSpec>()
}

/// `DeploymentStrategy` of apps/v1.
pub(crate) fn deployment_strategy(_: &mut SchemaGenerator) -> Schema {
    verbatim::<DeploymentStrategy>()
}

/// `MetricSpec`s of autoscaling/v2.
pub(crate) fn metrics(_: &mut SchemaGenerator) -> Schema {
    verbatim::<Vec<MetricSpec>>()
}

/// `HorizontalPodAutoscalerBehavior` of autoscaling/v2.
pub(crate) fn behavior(_: &mut SchemaGenerator) -> Schema {
    verbatim::<HorizontalPodAutoscalerBehavior>()
}

/// `NetworkPolicyIngressRule`s of networking/v1.
pub(crate) fn ingress_rules(_: &mut SchemaGenerator) -> Schema {
    verbatim::<Vec<NetworkPolicyIngressRule>>()
}

/// `NetworkPolicyEgressRule`s of networking/v1.
pub(crate) fn egress_rules(_: &mut SchemaGenerator) -> Schema {
    verbatim::<Vec<NetworkPolicyEgressRule>>()
}

/// `ServicePort`s of core/v1.
pub(crate) fn service_ports(_: &mut SchemaGenerator) -> Schema {
    verbatim::<Vec<ServicePort>>()
}

/// `SessionAffinityConfig` of core/v1.
pub(crate) fn session_affinity_config(_: &mut SchemaGenerator) -> Schema {
    verbatim::<SessionAffinityConfig>()
}

/// Conditions as metav1 bounds them, keyed by type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "description": "What the condition is about, in CamelCase.",
                    "type": "string",
                    "maxLength": 316,
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, in one CamelCase word of a closed set.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, for people: what, since when, and what now.",
                    "type": "string",
                    "maxLength": 32768,
                },
                "lastTransitionTime": {
                    "description": "When the status changed last.",
                    "type": "string",
                    "format": "date-time",
                },
                "observedGeneration": {
                    "description": "Generation of the resource that the condition speaks of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
            },
        },
    })
}

/// Leaves the description to the field that has the type: kube's transform for `Option`al enums would overwrite it.
pub(crate) fn described_by_field(schema: &mut Schema) {
    schema.remove("description");
}

/// The schema of a built-in type, written out.
fn verbatim<T: JsonSchema>() -> Schema {
    // A generator of its own, because its references name types: only by its name a quantity can be told from a number
    // or string.
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut schema = generator.subschema_for::<T>();
    open(schema.ensure_object(), generator.definitions());
    schema
}

/// Puts types in the place of references, drops descriptions and defaults, and lets every object keep fields that are not
/// listed.
fn open(schema: &mut Map<String, Value>, types: &Map<String, Value>) {
    if let Some(Value::String(reference)) = schema.remove("$ref") {
        let name = reference.rsplit('/').next().unwrap_or_default();
        if name == Quantity::schema_name() {
            // Built-in APIs take `cpu: 0.5` as well as `cpu: 1` and `cpu: 500m`. No type of a definition does.
            *schema = Map::from_iter([(PRESERVE_UNKNOWN_FIELDS.to_owned(), Value::Bool(true))]);
            return;
        }
        if let Some(Value::Object(referred)) = types.get(name) {
            schema.clone_from(referred);
        }
    }
    schema.remove("description");
    // A default would be written into the resource and from there pinned in the child.
    schema.remove("default");
    if schema.get("type").is_some_and(|kind| kind == "object") && !schema.contains_key("additionalProperties")
    {
        schema.insert(PRESERVE_UNKNOWN_FIELDS.to_owned(), Value::Bool(true));
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties
            .values_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|property| open(property, types));
    }
    for below in ["items", "additionalProperties"] {
        if let Some(Value::Object(schema)) = schema.get_mut(below) {
            open(schema, types);
        }
    }
}
