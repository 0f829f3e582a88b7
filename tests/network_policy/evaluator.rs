//! Policies of networking/v1 → who may reach whom. Pure.
//!
//! In: namespaces with their labels, and policies as JSON, the way the apiserver takes or stores them. Out: whether a
//! connection is let through. It shares no code with what it judges, and is tested on its own (`semantics.rs`).
//!
//! The meaning is the one that the API's reference and the page about network policies document:
//! - a pod is isolated in a direction as soon as one policy of its namespace selects it for that direction; then what any
//!   of those policies allows is allowed, and nothing else. A connection needs the source's egress *and* the target's
//!   ingress;
//! - a pod can't be kept from reaching itself, nor apart from the node it runs on (that is how probes arrive);
//! - answers to an allowed connection are allowed: only who opens it matters.
//!
//! Where the documents leave it to the network plugin, this is the plain reading: an `ipBlock` is compared with the
//! address at the far end of the connection, a pod's too; the port is the one at the target, not a Service's; processes in
//! the node's network are the node. What the apiserver would refuse is refused here: a policy that is none has no meaning.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

/// Labels of a pod or of a namespace.
pub(crate) type Labels = BTreeMap<String, String>;

/// Transport of a port.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A port that a container declares under a name.
#[derive(Clone, Debug)]
pub(crate) struct NamedPort {
    pub(crate) name: String,
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
}

/// A pod with an address of its own.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) ip: IpAddr,
    pub(crate) node: String,
    pub(crate) ports: Vec<NamedPort>,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Party {
    Pod(Pod),
    /// The kubelet, a cache of DNS, a pod with `hostNetwork`: whatever speaks with the node's address.
    Node {
        name: String,
        ip: IpAddr,
    },
    /// Any other address.
    Outside(IpAddr),
}

impl Party {
    fn ip(&self) -> IpAddr {
        match self {
            Self::Pod(pod) => pod.ip,
            Self::Node { ip, .. } | Self::Outside(ip) => *ip,
        }
    }

    fn pod(&self) -> Option<&Pod> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Node { .. } | Self::Outside(_) => None,
        }
    }

    fn is_node(&self, wanted: &str) -> bool {
        match self {
            Self::Node { name, .. } => name == wanted,
            Self::Pod(_) | Self::Outside(_) => false,
        }
    }
}

/// Side of a pod.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
enum Direction {
    Ingress,
    Egress,
}

/// Namespaces and the policies in them.
#[derive(Clone, Debug)]
pub(crate) struct World {
    namespaces: BTreeMap<String, Labels>,
    policies: Vec<Policy>,
}

impl World {
    /// Namespaces with their labels. The one that tells the name is added, as the apiserver does.
    pub(crate) fn new(namespaces: &[(&str, &[(&str, &str)])]) -> Self {
        let with_name = |(name, labels): &(&str, &[(&str, &str)])| {
            let mut all = labels_of(labels);
            all.insert("kubernetes.io/metadata.name".into(), (*name).into());
            ((*name).to_owned(), all)
        };
        Self {
            namespaces: namespaces.iter().map(with_name).collect(),
            policies: Vec::new(),
        }
    }

    /// The same with one policy more; or why the apiserver would refuse it.
    pub(crate) fn with(mut self, policy: &Value) -> Result<Self, String> {
        self.policies.push(Policy::decode(policy)?);
        Ok(self)
    }

    /// Whether `from` may open a connection to a port of `to`.
    pub(crate) fn may(&self, from: &Party, to: &Party, port: u16, protocol: Protocol) -> bool {
        if let (Some(one), Some(other)) = (from.pod(), to.pod())
            && (&one.namespace, &one.name) == (&other.namespace, &other.name)
        {
            return true;
        }
        let connection = Connection {
            target: to,
            port,
            protocol,
        };
        self.lets(Direction::Egress, from, to, &connection)
            && self.lets(Direction::Ingress, to, from, &connection)
    }

    /// Whether the policies of one end, `subject`, let the connection with `other` through.
    fn lets(
        &self,
        direction: Direction,
        subject: &Party,
        other: &Party,
        connection: &Connection<'_>,
    ) -> bool {
        let Some(pod) = subject.pod() else { return true };
        if other.is_node(&pod.node) {
            return true;
        }
        let mut isolating = self
            .policies
            .iter()
            .filter(|policy| policy.selects(pod) && policy.directions.contains(&direction))
            .peekable();
        isolating.peek().is_none()
            || isolating.any(|policy| {
                let rules = match direction {
                    Direction::Ingress => &policy.ingress,
                    Direction::Egress => &policy.egress,
                };
                rules.iter().any(|rule| {
                    let peer = rule.peers.is_empty()
                        || rule.peers.iter().any(|p| self.is(p, other, &policy.namespace));
                    peer && (rule.ports.is_empty() || rule.ports.iter().any(|port| port.matches(connection)))
                })
            })
    }

    /// Whether `other` is the peer that a policy in `home` means.
    fn is(&self, peer: &Peer, other: &Party, home: &str) -> bool {
        match peer {
            Peer::Block { cidr, except } => {
                cidr.contains(other.ip()) && !except.iter().any(|part| part.contains(other.ip()))
            }
            Peer::Pods { pods, namespaces } => other.pod().is_some_and(|pod| {
                let namespace = match namespaces {
                    None => pod.namespace == home,
                    Some(selector) => selector.matches(self.labels(&pod.namespace)),
                };
                namespace && pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
            }),
        }
    }

    fn labels(&self, namespace: &str) -> &Labels {
        self.namespaces
            .get(namespace)
            .unwrap_or_else(|| panic!("there is no namespace {namespace}"))
    }
}

/// What is asked of a rule's ports.
struct Connection<'a> {
    target: &'a Party,
    port: u16,
    protocol: Protocol,
}

#[derive(Clone, Debug)]
struct Policy {
    namespace: String,
    selector: Selector,
    directions: Vec<Direction>,
    ingress: Vec<Rule>,
    egress: Vec<Rule>,
}

/// An empty list means "all", as in the API: absent and empty are the same there.
#[derive(Clone, Debug)]
struct Rule {
    peers: Vec<Peer>,
    ports: Vec<Port>,
}

#[derive(Clone, Debug)]
enum Peer {
    Block {
        cidr: Cidr,
        except: Vec<Cidr>,
    },
    /// `None`: not given, which for pods means all of them, for namespaces the policy's own.
    Pods {
        pods: Option<Selector>,
        namespaces: Option<Selector>,
    },
}

#[derive(Clone, Debug)]
struct Port {
    protocol: Protocol,
    which: Which,
}

#[derive(Clone, Debug)]
enum Which {
    All,
    From(u16, u16),
    Named(String),
}

impl Policy {
    fn decode(object: &Value) -> Result<Self, String> {
        let manifest: wire::Policy =
            serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
        if (manifest.api_version.as_str(), manifest.kind.as_str())
            != ("networking.k8s.io/v1", "NetworkPolicy")
        {
            return Err(format!("{} of {}", manifest.kind, manifest.api_version));
        }
        let spec = manifest.spec;
        let ingress = spec.ingress.unwrap_or_default();
        let egress = spec.egress.unwrap_or_default();
        let mut directions = spec.policy_types.unwrap_or_default();
        if directions.is_empty() {
            // Every policy is about ingress unless it says otherwise; about egress only if it has a rule for it.
            directions.push(Direction::Ingress);
            if !egress.is_empty() {
                directions.push(Direction::Egress);
            }
        }
        Ok(Self {
            namespace: manifest.metadata.namespace,
            selector: Selector::decode(spec.pod_selector.unwrap_or_default())?,
            directions,
            ingress: rules(ingress.into_iter().map(|rule| (rule.from, rule.ports)))?,
            egress: rules(egress.into_iter().map(|rule| (rule.to, rule.ports)))?,
        })
    }

    fn selects(&self, pod: &Pod) -> bool {
        self.namespace == pod.namespace && self.selector.matches(&pod.labels)
    }
}

type WireRule = (Option<Vec<wire::Peer>>, Option<Vec<wire::RulePort>>);

fn rules(rules: impl Iterator<Item = WireRule>) -> Result<Vec<Rule>, String> {
    rules
        .map(|(peers, ports)| {
            Ok(Rule {
                peers: all(peers, Peer::decode)?,
                ports: all(ports, Port::decode)?,
            })
        })
        .collect()
}

fn all<W, T>(list: Option<Vec<W>>, decode: impl Fn(W) -> Result<T, String>) -> Result<Vec<T>, String> {
    list.unwrap_or_default().into_iter().map(decode).collect()
}

impl Peer {
    fn decode(peer: wire::Peer) -> Result<Self, String> {
        let wire::Peer {
            pod_selector,
            namespace_selector,
            ip_block,
        } = peer;
        match (ip_block, pod_selector, namespace_selector) {
            (None, None, None) => Err("a peer needs a selector or an ipBlock".into()),
            (None, pods, namespaces) => Ok(Self::Pods {
                pods: pods.map(Selector::decode).transpose()?,
                namespaces: namespaces.map(Selector::decode).transpose()?,
            }),
            (Some(block), None, None) => {
                let cidr = Cidr::decode(&block.cidr)?;
                let except = all(block.except, |part| Cidr::decode(&part))?;
                if except.iter().any(|part| !cidr.is_more_than(part)) {
                    return Err("except must lie within cidr, and be less".into());
                }
                Ok(Self::Block { cidr, except })
            }
            (Some(_), _, _) => Err("ipBlock stands alone in its peer".into()),
        }
    }
}

impl Port {
    fn decode(port: wire::RulePort) -> Result<Self, String> {
        let number = |number: u16| {
            (number > 0)
                .then_some(number)
                .ok_or_else(|| "a port is from 1 to 65535".to_owned())
        };
        let which = match (port.port, port.end_port) {
            (None, None) => Which::All,
            (Some(wire::Number::Of(name)), None) => Which::Named(name),
            (Some(wire::Number::Is(only)), None) => Which::From(number(only)?, only),
            (Some(wire::Number::Is(first)), Some(last)) if first <= last => Which::From(number(first)?, last),
            (Some(_) | None, Some(_)) => {
                return Err("endPort needs a number in port that isn't greater".into());
            }
        };
        Ok(Self {
            protocol: port.protocol.unwrap_or_default(),
            which,
        })
    }

    fn matches(&self, connection: &Connection<'_>) -> bool {
        let number = match &self.which {
            Which::All => true,
            Which::From(first, last) => (*first..=*last).contains(&connection.port),
            // Only the target knows what the name stands for; an address without a pod has no names.
            Which::Named(name) => connection.target.pod().is_some_and(|pod| {
                pod.ports.iter().any(|port| {
                    port.name == *name
                        && port.number == connection.port
                        && port.protocol == connection.protocol
                })
            }),
        };
        number && self.protocol == connection.protocol
    }
}

/// Requirements that all have to be met; none: everything is selected.
#[derive(Clone, Debug)]
struct Selector(Vec<(String, Requirement)>);

#[derive(Clone, Debug)]
enum Requirement {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    fn decode(selector: wire::Selector) -> Result<Self, String> {
        let equal = selector.match_labels.unwrap_or_default().into_iter();
        let mut requirements: Vec<_> = equal
            .map(|(key, value)| (key, Requirement::In(vec![value])))
            .collect();
        for expression in selector.match_expressions.unwrap_or_default() {
            let values = expression.values.unwrap_or_default();
            let requirement = match (expression.operator, values.is_empty()) {
                (wire::Operator::In, false) => Requirement::In(values),
                (wire::Operator::NotIn, false) => Requirement::NotIn(values),
                (wire::Operator::Exists, true) => Requirement::Exists,
                (wire::Operator::DoesNotExist, true) => Requirement::DoesNotExist,
                (operator, _) => return Err(format!("values don't fit the operator {operator:?}")),
            };
            requirements.push((expression.key, requirement));
        }
        Ok(Self(requirements))
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, requirement)| {
            let value = labels.get(key);
            match requirement {
                Requirement::In(values) => value.is_some_and(|value| values.contains(value)),
                // What has no such label has no such value.
                Requirement::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Requirement::Exists => value.is_some(),
                Requirement::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// Addresses that begin with the same bits.
#[derive(Clone, Debug)]
struct Cidr {
    base: IpAddr,
    length: u32,
}

impl Cidr {
    fn decode(text: &str) -> Result<Self, String> {
        let refusal = || format!("{text} is no CIDR");
        let (base, length) = text.split_once('/').ok_or_else(refusal)?;
        let base: IpAddr = base.parse().map_err(|_| refusal())?;
        let length = length.parse().map_err(|_| refusal())?;
        if length > bits(base).1 {
            return Err(refusal());
        }
        Ok(Self { base, length })
    }

    fn contains(&self, ip: IpAddr) -> bool {
        let ((base, width), (ip, other)) = (bits(self.base), bits(ip));
        // A length of 0 shifts everything out: the whole family matches.
        let differs = (base ^ ip).checked_shr(width - self.length).unwrap_or_default();
        width == other && differs == 0
    }

    fn is_more_than(&self, part: &Self) -> bool {
        self.length < part.length && self.contains(part.base)
    }
}

/// An address as a number, and how many bits it has.
fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    }
}

/// Labels from pairs.
pub(crate) fn labels_of(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// The JSON of networking/v1. Unknown fields are errors: under strict field validation they are the apiserver's, too.
mod wire {
    use super::{Deserialize, Direction, Labels, Protocol};

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Policy {
        pub(super) api_version: String,
        pub(super) kind: String,
        pub(super) metadata: Metadata,
        pub(super) spec: Spec,
    }

    #[derive(Deserialize)]
    pub(super) struct Metadata {
        pub(super) namespace: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Spec {
        pub(super) pod_selector: Option<Selector>,
        pub(super) policy_types: Option<Vec<Direction>>,
        pub(super) ingress: Option<Vec<IngressRule>>,
        pub(super) egress: Option<Vec<EgressRule>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct IngressRule {
        pub(super) from: Option<Vec<Peer>>,
        pub(super) ports: Option<Vec<RulePort>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct EgressRule {
        pub(super) to: Option<Vec<Peer>>,
        pub(super) ports: Option<Vec<RulePort>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Peer {
        pub(super) pod_selector: Option<Selector>,
        pub(super) namespace_selector: Option<Selector>,
        pub(super) ip_block: Option<Block>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Block {
        pub(super) cidr: String,
        pub(super) except: Option<Vec<String>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct RulePort {
        pub(super) protocol: Option<Protocol>,
        pub(super) port: Option<Number>,
        pub(super) end_port: Option<u16>,
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    pub(super) enum Number {
        Is(u16),
        Of(String),
    }

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Selector {
        pub(super) match_labels: Option<Labels>,
        pub(super) match_expressions: Option<Vec<Expression>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Expression {
        pub(super) key: String,
        pub(super) operator: Operator,
        pub(super) values: Option<Vec<String>>,
    }

    #[derive(Debug, Deserialize)]
    pub(super) enum Operator {
        In,
        NotIn,
        Exists,
        DoesNotExist,
    }
}
