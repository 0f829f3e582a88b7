//! Advice on the containers: probes and requests. What isn't of the expected shape is for the apiserver to refuse.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Advice, containers_have, listed};
use crate::{
    api::CoordinatedWorkloadSpec,
    domain::{
        template::{lasting_containers, main_containers, name},
        workload::{Scaling, Workload},
    },
};

/// The containers that hold the locks, each once; without locks none.
pub(super) fn lock_containers(spec: &CoordinatedWorkloadSpec) -> Vec<&Value> {
    let template = &spec.template;
    let named = spec
        .locks
        .iter()
        .map(|set| set.holder.as_ref()?.container.as_ref());
    let named: Vec<_> = named.collect();
    lasting_containers(template)
        .enumerate()
        .filter(|(at, container)| {
            named.iter().any(|named| match named {
                Some(named) => name(container) == *named,
                None => *at == 0 && !main_containers(template).is_empty(),
            })
        })
        .map(|(_, container)| container)
        .collect()
}

/// Containers whose readiness says something: those that hold locks or listen. Where none does, the first stands for
/// the pod.
pub(super) fn no_readiness_probe(spec: &CoordinatedWorkloadSpec) -> Option<Advice> {
    let main = main_containers(&spec.template);
    let listens = |container: &Value| {
        let ports = container.get("ports").and_then(Value::as_array);
        ports.is_some_and(|ports| !ports.is_empty())
    };
    let mut asked = lock_containers(spec);
    asked.extend(main.iter().filter(|container| listens(container)));
    if asked.is_empty() {
        asked.extend(main.first());
    }
    let mut names: Vec<&str> = Vec::new();
    for container in asked {
        if get(container, "readinessProbe").is_none() && !names.contains(&name(container)) {
            names.push(name(container));
        }
    }
    (!names.is_empty()).then(|| {
        Advice::new(
            format!(
                "{} no readinessProbe, so that a pod counts as Ready as soon as its processes run: a rollout goes on, and \
                 locks are expected of the pod, before the application works.",
                containers_have(&names)
            ),
            "Set one in spec.template.",
        )
    })
}

/// A check that fails because of something outside, such as Redis, should take a pod out of service, not restart it.
/// That a port accepts connections says nothing of the outside: the same `tcpSocket` twice is harmless.
pub(super) fn liveness_equals_readiness(spec: &CoordinatedWorkloadSpec) -> Option<Advice> {
    let equal = lasting_containers(&spec.template).filter_map(|container| {
        let readiness = handler(container, "readinessProbe")?;
        let liveness = handler(container, "livenessProbe")?;
        (readiness == liveness).then(|| format!("{} ({})", name(container), readiness.told))
    });
    let equal: Vec<_> = equal.collect();
    (!equal.is_empty()).then(|| {
        Advice::new(
            format!(
                "livenessProbe asks the same as readinessProbe in container {}: when that fails because of something \
                 outside, such as Redis, all pods are restarted and drop locks that are still good, instead of only \
                 being taken out of service.",
                listed(&equal)
            ),
            "Let livenessProbe check the process alone.",
        )
    })
}

#[derive(PartialEq)]
struct Handler {
    /// What is done, its defaults applied.
    does: Value,
    /// The same for people.
    told: String,
}

fn handler(container: &Value, probe: &str) -> Option<Handler> {
    let probe = get(container, probe)?;
    if let Some(http) = get(probe, "httpGet") {
        let or = |field: &str, default: &str| get(http, field).cloned().unwrap_or_else(|| json!(default));
        let (path, port) = (or("path", "/"), port(container, get(http, "port")?));
        let told = format!("GET {} on port {}", plain(&path), plain(&port));
        let does = json!([
            "httpGet",
            or("host", ""),
            or("scheme", "HTTP"),
            path,
            port,
            get(http, "httpHeaders")
        ]);
        return Some(Handler { does, told });
    }
    if let Some(exec) = get(probe, "exec") {
        return Some(Handler {
            does: json!(["exec", exec]),
            told: "the same command".to_owned(),
        });
    }
    let grpc = get(probe, "grpc")?;
    let port = port(container, get(grpc, "port")?);
    let service = get(grpc, "service").cloned().unwrap_or_else(|| json!(""));
    let told = format!("gRPC on port {}", plain(&port));
    Some(Handler {
        does: json!(["grpc", port, service]),
        told,
    })
}

/// The number of a port that is named, if the container says it.
fn port(container: &Value, port: &Value) -> Value {
    let ports = container.get("ports").and_then(Value::as_array);
    let declared = ports
        .into_iter()
        .flatten()
        .find(|declared| port.is_string() && declared.get("name") == Some(port));
    let number = declared.and_then(|declared| get(declared, "containerPort"));
    number.unwrap_or(port).clone()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A field that is there and not null.
pub(super) fn get<'v>(value: &'v Value, field: &str) -> Option<&'v Value> {
    value.get(field).filter(|value| !value.is_null())
}

/// As the HorizontalPodAutoscaler's controller computes utilization: every container that lasts must have a request, a
/// limit stands for it, and a request of the whole pod for all of them.
pub(super) fn no_resource_requests(workload: &Workload) -> Option<Advice> {
    let Scaling::Managed {
        min, max, metrics, ..
    } = &workload.scaling
    else {
        return None;
    };
    if min == max {
        // No autoscaler is made.
        return None;
    }
    // Without any metric the API's own default applies: CPU utilization.
    let by_default = [("cpu", None)];
    let targets: Vec<(&str, Option<&str>)> = if metrics.is_empty() {
        by_default.to_vec()
    } else {
        metrics.iter().filter_map(utilization_target).collect()
    };
    let of_the_pod = workload.template.get("spec");
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (resource, only) in targets {
        if only.is_none() && of_the_pod.is_some_and(|pod| requests(pod, resource)) {
            continue;
        }
        for container in lasting_containers(&workload.template) {
            let name = name(container);
            let names = missing.entry(resource).or_default();
            if only.is_none_or(|only| only == name)
                && !requests(container, resource)
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
    }
    missing.retain(|_, names| !names.is_empty());
    let parts: Vec<_> = missing
        .iter()
        .map(|(resource, names)| {
            format!(
                "{} a {resource} utilization target to meet but no resources.requests.{resource}",
                containers_have(names)
            )
        })
        .collect();
    (!parts.is_empty()).then(|| {
        Advice::new(
            format!(
                "{}, so that the HorizontalPodAutoscaler can't compute it (unless a LimitRange of the namespace sets a \
                 default).",
                listed(&parts)
            ),
            "Set the requests in spec.template.",
        )
    })
}

/// The resource of a metric with a utilization target, and the one container that it is about, if it is about one.
fn utilization_target(metric: &Map<String, Value>) -> Option<(&str, Option<&str>)> {
    let (source, container) = match metric.get("type").and_then(Value::as_str)? {
        "Resource" => (metric.get("resource")?, None),
        "ContainerResource" => {
            let source = metric.get("containerResource")?;
            (source, Some(source.get("container").and_then(Value::as_str)?))
        }
        _ => return None,
    };
    get(source.get("target")?, "averageUtilization")?;
    Some((source.get("name").and_then(Value::as_str)?, container))
}

fn requests(holder: &Value, resource: &str) -> bool {
    let resources = get(holder, "resources");
    let has = |field| {
        resources
            .and_then(|resources| get(resources, field))
            .and_then(|list| get(list, resource))
    };
    has("requests").or_else(|| has("limits")).is_some()
}
