//! States of locks, and how holds ended: the contract's section 3, line by line. Pure.
//!
//! In: the workload, what was observed of its keys, its memory. Out: an [`Assessment`]; memory is moved forward.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    Now,
    balance::{self, SetBalance},
    finding::{Finding, Problem, Unheld, whole_seconds},
    incident,
    locks::{End, Hold, KeySnapshot, KeyState, Link, Mode, Mono, Observation, Trouble},
    memory::{Cause, LastEnd, LockId, LockMemory, Loss, Memory, PodMemory, StoreMemory},
    ownership::has_pod_name_form,
    workload::{Lock, LockSet, Workload},
};
use crate::api::{
    spec::{ForeignHolders, Hold as HoldMode},
    status::{Flag, LockState},
};

/// After a start, how long the first complete read may take before that is said.
const FIRST_READ: Duration = Duration::from_secs(30);
/// After a connection was lost, how long the next complete read may take before that is said.
const NEXT_READ: Duration = Duration::from_secs(5);

/// What the store looks like to one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreView {
    /// Endpoint and database for people, without credentials.
    pub place: String,
    /// Tells connections apart: the numbers of ends are comparable only within one.
    pub identity: u64,
    /// What the observer knows, or why it could not even be asked.
    pub seen: Result<Observation, Trouble>,
}

/// Whether there is something to judge by.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// Complete and fresh.
    Clear {
        /// How changes are learned.
        mode: Mode,
        /// The server's version.
        version: Option<String>,
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
    /// Whether it counts as in good hands.
    pub good: bool,
    /// Without a holder, within its grace.
    pub awaiting: bool,
}

/// What is concluded of the store and the locks.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Whether there is something to judge by.
    pub sight: Sight,
    /// Every declared lock, in the order of the spec; empty unless sight is clear.
    pub locks: Vec<Judged>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// The balance of each balanced set.
    pub balance: Vec<SetBalance>,
    /// The next moment at which time alone may change something.
    pub recheck_at: Option<Mono>,
}

impl Assessment {
    /// Nothing was looked at: what was said stands.
    #[must_use]
    pub fn unjudged() -> Self {
        Self {
            sight: Sight::Pending,
            locks: vec![],
            findings: vec![],
            balance: vec![],
            recheck_at: None,
        }
    }
}

/// The Deployment's part in the verdict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rollout {
    /// Wanted replicas.
    pub wanted: i32,
    /// It rolls out a template.
    pub rolling: bool,
}

/// Judges the store and the locks.
#[must_use]
pub fn assess(
    workload: &Workload,
    store: Option<&StoreView>,
    rollout: Rollout,
    memory: &mut Memory,
    now: Now,
) -> Assessment {
    let mut recheck = Recheck::default();
    let sight = store.map_or(Sight::Pending, |store| {
        look(&mut memory.store, store, now, &mut recheck)
    });
    let mut assessment = Assessment {
        sight,
        ..Assessment::unjudged()
    };
    let seen = match (&assessment.sight, store.map(|store| (&store.seen, store))) {
        (Sight::Clear { .. }, Some((Ok(observation), store))) => Some((observation, store)),
        _ => None,
    };
    let Some((observation, store)) = seen else {
        for lock in memory.locks.values_mut() {
            lock.grace.run(false, now.mono);
        }
        for set in workload.locks.iter().filter(|set| set.balance.is_some()) {
            memory
                .balance
                .entry(set.name.clone())
                .or_default()
                .interrupt(now.mono);
        }
        incident::recheck(memory, &mut recheck);
        assessment.recheck_at = recheck.0;
        return assessment;
    };
    let cursor = advance_cursor(memory, store.identity, observation);
    let mut keys = observation.keys.iter();
    let mut losses = Vec::new();
    for (index, set) in workload.locks.iter().enumerate() {
        let first = assessment.locks.len();
        for lock in &set.locks {
            let Some(snapshot) = keys.next() else { break };
            let mut view = LockView {
                workload,
                set,
                lock,
                now,
                memory,
                id: (set.name.clone(), lock.name.clone()),
            };
            losses.extend(view.take_ends(snapshot, cursor));
            let (judged, finding) = view.judge(index, snapshot, rollout, &store.place, &mut recheck);
            assessment.locks.push(judged);
            assessment.findings.extend(finding);
        }
        if let Some(settings) = &set.balance {
            let ttl = set.ttl.unwrap_or_else(|| largest_ttl(&observation.keys));
            let judged = &assessment.locks[first..];
            assessment.balance.push(balance::judge(
                set,
                settings,
                ttl,
                judged,
                rollout,
                memory,
                now,
                &mut recheck,
            ));
        }
    }
    let holding: BTreeSet<String> = assessment
        .locks
        .iter()
        .filter_map(|lock| lock.pod.clone())
        .collect();
    memory.forget_pods(&holding, now.mono);
    incident::say(losses, &assessment, memory, now);
    incident::recheck(memory, &mut recheck);
    assessment.findings.sort_by_key(Finding::rank);
    assessment.recheck_at = recheck.0;
    assessment
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

fn look(memory: &mut StoreMemory, store: &StoreView, now: Now, recheck: &mut Recheck) -> Sight {
    memory.first_look.get_or_insert(now.mono);
    let (trouble, certain) = match &store.seen {
        Ok(Observation {
            link: Link::Up { mode, version, .. },
            keys,
            ..
        }) => {
            if keys.iter().all(|key| key.state != KeyState::Unknown) {
                memory.ever_complete = true;
                memory.first_complete.get_or_insert(now.mono);
                memory.incomplete_since = None;
                memory.down_since = None;
                return Sight::Clear {
                    mode: *mode,
                    version: version.clone(),
                };
            }
            (Trouble::Stale, false)
        }
        Ok(Observation {
            link: Link::Connecting { trouble, .. },
            ..
        }) => (trouble.unwrap_or(Trouble::Timeout), false),
        Ok(Observation {
            link: Link::Down { trouble, .. },
            ..
        }) => (*trouble, false),
        // That a Secret is missing is a fact from the apiserver; no patience makes it truer.
        Err(trouble) => (*trouble, true),
    };
    let since = *memory.incomplete_since.get_or_insert((now.mono, now.wall));
    let patience = if memory.ever_complete {
        NEXT_READ
    } else {
        FIRST_READ
    };
    if now.mono < since.0 + patience && !certain {
        recheck.at(since.0 + patience);
        return Sight::Pending;
    }
    Sight::Blind {
        trouble,
        since: *memory.down_since.get_or_insert(since.1),
    }
}

/// Moves the cursor over all ends that are there, and says from which number on they are new.
fn advance_cursor(memory: &mut Memory, identity: u64, observation: &Observation) -> u64 {
    let last = observation
        .keys
        .iter()
        .flat_map(|key| &key.ends)
        .map(|end| end.seq)
        .max()
        .unwrap_or(0);
    let from = match memory.cursor {
        Some((known, cursor)) if known == identity => cursor,
        // The first look at this connection judges states only; its past belongs to others.
        _ => last,
    };
    memory.cursor = Some((identity, last.max(from)));
    from
}

/// Largest PTTL among these locks; 30 s until one has been seen.
fn largest_ttl(keys: &[KeySnapshot]) -> Duration {
    let largest = keys.iter().filter_map(|key| match &key.state {
        KeyState::Held(hold) => hold.largest_ttl,
        KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
    });
    largest.max().unwrap_or(Duration::from_secs(30))
}

/// A loss that was just seen.
pub struct NewLoss {
    /// The lock.
    pub id: LockId,
    /// Whether the lock must be held at all times.
    pub continuous: bool,
    /// The loss.
    pub loss: Loss,
}

/// Whom a value names.
enum Owner<'m> {
    /// A pod of this workload that is live.
    Live(&'m PodMemory),
    /// A pod of this workload that is not, since when (as far as this process saw it).
    Gone {
        name: String,
        since: Option<Mono>,
        pod: Option<&'m PodMemory>,
    },
    /// Somebody else.
    Other,
    /// The value does not fit the pattern.
    Unfit,
}

struct LockView<'a> {
    workload: &'a Workload,
    set: &'a LockSet,
    lock: &'a Lock,
    now: Now,
    memory: &'a mut Memory,
    id: LockId,
}

impl LockView<'_> {
    fn container(&self) -> Option<&str> {
        self.set.container.as_deref()
    }

    fn entry(&mut self) -> &mut LockMemory {
        self.memory.locks.entry(self.id.clone()).or_default()
    }

    fn owner(&self, hold: &Hold) -> Owner<'_> {
        let Some(name) = self.set.pattern.owner(&hold.value.0) else {
            return Owner::Unfit;
        };
        let name = name.as_str().to_owned();
        match self.memory.pods.get(&name) {
            Some(pod) => match pod.not_live_since(self.container()) {
                None => Owner::Live(pod),
                Some(since) => Owner::Gone {
                    name,
                    since: Some(since),
                    pod: Some(pod),
                },
            },
            None if has_pod_name_form(&self.workload.name, &name) => Owner::Gone {
                name,
                since: None,
                pod: None,
            },
            None => Owner::Other,
        }
    }

    fn wall(&self, at: Mono) -> Timestamp {
        self.now.wall_at(at)
    }

    /// Judges the holds that ended since the cursor, and closes the gaps that a next hold closes.
    fn take_ends(&mut self, snapshot: &KeySnapshot, cursor: u64) -> Vec<NewLoss> {
        let mut losses = Vec::new();
        for end in snapshot.ends.iter().filter(|end| end.seq > cursor) {
            self.close_gap(&end.hold);
            let (cause, from, detail) = self.cause(end);
            // A hold that ran out ended when it ran out, not when somebody noticed.
            let at = if cause.is_loss() {
                end.hold.deadline.unwrap_or(end.ended)
            } else {
                end.ended
            };
            let when = whole_seconds(self.wall(at));
            let last_end = LastEnd {
                cause,
                from: from.clone(),
                at,
                when,
                open: true,
            };
            let entry = self.entry();
            entry.last_end = Some(last_end);
            entry.ever_held = true;
            entry.grace = super::memory::GraceClock::default();
            entry.overdue = false;
            entry.owner_missing_since = None;
            let continuous = self.set.hold == HoldMode::Continuous;
            if cause.is_loss() && (continuous || self.set.renew_interval.is_some()) {
                let loss = Loss {
                    cause: cause.as_str().to_owned(),
                    from,
                    when,
                    detail,
                };
                if continuous {
                    self.entry().lost = Some(loss.clone());
                }
                incident::record(self.memory, &self.id, &loss);
                losses.push(NewLoss {
                    id: self.id.clone(),
                    continuous,
                    loss,
                });
            }
        }
        if let KeyState::Held(hold) = &snapshot.state {
            self.close_gap(hold);
        }
        losses
    }

    /// A hold after an end closes the gap.
    fn close_gap(&mut self, next: &Hold) {
        let to = match self.owner(next) {
            Owner::Live(pod) => Some(pod.view.name.clone()),
            Owner::Gone { name, .. } => Some(name),
            Owner::Other | Owner::Unfit => None,
        };
        let entry = self.entry();
        entry.ever_held = true;
        let Some(end) = entry
            .last_end
            .as_mut()
            .filter(|end| end.open && next.first_seen >= end.at)
        else {
            return;
        };
        end.open = false;
        if end.cause.is_loss() {
            let (gap, when) = (next.first_seen.since(end.at), end.when);
            incident::close_gap(self.memory, &self.id, when, gap, to);
        }
    }

    /// The contract's table of causes: the first line that applies.
    fn cause(&self, end: &End) -> (Cause, Option<String>, String) {
        let hold = &end.hold;
        let (name, pod, gone_since, ours) = match self.owner(hold) {
            Owner::Live(pod) => (Some(pod.view.name.clone()), Some(pod), None, true),
            Owner::Gone { name, since, pod } => (Some(name), pod, since, true),
            Owner::Other | Owner::Unfit => (None, None, None, false),
        };
        if !end.watched {
            return (Cause::Unexplained, name, String::new());
        }
        let Some(deadline) = hold
            .deadline
            .filter(|deadline| end.ended + hold.uncertainty >= *deadline && !end.shortened)
        else {
            return (Cause::Released, name, String::new());
        };
        let Some(pod) = pod else {
            let detail = if ours { "its pod is gone" } else { "" };
            let cause = if ours { Cause::HolderGone } else { Cause::Expired };
            return (cause, name, detail.to_owned());
        };
        let last_renewal = hold.last_renewed.unwrap_or(hold.first_seen);
        let broke = pod
            .lock_container(self.container())
            .last_break()
            .is_some_and(|at| at > last_renewal);
        let gone = gone_since.is_some_and(|since| since <= deadline);
        if gone || broke {
            return (Cause::HolderGone, name, how_it_ended(pod, self.container()));
        }
        let detail = if pod.not_live_since(self.container()).is_none() {
            "its container still runs and may work on beside the new owner"
        } else {
            ""
        };
        (Cause::Expired, name, detail.to_owned())
    }

    fn judge(
        &mut self,
        set: usize,
        snapshot: &KeySnapshot,
        rollout: Rollout,
        place: &str,
        recheck: &mut Recheck,
    ) -> (Judged, Option<Finding>) {
        let mut judged = Judged {
            set,
            name: self.lock.name.clone(),
            state: LockState::Unknown,
            flags: vec![],
            pod: None,
            since: None,
            frees_at: None,
            good: false,
            awaiting: false,
        };
        let problem = match &snapshot.state {
            KeyState::Unknown => None,
            KeyState::WrongType { since } => {
                judged.since = Some(self.wall(*since));
                judged.flags.push(Flag::Malformed);
                Some(Problem::Malformed {
                    key: self.lock.key.clone(),
                    wrong_type: true,
                })
            }
            KeyState::Absent { since } => {
                judged.state = LockState::Unheld;
                judged.since = Some(self.wall(*since));
                self.judge_absent(&mut judged, rollout, place, recheck)
            }
            KeyState::Held(hold) => {
                judged.since = Some(self.wall(hold.first_seen));
                self.judge_held(hold, &mut judged, recheck)
            }
        };
        let continuous = self.set.hold == HoldMode::Continuous;
        if judged.state != LockState::Unheld {
            let now = self.now.mono;
            self.entry().grace.run(false, now);
        }
        if judged.good {
            let entry = self.entry();
            entry.lost = None;
            entry.overdue = false;
            entry.grace = super::memory::GraceClock::default();
        }
        let lost = self.entry().lost.clone().filter(|_| continuous);
        if lost.is_some() {
            judged.flags.insert(0, Flag::Lost);
        }
        let problem = lost.map(Problem::Lost).or(problem);
        let finding = problem.map(|problem| Finding {
            set: self.id.0.clone(),
            lock: self.id.1.clone(),
            problem,
        });
        (judged, finding)
    }

    fn judge_absent(
        &mut self,
        judged: &mut Judged,
        rollout: Rollout,
        place: &str,
        recheck: &mut Recheck,
    ) -> Option<Problem> {
        if self.set.hold == HoldMode::Intermittent {
            return None;
        }
        let (now, grace) = (self.now.mono, self.set.unheld_grace);
        let ready = self.memory.present().any(|pod| pod.ready_since.is_some());
        let counting = ready && rollout.wanted > 0;
        let place = format!("{place}, key {}", self.lock.key);
        let entry = self.entry();
        entry.owner_missing_since = None;
        if let Some(loss) = &entry.lost {
            judged.pod.clone_from(&loss.from);
            return None;
        }
        entry.grace.run(counting, now);
        let total = entry.grace.total(now);
        entry.overdue |= total >= grace;
        let history = match &entry.last_end {
            Some(end) if end.cause.is_loss() => Unheld::RanOut { by: end.from.clone() },
            Some(LastEnd {
                cause: Cause::Released,
                from,
                ..
            }) => Unheld::GivenUp { by: from.clone() },
            Some(_) => Unheld::Unexplained,
            None if entry.ever_held => Unheld::Unexplained,
            None => Unheld::NeverSeen { place },
        };
        if let Unheld::RanOut { by } | Unheld::GivenUp { by } = &history {
            judged.pod.clone_from(by);
        }
        if entry.overdue {
            let since = if matches!(history, Unheld::NeverSeen { .. }) {
                None
            } else {
                judged.since
            };
            return Some(Problem::Unheld { history, since });
        }
        judged.awaiting = true;
        if counting {
            recheck.at(now + (grace.saturating_sub(total)));
        }
        None
    }

    fn judge_held(&mut self, hold: &Hold, judged: &mut Judged, recheck: &mut Recheck) -> Option<Problem> {
        let now = self.now.mono;
        let expected = self.set.foreign_holders == ForeignHolders::Expected;
        let mut problem = None;
        let mut missing = None;
        match self.owner(hold) {
            Owner::Unfit => {
                judged.state = LockState::Unattributed;
                judged.flags.push(Flag::Malformed);
                problem = Some(Problem::Malformed {
                    key: self.lock.key.clone(),
                    wrong_type: false,
                });
            }
            Owner::Other => {
                judged.state = LockState::Foreign;
                judged.good = expected;
                problem = (!expected).then_some(Problem::Foreign { ghost: None });
            }
            Owner::Live(pod) => {
                let name = pod.view.name.clone();
                judged.pod = Some(name.clone());
                judged.state = LockState::Held;
                judged.good = true;
                if let Some(silent_at) = self.restarted_and_silent(pod, hold) {
                    if now > silent_at {
                        judged.state = LockState::Orphaned;
                        judged.good = false;
                        problem = Some(Problem::Orphaned {
                            pod: name,
                            restarted: true,
                            frees_at: None,
                        });
                    } else {
                        recheck.at(silent_at + Duration::from_millis(1));
                    }
                }
            }
            Owner::Gone { name, since, .. } => {
                let known = self
                    .memory
                    .locks
                    .get(&self.id)
                    .and_then(|lock| lock.owner_missing_since);
                let since = since.or(known).unwrap_or(now);
                missing = Some(since);
                judged.pod = Some(name.clone());
                if hold.last_renewed.is_some_and(|renewed| renewed > since) {
                    judged.state = LockState::Foreign;
                    judged.good = expected;
                    problem = (!expected).then_some(Problem::Foreign { ghost: Some(name) });
                } else {
                    judged.state = LockState::Orphaned;
                    problem = Some(Problem::Orphaned {
                        pod: name,
                        restarted: false,
                        frees_at: None,
                    });
                }
            }
        }
        self.entry().owner_missing_since = missing;
        if judged.state == LockState::Orphaned {
            // A renewal would prove life, and plain renewals are not announced.
            if let Some(deadline) = hold.deadline {
                recheck.at(deadline);
                judged.frees_at = Some(self.wall(deadline));
            }
            if let Some(Problem::Orphaned { frees_at, .. }) = &mut problem {
                *frees_at = judged.frees_at;
            }
            // In a set that neither renews nor must be held, a lock that outlives its owner is how the library works.
            if self.set.hold == HoldMode::Intermittent && self.set.renew_interval.is_none() {
                problem = None;
            }
        }
        if hold.no_expiry {
            judged.flags.push(Flag::NoExpiry);
            if self.set.ttl.is_some() || judged.state == LockState::Orphaned {
                judged.good = false;
                problem = Some(Problem::NoExpiry {
                    pod: judged.pod.clone(),
                    key: self.lock.key.clone(),
                });
            }
        }
        problem
    }

    /// When a restart of the owner's lock container makes the hold an orphan, unless a renewal comes before.
    fn restarted_and_silent(&self, pod: &PodMemory, hold: &Hold) -> Option<Mono> {
        let renew_interval = self.set.renew_interval?;
        let restarted = pod.lock_container(self.container()).last_break()?;
        let renewed_since = hold.last_renewed.is_some_and(|renewed| renewed > restarted);
        (restarted > hold.first_seen && !renewed_since).then_some(restarted + renew_interval)
    }
}

fn how_it_ended(pod: &PodMemory, container: Option<&str>) -> String {
    let end = pod
        .view
        .lock_container(container)
        .and_then(|container| container.last_end.as_ref());
    match (&pod.view.reason, pod.deleted, end) {
        (Some(reason), ..) => format!("its pod ended: {reason}"),
        (None, true, Some(end)) => {
            format!("its pod was deleted without releasing it (its container ended: {end})")
        }
        (None, true, None) => "its pod was deleted without releasing it".to_owned(),
        (None, false, Some(end)) => format!("its container ended: {end}"),
        (None, false, None) => "its container ended".to_owned(),
    }
}
