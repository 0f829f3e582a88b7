//! What one workload remembers between decisions and loses with the process. Pure.
//!
//! Whatever must survive the process is read back from status ([`Memory::from_status`]); everything here is either
//! that, or a clock, or knowledge that only an uninterrupted watch can have.

mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    drift::Drift,
    locks::{Key, Mono, quorum::Quorum},
    ownership::PodView,
    repeats::{Repeats, Take},
    status::EXHAUSTED_AFTER,
    workload::{LockSet, Workload},
};
use crate::api::{
    conditions::{ConditionType, EventReason, Reason},
    status::{self, LockState},
};

/// How long a pod that went is remembered at least: longer than the longest usual hold of a dead pod.
const POD_KEPT: Duration = Duration::from_mins(10);

/// The set's name and the lock's name.
pub type LockId = (String, String);

/// What one workload remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Pods of this workload, live and gone, by name.
    pub pods: BTreeMap<String, PodMemory>,
    /// Declared locks.
    pub locks: BTreeMap<LockId, LockMemory>,
    /// The endpoint whose ends were judged, and the number of the last of them; `None`: none was looked at yet.
    pub cursor: Option<(u64, u64)>,
    /// What a majority of servers showed last, where the locks are on several.
    pub quorum: Quorum,
    /// Balance clocks by set.
    pub balance: BTreeMap<String, BalanceMemory>,
    /// The store's connection.
    pub store: StoreMemory,
    /// Losses that belong together, while `LocksHeld` has not turned True again.
    pub incident: Option<Incident>,
    /// When losses of Intermittent locks were said last.
    pub intermittent_said: Option<Mono>,
    /// Losses of Intermittent locks that were not said yet.
    pub intermittent_unsaid: Vec<(LockId, Loss)>,
    /// Locks that were taken twice where once was enough.
    pub repeats: Repeats,
    /// What is wrong with which locks, as it was said since `LocksHeld` was True last.
    pub said: BTreeSet<(EventReason, LockId)>,
    /// Verdicts that blindness replaced: status and reason, by type. What they said is no news when sight is back.
    pub before_blindness: BTreeMap<ConditionType, (String, String)>,
    /// The reason of the verdict on the locks, while that is still the one of status, whose words can't all be found
    /// again.
    pub told_verdict: Option<Reason>,
    /// The last lock that status had room for: so the others are taken to be, until the first complete read.
    pub told_rest: Option<LockMemory>,
    /// Largest lifetime of a lock seen, by set, where the spec is silent.
    pub ttls: BTreeMap<String, Duration>,
    /// Whether `LocksHeld` ever had a verdict, since replicas are wanted.
    pub had_verdict: bool,
    /// How far the template got that was written last.
    pub template: TemplateProgress,
    /// The children.
    pub children: ChildrenMemory,
    /// When status was written last.
    pub status_written: Option<Mono>,
    /// Holds that were seen to be taken, until the end of the look.
    pub taken: Vec<Taken>,
    /// Events that wait to be posted, in order.
    pub outbox: Vec<Announcement>,
    /// `status.recent`, as it should be.
    pub recent: Vec<status::Incident>,
    /// Each set's `lastLoss`, as it should be.
    pub last_loss: BTreeMap<String, status::LastLoss>,
}

/// What is remembered of the children.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChildrenMemory {
    /// Somebody else's changes of the children that were taken back.
    pub drift: Drift,
    /// Whether somebody insists on other values than the spec's, and that is what status says.
    pub fighting: bool,
    /// Since when the budget allows no eviction, without a rollout.
    pub exhausted_since: Option<Mono>,
    /// UIDs of children that were adopted: they are not said to be created.
    pub adopted: BTreeSet<String>,
}

impl ChildrenMemory {
    /// The next moment at which time alone changes what is said of them.
    #[must_use]
    pub fn recheck_at(&self, now: Mono) -> Option<Mono> {
        let exhausted = self.exhausted_since.map(|since| since + EXHAUSTED_AFTER);
        let moments = exhausted.filter(|moment| *moment > now).into_iter();
        moments.chain(self.drift.recheck_at(now)).min()
    }
}

/// How far a template got, as far as this process knows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TemplateProgress {
    /// Neither was it written by this process, nor was the Deployment looked at when its controller was done with it.
    #[default]
    Unknown,
    /// This process wrote it, and the Deployment controller has not seen it yet.
    Written,
    /// The Deployment controller has seen it.
    Seen,
}

/// A pod of this workload.
#[derive(Clone, Debug, PartialEq)]
pub struct PodMemory {
    /// As it was seen last.
    pub view: PodView,
    /// Since when it is Ready, on the local clock.
    pub ready_since: Option<Mono>,
    /// When it was first seen deleted or finished.
    pub gone: Option<Mono>,
    /// Whether its object is gone.
    pub deleted: bool,
    /// By container: what happened to it.
    pub containers: BTreeMap<String, ContainerMemory>,
}

/// A container of a pod.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ContainerMemory {
    /// When a restart was seen last.
    pub restarted: Option<Mono>,
    /// Since when it was seen not running, while it is not.
    pub ended: Option<Mono>,
}

impl ContainerMemory {
    /// When it was last seen to have ended or restarted.
    #[must_use]
    pub fn last_break(&self) -> Option<Mono> {
        self.restarted.max(self.ended)
    }
}

/// A declared lock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LockMemory {
    /// Its key; `None`: only status told of it.
    pub key: Option<Key>,
    /// A loss that is not made good.
    pub lost: Option<Loss>,
    /// How its last hold ended, if this process saw it.
    pub last_end: Option<LastEnd>,
    /// Time without a holder that counted, and since when it counts now.
    pub grace: GraceClock,
    /// The grace is over, or status said so before this process.
    pub overdue: bool,
    /// The present owner, if its pod is not known as live, and when that was first found.
    pub owner_missing: Option<(String, Mono)>,
    /// The present owner, if its lock container ended or restarted and nothing was renewed since, and since when.
    pub broken: Option<(String, Mono)>,
    /// How long the hold that was seen first at this moment lasted at least before, as its row said.
    pub held_before: Option<(Mono, Duration)>,
    /// When it was taken, if that is to be once in a period.
    pub period: PeriodMemory,
    /// When the hold was taken that was counted last.
    pub taken: Option<Mono>,
    /// Whether somebody was ever seen to hold it, in this process or by status.
    pub ever_held: bool,
    /// What only status knows of it.
    pub told: Told,
    /// Its row, as it was shown last.
    pub shown: Option<Shown>,
}

/// What a lock's row said before this process, until the present hold ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The reason for which it was a finding, of those whose words can't all be found again: what is not in status can't
    /// be said again.
    pub finding: Option<Reason>,
    /// Somebody may have held it before; nothing is known of that.
    pub history: bool,
    /// Whose it was, if nobody has it.
    pub before: Option<String>,
    /// The pod under whose name somebody else renews it.
    pub ghost: Option<String>,
    /// The pod that it was an orphan of.
    pub orphan: Option<String>,
    /// It has no expiry.
    pub no_expiry: bool,
    /// It was held for longer than it may be, by this pod as far as it was named.
    pub overheld: Option<Option<String>>,
    /// State and pod of a row that told no moment.
    pub momentless: Option<(LockState, Option<String>)>,
}

/// When a lock was taken that is to be taken once in a period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeriodMemory {
    /// The endpoint on whose clock `latest` is.
    pub endpoint: Option<u64>,
    /// The first answer that showed the latest hold.
    pub latest: Mono,
    /// The last time that somebody was seen to take it.
    pub taken: Option<Take>,
    /// The shortest hold that was seen from beginning to end.
    pub shortest: Option<Duration>,
    /// Since when the connection stands over which it is seen; `None`: it isn't.
    pub connected: Option<Mono>,
    /// Since when it was to be taken and was not.
    pub running_since: Option<Mono>,
    /// The same for people; `None`: only status knew.
    pub since: Option<Timestamp>,
    /// The pod that took it then, if somebody did; `None`: that is when it was looked at first.
    pub by: Option<Option<String>>,
    /// It is overdue, until it is taken.
    pub overdue: bool,
}

/// A lock's row.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// State.
    pub state: LockState,
    /// Pod.
    pub pod: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When it frees by itself.
    pub frees_at: Option<Timestamp>,
}

/// A hold that was seen to be taken. Every such hold is told once.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Name of the set.
    pub set: String,
    /// The time without a holder before it; `None`: that is not known.
    pub gap: Option<Gap>,
}

/// The time from the end of a hold to the next one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// How long.
    pub length: Duration,
    /// Whether the hold before it was lost, so that this was a failover; else it was given up: a handover.
    pub failover: bool,
    /// Whether it took longer than the lifetime of the lock and one retry.
    pub too_long: bool,
}

/// How a hold ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LastEnd {
    /// Cause, as in the contract's table.
    pub cause: Cause,
    /// The pod that held it.
    pub from: Option<String>,
    /// On the local clock: where a gap counts from.
    pub at: Mono,
    /// For people.
    pub when: Timestamp,
    /// Whether the gap until the next hold is still open.
    pub open: bool,
    /// Whether it is known when it ended, so that the gap has a length.
    pub timed: bool,
}

/// Why a hold ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// Another server, or another history of the data, answers, and it wasn't there.
    StoreFailover,
    /// Everything was flushed.
    Flushed,
    /// The server's clock ran ahead.
    ClockJump,
    /// Nobody watched throughout.
    Unexplained,
    /// It ran out, its owner gone.
    HolderGone,
    /// It ran out, its owner alive.
    Expired,
    /// It went before it ran out while the server evicted keys.
    Evicted,
    /// Given up before it ran out.
    Released,
}

impl Cause {
    /// As it is spelt in status and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StoreFailover => "StoreFailover",
            Self::Flushed => "Flushed",
            Self::ClockJump => "ClockJump",
            Self::Evicted => "Evicted",
            Self::Unexplained => "Unexplained",
            Self::HolderGone => "HolderGone",
            Self::Expired => "Expired",
            Self::Released => "Released",
        }
    }

    /// Every cause of a loss.
    pub const LOSSES: [Self; 6] = [
        Self::StoreFailover,
        Self::Flushed,
        Self::ClockJump,
        Self::HolderGone,
        Self::Expired,
        Self::Evicted,
    ];

    /// Whether the hold lasted until it ran out: gaps count from then, else from when it ended.
    #[must_use]
    pub fn ran_out(self) -> bool {
        match self {
            Self::HolderGone | Self::Expired => true,
            Self::Unexplained
            | Self::Released
            | Self::StoreFailover
            | Self::Flushed
            | Self::ClockJump
            | Self::Evicted => false,
        }
    }

    /// What the store did, by the name of the cause; `None`: it was not the store, or the name is none.
    #[must_use]
    pub fn of_store(name: &str) -> Option<Self> {
        let causes = [Self::StoreFailover, Self::Flushed, Self::ClockJump, Self::Evicted];
        causes.into_iter().find(|cause| cause.as_str() == name)
    }

    /// Whether it counts as a loss.
    #[must_use]
    pub fn is_loss(self) -> bool {
        match self {
            Self::HolderGone
            | Self::Expired
            | Self::StoreFailover
            | Self::Flushed
            | Self::ClockJump
            | Self::Evicted => true,
            Self::Unexplained | Self::Released => false,
        }
    }
}

/// A loss of a Continuous lock that is not made good.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Cause, as it is spelt in status; empty where it is not known any more.
    pub cause: String,
    /// The pod that lost it, or nothing where it must not be named.
    pub from: Option<String>,
    /// When.
    pub when: Timestamp,
    /// How the pod ended, or that it still runs.
    pub detail: String,
}

impl Loss {
    /// A loss of which status said no more than that it happened.
    #[must_use]
    pub fn untold(from: Option<String>, when: Timestamp) -> Self {
        Self {
            cause: String::new(),
            from,
            when,
            detail: String::new(),
        }
    }
}

/// A clock that runs only while it should.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GraceClock {
    /// What has run so far, before `running_since`.
    pub elapsed: Duration,
    /// Since when it runs now.
    pub running_since: Option<Mono>,
}

impl GraceClock {
    /// What has run until `now`.
    #[must_use]
    pub fn total(&self, now: Mono) -> Duration {
        self.elapsed
            + self
                .running_since
                .map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Starts or stops it.
    pub fn run(&mut self, running: bool, now: Mono) {
        if running {
            self.running_since.get_or_insert(now);
        } else {
            self.elapsed = self.total(now);
            self.running_since = None;
        }
    }
}

/// Clocks of one set's balance.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BalanceMemory {
    /// The verdict that stands.
    pub concentrated: bool,
    /// Whether there ever was one.
    pub judged: bool,
    /// Since when a pod holds more than its share, without a break.
    pub over_since: Option<Mono>,
    /// For how long no pod holds more than its share.
    pub calm: GraceClock,
    /// Since when it settles.
    pub settling_since: Option<Mono>,
}

impl BalanceMemory {
    /// Nothing is seen: what was going on must start anew, what was waited out is kept.
    pub fn interrupt(&mut self, now: Mono) {
        self.over_since = None;
        self.calm.run(false, now);
    }
}

/// The store's connection as the verdict sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreMemory {
    /// Whether there was a complete read in this process.
    pub ever_complete: bool,
    /// Since when there is no complete read, and the same for people.
    pub incomplete_since: Option<(Mono, Timestamp)>,
    /// Since when the store is said to be down, for people.
    pub down_since: Option<Timestamp>,
}

/// Losses that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incident {
    /// Pods whose losses were said or announced, and what the store did to lose locks.
    pub sources: BTreeSet<String>,
    /// Locks that were lost or unheld in it.
    pub locks: BTreeSet<LockId>,
    /// Longest gap measured so far.
    pub longest_gap: Option<Duration>,
    /// Losses of other pods that were not said yet.
    pub unsaid: Vec<(LockId, Loss)>,
    /// When LocksLost was said last, on the local clock.
    pub last_said: Option<Mono>,
    /// The last loss that status told of, if the incident is older than this process.
    pub told_until: Option<Timestamp>,
    /// What makes the name of its end unique: the condition's transition, or the first loss.
    pub anchor: String,
}

/// An event that is to be posted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// Reason.
    pub reason: EventReason,
    /// What it announces, for the event's name: same announcement, same key.
    pub key: String,
    /// For people; at most 1 kB is posted.
    pub note: String,
}

impl Memory {
    /// Takes in the pods as they are seen now.
    pub fn see_pods(&mut self, pods: &[PodView], now: Mono, wall: Timestamp) {
        for pod in pods {
            match self.pods.get_mut(&pod.name) {
                Some(known) if known.view.uid == pod.uid => known.see(pod, now),
                _ => {
                    self.pods
                        .insert(pod.name.clone(), PodMemory::first(pod, now, wall));
                }
            }
        }
        for (name, known) in &mut self.pods {
            if !known.deleted && !pods.iter().any(|pod| pod.name == *name) {
                known.deleted = true;
                known.gone.get_or_insert(now);
                known.ready_since = None;
            }
        }
    }

    /// Forgets pods that went long ago and hold nothing any more.
    pub fn forget_pods(&mut self, holding: &BTreeSet<String>, now: Mono) {
        self.pods.retain(|name, pod| {
            !pod.deleted || holding.contains(name) || pod.gone.is_none_or(|gone| now.since(gone) < POD_KEPT)
        });
    }

    /// Forgets what is neither declared nor among the locks that turned up.
    pub fn forget_undeclared(&mut self, workload: &Workload, found: &BTreeSet<LockId>) {
        let locks: BTreeSet<(&str, &str)> = workload
            .locks
            .iter()
            .flat_map(|set| {
                set.locks
                    .iter()
                    .map(|lock| (set.name.as_str(), lock.name.as_str()))
            })
            .collect();
        self.locks
            .retain(|id, _| locks.contains(&(&id.0, &id.1)) || found.contains(id));
        let declared = |name: &String| workload.locks.iter().any(|set| set.name == *name);
        self.balance.retain(|set, _| declared(set));
        self.last_loss.retain(|set, _| declared(set));
        self.ttls.retain(|set, _| declared(set));
    }

    /// Nothing is seen: clocks that run only while something is seen stand still.
    pub fn interrupt(&mut self, now: Mono) {
        for lock in self.locks.values_mut() {
            lock.grace.run(false, now);
            lock.period.connected = None;
        }
        for balance in self.balance.values_mut() {
            balance.interrupt(now);
        }
    }

    /// Lifetime of the locks of a set: given, the dialect's, the largest seen, or 30 s until one has been seen.
    #[must_use]
    pub fn ttl(&self, set: &LockSet) -> Duration {
        let learned = || self.ttls.get(&set.name).copied();
        set.ttl.or_else(learned).unwrap_or(Duration::from_secs(30))
    }

    /// The pods that exist, live or not.
    pub fn present(&self) -> impl Iterator<Item = &PodMemory> {
        self.pods.values().filter(|pod| !pod.deleted)
    }
}

impl PodMemory {
    fn first(pod: &PodView, now: Mono, wall: Timestamp) -> Self {
        // Only here the node's clock is believed: a pod that was Ready before this process must not warm up again.
        let ready_since = pod.ready_since.map(|since| {
            let before = Duration::try_from(wall.duration_since(since)).unwrap_or_default();
            Mono(now.0.saturating_sub(before))
        });
        let containers = pod
            .all_containers()
            .map(|container| {
                let ended = (!container.running && container.last_end.is_some()).then_some(now);
                (
                    container.name.clone(),
                    ContainerMemory {
                        restarted: None,
                        ended,
                    },
                )
            })
            .collect();
        Self {
            view: pod.clone(),
            ready_since,
            gone: pod.finished.then_some(now),
            deleted: false,
            containers,
        }
    }

    fn see(&mut self, pod: &PodView, now: Mono) {
        for container in pod.all_containers() {
            let before = self
                .view
                .all_containers()
                .find(|known| known.name == container.name);
            let memory = self.containers.entry(container.name.clone()).or_default();
            if before.is_some_and(|before| container.restarts > before.restarts) {
                memory.restarted = Some(now);
            }
            if container.running || container.last_end.is_none() {
                memory.ended = None;
            } else {
                memory.ended.get_or_insert(now);
            }
        }
        self.ready_since = match (pod.ready_since, self.ready_since) {
            (None, _) => None,
            // Another moment than before: it was not Ready in between, though nobody saw that.
            (since, Some(known)) if since == self.view.ready_since => Some(known),
            (Some(_), _) => Some(now),
        };
        if pod.finished {
            self.gone.get_or_insert(now);
        } else {
            self.gone = None;
        }
        self.deleted = false;
        self.view = pod.clone();
    }

    /// Since when the pod is not live for the locks that its lock container holds; `None`: it is live.
    #[must_use]
    pub fn not_live_since(&self, lock_container: Option<&str>) -> Option<Mono> {
        let ended = || {
            if self.view.live(lock_container) {
                None
            } else {
                self.lock_container(lock_container).ended
            }
        };
        self.gone.or_else(ended)
    }

    /// What is known of the lock container.
    #[must_use]
    pub fn lock_container(&self, name: Option<&str>) -> ContainerMemory {
        self.view
            .lock_container(name)
            .and_then(|container| self.containers.get(&container.name))
            .copied()
            .unwrap_or_default()
    }
}
