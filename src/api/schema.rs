//! Schemas that no derive writes: the parts of built-in APIs that are carried verbatim, and conditions. Pure.
//!
//! A verbatim part is typed from the newest `OpenAPI` at hand, so that `kubectl explain` can walk it and a misspelt type
//! is refused early. Descriptions are dropped: with them a pod template alone is beyond what client-side apply can
//! store. Every object keeps fields that the schema doesn't know, so that nothing newer than this schema is lost.

use k8s_openapi::api::{
    apps::v1::DeploymentStrategy,
    autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec},
    core::v1::{PodTemplateSpec, ServicePort, SessionAffinityConfig},
    networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// `PodTemplateSpec` of core/v1.
pub(crate) fn pod_template(generator: &mut SchemaGenerator) -> Schema {
    verbatim::<PodTemplateSpec>(generator)
}

/// `DeploymentStrategy` of apps/v1.
pub(crate) fn deployment_strategy(generator: &mut SchemaGenerator) -> Schema {
    verbatim::<DeploymentStrategy>(generator)
}

/// `MetricSpec`s of autoscaling/v2.
pub(crate) fn metrics(generator: &mut SchemaGenerator) -> Schema {
    verbatim::<Vec<MetricSpec>>(generator)
}

/// `HorizontalPodAutoscalerBehavior` of autoscaling/v2.
pub(crate) fn behavior(generator: &mut SchemaGenerator) -> Schema {
    verbatim::<HorizontalPodAutoscalerBehavior>(generator)
}

/// `NetworkPolicyIngressRule`s of networking/v1.
pub(crate) fn ingress_rules(generator: &mut SchemaGenerator) -> Schema {
    verbatim::<Vec<NetworkPolicyIngressRule>>(generator)
}

/// `NetworkPolicyEgressRule`s of networking/v1.
pub(crate) fn egress_rules(generator: &mut SchemaGenerator) -> Schema {
    verbatim::<Vec<NetworkPolicyEgressRule>>(generator)
}

/// `ServicePort`s of core/v1.
pub(crate) fn service_ports(generator: &mut SchemaGenerator) -> Schema {
    verbatim::<Vec<ServicePort>>(generator)
}

/// `SessionAffinityConfig` of core/v1.
pub(crate) fn session_affinity_config(generator: &mut SchemaGenerator) -> Schema {
    verbatim::<SessionAffinityConfig>(generator)
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

fn verbatim<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    open(schema.ensure_object());
    schema
}

/// Drops descriptions and defaults, and lets every object below keep fields that are not listed.
fn open(schema: &mut Map<String, Value>) {
    schema.remove("description");
    // A default would be written into the resource and from there pinned in the child.
    schema.remove("default");
    if schema.get("type").is_some_and(|kind| kind == "object") && !schema.contains_key("additionalProperties")
    {
        schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties
            .values_mut()
            .filter_map(Value::as_object_mut)
            .for_each(open);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(Value::Object(schema)) = schema.get_mut(below) {
            open(schema);
        }
    }
}
