//! What is said: nothing without a ground, nothing twice, nothing in calm times.

use lockstep::{
    api::{CoordinatedWorkloadStatus, conditions::EventReason},
    domain::memory::Announcement,
};

use super::{Kind, Oracle};
use crate::{plan::Ms, server::By, world::World};

/// While `LocksHeld` is False, losses are said this often at most.
const PAUSE: Ms = 300_000;

impl Oracle {
    pub(super) fn event(
        &mut self,
        world: &mut World,
        event: &Announcement,
        written: Option<&CoordinatedWorkloadStatus>,
    ) {
        let now = world.now;
        let exists = |said: &Announcement| said.reason == event.reason && said.key == event.key;
        if self.said.iter().any(exists) {
            // Another operator said it, or it was said within the same second: nobody hears it again.
            self.wrong_said |= event.reason == EventReason::LocksLost;
            return;
        }
        self.said.push(event.clone());
        self.figures.events += 1;
        let checked_apart = matches!(
            event.reason,
            EventReason::LocksConcentrated | EventReason::LocksUnheld | EventReason::InvalidSpec
        );
        if self.calm && event.reason.is_warning() && !checked_apart {
            self.object(Kind::FalseAlarm, now, format!("{event:?}"));
        }
        let grounds = match event.reason {
            EventReason::LocksLost => self.loss_said(world, event),
            EventReason::LocksRecovered => {
                // Whether a loss that status tells of is older than its verdict, another operator asks the wall clock.
                let clock_was_set = world.set_by != 0 && self.operators.len() > 1;
                std::mem::take(&mut self.wrong_said) || clock_was_set
            }
            EventReason::LocksUnheld => {
                self.wrong_said = true;
                self.unheld[..world.setup.locks]
                    .iter()
                    .any(|unheld| *unheld >= 29_000)
            }
            EventReason::ForeignLockHolder => {
                !world.setup.foreign_expected && Self::foreigner_was_there(world)
            }
            EventReason::LocksOrphaned => world
                .processes
                .iter()
                .any(|process| process.ended.is_some() || world.pods[process.pod].gone.is_some()),
            EventReason::LockWithoutExpiry => world.server.holds.iter().any(|hold| hold.persisted),
            EventReason::LocksConcentrated => self.shares.was_over_for(now, world),
            EventReason::StoreUnreachable => self.blind_since.is_some_and(|since| now - since >= 4_900),
            _ => true,
        };
        let _ = written;
        if !grounds {
            self.object(Kind::WrongEvent, now, format!("without a ground: {event:?}"));
        }
    }

    fn loss_said(&mut self, world: &World, event: &Announcement) -> bool {
        let now = world.now;
        let lock = event
            .key
            .rsplit(' ')
            .next()
            .and_then(|name| name.strip_prefix("lock")?.parse::<usize>().ok());
        let Some(lock) = lock else { return false };
        let continuous = world.is_continuous(lock);
        if continuous {
            self.wrong_said = true;
        }
        let last = self
            .lost_said
            .iter()
            .rev()
            .find(|(_, of)| *of == continuous)
            .map(|(at, _)| *at);
        let healed = |last: Ms| continuous && self.true_at.is_some_and(|at| at >= last);
        let restarted = self
            .operators
            .last()
            .is_some_and(|at| last.is_some_and(|last| *at > last));
        if let Some(last) = last
            && now + 3_000 + world.set_by.unsigned_abs() < last + PAUSE
            && !healed(last)
            && !restarted
        {
            self.object(
                Kind::WrongEvent,
                now,
                format!("said again after {} ms: {event:?}", now - last),
            );
        }
        self.lost_said.push((now, continuous));
        // What was lost is held against the truth where it is concluded.
        world
            .server
            .holds
            .iter()
            .any(|hold| hold.lock == lock && hold.end.is_some())
    }

    fn foreigner_was_there(world: &World) -> bool {
        world.server.holds.iter().any(|hold| match hold.by {
            By::Stranger => true,
            By::Process(process) => {
                let pod = world.pod_of(process);
                let gone = [pod.gone, pod.failed, pod.terminating]
                    .into_iter()
                    .flatten()
                    .min();
                let renewed = hold.renewals.last().copied();
                gone.is_some_and(|gone| hold.persisted || renewed.is_some_and(|renewed| renewed > gone))
            }
            By::Garbage | By::WrongType => false,
        })
    }
}
