//! Every library that runs in tests: how a resource reads its locks as they are, and how once the application shows its
//! pods as the advice for that library says.

use lockstep_workers::Library;
use serde_json::{Value, json};

/// One library.
pub(crate) struct Row {
    pub(crate) library: Library,
    /// Part of the set that names the lock.
    lock: Value,
    /// The rest of it for locks as they are without the application's help, where owners can't be told then.
    untold: Option<Value>,
    /// The rest of it where the owner can be told; `None`: never.
    told: Option<Value>,
}

impl Row {
    /// A set whose owners can't be told.
    pub(crate) fn untold(&self) -> Option<Value> {
        Some(self.with(self.untold.as_ref()?))
    }

    /// A set whose owners can be told.
    pub(crate) fn told(&self) -> Option<Value> {
        Some(self.with(self.told.as_ref()?))
    }

    /// A set whose owners are told if they ever are, and whether they are.
    pub(crate) fn best(&self) -> (Value, bool) {
        match (self.told(), self.untold()) {
            (Some(told), _) => (told, true),
            (None, Some(untold)) => (untold, false),
            (None, None) => unreachable!("every library is read one way or the other"),
        }
    }

    /// Whether the lock is that of a job, which is found and not declared.
    pub(crate) fn is_job(&self) -> bool {
        matches!(self.library, Library::Bull | Library::BullMq)
    }

    fn with(&self, reading: &Value) -> Value {
        let mut set = self.lock.clone();
        for (field, value) in reading.as_object().expect("fields") {
            set[field] = value.clone();
        }
        set
    }
}

/// Every library that can be read. A semaphore of redis-semaphore can't: its scores are when a permit was taken or
/// renewed, and not when it ends.
pub(crate) fn rows() -> Vec<Row> {
    // Three seconds, which are renewed: short, and whole seconds, as some libraries know no others.
    let named = |name: &str| json!({ "names": [name], "ttl": "3s", "renewInterval": "1s" });
    let dialect = |dialect: &str| Some(json!({ "dialect": dialect }));
    let custom = |holder: Value| Some(json!({ "dialect": "Custom", "holder": holder }));
    let in_front = || custom(json!({ "pattern": "(?<owner>[^:]+):.*" }));
    let opaque = || custom(json!({ "pattern": "(?<holder>.+)" }));
    let instances = || json!({ "key": "instances", "field": "{holder}" });
    let of_client = || {
        custom(json!({ "source": { "type": "HashField", "ignore": ["mode"] },
            "pattern": "(?<holder>[0-9a-f-]{36}):.*", "registry": instances() }))
    };
    let row = |library, lock, untold, told| Row {
        library,
        lock,
        untold,
        told,
    };
    let prefixed = |prefix: &str, name: &str| {
        let mut lock = named(name);
        lock["keyPrefix"] = json!(prefix);
        lock
    };
    let redisson = |library| row(library, named("orders"), dialect("Redisson"), of_client());
    let jobs = json!({ "hold": "Intermittent", "ttl": "3s", "renewInterval": "1s" });
    vec![
        row(Library::Redlock, named("orders"), dialect("Redlock"), in_front()),
        row(
            Library::Bull,
            jobs.clone(),
            Some(json!({ "dialect": "Bull", "names": ["orders"] })),
            Some(
                json!({ "dialect": "Custom", "keyPrefix": "bull:orders:", "keySuffix": ":lock", "discover": true,
                "holder": { "registry": instances() } }),
            ),
        ),
        row(
            Library::BullMq,
            jobs,
            Some(json!({ "dialect": "BullMQ", "names": ["orders"] })),
            Some(json!({ "dialect": "BullMQ", "names": ["orders"] })),
        ),
        row(Library::Mutex, prefixed("mutex:", "orders"), opaque(), in_front()),
        row(Library::RedisPy, named("orders"), dialect("RedisPy"), in_front()),
        row(
            Library::PythonRedisLock,
            prefixed("lock:", "orders"),
            dialect("RedisPy"),
            in_front(),
        ),
        row(
            Library::RedBeat,
            prefixed("orders::", "lock"),
            dialect("RedBeat"),
            custom(json!({ "registry": instances() })),
        ),
        row(Library::Rslock, named("orders"), dialect("Redlock"), None),
        row(Library::Rigatoni, named("mydb:orders"), None, dialect("Rigatoni")),
        redisson(Library::Redisson),
        redisson(Library::RedissonFair),
        redisson(Library::RedissonRead),
        redisson(Library::RedissonWrite),
        row(Library::ShedLock, named("orders"), None, dialect("ShedLock")),
        row(
            Library::SpringIntegration,
            prefixed("registry:", "orders"),
            dialect("SpringIntegration"),
            None,
        ),
    ]
}
