//! Redis commands and replies, and nothing of what they mean for locks. I/O. With [`super::endpoint`] and
//! [`super::topology`] the only place that names the Redis client's types.
//!
//! The text of a Redis error is never kept: an old server answers a refused HELLO with its arguments, the password
//! among them.

mod metered;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    RedisError, ServerError, Value,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::metered::{Allowance, Metered};
use super::Target;
use crate::clock;
use crate::domain::locks::{Answer, HolderValue, Key, Mode, Mono, Trouble};

/// Until a TCP connection stands, and again until the handshake is answered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Until a pipeline is answered.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The last byte of a value that is read: 4 KiB. Whoever may write the key must not be able to fill our memory.
const LAST_BYTE: usize = 4095;

/// Something that the server said unasked.
#[derive(Debug)]
pub(super) enum Push {
    /// These keys changed.
    Invalidated(Vec<Vec<u8>>),
    /// Everything changed: a flush, or a full resync of a replica.
    Flushed,
    /// The connection is gone.
    Closed,
}

/// Who answers: what must stay the same as long as a connection stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    /// `run_id` of INFO: another one is another process, with other data.
    pub(super) run_id: String,
    /// `redis_version` of INFO.
    pub(super) version: Option<String>,
}

/// What a server says of one key.
#[derive(Debug)]
pub(super) enum Reply {
    Complete(Answer),
    Refused(Trouble),
}

/// Why a connection could not be made or can't be used any longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) trouble: Trouble,
    /// Whether the other side is known to speak Redis by what it answered.
    pub(super) spoke: bool,
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
}

impl Connection {
    /// Connects to exactly this address, authenticates and selects the database.
    pub(super) async fn open(address: SocketAddr, target: &Target) -> Result<Self, Fault> {
        match Self::open_with(address, target, ProtocolVersion::RESP3).await {
            Err(error) if lacks_resp3(&error) => Self::open_with(address, target, ProtocolVersion::RESP2)
                .await
                .map_err(|error| fault(&error)),
            other => other.map_err(|error| fault(&error)),
        }
    }

    async fn open_with(
        address: SocketAddr,
        target: &Target,
        protocol: ProtocolVersion,
    ) -> Result<Self, RedisError> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(timed_out)??;
        stream.set_nodelay(true)?;
        let resp3 = protocol.supports_resp3();
        let (sender, pushes) = mpsc::unbounded_channel();
        let mut config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        if resp3 {
            config = config.set_push_sender(move |info| match push(info) {
                Some(push) => sender.send((clock::mono(), push)).map_err(drop),
                None => Ok(()),
            });
        }
        let credentials = credentials(target, protocol);
        let allowance = Allowance::new();
        let stream = Metered::new(stream, allowance.clone());
        let handshake = MultiplexedConnection::new_with_config(&credentials, stream, config);
        let (connection, driver) = timeout(CONNECT_TIMEOUT, handshake).await.map_err(timed_out)??;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Ok(Self {
            commands: Commands {
                connection,
                allowance,
            },
            pushes,
            _driver: tasks,
            resp3,
        })
    }

    pub(super) fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Checks that this is a master and asks it to announce changes of what is read from now on.
    pub(super) async fn verify(&mut self, want: Mode) -> Result<(Identity, Mode), Fault> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ROLE").cmd("INFO").arg("server");
        let track = self.resp3 && want == Mode::Tracking;
        if track {
            pipeline.cmd("CLIENT").arg("TRACKING").arg("ON");
        }
        let mut replies = self.commands.send(&pipeline).await?.into_iter();
        require_master(replies.next())?;
        let identity = identity(replies.next())?;
        // Refused by an ACL, or unknown: changes are then found by asking.
        let tracks = track && matches!(replies.next(), Some(Value::Okay));
        Ok((identity, if tracks { Mode::Tracking } else { Mode::Polling }))
    }
}

impl Commands {
    /// Reads keys, in that order.
    ///
    /// GETRANGE rather than GET because it bounds what is sent; both delete an expired key on access and both arm
    /// tracking, for missing keys too. It answers an empty string for a missing key: PTTL −2 tells.
    pub(super) async fn read(&self, keys: &[Key]) -> Result<Vec<Reply>, Fault> {
        let mut pipeline = Pipeline::with_capacity(2 * keys.len());
        for key in keys {
            pipeline
                .cmd("GETRANGE")
                .arg(&key[..])
                .arg(0)
                .arg(LAST_BYTE)
                .cmd("PTTL")
                .arg(&key[..]);
        }
        let replies = self.send(&pipeline).await?;
        if replies.len() != 2 * keys.len() {
            return Err(PROTOCOL_ERROR);
        }
        let mut replies = replies.into_iter();
        let mut answers = Vec::with_capacity(keys.len());
        while let (Some(value), Some(ttl)) = (replies.next(), replies.next()) {
            answers.push(reply(value, ttl)?);
        }
        Ok(answers)
    }

    /// Asks whether the server is there and still a master.
    pub(super) async fn beat(&self) -> Result<(), Fault> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("PING").cmd("ROLE");
        let mut replies = self.send(&pipeline).await?.into_iter();
        match replies.next() {
            // PING fails when writes are refused, too. It was answered: that is all that is asked here.
            Some(Value::ServerError(error)) if trouble_of(&error) == Trouble::Loading => {
                return Err(Fault {
                    trouble: Trouble::Loading,
                    spoke: true,
                });
            }
            _ => {}
        }
        require_master(replies.next())
    }

    /// Asks who answers.
    pub(super) async fn identify(&self) -> Result<Identity, Fault> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("INFO").arg("server");
        identity(self.send(&pipeline).await?.into_iter().next())
    }

    /// Sends a pipeline; refusals of single commands are among the replies.
    async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Fault> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection.clone();
        let replies = connection
            .send_packed_commands(pipeline, 0, pipeline.len())
            .await
            .map_err(|error| fault(&error))?;
        self.allowance.renew();
        Ok(replies)
    }
}

const PROTOCOL_ERROR: Fault = Fault {
    trouble: Trouble::ProtocolError,
    spoke: true,
};

fn credentials(target: &Target, protocol: ProtocolVersion) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default()
        .set_db(target.database.into())
        .set_protocol(protocol)
        .set_skip_set_lib_name();
    if let Some(username) = &target.username {
        info = info.set_username(username.expose());
    }
    if let Some(password) = &target.password {
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
        _ => None,
    }
}

fn reply(value: Value, ttl: Value) -> Result<Reply, Fault> {
    let (value, ttl) = match (value, ttl) {
        (Value::ServerError(error), _) if error.code() == "WRONGTYPE" => {
            return Ok(Reply::Complete(Answer::WrongType));
        }
        (Value::ServerError(error), _) | (_, Value::ServerError(error)) => {
            return match trouble_of(&error) {
                // Whatever this key is: the next one may be shown.
                trouble @ (Trouble::PermissionDenied | Trouble::ClusterDown | Trouble::ProtocolError) => {
                    Ok(Reply::Refused(trouble))
                }
                trouble => Err(Fault { trouble, spoke: true }),
            };
        }
        (Value::BulkString(value), Value::Int(ttl)) => (value, ttl),
        _ => return Err(PROTOCOL_ERROR),
    };
    let expires_in = match ttl {
        // Also when there was a value: PTTL came later, so the key is gone.
        -2 => return Ok(Reply::Complete(Answer::Absent)),
        -1 => None,
        ttl => Some(Duration::from_millis(
            u64::try_from(ttl).map_err(|_| PROTOCOL_ERROR)?,
        )),
    };
    Ok(Reply::Complete(Answer::Present {
        value: HolderValue(value.into()),
        expires_in,
    }))
}

fn require_master(reply: Option<Value>) -> Result<(), Fault> {
    let trouble = match reply {
        Some(Value::Array(parts)) => match parts.first().and_then(text) {
            Some("master") => return Ok(()),
            Some(_) => Trouble::NotMaster,
            None => Trouble::ProtocolError,
        },
        Some(Value::ServerError(error)) => trouble_of(&error),
        _ => Trouble::ProtocolError,
    };
    Err(Fault { trouble, spoke: true })
}

fn identity(reply: Option<Value>) -> Result<Identity, Fault> {
    let reply = reply.ok_or(PROTOCOL_ERROR)?;
    if let Value::ServerError(error) = &reply {
        return Err(Fault {
            trouble: trouble_of(error),
            spoke: true,
        });
    }
    let info = text(&reply).ok_or(PROTOCOL_ERROR)?;
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
    };
    Ok(Identity {
        run_id: field("run_id").ok_or(PROTOCOL_ERROR)?,
        version: field("redis_version"),
    })
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

fn lacks_resp3(error: &RedisError) -> bool {
    error.kind() == ErrorKind::RESP3NotSupported || matches!(error.code(), Some("NOPROTO" | "ERR"))
}

fn trouble_of(error: &ServerError) -> Trouble {
    trouble(error.code())
}

/// What the first word of a Redis error says.
fn trouble(code: &str) -> Trouble {
    match code {
        "NOAUTH" | "WRONGPASS" => Trouble::AuthenticationFailed,
        // DENIED: protected mode.
        "NOPERM" | "DENIED" => Trouble::PermissionDenied,
        "LOADING" => Trouble::Loading,
        "MASTERDOWN" => Trouble::NotMaster,
        "MOVED" | "ASK" | "CLUSTERDOWN" | "TRYAGAIN" => Trouble::ClusterDown,
        // A script runs: it answers, but nothing of use.
        "BUSY" => Trouble::Stale,
        _ => Trouble::ProtocolError,
    }
}

fn fault(error: &RedisError) -> Fault {
    match error.kind() {
        ErrorKind::AuthenticationFailed => Fault {
            trouble: Trouble::AuthenticationFailed,
            spoke: true,
        },
        ErrorKind::Server(_) | ErrorKind::Extension => Fault {
            trouble: trouble(error.code().unwrap_or_default()),
            spoke: true,
        },
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
