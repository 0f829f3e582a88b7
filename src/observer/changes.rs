//! For whom something changed: a queue without repetitions, so that the slowest reader costs one entry per workload.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::{WorkloadKey, lock};

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
            if let Some(who) = self.pending.pop() {
                return WorkloadKey::clone(&who);
            }
            self.pending.notify.notified().await;
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
