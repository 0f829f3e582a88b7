//! The worker against a real Redis: what it takes, renews, releases and gives up.
//!
//! Every test starts a Redis of its own on a free port and workers as processes, and waits for conditions, never
//! for times. The TTLs are the shortest that the library's whole seconds allow.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail it by panicking"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use lockstep_cluster::{Redis, RedisOptions};

const COLLECTIONS: [&str; 4] = ["users", "orders", "products", "logs"];
const POLL: Duration = Duration::from_millis(20);

/// Asks `condition` until it gives something; names what was awaited when it does not within 15 s.
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    // Counted in polls: the house keeps real clocks out of its code.
    for _ in 0..750 {
        if let Some(found) = condition() {
            return found;
        }
        std::thread::sleep(POLL);
    }
    panic!("waited 15 s in vain for: {what}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound")
        .port()
}

/// What the tests ask Redis.
struct Store(Redis);

impl Store {
    fn start() -> Self {
        Self(Redis::start(RedisOptions::default()).expect("a Redis"))
    }

    fn start_on(port: u16) -> Self {
        Self(
            Redis::start(RedisOptions {
                port: Some(port),
                ..RedisOptions::default()
            })
            .expect("a Redis"),
        )
    }

    fn ask(&self, command: &[&str]) -> String {
        self.0.cli(command).expect("an answer")
    }

    /// The lock's value; empty where there is none.
    fn value(&self, collection: &str) -> String {
        self.ask(&["GET", &key(collection)])
    }

    fn held_by(&self, host: &str) -> Vec<&'static str> {
        let holds = |name: &&str| {
            let value = self.value(name);
            let uuid = value.strip_prefix(host).and_then(|rest| rest.strip_prefix('-'));
            uuid.is_some_and(|uuid| uuid.len() == 36)
        };
        COLLECTIONS.into_iter().filter(holds).collect()
    }

    /// Milliseconds until the lock expires; negative where nothing does.
    fn pttl(&self, collection: &str) -> i64 {
        self.ask(&["PTTL", &key(collection)]).parse().expect("a number")
    }
}

struct Worker {
    process: Child,
    health: u16,
    log: PathBuf,
}

impl Worker {
    /// A worker with a TTL of 3 s, refreshed and retried every second, unless `settings` say otherwise.
    fn start(name: &str, redis_port: u16, settings: &[(&str, &str)]) -> Self {
        let health = free_port();
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{health}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_rigatoni-worker"));
        command.env_clear().envs([
            ("REDIS_URL", format!("redis://127.0.0.1:{redis_port}").as_str()),
            ("DATABASE", "mydb"),
            ("COLLECTIONS", &COLLECTIONS.join(",")),
            ("LOCK_TTL_SECONDS", "3"),
            ("LOCK_REFRESH_SECONDS", "1"),
            ("LOCK_RETRY_SECONDS", "1"),
            ("HOSTNAME", name),
            ("HEALTH_ADDRESS", &format!("127.0.0.1:{health}")),
        ]);
        command.envs(settings.iter().copied());
        let process = command
            .stdout(fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("the worker starts");
        Self { process, health, log }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.process.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = wait_for("the worker to end on SIGTERM", || {
            self.process.try_wait().expect("its status")
        });
        (status, self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log")
    }

    /// Status and body of a page of the worker; `None` while it does not listen yet.
    fn page(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.health)).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    fn works_on(&self) -> usize {
        self.page("/collections")
            .map_or(0, |(_, body)| body.lines().count())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn key(collection: &str) -> String {
    format!("rigatoni:lock:mydb:{collection}")
}

#[test]
fn takes_all_renews_them_and_hands_them_over_on_sigterm() {
    let redis = Store::start();
    let first = Worker::start("first-7d4b9-aaaaa", redis.0.port(), &[]);
    wait_for("the first to hold all", || {
        (redis.held_by("first-7d4b9-aaaaa").len() == 4).then_some(())
    });
    assert_eq!(first.page("/readyz").map(|(status, _)| status), Some(200));
    assert_eq!(first.works_on(), 4);

    // A lock that was at its lowest and is near its TTL again was renewed.
    wait_for("the time to run", || (redis.pttl("logs") < 2_300).then_some(()));
    wait_for("a renewal", || (redis.pttl("logs") > 2_700).then_some(()));

    let second = Worker::start("second-7d4b9-bbbbb", redis.0.port(), &[]);
    wait_for("the second to be ready", || {
        second.page("/readyz").filter(|(status, _)| *status == 200)
    });
    assert_eq!(
        (redis.held_by("second-7d4b9-bbbbb").len(), second.works_on()),
        (0, 0)
    );

    let (status, log) = first.stop();
    assert!(status.success(), "{status}");
    assert_eq!(log.matches("lock released").count(), 4, "{log}");
    // Released, not expired: nothing is in the first one's name although its last renewal was just now.
    assert!(redis.held_by("first-7d4b9-aaaaa").is_empty());
    wait_for("the second to hold all", || {
        (redis.held_by("second-7d4b9-bbbbb").len() == 4).then_some(())
    });
    assert_eq!(second.works_on(), 4);

    // No line shows a lock's value: its uuid is nowhere.
    let value = redis.value("users");
    let uuid = &value[value.len() - 36..];
    assert!(!second.log().contains(uuid), "{}", second.log());
}

#[test]
fn max_locks_bounds_what_one_instance_takes() {
    let redis = Store::start();
    let limit = [("MAX_LOCKS", "2")];
    let one = Worker::start("one", redis.0.port(), &limit);
    wait_for("one to hold two", || {
        (redis.held_by("one").len() == 2).then_some(())
    });
    let two = Worker::start("two", redis.0.port(), &limit);
    wait_for("two to hold the others", || {
        (redis.held_by("two").len() == 2).then_some(())
    });
    assert_eq!((one.works_on(), two.works_on()), (2, 2));
    // The second goes: nobody takes its locks, as the first is full.
    assert!(two.stop().0.success());
    assert!(redis.held_by("two").is_empty());
    let kept = redis.held_by("one")[0];
    wait_for("the time to run", || (redis.pttl(kept) < 2_300).then_some(()));
    wait_for("a renewal", || (redis.pttl(kept) > 2_700).then_some(()));
    assert_eq!((redis.held_by("one").len(), one.works_on()), (2, 2));
}

#[test]
fn work_stops_when_a_lock_is_lost_and_the_lock_is_tried_again() {
    let redis = Store::start();
    let worker = Worker::start("worker", redis.0.port(), &[]);
    wait_for("all locks", || (worker.works_on() == 4).then_some(()));
    redis.ask(&[
        "SET",
        &key("users"),
        "another-00000000-0000-0000-0000-000000000000",
        "EX",
        "2",
    ]);
    wait_for("the work on it to stop", || {
        (worker.works_on() == 3).then_some(())
    });
    assert!(worker.log().contains("lock lost"), "{}", worker.log());
    wait_for("the lock to be taken again", || {
        (worker.works_on() == 4).then_some(())
    });
    assert_eq!(redis.held_by("worker").len(), 4);
}

#[test]
fn without_renewal_the_locks_expire_and_are_not_tried_again_by_the_same_process() {
    let redis = Store::start();
    let hung = Worker::start("hung", redis.0.port(), &[]);
    let off = Worker::start(
        "off",
        redis.0.port(),
        &[("COLLECTIONS", "extra"), ("LOCK_RENEWAL", "off")],
    );
    wait_for("all locks", || {
        (hung.works_on() == 4 && off.works_on() == 1).then_some(())
    });
    hung.signal("USR1");
    for worker in [&hung, &off] {
        wait_for("the work to stop", || (worker.works_on() == 0).then_some(()));
        assert_eq!(
            worker.page("/readyz").map(|(status, _)| status),
            Some(200),
            "the process lives"
        );
    }
    wait_for("the locks to be gone", || {
        redis.ask(&["KEYS", "*"]).is_empty().then_some(())
    });
    // One retry interval later they are still free, and another instance takes them.
    let _heir = Worker::start("heir", redis.0.port(), &[]);
    wait_for("another to hold all", || {
        (redis.held_by("heir").len() == 4).then_some(())
    });
    assert!(hung.stop().0.success());
    assert_eq!(
        redis.held_by("heir").len(),
        4,
        "an instance without locks releases none of another's"
    );
}

#[test]
fn redis_may_come_late_and_a_bad_setting_is_named() {
    let port = free_port();
    let worker = Worker::start("early", port, &[]);
    let waiting = wait_for("the endpoint", || worker.page("/readyz"));
    assert_eq!(waiting.0, 503, "{}", waiting.1);
    wait_for("a complaint", || {
        worker.log().contains("no Redis yet").then_some(())
    });
    let redis = Store::start_on(port);
    wait_for("all locks", || (redis.held_by("early").len() == 4).then_some(()));
    assert_eq!(worker.page("/readyz").map(|(status, _)| status), Some(200));

    let mut wrong = Worker::start("wrong", port, &[("LOCK_TTL_SECONDS", "0.5")]);
    let status = wait_for("a refusal", || wrong.process.try_wait().expect("its status"));
    assert!(!status.success());
    assert!(wrong.log().contains("LOCK_TTL_SECONDS"), "{}", wrong.log());
}
