//! The definition in `crds/` is the one that the code describes, small enough for `kubectl apply`, bounded and explained.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::{env, fs};

use serde_json::{Map, Value};

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/crds/lockstep.dev_coordinatedworkloads.yaml"
);
/// Client-side apply keeps the object's JSON in an annotation, of which the API takes 262,144 bytes.
const SIZE_LIMIT: usize = 200_000;
/// Parts of built-in APIs: they keep those APIs' limits.
const VERBATIM: [&str; 9] = [
    "spec.template",
    "spec.strategy",
    "spec.autoscaling.metrics",
    "spec.autoscaling.behavior",
    "spec.networkPolicy.ingress",
    "spec.networkPolicy.egress",
    "spec.service.ports",
    "spec.service.sessionAffinityConfig",
    "spec.service.annotations",
];

#[test]
fn the_file_is_what_the_code_describes() {
    let wanted = lockstep::api::crd_yaml().unwrap();
    if env::var_os("UPDATE").is_some() {
        fs::write(FILE, &wanted).unwrap();
    }
    let found = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        found == wanted,
        "crds/ is not what the code describes; regenerate it:\n  \
         cargo run -- crd > crds/lockstep.dev_coordinatedworkloads.yaml\nor: UPDATE=1 cargo test --test crd"
    );
}

#[test]
fn client_side_apply_can_store_it() {
    let size = serde_json::to_string(&lockstep::api::crd()).unwrap().len();
    println!("the definition has {size} bytes of JSON");
    assert!(size < SIZE_LIMIT, "{size} bytes");
}

#[test]
fn own_fields_are_bounded_and_described() {
    let mut faults = Vec::new();
    visit_own(&root(), "", &mut |schema, path| {
        let has = |key: &str| schema.contains_key(key);
        match schema.get("type").and_then(Value::as_str) {
            Some("string")
                if !has("maxLength") && !has("enum") && schema.get("format") != Some(&"date-time".into()) =>
            {
                faults.push(format!("{path}: a string without maxLength"));
            }
            Some("array") if !has("maxItems") => faults.push(format!("{path}: a list without maxItems")),
            _ => {}
        }
        if !path.ends_with("[]") && !has("description") {
            faults.push(format!("{path}: no description"));
        }
        let description = schema.get("description").and_then(Value::as_str);
        if description.is_some_and(|description| description.replace("\n\n", "").contains('\n')) {
            faults.push(format!("{path}: a line break within a paragraph"));
        }
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_rule_says_what_to_do() {
    let mut rules = 0;
    visit_own(&root(), "", &mut |schema, path| {
        for rule in schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            rules += 1;
            let message = rule["message"].as_str().unwrap_or_default();
            assert!(
                message.len() > 10 && !message.contains('\n'),
                "{path}: rule {rule} has no message of one line"
            );
        }
    });
    assert!(rules > 30, "only {rules} rules were found: is the walk broken?");
}

#[test]
fn no_rule_is_within_a_verbatim_part_and_all_of_them_stay_open() {
    let root = root();
    for path in VERBATIM
        .into_iter()
        .filter(|path| *path != "spec.service.annotations")
    {
        let mut schema = &root;
        for field in path.split('.') {
            schema = schema["properties"].as_object().unwrap()[field]
                .as_object()
                .unwrap();
        }
        let mut objects = 0;
        visit(schema, path, &mut |schema, path| {
            assert!(!schema.contains_key("x-kubernetes-validations"), "{path}: a rule");
            if path != &path[..0] && schema.contains_key("description") {
                assert!(
                    VERBATIM.contains(&path),
                    "{path}: a description, which makes the definition too large"
                );
            }
            if schema.contains_key("properties") {
                objects += 1;
                let open = schema.get("x-kubernetes-preserve-unknown-fields");
                assert_eq!(open, Some(&true.into()), "{path}: unknown fields are lost");
            }
        });
        assert!(objects > 0, "{path}: not typed");
    }
}

#[test]
fn nothing_is_written_into_a_resource_by_default() {
    let mut defaults = Vec::new();
    visit(&root(), "", &mut |schema, path| {
        assert!(
            !schema.contains_key("nullable"),
            "{path}: nullable keeps a null that built-in APIs drop"
        );
        if schema.contains_key("default") {
            defaults.push(path.to_owned());
        }
    });
    assert_eq!(defaults, ["status", "status.observedGeneration"]);
}

#[test]
fn names_columns_and_subresources_are_the_documented_ones() {
    let crd = serde_json::to_value(lockstep::api::crd()).unwrap();
    let names = &crd["spec"]["names"];
    assert_eq!(names["plural"], "coordinatedworkloads");
    assert_eq!(names["shortNames"], serde_json::json!(["cwl"]));
    assert_eq!(names["categories"], serde_json::json!(["lockstep"]));
    assert_eq!(crd["spec"]["scope"], "Namespaced");
    let version = &crd["spec"]["versions"][0];
    let scale = &version["subresources"]["scale"];
    assert_eq!(scale["specReplicasPath"], ".spec.replicas");
    assert_eq!(scale["statusReplicasPath"], ".status.replicas");
    assert_eq!(scale["labelSelectorPath"], ".status.selector");
    let columns = |wide: bool| -> Vec<&str> {
        let columns = version["additionalPrinterColumns"].as_array().unwrap();
        let shown = columns.iter().filter(|column| (column["priority"] == 1) == wide);
        shown.map(|column| column["name"].as_str().unwrap()).collect()
    };
    assert_eq!(
        columns(false),
        ["Ready", "Pods", "Locks", "Spread", "Balanced", "Status", "Age"]
    );
    assert_eq!(columns(true), ["Message", "Store", "Min", "Max"]);
}

fn root() -> Map<String, Value> {
    let crd = serde_json::to_value(lockstep::api::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        .as_object()
        .unwrap()
        .clone()
}

/// Every schema except those of verbatim parts.
fn visit_own(schema: &Map<String, Value>, path: &str, visitor: &mut impl FnMut(&Map<String, Value>, &str)) {
    visit(schema, path, &mut |schema, path| {
        let is_in = |part: &str| {
            path.strip_prefix(part)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if !VERBATIM.iter().any(|part| is_in(part)) {
            visitor(schema, path);
        }
    });
}

fn visit(schema: &Map<String, Value>, path: &str, visitor: &mut impl FnMut(&Map<String, Value>, &str)) {
    visitor(schema, path);
    for (name, schema) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        visit(schema.as_object().unwrap(), &path, visitor);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(Value::Object(schema)) = schema.get(below) {
            visit(schema, &format!("{path}[]"), visitor);
        }
    }
}
