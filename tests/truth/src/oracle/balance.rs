//! Whether one pod holds more than its share, worked out anew from the definition.

use lockstep::api::CoordinatedWorkloadStatus;

use super::{Kind, Oracle, states::condition};
use crate::{
    plan::{Ms, Owner},
    server::By,
    world::World,
};

/// A pod counts from so long after it turned Ready.
const WARM_UP: Ms = 60_000;
/// A verdict takes so long: twice the lifetime of a lock, or two minutes.
const SUSTAINED: Ms = 120_000;
/// What is shorter than this may escape the operator, or come a little later.
const BLINK: Ms = 3_000;

/// Who holds how much, as it went.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Since when a pod holds more than its share, but for blinks.
    over_since: Option<Ms>,
    /// The same without any blink.
    always_over_since: Option<Ms>,
    /// Since when none does, but for blinks.
    even_since: Option<Ms>,
    /// Until when it last was so, and not so.
    over_last: Ms,
    even_last: Ms,
    /// Since when as many pods count as are wanted.
    settled_since: Option<Ms>,
}

impl Shares {
    /// Until `to` everything is as it is at `world.now`, but that pods warm up.
    pub(super) fn time_passes(&mut self, world: &mut World, to: Ms) {
        let now = world.now;
        let warm = world
            .pods
            .iter()
            .filter_map(|pod| pod.ready)
            .map(|ready| ready + WARM_UP);
        let mut moments: Vec<Ms> = warm.filter(|at| *at > now && *at < to).collect();
        moments.sort_unstable();
        let mut from = now;
        for until in moments.into_iter().chain([to]) {
            let look = Look::at(world, from);
            let settled = look.pods == world.wanted && look.pods >= 2;
            if look.is_over() {
                if from > self.over_last + BLINK || self.over_since.is_none() {
                    self.over_since = Some(from);
                }
                self.always_over_since.get_or_insert(from);
                self.over_last = until;
                if until > self.even_last + BLINK {
                    self.even_since = None;
                }
            } else {
                if from > self.even_last + BLINK || self.even_since.is_none() {
                    self.even_since = Some(from);
                }
                self.always_over_since = None;
                self.even_last = until;
                if until > self.over_last + BLINK {
                    self.over_since = None;
                }
            }
            if settled {
                self.settled_since.get_or_insert(from);
            } else {
                self.settled_since = None;
            }
            from = until;
        }
    }

    /// Whether a pod has held more than its share for as long as a verdict takes.
    pub(super) fn was_over_for(&self, now: Ms, world: &World) -> bool {
        let lag = world.setup.watch_lag + 2 * BLINK + world.set_by.unsigned_abs();
        self.over_since
            .is_some_and(|since| now + lag >= since + SUSTAINED)
    }
}

/// Who shares the locks at a moment.
struct Look {
    pods: usize,
    locks: usize,
    most: usize,
}

impl Look {
    fn at(world: &mut World, at: Ms) -> Self {
        let counting: Vec<usize> = (0..world.pods.len())
            .filter(|pod| {
                let pod = &world.pods[*pod];
                pod.counts() && pod.ready.is_some_and(|ready| ready + WARM_UP <= at)
            })
            .collect();
        let mut shares = vec![0_usize; counting.len()];
        for lock in 0..world.setup.locks {
            let Some(hold) = world.server.holder(lock, at) else {
                continue;
            };
            if let By::Process(process) = world.server.holds[hold].by
                && let Some(place) = counting
                    .iter()
                    .position(|pod| *pod == world.processes[process].pod)
            {
                shares[place] += 1;
            }
        }
        Self {
            pods: counting.len(),
            locks: shares.iter().sum(),
            most: shares.iter().copied().max().unwrap_or(0),
        }
    }

    /// Whether a pod holds more than its share.
    fn is_over(&self) -> bool {
        if self.pods < 2 {
            return false;
        }
        let limit = (self.locks.div_ceil(self.pods) + 1).max((2 * self.locks).div_ceil(self.pods));
        self.most > limit || self.most == self.locks && self.locks >= self.pods.max(3)
    }
}

impl Oracle {
    /// What is said of the balance, where nothing is left to wait for.
    pub(super) fn check_balance(&mut self, world: &mut World, status: &CoordinatedWorkloadStatus) {
        let now = world.now;
        let Some(said) = condition(status, "LocksBalanced") else {
            return;
        };
        self.check_numbers(world, status);
        let (reason, long) = (said.reason.to_owned(), SUSTAINED + 2 * BLINK + 10_000);
        let since = |moment: Option<Ms>| moment.is_some_and(|since| now >= since + long);
        // A new operator asks the wall clock for how long a pod has been Ready.
        let clock_was_set = world.set_by != 0;
        let undisturbed = since(self.shares.settled_since)
            && since(self.sees_since)
            && since(self.operators.last().copied())
            && since(Some(world.pods_changed));
        if world.setup.owner == Owner::Opaque
            || world.setup.locks < 2
            || clock_was_set
            || world.wanted < 2
            || !undisturbed
        {
            return;
        }
        let unattributed = world
            .server
            .holds
            .iter()
            .any(|hold| hold.by != By::WrongType && !matches!(hold.by, By::Process(_)));
        let hoards = since(self.shares.always_over_since);
        let even = since(self.shares.even_since);
        let fine = match reason.as_str() {
            "Concentrated" => !even,
            "Unattributed" => unattributed || world.setup.owner == Owner::Uid,
            _ => !hoards,
        };
        if !fine {
            self.object(
                Kind::WrongState,
                now,
                format!("LocksBalanced is {reason}; {:?}", self.shares),
            );
        }
    }
    /// The numbers that the verdict rests on.
    fn check_numbers(&mut self, world: &mut World, status: &CoordinatedWorkloadStatus) {
        let now = world.now;
        let mut sets = status.locks.iter().flat_map(|locks| &locks.sets);
        let Some(said) = sets
            .find(|set| set.name == "main")
            .and_then(|set| set.balance.as_ref())
        else {
            return;
        };
        let warming = world
            .pods
            .iter()
            .filter_map(|pod| pod.ready)
            .any(|ready| (ready + WARM_UP).abs_diff(now) < 2 * BLINK);
        let unsure = world
            .processes
            .iter()
            .any(|process| process.shown_ended.is_some_and(|at| now - at < 60_000));
        let unsure = unsure
            || world
                .server
                .holds
                .iter()
                .any(|hold| hold.persisted && hold.end.is_none());
        if world.setup.owner != Owner::Name || warming || unsure || self.operators.len() > 1 {
            return;
        }
        let look = Look::at(world, now);
        let number = |number: i32| usize::try_from(number).unwrap_or(usize::MAX);
        if (number(said.pods), number(said.locks), number(said.max)) != (look.pods, look.locks, look.most) {
            let truth = format!(
                "{} locks on {} pods, at most {}",
                look.locks, look.pods, look.most
            );
            self.object(Kind::WrongState, now, format!("{said:?}, and it is {truth}"));
        }
    }
}
