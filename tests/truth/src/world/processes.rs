//! What the processes do: a lock library that takes, renews and releases, and jobs. Pure.

use std::collections::BTreeMap;

use super::{Event, Ms, RENEW, RESTART, RETRY, TTL, World};
use crate::{
    cluster::Process,
    plan::Owner,
    server::{By, Why},
};

impl World {
    pub(super) fn wants(&self, process: usize) -> bool {
        let held = self.processes[process]
            .held
            .keys()
            .filter(|lock| self.is_continuous(**lock))
            .count();
        self.setup.cap.is_none_or(|cap| held < cap)
    }

    pub(super) fn value(&mut self, lock: usize, by: By) -> String {
        let hold = self.server.holds.len();
        let who = match by {
            By::Process(process) => {
                let pod = self.pod_of(process);
                match self.setup.owner {
                    Owner::Uid => pod.uid.clone(),
                    Owner::Name | Owner::Opaque => pod.name.clone(),
                }
            }
            By::Stranger => "laptop".to_owned(),
            By::Garbage => return format!("?{hold}"),
            By::WrongType => return String::new(),
        };
        match self.setup.owner {
            Owner::Opaque => format!("{hold:032x}"),
            Owner::Name if self.is_continuous(lock) => {
                format!("{who}-{hold:08x}-1111-4222-8333-555555555555")
            }
            Owner::Name | Owner::Uid => format!("{who}/{hold}"),
        }
    }

    pub(super) fn take(&mut self, lock: usize, by: By) -> Option<usize> {
        let value = self.value(lock, by);
        let hold = self.server.take(lock, by, TTL, self.now)?;
        self.values.push(value);
        self.expires_sometime(lock);
        Some(hold)
    }

    pub(super) fn put(&mut self, lock: usize, by: By) -> usize {
        let value = self.value(lock, by);
        let hold = self.server.set(lock, by, Some(TTL), self.now);
        self.values.push(value);
        self.expires_sometime(lock);
        hold
    }

    /// The server comes across a key some time after it ran out.
    pub(super) fn expires_sometime(&mut self, lock: usize) {
        if let Some((at, version)) = self.server.expiry(lock) {
            self.schedule(at + 1 + self.setup.active_expiry, Event::Sweep(lock, version));
        }
    }

    pub(super) fn tick(&mut self, process: usize, lock: usize) {
        let now = self.now;
        let me = &self.processes[process];
        if me.ended.is_some() {
            return;
        }
        let blocked = me.paused.max(me.cut);
        if now < blocked {
            self.schedule(blocked + 7, Event::Tick(process, lock));
            return;
        }
        let uneven = (process * 131 + lock * 17) as Ms % 400;
        if let Some(hold) = me.held.get(&lock).copied() {
            if self.server.renew(lock, hold, TTL, now) {
                self.expires_sometime(lock);
                self.later(RENEW, Event::Tick(process, lock));
                return;
            }
            self.processes[process].held.remove(&lock);
        }
        if self.processes[process].leaving {
            return;
        }
        if self.wants(process)
            && let Some(hold) = self.take(lock, By::Process(process))
        {
            self.processes[process].held.insert(lock, hold);
            self.later(RENEW, Event::Tick(process, lock));
            return;
        }
        self.later(RETRY + uneven, Event::Tick(process, lock));
    }

    pub(super) fn work(&mut self, process: usize, lock: usize, hold: usize, until: Ms) {
        let me = &self.processes[process];
        let blocked = me.paused.max(me.cut);
        if me.ended.is_some() {
            return;
        }
        if self.now < blocked {
            self.schedule(blocked + 3, Event::Work(process, lock, hold, until));
        } else if self.now >= until {
            self.processes[process].held.remove(&lock);
            if self.server.holder(lock, self.now) == Some(hold) {
                self.server.delete(lock, Why::Released, self.now);
            }
        } else {
            if self.setup.jobs_renew && self.server.renew(lock, hold, TTL, self.now) {
                self.expires_sometime(lock);
            }
            let next = (self.now + RENEW).min(until);
            self.schedule(next, Event::Work(process, lock, hold, until));
        }
    }

    pub(super) fn leave(&mut self, process: usize) {
        let me = &self.processes[process];
        if me.ended.is_some() {
            return;
        }
        let blocked = me.paused.max(me.cut);
        if self.now < blocked {
            self.schedule(blocked + 1, Event::Leave(process));
            return;
        }
        for (lock, hold) in std::mem::take(&mut self.processes[process].held) {
            if self.server.holder(lock, self.now) == Some(hold) {
                self.server.delete(lock, Why::Released, self.now);
            }
        }
        self.later(100, Event::Exit(process, "Completed", 0));
    }

    pub(super) fn end_process(&mut self, process: usize) {
        let process = &mut self.processes[process];
        process.ended.get_or_insert(self.now);
        process.held.clear();
    }

    pub(super) fn exit(&mut self, process: usize, reason: &'static str, code: i32) {
        if self.processes[process].ended.is_some() {
            return;
        }
        self.end_process(process);
        self.processes[process].shown_ended = Some(self.now);
        let number = self.processes[process].pod;
        let pod = &mut self.pods[number];
        if pod.gone.is_some() {
            return;
        }
        pod.running = false;
        pod.ready = None;
        pod.last_end = Some((reason, code));
        if pod.terminating.is_some() {
            self.later(500, Event::Gone(number));
        } else if pod.failed.is_none() {
            self.later(RESTART, Event::Restart(number));
        }
        self.cluster_changed();
    }

    pub(super) fn start_process(&mut self, pod: usize) -> usize {
        let process = self.processes.len();
        self.processes.push(Process {
            pod,
            began: self.now,
            ended: None,
            shown_ended: None,
            paused: 0,
            cut: 0,
            leaving: false,
            held: BTreeMap::new(),
        });
        for lock in 0..self.setup.locks {
            let uneven = (process * 67 + lock * 29) as Ms % 300;
            self.later(200 + uneven, Event::Tick(process, lock));
        }
        process
    }

    pub(super) fn restart_container(&mut self, number: usize) {
        let pod = &self.pods[number];
        if !pod.counts() || pod.running {
            return;
        }
        let process = self.start_process(number);
        let pod = &mut self.pods[number];
        pod.process = process;
        pod.running = true;
        pod.restarts += 1;
        self.later(self.setup.start / 4, Event::Ready(number));
        self.cluster_changed();
    }
}
