//! One key: the hold that its answers show, how holds end, and when it is to be read next.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::probe::{Beside, Form, Probe};
use super::super::{Answer, End, Evidence, Hold, HolderValue, KeyState, Mode, Mono, Trouble};
use super::rhythm::{Renewal, Rhythm};
use super::{Beat, ENDS_PER_KEY, Effect, Lane, POLL_INTERVAL};

/// Added to a round trip for the uncertainty of a deadline, and to a deadline before the key is read: PTTL has a
/// resolution of 1 ms, and Redis expires a key when its clock is *past* the expiry.
const RESOLUTION: Duration = Duration::from_millis(2);

/// When polling, a key is read this long before its deadline, to tell a hold that ran out from one given up early.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Longest time between two answers at which polling still counts as having watched: the interval and a half.
const POLL_GAP: Duration = Duration::from_secs(3);

/// Two answers with PTTL −1 this far apart make `no_expiry`: a lock that is taken in two steps (SETNX, then PEXPIRE)
/// has none for a moment.
const NO_EXPIRY_AFTER: Duration = Duration::from_secs(2);

/// A key that the server refuses to show is tried again after this: its ACL may have been put right.
const REFUSED_RETRY: Duration = Duration::from_secs(5);

/// A change that is announced while a lock is free and leaves it free is a hold too short to be seen, unless the last
/// hold ended, or was seen so, just before: servers announce an expiry when it is noticed, and some changes twice.
const TOUCHED_AFTER: Duration = Duration::from_secs(1);

/// Longest time between two looks at a registry that doesn't know a holder.
const REGISTRY_RETRY: Duration = Duration::from_mins(1);

/// One key. Every field speaks of the last answer that was used, whatever happened to the connection since.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; no two exclude each other"
)]
pub(super) struct Entry {
    /// The server it is read from.
    lane: Lane,
    /// Whether a registry says who holds it: what isn't written there yet is looked for again.
    registered: bool,
    /// Whether a holder can run out without a change of the key: a member of a sorted set.
    runs_out_unchanged: bool,
    /// Whether the key changes only when its holder does: neither is there anything beside the lock, nor more than one in
    /// the key.
    alone: bool,
    /// See [`super::super::KeySnapshot::touched`].
    touched: Option<Mono>,
    /// What the last answer showed; `Unknown` before the first one.
    state: KeyState,
    /// Receipt of the last answer.
    answered: Mono,
    /// Whether that answer came after the last doubt.
    current: bool,
    /// First invalidation since the last answer.
    invalidated: Option<Mono>,
    /// The read under way.
    reading: Option<Reading>,
    /// Whether the last answer was set aside because it may mix two states.
    set_aside: bool,
    /// Whether the deadline of the current hold was last moved to earlier.
    shortened: bool,
    /// Receipt of the first of the last answers in a row that show the current hold without an expiry.
    endless_since: Option<Mono>,
    /// Why the server doesn't show the key, and since when.
    refused: Option<(Trouble, Mono)>,
    /// What happened to the server since the last answer.
    evidence: Evidence,
    /// When to read next; `None` while a read is under way, or without a connection, or if nothing is waited for.
    wake: Option<Mono>,
    ends: VecDeque<End>,
    /// How regularly it is renewed, if somebody wants to know; on the heap, since most locks have none.
    rhythm: Option<Box<Rhythm>>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    asked: Mono,
    /// First invalidation since `asked`: the answer may show the state before it, after it, or a mixture.
    invalidated: Option<Mono>,
}

impl Entry {
    pub(super) fn new(probe: &Probe, lane: Lane) -> Self {
        Self {
            lane,
            registered: matches!(probe.beside, Some(Beside::Registry(_))),
            runs_out_unchanged: matches!(probe.form, Form::SortedSetMember { .. }),
            alone: matches!(probe.form, Form::String(_)) && probe.keys().count() == 1,
            touched: None,
            state: KeyState::Unknown,
            answered: Mono::default(),
            current: false,
            invalidated: None,
            reading: None,
            set_aside: false,
            shortened: false,
            endless_since: None,
            refused: None,
            evidence: Evidence::default(),
            wake: None,
            ends: VecDeque::new(),
            rhythm: None,
        }
    }

    /// From now on it is learned how regularly the lock is renewed, which is to be this often; `None`: no longer.
    pub(super) fn renews(&mut self, interval: Option<Duration>) {
        match (&mut self.rhythm, interval) {
            (Some(rhythm), Some(interval)) => rhythm.set_interval(interval),
            (rhythm @ None, Some(interval)) => *rhythm = Some(Box::new(Rhythm::new(interval))),
            (rhythm, None) => *rhythm = None,
        }
    }

    /// What the last answers told of the lock's renewals, once.
    pub(super) fn beat(&mut self) -> Beat {
        self.rhythm
            .as_mut()
            .map(|rhythm| rhythm.take())
            .unwrap_or_default()
    }

    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    pub(super) fn move_to(&mut self, lane: Lane) {
        self.lane = lane;
    }

    pub(super) fn wake(&self) -> Option<Mono> {
        self.wake
    }

    pub(super) fn is_unread(&self) -> bool {
        !self.current && self.refused.is_none()
    }

    #[cfg(test)]
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    pub(super) fn refusal(&self) -> Option<(Trouble, Mono)> {
        self.refused
    }

    pub(super) fn state(&self) -> KeyState {
        if self.current {
            self.state.clone()
        } else {
            KeyState::Unknown
        }
    }

    pub(super) fn absent_since(&self) -> Option<Mono> {
        match self.state {
            KeyState::Absent { since } if self.current => Some(since),
            KeyState::Absent { .. } | KeyState::Unknown | KeyState::Held(_) | KeyState::WrongType { .. } => {
                None
            }
        }
    }

    pub(super) fn touched(&self) -> Option<Mono> {
        self.touched
    }

    pub(super) fn ends(&self) -> Vec<End> {
        self.ends.iter().cloned().collect()
    }

    pub(super) fn read_at(&mut self, at: Mono) {
        self.wake = Some(at);
    }

    pub(super) fn reading(&mut self, now: Mono) {
        self.wake = None;
        self.reading = Some(Reading {
            asked: now,
            invalidated: None,
        });
    }

    pub(super) fn doubted(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.invalidated = self.invalidated.or(reading.invalidated);
        }
        self.current = false;
        self.refused = None;
        self.set_aside = false;
        self.wake = None;
    }

    pub(super) fn happened(&mut self, evidence: Evidence) {
        self.evidence = self.evidence.with(evidence);
    }

    /// Whether this answer, received at `now`, ends a hold that would still have run.
    pub(super) fn would_end_early(&self, answer: &Answer, now: Mono) -> bool {
        let KeyState::Held(hold) = &self.state else {
            return false;
        };
        !hold.is_shown_by(answer)
            && hold
                .deadline
                .is_none_or(|deadline| now + hold.uncertainty < deadline)
    }

    pub(super) fn invalidated(&mut self, now: Mono) {
        if let Some(reading) = &mut self.reading {
            reading.invalidated.get_or_insert(now);
        } else {
            self.invalidated.get_or_insert(now);
            // It may wait for an earlier moment already, never for a later one.
            self.wake = Some(self.wake.map_or(now, |wake| wake.min(now)));
        }
    }

    pub(super) fn refused(&mut self, trouble: Trouble, now: Mono) -> Effect {
        if self.reading.take().is_none() {
            return Effect::Nothing;
        }
        self.current = false;
        self.wake = Some(now + REFUSED_RETRY);
        if self.refused.is_some_and(|(known, _)| known == trouble) {
            return Effect::Nothing;
        }
        self.refused = Some((trouble, now));
        Effect::Changed
    }

    pub(super) fn answered(&mut self, answer: Answer, mode: Mode, seq: &mut u64, now: Mono) -> Effect {
        // An answer that nobody waits for is a repetition, or belongs to a connection that is gone.
        let Some(reading) = self.reading.take() else {
            return Effect::Nothing;
        };
        if !self.set_aside && self.may_be_mixed(&answer, reading) {
            self.set_aside = true;
            self.invalidated = self.invalidated.or(reading.invalidated);
            self.wake = Some(now);
            return Effect::Nothing;
        }
        self.set_aside = false;
        if mode == Mode::Tracking && self.contradicts_tracking(&answer, reading, now) {
            return Effect::TrackingLost;
        }

        let interval = Interval {
            watched: self.current && (mode == Mode::Tracking || now.since(self.answered) <= POLL_GAP),
            invalidated: self
                .invalidated
                .or(reading.invalidated)
                .filter(|_| mode == Mode::Tracking),
            mode,
        };
        let mut changed = !self.current;
        self.current = true;
        self.refused = None;
        match answer {
            Answer::Absent => {
                changed |= self.touch(interval);
                changed |= self.end(interval, seq, now);
                if !matches!(self.state, KeyState::Absent { .. }) {
                    changed = true;
                    self.state = KeyState::Absent { since: now };
                }
            }
            Answer::WrongType => {
                changed |= self.end(interval, seq, now);
                if !matches!(self.state, KeyState::WrongType { .. }) {
                    changed = true;
                    self.state = KeyState::WrongType { since: now };
                }
            }
            Answer::Present { expires_in, .. } => {
                let uncertainty = now.since(reading.asked) + RESOLUTION;
                match &mut self.state {
                    KeyState::Held(hold) if hold.is_shown_by(&answer) => {}
                    _ => {
                        changed = true;
                        self.end(interval, seq, now);
                        self.begin(&answer, interval.watched, uncertainty, now);
                    }
                }
                changed |= self.tell(answer);
                let before = self.last_answer();
                let (moved, shown) = self.show(expires_in, uncertainty, now);
                changed |= shown;
                self.learn(moved, interval, before, reading.asked, now);
            }
        }
        self.answered = now;
        self.evidence = Evidence::default();
        // An invalidation during the read may have come after the answer: the key is read again, and should it then
        // be gone, that invalidation is when it went.
        self.invalidated = reading.invalidated.map(|_| now);
        self.wake = self.next_wake(mode, now);
        if changed { Effect::Changed } else { Effect::Nothing }
    }

    /// The value and its PTTL are two commands. When the key was changed while they were under way, they may belong to
    /// different holds; and an empty value is what a missing key looks like that came to be between them. Such an
    /// answer is set aside and asked for again, but not twice in a row: a key that changes with every round trip must
    /// not stay unknown.
    fn may_be_mixed(&self, answer: &Answer, reading: Reading) -> bool {
        let Answer::Present { value, .. } = answer else {
            return false;
        };
        let known = matches!(&self.state, KeyState::Held(hold) if hold.is_shown_by(answer));
        reading.invalidated.is_some() || (value.0.is_empty() && !known)
    }

    /// Whether a server that tracks would have announced what this answer shows. Deadlines say nothing here: the
    /// server's clock may have been set.
    fn contradicts_tracking(&self, answer: &Answer, reading: Reading, now: Mono) -> bool {
        if !self.current || self.invalidated.is_some() || reading.invalidated.is_some() {
            return false;
        }
        match (&self.state, answer) {
            (KeyState::Unknown, _)
            | (KeyState::Absent { .. }, Answer::Absent)
            | (KeyState::WrongType { .. }, Answer::WrongType) => false,
            (KeyState::Held(hold), Answer::Present { .. }) if !self.runs_out_unchanged => {
                !hold.is_shown_by(answer)
            }
            // Expired: servers that don't delete on access announce it when they do.
            (KeyState::Held(hold), Answer::Present { .. } | Answer::Absent) => {
                !hold.is_shown_by(answer)
                    && hold
                        .deadline
                        .is_none_or(|deadline| now + hold.uncertainty < deadline)
            }
            (KeyState::Held(_) | KeyState::Absent { .. } | KeyState::WrongType { .. }, _) => true,
        }
    }

    /// Whether somebody held it between the last answer and one that shows it free again.
    fn touch(&mut self, interval: Interval) -> bool {
        let (KeyState::Absent { since }, Some(at)) = (&self.state, interval.invalidated) else {
            return false;
        };
        let quiet_since = self.touched.map_or(*since, |touched| touched.max(*since));
        let touched = self.alone && interval.watched && at.since(quiet_since) >= TOUCHED_AFTER;
        if touched {
            self.touched = Some(at);
        }
        touched
    }

    fn begin(&mut self, answer: &Answer, seen_taken: bool, uncertainty: Duration, now: Mono) {
        let Answer::Present {
            value, text, beside, ..
        } = answer
        else {
            return;
        };
        self.shortened = false;
        self.endless_since = None;
        self.state = KeyState::Held(Hold {
            value: value.clone(),
            text: text.clone(),
            beside: beside.clone(),
            first_seen: now,
            seen_taken,
            last_answer: now,
            last_renewed: None,
            deadline: None,
            uncertainty,
            no_expiry: false,
            largest_ttl: None,
        });
    }

    /// Takes over what the answer says about the holder; whether that tells more than was known.
    fn tell(&mut self, answer: Answer) -> bool {
        let (KeyState::Held(hold), Answer::Present { text, beside, .. }) = (&mut self.state, answer) else {
            return false;
        };
        hold.text = text;
        // What stood there once is true as long as the hold lasts.
        let told = beside.is_some() && hold.beside != beside;
        hold.beside = beside.or_else(|| hold.beside.take());
        told
    }

    /// Takes over what the answer says about the hold's expiry: how that moved, and whether it changes a verdict.
    fn show(&mut self, expires_in: Option<Duration>, uncertainty: Duration, now: Mono) -> (Moved, bool) {
        let KeyState::Held(hold) = &mut self.state else {
            return (Moved::Otherwise, false);
        };
        let deadline = expires_in.map(|ttl| now + ttl);
        hold.largest_ttl = hold.largest_ttl.max(expires_in);
        // Two answers about one expiry differ by less than the round trip of the later deadline's answer.
        let moved = match (hold.deadline, deadline) {
            (Some(before), Some(after)) if after.since(before) > uncertainty => {
                // It may have been renewed any time since the last answer. A renewal gives the whole lifetime, of which
                // the rest is left: that tells when, and never too early as long as no lifetime was longer.
                let whole = hold.largest_ttl.unwrap_or_default();
                let renewed = Mono(after.0.saturating_sub(whole));
                let renewed = renewed.clamp(hold.last_answer, now);
                hold.last_renewed = Some(renewed);
                self.shortened = false;
                Moved::Later(renewed)
            }
            (Some(before), Some(after)) if before.since(after) > hold.uncertainty => {
                self.shortened = true;
                Moved::Otherwise
            }
            (Some(_), Some(_)) => Moved::Not,
            (Some(_), None) => {
                hold.last_renewed = Some(now);
                self.shortened = false;
                Moved::Otherwise
            }
            (None, Some(_) | None) => Moved::Otherwise,
        };
        // A clock that was set moves deadlines, too, and says nothing about the holder.
        self.shortened &= !self.evidence.clock_jump;
        hold.last_answer = now;
        hold.deadline = deadline;
        hold.uncertainty = uncertainty;
        let had_no_expiry = hold.no_expiry;
        if deadline.is_some() {
            self.endless_since = None;
            hold.no_expiry = false;
        } else {
            let since = *self.endless_since.get_or_insert(now);
            hold.no_expiry |= now.since(since) >= NO_EXPIRY_AFTER;
        }
        (moved, hold.no_expiry != had_no_expiry)
    }

    fn last_answer(&self) -> Mono {
        match &self.state {
            KeyState::Held(hold) => hold.last_answer,
            KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => self.answered,
        }
    }

    /// Learns from how the deadline moved between the answer of `before` and that of `now`, which was asked for at
    /// `asked`. A clock that was set moves deadlines, too, and what was not watched may have been renewed meanwhile.
    fn learn(&mut self, moved: Moved, interval: Interval, before: Mono, asked: Mono, now: Mono) {
        let Some(rhythm) = &mut self.rhythm else { return };
        if !interval.watched || self.evidence.clock_jump {
            rhythm.interrupt();
            return;
        }
        match (moved, interval.invalidated) {
            (Moved::Later(_), Some(announced)) => rhythm.renewed(Renewal {
                earliest: announced,
                at: announced,
                latest: now,
            }),
            (Moved::Later(at), None) => rhythm.renewed(Renewal {
                earliest: before,
                at,
                latest: now,
            }),
            (Moved::Not, _) => rhythm.silent(asked),
            (Moved::Otherwise, _) => rhythm.interrupt(),
        }
    }

    /// Ends the current hold, if there is one, by an answer received at `now` that doesn't show it.
    fn end(&mut self, interval: Interval, seq: &mut u64, now: Mono) -> bool {
        if !matches!(self.state, KeyState::Held(_)) {
            return false;
        }
        let KeyState::Held(hold) = std::mem::replace(&mut self.state, KeyState::Unknown) else {
            return false;
        };
        if let Some(rhythm) = &mut self.rhythm {
            rhythm.interrupt();
        }
        let ended = interval
            .invalidated
            .map_or(now, |at| at.max(hold.last_answer).min(now));
        let watched =
            interval.watched && (interval.mode == Mode::Tracking || last_look_was_taken(&hold, now));
        // Rising with the clock, not just by one: a consumer's cursor stays good when its endpoint becomes another one.
        *seq = (*seq + 1).max(u64::try_from(now.0.as_micros()).unwrap_or(u64::MAX));
        if self.ends.len() == ENDS_PER_KEY {
            self.ends.pop_front();
        }
        self.ends.push_back(End {
            seq: *seq,
            hold,
            ended,
            noticed: now,
            watched,
            shortened: self.shortened,
            evidence: self.evidence,
        });
        true
    }

    fn next_wake(&self, mode: Mode, now: Mono) -> Option<Mono> {
        if self.invalidated.is_some() {
            return Some(now);
        }
        let timer = match &self.state {
            KeyState::Held(Hold {
                deadline: Some(deadline),
                ..
            }) => Some(*deadline + RESOLUTION),
            KeyState::Held(Hold { no_expiry: false, .. }) => {
                self.endless_since.map(|since| since + NO_EXPIRY_AFTER)
            }
            _ => None,
        };
        // A registry's key is not known to be tracked: the longer nothing is written there, the rarer it is looked at.
        let registry = match &self.state {
            KeyState::Held(hold) if self.registered && hold.beside.is_none() => {
                let age = now.since(hold.first_seen);
                Some(now + age.clamp(POLL_INTERVAL, REGISTRY_RETRY))
            }
            _ => None,
        };
        match mode {
            // A renewal that fails to come is announced by nothing; when polling, the next look shows it.
            Mode::Tracking => {
                let late = self.rhythm.as_ref().and_then(|rhythm| rhythm.late_at());
                [timer, registry, late].into_iter().flatten().min()
            }
            Mode::Polling => {
                let last_look = match &self.state {
                    KeyState::Held(Hold {
                        deadline: Some(deadline),
                        ..
                    }) => Some(before(*deadline, LAST_LOOK)),
                    _ => None,
                };
                [timer, last_look.filter(|at| *at > now), Some(now + POLL_INTERVAL)]
                    .into_iter()
                    .flatten()
                    .min()
            }
        }
    }
}

impl Hold {
    /// Whether an answer shows this hold still. What stands beside a lock may be written after it was taken: only
    /// another owner there is another hold.
    fn is_shown_by(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Present { value, beside, .. } => {
                let other: fn((&HolderValue, &HolderValue)) -> bool = |(known, said)| known != said;
                *value == self.value && !self.beside.as_ref().zip(beside.as_ref()).is_some_and(other)
            }
            Answer::Absent | Answer::WrongType => false,
        }
    }
}

/// How a hold's deadline moved from one answer to the next.
#[derive(Clone, Copy)]
enum Moved {
    /// It is the same one.
    Not,
    /// Later: the lock was renewed, most likely at this moment.
    Later(Mono),
    /// Earlier, or there was none, or there is none any more.
    Otherwise,
}

/// The time between the last answer and the one at hand.
#[derive(Clone, Copy)]
struct Interval {
    watched: bool,
    invalidated: Option<Mono>,
    mode: Mode,
}

/// Polling: whether a hold found gone at `now` was gone early, or was still there with this deadline shortly before it.
fn last_look_was_taken(hold: &Hold, now: Mono) -> bool {
    hold.deadline.is_none_or(|deadline| {
        now + hold.uncertainty < deadline || hold.last_answer + LAST_LOOK + hold.uncertainty >= deadline
    })
}

fn before(at: Mono, by: Duration) -> Mono {
    Mono(at.0.saturating_sub(by))
}
