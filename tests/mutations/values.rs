//! A field and the value it has → what else is put there. Pure.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Number, Value, json};

use super::schema::Field;

/// What is done to a field.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum What {
    /// It is taken out; taking that back is how it is set for the first time.
    Removed,
    /// It is there and empty.
    Emptied,
    /// It has another value that should be as good.
    Changed,
    /// It has the same value, written otherwise.
    Respelt,
    /// It has a value at or beyond its bounds.
    Bounds,
    /// It has one item or entry more.
    Added,
    /// It has a value of another kind.
    WrongKind,
    /// A change that was thought of by hand.
    Class,
}

/// What is put into a field.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) what: What,
    /// In a few words.
    pub(crate) label: String,
    /// `None`: the field is removed.
    pub(crate) value: Option<Value>,
}

/// What else fields can hold.
pub(crate) struct Alternatives(BTreeMap<String, Vec<Value>>);

impl Alternatives {
    pub(crate) fn read() -> Self {
        Self(serde_yaml::from_str(include_str!("alternatives.yaml")).unwrap())
    }

    /// By the longest end of the path that is listed.
    fn of(&self, path: &str) -> Option<&[Value]> {
        let is_end = |end: &str| {
            path.strip_suffix(end)
                .is_some_and(|rest| rest.ends_with('.') || end.starts_with(['[', '{', '.']))
        };
        let found = self.0.iter().filter(|(end, _)| is_end(end));
        found
            .max_by_key(|(end, _)| end.len())
            .map(|(_, values)| values.as_slice())
    }

    /// Everything that is done to a field that has this value.
    pub(crate) fn changes(&self, field: &Field, value: &Value) -> Vec<Change> {
        let path = field.path();
        let listed = self.of(&path);
        let mut changes = Changes(vec![Change {
            what: What::Removed,
            label: "removed".into(),
            value: None,
        }]);
        match value {
            Value::String(text) => changes.of_string(field, text, listed),
            Value::Number(number) => changes.of_number(field, number, listed),
            Value::Bool(truth) => changes.put(What::Changed, "changed", !truth),
            Value::Array(items) => changes.of_list(items, listed),
            Value::Object(fields) => changes.of_object(field, fields),
            Value::Null => {}
        }
        for value in field.listed().iter().filter(|listed| !listed.is_null()) {
            changes.put(What::Changed, "changed", value.clone());
        }
        let last = path.rsplit('.').next().unwrap_or_default();
        if field.kind().is_empty() || last.ends_with("Timestamp") || last == "time" {
            for (what, spelling) in spellings(value) {
                changes.put(what, "written otherwise", spelling);
            }
        }
        for (kind, value) in wrong(field) {
            changes.put(What::WrongKind, kind, value);
        }
        let Changes(mut changes) = changes;
        let mut seen = HashSet::from([value.to_string()]);
        changes.retain(|change| {
            change
                .value
                .as_ref()
                .is_none_or(|value| seen.insert(value.to_string()))
        });
        changes
    }
}

/// What is put into one field.
struct Changes(Vec<Change>);

impl Changes {
    fn put(&mut self, what: What, label: &str, value: impl Into<Value>) {
        let value = value.into();
        let text = value.to_string();
        let has_more_of_its_kind = matches!(what, What::Changed | What::Respelt | What::Bounds);
        let label = if has_more_of_its_kind && text.len() < 60 {
            format!("{label}: {text}")
        } else {
            label.to_owned()
        };
        self.0.push(Change {
            what,
            label,
            value: Some(value),
        });
    }

    fn of_string(&mut self, field: &Field, text: &str, listed: Option<&[Value]>) {
        self.put(What::Emptied, "emptied", "");
        // Longer than any name may be.
        let longest = field
            .schema
            .get("maxLength")
            .and_then(Value::as_u64)
            .unwrap_or(299);
        let too_long = usize::try_from(longest).unwrap() + 1;
        self.put(What::Bounds, "too long", "a".repeat(too_long));
        for value in listed.unwrap_or_default() {
            self.put(What::Changed, "changed", value.clone());
        }
        if listed.is_none() && field.listed().is_empty() {
            self.put(What::Changed, "changed", format!("{text}x"));
        }
    }

    fn of_number(&mut self, field: &Field, number: &Number, listed: Option<&[Value]>) {
        if let Some(number) = number.as_i64() {
            let wide = field.schema.get("format").is_some_and(|format| format == "int64");
            let largest = if wide { i64::MAX } else { i32::MAX.into() };
            self.put(What::Bounds, "zero", 0);
            self.put(What::Bounds, "negative", -1);
            self.put(What::Bounds, "largest", largest);
            if !wide {
                self.put(What::Bounds, "too large", largest + 1);
            }
            if listed.is_none() {
                self.put(What::Changed, "one more", number + 1);
            }
        }
        for value in listed.unwrap_or_default() {
            self.put(What::Changed, "changed", value.clone());
        }
    }

    fn of_list(&mut self, items: &[Value], listed: Option<&[Value]>) {
        self.put(What::Emptied, "emptied", json!([]));
        let mut more = items.to_vec();
        match listed {
            Some(added) => more.extend_from_slice(added),
            None => more.extend(items.last().map(another)),
        }
        self.put(What::Added, "one more", more);
        if items.len() > 1 {
            let turned: Vec<Value> = items.iter().rev().cloned().collect();
            self.0.push(Change {
                what: What::Changed,
                label: "turned round".into(),
                value: Some(turned.into()),
            });
        }
    }

    fn of_object(&mut self, field: &Field, fields: &Map<String, Value>) {
        self.put(What::Emptied, "emptied", json!({}));
        if field.schema.contains_key("additionalProperties") {
            let mut more = fields.clone();
            let value = fields.values().next().cloned().unwrap_or_default();
            more.insert("example.com/more".into(), value);
            self.put(What::Added, "one more", more);
            let renamed = fields
                .iter()
                .map(|(key, value)| (format!("{key}x"), value.clone()));
            self.0.push(Change {
                what: What::Changed,
                label: "renamed".into(),
                value: Some(Value::Object(renamed.collect())),
            });
        }
    }
}

/// A list's item with another key.
fn another(item: &Value) -> Value {
    /// Fields that tell items of a list apart.
    const KEYS: [&str; 12] = [
        "name",
        "mountPath",
        "devicePath",
        "containerPort",
        "ip",
        "conditionType",
        "topologyKey",
        "resourceName",
        "path",
        "key",
        "port",
        "prefix",
    ];
    match item {
        Value::String(text) => format!("{text}x").into(),
        Value::Number(number) => (number.as_i64().unwrap_or_default() + 1).into(),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            if let Some(key) = KEYS.into_iter().find(|key| fields.contains_key(*key)) {
                fields.insert(key.into(), another(&fields[key]));
            }
            fields.into()
        }
        other => other.clone(),
    }
}

/// The same quantity or time, written otherwise; and whether it is stored alike: of quantities the kind of suffix is kept.
fn spellings(value: &Value) -> Vec<(What, Value)> {
    let (alike, kept) = match value.as_str().unwrap_or_default() {
        "1m" => (json!(["0.001", "1000u"]), json!(["1e-3"])),
        "100m" => (json!(["0.1", 0.1, "100000u"]), json!([])),
        "200m" => (json!(["0.2", 0.2]), json!([])),
        "500m" => (json!(["0.5", 0.5, ".5"]), json!(["+500m"])),
        "1500m" => (json!(["1.5", 1.5]), json!([])),
        "1" => (json!([1, 1.0, "1000m", "1.0"]), json!(["1e0", "01"])),
        "2" => (json!([2, "2000m", "2.00"]), json!([])),
        "10" => (json!([10, "10000m"]), json!(["1e1", "1E1"])),
        "30" => (json!([30]), json!(["3e1"])),
        "10k" => (json!([10000, "10000"]), json!(["1e4", "10E3"])),
        "64Mi" => (json!(["65536Ki"]), json!([67_108_864])),
        "500Mi" => (json!(["512000Ki"]), json!([])),
        "512Mi" => (json!(["0.5Gi"]), json!(["536870912", 536_870_912])),
        "1Gi" => (json!(["1024Mi", "1.0Gi"]), json!([1_073_741_824])),
        "2Gi" => (json!(["2048Mi"]), json!([])),
        "2026-01-02T03:04:05Z" => (
            json!([
                "2026-01-02T03:04:05+00:00",
                "2026-01-02T04:04:05+01:00",
                "2026-01-02T03:04:05.000Z"
            ]),
            json!([]),
        ),
        _ => (json!([]), json!([])),
    };
    let of = |what: What, values: &Value| -> Vec<(What, Value)> {
        let values = values.as_array().unwrap().iter();
        values.map(|value| (what, value.clone())).collect()
    };
    [of(What::Respelt, &alike), of(What::Bounds, &kept)].concat()
}

/// A value of each kind that the field is not.
fn wrong(field: &Field) -> Vec<(&'static str, Value)> {
    let mut kinds = vec![
        ("a string", json!("text")),
        ("a number", json!(7)),
        ("a fraction", json!(7.5)),
        ("a truth", json!(true)),
        ("an object", json!({ "a": "b" })),
        ("a list", json!(["a"])),
        ("null", Value::Null),
    ];
    let right: &[&str] = match field.kind() {
        "string" => &["a string"],
        "integer" => &["a number"],
        "number" => &["a number", "a fraction"],
        "boolean" => &["a truth"],
        "object" => &["an object"],
        "array" => &["a list"],
        _ if field.is_int_or_string() => &["a string", "a number"],
        // A quantity: any word is of a wrong kind too.
        _ => &["a number", "a fraction"],
    };
    kinds.retain(|(kind, _)| !right.contains(kind));
    kinds
}
