//! A name server whose answers a test can change while it runs.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Error;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// A name server on a free loopback port, over UDP and TCP. It ends when it is dropped.
///
/// It knows addresses only: a name without any is "no such name", and a name that has addresses of the other
/// family answers with none. Answers have a TTL of zero, so that a change is seen at once.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    failing: AtomicBool,
    queries: AtomicUsize,
    ended: AtomicBool,
}

impl Dns {
    /// Starts a server that answers with these addresses.
    pub fn start<N: AsRef<str>>(records: impl IntoIterator<Item = (N, Vec<IpAddr>)>) -> Result<Self, Error> {
        let (udp, tcp, address) = bind()?;
        let shared = Arc::new(Shared::default());
        let threads = vec![
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || serve_udp(&udp, &shared)
            }),
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || serve_tcp(&tcp, &shared)
            }),
        ];
        let dns = Self {
            address,
            shared,
            threads,
        };
        for (name, addresses) in records {
            dns.set(name.as_ref(), addresses);
        }
        Ok(dns)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the addresses of a name; none removes it.
    pub fn set(&self, name: &str, addresses: Vec<IpAddr>) {
        let name = normal(name);
        if addresses.is_empty() {
            self.shared.records().remove(&name);
        } else {
            self.shared.records().insert(name, addresses);
        }
    }

    /// Lets every query fail with a server failure, or ends that.
    pub fn set_failing(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::Relaxed);
    }

    /// How many queries were answered.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.shared.queries.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Both threads sit in a blocking call; a visit each lets them look at the flag.
        let loopback = (Ipv4Addr::LOCALHOST, 0);
        let _ = UdpSocket::bind(loopback).and_then(|socket| socket.send_to(&[], self.address));
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, BTreeMap<String, Vec<IpAddr>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a query, or none for what is not a query at all.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let [id_high, id_low, flags, ..] = *query else {
            return None;
        };
        let is_response = flags & 0x80 != 0;
        if is_response || query.len() < 12 {
            return None;
        }
        self.queries.fetch_add(1, Ordering::Relaxed);

        let question = Question::parse(query);
        let (code, addresses) = match &question {
            None => (FORMAT_ERROR, Vec::new()),
            Some(_) if self.failing.load(Ordering::Relaxed) => (SERVER_FAILURE, Vec::new()),
            Some(question) => match self.records().get(&question.name) {
                None => (NO_SUCH_NAME, Vec::new()),
                Some(addresses) => (NO_ERROR, question.matching(addresses)),
            },
        };

        let recursion_desired = flags & 0x01;
        let authoritative_response = 0x84;
        let mut answer = vec![
            id_high,
            id_low,
            authoritative_response | recursion_desired,
            0x80 | code,
        ];
        let count = |number: usize| u16::try_from(number).unwrap_or(0).to_be_bytes();
        answer.extend(count(usize::from(question.is_some())));
        answer.extend(count(addresses.len()));
        answer.extend([0; 4]);
        if let Some(question) = question {
            answer.extend(question.raw);
        }
        for address in addresses {
            let pointer_to_question_name = [0xc0, 0x0c];
            answer.extend(pointer_to_question_name);
            let (kind, bytes) = match address {
                IpAddr::V4(address) => (TYPE_A, address.octets().to_vec()),
                IpAddr::V6(address) => (TYPE_AAAA, address.octets().to_vec()),
            };
            let class_internet = 1_u16;
            let ttl = 0_u32;
            answer.extend(kind.to_be_bytes());
            answer.extend(class_internet.to_be_bytes());
            answer.extend(ttl.to_be_bytes());
            answer.extend(count(bytes.len()));
            answer.extend(bytes);
        }
        Some(answer)
    }
}

/// The first question of a query.
struct Question<'a> {
    name: String,
    kind: u16,
    raw: &'a [u8],
}

impl<'a> Question<'a> {
    fn parse(query: &'a [u8]) -> Option<Self> {
        let section = query.get(12..)?;
        let mut labels = Vec::new();
        let mut rest = section;
        loop {
            let (&length, after) = rest.split_first()?;
            if length == 0 {
                rest = after;
                break;
            }
            let (label, after) = after.split_at_checked(usize::from(length))?;
            labels.push(String::from_utf8_lossy(label).into_owned());
            rest = after;
        }
        let (kind_and_class, rest) = rest.split_at_checked(4)?;
        let raw = section.get(..section.len() - rest.len())?;
        let kind = u16::from_be_bytes(kind_and_class.get(..2)?.try_into().ok()?);
        Some(Self {
            name: normal(&labels.join(".")),
            kind,
            raw,
        })
    }

    fn matching(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let fits = |address: &IpAddr| match self.kind {
            TYPE_A => address.is_ipv4(),
            TYPE_AAAA => address.is_ipv6(),
            _ => false,
        };
        addresses.iter().copied().filter(fits).collect()
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Both protocols on the same port: a free one for UDP may be taken for TCP, then another is tried.
fn bind() -> Result<(UdpSocket, TcpListener, SocketAddr), Error> {
    const ATTEMPTS: usize = 20;
    let mut last = std::io::Error::other("no attempt");
    for _ in 0..ATTEMPTS {
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|udp| {
            let address = udp.local_addr()?;
            Ok((udp, TcpListener::bind(address)?, address))
        });
        match bound {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(Error::Io {
        action: "bind a loopback port for a name server".to_owned(),
        source: last,
    })
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        if let Some(answer) = buffer.get(..length).and_then(|query| shared.answer(query)) {
            let _ = socket.send_to(&answer, client);
        }
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || serve_connection(stream, &shared));
    }
}

/// Answers until the client goes; nobody stays longer than a test can need.
fn serve_connection(mut stream: TcpStream, shared: &Shared) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let Some(answer) = shared.answer(&query) else {
            return;
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return;
        };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        if stream.write_all(&framed).is_err() {
            return;
        }
    }
}
