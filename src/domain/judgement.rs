//! The plain values that judging passes around. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    locks::{Mode, Mono, Trouble},
    memory::{Cause, LockId, Loss},
};
use crate::api::{
    conditions::Reason,
    status::{BalanceStatus, Flag, LockState},
};

/// Whether there is something to judge by.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// Complete and fresh.
    Clear {
        /// How changes are learned.
        mode: Mode,
        /// The server's version.
        version: Option<String>,
        /// Why, and since when, some of the locks are not seen: they alone are Unknown.
        hidden: Option<(Trouble, Timestamp)>,
        /// Why one of several servers isn't there that is not needed to see the locks.
        missing: Option<Trouble>,
    },
    /// Not complete, but not for so long that it is said: what status says stays.
    Pending,
    /// Not complete for too long.
    Blind {
        /// Why.
        trouble: Trouble,
        /// Since when.
        since: Timestamp,
    },
}

/// A lock and what is concluded of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Index of its set in the workload.
    pub set: usize,
    /// Whether somebody must hold it at all times.
    pub continuous: bool,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: LockState,
    /// Its flags.
    pub flags: Vec<Flag>,
    /// The pod that holds or held it.
    pub pod: Option<String>,
    /// Since when, for people.
    pub since: Option<Timestamp>,
    /// When it becomes free by itself (Orphaned).
    pub frees_at: Option<Timestamp>,
    /// When its holder showed life last: a renewal, else the first answer that showed the hold.
    pub renewed: Option<Mono>,
    /// Whether it counts as in good hands.
    pub good: bool,
    /// Without a holder, within its grace.
    pub awaiting: bool,
}

/// The Deployment's part in the verdict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rollout {
    /// Wanted replicas; `None`: there is no Deployment of ours.
    pub wanted: Option<i32>,
    /// It rolls out a template.
    pub rolling: bool,
}

/// The earliest moment at which something must be looked at again.
#[derive(Debug, Default)]
pub struct Recheck(pub Option<Mono>);

impl Recheck {
    /// Looks again at `at`, or earlier.
    pub fn at(&mut self, at: Mono) {
        self.0 = Some(self.0.map_or(at, |earlier| earlier.min(at)));
    }
}

/// A hold whose end was just seen. Every hold ends in exactly one of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The lock.
    pub id: LockId,
    /// Whether the lock must be held at all times.
    pub continuous: bool,
    /// Why it ended.
    pub cause: Cause,
    /// The pod that held it, as far as it may be named.
    pub from: Option<String>,
    /// When it ended, on the local clock: its deadline if it ran out.
    pub at: Mono,
    /// How long it was held; `None`: its begin or its end was not seen.
    pub held: Option<Duration>,
    /// The loss, if it counts as one in this set.
    pub loss: Option<Loss>,
}

/// The balance of one set.
#[derive(Clone, Debug, PartialEq)]
pub struct SetBalance {
    /// Name of the set.
    pub set: String,
    /// Reason for the condition: Concentrated, SingleReplica, TooFewLocks, Unattributed, Settling or Balanced.
    pub reason: Reason,
    /// Whether a pod holds more than its share at this moment.
    pub over: bool,
    /// The numbers.
    pub numbers: BalanceStatus,
    /// What helps.
    pub remedy: &'static str,
}
