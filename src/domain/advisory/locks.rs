//! Advice on the timings of the lock sets.

use std::{collections::BTreeMap, time::Duration};

use super::{Advice, Advised, listed};
use crate::{
    api::{
        CoordinatedWorkloadSpec,
        conditions::AdvisoryCode,
        spec::{self, Hold},
    },
    domain::{
        locks::{
            KeySnapshot, KeyState, Link, Mono, Observation,
            dialect::{self, Defaults, Named},
        },
        workload::LockSet,
    },
};

/// Kubernetes' own default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: u64 = 30;
/// By how much a longer expiry than `ttl` must be longer: libraries add a little for clocks that drift.
const LONGER: Duration = Duration::from_secs(1);
/// How old the shortest look at a renewed expiry may be: longer than the interval of polling.
const LOOK: Duration = Duration::from_secs(5);

/// Timings of a set as far as they are settled: given, or the dialect's.
struct Timings {
    ttl: Option<Duration>,
    renew_interval: Option<Duration>,
    /// What the library does by default.
    defaults: &'static Defaults,
}

/// By the spec, since sets that this version can't observe have timings too.
fn timings(set: &spec::LockSet) -> Timings {
    let given = |duration: &Option<spec::Duration>| duration.as_ref().and_then(|given| given.parse().ok());
    let defaults = dialect::defaults(set.dialect);
    Timings {
        ttl: given(&set.ttl).or(defaults.ttl),
        renew_interval: given(&set.renew_interval).or(defaults.renew_interval),
        defaults,
    }
}

/// Work under a lock that a pod can't finish within its grace: killed in the middle, and the lock stays taken.
///
/// A `maxHold` bounds work only where locks are taken for work; the holder of a Continuous lock stops when it is told.
pub(super) fn grace_shorter_than_hold(spec: &CoordinatedWorkloadSpec) -> Option<Advice> {
    let pod = spec.template.get("spec");
    let given = pod
        .and_then(|pod| pod.get("terminationGracePeriodSeconds"))
        .and_then(serde_json::Value::as_u64);
    let grace = Duration::from_secs(given.unwrap_or(DEFAULT_GRACE));
    let longest = |set: &spec::LockSet| {
        let max_hold = set.max_hold.as_ref().and_then(|max_hold| max_hold.parse().ok());
        if let Some(max_hold) = max_hold.filter(|_| set.hold == Hold::Intermittent) {
            return Some((max_hold, "maxHold", ""));
        }
        let timings = timings(set);
        let ttl = timings.ttl.filter(|_| timings.renew_interval.is_none())?;
        Some((ttl, "ttl", ", which nobody renews,"))
    };
    let sets: Vec<_> = spec
        .locks
        .iter()
        .filter_map(|set| Some((set, longest(set)?)))
        .filter(|(_, (longest, ..))| *longest > grace)
        .map(|(set, (longest, field, aside))| {
            format!("{field} of set {}{aside} is {}", set.name, text(longest))
        })
        .collect();
    (!sets.is_empty()).then(|| {
        let default = if given.is_none() { " (the default)" } else { "" };
        Advice::new(
            format!(
                "{}, but terminationGracePeriodSeconds of spec.template is {}{default}: a pod that is stopped may be \
                 killed in the middle of its work, and the lock stays taken until its ttl is over.",
                listed(&sets),
                grace.as_secs()
            ),
            "Raise terminationGracePeriodSeconds above the longest work.",
        )
    })
}

/// Above a third of ttl two renewals in a row that fail lose the lock, above a half one does. What the library itself
/// does by default is its own decision, also in proportion to another ttl; where that isn't known, nothing is said.
pub(super) fn renew_interval_long(spec: &CoordinatedWorkloadSpec) -> Option<Advice> {
    let mut sets: Vec<_> = spec
        .locks
        .iter()
        .filter_map(|set| {
            let timings = timings(set);
            let (renew, ttl) = (timings.renew_interval?, timings.ttl?);
            let by_default = timings.defaults.renew_interval.zip(timings.defaults.ttl);
            let is_default = by_default.is_some_and(|(default_renew, default_ttl)| {
                renew.as_millis() * default_ttl.as_millis() <= default_renew.as_millis() * ttl.as_millis()
            });
            (renew * 3 > ttl && !is_default).then_some((renew * 2 <= ttl, set, renew, ttl))
        })
        .collect();
    if sets.is_empty() {
        return None;
    }
    // Those that lose a lock by one failure first, else in the order of the spec.
    sets.sort_by_key(|(milder, ..)| *milder);
    let any_above_half = sets.iter().any(|(milder, ..)| !milder);
    let list: Vec<_> = sets
        .iter()
        .map(|(milder, set, renew, ttl)| {
            let share = if *milder { "a third" } else { "half" };
            format!(
                "renewInterval of set {} is {}, more than {share} of its ttl of {}",
                set.name,
                text(*renew),
                text(*ttl)
            )
        })
        .collect();
    let loses = if any_above_half {
        "a single renewal that fails or comes late loses the lock"
    } else {
        "two renewals in a row that fail lose the lock"
    };
    Some(Advice::new(
        format!("{}: {loses}.", listed(&list)),
        "Renew at least three times within ttl, in the application and here.",
    ))
}

/// What the locks themselves say about a set's ttl.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Longer,
    Shorter,
    Fitting,
    /// No lock is held, or only such whose whole lifetime was never in sight.
    Untold,
}

/// A ttl that is not the one the application uses, in the sets that are observed. How long the expiries are is not said: it is a measurement, which
/// would differ from look to look.
pub(super) fn ttl_differs(advised: &Advised<'_>) -> Option<Advice> {
    let said = advised.said(AdvisoryCode::TtlDiffers).unwrap_or_default();
    let seen = seen_ttls(advised);
    let part =
        |set: &LockSet, ttl: Duration, how: &str| format!("set {} (ttl {}, seen {how})", set.name, text(ttl));
    let differing: Vec<_> = advised
        .workload
        .locks
        .iter()
        .filter_map(|set| {
            let ttl = set.ttl?;
            let [longer, shorter] = ["longer", "shorter"].map(|how| part(set, ttl, how));
            match seen.get(set.name.as_str()).copied().unwrap_or(Seen::Untold) {
                Seen::Longer => Some(longer),
                Seen::Shorter => Some(shorter),
                Seen::Fitting => None,
                Seen::Untold => [longer, shorter]
                    .into_iter()
                    .find(|part| said.contains(part.as_str())),
            }
        })
        .collect();
    // All of them: what is not named could not be kept while it can't be told.
    (!differing.is_empty()).then(|| {
        Advice::new(
            format!(
                "the locks' own expiry is not the ttl of {}: when a dead holder's lock frees, and when work is overdue, is \
                 misjudged.",
                differing.join(", ")
            ),
            "Set spec.locks[].ttl to what the application uses.",
        )
    })
}

fn seen_ttls<'a>(advised: &Advised<'a>) -> BTreeMap<&'a str, Seen> {
    let mut by_set = BTreeMap::new();
    let Some(Ok(Observation {
        link: Link::Up { since, .. },
        keys,
        ..
    })) = advised.store.map(|store| &store.seen)
    else {
        return by_set;
    };
    let mut keys = keys.iter();
    for set in &advised.workload.locks {
        // The keys were asked for in this order.
        let of_set = keys.by_ref().take(set.locks.len());
        // What another program keeps under that key says nothing of locks.
        let is_no_lock = |key: &&KeySnapshot| matches!(&key.state, KeyState::Held(hold) if matches!(set.scheme.named(hold), Named::Unfit));
        let keys: Vec<_> = of_set.filter(|key| !is_no_lock(key)).collect();
        if let Some(ttl) = set.ttl {
            by_set.insert(set.name.as_str(), judged(ttl, &keys, *since));
        }
    }
    by_set
}

/// A longer expiry is seen as soon as one is. Whether it is shorter, or fits, shows only where the whole of it was in
/// sight: since the lock was taken, or since a renewal that came over this connection.
fn judged(ttl: Duration, keys: &[&KeySnapshot], connected: Mono) -> Seen {
    let shortest = (ttl * 3 / 4).saturating_sub(LOOK);
    let (mut shorter, mut fitting, mut untold) = (false, false, false);
    for key in keys {
        let KeyState::Held(hold) = &key.state else {
            untold |= key.state == KeyState::Unknown;
            continue;
        };
        // Without an expiry: that is said elsewhere.
        let Some(largest) = hold.largest_ttl else { continue };
        let whole = hold.seen_taken || hold.last_renewed.is_some_and(|renewed| renewed > connected);
        if largest > ttl + LONGER {
            return Seen::Longer;
        } else if !whole {
            untold = true;
        } else if largest < shortest {
            shorter = true;
        } else {
            fitting = true;
        }
    }
    match (untold, fitting, shorter) {
        (true, _, _) | (false, false, false) => Seen::Untold,
        (false, true, _) => Seen::Fitting,
        (false, false, true) => Seen::Shorter,
    }
}

fn text(duration: Duration) -> String {
    spec::Duration::from(duration).0
}
