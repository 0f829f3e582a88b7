//! `spec.redis`: where the locks are.

#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct, with its visibility, into a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key of a Secret or `ConfigMap` of the resource's own namespace.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySelector {
    /// Name of the object, in the namespace of this resource.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A value that is read from a Secret.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// The Secret, of the namespace of this resource, and the key in it.
    pub secret_key_ref: KeySelector,
}

/// A value that is read from a Secret or a `ConfigMap`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = (
    "has(self.secretKeyRef) != has(self.configMapKeyRef)",
    "give exactly one of secretKeyRef and configMapKeyRef"
))]
#[serde(rename_all = "camelCase")]
pub struct CaSource {
    /// The Secret, of the namespace of this resource, and the key in it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeySelector>,
    /// The `ConfigMap`, of the namespace of this resource, and the key in it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeySelector>,
}

/// Where the locks are: exactly one of `url`, `urlFrom`, `sentinel`, `cluster`, `quorum`. Short host names are resolved as
/// a pod of this namespace would resolve them, so that the URL which the application uses works here unchanged.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = (
        "[has(self.url), has(self.urlFrom), has(self.sentinel), has(self.cluster), has(self.quorum)].exists_one(given, given)",
        "redis needs exactly one of url, urlFrom, sentinel, cluster and quorum"
    ),
    validation = (
        "!has(self.tls) || !has(self.url) || !self.url.startsWith('redis://')",
        "tls contradicts url, whose redis:// says that the connection is plain: write rediss://, or leave out tls"
    ),
    validation = (
        "!has(self.cluster) || self.?database.orValue(0) == 0",
        "a Redis Cluster has no database but 0: leave out database"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// One server: `redis://HOST:PORT`, or `rediss://HOST:PORT` for TLS; port 6379 when left out. Without user,
    /// password, path and query: credentials come from Secrets, the number of the database stands in `database`. Default:
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    #[x_kube(
        validation = (
            "self.startsWith('redis://') || self.startsWith('rediss://')",
            "url must begin with redis:// or, for TLS, with rediss://"
        ),
        validation = (
            "!self.contains('@')",
            "url must not hold a user or a password, since whoever may read this resource would see them: name Secrets in usernameFrom and passwordFrom, or put the whole URL into a Secret and name that in urlFrom"
        ),
        validation = (
            "!self.matches('^[a-z]+://[^/?#]*[/?#]')",
            "url must have no path and no query: the number of the database belongs in database"
        ),
        validation = (
            "self.contains('@') || !self.matches('^rediss?://[^/?#]*$') || self.matches('^rediss?://([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[[][0-9A-Fa-f:.]+[]])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$')",
            "url must be redis://HOST:PORT with a port from 1 to 65535; an IPv6 address stands in brackets"
        )
    )]
    pub url: Option<String>,
    /// The URL of one server from a Secret; user and password may stand in it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretSource>,
    /// A master that Sentinels watch. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// A Redis Cluster. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Endpoints>,
    /// Independent servers of which a majority holds each lock (Redlock): 3, 5, 7 or 9. For Redlock on a single server,
    /// give its `url`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "self.endpoints.size() in [3, 5, 7, 9]",
        "quorum needs 3, 5, 7 or 9 endpoints: a majority of an even number tolerates no more failures than one server less; for a single server give its url"
    ))]
    pub quorum: Option<Endpoints>,
    /// ACL user, from a Secret. Default: the server's default user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_from: Option<SecretSource>,
    /// Password, from a Secret. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretSource>,
    /// TLS settings. Being there turns TLS on where there is no URL that says it; with `redis://` it is refused. Default: no
    /// TLS, unless the URL says `rediss://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Number of the logical database. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub database: Option<i32>,
}

/// A master that Sentinels watch.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sentinel {
    /// Name of the master as the Sentinels know it.
    #[schemars(length(min = 1, max = 253))]
    pub master_name: String,
    /// `HOST:PORT` of each Sentinel.
    #[schemars(length(min = 1, max = 16), inner(length(max = 270)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = (
        "self.all(endpoint, endpoint.matches('^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[[][0-9A-Fa-f:.]+[]]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$'))",
        "each endpoint must be HOST:PORT with a port from 1 to 65535; an IPv6 address stands in brackets"
    ))]
    pub endpoints: Vec<String>,
    /// ACL user of the Sentinels themselves, from a Secret. Default: their default user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_from: Option<SecretSource>,
    /// Password of the Sentinels themselves, from a Secret. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretSource>,
    /// TLS towards the Sentinels; being there turns it on. Default: no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A list of servers.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// `HOST:PORT` of each server.
    #[schemars(length(min = 1, max = 100), inner(length(max = 270)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = (
        "self.all(endpoint, endpoint.matches('^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[[][0-9A-Fa-f:.]+[]]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$'))",
        "each endpoint must be HOST:PORT with a port from 1 to 65535; an IPv6 address stands in brackets"
    ))]
    pub endpoints: Vec<String>,
}

/// TLS settings; the server's certificate is always verified.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificate authorities that are trusted, PEM. Default: those of the operator's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<CaSource>,
    /// Name of a Secret of type kubernetes.io/tls, in the namespace of this resource, with the certificate that the server
    /// asks of its clients. Default: none is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub client_certificate_secret_name: Option<String>,
    /// Name that the server's certificate must carry. Default: the host that is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}
