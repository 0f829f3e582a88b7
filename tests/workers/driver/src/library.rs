//! Which libraries there are, and what a test may rely on. Pure.

use std::fmt;

/// A library that takes locks in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Library {
    /// npm `redlock`, the 5.0 beta: `using`, in one or more Redis servers.
    Redlock,
    /// npm `bull`: the lock of a job that is worked on.
    Bull,
    /// npm `bullmq`: the lock of a job that is worked on.
    BullMq,
    /// `PyPI` `redis`: its class `Lock`.
    RedisPy,
    /// `PyPI` `python-redis-lock`.
    PythonRedisLock,
    /// `PyPI` `celery-redbeat`: the lock of Celery's own beat service.
    RedBeat,
    /// crates.io `rslock`: `using`, in one or more Redis servers.
    Rslock,
    /// crates.io `rigatoni-core`: its pipeline, over the store of `rigatoni-stores`.
    Rigatoni,
    /// Maven `redisson`: an `RLock` with its watchdog.
    Redisson,
    /// Maven `shedlock-provider-redis-spring`: the lock of a scheduled task.
    ShedLock,
    /// Maven `spring-integration-redis`: a lock of a `RedisLockRegistry` that renews.
    SpringIntegration,
}

/// Where a library's locks show the owner that a worker is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerIn {
    /// The value is the owner's name and nothing else, since the application sets the value.
    Value,
    /// The value contains the host name, which in a container is the pod's name.
    HostName,
    /// Field `pb` of the hash beside the lock: its key without the `:lock` at the end.
    JobField,
    /// Nowhere: the value is the library's own.
    Nowhere,
}

/// What makes a library's program run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// Node, with this program of `tests/workers/node`.
    Node(&'static str),
    /// Python, with this program of `tests/workers/python`.
    Python(&'static str),
    /// None, with this program of `tests/workers/rust`.
    Rust(&'static str),
    /// Java, with this argument to the program of `tests/workers/jvm`.
    Jvm(&'static str),
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Redlock,
        Self::Bull,
        Self::BullMq,
        Self::RedisPy,
        Self::PythonRedisLock,
        Self::RedBeat,
        Self::Rslock,
        Self::Rigatoni,
        Self::Redisson,
        Self::ShedLock,
        Self::SpringIntegration,
    ];

    /// Whether it takes a lock in a majority of several servers.
    #[must_use]
    pub fn has_quorum(self) -> bool {
        match self {
            Self::Redlock | Self::Rslock => true,
            Self::Bull
            | Self::BullMq
            | Self::RedisPy
            | Self::PythonRedisLock
            | Self::RedBeat
            | Self::Rigatoni
            | Self::Redisson
            | Self::ShedLock
            | Self::SpringIntegration => false,
        }
    }

    /// The package's name in its registry.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Redlock => "redlock",
            Self::Bull => "bull",
            Self::BullMq => "bullmq",
            Self::RedisPy => "redis",
            Self::PythonRedisLock => "python-redis-lock",
            Self::RedBeat => "celery-redbeat",
            Self::Rslock => "rslock",
            Self::Rigatoni => "rigatoni-core",
            Self::Redisson => "redisson",
            Self::ShedLock => "shedlock",
            Self::SpringIntegration => "spring-integration-redis",
        }
    }

    /// Whether a held lock is renewed without the command `extend`. Locks without a time to live are not renewed by
    /// anything.
    #[must_use]
    pub fn renews(self) -> bool {
        match self {
            Self::Redlock
            | Self::Bull
            | Self::BullMq
            | Self::PythonRedisLock
            | Self::RedBeat
            | Self::Rslock
            | Self::Rigatoni
            | Self::Redisson
            | Self::SpringIntegration => true,
            Self::RedisPy | Self::ShedLock => false,
        }
    }

    /// Whether a lock that is taken without naming a time to live has none.
    #[must_use]
    pub fn endless_by_default(self) -> bool {
        match self {
            Self::RedisPy | Self::PythonRedisLock => true,
            Self::Redlock
            | Self::Bull
            | Self::BullMq
            | Self::RedBeat
            | Self::Rslock
            | Self::Rigatoni
            | Self::Redisson
            | Self::ShedLock
            | Self::SpringIntegration => false,
        }
    }

    /// Where an owner is seen.
    #[must_use]
    pub fn owner_in(self) -> OwnerIn {
        match self {
            Self::RedisPy | Self::PythonRedisLock => OwnerIn::Value,
            Self::Rigatoni | Self::ShedLock => OwnerIn::HostName,
            Self::BullMq => OwnerIn::JobField,
            Self::Redlock
            | Self::Bull
            | Self::RedBeat
            | Self::Rslock
            | Self::Redisson
            | Self::SpringIntegration => OwnerIn::Nowhere,
        }
    }

    pub(crate) fn runtime(self) -> Runtime {
        match self {
            Self::Redlock => Runtime::Node("redlock.mjs"),
            Self::Bull => Runtime::Node("bull.mjs"),
            Self::BullMq => Runtime::Node("bullmq.mjs"),
            Self::RedisPy => Runtime::Python("worker_redis.py"),
            Self::PythonRedisLock => Runtime::Python("worker_redis_lock.py"),
            Self::RedBeat => Runtime::Python("worker_redbeat.py"),
            Self::Rslock => Runtime::Rust("rslock-worker"),
            Self::Rigatoni => Runtime::Rust("rigatoni-pipeline-worker"),
            Self::Redisson | Self::ShedLock | Self::SpringIntegration => Runtime::Jvm(self.package()),
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.package())
    }
}
