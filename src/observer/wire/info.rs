//! What INFO says: who answers, and how it fares.

use std::collections::HashMap;

use redis::Value;

use super::{Fault, PROTOCOL_ERROR, replies};
use crate::domain::locks::health::Vital;

/// The fields of INFO.
#[derive(Clone, Debug, Default)]
pub(in crate::observer) struct Info(HashMap<String, String>);

/// Who answers: what must stay the same as long as a connection stands.
#[derive(Clone, Debug, Default)]
pub(in crate::observer) struct Identity {
    /// `run_id`: another one is another process, with other data.
    run_id: Option<String>,
    /// `master_replid`: another one is another history of the data.
    replication_id: Option<String>,
    /// `master_replid2`: whose history it was before, since a replica was promoted; none: zeros.
    before: Option<String>,
}

impl Identity {
    /// Whether it is the same server with the same data as `earlier`.
    ///
    /// A master takes a new replication id when its first replica comes, and when the last one has been gone for long;
    /// its data stay what they were. It has then no id of before, as one that was promoted has.
    pub(in crate::observer) fn continues(&self, earlier: &Self) -> bool {
        let never_promoted = self
            .before
            .as_ref()
            .is_some_and(|id| id.bytes().all(|byte| byte == b'0'));
        self.run_id == earlier.run_id
            && (self.replication_id == earlier.replication_id || (self.run_id.is_some() && never_promoted))
    }
}

impl Info {
    pub(super) fn of(reply: Option<Value>) -> Result<Self, Fault> {
        let reply = reply.ok_or(PROTOCOL_ERROR)?;
        if let Value::ServerError(error) = &reply {
            return Err(Fault::said(replies::trouble_of(error)));
        }
        let info = replies::text(&reply).ok_or(PROTOCOL_ERROR)?;
        let fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        Ok(Self(
            fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        ))
    }

    /// A field as it is written.
    pub(in crate::observer) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What tells how the server fares.
    pub(in crate::observer) fn vital(&self) -> Box<Vital> {
        Box::new(Vital::of(|name| self.get(name)))
    }

    /// A field that counts something.
    pub(in crate::observer) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    pub(in crate::observer) fn identity(&self) -> Identity {
        let own = |name| self.get(name).map(str::to_owned);
        Identity {
            run_id: own("run_id"),
            replication_id: own("master_replid"),
            before: own("master_replid2"),
        }
    }

    pub(in crate::observer) fn version(&self) -> Option<String> {
        self.get("redis_version").map(str::to_owned)
    }

    pub(in crate::observer) fn evicted_keys(&self) -> Option<u64> {
        self.number("evicted_keys")
    }

    /// Whether the server may evict keys that have an expiry.
    pub(in crate::observer) fn evicts(&self) -> bool {
        self.number("maxmemory").is_some_and(|limit| limit > 0)
            && self
                .get("maxmemory_policy")
                .is_some_and(|policy| policy != "noeviction")
    }

    /// How often everything was flushed (`INFO commandstats`).
    pub(in crate::observer) fn flushes(&self) -> u64 {
        let calls = |command: &str| {
            let counted = self.get(&format!("cmdstat_{command}"))?;
            counted.strip_prefix("calls=")?.split(',').next()?.parse().ok()
        };
        ["flushall", "flushdb", "swapdb"]
            .into_iter()
            .filter_map(calls)
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_replica_is_no_failover_and_a_promotion_is() {
        let of = |run: &str, id: &str, before: &str| {
            let fields = [("run_id", run), ("master_replid", id), ("master_replid2", before)];
            let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Info(fields.collect()).identity()
        };
        let first = of("run", "a", "0000");
        for (next, same) in [
            (of("run", "a", "0000"), true),
            (of("run", "b", "0000"), true),
            (of("run", "b", "a"), false),
            (of("run", "b", "f00d"), false),
            (of("other", "a", "0000"), false),
            (of("other", "b", "0000"), false),
            (of("run", "b", ""), false),
            (of("", "b", "0000"), false),
        ] {
            assert_eq!(next.continues(&first), same, "{next:?}");
        }
        assert!(!of("", "b", "0000").continues(&of("", "a", "0000")));
    }
}
