//! What may happen to a workload and its world, and how writing its children may go.

use std::sync::Arc;

use proptest::{option, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::domain::{
    children::{ChildKind, FailureKind, RetryCause},
    locks::{
        Mode, Trouble,
        health::{Health, Persistence, Refusal, Unseen},
    },
};

/// Something happens; then there is a pass.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Another spec.
    Respec(Spec),
    /// A child is found in this shape.
    Child(ChildKind, Shape),
    /// The Deployment controller says something.
    Deployment(DeploymentStatus),
    /// The autoscaler says something.
    Autoscaler(AutoscalerStatus),
    /// The budget's controller counts; `None`: it has not.
    Budget(Option<Counts>),
    /// So many autoscalers and budgets of others.
    Neighbours(usize, usize),
    /// A pod is found in this shape.
    Pod(usize, PodShape),
    /// The connection to the store.
    Store(StoreShape),
    /// How the store fares.
    Health(Health),
    /// A lock in the store.
    Lock(usize, LockShape),
    /// All of them.
    Locks(LockShape),
    /// Nobody renews a lock until it runs out.
    Lapse(usize),
    /// Seconds pass.
    Wait(u64),
    /// Another operator takes over, with nothing but status.
    Restart,
    /// Nothing happens.
    Nothing,
}

/// A spec, by its variants.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they vary each on its own")]
pub(super) struct Spec {
    invalid: bool,
    suspend: bool,
    adopt: bool,
    replicas: Option<i32>,
    scaling: usize,
    budget: usize,
    policy: bool,
    service: bool,
    redis: usize,
    locks: usize,
    required: bool,
    large: bool,
}

/// In what shape a child is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Missing,
    AsIntended,
    /// Somebody changed an intended field.
    Drifted,
    /// An older intent.
    Outdated,
    /// Nobody's, and not ours.
    Foreign,
    /// Another controller's.
    Controlled,
    /// Ours until somebody took the owner reference away.
    Disowned,
    Deleting,
}

/// What the Deployment controller says.
#[derive(Clone, Debug)]
pub(super) struct DeploymentStatus {
    pub(super) phase: Phase,
    pub(super) wanted: i32,
    pub(super) ready: i32,
    /// Its Available condition; `None`: there is none yet.
    pub(super) available: Option<bool>,
    pub(super) refused: bool,
    pub(super) words: &'static str,
}

/// Where the rollout stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Unobserved,
    Rolling,
    Stuck,
    Complete,
    /// No Progressing condition at all.
    Silent,
}

/// What the autoscaler says; `None`: no condition of that type.
#[derive(Clone, Debug)]
pub(super) struct AutoscalerStatus {
    pub(super) able: Option<(&'static str, &'static str)>,
    pub(super) active: Option<(&'static str, &'static str)>,
    pub(super) words: &'static str,
}

/// What the budget's controller counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) observed: bool,
    pub(super) allowed: i64,
    pub(super) desired: i64,
    pub(super) expected: i64,
}

/// In what shape a pod is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum PodShape {
    Absent,
    Ready,
    /// Runs and is not ready.
    Unready,
    /// Its container waits, for this reason and in these words.
    Waiting(&'static str, &'static str),
    Unschedulable(&'static str),
    Terminating,
    Finished,
    /// Its container was killed and started again.
    Restarted,
}

/// The connection to the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoreShape {
    Connecting(Option<Trouble>),
    Up(Mode),
    Down(Trouble),
    /// It can't even be asked.
    Unaskable(Trouble),
}

/// A lock in the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum LockShape {
    Free,
    Held(usize),
    Stranger,
    Endless(usize),
    /// Somebody who can't be told.
    Anonymous,
    Garbage,
    WrongType,
}

/// How writing the children goes.
#[derive(Clone, Debug)]
pub(super) struct How {
    /// By child, in the order of kinds: it fails like this.
    pub(super) failures: Vec<Option<(FailureKind, &'static str)>>,
    /// Somebody's values are overwritten by it.
    pub(super) overrides: bool,
    /// Something changes it back at once.
    pub(super) unsettled: bool,
    /// What is deleted lingers.
    pub(super) lingers: bool,
}

impl How {
    /// Everything succeeds.
    pub(super) fn well() -> Self {
        Self {
            failures: vec![None; ChildKind::ALL.len()],
            overrides: false,
            unsettled: false,
            lingers: false,
        }
    }
}

/// Words of others: none, some, with a full stop, many, and of more than a byte each.
const WORDS: [&str; 5] = [
    "",
    ".",
    "exceeded quota: small",
    "The pods of it are\nnot there.",
    LONG_WORDS,
];
const LONG_WORDS: &str = "äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, told by \
    somebody who has the time, äöü quite a long story about something that went wrong in a place far away, the end";

const TROUBLES: [Trouble; 17] = [
    Trouble::Unreachable,
    Trouble::DnsFailure,
    Trouble::Timeout,
    Trouble::TlsFailure,
    Trouble::AuthenticationFailed,
    Trouble::PermissionDenied,
    Trouble::SecretNotFound,
    Trouble::Loading,
    Trouble::NotMaster,
    Trouble::FailoverInProgress,
    Trouble::ClusterDown,
    Trouble::EndpointForbidden,
    Trouble::ProtocolError,
    Trouble::Stale,
    Trouble::SecretForbidden,
    Trouble::UnknownMaster,
    Trouble::TooManyEndpoints,
];

const FAILURES: [FailureKind; 15] = [
    FailureKind::NameConflict,
    FailureKind::OwnershipLost,
    FailureKind::InvalidPodTemplate,
    FailureKind::InvalidSpec,
    FailureKind::ImmutableField,
    FailureKind::Forbidden,
    FailureKind::AdmissionDenied,
    FailureKind::ObjectTooLarge,
    FailureKind::Retry(RetryCause::Quota),
    FailureKind::Retry(RetryCause::NamespaceTerminating),
    FailureKind::Retry(RetryCause::Conflict),
    FailureKind::Retry(RetryCause::Throttled),
    FailureKind::Retry(RetryCause::ServerError),
    FailureKind::Retry(RetryCause::Timeout),
    FailureKind::Retry(RetryCause::Unreachable),
];

/// What chance leads to too seldom: a budget that is used up for long, one pod with all locks for long, a master without a
/// replica, locks that are held for too long, and one that nobody takes.
pub(super) fn seldom() -> Vec<(Spec, Vec<Step>)> {
    let spec = |redis, locks| Spec {
        invalid: false,
        suspend: false,
        adopt: false,
        replicas: Some(3),
        scaling: 0,
        budget: 0,
        policy: true,
        service: false,
        redis,
        locks,
        required: false,
        large: false,
    };
    let used_up = Counts {
        observed: true,
        allowed: 0,
        desired: 2,
        expected: 3,
    };
    let alone = Health {
        alone: Some(true),
        ..Health::default()
    };
    let complete = DeploymentStatus {
        phase: Phase::Complete,
        wanted: 3,
        ready: 3,
        available: Some(true),
        refused: false,
        words: "",
    };
    vec![
        (
            spec(1, 1),
            vec![
                Step::Deployment(complete.clone()),
                Step::Budget(Some(used_up)),
                Step::Wait(700),
            ],
        ),
        (
            spec(1, 1),
            vec![
                Step::Deployment(complete),
                Step::Wait(60),
                Step::Locks(LockShape::Held(0)),
                Step::Wait(30),
                Step::Wait(31),
            ],
        ),
        (spec(2, 1), vec![Step::Health(alone)]),
        (spec(1, 8), vec![Step::Wait(61)]),
        (spec(1, 8), vec![Step::Lock(3, LockShape::Free), Step::Wait(700)]),
    ]
}

fn words() -> impl Strategy<Value = &'static str> {
    select(WORDS.to_vec())
}

/// A step and how writing goes after it.
pub(super) fn step() -> impl Strategy<Value = (Step, How)> {
    let happens = prop_oneof![
        3 => spec().prop_map(Step::Respec),
        5 => (select(ChildKind::ALL.to_vec()), shape()).prop_map(|(kind, shape)| Step::Child(kind, shape)),
        5 => deployment_status().prop_map(Step::Deployment),
        2 => autoscaler_status().prop_map(Step::Autoscaler),
        3 => counts().prop_map(Step::Budget),
        1 => (0..5_usize, prop_oneof![3 => Just(0), 1 => 1..5_usize])
            .prop_map(|(autoscalers, budgets)| Step::Neighbours(autoscalers, budgets)),
        4 => (0..4_usize, pod_shape()).prop_map(|(pod, shape)| Step::Pod(pod, shape)),
        5 => store_shape().prop_map(Step::Store),
        1 => health().prop_map(Step::Health),
        4 => (0..5_usize, lock_shape()).prop_map(|(lock, shape)| Step::Lock(lock, shape)),
        4 => lock_shape().prop_map(Step::Locks),
        3 => (0..5_usize).prop_map(Step::Lapse),
        7 => prop_oneof![1..5_u64, 5..60_u64, 60..200_u64, 600..4000_u64].prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => Just(Step::Nothing),
    ];
    (happens, how())
}

pub(super) fn spec() -> impl Strategy<Value = Spec> {
    let rare = || proptest::bool::weighted(0.1);
    let flags = (
        rare(),
        rare(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        rare(),
        rare(),
    );
    let variants = (
        option::of(select(vec![0, 1, 3])),
        0..5_usize,
        0..5_usize,
        select(vec![0, 1, 1, 1, 1, 1, 2, 3]),
        prop_oneof![30 => select(vec![0, 1, 1, 1, 2, 2, 2, 3, 4, 5, 6, 6, 8]), 1 => Just(7)],
    );
    (flags, variants).prop_map(|(flags, (replicas, scaling, budget, redis, locks))| {
        let (invalid, suspend, adopt, policy, service, required, large) = flags;
        Spec {
            invalid,
            suspend,
            adopt,
            replicas,
            scaling,
            budget,
            policy,
            service,
            redis,
            locks,
            required,
            large,
        }
    })
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        2 => Just(Shape::Missing),
        4 => Just(Shape::AsIntended),
        4 => Just(Shape::Drifted),
        2 => Just(Shape::Outdated),
        1 => Just(Shape::Foreign),
        1 => Just(Shape::Controlled),
        1 => Just(Shape::Disowned),
        1 => Just(Shape::Deleting),
    ]
}

fn deployment_status() -> impl Strategy<Value = DeploymentStatus> {
    let phase = prop_oneof![
        1 => Just(Phase::Unobserved),
        2 => Just(Phase::Rolling),
        1 => Just(Phase::Stuck),
        6 => Just(Phase::Complete),
        1 => Just(Phase::Silent),
    ];
    let available = select(vec![Some(true), Some(true), Some(true), Some(false), None]);
    let refused = proptest::bool::weighted(0.2);
    (phase, 0..4_i32, 0..4_i32, available, refused, words()).prop_map(
        |(phase, wanted, ready, available, refused, words)| DeploymentStatus {
            phase,
            wanted,
            ready,
            available,
            refused,
            words,
        },
    )
}

fn autoscaler_status() -> impl Strategy<Value = AutoscalerStatus> {
    let reasons = vec![
        "ValidMetricFound",
        "FailedGetResourceMetric",
        "",
        "Pending",
        "not a word",
        "9",
        LONG_WORDS,
    ];
    let condition = || {
        option::of((
            select(vec!["True", "False", "Unknown", ""]),
            select(reasons.clone()),
        ))
    };
    (condition(), condition(), words()).prop_map(|(able, active, words)| AutoscalerStatus {
        able,
        active,
        words,
    })
}

fn counts() -> impl Strategy<Value = Option<Counts>> {
    let counts = (proptest::bool::weighted(0.8), 0..2_i64, 0..4_i64, 0..4_i64);
    option::of(counts.prop_map(|(observed, allowed, desired, expected)| Counts {
        observed,
        allowed,
        desired,
        expected,
    }))
}

fn pod_shape() -> impl Strategy<Value = PodShape> {
    let waiting = select(vec![
        "ImagePullBackOff",
        "ErrImagePull",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "ContainerCreating",
        "",
    ]);
    prop_oneof![
        2 => Just(PodShape::Absent),
        6 => Just(PodShape::Ready),
        1 => Just(PodShape::Unready),
        2 => (waiting, words()).prop_map(|(reason, words)| PodShape::Waiting(reason, words)),
        1 => words().prop_map(PodShape::Unschedulable),
        1 => Just(PodShape::Terminating),
        1 => Just(PodShape::Finished),
        1 => Just(PodShape::Restarted),
    ]
}

fn store_shape() -> impl Strategy<Value = StoreShape> {
    let trouble = || select(TROUBLES.to_vec());
    prop_oneof![
        1 => option::of(trouble()).prop_map(StoreShape::Connecting),
        4 => select(vec![Mode::Tracking, Mode::Polling]).prop_map(StoreShape::Up),
        2 => trouble().prop_map(StoreShape::Down),
        2 => trouble().prop_map(StoreShape::Unaskable),
    ]
}

fn health() -> impl Strategy<Value = Health> {
    let well = Health {
        clock_jumped: Some(false),
        alone: Some(false),
        slow: Some(false),
        persistence: Some(Persistence::Kept),
        ..Health::default()
    };
    let one = select(vec![
        well.clone(),
        Health::default(),
        Health {
            clock_jumped: Some(true),
            ..well.clone()
        },
        Health {
            evicts: Some("volatile-ttl"),
            persistence: Some(Persistence::Failed),
            ..well.clone()
        },
        Health {
            refuses: vec![Refusal::MemoryFull, Refusal::ClientsNearLimit],
            persistence: Some(Persistence::Unsaved),
            ..well.clone()
        },
        Health {
            alone: Some(true),
            ..well.clone()
        },
        Health {
            slow: Some(true),
            ..well.clone()
        },
        Health {
            unseen: vec![Unseen::Clock, Unseen::Replicas],
            ..well
        },
    ]);
    let worst_of_both = |(one, other): (Health, Health)| {
        let worst = Health::worst(&[Arc::new(one), Arc::new(other)]);
        worst.map_or_else(Health::default, |worst| Health::clone(&worst))
    };
    prop_oneof![4 => one.clone(), 1 => (one.clone(), one).prop_map(worst_of_both)]
}

fn lock_shape() -> impl Strategy<Value = LockShape> {
    prop_oneof![
        3 => Just(LockShape::Free),
        8 => (0..4_usize).prop_map(LockShape::Held),
        1 => Just(LockShape::Stranger),
        1 => (0..4_usize).prop_map(LockShape::Endless),
        2 => Just(LockShape::Anonymous),
        1 => Just(LockShape::Garbage),
        1 => Just(LockShape::WrongType),
    ]
}

fn how() -> impl Strategy<Value = How> {
    // The apiserver is never speechless; `cluster` has words for where it is.
    let words = || select(WORDS[2..].to_vec());
    let failure = || option::weighted(0.08, (select(FAILURES.to_vec()), words()));
    let failures = proptest::collection::vec(failure(), ChildKind::ALL.len());
    let flag = || proptest::bool::weighted(0.3);
    (failures, flag(), proptest::bool::weighted(0.1), flag()).prop_map(
        |(failures, overrides, unsettled, lingers)| How {
            failures,
            overrides,
            unsettled,
            lingers,
        },
    )
}

impl Spec {
    /// As a user writes it.
    pub(super) fn json(&self) -> Value {
        let mut spec = json!({
            "template": self.template(),
            "suspend": self.suspend,
            "conflictPolicy": if self.adopt { "Adopt" } else { "Fail" },
            "networkPolicy": { "enabled": self.policy },
        });
        if let Some(replicas) = self.replicas {
            spec["replicas"] = json!(replicas);
        }
        let scaling = [
            Value::Null,
            json!({ "minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70 }),
            json!({ "maxReplicas": 5 }),
            json!({ "minReplicas": 3, "maxReplicas": 3 }),
            json!({ "mode": "External" }),
        ];
        let budget = [
            Value::Null,
            json!({ "enabled": false }),
            json!({ "minAvailable": "50%" }),
            json!({ "minAvailable": 3, "allowBlocking": true }),
            json!({ "maxUnavailable": 0 }),
        ];
        // The last two are places where this version can't look.
        let redis = [
            Value::Null,
            json!({ "url": "redis://redis:6379" }),
            json!({ "sentinel": { "masterName": "m", "endpoints": ["sentinel:26379"] } }),
            json!({ "url": "rediss://redis:6379" }),
        ];
        let locks = if self.redis == 0 { 0 } else { self.locks };
        for (field, value) in [
            ("autoscaling", scaling[self.scaling].clone()),
            ("disruptionBudget", budget[self.budget].clone()),
            ("redis", redis[self.redis].clone()),
            ("locks", self.locks(locks)),
        ] {
            if !value.is_null() {
                spec[field] = value;
            }
        }
        if self.service {
            spec["service"] = json!({ "ports": [{ "port": 80 }] });
        }
        if self.invalid {
            // What only the controller can find.
            spec["template"]["metadata"] = json!({ "labels": { "lockstep.dev/workload": "other" } });
        }
        spec
    }

    fn template(&self) -> Value {
        let container = |at: usize| {
            let name = format!("container-with-a-long-name-that-is-told-in-every-place-{at:0>4}");
            json!({ "name": name, "image": "x", "ports": [{ "containerPort": 1000 + at }] })
        };
        let containers = if self.large { 20 } else { 1 };
        json!({ "spec": { "containers": (0..containers).map(container).collect::<Vec<_>>() } })
    }

    fn locks(&self, variant: usize) -> Value {
        let readiness = if self.required { "Required" } else { "Advisory" };
        let set = |name: &str, hold: &str, names: &[&str]| {
            json!({
                "name": name, "hold": hold, "dialect": "Rigatoni", "names": names, "readiness": readiness,
                "balance": { "for": "1m", "warmUp": "10s" },
            })
        };
        let unbalanced = |mut set: Value| {
            set["balance"] = json!({ "enabled": false });
            set
        };
        let bounded = |mut set: Value| {
            set["maxHold"] = json!("1m");
            set
        };
        let periodic = |mut set: Value| {
            set["every"] = json!("10m");
            set
        };
        let mut opaque = set("other", "Continuous", &["z"]);
        opaque["dialect"] = json!("Redlock");
        let mut custom = set("own", "Continuous", &["a", "b"]);
        custom["dialect"] = json!("Custom");
        custom["keyPrefix"] = json!("rigatoni:lock:");
        custom["holder"] =
            json!({ "pattern": "anonymous|(?<owner>.+)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}" });
        match variant {
            0 => Value::Null,
            1 => json!([set("jobs", "Continuous", &["a", "b", "c"])]),
            2 => json!([
                set("jobs", "Continuous", &["a", "b", "c", "d"]),
                set("cron", "Intermittent", &["e"])
            ]),
            3 => json!([unbalanced(set("leader", "Continuous", &["a"]))]),
            5 => json!([set("leader", "Continuous", &["a"])]),
            6 => json!([custom]),
            4 => json!([set("jobs", "Continuous", &["a", "b"]), opaque]),
            8 => json!([
                bounded(set("jobs", "Continuous", &["a", "b"])),
                periodic(bounded(set("cron", "Intermittent", &["c", "d"])))
            ]),
            _ => {
                // More than status has room for.
                let set = |at: usize| {
                    let names: Vec<String> = (0..5).map(|n| format!("{n}{at:x>255}")).collect();
                    let name = format!("{at:x>63}");
                    let mut set = set(&name, "Continuous", &[]);
                    set["names"] = json!(names);
                    set
                };
                json!((10..26).map(set).collect::<Vec<_>>())
            }
        }
    }
}
