//! A world whose server is mirrored by a real one, and seen by a real observer, in real time. Still pure: whoever plays it
//! waits until something is due, does to the real server what was done to this one, and says what the observer sees.

use lockstep::domain::locks::{Mono, Observation};

use super::{Event, Ms, Played, World};
use crate::{
    plan::{Act, Plan, What},
    server::Command,
};

/// From the first pod until everything is as it should be.
const SETTLED: Ms = 12_000;
/// From the last act until everything that follows from it has been said.
const AFTERMATH: Ms = 48_000;
/// Between the server, the observer and a pass there may lie so much, on a machine that does other things as well.
const ROUND_TRIP: Ms = 400;
/// Acts follow each other within this time, and nothing lasts longer.
const LONGEST: Ms = 11_000;

/// The plan as it can be played in real time, with a real server; `None`: nothing of it is left.
#[must_use]
pub fn real(plan: &Plan) -> Option<Plan> {
    let mut setup = plan.setup.clone();
    // What a server that can't track shows is polled, which has tests of its own.
    setup.polling = false;
    setup.round_trip = ROUND_TRIP;
    setup.watch_lag = 20;
    setup.start = setup.start.min(2_000);
    let short = |time: Ms| 2_000 + time % LONGEST;
    let acts = plan.acts.iter().filter_map(|act| {
        let what = match act.what {
            // A real server evicts what it likes, and its clock is that of the machine; who restarts has another observer.
            What::Evict(_) | What::EvictOther | What::ServerClock(_) | What::Restart(_) | What::Nothing => {
                return None;
            }
            What::Cut(time, _) => What::Cut(short(time), true),
            What::Failover(time, lost) => What::Failover(short(time), lost),
            What::Pause(pod, time) => What::Pause(pod, time % 45_000),
            What::CutOff(pod, time) => What::CutOff(pod, time % 45_000),
            What::ForceDelete(pod, time) => What::ForceDelete(pod, time % 30_000),
            What::Stranger(lock, time) => What::Stranger(lock, time % 20_000),
            What::NotReady(pod, time) => What::NotReady(pod, short(time)),
            What::Job(pod, lock, time) => What::Job(pod, lock, time % 40_000),
            other => other,
        };
        let after = 1_500 + act.after % LONGEST;
        Some(Act { after, what })
    });
    let acts: Vec<_> = acts.take(4).collect();
    (!acts.is_empty()).then_some(Plan { setup, acts })
}

impl World {
    /// A world that began when the operator's monotonic clock showed `boot`, and when it will be over.
    #[must_use]
    pub fn in_real_time(plan: &Plan, boot: Mono) -> (Self, Ms) {
        let mut world = Self::new(&plan.setup, None);
        world.boot = boot;
        world.real = true;
        let mut at = SETTLED;
        for act in &plan.acts {
            at += act.after;
            world.schedule(at, Event::Act(act.what));
        }
        (world, at + AFTERMATH)
    }

    /// When something is due next.
    #[must_use]
    pub fn next(&self) -> Option<Ms> {
        let wake = self.operator.as_ref()?.wake(self.moment(self.now));
        let event = self.queue.first_key_value().map(|((at, _), _)| *at);
        [wake, event].into_iter().flatten().min()
    }

    /// It is `now`: what is due happens. What was done to the server by that.
    pub fn happen(&mut self, now: Ms) -> Vec<Command> {
        self.pass_time(now.max(self.now));
        while let Some(first) = self.queue.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            let event = first.remove();
            self.handle(event);
        }
        std::mem::take(&mut self.server.journal)
    }

    /// What the observer sees at `now`.
    pub fn see(&mut self, seen: Observation, now: Ms) {
        self.pass_time(now.max(self.now));
        self.pass(Some(seen));
    }

    /// Until when the way to the server is interrupted.
    #[must_use]
    pub fn cut_until(&self) -> Ms {
        self.net.until.max(self.net.server_back)
    }

    /// It is over.
    #[must_use]
    pub fn over(self) -> Played {
        self.finish()
    }
}
