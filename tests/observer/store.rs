//! What a server says of itself is judged, under the documented rights; and what happened to it is evidence for how a
//! hold ended.

use std::sync::Arc;
use std::time::Duration;

use lockstep::clock;
use lockstep::domain::locks::health::{Health, Persistence, Refusal, Unseen};
use lockstep::domain::locks::{End, Evidence, Link, Mode, Observation, Trouble};
use lockstep::observer::Target;
use lockstep_cluster::Redis;

use crate::proxy::{Fault, Proxy};
use crate::rights;
use crate::support::{Client, View, as_user, eventually, redis, redis_with, target};

/// A server with these settings, whose user `reader` has the documented rights without some of them.
fn restricted(settings: &[&str], without: &[&str]) -> (Redis, Client, Target) {
    let mut rights = rights::documented();
    rights.retain(|right| !without.contains(&right.as_str()));
    let mut args = rights::user_with("reader", "secret", &rights, "%R~lock*");
    args.extend(settings.iter().map(ToString::to_string));
    let redis = redis_with(&args);
    let client = Client::of(&redis);
    let target = as_user(target(&redis), "reader", "secret");
    (redis, client, target)
}

/// Nothing was asked for that the documented user may not do.
fn nothing_was_refused(client: &mut Client) {
    let log: Vec<redis::Value> = client.run("ACL LOG");
    assert!(log.is_empty(), "{log:?}");
}

/// Of a server that there is a connection to.
fn health(seen: &Observation) -> Arc<Health> {
    Arc::clone(seen.health.as_ref().unwrap())
}

async fn first_look(target: Target) -> (View, Health) {
    let mut view = View::new(target, &["lock"]);
    let seen = view.up().await;
    let health = Health::clone(&health(&seen));
    (view, health)
}

/// A server without any fault, that was just started and has no replica.
fn well() -> Health {
    Health {
        alone: Some(true),
        persistence: Some(Persistence::Kept),
        ..Health::default()
    }
}

#[tokio::test]
async fn a_server_is_judged_by_its_first_words_and_asked_for_nothing_beyond_the_rights() {
    let evicts = |policy| Health {
        evicts: Some(policy),
        ..well()
    };
    let too_few = Health {
        refuses: vec![Refusal::TooFewReplicas],
        ..well()
    };
    for (settings, expected) in [
        (&[][..], well()),
        (&["--maxmemory", "100mb"], well()),
        (&["--maxmemory-policy", "allkeys-lru"], well()),
        (
            &["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"],
            evicts("allkeys-lru"),
        ),
        (
            &["--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"],
            evicts("volatile-ttl"),
        ),
        (&["--min-replicas-to-write", "1"], too_few),
        (&["--appendonly", "yes"], well()),
    ] {
        let (_redis, mut client, target) = restricted(settings, &[]);
        let (_view, health) = first_look(target).await;
        assert_eq!(health, expected, "{settings:?}");
        nothing_was_refused(&mut client);
    }
}

#[tokio::test]
async fn what_the_user_may_not_see_is_no_guess() {
    for (right, expected) in [("+time", Unseen::Clock), ("+ping", Unseen::Ping)] {
        let (_redis, mut client, target) = restricted(&[], &[right]);
        client.run::<()>("SET lock pod-a PX 600000");
        let mut view = View::new(target, &["lock"]);
        view.until(right, |seen| {
            seen.health
                .as_ref()
                .is_some_and(|health| health.unseen == [expected])
        })
        .await;
        // The lock is seen as well as ever.
        view.held_by("pod-a").await;
    }
    for right in ["+info", "+role"] {
        let (_redis, _client, target) = restricted(&[], &[right]);
        let mut view = View::new(target, &["lock"]);
        assert_eq!(view.down().await, Trouble::PermissionDenied, "{right}");
        assert_eq!(view.now().health, None, "{right}");
    }
}

#[tokio::test]
async fn memory_that_fills_up_under_noeviction_refuses_writes() {
    let (_redis, mut client, target) = restricted(&["--maxmemory", "4mb"], &[]);
    let (mut view, before) = first_look(target).await;
    assert_eq!(before, well());
    fill(&mut client, |filled| filled.is_err());
    view.until("full memory", |seen| {
        health(seen).refuses == [Refusal::MemoryFull]
    })
    .await;
    nothing_was_refused(&mut client);
}

/// Writes until it is enough.
fn fill(client: &mut Client, enough: impl Fn(Result<(), redis::RedisError>) -> bool) {
    let value = "x".repeat(10_000);
    for at in 0..10_000 {
        if enough(client.attempt(&format!("SET filler-{at} {value}"))) {
            return;
        }
    }
    panic!("never enough");
}

#[tokio::test]
async fn a_failed_snapshot_stops_writes_until_one_succeeds_unless_the_server_goes_on() {
    let (redis, mut client, target) = restricted(&["--save", "3600 1"], &[]);
    let in_the_way = redis.dir().join("dump.rdb");
    std::fs::create_dir(&in_the_way).unwrap();
    let (mut view, before) = first_look(target).await;
    assert_eq!(before, well());
    let save = |client: &mut Client, expected: &str| {
        client.run::<()>("BGSAVE");
        let line = format!("rdb_last_bgsave_status:{expected}");
        let deadline = clock::mono() + Duration::from_secs(20);
        loop {
            let info: String = client.run("INFO persistence");
            if info.contains(&line) && info.contains("rdb_bgsave_in_progress:0") {
                return;
            }
            assert!(clock::mono() < deadline, "{info}");
        }
    };
    client.run::<()>("SET some data");
    save(&mut client, "err");
    view.until("stopped writes", |seen| {
        let health = health(seen);
        health.refuses == [Refusal::DiskFailed] && health.persistence == Some(Persistence::Failed)
    })
    .await;
    client.run::<()>("CONFIG SET stop-writes-on-bgsave-error no");
    let seen = view
        .until("writes go on", |seen| health(seen).refuses.is_empty())
        .await;
    assert_eq!(health(&seen).persistence, Some(Persistence::Failed));
    std::fs::remove_dir(&in_the_way).unwrap();
    save(&mut client, "ok");
    view.until("a snapshot", |seen| *health(seen) == well()).await;
    nothing_was_refused(&mut client);
}

#[tokio::test]
async fn replicas_come_and_are_too_few_as_long_as_writes_are_refused() {
    let (redis, mut client, target) = restricted(&["--min-replicas-to-write", "2"], &[]);
    let (mut view, before) = first_look(target).await;
    assert_eq!(before.refuses, [Refusal::TooFewReplicas], "none is never enough");
    let Link::Up { since: connected, .. } = view.now().link else {
        panic!()
    };
    let replica = redis_with(&[
        "--replicaof",
        &redis.address().to_string(),
        &redis.port().to_string(),
    ]);
    view.until("a replica", |seen| health(seen).alone == Some(false))
        .await;
    // One of two: what was refused says that it is not enough.
    assert!(client.attempt::<()>("SET some data").is_err());
    view.until("the refusal", |seen| {
        health(seen).refuses == [Refusal::TooFewReplicas]
    })
    .await;
    let second = redis_with(&[
        "--replicaof",
        &redis.address().to_string(),
        &redis.port().to_string(),
    ]);
    // Its first replica gives a master another replication id, and makes no other server of it.
    let seen = view.until("enough", |seen| health(seen).refuses.is_empty()).await;
    assert!(
        matches!(seen.link, Link::Up { since, .. } if since == connected),
        "{seen:?}"
    );
    drop((replica, second));
    nothing_was_refused(&mut client);
}

#[tokio::test]
async fn clients_near_the_limit_are_seen_before_somebody_is_turned_away() {
    let (redis, mut client, target) = restricted(&["--maxclients", "20"], &[]);
    let (_view, before) = first_look(target.clone()).await;
    assert_eq!(before, well());
    let _others: Vec<Client> = (0..15).map(|_| Client::of(&redis)).collect();
    // Beside them: the one that administrates, one view, and the next.
    let (_view, crowded) = first_look(target).await;
    assert_eq!(crowded.refuses, [Refusal::ClientsNearLimit]);
    nothing_was_refused(&mut client);
}

#[tokio::test]
async fn a_clock_that_is_set_is_seen_and_explains_what_ran_out() {
    let redis = redis();
    let mut client = Client::of(&redis);
    client.run::<()>("SET lock pod-a PX 600000");
    let proxy = Proxy::before(&redis);
    let mut view = View::new(proxy.target(), &["lock"]);
    let seen = view.up().await;
    assert_eq!(health(&seen).clock_jumped, None, "not watched for long enough");
    // All at once, as a server sees it whose clock is set.
    proxy.set(&[Fault::Ahead(3600)]);
    client.run::<()>("DEL lock");
    let ended = view.absent().await.ends;
    assert!(
        ended[0].evidence.clock_jump && !ended[0].evidence.flushed,
        "{ended:?}"
    );
    let seen = view.up().await;
    assert_eq!(health(&seen).clock_jumped, Some(true));
    // Set back is set, too, and ends no lock early.
    client.run::<()>("SET lock pod-b PX 600000");
    view.held_by("pod-b").await;
    proxy.set(&[]);
    client.run::<()>("DEL lock");
    let ended = view.absent().await.ends;
    assert!(!ended.last().unwrap().evidence.clock_jump, "{ended:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_while_nobody_looks_explains_what_is_gone_afterwards() {
    let redis = redis();
    let mut client = Client::of(&redis);
    client.run::<()>("SET lock pod-a PX 600000");
    let proxy = Proxy::before(&redis);
    let mut view = View::new(proxy.target(), &["lock"]);
    view.up().await;
    proxy.set(&[
        Fault::Says("GETRANGE", "-LOADING not yet".into()),
        Fault::Ahead(3600),
    ]);
    client.run::<u64>("CLIENT KILL TYPE normal SKIPME yes");
    view.down().await;
    client.run::<()>("DEL lock");
    proxy.set(&[Fault::Ahead(3600)]);
    let ended = view.absent().await.ends;
    assert!(
        ended[0].evidence.clock_jump && !ended[0].evidence.failover && !ended[0].watched,
        "{ended:?}"
    );
}

/// The one test that takes its time: thirty PINGs, two seconds apart, and a minute of them.
#[tokio::test]
async fn a_server_that_answers_late_for_long_is_slow() {
    let redis = redis();
    let proxy = Proxy::before(&redis);
    proxy.set(&[Fault::Late("PING", Duration::from_millis(40))]);
    let view = View::new(proxy.target(), &["lock"]);
    let begun = clock::mono();
    let deadline = begun + Duration::from_secs(200);
    loop {
        let slow = view.now().health.and_then(|health| health.slow);
        let took = clock::mono().since(begun);
        if slow == Some(true) {
            println!("slow after {took:?}");
            assert!(took >= Duration::from_secs(118), "{took:?}");
            break;
        }
        // Whole, or one of the beats was lost.
        assert!(clock::mono() < deadline, "{slow:?} after {took:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Under the documented rights, and without those for tracking.
async fn both_modes(settings: &[&str]) -> Vec<(Redis, Client, View)> {
    let mut all = vec![];
    for (without, expected) in [(&[][..], Mode::Tracking), (&["+client|tracking"], Mode::Polling)] {
        let (redis, mut client, target) = restricted(settings, without);
        client.run::<()>("SET lock pod-a PX 600000");
        let mut view = View::new(target, &["lock"]);
        let seen = view.up().await;
        assert!(
            matches!(seen.link, Link::Up { mode, .. } if mode == expected),
            "{seen:?}"
        );
        view.held_by("pod-a").await;
        all.push((redis, client, view));
    }
    all
}

async fn ended(view: &mut View) -> End {
    let mut ends = view.absent().await.ends;
    assert_eq!(ends.len(), 1, "{ends:?}");
    ends.remove(0)
}

#[tokio::test]
async fn a_lock_that_was_evicted_says_so() {
    for (_redis, mut client, mut view) in
        both_modes(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random"]).await
    {
        fill(&mut client, |_| true);
        let value = "x".repeat(10_000);
        let mut at = 0;
        while client.run::<u8>("EXISTS lock") == 1 {
            at += 1;
            assert!(at < 100_000);
            client.run::<()>(&format!("SET filler-{at} {value}"));
        }
        let end = ended(&mut view).await;
        assert_eq!(end.evidence, Evidence::EVICTED, "{end:?}");
    }
}

#[tokio::test]
async fn a_flush_is_told_from_a_deletion() {
    for (_redis, mut client, mut view) in both_modes(&[]).await {
        client.run::<()>("FLUSHALL");
        let end = ended(&mut view).await;
        assert_eq!(end.evidence, Evidence::FLUSHED, "{end:?}");
    }
    for (_redis, mut client, mut view) in both_modes(&[]).await {
        client.run::<()>("DEL lock");
        let end = ended(&mut view).await;
        assert_eq!(end.evidence, Evidence::default(), "{end:?}");
    }
}

/// Old news explain nothing.
#[tokio::test]
async fn what_happened_before_a_lock_was_taken_is_no_evidence() {
    for (_redis, mut client, mut view) in both_modes(&[]).await {
        client.run::<()>("FLUSHALL");
        ended(&mut view).await;
        client.run::<()>("SET lock pod-b PX 600000");
        view.held_by("pod-b").await;
        client.run::<()>("DEL lock");
        let ends = view.absent().await.ends;
        assert_eq!(ends.len(), 2, "{ends:?}");
        assert_eq!(ends[1].evidence, Evidence::default(), "{ends:?}");
    }
}

/// The same as `both_modes`, with a proxy before each server.
async fn both_modes_behind_a_proxy() -> Vec<(Redis, Client, Proxy, View)> {
    let mut all = vec![];
    for (without, expected) in [(&[][..], Mode::Tracking), (&["+client|tracking"], Mode::Polling)] {
        let (redis, mut client, _) = restricted(&[], without);
        client.run::<()>("SET lock pod-a PX 600000");
        let proxy = Proxy::before(&redis);
        let mut view = View::new(as_user(proxy.target(), "reader", "secret"), &["lock"]);
        let seen = view.up().await;
        assert!(
            matches!(seen.link, Link::Up { mode, .. } if mode == expected),
            "{seen:?}"
        );
        view.held_by("pod-a").await;
        all.push((redis, client, proxy, view));
    }
    all
}

/// Nobody is connected while `what` is done.
async fn unseen(client: &mut Client, proxy: &Proxy, view: &mut View, what: &str) {
    proxy.set(&[Fault::Says("ROLE", "-LOADING not yet".into())]);
    client.run::<u64>("CLIENT KILL TYPE normal SKIPME yes");
    view.down().await;
    client.run::<()>(what);
    proxy.set(&[]);
}

#[tokio::test]
async fn a_flush_while_nobody_looks_explains_what_is_gone_afterwards() {
    for (_redis, mut client, proxy, mut view) in both_modes_behind_a_proxy().await {
        unseen(&mut client, &proxy, &mut view, "FLUSHALL").await;
        let end = ended(&mut view).await;
        assert_eq!((end.evidence, end.watched), (Evidence::FLUSHED, false), "{end:?}");
    }
}

/// One that was seen is over: whatever is gone after a later interruption went otherwise, unless there is another.
#[tokio::test]
async fn a_flush_that_was_seen_explains_nothing_after_a_later_interruption() {
    for (_redis, mut client, proxy, mut view) in both_modes_behind_a_proxy().await {
        client.run::<()>("FLUSHALL");
        assert_eq!(ended(&mut view).await.evidence, Evidence::FLUSHED);
        for (at, (what, evidence)) in [
            ("DEL lock", Evidence::default()),
            ("FLUSHALL", Evidence::FLUSHED),
            ("DEL lock", Evidence::default()),
        ]
        .into_iter()
        .enumerate()
        {
            client.run::<()>("SET lock pod-b PX 600000");
            view.held_by("pod-b").await;
            unseen(&mut client, &proxy, &mut view, what).await;
            let ends = view.absent().await.ends;
            assert_eq!(ends.len(), at + 2, "{ends:?}");
            assert_eq!(ends[at + 1].evidence, evidence, "{what}: {ends:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_was_started_again_is_another_one() {
    let redis = redis();
    Client::of(&redis).run::<()>("SET lock pod-a PX 600000");
    let mut view = View::new(target(&redis), &["lock"]);
    view.held_by("pod-a").await;
    redis.restart().unwrap();
    let end = ended(&mut view).await;
    assert!(end.evidence.failover, "{end:?}");
}

/// Neither beats nor INFO, whatever numbers they bring, are news to anybody.
#[tokio::test]
async fn numbers_are_no_news() {
    let (_redis, mut client, target) = restricted(&[], &[]);
    let (mut view, _) = first_look(target).await;
    let asked = client.calls("info");
    while tokio::time::timeout(Duration::from_millis(100), view.changes.recv())
        .await
        .is_ok()
    {}
    client.run::<()>("SET other data");
    eventually("another INFO", || {
        (client.calls("info") > asked + 1).then_some(())
    })
    .await;
    let news = tokio::time::timeout(Duration::from_millis(100), view.changes.recv()).await;
    assert!(news.is_err(), "{news:?}");
    nothing_was_refused(&mut client);
}
