//! What is shipped for whoever is on call: rules that promtool takes and that fire when they should, a runbook for each
//! alert, a dashboard; all of them about metrics that the operator has, which `docs/metrics.md` lists.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep::{domain::category::Category, telemetry::Telemetry};
use lockstep_cluster::Prometheus;
use regex::Regex;
use serde_json::Value;

const RULES: &str = "charts/lockstep/files/rules.yaml";
const DASHBOARD: &str = "charts/lockstep/files/dashboard.json";
const RULE_TESTS: &str = "tests/metrics/rules_test.yaml";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap()
}

/// A metric as the operator describes it: its kind and its help.
fn families() -> BTreeMap<String, (String, String)> {
    let text = Telemetry::default().metrics().unwrap();
    let mut helps = BTreeMap::new();
    let mut families = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            helps.insert(name.to_owned(), help.trim_end_matches('.').to_owned());
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let sample = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            families.insert(sample, (kind.to_owned(), helps[name].clone()));
        }
    }
    assert!(families.len() > 30, "{families:?}");
    families
}

/// The names of all samples.
fn samples() -> BTreeSet<String> {
    let parts = |name: &str, kind: &str| match kind {
        "histogram" => ["_bucket", "_sum", "_count"]
            .map(|part| format!("{name}{part}"))
            .to_vec(),
        _ => vec![name.to_owned()],
    };
    let families = families();
    families
        .iter()
        .flat_map(|(name, (kind, _))| parts(name, kind))
        .collect()
}

/// What an expression or a text names that no metric is called.
fn unknown(text: &str) -> Vec<String> {
    let name = Regex::new(r"\blockstep_[a-z_]+").unwrap();
    let known = samples();
    let named = name.find_iter(text).map(|found| found.as_str().to_owned());
    named.filter(|name| !known.contains(name)).collect()
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_yaml::from_str(&read(RULES)).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .cloned()
        .collect()
}

/// Every query of the dashboard, and of its variables.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let of_variables = variables
        .iter()
        .filter_map(|variable| variable["definition"].as_str());
    targets
        .map(|target| target["expr"].as_str().unwrap())
        .chain(of_variables)
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_and_dashboard_are_about_metrics_that_there_are() {
    assert_eq!(
        unknown("rate(lockstep_events_total[5m]) / lockstep_event"),
        ["lockstep_event"]
    );
    for alert in alerts() {
        let text = alert.to_string();
        assert_eq!(unknown(&text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(unknown(&read(RULE_TESTS)), Vec::<String>::new());
    let queries = queries();
    assert!(queries.len() > 30);
    for query in &queries {
        assert_eq!(unknown(query), Vec::<String>::new(), "{query}");
    }
    // Nothing is measured that nobody looks at.
    let looked_at = queries.concat() + &read(RULES);
    let unseen: Vec<_> = families()
        .into_keys()
        .filter(|name| !looked_at.contains(name.as_str()))
        .filter(|name| {
            ![
                "lockstep_store_tracking",
                "lockstep_balance_excess_locks",
                "lockstep_balance_pods",
            ]
            .contains(&name.as_str())
        })
        .collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

/// So that the first failure is an increase.
#[test]
fn every_failure_is_counted_from_zero() {
    let text = Telemetry::default().metrics().unwrap();
    let prefix = "lockstep_reconcile_errors_total{category=";
    let counted: BTreeSet<_> = text.lines().filter(|line| line.starts_with(prefix)).collect();
    let expected: BTreeSet<_> = Category::ALL
        .iter()
        .map(|category| format!("{prefix}\"{}\"}} 0", category.as_str()))
        .collect();
    assert_eq!(counted, expected.iter().map(String::as_str).collect());
    assert!(counted.len() >= 20, "{counted:?}");
}

#[test]
fn every_panel_has_its_own_place_and_number() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut numbers = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in side("x")..side("x") + side("w") {
            assert!(x < 24, "{panel}");
            for y in side("y")..side("y") + side("h") {
                assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
    }
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let mut named = BTreeSet::new();
    let tests = read(RULE_TESTS);
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(named.insert(format!("{name}.md")), "{name} is there twice");
        assert!(
            tests.contains(&format!("\"{name}\"")) || tests.contains(&format!(" {name}")),
            "{name} has no test"
        );
        let severity = alert["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("warning" | "critical")), "{name}");
        for text in ["summary", "description"] {
            assert!(
                alert["annotations"][text]
                    .as_str()
                    .is_some_and(|text| text.len() > 20),
                "{name}: {text}"
            );
        }
        let page = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(page.ends_with(&format!("/docs/runbooks/{name}.md")), "{page}");
    }
    let pages = std::fs::read_dir(at("docs/runbooks")).unwrap();
    let pages: BTreeSet<_> = pages
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(pages, named);
    for page in pages {
        let text = read(&format!("docs/runbooks/{page}"));
        let title = format!("# {}\n", page.trim_end_matches(".md"));
        assert!(text.starts_with(&title), "{page}");
        for section in ["Meaning", "Impact", "Diagnosis", "Mitigation"] {
            let (_, rest) = text.split_once(&format!("\n## {section}\n\n")).expect(section);
            assert!(rest.len() > 40, "{page}: {section}");
        }
        assert!(text.contains("    kubectl "), "{page} says what to run");
        assert_eq!(unknown(&text), Vec::<String>::new(), "{page}");
    }
}

#[test]
fn the_page_about_metrics_lists_what_there_is() {
    let row = Regex::new(r"(?m)^\| `(lockstep_[a-z_]+)` \| (\w+) \| (.+?) \|$").unwrap();
    let page = read("docs/metrics.md");
    let listed: BTreeMap<String, (String, String)> = row
        .captures_iter(&page)
        .map(|row| (row[1].to_owned(), (row[2].to_owned(), row[3].to_owned())))
        .collect();
    assert_eq!(listed, families());
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(
            page.contains(&format!("](runbooks/{name}.md)")),
            "{name} is not listed"
        );
    }
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    let promtool = Prometheus::find().unwrap().promtool;
    for arguments in [["check", "rules", RULES], ["test", "rules", RULE_TESTS]] {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(at(""))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn a_rule_made_wrong_fails_its_tests() {
    let promtool = Prometheus::find().unwrap().promtool;
    let rules = read(RULES);
    for (from, to) in [
        (
            "lockstep_balance_idle_pods) > 0",
            "lockstep_balance_idle_pods) > 2",
        ),
        ("> 0.010", "> 0.020"),
        (
            "increase(lockstep_locks_lost_total[5m])) > 0",
            "increase(lockstep_locks_lost_total[1h])) > 0",
        ),
        ("state!=\"Unheld\"", "state=\"Foreign\""),
        ("reason!=\"Slow\"", "reason!=\"\""),
        ("sum(lockstep_leader) == 0", "min(lockstep_leader) == 0"),
        (">= 6", ">= 2"),
        (") > 300", ") > 30000"),
        (") > 2.5", ") > 0.5"),
        (") > 2.5", ") > 7.5"),
        ("category!~\"secret_.*\"", "category!=\"\""),
    ] {
        assert!(rules.contains(from), "{from}");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("rules.yaml"), rules.replacen(from, to, 1)).unwrap();
        let tests = read(RULE_TESTS).replace("../../charts/lockstep/files/rules.yaml", "rules.yaml");
        std::fs::write(folder.join("test.yaml"), tests).unwrap();
        let status = Command::new(&promtool)
            .args(["test", "rules", "test.yaml"])
            .current_dir(&folder)
            .output()
            .unwrap()
            .status;
        assert!(!status.success(), "nothing notices {to}");
    }
}
