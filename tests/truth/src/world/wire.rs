//! The operator, and the way between it and the server. Pure.

use std::sync::Arc;

use lockstep::domain::locks::{Mode, Observation, Trouble};

use super::{BEAT, Event, Ms, RECONNECT, World};
use crate::{
    operator::{Connection, Counters, Operator},
    server::{By, Push},
};

impl World {
    pub(super) fn takeover(&mut self) {
        if self.operator.is_some() {
            return;
        }
        let mode = if self.setup.polling {
            Mode::Polling
        } else {
            Mode::Tracking
        };
        let probes: Vec<_> = self.workload.probes().map(Arc::clone).collect();
        let status = self.resource.status.clone().unwrap_or_default();
        self.operators += 1;
        self.oracle.new_operator(self.now, &status);
        self.operator = Some(Operator::new(
            &status,
            probes,
            mode,
            self.cluster.clone(),
            self.moment(self.now),
            self.wrong,
        ));
        self.connect();
    }

    pub(super) fn answers(&self) -> bool {
        self.now >= self.net.until && self.now >= self.net.server_back
    }

    /// Both ends are told that the connection is gone.
    pub(super) fn cut(&mut self) {
        if self.real {
            return;
        }
        self.server.forget_client();
        if let Some(operator) = &self.operator {
            let serial = operator.serial;
            self.later(1, Event::Lost(serial, Trouble::Unreachable));
        }
    }

    pub(super) fn connect(&mut self) {
        if self.real {
            return;
        }
        let Some(operator) = &self.operator else { return };
        let serial = operator.serial;
        if self.answers() {
            self.later(2 * self.setup.round_trip, Event::Connected(serial));
        } else {
            self.later(RECONNECT, Event::Connect);
        }
    }

    /// When a message to the server arrives that is sent now. Where nobody was told, nothing is lost, it only waits.
    pub(super) fn arrival(&self) -> Ms {
        (self.now + self.setup.round_trip / 4).max(self.net.until)
    }

    /// When a message to the operator arrives that is sent now: sometimes quickly, sometimes not, always in order.
    pub(super) fn reply(&mut self) -> Ms {
        let trip = self.setup.round_trip - self.setup.round_trip / 4;
        let trip = if self.events.is_multiple_of(3) {
            trip / 4
        } else {
            trip
        };
        self.last_arrival = (self.now + trip).max(self.net.until).max(self.last_arrival);
        self.last_arrival
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            evicted: self.server.evicted,
            flushes: self.server.flushes,
            ahead: self.server.ahead,
        }
    }

    /// Announcements go out as soon as there are any.
    pub(super) fn tell_the_operator(&mut self) {
        for push in std::mem::take(&mut self.server.pushes) {
            let Some(operator) = &self.operator else { continue };
            if operator.connection == Connection::Up && !self.setup.polling {
                let serial = operator.serial;
                let at = self.reply();
                self.schedule(at, Event::Pushed(serial, push));
            }
        }
    }

    pub(super) fn wire(&mut self, event: Event) {
        let (now, counters, run) = (self.moment(self.now), self.counters(), self.server.run);
        let (answers, until) = (self.answers(), self.net.until);
        let Some(operator) = &mut self.operator else {
            return;
        };
        match event {
            Event::Connect if operator.connection == Connection::Down => self.connect(),
            Event::Connected(serial) if serial == operator.serial => {
                if answers {
                    operator.connected(run, counters, now);
                    let serial = operator.serial;
                    self.oracle.doubt();
                    self.server.forget_client();
                    self.last_arrival = 0;
                    self.later(BEAT, Event::Beat(serial));
                } else {
                    operator.lost(Trouble::Unreachable, now);
                    self.later(RECONNECT, Event::Connect);
                }
            }
            Event::Lost(serial, trouble) if serial == operator.serial => {
                operator.lost(trouble, now);
                self.oracle.doubt();
                self.server.forget_client();
                self.later(RECONNECT, Event::Connect);
            }
            Event::Pushed(serial, push) if serial == operator.serial => {
                operator.pushed(push, now);
                if push == Push::Flushed {
                    self.oracle.doubt();
                }
            }
            Event::Read(serial, locks) if serial == operator.serial => {
                let track = !self.setup.polling;
                let shown: Vec<_> = locks
                    .iter()
                    .map(|lock| (*lock, self.server.read(*lock, track, self.now)))
                    .collect();
                self.tell_the_operator();
                let counters = self.counters();
                let at = self.reply();
                self.schedule(at, Event::Answers(serial, shown, counters));
            }
            Event::Answers(serial, shown, counters) if serial == operator.serial => {
                let answers = shown.iter().map(|(lock, shown)| {
                    let value = shown
                        .map(|shown| (self.server.holds[shown.hold].by, &self.values[shown.hold]))
                        .filter(|(by, _)| *by != By::WrongType)
                        .map(|(_, value)| value.as_str());
                    (*lock, Operator::answer(*shown, value))
                });
                let answers = answers.collect();
                let answered = operator.answered(answers, counters, now);
                match answered {
                    // All is read again; these answers don't count any more.
                    Ok(true) => self.oracle.doubt(),
                    Ok(false) => self.oracle.answered(self.now, &shown),
                    Err(fault) => self.oracle.fault(self.now, fault),
                }
            }
            Event::Beat(serial) if serial == operator.serial => {
                if self.now < until && until > self.now + BEAT {
                    self.later(BEAT, Event::Lost(serial, Trouble::Timeout));
                } else {
                    if operator.weigh(counters, now) {
                        self.oracle.doubt();
                    }
                    self.later(BEAT, Event::Beat(serial));
                }
            }
            _ => {}
        }
    }

    pub(super) fn turn(&mut self) {
        let now = self.moment(self.now);
        let Some(operator) = &mut self.operator else {
            return;
        };
        let ask = operator.ask(now);
        let serial = operator.serial;
        if !ask.is_empty() {
            let at = self.arrival();
            self.schedule(at, Event::Read(serial, ask));
        }
        self.pass(None);
    }

    /// The operator makes a pass, by its own table or by what a real observer has seen.
    pub(super) fn pass(&mut self, seen: Option<Observation>) {
        let now = self.moment(self.now);
        let Some(mut operator) = self.operator.take() else {
            return;
        };
        if let Some(done) = operator.pass(&self.resource, &self.workload, seen, now) {
            self.passes += 1;
            let mut oracle = std::mem::take(&mut self.oracle);
            oracle.passed(self, &done, operator.sees());
            if let Some(status) = done.written {
                self.writes += 1;
                self.resource.status = Some(status);
            }
            self.oracle = oracle;
        }
        self.operator = Some(operator);
    }
}
