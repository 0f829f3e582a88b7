//! For whom something changed: a queue without repetitions, so that the slowest reader costs one entry per workload.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::{WorkloadKey, lock};
use crate::clock;
use crate::domain::locks::Mono;

/// How long changes of locks that turned up are gathered before their workload is told.
const PACE: Duration = Duration::from_secs(1);

/// Workloads for which something changed that can change a verdict: a lock was taken, given up or lost, a hold turned
/// out to have no expiry, a connection came or went. A plain renewal is no change. Coalesced: a workload is in it at
/// most once, in the order of the first change.
#[derive(Debug)]
pub struct Changes {
    pending: Arc<Pending>,
}

impl Changes {
    pub(super) fn new(pending: Arc<Pending>) -> Self {
        Self { pending }
    }

    /// The next workload; waits for one. Cancel-safe: nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> WorkloadKey {
        loop {
            let next = self.pending.ripen();
            if let Some(who) = self.pending.pop() {
                return WorkloadKey::clone(&who);
            }
            match next {
                Some(next) => {
                    let _ = timeout_at(clock::instant(next), self.pending.notify.notified()).await;
                }
                None => self.pending.notify.notified().await,
            }
        }
    }
}

/// The writing side; never blocks.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: Mutex<Queue>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Arc<WorkloadKey>>,
    members: HashSet<Arc<WorkloadKey>>,
    /// Those that are told at this moment.
    later: HashMap<Arc<WorkloadKey>, Mono>,
}

impl Pending {
    pub(super) fn push<'a>(&self, workloads: impl IntoIterator<Item = &'a Arc<WorkloadKey>>) {
        let mut queue = lock(&self.queue);
        for who in workloads {
            if queue.members.insert(Arc::clone(who)) {
                queue.order.push_back(Arc::clone(who));
            }
        }
        // Woken without the lock, so as not to wait for it at once.
        drop(queue);
        self.notify.notify_one();
    }

    /// Locks that turn up come and go all day: their changes are told together, at a pace.
    pub(super) fn push_later<'a>(&self, workloads: impl IntoIterator<Item = &'a Arc<WorkloadKey>>) {
        let mut queue = lock(&self.queue);
        let due = clock::mono() + PACE;
        let mut added = false;
        for who in workloads {
            if !queue.members.contains(who) && !queue.later.contains_key(who) {
                queue.later.insert(Arc::clone(who), due);
                added = true;
            }
        }
        drop(queue);
        if added {
            self.notify.notify_one();
        }
    }

    /// Moves those whose time has come into the queue; when the next one's comes.
    fn ripen(&self) -> Option<Mono> {
        let now = clock::mono();
        let mut queue = lock(&self.queue);
        let ripe: Vec<_> = queue
            .later
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(who, _)| Arc::clone(who))
            .collect();
        for who in ripe {
            queue.later.remove(&who);
            if queue.members.insert(Arc::clone(&who)) {
                queue.order.push_back(who);
            }
        }
        queue.later.values().min().copied()
    }

    fn pop(&self) -> Option<Arc<WorkloadKey>> {
        let mut queue = lock(&self.queue);
        let who = queue.order.pop_front()?;
        queue.members.remove(&who);
        Some(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_workload_waits_once_and_in_the_order_of_its_first_change() {
        let pending = Arc::new(Pending::default());
        let mut changes = Changes::new(Arc::clone(&pending));
        let [a, b] = ["a", "b"].map(|name| {
            Arc::new(WorkloadKey {
                namespace: "n".into(),
                name: name.into(),
            })
        });
        pending.push([&b, &a]);
        pending.push([&a, &b]);
        assert_eq!(
            (changes.recv().await, changes.recv().await),
            ((*b).clone(), (*a).clone())
        );
        pending.push([&b]);
        assert_eq!(changes.recv().await, *b);
        assert!(pending.pop().is_none());
    }
}
