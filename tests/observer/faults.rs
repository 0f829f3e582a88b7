//! Connections that break, servers that refuse, and what is not concluded from it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use lockstep::clock;
use lockstep::domain::locks::{Evidence, KeyState, Link, Mode, Trouble};
use lockstep::observer::Target;

use crate::rights;
use crate::support::{
    Client, View, as_user, eventually, hold, is_tracked, key, look, redis, redis_with, target, target_at,
    trouble, who,
};

#[tokio::test]
async fn after_a_lost_connection_everything_is_tracked_and_read_again_and_holds_go_on() {
    let redis = redis();
    let mut client = Client::of(&redis);
    client.run::<()>("SET stays pod-a PX 30000");
    client.run::<()>("SET goes pod-a PX 30000");
    let mut view = View::new(target(&redis), &["stays", "goes"]);
    let before = view.up().await;
    for round in 0..3 {
        assert_eq!(client.run::<u64>("CLIENT KILL TYPE normal SKIPME yes"), 1);
        if round == 1 {
            client.run::<()>("DEL goes");
        }
        view.until("the doubt", |seen| {
            matches!(seen.link, Link::Down { .. })
                && seen.keys.iter().all(|key| matches!(key.state, KeyState::Unknown))
        })
        .await;
        let after = view.up().await;
        assert_eq!(
            hold(&after.keys[0]).unwrap().first_seen,
            hold(&before.keys[0]).unwrap().first_seen
        );
        assert!(after.keys[0].ends.is_empty());
        let flags: Vec<_> = client
            .others()
            .iter()
            .map(|line| line.contains("flags=t "))
            .collect();
        assert_eq!(flags, [true], "tracking is on again");
    }
    let [end] = &view.now().keys[1].ends[..] else {
        panic!()
    };
    assert!(!end.watched, "{end:?}");

    // Changes are announced again.
    client.run::<()>("SET goes pod-b PX 30000");
    view.until("the next hold", |seen| {
        hold(&seen.keys[1]).is_some_and(|hold| hold.seen_taken)
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_makes_everything_unknown_and_one_that_comes_back_empty_proves_nothing() {
    let redis = redis();
    Client::of(&redis).run::<()>("SET lock pod-a PX 30000");
    let mut view = View::new(target(&redis), &["lock"]);
    view.up().await;
    redis.stop().unwrap();
    let seen = view
        .until("the loss", |seen| {
            trouble(&seen.link) == Some(Trouble::Unreachable)
        })
        .await;
    assert!(matches!(seen.link, Link::Down { .. }) && seen.keys[0].state == KeyState::Unknown);
    assert!(seen.keys[0].ends.is_empty());

    redis.restart().unwrap();
    view.up().await;
    let [end] = &view.first().ends[..] else { panic!() };
    assert!(
        !end.watched && end.noticed < end.hold.deadline.unwrap(),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_frozen_server_is_noticed_within_seconds() {
    let redis = redis();
    Client::of(&redis).run::<()>("SET lock pod-a PX 60000");
    let mut view = View::new(target(&redis), &["lock"]);
    view.up().await;
    redis.freeze().unwrap();
    let frozen = clock::mono();
    assert_eq!(view.down().await, Trouble::Timeout);
    let took = clock::mono().since(frozen);
    println!("frozen server noticed after {took:?}");
    assert!(took <= Duration::from_secs(6), "{took:?}");

    redis.thaw().unwrap();
    view.up().await;
    assert!(hold(&view.first()).is_some() && view.first().ends.is_empty());
}

#[tokio::test]
async fn a_server_that_sleeps_is_unknown_and_nothing_is_lost_by_it() {
    let redis = redis_with(&["--enable-debug-command", "yes"]);
    let mut client = Client::of(&redis);
    client.run::<()>("SET lock pod-a PX 600000");
    client.run::<()>("SET short pod-a PX 3000");
    let mut view = View::new(target(&redis), &["lock", "short"]);
    view.up().await;
    let asleep = tokio::task::spawn_blocking(move || client.run::<()>("DEBUG SLEEP 6"));
    assert_eq!(view.down().await, Trouble::Timeout);
    asleep.await.unwrap();
    let seen = view
        .until("all is read again", |seen| {
            matches!(seen.link, Link::Up { .. }) && hold(&seen.keys[1]).is_none()
        })
        .await;
    assert!(
        hold(&seen.keys[0]).is_some() && seen.keys[0].ends.is_empty(),
        "{seen:?}"
    );
    let [end] = &seen.keys[1].ends[..] else {
        panic!("it ran out meanwhile: {seen:?}")
    };
    assert!(!end.watched && end.evidence == Evidence::default(), "{end:?}");
}

#[tokio::test]
async fn a_flush_is_a_doubt_on_a_connection_that_goes_on() {
    let redis = redis();
    let mut client = Client::of(&redis);
    client.run::<()>("SET lock pod-a PX 30000");
    let mut view = View::new(target(&redis), &["lock"]);
    view.up().await;
    let before = client.others();
    client.run::<()>("FLUSHALL");
    let seen = view.absent().await;
    assert!(!seen.ends[0].watched, "{:?}", seen.ends);
    view.up().await;
    let id = |lines: &[String]| lines[0].split(' ').next().unwrap().to_owned();
    assert_eq!(id(&client.others()), id(&before));

    client.run::<()>("SET lock pod-b PX 30000");
    view.held_by("pod-b").await;
}

#[tokio::test]
async fn a_change_that_was_not_announced_is_never_taken_for_a_watched_one() {
    let redis = redis();
    let mut client = Client::of(&redis);
    for (database, holder) in ["pod-a", "pod-b", "pod-c"].iter().enumerate() {
        client.run::<()>(&format!("SELECT {database}"));
        client.run::<()>(&format!("SET lock {holder}"));
    }
    let mut view = View::new(target(&redis), &["lock"]);
    view.up().await;
    // SWAPDB changes every key and announces nothing. The second look at a lock without expiry finds the other value.
    client.run::<()>("SWAPDB 0 1");
    let next = view.held_by("pod-b").await;
    assert!(!next.seen_taken);
    let [end] = &view.first().ends[..] else { panic!() };
    assert!(!end.watched, "{end:?}");
    let seen = view.up().await;
    is_tracked(&seen);

    // Twice is no accident: from then on this server is asked.
    client.run::<()>("SWAPDB 0 2");
    view.held_by("pod-c").await;
    let seen = view.up().await;
    assert!(
        matches!(
            seen.link,
            Link::Up {
                mode: Mode::Polling,
                ..
            }
        ),
        "{:?}",
        seen.link
    );
}

#[tokio::test]
async fn a_server_without_resp3_is_asked_and_its_loss_is_noticed() {
    let redis = redis_with(&[
        "--rename-command",
        "HELLO",
        "",
        "--user",
        "reader",
        "on",
        ">secret",
        "~*",
        "+@all",
    ]);
    let mut client = Client::of(&redis);
    let mut view = View::new(as_user(target(&redis), "reader", "secret"), &["lock"]);
    let seen = view.up().await;
    assert!(
        matches!(
            seen.link,
            Link::Up {
                mode: Mode::Polling,
                ..
            }
        ),
        "{:?}",
        seen.link
    );
    client.run::<()>("SET lock pod-a PX 30000");
    view.held_by("pod-a").await;
    client.run::<u64>("CLIENT KILL TYPE normal SKIPME yes");
    assert_eq!(view.down().await, Trouble::Unreachable);
    view.up().await;
    assert!(hold(&view.first()).is_some());
    let mut view = View::new(as_user(target(&redis), "reader", "wrong"), &["lock"]);
    assert_eq!(view.down().await, Trouble::AuthenticationFailed);
}

#[tokio::test]
async fn credentials_are_checked_and_never_shown() {
    let redis = redis_with(&["--user", "reader", "on", ">right-secret", "~*", "+@all"]);
    let mut view = View::new(as_user(target(&redis), "reader", "wrong-secret"), &["lock"]);
    assert_eq!(view.down().await, Trouble::AuthenticationFailed);
    let mut view = View::new(as_user(target(&redis), "reader", "right-secret"), &["lock"]);
    view.up().await;
    let shown = format!("{:?} {:?}", view.target, view.now());
    assert!(!shown.contains("secret") && !shown.contains("reader"), "{shown}");

    let redis = redis_with(&["--requirepass", "x"]);
    let nobody = target_at(&redis.address().to_string(), redis.port());
    let mut view = View::new(nobody, &["lock"]);
    assert_eq!(view.down().await, Trouble::AuthenticationFailed);
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let rights = rights::documented();
    let redis = redis_with(&rights::user_with(
        "reader",
        "secret",
        &rights,
        "%R~rigatoni:lock:*",
    ));
    let mut client = Client::of(&redis);
    let user = as_user(target(&redis), "reader", "secret");
    let mut view = View::new(user.clone(), &["rigatoni:lock:a"]);
    let seen = view.up().await;
    is_tracked(&seen);
    client.run::<()>("SET rigatoni:lock:a pod-a PX 700");
    view.held_by("pod-a").await;
    view.absent().await;

    // A key outside concerns those who ask for it, and nobody else on the connection.
    let outside = || look(&view.observers, &who("other"), &user, &[key("other:lock")]);
    eventually("the refusal", || {
        (trouble(&outside().link) == Some(Trouble::PermissionDenied)).then_some(())
    })
    .await;
    assert_eq!(outside().keys[0].state, KeyState::Unknown);
    assert!(matches!(view.now().link, Link::Up { .. }));
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_the_role_is_refused() {
    let redis = redis_with(&["--user", "reader", "on", ">secret", "~*", "+@read", "+info"]);
    let mut view = View::new(as_user(target(&redis), "reader", "secret"), &["lock"]);
    assert_eq!(view.down().await, Trouble::PermissionDenied);
}

#[tokio::test]
async fn a_replica_is_not_believed_also_when_it_became_one() {
    let master = redis();
    let redis = redis();
    let mut client = Client::of(&redis);
    let mut view = View::new(target(&redis), &["lock"]);
    view.up().await;
    client.run::<()>(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    view.until("the change of role", |seen| {
        trouble(&seen.link) == Some(Trouble::NotMaster)
    })
    .await;
    client.run::<()>("REPLICAOF NO ONE");
    view.up().await;
}

#[tokio::test]
async fn what_never_spoke_redis_is_only_unreachable() {
    let closed = closed_port();
    let mut view = View::new(target_at("127.0.0.1", closed), &["lock"]);
    assert_eq!(view.down().await, Trouble::Unreachable);
    for banner in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let mut view = View::new(fake(banner), &["lock"]);
        assert_eq!(view.down().await, Trouble::Unreachable, "{banner:?}");
    }
}

#[tokio::test]
async fn a_server_that_loads_its_data_says_so() {
    let mut view = View::new(
        fake("-LOADING Redis is loading the dataset in memory\r\n"),
        &["lock"],
    );
    assert_eq!(view.down().await, Trouble::Loading);
}

/// A server that says one thing to whatever it is sent; says nothing and closes if that is empty.
fn fake(says: &'static str) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target_at("127.0.0.1", listener.local_addr().unwrap().port());
    // Ends with the process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(says.as_bytes());
            if !says.is_empty() {
                let _ = stream.read(&mut buffer);
            }
        }
    });
    target
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
