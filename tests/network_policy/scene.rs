//! The policy that Lockstep makes of a spec, and everybody who may want to reach the workload's pods or be reached by them.
//!
//! In: a spec. Out: the world with the child as it would be applied, the pod that the Deployment would make, a cast; and
//! the comparison of what the policies let through with what they should, over all of the cast, ports and protocols.

use lockstep::api::CoordinatedWorkload;
use lockstep::domain::children::{Intent, build};
use lockstep::domain::workload::{Problem, Workload, parse};
use serde_json::{Map, Value, json};

use super::evaluator::{
    Labels, NamedPort, Party, Pod,
    Protocol::{self, Sctp, Tcp, Udp},
    World, labels_of,
};

/// Namespace of the resource.
pub(crate) const NAMESPACE: &str = "reach";
/// Name of the resource.
pub(crate) const NAME: &str = "web";
/// The node of the workload's pod.
const NODE: &str = "node-1";

/// The ports that are asked for: those that the specs of these tests speak of, their neighbours, the ends of the range.
pub(crate) const PORTS: [u16; 24] = [
    1, 52, 53, 54, 80, 443, 5352, 5353, 6378, 6379, 6380, 6381, 6443, 7000, 7001, 7002, 8080, 8081, 9090,
    9100, 26379, 26380, 31080, 65535,
];
/// The transports that are asked for.
pub(crate) const PROTOCOLS: [Protocol; 3] = [Tcp, Udp, Sctp];

/// Somebody at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) party: Party,
}

impl Figure {
    /// Whether it is a pod of the resource's namespace.
    pub(crate) fn is_at_home(&self) -> bool {
        matches!(&self.party, Party::Pod(pod) if pod.namespace == NAMESPACE)
    }

    /// Whether it is of the workload itself, and so under the same policy.
    fn is_sibling(&self) -> bool {
        self.name == "sibling"
    }

    /// Whether nothing can come between it and the pod.
    fn is_own_node(&self) -> bool {
        matches!(&self.party, Party::Node { name, .. } if name == NODE)
    }
}

/// A resource with this spec, parsed.
fn workload(spec: &Value) -> Result<Workload, Vec<Problem>> {
    let resource: CoordinatedWorkload = serde_json::from_value(json!({
        "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
        "metadata": { "name": NAME, "namespace": NAMESPACE, "uid": "u", "generation": 1 },
        "spec": spec,
    }))
    .unwrap();
    parse(&resource)
}

/// A spec whose template has this pod spec, with more fields beside the template.
pub(crate) fn spec(pod: &Value, more: &Value) -> Value {
    let mut spec = more.clone();
    spec["template"] = json!({ "metadata": { "labels": { "app": "web" } }, "spec": pod });
    spec
}

/// One container that declares these ports.
pub(crate) fn listening(ports: &Value) -> Value {
    json!({ "containers": [{ "name": "main", "image": "x", "ports": ports }] })
}

/// The workload's pod and its policy.
pub(crate) struct Scene {
    /// Everybody else.
    pub(crate) cast: Vec<Figure>,
    /// The child as it would be applied; `None`: there is none.
    pub(crate) policy: Option<Value>,
    pod: Party,
    world: World,
}

impl Scene {
    /// What becomes of a spec.
    pub(crate) fn of(spec: &Value) -> Self {
        let workload = workload(spec).unwrap_or_else(|problems| panic!("{problems:?} in {spec}"));
        let children = build(&workload);
        let body = |intent: &Intent| Value::Object(intent.body().clone());
        let deployment = children.deployment.as_ref().map(body).unwrap();
        let template = &deployment["spec"]["template"];
        let policy = children.network_policy.as_ref().map(body);
        let pod = |name: &str, ip: &str| {
            Party::Pod(Pod {
                namespace: NAMESPACE.into(),
                name: name.into(),
                labels: serde_json::from_value(template["metadata"]["labels"].clone()).unwrap(),
                ip: ip.parse().unwrap(),
                node: NODE.into(),
                ports: named_ports(&template["spec"]),
            })
        };
        let mut cast = cast();
        cast.push(Figure {
            name: "sibling",
            party: pod("web-2", "10.1.0.2"),
        });
        let mut scene = Self {
            cast,
            policy: None,
            pod: pod("web-1", "10.1.0.1"),
            world: world(),
        };
        if let Some(policy) = policy {
            scene = scene.beside(&policy);
            scene.policy = Some(policy);
        }
        scene
    }

    /// With somebody else's policy in the namespace.
    pub(crate) fn beside(mut self, policy: &Value) -> Self {
        self.world = self
            .world
            .with(policy)
            .unwrap_or_else(|error| panic!("{error}: {policy}"));
        self
    }

    /// The same pods under other policies.
    pub(crate) fn under(&self, policies: &[&Value]) -> Self {
        let bare = Self {
            cast: self.cast.clone(),
            policy: None,
            pod: self.pod.clone(),
            world: world(),
        };
        policies.iter().fold(bare, |scene, policy| scene.beside(policy))
    }

    /// Somebody of the cast.
    pub(crate) fn figure(&self, name: &str) -> &Figure {
        let found = self.cast.iter().find(|figure| figure.name == name);
        found.unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    /// Whether this figure reaches the pod.
    pub(crate) fn enters(&self, figure: &Figure, port: u16, protocol: Protocol) -> bool {
        self.world.may(&figure.party, &self.pod, port, protocol)
    }

    /// Whether the pod reaches this figure.
    pub(crate) fn reaches(&self, figure: &Figure, port: u16, protocol: Protocol) -> bool {
        self.world.may(&self.pod, &figure.party, port, protocol)
    }

    /// Whether one of the cast reaches another.
    pub(crate) fn between(&self, from: &Figure, to: &Figure, port: u16, protocol: Protocol) -> bool {
        self.world.may(&from.party, &to.party, port, protocol)
    }

    /// Connections to or from the pod that one of the two allows and the other doesn't.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let entered = |figure: &Figure, port, protocol| other.enters(figure, port, protocol);
        let reached = |figure: &Figure, port, protocol| other.reaches(figure, port, protocol);
        self.compared(entered, reached)
    }

    /// Every connection whose answer isn't this one. What is said of ingress and egress is said of the workload's side
    /// alone: between two of its pods both count, and from or to the pod's own node nothing does.
    pub(crate) fn surprises(
        &self,
        ingress: impl Fn(&Figure, u16, Protocol) -> bool,
        egress: impl Fn(&Figure, u16, Protocol) -> bool,
    ) -> Vec<String> {
        let here = |figure: &Figure, side: bool, other_side: bool| {
            figure.is_own_node() || side && (other_side || !figure.is_sibling())
        };
        self.compared(
            |figure, port, protocol| {
                here(
                    figure,
                    ingress(figure, port, protocol),
                    egress(figure, port, protocol),
                )
            },
            |figure, port, protocol| {
                here(
                    figure,
                    egress(figure, port, protocol),
                    ingress(figure, port, protocol),
                )
            },
        )
    }

    /// Every connection for which these answers aren't ours.
    fn compared(
        &self,
        enters: impl Fn(&Figure, u16, Protocol) -> bool,
        is_reached: impl Fn(&Figure, u16, Protocol) -> bool,
    ) -> Vec<String> {
        let asked = self
            .cast
            .iter()
            .flat_map(|figure| every_port().map(move |port| (figure, port)));
        let mut found = Vec::new();
        for (figure, (port, protocol)) in asked {
            let mut compare = |expected: bool, answer: bool, yes: &str, no: &str| {
                if answer != expected {
                    let what = if answer { yes } else { no };
                    found.push(format!("{} {what} at {port} {protocol:?}", figure.name));
                }
            };
            let answer = self.enters(figure, port, protocol);
            compare(enters(figure, port, protocol), answer, "enters", "can't enter");
            let answer = self.reaches(figure, port, protocol);
            compare(
                is_reached(figure, port, protocol),
                answer,
                "is reached",
                "isn't reached",
            );
        }
        found
    }
}

/// All ports with all protocols.
pub(crate) fn every_port() -> impl Iterator<Item = (u16, Protocol)> {
    PORTS
        .into_iter()
        .flat_map(|port| PROTOCOLS.map(|protocol| (port, protocol)))
}

/// A policy in the resource's namespace that somebody else made.
pub(crate) fn foreign(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    })
}

/// The ports that a name stands for: those of containers that run as long as the pod does.
fn named_ports(pod: &Value) -> Vec<NamedPort> {
    let of = |list: &str| pod[list].as_array().cloned().unwrap_or_default();
    let sidecars = of("initContainers")
        .into_iter()
        .filter(|container| container["restartPolicy"] == "Always");
    let containers = of("containers").into_iter().chain(sidecars);
    containers
        .flat_map(|container| container["ports"].as_array().cloned().unwrap_or_default())
        .filter_map(|port| {
            Some(NamedPort {
                name: port["name"].as_str()?.to_owned(),
                number: serde_json::from_value(port["containerPort"].clone()).unwrap(),
                protocol: serde_json::from_value::<Option<Protocol>>(port["protocol"].clone())
                    .unwrap()
                    .unwrap_or_default(),
            })
        })
        .collect()
}

fn world() -> World {
    World::new(&[
        (NAMESPACE, &[("team", "shop")]),
        ("monitoring", &[("purpose", "monitoring")]),
        ("ingress-nginx", &[]),
        ("kube-system", &[]),
        ("openshift-dns", &[]),
        ("elsewhere", &[("team", "other")]),
    ])
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cast() -> Vec<Figure> {
    let pod = |name: &'static str,
               namespace: &str,
               labels: &[(&str, &str)],
               ip: &str,
               ports: &[(&str, u16, Protocol)]| {
        let named = |(name, number, protocol): &(&str, u16, Protocol)| NamedPort {
            name: (*name).into(),
            number: *number,
            protocol: *protocol,
        };
        Figure {
            name,
            party: Party::Pod(Pod {
                namespace: namespace.into(),
                name: name.into(),
                labels: labels_of(labels),
                ip: ip.parse().unwrap(),
                node: "node-2".into(),
                ports: ports.iter().map(named).collect(),
            }),
        }
    };
    let node = |name: &'static str, ip: &str| Figure {
        name,
        party: Party::Node {
            name: name.into(),
            ip: ip.parse().unwrap(),
        },
    };
    let outside = |name: &'static str, ip: &str| Figure {
        name,
        party: Party::Outside(ip.parse().unwrap()),
    };
    vec![
        pod(
            "neighbour",
            NAMESPACE,
            &[("app", "neighbour")],
            "10.1.0.9",
            &[("http", 80, Tcp)],
        ),
        pod(
            "other workload",
            NAMESPACE,
            &[("app", "web"), ("lockstep.dev/workload", "web-2")],
            "10.1.0.10",
            &[],
        ),
        pod(
            "redis",
            NAMESPACE,
            &[("app", "redis")],
            "10.1.0.11",
            &[("redis", 6379, Tcp)],
        ),
        // As if it were of the workload, but elsewhere.
        pod(
            "namesake",
            "elsewhere",
            &[("app", "web"), ("lockstep.dev/workload", NAME)],
            "10.2.0.1",
            &[],
        ),
        pod(
            "far redis",
            "elsewhere",
            &[("app", "redis")],
            "10.2.0.2",
            &[("redis", 7000, Tcp)],
        ),
        pod(
            "prometheus",
            "monitoring",
            &[("app.kubernetes.io/name", "prometheus")],
            "10.3.0.1",
            &[],
        ),
        pod(
            "gateway",
            "ingress-nginx",
            &[("app.kubernetes.io/name", "ingress-nginx")],
            "10.4.0.1",
            &[],
        ),
        pod(
            "kube-dns",
            "kube-system",
            &[("k8s-app", "kube-dns")],
            "10.5.0.1",
            &[("dns", 53, Udp), ("dns-tcp", 53, Tcp)],
        ),
        pod(
            "openshift dns",
            "openshift-dns",
            &[("dns.operator.openshift.io/daemonset-dns", "default")],
            "10.6.0.1",
            &[("dns", 5353, Udp), ("dns-tcp", 5353, Tcp)],
        ),
        // It runs in the node's network, but plugins don't take its address for the node's.
        outside("node-local dns", "169.254.20.10"),
        outside("apiserver", "172.18.0.100"),
        outside("metadata", "169.254.169.254"),
        outside("pod identity", "169.254.170.23"),
        outside("client", "203.0.113.9"),
        outside("client6", "2001:db8::9"),
        outside("managed redis", "198.51.100.6"),
        outside("managed redis after failover", "198.51.100.99"),
        outside("redis6", "2001:db8:1::7"),
        node(NODE, "172.18.0.1"),
        node("node-2", "172.18.0.2"),
    ]
}

/// Labels of the pods that a Deployment's template makes, for tests that look at them.
pub(crate) fn labels_of_pod(scene: &Scene) -> &Labels {
    match &scene.pod {
        Party::Pod(pod) => &pod.labels,
        other => panic!("{other:?} is no pod"),
    }
}

/// Fields of one object over another.
pub(crate) fn merged(base: &Value, more: &Value) -> Value {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let all: Map<String, Value> = fields(base).into_iter().chain(fields(more)).collect();
    Value::Object(all)
}
