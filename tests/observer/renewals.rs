//! How regularly locks are renewed, learned from real servers.

use std::sync::Arc;
use std::time::Duration;

use lockstep::domain::locks::{Link, Mono, Observation};
use lockstep::observer::{Interest, RenewalTally, Renewed, RenewedSet};
use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::support::{Client, View, eventually, hold, is_tracked, key, redis, target, who};

fn set(tally: &RenewalTally) -> RenewedSet {
    RenewedSet {
        interval: Duration::from_millis(100),
        tally: tally.clone(),
    }
}

/// How many gaps were counted.
fn gaps(tally: &RenewalTally) -> u64 {
    let mut registry = Registry::default();
    registry.register("gaps", "", tally.gaps().clone());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let mut counts = text.lines().filter_map(|line| line.strip_prefix("gaps_count "));
    counts.next().unwrap().parse().unwrap()
}

fn renewed(seen: &Observation) -> Option<Mono> {
    hold(&seen.keys[0]).and_then(|hold| hold.last_renewed)
}

/// Renews the lock, for longer than before, and waits until that was seen.
async fn renew(client: &mut Client, view: &View, ttl: &mut u32) {
    let before = renewed(&view.now());
    *ttl += 1_000;
    client.run::<()>(&format!("PEXPIRE lock {ttl}"));
    eventually("a renewal", || {
        let seen = renewed(&view.now());
        (seen.is_some() && seen != before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_renewal_that_fails_to_come_is_late_once_and_one_that_nobody_saw_ends_no_gap() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let mut view = View::new(target(&redis), &["lock", "another"]);
    let tally = RenewalTally::default();
    view.renewed = Some(set(&tally));
    is_tracked(&view.up().await);
    client.run::<()>("SET lock pod-a NX PX 30000");
    view.held_by("pod-a").await;
    let mut ttl = 30_000;
    for _ in 0..5 {
        renew(&mut client, &view, &mut ttl).await;
    }
    assert_eq!(gaps(&tally), 4, "the first one begins the first gap");
    let before = hold(&view.first()).unwrap().clone();
    eventually("the next one is late", || (tally.late() > 0).then_some(())).await;
    let seen = hold(&view.first()).unwrap().clone();
    assert_eq!(seen.last_renewed, before.last_renewed);
    assert!(seen.last_answer > before.last_answer, "it was looked for");
    assert!(
        seen.last_answer.since(before.last_renewed.unwrap()) >= Duration::from_secs(1),
        "{seen:?}"
    );

    renew(&mut client, &view, &mut ttl).await;
    assert_eq!((gaps(&tally), tally.late()), (5, 1));

    let Link::Up { since, .. } = view.now().link else {
        panic!("{:?}", view.now().link)
    };
    client.run::<u64>("CLIENT KILL TYPE normal SKIPME yes");
    view.until(
        "another connection",
        |seen| matches!(seen.link, Link::Up { since: now, .. } if now > since),
    )
    .await;
    renew(&mut client, &view, &mut ttl).await;
    assert_eq!(gaps(&tally), 5, "nobody watched before it");
    renew(&mut client, &view, &mut ttl).await;
    assert_eq!((gaps(&tally), tally.late()), (6, 1));
}

#[tokio::test]
async fn a_renewal_at_every_server_of_a_quorum_is_one_and_who_is_not_asked_counts_none() {
    let servers = [redis(), redis(), redis()];
    let mut clients = servers.each_ref().map(Client::of);
    let view = View::new(target(&servers[0]), &["lock"]);
    let targets: Vec<_> = servers.iter().map(target).collect();
    let tally = RenewalTally::default();
    let look = |counts: bool| {
        let sets = Some(set(&tally)).filter(|_| counts);
        let interest = Interest {
            locks: vec![key("lock")],
            places: vec![],
            renewed: sets
                .map(|set| Renewed {
                    first: 0,
                    count: 1,
                    set: Arc::new(set),
                })
                .into_iter()
                .collect(),
        };
        view.observers.observe(&who("q"), targets.clone(), interest)
    };
    let mut ttl = 30_000;
    let mut everywhere = async |line: &str, counts: bool| {
        let before: Vec<_> = look(counts).iter().map(renewed).collect();
        for client in &mut clients {
            client.run::<()>(&line.replace("TTL", &ttl.to_string()));
        }
        ttl += 1_000;
        eventually("every server shows it", || {
            let seen = look(counts);
            let shown = seen.iter().zip(&before).all(|(seen, before)| {
                let held = hold(&seen.keys[0]).is_some();
                held && (line.starts_with("SET") || renewed(seen) != *before)
            });
            shown.then_some(())
        })
        .await;
    };
    everywhere("SET lock pod-a PX TTL", true).await;
    for _ in 0..3 {
        everywhere("PEXPIRE lock TTL", true).await;
    }
    assert_eq!(gaps(&tally), 2);
    everywhere("PEXPIRE lock TTL", false).await;
    assert_eq!(gaps(&tally), 2);
}
