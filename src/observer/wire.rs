//! Redis commands and replies, and nothing of what they mean for locks. I/O. With [`super::endpoint`] and
//! [`super::topology`] the only place that names the Redis client's types.
//!
//! The text of a Redis error is never kept: an old server answers a refused HELLO with its arguments, the password
//! among them.

mod info;
mod metered;
mod read;
mod replies;
mod sentinel;
pub(super) mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    RedisError, Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::metered::{Allowance, Metered};
use self::replies::{require_master, server_time, trouble, trouble_of};
pub(super) use self::{
    info::{Identity, Info},
    read::{Cache, Redirect, Reply},
    sentinel::Named,
};
use super::{Secret, Target, Tls, slots::SlotRange};
use crate::clock;
use crate::domain::locks::health::Pong;
use crate::domain::locks::{Key, Mode, Mono, Trouble};

/// Until a TCP connection stands, again until TLS does, and again until the handshake of Redis is answered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Until a pipeline is answered.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Something that the server said unasked.
#[derive(Debug)]
pub(super) enum Push {
    /// These keys changed.
    Invalidated(Vec<Vec<u8>>),
    /// Everything changed: a flush, or a full resync of a replica.
    Flushed,
    /// A message on a channel that was subscribed to; what it says is asked for.
    Published,
    /// The connection is gone.
    Closed,
}

/// Why a connection could not be made or can't be used any longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) trouble: Trouble,
    /// Whether the other side is known to speak Redis by what it answered.
    pub(super) spoke: bool,
}

impl Fault {
    /// What a server that speaks Redis said, or did.
    pub(super) const fn said(trouble: Trouble) -> Self {
        Self { trouble, spoke: true }
    }
}

/// One connection, verified by nobody yet.
pub(super) struct Connection {
    commands: Commands,
    /// What the server says unasked, with its receipt.
    pub(super) pushes: mpsc::UnboundedReceiver<(Mono, Push)>,
    /// Drives the socket; ends with the connection.
    _driver: JoinSet<()>,
    /// RESP2 has no pushes.
    resp3: bool,
}

/// The sending half: cheap to clone, answers come in the order of the requests.
#[derive(Clone)]
pub(super) struct Commands {
    connection: MultiplexedConnection,
    allowance: Allowance,
    /// How many were sent to the endpoint.
    sent: Arc<AtomicU64>,
}

impl Connection {
    /// Connects to exactly this address, authenticates and selects the database.
    pub(super) async fn open(address: SocketAddr, login: &Login<'_>) -> Result<Self, Fault> {
        match Self::open_with(address, login, ProtocolVersion::RESP3).await {
            Err(Refusal::Redis(error)) if lacks_resp3(&error) => {
                Self::open_with(address, login, ProtocolVersion::RESP2).await
            }
            other => other,
        }
        .map_err(|refusal| match refusal {
            Refusal::Redis(error) => fault(&error),
            Refusal::Tls(fault) => fault,
        })
    }

    async fn open_with(
        address: SocketAddr,
        login: &Login<'_>,
        protocol: ProtocolVersion,
    ) -> Result<Self, Refusal> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(timed_out)??;
        stream.set_nodelay(true)?;
        let (stream, asked): (Box<dyn Socket>, bool) = match login.tls {
            None => (Box::new(stream), false),
            Some(tls) => {
                let secured = timeout(CONNECT_TIMEOUT, tls::secure(stream, login.host, tls));
                let secured = secured.await.map_err(timed_out)?.map_err(Refusal::Tls)?;
                (Box::new(secured.stream), secured.asked)
            }
        };
        let resp3 = protocol.supports_resp3();
        let (sender, pushes) = mpsc::unbounded_channel();
        let mut config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        if resp3 {
            config = config.set_push_sender(move |info| match push(info) {
                Some(push) => sender.send((clock::mono(), push)).map_err(drop),
                None => Ok(()),
            });
        }
        let credentials = credentials(login, protocol);
        let allowance = Allowance::new();
        let stream = Metered::new(stream, allowance.clone());
        let handshake = MultiplexedConnection::new_with_config(&credentials, stream, config);
        let handshake = timeout(CONNECT_TIMEOUT, handshake).await.map_err(timed_out)?;
        let (connection, driver) = handshake.map_err(|error| {
            // With TLS 1.3 that is how a server says that it doesn't accept our certificate.
            if asked && error.kind() == ErrorKind::Io && !error.is_timeout() {
                return Refusal::Tls(Fault::said(Trouble::TlsFailure));
            }
            Refusal::Redis(error)
        })?;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Ok(Self {
            commands: Commands {
                connection,
                allowance,
                sent: Arc::default(),
            },
            pushes,
            _driver: tasks,
            resp3,
        })
    }

    /// Counts what is sent from now on here.
    pub(super) fn count(&mut self, sent: &Arc<AtomicU64>) {
        self.commands.sent = Arc::clone(sent);
    }

    pub(super) fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Checks that this is a master and asks it to announce changes of what is read from now on.
    pub(super) async fn verify(&mut self, want: Mode) -> Result<Verified, Fault> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ROLE").cmd("INFO").cmd("TIME");
        let track = self.resp3 && want == Mode::Tracking;
        if track {
            pipeline.cmd("CLIENT").arg("TRACKING").arg("ON");
        }
        // Last: a flush that isn't counted by then is announced.
        pipeline.cmd("INFO").arg("commandstats");
        let mut replies = self.commands.send(&pipeline).await?.into_iter();
        require_master(replies.next())?;
        let info = Info::of(replies.next())?;
        let time = replies.next().as_ref().and_then(server_time);
        // Refused by an ACL, or unknown: changes are then found by asking.
        let tracks = track && matches!(replies.next(), Some(Value::Okay));
        let flushes = Info::of(replies.next()).ok().map(|stats| stats.flushes());
        Ok(Verified {
            info,
            time,
            flushes,
            mode: if tracks { Mode::Tracking } else { Mode::Polling },
        })
    }

    /// Asks the server to announce every change under these prefixes; whether it does.
    pub(super) async fn broadcast(&self, prefixes: &[Vec<u8>]) -> Result<bool, Fault> {
        if !self.resp3 {
            return Ok(false);
        }
        let mut pipeline = Pipeline::new();
        let command = pipeline.cmd("CLIENT").arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in prefixes {
            command.arg("PREFIX").arg(prefix);
        }
        let replies = self.commands.send(&pipeline).await?;
        Ok(matches!(replies.first(), Some(Value::Okay)))
    }
}

/// What a server said of itself.
pub(super) struct Verified {
    pub(super) info: Info,
    /// Its clock, since 1970; `None`: it doesn't say.
    pub(super) time: Option<Duration>,
    /// How often it was flushed; `None`: it doesn't count.
    pub(super) flushes: Option<u64>,
    pub(super) mode: Mode,
}

/// What a server says of itself while it serves.
pub(super) struct Beat {
    /// Its clock, since 1970; `None`: it doesn't say.
    pub(super) time: Option<Duration>,
    /// How it answered PING.
    pub(super) pong: Pong,
    /// How long it took to answer.
    pub(super) round_trip: Duration,
}

/// What happened to a server, as far as its counters tell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counters {
    pub(super) evicted: Option<u64>,
    pub(super) flushes: Option<u64>,
}

impl Commands {
    /// Asks whether the server is there and still a master.
    pub(super) async fn beat(&self) -> Result<Beat, Fault> {
        let asked = clock::mono();
        let mut pipeline = Pipeline::new();
        pipeline.cmd("PING").cmd("ROLE").cmd("TIME");
        let mut replies = self.send(&pipeline).await?.into_iter();
        let round_trip = clock::mono().since(asked);
        let pong = match replies.next() {
            Some(Value::ServerError(error)) if trouble_of(&error) == Trouble::Loading => {
                return Err(Fault::said(Trouble::Loading));
            }
            Some(Value::ServerError(error)) if error.code() == "MISCONF" => Pong::DiskFailed,
            Some(Value::ServerError(_)) => Pong::Refused,
            _ => Pong::Fine,
        };
        require_master(replies.next())?;
        Ok(Beat {
            time: replies.next().as_ref().and_then(server_time),
            pong,
            round_trip,
        })
    }

    /// Asks what the server says of itself.
    pub(super) async fn info(&self) -> Result<Info, Fault> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("INFO");
        Info::of(self.send(&pipeline).await?.into_iter().next())
    }

    /// Asks for the clock and the counters that tell why something is gone.
    pub(super) async fn counters(&self) -> Result<(Option<Duration>, Counters), Fault> {
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("TIME")
            .cmd("INFO")
            .arg("stats")
            .cmd("INFO")
            .arg("commandstats");
        let mut replies = self.send(&pipeline).await?.into_iter();
        let time = replies.next().as_ref().and_then(server_time);
        // A server that doesn't count has nothing to tell.
        let mut info = || Info::of(replies.next()).ok();
        let counters = Counters {
            evicted: info().and_then(|stats| stats.evicted_keys()),
            flushes: info().map(|stats| stats.flushes()),
        };
        Ok((time, counters))
    }

    /// The names in a list, at most so many, and one more if there are more.
    pub(super) async fn list(&self, key: &Key, limit: usize) -> Result<Result<Vec<Vec<u8>>, Trouble>, Fault> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("LRANGE").arg(&key[..]).arg(0).arg(limit);
        match self.send(&pipeline).await?.into_iter().next() {
            Some(Value::Array(names)) => Ok(Ok(names.into_iter().filter_map(replies::bytes).collect())),
            Some(Value::ServerError(error)) if error.code() == "WRONGTYPE" => Ok(Ok(vec![])),
            Some(Value::ServerError(error)) => Ok(Err(replies::of_one_key(&error)?)),
            _ => Err(PROTOCOL_ERROR),
        }
    }

    /// One step of a scan for a prefix: the keys, and where to go on (0: it is through).
    pub(super) async fn scan(
        &self,
        cursor: u64,
        prefix: &[u8],
        count: usize,
    ) -> Result<(u64, Vec<Vec<u8>>), Fault> {
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(replies::glob(prefix))
            .arg("COUNT")
            .arg(count);
        match self.send(&pipeline).await?.into_iter().next() {
            Some(Value::Array(parts)) => replies::scanned(parts).ok_or(PROTOCOL_ERROR),
            Some(Value::ServerError(error)) => Err(Fault::said(trouble_of(&error))),
            _ => Err(PROTOCOL_ERROR),
        }
    }

    /// The masters of a cluster, as this server sees them; a master without a host name is this server's own host.
    pub(super) async fn slots(&self) -> Result<Vec<SlotRange>, Fault> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("CLUSTER").arg("SLOTS");
        match self.send(&pipeline).await?.into_iter().next() {
            Some(Value::Array(ranges)) => {
                let ranges: Option<Vec<_>> = ranges.into_iter().map(replies::slot_range).collect();
                ranges.ok_or(PROTOCOL_ERROR)
            }
            Some(Value::ServerError(error)) => Err(Fault::said(trouble_of(&error))),
            _ => Err(PROTOCOL_ERROR),
        }
    }

    /// Sends a pipeline; refusals of single commands are among the replies.
    async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Fault> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        self.sent
            .fetch_add(u64::try_from(pipeline.len()).unwrap_or(0), Ordering::Relaxed);
        let mut connection = self.connection.clone();
        let replies = connection
            .send_packed_commands(pipeline, 0, pipeline.len())
            .await
            .map_err(|error| fault(&error))?;
        self.allowance.renew();
        Ok(replies)
    }
}

/// Plain or TLS.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Why a connection could not be made.
enum Refusal {
    Redis(RedisError),
    Tls(Fault),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Redis(error.into())
    }
}

const PROTOCOL_ERROR: Fault = Fault::said(Trouble::ProtocolError);

/// What a connection presents itself with, and whom it expects.
pub(super) struct Login<'a> {
    /// The server as it is written or announced: its certificate must say so.
    pub(super) host: &'a str,
    pub(super) username: Option<&'a Secret>,
    pub(super) password: Option<&'a Secret>,
    pub(super) database: u16,
    pub(super) tls: Option<&'a Tls>,
}

impl<'a> Login<'a> {
    /// Towards the servers that have the locks.
    pub(super) fn of(target: &'a Target, host: &'a str) -> Self {
        Self {
            host,
            username: target.username.as_ref(),
            password: target.password.as_ref(),
            database: target.database,
            tls: target.tls.as_ref(),
        }
    }
}

fn credentials(login: &Login<'_>, protocol: ProtocolVersion) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default()
        .set_db(login.database.into())
        .set_protocol(protocol)
        .set_skip_set_lib_name();
    if let Some(username) = login.username {
        info = info.set_username(username.expose());
    }
    if let Some(password) = login.password {
        info = info.set_password(password.expose());
    }
    info
}

fn push(info: PushInfo) -> Option<Push> {
    match info.kind {
        PushKind::Disconnection => Some(Push::Closed),
        PushKind::Invalidate => match info.data.into_iter().next() {
            Some(Value::Array(keys)) => Some(Push::Invalidated(
                keys.into_iter()
                    .filter_map(|key| {
                        if let Value::BulkString(key) = key {
                            Some(key)
                        } else {
                            None
                        }
                    })
                    .collect(),
            )),
            // Nil means everything; whatever else there may be is safest read as that.
            _ => Some(Push::Flushed),
        },
        PushKind::Message => Some(Push::Published),
        _ => None,
    }
}

fn lacks_resp3(error: &RedisError) -> bool {
    error.kind() == ErrorKind::RESP3NotSupported || matches!(error.code(), Some("NOPROTO" | "ERR"))
}

fn fault(error: &RedisError) -> Fault {
    match error.kind() {
        ErrorKind::AuthenticationFailed => Fault::said(Trouble::AuthenticationFailed),
        ErrorKind::Server(_) | ErrorKind::Extension => Fault::said(trouble(error.code().unwrap_or_default())),
        _ if error.is_timeout() => Fault {
            trouble: Trouble::Timeout,
            spoke: false,
        },
        ErrorKind::Io => Fault {
            trouble: Trouble::Unreachable,
            spoke: false,
        },
        _ => Fault {
            trouble: Trouble::ProtocolError,
            spoke: false,
        },
    }
}

fn timed_out(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::from(io::ErrorKind::TimedOut)
}
