//! The figures of the workloads. No I/O.
//!
//! In: what a pass concluded, once a pass; a hold's end and its taking are concluded once, so they are counted once. Out:
//! samples, made when they are asked for: a workload at rest costs nothing. Its series go with the resource. Their number
//! is bounded: by the conditions, the lock sets of the spec (at most 16) and the closed vocabulary; no lock has series of
//! its own, and of the pods the ten with the most locks.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use prometheus_client::metrics::histogram::Histogram;

use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::Reason,
        spec::Hold,
        status::{BalanceStatus, LockState},
    },
    domain::{
        assessment::Assessment,
        judgement::{Judged, Sight},
        memory::{Cause, Memory},
        workload::{LockSet, Workload},
    },
    observer::{RenewalTally, StoreFigures, WorkloadKey},
};

/// Pods of a workload that have a series of their own.
const TOP: usize = 10;
/// The label of all other pods together; no pod can have this name.
const REST: &str = "_others";

/// Upper bounds of the buckets of a gap, seconds: around the retry intervals and lifetimes in use.
const GAPS: [f64; 10] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Upper bounds of the buckets of a hold, seconds: from a job to a leader of weeks.
const HOLDS: [f64; 10] = [
    0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0,
];

/// A kind of metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Counts by size; with `_bucket`, `_sum` and `_count`.
    Histogram,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal, $kind:ident;)+) => {
        /// A metric of workloads. Each has the labels `namespace` and `name`, of the resource.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Metric {
            $($(#[doc = $help])+ $variant,)+
        }

        impl Metric {
            /// Every metric, in the order in which they are written.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, without prefix and without `_total`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it says, for people.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help),+).trim_ascii()),+ }
            }

            /// How it moves.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),+ }
            }
        }
    };
}

metrics! {
    /// 1 for the status and reason that each condition has now
    Condition = "condition", Gauge;
    /// How often a condition changed its status
    ConditionTransitions = "condition_transitions", Counter;
    /// Locks of a set by their state
    Locks = "locks", Gauge;
    /// Locks that were seen to be taken
    Acquired = "locks_acquired", Counter;
    /// Locks that were lost, by cause
    Lost = "locks_lost", Counter;
    /// Locks that were given up
    Released = "locks_released", Counter;
    /// Locks that ran out in a set that neither renews nor must be held
    Lapsed = "locks_lapsed", Counter;
    /// Holds that ended while nobody could watch
    Unexplained = "locks_unexplained", Counter;
    /// From the end of a lost hold to the next hold
    FailoverGap = "failover_gap_seconds", Histogram;
    /// From the release of a lock to the next hold
    HandoverGap = "handover_gap_seconds", Histogram;
    /// Gaps longer than the lifetime of the lock and one retry
    LongGaps = "long_gaps", Counter;
    /// How long locks were held
    HoldDuration = "hold_duration_seconds", Histogram;
    /// Time between two renewals of a declared lock, in a set that renews
    RenewalGap = "lock_renewal_gap_seconds", Histogram;
    /// Renewals that came late, or not in time, by what the lock itself showed before
    LateRenewals = "lock_late_renewals", Counter;
    /// Lifetime of the locks of a set, given, of the library, or learned
    Ttl = "set_ttl_seconds", Gauge;
    /// How often the pods try to take a lock of a set that another has
    RetryInterval = "set_retry_interval_seconds", Gauge;
    /// Locks that a pod holds: the ten with the most, and all others together as `_others`
    PodLocks = "pod_locks", Gauge;
    /// Pods among which the locks of a set are compared
    BalancePods = "balance_pods", Gauge;
    /// Locks of the pod with the most
    BalanceMax = "balance_max_locks", Gauge;
    /// Locks that a pod would have if they were spread evenly, rounded up
    BalanceIdeal = "balance_ideal_locks", Gauge;
    /// Above so many locks a pod has more than its share
    BalanceLimit = "balance_limit_locks", Gauge;
    /// Locks of the pod with the most above the even spread
    BalanceExcess = "balance_excess_locks", Gauge;
    /// Locks that would have to move for an even spread
    BalanceMoves = "balance_moves", Gauge;
    /// Pods without a lock although there is one for each; standbys beyond the locks are none
    BalanceIdle = "balance_idle_pods", Gauge;
    /// Whether the operator reads the workload's Redis
    StoreUp = "store_up", Gauge;
    /// Whether Redis announces changes; 0: it is polled
    StoreTracking = "store_tracking", Gauge;
    /// Median time that a PING takes, over a minute, from the operator
    StoreLatency = "store_latency_seconds", Gauge;
    /// Commands that were sent to the workload's Redis, also on behalf of others that share it
    StoreCommands = "store_commands", Counter;
}

/// What a sample shows.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Of a gauge.
    Gauge(f64),
    /// Of a counter.
    Counter(u64),
    /// Of a histogram.
    Histogram(&'a Histogram),
}

/// Takes a sample, with its labels.
pub type Emit<'a> = dyn FnMut(&[(&'static str, &str)], Value<'_>) -> std::fmt::Result + 'a;

/// What one pass decided.
#[derive(Clone, Copy, Debug)]
pub struct Concluded<'a> {
    /// The spec; `None`: it can't be used.
    pub workload: Option<&'a Workload>,
    /// Store and locks.
    pub assessment: &'a Assessment,
    /// What is remembered.
    pub memory: &'a Memory,
    /// Endpoint and database for people, without credentials; `None`: without a store.
    pub place: Option<&'a str>,
    /// What is counted of the renewals of each set that renews, by its name.
    pub renewals: &'a BTreeMap<String, RenewalTally>,
}

/// The figures of one workload.
#[derive(Debug, Default)]
pub struct Figures {
    /// Type, status and reason.
    conditions: Vec<(String, String, String)>,
    transitions: BTreeMap<String, u64>,
    sets: BTreeMap<String, SetFigures>,
    pods: Vec<(String, u64)>,
    place: Option<String>,
}

#[derive(Debug)]
struct SetFigures {
    hold: &'static str,
    states: [u64; STATES.len()],
    acquired: u64,
    lost: [u64; Cause::LOSSES.len()],
    released: u64,
    lapsed: u64,
    unexplained: u64,
    failovers: Histogram,
    handovers: Histogram,
    long_gaps: u64,
    holds: Histogram,
    /// `None`: it doesn't renew.
    renewals: Option<RenewalTally>,
    ttl: f64,
    retry: f64,
    balance: Option<BalanceStatus>,
}

const STATES: [(LockState, &str); 6] = [
    (LockState::Held, "Held"),
    (LockState::Unheld, "Unheld"),
    (LockState::Orphaned, "Orphaned"),
    (LockState::Foreign, "Foreign"),
    (LockState::Unattributed, "Unattributed"),
    (LockState::Unknown, "Unknown"),
];

impl SetFigures {
    fn new() -> Self {
        Self {
            hold: "",
            states: Default::default(),
            acquired: 0,
            lost: Default::default(),
            released: 0,
            lapsed: 0,
            unexplained: 0,
            failovers: Histogram::new(GAPS),
            handovers: Histogram::new(GAPS),
            long_gaps: 0,
            holds: Histogram::new(HOLDS),
            renewals: None,
            ttl: 0.0,
            retry: 0.0,
            balance: None,
        }
    }

    fn describe(&mut self, set: &LockSet, memory: &Memory) {
        self.hold = match set.hold {
            Hold::Continuous => "Continuous",
            Hold::Intermittent => "Intermittent",
        };
        self.ttl = memory.ttl(set).as_secs_f64();
        self.retry = set.retry_interval.as_secs_f64();
    }

    fn count(&mut self, locks: &[&Judged], declared: usize, sight: &Sight) {
        match sight {
            Sight::Clear { .. } => {
                for (at, (state, _)) in self.states.iter_mut().zip(STATES) {
                    let of_state = locks.iter().filter(|lock| lock.state == state);
                    *at = of_state.count() as u64;
                }
            }
            // What was seen last stands, if anything was.
            Sight::Pending if self.states.iter().any(|count| *count > 0) => {}
            Sight::Pending | Sight::Blind { .. } => {
                for (at, (state, _)) in self.states.iter_mut().zip(STATES) {
                    *at = if state == LockState::Unknown {
                        declared as u64
                    } else {
                        0
                    };
                }
            }
        }
    }
}

impl Figures {
    /// Takes in what a pass decided. It is counted now, since it is concluded once, whatever comes of the rest of the pass.
    pub fn record(&mut self, concluded: Concluded<'_>) {
        let Concluded {
            workload,
            assessment,
            memory,
            place,
            renewals,
        } = concluded;
        self.place = place.map(str::to_owned);
        let Some(workload) = workload else {
            return;
        };
        self.sets
            .retain(|name, _| workload.locks.iter().any(|set| set.name == *name));
        for (index, set) in workload.locks.iter().enumerate() {
            let figures = self.sets.entry(set.name.clone()).or_insert_with(SetFigures::new);
            figures.describe(set, memory);
            figures.renewals = renewals.get(&set.name).cloned();
            let locks: Vec<_> = assessment.locks.iter().filter(|lock| lock.set == index).collect();
            figures.count(&locks, set.locks.len(), &assessment.sight);
            let balance = assessment.balance.iter().find(|balance| balance.set == set.name);
            match (&assessment.sight, balance) {
                // Nobody is idle where there is nothing to compare.
                (Sight::Clear { .. }, Some(balance)) => {
                    let judged = !matches!(balance.reason, Reason::SingleReplica | Reason::TooFewLocks);
                    figures.balance = judged.then(|| balance.numbers.clone());
                }
                (Sight::Clear { .. } | Sight::Blind { .. }, _) => figures.balance = None,
                (Sight::Pending, _) => {}
            }
        }
        self.count_holds(assessment);
        if matches!(assessment.sight, Sight::Clear { .. }) {
            self.count_pods(assessment, memory);
        }
    }

    /// Takes in the status that followed.
    pub fn report(&mut self, status: &CoordinatedWorkloadStatus) {
        let conditions = status.conditions.iter();
        let conditions = conditions.map(|now| (now.type_.clone(), now.status.clone(), now.reason.clone()));
        let now: Vec<_> = conditions.collect();
        for (type_, status, _) in &now {
            let count = self.transitions.entry(type_.clone()).or_default();
            let before = self.conditions.iter().find(|before| before.0 == *type_);
            *count += u64::from(before.is_some_and(|before| before.1 != *status));
        }
        self.conditions = now;
    }

    fn count_holds(&mut self, assessment: &Assessment) {
        for end in &assessment.ended {
            let Some(set) = self.sets.get_mut(&end.id.0) else {
                continue;
            };
            if let Some(held) = end.held {
                set.holds.observe(held.as_secs_f64());
            }
            let loss = Cause::LOSSES.iter().position(|cause| *cause == end.cause);
            match (loss, end.cause) {
                (Some(at), _) if end.loss.is_some() => {
                    if let Some(count) = set.lost.get_mut(at) {
                        *count += 1;
                    }
                }
                (Some(_), _) => set.lapsed += 1,
                (None, Cause::Unexplained) => set.unexplained += 1,
                (None, cause) => set.released += u64::from(cause == Cause::Released),
            }
        }
        for taken in &assessment.taken {
            let Some(set) = self.sets.get_mut(&taken.set) else {
                continue;
            };
            set.acquired += 1;
            let Some(gap) = taken.gap else { continue };
            let gaps = if gap.failover {
                &set.failovers
            } else {
                &set.handovers
            };
            gaps.observe(gap.length.as_secs_f64());
            set.long_gaps += u64::from(gap.too_long);
        }
    }

    fn count_pods(&mut self, assessment: &Assessment, memory: &Memory) {
        let mut pods: BTreeMap<&str, u64> = memory.present().map(|pod| (pod.view.name.as_str(), 0)).collect();
        for lock in assessment
            .locks
            .iter()
            .filter(|lock| lock.state == LockState::Held)
        {
            if let Some(pod) = &lock.pod {
                *pods.entry(pod).or_default() += 1;
            }
        }
        let mut pods: Vec<_> = pods
            .into_iter()
            .map(|(pod, locks)| (pod.to_owned(), locks))
            .collect();
        pods.sort_by_key(|(_, locks)| std::cmp::Reverse(*locks));
        if pods.len() > TOP {
            let rest = pods.drain(TOP..).map(|(_, locks)| locks).sum();
            pods.push((REST.to_owned(), rest));
        }
        self.pods = pods;
    }

    /// Hands every sample of one metric to `emit`, with its labels.
    pub fn samples(
        &self,
        metric: Metric,
        store: Option<StoreFigures>,
        emit: &mut Emit<'_>,
    ) -> std::fmt::Result {
        let flag = |is: bool| Value::Gauge(f64::from(u8::from(is)));
        let endpoint = [("endpoint", self.place.as_deref().unwrap_or_default())];
        match metric {
            Metric::Condition => {
                for (type_, status, reason) in &self.conditions {
                    let labels: [(_, &str); 3] = [("type", type_), ("status", status), ("reason", reason)];
                    emit(&labels, Value::Gauge(1.0))?;
                }
            }
            Metric::ConditionTransitions => {
                for (type_, count) in &self.transitions {
                    emit(&[("type", type_)], Value::Counter(*count))?;
                }
            }
            Metric::PodLocks => {
                for (pod, locks) in &self.pods {
                    emit(&[("pod", pod)], gauge(*locks))?;
                }
            }
            Metric::StoreUp => {
                // A store that can't even be asked is down.
                let up = store.is_some_and(|store| store.up);
                if self.place.is_some() {
                    emit(&endpoint, flag(up))?;
                }
            }
            Metric::StoreTracking => {
                if let Some(store) = store {
                    emit(&endpoint, flag(store.tracking))?;
                }
            }
            Metric::StoreLatency => {
                if let Some(latency) = store.and_then(|store| store.latency) {
                    emit(&endpoint, Value::Gauge(latency.as_secs_f64()))?;
                }
            }
            Metric::StoreCommands => {
                if let Some(store) = store {
                    emit(&endpoint, Value::Counter(store.commands))?;
                }
            }
            Metric::Locks
            | Metric::Acquired
            | Metric::Lost
            | Metric::Released
            | Metric::Lapsed
            | Metric::Unexplained
            | Metric::FailoverGap
            | Metric::HandoverGap
            | Metric::LongGaps
            | Metric::HoldDuration
            | Metric::RenewalGap
            | Metric::LateRenewals
            | Metric::Ttl
            | Metric::RetryInterval
            | Metric::BalancePods
            | Metric::BalanceMax
            | Metric::BalanceIdeal
            | Metric::BalanceLimit
            | Metric::BalanceExcess
            | Metric::BalanceMoves
            | Metric::BalanceIdle => {
                for (name, set) in &self.sets {
                    set.samples(name, metric, emit)?;
                }
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 of anything")]
fn gauge(count: u64) -> Value<'static> {
    Value::Gauge(count as f64)
}

impl SetFigures {
    fn samples(&self, name: &str, metric: Metric, emit: &mut Emit<'_>) -> std::fmt::Result {
        let set = [("set", name), ("hold", self.hold)];
        let numbers = |number: fn(&BalanceStatus) -> i32| {
            let balance = self.balance.as_ref();
            balance.map(|balance| Value::Gauge(f64::from(number(balance))))
        };
        let renewals = self.renewals.as_ref();
        let value = match metric {
            Metric::Locks => {
                for ((_, state), count) in STATES.iter().zip(self.states) {
                    let [set, hold] = set;
                    emit(&[set, hold, ("state", state)], gauge(count))?;
                }
                None
            }
            Metric::Lost => {
                for (cause, count) in Cause::LOSSES.iter().zip(self.lost) {
                    let [set, hold] = set;
                    emit(&[set, hold, ("cause", cause.as_str())], Value::Counter(count))?;
                }
                None
            }
            Metric::Acquired => Some(Value::Counter(self.acquired)),
            Metric::Released => Some(Value::Counter(self.released)),
            Metric::Lapsed => Some(Value::Counter(self.lapsed)),
            Metric::Unexplained => Some(Value::Counter(self.unexplained)),
            Metric::FailoverGap => Some(Value::Histogram(&self.failovers)),
            Metric::HandoverGap => Some(Value::Histogram(&self.handovers)),
            Metric::LongGaps => Some(Value::Counter(self.long_gaps)),
            Metric::HoldDuration => Some(Value::Histogram(&self.holds)),
            Metric::RenewalGap => renewals.map(|renewals| Value::Histogram(renewals.gaps())),
            Metric::LateRenewals => renewals.map(|renewals| Value::Counter(renewals.late())),
            Metric::Ttl => Some(Value::Gauge(self.ttl)),
            Metric::RetryInterval => Some(Value::Gauge(self.retry)),
            Metric::BalancePods => numbers(|balance| balance.pods),
            Metric::BalanceMax => numbers(|balance| balance.max),
            Metric::BalanceIdeal => numbers(|balance| balance.ideal),
            Metric::BalanceLimit => numbers(|balance| balance.limit),
            Metric::BalanceExcess => numbers(|balance| balance.excess),
            Metric::BalanceMoves => numbers(|balance| balance.moves),
            Metric::BalanceIdle => numbers(|balance| balance.idle),
            Metric::Condition
            | Metric::ConditionTransitions
            | Metric::PodLocks
            | Metric::StoreUp
            | Metric::StoreTracking
            | Metric::StoreLatency
            | Metric::StoreCommands => None,
        };
        value.map_or(Ok(()), |value| emit(&set, value))
    }
}

/// Figures of all workloads, by the resource.
pub type AllFigures = BTreeMap<WorkloadKey, Figures>;
