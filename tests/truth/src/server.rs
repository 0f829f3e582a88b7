//! A Redis server as far as locks see it, and the truth about every hold that ever was on it.
//!
//! A key whose time is over is gone for whoever asks, but is deleted, and that is announced, only when somebody asks or
//! the server comes across it.

use crate::plan::Ms;

/// Who put a value into a lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// A process of the workload.
    Process(usize),
    /// Somebody else.
    Stranger,
    /// Somebody who writes what the library doesn't.
    Garbage,
    /// Somebody who made it a list.
    WrongType,
}

/// Why a hold ended, in truth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// Its holder gave it up.
    Released,
    /// Somebody deleted or overwrote it.
    Overwritten,
    /// Its time was over.
    RanOut,
    /// The server needed the room.
    Evicted,
    /// Everything was deleted.
    Flushed,
    /// The server that took over never got it.
    Unreplicated,
    /// The server's clock was set beyond its expiry.
    ClockSet,
}

/// One value at one lock, from when it was put there until it was gone.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Its number.
    pub number: usize,
    /// The lock.
    pub lock: usize,
    /// Who.
    pub by: By,
    /// When.
    pub taken: Ms,
    /// When its expiry was moved.
    pub renewals: Vec<Ms>,
    /// Whether it lost its expiry once.
    pub persisted: bool,
    /// When it ended, and why.
    pub end: Option<(Ms, Why)>,
}

#[derive(Clone, Debug)]
struct Stored {
    hold: usize,
    /// By the server's clock.
    expires: Option<Ms>,
    /// Tells one expiry from the next.
    version: u64,
}

/// What the server tells those who track.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Push {
    /// This key changed.
    Changed(usize),
    /// All did.
    Flushed,
}

/// What was done to the server, for a real one that does the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// This hold's value is put into its lock, for so long.
    Set(usize, Option<Ms>),
    /// The lock's expiry is moved to so much later than now.
    Expire(usize, Ms),
    /// The lock loses its expiry.
    Persist(usize),
    /// The lock is deleted.
    Delete(usize),
    /// Everything is deleted.
    Flush,
    /// Another server takes over, with these holds and what is left of them.
    FailOver(Vec<(usize, Option<Ms>)>),
}

/// What a read shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The hold.
    pub hold: usize,
    /// What is left of it; `None`: no expiry.
    pub left: Option<Ms>,
}

/// The server.
#[derive(Debug, Default)]
pub struct Server {
    /// By how much its clock is ahead.
    pub ahead: Ms,
    /// Tells servers apart.
    pub run: u32,
    /// Keys evicted.
    pub evicted: u64,
    /// Flushes.
    pub flushes: u64,
    /// All holds that ever were.
    pub holds: Vec<Hold>,
    /// What is to be told to whoever tracks.
    pub pushes: Vec<Push>,
    /// What was done to it.
    pub journal: Vec<Command>,
    data: Vec<Option<Stored>>,
    tracked: Vec<bool>,
    versions: u64,
}

impl Server {
    /// A server with so many locks, all free.
    #[must_use]
    pub fn new(locks: usize) -> Self {
        Self {
            run: 1,
            data: vec![None; locks],
            tracked: vec![false; locks],
            ..Self::default()
        }
    }

    /// Who holds the lock at `now`.
    pub fn holder(&mut self, lock: usize, now: Ms) -> Option<usize> {
        self.settle(lock, now);
        self.data[lock].as_ref().map(|stored| stored.hold)
    }

    /// What whoever tracks sees of it.
    pub fn read(&mut self, lock: usize, track: bool, now: Ms) -> Option<Shown> {
        self.settle(lock, now);
        self.tracked[lock] = track;
        let ahead = self.ahead;
        self.data[lock].as_ref().map(|stored| Shown {
            hold: stored.hold,
            left: stored.expires.map(|expires| expires.saturating_sub(now + ahead)),
        })
    }

    /// SET: whatever was there is gone. The number of the new hold.
    pub fn set(&mut self, lock: usize, by: By, ttl: Option<Ms>, now: Ms) -> usize {
        self.settle(lock, now);
        self.finish(lock, now, Why::Overwritten);
        let hold = self.holds.len();
        self.holds.push(Hold {
            number: hold,
            lock,
            by,
            taken: now,
            renewals: vec![],
            persisted: false,
            end: None,
        });
        self.versions += 1;
        self.data[lock] = Some(Stored {
            hold,
            expires: ttl.map(|ttl| now + self.ahead + ttl),
            version: self.versions,
        });
        self.journal.push(Command::Set(hold, ttl));
        self.changed(lock);
        hold
    }

    /// SET NX: the number of the new hold, if the lock was free.
    pub fn take(&mut self, lock: usize, by: By, ttl: Ms, now: Ms) -> Option<usize> {
        match self.holder(lock, now) {
            Some(_) => None,
            None => Some(self.set(lock, by, Some(ttl), now)),
        }
    }

    /// Moves the expiry, if the lock is still this hold.
    pub fn renew(&mut self, lock: usize, hold: usize, ttl: Ms, now: Ms) -> bool {
        if self.holder(lock, now) != Some(hold) {
            return false;
        }
        self.versions += 1;
        if let Some(stored) = &mut self.data[lock] {
            stored.expires = Some(now + self.ahead + ttl);
            stored.version = self.versions;
        }
        self.holds[hold].renewals.push(now);
        self.journal.push(Command::Expire(lock, ttl));
        self.changed(lock);
        true
    }

    /// PERSIST.
    pub fn persist(&mut self, lock: usize, now: Ms) {
        if self.holder(lock, now).is_some()
            && let Some(stored) = &mut self.data[lock]
        {
            stored.expires = None;
            self.holds[stored.hold].persisted = true;
            self.journal.push(Command::Persist(lock));
            self.changed(lock);
        }
    }

    /// DEL.
    pub fn delete(&mut self, lock: usize, why: Why, now: Ms) {
        if self.holder(lock, now).is_some() {
            self.finish(lock, now, why);
            self.data[lock] = None;
            self.journal.push(Command::Delete(lock));
            self.changed(lock);
        }
    }

    /// Room is needed: a lock goes, or something else.
    pub fn evict(&mut self, lock: Option<usize>, now: Ms) {
        if let Some(lock) = lock {
            self.delete(lock, Why::Evicted, now);
        }
        self.evicted += 1;
    }

    /// FLUSHALL.
    pub fn flush(&mut self, now: Ms) {
        for lock in 0..self.data.len() {
            self.settle(lock, now);
            self.finish(lock, now, Why::Flushed);
            self.data[lock] = None;
            self.tracked[lock] = false;
        }
        self.flushes += 1;
        self.journal.push(Command::Flush);
        self.pushes.push(Push::Flushed);
    }

    /// Another server takes over, without the locks of the mask.
    pub fn fail_over(&mut self, lost: u8, now: Ms) {
        for lock in 0..self.data.len() {
            self.settle(lock, now);
            self.tracked[lock] = false;
            if lost >> (lock % 8) & 1 == 1 {
                self.finish(lock, now, Why::Unreplicated);
                self.data[lock] = None;
            }
        }
        self.pushes.clear();
        let left = |stored: &Stored| {
            stored
                .expires
                .map(|expires| expires.saturating_sub(now + self.ahead))
        };
        let kept = self
            .data
            .iter()
            .flatten()
            .map(|stored| (stored.hold, left(stored)));
        self.journal.push(Command::FailOver(kept.collect()));
        self.run += 1;
        self.evicted = 0;
        self.flushes = 0;
    }

    /// Its clock is set forward.
    pub fn set_clock(&mut self, by: Ms, now: Ms) {
        for lock in 0..self.data.len() {
            self.settle(lock, now);
        }
        self.ahead += by;
        for stored in self.data.iter().flatten() {
            if stored.expires.is_some_and(|expires| now + self.ahead > expires) {
                self.holds[stored.hold].end = Some((now, Why::ClockSet));
            }
        }
    }

    /// Whoever tracked is gone.
    pub fn forget_client(&mut self) {
        self.tracked.fill(false);
        self.pushes.clear();
    }

    /// When, and as which version, a key's time is over, by the true clock.
    #[must_use]
    pub fn expiry(&self, lock: usize) -> Option<(Ms, u64)> {
        let stored = self.data[lock].as_ref()?;
        Some((stored.expires?.saturating_sub(self.ahead), stored.version))
    }

    /// The server comes across a key.
    pub fn sweep(&mut self, lock: usize, version: u64, now: Ms) {
        if self.data[lock]
            .as_ref()
            .is_some_and(|stored| stored.version == version)
        {
            self.settle(lock, now);
        }
    }

    /// Deletes a key whose time is over.
    fn settle(&mut self, lock: usize, now: Ms) {
        let Some(stored) = &self.data[lock] else { return };
        let Some(expires) = stored.expires.filter(|expires| now + self.ahead > *expires) else {
            return;
        };
        let ended = expires.saturating_sub(self.ahead);
        self.holds[stored.hold].end.get_or_insert((ended, Why::RanOut));
        self.data[lock] = None;
        self.changed(lock);
    }

    fn finish(&mut self, lock: usize, now: Ms, why: Why) {
        if let Some(stored) = &self.data[lock] {
            self.holds[stored.hold].end.get_or_insert((now, why));
        }
    }

    fn changed(&mut self, lock: usize) {
        if std::mem::take(&mut self.tracked[lock]) {
            self.pushes.push(Push::Changed(lock));
        }
    }
}
