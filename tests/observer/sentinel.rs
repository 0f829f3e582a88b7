//! Which server is the master is what the Sentinels say, whatever the servers say of themselves.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lockstep::clock;
use lockstep::domain::locks::{KeyState, Link, Mono, Observation, Trouble};
use lockstep::observer::{Host, Secret, Sentinel, Servers, Settings, Target};
use lockstep_cluster::{Redis, RedisOptions};

use crate::certificates::{Authority, Folder, options};
use crate::support::{Client, View, eventually, hold, redis, settings, target, trouble, user, with_tls};
use crate::tls::trusting;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn monitors(master: &Redis, quorum: usize) -> Vec<String> {
    words(&format!(
        "--sentinel monitor main {} {} {quorum} --sentinel down-after-milliseconds main 1000 --sentinel \
         failover-timeout main 10000",
        master.address(),
        master.port()
    ))
}

/// A master, its replica, and three Sentinels that know each other and both.
struct Group {
    master: Redis,
    replica: Redis,
    sentinels: Vec<Redis>,
}

impl Group {
    /// The lock `kept` is at master and replica, `gone` at the master only; both are watched, and held.
    async fn with_one_lock_too_late() -> (Self, View, Observation) {
        let group = Self::start().await;
        let mut client = Client::of(&group.master);
        client.run::<()>("SET kept pod-a PX 120000");
        assert_eq!(client.run::<u64>("WAIT 1 10000"), 1);
        group.cut_replication();
        client.run::<()>("SET gone pod-a PX 120000");
        let mut view = View::new(group.target(), &["kept", "gone"]);
        let before = view.up().await;
        (group, view, before)
    }

    async fn start() -> Self {
        let master = redis();
        let replica = Redis::start(RedisOptions {
            args: [
                user(),
                words(&format!("--replicaof {} {}", master.address(), master.port())),
            ]
            .concat(),
            ..RedisOptions::default()
        })
        .unwrap();
        let sentinel = |_| {
            Redis::start(RedisOptions {
                sentinel: true,
                args: monitors(&master, 2),
                ..RedisOptions::default()
            })
            .unwrap()
        };
        let group = Self {
            sentinels: (0..3).map(sentinel).collect(),
            master,
            replica,
        };
        eventually("a copy", || {
            let info = group.replica.cli(&["INFO", "replication"]).unwrap();
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        group.agree().await;
        group
    }

    /// Waits until every Sentinel knows the replica, and the others.
    async fn agree(&self) {
        eventually("the Sentinels", || {
            let knows = |sentinel: &Redis| {
                let master = sentinel.cli(&["SENTINEL", "MASTER", "main"]).unwrap();
                let replicas = sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).unwrap();
                let field = |name: &str| master.lines().skip_while(|line| *line != name).nth(1);
                field("num-slaves") == Some("1")
                    && field("num-other-sentinels") == Some("2")
                    && field("flags") == Some("master")
                    && replicas.lines().any(|line| line == "slave")
            };
            self.sentinels.iter().all(knows).then_some(())
        })
        .await;
    }

    fn target(&self) -> Target {
        by_sentinels(&self.sentinels)
    }

    /// From here on the replica gets nothing of what the master is told.
    fn cut_replication(&self) {
        // The master knows no password, and refuses whoever says one.
        self.replica
            .cli(&["CONFIG", "SET", "masterauth", "none"])
            .unwrap();
        self.master.cli(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
    }

    fn fail_over(&self) {
        self.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]).unwrap();
    }

    async fn promoted(&self) {
        eventually("another master", || {
            let role = self.replica.cli(&["ROLE"]).unwrap();
            role.starts_with("master").then_some(())
        })
        .await;
    }
}

fn by_sentinels(sentinels: &[Redis]) -> Target {
    let endpoints = sentinels.iter().map(|sentinel| Host {
        name: sentinel.address().to_string(),
        port: sentinel.port(),
    });
    let servers = Servers::Sentinel(Sentinel {
        master: "main".into(),
        endpoints: endpoints.collect(),
        username: None,
        password: None,
        tls: None,
    });
    Target {
        servers,
        ..target(&sentinels[0])
    }
}

fn with(mut target: Target, change: impl FnOnce(&mut Sentinel)) -> Target {
    if let Servers::Sentinel(sentinel) = &mut target.servers {
        change(sentinel);
    }
    target
}

fn up_after(seen: &Observation, moment: Mono) -> bool {
    matches!(seen.link, Link::Up { since, .. } if since > moment)
}

/// What holds of the locks `kept`, which was copied, and `gone`, which was not, once another server is the master.
fn concluded(before: &Observation, after: &Observation) {
    let [kept, gone] = &after.keys[..] else { panic!() };
    assert_eq!(
        hold(kept).unwrap().first_seen,
        hold(&before.keys[0]).unwrap().first_seen,
        "it goes on"
    );
    assert_eq!(kept.ends, []);
    assert!(matches!(gone.state, KeyState::Absent { .. }), "{gone:?}");
    let [end] = &gone.ends[..] else {
        panic!("{:?}", gone.ends)
    };
    assert!(end.evidence.failover, "{end:?}");
    let other = end.evidence.flushed || end.evidence.clock_jump || end.evidence.evicted;
    assert!(!other && end.noticed < end.hold.deadline.unwrap(), "{end:?}");
}

#[tokio::test]
async fn a_planned_failover_is_followed_at_once_and_the_old_master_is_never_believed_again() {
    let (group, mut view, before) = Group::with_one_lock_too_late().await;
    assert!(hold(&before.keys[1]).is_some());

    let ordered = clock::mono();
    group.fail_over();
    let after = view.until("the new master", |seen| up_after(seen, ordered)).await;
    println!("followed after {:?}", clock::mono().since(ordered));
    concluded(&before, &after);
    // It is a master still, and grants what it is asked for.
    let mut client = Client::of(&group.master);
    client.run::<()>("SET gone pod-b PX 120000");
    eventually("the end of the old master", || {
        let seen = view.now();
        assert!(hold(&seen.keys[1]).is_none(), "{seen:?}");
        let role = group.master.cli(&["ROLE"]).unwrap();
        role.starts_with("slave").then_some(())
    })
    .await;
    Client::of(&group.replica).run::<()>("SET gone pod-c PX 120000");
    view.until("a lock at the new master", |seen| {
        hold(&seen.keys[1]).is_some_and(|hold| *hold.value.0 == *b"pod-c")
    })
    .await;
}

#[tokio::test]
async fn a_master_that_dies_is_replaced() {
    let (group, mut view, before) = Group::with_one_lock_too_late().await;

    group.master.stop().unwrap();
    let killed = clock::mono();
    let after = view.until("the new master", |seen| up_after(seen, killed)).await;
    println!("followed after {:?}", clock::mono().since(killed));
    concluded(&before, &after);
}

#[tokio::test]
async fn sentinels_that_are_gone_take_nothing_away_and_are_asked_again_once_they_are_back() {
    let group = Group::start().await;
    let mut client = Client::of(&group.master);
    let mut view = View::new(group.target(), &["lock"]);
    let before = view.up().await;
    for sentinel in &group.sentinels {
        sentinel.stop().unwrap();
    }
    let mut newcomer = View::new(group.target(), &["lock"]);
    assert_eq!(newcomer.down().await, Trouble::Unreachable);
    let gone = clock::mono();
    eventually("several rounds in which they are asked in vain", || {
        assert_eq!(view.now().link, before.link);
        (clock::mono().since(gone) > Duration::from_secs(5)).then_some(())
    })
    .await;
    client.run::<()>("SET lock pod-a PX 120000");
    view.held_by("pod-a").await;
    assert_eq!(view.now().link, before.link, "the same connection");

    for sentinel in &group.sentinels {
        // It knows the monitors by its arguments, and would know them twice.
        std::fs::remove_file(sentinel.dir().join("sentinel.conf")).unwrap();
        sentinel.restart().unwrap();
    }
    newcomer.up().await;
    group.agree().await;
    let ordered = clock::mono();
    group.fail_over();
    view.until("the new master", |seen| up_after(seen, ordered)).await;
    group.promoted().await;
}

#[tokio::test]
async fn sentinels_have_their_own_password_and_certificate() {
    let authority = Authority::new();
    let secured = |sentinel: bool, args: &[String]| {
        let folder = Folder::new();
        // A Sentinel's users are made below.
        let start = if sentinel { options } else { with_tls };
        let mut options = start(folder.path(), &authority, &authority.of_loopback(), "no");
        options.sentinel = sentinel;
        options.args.extend_from_slice(args);
        (Redis::start(options).unwrap(), folder)
    };
    let (master, _of_master) = secured(false, &[]);
    let (sentinel, _of_sentinel) = secured(true, &monitors(&master, 1));
    // The documented rights.
    sentinel
        .cli(
            &"ACL SETUSER lockstep on >right reset on >right -@all +hello +auth +ping +subscribe \
              +sentinel|get-master-addr-by-name +sentinel|master +sentinel|ckquorum &+switch-master &+promoted-slave"
                .split_whitespace()
                .collect::<Vec<_>>(),
        )
        .unwrap();
    sentinel
        .cli(&["ACL", "SETUSER", "default", "resetpass", ">other"])
        .unwrap();
    let good = with(by_sentinels(std::slice::from_ref(&sentinel)), |sentinel| {
        sentinel.username = Some(Secret::new("lockstep"));
        sentinel.password = Some(Secret::new("right"));
        sentinel.tls = Some(trusting(&authority));
    });
    let good = Target {
        tls: Some(trusting(&authority)),
        ..good
    };
    let mut view = View::new(good.clone(), &["lock"]);
    view.up().await;
    master.cli(&["SET", "lock", "pod-a", "PX", "60000"]).unwrap();
    view.held_by("pod-a").await;

    let down = |target| async { View::new(target, &["lock"]).down().await };
    let wrong = with(good.clone(), |sentinel| {
        sentinel.password = Some(Secret::new("wrong"));
    });
    assert_eq!(down(wrong).await, Trouble::AuthenticationFailed);
    let untrusted = with(good.clone(), |sentinel| {
        sentinel.tls = Some(trusting(&Authority::new()));
    });
    assert_eq!(down(untrusted).await, Trouble::TlsFailure);
    let plain = with(good.clone(), |sentinel| sentinel.tls = None);
    assert_eq!(down(plain).await, Trouble::Unreachable);
    let other = with(good, |sentinel| sentinel.master = "other".into());
    assert_eq!(down(other).await, Trouble::UnknownMaster);
}

#[tokio::test]
async fn an_address_that_the_rules_forbid_is_not_taken_from_a_sentinel_either() {
    let forbidden = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let master = Redis::start(RedisOptions {
        bind: vec![forbidden],
        args: user(),
        ..RedisOptions::default()
    })
    .unwrap();
    let sentinel = Redis::start(RedisOptions {
        sentinel: true,
        args: monitors(&master, 1),
        ..RedisOptions::default()
    })
    .unwrap();
    let target = by_sentinels(std::slice::from_ref(&sentinel));
    let mut settings: Settings = settings();
    View::with(settings.clone(), target.clone(), &["lock"]).up().await;
    settings.rules.refused = vec![forbidden];
    let mut view = View::with(settings, target, &["lock"]);
    assert_eq!(view.down().await, Trouble::EndpointForbidden);
}

#[tokio::test]
async fn a_replica_that_is_named_is_a_failover_that_goes_on() {
    let master = redis();
    let sentinel = Redis::start(RedisOptions {
        sentinel: true,
        args: monitors(&master, 1),
        ..RedisOptions::default()
    })
    .unwrap();
    let mut view = View::new(by_sentinels(std::slice::from_ref(&sentinel)), &["lock"]);
    view.up().await;
    let other = redis();
    let address = other.address().to_string();
    master
        .cli(&["REPLICAOF", &address, &other.port().to_string()])
        .unwrap();
    view.until("what the Sentinel does not know yet", |seen| {
        trouble(&seen.link) == Some(Trouble::FailoverInProgress)
    })
    .await;
}

#[tokio::test]
async fn sentinels_that_are_too_few_for_a_failover_are_noticed() {
    let group = Group::start().await;
    let mut view = View::new(group.target(), &["lock"]);
    let outvoted = |seen: &Observation| seen.health.as_ref().and_then(|health| health.outvoted);
    view.until("a quorum", |seen| outvoted(seen) == Some(false)).await;
    let [first, second, _] = &group.sentinels[..] else {
        panic!()
    };
    first.stop().unwrap();
    second.stop().unwrap();
    let seen = view
        .until("that it is lost", |seen| outvoted(seen) == Some(true))
        .await;
    assert!(matches!(seen.link, Link::Up { .. }));
}
