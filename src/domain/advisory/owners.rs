//! Advice on locks of which nothing says which pod holds them.

use super::{Advice, Advised};
use crate::{
    api::{conditions::AdvisoryCode, spec::Dialect},
    domain::{
        locks::{Discovered, KeySnapshot, KeyState, Link, Observation, dialect},
        workload::LockSet,
    },
};

/// So many holds without an owner where one should stand are no accident: a single one may be a lock that was released
/// while it was read.
const HOLDS: usize = 3;

/// What the locks that are seen say about their owners.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// At least one says whose it is.
    Yes,
    /// Enough of them don't.
    No,
    /// Too few are seen.
    Open,
}

/// Sets whose library never says who holds a lock, and those of which it could be said and isn't.
pub(super) fn not_told(advised: &Advised<'_>) -> Option<Advice> {
    let said = advised.said(AdvisoryCode::OwnersNotTold).unwrap_or_default();
    let mut seen = match advised.store.map(|store| &store.seen) {
        Some(Ok(observation)) if matches!(observation.link, Link::Up { .. }) => Some(Seen::of(observation)),
        _ => None,
    };
    let mut sets = Vec::new();
    let mut remedies: Vec<(Dialect, &str)> = Vec::new();
    for set in &advised.workload.locks {
        let told = seen.as_mut().map_or(Told::Open, |seen| seen.told(set));
        let part = format!("set {} ({:?})", set.name, set.dialect);
        let stands_beside = set.scheme.beside.is_some();
        let silent = told == Told::No || told == Told::Open && said.contains(&part);
        let untold = !set.scheme.tells_owners() || stands_beside && silent;
        if untold {
            sets.push(part);
            let remedy = remedy(set);
            if !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
    }
    if sets.is_empty() {
        return None;
    }
    let remedies: Vec<_> = remedies
        .into_iter()
        .map(|(dialect, remedy)| format!("With {dialect:?}: {remedy}."))
        .collect();
    // All of them: what is not named could not be kept while it can't be told.
    Some(Advice::new(
        format!(
            "Which pod holds a lock can't be told in {}: whoever holds such a lock, it counts as held; it is never called \
             orphaned or foreign, and how the locks are spread is not judged; what is only discovered is not shown. {}",
            sets.join(", "),
            remedies.join(" ")
        ),
        "See docs/dialects.md.",
    ))
}

fn remedy(set: &LockSet) -> (Dialect, &'static str) {
    let custom = if set.scheme.tells_owners() {
        "let the application write what holder points to before it takes a lock"
    } else {
        "give holder.pattern a group (?<owner>…) around what names the pod, or add holder.registry"
    };
    (set.dialect, dialect::remedy(set.dialect).unwrap_or(custom))
}

/// What is seen, set by set in the order of the spec: what is left of it.
struct Seen<'a> {
    declared: &'a [KeySnapshot],
    discovered: &'a [Discovered],
}

impl<'a> Seen<'a> {
    fn of(observation: &'a Observation) -> Self {
        Self {
            declared: &observation.keys,
            discovered: &observation.discovered,
        }
    }

    /// What the locks of the next set say.
    fn told(&mut self, set: &LockSet) -> Told {
        let declared = take(&mut self.declared, set.locks.len());
        let discovered = take(&mut self.discovered, set.places().count());
        let mut silent = 0;
        for key in declared
            .iter()
            .chain(discovered.iter().flat_map(|found| &found.keys))
        {
            let now = match &key.state {
                KeyState::Held(hold) => Some(hold),
                KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
            };
            for hold in now.into_iter().chain(key.ends.iter().map(|end| &end.hold)) {
                if hold.beside.is_some() {
                    return Told::Yes;
                }
                silent += if hold.last_renewed.is_some() { HOLDS } else { 1 };
            }
        }
        if silent >= HOLDS { Told::No } else { Told::Open }
    }
}

/// The first `count` of them, or as many as there are; the rest stays.
fn take<'a, T>(left: &mut &'a [T], count: usize) -> &'a [T] {
    let (taken, rest) = left.split_at(count.min(left.len()));
    *left = rest;
    taken
}
