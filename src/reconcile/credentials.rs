//! From `spec.redis` to a target with its credentials. I/O: reads Secrets when a connection is made or refused, never on
//! a timer.

use std::time::Duration;

use crate::api::spec::KeySelector;
use crate::{
    cluster::{Cluster, SecretBytes},
    domain::{
        locks::{Link, Mono, Trouble},
        workload::{Store, StoreAddress},
    },
    observer::{Host, Secret, Servers, Target},
};

/// A Secret that is missing is looked for this often.
const MISSING: Duration = Duration::from_secs(10);

/// What was read for one resource.
#[derive(Default)]
pub(super) struct Credentials {
    read: Option<(Store, Target)>,
    /// The refusal (when the connection was lost) for which they were read anew.
    reread_for: Option<Mono>,
    stale: bool,
    failed: Option<(Store, Trouble, Mono)>,
}

impl Credentials {
    /// The target, read from Secrets if it must be.
    pub(super) async fn target(
        &mut self,
        cluster: &Cluster,
        namespace: &str,
        store: &Store,
        now: Mono,
    ) -> Result<Target, Trouble> {
        if let Some((read, target)) = &self.read
            && read == store
            && !self.stale
        {
            return Ok(target.clone());
        }
        if let Some((failed, trouble, at)) = &self.failed
            && failed == store
            && now < *at + MISSING
        {
            return Err(*trouble);
        }
        self.stale = false;
        match read(cluster, namespace, store).await {
            Ok(target) => {
                self.failed = None;
                self.read = Some((store.clone(), target.clone()));
                Ok(target)
            }
            Err(trouble) => {
                self.read = None;
                self.failed = Some((store.clone(), trouble, now));
                Err(trouble)
            }
        }
    }

    /// When a missing Secret is to be looked for again.
    pub(super) fn retry_at(&self) -> Option<Mono> {
        self.failed.as_ref().map(|(_, _, at)| *at + MISSING)
    }

    /// A refused connection may mean that the Secret was rotated: it is read once more, once per refusal.
    pub(super) fn judge(&mut self, link: &Link) {
        let refused = match link {
            Link::Connecting {
                since,
                trouble: Some(trouble),
            }
            | Link::Down { since, trouble } => {
                matches!(trouble, Trouble::AuthenticationFailed | Trouble::PermissionDenied).then_some(*since)
            }
            Link::Connecting { trouble: None, .. } | Link::Up { .. } => None,
        };
        if refused.is_some() && refused != self.reread_for {
            self.reread_for = refused;
            self.stale = true;
        }
    }
}

async fn read(cluster: &Cluster, namespace: &str, store: &Store) -> Result<Target, Trouble> {
    let mut username = None;
    let mut password = None;
    let (host, port, database) = match &store.address {
        StoreAddress::Url { host, port } => (host.clone(), *port, None),
        StoreAddress::Secret(selector) => {
            let url = text(&secret(cluster, namespace, selector).await?)?;
            let url = Url::parse(&url).ok_or(Trouble::ProtocolError)?;
            username = url.username;
            password = url.password;
            (url.host, url.port, url.database)
        }
    };
    if let Some(selector) = &store.username_from {
        username = Some(text(&secret(cluster, namespace, selector).await?)?);
    }
    if let Some(selector) = &store.password_from {
        password = Some(text(&secret(cluster, namespace, selector).await?)?);
    }
    Ok(Target {
        namespace: namespace.to_owned(),
        servers: Servers::One(Host { name: host, port }),
        tls: None,
        database: database.unwrap_or_else(|| u16::try_from(store.database).unwrap_or_default()),
        username: username.as_deref().map(Secret::new),
        password: password.as_deref().map(Secret::new),
    })
}

async fn secret(cluster: &Cluster, namespace: &str, selector: &KeySelector) -> Result<SecretBytes, Trouble> {
    cluster
        .secret_key(namespace, &selector.name, &selector.key)
        .await
        .map_err(|error| {
            tracing::warn!(
                namespace,
                secret = selector.name,
                category = error.category(),
                "a Secret could not be read"
            );
            Trouble::SecretNotFound
        })
}

/// What a Secret holds, without the line break that editors leave.
fn text(bytes: &SecretBytes) -> Result<String, Trouble> {
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| Trouble::ProtocolError)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A `redis://` URL, taken apart. User info is percent-decoded.
struct Url {
    username: Option<String>,
    password: Option<String>,
    host: String,
    port: u16,
    database: Option<u16>,
}

impl Url {
    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("redis://")?;
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

/// Where the locks are, for people: without credentials, and without what a Secret holds.
pub(super) fn place(store: &Store, target: Option<&Target>) -> String {
    let address = match &store.address {
        StoreAddress::Url { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        StoreAddress::Url { host, port } => format!("{host}:{port}"),
        StoreAddress::Secret(selector) => format!("the URL in Secret {}", selector.name),
    };
    let database = target.map_or(store.database, |target| i64::from(target.database));
    format!("{address}, database {database}")
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
        for bad in [
            "rediss://redis",
            "redis://",
            "redis://host:port",
            "redis://host/x",
            "redis://a:%zz@host",
            "host:6379",
        ] {
            assert!(Url::parse(bad).is_none(), "{bad}");
        }
    }
}
