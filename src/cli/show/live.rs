//! What the operator counts of each lock set, as text: status leaves it out, since it ticks. Pure.
//!
//! In: a page of metrics (`OpenMetrics` text) as the operator serves it. Out: every series that belongs to a set of one
//! workload, set by set. Nothing is known here of single metrics, so that those of a newer operator are shown as well; a
//! histogram is shown as the bounds of its buckets say, since no more is known of what lies between two of them.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use textwrap::Options;

use super::{
    Page, age,
    text::{Tone, clean, columns, paint, wrap},
};

/// What all metrics of the operator begin with.
const PREFIX: &str = "lockstep_";
/// Shares of what was measured, and what they are called.
const SHARES: [(f64, &str); 2] = [(0.5, "median"), (0.99, "99%")];

/// One sample.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// What is counted of one set.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Continuous or Intermittent.
    pub hold: String,
    /// Each metric in words, and what it shows, in the order of the page.
    pub figures: Vec<(String, String)>,
}

/// Reads what is counted of a workload's sets, in the order of the page. `None`: it is no page of this operator.
#[must_use]
pub fn read(page: &str, namespace: &str, name: &str) -> Option<Vec<Set>> {
    let samples: Vec<Sample> = page.lines().filter_map(sample).collect();
    if !samples.iter().any(|sample| sample.name.starts_with(PREFIX)) {
        return None;
    }
    let mut sets: Vec<(String, String, Vec<Sample>)> = vec![];
    for mut sample in samples {
        let is_label = |label: &str, value: &str| sample.labels.get(label).is_some_and(|is| is == value);
        if !is_label("namespace", namespace) || !is_label("name", name) {
            continue;
        }
        let Some(set) = sample.labels.remove("set") else {
            continue;
        };
        let hold = sample.labels.remove("hold").unwrap_or_default();
        sample
            .labels
            .retain(|label, _| label != "namespace" && label != "name");
        match sets.iter_mut().find(|known| known.0 == set && known.1 == hold) {
            Some((_, _, samples)) => samples.push(sample),
            None => sets.push((set, hold, vec![sample])),
        }
    }
    let read = sets.into_iter().map(|(name, hold, samples)| Set {
        name,
        hold,
        figures: figures(&samples),
    });
    Some(read.collect())
}

/// One line of the page; `None`: it is no sample.
fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    if name.starts_with('#') || name.is_empty() {
        return None;
    }
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((label, after)) = rest.split_once("=\"") {
            let (value, after) = quoted(after)?;
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            rest = after;
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
        }
        rest = rest.strip_prefix('}').unwrap_or(rest);
    }
    // A time and an exemplar may follow.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The text up to the quotation mark that ends it, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// The samples of one set, metric by metric.
fn figures(samples: &[Sample]) -> Vec<(String, String)> {
    let mut families: Vec<(&str, Vec<&Sample>)> = vec![];
    for sample in samples {
        let family = family(&sample.name, samples);
        match families.iter_mut().find(|(known, _)| *known == family) {
            Some((_, members)) => members.push(sample),
            None => families.push((family, vec![sample])),
        }
    }
    let told = families.into_iter().map(|(family, members)| {
        let is_time = family.ends_with("_seconds");
        let words = family.trim_start_matches(PREFIX).trim_end_matches("_seconds");
        (words.replace('_', " "), figure(&members, is_time))
    });
    told.collect()
}

/// What a sample belongs to: those of a histogram belong together.
fn family<'n>(name: &'n str, samples: &[Sample]) -> &'n str {
    for part in ["_bucket", "_count", "_sum"] {
        let whole = name.strip_suffix(part).filter(|whole| {
            samples
                .iter()
                .any(|other| other.name.strip_suffix("_bucket") == Some(*whole))
        });
        if let Some(whole) = whole {
            return whole;
        }
    }
    name.strip_suffix("_total").unwrap_or(name)
}

/// What one metric shows.
fn figure(members: &[&Sample], is_time: bool) -> String {
    let unit = |value: f64| if is_time { time(value) } else { format!("{value}") };
    if members.iter().any(|sample| sample.name.ends_with("_bucket")) {
        return distribution(members, unit);
    }
    let parts: Vec<_> = members
        .iter()
        .filter(|sample| sample.labels.is_empty() || sample.value != 0.0)
        .map(|sample| {
            let labels: Vec<_> = sample.labels.values().map(|label| clean(label)).collect();
            let value = unit(sample.value);
            if labels.is_empty() {
                value
            } else {
                format!("{} {value}", labels.join(" "))
            }
        })
        .collect();
    if parts.is_empty() {
        "0".to_owned()
    } else {
        parts.join(", ")
    }
}

/// How many there were, and below which bounds most of them lay.
fn distribution(members: &[&Sample], unit: impl Fn(f64) -> String) -> String {
    let mut buckets: Vec<(f64, f64)> = members
        .iter()
        .filter_map(|sample| Some((sample.labels.get("le")?.parse().ok()?, sample.value)))
        .collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let Some((_, count)) = buckets.last().copied().filter(|(_, count)| *count > 0.0) else {
        return "none".to_owned();
    };
    let shares = SHARES.iter().filter_map(|(share, name)| {
        let at = buckets.iter().position(|(_, below)| *below >= share * count)?;
        let (bound, _) = buckets.get(at)?;
        // Beyond the last bound that there is.
        Some(if bound.is_infinite() {
            let last = at
                .checked_sub(1)
                .and_then(|before| buckets.get(before))
                .map_or(0.0, |last| last.0);
            format!("{name} over {}", unit(last))
        } else {
            format!("{name} up to {}", unit(*bound))
        })
    });
    format!("{count}: {}", shares.collect::<Vec<_>>().join(", "))
}

/// Seconds for people.
fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{}ms", (seconds * 1000.0).round());
    }
    // Whole seconds would say less of the bounds of short gaps.
    if seconds < 10.0 {
        return format!("{seconds}s");
    }
    SignedDuration::try_from_secs_f64(seconds).map_or_else(|_| format!("{seconds}s"), age::short)
}

/// All of it: `who` counts.
#[must_use]
pub fn page(who: &str, name: &str, sets: &[Set], page: Page) -> String {
    let mut text = wrap(
        &format!(
            "Counted by {} since it began to look after {}.",
            clean(who),
            clean(name)
        ),
        page.text,
        "",
    );
    let names = sets
        .iter()
        .flat_map(|set| &set.figures)
        .map(|(name, _)| columns(name));
    let width = names.max().unwrap_or_default();
    for set in sets {
        let title = format!("{} ({})", clean(&set.name), clean(&set.hold));
        text.push('\n');
        text += &paint(Tone::Strong, &title);
        text.push('\n');
        for (name, value) in &set.figures {
            let name = clean(name);
            let blanks = " ".repeat(width.saturating_sub(columns(&name)) + 2);
            let (first, rest) = (format!("  {name}{blanks}"), " ".repeat(width + 4));
            let options = Options::new(page.text)
                .initial_indent(&first)
                .subsequent_indent(&rest)
                .break_words(false);
            text += &textwrap::fill(value, options);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let read = |line: &str| {
            let sample = sample(line).unwrap();
            let labels: Vec<_> = sample.labels.into_iter().collect();
            (sample.name, labels, sample.value.to_string())
        };
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("a 1"), ("a".into(), vec![], "1".into()));
        assert_eq!(
            read(r#"a_total{x="1",y="a\"b\\c, d=\"e\"}\nf"} 2.5 1700000000 # {t="1"} 1"#),
            (
                "a_total".into(),
                vec![label("x", "1"), label("y", "a\"b\\c, d=\"e\"}\nf")],
                "2.5".into()
            )
        );
        assert_eq!(read("a{} NaN").2, "NaN");
        assert_eq!(
            read(r#"a_bucket{le="+Inf"} 3"#),
            ("a_bucket".into(), vec![label("le", "+Inf")], "3".into())
        );
        for line in [
            "",
            "# TYPE a counter",
            "# EOF",
            "a",
            r#"a{x="1"#,
            r#"a{x="1"} one"#,
        ] {
            assert_eq!(sample(line), None, "{line}");
        }
    }

    #[test]
    fn a_distribution_is_what_its_bounds_say() {
        let bucket = |bound: &str, value: f64| Sample {
            name: "gap_seconds_bucket".into(),
            labels: BTreeMap::from([("le".to_owned(), bound.to_owned())]),
            value,
        };
        let said = |counts: [f64; 4]| {
            let samples: Vec<_> = ["0.5", "10.0", "60.0", "+Inf"]
                .iter()
                .zip(counts)
                .map(|(bound, count)| bucket(bound, count))
                .collect();
            distribution(&samples.iter().collect::<Vec<_>>(), time)
        };
        assert_eq!(said([0.0, 0.0, 0.0, 0.0]), "none");
        assert_eq!(
            said([1.0, 1.0, 1.0, 1.0]),
            "1: median up to 500ms, 99% up to 500ms"
        );
        assert_eq!(
            said([50.0, 60.0, 98.0, 100.0]),
            "100: median up to 500ms, 99% over 60s"
        );
        assert_eq!(
            said([49.0, 60.0, 99.0, 100.0]),
            "100: median up to 10s, 99% up to 60s"
        );
    }
}
