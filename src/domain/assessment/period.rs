//! Whether an Intermittent lock is taken once in its period: not too seldom, and not twice. Pure.
//!
//! The clock of a lock that is not taken begins with the last take, and anew after each break in which a take could not
//! be seen, or none could be expected: Redis was not read, no pod was Ready, no replicas were wanted. So nothing is
//! concluded from what nobody watched.

use std::time::Duration;

use super::lock::LockView;
use crate::{
    api::{
        conditions::{EventReason, Reason},
        status::LockState,
    },
    domain::{
        finding::Problem,
        judgement::{Judged, Recheck, Rollout},
        locks::{Hold, KeySnapshot, KeyState, Mode, Mono},
        memory::PeriodMemory,
        repeats::Take,
    },
};

/// Where changes are not announced, a hold that is shorter than two looks may be missed.
const VISIBLE: Duration = Duration::from_secs(4);

/// Somebody took the lock.
struct Taken {
    at: Mono,
    /// Whether `at` is when it was taken, and not only when that was noticed.
    seen: bool,
    by: Option<String>,
}

impl LockView<'_> {
    fn every(&self) -> Option<Duration> {
        self.set.every.filter(|_| self.declared && !self.continuous())
    }

    /// Notices who took the lock since the last look. To be called before the ends are taken.
    pub(super) fn follow(&mut self, snapshot: &KeySnapshot, cursor: u64, connected: Mono) {
        let Some(every) = self.every() else {
            return;
        };
        if snapshot.state == KeyState::Unknown {
            self.entry().period.connected = None;
            return;
        }
        let held = match &snapshot.state {
            KeyState::Held(hold) => Some(hold),
            KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
        };
        let endpoint = self.memory.cursor.map(|(endpoint, _)| endpoint);
        let period = &mut self.entry().period;
        if period.connected.replace(connected) != Some(connected) {
            period.running_since = None;
        }
        if period.endpoint != endpoint {
            // What is there at the first look was taken at some time before.
            let latest = held.map(|hold| hold.first_seen).max(snapshot.touched);
            (period.endpoint, period.latest, period.taken) = (endpoint, latest.unwrap_or_default(), None);
        }
        self.take_told_row(held);
        for taken in self.takes(snapshot, held, cursor) {
            let when = self.wall(taken.at);
            self.untell(|reason| reason == Reason::LocksOverdue);
            let take = Take {
                at: taken.at,
                when,
                by: taken.by.clone(),
            };
            let period = &mut self.entry().period;
            let before = if taken.seen {
                period.taken.replace(take.clone())
            } else {
                None
            };
            period.latest = taken.at;
            period.running_since = Some(taken.at);
            period.since = Some(when);
            period.by = Some(taken.by);
            period.overdue = false;
            if let Some(before) = before.filter(|before| taken.at.since(before.at) < every / 2) {
                let id = self.id.clone();
                self.memory.repeats.add(&id, every, &before, &take);
            }
        }
        let lasted = snapshot.ends.iter().filter(|end| end.seq > cursor);
        let lasted = lasted
            .filter(|end| end.hold.seen_taken)
            .map(|end| end.ended.since(end.hold.first_seen));
        let period = &mut self.entry().period;
        period.shortest = period.shortest.into_iter().chain(lasted).min();
    }

    /// Holds that began after the latest that is known, and those that were too short to be seen, in their order.
    fn takes(&mut self, snapshot: &KeySnapshot, held: Option<&Hold>, cursor: u64) -> Vec<Taken> {
        let latest = self.entry().period.latest;
        let ended = snapshot.ends.iter().filter(|end| end.seq > cursor);
        let holds = ended.map(|end| &end.hold).chain(held);
        let mut takes: Vec<_> = holds
            .filter(|hold| hold.first_seen > latest)
            .map(|hold| Taken {
                at: hold.first_seen,
                seen: hold.seen_taken,
                by: self.pod_of(hold),
            })
            .collect();
        let touched = snapshot.touched.filter(|at| *at > latest);
        takes.extend(touched.map(|at| Taken {
            at,
            seen: true,
            by: None,
        }));
        takes.sort_by_key(|taken| taken.at);
        takes
    }

    /// What status said before this process: a row of such a set that has no moment is one that is overdue, until the lock
    /// is taken again.
    fn take_told_row(&mut self, held: Option<&Hold>) {
        let Some((state, pod)) = self.entry().told.momentless.take() else {
            return;
        };
        let still_free = state == LockState::Unheld && held.is_none();
        let same_hold = state != LockState::Unheld && held.is_none_or(|hold| self.pod_of(hold) == pod);
        if !still_free && !same_hold {
            return;
        }
        let id = self.id.clone();
        self.memory.said.insert((EventReason::LocksOverdue, id));
        let entry = self.entry();
        entry.told.finding = Some(Reason::LocksOverdue);
        entry.period.overdue = true;
        entry.period.by = still_free.then_some(pod);
    }

    /// A lock that was not taken for its period, and then for as long as a holder that died would keep it from others.
    pub(super) fn judge_period(
        &mut self,
        judged: &mut Judged,
        problem: Option<Problem>,
        rollout: Rollout,
        recheck: &mut Recheck,
    ) -> Option<Problem> {
        let Some(every) = self.every() else {
            self.entry().period = PeriodMemory::default();
            return problem;
        };
        let limit = every.saturating_add(self.memory.ttl(self.set));
        let ready = self.memory.present().any(|pod| pod.ready_since.is_some());
        let (now, wall, mode) = (self.now.mono, self.wall(self.now.mono), self.mode);
        if rollout.wanted == Some(0) {
            self.untell(|reason| reason == Reason::LocksOverdue);
            self.entry().period.overdue = false;
        }
        let period = &mut self.entry().period;
        let visible = match mode {
            Mode::Tracking => true,
            Mode::Polling => period.shortest.is_some_and(|shortest| shortest >= VISIBLE),
        };
        let expected = ready && visible && rollout.wanted.is_some_and(|wanted| wanted > 0);
        if expected && judged.state != LockState::Unknown {
            if period.running_since.is_none() {
                period.running_since = Some(now);
                if !period.overdue {
                    (period.since, period.by) = (Some(wall), None);
                }
            }
        } else {
            period.running_since = None;
        }
        if let Some(since) = period.running_since.filter(|_| !period.overdue) {
            period.overdue = now.since(since) >= limit;
            if !period.overdue {
                recheck.at(since + limit);
            }
        }
        if !period.overdue || judged.state == LockState::Unknown {
            return problem;
        }
        // Only so can its row be told from one with another finding.
        judged.since = None;
        let held = judged.state != LockState::Unheld;
        if !held {
            judged.pod = period.by.clone().flatten();
        }
        Some(Problem::Overdue {
            since: period.since,
            by: period.by.clone(),
            still: held.then(|| judged.pod.clone()),
            every,
        })
    }
}
