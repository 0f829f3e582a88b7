//! What happens to whom. Pure.

use super::{Event, RENEW, World};
use crate::{
    plan::What,
    server::{By, Why},
};

impl World {
    #[expect(clippy::too_many_lines, reason = "a few lines for each thing that can happen")]
    pub(super) fn act(&mut self, what: What) {
        let locks = self.setup.locks + self.setup.jobs;
        match what {
            What::Nothing => {}
            What::Crash(pod) => {
                if let Some(pod) = self.pick(pod).filter(|pod| self.pods[*pod].running) {
                    self.exit(self.pods[pod].process, "OOMKilled", 137);
                }
            }
            What::SidecarCrash(pod) => {
                if let Some(pod) = self.pick(pod) {
                    self.pods[pod].sidecar_restarts += 1;
                    self.cluster_changed();
                }
            }
            What::Pause(pod, time) => {
                if let Some(pod) = self.pick(pod) {
                    let process = self.pods[pod].process;
                    self.processes[process].paused = self.now + time;
                }
            }
            What::CutOff(pod, time) => {
                if let Some(pod) = self.pick(pod) {
                    let process = self.pods[pod].process;
                    self.processes[process].cut = self.now + time;
                }
            }
            What::Delete(pod) => {
                if let Some(pod) = self.pick(pod) {
                    self.delete_pod(pod);
                }
            }
            What::ForceDelete(pod, time) => {
                if let Some(number) = self.pick(pod) {
                    let pod = &mut self.pods[number];
                    pod.gone = Some(self.now);
                    pod.ready = None;
                    let process = pod.process;
                    self.later(time, Event::GhostEnds(process));
                    self.cluster_changed();
                }
            }
            What::EvictPod(pod) => {
                if let Some(number) = self.pick(pod) {
                    let process = self.pods[number].process;
                    self.pods[number].failed = Some(self.now);
                    self.exit(process, "Error", 137);
                    self.pods[number].ready = None;
                    self.cluster_changed();
                }
            }
            What::NodeLost(pod) => {
                if let Some(number) = self.pick(pod) {
                    let process = self.pods[number].process;
                    self.end_process(process);
                    self.pods[number].ready = None;
                    self.pods[number].terminating = Some(self.now);
                    self.later(60_000, Event::Gone(number));
                    self.cluster_changed();
                }
            }
            What::NotReady(pod, time) => {
                if let Some(number) = self.pick(pod) {
                    self.pods[number].ready = None;
                    self.later(time, Event::Ready(number));
                    self.cluster_changed();
                }
            }
            What::Rollout => {
                self.version += 1;
                self.cluster_changed();
            }
            What::Scale(wanted) => {
                self.wanted = wanted;
                self.cluster_changed();
            }
            What::HandOver(lock) => {
                let lock = lock % self.setup.locks;
                if let Some(hold) = self.server.holder(lock, self.now)
                    && let By::Process(process) = self.server.holds[hold].by
                    && self.processes[process].ended.is_none()
                    && self.now >= self.processes[process].paused.max(self.processes[process].cut)
                {
                    self.processes[process].held.remove(&lock);
                    self.server.delete(lock, Why::Released, self.now);
                }
            }
            What::DeleteKey(lock) => self.server.delete(lock % locks, Why::Overwritten, self.now),
            What::Stranger(lock, time) => {
                let hold = self.put(lock % locks, By::Stranger);
                self.later(RENEW, Event::Renew(lock % locks, hold, self.now + time));
            }
            What::Garbage(lock) => {
                self.put(lock % locks, By::Garbage);
            }
            What::WrongType(lock) => {
                self.put(lock % locks, By::WrongType);
            }
            What::Persist(lock) => self.server.persist(lock % locks, self.now),
            What::Evict(lock) => self.server.evict(Some(lock % locks), self.now),
            What::EvictOther => self.server.evict(None, self.now),
            What::Flush => self.server.flush(self.now),
            What::Failover(time, lost) => {
                self.server.fail_over(lost, self.now);
                self.net.server_back = self.now + time;
                self.cut();
            }
            What::ServerClock(by) => self.server.set_clock(by, self.now),
            What::OperatorClock(by) => self.set_by = by,
            What::Cut(time, told) => {
                self.net.until = self.now + time;
                self.net.told = told;
                if told {
                    self.cut();
                }
            }
            What::Restart(time) => {
                self.operator = None;
                self.server.forget_client();
                self.later(time, Event::Takeover);
            }
            What::Job(pod, lock, time) => {
                if self.setup.jobs > 0
                    && let Some(pod) = self.pick(pod).filter(|pod| self.pods[*pod].running)
                {
                    let (process, lock) = (self.pods[pod].process, self.setup.locks + lock % self.setup.jobs);
                    if let Some(hold) = self.take(lock, By::Process(process)) {
                        self.processes[process].held.insert(lock, hold);
                        let until = self.now + time;
                        self.schedule(
                            until.min(self.now + RENEW),
                            Event::Work(process, lock, hold, until),
                        );
                    }
                }
            }
        }
        self.oracle.happened(self.now, what);
    }
}
