//! How locks are read: two commands each in one pipeline, and a second round for what can only be named once the first
//! is answered (a registry), or must be measured before it is fetched (a field of a hash).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::{Commands, Fault, PROTOCOL_ERROR, replies};
use crate::domain::locks::probe::{Beside, Form, Names, Part, Probe, ScoreUnit};
use crate::domain::locks::{Answer, HolderValue, Key, Text, Trouble};

/// The last byte of a value that is read: 4 KiB. Whoever may write the key must not be able to fill our memory.
const LAST_BYTE: usize = 4095;

/// How many owners are remembered from registries: a holder never becomes another pod.
const CACHED: usize = 10_000;

/// What a server says of one lock.
#[derive(Debug)]
pub(in crate::observer) enum Reply {
    Complete(Answer),
    Refused(Trouble),
    /// Another server has it, or is about to.
    Redirected(Redirect),
}

/// Where another server is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::observer) enum Redirect {
    /// The slot is there.
    Moved,
    /// The slot moves there: this key is not here any more, or not yet anywhere.
    Ask {
        /// Host as clients are told; empty: that of the server which said so.
        host: String,
        /// Port as clients are told.
        port: u16,
    },
}

/// What registries said, by key and field.
#[derive(Clone, Debug, Default)]
pub(in crate::observer) struct Cache(HashMap<Place, HolderValue>);

/// A key, and a field in it if it is a hash.
type Place = (Key, Option<Arc<[u8]>>);

impl Cache {
    fn put(&mut self, place: Place, value: &HolderValue) {
        if self.0.len() >= CACHED {
            self.0.clear();
        }
        self.0.insert(place, value.clone());
    }
}

impl Commands {
    /// Reads locks, in that order; those with `true` as from a server that is about to get them.
    ///
    /// GETRANGE rather than GET because it bounds what is sent; both delete an expired key on access and both arm
    /// tracking, for missing keys too. It answers an empty string for a missing key: PTTL −2 tells. Of hashes and sets
    /// no more is asked for than tells one holder from several.
    pub(in crate::observer) async fn read(
        &self,
        probes: &[(Arc<Probe>, bool)],
        cache: &mut Cache,
    ) -> Result<Vec<Reply>, Fault> {
        let mut pipeline = Pipeline::with_capacity(2 * probes.len() + 1);
        let needs_time = |(probe, _): &(Arc<Probe>, bool)| matches!(probe.form, Form::SortedSetMember { .. });
        let needs_time = probes.iter().any(needs_time);
        for (probe, asking) in probes {
            add(&mut pipeline, probe, *asking);
        }
        if needs_time {
            pipeline.cmd("TIME");
        }
        let mut replies = self.send(&pipeline).await?;
        let time = if needs_time { replies.pop() } else { None };
        let time = time.as_ref().and_then(replies::server_time);
        let expected: usize = probes.iter().map(|(_, asking)| if *asking { 4 } else { 2 }).sum();
        if replies.len() != expected {
            return Err(PROTOCOL_ERROR);
        }
        let mut replies = replies.into_iter();
        let mut read = Vec::with_capacity(probes.len());
        for (probe, asking) in probes {
            if *asking {
                replies.next();
            }
            let holder = replies.next().ok_or(PROTOCOL_ERROR)?;
            if *asking {
                replies.next();
            }
            let ttl = replies.next().ok_or(PROTOCOL_ERROR)?;
            read.push(reply(probe, holder, ttl, time)?);
        }
        self.read_beside(probes, &mut read, cache).await?;
        Ok(read)
    }

    /// Adds what stands beside the locks that are held.
    async fn read_beside(
        &self,
        probes: &[(Arc<Probe>, bool)],
        read: &mut [Reply],
        cache: &mut Cache,
    ) -> Result<(), Fault> {
        let mut wanted: Vec<(usize, Place, bool)> = Vec::new();
        for (at, ((probe, asking), reply)) in probes.iter().zip(&mut *read).enumerate() {
            let (
                Some(beside),
                Reply::Complete(Answer::Present {
                    text, beside: said, ..
                }),
            ) = (&probe.beside, reply)
            else {
                continue;
            };
            match beside {
                Beside::Key(key) => wanted.push((at, (Key::clone(key), None), *asking)),
                Beside::Field(key, field) => {
                    wanted.push((at, (Key::clone(key), Some(Arc::clone(field))), *asking));
                }
                Beside::Registry(registry) => {
                    let Some(place) = registry.place(text) else {
                        continue;
                    };
                    match cache.0.get(&place) {
                        Some(known) => *said = Some(known.clone()),
                        None => wanted.push((at, place, *asking)),
                    }
                }
            }
        }
        let found = self.fetch(&wanted).await?;
        for ((at, place, _), found) in wanted.into_iter().zip(found) {
            match found {
                Ok(None) => {}
                Ok(Some(value)) => {
                    if matches!(probes[at].0.beside, Some(Beside::Registry(_))) {
                        cache.put(place, &value);
                    }
                    if let Reply::Complete(Answer::Present { beside, .. }) = &mut read[at] {
                        *beside = Some(value);
                    }
                }
                Err(trouble) => read[at] = Reply::Refused(trouble),
            }
        }
        Ok(())
    }

    /// Strings and fields, where they are there, not empty and no longer than 4 KiB.
    async fn fetch(
        &self,
        wanted: &[(usize, Place, bool)],
    ) -> Result<Vec<Result<Option<HolderValue>, Trouble>>, Fault> {
        if wanted.is_empty() {
            return Ok(vec![]);
        }
        let mut pipeline = Pipeline::with_capacity(wanted.len());
        for (_, (key, field), asking) in wanted {
            if *asking {
                pipeline.cmd("ASKING");
            }
            match field {
                None => pipeline.cmd("GETRANGE").arg(&key[..]).arg(0).arg(LAST_BYTE),
                // A field can't be read in part: one that is too long is not read at all.
                Some(field) => pipeline.cmd("HSTRLEN").arg(&key[..]).arg(&field[..]),
            };
        }
        let mut first = self.send(&pipeline).await?.into_iter();
        let mut pipeline = Pipeline::new();
        let mut found = Vec::with_capacity(wanted.len());
        let mut later = Vec::new();
        for (at, (_, (key, field), asking)) in wanted.iter().enumerate() {
            if *asking {
                first.next();
            }
            found.push(match first.next().ok_or(PROTOCOL_ERROR)? {
                Value::ServerError(error) => beside_error(&error),
                Value::BulkString(value) => Ok(present(value)),
                Value::Int(length) if (1..=4096).contains(&length) => {
                    if let Some(field) = field {
                        if *asking {
                            pipeline.cmd("ASKING");
                        }
                        pipeline.cmd("HGET").arg(&key[..]).arg(&field[..]);
                        later.push((at, *asking));
                    }
                    Ok(None)
                }
                _ => Ok(None),
            });
        }
        let mut second = self.send(&pipeline).await?.into_iter();
        for (at, asking) in later {
            if asking {
                second.next();
            }
            found[at] = match second.next().ok_or(PROTOCOL_ERROR)? {
                Value::ServerError(error) => beside_error(&error),
                Value::BulkString(value) => Ok(present(value)),
                _ => Ok(None),
            };
        }
        Ok(found)
    }
}

/// What isn't there, or is of another type, or on another server of the cluster, says nothing about the owner.
fn beside_error(error: &redis::ServerError) -> Result<Option<HolderValue>, Trouble> {
    match replies::trouble_of(error) {
        trouble @ Trouble::PermissionDenied => Err(trouble),
        _ => Ok(None),
    }
}

fn present(value: Vec<u8>) -> Option<HolderValue> {
    (!value.is_empty()).then(|| HolderValue(value.into()))
}

fn add(pipeline: &mut Pipeline, probe: &Probe, asking: bool) {
    let key = &probe.key[..];
    if asking {
        pipeline.cmd("ASKING");
    }
    match &probe.form {
        Form::String(_) => pipeline.cmd("GETRANGE").arg(key).arg(0).arg(LAST_BYTE),
        Form::HashField { ignore } => pipeline.cmd("HRANDFIELD").arg(key).arg(ignore.len() + 2),
        Form::SetMember { ignore } => pipeline.cmd("SRANDMEMBER").arg(key).arg(ignore.len() + 2),
        Form::SortedSetMember { ignore, .. } => pipeline
            .cmd("ZREVRANGE")
            .arg(key)
            .arg(0)
            .arg(ignore.len() + 1)
            .arg("WITHSCORES"),
    };
    if asking {
        pipeline.cmd("ASKING");
    }
    pipeline.cmd("PTTL").arg(key);
}

fn reply(probe: &Probe, holder: Value, ttl: Value, time: Option<Duration>) -> Result<Reply, Fault> {
    let (holder, ttl) = match (holder, ttl) {
        (Value::ServerError(error), _) if error.code() == "WRONGTYPE" => {
            return Ok(Reply::Complete(Answer::WrongType));
        }
        (Value::ServerError(error), _) | (_, Value::ServerError(error)) => {
            return Ok(match redirect(&error) {
                Some(redirect) => Reply::Redirected(redirect),
                None => Reply::Refused(replies::of_one_key(&error)?),
            });
        }
        (holder, Value::Int(ttl)) => (holder, ttl),
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
    Ok(Reply::Complete(match (&probe.form, holder) {
        (Form::String(part), Value::BulkString(value)) => string(part, &value, expires_in),
        (
            Form::HashField { ignore } | Form::SetMember { ignore },
            Value::Array(members) | Value::Set(members),
        ) => {
            let members = members.into_iter().filter_map(replies::bytes);
            one_of(members.filter(|member| !ignored(ignore, member)), expires_in)
        }
        (Form::SortedSetMember { ignore, unit }, Value::Array(members)) => {
            scored(members, ignore, *unit, time, expires_in).ok_or(PROTOCOL_ERROR)?
        }
        _ => return Err(PROTOCOL_ERROR),
    }))
}

fn string(part: &Part, value: &[u8], expires_in: Option<Duration>) -> Answer {
    let (identity, text) = part.of(value);
    Answer::Present {
        value: identity.into(),
        text,
        beside: None,
        expires_in,
    }
}

fn ignored(ignore: &Names, member: &[u8]) -> bool {
    ignore.iter().any(|name| **name == *member)
}

/// A lock held by one of these, by several, or by nobody.
fn one_of(mut members: impl Iterator<Item = Vec<u8>>, expires_in: Option<Duration>) -> Answer {
    match (members.next(), members.next()) {
        (None, _) => Answer::Absent,
        (Some(member), None) => Answer::held(&member, expires_in),
        // Who comes and goes among several doesn't make another hold: the lock is taken all the time.
        (Some(_), Some(_)) => Answer::Present {
            value: HolderValue(b"".as_slice().into()),
            text: Text::Several,
            beside: None,
            expires_in,
        },
    }
}

/// A member whose score is past holds nothing, though the library has not removed it yet.
fn scored(
    members: Vec<Value>,
    ignore: &Names,
    unit: ScoreUnit,
    time: Option<Duration>,
    key_expires_in: Option<Duration>,
) -> Option<Answer> {
    let now = time?;
    let mut flat = Vec::new();
    for member in members {
        match member {
            // RESP3 has pairs, RESP2 one after the other.
            Value::Array(pair) => flat.extend(pair),
            single => flat.push(single),
        }
    }
    let mut holders = Vec::new();
    let mut longest = Duration::ZERO;
    let mut flat = flat.into_iter();
    while let (Some(member), Some(score)) = (flat.next(), flat.next()) {
        let member = replies::bytes(member)?;
        let score = match &score {
            Value::Double(score) => *score,
            other => replies::text(other)?.parse().ok()?,
        };
        let until = match unit {
            ScoreUnit::Seconds => Duration::try_from_secs_f64(score),
            ScoreUnit::Milliseconds => Duration::try_from_secs_f64(score / 1000.0),
        };
        // Beyond what a clock can show: never.
        let until = until.unwrap_or(Duration::MAX);
        let left = until.saturating_sub(now);
        if !ignored(ignore, &member) && !left.is_zero() {
            longest = longest.max(left);
            holders.push(member);
        }
    }
    let own = (longest < Duration::from_secs(1 << 40)).then_some(longest);
    let expires_in = [own, key_expires_in].into_iter().flatten().min();
    Some(one_of(holders.into_iter(), expires_in))
}

/// `MOVED 3999 127.0.0.1:6381`, `ASK 3999 127.0.0.1:6381`
fn redirect(error: &redis::ServerError) -> Option<Redirect> {
    match error.code() {
        "MOVED" => Some(Redirect::Moved),
        "ASK" => {
            let place = error.details()?.split(' ').nth(1)?;
            let (host, port) = place.rsplit_once(':')?;
            Some(Redirect::Ask {
                host: host.to_owned(),
                port: port.parse().ok()?,
            })
        }
        _ => None,
    }
}
