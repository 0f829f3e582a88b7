//! Redis can be disturbed in every way that a test needs; the name server says what it was told.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use lockstep_cluster::{Dns, Redis, RedisCluster, RedisOptions};

#[test]
fn redis_stops_and_restarts_on_its_port() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    assert_eq!(redis.cli(&["SET", "lock", "pod-0"]).unwrap(), "OK");
    assert_eq!(redis.cli(&["GET", "lock"]).unwrap(), "pod-0");
    redis.cli(&["NO-SUCH-COMMAND"]).unwrap_err();

    redis.stop().unwrap();
    redis.cli(&["PING"]).unwrap_err();
    redis.restart().unwrap();
    assert_eq!(redis.cli(&["EXISTS", "lock"]).unwrap(), "0", "nothing is kept");

    redis.shutdown().unwrap();
    assert_eq!(redis.pid(), None);
}

#[test]
fn frozen_redis_accepts_but_does_not_answer() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    redis.freeze().unwrap();
    redis.cli(&["-t", "1", "PING"]).unwrap_err();
    redis.thaw().unwrap();
    assert_eq!(redis.cli(&["PING"]).unwrap(), "PONG");
}

#[test]
fn redis_takes_users_and_a_port() {
    let args = "--user default off --user reader on >secret ~* +@read"
        .split(' ')
        .map(str::to_owned)
        .collect();
    let cli_args = ["--user", "reader", "--pass", "secret"]
        .map(str::to_owned)
        .to_vec();
    let redis = Redis::start(RedisOptions {
        args,
        cli_args,
        ..RedisOptions::default()
    })
    .unwrap();
    assert_eq!(redis.cli(&["EXISTS", "lock"]).unwrap(), "0");
    let refused = redis.cli(&["SET", "lock", "x"]).unwrap_err().to_string();
    assert!(refused.contains("NOPERM"), "{refused}");

    let port = Some(redis.port());
    drop(redis);
    let again = Redis::start(RedisOptions {
        port,
        ..RedisOptions::default()
    })
    .unwrap();
    assert_eq!(again.cli(&["PING"]).unwrap(), "PONG");
    let folder = again.dir().to_owned();
    drop(again);
    assert!(!folder.exists());
}

#[test]
fn sentinel_finds_its_master() {
    let master = Redis::start(RedisOptions::default()).unwrap();
    let monitor = format!("monitor main {} {} 1", master.address(), master.port());
    let args = std::iter::once("--sentinel")
        .chain(monitor.split(' '))
        .map(str::to_owned)
        .collect();
    let sentinel = Redis::start(RedisOptions {
        sentinel: true,
        args,
        ..RedisOptions::default()
    })
    .unwrap();
    let found = sentinel
        .cli(&["SENTINEL", "get-master-addr-by-name", "main"])
        .unwrap();
    assert_eq!(found, format!("127.0.0.1\n{}", master.port()));
}

#[test]
fn cluster_survives_the_loss_of_a_primary() {
    let cluster = RedisCluster::start(3, 1, &RedisOptions::default()).unwrap();
    let [first, second, ..] = cluster.members() else {
        panic!("six members were asked for")
    };
    assert_eq!(second.cli(&["-c", "SET", "lock", "pod-0"]).unwrap(), "OK");
    first.stop().unwrap();
    let failed_over = || {
        second
            .cli(&["CLUSTER", "NODES"])
            .unwrap()
            .matches("master")
            .count()
            == 4
    };
    assert!(
        (0..400).any(|_| failed_over() || pause()),
        "{}",
        second.cli(&["CLUSTER", "NODES"]).unwrap()
    );
}

#[test]
fn a_taken_port_is_an_error() {
    let first = Redis::start(RedisOptions::default()).unwrap();
    let port = Some(first.port());
    let error = Redis::start(RedisOptions {
        port,
        ..RedisOptions::default()
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("already in use"), "{error}");
}

/// Lets some time pass before a condition is looked at again.
fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(50));
    false
}

/// Asks for the addresses of a name: response code and the bytes of the answers.
fn ask(server: SocketAddr, name: &str, kind: u8) -> (u8, Vec<u8>) {
    let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(&query, server).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).unwrap();
    (answer[3] & 0x0f, answer[query.len()..length].to_vec())
}

#[test]
fn dns_says_what_it_was_told() {
    let first = IpAddr::from([10, 1, 2, 3]);
    let dns = Dns::start([("redis.example", vec![first])]).unwrap();
    let (code, answer) = ask(dns.address(), "Redis.Example", 1);
    assert_eq!((code, &answer[12..]), (0, &[10, 1, 2, 3][..]));
    assert_eq!(
        ask(dns.address(), "redis.example", 28),
        (0, vec![]),
        "the name exists, without such addresses"
    );
    assert_eq!(ask(dns.address(), "other.example", 1).0, 3);

    dns.set("redis.example", vec![IpAddr::from([10, 1, 2, 4])]);
    assert_eq!(ask(dns.address(), "redis.example", 1).1[12..], [10, 1, 2, 4]);
    dns.set("redis.example", vec![]);
    assert_eq!(ask(dns.address(), "redis.example", 1).0, 3);
    dns.set_failing(true);
    assert_eq!(ask(dns.address(), "redis.example", 1).0, 2);
    assert_eq!(dns.queries(), 6);
}
