//! Every library against a real Redis: what its locks look like, how they are renewed, released, lost with their holder
//! and taken over. What stands here in `FACTS` is what the operator's dialects rely on.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use lockstep_cluster::{Redis, RedisOptions};
use lockstep_workers::{Event, Library, Options, OwnerIn, Worker};
use regex::Regex;

/// The time to live in these tests: short, and whole seconds, as some libraries know no others.
const TTL: Duration = Duration::from_secs(3);
const OWNER: &str = "orders-7d4b9c5f6-x2x7z";

/// How long the part of a value that names a holder stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stays {
    /// A new one for every lock that is taken.
    Acquisition,
    /// As long as the process lives.
    Process,
}

/// What is said of a library's locks in the operator's documents.
struct Facts {
    library: Library,
    key: &'static str,
    kind: &'static str,
    /// What the value is made of; for a hash, fields and values with spaces between; for a sorted set, its member.
    value: &'static str,
    stays: Stays,
    /// Seconds; `None`: no time to live.
    default_ttl: Option<i64>,
}

const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
/// A UUID of the first version: the digits after the eighth and twelfth are part of the time.
const UUID1_HEX: &str = "[0-9a-f]{12}1[0-9a-f]{3}[89ab][0-9a-f]{15}";

const FACTS: &[Facts] = &[
    Facts {
        library: Library::Redlock,
        key: "orders",
        kind: "string",
        value: "[0-9a-f]{32}",
        stays: Stays::Acquisition,
        // The library has none; it is the program's.
        default_ttl: Some(10),
    },
    Facts {
        library: Library::Bull,
        key: "bull:orders:job:lock",
        kind: "string",
        value: "UUID",
        stays: Stays::Process,
        default_ttl: Some(30),
    },
    Facts {
        library: Library::BullMq,
        key: "bull:orders:job:lock",
        kind: "string",
        value: "UUID:[0-9]+",
        stays: Stays::Process,
        default_ttl: Some(30),
    },
    Facts {
        library: Library::Mutex,
        key: "mutex:orders",
        kind: "string",
        value: "UUID",
        stays: Stays::Acquisition,
        default_ttl: Some(10),
    },
    Facts {
        library: Library::Semaphore,
        key: "semaphore:orders",
        kind: "zset",
        value: "UUID",
        stays: Stays::Acquisition,
        default_ttl: Some(10),
    },
    Facts {
        library: Library::RedisPy,
        key: "orders",
        kind: "string",
        value: "UUID1_HEX",
        stays: Stays::Acquisition,
        default_ttl: None,
    },
    Facts {
        library: Library::PythonRedisLock,
        key: "lock:orders",
        kind: "string",
        value: "[A-Za-z0-9+/]{24}",
        stays: Stays::Acquisition,
        default_ttl: None,
    },
    Facts {
        library: Library::RedBeat,
        key: "orders::lock",
        kind: "string",
        value: "UUID1_HEX",
        stays: Stays::Acquisition,
        default_ttl: Some(1500),
    },
    Facts {
        library: Library::Rslock,
        key: "orders",
        kind: "string",
        // Twenty bytes, of any value; written here as digits.
        value: "[0-9a-f]{40}",
        stays: Stays::Acquisition,
        // The library has none; it is the program's.
        default_ttl: Some(10),
    },
    Facts {
        library: Library::Rigatoni,
        key: "rigatoni:lock:mydb:orders",
        kind: "string",
        value: "HOST-UUID",
        // Of a pipeline; the program makes a new one for every lock that it takes.
        stays: Stays::Acquisition,
        default_ttl: Some(30),
    },
    Facts {
        library: Library::Redisson,
        key: "orders",
        kind: "hash",
        // The client and the thread; then, how often that thread has it.
        value: "UUID:[0-9]+ 1",
        stays: Stays::Process,
        default_ttl: Some(30),
    },
    Facts {
        library: Library::RedissonFair,
        key: "orders",
        kind: "hash",
        value: "UUID:[0-9]+ 1",
        stays: Stays::Process,
        default_ttl: Some(30),
    },
    Facts {
        library: Library::RedissonRead,
        key: "orders",
        kind: "hash",
        value: "mode read UUID:[0-9]+ 1",
        stays: Stays::Process,
        default_ttl: Some(30),
    },
    Facts {
        library: Library::RedissonWrite,
        key: "orders",
        kind: "hash",
        value: "mode write UUID:[0-9]+:write 1",
        stays: Stays::Process,
        default_ttl: Some(30),
    },
    Facts {
        library: Library::ShedLock,
        key: "job-lock:default:orders",
        kind: "string",
        value: "ADDED:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z@HOST:UUID",
        stays: Stays::Acquisition,
        // The library has none; it is the program's.
        default_ttl: Some(10),
    },
    Facts {
        library: Library::SpringIntegration,
        key: "registry:orders",
        kind: "string",
        value: "UUID",
        stays: Stays::Process,
        default_ttl: Some(60),
    },
];

impl Facts {
    fn value(&self) -> Regex {
        let value = self.value.replace("UUID1_HEX", UUID1_HEX).replace("UUID", UUID);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host name");
        let value = value.replace("HOST", &regex::escape(host.trim()));
        Regex::new(&format!("^{value}$")).expect("a pattern")
    }
}

/// What the tests ask Redis about one lock.
struct Store {
    redis: Redis,
    key: String,
    /// Whether values may be no text.
    binary: bool,
}

impl Store {
    fn start(facts: &Facts) -> Self {
        Self {
            redis: Redis::start(RedisOptions::default()).expect("a Redis"),
            key: facts.key.to_owned(),
            binary: facts.library == Library::Rslock,
        }
    }

    fn ask(&self, command: &[&str]) -> String {
        self.redis.cli(command).expect("an answer")
    }

    fn worker(&self, library: Library, options: impl FnOnce(Options) -> Options) -> Worker {
        let options = options(Options::new(self.redis.url(), "orders"));
        let worker = Worker::start(library, &options).expect("a worker");
        assert_eq!(worker.key(), self.key);
        assert_eq!(
            self.kind(),
            "none",
            "a worker that is ready has taken nothing yet"
        );
        worker
    }

    fn kind(&self) -> String {
        self.ask(&["TYPE", &self.key])
    }

    /// The value; of a hash, its fields and values; of a sorted set, its member; of bytes, their digits.
    fn value(&self) -> String {
        if self.binary {
            let script = "return (redis.call('GET', KEYS[1]):gsub('.', function(byte) \
                          return string.format('%02x', string.byte(byte)) end))";
            return self.ask(&["EVAL", script, "1", &self.key]);
        }
        match self.kind().as_str() {
            "hash" => self.ask(&["HGETALL", &self.key]).replace('\n', " "),
            "zset" => self.ask(&["ZRANGE", &self.key, "0", "-1"]),
            _ => self.ask(&["GET", &self.key]),
        }
    }

    /// Milliseconds until the lock expires; negative where nothing does.
    fn pttl(&self) -> i64 {
        self.ask(&["PTTL", &self.key]).parse().expect("a number")
    }

    fn is_taken(&self) -> bool {
        self.kind() != "none"
    }

    /// Milliseconds of the store's clock, and of the moment when the lock expires; 0 where there is no lock.
    fn clocks(&self) -> (i64, i64) {
        let script = "local t = redis.call('TIME') return (t[1] * 1000 + math.floor(t[2] / 1000)) .. ' ' .. \
                      math.max(redis.call('PEXPIRETIME', KEYS[1]), 0)";
        let answer = self.ask(&["EVAL", script, "1", &self.key]);
        let (now, end) = answer.split_once(' ').expect("two numbers");
        (now.parse().expect("a number"), end.parse().expect("a number"))
    }
}

/// Asks `condition` until it gives something; names what was awaited when it does not within a minute.
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    // Counted in polls: the house keeps real clocks out of its code.
    for _ in 0..3_000 {
        if let Some(found) = condition() {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("waited a minute in vain for: {what}");
}

/// Waits until the time to live has risen, and says to how much.
fn risen(store: &Store) -> i64 {
    let mut before = store.pttl();
    wait_for("a renewal", || {
        let now = store.pttl();
        assert!(now > 0, "the lock is lost");
        let risen = now > before + 50;
        before = now;
        risen.then_some(now)
    })
}

/// The UUID in a value.
fn uuid(value: &str) -> Option<String> {
    let pattern = Regex::new(UUID).expect("a pattern");
    pattern.find(value).map(|uuid| uuid.as_str().to_owned())
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).expect("a short time")
}

fn takes_renews_and_releases(facts: &Facts) {
    let store = Store::start(facts);
    let library = facts.library;
    let mut worker = store.worker(library, |options| options.ttl(TTL));
    worker.take().expect("taken");
    assert_eq!(store.kind(), facts.kind);
    let value = store.value();
    assert!(facts.value().is_match(&value), "{value}");
    let ttl = store.pttl();
    assert!((1..=milliseconds(TTL)).contains(&ttl), "{ttl}");

    for _ in 0..3 {
        if library.renews() {
            let ttl = risen(&store);
            assert!(ttl <= milliseconds(TTL), "{ttl}");
        } else {
            let low = wait_for("the time to run", || {
                Some(store.pttl()).filter(|ttl| *ttl < 2_000)
            });
            worker.extend().expect("extended");
            let ttl = store.pttl();
            assert!((low..=milliseconds(TTL)).contains(&ttl), "{ttl}");
        }
        assert_eq!(store.value(), value, "renewing keeps the value");
    }
    worker.release().expect("released");
    assert!(!store.is_taken());

    worker.take().expect("taken again");
    let again = store.value();
    assert!(facts.value().is_match(&again), "{again}");
    // What stands around it counts the jobs of a BullMQ worker, names a thread of Redisson, or tells the time.
    let holder = |value: &str| uuid(value).unwrap_or_else(|| value.to_owned());
    let same = holder(&again) == holder(&value);
    assert_eq!(same, facts.stays == Stays::Process, "{value} {again}");

    assert!(worker.terminate().expect("an end").success());
    assert!(!store.is_taken(), "SIGTERM releases");
}

fn outlives_its_killed_holder_until_it_expires_and_is_taken_over(facts: &Facts) {
    let store = Store::start(facts);
    let mut worker = store.worker(facts.library, |options| options.ttl(TTL));
    let mut heir = store.worker(facts.library, |options| options.ttl(TTL));
    worker.take().expect("taken");
    let value = store.value();
    heir.ask_to_take().expect("asked");
    if facts.library.renews() {
        // Another who waits for it changes nothing.
        risen(&store);
    }
    worker.kill().expect("killed");
    let (_, end) = store.clocks();
    let gone = wait_for("the end of the lock", || {
        let (now, end_now) = store.clocks();
        if end_now == end {
            return None;
        }
        Some(now)
    });
    assert!(gone >= end, "gone {} ms too early", end - gone);
    heir.await_taken().expect("taken over");
    let new = store.value();
    assert_ne!(new, value);
    assert!(facts.value().is_match(&new), "{new}");
}

fn has_the_librarys_own_time_to_live(facts: &Facts) {
    let store = Store::start(facts);
    let mut worker = store.worker(facts.library, |options| options);
    worker.take().expect("taken");
    let ttl = store.pttl();
    match facts.default_ttl {
        Some(seconds) => assert!(((seconds - 3) * 1_000..=seconds * 1_000).contains(&ttl), "{ttl}"),
        None => assert_eq!(ttl, -1),
    }
    assert_eq!(facts.library.endless_by_default(), ttl == -1);
}

fn shows_its_owner_where_it_can(facts: &Facts) {
    let store = Store::start(facts);
    let mut worker = store.worker(facts.library, |options| options.ttl(TTL).owner(OWNER));
    worker.take().expect("taken");
    let value = store.value();
    match facts.library.owner_in() {
        OwnerIn::Value => {
            let rest = value.strip_prefix(OWNER).and_then(|rest| rest.strip_prefix(':'));
            assert!(uuid(rest.unwrap_or_default()).is_some(), "{value}");
        }
        OwnerIn::HostName => assert!(value.contains(OWNER), "{value}"),
        OwnerIn::JobField => {
            let job = store.key.strip_suffix(":lock").expect("the lock of a job");
            assert_eq!(store.ask(&["HGET", job, "pb"]), OWNER);
            assert!(facts.value().is_match(&value), "{value}");
        }
        OwnerIn::Registry => {
            assert!(facts.value().is_match(&value), "{value}");
            let instances = store.ask(&["HGETALL", "instances"]);
            let (holder, owner) = instances.split_once('\n').expect("one instance");
            assert!(value.contains(holder), "{value} {holder}");
            assert_eq!(owner, OWNER);
        }
        OwnerIn::Nowhere => assert!(facts.value().is_match(&value), "{value}"),
    }
}

/// Frozen, it renews nothing: the lock expires under a process that lives.
fn expires_under_a_frozen_holder(facts: &Facts) {
    let store = Store::start(facts);
    let mut worker = store.worker(facts.library, |options| options.ttl(TTL));
    worker.take().expect("taken");
    worker.freeze().expect("frozen");
    wait_for("the end of the lock", || (!store.is_taken()).then_some(()));
    assert!(worker.pid().is_some());
    worker.thaw().expect("thawed");
}

/// Its lock is gone and another's is there: it says so where the library does, and leaves the other's alone.
fn notices_that_another_has_the_lock(facts: &Facts) {
    let store = Store::start(facts);
    let library = facts.library;
    let mut worker = store.worker(library, |options| options.ttl(TTL));
    worker.take().expect("taken");
    let steal = "redis.call('DEL', KEYS[1]) \
                 if ARGV[1] == 'hash' then return redis.call('HSET', KEYS[1], 'another:1', '1') end \
                 if ARGV[1] == 'zset' then return redis.call('ZADD', KEYS[1], '1e15', 'another') end \
                 return redis.call('SET', KEYS[1], 'another')";
    store.ask(&["EVAL", steal, "1", &store.key, facts.kind]);
    if library.tells_of_loss() {
        let told = worker.event(Duration::from_secs(20)).expect("an event");
        assert!(matches!(told, Event::Lost { .. }), "{told:?}");
    }
    // Some refuse, some don't look.
    let released = worker.release();
    if library.releases_anothers() {
        released.expect("it does not look");
        assert!(!store.is_taken(), "another's lock is removed");
    } else {
        assert!(store.is_taken(), "another's lock stays: {released:?}");
        assert_eq!(store.pttl(), -1, "nor is it given a time to live");
    }
}

fn holds_in_a_majority_of_servers(library: Library) {
    let servers: Vec<_> = (0..3)
        .map(|_| Redis::start(RedisOptions::default()).expect("a Redis"))
        .collect();
    let mut options = Options::new(servers[0].url(), "orders").ttl(TTL);
    options.redis = servers.iter().map(Redis::url).collect();
    let mut worker = Worker::start(library, &options).expect("a worker");
    servers[0].stop().expect("stopped");
    worker.take().expect("two of three are enough");
    let values = [1, 2].map(|server: usize| servers[server].cli(&["GET", "orders"]).expect("an answer"));
    assert!(!values[0].is_empty(), "{values:?}");
    assert_eq!(values[0], values[1]);
    worker.release().expect("released");
    assert_eq!(servers[1].cli(&["EXISTS", "orders"]).expect("an answer"), "0");
}

fn a_refusal_is_told() {
    let redis = Redis::start(RedisOptions::default()).expect("a Redis");
    let mut worker = Worker::start(Library::RedisPy, &Options::new(redis.url(), "orders")).expect("a worker");
    let refused = worker.extend().expect_err("nothing is held").to_string();
    assert!(refused.starts_with("redis-py: `extend` failed: "), "{refused}");
    redis.cli(&["SET", "orders", "another"]).expect("an answer");
    worker.ask_to_take().expect("asked");
    let refused = worker.release().expect_err("it waits for the lock").to_string();
    assert!(refused.contains("`release` failed"), "{refused}");
    assert!(
        worker.terminate().expect("an end").success(),
        "waiting, it ends in order"
    );
    assert_eq!(redis.cli(&["GET", "orders"]).expect("an answer"), "another");
}

type Case = fn(&Facts);

fn main() {
    let mut arguments = Arguments::from_args();
    // These tests wait; the machine has time for several of them.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let cases: [(&str, Case); 6] = [
        ("takes_renews_and_releases", takes_renews_and_releases),
        (
            "outlives_its_killed_holder_until_it_expires_and_is_taken_over",
            outlives_its_killed_holder_until_it_expires_and_is_taken_over,
        ),
        (
            "has_the_librarys_own_time_to_live",
            has_the_librarys_own_time_to_live,
        ),
        ("shows_its_owner_where_it_can", shows_its_owner_where_it_can),
        ("expires_under_a_frozen_holder", expires_under_a_frozen_holder),
        (
            "notices_that_another_has_the_lock",
            notices_that_another_has_the_lock,
        ),
    ];
    assert_eq!(FACTS.len(), Library::ALL.len(), "facts for every library");
    let mut trials: Vec<_> = FACTS
        .iter()
        .flat_map(|facts| cases.iter().map(move |(name, case)| (facts, *name, *case)))
        // Who shares a lock needs not take it over.
        .filter(|(facts, name, _)| !(facts.library.is_shared() && name.ends_with("taken_over")))
        .map(|(facts, name, case)| {
            Trial::test(format!("{}::{name}", facts.library), move || {
                case(facts);
                Ok(())
            })
        })
        .collect();
    let quorum = Library::ALL.into_iter().filter(|library| library.has_quorum());
    let quorum = quorum.map(|library| {
        Trial::test(format!("{library}::holds_in_a_majority_of_servers"), move || {
            holds_in_a_majority_of_servers(library);
            Ok(())
        })
    });
    trials.extend(quorum);
    trials.push(Trial::test("a_refusal_is_told", || {
        a_refusal_is_told();
        Ok(())
    }));
    libtest_mimic::run(&arguments, trials).exit();
}
