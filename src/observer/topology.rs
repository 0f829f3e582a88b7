//! From the host in a resource to the address that is connected to: names as a pod of that namespace would resolve
//! them, and the rules for addresses and ports. I/O (DNS).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use ipnet::IpNet;

use super::{Host, Settings};
use crate::domain::locks::Trouble;

/// `ndots` of a pod with the default DNS policy: a name with fewer dots is first looked up in the search list.
const NDOTS: usize = 5;

/// Of one server, for one attempt; two attempts.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);

/// Which addresses a resource may name. A port or an address that is refused is [`Trouble::EndpointForbidden`].
#[derive(Clone, Debug, Default)]
pub struct EndpointRules {
    /// Loopback and unspecified addresses are allowed. Sensible outside a cluster only.
    pub allow_loopback: bool,
    /// Link-local addresses are allowed; cloud metadata services are there.
    pub allow_link_local: bool,
    /// Ports below 1024, 2379–2380 (etcd) and 10248–10259 (kubelet and control plane) are allowed.
    pub allow_reserved_ports: bool,
    /// Addresses that are refused whatever else is allowed: the operator's own, the apiserver's.
    pub refused: Vec<IpAddr>,
    /// Where Redis may be; empty: anywhere. Loopback and link-local addresses in here are allowed.
    pub allow: Vec<IpNet>,
    /// Where no Redis is, whatever else is allowed.
    pub deny: Vec<IpNet>,
}

impl EndpointRules {
    /// Whether this port may be connected to at all.
    #[must_use]
    pub fn port_allowed(&self, port: u16) -> bool {
        self.allow_reserved_ports || !matches!(port, 0..1024 | 2379..=2380 | 10248..=10259)
    }

    /// Whether this address may be connected to.
    #[must_use]
    pub fn address_allowed(&self, address: IpAddr) -> bool {
        // ::ffff:127.0.0.1 reaches what 127.0.0.1 reaches.
        let address = address.to_canonical();
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        // Connecting to the unspecified address reaches the own host.
        let loopback = address.is_loopback() || address.is_unspecified();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        let listed = within(&self.allow);
        (listed || self.allow.is_empty())
            && (listed || self.allow_loopback || !loopback)
            && (listed || self.allow_link_local || !link_local)
            && !address.is_multicast()
            && !within(&self.deny)
            && !self
                .refused
                .iter()
                .any(|refused| refused.to_canonical() == address)
    }
}

/// Resolves hosts; shared by all endpoints. Keeps no cache: a name is asked for when a connection is made.
pub(super) struct Topology {
    /// `None` when the system's DNS configuration can't be read and no server was given.
    resolver: Option<TokioResolver>,
    cluster_domain: String,
    rules: EndpointRules,
}

impl Topology {
    pub(super) fn new(settings: &Settings) -> Self {
        let resolver = resolver(settings);
        if resolver.is_none() {
            tracing::error!("no DNS configuration: Redis hosts that are names can't be resolved");
        }
        Self {
            resolver,
            cluster_domain: settings.cluster_domain.clone(),
            rules: settings.rules.clone(),
        }
    }

    /// The allowed addresses of a host that a resource of this namespace names, at least one.
    ///
    /// # Errors
    /// [`Trouble::EndpointForbidden`] if the port or every address is refused, [`Trouble::DnsFailure`] if the name has
    /// no address or the server doesn't answer.
    pub(super) async fn resolve(&self, host: &Host, namespace: &str) -> Result<Vec<SocketAddr>, Trouble> {
        if !self.rules.port_allowed(host.port) {
            return Err(Trouble::EndpointForbidden);
        }
        let mut addresses = match literal(&host.name) {
            Some(address) => vec![address],
            None => self.look_up(&host.name, namespace).await?,
        };
        addresses.retain(|address| self.rules.address_allowed(*address));
        if addresses.is_empty() {
            return Err(Trouble::EndpointForbidden);
        }
        Ok(addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, host.port))
            .collect())
    }

    async fn look_up(&self, host: &str, namespace: &str) -> Result<Vec<IpAddr>, Trouble> {
        let resolver = self.resolver.as_ref().ok_or(Trouble::DnsFailure)?;
        for name in candidates(host, namespace, &self.cluster_domain) {
            match resolver.lookup_ip(name).await {
                Ok(found) => {
                    let addresses: Vec<_> = found.iter().collect();
                    if !addresses.is_empty() {
                        return Ok(addresses);
                    }
                }
                Err(error) if error.is_no_records_found() => {}
                // Going on would find another host of that name: better none than the wrong one.
                Err(_) => return Err(Trouble::DnsFailure),
            }
        }
        Err(Trouble::DnsFailure)
    }
}

/// The part of a host that tells endpoints apart: the namespace, for names that each namespace resolves on its own.
pub(super) fn scope<'a>(host: &str, namespace: &'a str, cluster_domain: &str) -> Option<&'a str> {
    (literal(host).is_none() && !is_absolute(host, cluster_domain)).then_some(namespace)
}

/// The names to look up, in order, all of them fully qualified: what the resolver of a pod in `namespace` would do.
fn candidates(host: &str, namespace: &str, cluster_domain: &str) -> Vec<String> {
    let as_is = format!("{}.", host.trim_end_matches('.'));
    if is_absolute(host, cluster_domain) {
        return vec![as_is];
    }
    let mut names: Vec<String> = [
        format!("{namespace}.svc.{cluster_domain}"),
        format!("svc.{cluster_domain}"),
        cluster_domain.to_owned(),
    ]
    .into_iter()
    .map(|suffix| format!("{host}.{suffix}."))
    .collect();
    let position = if host.matches('.').count() >= NDOTS {
        0
    } else {
        names.len()
    };
    names.insert(position, as_is);
    names
}

fn is_absolute(host: &str, cluster_domain: &str) -> bool {
    host.ends_with('.')
        || host
            .strip_suffix(cluster_domain)
            .is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
        .parse()
        .ok()
}

fn resolver(settings: &Settings) -> Option<TokioResolver> {
    let servers = match settings.dns_server {
        Some(server) => vec![name_server(server)],
        // Its servers only: the operator's own search list must play no part.
        None => hickory_resolver::system_conf::read_system_conf()
            .ok()?
            .0
            .name_servers()
            .to_vec(),
    };
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options(settings.in_cluster);
    builder.build().ok()
}

fn options(in_cluster: bool) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = DNS_TIMEOUT;
    options.cache_size = 0;
    // On a developer's machine the hosts file counts; in a pod it names the operator's own pod.
    options.use_hosts_file = if in_cluster {
        ResolveHosts::Never
    } else {
        ResolveHosts::Always
    };
    options
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .into_iter()
        .map(|mut connection| {
            connection.port = server.port();
            connection
        })
        .collect();
    // Its "no such name" is final: there is no other server to ask.
    NameServerConfig::new(server.ip(), true, connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "cluster.local";

    #[test]
    fn names_expand_as_in_a_pod_of_the_namespace() {
        let cases: [(&str, &[&str]); 5] = [
            (
                "redis",
                &[
                    "redis.shop.svc.cluster.local.",
                    "redis.svc.cluster.local.",
                    "redis.cluster.local.",
                    "redis.",
                ],
            ),
            (
                "redis.other",
                &[
                    "redis.other.shop.svc.cluster.local.",
                    "redis.other.svc.cluster.local.",
                    "redis.other.cluster.local.",
                    "redis.other.",
                ],
            ),
            ("redis.example.com.", &["redis.example.com."]),
            (
                "redis.other.svc.cluster.local",
                &["redis.other.svc.cluster.local."],
            ),
            (
                "a.b.c.d.e.f",
                &[
                    "a.b.c.d.e.f.",
                    "a.b.c.d.e.f.shop.svc.cluster.local.",
                    "a.b.c.d.e.f.svc.cluster.local.",
                    "a.b.c.d.e.f.cluster.local.",
                ],
            ),
        ];
        for (host, expected) in cases {
            assert_eq!(candidates(host, "shop", DOMAIN), expected, "{host}");
        }
    }

    #[test]
    fn only_relative_names_belong_to_a_namespace() {
        for (host, relative) in [
            ("redis", true),
            ("redis.example.com", true),
            ("notcluster.local", true),
            ("redis.example.com.", false),
            ("redis.shop.svc.cluster.local", false),
            ("10.1.2.3", false),
            ("[fd00::1]", false),
        ] {
            assert_eq!(scope(host, "shop", DOMAIN).is_some(), relative, "{host}");
        }
    }

    #[test]
    fn rules_refuse_what_is_not_a_store() {
        let strict = EndpointRules {
            refused: vec!["10.9.9.9".parse().unwrap()],
            ..EndpointRules::default()
        };
        let lax = EndpointRules {
            allow_loopback: true,
            allow_link_local: true,
            ..EndpointRules::default()
        };
        for (address, by_strict, by_lax) in [
            ("10.1.2.3", true, true),
            ("10.9.9.9", false, true),
            ("::ffff:10.9.9.9", false, true),
            ("127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("::1", false, true),
            ("0.0.0.0", false, true),
            ("169.254.169.254", false, true),
            ("fe80::1", false, true),
            ("224.0.0.1", false, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(strict.address_allowed(address), by_strict, "{address}");
            assert_eq!(lax.address_allowed(address), by_lax, "{address}");
        }
        let listed = EndpointRules {
            allow: vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.2/32".parse().unwrap()],
            deny: vec!["10.5.0.0/16".parse().unwrap()],
            ..strict.clone()
        };
        for (address, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.5.0.1", false),
            ("10.9.9.9", false),
            ("127.0.0.2", true),
            ("127.0.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
        ] {
            assert_eq!(
                listed.address_allowed(address.parse().unwrap()),
                allowed,
                "{address}"
            );
        }
        for (port, allowed) in [
            (0, false),
            (80, false),
            (1023, false),
            (1024, true),
            (2379, false),
            (6379, true),
            (10250, false),
        ] {
            assert_eq!(strict.port_allowed(port), allowed, "{port}");
        }
    }
}
