//! What ought to be concluded, worked out from the truth alone, and where the core says something else.
//!
//! The oracle knows each hold, process and pod. Of the operator it uses only what a perfect observer would know: which
//! answers it received when, and when it had reason to doubt them.

mod balance;
mod ends;
mod events;
mod states;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lockstep::{
    api::{
        CoordinatedWorkloadStatus,
        status::{Flag, LockState},
    },
    domain::memory::Announcement,
};

use self::balance::Shares;
use crate::{
    operator::{Done, name_of},
    plan::{Ms, Setup, What},
    server::{By, Shown},
    world::World,
};

/// A disagreement.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Of what kind.
    pub kind: Kind,
    /// When.
    pub at: Ms,
    /// What.
    pub what: String,
}

/// Kinds of disagreement.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A loss that was none.
    FalseLoss,
    /// A loss that could be seen, and was not said.
    MissedLoss,
    /// A verdict about what nobody watched.
    BlindVerdict,
    /// The right side of loss and release, but another cause, pod or moment.
    WrongCause,
    /// A hold that ended never, or more than once.
    NotOnce,
    /// Known too late.
    Late,
    /// A state or verdict that is not so.
    WrongState,
    /// Unknown, though it could be known.
    UnjustifiedUnknown,
    /// An event without a ground, or one too many.
    WrongEvent,
    /// A Warning though nothing is wrong.
    FalseAlarm,
    /// What can't be, whatever happens.
    Fault,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Ends that were concluded.
    pub ends: u64,
    /// Of these, losses in truth that could be seen.
    pub losses: u64,
    /// Of these, inside an interval that nobody watched.
    pub blind: u64,
    /// Of these, such that the truth can't be told from something else.
    pub ambiguous: u64,
    /// Moments at which everything that status says was compared.
    pub checks: u64,
    /// Verdicts on the locks that were compared, and those that were Unknown.
    pub verdicts: u64,
    /// Of these, Unknown.
    pub unknown: u64,
    /// Events that were said.
    pub events: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.ends += other.ends;
        self.losses += other.losses;
        self.blind += other.blind;
        self.ambiguous += other.ambiguous;
        self.checks += other.checks;
        self.verdicts += other.verdicts;
        self.unknown += other.unknown;
        self.events += other.events;
    }
}

/// What happened to a server that bears on how holds ended there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Happening {
    Evicted,
    Flushed,
    FailedOver,
    ClockSet,
}

/// What one answer showed.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Ms,
    noticed: u64,
    hold: Option<usize>,
}

/// A loss that was concluded, and not made good as far as is known.
#[derive(Clone, Copy, Debug)]
struct Lost {
    /// When the hold ended.
    at: Ms,
}

/// The oracle.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Where it disagrees.
    pub violations: Vec<Violation>,
    /// What it counted.
    pub figures: Figures,
    /// Whether nothing that happens justifies a Warning.
    pub calm: bool,
    /// By lock: what each answer of the present operator showed.
    answers: Vec<Vec<Seen>>,
    /// When, in the order of what is noticed, the present operator had reason to doubt what it knew.
    doubts: Vec<u64>,
    /// What was noticed last: more can happen within a millisecond.
    noticed: u64,
    /// When a connection said nothing though nobody was told, from and to.
    stalls: Vec<(Ms, Ms)>,
    happenings: Vec<(Ms, Happening)>,
    /// When the server's clock was set, and by how much.
    clock_set: Vec<(Ms, Ms)>,
    /// Holds that the present operator was shown, and those whose end it concluded.
    shown: BTreeSet<usize>,
    concluded: BTreeSet<usize>,
    /// With a real observer: when it first showed a hold.
    shown_at: BTreeMap<usize, Ms>,
    /// When operators started.
    operators: Vec<Ms>,
    /// Since when the operator sees everything, or doesn't.
    sees_since: Option<Ms>,
    blind_since: Option<Ms>,
    /// Whether the present operator ever saw everything.
    ever_saw: bool,
    /// By lock: a loss that is not made good.
    lost: Vec<Option<Lost>>,
    /// Losses that were concluded: lock, the moment as it is shown, the true one.
    losses: Vec<(usize, Timestamp, Ms)>,
    /// Gaps that were compared.
    gaps: BTreeSet<(usize, Ms, Ms)>,
    /// By lock: for how long nobody held it while that counted.
    unheld: Vec<Ms>,
    /// When `LocksHeld` was written as True last.
    true_at: Option<Ms>,
    lost_said: Vec<(Ms, bool)>,
    wrong_said: bool,
    shares: Shares,
    last_act: Ms,
    /// Events that were said.
    pub(crate) said: Vec<Announcement>,
}

impl Oracle {
    pub(crate) fn new(setup: &Setup) -> Self {
        let locks = setup.locks + setup.jobs;
        Self {
            answers: vec![vec![]; locks],
            lost: vec![None; locks],
            unheld: vec![0; locks],
            ..Self::default()
        }
    }

    fn object(&mut self, kind: Kind, at: Ms, what: impl Into<String>) {
        let what = what.into();
        self.violations.push(Violation { kind, at, what });
    }

    pub(crate) fn fault(&mut self, at: Ms, what: String) {
        self.object(Kind::Fault, at, what);
    }

    /// Something happened.
    pub(crate) fn happened(&mut self, at: Ms, what: What) {
        self.last_act = at;
        let happening = match what {
            What::Evict(_) | What::EvictOther => Happening::Evicted,
            What::Flush => Happening::Flushed,
            What::Failover(time, _) => {
                self.stalls.push((at, at + time));
                Happening::FailedOver
            }
            What::ServerClock(by) => {
                self.clock_set.push((at, by));
                Happening::ClockSet
            }
            What::Cut(time, _) => {
                self.stalls.push((at, at + time));
                return;
            }
            _ => return,
        };
        self.happenings.push((at, happening));
    }

    /// Another operator starts, and knows what status says.
    pub(crate) fn new_operator(&mut self, at: Ms, status: &CoordinatedWorkloadStatus) {
        for lock in 0..self.lost.len() {
            let mut rows = status.locks.iter().flat_map(|locks| &locks.rows);
            let row = rows.find(|row| row.name == name_of(lock));
            let lost = row.is_some_and(|row| row.flags.contains(&Flag::Lost));
            if !lost {
                self.lost[lock] = None;
            }
            // A lock within its grace has a row without a moment; the grace begins anew.
            let unheld = row.is_some_and(|row| row.state == LockState::Unheld && row.since.is_some());
            if !unheld {
                self.unheld[lock] = 0;
            }
        }
        // What was said counts as long as status says that something is wrong.
        if states::condition(status, "LocksHeld").is_none_or(|held| held.status != "False") {
            self.lost_said.clear();
        }
        self.answers.iter_mut().for_each(Vec::clear);
        self.doubts.clear();
        self.shown.clear();
        self.concluded.clear();
        self.operators.push(at);
        self.sees_since = None;
        self.blind_since = Some(at);
        self.ever_saw = false;
    }

    /// The operator has reason to doubt what it knows.
    pub(crate) fn doubt(&mut self) {
        self.noticed += 1;
        self.doubts.push(self.noticed);
    }

    /// The operator got these answers.
    pub(crate) fn answered(&mut self, at: Ms, shown: &[(usize, Option<Shown>)]) {
        self.noticed += 1;
        for (lock, shown) in shown {
            self.answers[*lock].push(Seen {
                at,
                noticed: self.noticed,
                hold: shown.map(|shown| shown.hold),
            });
        }
    }

    /// Time goes on to `to`, and until then nothing changes.
    pub(crate) fn time_passes(&mut self, world: &mut World, to: Ms) {
        let now = world.now;
        if to <= now {
            return;
        }
        self.shares.time_passes(world, to);
        let ready = world
            .pods
            .iter()
            .any(|pod| pod.ready.is_some() && pod.gone.is_none());
        let counts = ready && world.wanted > 0 && self.sees_since.is_some() && world.operator.is_some();
        for lock in 0..world.setup.locks {
            if let Some(hold) = world.server.holder(lock, now) {
                // What is over before it is seen counts for nobody, and a list is nobody's hold.
                if self.shown.contains(&hold) && world.server.holds[hold].by != By::WrongType {
                    self.unheld[lock] = 0;
                }
            } else if counts {
                self.unheld[lock] += to - now;
            }
        }
    }

    /// The operator made a pass.
    pub(crate) fn passed(&mut self, world: &mut World, done: &Done, sees: bool) {
        let now = world.now;
        if sees {
            self.sees_since.get_or_insert(now);
            self.blind_since = None;
            self.ever_saw = true;
        } else {
            self.blind_since.get_or_insert(now);
            self.sees_since = None;
        }
        for fault in &done.faults {
            self.object(Kind::NotOnce, now, fault.clone());
        }
        for (_, value) in &done.shown {
            let hold = ends::hold_of(world, value);
            self.shown.extend(hold);
            if let Some(hold) = hold.filter(|_| world.is_real()) {
                self.shown_at.entry(hold).or_insert(now);
            }
        }
        for concluded in &done.concluded {
            self.concluded(world, concluded);
        }
        self.make_good(world);
        if let Some(status) = &done.written {
            self.written(world, status);
        }
        for event in &done.events {
            self.event(world, event, done.written.as_ref());
        }
    }

    /// A loss is made good by a hold that was shown and is in good hands.
    fn make_good(&mut self, world: &mut World) {
        for lock in 0..world.setup.locks {
            let Some(lost) = self.lost[lock] else { continue };
            let taken = |hold: usize| {
                world.server.holds[hold].lock == lock && world.server.holds[hold].taken >= lost.at
            };
            if self.shown.iter().copied().any(taken) && states::is_good(world, lock) {
                self.lost[lock] = None;
            }
        }
    }

    /// Everything is over: what ended without a word?
    pub(crate) fn finish(&mut self, world: &mut World) {
        self.check(world);
        self.never_ended(world);
    }

    /// A status was written: what may be checked at any moment.
    fn written(&mut self, world: &World, status: &CoordinatedWorkloadStatus) {
        let now = world.now;
        self.check_gaps(world, status);
        let Some(held) = states::condition(status, "LocksHeld") else {
            return;
        };
        self.figures.verdicts += 1;
        if held.status == "Unknown" {
            self.figures.unknown += 1;
        }
        if held.status == "True" {
            self.true_at = Some(now);
        }
        if held.reason == "NotObserved" {
            let blind = self.blind_since.map(|since| now - since);
            let patience = if self.ever_saw { 4_900 } else { 29_900 };
            let wrong_types = world.server.holds.iter().any(|hold| hold.by == By::WrongType);
            // Before there was any status there is nothing that could stay as it is.
            let before = world.resource.status.as_ref();
            let first = before.and_then(|before| states::condition(before, "LocksHeld"));
            let first = first.is_none_or(|before| before.reason == "NotObserved");
            if blind.is_none_or(|blind| blind < patience) && !wrong_types && !first {
                self.object(
                    Kind::UnjustifiedUnknown,
                    now,
                    format!("NotObserved after {blind:?} ms without an answer"),
                );
            }
        }
    }
}
