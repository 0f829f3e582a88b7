//! Golden stories: what the operator would have written (`src/domain/simulation/told`) is written for real, and the real
//! `kubectl describe` shows it. Each output was read by somebody as if for the first time; it is kept, to be read again
//! when words change.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{ApiResource, DynamicObject, PostParams};
use lockstep::api::CoordinatedWorkload;
use lockstep::api::conditions::EventReason;
use lockstep::domain::memory::Announcement;
use lockstep::reconcile::event;
use regex::Regex;
use serde::Deserialize;

use super::harness::{Room, kubectl};

/// Where the stories are told.
const TOLD: &str = "src/domain/simulation/told";
/// kubectl may look this much later than the events were posted, at most.
const LATE: i64 = 5 * 60;

/// A story as it was told.
#[derive(Deserialize)]
struct Told {
    now: Timestamp,
    resource: serde_json::Value,
    events: Vec<Said>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    told_until: Timestamp,
    at: Timestamp,
    reason: String,
    key: String,
    note: String,
}

/// The stories, by name.
fn stories() -> Vec<(String, Told)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(TOLD);
    let mut stories: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "snap"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            // What insta writes above the snapshot says where it comes from.
            let (_, told) = text.split_once("\n---\n").unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(told).unwrap())
        })
        .collect();
    stories.sort_by(|one, other| one.0.cmp(&other.0));
    stories
}

#[tokio::test]
async fn every_story_as_kubectl_describes_it() {
    let stories = stories();
    assert!(stories.len() >= 5, "only {} stories", stories.len());
    let sources: String = ["calm.rs", "holders.rs", "jobs.rs", "store.rs"]
        .iter()
        .map(|file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TOLD).join(file)).unwrap())
        .collect();
    for (name, _) in &stories {
        let told = sources.contains(&format!("tell(&world, \"{name}\");"));
        assert!(told, "nobody tells {name} any more: remove it");
    }
    let names: BTreeSet<_> = stories.iter().map(|(name, _)| format!("{name}.snap")).collect();
    let described: Vec<_> = futures::stream::iter(stories)
        .map(async |(name, told)| (describe(&name, &told).await, name))
        .buffered(4)
        .collect()
        .await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control_plane/golden");
    let mut different = Vec::new();
    for (text, name) in described {
        let compare = || {
            insta::with_settings!({
                snapshot_path => "golden",
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, {
                insta::assert_snapshot!(name.as_str(), text);
            });
        };
        if std::panic::catch_unwind(compare).is_err() {
            different.push(name);
        }
    }
    assert_eq!(
        different,
        Vec::<String>::new(),
        "read what changed above, then take it over"
    );
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "{name} is the snapshot of no story");
    }
}

/// Writes a story as the operator would, and shows it.
async fn describe(story: &str, told: &Told) -> String {
    let namespace = format!("golden-{}", story.replace('_', "-"));
    let room = Room::new(&namespace).await;
    let resource = create(&room, &told.resource).await;
    let status = serde_json::from_value(told.resource["status"].clone()).unwrap();
    let version = resource.resource_version().unwrap();
    let name = resource.name_any();
    room.writer()
        .write_status(&namespace, &name, &version, &status)
        .await
        .unwrap();
    // kubectl shows ages: the story ends now.
    let ahead = told.now.duration_until(lockstep::clock::wall());
    for said in &told.events {
        let reason = EventReason::ALL
            .iter()
            .find(|reason| reason.as_str() == said.reason);
        let announcement = Announcement {
            reason: *reason.unwrap(),
            key: said.key.clone(),
            note: said.note.clone(),
        };
        let event = event(&resource, &announcement, said.told_until, said.at + ahead);
        assert!(
            room.writer().post_event(&event).await.unwrap(),
            "{story}: {said:?} is new",
            said = said.note
        );
    }
    let namespaced = format!("--namespace={namespace}");
    let columns = kubectl(&["get", "cwl", &name, &namespaced]).await;
    let text = kubectl(&["describe", "cwl", &name, &namespaced]).await;
    format!(
        "$ kubectl get cwl {name}\n{}\n$ kubectl describe cwl {name}\n{}",
        without_age(&columns),
        normal(&text, told)
    )
}

/// Creates the resource, as somebody would with kubectl.
async fn create(room: &Room, told: &serde_json::Value) -> CoordinatedWorkload {
    let kind = ApiResource::erase::<CoordinatedWorkload>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(room.client.clone(), &room.namespace, &kind);
    let body = serde_json::json!({
        "apiVersion": told["apiVersion"], "kind": told["kind"],
        "metadata": { "name": told["metadata"]["name"] }, "spec": told["spec"],
    });
    let created = api
        .create(&PostParams::default(), &serde_json::from_value(body).unwrap())
        .await
        .unwrap();
    serde_json::from_value(serde_json::to_value(created).unwrap()).unwrap()
}

/// The columns but the last, which is how long ago the resource was written here.
fn without_age(columns: &str) -> String {
    let rows = columns.lines().map(|row| {
        let age = row.trim_end().rfind(' ').unwrap_or_default();
        row[..age].trim_end().to_owned() + "\n"
    });
    rows.collect()
}

/// What is different each time: where and when it was written.
fn normal(text: &str, told: &Told) -> String {
    static METADATA: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^(Namespace: +|  (?:Creation Timestamp|Generation|Resource Version|UID): +)(.*)$")
            .unwrap()
    });
    let (head, events) = text.split_once("\nEvents:").unwrap_or((text, ""));
    let head = METADATA.replace_all(head, |found: &regex::Captures<'_>| {
        let value = match found[1].trim().trim_end_matches(':') {
            "Namespace" => "prod".to_owned(),
            "Generation" => told.resource["metadata"]["generation"].to_string(),
            _ => "…".to_owned(),
        };
        format!("{}{value}", &found[1])
    });
    format!("{head}\nEvents:{}", table(events, told))
}

/// The events with the ages that they had when the story ended: a slow machine makes all of them older.
fn table(events: &str, told: &Told) -> String {
    static CELLS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^  (\S+) {2,}(\S+) {2,}(\S+) {2,}(\S+) {2,}(.*)$").unwrap());
    let rows: Vec<Vec<String>> = events
        .lines()
        .filter_map(|line| CELLS.captures(line))
        .map(|cells| {
            let mut cells: Vec<String> = cells
                .iter()
                .skip(1)
                .flatten()
                .map(|cell| cell.as_str().to_owned())
                .collect();
            let said = told
                .events
                .iter()
                .find(|said| said.reason == cells[1] && said.note.trim() == cells[4]);
            if let Some(said) = said {
                let age = said.at.duration_until(told.now);
                let should = short(age);
                let (shown, at_least) = (seconds(&cells[2]), seconds(&should));
                assert!(
                    (at_least..=at_least + LATE).contains(&shown),
                    "{cells:?} is {should} old"
                );
                cells[2] = should;
            }
            cells
        })
        .collect();
    assert_eq!(rows.len().saturating_sub(2), told.events.len(), "{events}");
    if rows.is_empty() {
        return events.to_owned();
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default() + 2;
    let widths: Vec<_> = (0..4).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        text += "\n  ";
        for (cell, width) in row.iter().zip(&widths) {
            write!(text, "{cell:width$}").unwrap();
        }
        text += &row[4];
    }
    text
}

/// An age as kubectl shows it, for stories of a few hours.
fn short(age: SignedDuration) -> String {
    let seconds = age.as_secs();
    match (seconds / 60, seconds % 60) {
        (0 | 1, _) => format!("{seconds}s"),
        (minutes @ 2..10, 1..) => format!("{minutes}m{}s", seconds % 60),
        (minutes @ 2..180, _) => format!("{minutes}m"),
        (minutes, _) => format!("{}h{}m", minutes / 60, minutes % 60),
    }
}

/// The seconds of an age as kubectl shows it.
fn seconds(age: &str) -> i64 {
    let units = age.split_inclusive(|letter: char| letter.is_ascii_alphabetic());
    units
        .map(|part| {
            let (number, unit) = part.split_at(part.len() - 1);
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 60 * 60,
                other => panic!("{age}: {other} is no unit"),
            };
            number.parse::<i64>().unwrap() * unit
        })
        .sum()
}
