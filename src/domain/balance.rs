//! Concentration: whether one pod of a set holds more than its share. Pure.
//!
//! Definition and numbers: the contract's section 3, "Concentrated". Ratios of spread (Gini, variation) misjudge small
//! numbers; only the excess over the ceiling of the mean tells one lock on three pods from three locks on one.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Now,
    judgement::{Judged, Recheck, Rollout, SetBalance},
    memory::{BalanceMemory, Memory},
    workload::{Balance, LockSet},
};
use crate::api::{
    conditions::Reason,
    spec::Dialect,
    status::{BalanceStatus, LockState, PodLocks},
};

/// How long a rollout or a missing pod may defer a verdict.
const SETTLING: Duration = Duration::from_mins(10);
/// Pods that status names.
const TOP: usize = 10;

/// Judges the balance of `set` from its judged locks; `ttl` is the given or learned lifetime of its locks.
#[expect(clippy::too_many_arguments, reason = "one call, from the assessment")]
pub fn judge(
    set: &LockSet,
    settings: &Balance,
    ttl: Duration,
    locks: &[Judged],
    rollout: Rollout,
    memory: &mut Memory,
    now: Now,
    recheck: &mut Recheck,
) -> SetBalance {
    let mut held: BTreeMap<&str, i64> = BTreeMap::new();
    for pod in memory.present().filter(|pod| !pod.view.terminating) {
        let Some(ready_since) = pod.ready_since else {
            continue;
        };
        if now.mono >= ready_since + settings.warm_up {
            held.insert(&pod.view.name, 0);
        } else {
            recheck.at(ready_since + settings.warm_up);
        }
    }
    for lock in locks.iter().filter(|lock| lock.state == LockState::Held) {
        if let Some(count) = lock.pod.as_deref().and_then(|pod| held.get_mut(pod)) {
            *count += 1;
        }
    }
    let numbers = numbers(&held, settings);
    let of = |state| locks.iter().filter(|lock| lock.state == state).count();
    let unattributed = of(LockState::Unattributed);
    let too_many_unattributed = unattributed * 5 > unattributed + of(LockState::Held);
    let sustained = settings
        .sustained
        .unwrap_or_else(|| (ttl * 2).clamp(Duration::from_mins(2), SETTLING));
    let clocks = memory.balance.entry(set.name.clone()).or_default();
    let unsettled = numbers.pods < 2 || rollout.rolling || rollout.wanted != Some(numbers.pods);
    let reason = if rollout.wanted.is_some_and(|wanted| wanted < 2) {
        *clocks = BalanceMemory {
            judged: true,
            ..BalanceMemory::default()
        };
        Reason::SingleReplica
    } else if set.locks.len() < 2 {
        *clocks = BalanceMemory {
            judged: true,
            ..BalanceMemory::default()
        };
        Reason::TooFewLocks
    } else {
        verdict(
            clocks,
            over(&numbers, settings),
            unsettled,
            numbers.pods < 2,
            sustained,
            now,
            recheck,
        )
    };
    let reason = if matches!(reason, Reason::Balanced | Reason::Settling) && too_many_unattributed {
        Reason::Unattributed
    } else {
        reason
    };
    SetBalance {
        set: set.name.clone(),
        reason,
        over: over(&numbers, settings),
        numbers,
        remedy: remedy(set.dialect),
    }
}

fn over(numbers: &BalanceStatus, settings: &Balance) -> bool {
    let all_on_one = numbers.max == numbers.locks && numbers.locks >= numbers.pods.max(3);
    numbers.pods >= 2 && (numbers.max > numbers.limit || (settings.max_per_instance.is_none() && all_on_one))
}

fn verdict(
    clocks: &mut BalanceMemory,
    over: bool,
    unsettled: bool,
    too_few_pods: bool,
    sustained: Duration,
    now: Now,
    recheck: &mut Recheck,
) -> Reason {
    let settling = unsettled && {
        let since = *clocks.settling_since.get_or_insert(now.mono);
        if too_few_pods {
            true
        } else {
            let ends = since + SETTLING;
            if now.mono < ends {
                recheck.at(ends);
            }
            now.mono < ends
        }
    };
    if !unsettled {
        clocks.settling_since = None;
    }
    if settling {
        clocks.interrupt(now.mono);
        return match (clocks.judged, clocks.concentrated) {
            (true, true) => Reason::Concentrated,
            (true, false) => Reason::Balanced,
            (false, _) => Reason::Settling,
        };
    }
    if over {
        clocks.calm = super::memory::GraceClock::default();
        let since = *clocks.over_since.get_or_insert(now.mono);
        if now.mono >= since + sustained {
            clocks.concentrated = true;
        } else if !clocks.concentrated {
            recheck.at(since + sustained);
        }
    } else {
        clocks.over_since = None;
        if clocks.concentrated {
            clocks.calm.run(true, now.mono);
            let calm = clocks.calm.total(now.mono);
            if calm >= sustained {
                clocks.concentrated = false;
            } else {
                recheck.at(now.mono + (sustained.saturating_sub(calm)));
            }
        }
    }
    clocks.judged = true;
    if clocks.concentrated {
        Reason::Concentrated
    } else {
        Reason::Balanced
    }
}

/// N, M, max, ideal = ⌈N/M⌉, limit = max(ideal + slack, ⌈ratio · N/M⌉), excess, moves, idle.
fn numbers(held: &BTreeMap<&str, i64>, settings: &Balance) -> BalanceStatus {
    let pods = i64::try_from(held.len()).unwrap_or(i64::MAX);
    let locks: i64 = held.values().sum();
    let max = held.values().copied().max().unwrap_or(0);
    let ideal = if pods == 0 { 0 } else { (locks + pods - 1) / pods };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "at most 2,000 locks"
    )]
    let by_ratio = if pods == 0 {
        0
    } else {
        // Less than a rounding error: 1.1 × 30 / 3 is 11, and not a little more.
        (settings.ratio * locks as f64 / pods as f64 - 1e-9).ceil() as i64
    };
    let limit = settings
        .max_per_instance
        .unwrap_or_else(|| (ideal + settings.slack).max(by_ratio));
    let idle = if locks >= pods {
        held.values().filter(|count| **count == 0).count()
    } else {
        0
    };
    let mut top: Vec<_> = held.iter().filter(|(_, count)| **count > 0).collect();
    top.sort_by_key(|(pod, count)| (-**count, **pod));
    let small = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    BalanceStatus {
        locks: small(locks),
        pods: small(pods),
        max: small(max),
        ideal: small(ideal),
        limit: small(limit),
        excess: small(max - ideal),
        moves: small(held.values().map(|count| (count - ideal).max(0)).sum()),
        idle: i32::try_from(idle).unwrap_or(i32::MAX),
        top: top
            .into_iter()
            .take(TOP)
            .map(|(pod, count)| PodLocks {
                pod: (*pod).to_owned(),
                locks: small(*count),
            })
            .collect(),
    }
}

fn remedy(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Rigatoni => {
            "Rigatoni takes every lock that is free and gives none away: only a restart of the holder moves any. Next: \
             limit the locks that one instance takes, in the application, then delete the holder's pod."
        }
        Dialect::Redlock
        | Dialect::Bull
        | Dialect::BullMQ
        | Dialect::Redisson
        | Dialect::ShedLock
        | Dialect::SpringIntegration
        | Dialect::DistributedLockNet
        | Dialect::RedisPy
        | Dialect::RedBeat
        | Dialect::Laravel
        | Dialect::Custom => {
            "Next: delete the holder's pod, so that the others can take its locks; to keep them apart, limit the locks \
             that one instance takes."
        }
    }
}
