//! What watching costs the server, and that much of everything is still seen.

use std::sync::Arc;
use std::time::Duration;

use lockstep::api::spec::Dialect;
use lockstep::domain::locks::dialect::Scheme;
use lockstep::domain::locks::probe::{Beside, Discovery, Form, Part, Place, Probe, Registry};
use lockstep::domain::locks::{KeyState, Link, Mode};
use lockstep::observer::Observers;

use crate::rights;
use crate::support::{Client, View, eventually, hold, key, look, redis, redis_with, settings, target, who};

/// A scan takes its time, and so does reading as many locks, on a machine that does other things too.
const LONG: Duration = Duration::from_mins(2);

fn everywhere(prefix: &str) -> Arc<Discovery> {
    Arc::new(Discovery {
        place: Place::Keys,
        prefix: prefix.into(),
        suffix: "".into(),
        form: Form::String(Part::Whole),
        beside: None,
    })
}

fn fill(client: &mut Client, prefix: &str, count: u32) {
    let script = "for i = 1, ARGV[2] do redis.call('SET', ARGV[1] .. i, 'pod-a', 'PX', 600000 + i) end";
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("EVAL")
        .arg(script)
        .arg(0)
        .arg(prefix)
        .arg(count)
        .ignore();
    client.pipeline(&pipeline);
}

#[tokio::test]
async fn five_hundred_workloads_of_one_redis_share_one_connection_and_never_scan() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let (observers, _changes) = Observers::new(settings());
    let target = target(&redis);
    let of = |at: usize| (who(&format!("w{at}")), vec![key(&format!("lock:{at}"))]);
    for at in 0..500 {
        let (who, locks) = of(at);
        look(&observers, &who, &target, &locks);
    }
    eventually("all of them read", || {
        let read = |at| {
            let (who, locks) = of(at);
            let seen = look(&observers, &who, &target, &locks);
            matches!(seen.link, Link::Up { .. }) && matches!(seen.keys[0].state, KeyState::Absent { .. })
        };
        (0..500).all(read).then_some(())
    })
    .await;
    assert_eq!(client.others().len(), 1, "{:?}", client.others());
    assert_eq!(client.calls("scan") + client.calls("keys"), 0);
    assert_eq!(client.calls("getrange"), 500, "each lock once");
    for at in 0..499 {
        observers.release(&of(at).0);
    }
    assert_eq!(client.others().len(), 1, "one workload still needs it");
    observers.release(&of(499).0);
    eventually("the end of the connection", || {
        client.others().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_renewal_of_a_hash_costs_two_commands() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let field = "0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b:42";
    client.run::<()>(&format!("HSET lock {field} 1"));
    client.run::<()>("PEXPIRE lock 60000");
    let scheme = Scheme::of(Dialect::Redisson, "").unwrap();
    let mut view = View::new(target(&redis), &[]);
    view.keys = vec![Arc::new(scheme.probe("", "lock", ""))];
    view.until("held", |seen| hold(&seen.keys[0]).is_some()).await;
    let (fields, ttls) = (client.calls("hrandfield"), client.calls("pttl"));
    for round in 1..=20 {
        client.run::<()>(&format!("PEXPIRE lock {}", 60_000 + round * 10_000));
        eventually("the renewal", || {
            let ttl = hold(&view.first())?.largest_ttl?;
            (ttl > Duration::from_millis(55_000 + round * 10_000)).then_some(())
        })
        .await;
    }
    let cost = (client.calls("hrandfield") - fields, client.calls("pttl") - ttls);
    assert_eq!(cost, (20, 20));
}

#[tokio::test]
async fn a_hundred_thousand_locks_that_nobody_declared_are_found_by_one_scan() {
    let redis = redis();
    let mut client = Client::of(&redis);
    fill(&mut client, "jobs:", 100_000);
    fill(&mut client, "else:", 20_000);
    let mut view = View::new(target(&redis), &[]);
    view.places = vec![everywhere("jobs:")];
    view.up().await;
    let seen = view
        .until_within(LONG, "all of them", |seen| {
            let found = &seen.discovered[0].keys;
            found.len() == 100_000 && found.iter().all(|key| hold(key).is_some())
        })
        .await;
    assert!(!seen.discovered[0].more);
    let scans = client.calls("scan");
    assert!((100..=1000).contains(&scans), "{scans} steps of one scan");
    // What comes later is announced.
    client.run::<()>("SET jobs:new pod-b PX 60000");
    client.run::<()>("DEL jobs:1");
    let found = view
        .until_within(LONG, "the change", |seen| {
            let found = &seen.discovered[0].keys;
            let of = |name: &[u8]| found.iter().find(|key| *key.probe.key == *name);
            found.len() > 100_000 || of(b"jobs:1").is_some_and(|key| hold(key).is_none())
        })
        .await;
    // Bounded: the one too many is not kept an eye on, and that is said.
    assert!(found.discovered[0].keys.len() <= 100_000);
    view.until("that there are more", |seen| seen.discovered[0].more)
        .await;
    assert_eq!(client.calls("scan"), scans, "no second scan");
}

#[tokio::test]
async fn without_announcements_what_turns_up_is_found_all_the_same() {
    let mut rights = [rights::documented(), vec!["+scan".to_owned()]].concat();
    rights.retain(|right| right != "+client|tracking");
    let redis = redis_with(&rights::user_with("reader", "secret", &rights, "~*"));
    let mut client = Client::of(&redis);
    client.run::<()>("SET jobs:1 pod-a PX 60000");
    let target = crate::support::as_user(target(&redis), "reader", "secret");
    let mut view = View::new(target, &[]);
    view.places = vec![everywhere("jobs:")];
    let seen = view
        .until("the first one", |seen| {
            seen.discovered[0].keys.iter().any(|key| hold(key).is_some())
        })
        .await;
    assert!(matches!(
        seen.link,
        Link::Up {
            mode: Mode::Polling,
            ..
        }
    ));
    assert_eq!(seen.discovered[0].keys.len(), 1);
}

#[tokio::test]
async fn values_without_end_are_read_in_part_or_not_at_all() {
    let redis = redis();
    let mut client = Client::of(&redis);
    // 512 MiB, the longest string there is: one byte is written, the rest are zeros.
    client.run::<()>("SETRANGE lock 536870911 x");
    client.run::<()>("HSET hash field value");
    let mut view = View::new(target(&redis), &["lock", "hash"]);
    let seen = view.up().await;
    let value = hold(&seen.keys[0]).unwrap();
    assert_eq!(value.value.0.len(), 4096);
    assert!(matches!(seen.keys[1].state, KeyState::WrongType { .. }));
    // A registry's field of that size is not fetched.
    client.run::<()>("SET short pod PX 60000");
    let script = "redis.call('HSET', 'owners', 'pod', string.rep('x', 50000000))";
    let mut pipeline = redis::pipe();
    pipeline.cmd("EVAL").arg(script).arg(0).ignore();
    client.pipeline(&pipeline);
    let registry = Registry {
        key: "owners".into(),
        field: Some("{holder}".into()),
        holder: None,
    };
    let mut probe = Probe::string(b"short");
    probe.beside = Some(Beside::Registry(registry));
    view.keys.push(Arc::new(probe));
    let seen = view.until("it too", |seen| hold(&seen.keys[2]).is_some()).await;
    assert_eq!(hold(&seen.keys[2]).unwrap().beside, None);
    assert!(matches!(seen.link, Link::Up { .. }));
    assert_eq!(client.calls("hget"), 0);
}
