//! Changes that were thought of by hand, from `classes.yaml`. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::bases::Base;
use super::mutations::Mutation;
use super::values::What;

/// Changes of one base.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    /// Name of the base.
    base: String,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: String,
    /// Merged into the base's spec; null removes.
    spec: Value,
    #[serde(default)]
    same: bool,
    #[serde(default)]
    differs: bool,
}

/// All of them.
pub(crate) fn all(bases: &[Base]) -> Vec<Mutation> {
    let classes: Vec<Class> = serde_yaml::from_str(include_str!("classes.yaml")).unwrap();
    let mut mutations = Vec::new();
    for class in classes {
        let base = bases.iter().position(|base| base.name == class.base);
        let base = base.unwrap_or_else(|| panic!("no base is named {}", class.base));
        for change in class.changes {
            let mut spec = bases[base].spec.clone();
            patch(&mut spec, &change.spec);
            mutations.push(Mutation {
                name: format!("{}: {}", class.base, change.name),
                path: change.name,
                what: What::Class,
                is_composite: false,
                base,
                spec,
                differs: (change.same || change.differs).then_some(change.differs),
            });
        }
    }
    mutations
}

/// JSON merge patch.
fn patch(value: &mut Value, change: &Value) {
    let (Value::Object(fields), Value::Object(changes)) = (&mut *value, change) else {
        change.clone_into(value);
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            patch(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}
