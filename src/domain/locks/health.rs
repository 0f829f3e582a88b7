//! How fit a server is to keep locks, judged from what it says of itself: INFO, how long it takes to answer a PING, and
//! its clock. Pure.
//!
//! In: [`Sign`]s with their time. Out: [`Health`], which changes only when a judgement does: numbers that go up and down
//! change nothing, so they cause no write. What a server doesn't show is [`Unseen`], and what can't be told yet is
//! `None`; nothing is guessed.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use super::Mono;

/// PINGs whose median is judged.
const PINGS: usize = 30;
/// A median above this is slow, if it lasts; one below the other is fast again.
const SLOW: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(8));
/// How long a median must be slow until that is said.
const SLOW_FOR: Duration = Duration::from_mins(1);
/// A refusal is said until it was not seen for so long: a server at its limit goes above and below with every client.
const REFUSAL_SAID_FOR: Duration = Duration::from_mins(1);
/// A clock that was set is said for so long.
const JUMP_SAID_FOR: Duration = Duration::from_mins(10);
/// How long the last replica may be away, for a restart of it, until that is said.
const LONE_AFTER: Duration = Duration::from_mins(1);
/// A replica that has been silent for longer would bring back the past.
const SILENT: u64 = 30;
/// Without a snapshot for so long, although something changed, there is no schedule that a restart could rely on.
const UNSAVED: Duration = Duration::from_hours(2);

/// The policies that Redis and Valkey know, beside `noeviction`. Another word that a server says is not repeated.
const POLICIES: [&str; 9] = [
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "allkeys-lrm",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "volatile-lrm",
];

/// How a server fares, as far as it matters to locks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// Whether its clock was set within the last 10 min; `None`: it has not been watched for so long.
    pub clock_jumped: Option<bool>,
    /// By which policy it may evict locks.
    pub evicts: Option<&'static str>,
    /// Why writes are refused, or soon will be, in their order.
    pub refuses: Vec<Refusal>,
    /// Whether no replica could take over.
    pub alone: Option<bool>,
    /// Whether too few Sentinels see each other to agree on a failover; `None`: they were not asked.
    pub outvoted: Option<bool>,
    /// Whether it has answered slowly for a while; `None`: there were too few answers.
    pub slow: Option<bool>,
    /// What a restart would find.
    pub persistence: Option<Persistence>,
    /// What it doesn't show, in their order.
    pub unseen: Vec<Unseen>,
}

/// Why a server refuses writes, or soon will.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Refusal {
    /// Memory is full, and nothing may be evicted.
    MemoryFull,
    /// A snapshot, or a write to the append-only file, failed, and the server takes no writes until one succeeds.
    DiskFailed,
    /// Fewer replicas follow than `min-replicas-to-write` asks for.
    TooFewReplicas,
    /// Nine tenths of `maxclients` are connected, or somebody was turned away.
    ClientsNearLimit,
}

impl Refusal {
    const ALL: [Self; 4] = [
        Self::MemoryFull,
        Self::DiskFailed,
        Self::TooFewReplicas,
        Self::ClientsNearLimit,
    ];
}

/// What a restart of the server would find.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Persistence {
    /// An append-only file, or a snapshot that is not old.
    Kept,
    /// No append-only file; data changed, and there was no snapshot for two hours.
    Unsaved,
    /// No append-only file, and the last snapshot failed.
    Failed,
}

/// Something that a server doesn't show.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Unseen {
    /// PING is refused: whether writes are stopped after a failed snapshot can't be told.
    Ping,
    /// TIME is refused: its clock.
    Clock,
    /// INFO without `maxmemory`, `maxmemory_policy` or `used_memory`.
    Memory,
    /// INFO without `connected_clients` or `maxclients`.
    Clients,
    /// INFO without `connected_slaves`.
    Replicas,
}

/// What a server answers to PING.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pong {
    /// As it should.
    Fine,
    /// MISCONF: it takes no writes, since it can't put them on its disk. It says so to PING as well.
    DiskFailed,
    /// It doesn't want to be asked.
    Refused,
}

/// Something that was heard of a server.
#[derive(Clone, Debug)]
pub enum Sign {
    /// A connection was made, and this is the first that was said on it; whether TIME was answered.
    Connected(Box<Vital>, bool),
    /// What INFO says.
    Vital(Box<Vital>),
    /// PING was answered.
    Beat {
        /// How.
        pong: Pong,
        /// After which time.
        round_trip: Duration,
        /// Whether TIME was answered.
        tells_time: bool,
    },
    /// Its clock was set, in whichever direction.
    ClockJump,
    /// Its Sentinels were asked whether enough of them see each other to agree on a failover. Where they may not be
    /// asked, they are taken to.
    Quorum(bool),
}

/// The fields of INFO that are judged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Vital {
    max_memory: Option<u64>,
    policy: Option<Policy>,
    used_memory: Option<u64>,
    clients: Option<u64>,
    max_clients: Option<u64>,
    /// Clients that were turned away so far.
    turned_away: Option<u64>,
    /// Replicas that could take over.
    replicas: Option<u64>,
    /// Replicas that count for `min-replicas-to-write`; `None`: that isn't set.
    good_replicas: Option<u64>,
    /// Writes that were refused so far because memory was full.
    refused_by_memory: u64,
    /// Writes that were refused so far because too few replicas followed.
    refused_by_replicas: u64,
    appends: Option<bool>,
    append_fails: bool,
    snapshot_failed: bool,
    unsaved: bool,
}

impl Vital {
    /// Reads the fields of INFO, of which `get` knows the text.
    #[must_use]
    pub fn of<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        let number = |name: &str| get(name)?.parse::<u64>().ok();
        let errors = |code: &str| {
            let counted = get(&format!("errorstat_{code}"));
            let count = counted.and_then(|text| text.strip_prefix("count=")?.parse::<u64>().ok());
            count.unwrap_or(0)
        };
        // What replicas take from memory is not counted against the limit.
        let used = number("used_memory");
        let apart = number("mem_not_counted_for_evict").unwrap_or(0);
        let cluster_links = number("cluster_connections").unwrap_or(0);
        let is = |name: &str, value: &str| get(name) == Some(value);
        Self {
            max_memory: number("maxmemory"),
            policy: get("maxmemory_policy").map(Policy::of),
            used_memory: used.map(|used| used.saturating_sub(apart)),
            clients: number("connected_clients").map(|clients| clients.saturating_add(cluster_links)),
            max_clients: number("maxclients"),
            turned_away: number("rejected_connections"),
            replicas: replicas(&get),
            good_replicas: number("min_slaves_good_slaves"),
            refused_by_memory: errors("OOM"),
            refused_by_replicas: errors("NOREPLICAS"),
            appends: number("aof_enabled").map(|enabled| enabled > 0),
            append_fails: is("aof_enabled", "1") && is("aof_last_write_status", "err"),
            snapshot_failed: is("rdb_last_bgsave_status", "err"),
            unsaved: unsaved(&number),
        }
    }

    /// By which policy locks may be evicted; `Err`: it isn't shown.
    fn evicts(&self) -> Result<Option<&'static str>, ()> {
        match (self.max_memory, self.policy) {
            (Some(0), _) | (_, Some(Policy::NoEviction)) => Ok(None),
            (Some(_), Some(Policy::Evicts(policy))) => Ok(Some(policy)),
            (None, _) | (_, None) => Err(()),
        }
    }

    fn is_full(&self) -> Option<bool> {
        match self.max_memory? {
            0 => Some(false),
            limit => Some(self.used_memory? > limit),
        }
    }

    fn clients_near_limit(&self) -> Option<bool> {
        let (clients, most) = (self.clients?, self.max_clients?);
        Some(u128::from(clients) * 10 >= u128::from(most) * 9)
    }

    fn persistence(&self) -> Option<Persistence> {
        let appends = self.appends?;
        Some(if !appends && self.snapshot_failed {
            Persistence::Failed
        } else if !appends && self.unsaved {
            Persistence::Unsaved
        } else {
            Persistence::Kept
        })
    }
}

/// What happens when memory is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Policy {
    /// Writes are refused.
    NoEviction,
    /// Keys are evicted, by the policy of this name.
    Evicts(&'static str),
}

impl Policy {
    fn of(text: &str) -> Self {
        if text == "noeviction" {
            return Self::NoEviction;
        }
        let known = POLICIES.into_iter().find(|known| *known == text);
        Self::Evicts(known.unwrap_or("another than noeviction"))
    }
}

/// Replicas that have all data and have been heard of lately.
fn replicas<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Option<u64> {
    let connected: u64 = get("connected_slaves")?.parse().ok()?;
    let field = |line: &'a str, name: &str| {
        let mut parts = line.split(',').filter_map(|part| part.split_once('='));
        parts.find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    let usable = |line: &'a str| {
        let silent = field(line, "lag").and_then(|lag| lag.parse::<u64>().ok());
        field(line, "state").is_none_or(|state| state == "online") && silent.is_none_or(|lag| lag <= SILENT)
    };
    // A server that keeps its replicas to itself says only how many there are.
    let hidden = |at: &u64| get(&format!("slave{at}")).is_none_or(usable);
    Some(u64::try_from((0..connected.min(1000)).filter(hidden).count()).unwrap_or(0))
}

/// Whether data changed and was not saved for long, by the server's own clock.
fn unsaved(number: &impl Fn(&str) -> Option<u64>) -> bool {
    let age = || {
        let now = Duration::from_micros(number("server_time_usec")?);
        now.checked_sub(Duration::from_secs(number("rdb_last_save_time")?))
    };
    number("rdb_changes_since_last_save").is_some_and(|changes| changes > 0)
        && number("rdb_bgsave_in_progress") == Some(0)
        && age().is_some_and(|age| age > UNSAVED)
}

/// What is remembered of one server, to judge by.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    health: Arc<Health>,
    /// What INFO said last; `None`: nothing was said yet.
    last: Option<Box<Vital>>,
    since: Option<Mono>,
    pong: Option<Pong>,
    tells_time: Option<bool>,
    /// The last round trips in microseconds, as a ring.
    pings: [u32; PINGS],
    pinged: usize,
    slow_since: Option<Mono>,
    slow: bool,
    jumped: Option<Mono>,
    /// When each reason to refuse writes was seen last.
    refused: [Option<Mono>; Refusal::ALL.len()],
    /// Replicas that counted for `min-replicas-to-write` and were too few.
    too_few: Option<u64>,
    /// Since when a server that had replicas has none.
    lone_since: Option<Mono>,
    had_replica: bool,
    /// How often in a row the Sentinels said that they are too few.
    too_few_sentinels: u32,
    outvoted: Option<bool>,
}

impl Vitals {
    /// What is known of the server; `None`: it has never said anything.
    #[must_use]
    pub fn health(&self) -> Option<&Arc<Health>> {
        self.last.as_ref().map(|_| &self.health)
    }

    /// Takes in a sign; whether another judgement follows from it.
    pub fn take(&mut self, sign: Sign, now: Mono) -> bool {
        self.since.get_or_insert(now);
        match sign {
            Sign::Connected(vital, tells_time) => {
                // Another server counts from other numbers.
                self.last = None;
                self.tells_time = Some(tells_time);
                self.take_vital(vital, now);
            }
            Sign::Vital(vital) => self.take_vital(vital, now),
            Sign::Beat {
                pong,
                round_trip,
                tells_time,
            } => {
                (self.pong, self.tells_time) = (Some(pong), Some(tells_time));
                if pong == Pong::DiskFailed {
                    self.refuses(Refusal::DiskFailed, now);
                } else if self.last.as_ref().is_some_and(|vital| !vital.append_fails) {
                    // No matter of a moment: it is over when PING says so.
                    self.refused[Refusal::DiskFailed as usize] = None;
                }
                self.take_ping(round_trip, now);
            }
            Sign::ClockJump => self.jumped = Some(now),
            Sign::Quorum(true) => (self.too_few_sentinels, self.outvoted) = (0, Some(false)),
            Sign::Quorum(false) => {
                // Once may be one that is started anew.
                self.too_few_sentinels = self.too_few_sentinels.saturating_add(1);
                if self.too_few_sentinels > 1 {
                    self.outvoted = Some(true);
                }
            }
        }
        let Some(next) = self.judge(now) else { return false };
        if *self.health == next {
            return false;
        }
        self.health = Arc::new(next);
        true
    }

    fn refuses(&mut self, refusal: Refusal, now: Mono) {
        self.refused[refusal as usize] = Some(now);
    }

    fn take_vital(&mut self, vital: Box<Vital>, now: Mono) {
        let rose = |count: fn(&Vital) -> u64| {
            let before = self.last.as_deref().map(count);
            before.is_some_and(|before| count(&vital) > before)
        };
        let by_memory = rose(|vital| vital.refused_by_memory);
        let by_replicas = rose(|vital| vital.refused_by_replicas);
        let turned_away = rose(|vital| vital.turned_away.unwrap_or(u64::MAX));
        if vital.evicts() == Ok(None) && (by_memory || vital.is_full() == Some(true)) {
            self.refuses(Refusal::MemoryFull, now);
        }
        if vital.append_fails {
            self.refuses(Refusal::DiskFailed, now);
        }
        // How many are asked for is not shown. None are always too few, and so are as many as were too few before.
        match vital.good_replicas {
            Some(good) if by_replicas => self.too_few = Some(self.too_few.map_or(good, |few| few.max(good))),
            Some(good) if self.too_few.is_some_and(|few| good > few) => self.too_few = None,
            Some(_) => {}
            None => self.too_few = None,
        }
        let at = Refusal::TooFewReplicas as usize;
        if vital.good_replicas == Some(0) || (by_replicas && vital.good_replicas.is_some()) {
            self.refused[at] = Some(now);
        } else if self.too_few.is_none() {
            self.refused[at] = None;
        }
        if turned_away || vital.clients_near_limit() == Some(true) {
            self.refuses(Refusal::ClientsNearLimit, now);
        }
        match vital.replicas {
            Some(0) => {
                self.lone_since.get_or_insert(now);
            }
            Some(_) => (self.had_replica, self.lone_since) = (true, None),
            None => self.lone_since = None,
        }
        self.last = Some(vital);
    }

    fn take_ping(&mut self, round_trip: Duration, now: Mono) {
        let micros = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX);
        self.pings[self.pinged % PINGS] = micros;
        self.pinged += 1;
        if self.pinged == 2 * PINGS {
            // It only matters that the ring is full, and where its next place is.
            self.pinged = PINGS;
        }
        let Some(median) = self.median() else { return };
        if median > SLOW.0 {
            let since = *self.slow_since.get_or_insert(now);
            self.slow |= now.since(since) >= SLOW_FOR;
        } else {
            self.slow_since = None;
            self.slow &= median >= SLOW.1;
        }
    }

    /// Of the last PINGs, if there were enough.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        if self.pinged < PINGS {
            return None;
        }
        let mut sorted = self.pings;
        sorted.sort_unstable();
        let middle = sorted.get(PINGS / 2 - 1)?.midpoint(*sorted.get(PINGS / 2)?);
        Some(Duration::from_micros(middle.into()))
    }

    fn judge(&self, now: Mono) -> Option<Health> {
        let vital = self.last.as_ref()?;
        let within = |seen: Option<Mono>, time: Duration| seen.is_some_and(|seen| now.since(seen) < time);
        let watched = self.since.is_some_and(|since| now.since(since) >= JUMP_SAID_FOR);
        let jumped = within(self.jumped, JUMP_SAID_FOR);
        let refused = |refusal: &Refusal| within(self.refused[*refusal as usize], REFUSAL_SAID_FOR);
        let unseen = [
            (Unseen::Ping, self.pong == Some(Pong::Refused)),
            (Unseen::Clock, self.tells_time == Some(false)),
            (
                Unseen::Memory,
                vital.evicts().is_err() || vital.is_full().is_none(),
            ),
            (Unseen::Clients, vital.clients_near_limit().is_none()),
            (Unseen::Replicas, vital.replicas.is_none()),
        ];
        let lone = |since: Mono| !self.had_replica || now.since(since) >= LONE_AFTER;
        Some(Health {
            clock_jumped: (jumped || watched).then_some(jumped),
            evicts: vital.evicts().ok().flatten(),
            refuses: Refusal::ALL.into_iter().filter(refused).collect(),
            alone: vital.replicas.map(|_| self.lone_since.is_some_and(lone)),
            outvoted: self.outvoted,
            slow: (self.pinged >= PINGS).then_some(self.slow),
            persistence: vital.persistence(),
            unseen: unseen
                .into_iter()
                .filter(|(_, missing)| *missing)
                .map(|(what, _)| what)
                .collect(),
        })
    }
}

impl Health {
    /// The worst of all, where each of several servers has some of the locks.
    pub fn worst<'a>(all: impl IntoIterator<Item = &'a Arc<Self>>) -> Option<Arc<Self>> {
        let mut all = all.into_iter();
        let first = Arc::clone(all.next()?);
        Some(all.fold(first, |worst, next| {
            if worst == *next {
                worst
            } else {
                Arc::new(worst.with(next))
            }
        }))
    }

    fn with(&self, other: &Self) -> Self {
        let worse = |one: Option<bool>, other: Option<bool>| match (one, other) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (None, _) | (_, None) => None,
        };
        Self {
            clock_jumped: worse(self.clock_jumped, other.clock_jumped),
            evicts: self.evicts.or(other.evicts),
            refuses: both(&self.refuses, &other.refuses),
            alone: worse(self.alone, other.alone),
            outvoted: worse(self.outvoted, other.outvoted),
            slow: worse(self.slow, other.slow),
            persistence: self.persistence.max(other.persistence),
            unseen: both(&self.unseen, &other.unseen),
        }
    }
}

fn both<T: Copy + Ord>(one: &[T], other: &[T]) -> Vec<T> {
    let mut all: Vec<T> = one.iter().chain(other).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
