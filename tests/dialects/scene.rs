//! A Redis, a resource that watches a lock in it through the real observer, and the status that comes of it.

use std::time::Duration;

use lockstep::api::{CoordinatedWorkload, CoordinatedWorkloadStatus};
use lockstep::clock;
use lockstep::domain::{
    Now, Observed,
    assessment::StoreView,
    children::LiveChildren,
    decide,
    judgement::Judged,
    locks::{Hold, KeySnapshot, KeyState, Link, Observation},
    memory::Memory,
    neighbours::Neighbours,
    ownership::{ContainerView, PodView},
    report,
    workload::{self, Workload},
};
use lockstep::observer::{
    EndpointRules, Host, Interest, Observers, Secret, Servers, Settings, Target, WorkloadKey,
};
use lockstep_cluster::{Redis, RedisOptions};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::rights::{NAME, user};

/// Pods of the resource `shop`.
pub(crate) const A: &str = "shop-7d9c8b6f5d-bbbbb";
pub(crate) const B: &str = "shop-7d9c8b6f5d-ccccc";

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Scene {
    pub(crate) redis: Redis,
    pub(crate) pods: Vec<PodView>,
    pub(crate) workload: Workload,
    observers: Observers,
    resource: CoordinatedWorkload,
    memory: Memory,
    runtime: Runtime,
}

/// One look.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) seen: Observation,
    pub(crate) judged: Vec<Judged>,
    pub(crate) status: CoordinatedWorkloadStatus,
}

impl Look {
    /// The lock that the scene is about, declared or discovered.
    pub(crate) fn key(&self) -> Option<&KeySnapshot> {
        let found = self.seen.discovered.iter().flat_map(|found| &found.keys);
        self.seen.keys.iter().chain(found).next()
    }

    pub(crate) fn hold(&self) -> Option<&Hold> {
        match &self.key()?.state {
            KeyState::Held(hold) => Some(hold),
            KeyState::Unknown | KeyState::Absent { .. } | KeyState::WrongType { .. } => None,
        }
    }

    pub(crate) fn reason(&self, condition: &str) -> &str {
        let conditions = &self.status.conditions;
        let found = conditions.iter().find(|found| found.type_ == condition);
        found.map_or("", |found| &found.reason)
    }
}

/// Nothing that Lockstep's user asked for was refused.
impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let refused = self.redis.cli(&["ACL", "LOG"]).expect("an answer");
            assert!(!refused.lines().any(|word| word == NAME), "{refused}");
        }
    }
}

impl Scene {
    /// Two pods, and one set of locks in a Redis of its own.
    pub(crate) fn new(set: &Value) -> Self {
        let redis = Redis::start(RedisOptions {
            args: user(),
            ..RedisOptions::default()
        })
        .expect("a Redis");
        Self::of(redis, set)
    }

    pub(crate) fn of(redis: Redis, set: &Value) -> Self {
        let mut whole = json!({ "name": "orders", "hold": "Continuous", "balance": { "enabled": false } });
        for (field, value) in set.as_object().expect("a set") {
            whole[field] = value.clone();
        }
        let resource: CoordinatedWorkload = serde_json::from_value(json!({
            "apiVersion": "lockstep.dev/v1alpha1",
            "kind": "CoordinatedWorkload",
            "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "generation": 1 },
            "spec": {
                "template": { "spec": { "containers": [{ "name": "main", "image": "x" }] } },
                "redis": { "url": redis.url() },
                "locks": [whole],
            },
        }))
        .expect("a resource");
        let (observers, _) = Observers::new(Settings {
            cluster_domain: "cluster.local".into(),
            dns_server: None,
            in_cluster: false,
            rules: EndpointRules::default(),
        });
        Self {
            workload: workload::parse(&resource).expect("a valid resource"),
            redis,
            pods: [A, B].map(pod).into(),
            observers,
            resource,
            memory: Memory::from_status(&CoordinatedWorkloadStatus::default()),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime"),
        }
    }

    /// What is seen and said now.
    pub(crate) fn look(&mut self) -> Look {
        let who = WorkloadKey {
            namespace: "prod".into(),
            name: "shop".into(),
        };
        let target = Target {
            namespace: "prod".into(),
            servers: Servers::One(Host {
                name: self.redis.address().to_string(),
                port: self.redis.port(),
            }),
            database: 0,
            username: Some(Secret::new(NAME)),
            password: Some(Secret::new(NAME)),
            tls: None,
        };
        let interest = Interest {
            locks: self.workload.probes().cloned().collect(),
            places: self.workload.places().cloned().collect(),
            renewed: vec![],
        };
        let _on = self.runtime.enter();
        let seen = self.observers.observe(&who, vec![target], interest).pop();
        let seen = seen.expect("one observation");
        let store = StoreView {
            place: "redis".into(),
            port: None,
            identity: 1,
            seen: Ok(seen.clone()),
        };
        let workload = Ok(self.workload.clone());
        let observed = Observed {
            resource: &self.resource,
            workload: &workload,
            live: &LiveChildren::default(),
            pods: &self.pods,
            neighbours: &Neighbours::default(),
            store: Some(&store),
        };
        let now = Now {
            mono: clock::mono(),
            wall: clock::wall(),
        };
        let decision = decide(&observed, &mut self.memory, now);
        let status = report(&observed, &decision, None, &mut self.memory, now);
        self.resource.status = Some(status.clone());
        Look {
            seen,
            judged: decision.assessment.locks,
            status,
        }
    }

    /// Looks until `wanted` finds what is waited for.
    pub(crate) fn wait<T>(&mut self, what: &str, wanted: impl Fn(&Look) -> Option<T>) -> T {
        let deadline = clock::mono() + PATIENCE;
        loop {
            let look = self.look();
            if let Some(found) = wanted(&look) {
                return found;
            }
            assert!(
                clock::mono() < deadline,
                "not seen in time: {what}; last {look:#?}"
            );
            self.runtime
                .block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
        }
    }

    pub(crate) fn up(&mut self) -> Look {
        self.wait("a connection", |look| {
            matches!(look.seen.link, Link::Up { .. }).then_some(())
        });
        self.look()
    }

    /// How often Redis was asked by a command, by whomever.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let stats = self.redis.cli(&["INFO", "commandstats"]).expect("an answer");
        let prefix = format!("cmdstat_{command}:calls=");
        let mut lines = stats.lines();
        let calls = lines.find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok());
        calls.unwrap_or(0)
    }
}

/// A pod that runs.
pub(crate) fn pod(name: &str) -> PodView {
    PodView {
        name: name.into(),
        uid: format!("uid of {name}"),
        ready_since: Some(clock::wall()),
        containers: vec![ContainerView {
            name: "main".into(),
            running: true,
            ..ContainerView::default()
        }],
        ..PodView::default()
    }
}
