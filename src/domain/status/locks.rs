//! `status.locks`: counts, rows, sets; and the columns LOCKS and SPREAD. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use super::bounds;
use crate::{
    api::{
        CoordinatedWorkloadStatus,
        conditions::Reason,
        spec::{Duration, Hold},
        status::{Assumed, Flag, LockState, Locks, Row, SetStatus},
    },
    domain::{
        assessment::Assessment,
        judgement::{Judged, Sight},
        memory::Memory,
        workload::{LockSet, Workload},
    },
};

/// Rows that status holds at most, and their size.
const ROWS: usize = 100;
const ROWS_BYTES: usize = 20 * 1024;
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
    let judged = match assessment.sight {
        Sight::Clear { .. } => assessment.locks.clone(),
        Sight::Pending | Sight::Blind { .. } => unknown(workload, before, memory),
    };
    let judged = unseen(judged, workload, before, memory);
    let wrong: HashMap<(&str, &str), u8> = assessment
        .findings
        .iter()
        .map(|finding| ((finding.set.as_str(), finding.lock.as_str()), finding.rank()))
        .collect();
    // Of Intermittent sets only findings: taking and releasing them is daily work, and never a write.
    let shown: Vec<_> = judged
        .iter()
        .map(|lock| {
            (
                wrong.get(&(set_of(workload, lock), lock.name.as_str())).copied(),
                lock,
            )
        })
        .filter(|(wrong, lock)| wrong.is_some() || lock.continuous || is_told(lock))
        .collect();
    let count = |is: &dyn Fn(&Judged) -> bool| count(shown.iter().filter(|(_, lock)| is(lock)));
    let of = |state| count(&|lock| lock.state == state);
    let (held, unheld, orphaned) = (
        of(LockState::Held),
        of(LockState::Unheld),
        of(LockState::Orphaned),
    );
    let (foreign, unknown) = (of(LockState::Foreign), of(LockState::Unknown));
    let unattributed = of(LockState::Unattributed);
    let without_expiry = count(&|lock| lock.flags.contains(&Flag::NoExpiry));
    let (rows, rows_omitted) = rows(workload, shown);
    Some(Locks {
        expected: declared(workload),
        held,
        unheld,
        orphaned,
        foreign,
        unattributed,
        unknown,
        without_expiry,
        rows,
        rows_omitted,
        sets: workload
            .locks
            .iter()
            .map(|set| set_status(set, assessment, before, memory))
            .collect(),
    })
}

fn set_of<'w>(workload: &'w Workload, lock: &Judged) -> &'w str {
    workload
        .locks
        .get(lock.set)
        .map(|set| set.name.as_str())
        .unwrap_or_default()
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
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

/// Every lock, while nothing can be seen: the declared ones, and those that turned up and were said.
fn unknown(workload: &Workload, before: Option<&Locks>, memory: &Memory) -> Vec<Judged> {
    let mut locks = vec![];
    for (index, set) in workload.locks.iter().enumerate() {
        let continuous = set.hold == Hold::Continuous;
        let declared = set.locks.iter().map(|lock| lock.name.clone());
        let found = before.iter().flat_map(|before| &before.rows).filter(|row| {
            let discovers = set.discover.is_some() || !set.queues.is_empty();
            discovers && row.set == set.name && !set.locks.iter().any(|lock| lock.name == row.name)
        });
        for name in declared.chain(found.map(|row| row.name.clone())) {
            let known = memory.locks.get(&(set.name.clone(), name.clone()));
            let lost = continuous && known.is_some_and(|lock| lock.lost.is_some());
            locks.push(Judged {
                set: index,
                continuous,
                name,
                state: LockState::Unknown,
                flags: if lost { vec![Flag::Lost] } else { vec![] },
                pod: None,
                since: None,
                frees_at: None,
                renewed: None,
                good: false,
                awaiting: false,
            });
        }
    }
    locks
}

/// What was said of a lock stays said while it can't be seen, or a process that starts meanwhile would say it anew:
/// that it was held for too long, by whom and since when; that it has no expiry; that it was overdue. For the last there
/// is no flag: the row of such a lock has no moment, every other one that isn't seen has.
fn unseen(
    mut judged: Vec<Judged>,
    workload: &Workload,
    before: Option<&Locks>,
    memory: &Memory,
) -> Vec<Judged> {
    let rows = before.iter().flat_map(|before| &before.rows);
    let rows: HashMap<(&str, &str), &Row> = rows
        .map(|row| ((row.set.as_str(), row.name.as_str()), row))
        .collect();
    for lock in &mut judged {
        // A key of the wrong type is seen; only whose lock it is can't be known.
        if lock.state != LockState::Unknown || lock.flags.contains(&Flag::Malformed) {
            continue;
        }
        lock.since = memory.store.down_since;
        let Some(row) = rows.get(&(set_of(workload, lock), lock.name.as_str())) else {
            continue;
        };
        let stays = |flag: &&Flag| matches!(flag, Flag::Overheld | Flag::NoExpiry);
        lock.flags.extend(row.flags.iter().filter(stays));
        let overheld = row.flags.contains(&Flag::Overheld);
        // Within its grace, a Continuous lock that nobody holds has no moment.
        let unheld = lock.continuous && row.state == LockState::Unheld;
        let overdue = row.since.is_some() == unheld && !row.flags.contains(&Flag::Lost);
        if overdue {
            lock.since = None;
        } else if overheld {
            lock.since = row.since.as_ref().map(|since| since.0);
        }
        if (overheld || overdue) && row.state != LockState::Unheld {
            lock.pod.clone_from(&row.pod);
        }
    }
    judged
}

/// Whether something stays said of a lock that isn't seen.
fn is_told(lock: &Judged) -> bool {
    lock.state == LockState::Unknown && (!lock.flags.is_empty() || lock.since.is_none())
}

/// The locks that are shown, worst first, as many as fit.
fn rows(workload: &Workload, mut shown: Vec<(Option<u8>, &Judged)>) -> (Vec<Row>, i32) {
    shown.sort_by_key(|(rank, lock)| (rank.unwrap_or(u8::MAX), !is_told(lock), lock.set));
    let total = shown.len();
    let mut size = 0;
    let rows: Vec<Row> = shown
        .into_iter()
        .take(ROWS)
        .map(|(_, lock)| row(lock, set_of(workload, lock)))
        .take_while(|row| {
            size += bounds::size(row);
            size <= ROWS_BYTES
        })
        .collect();
    let omitted = i32::try_from(total - rows.len()).unwrap_or(i32::MAX);
    (rows, omitted)
}

fn row(lock: &Judged, set: &str) -> Row {
    Row {
        set: set.to_owned(),
        name: lock.name.clone(),
        state: lock.state,
        flags: lock.flags.clone(),
        pod: lock.pod.clone(),
        // Within its grace a lock counts as held: the moment is what tells a new process that it is over.
        since: lock.since.filter(|_| !lock.awaiting).map(Into::into),
        frees_at: lock.frees_at.map(Into::into),
    }
}

fn set_status(set: &LockSet, assessment: &Assessment, before: Option<&Locks>, memory: &Memory) -> SetStatus {
    let before = before.and_then(|before| before.sets.iter().find(|known| known.name == set.name));
    let text = |value: std::time::Duration| Duration::from(value).0;
    let assumed = Assumed {
        ttl: set.assumed.ttl.then(|| text(memory.ttl(set))),
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
        // The numbers of an Intermittent set change with its daily work, which must not cause a write.
        .filter(|balance| set.hold == Hold::Continuous || balance.reason == Reason::Concentrated)
        .map(|balance| balance.numbers.clone());
    SetStatus {
        name: set.name.clone(),
        assumed: (assumed != Assumed::default()).then_some(assumed),
        balance: balance.or_else(|| {
            // Blind: the last numbers explain the last verdict.
            let blind = !matches!(assessment.sight, Sight::Clear { hidden: None, .. });
            set.balance
                .as_ref()
                .filter(|_| blind)
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
                    .filter(|lock| lock.good && lock.continuous),
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
        .filter(|lock| lock.state == LockState::Held && lock.continuous)
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
        // Writing to a String can't fail.
        let _ = write!(text, "+{}", counts.len() - SPREAD);
    }
    text
}
