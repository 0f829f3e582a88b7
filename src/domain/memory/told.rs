//! What a new process knows: only what status says. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{BalanceMemory, Cause, Incident, LockMemory, Loss, Memory, Shown, Told};
use crate::{
    api::{
        conditions::{ConditionType, EventReason, Reason},
        spec::Duration,
        status::{CoordinatedWorkloadStatus, Flag, LockState, Row},
    },
    domain::repeats::Repeats,
};

/// A condition as it was told.
struct Verdict<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
    transition: Timestamp,
}

impl Verdict<'_> {
    fn is(&self, reason: Reason) -> bool {
        self.reason == reason.as_str()
    }
}

fn verdict(status: &CoordinatedWorkloadStatus, type_: ConditionType) -> Option<Verdict<'_>> {
    let condition = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())?;
    Some(Verdict {
        status: &condition.status,
        reason: &condition.reason,
        message: &condition.message,
        transition: condition.last_transition_time.0,
    })
}

impl Memory {
    /// What a new process knows: only what status says.
    #[must_use]
    pub fn from_status(status: &CoordinatedWorkloadStatus) -> Self {
        let mut memory = Self {
            recent: status.recent.clone(),
            repeats: Repeats::told(&status.advisories),
            ..Self::default()
        };
        for set in status.locks.iter().flat_map(|locks| &locks.sets) {
            if let Some(loss) = &set.last_loss {
                memory.last_loss.insert(set.name.clone(), loss.clone());
            }
            let ttl = set.assumed.as_ref().and_then(|assumed| assumed.ttl.clone());
            if let Some(ttl) = ttl.and_then(|ttl| Duration(ttl).parse().ok()) {
                memory.ttls.insert(set.name.clone(), ttl);
            }
        }
        memory.take_locks(status);
        memory.take_balance(status);
        if let Some(told) =
            verdict(status, ConditionType::StoreReachable).filter(|told| told.status == "False")
        {
            let outage = status
                .recent
                .iter()
                .find(|entry| entry.set.is_none() && entry.gap.is_none());
            memory.store.down_since = Some(outage.map_or(told.transition, |outage| outage.when.0));
        }
        memory
    }

    fn take_locks(&mut self, status: &CoordinatedWorkloadStatus) {
        let Some(told) = verdict(status, ConditionType::LocksHeld) else {
            return;
        };
        let unheld = told.is(Reason::LocksUnheld);
        let by_loss = told.is(Reason::LocksLost);
        self.had_verdict = told.status != "Unknown";
        let reasons = [
            Reason::LocksLost,
            Reason::LocksUnheld,
            Reason::LocksOverdue,
            Reason::Overheld,
        ];
        self.told_verdict = reasons.into_iter().find(|reason| told.is(*reason));
        let rows = status.locks.iter().flat_map(|locks| &locks.rows);
        for row in rows.clone() {
            let lock = from_row(row, status);
            let id = (row.set.clone(), row.name.clone());
            if let Some(event) = said(row, &lock) {
                self.said.insert((event, id.clone()));
            }
            if row.state == LockState::Orphaned {
                self.said.insert((EventReason::LocksOrphaned, id.clone()));
            }
            self.locks.insert(id, lock);
        }
        if status.locks.as_ref().is_some_and(|locks| locks.rows_omitted > 0) {
            let lowest = rows.clone().last();
            self.told_rest =
                lowest.and_then(|row| self.locks.get(&(row.set.clone(), row.name.clone())).cloned());
        }
        let since_then = |when: Timestamp| told.status == "False" && when >= told.transition;
        let losses = status.recent.iter().filter(|entry| entry.set.is_some());
        // A set without rows is an Intermittent one: its losses are no part of an incident.
        let sets: BTreeSet<&String> = rows.map(|row| &row.set).collect();
        let losses: Vec<_> = losses
            .filter(|loss| since_then(loss.when.0) && loss.set.as_ref().is_some_and(|set| sets.contains(set)))
            .collect();
        let bad = self
            .locks
            .iter()
            .filter(|(_, lock)| lock.lost.is_some() || lock.overdue);
        let mut incident = Incident {
            anchor: told.transition.to_string(),
            locks: bad.clone().map(|(id, _)| id.clone()).collect(),
            sources: bad
                .filter_map(|(_, lock)| lock.lost.as_ref()?.from.clone())
                .collect(),
            longest_gap: losses
                .iter()
                .filter_map(|loss| Duration(loss.gap.clone()?).parse().ok())
                .max(),
            told_until: losses.iter().map(|loss| loss.when.0).max(),
            ..Incident::default()
        };
        for loss in losses {
            let of_store = Cause::of_store(&loss.cause).map(|cause| cause.as_str().to_owned());
            incident.sources.extend(of_store.or_else(|| loss.from.clone()));
            incident.locks.extend(loss.set.clone().zip(loss.lock.clone()));
        }
        if by_loss || unheld || !incident.locks.is_empty() {
            self.incident = Some(incident);
        }
    }

    fn take_balance(&mut self, status: &CoordinatedWorkloadStatus) {
        let Some(told) = verdict(status, ConditionType::LocksBalanced) else {
            return;
        };
        for set in status.locks.iter().flat_map(|locks| &locks.sets) {
            let Some(balance) = &set.balance else { continue };
            let all_on_one = balance.locks >= balance.pods.max(3) && balance.max == balance.locks;
            let over = balance.pods >= 2 && (balance.max > balance.limit || all_on_one);
            // The condition names one set. Its numbers may be good again, only not for long enough.
            let named = told.message.contains(&format!(" of set {};", set.name));
            let clocks = BalanceMemory {
                concentrated: told.is(Reason::Concentrated) && (over || named),
                judged: told.status != "Unknown",
                ..BalanceMemory::default()
            };
            self.balance.insert(set.name.clone(), clocks);
        }
    }
}

fn from_row(row: &Row, status: &CoordinatedWorkloadStatus) -> LockMemory {
    let unheld = row.state == LockState::Unheld;
    let since = row.since.as_ref().map(|since| since.0);
    let lost = row.flags.contains(&Flag::Lost);
    // Within its grace, a lock's row has no moment: only so can it be told from one whose grace is over.
    let overdue = unheld && !lost && since.is_some();
    let overheld = row.flags.contains(&Flag::Overheld);
    // What isn't seen was held by somebody, if it was held for too long: when it is seen again, it is compared with that.
    let state = match (row.state, &row.pod) {
        (LockState::Unknown, Some(_)) if overheld => LockState::Held,
        (LockState::Unknown, None) if overheld => LockState::Unattributed,
        (state, _) => state,
    };
    let unknown = unheld || state == LockState::Unknown;
    let shown = since.map(|since| Shown {
        state,
        pod: row.pod.clone(),
        since,
        frees_at: row.frees_at.as_ref().map(|frees_at| frees_at.0),
    });
    LockMemory {
        lost: lost.then(|| loss(row, status)),
        overdue,
        ever_held: lost || !unknown,
        told: Told {
            finding: match (lost, overdue, overheld) {
                (true, _, _) => Some(Reason::LocksLost),
                (false, true, _) => Some(Reason::LocksUnheld),
                (false, false, true) => Some(Reason::Overheld),
                (false, false, false) => None,
            },
            history: overdue || row.pod.is_some() || row.state == LockState::Unknown,
            before: row.pod.clone().filter(|_| unheld),
            ghost: row.pod.clone().filter(|_| row.state == LockState::Foreign),
            orphan: row.pod.clone().filter(|_| row.state == LockState::Orphaned),
            no_expiry: row.flags.contains(&Flag::NoExpiry),
            overheld: overheld.then(|| row.pod.clone()),
            momentless: (since.is_none() && !lost).then(|| (row.state, row.pod.clone())),
        },
        shown,
        ..LockMemory::default()
    }
}

fn loss(row: &Row, status: &CoordinatedWorkloadStatus) -> Loss {
    let is_it = |set: &Option<String>, lock: &Option<String>| {
        set.as_ref() == Some(&row.set) && lock.as_ref() == Some(&row.name)
    };
    let told = status.recent.iter().find(|told| is_it(&told.set, &told.lock));
    let Some(told) = told else {
        let from = row.pod.clone().filter(|_| row.state == LockState::Unheld);
        return Loss::untold(from, row.since.as_ref().map(|since| since.0).unwrap_or_default());
    };
    Loss {
        cause: told.cause.clone(),
        from: told.from.clone(),
        when: told.when.0,
        detail: String::new(),
    }
}

/// The event that said what a row says.
fn said(row: &Row, lock: &LockMemory) -> Option<EventReason> {
    if lock.overdue {
        return Some(EventReason::LocksUnheld);
    }
    if row.flags.contains(&Flag::NoExpiry) {
        return Some(EventReason::LockWithoutExpiry);
    }
    match row.state {
        LockState::Foreign => Some(EventReason::ForeignLockHolder),
        _ if row.flags.contains(&Flag::Overheld) => Some(EventReason::LockOverheld),
        LockState::Orphaned => Some(EventReason::LocksOrphaned),
        LockState::Unknown | LockState::Unheld | LockState::Unattributed | LockState::Held => None,
    }
}
