//! `spec.locks[]`: which locks there are, which library keeps them, and what is expected of them.

#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct, with its visibility, into a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;
use crate::api::schema;

/// A set of locks with common settings.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = (
        "self.hold != 'Continuous' || self.?names.orValue([]).size() > 0",
        "hold: Continuous needs names: only of declared locks can be said that somebody must hold them"
    ),
    validation = (
        "self.hold != 'Continuous' || !(self.dialect in ['Bull', 'BullMQ'])",
        "hold must be Intermittent with dialect: Bull and BullMQ: a name is a queue, and its jobs come and go"
    ),
    validation = (
        "self.hold != 'Intermittent' || self.?names.orValue([]).size() > 0 || self.?discover.orValue(false)",
        "hold: Intermittent needs names, or discover: true"
    ),
    validation = (
        "!self.?discover.orValue(false) || (has(self.keyPrefix) ? self.keyPrefix.size() >= 4 && self.keyPrefix.matches('[^A-Za-z0-9]') : self.dialect in ['Rigatoni', 'Bull', 'BullMQ', 'ShedLock', 'RedBeat', 'Laravel'])",
        "discover needs a keyPrefix of at least 4 characters with a separator in it, such as jobs: (this dialect has no prefix of its own, or the one given is too wide)"
    ),
    validation = (
        "self.dialect == 'Custom' || !(has(self.holder) && (has(self.holder.source) || has(self.holder.pattern) || has(self.holder.matches) || has(self.holder.registry)))",
        "of holder only container goes with this dialect, which knows where the holder is: leave out source, pattern, matches and registry, or use dialect: Custom"
    ),
    validation = (
        "self.dialect != 'Custom' || (has(self.holder) && (has(self.holder.pattern) || has(self.holder.registry)))",
        "dialect: Custom needs holder.pattern, with a group (?<owner>…) for what names the pod, or holder.registry"
    ),
    validation = (
        "(!has(self.ttl) || duration(self.ttl) > duration('0s')) && (!has(self.renewInterval) || duration(self.renewInterval) > duration('0s')) && (!has(self.retryInterval) || duration(self.retryInterval) > duration('0s')) && (!has(self.maxHold) || duration(self.maxHold) > duration('0s')) && (!has(self.every) || duration(self.every) > duration('0s'))",
        "ttl, renewInterval, retryInterval, maxHold and every must be longer than 0s"
    ),
    validation = (
        "self.dialect == 'Rigatoni' || !has(self.renewInterval) || !has(self.ttl) || duration(self.renewInterval) < duration(self.ttl)",
        "renewInterval must be shorter than ttl: the lock would expire before it is renewed"
    ),
    validation = (
        "self.dialect != 'Rigatoni' || duration(self.?renewInterval.orValue('10s')) + duration(self.?renewInterval.orValue('10s')) < duration(self.?ttl.orValue('30s'))",
        "with dialect: Rigatoni renewInterval (10s unless given) must be shorter than half of ttl (30s unless given), as the library itself demands"
    ),
    validation = (
        "!has(self.every) || self.hold == 'Intermittent'",
        "every goes with hold: Intermittent; a Continuous lock is to be held at all times"
    ),
    validation = (
        "!has(self.unheldGrace) || self.hold == 'Continuous'",
        "unheldGrace goes with hold: Continuous; that an Intermittent lock is taken in time is checked with every"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LockSet {
    /// Name of the set, a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// `Continuous`: somebody must hold each lock at all times (a leader, a collection); needs `names`. `Intermittent`: a
    /// lock is taken while there is work (cron, jobs); needs `names` or `discover`.
    pub hold: Hold,
    /// The declared locks, as the application names them, without `keyPrefix` and `keySuffix`. With Bull and BullMQ a name
    /// is a queue, whose job locks are found through the queue's own index. Default: none, which only `Intermittent` sets
    /// with `discover` may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub names: Vec<String>,
    /// What stands before a name in Redis, such as `rigatoni:lock:`. Default: what the library puts there; with `Custom`
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub key_prefix: Option<String>,
    /// What stands behind a name in Redis. Default: what the library puts there, mostly nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub key_suffix: Option<String>,
    /// Also watch locks under the prefix that are not declared; they count as Intermittent. Needs a prefix of at least 4
    /// characters with a separator in it. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover: Option<bool>,
    /// The lock library: how a key, a value and its expiry in Redis are to be read. `Custom`: as `holder` says.
    pub dialect: Dialect,
    /// Where the holder of a lock is written and which pod it names (`Custom` only), and which container holds the locks.
    /// Default: as the dialect says, and the first container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderRule>,
    /// How long a lock lives without renewal, as the library is set. What was assumed is said in status. Default: the
    /// library's own; else the longest expiry that is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// How often the holder renews a lock, as the library is set; shorter than `ttl`. Default: the library's own; else the
    /// locks are taken as not renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_interval: Option<Duration>,
    /// How often the others try to take a lock, as the library is set. Default: the library's own, else `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_interval: Option<Duration>,
    /// How long a Continuous lock may be unheld before that is said. That a lock was lost is said at once. Default: three
    /// times `retryInterval`, at least `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unheld_grace: Option<Duration>,
    /// Longest acceptable hold of one lock by one holder; what lasts longer is a finding (`Overheld`). Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hold: Option<Duration>,
    /// Intermittent: each lock is taken once in this time (an hourly job: `1h`). Not taken for `every` + `ttl` it is
    /// overdue; taken twice within half of it, the work was done twice. Default: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How evenly the pods should hold the locks. Default: judged in Continuous sets, by the defaults of its fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// `Report`: a holder that is no pod of this workload is a finding. `Expected`: others share these locks (the other
    /// half of a blue/green pair, processes outside the cluster). Default: `Report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_holders: Option<ForeignHolders>,
    /// `Advisory`: the locks have their own conditions. `Required`: while a Continuous lock of this set is unheld or
    /// unobserved, Ready is False too. Default: `Advisory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
}

/// Whether somebody must hold a lock at all times.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(transform = schema::described_by_field)]
pub enum Hold {
    /// Somebody must hold it at all times.
    Continuous,
    /// Taken while there is work.
    Intermittent,
}

/// The lock libraries that Lockstep knows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names of the libraries")]
#[schemars(transform = schema::described_by_field)]
pub enum Dialect {
    Rigatoni,
    Redlock,
    Bull,
    BullMQ,
    Redisson,
    ShedLock,
    SpringIntegration,
    DistributedLockNet,
    RedisPy,
    RedBeat,
    Laravel,
    Custom,
}

/// Where the holder of a lock is written and which pod it names.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = (
    "!has(self.registry) || !has(self.source) || !(self.source.type in ['SiblingKey', 'SiblingField'])",
    "registry goes with a holder that stands in the lock itself, not with type: SiblingKey or SiblingField"
))]
#[serde(rename_all = "camelCase")]
pub struct HolderRule {
    /// Custom: where in Redis the holder is written. Default: the lock's own string value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<HolderSource>,
    /// Custom: a regular expression (syntax of Rust's regex crate, so linear in time) that fits the whole of what is
    /// written there, with named groups: `owner` names the pod, `holder` tells processes apart, `since` is when the lock
    /// was taken; a holder that writes another time there is still the same. For example `(?<owner>.+):[0-9a-f]+`. It
    /// works on bytes: `.` is any byte, classes such as `\d` are ASCII. A value that doesn't fit is reported as Malformed.
    /// A host name counts up to its first dot, and case doesn't matter. Default: none; without it `registry` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub pattern: Option<String>,
    /// Custom: what of a pod `owner` is. Default: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<OwnerMatch>,
    /// Custom: a key, written by the application, that says which pod a holder is. Default: none; `owner` of `pattern` says
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
    /// Name of the container that holds the locks: its restarts orphan them. Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
}

/// Where a holder is written.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = (
        "has(self.pointer) == (self.type == 'JsonPointer')",
        "pointer goes with type: JsonPointer, which needs it"
    ),
    validation = (
        "!has(self.pointer) || self.pointer.matches('^(/([^~/]|~[01])*)*$')",
        "pointer must be a JSON pointer such as /owner/pod"
    ),
    validation = (
        "has(self.key) == (self.type in ['SiblingKey', 'SiblingField'])",
        "key goes with type: SiblingKey or SiblingField, which need it"
    ),
    validation = (
        "has(self.field) == (self.type == 'SiblingField')",
        "field goes with type: SiblingField, which needs it"
    ),
    validation = (
        "!has(self.scoreUnit) || self.type == 'SortedSetMember'",
        "scoreUnit goes with type: SortedSetMember"
    ),
    validation = (
        "self.?ignore.orValue([]).size() == 0 || self.type in ['HashField', 'SortedSetMember', 'SetMember']",
        "ignore goes with type: HashField, SortedSetMember or SetMember"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct HolderSource {
    /// `StringValue`: the lock's value. `HashField`: the name of a field of the lock's hash. `JsonPointer`: a string in the
    /// JSON that is the lock's value. `SortedSetMember`: a member, whose score is the expiry. `SetMember`: a member.
    /// `SiblingKey`: the value of another key. `SiblingField`: the value of a field of another key's hash.
    #[serde(rename = "type")]
    pub type_: HolderSourceType,
    /// Fields or members that are no holders (`HashField`, `SortedSetMember`, `SetMember`). Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ignore: Vec<String>,
    /// JSON pointer, such as `/owner`. Default: none; `type: JsonPointer` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub pointer: Option<String>,
    /// The other key, whole: neither `keyPrefix` nor `keySuffix` is put around it. `{name}` in it stands for the lock's
    /// name. Default: none; `type: SiblingKey` and `SiblingField` need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub key: Option<String>,
    /// Field of the other key. Default: none; `type: SiblingField` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub field: Option<String>,
    /// Unit of the scores, which are times since 1970 (`SortedSetMember`). Default: `Seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_unit: Option<ScoreUnit>,
}

/// Kind of place where a holder is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "Redis' own terms")]
#[schemars(transform = schema::described_by_field)]
pub enum HolderSourceType {
    #[default]
    StringValue,
    HashField,
    JsonPointer,
    SortedSetMember,
    SetMember,
    SiblingKey,
    SiblingField,
}

/// Unit of a sorted set's scores.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "units")]
#[schemars(transform = schema::described_by_field)]
pub enum ScoreUnit {
    Seconds,
    Milliseconds,
}

/// What of a pod an owner is.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = (
    "has(self.key) == (self.type in ['Label', 'Annotation'])",
    "key goes with type: Label or Annotation, which need it"
))]
#[serde(rename_all = "camelCase")]
pub struct OwnerMatch {
    /// `PodName`, `PodUID`, `PodIP`, or the value of a `Label` or an `Annotation`.
    #[serde(rename = "type")]
    pub type_: OwnerMatchType,
    /// Key of the label or annotation. Default: none; `type: Label` and `Annotation` need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub key: Option<String>,
}

/// What of a pod an owner is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "Kubernetes' own terms")]
#[schemars(transform = schema::described_by_field)]
pub enum OwnerMatchType {
    #[default]
    PodName,
    PodUID,
    PodIP,
    Label,
    Annotation,
}

/// A key that says which pod a holder is.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = (
    "self.key.contains('{holder}') || (has(self.field) && self.field.contains('{holder}'))",
    "key or field must contain {holder}: without it every holder would be the same pod"
))]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    /// The key, whole. `{holder}` in it stands for what tells processes apart: what group `holder` of `pattern` takes,
    /// without that group or a pattern all that the lock says of its holder.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// Field of a hash; `{holder}` stands for the same. Default: the key is a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub field: Option<String>,
}

/// How evenly the pods should hold the locks of a set. A pod holds more than its share above
/// max(ideal + `slack`, `ratio` × mean), where ideal is the mean rounded up; or above `maxPerInstance`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = (
    "!has(self.__for__) || duration(self.__for__) <= duration('10m')",
    "balance.for must be at most 10m: a concentration that lasts so long is one"
))]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Whether balance is judged. Default: true in Continuous sets, false in others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Locks above the ideal that are still fine. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub slack: Option<i32>,
    /// Multiple of the mean that is still fine. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub ratio: Option<f64>,
    /// Most locks that one pod may hold; replaces `slack` and `ratio`. Default: what these say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_per_instance: Option<i32>,
    /// How long a concentration must last before it is said, and be over before that is taken back. Default: twice `ttl`, at
    /// least `2m`, at most `10m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_: Option<Duration>,
    /// How long a pod must be Ready before it counts. Default: `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
}

/// Whether others share these locks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(transform = schema::described_by_field)]
pub enum ForeignHolders {
    /// A foreign holder is a finding.
    #[default]
    Report,
    /// Others share these locks.
    Expected,
}

/// Whether unheld or unobserved locks make Ready False.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(transform = schema::described_by_field)]
pub enum Readiness {
    /// They don't.
    #[default]
    Advisory,
    /// They do.
    Required,
}
