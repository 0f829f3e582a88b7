//! Locks that turned up undeclared: judged like Intermittent ones, and only if a pod of this workload holds or held
//! them. Pure.

use std::{collections::HashSet, sync::Arc};

use super::lock::LockView;
use crate::domain::{
    finding::Finding,
    judgement::{Ended, Judged, Recheck, Rollout},
    locks::{KeySnapshot, KeyState, Observation},
    memory::LockId,
    workload::{Lock, Workload},
};

/// A lock that turned up.
pub(super) struct Found<'o> {
    pub(super) id: LockId,
    pub(super) lock: Lock,
    pub(super) snapshot: &'o KeySnapshot,
}

/// What turned up, by set. A lock that is declared is none of these, whatever place it is in; one that is in several
/// places belongs to the first.
pub(super) fn found<'o>(workload: &Workload, observation: &'o Observation) -> Vec<Vec<Found<'o>>> {
    let mut known: HashSet<&[u8]> = workload.probes().map(|probe| &probe.key[..]).collect();
    let mut found = observation.discovered.iter();
    let mut sets = Vec::with_capacity(workload.locks.len());
    for set in &workload.locks {
        let mut of_set = Vec::new();
        for place in set.places() {
            let Some(found) = found.next() else { break };
            for snapshot in &found.keys {
                let key = &snapshot.probe.key;
                // Its name is what tells it from the other locks of the set: with the queue's, in a queue.
                let name = key.strip_prefix(place.prefix.as_bytes()).unwrap_or(key);
                let name = name.strip_suffix(place.suffix.as_bytes()).unwrap_or(name);
                let queue = set.queues.iter().find(|queue| Arc::ptr_eq(&queue.jobs, place));
                let name = match queue {
                    Some(queue) => format!("{}:{}", queue.name, String::from_utf8_lossy(name)),
                    None => String::from_utf8_lossy(name).into_owned(),
                };
                if known.insert(key) {
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
            }
        }
        sets.push(of_set);
    }
    sets
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
        let judged = ours.then(|| self.judge(set, snapshot, rollout, "", recheck));
        (ended, judged)
    }
}
