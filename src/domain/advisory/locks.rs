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

/// How long it may take after a connection stands until what turns up has been looked through.
const LOOK_THROUGH: Duration = Duration::from_mins(1);

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

/// Sets of which neither the spec nor the dialect says that their locks expire, and whose locks don't: where it is
/// expected, the lack of it is a finding. What is said of a set stands until one of its locks is seen to expire, so that
/// work that comes and goes changes nothing.
pub(super) fn without_expiry(advised: &Advised<'_>) -> Option<Advice> {
    let said = advised.said(AdvisoryCode::LocksWithoutExpiry).unwrap_or_default();
    let mut keys = match advised.store.map(|store| &store.seen) {
        Some(Ok(observation)) => observation.keys.iter(),
        Some(Err(_)) | None => [].iter(),
    };
    let mut sets = Vec::new();
    for set in &advised.workload.locks {
        // The keys were asked for in this order.
        let keys = keys.by_ref().take(set.locks.len());
        let holds = keys.filter_map(|key| match &key.state {
            KeyState::Held(hold) => Some(hold),
            KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
        });
        let (mut endless, mut expires, mut untold) = (false, false, false);
        for hold in holds {
            endless |= hold.no_expiry;
            expires |= hold.deadline.is_some();
            untold |= hold.deadline.is_none() && !hold.no_expiry;
        }
        let part = format!("set {}", set.name);
        let stands = (untold || !expires) && names(said, &part);
        if set.ttl.is_none() && (endless || stands) {
            sets.push(part);
        }
    }
    // All of them: what is not named could not be kept while it can't be told.
    (!sets.is_empty()).then(|| {
        Advice::new(
            format!(
                "locks without an expiry in {}: when a holder dies, its lock stays taken for ever.",
                sets.join(", ")
            ),
            "Make the application set a TTL; with spec.locks[].ttl, a lock without one turns LocksHeld False.",
        )
    })
}

/// Whether `said` names this set, and not only one whose name begins alike.
fn names(said: &str, part: &str) -> bool {
    said.split(part).skip(1).any(|rest| rest.starts_with([',', ':']))
}

/// A place that holds more locks than are kept an eye on: nobody may believe that all of them are.
pub(super) fn not_watched(advised: &Advised<'_>) -> Option<Advice> {
    let said = advised.said(AdvisoryCode::LocksNotWatched).unwrap_or_default();
    let seen = match advised.store.map(|store| &store.seen) {
        Some(Ok(Observation {
            link: Link::Up { since, .. },
            discovered,
            ..
        })) => Some((*since, discovered)),
        Some(_) | None => None,
    };
    let mut places = seen.iter().flat_map(|(_, discovered)| discovered.iter());
    // What there is shows only once it has all been looked through.
    let looking = seen.is_none_or(|(since, _)| advised.now.since(since) < LOOK_THROUGH);
    let mut sets = Vec::new();
    for set in &advised.workload.locks {
        let part = format!("set {}", set.name);
        let more = places.by_ref().take(set.places().count()).any(|found| found.more);
        let is_looked_for = set.places().next().is_some();
        if more || (is_looked_for && looking && names(said, &part)) {
            sets.push(part);
        }
    }
    (!sets.is_empty()).then(|| {
        Advice::new(
            format!(
                "more locks turn up than are watched (100,000 in one place) in {}: nothing is said of the others.",
                sets.join(", ")
            ),
            "Give the locks a narrower keyPrefix, or split them into several sets.",
        )
    })
}
