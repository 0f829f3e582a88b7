//! A history as it plays: server, processes, pods, network and operator in simulated time, one event after the other.
//!
//! In: a [`Plan`]. Out: what was concluded, said and written, each held against the truth by [`crate::oracle`] while
//! it plays.

mod acts;
mod pods;
mod processes;
pub mod real;
mod wire;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use lockstep::{
    api::CoordinatedWorkload,
    domain::{
        children::{self, Live},
        locks::{Mono, Trouble},
        memory::Announcement,
        workload::{Workload, parse},
    },
};
use serde_json::{Map, Value, json};

use crate::{
    cluster::{Pod, Process, deployment, wall},
    operator::{ClusterView, Counters, Moment, Operator, name_of},
    oracle::{Oracle, Violation},
    plan::{Ms, Owner, Plan, Setup, What},
    server::{Push, Server, Shown},
    wrong::Wrong,
};

/// Lifetime of a lock.
pub const TTL: Ms = 30_000;
/// A holder renews this often.
pub const RENEW: Ms = 10_000;
/// Whoever wants a lock tries this often.
pub const RETRY: Ms = 5_000;
/// A pod may take so long to end.
const GRACE: Ms = 30_000;
/// The kubelet starts a container again after so long.
const RESTART: Ms = 1_500;
/// The session looks after its server this often, and waits so long for an answer.
const BEAT: Ms = 2_000;
/// How long after a failure to connect it is tried again.
const RECONNECT: Ms = 500;
/// How long everything goes on after the last act.
const AFTERMATH: Ms = 400_000;

/// Something that is to happen.
#[derive(Clone, Debug)]
enum Event {
    Act(What),
    /// A process looks after a lock of the Continuous set.
    Tick(usize, usize),
    /// A process works on a job until then.
    Work(usize, usize, usize, Ms),
    /// A process releases what it holds and ends.
    Leave(usize),
    /// A process ends, with this exit code.
    Exit(usize, &'static str, i32),
    /// The kubelet starts a pod's lock container again.
    Restart(usize),
    /// A pod turns Ready.
    Ready(usize),
    /// A pod's object goes.
    Gone(usize),
    /// A process that has no pod any more ends.
    GhostEnds(usize),
    /// The Deployment controller looks.
    Deploy,
    /// A stranger renews until then.
    Renew(usize, usize, Ms),
    /// The server comes across a key.
    Sweep(usize, u64),
    /// The operator sees the cluster.
    Saw(Box<ClusterView>),
    /// The operator tries to connect.
    Connect,
    Connected(u32),
    Lost(u32, Trouble),
    Pushed(u32, Push),
    Read(u32, Vec<usize>),
    Answers(u32, Vec<(usize, Option<Shown>)>, Counters),
    Beat(u32),
    /// Another operator starts.
    Takeover,
}

/// The way between operator and server.
#[derive(Clone, Copy, Debug, Default)]
struct Net {
    /// It is interrupted until then.
    until: Ms,
    /// Whether both ends know.
    told: bool,
    /// The server is away until then.
    server_back: Ms,
}

/// A world.
pub struct World {
    /// Milliseconds since it began.
    pub now: Ms,
    /// What stays the same.
    pub setup: Setup,
    /// The server.
    pub server: Server,
    /// All pods that ever were.
    pub pods: Vec<Pod>,
    /// When something about them changed last.
    pub pods_changed: Ms,
    /// All processes that ever were.
    pub processes: Vec<Process>,
    /// Wanted pods.
    pub wanted: usize,
    /// The operator, while there is one.
    pub operator: Option<Operator>,
    /// How many operators there were.
    pub operators: u32,
    /// The resource, with its status.
    pub resource: CoordinatedWorkload,
    /// The resource's spec, parsed.
    pub workload: Workload,
    /// Values of holds.
    pub values: Vec<String>,
    /// Statuses written.
    pub writes: usize,
    /// Passes made.
    pub passes: usize,
    /// By how much the operator's wall clock was set.
    pub set_by: i64,
    /// What the operator's monotonic clock showed when it began.
    pub boot: Mono,
    /// Whether a real observer of a real server sees it.
    real: bool,
    oracle: Oracle,
    queue: BTreeMap<(Ms, u64), Event>,
    events: u64,
    net: Net,
    /// When the last message to the operator arrives: one connection keeps their order.
    last_arrival: Ms,
    version: u32,
    intent: Map<String, Value>,
    cluster: ClusterView,
    wrong: Option<Wrong>,
}

/// What came of a history.
#[derive(Debug, Default)]
pub struct Played {
    /// Where the core and the truth disagree.
    pub violations: Vec<Violation>,
    /// What was counted on the way.
    pub figures: crate::oracle::Figures,
    /// Events that were said.
    pub said: Vec<Announcement>,
    /// Passes made.
    pub passes: usize,
    /// Statuses written.
    pub writes: usize,
}

/// Plays a history through the core, or through one that is wrong.
#[must_use]
pub fn play(plan: &Plan, wrong: Option<Wrong>) -> Played {
    let mut world = World::new(&plan.setup, wrong);
    world.run_until(120_000);
    let mut at = world.now;
    for act in &plan.acts {
        at += act.after;
        world.schedule(at, Event::Act(act.what));
    }
    world.oracle.calm = plan.acts.iter().all(|act| act.what.is_calm()) && plan.setup.graceful;
    world.run_until(at + AFTERMATH);
    world.finish()
}

impl World {
    fn new(setup: &Setup, wrong: Option<Wrong>) -> Self {
        let resource = resource(setup);
        #[expect(clippy::expect_used, reason = "the spec of this world is valid")]
        let workload = parse(&resource).expect("the spec is valid");
        #[expect(clippy::expect_used, reason = "there is always a Deployment")]
        let intent = children::build(&workload)
            .deployment
            .expect("a Deployment")
            .body()
            .clone();
        let live = Live::from_parts(deployment(&intent, &[], setup.pods, 0), false);
        let cluster = ClusterView {
            pods: vec![],
            deployment: live,
        };
        let mut world = Self {
            now: 0,
            setup: setup.clone(),
            server: Server::new(setup.locks + setup.jobs),
            pods: vec![],
            pods_changed: 0,
            processes: vec![],
            wanted: setup.pods,
            operator: None,
            operators: 0,
            oracle: Oracle::new(setup),
            boot: Mono(Duration::from_hours(1)),
            real: false,
            resource,
            workload,
            values: vec![],
            writes: 0,
            passes: 0,
            set_by: 0,
            queue: BTreeMap::new(),
            events: 0,
            net: Net::default(),
            last_arrival: 0,
            version: 0,
            intent,
            cluster,
            wrong,
        };
        world.schedule(0, Event::Deploy);
        world.schedule(50, Event::Takeover);
        world
    }

    /// The operator's wall clock at `at`.
    #[must_use]
    pub fn moment(&self, at: Ms) -> Moment {
        let true_wall = wall(epoch(), at).as_millisecond();
        Moment {
            at,
            boot: self.boot,
            wall: Timestamp::from_millisecond(true_wall + self.set_by).unwrap_or_default(),
            set_by: self.set_by,
        }
    }

    /// Whether a real observer of a real server sees it.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.real
    }

    /// Whether a lock is of the Continuous set.
    #[must_use]
    pub fn is_continuous(&self, lock: usize) -> bool {
        lock < self.setup.locks
    }

    /// The pods that a verdict may name, and when each change of theirs is seen by: the truth and `watch_lag`.
    #[must_use]
    pub fn pod_of(&self, process: usize) -> &Pod {
        &self.pods[self.processes[process].pod]
    }

    fn schedule(&mut self, at: Ms, event: Event) {
        self.events += 1;
        self.queue.insert((at.max(self.now), self.events), event);
    }

    fn later(&mut self, after: Ms, event: Event) {
        self.schedule(self.now + after, event);
    }

    fn run_until(&mut self, end: Ms) {
        loop {
            let wake = self
                .operator
                .as_ref()
                .and_then(|operator| operator.wake(self.moment(self.now)));
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wake = wake.map(|wake| wake.max(self.now));
            let Some(next) = [wake, event]
                .into_iter()
                .flatten()
                .min()
                .filter(|next| *next <= end)
            else {
                break;
            };
            self.pass_time(next);
            if event == Some(next)
                && let Some((_, event)) = self.queue.pop_first()
            {
                self.handle(event);
            }
            self.turn();
        }
        self.pass_time(end);
    }

    fn pass_time(&mut self, to: Ms) {
        let mut oracle = std::mem::take(&mut self.oracle);
        oracle.time_passes(self, to);
        self.oracle = oracle;
        self.now = to;
    }

    fn finish(mut self) -> Played {
        let mut oracle = std::mem::take(&mut self.oracle);
        for lock in 0..self.setup.locks + self.setup.jobs {
            self.server.holder(lock, self.now);
        }
        oracle.finish(&mut self);
        Played {
            violations: oracle.violations,
            figures: oracle.figures,
            said: oracle.said,
            passes: self.passes,
            writes: self.writes,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Act(what) => {
                let mut oracle = std::mem::take(&mut self.oracle);
                oracle.check(self);
                self.oracle = oracle;
                self.act(what);
            }
            Event::Tick(process, lock) => self.tick(process, lock),
            Event::Work(process, lock, hold, until) => self.work(process, lock, hold, until),
            Event::Leave(process) => self.leave(process),
            Event::Exit(process, reason, code) => self.exit(process, reason, code),
            Event::Restart(pod) => self.restart_container(pod),
            Event::Ready(pod) => {
                let now = self.now;
                let pod = &mut self.pods[pod];
                if pod.counts() && pod.running {
                    pod.ready.get_or_insert(now);
                }
                self.cluster_changed();
            }
            Event::Gone(pod) => {
                self.pods[pod].gone.get_or_insert(self.now);
                self.pods[pod].ready = None;
                self.cluster_changed();
            }
            Event::GhostEnds(process) => self.end_process(process),
            Event::Deploy => self.deploy(),
            Event::Renew(lock, hold, until) => {
                if self.now < until && self.server.renew(lock, hold, TTL, self.now) {
                    self.later(RENEW, Event::Renew(lock, hold, until));
                }
            }
            Event::Sweep(lock, version) => self.server.sweep(lock, version, self.now),
            Event::Saw(view) => {
                self.cluster = *view;
                if let Some(operator) = &mut self.operator {
                    operator.saw(self.cluster.clone());
                }
            }
            Event::Takeover => self.takeover(),
            Event::Connect
            | Event::Connected(_)
            | Event::Lost(..)
            | Event::Pushed(..)
            | Event::Read(..)
            | Event::Answers(..)
            | Event::Beat(_) => self.wire(event),
        }
        self.tell_the_operator();
    }
}

/// The true wall clock when a world begins. Not a whole second: nothing that is shown may depend on it.
#[must_use]
pub fn epoch() -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_900).unwrap_or_default()
}

fn resource(setup: &Setup) -> CoordinatedWorkload {
    let by = |owner: &str| json!({ "pattern": "(?<owner>[^/]+)/.*", "matches": { "type": owner } });
    let describe = |set: &mut Value, renews: bool, library: bool| {
        set["keyPrefix"] = json!("shop:lock:");
        set["ttl"] = json!("30s");
        set["retryInterval"] = json!("5s");
        if renews {
            set["renewInterval"] = json!("10s");
        }
        if setup.foreign_expected {
            set["foreignHolders"] = json!("Expected");
        }
        match setup.owner {
            Owner::Name if library => set["dialect"] = json!("Rigatoni"),
            Owner::Name => {
                set["dialect"] = json!("Custom");
                set["holder"] = by("PodName");
            }
            Owner::Uid => {
                set["dialect"] = json!("Custom");
                set["holder"] = by("PodUID");
            }
            Owner::Opaque => set["dialect"] = json!("RedisPy"),
        }
    };
    let names = |from: usize, count: usize| -> Vec<String> { (from..from + count).map(name_of).collect() };
    let mut main = json!({ "name": "main", "hold": "Continuous", "names": names(0, setup.locks) });
    describe(&mut main, true, true);
    let mut sets = vec![main];
    if setup.jobs > 0 {
        let mut jobs =
            json!({ "name": "jobs", "hold": "Intermittent", "names": names(setup.locks, setup.jobs) });
        describe(&mut jobs, setup.jobs_renew, false);
        sets.push(jobs);
    }
    let resource = json!({
        "apiVersion": "lockstep.dev/v1alpha1",
        "kind": "CoordinatedWorkload",
        "metadata": { "name": crate::cluster::NAME, "namespace": "prod", "uid": "u", "generation": 1 },
        "spec": {
            "template": { "spec": { "containers": [{ "name": "main", "image": "x" }] } },
            "disruptionBudget": { "enabled": false },
            "networkPolicy": { "enabled": false },
            "redis": { "url": "redis://redis:6379" },
            "locks": sets,
        },
    });
    #[expect(clippy::expect_used, reason = "the resource of this world is one")]
    serde_json::from_value(resource).expect("a resource")
}
