//! What a real Redis can't be made to do: replies cut in the middle, late ones, and errors at will. A proxy in front of a
//! real server that understands RESP well enough to know which reply belongs to which command.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockstep::domain::locks::{KeyState, Link, Trouble};
use lockstep::observer::{Host, Servers, Target};
use lockstep_cluster::Redis;

use crate::support::{Client, View, hold, redis, target_at, trouble};

/// What happens to the reply to a command, by its name; the first that fits.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This instead.
    Says(&'static str, String),
    /// So much of it, and the end of the connection.
    Cut(&'static str, usize),
    /// It comes so much later, and all that is behind it.
    Late(&'static str, Duration),
    /// TIME, so many seconds ahead: nobody sets the clock of a real server's machine for a test.
    Ahead(u64),
}

/// The proxy. It ends with the process; its connections with theirs.
pub(crate) struct Proxy {
    address: SocketAddr,
    faults: Arc<Mutex<Vec<Fault>>>,
}

impl Proxy {
    pub(crate) fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = SocketAddr::new(redis.address(), redis.port());
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            faults: Arc::default(),
        };
        let faults = Arc::clone(&proxy.faults);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let faults = Arc::clone(&faults);
                std::thread::spawn(move || serve(&client, &server, &faults));
            }
        });
        proxy
    }

    pub(crate) fn target(&self) -> Target {
        target_at(&self.address.ip().to_string(), self.address.port())
    }

    pub(crate) fn set(&self, faults: &[Fault]) {
        *self.faults.lock().unwrap() = faults.to_vec();
    }
}

fn serve(client: &TcpStream, server: &TcpStream, faults: &Mutex<Vec<Fault>>) {
    let asked: Mutex<VecDeque<String>> = Mutex::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pending = Vec::new();
            let mut source = client;
            let mut to = server;
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                pending.extend_from_slice(&buffer[..count]);
                while let Some(length) = frame(&pending) {
                    asked.lock().unwrap().push_back(name(&pending[..length]));
                    if to.write_all(&pending[..length]).is_err() {
                        break;
                    }
                    pending.drain(..length);
                }
            }
            let _ = server.shutdown(Shutdown::Both);
        });
        let mut pending = Vec::new();
        let (mut source, mut to) = (server, client);
        let mut buffer = [0; 8192];
        'connection: while let Ok(count @ 1..) = source.read(&mut buffer) {
            pending.extend_from_slice(&buffer[..count]);
            while let Some(length) = frame(&pending) {
                let reply: Vec<u8> = pending.drain(..length).collect();
                // What the server says unasked answers no command.
                let command = if reply[0] == b'>' {
                    String::new()
                } else {
                    asked.lock().unwrap().pop_front().unwrap_or_default()
                };
                let faults = faults.lock().unwrap().clone();
                let fault = faults.iter().find(|fault| match fault {
                    Fault::Says(name, _) | Fault::Cut(name, _) | Fault::Late(name, _) => {
                        *name == command || *name == "*" && !command.is_empty()
                    }
                    Fault::Ahead(_) => command == "TIME",
                });
                let sent = match fault {
                    None => to.write_all(&reply),
                    Some(Fault::Says(_, text)) => to.write_all(format!("{text}\r\n").as_bytes()),
                    Some(Fault::Cut(_, length)) => {
                        let _ = to.write_all(&reply[..reply.len().min(*length)]);
                        break 'connection;
                    }
                    Some(Fault::Ahead(seconds)) => to.write_all(&ahead(&reply, *seconds)),
                    Some(Fault::Late(_, wait)) => {
                        std::thread::sleep(*wait);
                        to.write_all(&reply)
                    }
                };
                if sent.is_err() {
                    break 'connection;
                }
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// A reply to TIME with another time.
fn ahead(reply: &[u8], seconds: u64) -> Vec<u8> {
    let text = std::str::from_utf8(reply).unwrap();
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    // *2, $10, the seconds.
    let time: u64 = lines[2].parse().unwrap();
    lines[2] = (time + seconds).to_string();
    lines.join("\r\n").into_bytes()
}

/// Length of the first whole value in these bytes (RESP3).
fn frame(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' | b'=' | b'!' => match usize::try_from(number()?) {
            Ok(length) => (bytes.len() >= line + length + 2).then_some(line + length + 2),
            Err(_) => Some(line),
        },
        kind @ (b'*' | b'~' | b'>' | b'%') => {
            let items = usize::try_from(number()?).unwrap_or(0) * if kind == b'%' { 2 } else { 1 };
            (0..items).try_fold(line, |at, _| {
                Some(at + frame(&bytes[at..]).filter(|_| at < bytes.len())?)
            })
        }
        _ => Some(line),
    }
}

/// The name of a command: an array of strings.
fn name(command: &[u8]) -> String {
    let text = String::from_utf8_lossy(command);
    text.split("\r\n").nth(2).unwrap_or_default().to_ascii_uppercase()
}

/// A server with a held lock, behind a proxy, and a view of it that is up.
async fn held() -> (Redis, Client, Proxy, View) {
    let redis = redis();
    let mut client = Client::of(&redis);
    client.run::<()>("SET lock pod-a PX 600000");
    let proxy = Proxy::before(&redis);
    let mut view = View::new(proxy.target(), &["lock"]);
    view.up().await;
    (redis, client, proxy, view)
}

/// Nothing that happened to the connection says that a hold ended.
async fn unharmed(view: &mut View) {
    let seen = view.up().await;
    assert!(hold(&seen.keys[0]).is_some(), "{seen:?}");
    assert!(seen.keys[0].ends.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_reply_that_is_cut_says_nothing() {
    let (_redis, mut client, proxy, mut view) = held().await;
    for length in [0, 1, 4, 7] {
        proxy.set(&[Fault::Cut("GETRANGE", length)]);
        client.run::<()>("PEXPIRE lock 600000");
        view.until("the cut", |seen| trouble(&seen.link).is_some()).await;
        proxy.set(&[]);
        unharmed(&mut view).await;
    }
}

#[tokio::test]
async fn late_answers_are_a_timeout_and_no_loss() {
    let (_redis, mut client, proxy, mut view) = held().await;
    proxy.set(&[Fault::Late("GETRANGE", Duration::from_secs(4))]);
    client.run::<()>("PEXPIRE lock 600000");
    let why = view.down().await;
    assert_eq!(why, Trouble::Timeout);
    proxy.set(&[]);
    unharmed(&mut view).await;
}

#[tokio::test]
async fn whatever_error_a_server_answers_is_its_own_trouble_and_no_loss() {
    let (_redis, mut client, proxy, mut view) = held().await;
    for (says, expected) in [
        (
            "-LOADING Redis is loading the dataset in memory",
            Trouble::Loading,
        ),
        ("-NOAUTH Authentication required.", Trouble::AuthenticationFailed),
        (
            "-NOPERM this user has no permissions to access one of the keys",
            Trouble::PermissionDenied,
        ),
        ("-MASTERDOWN Link with MASTER is down", Trouble::NotMaster),
        ("-BUSY Redis is busy running a script.", Trouble::Stale),
        ("-CLUSTERDOWN The cluster is down", Trouble::ClusterDown),
        ("-MOVED 866 127.0.0.1:1", Trouble::ClusterDown),
        ("-ASK 866 127.0.0.1:1", Trouble::ClusterDown),
        (
            "-READONLY You can't write against a read only replica.",
            Trouble::ProtocolError,
        ),
        ("-ERR whatever this may be", Trouble::ProtocolError),
        (":17", Trouble::ProtocolError),
        ("+surprise", Trouble::ProtocolError),
    ] {
        proxy.set(&[Fault::Says("GETRANGE", says.into())]);
        client.run::<()>("PEXPIRE lock 600000");
        let seen = view.until(says, |seen| trouble(&seen.link).is_some()).await;
        assert_eq!(trouble(&seen.link), Some(expected), "{says}");
        assert!(
            matches!(seen.keys[0].state, KeyState::Unknown),
            "{says}: {seen:?}"
        );
        proxy.set(&[]);
        // A single key that is refused is looked at again after a while, not at once.
        unharmed(&mut view).await;
    }
}

#[tokio::test]
async fn an_impossible_ttl_is_no_answer() {
    let (_redis, mut client, proxy, mut view) = held().await;
    for says in [":-77", "$3\r\nabc", "-ERR no"] {
        proxy.set(&[Fault::Says("PTTL", says.into())]);
        client.run::<()>("PEXPIRE lock 600000");
        assert_eq!(view.down().await, Trouble::ProtocolError, "{says}");
        proxy.set(&[]);
        unharmed(&mut view).await;
    }
}

#[tokio::test]
async fn a_role_that_changes_or_can_not_be_told_ends_the_trust() {
    let (_redis, _client, proxy, mut view) = held().await;
    for (says, expected) in [
        ("*1\r\n$5\r\nslave", Trouble::NotMaster),
        ("*1\r\n$8\r\nsentinel", Trouble::NotMaster),
        ("-NOPERM no", Trouble::PermissionDenied),
        ("*0", Trouble::ProtocolError),
    ] {
        proxy.set(&[Fault::Says("ROLE", says.into())]);
        assert_eq!(view.down().await, expected, "{says}");
        proxy.set(&[]);
        unharmed(&mut view).await;
    }
}

#[tokio::test]
async fn a_cluster_whose_servers_send_each_other_in_circles_is_down_and_asks_no_more_than_it_must() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let proxy = Proxy::before(&redis);
    let address = proxy.address;
    let map = format!(
        "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:{}\r\n$40\r\n{}",
        address.port(),
        "a".repeat(40)
    );
    proxy.set(&[
        Fault::Says("CLUSTER", map),
        Fault::Says("GETRANGE", format!("-MOVED 866 {address}")),
    ]);
    let target = Target {
        servers: Servers::Cluster(vec![Host {
            name: address.ip().to_string(),
            port: address.port(),
        }]),
        ..target_at("unused", 1)
    };
    let mut view = View::new(target, &["lock"]);
    let why = view.down().await;
    assert_eq!(why, Trouble::ClusterDown);
    let before = client.calls("getrange");
    // For the time of three looks at the map: had every MOVED led to another read at once, these were thousands.
    let looks = client.calls("role");
    crate::support::eventually("three beats", || {
        (client.calls("role") >= looks + 3).then_some(())
    })
    .await;
    let asked = client.calls("getrange") - before;
    assert!(asked <= 10, "{asked} reads");
    proxy.set(&[]);
    // Now it isn't a cluster, but the map that is known still leads there, and it answers.
    view.until("an answer", |seen| {
        matches!(seen.link, Link::Up { .. }) && matches!(seen.keys[0].state, KeyState::Absent { .. })
    })
    .await;
}
