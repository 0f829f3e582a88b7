//! TLS: whose certificate is believed, what is shown to the server, and what is said when it fails.

use std::net::{IpAddr, Ipv4Addr};

use lockstep::clock;
use lockstep::domain::locks::{Link, Trouble};
use lockstep::observer::{Secret, Target, Tls};
use lockstep_cluster::Redis;
use rcgen::{SanType, date_time_ymd};

use crate::certificates::{Authority, Folder, Identity};
use crate::support::{View, as_user, hold, is_tracked, redis, target, target_at, with_tls};

/// A server that asks no certificate of its clients, unless `clients` says otherwise.
fn server(authority: &Authority, identity: &Identity, clients: &str) -> (Redis, Folder) {
    let folder = Folder::new();
    let redis = Redis::start(with_tls(folder.path(), authority, identity, clients)).expect("Redis starts");
    (redis, folder)
}

pub(crate) fn trusting(authority: &Authority) -> Tls {
    Tls {
        ca: Some(Secret::new(&authority.pem())),
        ..Tls::default()
    }
}

fn over(target: Target, tls: Tls) -> Target {
    Target {
        tls: Some(tls),
        ..target
    }
}

async fn fails(target: Target) -> Trouble {
    View::new(target, &["lock"]).down().await
}

#[tokio::test]
async fn a_server_is_believed_if_its_authority_signed_its_name() {
    let authority = Authority::new();
    let (redis, _folder) = server(&authority, &authority.of_loopback(), "no");
    let mut view = View::new(over(target(&redis), trusting(&authority)), &["lock"]);
    let seen = view.up().await;
    is_tracked(&seen);
    redis.cli(&["SET", "lock", "pod-a", "PX", "30000"]).unwrap();
    view.held_by("pod-a").await;
    let before = clock::mono();
    redis
        .cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .unwrap();
    let again = |link: &Link| matches!(link, Link::Up { since, .. } if *since > before);
    let seen = view.until("the next connection", |seen| again(&seen.link)).await;
    assert!(hold(&seen.keys[0]).is_some(), "{:?}", seen.keys);

    let other = Authority::new();
    let trusts_another = over(target(&redis), trusting(&other));
    assert_eq!(fails(trusts_another).await, Trouble::TlsFailure);
    let trusts_the_system = over(target(&redis), Tls::default());
    assert_eq!(fails(trusts_the_system).await, Trouble::TlsFailure);
    redis
        .cli(&["ACL", "SETUSER", "reader", "on", ">right", "~*", "+@all"])
        .unwrap();
    let wrong = as_user(over(target(&redis), trusting(&authority)), "reader", "wrong");
    assert_eq!(fails(wrong).await, Trouble::AuthenticationFailed);
}

#[tokio::test]
async fn the_name_in_the_certificate_is_the_host_or_the_one_that_is_given() {
    let authority = Authority::new();
    let name = SanType::DnsName("redis.shop".try_into().unwrap());
    let (redis, _folder) = server(&authority, &authority.sign(&[name], |_| {}), "no");
    let by_host = over(target(&redis), trusting(&authority));
    assert_eq!(fails(by_host.clone()).await, Trouble::TlsFailure);
    let named = |name: &str| {
        let tls = Tls {
            server_name: Some(name.into()),
            ..trusting(&authority)
        };
        over(target(&redis), tls)
    };
    assert_eq!(fails(named("redis.bank")).await, Trouble::TlsFailure);
    View::new(named("redis.shop"), &["lock"]).up().await;
}

#[tokio::test]
async fn a_certificate_that_ran_out_is_refused() {
    let authority = Authority::new();
    let names = [SanType::IpAddress(IpAddr::from(Ipv4Addr::LOCALHOST))];
    let expired = authority.sign(&names, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let (redis, _folder) = server(&authority, &expired, "no");
    let target = over(target(&redis), trusting(&authority));
    assert_eq!(fails(target).await, Trouble::TlsFailure);
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_it_or_refuses() {
    let authority = Authority::new();
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let folder = Folder::new();
        let mut options = with_tls(folder.path(), &authority, &authority.of_loopback(), "yes");
        options
            .args
            .extend(["--tls-protocols", protocols].map(str::to_owned));
        let redis = Redis::start(options).expect("Redis starts");
        let without = over(target(&redis), trusting(&authority));
        assert_eq!(
            fails(without).await,
            Trouble::TlsFailure,
            "{protocols}: none is shown"
        );
        let with = |identity: Identity| {
            let client = (Secret::new(&identity.certificate), Secret::new(&identity.key));
            let tls = Tls {
                client: Some(client),
                ..trusting(&authority)
            };
            over(target(&redis), tls)
        };
        let foreign = with(Authority::new().of_loopback());
        assert_eq!(
            fails(foreign).await,
            Trouble::TlsFailure,
            "{protocols}: another authority's"
        );
        View::new(with(authority.of_loopback()), &["lock"]).up().await;
    }
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_a_failure_of_tls() {
    let redis = redis();
    let tls = Tls {
        ca: Some(Secret::new("no certificate")),
        ..Tls::default()
    };
    assert_eq!(fails(over(target(&redis), tls)).await, Trouble::TlsFailure);
}

#[tokio::test]
async fn whoever_speaks_something_else_is_only_unreachable() {
    let redis = redis();
    let plain = over(target(&redis), Tls::default());
    assert_eq!(fails(plain).await, Trouble::Unreachable, "plain, asked for TLS");
    let authority = Authority::new();
    let (secured, _folder) = server(&authority, &authority.of_loopback(), "no");
    let target = target_at("127.0.0.1", secured.port());
    assert_eq!(fails(target).await, Trouble::Unreachable, "TLS, asked for plain");
}
