//! The state of one lock, and what is wrong with it. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{
        conditions::{EventReason, Reason},
        spec::{ForeignHolders, Hold as HoldMode},
        status::{Flag, LockState},
    },
    domain::{
        Now,
        finding::{Finding, Problem, Unheld, whole_seconds},
        judgement::{Judged, Recheck, Rollout},
        locks::{
            Hold, Key, KeySnapshot, KeyState, Mode, Mono,
            dialect::{Named, OwnerMatch},
        },
        memory::{Cause, GraceClock, LastEnd, LockId, LockMemory, Memory, PodMemory, Shown},
        ownership::has_pod_name_form,
        workload::{Lock, LockSet, Workload},
    },
};

/// When polling, a renewal is noticed this much later than it happened, at worst: an interval and a half.
pub(in crate::domain) const POLL_LAG: Duration = Duration::from_secs(3);
/// A pod that takes a lock is seen within this time, or it is none of this workload's any more.
const NEW_POD: Duration = Duration::from_secs(10);
/// Moments that differ by less are the same moment, measured twice.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(2);

/// Whom a value names.
pub(super) enum Owner<'m> {
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
    /// It can't be told: the value names nobody, or what fits several pods, or none that is known.
    Untold,
    /// The value is nothing that the library writes.
    Unfit,
}

/// One lock with what it is judged by.
pub(super) struct LockView<'a> {
    pub(super) workload: &'a Workload,
    pub(super) set: &'a LockSet,
    pub(super) lock: &'a Lock,
    pub(super) mode: Mode,
    /// Pods of other workloads that may be named, and these workloads.
    pub(super) others: &'a BTreeMap<String, String>,
    pub(super) now: Now,
    pub(super) memory: &'a mut Memory,
    pub(super) id: LockId,
    /// Whether the spec names it; what turns up unasked is never missed.
    pub(super) declared: bool,
}

impl LockView<'_> {
    pub(super) fn container(&self) -> Option<&str> {
        self.set.container.as_deref()
    }

    pub(super) fn continuous(&self) -> bool {
        self.declared && self.set.hold == HoldMode::Continuous
    }

    /// Whether a hold's owner is, or was, a pod of this workload.
    pub(super) fn is_ours(&self, hold: &Hold) -> bool {
        match self.owner(hold) {
            Owner::Live(_) | Owner::Gone { .. } => true,
            Owner::Other | Owner::Untold | Owner::Unfit => false,
        }
    }

    pub(super) fn entry(&mut self) -> &mut LockMemory {
        let lock = self.memory.locks.entry(self.id.clone()).or_default();
        lock.key.get_or_insert_with(|| Key::clone(&self.lock.probe.key));
        lock
    }

    pub(super) fn known(&self) -> Option<&LockMemory> {
        self.memory.locks.get(&self.id)
    }

    pub(super) fn wall(&self, at: Mono) -> Timestamp {
        whole_seconds(self.now.wall_at(at))
    }

    pub(super) fn owner(&self, hold: &Hold) -> Owner<'_> {
        let owner = match self.set.scheme.named(hold) {
            Named::Owner(owner) => owner,
            Named::Nobody => return Owner::Untold,
            Named::Unfit => return Owner::Unfit,
        };
        let matches = &self.set.scheme.matches;
        if *matches != OwnerMatch::PodName {
            let mut pods = self.memory.pods.values();
            let mut fitting = pods.by_ref().filter(|pod| pod.view.is(matches, owner.as_str()));
            return match (fitting.next(), fitting.next()) {
                (Some(pod), None) => self.owner_pod(pod),
                // Whose UID or address that was, only status can tell.
                (None, _) => self.told_orphan(hold).map_or(Owner::Untold, |name| Owner::Gone {
                    name: name.to_owned(),
                    since: None,
                    pod: None,
                }),
                (Some(_), Some(_)) => Owner::Untold,
            };
        }
        match self.memory.pods.get(owner.as_str()) {
            Some(pod) => self.owner_pod(pod),
            None if has_pod_name_form(&self.workload.name, owner.as_str()) => Owner::Gone {
                name: owner.as_str().to_owned(),
                since: None,
                pod: None,
            },
            None => Owner::Other,
        }
    }

    /// The pod of another workload of the namespace that holds it, and that workload.
    pub(super) fn other(&self, hold: &Hold) -> Option<(String, String)> {
        let Named::Owner(owner) = self.set.scheme.named(hold) else {
            return None;
        };
        let workload = self.others.get(owner.as_str())?;
        Some((owner.as_str().to_owned(), workload.clone()))
    }

    /// The pod that holds it, as far as it may be named.
    pub(super) fn pod_of(&self, hold: &Hold) -> Option<String> {
        match self.owner(hold) {
            Owner::Live(pod) => Some(pod.view.name.clone()),
            Owner::Gone { name, .. } => Some(name),
            Owner::Other => self.other(hold).map(|(pod, _)| pod),
            Owner::Untold | Owner::Unfit => None,
        }
    }

    fn owner_pod<'p>(&self, pod: &'p PodMemory) -> Owner<'p> {
        match pod.not_live_since(self.container()) {
            None => Owner::Live(pod),
            Some(since) => Owner::Gone {
                name: pod.view.name.clone(),
                since: Some(since),
                pod: Some(pod),
            },
        }
    }

    /// Where the spec is silent, a lock's lifetime is the largest that was seen in its set.
    pub(super) fn learn_ttl(&mut self, snapshot: &KeySnapshot) {
        let KeyState::Held(Hold {
            largest_ttl: Some(ttl),
            ..
        }) = snapshot.state
        else {
            return;
        };
        // What another program keeps under that key says nothing of locks.
        let is_lock = |hold| !matches!(self.set.scheme.named(hold), Named::Unfit);
        if self.set.ttl.is_none() && matches!(&snapshot.state, KeyState::Held(hold) if is_lock(hold)) {
            // What is left of it is always a little less than what it was.
            let ttl = Duration::from_secs(ttl.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
            let known = self.memory.ttls.entry(self.id.0.clone()).or_default();
            *known = (*known).max(ttl);
        }
    }

    pub(super) fn judge(
        &mut self,
        set: usize,
        snapshot: &KeySnapshot,
        rollout: Rollout,
        place: &str,
        recheck: &mut Recheck,
    ) -> (Judged, Option<Finding>) {
        let mut judged = Judged {
            set,
            continuous: self.continuous(),
            name: self.lock.name.clone(),
            state: LockState::Unknown,
            flags: vec![],
            pod: None,
            since: None,
            frees_at: None,
            renewed: match &snapshot.state {
                KeyState::Held(hold) => Some(hold.last_renewed.unwrap_or(hold.first_seen)),
                KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
            },
            good: false,
            awaiting: false,
        };
        if self.continuous() && snapshot.state != KeyState::Unknown {
            self.take_told_unseen();
        }
        let problem = match &snapshot.state {
            KeyState::Unknown => None,
            KeyState::WrongType { since } => {
                judged.flags.push(Flag::Malformed);
                self.settle(&mut judged, *since, None);
                Some(Problem::Malformed {
                    key: self.lock.key.clone(),
                    wrong_type: true,
                })
            }
            KeyState::Absent { since } => {
                judged.state = LockState::Unheld;
                self.judge_absent(&mut judged, *since, rollout, place, recheck)
            }
            KeyState::Held(hold) => self.judge_held(hold, &mut judged, recheck),
        };
        if matches!(
            snapshot.state,
            KeyState::Absent { .. } | KeyState::WrongType { .. }
        ) {
            self.forget_told_hold();
        }
        let problem = self.judge_period(&mut judged, problem, rollout, recheck);
        if judged.state != LockState::Unheld {
            let now = self.now.mono;
            self.entry().grace.run(false, now);
        }
        if judged.good {
            let entry = self.entry();
            entry.lost = None;
            entry.overdue = false;
            entry.grace = GraceClock::default();
            self.untell(|reason| matches!(reason, Reason::LocksLost | Reason::LocksUnheld));
        }
        let continuous = self.continuous();
        let entry = self.entry();
        let told = entry.told.finding;
        let lost = entry.lost.clone().filter(|_| continuous);
        if lost.is_some() {
            judged.flags.insert(0, Flag::Lost);
        }
        let finding = lost.map(Problem::Lost).or(problem).map(|problem| {
            let mut finding = Finding {
                set: self.id.0.clone(),
                lock: self.id.1.clone(),
                problem,
                told: false,
            };
            finding.told = told == Some(finding.reason());
            finding
        });
        (judged, finding)
    }

    /// What status said before this process, which started while the lock could not be seen: the row of a Continuous lock
    /// that isn't seen has no moment if the lock was unheld for longer than its grace. That was said; that it is over will
    /// be.
    fn take_told_unseen(&mut self) {
        // What nothing is known of must not be known afterwards.
        let Some(entry) = self.memory.locks.get_mut(&self.id) else {
            return;
        };
        if !matches!(entry.told.momentless.take(), Some((LockState::Unknown, _))) {
            return;
        }
        entry.overdue = true;
        let id = self.id.clone();
        self.memory.said.insert((EventReason::LocksUnheld, id.clone()));
        let incident = self.memory.incident.get_or_insert_default();
        incident.locks.insert(id);
    }

    /// What status said of it is over, if it was for such a reason: its words can't stand for today's verdict any more.
    pub(super) fn untell(&mut self, is_over: impl FnOnce(Reason) -> bool) {
        let told = &mut self.entry().told.finding;
        if let Some(reason) = told.take_if(|reason| is_over(*reason))
            && self.memory.told_verdict == Some(reason)
        {
            self.memory.told_verdict = None;
        }
    }

    /// Nobody has it: whoever takes it next begins another hold than the one that status told of.
    pub(super) fn forget_told_hold(&mut self) {
        self.untell(|reason| reason == Reason::Overheld);
        let continuous = self.continuous();
        let entry = self.entry();
        (entry.told.overheld, entry.held_before) = (None, None);
        if !continuous {
            // A Continuous lock has a row of its own when nobody holds it.
            entry.shown = None;
        }
    }

    /// Moments for people are worked out once: neither a second measurement nor a clock that was set moves them.
    fn settle(&mut self, judged: &mut Judged, since: Mono, frees_at: Option<Mono>) {
        let since = self.wall(since);
        let frees_at = frees_at.map(|at| self.wall(at));
        let shown = &mut self.entry().shown;
        let same = shown
            .take()
            .filter(|shown| shown.state == judged.state && shown.pod == judged.pod);
        judged.since = Some(same.as_ref().map_or(since, |same| same.since));
        judged.frees_at = frees_at.map(|frees_at| {
            let said = same.and_then(|same| same.frees_at);
            said.filter(|said| said.duration_since(frees_at).abs() <= SAME_MOMENT)
                .unwrap_or(frees_at)
        });
        *shown = Some(Shown {
            state: judged.state,
            pod: judged.pod.clone(),
            since: judged.since.unwrap_or(since),
            frees_at: judged.frees_at,
        });
    }

    fn judge_absent(
        &mut self,
        judged: &mut Judged,
        since: Mono,
        rollout: Rollout,
        place: &str,
        recheck: &mut Recheck,
    ) -> Option<Problem> {
        if !self.continuous() {
            return None;
        }
        self.take_the_rest();
        self.take_told_unseen();
        let (now, grace) = (self.now.mono, self.set.unheld_grace);
        let ready = self.memory.present().any(|pod| pod.ready_since.is_some());
        let counting = ready && rollout.wanted.is_some_and(|wanted| wanted > 0);
        let entry = self.entry();
        let history = match &entry.last_end {
            Some(LastEnd { cause, from, .. }) => match cause {
                Cause::HolderGone | Cause::Expired => Unheld::RanOut { by: from.clone() },
                Cause::Released => Unheld::GivenUp { by: from.clone() },
                // A loss by the store stays said as one; this is what is left where it isn't.
                Cause::Unexplained
                | Cause::StoreFailover
                | Cause::Flushed
                | Cause::ClockJump
                | Cause::Evicted => Unheld::Unexplained,
            },
            None if entry.ever_held => Unheld::Unexplained,
            None if entry.told.history => Unheld::Untold,
            None => Unheld::NeverSeen {
                place: format!("{place}, key {}", self.lock.key),
            },
        };
        let entry = self.entry();
        judged.pod = match (&entry.lost, &history) {
            (Some(loss), _) => loss.from.clone(),
            (None, Unheld::RanOut { by } | Unheld::GivenUp { by }) => by.clone(),
            // Whose turn it was is all that status tells of it.
            (None, Unheld::Untold) => entry.told.before.clone(),
            (None, Unheld::NeverSeen { .. } | Unheld::Unexplained) => None,
        };
        self.settle(judged, since, None);
        let entry = self.entry();
        if entry.lost.is_some() {
            return None;
        }
        entry.grace.run(counting, now);
        let total = entry.grace.total(now);
        entry.overdue |= total >= grace;
        if entry.overdue {
            let since = judged
                .since
                .filter(|_| !matches!(history, Unheld::NeverSeen { .. }));
            return Some(Problem::Unheld { history, since });
        }
        judged.awaiting = true;
        if counting {
            recheck.at(now + grace.saturating_sub(total));
        }
        None
    }

    /// A lock that had no room in status is taken to be as the last one that had.
    fn take_the_rest(&mut self) {
        if self.known().is_none()
            && let Some(rest) = self.memory.told_rest.clone()
        {
            *self.entry() = rest;
        }
    }

    fn judge_held(&mut self, hold: &Hold, judged: &mut Judged, recheck: &mut Recheck) -> Option<Problem> {
        let expected = self.set.foreign_holders == ForeignHolders::Expected;
        let mut since = hold.first_seen;
        let mut problem = None;
        let (mut missing, mut broken) = (None, None);
        match self.owner(hold) {
            Owner::Unfit => {
                judged.state = LockState::Unattributed;
                judged.flags.push(Flag::Malformed);
                problem = Some(Problem::Malformed {
                    key: self.lock.key.clone(),
                    wrong_type: false,
                });
            }
            Owner::Untold => {
                judged.state = LockState::Unattributed;
                judged.good = true;
            }
            Owner::Other => {
                let other = self.other(hold);
                judged.state = LockState::Foreign;
                judged.pod = other.as_ref().map(|(pod, _)| pod.clone());
                judged.good = expected;
                problem = (!expected).then_some(Problem::Foreign { ghost: None, other });
            }
            Owner::Live(pod) => {
                let name = pod.view.name.clone();
                judged.pod = Some(name.clone());
                judged.state = LockState::Held;
                judged.good = true;
                broken = self.broken_since(pod, hold);
                if let (Some(at), Some(interval)) = (broken, self.set.renew_interval) {
                    let silent_at = at + interval;
                    if self.now.mono > silent_at {
                        judged.state = LockState::Orphaned;
                        judged.good = false;
                        since = since.max(silent_at);
                        problem = Some(Problem::Orphaned {
                            pod: name.clone(),
                            restarted: true,
                            frees_at: None,
                        });
                    } else {
                        recheck.at(silent_at + Duration::from_millis(1));
                    }
                }
            }
            Owner::Gone {
                name, since: seen, ..
            } => {
                let gone = self.gone_since(&name, seen);
                missing = Some((name.clone(), gone));
                since = since.max(gone);
                judged.pod = Some(name.clone());
                // Polling: it may have been released as its pod ended, which shows at the next look. And who took it before
                // our eyes was alive: the pod is new, and the watch of the pods has not come so far.
                let undecided = match seen {
                    _ if self.is_told_of(&name) => None,
                    Some(_) if self.mode == Mode::Polling => Some(hold.last_answer + POLL_LAG)
                        .filter(|_| hold.last_answer < gone + hold.uncertainty),
                    Some(_) => None,
                    None => Some(gone + NEW_POD).filter(|_| self.may_be_new(&name, hold)),
                };
                let undecided = undecided.filter(|until| self.now.mono < *until);
                if let Some(until) = undecided {
                    judged.state = LockState::Held;
                    judged.good = true;
                    recheck.at(until);
                } else if self.renewed_by_a_ghost(&name, hold, gone) {
                    judged.state = LockState::Foreign;
                    judged.good = expected;
                    problem = (!expected).then_some(Problem::Foreign {
                        ghost: Some(name),
                        other: None,
                    });
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
        let orphaned = judged.state == LockState::Orphaned;
        self.settle(judged, since, hold.deadline.filter(|_| orphaned));
        let pod = judged.pod.clone().unwrap_or_default();
        let entry = self.entry();
        entry.owner_missing = missing;
        entry.broken = broken.map(|at| (pod, at));
        if let Some(Problem::Orphaned { frees_at, .. }) = &mut problem {
            *frees_at = judged.frees_at;
        }
        if let Some(deadline) = hold.deadline.filter(|_| orphaned) {
            // A renewal would prove life, and plain renewals are not announced.
            let renewal = self.set.renew_interval.map(|interval| self.now.mono + interval);
            recheck.at(renewal.map_or(deadline, |renewal| renewal.min(deadline)));
        }
        if orphaned && !self.continuous() && self.set.renew_interval.is_none() {
            // In a set that neither renews nor must be held, a lock that outlives its owner is how the library works.
            problem = None;
        }
        let problem = self.judge_expiry(hold, judged, problem);
        self.judge_age(hold, judged, problem, recheck)
    }

    /// A hold that lasts longer than it may, by whomever.
    fn judge_age(
        &mut self,
        hold: &Hold,
        judged: &mut Judged,
        problem: Option<Problem>,
        recheck: &mut Recheck,
    ) -> Option<Problem> {
        let before = self.held_before(hold, judged);
        let Some(allowed) = self.set.max_hold else {
            return problem;
        };
        let over_at = hold.first_seen + allowed.saturating_sub(before);
        if self.now.mono < over_at {
            recheck.at(over_at);
            self.untell(|reason| reason == Reason::Overheld);
            return problem;
        }
        judged.flags.push(Flag::Overheld);
        if !matches!(problem, None | Some(Problem::Orphaned { .. })) {
            return problem;
        }
        // Otherwise the moment of the row is when its owner went.
        let since_it_is_held = judged.state != LockState::Orphaned && self.entry().owner_missing.is_none();
        Some(Problem::Overheld {
            pod: judged.pod.clone(),
            since: judged.since.filter(|_| since_it_is_held),
            allowed,
            orphaned: judged.state == LockState::Orphaned,
        })
    }

    /// How long a hold lasted at least before it was seen first, as its row says: worked out once, so that the clock for
    /// people has no part in what follows. Whether it is the same hold only its pod can tell.
    fn held_before(&mut self, hold: &Hold, judged: &Judged) -> Duration {
        let first_seen = self.wall(hold.first_seen);
        let allowed = self.set.max_hold.unwrap_or_default();
        let entry = self.entry();
        if let Some((_, before)) = entry.held_before.filter(|(of, _)| *of == hold.first_seen) {
            return before;
        }
        // An end was seen since: that was another hold, though its pod may be the same.
        let ended = |(of, _)| entry.last_end.as_ref().is_some_and(|end| end.at >= of);
        let may_be_same = !hold.seen_taken && !entry.held_before.is_some_and(ended);
        let overheld = entry.told.overheld.take();
        let overheld = overheld.filter(|pod| may_be_same && *pod == judged.pod);
        let since = judged.since.filter(|_| may_be_same);
        let lasted = since.and_then(|since| first_seen.duration_since(since).try_into().ok());
        let before = lasted.max(overheld.map(|_| allowed)).unwrap_or_default();
        entry.held_before = Some((hold.first_seen, before));
        before
    }

    /// A lock that never expires, where it should. It says nothing about the hands that it is in.
    fn judge_expiry(
        &mut self,
        hold: &Hold,
        judged: &mut Judged,
        problem: Option<Problem>,
    ) -> Option<Problem> {
        let entry = self.entry();
        // Status said so, and that takes two answers: the first doesn't take it back.
        entry.told.no_expiry &= hold.deadline.is_none();
        if !hold.no_expiry && !entry.told.no_expiry {
            return problem;
        }
        judged.flags.push(Flag::NoExpiry);
        let finding = self.set.ttl.is_some() || judged.state == LockState::Orphaned;
        if !finding || matches!(problem, Some(Problem::Malformed { .. })) {
            return problem;
        }
        Some(Problem::NoExpiry {
            pod: judged.pod.clone(),
            key: self.lock.key.clone(),
            orphaned: judged.state == LockState::Orphaned,
        })
    }

    /// Since when the owner, `name`, is not live: as its pod shows it, else since it was first looked for.
    fn gone_since(&self, name: &str, seen: Option<Mono>) -> Mono {
        let known = self.known().and_then(|lock| lock.owner_missing.as_ref());
        let looked_for = known
            .filter(|(missing, _)| missing == name)
            .map(|(_, since)| *since);
        seen.or(looked_for).unwrap_or(self.now.mono)
    }

    /// Whether a pod that was never seen may be one that is yet to be seen: it took the lock while that was watched, or
    /// status says that it holds it.
    fn may_be_new(&self, name: &str, hold: &Hold) -> bool {
        let Some(known) = self.known() else {
            return hold.seen_taken;
        };
        let shown = known.shown.as_ref();
        let said =
            shown.is_some_and(|shown| shown.state == LockState::Held && shown.pod.as_deref() == Some(name));
        hold.seen_taken || said
    }

    /// Whether status says already, as an earlier operator left it, that the lock is held by what this pod left.
    fn is_told_of(&self, name: &str) -> bool {
        self.known().is_some_and(|known| {
            let told = [&known.told.orphan, &known.told.ghost];
            told.into_iter().any(|told| told.as_deref() == Some(name))
        })
    }

    /// Whether the hold was renewed after its owner ceased to be live: its process runs on somewhere. What was noticed
    /// after the pod's end may have happened before it.
    fn renewed_by_a_ghost(&self, name: &str, hold: &Hold, gone: Mono) -> bool {
        let lag = match self.mode {
            Mode::Tracking => hold.uncertainty,
            Mode::Polling => hold.uncertainty + POLL_LAG,
        };
        let told = self.known().and_then(|lock| lock.told.ghost.as_deref());
        told == Some(name) || hold.last_renewed.is_some_and(|renewed| renewed > gone + lag)
    }

    /// The pod whose orphan this lock is, as status said, if it still frees when status said: nobody renewed it meanwhile.
    fn told_orphan(&self, hold: &Hold) -> Option<&str> {
        let known = self.known()?;
        let frees_at = known.shown.as_ref().and_then(|shown| shown.frees_at);
        let same = match (frees_at, hold.deadline) {
            (Some(said), Some(deadline)) => said.duration_since(self.wall(deadline)).abs() <= SAME_MOMENT,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        known.told.orphan.as_deref().filter(|_| same)
    }

    /// Since when the owner's lock container is known to have ended or restarted, with no renewal since. The first
    /// such moment counts: a container that crashes again and again is not the more alive for it.
    fn broken_since(&self, pod: &PodMemory, hold: &Hold) -> Option<Mono> {
        let known = self.known();
        let before = known.and_then(|lock| lock.broken.as_ref());
        let before = before
            .filter(|(name, _)| *name == pod.view.name)
            .map(|(_, at)| *at);
        let told = (self.told_orphan(hold) == Some(&pod.view.name)).then(Mono::default);
        let seen = pod
            .lock_container(self.container())
            .last_break()
            .filter(|at| *at > hold.last_renewed.unwrap_or(hold.first_seen));
        before
            .or(told)
            .filter(|at| hold.last_renewed.is_none_or(|renewed| renewed <= *at))
            .or(seen)
    }
}
