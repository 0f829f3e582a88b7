//! `docs/api.md` is what the types say: a section for every object of Lockstep's own, a row for every field.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use lockstep::api::{GROUP, KIND, VERSION};
use serde_json::{Map, Value};

use crate::{ROOT, definition, markdown::slug};

const PAGE: &str = "docs/api.md";
/// Begins the last sentence of a field's description, which says what holds where the field is left out.
const DEFAULT: &str = "Default:";
const KUBERNETES: &str = "https://kubernetes.io/docs/reference/kubernetes-api";
/// Parts of built-in APIs, carried as they are written: what they are called there, and the page that explains them.
const VERBATIM: [(&str, &str, &str); 8] = [
    (
        "spec.template",
        "PodTemplateSpec of core/v1",
        "core/pod-template-v1/#PodTemplateSpec",
    ),
    (
        "spec.strategy",
        "DeploymentStrategy of apps/v1",
        "apps/deployment-v1/#DeploymentStrategy",
    ),
    (
        "spec.autoscaling.metrics",
        "list of MetricSpec of autoscaling/v2",
        "autoscaling/horizontal-pod-autoscaler-v2/#HorizontalPodAutoscalerSpec",
    ),
    (
        "spec.autoscaling.behavior",
        "HorizontalPodAutoscalerBehavior of autoscaling/v2",
        "autoscaling/horizontal-pod-autoscaler-v2/#HorizontalPodAutoscalerSpec",
    ),
    (
        "spec.networkPolicy.ingress",
        "list of NetworkPolicyIngressRule of networking/v1",
        "networking/network-policy-v1/#NetworkPolicySpec",
    ),
    (
        "spec.networkPolicy.egress",
        "list of NetworkPolicyEgressRule of networking/v1",
        "networking/network-policy-v1/#NetworkPolicySpec",
    ),
    (
        "spec.service.ports",
        "list of ServicePort of core/v1",
        "core/service-v1/#ServiceSpec",
    ),
    (
        "spec.service.sessionAffinityConfig",
        "SessionAffinityConfig of core/v1",
        "core/service-v1/#ServiceSpec",
    ),
];

/// An object of Lockstep's own, and every path at which there is one like it, the first of which names its section.
struct Section {
    paths: Vec<String>,
    schema: Map<String, Value>,
}

/// The page that the schema of a version makes.
fn reference(schema: &Value) -> String {
    let sections = sections(schema);
    // From the path of an object to the section in which it stands.
    let home: BTreeMap<&str, &str> = sections
        .iter()
        .flat_map(|section| {
            let first = section.paths[0].as_str();
            section.paths.iter().map(move |path| (path.as_str(), first))
        })
        .collect();
    let mut page = format!(
        "# API reference\n\n<!-- Made of the types; `make manifests` writes it anew. Edit the comments in `src/api`. -->\n\n\
         `{GROUP}/{VERSION}`, kind `{KIND}`, namespaced. Short name `cwl`. {}\n\n{INTRODUCTION}\n\nObjects:\n\n",
        text(description(schema.as_object().unwrap()))
    );
    for section in &sections {
        let path = &section.paths[0];
        let depth = path.matches('.').count();
        writeln!(page, "{}- [{path}](#{})", "  ".repeat(depth), slug(path)).unwrap();
    }
    let rules = rules(schema.as_object().unwrap());
    if !rules.is_empty() {
        write!(
            page,
            "\n## metadata\n\nAs in every resource. Beside what holds for all names:\n\n{rules}"
        )
        .unwrap();
    }
    for section in &sections {
        write!(page, "\n{}", section.markdown(&home)).unwrap();
    }
    page
}

const INTRODUCTION: &str = "\
Every field of Lockstep's own is here, with what the definition in the cluster allows. `kubectl explain cwl.spec` says \
the same in a terminal. Nothing is written into your resource by default: a field that you leave out stays out, and the \
column *default* says what holds then. A rule that is broken is refused when you apply, in the words that stand under \
*Rules*. What can't be checked without the cluster makes `Stalled` True by `InvalidSpec`, and the message names the field.\n\n\
- A *duration* is a string such as `30s`, `1m30s` or `500ms`: whole numbers of at most five digits, each with `h`, `m`, \
`s` or `ms`, at most four of them (GEP-2257).\n\
- A *time* is a string such as `2026-01-31T12:00:00Z` (RFC 3339).\n\
- Parts of built-in APIs are taken as you write them, also fields that this release doesn't know; they are only named \
here. The apiserver's answer to a wrong one stands in the condition `Stalled`.";

/// Every object of Lockstep's own, outer ones first; objects that are alike stand once, where the path is shortest.
fn sections(schema: &Value) -> Vec<Section> {
    let mut objects = Vec::new();
    for field in ["spec", "status"] {
        walk(
            field,
            schema["properties"][field].as_object().unwrap(),
            &mut |path, schema| {
                objects.push((path, schema.clone()));
            },
        );
    }
    let alike = |one: &Map<String, Value>, other: &Map<String, Value>| {
        let but_words = |(key, _): &(&String, &Value)| *key != "description";
        one.iter().filter(but_words).eq(other.iter().filter(but_words))
    };
    let section = |(path, schema): &(String, Map<String, Value>)| {
        let alike = objects.iter().filter(|(_, other)| alike(other, schema));
        let mut paths: Vec<_> = alike.map(|(path, _)| path.clone()).collect();
        paths.sort_by_key(|path| path.matches('.').count());
        let schema = schema.clone();
        (paths[0] == *path).then_some(Section { paths, schema })
    };
    objects.iter().filter_map(section).collect()
}

fn walk(path: &str, schema: &Map<String, Value>, visit: &mut impl FnMut(String, &Map<String, Value>)) {
    if verbatim(path).is_some() {
        return;
    }
    if let Some(items) = schema.get("items").and_then(Value::as_object) {
        walk(&format!("{path}[]"), items, visit);
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        visit(path.to_owned(), schema);
        for (field, schema) in properties {
            walk(&format!("{path}.{field}"), schema.as_object().unwrap(), visit);
        }
    }
}

/// What a verbatim part is called, with its link.
fn verbatim(path: &str) -> Option<String> {
    let (_, name, page) = VERBATIM.iter().find(|(part, ..)| *part == path)?;
    let (many, name) = name
        .strip_prefix("list of ")
        .map_or(("", *name), |name| ("list of ", name));
    Some(format!("{many}[{name}]({KUBERNETES}/{page})"))
}

impl Section {
    fn markdown(&self, home: &BTreeMap<&str, &str>) -> String {
        let path = &self.paths[0];
        let mut text = format!("## {path}\n\n{}\n\n", text(split(description(&self.schema)).0));
        if self.paths.len() > 1 {
            let also: Vec<_> = self.paths[1..].iter().map(|path| format!("`{path}`")).collect();
            writeln!(text, "The same: {}.\n", also.join(", ")).unwrap();
        }
        // Nobody writes status: nothing is left out there.
        let written = path.starts_with("spec");
        text += if written {
            "| field | type | default | meaning |\n|---|---|---|---|\n"
        } else {
            "| field | type | meaning |\n|---|---|---|\n"
        };
        let required = names(&self.schema, "required");
        let properties = self.schema["properties"].as_object().unwrap();
        // What has to be written comes first.
        let (first, rest): (Vec<_>, Vec<_>) = properties
            .iter()
            .partition(|(field, _)| required.contains(&field.as_str()));
        for (field, schema) in if written {
            [first, rest].concat()
        } else {
            properties.iter().collect()
        } {
            let schema = schema.as_object().unwrap();
            let (meaning, default) = split(description(schema));
            let kind = kind(&format!("{path}.{field}"), schema, home);
            let default = match default {
                _ if !written => String::new(),
                _ if required.contains(&field.as_str()) => "**required** | ".to_owned(),
                default => format!("{} | ", cell(default.unwrap_or_default())),
            };
            writeln!(text, "| `{field}` | {kind} | {default}{} |", cell(meaning)).unwrap();
        }
        let mut rules = rules(&self.schema);
        for (field, schema) in properties {
            for message in messages(schema.as_object().unwrap()) {
                // Rules of an object stand in its own section.
                if !schema["properties"].is_object() {
                    writeln!(rules, "- `{field}`: {}", self::text(message)).unwrap();
                }
            }
        }
        if !rules.is_empty() {
            write!(text, "\nRules:\n\n{rules}").unwrap();
        }
        text
    }
}

/// The type of a field, with its bounds.
fn kind(path: &str, schema: &Map<String, Value>, home: &BTreeMap<&str, &str>) -> String {
    if let Some(verbatim) = verbatim(path) {
        return verbatim;
    }
    if let Some(section) = home.get(path) {
        return format!("[object](#{})", slug(section));
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return "integer or string".to_owned();
    }
    let number = |key: &str| schema.get(key).map(ToString::to_string);
    let bounds = |least: Option<String>, most: Option<String>| match (least, most) {
        (Some(least), Some(most)) => format!(", {} to {}", whole(&least), whole(&most)),
        (Some(least), None) => format!(", {} or more", whole(&least)),
        (None, Some(most)) => format!(", at most {}", whole(&most)),
        (None, None) => String::new(),
    };
    match schema["type"].as_str().unwrap() {
        "string" if schema.contains_key("enum") => {
            let values: Vec<_> = names(schema, "enum")
                .iter()
                .map(|value| format!("`{value}`"))
                .collect();
            format!("one of {}", values.join(", "))
        }
        "string" if schema.get("format").is_some_and(|format| format == "date-time") => "time".to_owned(),
        "string" => match schema.get("pattern").and_then(Value::as_str) {
            Some(pattern) if pattern.contains("h|m|s|ms") => "duration".to_owned(),
            pattern => {
                let length = bounds(number("minLength"), number("maxLength"));
                let length = if length.is_empty() {
                    length
                } else {
                    format!("{length} characters")
                };
                let pattern = pattern.map_or(String::new(), |pattern| format!(", `{}`", cell(pattern)));
                format!("string{length}{pattern}")
            }
        },
        kind @ ("integer" | "number") => format!("{kind}{}", bounds(number("minimum"), number("maximum"))),
        "array" => {
            let items = schema["items"].as_object().unwrap();
            let items = kind(&format!("{path}[]"), items, home);
            let keys = names(schema, "x-kubernetes-list-map-keys");
            let once = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("map") => format!(", by `{}`", keys.join("`, `")),
                Some("set") => ", each once".to_owned(),
                _ => String::new(),
            };
            format!(
                "list of {items}{}{once}",
                bounds(number("minItems"), number("maxItems")).replace(", ", "; ")
            )
        }
        "object" => {
            let values = schema["additionalProperties"].as_object().unwrap();
            format!("map from string to {}", kind(&format!("{path}[]"), values, home))
        }
        kind => kind.to_owned(),
    }
}

/// Bounds come as floating point numbers.
fn whole(number: &str) -> &str {
    number.strip_suffix(".0").unwrap_or(number)
}

fn names<'s>(schema: &'s Map<String, Value>, key: &str) -> Vec<&'s str> {
    let all = schema.get(key).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}

fn description(schema: &Map<String, Value>) -> &str {
    schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What a field means, and what holds where it is left out.
fn split(description: &str) -> (&str, Option<&str>) {
    match description.rsplit_once(DEFAULT) {
        Some((meaning, default)) => (meaning.trim_end(), Some(default.trim().trim_end_matches('.'))),
        None => (description, None),
    }
}

fn messages(schema: &Map<String, Value>) -> Vec<&str> {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["message"].as_str())
        .collect()
}

fn rules(schema: &Map<String, Value>) -> String {
    let mut list = String::new();
    for message in messages(schema) {
        writeln!(list, "- {}", text(message)).unwrap();
    }
    list
}

/// Outside of code `<` would begin a tag.
fn text(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    let pieces = pieces.map(|(at, piece)| {
        if at % 2 == 0 {
            piece.replace('<', "&lt;")
        } else {
            piece.to_owned()
        }
    });
    pieces.collect::<Vec<_>>().join("`")
}

/// Within a table `|` would end the cell, also in code.
fn cell(content: &str) -> String {
    text(content).replace('|', "\\|")
}

fn schema() -> Value {
    definition::VERSION["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn the_reference_is_what_the_types_say() {
    let path = Path::new(ROOT).join(PAGE);
    let wanted = reference(&schema());
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{PAGE} is not what the types say; `make manifests` writes it anew"
    );
}

/// Every field of `spec` that may be left out, outside of verbatim parts, by its path.
fn without_default(schema: &Value) -> Vec<String> {
    let mut silent = Vec::new();
    for section in sections(schema)
        .iter()
        .filter(|section| section.paths[0].starts_with("spec"))
    {
        let required = names(&section.schema, "required");
        for (field, schema) in section.schema["properties"].as_object().unwrap() {
            let (meaning, default) = split(description(schema.as_object().unwrap()));
            if !required.contains(&field.as_str()) && default.is_none() || meaning.is_empty() {
                silent.push(format!("{}.{field}", section.paths[0]));
            }
        }
    }
    silent
}

#[test]
fn every_field_says_what_it_means_and_what_holds_without_it() {
    assert_eq!(without_default(&schema()), Vec::<String>::new());
    let mut silent = schema();
    silent["properties"]["spec"]["properties"]["suspend"]["description"] = "True: nothing changes.".into();
    assert_eq!(without_default(&silent), ["spec.suspend"]);
}

#[test]
fn what_changes_in_the_types_changes_on_the_page() {
    let page = reference(&schema());
    let changes: [(&str, &str, Value); 5] = [
        (
            "/properties/spec/properties/replicas/description",
            "another word",
            "another word".into(),
        ),
        (
            "/properties/spec/properties/replicas/minimum",
            "| integer, 7 or more |",
            7.into(),
        ),
        (
            "/properties/spec/properties/locks/items/properties/hold/enum",
            "one of `Now`",
            serde_json::json!(["Now"]),
        ),
        (
            "/properties/spec/properties/redis/x-kubernetes-validations/0/message",
            "- a&lt;b, `a<b`\n",
            "a<b, `a<b`".into(),
        ),
        (
            "/properties/spec/properties/locks/items/properties/name/pattern",
            "`a\\|b`",
            "a|b".into(),
        ),
    ];
    for (pointer, words, value) in changes {
        let mut other = schema();
        assert!(!page.contains(words), "{words}");
        *other.pointer_mut(pointer).unwrap() = value;
        assert!(reference(&other).contains(words), "{pointer}");
    }
    // A part that is taken as it is written is named, not told.
    assert!(!page.contains("terminationGracePeriodSeconds` |"));
    assert!(page.contains("(https://kubernetes.io/docs/reference/kubernetes-api/core/pod-template-v1/"));
}
