//! How holds ended: the contract's table of causes, and the gaps until the next hold. Pure.

use super::lock::{LockView, Owner};
use crate::domain::{
    finding::{DELETED, RUNS_ON},
    incident,
    judgement::Ended,
    locks::{End, Hold, KeySnapshot, KeyState, Mono},
    memory::{Cause, Gap, GraceClock, LastEnd, Loss, PodMemory, Taken, Told},
};

impl LockView<'_> {
    /// Judges the holds that ended since the cursor, and closes the gaps that a next hold closes.
    pub(super) fn take_ends(&mut self, snapshot: &KeySnapshot, cursor: u64) -> Vec<Ended> {
        let mut ended = Vec::new();
        for end in snapshot.ends.iter().filter(|end| end.seq > cursor) {
            self.close_gap(&end.hold);
            let (cause, from, detail) = self.cause(end);
            // A hold that ran out ended when it ran out, not when somebody noticed.
            let at = if cause.ran_out() {
                end.hold.deadline.unwrap_or(end.ended)
            } else {
                end.ended
            };
            let when = self.wall(at);
            self.untell(|_| true);
            let entry = self.entry();
            *entry = crate::domain::memory::LockMemory {
                key: entry.key.take(),
                lost: entry.lost.take(),
                period: std::mem::take(&mut entry.period),
                taken: entry.taken,
                last_end: Some(LastEnd {
                    cause,
                    from: from.clone(),
                    at,
                    when,
                    open: true,
                    // After a blind interval only that it is gone is known.
                    timed: end.watched,
                }),
                ever_held: true,
                told: Told::default(),
                grace: GraceClock::default(),
                ..Default::default()
            };
            let continuous = self.continuous();
            let counts = cause.is_loss() && (continuous || self.set.renew_interval.is_some());
            let loss = counts.then(|| Loss {
                cause: cause.as_str().to_owned(),
                from: from.clone(),
                when,
                detail,
            });
            if let Some(loss) = &loss {
                if continuous {
                    self.entry().lost = Some(loss.clone());
                }
                incident::record(self.memory, &self.id, loss);
            }
            let seen_whole = end.hold.seen_taken && end.watched;
            ended.push(Ended {
                id: self.id.clone(),
                continuous,
                cause,
                from,
                at,
                held: seen_whole.then(|| at.since(end.hold.first_seen)),
                loss,
            });
        }
        if let KeyState::Held(hold) = &snapshot.state {
            self.close_gap(hold);
        }
        ended
    }

    /// A hold after an end closes the gap. It has a length only if it was seen how the hold was taken.
    fn close_gap(&mut self, next: &Hold) {
        let to = self.pod_of(next);
        self.count_taken(next);
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
            let gap = (next.seen_taken && end.timed).then_some(gap);
            incident::close_gap(self.memory, &self.id, when, gap, to);
        }
    }

    /// A hold that was seen to be taken counts once, with the gap before it while that is open.
    fn count_taken(&mut self, next: &Hold) {
        let limit = self.memory.ttl(self.set) + self.set.retry_interval;
        let entry = self.entry();
        if !next.seen_taken || entry.taken.is_some_and(|last| next.first_seen <= last) {
            return;
        }
        entry.taken = Some(next.first_seen);
        let end = entry.last_end.as_ref().filter(|end| end.open && end.timed);
        let gap = end.filter(|end| next.first_seen >= end.at).map(|end| {
            let length = next.first_seen.since(end.at);
            Gap {
                length,
                failover: end.cause.is_loss(),
                too_long: length > limit,
            }
        });
        let set = self.set.name.clone();
        self.memory.taken.push(Taken { set, gap });
    }

    /// The contract's table of causes: the first line that applies.
    fn cause(&self, end: &End) -> (Cause, Option<String>, String) {
        let hold = &end.hold;
        let (name, pod, gone_since, ours) = match self.owner(hold) {
            Owner::Live(pod) => (Some(pod.view.name.clone()), Some(pod), None, true),
            Owner::Gone { name, since, pod } => (Some(name), pod, since, true),
            Owner::Other | Owner::Untold | Owner::Unfit => (None, None, None, false),
        };
        let before = |at: Mono| hold.deadline.is_none_or(|deadline| at < deadline);
        let early = before(end.ended + hold.uncertainty);
        let of_store = |cause, detail: &str| (cause, name.clone(), detail.to_owned());
        if end.evidence.failover && before(end.noticed) {
            return of_store(
                Cause::StoreFailover,
                "another Redis server answers now, or the same one without all of its data, and has no such lock",
            );
        }
        if end.evidence.flushed && early {
            return of_store(Cause::Flushed, "all keys of the database were deleted");
        }
        if end.evidence.clock_jump && early {
            return of_store(Cause::ClockJump, "the clock of the Redis server ran ahead");
        }
        if !end.watched {
            return (Cause::Unexplained, name, String::new());
        }
        let Some(deadline) = hold.deadline.filter(|_| !early && !end.shortened) else {
            let leaving = pod.is_some_and(|pod| pod.view.terminating || gone_since.is_some());
            if end.evidence.evicted && self.set.renew_interval.is_some() && !leaving && !end.shortened {
                return of_store(
                    Cause::Evicted,
                    "probably evicted: the Redis server removed keys to make room",
                );
            }
            return (Cause::Released, name, String::new());
        };
        let Some(pod) = pod else {
            let detail = if ours { "the pod is gone" } else { "" };
            let cause = if ours { Cause::HolderGone } else { Cause::Expired };
            return (cause, name, detail.to_owned());
        };
        let renewed = hold.last_renewed.unwrap_or(hold.first_seen);
        let broke = pod.lock_container(self.container()).last_break();
        let broke = broke.is_some_and(|at| at > renewed) || self.told_broken(&pod.view.name, hold);
        let gone = gone_since.is_some_and(|since| since <= deadline);
        if gone || broke {
            return (
                Cause::HolderGone,
                name,
                how_it_ended(pod, self.container(), renewed),
            );
        }
        let runs = pod.not_live_since(self.container()).is_none();
        let detail = if runs { RUNS_ON } else { "" };
        (Cause::Expired, name, detail.to_owned())
    }

    /// Whether the owner's container broke before this process could see it, as status said, and nothing came since.
    fn told_broken(&self, pod: &str, hold: &Hold) -> bool {
        let broken = self.known().and_then(|lock| lock.broken.as_ref());
        broken.is_some_and(|(name, at)| name == pod && hold.last_renewed.is_none_or(|renewed| renewed <= *at))
    }
}

/// How the holder ended. A container's last end may be days old: it counts only if the container doesn't run, or was
/// seen to restart since the last renewal.
fn how_it_ended(pod: &PodMemory, container: Option<&str>, renewed: Mono) -> String {
    let restarted = pod.lock_container(container).restarted;
    let end = pod
        .view
        .lock_container(container)
        .filter(|container| !container.running || restarted.is_some_and(|at| at > renewed))
        .and_then(|container| container.last_end.as_ref());
    match (&pod.view.reason, pod.deleted, end) {
        (Some(reason), ..) => format!("the pod ended: {reason}"),
        (None, true, Some(end)) => {
            format!("{DELETED}; its container ended: {end}")
        }
        (None, true, None) => DELETED.to_owned(),
        (None, false, Some(end)) => format!("its container ended: {end}"),
        (None, false, None) => "its container ended".to_owned(),
    }
}
