//! Which libraries there are, and what a test may rely on. Pure.

use std::fmt;

/// A library that takes locks in Redis, and which of its kinds of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Library {
    /// npm `redlock`, the 5.0 beta: `using`, in one or more Redis servers.
    Redlock,
    /// npm `bull`: the lock of a job that is worked on.
    Bull,
    /// npm `bullmq`: the lock of a job that is worked on.
    BullMq,
    /// npm `redis-semaphore`: a mutex.
    Mutex,
    /// npm `redis-semaphore`: the only permit of a semaphore, in a sorted set.
    Semaphore,
    /// `PyPI` `redis`: its class `Lock`.
    RedisPy,
    /// `PyPI` `python-redis-lock`.
    PythonRedisLock,
    /// `PyPI` `celery-redbeat`: the lock of Celery's own beat service.
    RedBeat,
    /// Crate `rslock`: `using`, in one or more Redis servers.
    Rslock,
    /// Crate `rigatoni-core`: its pipeline, over the store of `rigatoni-stores`.
    Rigatoni,
    /// Maven `redisson`: an `RLock` with its watchdog.
    Redisson,
    /// Maven `redisson`: a fair lock.
    RedissonFair,
    /// Maven `redisson`: the read half of a read-write lock, which any number may have.
    RedissonRead,
    /// Maven `redisson`: the write half of a read-write lock.
    RedissonWrite,
    /// Maven `shedlock-provider-redis-spring`: the lock of a scheduled task.
    ShedLock,
    /// Maven `spring-integration-redis`: a lock of a `RedisLockRegistry` that renews.
    SpringIntegration,
}

/// Where a library's locks show the owner that a worker is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerIn {
    /// The application makes the value: it is the owner's name, a colon and a UUID.
    Value,
    /// The value contains the host name, which in a container is the pod's name.
    HostName,
    /// Field `pb` of the hash beside the lock: its key without the `:lock` at the end.
    JobField,
    /// The hash `instances`, written by the application: its fields are holders, as they stand in values.
    Registry,
    /// Nowhere: the value is the library's own, and the application doesn't learn it.
    Nowhere,
}

/// What makes a library's program run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// Node, with this program of `tests/workers/node` and its argument.
    Node(&'static str, Option<&'static str>),
    /// Python, with this program of `tests/workers/python`.
    Python(&'static str),
    /// None, with this program of `tests/workers/rust`.
    Rust(&'static str),
    /// Java, with this argument to the program of `tests/workers/jvm`.
    Jvm(&'static str),
}

/// What is said of a library in one place, so that a new one is complete.
struct Profile {
    name: &'static str,
    runtime: Runtime,
    owner_in: OwnerIn,
    traits: &'static [Trait],
}

/// What some libraries' locks are and others' are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trait {
    Renews,
    EndlessByDefault,
    Quorum,
    Shared,
    TellsOfLoss,
    ReleasesAnothers,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Redlock,
        Self::Bull,
        Self::BullMq,
        Self::Mutex,
        Self::Semaphore,
        Self::RedisPy,
        Self::PythonRedisLock,
        Self::RedBeat,
        Self::Rslock,
        Self::Rigatoni,
        Self::Redisson,
        Self::RedissonFair,
        Self::RedissonRead,
        Self::RedissonWrite,
        Self::ShedLock,
        Self::SpringIntegration,
    ];

    fn profile(self) -> Profile {
        use OwnerIn::{HostName, JobField, Nowhere, Registry, Value};
        use Trait::{EndlessByDefault, Quorum, ReleasesAnothers, Renews, Shared, TellsOfLoss};
        let of = |name, runtime, owner_in, traits| Profile {
            name,
            runtime,
            owner_in,
            traits,
        };
        let node = |program| Runtime::Node(program, None);
        let semaphore = |kind| Runtime::Node("redis-semaphore.mjs", Some(kind));
        let jvm = |name, owner_in, traits| of(name, Runtime::Jvm(name), owner_in, traits);
        let python = Runtime::Python;
        let rust = Runtime::Rust;
        match self {
            Self::Redlock => of(
                "redlock",
                node("redlock.mjs"),
                Value,
                &[Renews, Quorum, TellsOfLoss],
            ),
            Self::Bull => of("bull", node("bull.mjs"), Registry, &[Renews]),
            Self::BullMq => of("bullmq", node("bullmq.mjs"), JobField, &[Renews, TellsOfLoss]),
            Self::Mutex => of(
                "redis-semaphore-mutex",
                semaphore("mutex"),
                Value,
                &[Renews, TellsOfLoss],
            ),
            Self::Semaphore => of(
                "redis-semaphore",
                semaphore("semaphore"),
                Value,
                &[Renews, TellsOfLoss],
            ),
            Self::RedisPy => of("redis-py", python("worker_redis.py"), Value, &[EndlessByDefault]),
            Self::PythonRedisLock => {
                let program = python("worker_redis_lock.py");
                of(
                    "python-redis-lock",
                    program,
                    Value,
                    &[Renews, EndlessByDefault, TellsOfLoss],
                )
            }
            Self::RedBeat => of(
                "celery-redbeat",
                python("worker_redbeat.py"),
                Registry,
                &[Renews, TellsOfLoss],
            ),
            Self::Rslock => of(
                "rslock",
                rust("rslock-worker"),
                Nowhere,
                &[Renews, Quorum, TellsOfLoss],
            ),
            Self::Rigatoni => of(
                "rigatoni",
                rust("rigatoni-pipeline-worker"),
                HostName,
                &[Renews, TellsOfLoss],
            ),
            Self::Redisson => jvm("redisson", Registry, &[Renews]),
            Self::RedissonFair => jvm("redisson-fair", Registry, &[Renews]),
            Self::RedissonRead => jvm("redisson-read", Registry, &[Renews, Shared]),
            Self::RedissonWrite => jvm("redisson-write", Registry, &[Renews]),
            Self::ShedLock => jvm("shedlock", HostName, &[ReleasesAnothers]),
            Self::SpringIntegration => jvm("spring-integration-redis", Nowhere, &[Renews]),
        }
    }

    /// Its name in messages and names of tests.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.profile().name
    }

    /// Whether a held lock that has a time to live is renewed without the command `extend`.
    #[must_use]
    pub fn renews(self) -> bool {
        self.is(Trait::Renews)
    }

    /// Whether a lock that is taken without naming a time to live has none.
    #[must_use]
    pub fn endless_by_default(self) -> bool {
        self.is(Trait::EndlessByDefault)
    }

    /// Whether it takes a lock in a majority of several servers.
    #[must_use]
    pub fn has_quorum(self) -> bool {
        self.is(Trait::Quorum)
    }

    /// Whether several may have the lock at once.
    #[must_use]
    pub fn is_shared(self) -> bool {
        self.is(Trait::Shared)
    }

    /// Whether the library says that it lost a lock. One that doesn't stops renewing and says nothing.
    #[must_use]
    pub fn tells_of_loss(self) -> bool {
        self.is(Trait::TellsOfLoss)
    }

    /// Whether its release removes a lock that another has by then.
    #[must_use]
    pub fn releases_anothers(self) -> bool {
        self.is(Trait::ReleasesAnothers)
    }

    /// Where an owner is seen.
    #[must_use]
    pub fn owner_in(self) -> OwnerIn {
        self.profile().owner_in
    }

    pub(crate) fn runtime(self) -> Runtime {
        self.profile().runtime
    }

    fn is(self, wanted: Trait) -> bool {
        self.profile().traits.contains(&wanted)
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
