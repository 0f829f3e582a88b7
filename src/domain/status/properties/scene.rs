//! A workload and what is seen of it, driven as `reconcile` drives the core, and asked after each pass.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::steps::{
    AutoscalerStatus, Counts, DeploymentStatus, How, LockShape, Phase, PodShape, Shape, Spec, Step,
    StoreShape,
};
use crate::{
    api::{APPLIED_ANNOTATION, CoordinatedWorkload, CoordinatedWorkloadStatus},
    domain::{
        Decision, Now, Observed,
        assessment::{POLL_LAG, StoreView},
        children::{
            self, Action, Applied, ChildKind, Children, Correction, Failure, FailureKind, Intent, Live,
            LiveChildren, Outcome, Override, Plan, Prepared, Reason, Refusal, ReplicasApplied, ReplicasStep,
            Step as PlanStep,
        },
        decide,
        locks::{
            Answer, Link, Mode, Mono, Observation,
            health::Health,
            probe::Probe,
            table::{Event, ONLY, Table},
        },
        memory::Memory,
        neighbours::{Neighbours, Target},
        ownership::{ContainerEnd, ContainerView, PodView},
        report,
        workload::{self, Problem, Workload},
    },
};

/// Names as the pods of the workload have them.
const PODS: [&str; 4] = [
    "shop-7d9c8b6f5d-bbbbb",
    "shop-7d9c8b6f5d-ccccc",
    "shop-7d9c8b6f5d-ddddd",
    "shop-7d9c8b6f5d-fffff",
];
const LOCKS: [&str; 5] = ["a", "b", "c", "d", "e"];
const TTL: Duration = Duration::from_secs(30);
/// The order in which children are written.
const ORDER: [ChildKind; 5] = [
    ChildKind::NetworkPolicy,
    ChildKind::PodDisruptionBudget,
    ChildKind::Service,
    ChildKind::Deployment,
    ChildKind::HorizontalPodAutoscaler,
];

/// Whose a child is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Owner {
    Ours,
    Nobody,
    Other,
}

/// A child that exists.
#[derive(Clone, Debug)]
struct Kept {
    uid: String,
    body: Map<String, Value>,
    owner: Owner,
    deleting: bool,
}

pub(super) struct Scene {
    pub(super) now: Mono,
    pub(super) resource: CoordinatedWorkload,
    pub(super) workload: Result<Workload, Vec<Problem>>,
    pub(super) memory: Memory,
    kept: BTreeMap<ChildKind, Kept>,
    deployment: DeploymentStatus,
    autoscaler: Option<AutoscalerStatus>,
    counts: Option<Counts>,
    neighbours: Neighbours,
    pods: Vec<PodView>,
    table: Table,
    link: Result<Link, crate::domain::locks::Trouble>,
    health: Arc<Health>,
    data: BTreeMap<String, LockShape>,
    /// A template of ours that the Deployment controller has not seen.
    unseen_write: bool,
    uids: usize,
}

/// What came of one pass.
pub(super) struct Passed {
    pub(super) decision: Decision,
    pub(super) outcome: Option<Outcome>,
    pub(super) status: CoordinatedWorkloadStatus,
}

impl Scene {
    pub(super) fn new(spec: &Spec) -> Self {
        let resource: CoordinatedWorkload = serde_json::from_value(json!({
            "apiVersion": "lockstep.dev/v1alpha1",
            "kind": "CoordinatedWorkload",
            "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "generation": 1 },
            "spec": spec.json(),
        }))
        .unwrap();
        let now = Mono(Duration::from_hours(1));
        let mut scene = Self {
            now,
            workload: workload::parse(&resource),
            resource,
            memory: Memory::default(),
            kept: BTreeMap::new(),
            deployment: DeploymentStatus {
                phase: Phase::Complete,
                wanted: 3,
                ready: 3,
                available: Some(true),
                refused: false,
                words: "",
            },
            autoscaler: None,
            counts: None,
            neighbours: Neighbours::default(),
            pods: vec![],
            table: Table::default(),
            link: Ok(Link::Connecting {
                since: now,
                trouble: None,
            }),
            health: Arc::default(),
            data: BTreeMap::new(),
            unseen_write: false,
            uids: 0,
        };
        for key in scene.keys() {
            scene.table.watch(&key, ONLY, now);
        }
        for name in &PODS[..3] {
            scene.pod(name, PodShape::Ready);
        }
        scene.happen(&Step::Store(StoreShape::Up(Mode::Tracking)));
        (0..LOCKS.len()).for_each(|lock| scene.put(lock, LockShape::Held(lock % 3)));
        scene
    }

    fn moment(&self) -> Now {
        // Not a whole second: what is shown must not depend on it.
        let start = Timestamp::from_millisecond(1_800_000_000_900).unwrap();
        Now {
            mono: self.now,
            wall: start.checked_add(self.now.0).unwrap(),
        }
    }

    pub(super) fn generation(&self) -> i64 {
        self.resource.metadata.generation.unwrap()
    }

    pub(super) fn previous(&self) -> CoordinatedWorkloadStatus {
        self.resource.status.clone().unwrap_or_default()
    }

    fn keys(&self) -> Vec<Arc<Probe>> {
        let sets = self.workload.iter().flat_map(|workload| &workload.locks);
        sets.flat_map(|set| &set.locks)
            .map(|lock| Arc::clone(&lock.probe))
            .collect()
    }

    /// The next thing happens.
    pub(super) fn happen(&mut self, step: &Step) {
        match step {
            Step::Respec(spec) => self.respec(spec),
            Step::Child(kind, shape) => self.shape(*kind, *shape),
            Step::Deployment(status) => {
                self.deployment = status.clone();
                if status.phase != Phase::Unobserved {
                    self.unseen_write = false;
                }
            }
            Step::Autoscaler(status) => self.autoscaler = Some(status.clone()),
            Step::Budget(counts) => self.counts = *counts,
            Step::Neighbours(autoscalers, budgets) => {
                let targets = [Target::Deployment, Target::Resource];
                let autoscaler = |at: usize| (format!("scaler-{at}"), targets[at % 2]);
                self.neighbours = Neighbours {
                    autoscalers: (0..*autoscalers).map(autoscaler).collect(),
                    budgets: (0..*budgets)
                        .map(|at| format!("{at}-{}", "b".repeat(250)))
                        .collect(),
                    ..Neighbours::default()
                };
            }
            Step::Pod(pod, shape) => self.pod(PODS[*pod], *shape),
            Step::Store(shape) => self.store(*shape),
            Step::Health(health) => self.health = Arc::new(health.clone()),
            Step::Lock(lock, shape) => self.put(*lock, *shape),
            Step::Locks(shape) => (0..LOCKS.len()).for_each(|lock| self.put(lock, *shape)),
            Step::Lapse(lock) => {
                self.now = self.now + TTL + Duration::from_secs(1);
                self.put(*lock, LockShape::Free);
            }
            Step::Wait(seconds) => self.now = self.now + Duration::from_secs(*seconds),
            Step::Restart => self.memory = Memory::from_status(&self.previous()),
            Step::Nothing => {}
        }
    }

    /// Whether another operator can know what this one does: no change was taken back lately, and no pod went so lately
    /// that, where Redis is polled, the next look is waited for.
    pub(super) fn is_calm(&self) -> bool {
        let polling = matches!(
            self.link,
            Ok(Link::Up {
                mode: Mode::Polling,
                ..
            })
        );
        let mut went = self
            .memory
            .pods
            .values()
            .filter_map(|pod| pod.not_live_since(None));
        let undecided = polling && went.any(|at| self.now.since(at) <= POLL_LAG);
        !undecided && self.memory.children.drift.recent(self.now).next().is_none()
    }

    fn put(&mut self, lock: usize, shape: LockShape) {
        self.data.insert(format!("rigatoni:lock:{}", LOCKS[lock]), shape);
    }

    fn respec(&mut self, spec: &Spec) {
        let old = self.keys();
        let spec = serde_json::from_value(spec.json()).unwrap();
        if self.resource.spec == spec {
            return;
        }
        self.resource.spec = spec;
        *self.resource.metadata.generation.as_mut().unwrap() += 1;
        self.workload = workload::parse(&self.resource);
        let new = self.keys();
        for key in old.iter().filter(|key| !new.contains(key)) {
            self.table.forget(key);
        }
        for key in &new {
            self.table.watch(key, ONLY, self.now);
        }
    }

    fn shape(&mut self, kind: ChildKind, shape: Shape) {
        let intents = self.workload.as_ref().ok().map(children::build);
        let intent = intents.as_ref().and_then(|intents| intents.get(kind).as_ref());
        let body = intent.map_or_else(Map::new, Intent::creation_body);
        if matches!(shape, Shape::Missing) {
            self.kept.remove(&kind);
            return;
        }
        self.uids += 1;
        let uid = format!("{}-{}", kind.kind(), self.uids);
        let fresh = || Kept {
            uid,
            body,
            owner: Owner::Ours,
            deleting: false,
        };
        let kept = self.kept.entry(kind).or_insert_with(fresh);
        match shape {
            Shape::Missing => {}
            Shape::AsIntended => {
                if let Some(intent) = intent {
                    kept.body = intent.creation_body();
                }
                (kept.owner, kept.deleting) = (Owner::Ours, false);
            }
            Shape::Drifted => {
                if let Some(labels) = kept
                    .body
                    .get_mut("metadata")
                    .and_then(|all| all.get_mut("labels"))
                {
                    labels["app.kubernetes.io/managed-by"] = json!("somebody");
                }
            }
            Shape::Outdated => {
                if let Some(metadata) = kept.body.get_mut("metadata") {
                    metadata["annotations"] = json!({ APPLIED_ANNOTATION: "0123456789abcdef" });
                }
            }
            Shape::Foreign => {
                self.uids += 1;
                kept.uid = format!("foreign-{}", self.uids);
                kept.owner = Owner::Nobody;
            }
            Shape::Controlled => kept.owner = Owner::Other,
            Shape::Disowned => kept.owner = Owner::Nobody,
            Shape::Deleting => kept.deleting = true,
        }
    }

    fn pod(&mut self, name: &str, shape: PodShape) {
        self.pods.retain(|pod| pod.name != name);
        let mut container = ContainerView {
            name: "main".into(),
            running: true,
            ready: true,
            ..ContainerView::default()
        };
        let mut pod = PodView {
            name: name.into(),
            uid: format!("uid of {name}"),
            ready_since: Some(self.moment().wall),
            ..PodView::default()
        };
        match shape {
            PodShape::Absent => return,
            PodShape::Ready => {}
            PodShape::Unready => {
                container.ready = false;
                pod.ready_since = None;
            }
            PodShape::Waiting(reason, words) => {
                container.running = false;
                container.waiting = Some((reason.into(), words.into()));
                pod.ready_since = None;
            }
            PodShape::Unschedulable(words) => {
                pod.unschedulable = Some(words.into());
                pod.ready_since = None;
            }
            PodShape::Terminating => pod.terminating = true,
            PodShape::Finished => {
                pod.finished = true;
                pod.reason = Some("Evicted".into());
                pod.ready_since = None;
            }
            PodShape::Restarted => {
                container.restarts = 1;
                container.last_end = Some(ContainerEnd {
                    reason: "OOMKilled".into(),
                    exit_code: 137,
                });
            }
        }
        pod.containers = vec![container];
        self.pods.push(pod);
    }

    fn store(&mut self, shape: StoreShape) {
        let since = self.now;
        self.link = match shape {
            StoreShape::Unaskable(trouble) => Err(trouble),
            StoreShape::Connecting(trouble) => Ok(Link::Connecting { since, trouble }),
            StoreShape::Down(trouble) => Ok(Link::Down { since, trouble }),
            StoreShape::Up(mode) => {
                self.table.apply(Event::Up(ONLY, mode), since);
                let version = Some("7.4.0".into());
                self.link = Ok(Link::Up { since, mode, version });
                return;
            }
        };
        self.table.apply(Event::Doubt(ONLY), since);
    }

    /// Everything in the store is read at this moment.
    fn read(&mut self) -> Option<StoreView> {
        let workload = self.workload.as_ref().ok()?;
        let sentinel = self.resource.spec.redis.as_ref()?.sentinel.as_ref();
        // The place of a server behind Sentinels is none of the spec's.
        if workload.store.is_none() && sentinel.is_none() {
            return None;
        }
        let keys = self.keys();
        if let Ok(Link::Up { mode, .. }) = self.link {
            if mode == Mode::Tracking {
                for key in &keys {
                    self.table.apply(Event::Invalidated(&key.key), self.now);
                }
            } else {
                // A poll after a long time is a connection that was not watched.
                self.table.apply(Event::Up(ONLY, mode), self.now);
            }
            for key in self.table.due(ONLY, self.now, usize::MAX) {
                let present = |value: String, expires_in| Answer::held(value.as_bytes(), expires_in);
                let found = self.data.get(std::str::from_utf8(&key.key).unwrap());
                let answer = match found.copied().unwrap_or(LockShape::Free) {
                    LockShape::Free => Answer::Absent,
                    LockShape::WrongType => Answer::WrongType,
                    LockShape::Held(pod) => present(format!("{}-{UUID}", PODS[pod]), Some(TTL)),
                    LockShape::Stranger => present(format!("laptop-{UUID}"), Some(TTL)),
                    LockShape::Endless(pod) => present(format!("{}-{UUID}", PODS[pod]), None),
                    LockShape::Anonymous => present("anonymous".into(), Some(TTL)),
                    LockShape::Garbage => present("?".into(), Some(TTL)),
                };
                self.table.apply(Event::Answered(&key, answer), self.now);
            }
        }
        let observation = |link: &Link| Observation {
            at: self.now,
            link: link.clone(),
            hidden: None,
            health: Some(Arc::clone(&self.health)),
            discovered: vec![],
            keys: keys.iter().map(|key| self.table.snapshot(key)).collect(),
        };
        Some(StoreView {
            place: "redis:6379 (database 0)".into(),
            port: Some(6379),
            identity: 1,
            seen: self.link.as_ref().map(observation).map_err(|trouble| *trouble),
        })
    }

    /// The children as the watches would show them.
    pub(super) fn live(&self) -> LiveChildren {
        Children::from_fn(|kind| self.kept.get(&kind).map(|kept| self.show(kind, kept)))
    }

    fn show(&self, kind: ChildKind, kept: &Kept) -> Live {
        let mut object = kept.body.clone();
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        metadata["uid"] = json!(kept.uid);
        metadata["generation"] = json!(2);
        if kept.deleting {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let owner =
            |uid: &str| json!([{ "kind": "Application", "name": "other", "uid": uid, "controller": true }]);
        metadata["ownerReferences"] = match kept.owner {
            Owner::Ours => owner("u"),
            Owner::Nobody => json!([]),
            Owner::Other => owner("other"),
        };
        if kept.owner == Owner::Ours
            && let Some(intended) = kept
                .body
                .get("metadata")
                .and_then(|all| all.get("ownerReferences"))
        {
            metadata["ownerReferences"] = intended.clone();
        }
        match kind {
            ChildKind::Deployment => {
                let spec = object.entry("spec").or_insert_with(|| json!({}));
                spec["replicas"] = json!(self.deployment.wanted);
                object.insert("status".into(), self.deployment.json());
            }
            ChildKind::HorizontalPodAutoscaler => {
                if let Some(status) = &self.autoscaler {
                    object.insert("status".into(), status.json());
                }
            }
            ChildKind::PodDisruptionBudget => {
                if let Some(counts) = self.counts {
                    object.insert("status".into(), counts.json());
                }
            }
            ChildKind::NetworkPolicy | ChildKind::Service => {}
        }
        Live::from_parts(object, false)
    }

    /// One pass; `retold`: what failed before is told again, and nothing is tried.
    pub(super) fn pass(&mut self, how: &How, retold: Option<&Outcome>) -> Passed {
        let mut memory = std::mem::take(&mut self.memory);
        let passed = self.pass_with(&mut memory, how, retold);
        self.memory = memory;
        passed
    }

    /// The same by an operator with this memory.
    pub(super) fn pass_with(&mut self, memory: &mut Memory, how: &How, retold: Option<&Outcome>) -> Passed {
        let store = self.read();
        let live = self.live();
        let now = self.moment();
        let workload = self.workload.clone();
        let resource = self.resource.clone();
        let pods = self.pods.clone();
        let neighbours = self.neighbours.clone();
        let observed = Observed {
            resource: &resource,
            workload: &workload,
            live: &live,
            pods: &pods,
            neighbours: &neighbours,
            store: store.as_ref(),
        };
        let decision = decide(&observed, memory, now);
        let outcome = match (&workload, &decision.children) {
            (Ok(workload), Some((_, plan))) if workload.suspend || plan.is_idle() => None,
            (Ok(_), Some(_)) if retold.is_some() => retold.cloned(),
            (Ok(_), Some((prepared, plan))) => {
                let outcome = self.execute(prepared, plan, how);
                memory.children.drift.record(&outcome, now.mono);
                Some(outcome)
            }
            _ => None,
        };
        let status = report(&observed, &decision, outcome.as_ref(), memory, now);
        Passed {
            decision,
            outcome,
            status,
        }
    }

    /// Whether the status may say Ready: what must be true of the world.
    pub(super) fn must_not_be_ready(&self) -> Option<&'static str> {
        let Ok(workload) = &self.workload else {
            return Some("the spec is invalid");
        };
        let live = self.live();
        let prepared = children::build_over(workload, live.deployment.as_ref());
        let listed = self.previous().children;
        let mut plan = children::plan(workload, &prepared, &live, &listed);
        for kind in ChildKind::ALL {
            // What must go and is going is as good as gone: nobody waits for somebody else's finalizer.
            if prepared.get(kind).is_none() && *plan.steps.get(kind) == PlanStep::AwaitDeletion {
                *plan.steps.get_mut(kind) = PlanStep::default();
            }
        }
        if !plan.is_empty() {
            return Some("a child differs from its intent");
        }
        let status = &self.deployment;
        if self.unseen_write {
            return Some("the Deployment controller has not seen what was written");
        }
        if matches!(status.phase, Phase::Rolling | Phase::Stuck) {
            return Some("the rollout is not at its end");
        }
        if status.wanted > 0 && status.available != Some(true) {
            return Some("the Deployment is not available");
        }
        None
    }

    fn execute(&mut self, prepared: &Children<Prepared>, plan: &Plan, how: &How) -> Outcome {
        let mut outcome = Outcome::default();
        for kind in ORDER {
            if let PlanStep::Delete { uid } = plan.steps.get(kind) {
                if let Some(failure) = failure(kind, how) {
                    outcome.failures.push(failure);
                    continue;
                }
                outcome.deleted.push((kind, uid.clone()));
                if how.lingers {
                    self.kept.get_mut(&kind).unwrap().deleting = true;
                } else {
                    self.kept.remove(&kind);
                }
            }
        }
        for kind in ORDER {
            let deployment_is_ours = self
                .kept
                .get(&ChildKind::Deployment)
                .is_some_and(|kept| kept.owner == Owner::Ours && !kept.deleting);
            if outcome.is_hopeless() {
                break;
            }
            if kind == ChildKind::HorizontalPodAutoscaler && !deployment_is_ours {
                continue;
            }
            if let Some(intent) = prepared.get(kind) {
                self.write(intent, plan.steps.get(kind), how, &mut outcome);
            }
            if let (ChildKind::Deployment, ReplicasStep::Apply(count)) = (kind, plan.replicas)
                && !outcome.is_hopeless()
            {
                self.replicas(count, how, &mut outcome);
            }
        }
        outcome.failures.sort_by_key(|failure| failure.child);
        outcome
    }

    fn replicas(&mut self, count: i32, how: &How, outcome: &mut Outcome) {
        let autoscaler = self.kept.get(&ChildKind::HorizontalPodAutoscaler);
        if autoscaler.is_some_and(|kept| kept.owner == Owner::Ours) {
            outcome
                .waiting
                .push("the HorizontalPodAutoscaler is being deleted".into());
            return;
        }
        self.deployment.wanted = count;
        outcome.replicas = Some(ReplicasApplied {
            count,
            overrides: overrides(how),
        });
        let live = self.live().deployment;
        if let Some(applied) = &mut outcome.children.deployment {
            applied.live = live;
        }
    }

    fn write(&mut self, intent: &Intent, step: &PlanStep, how: &How, outcome: &mut Outcome) {
        let kind = intent.kind();
        let action = match step {
            PlanStep::Nothing { uid: None } | PlanStep::Delete { .. } => return,
            PlanStep::Nothing { uid: Some(_) } | PlanStep::Hold { .. } => Action::None,
            PlanStep::AwaitDeletion => {
                outcome
                    .waiting
                    .push(format!("the {} is being deleted", kind.kind()));
                return;
            }
            PlanStep::Refuse(refusal) => {
                let kind_of_failure = match refusal {
                    Refusal::Foreign | Refusal::Controlled(_) => FailureKind::NameConflict,
                    Refusal::OwnershipLost => FailureKind::OwnershipLost,
                };
                outcome
                    .failures
                    .push(failed(kind, kind_of_failure, "it is not ours"));
                return;
            }
            PlanStep::Create | PlanStep::Apply { .. } => {
                if let Some(failure) = failure(kind, how) {
                    outcome.failures.push(failure);
                    return;
                }
                self.carry_out(intent, step, how)
            }
        };
        let kept = &self.kept[&kind];
        *outcome.children.get_mut(kind) = Some(Applied {
            uid: kept.uid.clone(),
            hash: intent.hash().to_owned(),
            live: (action != Action::None).then(|| self.show(kind, kept)),
            action,
        });
    }

    fn carry_out(&mut self, intent: &Intent, step: &PlanStep, how: &How) -> Action {
        let kind = intent.kind();
        self.uids += 1;
        let uid = format!("{}-{}", kind.kind(), self.uids);
        let kept = self.kept.entry(kind).or_insert_with(|| Kept {
            uid,
            body: Map::new(),
            owner: Owner::Ours,
            deleting: false,
        });
        kept.body = intent.creation_body();
        kept.owner = Owner::Ours;
        let mut insists = false;
        let action = match step {
            PlanStep::Apply { reason, .. } => match reason {
                Reason::Adoption => Action::Adopted { changed: true },
                Reason::NewIntent | Reason::Drift(_) => {
                    insists = how.unsettled;
                    let field = match reason {
                        Reason::Drift(field) => Some(field.clone()),
                        Reason::NewIntent | Reason::Adoption => None,
                    };
                    let overrides = overrides(how);
                    let corrected = field.is_some() || !overrides.is_empty();
                    Action::Updated {
                        correction: corrected.then_some(Correction { field, overrides }),
                        unsettled: insists.then(|| "metadata.labels".into()),
                    }
                }
            },
            _ => Action::Created,
        };
        if insists {
            kept.body["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("a webhook");
        }
        let unseen = match step {
            PlanStep::Apply {
                reason: Reason::Drift(_),
                ..
            } => false,
            _ => kind == ChildKind::Deployment,
        };
        if unseen {
            if action == Action::Created {
                let replicas = kept.body["spec"].get("replicas").and_then(Value::as_i64);
                self.deployment.wanted = i32::try_from(replicas.unwrap_or(1)).unwrap();
                self.deployment.available = None;
            }
            self.deployment.phase = Phase::Unobserved;
            self.unseen_write = true;
        }
        action
    }
}

const UUID: &str = "5ec2e7ab-aaaa-4bbb-8ccc-0123456789ab";

fn overrides(how: &How) -> Vec<Override> {
    let other = Override {
        manager: "kubectl-edit".into(),
        fields: vec![".metadata.labels".into()],
    };
    if how.overrides { vec![other] } else { vec![] }
}

fn failure(kind: ChildKind, how: &How) -> Option<Failure> {
    let at = ChildKind::ALL.iter().position(|known| *known == kind).unwrap();
    how.failures[at].map(|(kind_of_failure, words)| failed(kind, kind_of_failure, words))
}

fn failed(child: ChildKind, kind: FailureKind, words: &str) -> Failure {
    Failure {
        child,
        kind,
        message: words.into(),
        retry_after: None,
    }
}

impl DeploymentStatus {
    fn json(&self) -> Value {
        let truth = |holds: bool| if holds { "True" } else { "False" };
        let mut conditions = vec![json!({
            "type": "ReplicaFailure", "status": truth(self.refused), "reason": "FailedCreate", "message": self.words,
        })];
        if let Some(available) = self.available {
            conditions.push(json!({
                "type": "Available", "status": truth(available), "reason": "x", "message": self.words,
            }));
        }
        let progressing = match self.phase {
            Phase::Rolling => Some("ReplicaSetUpdated"),
            Phase::Stuck => Some("ProgressDeadlineExceeded"),
            Phase::Complete | Phase::Unobserved => Some("NewReplicaSetAvailable"),
            Phase::Silent => None,
        };
        if let Some(reason) = progressing {
            conditions.push(json!({
                "type": "Progressing", "status": truth(self.phase != Phase::Stuck), "reason": reason,
                "message": self.words,
            }));
        }
        json!({
            "observedGeneration": if self.phase == Phase::Unobserved { 1 } else { 2 },
            "replicas": self.wanted, "updatedReplicas": self.wanted, "readyReplicas": self.ready,
            "availableReplicas": self.ready, "conditions": conditions,
        })
    }
}

impl AutoscalerStatus {
    fn json(&self) -> Value {
        let condition = |type_: &str, (status, reason): (&str, &str)| json!({ "type": type_, "status": status, "reason": reason, "message": self.words });
        let able = self.able.map(|able| condition("AbleToScale", able));
        let active = self.active.map(|active| condition("ScalingActive", active));
        json!({ "conditions": able.into_iter().chain(active).collect::<Vec<_>>() })
    }
}

impl Counts {
    fn json(self) -> Value {
        json!({
            "observedGeneration": if self.observed { 2 } else { 1 },
            "disruptionsAllowed": self.allowed, "desiredHealthy": self.desired, "expectedPods": self.expected,
        })
    }
}
