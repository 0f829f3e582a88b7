//! How each hold ended, in truth and as it was concluded.

use jiff::Timestamp;
use lockstep::{
    api::{CoordinatedWorkloadStatus, spec},
    domain::{
        locks::{End, HolderValue},
        memory::Cause,
    },
};

use super::{Happening, Kind, Lost, Oracle};
use crate::{
    operator::{Concluded, name_of, since_start},
    plan::{Ms, Owner},
    server::{By, Hold, Why},
    world::{TTL, World},
};

/// Which of the causes may be concluded.
struct Allowed {
    causes: Vec<Cause>,
    /// Whether nothing that the operator could see tells them apart.
    ambiguous: bool,
}

/// The hold with this value.
pub(super) fn hold_of(world: &World, value: &HolderValue) -> Option<usize> {
    world
        .values
        .iter()
        .position(|known| known.as_bytes() == &value.0[..])
}

impl Oracle {
    /// An end was concluded.
    pub(super) fn concluded(&mut self, world: &mut World, concluded: &Concluded) {
        let now = world.now;
        let lock = concluded.lock;
        // Whoever looks deletes what is over.
        world.server.holder(lock, now);
        let Some(number) = hold_of(world, &concluded.end.hold.value) else {
            self.object(Kind::Fault, now, "an end of a hold that never was");
            return;
        };
        let hold = world.server.holds[number].clone();
        let ended = &concluded.ended;
        let said = format!("{:?} of hold {number} {hold:?}: {:?}", ended.cause, ended.from);
        if !self.concluded.insert(number) {
            self.object(Kind::NotOnce, now, format!("again: {said}"));
        }
        self.figures.ends += 1;
        let Some((at, why)) = hold.end else {
            let kind = if ended.loss.is_some() {
                Kind::FalseLoss
            } else {
                Kind::WrongCause
            };
            self.object(kind, now, format!("it has not ended: {said}"));
            return;
        };
        let (from, to, watched) = if world.is_real() {
            self.real_interval(world, &concluded.end)
        } else {
            self.interval(world, lock, number)
        };
        let (interval, unwatched) = ((from, to), !watched);
        let allowed = self.allowed(world, &hold, at, why, interval, unwatched);
        let renews = world.is_continuous(lock) || world.setup.jobs_renew;
        if unwatched {
            self.figures.blind += 1;
        } else if allowed.causes.iter().all(|cause| cause.is_loss()) && renews {
            self.figures.losses += 1;
        }
        self.figures.ambiguous += u64::from(allowed.ambiguous);
        let why_not = format!("{said}; watched from {interval:?}, allowed {:?}", allowed.causes);
        if !allowed.causes.contains(&ended.cause) {
            let kind = if unwatched && ended.cause != Cause::Unexplained {
                Kind::BlindVerdict
            } else if ended.cause.is_loss() && !allowed.causes.iter().any(|cause| cause.is_loss()) {
                Kind::FalseLoss
            } else if !ended.cause.is_loss() && allowed.causes.iter().all(|cause| cause.is_loss()) {
                Kind::MissedLoss
            } else {
                Kind::WrongCause
            };
            self.object(kind, now, why_not.clone());
        }
        if ended.loss.is_some() != (ended.cause.is_loss() && renews) {
            let kind = if renews { Kind::MissedLoss } else { Kind::FalseLoss };
            self.object(kind, now, format!("counts as a loss or not: {why_not}"));
        }
        self.check_owner(world, &hold, ended.from.as_deref(), &why_not);
        self.check_times(
            world,
            ended.cause,
            since_start(ended.at, world.boot),
            at,
            unwatched,
            &why_not,
        );
        if let Some(loss) = &ended.loss {
            self.losses.push((lock, loss.when, at));
            if world.is_continuous(lock) {
                self.lost[lock] = Some(Lost { at });
            }
        }
    }

    /// From the last answer that shows the hold to the first that doesn't, and whether the time between was watched.
    fn interval(&self, world: &World, lock: usize, number: usize) -> (Ms, Ms, bool) {
        let answers = &self.answers[lock];
        let last = answers.iter().rposition(|seen| seen.hold == Some(number));
        let (from, first) = last.map_or((0, 0), |last| (answers[last].at, answers[last].noticed));
        let next = last.and_then(|last| answers.get(last + 1));
        let (to, until) = next.map_or((world.now, self.noticed), |next| (next.at, next.noticed));
        let doubted = self.doubts.iter().any(|doubt| (first..=until).contains(doubt));
        // The two looks of a poll lie so far apart at most.
        let rare = world.setup.polling && to - from > 3_000 + world.setup.round_trip;
        (from, to, !doubted && !rare)
    }

    /// The same as a real observer has it; what it can't have watched is known from what was done to it.
    fn real_interval(&self, world: &World, end: &End) -> (Ms, Ms, bool) {
        let (from, to) = (
            since_start(end.hold.last_answer, world.boot),
            since_start(end.noticed, world.boot),
        );
        let stalled = self
            .stalls
            .iter()
            .any(|(since, until)| *since <= to && *until >= from);
        let flushed = self
            .happenings
            .iter()
            .any(|(at, happening)| *happening == Happening::Flushed && (from..=to).contains(at));
        (from, to, !stalled && !flushed)
    }

    /// When the present operator got its first answer that shows this hold.
    pub(super) fn first_seen(&self, lock: usize, number: usize) -> Option<Ms> {
        if let Some(at) = self.shown_at.get(&number) {
            return Some(*at);
        }
        let seen = self.answers[lock].iter().find(|seen| seen.hold == Some(number));
        seen.map(|seen| seen.at)
    }

    /// A moment to which two clocks, or a message under way, may give either side.
    fn is_near(world: &World, one: Ms, other: Ms) -> bool {
        one.abs_diff(other) <= 2 * world.setup.round_trip + 20
    }

    fn allowed(
        &self,
        world: &World,
        hold: &Hold,
        at: Ms,
        why: Why,
        interval: (Ms, Ms),
        unwatched: bool,
    ) -> Allowed {
        let (from, to) = interval;
        let happened = |which| {
            self.happenings.iter().any(|(when, happening)| {
                *happening == which && (from.saturating_sub(world.setup.round_trip)..=to).contains(when)
            })
        };
        let stalled = self
            .stalls
            .iter()
            .any(|(since, until)| *since <= to && *until + 4_000 >= from);
        let renews = world.is_continuous(hold.lock) || world.setup.jobs_renew;
        // As the operator knows it: what was renewed after its last look it can't know.
        let known = hold.renewals.iter().rev().find(|renewed| **renewed <= from);
        let begun = known.copied().unwrap_or(hold.taken);
        let set = self
            .clock_set
            .iter()
            .filter(|(at, _)| (begun..=from).contains(at));
        let deadline = (begun + TTL).saturating_sub(set.map(|(_, by)| by).sum());
        let watched = |causes: Vec<Cause>| {
            if unwatched {
                vec![Cause::Unexplained]
            } else {
                causes
            }
        };
        let mut causes = match why {
            Why::Released | Why::Overwritten => watched(vec![Cause::Released]),
            Why::RanOut => watched(self.run_out(world, hold, at)),
            Why::Evicted => watched(Self::evicted(world, hold, at, renews)),
            Why::Flushed => vec![Cause::Flushed],
            Why::Unreplicated => vec![Cause::StoreFailover],
            Why::ClockSet => vec![Cause::ClockJump],
        };
        let certain = causes.len() == 1;
        let of_store = matches!(why, Why::Flushed | Why::Unreplicated | Why::ClockSet);
        if of_store && (to > deadline || Self::is_near(world, to, deadline)) {
            // It would have run out by the time of the first look.
            causes.push(Cause::Unexplained);
            if !unwatched {
                causes.extend(self.run_out(world, hold, at));
            }
        }
        // What else happened meanwhile can't be told from it.
        let before = hold.persisted || to <= deadline + 2 * world.setup.round_trip + 20;
        for (happening, cause) in [
            (Happening::FailedOver, Cause::StoreFailover),
            (Happening::Flushed, Cause::Flushed),
            (Happening::ClockSet, Cause::ClockJump),
            (Happening::Evicted, Cause::Evicted),
        ] {
            if before && happened(happening) && !causes.contains(&cause) {
                causes.push(cause);
            }
        }
        // Nor can the last moments of a hold from its end, nor a message that waited.
        let near = Self::is_near(world, at, deadline) || Self::is_near(world, to, deadline);
        if !unwatched && (near && why != Why::RanOut || stalled) {
            causes.push(Cause::Released);
            causes.extend(self.run_out(world, hold, at));
            if why == Why::Evicted {
                causes.push(Cause::Evicted);
            }
        }
        if stalled && !causes.contains(&Cause::Unexplained) && world.setup.polling {
            causes.push(Cause::Unexplained);
        }
        let mut kinds = causes.clone();
        kinds.sort_by_key(|cause| cause.as_str());
        kinds.dedup();
        Allowed {
            ambiguous: kinds.len() > 1 && certain,
            causes: kinds,
        }
    }

    /// It ran out at `at`: was its owner gone by then, as far as the operator could know?
    fn run_out(&self, world: &World, hold: &Hold, at: Ms) -> Vec<Cause> {
        let By::Process(number) = hold.by else {
            return vec![Cause::Expired];
        };
        if world.setup.owner == Owner::Opaque {
            return vec![Cause::Expired];
        }
        let both = vec![Cause::Expired, Cause::HolderGone];
        let (process, pod) = (&world.processes[number], world.pod_of(number));
        let ends = [process.shown_ended, pod.gone, pod.failed];
        let Some(first) = ends.into_iter().flatten().min() else {
            // A node that is lost says nothing of its processes; what was seen of them before may still be right. Nor can it
            // be known of who took it as soon as it began: that it began is seen later.
            let quick = pod.restarts > 0 && hold.taken <= process.began + world.setup.watch_lag + 350;
            return if process.ended.is_some() || quick {
                both
            } else {
                vec![Cause::Expired]
            };
        };
        let lag = world.setup.watch_lag;
        let started = self.operators.last().copied().unwrap_or(0);
        if first + lag + 50 >= started {
            // Seen by this operator, in good time or not.
            if first + lag + 5 < at {
                // That a container ended counts if the hold was seen before; that a pod is gone always does.
                let seen = self
                    .first_seen(hold.lock, hold.number)
                    .is_some_and(|seen| seen < first);
                let gone = [pod.gone, pod.failed]
                    .into_iter()
                    .flatten()
                    .any(|gone| gone + lag + 5 < at);
                return if seen || gone {
                    vec![Cause::HolderGone]
                } else {
                    both
                };
            }
            return if first > world.now {
                vec![Cause::Expired]
            } else {
                both
            };
        }
        both
    }

    /// It was evicted at `at`: a pod that ends may have released it as well.
    fn evicted(world: &World, hold: &Hold, at: Ms, renews: bool) -> Vec<Cause> {
        if !renews {
            return vec![Cause::Released];
        }
        let By::Process(number) = hold.by else {
            return vec![Cause::Evicted];
        };
        if world.setup.owner == Owner::Opaque {
            return vec![Cause::Evicted];
        }
        let (process, pod) = (&world.processes[number], world.pod_of(number));
        let ends = [process.shown_ended, pod.gone, pod.failed, pod.terminating];
        match ends.into_iter().flatten().min() {
            None => vec![Cause::Evicted],
            Some(first)
                if first + world.setup.watch_lag + 50 < at
                    && pod
                        .terminating
                        .or(pod.gone)
                        .or(pod.failed)
                        .is_some_and(|end| end + world.setup.watch_lag + 50 < at) =>
            {
                vec![Cause::Released, Cause::Evicted]
            }
            Some(_) => vec![Cause::Evicted, Cause::Released],
        }
    }

    fn check_owner(&mut self, world: &World, hold: &Hold, said: Option<&str>, why_not: &str) {
        let truth = match hold.by {
            By::Process(process) => Some(world.pod_of(process).name.as_str()),
            By::Stranger | By::Garbage | By::WrongType => None,
        };
        let fine = match world.setup.owner {
            Owner::Name => said == truth,
            // A UID that this operator never saw can't be told.
            Owner::Uid => said == truth || said.is_none() && self.operators.len() > 1,
            Owner::Opaque => said.is_none(),
        };
        if !fine {
            self.object(
                Kind::WrongCause,
                world.now,
                format!("it was {truth:?}: {why_not}"),
            );
        }
    }

    /// When it ended, and when that was known.
    fn check_times(&mut self, world: &World, cause: Cause, said: Ms, at: Ms, unwatched: bool, why_not: &str) {
        let stalled = self
            .stalls
            .iter()
            .any(|(since, until)| *since <= world.now && *until + 5_000 >= at);
        if unwatched || stalled {
            return;
        }
        let trip = world.setup.round_trip;
        let slack = if world.setup.polling {
            2_050 + 3 * trip
        } else {
            3 * trip + 60
        };
        let last_look = if world.setup.polling { 150 } else { 0 };
        let exact = if cause.ran_out() {
            2 * trip + 20 + last_look
        } else {
            slack
        };
        if said.abs_diff(at) > exact {
            self.object(
                Kind::WrongCause,
                world.now,
                format!("it ended at {at}, not at {said}: {why_not}"),
            );
        }
        if world.now > at + slack {
            self.object(Kind::Late, world.now, format!("it ended at {at}: {why_not}"));
        }
    }

    /// The gaps that status shows lasted as long as it says.
    pub(super) fn check_gaps(&mut self, world: &World, status: &CoordinatedWorkloadStatus) {
        let trip = world.setup.round_trip;
        let slack = if world.setup.polling {
            4_200 + 6 * trip
        } else {
            6 * trip + 120
        };
        for incident in &status.recent {
            let (Some(gap), Some(name)) = (&incident.gap, &incident.lock) else {
                continue;
            };
            let gap = spec::Duration(gap.clone())
                .parse()
                .ok()
                .and_then(|gap| Ms::try_from(gap.as_millis()).ok());
            let of = |(lock, when, _): &&(usize, Timestamp, Ms)| {
                name_of(*lock) == *name && *when == incident.when.0
            };
            let (Some(gap), Some((lock, _, at))) = (gap, self.losses.iter().rev().find(of).copied()) else {
                continue;
            };
            if !self.gaps.insert((lock, at, gap)) {
                continue;
            }
            let stalled = self
                .stalls
                .iter()
                .any(|(since, until)| *since <= at + gap && *until + 4_000 >= at);
            let mut holds = world
                .server
                .holds
                .iter()
                .filter(|hold| hold.lock == lock && hold.taken >= at);
            // What waited on the wire came later.
            let slack = if stalled { slack + 4_000 } else { slack };
            if !holds.any(|hold| (hold.taken - at).abs_diff(gap) <= slack) {
                self.object(
                    Kind::WrongCause,
                    world.now,
                    format!("{name}, lost at {at}, was not without a holder for {gap} ms"),
                );
            }
        }
    }

    /// Holds that this operator was shown, that ended, and whose end it never concluded.
    pub(super) fn never_ended(&mut self, world: &World) {
        let now = world.now;
        let Some(sees) = self.sees_since else { return };
        if now - sees < 3_000 {
            return;
        }
        let missing: Vec<usize> = self.shown.difference(&self.concluded).copied().collect();
        for number in missing {
            let hold = &world.server.holds[number];
            let stalled = self
                .stalls
                .iter()
                .any(|(since, until)| *since <= now && *until + 5_000 >= now);
            let Some((at, why)) = hold.end else { continue };
            if at + 3_000 < now && !stalled {
                let lost = !matches!(why, Why::Released | Why::Overwritten);
                let kind = if lost { Kind::MissedLoss } else { Kind::NotOnce };
                self.object(kind, now, format!("hold {number} ended without a word: {hold:?}"));
                self.concluded.insert(number);
            }
        }
    }
}
