//! A small world that drives the core as `reconcile` does: a Redis behind the real table of keys, pods, a Deployment,
//! two clocks, a status that goes through JSON, and operators that restart.

mod advice;
mod golden;
mod random;
mod stories;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Decision, Now, Observed,
    assessment::StoreView,
    children::{self, Children, Failure, FailureKind, Live, LiveChildren, Outcome},
    decide,
    locks::{
        Answer, Discovered, Evidence, Link, Mode, Mono, Observation, Trouble,
        probe::Probe,
        table::{Event, ONLY, Table},
    },
    memory::{Announcement, Memory},
    neighbours::{Neighbours, strangers},
    ownership::{ContainerEnd, ContainerView, PodView},
    report,
    status::{
        announce, find,
        rules::{self, Write},
    },
    workload::{self, Workload},
};
use crate::api::{
    CoordinatedWorkload, CoordinatedWorkloadStatus,
    conditions::{ConditionType, EventReason},
};

/// Pods of the workload.
const A: &str = "shop-7d9c8b6f5d-bbbbb";
const B: &str = "shop-7d9c8b6f5d-ccccc";
const C: &str = "shop-7d9c8b6f5d-ddddd";
/// What stands behind a pod's name in a holder's value, and must never be seen again.
const SECRET: &str = "5ec2e7ab-aaaa-4bbb-8ccc-0123456789ab";
/// Status is written at most this often.
const PACE: Duration = Duration::from_secs(2);
/// An operator starts its clock somewhere.
const START: Duration = Duration::from_hours(1);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A key in Redis.
#[derive(Clone, Debug)]
struct Stored {
    value: String,
    ttl: Option<Duration>,
    expires: Option<Mono>,
    renewed_next: Option<Mono>,
}

/// What one operator knows, and forgets when it restarts.
struct Operator {
    table: Table,
    mode: Option<Mode>,
    link: Link,
    memory: Memory,
    recheck: Option<Mono>,
    /// Locks whose part of the cluster isn't there, and since when.
    hidden: Option<(String, Mono)>,
    /// Names of the events that it posted.
    posted: BTreeSet<(EventReason, String)>,
}

impl Operator {
    fn new(status: &CoordinatedWorkloadStatus, keys: &[Arc<Probe>], now: Mono) -> Self {
        let mut table = Table::default();
        for key in keys {
            table.watch(key, ONLY, now);
        }
        Self {
            table,
            mode: None,
            link: Link::Connecting {
                since: now,
                trouble: None,
            },
            memory: Memory::from_status(status),
            recheck: None,
            hidden: None,
            posted: BTreeSet::new(),
        }
    }

    fn observe(&self, keys: &[Arc<Probe>], found: &[Arc<Probe>], now: Mono) -> StoreView {
        let snapshots = |keys: &[Arc<Probe>]| keys.iter().map(|key| self.table.snapshot(key)).collect();
        StoreView {
            place: "redis:6379 (database 0)".into(),
            port: Some(6379),
            identity: 1,
            seen: Ok(Observation {
                at: now,
                link: self.link.clone(),
                hidden: self
                    .hidden
                    .as_ref()
                    .map(|(_, since)| (Trouble::ClusterDown, *since)),
                health: Some(Arc::default()),
                discovered: vec![Discovered {
                    keys: snapshots(found),
                    more: false,
                }],
                keys: snapshots(keys),
            }),
        }
    }
}

struct World {
    now: Mono,
    resource: CoordinatedWorkload,
    /// Wanted replicas, and whether the Deployment rolls out.
    wanted: i32,
    rolling: bool,
    /// The Deployment controller's pods are refused, in these words; the Deployment then lacks its minimum.
    refused: Option<&'static str>,
    /// A request for the Deployment fails like this.
    failure: Option<FailureKind>,
    pods: Vec<PodView>,
    /// Pods of other workloads of the namespace.
    others: BTreeSet<&'static str>,
    data: BTreeMap<String, Stored>,
    /// Locks that turned up in the only place where any do, in the order of their keys.
    found: Vec<Arc<Probe>>,
    /// How the server is reached; `None`: not at all.
    server: Option<Mode>,
    operator: Operator,
    events: Vec<Announcement>,
    /// Until when status told of the matter of each of them, and when it was posted.
    posted: Vec<(Timestamp, Timestamp)>,
    /// When nobody watched Redis, from and to.
    blind: Vec<(Timestamp, Option<Timestamp>)>,
    writes: usize,
    written_at: Option<Mono>,
}

/// A spec of one Continuous Rigatoni set with these locks, and changes of the set.
fn spec(names: &[&str], change: &Value) -> Value {
    let mut set = json!({ "name": "jobs", "hold": "Continuous", "dialect": "Rigatoni", "names": names });
    for (name, value) in change.as_object().into_iter().flatten() {
        set[name] = value.clone();
    }
    json!({
        "template": { "spec": { "containers": [{ "name": "main", "image": "x" }] } },
        "redis": { "url": "redis://redis:6379" },
        "locks": [set],
    })
}

impl World {
    /// A Redis, three Ready pods, nothing held, nothing reported.
    fn new(spec: &Value) -> Self {
        let resource: CoordinatedWorkload = serde_json::from_value(json!({
            "apiVersion": "lockstep.dev/v1alpha1",
            "kind": "CoordinatedWorkload",
            "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "generation": 1 },
            "spec": spec,
        }))
        .unwrap();
        let now = Mono(START);
        let mut world = Self {
            now,
            resource,
            wanted: 3,
            rolling: false,
            refused: None,
            failure: None,
            pods: vec![],
            others: BTreeSet::new(),
            data: BTreeMap::new(),
            found: vec![],
            server: Some(Mode::Tracking),
            operator: Operator::new(&CoordinatedWorkloadStatus::default(), &[], now),
            events: vec![],
            posted: vec![],
            blind: vec![],
            writes: 0,
            written_at: None,
        };
        for name in [A, B, C] {
            world.start(name);
        }
        world.restart();
        world
    }

    /// The same, with every lock held by the pods in turn and the first verdict written.
    fn healthy(spec: &Value) -> Self {
        let mut world = Self::new(spec);
        let names = world.names();
        for (at, name) in names.iter().enumerate() {
            world.take(name, [A, B, C][at % 3]);
        }
        // Between two renewals.
        world.advance(secs(703));
        world.events.clear();
        world.posted.clear();
        assert_eq!(world.reason(ConditionType::LocksHeld), "AllHeld");
        world
    }

    fn wall(&self) -> Timestamp {
        // Not a whole second: what is shown must not depend on it.
        let start = Timestamp::from_millisecond(1_800_000_000_900).unwrap();
        start.checked_add(self.now.0.saturating_sub(START)).unwrap()
    }

    fn moment(&self) -> Now {
        Now {
            mono: self.now,
            wall: self.wall(),
        }
    }

    fn workload(&self) -> Result<Workload, Vec<workload::Problem>> {
        workload::parse(&self.resource)
    }

    fn names(&self) -> Vec<String> {
        let workload = self.workload().unwrap();
        let locks = workload.locks.iter().flat_map(|set| &set.locks);
        locks.map(|lock| lock.name.clone()).collect()
    }

    fn keys(&self) -> Vec<Arc<Probe>> {
        let workload = self.workload();
        let sets = workload.iter().flat_map(|workload| &workload.locks);
        sets.flat_map(|set| &set.locks)
            .map(|lock| Arc::clone(&lock.probe))
            .collect()
    }

    fn watched(&self) -> Vec<Arc<Probe>> {
        self.keys()
            .into_iter()
            .chain(self.found.iter().cloned())
            .collect()
    }

    /// A lock of this name turns up, and is read from now on.
    fn turn_up(&mut self, name: &str) {
        let workload = self.workload().unwrap();
        let place = workload.places().next().unwrap();
        let probe = Arc::new(place.named(name.as_bytes()));
        self.operator.table.watch(&probe, ONLY, self.now);
        self.found.push(probe);
        self.found.sort_by(|one, other| one.key.cmp(&other.key));
    }

    fn respec(&mut self, spec: &Value) {
        let old = self.keys();
        self.resource.spec = serde_json::from_value(spec.clone()).unwrap();
        *self.resource.metadata.generation.as_mut().unwrap() += 1;
        let new = self.keys();
        if self.workload().is_ok() {
            for key in old.iter().filter(|key| !new.contains(key)) {
                self.operator.table.forget(key);
            }
            for key in &new {
                self.operator.table.watch(key, ONLY, self.now);
            }
        }
    }

    // Pods.

    fn start(&mut self, name: &str) {
        self.pods.retain(|pod| pod.name != name);
        self.pods.push(PodView {
            name: name.into(),
            uid: format!("uid of {name} at {:?}", self.now.0),
            ready_since: Some(self.wall()),
            containers: vec![ContainerView {
                name: "main".into(),
                running: true,
                ..ContainerView::default()
            }],
            ..PodView::default()
        });
    }

    fn pod(&mut self, name: &str) -> &mut PodView {
        self.pods.iter_mut().find(|pod| pod.name == name).unwrap()
    }

    /// Its process ends at once and renews nothing any more.
    fn silence(&mut self, name: &str) {
        for stored in self
            .data
            .values_mut()
            .filter(|stored| stored.value.starts_with(name))
        {
            stored.renewed_next = None;
        }
    }

    fn delete(&mut self, name: &str) {
        self.silence(name);
        self.pods.retain(|pod| pod.name != name);
    }

    /// SIGKILL: the kubelet starts the container again in the same pod.
    fn crash(&mut self, name: &str) {
        self.silence(name);
        let container = &mut self.pod(name).containers[0];
        container.restarts += 1;
        container.last_end = Some(ContainerEnd {
            reason: "OOMKilled".into(),
            exit_code: 137,
        });
    }

    // Redis.

    fn key(name: &str) -> String {
        format!("rigatoni:lock:{name}")
    }

    fn put(&mut self, key: &str, value: String, ttl: Option<Duration>, renewed: bool) {
        let stored = Stored {
            value,
            ttl,
            expires: ttl.map(|ttl| self.now + ttl),
            renewed_next: renewed.then(|| self.now + secs(10)),
        };
        self.data.insert(key.to_owned(), stored);
        self.changed(key);
    }

    fn take(&mut self, name: &str, pod: &str) {
        self.put(&Self::key(name), format!("{pod}-{SECRET}"), Some(secs(30)), true);
    }

    fn release(&mut self, name: &str) {
        self.data.remove(&Self::key(name));
        self.changed(&Self::key(name));
    }

    /// Whether a pod holds a lock, as it is stored.
    fn is_held_by(&self, name: &str, pod: &str) -> bool {
        let stored = self.data.get(&Self::key(name));
        stored.is_some_and(|stored| stored.value.starts_with(pod))
    }

    fn changed(&mut self, key: &str) {
        if self.server == Some(Mode::Tracking) {
            self.operator
                .table
                .apply(Event::Invalidated(key.as_bytes()), self.now);
        }
    }

    fn cut(&mut self) {
        self.server = None;
        self.blind.push((self.wall(), None));
        let since = self.now;
        self.operator.table.apply(Event::Doubt(ONLY), since);
        self.operator.mode = None;
        let trouble = Trouble::Unreachable;
        self.operator.link = match &self.operator.link {
            Link::Up { .. } => Link::Down { since, trouble },
            Link::Down { since, .. } => Link::Down {
                since: *since,
                trouble,
            },
            Link::Connecting { since, .. } => Link::Connecting {
                since: *since,
                trouble: Some(trouble),
            },
        };
    }

    /// Something happens to the server that is connected to, while its data are what they are now: it is noticed, and
    /// everything is read again.
    fn strike(&mut self, evidence: Evidence) {
        let now = self.now;
        let table = &mut self.operator.table;
        table.apply(Event::Happened(ONLY, evidence), now);
        table.apply(Event::Doubt(ONLY), now);
        // The next look connects anew.
        self.operator.mode = None;
    }

    /// The part of the cluster with this lock is gone, or all of it is there again.
    fn hide(&mut self, name: Option<&str>) {
        self.operator.hidden = name.map(|name| (Self::key(name), self.now));
        self.strike(Evidence::default());
    }

    fn mend(&mut self, mode: Mode) {
        self.server = Some(mode);
    }

    // Operators.

    /// Another operator takes over, with nothing but status.
    fn restart(&mut self) {
        let status = self.resource.status.clone().unwrap_or_default();
        let hidden = self.operator.hidden.take();
        self.operator = Operator::new(&status, &self.watched(), self.now);
        self.operator.hidden = hidden;
        self.written_at = None;
        self.blind.push((self.wall(), None));
        if self.server.is_none() {
            self.cut();
        }
    }

    fn deployment(&self, workload: &Workload) -> LiveChildren {
        let intents = children::build(workload);
        Children::from_fn(|kind| {
            let mut object = intents.get(kind).as_ref()?.body().clone();
            object["metadata"]["uid"] = json!(format!("uid of {kind:?}"));
            object["metadata"]["resourceVersion"] = json!("1");
            object["metadata"]["generation"] = json!(1);
            if kind == children::ChildKind::Deployment {
                // A pod that is being deleted is none of its replicas any more.
                let replicas = || self.pods.iter().filter(|pod| !pod.terminating);
                let ready = replicas().filter(|pod| pod.ready_since.is_some()).count();
                let replicas = replicas().count();
                let updated = if self.rolling { 0 } else { replicas };
                let reason = if self.rolling {
                    "ReplicaSetUpdated"
                } else {
                    "NewReplicaSetAvailable"
                };
                let (enough, refused) = if self.refused.is_some() {
                    ("False", "True")
                } else {
                    ("True", "False")
                };
                object["spec"]["replicas"] = json!(self.wanted);
                object.insert(
                    "status".into(),
                    json!({
                        "observedGeneration": 1, "replicas": replicas, "readyReplicas": ready,
                        "updatedReplicas": updated, "availableReplicas": ready,
                        "conditions": [
                            { "type": "Available", "status": enough, "reason": "x", "message": "Too few pods." },
                            { "type": "Progressing", "status": "True", "reason": reason, "message": "x" },
                            { "type": "ReplicaFailure", "status": refused, "reason": "FailedCreate", "message": self.refused },
                        ],
                    }),
                );
            }
            if kind == children::ChildKind::PodDisruptionBudget {
                let pods = self.pods.len();
                object.insert(
                    "status".into(),
                    json!({
                        "observedGeneration": 1, "disruptionsAllowed": 1, "expectedPods": pods,
                        "desiredHealthy": pods.saturating_sub(1),
                    }),
                );
            }
            Some(Live::from_parts(object, false))
        })
    }

    /// One pass without its writes.
    fn pass_of(&self, operator: &mut Operator) -> (Decision, CoordinatedWorkloadStatus) {
        let workload = self.workload();
        let live = match &workload {
            Ok(workload) if self.failure.is_none() => self.deployment(workload),
            Ok(_) | Err(_) => LiveChildren::default(),
        };
        let store = operator.observe(&self.keys(), &self.found, self.now);
        let mut neighbours = Neighbours::default();
        if let (Ok(workload), Ok(observation)) = (&workload, &store.seen) {
            neighbours.pods = strangers(workload, observation);
            neighbours
                .pods
                .retain(|pod, _| self.others.contains(pod.as_str()));
        }
        let observed = Observed {
            resource: &self.resource,
            workload: &workload,
            live: &live,
            pods: &self.pods,
            neighbours: &neighbours,
            store: workload.is_ok().then_some(&store),
        };
        let outcome = self.failure.map(|kind| Outcome {
            failures: vec![Failure {
                child: children::ChildKind::Deployment,
                kind,
                message: "deployments.apps \"shop\" already exists".into(),
                retry_after: None,
            }],
            ..Outcome::default()
        });
        let decision = decide(&observed, &mut operator.memory, self.moment());
        let status = report(
            &observed,
            &decision,
            outcome.as_ref(),
            &mut operator.memory,
            self.moment(),
        );
        if self.resource.status.as_ref() != Some(&status) {
            let stored: CoordinatedWorkloadStatus =
                serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
            assert_eq!(stored, status, "what the API stores is what was sent");
        }
        (decision, status)
    }

    /// One pass; when status may be written next, if it has to be.
    fn pass(&mut self) -> Option<Mono> {
        let placeholder = Operator::new(&CoordinatedWorkloadStatus::default(), &[], self.now);
        let mut operator = std::mem::replace(&mut self.operator, placeholder);
        let (decision, status) = self.pass_of(&mut operator);
        operator.recheck = decision.assessment.recheck_at;
        let previous = self.resource.status.clone().unwrap_or_default();
        let due = self.written_at.map(|at| at + PACE).filter(|due| *due > self.now);
        let changed = status != previous;
        if changed && due.is_none() {
            announce(
                &previous,
                &status,
                &decision.assessment.findings,
                &mut operator.memory,
            );
            rules::check(&Write {
                previous: &previous,
                next: &status,
                generation: self.resource.metadata.generation.unwrap(),
            });
            let text = serde_json::to_string(&status).unwrap();
            assert!(!text.contains(SECRET), "a raw holder is shown");
            self.resource.status = Some(status);
            self.writes += 1;
            self.written_at = Some(self.now);
        }
        for event in operator.memory.outbox.drain(..) {
            assert!(
                !event.note.contains(SECRET) && event.note.len() <= 1024,
                "{event:?}"
            );
            if event.reason == EventReason::ChildCreated {
                // This world makes no children, it has them.
                continue;
            }
            let name = (event.reason, event.key.clone());
            // A condition that comes and goes while Ready stays False leaves no trace by which to tell its times apart.
            let new = operator.posted.insert(name);
            assert!(
                new || event.reason == EventReason::NameConflict,
                "said twice: {event:?}"
            );
            // What another operator posted before exists: the apiserver refuses it, and it has been said.
            let exists = |said: &Announcement| said.reason == event.reason && said.key == event.key;
            if !self.events.iter().any(exists) {
                let reason = event.reason;
                self.events.push(event);
                self.posted.push((previous.told_until(reason), self.wall()));
            }
        }
        self.operator = operator;
        due.filter(|_| changed)
    }

    /// Reads what is due, at once.
    fn serve(server: Option<Mode>, data: &BTreeMap<String, Stored>, operator: &mut Operator, now: Mono) {
        let Some(mode) = server else { return };
        if operator.mode != Some(mode) {
            operator.mode = Some(mode);
            operator.table.apply(Event::Up(ONLY, mode), now);
        }
        loop {
            let due = operator.table.due(ONLY, now, 10_000);
            if due.is_empty() {
                break;
            }
            for key in due {
                let hidden = operator.hidden.as_ref().map(|(hidden, _)| hidden.as_bytes());
                if hidden == Some(&key.key[..]) {
                    operator
                        .table
                        .apply(Event::Refused(&key, Trouble::ClusterDown), now);
                    continue;
                }
                let stored = data.get(std::str::from_utf8(&key.key).unwrap());
                let answer = match stored.filter(|stored| stored.expires.is_none_or(|at| at > now)) {
                    None => Answer::Absent,
                    Some(stored) => {
                        Answer::held(stored.value.as_bytes(), stored.expires.map(|at| at.since(now)))
                    }
                };
                operator.table.apply(Event::Answered(&key, answer), now);
            }
        }
        if operator.table.is_complete(ONLY) && !matches!(operator.link, Link::Up { .. }) {
            operator.link = Link::Up {
                since: now,
                mode,
                version: Some("7.4.0".into()),
            };
        }
    }

    fn look(&mut self) -> Option<Mono> {
        Self::serve(self.server, &self.data, &mut self.operator, self.now);
        if matches!(self.operator.link, Link::Up { .. }) {
            let now = self.wall();
            for blind in &mut self.blind {
                blind.1.get_or_insert(now);
            }
        }
        self.pass()
    }

    /// Time goes on; whatever is to happen happens in its order.
    fn advance(&mut self, by: Duration) {
        let target = self.now + by;
        for _ in 0..10_000 {
            let due = self.look();
            let renewals = self.data.values().filter_map(|stored| stored.renewed_next).min();
            let next = [
                self.operator.table.next_deadline(ONLY),
                self.operator.recheck,
                renewals,
                due,
            ];
            let next = next.into_iter().flatten().min().unwrap_or(target);
            if next > target || self.now >= target {
                self.now = self.now.max(target);
                self.look();
                return;
            }
            self.now = next.max(self.now + Duration::from_millis(1));
            self.renew();
        }
        panic!("a loop without an end");
    }

    fn renew(&mut self) {
        let now = self.now;
        let due: Vec<String> = self
            .data
            .iter()
            .filter(|(_, stored)| stored.renewed_next.is_some_and(|at| at <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let stored = self.data.get_mut(&key).unwrap();
            stored.expires = stored.ttl.map(|ttl| now + ttl);
            stored.renewed_next = Some(now + secs(10));
            self.changed(&key);
        }
    }

    /// Nothing happens: neither this operator nor one that starts anew has anything to write or to say.
    fn at_rest(&mut self) {
        // Long enough for a poll, and for a write that the pace holds back.
        self.advance(PACE * 2);
        while self.pass().is_some() {
            self.advance(PACE);
        }
        let status = self.status().clone();
        let writes = self.writes;
        let said = self.events.len();
        self.look();
        assert_eq!((self.writes, self.events.len()), (writes, said), "nothing ticks");
        let mut fresh = Operator::new(&status, &self.watched(), self.now);
        fresh.hidden.clone_from(&self.operator.hidden);
        if self.server.is_some() {
            let (_, connecting) = self.pass_of(&mut fresh);
            rules::same(&status, &connecting, "while a new operator connects");
            Self::serve(self.server, &self.data, &mut fresh, self.now);
        }
        let (decision, read) = self.pass_of(&mut fresh);
        rules::same(&status, &read, "once a new operator has read everything");
        announce(&status, &read, &decision.assessment.findings, &mut fresh.memory);
        assert_eq!(fresh.memory.outbox, [], "a new operator has nothing to say");
    }

    // What is seen.

    fn status(&self) -> &CoordinatedWorkloadStatus {
        self.resource.status.as_ref().unwrap()
    }

    fn reason(&self, type_: ConditionType) -> &str {
        find(&self.status().conditions, type_).map_or("", |condition| &condition.reason)
    }

    fn message(&self, type_: ConditionType) -> &str {
        find(&self.status().conditions, type_).map_or("", |condition| &condition.message)
    }

    fn held(&self) -> &str {
        self.reason(ConditionType::LocksHeld)
    }

    fn said(&self) -> Vec<EventReason> {
        self.events.iter().map(|event| event.reason).collect()
    }
}
