//! Advice on the store: whether it is the one that the pods use, and how it is reached.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use super::{
    Advice, Advised, listed,
    network::Declared,
    template::{get, lock_containers},
};
use crate::{
    api::{CoordinatedWorkloadSpec, conditions::AdvisoryCode, spec::Redis},
    domain::{
        locks::{
            Link,
            health::{Health, Persistence},
        },
        template::{main_containers, name},
    },
};

/// Whoever reaches the server may change the locks. A URL in a Secret may hold a password, and a client certificate is
/// a credential too.
pub(super) fn without_password(spec: &CoordinatedWorkloadSpec) -> Option<Advice> {
    let redis = spec.redis.as_ref()?;
    let certificate = redis
        .tls
        .as_ref()
        .and_then(|tls| tls.client_certificate_secret_name.as_ref());
    (redis.url_from.is_none() && redis.password_from.is_none() && certificate.is_none()).then(|| {
        Advice::new(
            "spec.redis names no password: whoever can reach the server can delete or take over every lock.".to_owned(),
            "Set one on the server (requirepass, or an ACL user), and name its Secret in spec.redis.passwordFrom.",
        )
    })
}

/// The scheme of a URL in a Secret is not known here.
pub(super) fn without_tls(spec: &CoordinatedWorkloadSpec) -> Option<Advice> {
    let redis = spec.redis.as_ref()?;
    let secure = redis.url.as_ref().is_some_and(|url| url.starts_with("rediss://"));
    (redis.url_from.is_none() && redis.tls.is_none() && !secure).then(|| {
        Advice::new(
            "spec.redis is reached without TLS: whoever can read the network in between sees passwords, and the values \
             of the locks, with which they can be released."
                .to_owned(),
            "Use rediss:// or spec.redis.tls, unless a service mesh encrypts the connection.",
        )
    })
}

/// By what the server says. Which snapshots are configured it doesn't say: only that there was none for long, or that
/// one failed, is told.
pub(super) fn without_persistence(advised: &Advised<'_>) -> Option<Advice> {
    advised.spec.redis.as_ref()?;
    let how = match health(advised) {
        None => return still(advised, AdvisoryCode::StoreWithoutPersistence),
        Some(health) => match health.persistence? {
            Persistence::Kept => return None,
            Persistence::Unsaved => {
                "its last snapshot is more than two hours old, although data changed since"
            }
            Persistence::Failed => "its last snapshot failed",
        },
    };
    Some(Advice::new(
        format!(
            "the server of spec.redis keeps no append-only file, and {how}: if it restarts, every lock is free at once, \
             while its holders work on."
        ),
        PERSIST,
    ))
}

/// With Sentinels or a cluster it is more than advice: `StoreSafe` says it.
pub(super) fn without_replica(advised: &Advised<'_>) -> Option<Advice> {
    let redis = advised.spec.redis.as_ref()?;
    if redis.url.is_none() && redis.url_from.is_none() {
        return None;
    }
    match health(advised) {
        None => still(advised, AdvisoryCode::StoreWithoutReplica),
        Some(health) => (health.alone == Some(true)).then(|| {
            Advice::new(
                "the server of spec.redis has no replica: while it is away, no lock can be taken or renewed."
                    .to_owned(),
                REPLICATE,
            )
        }),
    }
}

const PERSIST: &str = "Set appendonly yes, or a schedule of snapshots (save), and see the server's log.";
const REPLICATE: &str =
    "Run a replica with Sentinels and name them in spec.redis.sentinel, or accept the pause.";

/// What the servers said of themselves, if there is a connection.
fn health<'a>(advised: &Advised<'a>) -> Option<&'a Health> {
    let seen = advised.store?.seen.as_ref().ok()?;
    let up = matches!(seen.link, Link::Up { .. });
    seen.health.as_deref().filter(|_| up)
}

/// What can't be told at the moment stays as it was said.
fn still(advised: &Advised<'_>, code: AdvisoryCode) -> Option<Advice> {
    let next_step = if code == AdvisoryCode::StoreWithoutReplica {
        REPLICATE
    } else {
        PERSIST
    };
    let said = advised.said(code)?.strip_suffix(next_step)?;
    Some(Advice::new(said.trim_end().to_owned(), next_step))
}

/// The port stands in no field, and it is another one than those that are opened for such a case. Which one is not
/// shown: it may come from a Secret.
pub(super) fn port_guessed(advised: &Advised<'_>) -> Option<Advice> {
    let redis = advised.spec.redis.as_ref()?;
    let egress = advised.workload.network_policy.as_ref()?.egress.as_ref()?;
    let field = if redis.url_from.is_some() {
        "urlFrom"
    } else if redis.sentinel.is_some() {
        "sentinel"
    } else {
        return None;
    };
    let shut = match advised.store.and_then(|store| store.port) {
        Some(port) => {
            let port_is_in = |rule| Declared::tcp(port).is_in(rule);
            !advised.workload.store_ports.contains(&port) && !egress.iter().any(port_is_in)
        }
        // Nobody can say at the moment.
        None => advised.said(AdvisoryCode::RedisPortGuessed).is_some(),
    };
    shut.then(|| {
        Advice::new(
            format!(
                "the server that spec.redis.{field} leads to listens on another port than 6379 and 6380, which are all \
                 that Lockstep opens for it beside spec.networkPolicy.egress: the pods can't reach it where policies are \
                 enforced."
            ),
            "Add its port to spec.networkPolicy.egress.",
        )
    })
}

/// The pods' own settings name another Redis than the one that is watched: then nothing said about the locks is true.
///
/// Only of containers that hold locks, only where *no* host in their environment is the right one (an application may
/// use a second Redis for something else), and only between names or between addresses: a name may have any address.
pub(super) fn host_differs(advised: &Advised<'_>) -> Option<Advice> {
    let redis = advised.spec.redis.as_ref()?;
    let watched = hosts_of(redis)?;
    let namespace = &advised.workload.namespace;
    let mut holders = lock_containers(advised.spec);
    if advised.spec.locks.is_empty() {
        holders.extend(main_containers(&advised.workload.template));
    }
    // Behind localhost there may be a proxy.
    let alone = main_containers(&advised.workload.template).len() == 1;
    let mut differ = Vec::new();
    for container in holders {
        let named: Vec<(&str, String)> = literal_variables(container)
            .flat_map(|(variable, value)| {
                let hosts = redis_hosts(variable, value);
                hosts.into_iter().map(move |host| (variable, host))
            })
            .filter(|(_, host)| alone || !is_loopback(host))
            .collect();
        let is_other = |host: &str| watched.iter().all(|watched| differs(host, watched, namespace));
        if let Some((variable, host)) = named.first()
            && named.iter().all(|(_, host)| is_other(host))
        {
            differ.push(format!(
                "{variable} of container {} names host {host}",
                name(container)
            ));
        }
    }
    (!differ.is_empty()).then(|| {
        let list = listed(&differ);
        if redis.sentinel.is_some() {
            Advice::new(
                format!(
                    "{list}, while spec.redis names Sentinels: after a failover the pods go on with what is then a \
                     replica."
                ),
                "Let the application ask the Sentinels too.",
            )
        } else {
            Advice::new(
                format!(
                    "{list}, while spec.redis names {}: Lockstep may be watching another Redis than the one in which the \
                     pods lock.",
                    listed(&watched)
                ),
                "Name the same host in both.",
            )
        }
    })
}

/// Hosts that the spec names; `None`: it names none.
fn hosts_of(redis: &Redis) -> Option<Vec<String>> {
    let endpoints = match redis {
        Redis { url: Some(url), .. } => return url_host(url).map(|host| vec![host]),
        Redis {
            sentinel: Some(sentinel),
            ..
        } => &sentinel.endpoints,
        Redis {
            cluster: Some(cluster),
            ..
        } => &cluster.endpoints,
        Redis {
            quorum: Some(quorum), ..
        } => &quorum.endpoints,
        _ => return None,
    };
    let hosts: Vec<_> = endpoints.iter().filter_map(|endpoint| host(endpoint)).collect();
    (!hosts.is_empty()).then_some(hosts)
}

/// Variables of a container whose value stands in the template.
fn literal_variables(container: &Value) -> impl Iterator<Item = (&str, &str)> {
    let env = get(container, "env").and_then(Value::as_array);
    env.into_iter()
        .flatten()
        .filter_map(|variable| Some((variable.get("name")?.as_str()?, variable.get("value")?.as_str()?)))
}

/// Hosts in a variable that is about Redis: URLs, or plain hosts in one that is called so. What doesn't look like a host
/// to the last character is passed over, since a password may stand in it.
fn redis_hosts(variable: &str, value: &str) -> Vec<String> {
    let upper = variable.to_ascii_uppercase();
    let called_so = upper
        .split_once("REDIS")
        .is_some_and(|(_, rest)| rest.contains("HOST"));
    // A password may hold a comma: a URL with user info stands alone.
    let parts: Vec<&str> = if value.contains('@') {
        vec![value]
    } else {
        value.split(',').map(str::trim).collect()
    };
    let in_part = |part: &&str| {
        let plain =
            called_so && !["true", "false"].contains(part) && !part.bytes().all(|b| b.is_ascii_digit());
        url_host(part).or_else(|| host(part).filter(|_| plain))
    };
    parts.iter().filter_map(in_part).collect()
}

/// The host of a `redis://` or `rediss://` URL, never anything of its user info.
fn url_host(url: &str) -> Option<String> {
    let rest = url
        .strip_prefix("redis://")
        .or_else(|| url.strip_prefix("rediss://"))?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if tail.contains('@') {
        // Then that was no end of the authority, but a character of a password.
        return None;
    }
    host(authority.rsplit_once('@').map_or(authority, |(_, place)| place))
}

/// The host of `HOST` or `HOST:PORT`.
fn host(place: &str) -> Option<String> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        (host, port)
    } else {
        let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
        let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(of_a_name) {
            return None;
        }
        (host, port)
    };
    let port_fits = match port.strip_prefix(':') {
        Some(digits) => digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    port_fits.then(|| host.to_owned())
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether two hosts can't be the same one for a pod of this namespace.
fn differs(one: &str, other: &str, namespace: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one != other,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => is_loopback(one) != is_loopback(other),
        (Err(_), Err(_)) => {
            let (one, other) = (readings(one, namespace), readings(other, namespace));
            !one.iter().any(|reading| other.contains(reading))
        }
    }
}

/// What a name may stand for: `redis`, `redis.prod`, `redis.prod.svc` and `redis.prod.svc.cluster.local` are one.
fn readings(host: &str, namespace: &str) -> [String; 2] {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = host.split('.').collect();
    let service = labels.iter().skip(2).position(|label| *label == "svc");
    let short = match service {
        Some(at) => labels[..at + 2].join("."),
        None => host.clone(),
    };
    let full = format!("{short}.{namespace}");
    [short, full]
}
