//! What holds whatever happens, and in whatever order.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Take(usize, usize),
    Stranger(usize),
    Endless(usize, usize),
    Garbage(usize),
    Release(usize),
    Silence(usize),
    Crash(usize),
    Delete(usize),
    Start(usize),
    Ready(usize, bool),
    Cut,
    Mend(bool),
    Restart,
    Advance(u32),
    Respec(usize),
    Wanted(i32),
    Rolling(bool),
    Fail(Option<FailureKind>),
    /// Whether nothing ticks, at this moment.
    Rest,
}

fn step() -> impl Strategy<Value = Step> {
    let (lock, pod) = (0..4_usize, 0..3_usize);
    prop_oneof![
        12 => (lock.clone(), pod.clone()).prop_map(|(lock, pod)| Step::Take(lock, pod)),
        1 => lock.clone().prop_map(Step::Stranger),
        1 => (lock.clone(), pod.clone()).prop_map(|(lock, pod)| Step::Endless(lock, pod)),
        1 => lock.clone().prop_map(Step::Garbage),
        4 => lock.prop_map(Step::Release),
        3 => pod.clone().prop_map(Step::Silence),
        3 => pod.clone().prop_map(Step::Crash),
        3 => pod.clone().prop_map(Step::Delete),
        3 => pod.clone().prop_map(Step::Start),
        2 => (pod, any::<bool>()).prop_map(|(pod, ready)| Step::Ready(pod, ready)),
        2 => Just(Step::Cut),
        3 => any::<bool>().prop_map(Step::Mend),
        2 => Just(Step::Restart),
        24 => prop_oneof![1..3000_u32, 3000..40_000_u32, 40_000..400_000_u32].prop_map(Step::Advance),
        1 => (0..4_usize).prop_map(Step::Respec),
        1 => (0..5_i32).prop_map(Step::Wanted),
        1 => any::<bool>().prop_map(Step::Rolling),
        1 => proptest::option::of(Just(FailureKind::NameConflict)).prop_map(Step::Fail),
        4 => Just(Step::Rest),
    ]
}

/// Three Continuous locks and an Intermittent one; then less, or wrong, or other settings.
fn variant(at: usize) -> Value {
    let balance = json!({ "for": "20s", "warmUp": "10s" });
    let mut all = spec(&["a", "b", "c"], &json!({ "balance": balance }));
    let more = json!({ "name": "more", "hold": "Intermittent", "dialect": "Rigatoni", "names": ["d"] });
    all["locks"].as_array_mut().unwrap().push(more);
    match at {
        1 => all["locks"][0]["names"] = json!(["a"]),
        2 => all["locks"][0]["readiness"] = json!("Required"),
        3 => all["locks"][0]["names"] = json!(["a", "a"]),
        _ => {}
    }
    all
}

fn run(world: &mut World, step: &Step) {
    const LOCKS: [&str; 4] = ["a", "b", "c", "d"];
    const PODS: [&str; 3] = [A, B, C];
    let exists = |world: &World, pod: usize| world.pods.iter().any(|known| known.name == PODS[pod]);
    match *step {
        Step::Take(lock, pod) if exists(world, pod) => world.take(LOCKS[lock], PODS[pod]),
        Step::Stranger(lock) => {
            world.put(
                &World::key(LOCKS[lock]),
                format!("laptop-{SECRET}"),
                Some(secs(30)),
                true,
            );
        }
        Step::Endless(lock, pod) => {
            world.put(
                &World::key(LOCKS[lock]),
                format!("{}-{SECRET}", PODS[pod]),
                None,
                false,
            );
        }
        Step::Garbage(lock) => world.put(&World::key(LOCKS[lock]), "?".into(), Some(secs(30)), true),
        Step::Release(lock) => world.release(LOCKS[lock]),
        Step::Silence(pod) => world.silence(PODS[pod]),
        Step::Crash(pod) if exists(world, pod) => world.crash(PODS[pod]),
        Step::Delete(pod) => world.delete(PODS[pod]),
        Step::Start(pod) if !exists(world, pod) => world.start(PODS[pod]),
        Step::Ready(pod, ready) if exists(world, pod) => {
            let since = ready.then(|| world.wall());
            world.pod(PODS[pod]).ready_since = since;
        }
        Step::Cut if world.server.is_some() => world.cut(),
        Step::Mend(tracking) if world.server.is_none() => {
            world.mend(if tracking { Mode::Tracking } else { Mode::Polling });
        }
        Step::Restart => world.restart(),
        Step::Advance(millis) => world.advance(Duration::from_millis(millis.into())),
        Step::Respec(at) => world.respec(&variant(at)),
        Step::Wanted(wanted) => world.wanted = wanted,
        Step::Rolling(rolling) => world.rolling = rolling,
        Step::Fail(failure) => world.failure = failure,
        Step::Rest => world.at_rest(),
        _ => {}
    }
    world.look();
}

/// No loss comes out of blindness; what recovers was said to be wrong before.
fn check_events(world: &World) {
    let mut wrong = false;
    for event in &world.events {
        match event.reason {
            EventReason::LocksLost => {
                wrong = true;
                let when: Timestamp = event.key.split(' ').next().unwrap().parse().unwrap();
                // Shown times are cut to whole seconds.
                let until = when.checked_add(secs(1)).unwrap();
                let blind = |(from, to): &(Timestamp, Option<Timestamp>)| {
                    *from <= when && to.is_none_or(|to| until <= to)
                };
                assert!(!world.blind.iter().any(blind), "{event:?} {:?}", world.blind);
            }
            EventReason::LocksUnheld => wrong = true,
            EventReason::LocksRecovered => {
                assert!(wrong, "recovered from nothing that was said: {:#?}", world.events);
                wrong = false;
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_status_and_events_keep_the_rules(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(&variant(0));
        for step in &steps {
            run(&mut world, step);
        }
        world.at_rest();
        check_events(&world);
    }
}
