//! Label selectors of metav1. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A `LabelSelector`: all of its requirements at once; empty, it selects everything.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Whether it selects something with these labels.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let labelled = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        let meets = |requirement: &Requirement| {
            let value = labels.get(&requirement.key);
            let listed = || value.is_some_and(|value| requirement.values.contains(value));
            match requirement.operator {
                Operator::In => listed(),
                // What has no such label is not in the list either.
                Operator::NotIn => !listed(),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        };
        self.match_labels.iter().all(labelled) && self.match_expressions.iter().all(meets)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_requirement_must_be_met() {
        let labels = BTreeMap::from([
            ("app".to_owned(), "web".to_owned()),
            ("tier".to_owned(), "a".to_owned()),
        ]);
        let selects = |selector: Value| {
            serde_json::from_value::<Selector>(selector)
                .unwrap()
                .selects(&labels)
        };
        let expression = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        assert!(selects(json!({})));
        assert!(selects(json!({ "matchLabels": { "app": "web" } })));
        assert!(!selects(json!({ "matchLabels": { "app": "web", "tier": "b" } })));
        assert!(selects(expression("tier", "In", &["b", "a"])));
        assert!(!selects(expression("tier", "In", &["b"])));
        assert!(!selects(expression("other", "In", &["b"])));
        assert!(!selects(expression("tier", "NotIn", &["a"])));
        assert!(selects(expression("other", "NotIn", &["a"])));
        assert!(selects(expression("app", "Exists", &[])));
        assert!(!selects(expression("app", "DoesNotExist", &[])));
        let both = json!({
            "matchLabels": { "app": "web" }, "matchExpressions": [{ "key": "tier", "operator": "DoesNotExist" }],
        });
        assert!(!selects(both));
    }
}
