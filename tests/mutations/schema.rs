//! The definition → every field of `spec`, with its schema. Pure.

use std::fmt;

use serde_json::{Map, Value};

/// A step from a value to one within it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// A property.
    Key(String),
    /// An item of a list.
    Item,
    /// An entry of a map.
    Entry,
}

/// A field of the definition.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// From `spec`.
    pub(crate) steps: Vec<Step>,
    pub(crate) schema: Map<String, Value>,
}

impl Field {
    /// Its path, as `spec.template.metadata.labels{}`.
    pub(crate) fn path(&self) -> String {
        self.to_string()
    }

    /// What the schema says it must be; empty: anything.
    pub(crate) fn kind(&self) -> &str {
        self.schema
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Whether it is an integer or a string.
    pub(crate) fn is_int_or_string(&self) -> bool {
        self.schema.contains_key("x-kubernetes-int-or-string")
    }

    /// Values that the schema lists.
    pub(crate) fn listed(&self) -> &[Value] {
        let listed = self.schema.get("enum").and_then(Value::as_array);
        listed.map(Vec::as_slice).unwrap_or_default()
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec")?;
        self.steps.iter().try_for_each(|step| match step {
            Step::Key(key) => write!(f, ".{key}"),
            Step::Item => write!(f, "[]"),
            Step::Entry => write!(f, "{{}}"),
        })
    }
}

/// Every field below `spec`, in the order of the definition.
pub(crate) fn fields() -> Vec<Field> {
    let definition = serde_json::to_value(lockstep::api::crd()).unwrap();
    let version = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let spec = version["properties"]["spec"].as_object().unwrap();
    let mut fields = Vec::new();
    walk(spec, &mut Vec::new(), &mut fields);
    fields
}

fn walk(schema: &Map<String, Value>, steps: &mut Vec<Step>, fields: &mut Vec<Field>) {
    if !steps.is_empty() {
        fields.push(Field {
            steps: steps.clone(),
            schema: schema.clone(),
        });
    }
    let mut below = |step: Step, schema: &Value| {
        if let Value::Object(schema) = schema {
            steps.push(step);
            walk(schema, steps, fields);
            steps.pop();
        }
    };
    for (name, schema) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        below(Step::Key(name.clone()), schema);
    }
    for (keyword, step) in [("items", Step::Item), ("additionalProperties", Step::Entry)] {
        below(step, schema.get(keyword).unwrap_or(&Value::Null));
    }
}
