//! What one endpoint knows of its keys, as plain data: the language between the observer and the assessment. Pure.
//!
//! Monotonic times are [`Mono`], durations since an arbitrary start of this process; they never leave it.

pub mod dialect;
pub mod health;
pub mod probe;
pub mod quorum;
pub mod table;

use std::{sync::Arc, time::Duration};

use self::{health::Health, probe::Probe};

/// A moment on the local monotonic clock: time since the process started.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mono(pub Duration);

impl Mono {
    /// Time that passed from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

/// A key in Redis, bytes.
pub type Key = Arc<[u8]>;

/// A raw value that identifies one holder. It is the capability to release the lock: `Debug` doesn't show it.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct HolderValue(pub Arc<[u8]>);

impl From<Arc<[u8]>> for HolderValue {
    fn from(value: Arc<[u8]>) -> Self {
        Self(value)
    }
}

impl std::fmt::Debug for HolderValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HolderValue({} bytes)", self.0.len())
    }
}

/// What a lock says of its holder: the text that a dialect's pattern reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Text {
    /// This, at most 4 KiB of it.
    One(HolderValue),
    /// What should be there is not: a JSON value without the string that is pointed to.
    Missing,
    /// Several hold it at once, as the readers of a read-write lock do.
    Several,
}

/// What a complete answer says about a lock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Nobody holds it.
    Absent,
    /// Somebody holds it, and it expires in so much, or never.
    Present {
        /// What tells this holder from the next one.
        value: HolderValue,
        /// What the dialect's pattern reads.
        text: Text,
        /// What stands beside the lock about its owner, where the probe asks for that; `None`: nothing.
        beside: Option<HolderValue>,
        /// Time until it expires (PTTL, or the member's score); `None` is never.
        expires_in: Option<Duration>,
    },
    /// The key has a type in which this dialect keeps no locks.
    WrongType,
}

impl Answer {
    /// A lock whose whole string value is its holder.
    #[must_use]
    pub fn held(value: &[u8], expires_in: Option<Duration>) -> Self {
        let value = HolderValue(value.into());
        Self::Present {
            text: Text::One(value.clone()),
            value,
            beside: None,
            expires_in,
        }
    }
}

/// What happened to a server that bears on how holds ended there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each can happen beside the others")]
pub struct Evidence {
    /// Another server, or another role or history of it, answers: run id, replication id or role changed.
    pub failover: bool,
    /// Everything was flushed.
    pub flushed: bool,
    /// Its clock ran more than 1 s ahead of ours.
    pub clock_jump: bool,
    /// It evicted keys.
    pub evicted: bool,
}

impl Evidence {
    /// Nothing.
    pub const NONE: Self = Self {
        failover: false,
        flushed: false,
        clock_jump: false,
        evicted: false,
    };
    /// Only that another server, or another history, answers.
    pub const FAILOVER: Self = Self {
        failover: true,
        ..Self::NONE
    };
    /// Only that everything was flushed.
    pub const FLUSHED: Self = Self {
        flushed: true,
        ..Self::NONE
    };
    /// Only that its clock ran ahead.
    pub const CLOCK_JUMP: Self = Self {
        clock_jump: true,
        ..Self::NONE
    };
    /// Only that it evicted keys.
    pub const EVICTED: Self = Self {
        evicted: true,
        ..Self::NONE
    };

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            failover: self.failover || other.failover,
            flushed: self.flushed || other.flushed,
            clock_jump: self.clock_jump || other.clock_jump,
            evicted: self.evicted || other.evicted,
        }
    }
}

/// One holder value at one lock, from the first answer that shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hold {
    /// Who holds: what tells this hold from the next one.
    pub value: HolderValue,
    /// What the last answer says of the holder, for the dialect's pattern.
    pub text: Text,
    /// What stood last beside the lock about its owner, where the dialect looks for that.
    pub beside: Option<HolderValue>,
    /// Receipt of the first answer that shows it.
    pub first_seen: Mono,
    /// Whether a complete answer before `first_seen`, with nothing unwatched between, showed another state:
    /// only then is `first_seen` when it was taken.
    pub seen_taken: bool,
    /// Receipt of the last answer that shows it.
    pub last_answer: Mono,
    /// Receipt of the last answer whose deadline was later than the one before (a renewal).
    pub last_renewed: Option<Mono>,
    /// `D`: `last_answer` + its PTTL; `None` without an expiry.
    pub deadline: Option<Mono>,
    /// `u`: the last answer's round trip + 2 ms.
    pub uncertainty: Duration,
    /// PTTL −1 in two answers at least 2 s apart.
    pub no_expiry: bool,
    /// Largest PTTL seen in this hold.
    pub largest_ttl: Option<Duration>,
}

/// How the table saw a hold end. What that means (lost, released) is the assessment's to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// Number of this end, rising over all keys of the endpoint, and with time over endpoints; a consumer's cursor.
    pub seq: u64,
    /// The hold as its last answer showed it.
    pub hold: Hold,
    /// First invalidation of the key after the last answer that shows the hold (tracking), else receipt of the first
    /// answer that does not.
    pub ended: Mono,
    /// Receipt of the first answer that does not show the hold.
    pub noticed: Mono,
    /// Whether the interval from the last answer to `ended` was watched: the connection stood, run id and role were
    /// unchanged, and no invalidation was left unread (tracking), or answers came at the interval and one at
    /// D − 100 ms still showed the same D (polling).
    pub watched: bool,
    /// Whether the holder shortened its TTL: an answer with an earlier deadline than the one before.
    pub shortened: bool,
    /// What happened to the server between the last answer that shows the hold and the first that does not.
    pub evidence: Evidence,
}

/// What is known of one key now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyState {
    /// No complete answer since the last doubt.
    Unknown,
    /// Nobody holds it.
    Absent {
        /// Receipt of the first of the answers in a row that say so.
        since: Mono,
    },
    /// Somebody holds it.
    Held(Hold),
    /// Wrong type.
    WrongType {
        /// Receipt of the first of the answers in a row that say so.
        since: Mono,
    },
}

/// What an endpoint knows of one lock: its state and the ends of its last holds, oldest first (bounded).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySnapshot {
    /// The lock.
    pub probe: Arc<Probe>,
    /// Its state.
    pub state: KeyState,
    /// Ends of its holds, oldest first, at most [`table::ENDS_PER_KEY`].
    pub ends: Vec<End>,
    /// When a change was announced last while it was free, and it was free again by the time that it was read: somebody
    /// held it for so short a time that no answer shows who.
    pub touched: Option<Mono>,
}

/// How changes of hands are learned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// CLIENT TRACKING over RESP3, per key.
    Tracking,
    /// Paced reads.
    Polling,
}

/// Why there are no complete, fresh, usable answers: `StoreReachable`'s reasons.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the reasons of StoreReachable, see the README")]
pub enum Trouble {
    Unreachable,
    DnsFailure,
    Timeout,
    TlsFailure,
    AuthenticationFailed,
    PermissionDenied,
    SecretNotFound,
    Loading,
    NotMaster,
    FailoverInProgress,
    ClusterDown,
    EndpointForbidden,
    ProtocolError,
    Stale,
    /// Of `SecretNotFound`: the operator may not read it.
    SecretForbidden,
    /// Of `NotMaster`: the Sentinels watch no master of this name.
    UnknownMaster,
    /// Of `EndpointForbidden`: more new endpoints of one namespace than are connected to within a minute.
    TooManyEndpoints,
}

/// State of the connection to an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Link {
    /// Never answered yet.
    Connecting {
        /// Since when it is tried.
        since: Mono,
        /// What went wrong last, if anything did.
        trouble: Option<Trouble>,
    },
    /// Connected, verified, everything read.
    Up {
        /// Receipt of the last answer of the first complete read of this connection.
        since: Mono,
        /// How changes are learned.
        mode: Mode,
        /// `redis_version` of INFO.
        version: Option<String>,
    },
    /// It answered before and doesn't now.
    Down {
        /// When the connection was lost.
        since: Mono,
        /// Why there is none now.
        trouble: Trouble,
    },
}

/// Everything that one workload may know of its endpoint now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observation {
    /// When this was taken.
    pub at: Mono,
    /// The connection.
    pub link: Link,
    /// Why, and since when, some of the locks are not seen although the link is up: their part of a cluster is not
    /// there. They are [`KeyState::Unknown`].
    pub hidden: Option<(Trouble, Mono)>,
    /// How fit the servers are to keep locks, the worst of each; `None`: none of them has said anything yet.
    pub health: Option<Arc<Health>>,
    /// The locks asked for, in that order.
    pub keys: Vec<KeySnapshot>,
    /// What turned up in each place that was asked to be looked at, in that order.
    pub discovered: Vec<Discovered>,
}

/// What turned up in one place.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Discovered {
    /// The locks, in the order of their keys.
    pub keys: Vec<KeySnapshot>,
    /// Whether there are more than are kept an eye on.
    pub more: bool,
}
