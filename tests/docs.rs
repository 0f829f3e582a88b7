//! The README and `docs/` say what is so: their tables have the names of the closed vocabulary, and what they mention
//! (flags, fields, files, manifests, targets) exists.
//!
//! Every check is a function from a text to the faults in it, so that each is also shown to fire on a text made wrong.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    sync::LazyLock,
};

use lockstep::{
    api::{
        CoordinatedWorkload,
        conditions::{AdvisoryCode, ConditionType, EventReason, Reason},
        crd,
    },
    domain::workload::{Problem, Workload, parse},
};
use regex::Regex;
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Conditions that share one table of reasons.
const SHARED: (&str, [&str; 4]) = (
    "Ready, Reconciling, Stalled, Suspended",
    ["Ready", "Reconciling", "Stalled", "Suspended"],
);

static README: LazyLock<String> = LazyLock::new(|| read("README.md"));

/// The README and every page of `docs/`, by its path.
static PAGES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    let pages = docs
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| format!("docs/{}", path.file_name().unwrap().display()));
    std::iter::once("README.md".to_owned())
        .chain(pages)
        .map(|name| {
            let text = read(&name);
            (name, text)
        })
        .collect()
});

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The faults of every page.
fn faults(check: impl Fn(&str, &str) -> Vec<String>) {
    let all: Vec<_> = PAGES
        .iter()
        .flat_map(|(page, text)| {
            check(page, text)
                .into_iter()
                .map(move |fault| format!("{page}: {fault}"))
        })
        .collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

// How Markdown is read.

/// What stands under a heading of this level, up to the next of the same or a higher one.
fn section<'t>(text: &'t str, level: usize, heading: &str) -> &'t str {
    let title = format!("\n{} {heading}\n", "#".repeat(level));
    let Some((_, rest)) = text.split_once(&title) else {
        return "";
    };
    let end = (1..=level)
        .filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level))))
        .min();
    &rest[..end.unwrap_or(rest.len())]
}

/// Headings of this level.
fn headings(text: &str, level: usize) -> Vec<&str> {
    let mark = format!("{} ", "#".repeat(level));
    text.lines().filter_map(|line| line.strip_prefix(&mark)).collect()
}

/// The rows of the first table of a text, without its head.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().skip_while(|line| !line.starts_with('|'));
    lines
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The text of a cell that is nothing but code; else the whole cell, which is no name.
fn name<'t>(row: &[&'t str]) -> &'t str {
    let cell = row.first().copied().unwrap_or_default();
    cell.strip_prefix('`')
        .and_then(|rest| rest.strip_suffix('`'))
        .unwrap_or(cell)
}

/// Fenced blocks of this language.
fn fenced<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let mark = format!("```{language}\n");
    text.split(&mark)
        .skip(1)
        .map(|rest| rest.split_once("\n```").map_or(rest, |(block, _)| block))
        .collect()
}

/// Everything that is marked as code: spans, indented lines and fenced lines.
fn code(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut in_fence = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_fence = !in_fence;
        } else if in_fence || line.starts_with("    ") {
            pieces.push(line.trim());
        } else {
            pieces.extend(line.split('`').skip(1).step_by(2));
        }
    }
    pieces
}

fn matches<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
    let regex = Regex::new(pattern).unwrap();
    regex
        .captures_iter(text)
        .map(|found| found.get(1).unwrap().as_str())
        .collect()
}

/// `what` has exactly the wanted names, each once, and a last cell that says something.
fn table_faults(what: &str, rows: &[Vec<&str>], wanted: &BTreeSet<&str>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let columns = rows.first().map_or(0, Vec::len);
    for row in rows {
        let name = name(row);
        if !wanted.contains(name) {
            faults.push(format!("{what}: {name} is no name of the code"));
        }
        if !seen.insert(name) {
            faults.push(format!("{what}: {name} stands there twice"));
        }
        if row.len() != columns || row.len() < 2 {
            faults.push(format!("{what}: the row of {name} has another number of cells"));
        }
        if row.last().is_none_or(|step| step.is_empty()) {
            faults.push(format!("{what}: {name} has no next step"));
        }
    }
    faults.extend(
        wanted
            .difference(&seen)
            .map(|name| format!("{what}: {name} has no row")),
    );
    faults
}

// Conditions, reasons, events, advisories.

fn condition_faults(readme: &str) -> Vec<String> {
    let conditions = section(readme, 2, "Conditions");
    let types = ConditionType::ALL.iter().map(|type_| type_.as_str()).collect();
    let mut faults = table_faults("conditions", &rows(conditions), &types);

    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut described = BTreeSet::new();
    let mut headed = BTreeSet::new();
    for heading in headings(conditions, 3) {
        if heading == SHARED.0 {
            headed.extend(SHARED.1);
        } else {
            headed.insert(heading);
        }
        let rows = rows(section(conditions, 3, heading));
        // A reason may belong to several conditions: within one table each stands once.
        let named = rows
            .iter()
            .map(|row| name(row))
            .filter(|name| known.contains(name));
        let here: BTreeSet<&str> = named.collect();
        faults.extend(table_faults(heading, &rows, &here));
        described.extend(here);
    }
    faults.extend(
        known
            .difference(&described)
            .map(|name| format!("reasons: {name} has no row")),
    );
    if headed != types {
        faults.push(format!(
            "the tables of reasons are those of {headed:?}, not of {types:?}"
        ));
    }
    faults
}

fn event_faults(readme: &str) -> Vec<String> {
    let rows = rows(section(readme, 2, "Events"));
    let known = EventReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut faults = table_faults("events", &rows, &known);
    for reason in EventReason::ALL {
        let wanted = if reason.is_warning() { "Warning" } else { "Normal" };
        let row = rows.iter().find(|row| name(row) == reason.as_str());
        if row.is_some_and(|row| row.get(1) != Some(&wanted)) {
            faults.push(format!("events: {reason} is {wanted}"));
        }
    }
    faults
}

fn advisory_faults(readme: &str) -> Vec<String> {
    let rows = rows(section(readme, 2, "Advisories"));
    let known = AdvisoryCode::ALL.iter().map(|code| code.as_str()).collect();
    let mut faults = table_faults("advisories", &rows, &known);
    // In status they come in this order.
    let listed: Vec<_> = rows.iter().map(|row| name(row)).collect();
    let order: Vec<_> = AdvisoryCode::ALL.iter().map(|code| code.as_str()).collect();
    if faults.is_empty() && listed != order {
        faults.push(format!("advisories: the order is {order:?}"));
    }
    faults
}

#[test]
fn every_condition_reason_event_and_advisory_has_its_row() {
    assert_eq!(condition_faults(&README), Vec::<String>::new());
    assert_eq!(event_faults(&README), Vec::<String>::new());
    assert_eq!(advisory_faults(&README), Vec::<String>::new());
}

#[test]
fn a_wrong_table_is_noticed() {
    let without = |row: &str| {
        let start = format!("| `{row}` |");
        let lines = README.lines().filter(|line| !line.starts_with(&start));
        lines.collect::<Vec<_>>().join("\n")
    };
    for type_ in ConditionType::ALL {
        let fault = format!("conditions: {type_} has no row");
        assert!(
            condition_faults(&without(type_.as_str())).contains(&fault),
            "{fault}"
        );
    }
    for reason in Reason::ALL {
        let fault = format!("reasons: {reason} has no row");
        assert!(
            condition_faults(&without(reason.as_str())).contains(&fault),
            "{fault}"
        );
    }
    for reason in EventReason::ALL {
        let fault = format!("events: {reason} has no row");
        assert!(
            event_faults(&without(reason.as_str())).contains(&fault),
            "{fault}"
        );
    }
    for code in AdvisoryCode::ALL {
        let fault = format!("advisories: {code} has no row");
        assert!(
            advisory_faults(&without(code.as_str())).contains(&fault),
            "{fault}"
        );
    }

    let changed = |from: &str, to: &str| {
        assert!(README.contains(from), "{from}");
        README.replace(from, to)
    };
    let misspelt = changed("| `AllHeld` |", "| `AllHolds` |");
    assert!(condition_faults(&misspelt).contains(&"LocksHeld: AllHolds is no name of the code".to_owned()));
    let misspelt = changed("| `LocksLost` | Warning |", "| `LockLost` | Normal |");
    assert!(event_faults(&misspelt).contains(&"events: LockLost is no name of the code".to_owned()));
    let normal = changed("| `LocksLost` | Warning |", "| `LocksLost` | Normal |");
    assert!(event_faults(&normal).contains(&"events: LocksLost is Warning".to_owned()));
    let twice = changed("| `AllHeld` |", "| `AllHeld` | True | x | y |\n| `AllHeld` |");
    assert!(condition_faults(&twice).contains(&"LocksHeld: AllHeld stands there twice".to_owned()));
    let misspelt = changed("| `TtlDiffers` |", "| `TTLDiffers` |");
    assert!(advisory_faults(&misspelt).contains(&"advisories: TTLDiffers is no name of the code".to_owned()));
    let (first, second) = ("| `NotIsolated` |", "| `PolicyNeedsCni` |");
    let swapped = changed(first, "| ? |")
        .replace(second, first)
        .replace("| ? |", second);
    assert!(
        advisory_faults(&swapped)
            .iter()
            .any(|fault| fault.starts_with("advisories: the order"))
    );
    let row = README
        .lines()
        .find(|line| line.starts_with("| `Loading` |"))
        .unwrap();
    let silent = changed(row, "| `Loading` | False | the server loads | |");
    assert!(condition_faults(&silent).contains(&"StoreReachable: Loading has no next step".to_owned()));
    let headless = changed("\n### Available\n", "\n### Availability\n");
    assert!(
        condition_faults(&headless)
            .iter()
            .any(|fault| fault.starts_with("the tables"))
    );
}

// Columns and fields, by the definition.

/// The version's part of the definition.
fn version() -> Value {
    let definition = serde_json::to_value(crd()).unwrap();
    definition["spec"]["versions"][0].clone()
}

fn column_faults(readme: &str) -> Vec<String> {
    let version = version();
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|column| column["priority"].as_i64().unwrap_or(0) == 0 && column["name"] != "Age")
        .map(|column| column["name"].as_str().unwrap().to_uppercase())
        .collect();
    let wanted = columns.iter().map(String::as_str).collect();
    let reading = section(readme, 2, "Reading it");
    let mut faults = table_faults("columns", &rows(reading), &wanted);
    let head = format!("NAME {} AGE", columns.join(" "));
    let shown = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") == head;
    if !reading.lines().any(shown) {
        faults.push(format!("columns: no example has the head {head}"));
    }
    faults
}

#[test]
fn the_columns_are_those_of_the_definition() {
    assert_eq!(column_faults(&README), Vec::<String>::new());
    let other = README
        .replace("| SPREAD |", "| SPREADS |")
        .replace(" SPREAD ", " SPREADS ");
    assert_eq!(
        column_faults(&other).len(),
        3,
        "unknown, missing, and the example"
    );
}

/// Fields that are written as `spec.a.b[].c` or `status.a`, and that the definition does not have.
fn field_faults(text: &str) -> Vec<String> {
    let schema = version()["schema"]["openAPIV3Schema"].clone();
    let is_field = Regex::new(r"^(spec|status)(\.[A-Za-z]+(\[\])?)+$").unwrap();
    let exists = |path: &str| {
        let mut place = &schema;
        for part in path.split('.') {
            place = &place["properties"][part.trim_end_matches("[]")];
            if part.ends_with("[]") {
                place = &place["items"];
            }
        }
        !place.is_null()
    };
    code(text)
        .into_iter()
        .filter(|piece| is_field.is_match(piece) && !exists(piece))
        .map(|piece| format!("{piece} is no field"))
        .collect()
}

#[test]
fn fields_that_are_mentioned_exist() {
    faults(|_, text| field_faults(text));
    let text = "`spec.locks[].holder.pattern`, `spec.lock`, `spec.locks.holder` and\n    status.recents\n";
    assert_eq!(
        field_faults(text),
        [
            "spec.lock is no field",
            "spec.locks.holder is no field",
            "status.recents is no field"
        ]
    );
}

// Manifests.

fn merged(mut base: Value, change: &Value) -> Value {
    for (field, value) in change.as_object().unwrap() {
        base[field] = value.clone();
    }
    base
}

fn parsed(resource: Value) -> Result<Workload, Vec<Problem>> {
    let mut resource: CoordinatedWorkload = serde_json::from_value(resource).unwrap();
    resource
        .metadata
        .namespace
        .get_or_insert_with(|| "demo".to_owned());
    resource.metadata.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
    parse(&resource)
}

fn resource(spec: &Value) -> Value {
    json!({
        "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload", "metadata": { "name": "a" }, "spec": spec,
    })
}

/// A spec in which nothing is wrong, for parts of one.
fn base_spec() -> Value {
    json!({
        "template": { "spec": { "containers": [{ "name": "a", "image": "a" }] } },
        "redis": { "url": "redis://redis:6379" },
    })
}

fn manifest_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for block in fenced(text, "yaml") {
        let value: Value = match serde_yaml::from_str(block) {
            Ok(value) => value,
            Err(error) => {
                faults.push(format!("no YAML: {error}\n{block}"));
                continue;
            }
        };
        // What is not a whole resource is a part of a spec.
        let value = if value["kind"] == "CoordinatedWorkload" {
            value
        } else {
            resource(&merged(base_spec(), &value))
        };
        if let Err(error) = serde_json::from_value::<CoordinatedWorkload>(value.clone()) {
            faults.push(format!("no CoordinatedWorkload: {error}\n{block}"));
            continue;
        }
        if let Err(problems) = parsed(value) {
            faults.extend(problems.iter().map(ToString::to_string));
        }
    }
    faults
}

#[test]
fn manifests_can_be_used_as_they_are() {
    assert_eq!(fenced(&README, "yaml").len(), 1, "the first workload");
    assert!(README.contains("\n  name: pipeline\n"), "a whole resource");
    faults(|_, text| manifest_faults(text));
    for (from, to) in [
        ("dialect: Rigatoni", "dialect: Pasta"),
        ("dialect: Rigatoni", "dialect: Redlok"),
        ("      names:", "      name:"),
        ("redis:\n    url:", "redis:\n    uri:"),
        ("  template:", "template:"),
    ] {
        assert!(README.contains(from), "{from}");
        assert_ne!(
            manifest_faults(&README.replace(from, to)),
            Vec::<String>::new(),
            "{to}"
        );
    }
}

// Flags, variables, targets, files.

static HELP: LazyLock<String> = LazyLock::new(|| {
    let command = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    assert!(command.status.success());
    String::from_utf8(command.stdout).unwrap()
});

/// Flags of the operator: in code that begins with one, and after `-- run`.
fn flags(text: &str) -> BTreeSet<&str> {
    let own = |piece: &'_ str| piece.starts_with("--") || piece.contains("-- run");
    code(text)
        .into_iter()
        .filter(|piece| own(piece))
        .flat_map(|piece| {
            let arguments = piece
                .split_once("-- run")
                .map_or(piece, |(_, arguments)| arguments);
            matches(r"(?:^| )(--[a-z][a-z-]*)", arguments)
        })
        .collect()
}

fn flag_faults(text: &str) -> Vec<String> {
    let known: BTreeSet<&str> = matches(r"(?m)^ +(?:-[a-z], )?(--[a-z][a-z-]*)", &HELP)
        .into_iter()
        .collect();
    flags(text)
        .difference(&known)
        .map(|flag| format!("{flag} is no flag of `lockstep run`"))
        .collect()
}

#[test]
fn flags_are_those_of_the_operator() {
    faults(|_, text| flag_faults(text));
    assert_eq!(
        flag_faults(
            "`--dns-server A:P`, `--dns`, `kubectl --raw`\n    cargo run -- run --log debug --logs\n"
        ),
        [
            "--dns is no flag of `lockstep run`",
            "--logs is no flag of `lockstep run`"
        ]
    );
    let described: BTreeSet<&str> = PAGES.values().flat_map(|text| flags(text)).collect();
    let known = matches(r"(?m)^ +(--[a-z][a-z-]*)", &HELP);
    assert!(known.len() > 5, "{known:?}");
    for flag in known {
        assert!(described.contains(flag), "no page mentions {flag}");
    }
}

/// `make TARGET` and `cargo run -p PACKAGE` in code.
fn target_faults(text: &str) -> Vec<String> {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = matches(r"(?m)^([a-z-]+):", &makefile).into_iter().collect();
    let manifests = [
        "Cargo.toml",
        "tests/cluster/Cargo.toml",
        "tests/demo/Cargo.toml",
        "tests/workers/rigatoni/Cargo.toml",
    ]
    .map(read)
    .concat();
    let packages: BTreeSet<&str> = matches(r#"(?m)^name = "([^"]+)""#, &manifests)
        .into_iter()
        .collect();
    let pieces = code(text).join("\n");
    let unknown = |pattern, known: &BTreeSet<&str>, what| {
        matches(pattern, &pieces)
            .into_iter()
            .filter(|found| !known.contains(found))
            .map(|found| format!("{found} is no {what}"))
            .collect::<Vec<_>>()
    };
    [
        unknown(r"(?m)^make ([a-z-]+)", &targets, "target of the Makefile"),
        unknown(r"cargo \S+ (?:-p|--package) (\S+)", &packages, "package"),
    ]
    .concat()
}

#[test]
fn targets_and_packages_exist() {
    faults(|_, text| target_faults(text));
    assert_eq!(
        target_faults(
            "`make test`, `make cake`\n    make demo-up\n    cargo run -p lockstep-clutter -- up\n"
        ),
        [
            "cake is no target of the Makefile",
            "demo-up is no target of the Makefile",
            "lockstep-clutter is no package"
        ]
    );
}

/// Links and paths in code, the former with the heading that they point at.
fn path_faults(page: &str, text: &str) -> Vec<String> {
    let is_path = Regex::new(r"^(\.ci|charts|crds|docs|manifests|src|tests)/[^ *]*$").unwrap();
    let in_code = code(text)
        .into_iter()
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches([',', '.', ':', ';']))
        .filter(|word| is_path.is_match(word) || ["Cargo.toml", "Makefile", "LICENSE"].contains(word))
        .filter(|path| !Path::new(ROOT).join(path).exists())
        .map(|path| format!("{path} does not exist"));
    let folder = Path::new(page).parent().unwrap();
    let links = matches(r"\]\(([^)]+)\)", text)
        .into_iter()
        .filter(|link| !link.starts_with("https://"))
        .filter(|link| {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if path.is_empty() {
                Path::new(page).to_owned()
            } else {
                folder.join(path)
            };
            let Ok(target) = fs::read_to_string(Path::new(ROOT).join(file)) else {
                return true;
            };
            !anchor.is_empty()
                && !(1..=4).any(|level| headings(&target, level).iter().any(|h| slug(h) == anchor))
        })
        .map(|link| format!("the link to {link} leads nowhere"));
    in_code.chain(links).collect()
}

/// A heading as forges write it in an address.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn files_and_links_exist() {
    faults(path_faults);
    let text = "`src/lib.rs`, `tests/none.rs`\n    kubectl apply -f crds/\n    kubectl apply -f manifests/none.yaml\n\
                [a](README.md#events), [b](README.md#nothing), [c](docs/none.md)\n";
    assert_eq!(
        path_faults("README.md", text),
        [
            "tests/none.rs does not exist",
            "manifests/none.yaml does not exist",
            "the link to README.md#nothing leads nowhere",
            "the link to docs/none.md leads nowhere"
        ]
    );
}
