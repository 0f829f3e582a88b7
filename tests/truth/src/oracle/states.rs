//! What status says of each lock and of all of them, at a moment when nothing is under way.

use lockstep::api::{
    CoordinatedWorkloadStatus,
    status::{Flag, LockState},
};

use super::{Kind, Oracle};
use crate::{
    operator::name_of,
    plan::{Ms, Owner},
    server::By,
    world::{RENEW, World},
};

/// From the last change to the last write that it causes: the quiet, the pace, and a little.
const SETTLED: Ms = 6_000;
/// A pod that holds a lock by status, or was seen to take it, may take so long to be seen.
const NEW_POD: Ms = 10_000;
/// A Continuous lock may be unheld for so long.
const GRACE: Ms = 30_000;

/// A condition of a status.
pub(super) struct Said<'s> {
    pub(super) status: &'s str,
    pub(super) reason: &'s str,
}

/// The condition of this type.
pub(super) fn condition<'s>(status: &'s CoordinatedWorkloadStatus, type_: &str) -> Option<Said<'s>> {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)?;
    Some(Said {
        status: &found.status,
        reason: &found.reason,
    })
}

/// What may be said of a lock.
struct Expected {
    states: Vec<LockState>,
    malformed: bool,
}

/// Whether a lock is in good hands at this moment, in truth.
pub(super) fn is_good(world: &mut World, lock: usize) -> bool {
    let Some(hold) = world.server.holder(lock, world.now) else {
        return false;
    };
    match world.server.holds[hold].by {
        By::Process(process) => {
            let pod = world.pod_of(process);
            world.setup.owner == Owner::Opaque || pod.gone.is_none() && pod.failed.is_none()
        }
        By::Stranger => world.setup.foreign_expected || world.setup.owner != Owner::Name,
        By::Garbage => world.setup.owner == Owner::Opaque,
        By::WrongType => false,
    }
}

impl Oracle {
    /// Compares everything that status says, if nothing is under way.
    pub(crate) fn check(&mut self, world: &mut World) {
        let now = world.now;
        let Some(status) = world.resource.status.clone() else {
            return;
        };
        if world.operator.is_none() {
            return;
        }
        if let Some(blind) = self.blind_since.filter(|_| self.ever_saw) {
            self.check_blind(world, &status, now - blind);
            return;
        }
        for lock in 0..world.setup.locks + world.setup.jobs {
            // Whoever looks deletes what is over.
            world.server.holder(lock, now);
        }
        if !self.is_settled(world) {
            return;
        }
        self.figures.checks += 1;
        self.never_ended(world);
        let mut bad: Vec<&'static str> = vec![];
        let mut maybe: Vec<&'static str> = vec![];
        let mut unattributed = false;
        for lock in 0..world.setup.locks + world.setup.jobs {
            let expected = self.expected(world, lock);
            let continuous = world.is_continuous(lock);
            let row = status
                .locks
                .as_ref()
                .and_then(|locks| locks.rows.iter().find(|row| row.name == name_of(lock)));
            if continuous {
                let Some(row) = row else {
                    self.object(Kind::WrongState, now, format!("no row for {}", name_of(lock)));
                    continue;
                };
                if !expected.states.contains(&row.state) {
                    let hold = world
                        .server
                        .holder(lock, now)
                        .map(|hold| world.server.holds[hold].clone());
                    self.object(
                        Kind::WrongState,
                        now,
                        format!(
                            "{} is {:?}, not {:?}: {hold:?}",
                            row.name, row.state, expected.states
                        ),
                    );
                }
                if row.flags.contains(&Flag::Malformed) != expected.malformed {
                    self.object(Kind::WrongState, now, format!("{}: {:?}", row.name, row.flags));
                }
                unattributed |= expected.states == [LockState::Unattributed];
            }
            self.reasons(world, lock, &expected, &mut bad, &mut maybe);
        }
        self.check_held(world, &status, &bad, &maybe, unattributed);
        self.check_balance(world, &status);
    }

    fn check_blind(&mut self, world: &World, status: &CoordinatedWorkloadStatus, blind: Ms) {
        if blind < 5_000 + SETTLED {
            return;
        }
        self.figures.checks += 1;
        let held = condition(status, "LocksHeld");
        let reachable = condition(status, "StoreReachable");
        let known = held.is_none_or(|held| held.status != "Unknown");
        if known || reachable.is_none_or(|reachable| reachable.status != "False") {
            self.object(
                Kind::BlindVerdict,
                world.now,
                format!("a verdict after {blind} ms without an answer"),
            );
        }
    }

    fn is_settled(&self, world: &World) -> bool {
        let changed = world
            .server
            .holds
            .iter()
            .flat_map(|hold| [Some(hold.taken), hold.end.map(|(at, _)| at)]);
        let last = [
            self.sees_since,
            Some(self.last_act),
            Some(world.pods_changed + world.setup.watch_lag),
        ]
        .into_iter()
        .chain(changed)
        .flatten()
        .max();
        let stalled = self
            .stalls
            .iter()
            .any(|(since, until)| *since <= world.now && *until + SETTLED >= world.now);
        self.sees_since.is_some() && !stalled && last.is_some_and(|last| last + SETTLED <= world.now)
    }

    /// What a lock is, by the truth; more than one where the operator can't know better.
    fn expected(&self, world: &mut World, lock: usize) -> Expected {
        let now = world.now;
        let some = |states: &[LockState]| Expected {
            states: states.to_vec(),
            malformed: false,
        };
        let Some(number) = world.server.holder(lock, now) else {
            return some(&[LockState::Unheld]);
        };
        let hold = &world.server.holds[number];
        let process = match hold.by {
            By::WrongType => {
                return Expected {
                    states: vec![LockState::Unknown],
                    malformed: true,
                };
            }
            By::Garbage => {
                return Expected {
                    states: vec![LockState::Unattributed],
                    malformed: world.setup.owner != Owner::Opaque,
                };
            }
            By::Stranger if world.setup.owner == Owner::Name => return some(&[LockState::Foreign]),
            By::Stranger => return some(&[LockState::Unattributed]),
            By::Process(_) if world.setup.owner == Owner::Opaque => return some(&[LockState::Unattributed]),
            By::Process(process) => process,
        };
        let (process, pod) = (&world.processes[process], world.pod_of(process));
        let lag = world.setup.watch_lag;
        let started = self.operators.last().copied().unwrap_or(0);
        let over = pod.terminating.is_some().then_some(process.shown_ended).flatten();
        if let Some(ended) = [pod.gone, pod.failed, over].into_iter().flatten().min() {
            let sure = ended + lag + world.setup.round_trip + 4_000;
            let since = |from: Ms, to: Ms| hold.renewals.iter().any(|at| *at > from && *at <= to);
            let mut states = if since(sure, now.saturating_sub(SETTLED + RENEW)) && !hold.persisted {
                // Looked for when the next renewal might have come.
                vec![LockState::Foreign]
            } else if since(ended, now) || hold.persisted {
                vec![LockState::Foreign, LockState::Orphaned]
            } else {
                vec![LockState::Orphaned]
            };
            if started > ended {
                // What another operator saw of it is lost, but for what it wrote down.
                states = vec![LockState::Orphaned, LockState::Foreign, LockState::Unattributed];
                if now < started + NEW_POD + SETTLED {
                    // Status says that it holds the lock: it may yet turn up.
                    states.push(LockState::Held);
                }
            }
            return some(&states);
        }
        match process.shown_ended {
            // A node that is lost says nothing of its processes.
            None if process.ended.is_some() => some(&[LockState::Held, LockState::Orphaned]),
            // That a process began is seen later than that it took a lock at once.
            None if pod.restarts > 0 && hold.taken <= process.began + lag + 350 => {
                some(&[LockState::Held, LockState::Orphaned])
            }
            None => some(&[LockState::Held]),
            Some(ended) if !world.is_continuous(lock) && !world.setup.jobs_renew => {
                let _ = ended;
                some(&[LockState::Held])
            }
            Some(ended) => {
                let silent = ended + lag + RENEW;
                // That an expiry goes looks like a renewal.
                let seen = self.first_seen(lock, number).is_some_and(|seen| seen < ended);
                if started + 1_000 > ended || hold.persisted || !seen {
                    some(&[LockState::Held, LockState::Orphaned])
                } else if now > silent + 1_500 + 1_000 + SETTLED {
                    some(&[LockState::Orphaned])
                } else if now + 1_000 < silent {
                    some(&[LockState::Held])
                } else {
                    some(&[LockState::Held, LockState::Orphaned])
                }
            }
        }
    }

    /// Which reasons of `LocksHeld` a lock gives, and which it may give.
    fn reasons(
        &self,
        world: &mut World,
        lock: usize,
        expected: &Expected,
        bad: &mut Vec<&'static str>,
        maybe: &mut Vec<&'static str>,
    ) {
        let continuous = world.is_continuous(lock);
        // Whether a process without a pod is a foreigner that is expected is a question of its renewals.
        let good = is_good(world, lock)
            || world.setup.foreign_expected && world.server.holder(lock, world.now).is_some();
        // A hold that began in good hands has made it good, whatever became of it since.
        let good = good
            || self.lost[lock].is_some_and(|lost| {
                let mut holds = self.shown.iter().map(|hold| &world.server.holds[*hold]);
                holds.any(|hold| hold.lock == lock && hold.taken >= lost.at)
            });
        if continuous && self.lost[lock].is_some() {
            if good {
                maybe.push("LocksLost");
            } else {
                bad.push("LocksLost");
            }
        }
        if continuous && expected.states == [LockState::Unheld] {
            if self.unheld[lock] > GRACE + 4_000 && self.lost[lock].is_none() {
                bad.push("LocksUnheld");
            } else if self.unheld[lock] > GRACE - 4_000 || self.operators.len() > 1 {
                maybe.push("LocksUnheld");
            }
        }
        if expected.malformed {
            bad.push("Malformed");
        }
        let number = world.server.holder(lock, world.now);
        let renewed = number.and_then(|number| world.server.holds[number].renewals.last().copied());
        if renewed.is_some_and(|at| at + SETTLED > world.now) {
            maybe.push("NoExpiry");
        }
        if number.is_some() && world.server.expiry(lock).is_none() {
            if expected.malformed {
                maybe.push("NoExpiry");
            } else {
                bad.push("NoExpiry");
            }
        }
        let foreign = expected.states.contains(&LockState::Foreign) && !world.setup.foreign_expected;
        let orphaned =
            expected.states.contains(&LockState::Orphaned) && (continuous || world.setup.jobs_renew);
        let certain = expected.states.len() == 1;
        for (is, reason) in [(foreign, "ForeignHolder"), (orphaned, "OrphanedOwner")] {
            if is {
                if certain {
                    bad.push(reason);
                } else {
                    maybe.push(reason);
                }
            }
        }
    }

    fn check_held(
        &mut self,
        world: &World,
        status: &CoordinatedWorkloadStatus,
        bad: &[&'static str],
        maybe: &[&'static str],
        unattributed: bool,
    ) {
        const ORDER: [&str; 6] = [
            "LocksLost",
            "LocksUnheld",
            "Malformed",
            "NoExpiry",
            "ForeignHolder",
            "OrphanedOwner",
        ];
        let Some(held) = condition(status, "LocksHeld") else {
            return;
        };
        self.figures.verdicts += 1;
        self.figures.unknown += u64::from(held.status == "Unknown");
        let place = |reason: &str| ORDER.iter().position(|known| *known == reason);
        let worst = bad.iter().filter_map(|reason| place(reason)).min();
        let fine = if world.wanted == 0 {
            held.reason == "NoReplicasWanted"
        } else if let Some(said) = place(held.reason) {
            // What is said is so, or may be; and nothing worse is certain.
            (bad.contains(&held.reason) || maybe.contains(&held.reason))
                && worst.is_none_or(|worst| said <= worst)
        } else {
            worst.is_none()
                && match held.reason {
                    "AllHeld" | "AwaitingHolder" => !unattributed || held.reason == "AwaitingHolder",
                    "HeldUnattributed" => unattributed || world.setup.owner != Owner::Name,
                    _ => false,
                }
        };
        if !fine {
            self.object(
                Kind::WrongState,
                world.now,
                format!(
                    "LocksHeld is {}, with {bad:?} and perhaps {maybe:?}; wanted {}",
                    held.reason, world.wanted
                ),
            );
        }
    }
}
