//! What is to happen in a history: how everything is set up, and one thing after another. Plain data, drawn from a
//! seed and shrunk by proptest.

use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Milliseconds.
pub type Ms = u64;

/// One history before it is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What stays the same throughout.
    pub setup: Setup,
    /// What happens, in this order.
    pub acts: Vec<Act>,
}

/// What stays the same throughout a history.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is so or not beside the others"
)]
pub struct Setup {
    /// Whether the server refuses tracking.
    pub polling: bool,
    /// What a lock's value says about its owner.
    pub owner: Owner,
    /// Wanted pods.
    pub pods: usize,
    /// Locks of the Continuous set.
    pub locks: usize,
    /// Locks that one process takes at most; `None`: whoever comes first takes all.
    pub cap: Option<usize>,
    /// Locks of the Intermittent set.
    pub jobs: usize,
    /// Whether jobs renew their locks.
    pub jobs_renew: bool,
    /// From the operator to the server and back.
    pub round_trip: Ms,
    /// From a change of a pod to the operator.
    pub watch_lag: Ms,
    /// How long after its expiry the server deletes a key that nobody asks for.
    pub active_expiry: Ms,
    /// Whether the application releases its locks on SIGTERM.
    pub graceful: bool,
    /// From a pod's start until it is Ready.
    pub start: Ms,
    /// Whether strangers are expected.
    pub foreign_expected: bool,
}

/// What a lock's value says about its owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// The pod's name.
    Name,
    /// The pod's UID.
    Uid,
    /// Nothing.
    Opaque,
}

/// Something that happens, so long after the thing before.
#[derive(Clone, Debug)]
pub struct Act {
    /// Milliseconds since the act before.
    pub after: Ms,
    /// What.
    pub what: What,
}

/// What can happen. Pods, processes and locks are drawn as numbers and wrap around those that there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// Nothing; time goes on.
    Nothing,
    /// A pod's lock container is killed, and started again by the kubelet after a while.
    Crash(usize),
    /// Another container of a pod restarts.
    SidecarCrash(usize),
    /// A process stands still for so long (a pause of its runtime, SIGSTOP), then goes on.
    Pause(usize, Ms),
    /// A pod can't reach Redis for so long, and works on.
    CutOff(usize, Ms),
    /// A pod is deleted; the Deployment makes another.
    Delete(usize),
    /// A pod's object is deleted by force; its process runs on for so long.
    ForceDelete(usize, Ms),
    /// A pod is evicted by the kubelet: Failed, its process gone.
    EvictPod(usize),
    /// A pod's node is gone: its process dies, it is not Ready any more, and its object goes minutes later.
    NodeLost(usize),
    /// A pod is not Ready for so long, and works on.
    NotReady(usize, Ms),
    /// All pods are replaced, one after the other.
    Rollout,
    /// So many pods are wanted from now on.
    Scale(usize),
    /// The holder gives the lock up, and another pod takes it.
    HandOver(usize),
    /// Somebody deletes the key by hand.
    DeleteKey(usize),
    /// Somebody else takes the lock by force and renews it for so long.
    Stranger(usize, Ms),
    /// The value is nothing that the library writes.
    Garbage(usize),
    /// The key becomes a list.
    WrongType(usize),
    /// The key loses its expiry.
    Persist(usize),
    /// The server evicts the lock.
    Evict(usize),
    /// The server evicts something else.
    EvictOther,
    /// All keys are deleted.
    Flush,
    /// Another server takes over after so long; it never got the locks of this mask.
    Failover(Ms, u8),
    /// The server's clock is set forward.
    ServerClock(Ms),
    /// The operator's wall clock is set, forward or back.
    OperatorClock(i64),
    /// The operator can't reach the server for so long; whether it is told at once.
    Cut(Ms, bool),
    /// The operator is away for so long, and another takes over with nothing but status.
    Restart(Ms),
    /// A pod runs a job for so long.
    Job(usize, usize, Ms),
}

impl What {
    /// Whether a well-behaved application on a well-behaved cluster does this: it must not make a Warning.
    #[must_use]
    pub fn is_calm(self) -> bool {
        match self {
            Self::Nothing
            | Self::SidecarCrash(_)
            | Self::Delete(_)
            | Self::NotReady(..)
            | Self::Rollout
            | Self::Scale(_)
            | Self::HandOver(_)
            | Self::OperatorClock(_)
            | Self::Restart(_)
            | Self::Job(..) => true,
            Self::Crash(_)
            | Self::Pause(..)
            | Self::CutOff(..)
            | Self::ForceDelete(..)
            | Self::EvictPod(_)
            | Self::NodeLost(_)
            | Self::DeleteKey(_)
            | Self::Stranger(..)
            | Self::Garbage(_)
            | Self::WrongType(_)
            | Self::Persist(_)
            | Self::Evict(_)
            | Self::EvictOther
            | Self::Flush
            | Self::Failover(..)
            | Self::ServerClock(_)
            | Self::Cut(..) => false,
        }
    }
}

/// The plan of a history, which is its number and the seed; it can be shrunk.
///
/// # Panics
///
/// Not as long as these plans are drawn without a filter.
#[must_use]
pub fn drawn(seed: u64, history: u64) -> Box<dyn ValueTree<Value = Plan>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&history.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    #[expect(clippy::expect_used, reason = "nothing is filtered out of these plans")]
    let tree = plans().new_tree(&mut runner).expect("a plan");
    Box::new(tree)
}

/// Plans of all kinds: one in three is calm throughout.
fn plans() -> impl Strategy<Value = Plan> {
    let acts = prop_oneof![
        1 => prop::collection::vec(act(calm().boxed()), 1..10),
        2 => prop::collection::vec(act(anything().boxed()), 1..10),
    ];
    (setup(), acts).prop_map(|(setup, acts)| Plan { setup, acts })
}

fn setup() -> impl Strategy<Value = Setup> {
    let owner = select(vec![
        Owner::Name,
        Owner::Name,
        Owner::Name,
        Owner::Uid,
        Owner::Opaque,
    ]);
    let workload = (owner, 1..4_usize, 1..5_usize, prop::option::of(1..3_usize));
    let jobs = (0..2_usize, any::<bool>());
    let times = (1..40_u64, 5..500_u64, 5..4000_u64, 500..8000_u64);
    let rest = (
        prop::bool::weighted(0.25),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.2),
    );
    (workload, jobs, times, rest).prop_map(|(workload, jobs, times, rest)| {
        let (owner, pods, locks, cap) = workload;
        let (round_trip, watch_lag, active_expiry, start) = times;
        let (polling, graceful, foreign_expected) = rest;
        Setup {
            polling,
            owner,
            pods,
            locks,
            cap,
            jobs: jobs.0,
            jobs_renew: jobs.1,
            round_trip,
            watch_lag,
            active_expiry,
            graceful,
            start,
            foreign_expected,
        }
    })
}

fn act(what: BoxedStrategy<What>) -> impl Strategy<Value = Act> {
    let after = prop_oneof![
        2 => 0..3_000_u64,
        4 => 3_000..40_000_u64,
        2 => 40_000..200_000_u64,
    ];
    (after, what).prop_map(|(after, what)| Act { after, what })
}

/// From a blink to longer than any lock lives.
fn lasting() -> impl Strategy<Value = Ms> {
    prop_oneof![100..5_000_u64, 5_000..35_000_u64, 35_000..120_000_u64]
}

fn calm() -> impl Strategy<Value = What> {
    let pod = 0..4_usize;
    prop_oneof![
        2 => Just(What::Nothing),
        1 => pod.clone().prop_map(What::SidecarCrash),
        2 => pod.clone().prop_map(What::Delete),
        1 => (pod.clone(), lasting()).prop_map(|(pod, time)| What::NotReady(pod, time)),
        2 => Just(What::Rollout),
        2 => (0..4_usize).prop_map(What::Scale),
        3 => (0..4_usize).prop_map(What::HandOver),
        1 => (-7_200_000..7_200_000_i64).prop_map(What::OperatorClock),
        2 => (0..60_000_u64).prop_map(What::Restart),
        4 => (pod, 0..2_usize, 50..25_000_u64).prop_map(|(pod, lock, time)| What::Job(pod, lock, time)),
    ]
}

fn anything() -> impl Strategy<Value = What> {
    let (pod, lock) = (0..4_usize, 0..6_usize);
    prop_oneof![
        8 => calm(),
        4 => pod.clone().prop_map(What::Crash),
        3 => (pod.clone(), lasting()).prop_map(|(pod, time)| What::Pause(pod, time)),
        3 => (pod.clone(), lasting()).prop_map(|(pod, time)| What::CutOff(pod, time)),
        2 => (pod.clone(), lasting()).prop_map(|(pod, time)| What::ForceDelete(pod, time)),
        1 => pod.clone().prop_map(What::EvictPod),
        1 => pod.clone().prop_map(What::NodeLost),
        1 => lock.clone().prop_map(What::DeleteKey),
        2 => (lock.clone(), lasting()).prop_map(|(lock, time)| What::Stranger(lock, time)),
        1 => lock.clone().prop_map(What::Garbage),
        1 => lock.clone().prop_map(What::WrongType),
        1 => lock.clone().prop_map(What::Persist),
        2 => lock.prop_map(What::Evict),
        1 => Just(What::EvictOther),
        2 => Just(What::Flush),
        3 => (0..20_000_u64, any::<u8>()).prop_map(|(time, lost)| What::Failover(time, lost)),
        2 => prop_oneof![1_500..20_000_u64, 20_000..100_000_u64].prop_map(What::ServerClock),
        4 => (lasting(), any::<bool>()).prop_map(|(time, told)| What::Cut(time, told)),
        3 => (pod, 0..2_usize, 50..90_000_u64).prop_map(|(pod, lock, time)| What::Job(pod, lock, time)),
    ]
}
