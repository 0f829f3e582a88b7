//! Advice on the NetworkPolicy.

use serde_json::Value;

use super::{Advice, listed, template::get};
use crate::{
    api::spec::Verbatim,
    domain::{
        children::declared_ports,
        template::{lasting_containers, protocol},
        workload::{Policy, Workload},
    },
};

/// Label that every namespace carries with its own name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Declared ports that no rule given in `ingress` could open to anybody outside the namespace. The kubelet's probes
/// pass every policy.
pub(super) fn ports_unreachable(workload: &Workload) -> Option<Advice> {
    let ingress = workload.network_policy.as_ref()?.ingress.as_ref()?;
    let open: Vec<&Verbatim> = ingress
        .iter()
        .filter(|rule| admits_outside(rule, &workload.namespace))
        .collect();
    let shut: Vec<String> = declared_ports(workload)
        .iter()
        .filter_map(|port| Declared::of(port, workload))
        .filter(|port| !open.iter().any(|rule| port.is_in(rule)))
        .map(|port| format!("{}/{}", port.number, port.protocol))
        .collect();
    (!shut.is_empty()).then(|| {
        let ports = if shut.len() == 1 { "port" } else { "ports" };
        Advice::new(
            format!(
                "spec.networkPolicy.ingress lets nobody outside the namespace reach {ports} {}: an ingress controller, \
                 a load balancer or a Prometheus elsewhere is shut out (probes of the kubelet are not).",
                listed(&shut)
            ),
            "Add a rule for them, or leave it if that is meant.",
        )
    })
}

/// Nobody knows what a template without ports listens on, so the default rules close nothing.
pub(super) fn not_isolated(workload: &Workload) -> Option<Advice> {
    let policy = workload.network_policy.as_ref()?;
    (policy.ingress.is_none() && declared_ports(workload).is_empty()).then(|| {
        Advice::new(
            "spec.template declares no ports, so that the default of spec.networkPolicy closes none: whatever the pods \
             listen on can be reached from everywhere."
                .to_owned(),
            "Declare the containers' ports, or give spec.networkPolicy.ingress (an empty list lets nobody in).",
        )
    })
}

/// Said of every policy that is made: nothing in the API tells whether it is enforced.
pub(super) fn needs_cni(workload: &Workload) -> Option<Advice> {
    let Policy { ingress, egress } = workload.network_policy.as_ref()?;
    (ingress.is_some() || egress.is_some() || !declared_ports(workload).is_empty()).then(|| {
        Advice::new(
            "the NetworkPolicy has an effect only where the cluster's network plugin (CNI) enforces policies, which \
             the API does not tell."
                .to_owned(),
            "Make sure that yours does; with one that does not, set spec.networkPolicy.enabled to false.",
        )
    })
}

/// Whether a rule could match somebody of another namespace or outside the cluster.
fn admits_outside(rule: &Verbatim, own_namespace: &str) -> bool {
    let peers = entries(rule, "from");
    peers.is_empty()
        || peers.iter().any(|peer| {
            get(peer, "ipBlock").is_some()
                || get(peer, "namespaceSelector")
                    .is_some_and(|selector| !selects_only(selector, own_namespace))
        })
}

fn selects_only(namespaces: &Value, own: &str) -> bool {
    let by_label = get(namespaces, "matchLabels")
        .and_then(|labels| labels.get(NAMESPACE_NAME))
        .is_some_and(|name| name == own);
    let expressions = get(namespaces, "matchExpressions").and_then(Value::as_array);
    let by_expression = expressions.into_iter().flatten().any(|expression| {
        let is = |field: &str, wanted: &str| expression.get(field).is_some_and(|value| value == wanted);
        let values = expression.get("values").and_then(Value::as_array);
        is("key", NAMESPACE_NAME)
            && is("operator", "In")
            && values.is_some_and(|values| values.iter().all(|value| value == own))
    });
    by_label || by_expression
}

/// A declared port, with the names under which rules may speak of it.
pub(super) struct Declared<'a> {
    number: u64,
    protocol: &'a str,
    names: Vec<&'a Value>,
}

impl<'a> Declared<'a> {
    fn of(port: &'a Value, workload: &'a Workload) -> Option<Self> {
        let number = port.get("port")?.as_u64()?;
        let protocol = protocol(port);
        let declared = lasting_containers(&workload.template)
            .filter_map(|container| container.get("ports")?.as_array())
            .flatten();
        let names = declared
            .filter(|port| {
                port.get("containerPort").and_then(Value::as_u64) == Some(number)
                    && self::protocol(port) == protocol
            })
            .filter_map(|port| get(port, "name"))
            .collect();
        Some(Self {
            number,
            protocol,
            names,
        })
    }

    /// A TCP port that has no name.
    pub(super) fn tcp(number: u16) -> Self {
        Self {
            number: number.into(),
            protocol: "TCP",
            names: vec![],
        }
    }

    /// Whether the rule is about this port, among others.
    pub(super) fn is_in(&self, rule: &Verbatim) -> bool {
        let ports = entries(rule, "ports");
        ports.is_empty()
            || ports.iter().any(|entry| {
                protocol(entry) == self.protocol
                    && match get(entry, "port") {
                        None => true,
                        Some(port) => match port.as_u64() {
                            Some(first) => {
                                let last = get(entry, "endPort").and_then(Value::as_u64).unwrap_or(first);
                                (first..=last).contains(&self.number)
                            }
                            None => self.names.contains(&port),
                        },
                    }
            })
    }
}

fn entries<'r>(rule: &'r Verbatim, field: &str) -> &'r [Value] {
    let list = rule.get(field).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}
