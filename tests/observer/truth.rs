//! A sample of the histories that `tests/corpus` plays in simulated time, with a real Redis and the real observer, in real
//! time: what is done to the server of the simulated world is done to a real one, and what the observer sees of that goes
//! through the core. The same oracle holds it against the truth.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockstep::clock;
use lockstep::domain::locks::Mono;
use lockstep_cluster::Redis;
use lockstep_truth::oracle::Figures;
use lockstep_truth::plan::{Ms, Plan, drawn};
use lockstep_truth::server::{By, Command};
use lockstep_truth::world::real::real;
use lockstep_truth::world::{Played, World};

use tokio::task::JoinSet;

use crate::rights::NAME;
use crate::support::{Client, View, as_user, redis, target_at};

/// Histories that are played at a time. They wait far more than they compute.
const HISTORIES: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sample_of_the_histories_is_judged_rightly_with_a_real_redis() {
    let plans = (0..).filter_map(|history| Some((history, real(&drawn(0, history).current())?)));
    let mut playing = JoinSet::new();
    for (history, plan) in plans.take(HISTORIES) {
        playing.spawn(async move { (history, plan.clone(), play(&plan).await) });
    }
    let (mut figures, mut failed, mut void) = (Figures::default(), Vec::new(), 0);
    while let Some(played) = playing.join_next().await {
        let (history, plan, Some(played)) = played.unwrap() else {
            void += 1;
            continue;
        };
        figures += played.figures;
        if !played.violations.is_empty() {
            failed.push(format!(
                "history {history}, {plan:?}: {:#?} {:#?}",
                played.violations, played.said
            ));
        }
    }
    let told = format!(
        "truth, with a real Redis: {} histories, {void} void: {} fail; {} ends judged: {} losses that could be seen, {} ends \
         that nobody watched; status compared as a whole {} times\n",
        HISTORIES - void,
        failed.len(),
        figures.ends,
        figures.losses,
        figures.blind,
        figures.checks
    );
    // For the end of `make test`.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/truth-real.txt"), told).unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(
        void * 4 <= HISTORIES,
        "{void} of {HISTORIES} came too late to be what was meant"
    );
    assert!(
        figures.ends >= 10 && figures.losses >= 3 && figures.checks >= 20,
        "{figures:?}"
    );
}

/// Plays one history; `None`: a command came too late for what it was meant for, on a machine that was too busy.
async fn play(plan: &Plan) -> Option<Played> {
    let server = redis();
    let gate = Gate::before(&server);
    let mut client = Client::of(&server);
    let boot = clock::mono();
    let (mut world, end) = World::in_real_time(plan, boot);
    let probes: Vec<_> = world.workload.probes().cloned().collect();
    let mut view = View::new(as_user(gate.target(), NAME, NAME), &[]);
    view.keys = probes;
    let now = || Ms::try_from(clock::mono().since(boot).as_millis()).unwrap();
    while now() < end {
        let commands = world.happen(now());
        let fails_over = commands
            .iter()
            .any(|command| matches!(command, Command::FailOver(_)));
        gate.set_open(now() >= world.cut_until() && !fails_over);
        for command in commands {
            if !mirror(&server, &mut client, &world, &view, &command) {
                return None;
            }
        }
        gate.set_open(now() >= world.cut_until());
        world.see(view.now(), now());
        let next = world.next().unwrap_or(end).min(end).max(now() + 1);
        let next = clock::instant(Mono(boot.0 + Duration::from_millis(next)));
        let _ = tokio::time::timeout_at(next, view.changes.recv()).await;
    }
    Some(world.over())
}

/// Does to the real server what was done to the other; whether it could still be done.
fn mirror(server: &Redis, client: &mut Client, world: &World, view: &View, command: &Command) -> bool {
    let key = |lock: usize| String::from_utf8_lossy(&view.keys[lock].key).into_owned();
    let put = |client: &mut Client, hold: usize, left: Option<Ms>| {
        let known = &world.server.holds[hold];
        let key = key(known.lock);
        if known.by == By::WrongType {
            client.run::<()>(&format!("DEL {key}"));
            client.run::<()>(&format!("RPUSH {key} x"));
        } else {
            client.run::<()>(&format!("SET {key} {}", world.values[hold]));
        }
        if let Some(left) = left {
            client.run::<()>(&format!("PEXPIRE {key} {left}"));
        }
    };
    match command {
        Command::Set(hold, ttl) if world.server.holds[*hold].by != By::WrongType => {
            let known = &world.server.holds[*hold];
            let ttl = ttl.map_or_else(String::new, |ttl| format!(" PX {ttl}"));
            client.run::<()>(&format!("SET {} {}{ttl}", key(known.lock), world.values[*hold]));
        }
        Command::Set(hold, ttl) => put(client, *hold, *ttl),
        Command::Expire(lock, ttl) => {
            return client.run::<u64>(&format!("PEXPIRE {} {ttl}", key(*lock))) == 1;
        }
        Command::Persist(lock) => return client.run::<u64>(&format!("PERSIST {}", key(*lock))) == 1,
        Command::Delete(lock) => return client.run::<u64>(&format!("DEL {}", key(*lock))) == 1,
        Command::Flush => client.run::<()>("FLUSHALL"),
        Command::FailOver(kept) => {
            // Nobody sees it until the gate is opened.
            let began = clock::mono();
            client.run::<()>("FLUSHALL");
            tokio::task::block_in_place(|| server.restart()).unwrap();
            *client = Client::of(server);
            let took = Ms::try_from(clock::mono().since(began).as_millis()).unwrap();
            for (hold, left) in kept {
                let left = left.map(|left| left.saturating_sub(took));
                if left == Some(0) {
                    continue;
                }
                put(client, *hold, left);
            }
        }
    }
    true
}

/// A way to a server that can be interrupted.
struct Gate {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gate {
    fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = SocketAddr::new(redis.address(), redis.port());
        let gate = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::new(AtomicBool::new(true)),
            streams: Arc::default(),
        };
        let (open, streams) = (Arc::clone(&gate.open), Arc::clone(&gate.streams));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut streams = streams.lock().unwrap();
                // Looked at under the lock: what is let through now is known to whoever shuts the gate.
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                streams.extend([client, server]);
            }
        });
        gate
    }

    fn target(&self) -> lockstep::observer::Target {
        target_at(&self.address.ip().to_string(), self.address.port())
    }

    fn set_open(&self, open: bool) {
        let mut streams = self.streams.lock().unwrap();
        self.open.store(open, Ordering::SeqCst);
        if !open {
            for stream in streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}
