//! Which endpoint a name means, and who shares a connection.

use std::net::{IpAddr, Ipv4Addr};

use lockstep::domain::locks::{Link, Trouble};
use lockstep::observer::{EndpointRules, Observers, Settings, Target, WorkloadKey};
use lockstep_cluster::{Dns, Redis, RedisOptions};

use crate::support::{
    Client, View, eventually, hold, key, look, redis, settings, target, target_at, trouble, who,
};

#[tokio::test]
async fn one_connection_serves_all_workloads_of_an_endpoint_and_ends_with_the_last() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let mut view = View::new(target(&redis), &["a"]);
    view.up().await;
    let elsewhere = WorkloadKey {
        namespace: "other".into(),
        name: "w".into(),
    };
    let same = Target {
        namespace: "other".into(),
        ..target(&redis)
    };
    let seen = look(&view.observers, &elsewhere, &same, &[key("b")]);
    assert!(
        matches!(seen.link, Link::Up { .. }),
        "an address is the same for every namespace"
    );
    assert_eq!(client.others().len(), 1);

    let another = Target { database: 1, ..same };
    look(&view.observers, &elsewhere, &another, &[key("b")]);
    eventually("a connection for the other database", || {
        (client.others().len() == 2).then_some(())
    })
    .await;
    view.observers.release(&elsewhere);
    eventually("its end", || (client.others().len() == 1).then_some(())).await;
    assert!(matches!(view.now().link, Link::Up { .. }));
    view.observers.release(&who("w"));
    eventually("the end of the last", || client.others().is_empty().then_some(())).await;
}

#[tokio::test]
async fn connections_end_with_the_observers() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let mut view = View::new(target(&redis), &["a"]);
    view.up().await;
    drop(view);
    eventually("the end", || client.others().is_empty().then_some(())).await;
}

#[tokio::test]
async fn short_names_mean_what_they_mean_in_the_workloads_namespace() {
    let [first, second] = [[127, 0, 0, 2], [127, 0, 0, 3]].map(|ip| IpAddr::from(Ipv4Addr::from(ip)));
    let start = |ip, port| {
        Redis::start(RedisOptions {
            bind: vec![ip],
            port,
            ..RedisOptions::default()
        })
        .unwrap()
    };
    let in_shop = start(first, None);
    let in_bank = start(second, Some(in_shop.port()));
    Client::of(&in_shop).run::<()>("SET lock of-shop");
    Client::of(&in_bank).run::<()>("SET lock of-bank");
    let dns = Dns::start([
        ("redis.shop.svc.cluster.local", vec![first]),
        ("redis.bank.svc.cluster.local", vec![second]),
        ("redis", vec![second]),
    ])
    .unwrap();
    let settings = Settings {
        dns_server: Some(dns.address()),
        ..settings()
    };

    for (namespace, host, value) in [
        ("shop", "redis", "of-shop"),
        ("bank", "redis", "of-bank"),
        ("elsewhere", "redis", "of-bank"),
        ("elsewhere", "redis.shop", "of-shop"),
        ("elsewhere", "redis.shop.svc", "of-shop"),
        ("elsewhere", "REDIS.shop.svc.cluster.local", "of-shop"),
        ("shop", "redis.", "of-bank"),
    ] {
        let target = Target {
            namespace: namespace.into(),
            ..target_at(host, in_shop.port())
        };
        let mut view = View::with(settings.clone(), target, &["lock"]);
        let seen = view.up().await;
        assert_eq!(
            &*hold(&seen.keys[0]).unwrap().value.0,
            value.as_bytes(),
            "{host} in {namespace}"
        );
    }

    // Both at once, in the same observers: two endpoints.
    let (observers, _changes) = Observers::new(settings);
    for (namespace, value) in [("shop", "of-shop"), ("bank", "of-bank")] {
        let who = WorkloadKey {
            namespace: namespace.into(),
            name: "w".into(),
        };
        let target = Target {
            namespace: namespace.into(),
            ..target_at("redis", in_shop.port())
        };
        eventually(value, || {
            let seen = look(&observers, &who, &target, &[key("lock")]);
            hold(&seen.keys[0]).map(|hold| assert_eq!(&*hold.value.0, value.as_bytes()))
        })
        .await;
    }
}

#[tokio::test]
async fn a_name_that_fails_to_resolve_is_not_looked_for_elsewhere() {
    let redis = redis();
    let dns = Dns::start([("redis", vec![redis.address()])]).unwrap();
    let settings = Settings {
        dns_server: Some(dns.address()),
        ..settings()
    };
    let mut unknown = View::with(settings.clone(), target_at("nowhere", redis.port()), &["lock"]);
    assert_eq!(unknown.down().await, Trouble::DnsFailure);

    dns.set_failing(true);
    let mut view = View::with(settings, target_at("redis", redis.port()), &["lock"]);
    assert_eq!(view.down().await, Trouble::DnsFailure);
    dns.set_failing(false);
    view.up().await;
}

#[tokio::test]
async fn outside_a_cluster_localhost_is_known() {
    let redis = redis();
    View::new(target_at("localhost", redis.port()), &["lock"])
        .up()
        .await;
}

#[tokio::test]
async fn forbidden_endpoints_are_never_connected_to() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let before: u64 = connections(&mut client);
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let dns = Dns::start([("redis.shop.svc.cluster.local", vec![loopback])]).unwrap();
    let in_cluster = Settings {
        in_cluster: true,
        dns_server: Some(dns.address()),
        ..settings()
    };
    let refusing = |address| EndpointRules {
        refused: vec![address],
        ..EndpointRules::default()
    };
    for (settings, host, port) in [
        (in_cluster.clone(), "127.0.0.1", redis.port()),
        (in_cluster.clone(), "redis", redis.port()),
        (in_cluster.clone(), "localhost", redis.port()),
        (in_cluster.clone(), "::ffff:127.0.0.1", redis.port()),
        (in_cluster.clone(), "0.0.0.0", redis.port()),
        (in_cluster.clone(), "169.254.169.254", 6379),
        (settings(), "127.0.0.1", 443),
        (
            Settings {
                rules: refusing(loopback),
                ..settings()
            },
            "127.0.0.1",
            redis.port(),
        ),
    ] {
        let mut view = View::with(settings, target_at(host, port), &["lock"]);
        assert_eq!(view.down().await, Trouble::EndpointForbidden, "{host}:{port}");
    }
    assert_eq!(connections(&mut client), before);

    let rules = EndpointRules {
        allow_loopback: true,
        ..EndpointRules::default()
    };
    View::with(
        Settings { rules, ..in_cluster },
        target_at("redis", redis.port()),
        &["lock"],
    )
    .up()
    .await;
}

fn connections(client: &mut Client) -> u64 {
    let stats: String = client.run("INFO stats");
    stats
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:")?.parse().ok())
        .unwrap()
}

#[tokio::test]
async fn a_namespace_that_names_one_host_after_the_other_has_to_wait() {
    let (observers, _changes) = Observers::new(settings());
    let redis = redis();
    let seen =
        |number: u16, target: &Target| look(&observers, &who(&format!("w{number}")), target, &[key("lock")]);
    // Nothing listens there.
    for number in 1..10 {
        seen(number, &target_at("127.0.0.77", 6000 + number));
    }
    let good = target(&redis);
    eventually("the tenth", || {
        matches!(seen(10, &good).link, Link::Up { .. }).then_some(())
    })
    .await;
    eventually("the eleventh waits", || {
        let link = seen(11, &target_at("127.0.0.77", 6011)).link;
        (trouble(&link) == Some(Trouble::TooManyEndpoints)).then_some(())
    })
    .await;
    let other_database = Target { database: 1, ..good };
    eventually("a host that is known", || {
        matches!(seen(12, &other_database).link, Link::Up { .. }).then_some(())
    })
    .await;
}
