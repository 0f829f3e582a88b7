//! Implementations that are wrong, each in one way that somebody might well build: the truth must catch them all.
//!
//! Each is the real core with one of its inputs or outputs bent, or a session that doesn't do what it should.

use std::{borrow::Cow, time::Duration};

use lockstep::{
    api::conditions::Reason,
    domain::{
        Decision,
        locks::{Evidence, KeyState, Link, Mode, Observation},
        memory::Memory,
        ownership::PodView,
        workload::{LockSet, Workload},
    },
};

macro_rules! wrongs {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// A way to be wrong.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Wrong { $($(#[doc = $doc])* $name,)+ }

        impl Wrong {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What it does.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii()),+ }
            }
        }
    };
}

wrongs! {
    /// relies on being told of expiry, and reads nothing at a deadline
    PushOnlyExpiry,
    /// takes a server that it can't reach for one without locks
    UnreachableAsLost,
    /// takes an announced change of a held lock for its end, without reading it
    EdgeTriggered,
    /// measures time by the wall clock
    WallClock,
    /// takes the first look at a hold for the moment at which it was taken
    FirstSeenAsAcquired,
    /// counts terminating pods among those that share the locks
    CountsTerminating,
    /// rounds a fair share down
    FloorForCeil,
    /// believes to have watched all the time
    EverythingWatched,
    /// doesn't notice that another server answers
    BlindToFailover,
    /// doesn't notice flushes
    BlindToFlush,
    /// doesn't notice evictions
    BlindToEviction,
    /// doesn't notice that the server's clock was set
    BlindToClock,
    /// takes a pod that is being deleted for gone
    TerminatingIsGone,
    /// takes a pod that isn't Ready for gone
    NotReadyIsGone,
    /// takes a Failed pod for alive
    FailedIsAlive,
    /// doesn't take a renewal for a proof of life
    RenewalProvesNothing,
    /// takes a deadline for exact
    NoUncertainty,
    /// counts the restarts of any container
    AnyContainer,
    /// grants no time between two holders
    NoGrace,
    /// calls a pod a hoarder at first sight
    NoPatience,
    /// announces each loss by itself
    EachLossAnEvent,
    /// starts without reading what it said before
    ForgetfulRestart,
    /// takes the end of a job that outlived its lock for a loss
    LapseAsLoss,
    /// takes a release for a loss
    ReleaseAsLoss,
    /// judges what it has judged before
    JudgesTwice,
    /// goes on believing what it read before the connection broke
    StaleAsFresh,
    /// notices the end of a hold only if somebody else holds next
    NextHolderDecides,
}

impl Wrong {
    /// The workload as this one understands it.
    #[must_use]
    pub fn workload(wrong: Option<Self>, workload: &Workload) -> Cow<'_, Workload> {
        let change: fn(&mut LockSet) = match wrong {
            Some(Self::NoGrace) => |set| set.unheld_grace = Duration::ZERO,
            Some(Self::NoPatience) => |set| {
                if let Some(balance) = &mut set.balance {
                    balance.sustained = Some(Duration::ZERO);
                }
            },
            Some(Self::LapseAsLoss) => |set| {
                set.renew_interval.get_or_insert(Duration::from_secs(10));
            },
            _ => return Cow::Borrowed(workload),
        };
        let mut workload = workload.clone();
        workload.locks.iter_mut().for_each(change);
        Cow::Owned(workload)
    }

    /// What this one makes of its observation.
    pub fn observation(wrong: Option<Self>, seen: &mut Observation) {
        let evidence: fn(&mut Evidence) = match wrong {
            Some(Self::UnreachableAsLost) => return unreachable_as_lost(seen),
            Some(Self::BlindToFailover) => |evidence| evidence.failover = false,
            Some(Self::BlindToFlush) => |evidence| evidence.flushed = false,
            Some(Self::BlindToEviction) => |evidence| evidence.evicted = false,
            Some(Self::BlindToClock) => |evidence| evidence.clock_jump = false,
            _ => |_| {},
        };
        for key in &mut seen.keys {
            let held = match &mut key.state {
                KeyState::Held(hold) => Some(hold),
                KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
            };
            for hold in held
                .into_iter()
                .chain(key.ends.iter_mut().map(|end| &mut end.hold))
            {
                match wrong {
                    Some(Self::FirstSeenAsAcquired) => hold.seen_taken = true,
                    Some(Self::RenewalProvesNothing) => hold.last_renewed = None,
                    Some(Self::NoUncertainty) => hold.uncertainty = Duration::ZERO,
                    _ => {}
                }
            }
            for end in &mut key.ends {
                evidence(&mut end.evidence);
                match wrong {
                    Some(Self::EverythingWatched) => end.watched = true,
                    Some(Self::ReleaseAsLoss) => {
                        end.hold.deadline = end.hold.deadline.map(|deadline| deadline.min(end.ended));
                    }
                    _ => {}
                }
            }
            if wrong == Some(Self::NextHolderDecides) && matches!(key.state, KeyState::Absent { .. }) {
                key.ends.clear();
            }
        }
    }

    /// The pods as this one sees them.
    #[must_use]
    pub fn pods(wrong: Option<Self>, pods: &[PodView]) -> Vec<PodView> {
        let keep: fn(&PodView) -> bool = match wrong {
            Some(Self::TerminatingIsGone) => |pod| !pod.terminating,
            Some(Self::NotReadyIsGone) => |pod| pod.ready_since.is_some(),
            _ => |_| true,
        };
        let change: fn(&mut PodView) = match wrong {
            Some(Self::CountsTerminating) => |pod| pod.terminating = false,
            Some(Self::FailedIsAlive) => |pod| pod.finished = false,
            Some(Self::AnyContainer) => |pod| {
                let others = pod.containers.get(1).map_or(0, |other| other.restarts);
                if let Some(first) = pod.containers.first_mut() {
                    first.restarts += others;
                }
            },
            _ => |_| {},
        };
        let mut pods: Vec<_> = pods.iter().filter(|pod| keep(pod)).cloned().collect();
        pods.iter_mut().for_each(change);
        pods
    }

    /// What this one remembers.
    pub fn memory(wrong: Option<Self>, memory: &mut Memory) {
        match wrong {
            Some(Self::EachLossAnEvent) => {
                memory.intermittent_said = None;
                if let Some(incident) = &mut memory.incident {
                    incident.last_said = None;
                    incident.sources.clear();
                }
            }
            Some(Self::JudgesTwice) => {
                if let Some((_, cursor)) = &mut memory.cursor {
                    *cursor = 0;
                }
            }
            _ => {}
        }
    }

    /// What this one concludes.
    pub fn decision(wrong: Option<Self>, decision: &mut Decision, workload: &Workload) {
        if wrong != Some(Self::FloorForCeil) {
            return;
        }
        for balance in &mut decision.assessment.balance {
            let settings = workload.locks.iter().find(|set| set.name == balance.set);
            let Some(settings) = settings.and_then(|set| set.balance.as_ref()) else {
                continue;
            };
            let numbers = &mut balance.numbers;
            if numbers.pods >= 2 {
                numbers.ideal = numbers.locks / numbers.pods;
                let slack = i32::try_from(settings.slack).unwrap_or(i32::MAX);
                numbers.limit = numbers.ideal + slack;
                if numbers.max > numbers.limit && balance.reason == Reason::Balanced {
                    balance.reason = Reason::Concentrated;
                    balance.over = true;
                }
            }
        }
    }
}

fn unreachable_as_lost(seen: &mut Observation) {
    let Link::Down { since, .. } = seen.link else {
        return;
    };
    seen.link = Link::Up {
        since,
        mode: Mode::Tracking,
        version: None,
    };
    for key in &mut seen.keys {
        key.state = KeyState::Absent { since };
    }
}
