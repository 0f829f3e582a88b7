//! Which master of a cluster has which key. Pure.

use std::collections::BTreeMap;

use crate::domain::locks::table::Lane;

/// Slots of a cluster.
const SLOTS: u16 = 16384;

/// The lane of a key that no master has.
pub(super) const UNCOVERED: Lane = Lane::MAX;

/// The masters of a cluster and their slots. A master keeps its lane as long as it is one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct SlotMap {
    /// First slot of each range, with its last one and the lane.
    ranges: BTreeMap<u16, (u16, Lane)>,
    masters: BTreeMap<Lane, Node>,
}

/// A master as the others name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Node {
    /// Its id, which it keeps for life.
    pub(super) id: String,
    /// Host name or address that clients are told.
    pub(super) host: String,
    /// Port that clients are told.
    pub(super) port: u16,
}

/// A range of slots and the master that has it, as a server says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SlotRange {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: Node,
}

impl SlotMap {
    /// The map that follows from what a server says; masters that were known keep their lanes, and no lane is given to
    /// another one at once.
    pub(super) fn next(&self, ranges: Vec<SlotRange>) -> Self {
        let mut next = Self::default();
        let mut fresh = self
            .masters
            .keys()
            .next_back()
            .map_or(0, |lane| lane.wrapping_add(1));
        for SlotRange { first, last, master } in ranges {
            let known = |masters: &BTreeMap<Lane, Node>| {
                let mut masters = masters.iter();
                masters
                    .find(|(_, node)| node.id == master.id)
                    .map(|(lane, _)| *lane)
            };
            let lane = known(&next.masters)
                .or_else(|| known(&self.masters))
                .unwrap_or_else(|| {
                    let lane = if fresh == UNCOVERED { 0 } else { fresh };
                    fresh = lane + 1;
                    lane
                });
            next.masters.insert(lane, master);
            next.ranges.insert(first, (last, lane));
        }
        next
    }

    /// The lane of a key's master, or [`UNCOVERED`].
    pub(super) fn lane(&self, key: &[u8]) -> Lane {
        let slot = slot(key);
        let range = self.ranges.range(..=slot).next_back();
        range
            .filter(|(_, (last, _))| slot <= *last)
            .map_or(UNCOVERED, |(_, (_, lane))| *lane)
    }

    /// The lane of the master that clients are told to find there.
    pub(super) fn lane_at(&self, host: &str, port: u16) -> Option<Lane> {
        let mut masters = self.masters.iter();
        masters
            .find(|(_, node)| node.host == host && node.port == port)
            .map(|(lane, _)| *lane)
    }

    pub(super) fn has_lane(&self, lane: Lane) -> bool {
        self.masters.contains_key(&lane)
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.masters.keys().copied()
    }

    pub(super) fn master(&self, lane: Lane) -> Option<&Node> {
        self.masters.get(&lane)
    }

    pub(super) fn masters(&self) -> impl Iterator<Item = (Lane, &Node)> {
        self.masters.iter().map(|(lane, node)| (*lane, node))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.masters.is_empty()
    }
}

/// The slot of a key: CRC16 of what stands between the first `{` and the next `}`, if there is something between them,
/// else of the whole key (Redis Cluster specification, "Key distribution model").
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, beginning with 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> Node {
        Node {
            id: id.into(),
            host: format!("{id}.example"),
            port: 6379,
        }
    }

    fn range(first: u16, last: u16, id: &str) -> SlotRange {
        SlotRange {
            first,
            last,
            master: node(id),
        }
    }

    /// Figures of the specification, and of CLUSTER KEYSLOT on Redis 7.0.15.
    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, expected) in [
            ("foo", 12182),
            ("bar", 5061),
            ("{user1000}.following", slot(b"user1000")),
            ("foo{}{bar}", crc16(b"foo{}{bar}") % SLOTS),
            ("foo{{bar}}zap", slot(b"{bar")),
            ("foo{bar}{zap}", 5061),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn masters_keep_their_lanes() {
        let first = SlotMap::default().next(vec![range(0, 8191, "a"), range(8192, 16383, "b")]);
        let [a, b] = ["a", "b"].map(|id| first.lane_at(&node(id).host, 6379).unwrap());
        assert_eq!((first.lane(b"bar"), first.lane(b"foo")), (a, b));
        let second = first.next(vec![range(0, 99, "c"), range(8192, 16383, "b")]);
        assert_eq!(second.lane(b"foo"), b);
        assert_eq!(second.lane(b"bar"), UNCOVERED);
        let c = second.lane_at("c.example", 6379).unwrap();
        assert!(c != a && c != b, "a lane is one server's");
        assert!(!second.has_lane(a) && second.has_lane(b));
    }
}
