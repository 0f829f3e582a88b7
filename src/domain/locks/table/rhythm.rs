//! How regularly a lock is renewed, learned from the lock itself, and when a renewal is late. Pure.
//!
//! A *gap* is the time between two renewals of one hold; from the taking of a lock to its first renewal is none, since
//! libraries wait longer there (BullMQ: 15 s, then 7.5 s). What was not watched throughout teaches nothing and is never
//! called late.
//!
//! ```text
//! usual = the second largest of the last 8 gaps, once there are 4
//! due   = max(usual, renewInterval)
//! late  ⇔ the gap, at the shortest that the answers allow, ≥ max(1.5 × due, due + 1 s)
//! ```
//!
//! The second largest: a holder that now and then takes its time shows how long that is, while one gap out of all
//! proportion neither counts as usual nor hides the next one; a holder that was set up anew is known after two. The
//! `renewInterval` of the spec or the library: whoever renews more often than agreed is not late for renewing as agreed.
//! 1 s: what the network and a busy operator may add. At the shortest: polling finds a renewal up to an interval after it
//! was made, and that is nobody's delay.

use std::time::Duration;

use super::super::Mono;

/// So many of the last gaps are remembered.
const REMEMBERED: u8 = 8;
/// So many gaps must be known before one is called late.
const ENOUGH: usize = 4;
/// What the way of a renewal to this process may add to a gap.
const SLACK: Duration = Duration::from_secs(1);

/// What is known of a lock's renewals: about 100 bytes, of each lock in a set that renews. Durations are milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Rhythm {
    /// How often it is to be renewed, as the spec or the library says.
    interval: u32,
    /// The last gaps; the oldest is overwritten.
    gaps: [u32; REMEMBERED as usize],
    /// How many of them are known.
    known: u8,
    /// Which of them is overwritten next.
    next: u8,
    /// The last renewal of the present hold: when it was made most likely, and when at the latest. `None`: none was seen
    /// since the lock was taken, or since it was watched.
    last: Option<(Mono, Mono)>,
    /// Whether the present gap was called late already.
    is_late: bool,
    /// What was learned and not asked for yet.
    beat: Beat,
}

/// When a lock was renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Renewal {
    /// Not before.
    pub(super) earliest: Mono,
    /// Most likely.
    pub(super) at: Mono,
    /// Not after.
    pub(super) latest: Mono,
}

/// What an answer told of a lock's renewals.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Beat {
    /// The lock was renewed, this long after the renewal before.
    pub gap: Option<Duration>,
    /// The renewal is late: told once of each gap, as soon as it is certain.
    pub late: bool,
}

impl Rhythm {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval: millis(interval),
            gaps: [0; REMEMBERED as usize],
            known: 0,
            next: 0,
            last: None,
            is_late: false,
            beat: Beat::default(),
        }
    }

    /// The lock is to be renewed this often; what was learned stays.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = millis(interval);
    }

    /// The lock was renewed, and nothing between the last renewal and this one was missed.
    pub(super) fn renewed(&mut self, renewal: Renewal) {
        if let Some((last, _)) = self.last {
            self.silent(renewal.earliest);
            let gap = renewal.at.since(last);
            if let Some(place) = self.gaps.get_mut(usize::from(self.next)) {
                *place = millis(gap);
            }
            self.next = (self.next + 1) % REMEMBERED;
            self.known = (self.known + 1).min(REMEMBERED);
            self.beat.gap = Some(gap);
        }
        self.last = Some((renewal.at, renewal.latest));
        self.is_late = false;
    }

    /// Until `now` the lock was held and not renewed.
    pub(super) fn silent(&mut self, now: Mono) {
        if self.late_at().is_some_and(|late| now >= late) {
            self.is_late = true;
            self.beat.late = true;
        }
    }

    /// Something was missed, or the hold is over: the next renewal is the first one of those that follow.
    pub(super) fn interrupt(&mut self) {
        self.last = None;
        self.is_late = false;
    }

    /// When the present gap will be late; `None`: too little is known, or it was called late already.
    pub(super) fn late_at(&self) -> Option<Mono> {
        let (_, latest) = self.last.filter(|_| !self.is_late)?;
        Some(latest + self.limit()?)
    }

    /// Hands out what was learned, once.
    pub(super) fn take(&mut self) -> Beat {
        std::mem::take(&mut self.beat)
    }

    /// The shortest gap that is late; `None`: too little is known.
    fn limit(&self) -> Option<Duration> {
        let mut gaps = self.gaps;
        let known = gaps.get_mut(..usize::from(self.known))?;
        if known.len() < ENOUGH {
            return None;
        }
        known.sort_unstable();
        let usual = *known.iter().rev().nth(1)?;
        let due = Duration::from_millis(self.interval.max(usual).into());
        Some((due + due / 2).max(due + SLACK))
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
