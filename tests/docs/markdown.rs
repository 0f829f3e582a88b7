//! How Markdown is read: sections, tables, code. Pure.

use std::collections::BTreeSet;

use regex::Regex;

/// What stands under a heading of this level, up to the next of the same or a higher one.
pub(crate) fn section<'t>(text: &'t str, level: usize, heading: &str) -> &'t str {
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
pub(crate) fn headings(text: &str, level: usize) -> Vec<&str> {
    let mark = format!("{} ", "#".repeat(level));
    text.lines().filter_map(|line| line.strip_prefix(&mark)).collect()
}

/// The rows of the first table of a text, without its head.
pub(crate) fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().skip_while(|line| !line.starts_with('|'));
    lines
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The text of a cell that is nothing but code; else the whole cell, which is no name.
pub(crate) fn name<'t>(row: &[&'t str]) -> &'t str {
    let cell = row.first().copied().unwrap_or_default();
    cell.strip_prefix('`')
        .and_then(|rest| rest.strip_suffix('`'))
        .unwrap_or(cell)
}

/// Fenced blocks of this language.
pub(crate) fn fenced<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let mark = format!("```{language}\n");
    text.split(&mark)
        .skip(1)
        .map(|rest| rest.split_once("\n```").map_or(rest, |(block, _)| block))
        .collect()
}

/// Everything that is marked as code: spans, indented lines and fenced lines.
pub(crate) fn code(text: &str) -> Vec<&str> {
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

pub(crate) fn matches<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
    let regex = Regex::new(pattern).unwrap();
    regex
        .captures_iter(text)
        .map(|found| found.get(1).unwrap().as_str())
        .collect()
}
/// `what` has exactly the wanted names, each once, and a last cell that says something.
pub(crate) fn table_faults(what: &str, rows: &[Vec<&str>], wanted: &BTreeSet<&str>) -> Vec<String> {
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

/// A heading as forges write it in an address.
pub(crate) fn slug(heading: &str) -> String {
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
