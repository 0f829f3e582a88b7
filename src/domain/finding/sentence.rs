//! What is wrong with locks, in one sentence: which, whose, since when, why. Pure.

use std::{collections::HashSet, fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::{Finding, Problem, Unheld, listed, named, time};
use crate::{api::spec, domain::memory::Loss};

/// What is wrong with all of `group`, of which `first` is one.
pub(super) fn sentence(first: &Finding, group: &[&Finding]) -> String {
    let names: Vec<_> = group.iter().map(|finding| finding.lock.as_str()).collect();
    let lock = format!("{} (set {})", listed(&names), first.set);
    let many = group.len() > 1;
    let one_or_many = |one: &'static str, many_: &'static str| if many { many_ } else { one };
    let (is, has, them) = (
        one_or_many("is", "are"),
        one_or_many("has", "have"),
        one_or_many("it", "them"),
    );
    match &first.problem {
        Problem::Lost(loss) => lost(&lock, loss, group),
        Problem::Unheld { history, since } => unheld(&lock, history, *since, many),
        Problem::Overdue {
            since,
            by,
            still,
            every,
        } => overdue(&lock, *since, by.as_ref(), still.as_ref(), *every, many),
        Problem::Malformed { key, wrong_type } => {
            let keys = one_or_many("the key", "keys such as");
            let what = if *wrong_type {
                "a type in which this dialect keeps no locks"
            } else {
                "a value that does not have the form that the dialect writes"
            };
            format!("{lock} {has} {what}, at {keys} {key}")
        }
        Problem::NoExpiry { pod, key, orphaned } => {
            let keys = one_or_many("the key", "keys such as");
            let pod = named(pod.as_ref());
            if *orphaned {
                let belongs = one_or_many("belongs", "belong");
                format!(
                    "{lock} still {belongs} to {pod}, which is gone, and {has} no expiry, at {keys} {key}: nobody else can \
                     take {them}"
                )
            } else {
                let stays = one_or_many("it stays if its", "they stay if their");
                format!("{lock}, held by {pod}, {has} no expiry, at {keys} {key}: {stays} holder dies")
            }
        }
        Problem::Foreign { ghost: Some(pod), .. } => {
            format!(
                "{lock} {is} renewed under the name of {pod}, a pod that no longer exists: its process runs on"
            )
        }
        Problem::Foreign {
            ghost: None,
            other: Some((pod, workload)),
        } => format!("{lock} {is} held by {pod}, a pod of CoordinatedWorkload {workload}"),
        Problem::Foreign {
            ghost: None,
            other: None,
        } => {
            format!("{lock} {is} held by an unknown holder, no pod of this workload")
        }
        Problem::Overheld {
            pod,
            allowed,
            orphaned,
            ..
        } => overheld(&lock, named(pod.as_ref()), *allowed, *orphaned, group),
        Problem::Orphaned { pod, restarted, .. } => orphaned(&lock, pod, *restarted, group),
    }
}

fn unheld(lock: &str, history: &Unheld, since: Option<Timestamp>, many: bool) -> String {
    let since = since.map_or_else(String::new, |since| format!(" since {}", time(since)));
    match history {
        Unheld::NeverSeen { place } => {
            let place = if many {
                place.replacen(", key ", ", keys such as ", 1)
            } else {
                place.clone()
            };
            format!("nobody was seen to hold {lock} since the pods are ready; read at {place}")
        }
        Unheld::GivenUp { by } => format!(
            "nobody holds {lock}{since}: given up by {} and not taken again",
            named(by.as_ref())
        ),
        Unheld::RanOut { by } => {
            let (they, were) = if many { ("they", "were") } else { ("it", "was") };
            format!(
                "nobody holds {lock}{since}: {they} ran out for {} and {were} not taken again",
                named(by.as_ref())
            )
        }
        Unheld::Unexplained => format!("nobody holds {lock}{since}; how the last hold ended was not seen"),
        Unheld::Untold => format!("nobody holds {lock}{since}"),
    }
}

fn overdue(
    lock: &str,
    since: Option<Timestamp>,
    by: Option<&Option<String>>,
    still: Option<&Option<String>>,
    every: Duration,
    many: bool,
) -> String {
    let (it_is, it) = if many {
        ("they are", "them")
    } else {
        ("it is", "it")
    };
    let every = spec::Duration::from(every);
    let since = since.map_or_else(
        || format!(" for longer than {every} and a ttl"),
        |since| {
            let took = by.map(|pod| format!(", when {} did", named(pod.as_ref())));
            format!(" since {}{}", time(since), took.unwrap_or_default())
        },
    );
    let still = match still {
        Some(pod) => format!("; {} holds {it} still", named(pod.as_ref())),
        None => String::new(),
    };
    format!("nobody has taken {lock}{since}, though {it_is} to be taken every {every}{still}")
}

/// Of several the moments of the first: the others follow.
fn overheld(lock: &str, who: &str, allowed: Duration, is_orphaned: bool, group: &[&Finding]) -> String {
    let many = group.len() > 1;
    let text = spec::Duration::from(allowed);
    if is_orphaned {
        let belongs = if many { "belong" } else { "belongs" };
        return format!(
            "{lock} still {belongs} to {who}, whose process ended, for longer than the maxHold of {text}"
        );
    }
    let begun = group.iter().filter_map(|finding| {
        let Problem::Overheld { since, .. } = finding.problem else {
            return None;
        };
        since
    });
    let begun = begun.min();
    let until = begun.and_then(|since| since.checked_add(allowed).ok());
    let (are, first, it) = if many {
        ("are", ", the first", "the first")
    } else {
        ("is", "", "it")
    };
    let (since, until) = match begun.zip(until) {
        Some((since, until)) => (
            format!("{first} since {}", time(since)),
            format!(": {it} was to be free by {}", time(until)),
        ),
        None => Default::default(),
    };
    format!("{lock} {are} held by {who}{since}, for longer than the maxHold of {text}{until}")
}

fn orphaned(lock: &str, pod: &str, restarted: bool, group: &[&Finding]) -> String {
    let many = group.len() > 1;
    let why = if restarted {
        "whose container restarted since"
    } else {
        "which is gone"
    };
    let belongs = if many { "belong" } else { "belongs" };
    let frees = group.iter().map(|finding| {
        let Problem::Orphaned { frees_at, .. } = finding.problem else {
            return None;
        };
        frees_at
    });
    let frees = match frees.collect::<Option<Vec<_>>>().map(|all| all.into_iter().max()) {
        Some(Some(last)) if many => format!("all are free by {}", time(last)),
        Some(Some(last)) => format!("it frees at {}", time(last)),
        Some(None) | None => {
            let they = if many { "they do" } else { "it does" };
            format!("without an expiry {they} not free")
        }
    };
    format!("{lock} still {belongs} to {pod}, {why}; {frees}")
}

/// Whose the locks were, when they went, and why.
fn lost(lock: &str, loss: &Loss, group: &[&Finding]) -> String {
    let losses: Vec<&Loss> = group
        .iter()
        .filter_map(|finding| {
            let Problem::Lost(loss) = &finding.problem else {
                return None;
            };
            Some(loss)
        })
        .collect();
    let mut seen = HashSet::new();
    let pods = losses.iter().map(|loss| named(loss.from.as_ref()));
    let pods: Vec<_> = pods.filter(|pod| seen.insert(*pod)).collect();
    let times = || losses.iter().map(|loss| loss.when);
    let (begin, end) = (
        times().min().unwrap_or(loss.when),
        times().max().unwrap_or(loss.when),
    );
    let when = if time(begin) == time(end) {
        format!("at {}", time(begin))
    } else {
        format!("between {} and {}", time(begin), time(end))
    };
    let were = if group.len() > 1 { "were" } else { "was" };
    let mut text = format!("{lock} {were} lost by {} {when}", listed(&pods));
    if !loss.cause.is_empty() {
        let _ = write!(text, ": {}", loss.cause);
    }
    if !loss.detail.is_empty() {
        let _ = write!(text, " ({})", loss.detail);
    }
    text
}
