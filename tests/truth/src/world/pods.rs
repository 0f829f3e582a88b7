//! The Deployment controller, the kubelet, and what the operator is shown of them. Pure.

use super::{Event, GRACE, World, deployment, epoch};
use crate::{cluster::Pod, operator::ClusterView};
use lockstep::domain::children::Live;

impl World {
    pub(super) fn cluster_changed(&mut self) {
        self.pods_changed = self.now;
        let pods: Vec<_> = self.pods.iter().filter(|pod| pod.gone.is_none()).collect();
        let view = ClusterView {
            pods: pods.iter().map(|pod| pod.view(epoch())).collect(),
            deployment: Live::from_parts(
                deployment(&self.intent, &self.pods, self.wanted, self.version),
                false,
            ),
        };
        self.later(self.setup.watch_lag, Event::Saw(Box::new(view)));
        self.later(60, Event::Deploy);
    }

    pub(super) fn deploy(&mut self) {
        let there: Vec<usize> = (0..self.pods.len())
            .filter(|pod| self.pods[*pod].counts())
            .collect();
        let old: Vec<usize> = there
            .iter()
            .copied()
            .filter(|pod| self.pods[*pod].version != self.version)
            .collect();
        let surge = usize::from(!old.is_empty() && self.wanted > 0);
        if there.len() < self.wanted + surge {
            self.make_pod();
        } else if there.len() > self.wanted + surge {
            let last = old.first().or(there.last()).copied();
            if let Some(last) = last {
                self.delete_pod(last);
            }
        } else if let Some(first) = old.first()
            && there
                .iter()
                .all(|pod| self.pods[*pod].ready.is_some() || self.pods[*pod].version != self.version)
        {
            self.delete_pod(*first);
        }
    }

    pub(super) fn make_pod(&mut self) {
        let number = self.pods.len();
        let process = self.start_process(number);
        self.pods.push(Pod::new(number, process, self.version));
        self.later(self.setup.start, Event::Ready(number));
        self.cluster_changed();
    }

    pub(super) fn delete_pod(&mut self, number: usize) {
        let pod = &mut self.pods[number];
        if pod.terminating.is_some() || pod.gone.is_some() {
            return;
        }
        pod.terminating = Some(self.now);
        let process = pod.process;
        if !pod.running {
            self.later(500, Event::Gone(number));
        } else if self.setup.graceful {
            self.processes[process].leaving = true;
            self.later(200, Event::Leave(process));
            self.later(GRACE, Event::Exit(process, "Error", 137));
        } else {
            self.later(20, Event::Exit(process, "Error", 143));
        }
        self.cluster_changed();
    }

    /// One of the pods that the Deployment counts on.
    pub(super) fn pick(&self, number: usize) -> Option<usize> {
        let there: Vec<usize> = (0..self.pods.len())
            .filter(|pod| self.pods[*pod].counts())
            .collect();
        (!there.is_empty()).then(|| there[number % there.len()])
    }
}
