//! `check`: what can be said of a manifest before it is applied. Pure.

use std::fmt::Write as _;

use jiff::SignedDuration;

use super::{
    Page, age,
    table::{Cell, Table},
    text::{Tone, clean, counted, paint, wrap},
};
use crate::{
    api::{CoordinatedWorkload, spec::Duration, status::Advisory},
    domain::{
        advisory::{Advised, advise},
        children::{Children, Prepared},
        drift::Drift,
        finding::joined,
        locks::Mono,
        memory::Memory,
        neighbours::Neighbours,
        repeats::Repeats,
        workload::{LockSet, Workload},
    },
};

/// What is wrong with a manifest: one line for each fault.
#[must_use]
pub fn faults(place: &str, faults: &[String], page: Page) -> String {
    let mut text = format!(
        "{}: {}\n",
        clean(place),
        paint(Tone::Bad, &counted(faults.len(), "fault"))
    );
    for fault in faults {
        text += &wrap(&clean(fault), page.text, "  ");
    }
    text
}

/// What a name must be, if it isn't.
#[must_use]
pub fn name_fault(resource: &CoordinatedWorkload) -> Option<String> {
    let name = resource.metadata.name.as_deref().unwrap_or_default();
    let of_letters = name
        .bytes()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-');
    let is_label = name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.ends_with('-');
    (name.len() > 46 || !of_letters || !is_label).then(|| {
        "metadata.name: must be at most 46 lower-case letters, digits and '-', with a letter first and no '-' last, since \
         every child has this name and the names of the pods are made from it"
            .to_owned()
    })
}

/// The advice that a spec alone gives rise to.
#[must_use]
pub fn advice(resource: &CoordinatedWorkload, workload: &Workload) -> Vec<Advisory> {
    advise(&Advised {
        spec: &resource.spec,
        workload,
        deployment: None,
        store: None,
        neighbours: &Neighbours::default(),
        drift: &Drift::default(),
        repeats: &Repeats::default(),
        now: Mono::default(),
        previous: &[],
    })
}

/// What a valid manifest will do: its children, how long its locks may be without a holder, and advice. `unsure`: fields
/// that this version doesn't know.
#[must_use]
pub fn page(
    place: &str,
    workload: &Workload,
    children: &Children<Prepared>,
    advice: &[Advisory],
    unsure: &[String],
    page: Page,
) -> String {
    let mut text = format!(
        "{}: CoordinatedWorkload {} {}\n",
        clean(place),
        clean(&workload.name),
        paint(Tone::Good, "can be used")
    );
    let kinds: Vec<_> = children
        .iter()
        .filter(|(_, intent)| intent.is_some())
        .map(|(kind, _)| kind.kind().to_owned())
        .collect();
    text += &wrap(&format!("It becomes {}.", joined(&kinds)), page.text, "  ");
    if !workload.locks.is_empty() {
        text += &failovers(workload, page);
    }
    for field in unsure {
        let words = format!(
            "{} is not known to this version: the apiserver will tell.",
            clean(field)
        );
        text += &wrap(&words, page.text, "  ");
    }
    for advisory in advice {
        let _ = writeln!(text, "\n  {}", paint(Tone::Unsure, &clean(&advisory.code)));
        text += &wrap(&clean(&advisory.message), page.text, "    ");
    }
    text
}

/// How long a lock stays without a holder at worst, set by set: a holder that dies just after a renewal keeps it for a
/// ttl, and whoever tried just before it became free tries again after the retry interval.
fn failovers(workload: &Workload, page: Page) -> String {
    let mut table = Table::new(
        &[
            "SET",
            "HOLD",
            "LOCKS",
            "TTL",
            "RENEWED",
            "RETRIED",
            "WORST FAILOVER",
        ],
        &[0],
    );
    let mut is_assumed = false;
    for set in &workload.locks {
        let mark = |assumed: bool, text: String| {
            is_assumed |= assumed;
            if assumed { format!("{text}*") } else { text }
        };
        table.push(row(set, mark));
    }
    let width = page.table.saturating_sub(2);
    let mut text = String::from("\n");
    for line in table.render(width).lines() {
        let _ = writeln!(text, "  {line}");
    }
    if is_assumed {
        text += &wrap(
            "* not in the spec: the library's own, or assumed.",
            page.text,
            "  ",
        );
    }
    text += &wrap(
        "A holder that dies leaves its lock to nobody for up to ttl + retryInterval.",
        page.text,
        "  ",
    );
    text
}

fn row(set: &LockSet, mut mark: impl FnMut(bool, String) -> String) -> Vec<Cell> {
    let short = |duration: std::time::Duration| {
        // Milliseconds matter here, which an age leaves out.
        if duration.subsec_millis() == 0 {
            age::short(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
        } else {
            Duration::from(duration).0
        }
    };
    // Nobody has seen a lock yet.
    let ttl = Memory::default().ttl(set);
    let locks = match (set.locks.len(), set.queues.len(), set.discover.is_some()) {
        (0, 0, _) => "found".to_owned(),
        (locks, 0, false) => locks.to_string(),
        (locks, 0, true) => format!("{locks} + found"),
        (_, queues, _) => counted(queues, "queue"),
    };
    let worst = short(ttl.saturating_add(set.retry_interval));
    vec![
        clean(&set.name).into(),
        format!("{:?}", set.hold).into(),
        locks.into(),
        mark(set.assumed.ttl, short(ttl)).into(),
        match set.renew_interval {
            Some(interval) => mark(set.assumed.renew_interval, short(interval)).into(),
            None => "never".into(),
        },
        mark(set.assumed.retry_interval, short(set.retry_interval)).into(),
        Cell::new(worst, Tone::Strong),
    ]
}
