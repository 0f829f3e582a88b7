//! A cluster: masters that die, slots that move.

use std::time::Duration;

use lockstep::domain::locks::{KeyState, Link, Observation, Trouble};
use lockstep::observer::{Host, Servers, Target};
use lockstep_cluster::{Redis, RedisCluster, RedisOptions};

use crate::support::{Client, View, hold, target_at};

fn start(replicas: usize) -> RedisCluster {
    RedisCluster::start(3, replicas, &RedisOptions::default()).expect("a cluster")
}

fn target(cluster: &RedisCluster) -> Target {
    let seed = &cluster.members()[0];
    Target {
        servers: Servers::Cluster(vec![Host {
            name: seed.address().to_string(),
            port: seed.port(),
        }]),
        ..target_at("unused", 1)
    }
}

fn slot(redis: &Redis, key: &str) -> u16 {
    redis.cli(&["CLUSTER", "KEYSLOT", key]).unwrap().parse().unwrap()
}

/// The member that has a key.
fn master_of<'c>(cluster: &'c RedisCluster, key: &str) -> &'c Redis {
    let asked = cluster
        .members()
        .iter()
        .find(|member| member.pid().is_some())
        .unwrap();
    let slot = slot(asked, key);
    let nodes = asked.cli(&["CLUSTER", "NODES"]).unwrap();
    let has = |line: &&str| {
        line.contains("master")
            && !line.contains("fail")
            && line.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse::<u16>().is_ok_and(|first| {
                    last.parse::<u16>()
                        .is_ok_and(|last| (first..=last).contains(&slot))
                })
            })
    };
    let line = nodes.lines().find(has).unwrap_or_else(|| panic!("{nodes}"));
    cluster
        .members()
        .iter()
        .find(|member| line.contains(&format!(":{}@", member.port())))
        .unwrap()
}

fn id(redis: &Redis) -> String {
    redis.cli(&["CLUSTER", "MYID"]).unwrap()
}

/// Names so that each of the three masters has one.
fn names(cluster: &RedisCluster) -> Vec<String> {
    let mut names: Vec<(u16, String)> = Vec::new();
    for at in 0.. {
        let name = format!("lock:{at}");
        let master = master_of(cluster, &name).port();
        if !names.iter().any(|(known, _)| *known == master) {
            names.push((master, name));
        }
        if names.len() == 3 {
            break;
        }
    }
    names.into_iter().map(|(_, name)| name).collect()
}

fn view(cluster: &RedisCluster, names: &[String]) -> View {
    View::new(
        target(cluster),
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

fn all_held(seen: &Observation) -> bool {
    matches!(seen.link, Link::Up { .. }) && seen.keys.iter().all(|key| hold(key).is_some())
}

fn take(cluster: &RedisCluster, key: &str, value: &str, ttl_ms: u32) {
    let ttl = ttl_ms.to_string();
    let master = master_of(cluster, key);
    master.cli(&["SET", key, value, "NX", "PX", &ttl]).unwrap();
}

#[tokio::test]
async fn locks_are_read_from_their_masters_over_one_connection_each() {
    let cluster = start(0);
    let names = names(&cluster);
    let mut view = view(&cluster, &names);
    view.until("all free", |seen| {
        matches!(seen.link, Link::Up { .. })
            && seen
                .keys
                .iter()
                .all(|key| matches!(key.state, KeyState::Absent { .. }))
    })
    .await;
    for name in &names {
        take(&cluster, name, "pod-a", 60_000);
    }
    let seen = view.until("all held", all_held).await;
    assert!(
        seen.keys.iter().all(|key| hold(key).unwrap().seen_taken),
        "announced by each of them"
    );
    for member in cluster.members() {
        let ours = Client::of(member)
            .others()
            .into_iter()
            .filter(|line| line.contains("flags=t"));
        assert_eq!(ours.count(), 1, "one connection that tracks");
    }
    master_of(&cluster, &names[1]).cli(&["DEL", &names[1]]).unwrap();
    let seen = view
        .until("a release", |seen| hold(&seen.keys[1]).is_none())
        .await;
    assert!(seen.keys[1].ends[0].watched);
}

#[tokio::test]
async fn a_hold_goes_with_its_slot() {
    let cluster = start(0);
    let names = names(&cluster);
    let mut view = view(&cluster, &names[..1]);
    take(&cluster, &names[0], "pod-a", 120_000);
    let before = view.until("held", all_held).await;
    let (from, to) = (master_of(&cluster, &names[0]), master_of(&cluster, &names[1]));
    let slot = slot(from, &names[0]).to_string();
    to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)])
        .unwrap();
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)])
        .unwrap();
    let (host, port) = (to.address().to_string(), to.port().to_string());
    from.cli(&["MIGRATE", &host, &port, &names[0], "0", "5000"])
        .unwrap();
    // It is gone from where it was, announced as a deletion; the server that is about to have the slot is asked.
    view.until("held at the other server", |seen| {
        hold(&seen.keys[0]).is_some_and(|hold| hold.last_answer > before.at)
    })
    .await;
    // A hold that is taken over there in the meantime is seen there, too.
    for member in cluster.members() {
        member
            .cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)])
            .unwrap();
    }
    to.cli(&["PEXPIRE", &names[0], "240000"]).unwrap();
    let after = view
        .until("renewed there", |seen| {
            hold(&seen.keys[0]).is_some_and(|hold| hold.largest_ttl > Some(Duration::from_secs(200)))
        })
        .await;
    let (old, new) = (hold(&before.keys[0]).unwrap(), hold(&after.keys[0]).unwrap());
    assert_eq!(old.first_seen, new.first_seen, "it is the same hold");
    assert!(after.keys[0].ends.is_empty(), "{:?}", after.keys[0].ends);
    to.cli(&["DEL", &names[0]]).unwrap();
    let seen = view
        .until("a release", |seen| hold(&seen.keys[0]).is_none())
        .await;
    let [end] = &seen.keys[0].ends[..] else {
        panic!("{:?}", seen.keys[0].ends)
    };
    assert!(end.watched && !end.evidence.failover, "{end:?}");
}

#[tokio::test]
async fn a_dead_master_hides_its_locks_only() {
    let cluster = start(0);
    // Without this option a cluster refuses everything once a slot is not covered.
    for member in cluster.members() {
        member
            .cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"])
            .unwrap();
    }
    let names = names(&cluster);
    for name in &names {
        take(&cluster, name, "pod-a", 60_000);
    }
    let mut view = view(&cluster, &names);
    view.until("all held", all_held).await;
    let dead = master_of(&cluster, &names[2]);
    dead.stop().unwrap();
    let seen = view
        .until("one hidden", |seen| {
            seen.hidden.is_some() && seen.keys[2].state == KeyState::Unknown
        })
        .await;
    assert!(hold(&seen.keys[0]).is_some() && hold(&seen.keys[1]).is_some());
    assert!(matches!(seen.link, Link::Up { .. }), "{:?}", seen.link);
    assert!(
        seen.keys.iter().all(|key| key.ends.is_empty()),
        "nothing is said to be lost"
    );
    // Those that are seen go on being seen at once.
    master_of(&cluster, &names[0]).cli(&["DEL", &names[0]]).unwrap();
    let seen = view
        .until("a release", |seen| hold(&seen.keys[0]).is_none())
        .await;
    assert!(seen.keys[0].ends[0].watched);
    dead.restart().unwrap();
    let seen = view.until("it is back, empty", |seen| {
        matches!(seen.keys[2].state, KeyState::Absent { .. }) && seen.hidden.is_none()
    });
    let seen = seen.await;
    let [end] = &seen.keys[2].ends[..] else {
        panic!("{:?}", seen.keys[2].ends)
    };
    assert!(
        end.evidence.failover && !end.watched,
        "another process answers: {end:?}"
    );
}

#[tokio::test]
async fn a_replica_takes_over_and_what_it_lacks_was_lost_by_the_store() {
    let cluster = start(1);
    let names = names(&cluster);
    let replicated = names[2].clone();
    // In the same slot, and too late for the replica.
    let lost = format!("{{{replicated}}}");
    let master = master_of(&cluster, &replicated);
    for member in cluster.members() {
        member
            .cli(&["CONFIG", "SET", "cluster-replica-validity-factor", "0"])
            .unwrap();
    }
    take(&cluster, &replicated, "pod-a", 120_000);
    master.cli(&["WAIT", "1", "5000"]).unwrap();
    let mut view = view(&cluster, &[replicated, lost.clone()]);
    view.until("the first one held", |seen| {
        matches!(seen.link, Link::Up { .. }) && hold(&seen.keys[0]).is_some()
    })
    .await;
    // From now on the replica gets nothing: it does not know the password.
    master.cli(&["CONFIG", "SET", "requirepass", "secret"]).unwrap();
    let as_admin = |arguments: &[&str]| master.cli(&[&["-a", "secret"], arguments].concat()).unwrap();
    as_admin(&["CLIENT", "KILL", "TYPE", "replica"]);
    as_admin(&["SET", &lost, "pod-a", "NX", "PX", "120000"]);
    let before = view.until("held", all_held).await;
    master.stop().unwrap();
    let seen = view
        .until("held at the replica", |seen| {
            hold(&seen.keys[0]).is_some_and(|hold| hold.last_answer > before.at)
                && matches!(seen.keys[1].state, KeyState::Absent { .. })
        })
        .await;
    let (old, new) = (hold(&before.keys[0]).unwrap(), hold(&seen.keys[0]).unwrap());
    assert_eq!(old.first_seen, new.first_seen, "it is the same hold");
    assert!(seen.keys[0].ends.is_empty());
    let [end] = &seen.keys[1].ends[..] else {
        panic!("{:?}", seen.keys[1].ends)
    };
    assert!(
        end.evidence.failover && end.noticed < end.hold.deadline.unwrap(),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_said_to_be_none() {
    let redis = crate::support::redis();
    let mut view = View::new(
        Target {
            servers: Servers::Cluster(vec![Host {
                name: redis.address().to_string(),
                port: redis.port(),
            }]),
            ..target_at("unused", 1)
        },
        &["lock"],
    );
    assert_eq!(view.down().await, Trouble::ProtocolError);
}

#[tokio::test]
async fn masters_at_forbidden_addresses_are_not_connected_to() {
    let cluster = start(0);
    let names = names(&cluster);
    let mut settings = crate::support::settings();
    // Where two of the masters say that they are.
    settings.rules.refused = vec!["127.0.0.77".parse().unwrap()];
    for member in &cluster.members()[1..] {
        member
            .cli(&["CONFIG", "SET", "cluster-announce-ip", "127.0.0.77"])
            .unwrap();
    }
    let first = &cluster.members()[0];
    crate::support::eventually("all know the new addresses", || {
        let slots = first.cli(&["CLUSTER", "SLOTS"]).unwrap();
        (slots.matches("127.0.0.77").count() == 2).then_some(())
    })
    .await;
    let locks: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut view = View::with(settings, target(&cluster), &locks);
    let seen = view
        .until("the one that is allowed, and why not the others", |seen| {
            matches!(seen.link, Link::Up { .. })
                && seen
                    .hidden
                    .is_some_and(|(trouble, _)| trouble == Trouble::EndpointForbidden)
        })
        .await;
    let known = seen.keys.iter().filter(|key| key.state != KeyState::Unknown);
    assert_eq!(known.count(), 1);
}
