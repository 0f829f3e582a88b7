//! TLS: whose certificate is believed, what is shown to the server, and what is said when it fails.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use lockstep::clock;
use lockstep::domain::locks::{Link, Mode, Trouble};
use lockstep::observer::{Secret, Target, Tls};
use lockstep_cluster::{Redis, RedisOptions};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, date_time_ymd,
};

use crate::support::{View, as_user, hold, redis, target, target_at};

/// An authority, and what it signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For whoever is reached at 127.0.0.1.
    pub(crate) fn of_loopback(&self) -> Identity {
        self.sign(&[SanType::IpAddress(IpAddr::from(Ipv4Addr::LOCALHOST))], |_| {})
    }

    fn sign(&self, names: &[SanType], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::default();
        params.subject_alt_names.extend_from_slice(names);
        // A Sentinel is a server and a client in one.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What a server or a Sentinel with TLS is started with. The files are read at the start; they lie in `folder`.
pub(crate) fn options(
    folder: &Path,
    authority: &Authority,
    identity: &Identity,
    clients: &str,
) -> RedisOptions {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = write("ca.crt", &authority.pem());
    let certificate = write("tls.crt", &identity.certificate);
    let key = write("tls.key", &identity.key);
    let client = authority.of_loopback();
    let client_certificate = write("client.crt", &client.certificate);
    let client_key = write("client.key", &client.key);
    let port = free_port();
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    RedisOptions {
        port: Some(port),
        // The last setting of a name wins: no plain port, and that number for TLS.
        args: words(&[
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-replication",
            "yes",
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            clients,
        ]),
        // Whether it runs is what this client wants to know, not whom it talks to.
        cli_args: words(&[
            "--tls",
            "--insecure",
            "--cert",
            &client_certificate,
            "--key",
            &client_key,
        ]),
        ..RedisOptions::default()
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A folder that goes with the test.
pub(crate) struct Folder(std::path::PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("lockstep-tls-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that asks no certificate of its clients, unless `clients` says otherwise.
fn server(authority: &Authority, identity: &Identity, clients: &str) -> (Redis, Folder) {
    let folder = Folder::new();
    let redis = Redis::start(options(folder.path(), authority, identity, clients)).expect("Redis starts");
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
    assert!(
        matches!(
            seen.link,
            Link::Up {
                mode: Mode::Tracking,
                ..
            }
        ),
        "{:?}",
        seen.link
    );
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
        let mut options = options(folder.path(), &authority, &authority.of_loopback(), "yes");
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
