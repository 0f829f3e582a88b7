//! States of locks, and how holds ended: the contract's section 3, line by line. Pure.
//!
//! In: the workload, what was observed of its keys, its memory. Out: an [`Assessment`]; memory is moved forward.

mod discovered;
mod ends;
mod lock;
mod period;
mod together;

use std::{collections::BTreeMap, time::Duration};

use self::lock::LockView;
#[cfg(test)]
pub(in crate::domain) use self::lock::POLL_LAG;
use super::{
    Now, balance,
    finding::{Finding, whole_seconds},
    incident,
    judgement::{Ended, Judged, Recheck, Rollout, SetBalance, Sight},
    locks::{KeyState, Link, Mono, Observation, Trouble},
    memory::{Memory, StoreMemory, Taken},
    workload::Workload,
};

/// After a start, how long the first complete read may take before that is said.
const FIRST_READ: Duration = Duration::from_secs(30);
/// After a connection was lost, how long the next complete read may take before that is said.
const NEXT_READ: Duration = Duration::from_secs(5);

/// What the store looks like to one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreView {
    /// Endpoint and database for people, without credentials.
    pub place: String,
    /// TCP port that is connected to; `None`: not known, since the Secret that names it can't be read.
    pub port: Option<u16>,
    /// Tells connections apart: the numbers of ends are comparable only within one.
    pub identity: u64,
    /// What the observer knows, or why it could not even be asked.
    pub seen: Result<Observation, Trouble>,
}

/// What is concluded of the store and the locks.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Whether there is something to judge by.
    pub sight: Sight,
    /// Every declared lock, in the order of the spec; empty unless sight is clear.
    pub locks: Vec<Judged>,
    /// Holds whose end was seen just now, set by set.
    pub ended: Vec<Ended>,
    /// Holds that were seen to be taken since the last look.
    pub taken: Vec<Taken>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// The balance of each balanced set.
    pub balance: Vec<SetBalance>,
    /// The next moment at which time alone may change something.
    pub recheck_at: Option<Mono>,
}

impl Assessment {
    /// Nothing was looked at: what was said stands.
    #[must_use]
    pub fn unjudged() -> Self {
        Self {
            sight: Sight::Pending,
            locks: vec![],
            ended: vec![],
            taken: vec![],
            findings: vec![],
            balance: vec![],
            recheck_at: None,
        }
    }
}

/// Judges the store and the locks. `others`: pods of other workloads that may be named, and these workloads.
#[must_use]
pub fn assess(
    workload: &Workload,
    store: Option<&StoreView>,
    others: &BTreeMap<String, String>,
    rollout: Rollout,
    memory: &mut Memory,
    now: Now,
) -> Assessment {
    let mut recheck = Recheck::default();
    let sight = store.map_or(Sight::Pending, |store| {
        look(&mut memory.store, store, now, &mut recheck)
    });
    let mut assessment = Assessment {
        sight,
        ..Assessment::unjudged()
    };
    let seen = match (&assessment.sight, store.map(|store| (&store.seen, store))) {
        (Sight::Clear { mode, .. }, Some((Ok(observation), store))) => Some((observation, store, *mode)),
        _ => None,
    };
    let Some((observation, store, mode)) = seen else {
        memory.interrupt(now.mono);
        // What was seen before is said when its time has come, though nothing is seen now.
        incident::say_in_time(memory, now, &mut recheck);
        memory.repeats.say(&mut memory.outbox, now.mono, &mut recheck);
        assessment.recheck_at = recheck.0;
        return assessment;
    };
    let cursor = advance_cursor(memory, store.identity, observation);
    let found = discovered::found(workload, observation, memory, cursor);
    let names = found.iter().flatten().map(|found| found.id.clone());
    memory.forget_undeclared(workload, &names.collect());
    let connected = connected_since(&observation.link, now.mono);
    let mut keys = observation.keys.iter();
    for (index, set) in workload.locks.iter().enumerate() {
        let first = assessment.locks.len();
        for lock in &set.locks {
            let Some(snapshot) = keys.next() else { break };
            let mut view = LockView {
                workload,
                set,
                lock,
                mode,
                others,
                now,
                memory,
                id: (set.name.clone(), lock.name.clone()),
                declared: true,
            };
            view.learn_ttl(snapshot);
            view.follow(snapshot, cursor, connected);
            assessment.ended.extend(view.take_ends(snapshot, cursor));
            let (judged, finding) = view.judge(index, snapshot, rollout, &store.place, &mut recheck);
            assessment.locks.push(judged);
            assessment.findings.extend(finding);
        }
        for found in found.get(index).into_iter().flatten() {
            let mut view = LockView {
                workload,
                set,
                lock: &found.lock,
                mode,
                others,
                now,
                memory,
                id: found.id.clone(),
                declared: false,
            };
            let (ended, judged) = view.judge_found(index, found.snapshot, cursor, rollout, &mut recheck);
            assessment.ended.extend(ended);
            if let Some((judged, finding)) = judged {
                assessment.locks.push(judged);
                assessment.findings.extend(finding);
            }
        }
        // Of locks that aren't seen nobody knows who holds them.
        let all_seen = matches!(&assessment.sight, Sight::Clear { hidden: None, .. });
        if let Some(settings) = set.balance.as_ref().filter(|_| all_seen) {
            let ttl = memory.ttl(set);
            assessment.balance.push(balance::judge(
                set,
                settings,
                ttl,
                &assessment.locks[first..],
                rollout,
                memory,
                now,
                &mut recheck,
            ));
        }
    }
    if matches!(assessment.sight, Sight::Clear { hidden: Some(_), .. }) {
        for balance in memory.balance.values_mut() {
            balance.interrupt(now.mono);
        }
    }
    assessment.taken = std::mem::take(&mut memory.taken);
    memory.told_rest = None;
    let holding = assessment.locks.iter().filter_map(|lock| lock.pod.clone());
    memory.forget_pods(&holding.collect(), now.mono);
    together::tell(workload, &mut assessment, memory, now.mono);
    incident::say(&assessment.ended, &assessment.locks, memory, now);
    incident::recheck(memory, &mut recheck);
    memory.repeats.say(&mut memory.outbox, now.mono, &mut recheck);
    assessment.findings.sort_by_key(Finding::rank);
    assessment.recheck_at = recheck.0;
    assessment
}

fn connected_since(link: &Link, now: Mono) -> Mono {
    match link {
        Link::Up { since, .. } => *since,
        Link::Connecting { .. } | Link::Down { .. } => now,
    }
}

fn look(memory: &mut StoreMemory, store: &StoreView, now: Now, recheck: &mut Recheck) -> Sight {
    let (trouble, certain) = match &store.seen {
        Ok(Observation {
            link: Link::Up { mode, version, .. },
            keys,
            hidden: missing,
            ..
        }) => {
            let clear = |hidden: Option<_>| Sight::Clear {
                mode: *mode,
                version: version.as_deref().and_then(plain_version),
                missing: (*missing)
                    .filter(|_| hidden.is_none())
                    .map(|(trouble, _)| trouble),
                hidden,
            };
            let unseen = keys.iter().any(|key| key.state == KeyState::Unknown);
            if !unseen {
                memory.ever_complete = true;
                memory.incomplete_since = None;
                memory.down_since = None;
                return clear(None);
            }
            let some = keys.iter().any(|key| key.state != KeyState::Unknown);
            match (missing, memory.incomplete_since) {
                // Long enough: the others are judged by themselves.
                (Some((trouble, _)), Some((since, wall))) if some && is_over(memory, since, now) => {
                    memory.ever_complete = true;
                    let since = *memory.down_since.get_or_insert(wall);
                    return clear(Some((*trouble, since)));
                }
                (Some((trouble, _)), _) => (*trouble, false),
                (None, _) => (Trouble::Stale, false),
            }
        }
        Ok(Observation {
            link: Link::Connecting { trouble, .. },
            ..
        }) => (trouble.unwrap_or(Trouble::Timeout), false),
        Ok(Observation {
            link: Link::Down { trouble, .. },
            ..
        }) => (*trouble, false),
        // That a Secret is missing is a fact from the apiserver; no patience makes it truer.
        Err(trouble) => (*trouble, true),
    };
    let since = *memory
        .incomplete_since
        .get_or_insert((now.mono, whole_seconds(now.wall)));
    if !is_over(memory, since.0, now) && !certain {
        recheck.at(since.0 + patience(memory));
        return Sight::Pending;
    }
    Sight::Blind {
        trouble,
        since: *memory.down_since.get_or_insert(since.1),
    }
}

fn patience(memory: &StoreMemory) -> Duration {
    if memory.ever_complete {
        NEXT_READ
    } else {
        FIRST_READ
    }
}

/// Whether an incomplete read that began at `since` is to be said.
fn is_over(memory: &StoreMemory, since: Mono, now: Now) -> bool {
    now.mono >= since + patience(memory)
}

/// A version as servers write it. Whatever else a server says in its place is not shown.
fn plain_version(version: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte);
    (version.len() <= 32 && version.bytes().all(plain)).then(|| version.to_owned())
}

/// Moves the cursor over all ends that are there, and says from which number on they are new.
fn advance_cursor(memory: &mut Memory, identity: u64, observation: &Observation) -> u64 {
    let found = observation.discovered.iter().flat_map(|found| &found.keys);
    let last = observation
        .keys
        .iter()
        .chain(found)
        .flat_map(|key| &key.ends)
        .map(|end| end.seq)
        .max()
        .unwrap_or(0);
    let from = match memory.cursor {
        Some((known, cursor)) if known == identity => cursor,
        // The first look at this connection judges states only; its past belongs to others.
        _ => last,
    };
    memory.cursor = Some((identity, last.max(from)));
    from
}
