//! Locks that turned up undeclared: judged like Intermittent ones, and only if a pod of this workload holds or held
//! them. Pure.

use std::{collections::HashSet, sync::Arc};

use super::lock::LockView;
use crate::domain::{
    finding::Finding,
    judgement::{Ended, Judged, Recheck, Rollout},
    locks::{
        Hold, KeySnapshot, KeyState, Observation,
        dialect::{Named, OwnerMatch},
    },
    memory::{LockId, Memory},
    ownership::has_pod_name_form,
    workload::{Lock, LockSet, Workload},
};

/// A lock that turned up.
pub(super) struct Found<'o> {
    pub(super) id: LockId,
    pub(super) lock: Lock,
    pub(super) snapshot: &'o KeySnapshot,
}

/// Of what turned up, by set, that of which something may follow: what a pod of this workload may hold or have held, and
/// what is known already. There may be a hundred thousand others, with twenty changes a second, of which nothing does:
/// hence they are neither named nor counted. A lock that is declared is none of these, whatever place it is in; one that
/// is in several places belongs to the first.
pub(super) fn found<'o>(
    workload: &Workload,
    observation: &'o Observation,
    memory: &Memory,
    cursor: u64,
) -> Vec<Vec<Found<'o>>> {
    let declared: HashSet<&[u8]> = workload.probes().map(|probe| &probe.key[..]).collect();
    let known = known(memory);
    let mut earlier: Vec<&[KeySnapshot]> = vec![];
    let mut found = observation.discovered.iter();
    let mut sets = Vec::with_capacity(workload.locks.len());
    for set in &workload.locks {
        let mut of_set = Vec::new();
        for place in set.places() {
            let Some(found) = found.next() else { break };
            let queue = set.queues.iter().find(|queue| Arc::ptr_eq(&queue.jobs, place));
            for snapshot in &found.keys {
                let key = &snapshot.probe.key;
                let matters = known.as_ref().is_none_or(|known| known.contains(&key[..]))
                    || may_be_ours(workload, set, memory, snapshot, cursor);
                // They are in the order of their keys.
                let is_in = |keys: &&[KeySnapshot]| {
                    let place = keys.binary_search_by(|other| other.probe.key.cmp(key));
                    place.is_ok()
                };
                if !matters || declared.contains(&key[..]) || earlier.iter().any(is_in) {
                    continue;
                }
                // Its name is what tells it from the other locks of the set: with the queue's, in a queue.
                let name = key.strip_prefix(place.prefix.as_bytes()).unwrap_or(key);
                let name = name.strip_suffix(place.suffix.as_bytes()).unwrap_or(name);
                let name = match queue {
                    Some(queue) => format!("{}:{}", queue.name, String::from_utf8_lossy(name)),
                    None => String::from_utf8_lossy(name).into_owned(),
                };
                of_set.push(Found {
                    id: (set.name.clone(), name.clone()),
                    lock: Lock {
                        name,
                        key: String::from_utf8_lossy(key).into_owned(),
                        probe: Arc::clone(&snapshot.probe),
                    },
                    snapshot,
                });
            }
            earlier.push(&found.keys);
        }
        sets.push(of_set);
    }
    sets
}

/// The keys of the locks that are remembered; `None`: of some only status told, which tells no keys.
fn known(memory: &Memory) -> Option<HashSet<&[u8]>> {
    memory.locks.values().map(|lock| lock.key.as_deref()).collect()
}

/// Whether a pod of this workload holds it, or held it since the last look, as far as that shows without its name.
fn may_be_ours(
    workload: &Workload,
    set: &LockSet,
    memory: &Memory,
    snapshot: &KeySnapshot,
    cursor: u64,
) -> bool {
    let ours = |hold: &Hold| {
        let Named::Owner(owner) = set.scheme.named(hold) else {
            return false;
        };
        let (matches, owner) = (&set.scheme.matches, owner.as_str());
        match matches {
            OwnerMatch::PodName => {
                memory.pods.contains_key(owner) || has_pod_name_form(&workload.name, owner)
            }
            OwnerMatch::PodUid | OwnerMatch::PodIp | OwnerMatch::Label(_) | OwnerMatch::Annotation(_) => {
                memory.pods.values().any(|pod| pod.view.is(matches, owner))
            }
        }
    };
    let holds = matches!(&snapshot.state, KeyState::Held(hold) if ours(hold));
    holds
        || snapshot
            .ends
            .iter()
            .any(|end| end.seq > cursor && ours(&end.hold))
}

impl LockView<'_> {
    /// Judges a lock that turned up: how its holds ended, and what it is now if a pod of this workload holds it.
    pub(super) fn judge_found(
        &mut self,
        set: usize,
        snapshot: &KeySnapshot,
        cursor: u64,
        rollout: Rollout,
        recheck: &mut Recheck,
    ) -> (Vec<Ended>, Option<(Judged, Option<Finding>)>) {
        let ours = match &snapshot.state {
            KeyState::Held(hold) => self.is_ours(hold),
            KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => false,
        };
        let was_ours = snapshot
            .ends
            .iter()
            .any(|end| end.seq > cursor && self.is_ours(&end.hold));
        if ours {
            self.learn_ttl(snapshot);
        }
        let ended = if was_ours {
            self.take_ends(snapshot, cursor)
        } else {
            vec![]
        };
        if self.known().is_some() {
            match &snapshot.state {
                // Another's now, or nobody's: what status said of it is over.
                KeyState::Held(_) if ours => {}
                KeyState::Held(_) | KeyState::Absent { .. } | KeyState::WrongType { .. } => {
                    self.forget_told_hold();
                }
                KeyState::Unknown => {
                    self.entry();
                }
            }
        }
        let judged = ours.then(|| self.judge(set, snapshot, rollout, "", recheck));
        (ended, judged)
    }
}
