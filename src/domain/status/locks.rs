//! `status.locks`: counts, rows, sets; and the columns LOCKS and SPREAD. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{
        CoordinatedWorkloadStatus,
        spec::{Duration, Hold},
        status::{Assumed, Flag, LockState, Locks, Row, SetStatus},
    },
    domain::{
        assessment::{Assessment, Judged, Sight},
        finding::{Finding, whole_seconds},
        memory::Memory,
        workload::{LockSet, Workload},
    },
};

/// Rows that status holds at most, and their size.
const ROWS: usize = 100;
const ROWS_BYTES: usize = 20 * 1024;
/// Moments that differ by less are the same moment, measured twice.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(2);
/// Pods that SPREAD shows.
const SPREAD: usize = 5;

/// The lock part of status. While sight is pending, what was said stands.
pub(super) fn status(
    workload: &Workload,
    assessment: &Assessment,
    previous: &CoordinatedWorkloadStatus,
    memory: &Memory,
) -> Option<Locks> {
    let before = previous.locks.as_ref();
    match assessment.sight {
        Sight::Pending => return before.cloned(),
        Sight::Clear { .. } | Sight::Blind { .. } => {}
    }
    let unseen: Vec<Judged>;
    let judged = match assessment.sight {
        Sight::Clear { .. } => &assessment.locks,
        Sight::Pending | Sight::Blind { .. } => {
            unseen = unknown(workload, memory);
            &unseen
        }
    };
    let count = |state| count(judged.iter().filter(|lock| lock.state == state));
    let (rows, rows_omitted) = rows(workload, assessment, judged, before);
    Some(Locks {
        expected: declared(workload),
        held: count(LockState::Held),
        unheld: self::count(
            judged
                .iter()
                .filter(|lock| lock.state == LockState::Unheld && continuous(workload, lock)),
        ),
        orphaned: count(LockState::Orphaned),
        foreign: count(LockState::Foreign),
        unattributed: count(LockState::Unattributed),
        unknown: count(LockState::Unknown),
        without_expiry: self::count(judged.iter().filter(|lock| lock.flags.contains(&Flag::NoExpiry))),
        rows,
        rows_omitted,
        sets: workload
            .locks
            .iter()
            .map(|set| set_status(set, assessment, before, memory))
            .collect(),
    })
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

fn continuous(workload: &Workload, lock: &Judged) -> bool {
    workload
        .locks
        .get(lock.set)
        .is_some_and(|set| set.hold == Hold::Continuous)
}

fn declared(workload: &Workload) -> i32 {
    count(
        workload
            .locks
            .iter()
            .filter(|set| set.hold == Hold::Continuous)
            .flat_map(|set| &set.locks),
    )
}

/// Every lock, while nothing can be seen.
fn unknown(workload: &Workload, memory: &Memory) -> Vec<Judged> {
    let lock = |(set, settings): (usize, &LockSet)| {
        let name_of_set = settings.name.clone();
        settings
            .locks
            .clone()
            .into_iter()
            .map(move |lock| (set, name_of_set.clone(), lock.name))
            .collect::<Vec<_>>()
    };
    workload
        .locks
        .iter()
        .enumerate()
        .flat_map(lock)
        .map(|(set, name_of_set, name)| {
            let lost = memory
                .locks
                .get(&(name_of_set, name.clone()))
                .is_some_and(|lock| lock.lost.is_some());
            Judged {
                set,
                name,
                state: LockState::Unknown,
                flags: if lost { vec![Flag::Lost] } else { vec![] },
                pod: None,
                since: memory.store.down_since,
                frees_at: None,
                good: false,
                awaiting: false,
            }
        })
        .collect()
}

/// Every Continuous lock and every finding, worst first, as many as fit.
fn rows(
    workload: &Workload,
    assessment: &Assessment,
    judged: &[Judged],
    before: Option<&Locks>,
) -> (Vec<Row>, i32) {
    let rank = |lock: &Judged| {
        let set = workload
            .locks
            .get(lock.set)
            .map(|set| set.name.as_str())
            .unwrap_or_default();
        let finding = assessment
            .findings
            .iter()
            .find(|finding| finding.set == set && finding.lock == lock.name);
        finding.map(Finding::rank)
    };
    let known: BTreeMap<(&str, &str), &Row> = before
        .map(|before| {
            before
                .rows
                .iter()
                .map(|row| ((row.set.as_str(), row.name.as_str()), row))
                .collect()
        })
        .unwrap_or_default();
    let mut shown: Vec<_> = judged
        .iter()
        .map(|lock| (rank(lock), lock))
        .filter(|(rank, lock)| rank.is_some() || continuous(workload, lock))
        .collect();
    shown.sort_by_key(|(rank, lock)| (rank.unwrap_or(u8::MAX), lock.set));
    let total = shown.len();
    let mut size = 0;
    let rows: Vec<Row> = shown
        .into_iter()
        .take(ROWS)
        .map(|(_, lock)| {
            let set = workload
                .locks
                .get(lock.set)
                .map(|set| set.name.clone())
                .unwrap_or_default();
            row(lock, set, &known)
        })
        .take_while(|row| {
            size += serde_json::to_string(row).map_or(0, |text| text.len());
            size <= ROWS_BYTES
        })
        .collect();
    let omitted = i32::try_from(total - rows.len()).unwrap_or(i32::MAX);
    (rows, omitted)
}

fn row(lock: &Judged, set: String, known: &BTreeMap<(&str, &str), &Row>) -> Row {
    let before = known
        .get(&(set.as_str(), lock.name.as_str()))
        .filter(|before| before.state == lock.state && before.pod == lock.pod);
    Row {
        name: lock.name.clone(),
        state: lock.state,
        flags: lock.flags.clone(),
        pod: lock.pod.clone(),
        // A process that starts anew sees everything for the first time; the state is older than that.
        since: before
            .and_then(|before| before.since.clone())
            .or(lock.since.map(|since| whole_seconds(since).into())),
        frees_at: lock.frees_at.map(|frees_at| {
            let said = before.and_then(|before| before.frees_at.clone());
            let moved = |said: &Timestamp| said.duration_since(frees_at).abs() > SAME_MOMENT;
            said.filter(|said| !moved(&said.0))
                .unwrap_or_else(|| whole_seconds(frees_at).into())
        }),
        set,
    }
}

fn set_status(set: &LockSet, assessment: &Assessment, before: Option<&Locks>, memory: &Memory) -> SetStatus {
    let before = before.and_then(|before| before.sets.iter().find(|known| known.name == set.name));
    let text = |value: std::time::Duration| Duration::from(value).0;
    let assumed = Assumed {
        ttl: set
            .assumed
            .ttl
            .then(|| text(set.ttl.unwrap_or(std::time::Duration::from_secs(30)))),
        renew_interval: set
            .assumed
            .renew_interval
            .then(|| set.renew_interval.map(text))
            .flatten(),
        retry_interval: set.assumed.retry_interval.then(|| text(set.retry_interval)),
    };
    let balance = assessment
        .balance
        .iter()
        .find(|balance| balance.set == set.name)
        .map(|balance| balance.numbers.clone());
    SetStatus {
        name: set.name.clone(),
        assumed: (assumed != Assumed::default()).then_some(assumed),
        balance: balance.or_else(|| {
            // Blind: the last numbers explain the last verdict.
            set.balance
                .as_ref()
                .and(before)
                .and_then(|before| before.balance.clone())
        }),
        last_loss: memory.last_loss.get(&set.name).cloned(),
    }
}

/// The LOCKS column.
pub(super) fn in_good_hands(
    workload: Option<&Workload>,
    assessment: &Assessment,
    previous: &CoordinatedWorkloadStatus,
) -> String {
    let said = || {
        previous
            .summary
            .as_ref()
            .map_or_else(|| "-".to_owned(), |summary| summary.locks.clone())
    };
    let Some(workload) = workload else { return said() };
    let declared = declared(workload);
    if declared == 0 {
        return "-".to_owned();
    }
    match assessment.sight {
        Sight::Pending if previous.summary.is_some() => said(),
        Sight::Pending | Sight::Blind { .. } => format!("?/{declared}"),
        Sight::Clear { .. } => {
            let good = count(
                assessment
                    .locks
                    .iter()
                    .filter(|lock| lock.good && continuous(workload, lock)),
            );
            format!("{good}/{declared}")
        }
    }
}

/// The SPREAD column: locks Held per live pod over all Continuous sets, largest first.
pub(super) fn spread(
    workload: Option<&Workload>,
    assessment: &Assessment,
    previous: &CoordinatedWorkloadStatus,
    memory: &Memory,
) -> String {
    let said = || {
        previous
            .summary
            .as_ref()
            .map_or_else(|| "-".to_owned(), |summary| summary.spread.clone())
    };
    let Some(workload) = workload else { return said() };
    if declared(workload) == 0 {
        return "-".to_owned();
    }
    match assessment.sight {
        Sight::Pending if previous.summary.is_some() => return said(),
        Sight::Pending | Sight::Blind { .. } => return "?".to_owned(),
        Sight::Clear { .. } => {}
    }
    let mut held: BTreeMap<&str, i32> = memory
        .present()
        .filter(|pod| pod.not_live_since(None).is_none())
        .map(|pod| (pod.view.name.as_str(), 0))
        .collect();
    for lock in assessment
        .locks
        .iter()
        .filter(|lock| lock.state == LockState::Held && continuous(workload, lock))
    {
        if let Some(count) = lock.pod.as_deref().and_then(|pod| held.get_mut(pod)) {
            *count += 1;
        }
    }
    let mut counts: Vec<_> = held.into_values().collect();
    if counts.is_empty() {
        return "-".to_owned();
    }
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let mut text = counts
        .iter()
        .take(SPREAD)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("-");
    if counts.len() > SPREAD {
        text.push_str(&format!("+{}", counts.len() - SPREAD));
    }
    text
}
