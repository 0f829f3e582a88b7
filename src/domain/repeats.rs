//! Locks that were taken twice where once was enough, and what is said of them: one event, and advice for as long as it
//! goes on. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    finding::{time, with_next_step},
    judgement::Recheck,
    locks::Mono,
    memory::{Announcement, LockId},
};
use crate::api::{
    conditions::{AdvisoryCode, EventReason},
    spec,
    status::Advisory,
};

/// For so long after the last time it stays in the advisories, and is not said again.
const ADVISED: Duration = Duration::from_hours(1);
/// What came together is said together, and this often at most.
const PAUSE: Duration = Duration::from_mins(5);
/// What to do about it.
pub const NEXT_STEP: &str = "Next: see what each of the pods did (kubectl logs). If both did the same work: hold the lock for longer \
    than the clocks of the pods differ, or make the work safe to do twice. If it is meant to run that often, shorten every.";

/// When a lock was taken, and by whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Take {
    /// On the local clock.
    pub at: Mono,
    /// For people.
    pub when: Timestamp,
    /// The pod, as far as it may be named.
    pub by: Option<String>,
}

/// What was taken twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repeats {
    /// The last time of each, while it is advised on.
    recent: BTreeMap<LockId, Mono>,
    /// Sentences that were not said yet, and the name of the first.
    unsaid: Vec<(String, String)>,
    last_said: Option<Mono>,
    /// Whether a process before this one gave the advice.
    told: bool,
    /// When this process looked first.
    since: Option<Mono>,
}

impl Repeats {
    /// What status says of it.
    #[must_use]
    pub fn told(advisories: &[Advisory]) -> Self {
        let code = AdvisoryCode::LockRepeated.as_str();
        Self {
            told: advisories.iter().any(|said| said.code == code),
            ..Self::default()
        }
    }

    /// Takes in that `id` was taken twice within half of `every`.
    pub fn add(&mut self, id: &LockId, every: Duration, before: &Take, take: &Take) {
        let known = self.recent.insert(id.clone(), take.at);
        if known.is_some_and(|last| take.at.since(last) < ADVISED) {
            return;
        }
        let by = |take: &Take| {
            let by = take.by.as_deref().unwrap_or("an unknown holder");
            format!("by {by} at {}", time(take.when))
        };
        let key = format!("{} {}", take.when, id.1);
        let sentence = format!(
            "{} (set {}) was taken twice within half of its period of {}: {}, and {}",
            id.1,
            id.0,
            spec::Duration::from(every),
            by(before),
            by(take)
        );
        self.unsaid.push((key, sentence));
    }

    /// Says what was not said yet, if it is time.
    pub fn say(&mut self, outbox: &mut Vec<Announcement>, now: Mono, recheck: &mut Recheck) {
        let since = *self.since.get_or_insert(now);
        self.recent.retain(|_, last| now.since(*last) < ADVISED);
        if self.told && now.since(since) < ADVISED {
            recheck.at(since + ADVISED);
        }
        if let Some(last) = self.recent.values().min() {
            recheck.at(*last + ADVISED);
        }
        let Some((key, _)) = self.unsaid.first() else {
            return;
        };
        if let Some(last) = self.last_said.filter(|last| now < *last + PAUSE) {
            recheck.at(last + PAUSE);
            return;
        }
        self.last_said = Some(now);
        let key = key.clone();
        let unsaid = std::mem::take(&mut self.unsaid);
        let said: Vec<_> = unsaid.iter().take(3).map(|(_, said)| said.as_str()).collect();
        let more = match unsaid.len().saturating_sub(said.len()) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        outbox.push(Announcement {
            reason: EventReason::LockRepeated,
            key,
            note: with_next_step(&format!("{}{more}.", said.join("; ")), NEXT_STEP),
        });
    }

    /// Locks that were taken twice within the last hour.
    pub fn recent(&self, now: Mono) -> impl Iterator<Item = &LockId> {
        let recent = self
            .recent
            .iter()
            .filter(move |(_, last)| now.since(**last) < ADVISED);
        recent.map(|(id, _)| id)
    }

    /// Whether what a process before this one told of may be younger than an hour.
    #[must_use]
    pub fn may_be_recent(&self, now: Mono) -> bool {
        let young = self.since.is_none_or(|since| now.since(since) < ADVISED);
        self.told && self.recent.is_empty() && young
    }
}
