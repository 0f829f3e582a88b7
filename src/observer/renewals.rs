//! What is counted of the renewals of a set's locks: written by the endpoints, read when it is asked for. No I/O.
//!
//! A plain renewal makes no pass, so it can't be counted by one: there may be a thousand in a second.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use crate::domain::locks::table::Beat;

/// Upper bounds of the buckets of a gap, seconds: each a little above an interval in use (1, 5, 7.5, 9 and 10, 15, 20, 30,
/// 60, 300), so that what comes on time and what doesn't are told apart.
const GAPS: [f64; 10] = [0.5, 1.2, 2.5, 6.0, 8.5, 11.5, 17.0, 33.0, 66.0, 330.0];

/// The renewals of one set of one workload; clones share them.
#[derive(Clone, Debug)]
pub struct RenewalTally {
    gaps: Histogram,
    late: Counter,
}

impl Default for RenewalTally {
    fn default() -> Self {
        Self {
            gaps: Histogram::new(GAPS),
            late: Counter::default(),
        }
    }
}

impl PartialEq for RenewalTally {
    /// Whether both are the same one.
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.late.inner(), other.late.inner())
    }
}

impl Eq for RenewalTally {}

impl RenewalTally {
    /// The times between renewals.
    #[must_use]
    pub fn gaps(&self) -> &Histogram {
        &self.gaps
    }

    /// How many renewals were late.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late.get()
    }

    pub(super) fn take(&self, beat: Beat) {
        if let Some(gap) = beat.gap {
            self.gaps.observe(gap.as_secs_f64());
        }
        if beat.late {
            self.late.inc();
        }
    }
}

/// A set that renews its locks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RenewedSet {
    /// How often, as the spec or the library says.
    pub interval: Duration,
    /// Where it is counted.
    pub tally: RenewalTally,
}

/// The locks of a set that renews: where they stand among those that a workload asks for by name, and the set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Renewed {
    /// The first of them.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// The set.
    pub set: Arc<RenewedSet>,
}

impl Renewed {
    /// The set that the lock in this place belongs to, if that renews.
    pub(super) fn at(sets: &[Self], place: usize) -> Option<&Arc<RenewedSet>> {
        let mut sets = sets.iter();
        let own = sets.find(|set| (set.first..set.first + set.count).contains(&place));
        own.map(|own| &own.set)
    }
}
