//! The libraries: where each keeps its locks, what it writes, how it is set by default. Pure data.
//!
//! The sources of every figure are in `docs/dialects.md`.

use std::time::Duration;

use super::{OwnerMatch, Pattern, Scheme, names, whole};
use crate::{
    api::spec::Dialect,
    domain::locks::probe::{BesideTemplate, Form, KeyTemplate, Part},
};

/// What a dialect says about keys and timings where the spec is silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Defaults {
    /// What stands before a name in Redis.
    pub key_prefix: &'static str,
    /// What stands behind a name in Redis.
    pub key_suffix: &'static str,
    /// Lifetime of a lock; `None`: whatever the application asks for.
    pub ttl: Option<Duration>,
    /// Renewal; `None`: the library doesn't renew by itself.
    pub renew_interval: Option<Duration>,
    /// Time between two tries to take a lock; `None`: the library has none of its own.
    pub retry_interval: Option<Duration>,
    /// Whether the library refuses to renew less than twice within a ttl.
    pub renews_twice: bool,
    /// Whether a name is a queue, whose job locks are found through its own list.
    pub queues: bool,
}

/// Nothing is known of a library that only the spec describes.
const NONE: Defaults = Defaults {
    key_prefix: "",
    key_suffix: "",
    ttl: None,
    renew_interval: None,
    retry_interval: None,
    renews_twice: false,
    queues: false,
};

/// `rigatoni-core` 0.2.0, `DistributedLockConfig::default()`: `SET rigatoni:lock:{db}:{collection} {hostname}-{uuid} NX EX`.
const RIGATONI: Defaults = Defaults {
    key_prefix: "rigatoni:lock:",
    ttl: Some(secs(30)),
    renew_interval: Some(secs(10)),
    retry_interval: Some(secs(5)),
    renews_twice: true,
    ..NONE
};

/// Bull 4 and BullMQ 6: `lockDuration` 30 s, renewed at half of it. BullMQ looks twice as often: after the first renewal the
/// next come every 7.5 s, but the first comes after 15 s.
const BULL: Defaults = Defaults {
    key_prefix: "bull:",
    key_suffix: ":lock",
    ttl: Some(secs(30)),
    renew_interval: Some(secs(15)),
    queues: true,
    ..NONE
};

/// Redisson 4: `lockWatchdogTimeout` 30 s, renewed at a third of it.
const REDISSON: Defaults = Defaults {
    ttl: Some(secs(30)),
    renew_interval: Some(secs(10)),
    ..NONE
};

/// ShedLock 7, `RedisLockProvider`: the environment is `default` unless it is named.
const SHED_LOCK: Defaults = Defaults {
    key_prefix: "job-lock:default:",
    ..NONE
};

/// Spring Integration 7, `RedisLockRegistry`: `expireAfter` 60 s; renewed only with a task scheduler.
const SPRING_INTEGRATION: Defaults = Defaults {
    ttl: Some(secs(60)),
    ..NONE
};

/// DistributedLock.Redis 2: expiry 30 s, extended at a third of 90 % of it.
const DISTRIBUTED_LOCK_NET: Defaults = Defaults {
    ttl: Some(secs(30)),
    renew_interval: Some(secs(9)),
    ..NONE
};

/// celery-redbeat 2: `lock_timeout` is five times `max_loop_interval` (300 s), extended with each loop; whoever waits for
/// it tries again after `max_loop_interval`.
const RED_BEAT: Defaults = Defaults {
    key_prefix: "redbeat::",
    ttl: Some(secs(1500)),
    renew_interval: Some(secs(300)),
    retry_interval: Some(secs(300)),
    ..NONE
};

/// Laravel 13: `REDIS_PREFIX` and `CACHE_PREFIX` as a fresh application has them.
const LARAVEL: Defaults = Defaults {
    key_prefix: "laravel-database-laravel-cache-",
    ..NONE
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The defaults of a dialect.
#[must_use]
pub const fn defaults(dialect: Dialect) -> &'static Defaults {
    match dialect {
        Dialect::Rigatoni => &RIGATONI,
        Dialect::Bull | Dialect::BullMQ => &BULL,
        Dialect::Redisson => &REDISSON,
        Dialect::ShedLock => &SHED_LOCK,
        Dialect::SpringIntegration => &SPRING_INTEGRATION,
        Dialect::DistributedLockNet => &DISTRIBUTED_LOCK_NET,
        Dialect::RedBeat => &RED_BEAT,
        Dialect::Laravel => &LARAVEL,
        Dialect::Redlock | Dialect::RedisPy | Dialect::Custom => &NONE,
    }
}

/// A library's scheme; `prefix` is what stands before a name in Redis.
pub(super) fn scheme(dialect: Dialect, prefix: &str) -> Option<Scheme> {
    let plain = |pattern| Scheme {
        form: whole(),
        pattern,
        beside: None,
        matches: OwnerMatch::PodName,
    };
    Some(match dialect {
        Dialect::Rigatoni => plain(Some(Pattern::NAME_AND_UUID)),
        Dialect::Bull | Dialect::SpringIntegration => plain(Some(Pattern::UUID)),
        // A worker with the option `name` writes that into the job's own hash.
        Dialect::BullMQ => Scheme {
            beside: Some((
                BesideTemplate::Field(
                    KeyTemplate(format!("{prefix}{{name}}").into()),
                    b"pb".as_slice().into(),
                ),
                None,
            )),
            ..plain(Some(Pattern::UUID_AND_NUMBER))
        },
        Dialect::Redisson => Scheme {
            // A read-write lock keeps its mode among the holders.
            form: Form::HashField {
                ignore: names(["mode"]),
            },
            ..plain(Some(Pattern::UUID_AND_THREAD))
        },
        Dialect::ShedLock => Scheme {
            form: Form::String(Part::WithoutSince(Pattern::ADDED_AT)),
            ..plain(Some(Pattern::ADDED_AT))
        },
        Dialect::DistributedLockNet => plain(Some(Pattern::NAME_NUMBER_AND_HEX)),
        // Random tokens, in as many forms as there are libraries and versions.
        Dialect::Redlock | Dialect::RedisPy | Dialect::RedBeat | Dialect::Laravel => plain(None),
        Dialect::Custom => return None,
    })
}

/// What the application must change so that the owners of a library's locks can be told; `None`: nothing, or with
/// `Custom` whatever `holder` describes. Each line was tried with the library itself, but for Laravel's.
#[must_use]
pub const fn remedy(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Rigatoni | Dialect::ShedLock | Dialect::DistributedLockNet | Dialect::Custom => None,
        Dialect::BullMQ => Some("new Worker(queue, processor, { connection, name: process.env.POD_NAME })"),
        Dialect::Redlock => Some(
            "put the pod's name before the token (node-redlock: redlock._random = () => \
             `${process.env.POD_NAME}:${crypto.randomUUID()}`; redsync: redsync.WithGenValueFunc), and use dialect: Custom \
             with holder.pattern \"(?<owner>[^:]+):.*\"",
        ),
        Dialect::Bull => Some(
            "once after start, queue.client.hset('instances', queue.token, process.env.POD_NAME), and use dialect: Custom \
             with keyPrefix \"bull:QUEUE:\", keySuffix \":lock\", discover: true and holder.registry {key: instances, \
             field: \"{holder}\"}",
        ),
        Dialect::Redisson => Some(
            "once after start, redisson.getMap(\"instances\", StringCodec.INSTANCE).put(redisson.getId(), \
             System.getenv(\"POD_NAME\")), and use dialect: Custom with holder.source {type: HashField, ignore: [mode]}, \
             holder.pattern \"(?<holder>[0-9a-f-]{36}):.*\" and holder.registry {key: instances, field: \"{holder}\"}",
        ),
        Dialect::SpringIntegration => Some(
            "while a lock is held, redis.opsForHash().put(\"instances\", redis.opsForValue().get(\"REGISTRY:LOCK\"), \
             System.getenv(\"POD_NAME\")) with a StringRedisTemplate, and use dialect: Custom with holder.registry {key: \
             instances, field: \"{holder}\"}",
        ),
        Dialect::RedisPy => Some(
            "lock.acquire(token=f\"{os.environ['POD_NAME']}:{uuid4()}\"), and use dialect: Custom with holder.pattern \
             \"(?<owner>[^:]+):.*\"",
        ),
        Dialect::RedBeat => Some(
            "after importing redbeat.schedulers, beat_init.connect(lambda sender, **_: \
             get_redis(sender.app).hset(\"instances\", sender.scheduler.lock.local.token, os.environ[\"POD_NAME\"]), \
             weak=False), and use dialect: Custom with holder.registry {key: instances, field: \"{holder}\"}",
        ),
        Dialect::Laravel => Some(
            "Cache::lock($name, $seconds, getenv('POD_NAME').':'.Str::random()), and use dialect: Custom with \
             holder.pattern \"(?<owner>[^:]+):.*\"",
        ),
    }
}
