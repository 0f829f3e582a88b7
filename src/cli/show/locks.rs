//! `locks`: one line per lock, as status has them. Pure.

use jiff::Timestamp;

use super::{
    Grade, View, age,
    table::{Cell, Table},
    text::{Tone, clean, counted},
};
use crate::api::status::{Flag, LockState, Row};

/// The table. In the wide one nothing is shortened, and the full keys are added.
#[must_use]
pub fn table(view: &View<'_>, is_wide: bool) -> String {
    let rows: Vec<&Row> = view.rows().iter().collect();
    if is_wide {
        return wide(view, &rows);
    }
    narrow(view, &rows, view.page.table)
}

/// The rows that fit a line of `width`.
#[must_use]
pub fn narrow(view: &View<'_>, rows: &[&Row], width: usize) -> String {
    let has_sets = view.has_many_sets();
    let mut head = vec!["LOCK"];
    if has_sets {
        head.push("SET");
    }
    head.extend(["STATE", "POD", "FOR", "FREES IN"]);
    let elastic = if has_sets { &[0, 1, 3][..] } else { &[0, 2][..] };
    let mut table = Table::new(&head, elastic);
    for row in rows {
        let mut cells = vec![Cell::from(clean(&row.name))];
        if has_sets {
            cells.push(clean(&row.set).into());
        }
        cells.extend([
            Cell::new(state(row), tone(view.grade(row))),
            pod(row).into(),
            since(row, view.now).into(),
            frees_in(row, view.now).into(),
        ]);
        table.push(cells);
    }
    table.render(width)
}

fn wide(view: &View<'_>, rows: &[&Row]) -> String {
    let head = ["LOCK", "SET", "STATE", "POD", "FOR", "FREES IN", "SINCE", "KEY"];
    let mut table = Table::new(&head, &[]);
    for row in rows {
        table.push([
            Cell::from(clean(&row.name)),
            clean(&row.set).into(),
            Cell::new(state(row), tone(view.grade(row))),
            pod(row).into(),
            since(row, view.now).into(),
            frees_in(row, view.now).into(),
            row.since
                .as_ref()
                .map_or("-".to_owned(), |since| since.0.to_string())
                .into(),
            key(view, row).map_or("-".to_owned(), |key| clean(&key)).into(),
        ]);
    }
    table.render(usize::MAX)
}

/// That all of it is old.
#[must_use]
pub fn age_note(view: &View<'_>) -> Option<String> {
    view.abandonment("this is")
}

/// What the table doesn't say.
#[must_use]
pub fn notes(view: &View<'_>) -> Vec<String> {
    let mut notes: Vec<String> = age_note(view).into_iter().chain(view.caveat()).collect();
    let Some(locks) = view.locks() else {
        if notes.is_empty() {
            notes.push(format!("{} names no locks: spec.locks is empty.", view.name()));
        }
        return notes;
    };
    if locks.rows.is_empty() && notes.is_empty() {
        notes.push(
            "Nothing is wrong with the locks, and none of them must be held at all times: only such locks, and those with \
             which something is wrong, are listed."
                .to_owned(),
        );
    }
    if locks.rows_omitted > 0 {
        let omitted = usize::try_from(locks.rows_omitted).unwrap_or_default();
        notes.push(format!(
            "{} more, no worse than these, had no room in status.",
            counted(omitted, "lock")
        ));
    }
    notes
}

/// The full key of a declared lock.
#[must_use]
pub fn key(view: &View<'_>, row: &Row) -> Option<String> {
    let locks = &view.set(&row.set)?.locks;
    let lock = locks.iter().find(|lock| lock.name == row.name)?;
    Some(lock.key.clone())
}

/// The state and its flags.
#[must_use]
pub fn state(row: &Row) -> String {
    let mut text = format!("{:?}", row.state);
    for flag in &row.flags {
        text.push(',');
        text.push_str(match flag {
            Flag::Lost => "Lost",
            Flag::Malformed => "Malformed",
            Flag::NoExpiry => "NoExpiry",
            Flag::Overheld => "Overheld",
        });
    }
    text
}

/// Who holds it, or held it.
fn pod(row: &Row) -> String {
    let pod = row.pod.as_deref().map(clean);
    match row.state {
        LockState::Unheld => pod.map_or("-".to_owned(), |pod| format!("was {pod}")),
        LockState::Foreign => pod.unwrap_or_else(|| "an unknown holder".to_owned()),
        LockState::Unattributed => pod.unwrap_or_else(|| "can't be told".to_owned()),
        LockState::Unknown | LockState::Orphaned | LockState::Held => pod.unwrap_or_else(|| "-".to_owned()),
    }
}

fn since(row: &Row, now: Timestamp) -> String {
    row.since
        .as_ref()
        .map_or("-".to_owned(), |since| age::ago(since.0, now))
}

fn frees_in(row: &Row, now: Timestamp) -> String {
    if row.flags.contains(&Flag::NoExpiry) && row.state != LockState::Unheld {
        return "never".to_owned();
    }
    row.frees_at
        .as_ref()
        .map_or("-".to_owned(), |frees| age::short(now.duration_until(frees.0)))
}

fn tone(grade: Grade) -> Tone {
    match grade {
        Grade::Good => Tone::Good,
        Grade::Unsure => Tone::Unsure,
        Grade::Bad => Tone::Bad,
    }
}
