//! From `spec.redis` to targets with their credentials. I/O: reads Secrets and `ConfigMap`s when a connection is made or
//! refused, never on a timer.

use std::time::Duration;

use crate::{
    api::spec::KeySelector,
    cluster::{Cluster, SecretBytes, SecretError},
    domain::{
        locks::{Link, Mono, Observation, Trouble},
        workload::{Store, StoreAddress, StoreCa, StoreHost, StoreSentinel, StoreTls},
    },
    observer::{Host, Secret, Sentinel, Servers, Target, Tls},
    telemetry::Telemetry,
};

/// A Secret that is missing is looked for this often; one that the server doesn't accept is read again at most this
/// seldom.
const MISSING: Duration = Duration::from_secs(10);

/// The first wait between two readings of what a server refuses: a password changes in two places, hardly ever at once.
const REFUSED: Duration = Duration::from_secs(1);

/// What was read for one resource.
#[derive(Default)]
pub(super) struct Credentials {
    read: Option<(Store, Vec<Target>)>,
    /// What servers refuse, until all of them accept it.
    refused: Option<Refused>,
    failed: Option<(Store, Trouble, Mono)>,
}

struct Refused {
    /// How often it was read anew.
    readings: u32,
    /// When it is to be read again.
    next: Mono,
}

impl Credentials {
    /// The targets: one, or each server of a quorum. Read from Secrets if they must be.
    pub(super) async fn targets(
        &mut self,
        reader: Reader<'_>,
        store: &Store,
        now: Mono,
    ) -> Result<Vec<Target>, Trouble> {
        if let Some((read, targets)) = &self.read
            && read == store
        {
            return Ok(targets.clone());
        }
        if let Some((failed, trouble, at)) = &self.failed
            && failed == store
            && now < *at + MISSING
        {
            return Err(*trouble);
        }
        self.refused = None;
        match read(reader, store).await {
            Ok(targets) => {
                self.failed = None;
                self.read = Some((store.clone(), targets.clone()));
                Ok(targets)
            }
            Err(Missing { trouble, .. }) => {
                self.read = None;
                self.failed = Some((store.clone(), trouble, now));
                Err(trouble)
            }
        }
    }

    /// When a missing Secret is to be looked for again, or a refused one to be read again.
    pub(super) fn retry_at(&self) -> Option<Mono> {
        let missing = self.failed.as_ref().map(|(_, _, at)| *at + MISSING);
        missing.or(self.refused.as_ref().map(|refused| refused.next))
    }

    /// A refused connection may mean that the Secret was rotated: it is read again, and what is refused gets what was
    /// read. The other servers of a quorum keep what they accept. Whether something changed by that; an error: what is
    /// needed is gone.
    pub(super) async fn renew(
        &mut self,
        reader: Reader<'_>,
        observations: &[Observation],
        now: Mono,
    ) -> Result<bool, Trouble> {
        let turned_away: Vec<bool> = observations.iter().map(is_refused).collect();
        if observations.iter().all(|one| matches!(one.link, Link::Up { .. })) {
            self.refused = None;
        }
        let readings = match &self.refused {
            _ if !turned_away.contains(&true) => return Ok(false),
            Some(refused) if now < refused.next => return Ok(false),
            Some(refused) => refused.readings,
            None => 0,
        };
        self.refused = Some(Refused {
            readings: readings.saturating_add(1),
            next: now + MISSING.min(REFUSED.saturating_mul(1 << readings.min(8))),
        });
        let Some((store, targets)) = &mut self.read else {
            return Ok(false);
        };
        match read(reader, store).await {
            Ok(renewed) => {
                let mut changed = false;
                for ((target, renewed), turned_away) in targets.iter_mut().zip(renewed).zip(turned_away) {
                    if turned_away && *target != renewed {
                        *target = renewed;
                        changed = true;
                    }
                }
                Ok(changed)
            }
            // Nothing is known of the Secret: what was read of it is as good as before.
            Err(Missing { passing: true, .. }) => Ok(false),
            Err(Missing { trouble, .. }) => {
                self.failed = Some((store.clone(), trouble, now));
                self.read = None;
                Err(trouble)
            }
        }
    }
}

fn is_refused(observation: &Observation) -> bool {
    let trouble = match observation.link {
        Link::Connecting { trouble, .. } => trouble,
        Link::Down { trouble, .. } => Some(trouble),
        Link::Up { .. } => observation.hidden.map(|(trouble, _)| trouble),
    };
    matches!(
        trouble,
        Some(Trouble::AuthenticationFailed | Trouble::PermissionDenied | Trouble::TlsFailure)
    )
}

/// What is named could not be used.
struct Missing {
    trouble: Trouble,
    /// Whether that says nothing about it.
    passing: bool,
}

impl From<Trouble> for Missing {
    fn from(trouble: Trouble) -> Self {
        Self {
            trouble,
            passing: false,
        }
    }
}

async fn read(reader: Reader<'_>, store: &Store) -> Result<Vec<Target>, Missing> {
    let namespace = reader.namespace;
    let mut tls = reader.tls(store.tls.as_ref()).await?;
    let mut database = u16::try_from(store.database).unwrap_or_default();
    let mut username = None;
    let mut password = None;
    let servers = match &store.address {
        StoreAddress::Url(server) => vec![Servers::One(host(server))],
        StoreAddress::Secret(selector) => {
            let url = Url::parse(&reader.secret(selector).await?).ok_or(Trouble::ProtocolError)?;
            if url.tls {
                tls = tls.or_else(|| Some(Tls::default()));
            } else if tls.is_some() {
                tracing::warn!(
                    namespace,
                    secret = selector.name,
                    "spec.redis.tls wants TLS, and the URL in the Secret begins with redis://"
                );
                return Err(Trouble::TlsFailure.into());
            }
            username = url.username;
            password = url.password;
            database = url.database.unwrap_or(database);
            vec![Servers::One(Host {
                name: url.host,
                port: url.port,
            })]
        }
        StoreAddress::Sentinel(sentinel) => vec![Servers::Sentinel(reader.sentinel(sentinel).await?)],
        StoreAddress::Cluster(hosts) => vec![Servers::Cluster(hosts.iter().map(host).collect())],
        StoreAddress::Quorum(hosts) => hosts.iter().map(host).map(Servers::One).collect(),
    };
    if let Some(selector) = &store.username_from {
        username = Some(reader.secret(selector).await?);
    }
    if let Some(selector) = &store.password_from {
        password = Some(reader.secret(selector).await?);
    }
    let target = |servers| Target {
        namespace: namespace.to_owned(),
        servers,
        tls: tls.clone(),
        database,
        username: username.as_deref().map(Secret::new),
        password: password.as_deref().map(Secret::new),
    };
    Ok(servers.into_iter().map(target).collect())
}

fn host(host: &StoreHost) -> Host {
    Host {
        name: host.name.clone(),
        port: host.port,
    }
}

/// Reads what a resource of this namespace names.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    /// Where it is counted that something could not be read.
    pub(super) telemetry: &'a Telemetry,
}

impl Reader<'_> {
    async fn sentinel(&self, sentinel: &StoreSentinel) -> Result<Sentinel, Missing> {
        Ok(Sentinel {
            master: sentinel.master.clone(),
            endpoints: sentinel.endpoints.iter().map(host).collect(),
            username: self.optional(sentinel.username_from.as_ref()).await?,
            password: self.optional(sentinel.password_from.as_ref()).await?,
            tls: self.tls(sentinel.tls.as_ref()).await?,
        })
    }

    async fn optional(&self, selector: Option<&KeySelector>) -> Result<Option<Secret>, Missing> {
        match selector {
            Some(selector) => Ok(Some(Secret::new(&self.secret(selector).await?))),
            None => Ok(None),
        }
    }

    async fn tls(&self, settings: Option<&StoreTls>) -> Result<Option<Tls>, Missing> {
        let Some(settings) = settings else { return Ok(None) };
        let ca = match &settings.ca_from {
            None => None,
            Some(StoreCa::Secret(selector)) => Some(self.secret(selector).await?),
            Some(StoreCa::ConfigMap(selector)) => Some(self.config_map(selector).await?),
        };
        let client = match &settings.client_certificate {
            None => None,
            Some(name) => {
                let part = |key: &str| KeySelector {
                    name: name.clone(),
                    key: key.to_owned(),
                };
                let certificate = self.secret(&part("tls.crt")).await?;
                let key = self.secret(&part("tls.key")).await?;
                Some((Secret::new(&certificate), Secret::new(&key)))
            }
        };
        let tls = Tls {
            ca: ca.as_deref().map(Secret::new),
            client,
            server_name: settings.server_name.clone(),
        };
        if let Some(problem) = tls.problem() {
            let authorities = settings.ca_from.as_ref().map(|ca| match ca {
                StoreCa::Secret(selector) | StoreCa::ConfigMap(selector) => selector.name.as_str(),
            });
            tracing::warn!(
                namespace = self.namespace,
                authorities,
                client_certificate = settings.client_certificate,
                problem,
                "TLS settings can't be used"
            );
            return Err(Trouble::TlsFailure.into());
        }
        Ok(Some(tls))
    }

    async fn secret(&self, selector: &KeySelector) -> Result<String, Missing> {
        let read = self
            .cluster
            .secret_key(self.namespace, &selector.name, &selector.key);
        text(
            &read
                .await
                .map_err(|error| self.missing("Secret", selector, &error))?,
        )
    }

    async fn config_map(&self, selector: &KeySelector) -> Result<String, Missing> {
        let read = self
            .cluster
            .config_map_key(self.namespace, &selector.name, &selector.key);
        text(
            &read
                .await
                .map_err(|error| self.missing("ConfigMap", selector, &error))?,
        )
    }

    fn missing(&self, kind: &str, selector: &KeySelector, error: &SecretError) -> Missing {
        self.telemetry.failed(error.category());
        tracing::warn!(
            namespace = self.namespace,
            kind,
            name = selector.name,
            key = selector.key,
            category = error.category().as_str(),
            error = error.message(),
            "what spec.redis names could not be read"
        );
        Missing {
            trouble: if error.is_forbidden() {
                Trouble::SecretForbidden
            } else {
                Trouble::SecretNotFound
            },
            passing: error.is_passing(),
        }
    }
}

/// What a Secret holds, without the line break that editors leave.
fn text(bytes: &SecretBytes) -> Result<String, Missing> {
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| Trouble::ProtocolError)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A `redis://` or `rediss://` URL, taken apart. User info is percent-decoded.
struct Url {
    tls: bool,
    username: Option<String>,
    password: Option<String>,
    host: String,
    port: u16,
    database: Option<u16>,
}

impl Url {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, place) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user, place)| (Some(user), place));
        let (username, password) =
            match user_info.map(|user_info| user_info.split_once(':').unwrap_or((user_info, ""))) {
                Some((username, password)) => (Some(decode(username)?), Some(decode(password)?)),
                None => (None, None),
            };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':').unwrap_or("6379"))
            }
            None => place.split_once(':').unwrap_or((place, "6379")),
        };
        let database = path.split('?').next().unwrap_or_default();
        Some(Self {
            tls,
            username: username.filter(|name| !name.is_empty()),
            password: password.filter(|password| !password.is_empty()),
            host: (!host.is_empty()).then(|| host.to_owned())?,
            port: port.parse().ok()?,
            database: if database.is_empty() {
                None
            } else {
                Some(database.parse().ok()?)
            },
        })
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The servers and databases of these targets: what stays the same when only credentials change.
pub(super) fn servers(targets: &[Target]) -> Vec<(String, u16)> {
    let one = |target: &Target| (target.servers.to_string(), target.database);
    targets.iter().map(one).collect()
}

/// Where the locks are, for people: without credentials, and without what a Secret holds.
pub(super) fn place(store: &Store, targets: &[Target]) -> String {
    let list = |hosts: &[StoreHost]| {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        hosts.join(", ")
    };
    let address = match &store.address {
        StoreAddress::Url(host) => host.to_string(),
        StoreAddress::Secret(selector) => format!("the URL in Secret {}", selector.name),
        StoreAddress::Sentinel(StoreSentinel {
            master, endpoints, ..
        }) => {
            let sentinels = if endpoints.len() == 1 {
                "Sentinel"
            } else {
                "Sentinels"
            };
            format!(
                "master {master} of {} {sentinels} ({})",
                endpoints.len(),
                list(endpoints)
            )
        }
        StoreAddress::Cluster(hosts) => return format!("the cluster of {}", list(hosts)),
        StoreAddress::Quorum(hosts) => format!("the quorum of {} servers ({})", hosts.len(), list(hosts)),
    };
    let database = targets
        .first()
        .map_or(store.database, |target| i64::from(target.database));
    match address.strip_suffix(')') {
        Some(with_list) => format!("{with_list}; database {database})"),
        None => format!("{address} (database {database})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("redis://app:p%40ss@redis.data:6380/3").expect("a URL");
        assert_eq!(
            (
                url.username.as_deref(),
                url.password.as_deref(),
                url.host.as_str(),
                url.port,
                url.database
            ),
            (Some("app"), Some("p@ss"), "redis.data", 6380, Some(3))
        );
        let url = Url::parse("redis://:secret@[fd00::1]").expect("a URL");
        assert_eq!(
            (
                url.username,
                url.password.as_deref(),
                url.host.as_str(),
                url.port,
                url.database
            ),
            (None, Some("secret"), "fd00::1", 6379, None)
        );
        let tls = |url| Url::parse(url).map(|url| url.tls);
        assert_eq!(tls("rediss://redis:6380"), Some(true));
        assert_eq!(tls("redis://redis:6380"), Some(false));
        for bad in [
            "http://redis",
            "redis://",
            "redis://host:port",
            "redis://host/x",
            "redis://a:%zz@host",
            "host:6379",
        ] {
            assert!(Url::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn places_read_well_and_long_lists_of_servers_stay_readable() {
        let host = |name: &str, port| StoreHost {
            name: name.into(),
            port,
        };
        let store = |address| Store {
            address,
            username_from: None,
            password_from: None,
            tls: None,
            database: 2,
        };
        let hosts = || vec![host("a", 1), host("fd00::1", 2)];
        let sentinel = StoreSentinel {
            master: "main".into(),
            endpoints: hosts(),
            username_from: None,
            password_from: None,
            tls: None,
        };
        for (address, expected) in [
            (
                StoreAddress::Url(host("fd00::1", 6379)),
                "[fd00::1]:6379 (database 2)",
            ),
            (
                StoreAddress::Sentinel(sentinel),
                "master main of 2 Sentinels (a:1, [fd00::1]:2; database 2)",
            ),
            (StoreAddress::Cluster(hosts()), "the cluster of a:1, [fd00::1]:2"),
            (
                StoreAddress::Quorum(hosts()),
                "the quorum of 2 servers (a:1, [fd00::1]:2; database 2)",
            ),
        ] {
            assert_eq!(place(&store(address), &[]), expected);
        }
    }
}
