//! Every golden story as `status`, `locks` and `why` tell it at 80 columns without colour. Each was read as by somebody
//! who was woken by it; it is kept, to be read again when words change.

use std::{fs, path::Path};

use jiff::Timestamp;
use lockstep::{
    api::CoordinatedWorkload,
    cli::show::{
        Page, View, locks,
        pods::PodLine,
        standing::Standing,
        status,
        text::{columns, wrap},
        why,
    },
};
use serde::Deserialize;

/// Where the stories are told.
const TOLD: &str = "src/domain/simulation/told";

#[derive(Deserialize)]
pub(crate) struct Told {
    pub(crate) now: Timestamp,
    pub(crate) resource: CoordinatedWorkload,
    pods: Vec<ToldPod>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldPod {
    name: String,
    ready: usize,
    containers: usize,
    terminating: bool,
    restarts: i32,
    ready_since: Option<Timestamp>,
}

/// The stories, by name.
pub(crate) fn stories() -> Vec<(String, Told)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(TOLD);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "snap"));
    paths.sort();
    let told = paths.into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let (_, told) = text.split_once("\n---\n").unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(told).unwrap())
    });
    told.collect()
}

/// The pods as they were then.
pub(crate) fn pods(told: &Told) -> Vec<PodLine> {
    let line = |pod: &ToldPod| PodLine {
        name: pod.name.clone(),
        ready: (pod.ready, pod.containers),
        status: if pod.terminating { "Terminating" } else { "Running" }.to_owned(),
        restarts: pod.restarts,
        created: pod.ready_since,
    };
    told.pods.iter().map(line).collect()
}

/// What the three commands say, without colour.
pub(crate) fn shown(view: &View<'_>) -> String {
    let text = format!(
        "$ kubectl lockstep status shop\n{}exit {:?}\n\n$ kubectl lockstep locks shop\n{}{}\n$ kubectl lockstep why shop\n{}",
        status::page(view),
        Standing::of(view),
        if view.rows().is_empty() {
            String::new()
        } else {
            locks::table(view, false)
        },
        locks::notes(view)
            .iter()
            .map(|note| wrap(note, view.page.text, ""))
            .collect::<String>(),
        why::page(view),
    );
    anstream::adapter::strip_str(&text).to_string()
}

/// Lines that don't look right at 80 columns.
pub(crate) fn unfit(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| columns(line) > 80 || line.trim_end() != *line)
        .collect()
}

#[test]
fn every_story_as_it_is_shown() {
    let stories = stories();
    assert!(stories.len() >= 5, "only {} stories", stories.len());
    let (mut different, mut unfit) = (vec![], vec![]);
    for (name, told) in &stories {
        let pods = pods(told);
        let view = View::new(&told.resource, Some(&pods), told.now, Page::terminal(80));
        let text = shown(&view);
        unfit.extend(self::unfit(&text).iter().map(|line| format!("{name}: {line}")));
        let compare = || {
            insta::with_settings!({
                snapshot_path => "stories",
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, {
                insta::assert_snapshot!(name.as_str(), text);
            });
        };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(compare)).is_err() {
            different.push(name);
        }
    }
    assert_eq!(
        different,
        Vec::<&String>::new(),
        "read what changed above, then take it over"
    );
    assert!(
        unfit.is_empty(),
        "wider than 80 columns, or with blanks at the end:\n{}",
        unfit.join("\n")
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/stories");
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let known = stories
            .iter()
            .any(|(name, _)| file == format!("{name}.snap") || file == format!("{name}.snap.new"));
        assert!(known, "{file} is the snapshot of no story");
    }
}

/// What the documentation shows is what is shown.
#[test]
fn the_samples_of_the_documentation_are_from_stories() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/cli.md")).unwrap();
    let samples: Vec<_> = text
        .split("```console\n")
        .skip(1)
        .map(|rest| rest.split_once("\n```").unwrap().0)
        .collect();
    assert_eq!(samples.len(), 3, "status, locks and why");
    let shown: Vec<_> = fs::read_dir(root.join("tests/cli/stories"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for sample in samples {
        assert!(
            shown.iter().any(|story| story.contains(sample)),
            "not shown any more:\n{sample}"
        );
    }
}
