//! `recent[]`: what happened lately, one sentence each, the newest first. Pure.

use std::fmt::Write as _;

use super::{
    View, age,
    text::{clean, wrap},
};
use crate::{
    api::status::{Flag, Incident},
    domain::{finding::joined, memory::Cause},
};

/// What stands before a sentence's second line, below its first word.
const INDENT: &str = "             ";

/// The sentences, each with how long ago it was.
#[must_use]
pub fn lines(view: &View<'_>) -> String {
    let mut text = String::new();
    let recent = &view.status().recent;
    let together = recent.chunk_by(|one, other| {
        Incident {
            lock: None,
            ..one.clone()
        } == Incident {
            lock: None,
            ..other.clone()
        }
    });
    for incidents in together {
        let Some(first) = incidents.first() else { continue };
        let ago = age::ago(first.when.0, view.now);
        let names: Vec<_> = incidents
            .iter()
            .filter_map(|incident| incident.lock.as_deref())
            .map(clean)
            .collect();
        let wrapped = wrap(&sentence(view, first, &names), view.page.text, INDENT);
        let _ = write!(text, "  {ago:>6} ago ");
        text += wrapped.trim_start();
    }
    text
}

/// What happened to these locks; without any, to the store.
fn sentence(view: &View<'_>, incident: &Incident, locks: &[String]) -> String {
    let cause = clean(&incident.cause);
    let gap = incident.gap.as_deref().map(clean);
    if locks.is_empty() {
        return match gap {
            Some(gap) => format!("Redis gave no usable answers for {gap} ({cause})."),
            None => format!("Redis has given no usable answers since then ({cause})."),
        };
    }
    let were = if locks.len() == 1 { "was" } else { "were" };
    let lock = joined(locks);
    let set = match &incident.set {
        Some(set) if view.has_many_sets() => format!(" (set {})", clean(set)),
        Some(_) | None => String::new(),
    };
    let from = incident
        .from
        .as_deref()
        .map_or("an unknown holder".to_owned(), clean);
    let how = match words(&incident.cause) {
        Some(words) => format!("{cause}, {words}"),
        None => cause,
    };
    let then = match (&incident.to, gap) {
        (Some(to), Some(gap)) if to.as_str() == from => format!("taken again by the same pod after {gap}"),
        (Some(to), Some(gap)) => format!("taken by {} after {gap}", clean(to)),
        (Some(to), None) => format!("then held by {}; since when was not seen", clean(to)),
        (None, Some(gap)) => format!("held again after {gap}"),
        (None, None) if is_open(view, incident) => "not taken since".to_owned(),
        (None, None) => "who held it next was not seen".to_owned(),
    };
    format!("{lock}{set} {were} lost by {from} ({how}); {then}.")
}

/// Whether the loss is not yet made good.
fn is_open(view: &View<'_>, incident: &Incident) -> bool {
    let is_meant = |row: &&crate::api::status::Row| {
        Some(&row.set) == incident.set.as_ref() && Some(&row.name) == incident.lock.as_ref()
    };
    view.rows()
        .iter()
        .find(is_meant)
        .is_some_and(|row| row.flags.contains(&Flag::Lost))
}

/// What a cause means; `None`: a newer operator's.
fn words(cause: &str) -> Option<&'static str> {
    let causes = [
        (
            Cause::StoreFailover,
            "another server answered, or one without its data",
        ),
        (Cause::Flushed, "everything in Redis was deleted"),
        (Cause::ClockJump, "the server's clock was set"),
        (Cause::Unexplained, "nobody was watching"),
        (Cause::HolderGone, "its process had ended"),
        (Cause::Expired, "not renewed in time"),
        (Cause::Evicted, "probably evicted to make room"),
        (Cause::Released, "given up"),
    ];
    causes
        .into_iter()
        .find(|(known, _)| known.as_str() == cause)
        .map(|(_, words)| words)
}
