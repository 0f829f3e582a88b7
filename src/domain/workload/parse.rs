//! Everything of a resource but its lock sets. All problems are found at once, in the order of the spec.
//!
//! The rules of the definition (CEL) refuse most of them earlier. What [`Workload`] relies on is checked here again: a
//! resource may have been stored under an older definition.

use std::net::Ipv6Addr;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use super::{
    Budget, BudgetBound, Policy, Problem, Scaling, Service, Store, StoreAddress, StoreCa, StoreHost,
    StoreSentinel, StoreTls, Workload, locks::lock_sets,
};
use crate::api::{
    CoordinatedWorkload, CoordinatedWorkloadSpec, WORKLOAD_LABEL,
    spec::{
        self, Autoscaling, AutoscalingMode, DisruptionBudget, NetworkPolicy, PodDefaults, Redis, Verbatim,
    },
};

/// Port of a URL without one.
const DEFAULT_PORT: u16 = 6379;
/// Redis' usual ports, plain and TLS, for servers that only a Secret or a Sentinel names.
const USUAL_PORTS: [u16; 2] = [6379, 6380];

/// The problems found so far.
#[derive(Default)]
pub(super) struct Problems {
    invalid: Vec<Problem>,
}

impl Problems {
    /// The spec is wrong here.
    pub(super) fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.invalid.push(Problem {
            field: field.into(),
            message: message.into(),
        });
    }
}

/// The workload that a resource describes, with every default applied; or all that is wrong with it.
pub fn parse(resource: &CoordinatedWorkload) -> Result<Workload, Vec<Problem>> {
    // Every field by name: a new one can't be forgotten here.
    let CoordinatedWorkloadSpec {
        replicas,
        template,
        strategy,
        min_ready_seconds,
        progress_deadline_seconds,
        revision_history_limit,
        autoscaling,
        disruption_budget,
        network_policy,
        service,
        pod_defaults,
        redis,
        locks,
        suspend,
        conflict_policy,
    } = &resource.spec;
    let metadata = &resource.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    let mut problems = Problems::default();

    check_own_label(template, &name, &mut problems);
    let scaling = scaling(*replicas, autoscaling.as_ref(), &mut problems);
    let disruption_budget = budget(disruption_budget.as_ref(), &mut problems);
    let store = redis.as_ref().and_then(|redis| store(redis, &mut problems));
    if redis.is_none() && !locks.is_empty() {
        problems.invalid("spec.redis", "needed by spec.locks: it says where they are");
    }
    let sets = lock_sets(locks, template, &mut problems);
    let PodDefaults { env, topology_spread } = pod_defaults.clone().unwrap_or_default();

    if !problems.invalid.is_empty() {
        return Err(problems.invalid);
    }
    Ok(Workload {
        name,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        template: template.clone(),
        deployment: given([
            ("strategy", strategy.clone().map(Value::Object)),
            ("minReadySeconds", min_ready_seconds.map(Value::from)),
            (
                "progressDeadlineSeconds",
                progress_deadline_seconds.map(Value::from),
            ),
            ("revisionHistoryLimit", revision_history_limit.map(Value::from)),
        ]),
        scaling,
        disruption_budget,
        network_policy: policy(network_policy.as_ref()),
        inject_env: env.unwrap_or(true),
        topology_spread: topology_spread.unwrap_or(true),
        service: service.as_ref().map(service_fields),
        store,
        store_ports: redis.as_ref().map(store_ports).unwrap_or_default(),
        locks: sets.into_iter().flatten().collect(),
        suspend: suspend.unwrap_or_default(),
        conflict_policy: conflict_policy.unwrap_or_default(),
    })
}

/// The label by which the children select is Lockstep's: another value in the template would be overwritten unsaid.
fn check_own_label(template: &Verbatim, name: &str, problems: &mut Problems) {
    let label = template
        .get("metadata")
        .and_then(|metadata| metadata.get("labels"))
        .and_then(|labels| labels.get(WORKLOAD_LABEL));
    if label.is_some_and(|value| value != name) {
        problems.invalid(
            format!("spec.template.metadata.labels[{WORKLOAD_LABEL}]"),
            "this label is Lockstep's own, whose value is the name of the resource: leave it out",
        );
    }
}

/// The fields that are there.
fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn scaling(replicas: Option<i32>, autoscaling: Option<&Autoscaling>, problems: &mut Problems) -> Scaling {
    let Some(Autoscaling {
        mode,
        min_replicas,
        max_replicas,
        metrics,
        behavior,
        target_cpu_utilization_percentage: cpu,
        target_memory_utilization_percentage: memory,
    }) = autoscaling
    else {
        return Scaling::Fixed { replicas };
    };
    let has_shorthand = cpu.is_some() || memory.is_some();
    let metrics = metrics.clone().unwrap_or_default();
    match mode.unwrap_or_default() {
        AutoscalingMode::External => {
            let bounds = min_replicas.is_some() || max_replicas.is_some();
            if bounds || !metrics.is_empty() || behavior.is_some() || has_shorthand {
                problems.invalid(
                    "spec.autoscaling",
                    "with mode: External something else decides on the replicas: leave out all other fields",
                );
            }
            Scaling::External { replicas }
        }
        AutoscalingMode::Managed => {
            let min = min_replicas.unwrap_or(1);
            let max = max_replicas.unwrap_or_else(|| {
                problems.invalid("spec.autoscaling.maxReplicas", "needed with mode: Managed");
                min
            });
            if min > max {
                problems.invalid(
                    "spec.autoscaling.minReplicas",
                    "must not be greater than maxReplicas",
                );
            }
            if has_shorthand && !metrics.is_empty() {
                problems.invalid(
                    "spec.autoscaling.metrics",
                    "stands beside a shorthand for metrics: give one of them",
                );
            }
            let metrics = if metrics.is_empty() {
                let shorthands = [("cpu", cpu), ("memory", memory)];
                shorthands
                    .into_iter()
                    .filter_map(|(name, percent)| Some(utilization(name, (*percent)?)))
                    .collect()
            } else {
                metrics
            };
            Scaling::Managed {
                min,
                max,
                metrics,
                behavior: behavior.clone(),
                replicas,
            }
        }
    }
}

/// A `MetricSpec` of autoscaling/v2.
fn utilization(resource: &str, percent: i32) -> Verbatim {
    let target = json!({ "type": "Utilization", "averageUtilization": percent });
    Map::from_iter([
        ("type".to_owned(), json!("Resource")),
        (
            "resource".to_owned(),
            json!({ "name": resource, "target": target }),
        ),
    ])
}

fn budget(budget: Option<&DisruptionBudget>, problems: &mut Problems) -> Option<Budget> {
    let DisruptionBudget {
        enabled,
        min_available,
        max_unavailable,
        unhealthy_pod_eviction_policy,
        // Only the definition's rule needs it.
        allow_blocking: _,
    } = budget.cloned().unwrap_or_default();
    if min_available.is_some() && max_unavailable.is_some() {
        problems.invalid(
            "spec.disruptionBudget",
            "give minAvailable or maxUnavailable, not both",
        );
    }
    let bound = match (min_available, max_unavailable) {
        (Some(min), _) => BudgetBound::MinAvailable(int_or_string(min)),
        (None, Some(max)) => BudgetBound::MaxUnavailable(int_or_string(max)),
        (None, None) => BudgetBound::MaxUnavailable(json!(1)),
    };
    enabled.unwrap_or(true).then(|| Budget {
        bound,
        unhealthy_pod_eviction_policy: unhealthy_pod_eviction_policy
            .unwrap_or_else(|| "AlwaysAllow".to_owned()),
    })
}

fn int_or_string(value: IntOrString) -> Value {
    match value {
        IntOrString::Int(number) => json!(number),
        IntOrString::String(text) => json!(text),
    }
}

fn policy(policy: Option<&NetworkPolicy>) -> Option<Policy> {
    let NetworkPolicy {
        enabled,
        ingress,
        egress,
    } = policy.cloned().unwrap_or_default();
    enabled.unwrap_or(true).then_some(Policy { ingress, egress })
}

fn service_fields(service: &spec::Service) -> Service {
    let spec::Service {
        type_,
        ports,
        session_affinity,
        session_affinity_config,
        external_traffic_policy,
        annotations,
    } = service;
    let ports = ports.iter().cloned().map(Value::Object).collect();
    let spec = given([
        ("type", type_.clone().map(Value::from)),
        ("ports", Some(ports)),
        ("sessionAffinity", session_affinity.clone().map(Value::from)),
        (
            "sessionAffinityConfig",
            session_affinity_config.clone().map(Value::Object),
        ),
        (
            "externalTrafficPolicy",
            external_traffic_policy.clone().map(Value::from),
        ),
    ]);
    Service {
        spec,
        annotations: annotations.clone().unwrap_or_default(),
    }
}

/// Ports of everything that `redis` names; what doesn't parse is a problem of its own.
fn store_ports(redis: &Redis) -> Vec<u16> {
    let of = |endpoints: &[String]| -> Vec<u16> {
        let parsed = endpoints.iter().filter_map(|endpoint| host_and_port(endpoint));
        parsed.map(|(_, port)| port).collect()
    };
    let mut ports = Vec::new();
    if let Some(url) = &redis.url {
        ports.extend(
            url.split_once("://")
                .and_then(|(_, rest)| host_and_port(rest))
                .map(|(_, port)| port),
        );
    }
    if let Some(sentinel) = &redis.sentinel {
        ports.extend(of(&sentinel.endpoints));
    }
    for endpoints in [&redis.cluster, &redis.quorum].into_iter().flatten() {
        ports.extend(of(&endpoints.endpoints));
    }
    if redis.url_from.is_some() || redis.sentinel.is_some() {
        ports.extend(USUAL_PORTS);
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// `None`: a problem was found.
fn store(redis: &Redis, problems: &mut Problems) -> Option<Store> {
    let Redis {
        url,
        url_from,
        sentinel,
        cluster,
        quorum,
        username_from,
        password_from,
        tls,
        database,
    } = redis;
    let given = [
        url.is_some(),
        url_from.is_some(),
        sentinel.is_some(),
        cluster.is_some(),
        quorum.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        problems.invalid(
            "spec.redis",
            "needs exactly one of url, urlFrom, sentinel, cluster and quorum",
        );
    }
    if cluster.is_some() && database.unwrap_or_default() != 0 {
        problems.invalid(
            "spec.redis.database",
            "a Redis Cluster has no database but 0: leave it out",
        );
    }
    let tls_settings = tls_settings("spec.redis.tls", tls.as_ref(), problems);
    let (address, tls) = if let Some(url) = url {
        let (host, secure) = server(url, problems)?;
        if tls.is_some() && !secure {
            problems.invalid(
                "spec.redis.tls",
                "contradicts url, whose redis:// says that the connection is plain: write rediss://, or leave out tls",
            );
        }
        let tls = secure.then(|| tls_settings.unwrap_or_default());
        (StoreAddress::Url(host), tls)
    } else if let Some(source) = url_from {
        (StoreAddress::Secret(source.secret_key_ref.clone()), tls_settings)
    } else if let Some(sentinel) = sentinel {
        (
            StoreAddress::Sentinel(sentinels(sentinel, problems)?),
            tls_settings,
        )
    } else if let Some(cluster) = cluster {
        let hosts = hosts("spec.redis.cluster.endpoints", &cluster.endpoints, problems)?;
        (StoreAddress::Cluster(hosts), tls_settings)
    } else {
        let field = "spec.redis.quorum.endpoints";
        let hosts = hosts(field, &quorum.as_ref()?.endpoints, problems)?;
        if ![3, 5, 7, 9].contains(&hosts.len()) {
            problems.invalid(field, "needs 3, 5, 7 or 9 endpoints");
        }
        (StoreAddress::Quorum(hosts), tls_settings)
    };
    Some(Store {
        address,
        username_from: username_from.as_ref().map(|source| source.secret_key_ref.clone()),
        password_from: password_from.as_ref().map(|source| source.secret_key_ref.clone()),
        tls,
        database: database.unwrap_or_default().into(),
    })
}

fn sentinels(sentinel: &spec::Sentinel, problems: &mut Problems) -> Option<StoreSentinel> {
    let spec::Sentinel {
        master_name,
        endpoints,
        username_from,
        password_from,
        tls,
    } = sentinel;
    let tls = tls_settings("spec.redis.sentinel.tls", tls.as_ref(), problems);
    Some(StoreSentinel {
        master: master_name.clone(),
        endpoints: hosts("spec.redis.sentinel.endpoints", endpoints, problems)?,
        username_from: username_from.as_ref().map(|source| source.secret_key_ref.clone()),
        password_from: password_from.as_ref().map(|source| source.secret_key_ref.clone()),
        tls,
    })
}

/// `None`: a problem was found.
fn hosts(field: &str, endpoints: &[String], problems: &mut Problems) -> Option<Vec<StoreHost>> {
    let mut hosts: Vec<StoreHost> = Vec::new();
    let mut wrong = false;
    let mut invalid = |field: String, message: &str| {
        wrong = true;
        problems.invalid(field, message);
    };
    if endpoints.is_empty() {
        invalid(field.to_owned(), "needs at least one HOST:PORT");
    }
    for (at, endpoint) in endpoints.iter().enumerate() {
        let Some((name, port)) = host_and_port(endpoint) else {
            let message = "must be HOST:PORT; an IPv6 address stands in brackets";
            invalid(format!("{field}[{at}]"), message);
            continue;
        };
        let twice = |known: &StoreHost| known.port == port && known.name.eq_ignore_ascii_case(&name);
        if hosts.iter().any(twice) {
            invalid(
                format!("{field}[{at}]"),
                "stands there twice: one server has one vote",
            );
        }
        hosts.push(StoreHost { name, port });
    }
    (!wrong).then_some(hosts)
}

fn tls_settings(field: &str, tls: Option<&spec::Tls>, problems: &mut Problems) -> Option<StoreTls> {
    let spec::Tls {
        ca_from,
        client_certificate_secret_name,
        server_name,
    } = tls?;
    let ca_from = ca_from.as_ref().and_then(|source| {
        let spec::CaSource {
            secret_key_ref,
            config_map_key_ref,
        } = source;
        match (secret_key_ref, config_map_key_ref) {
            (Some(selector), None) => Some(StoreCa::Secret(selector.clone())),
            (None, Some(selector)) => Some(StoreCa::ConfigMap(selector.clone())),
            (Some(_), Some(_)) | (None, None) => {
                problems.invalid(
                    format!("{field}.caFrom"),
                    "give exactly one of secretKeyRef and configMapKeyRef",
                );
                None
            }
        }
    });
    Some(StoreTls {
        ca_from,
        client_certificate: client_certificate_secret_name.clone(),
        server_name: server_name.clone(),
    })
}

/// The server that a URL names, and whether by TLS; `None`: a problem was found. Nothing of the URL is repeated in a
/// message, since a password may stand in it.
fn server(url: &str, problems: &mut Problems) -> Option<(StoreHost, bool)> {
    let plain = url.strip_prefix("redis://");
    let address = plain.or(url.strip_prefix("rediss://")).and_then(host_and_port);
    if address.is_none() {
        problems.invalid(
            "spec.redis.url",
            "must be redis://HOST:PORT or rediss://HOST:PORT, without user, password, path and query; an IPv6 address \
             stands in brackets",
        );
    }
    let (name, port) = address?;
    Some((StoreHost { name, port }, plain.is_none()))
}

fn host_and_port(authority: &str) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        (host, port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if host.is_empty() || !host.bytes().all(is_host_byte) {
            return None;
        }
        (host, port)
    };
    let port = match port.strip_prefix(':') {
        // `parse` alone would take a sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0)?
        }
        None if port.is_empty() => DEFAULT_PORT,
        Some(_) | None => return None,
    };
    Some((host.to_owned(), port))
}
