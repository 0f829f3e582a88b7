//! The evaluator against the documented semantics of networking/v1, case by case.

use serde_json::{Value, json};

use super::evaluator::{
    NamedPort, Party, Pod,
    Protocol::{self, Sctp, Tcp, Udp},
    World, labels_of,
};

fn pod(namespace: &str, name: &str, labels: &[(&str, &str)], ip: &str) -> Party {
    Party::Pod(Pod {
        namespace: namespace.into(),
        name: name.into(),
        labels: labels_of(labels),
        ip: ip.parse().unwrap(),
        node: "node-1".into(),
        ports: Vec::new(),
    })
}

fn outside(ip: &str) -> Party {
    Party::Outside(ip.parse().unwrap())
}

fn node(name: &str, ip: &str) -> Party {
    Party::Node {
        name: name.into(),
        ip: ip.parse().unwrap(),
    }
}

/// The pod that the policies of these tests select.
fn web() -> Party {
    pod("shop", "web", &[("app", "web")], "10.0.0.1")
}

/// Everybody else.
fn cast() -> Vec<(&'static str, Party)> {
    vec![
        (
            "db",
            pod("shop", "db", &[("app", "db"), ("tier", "back")], "10.0.0.2"),
        ),
        ("bare", pod("shop", "bare", &[], "10.0.0.3")),
        ("red web", pod("red", "web", &[("app", "web")], "10.0.1.1")),
        ("red db", pod("red", "db", &[("app", "db")], "10.0.1.2")),
        ("plain db", pod("plain", "db", &[("app", "db")], "10.0.2.1")),
        ("client", outside("203.0.113.5")),
        ("client6", outside("2001:db8::5")),
        ("node-2", node("node-2", "172.18.0.2")),
    ]
}

fn world() -> World {
    World::new(&[
        ("shop", &[("team", "blue")]),
        ("red", &[("team", "red"), ("env", "test")]),
        ("plain", &[]),
    ])
}

fn policy(namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": "p", "namespace": namespace }, "spec": spec,
    })
}

fn under(specs: &[Value]) -> World {
    specs
        .iter()
        .fold(world(), |world, spec| world.with(&policy("shop", spec)).unwrap())
}

/// Who may reach the pod on a port that no policy here names.
fn who_enters(world: &World) -> Vec<&'static str> {
    let mut cast = cast();
    cast.retain(|(_, party)| world.may(party, &web(), 4444, Tcp));
    cast.into_iter().map(|(name, _)| name).collect()
}

/// Whom the pod may reach there.
fn whom_it_reaches(world: &World) -> Vec<&'static str> {
    let mut cast = cast();
    cast.retain(|(_, party)| world.may(&web(), party, 4444, Tcp));
    cast.into_iter().map(|(name, _)| name).collect()
}

const ALL: [&str; 8] = [
    "db", "bare", "red web", "red db", "plain db", "client", "client6", "node-2",
];

#[test]
fn a_pod_that_no_policy_selects_is_open_in_both_directions() {
    assert_eq!(who_enters(&world()), ALL);
    assert_eq!(whom_it_reaches(&world()), ALL);
    let others = [
        policy(
            "shop",
            &json!({ "podSelector": { "matchLabels": { "app": "db" } }, "policyTypes": ["Ingress", "Egress"] }),
        ),
        // A policy is about the pods of its own namespace.
        policy("plain", &json!({ "podSelector": {}, "policyTypes": ["Ingress"] })),
        policy(
            "plain",
            &json!({ "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Ingress", "Egress"] }),
        ),
    ];
    let world = others
        .iter()
        .fold(world(), |world, policy| world.with(policy).unwrap());
    // Of them only db is kept, by its own side.
    assert_eq!(who_enters(&world), ALL[1..]);
    let (db, plain) = (&cast()[0].1, &cast()[4].1);
    assert!(
        !world.may(&web(), db, 1, Tcp) && !world.may(db, &web(), 1, Tcp),
        "db is isolated"
    );
    assert!(
        !world.may(&web(), plain, 1, Tcp) && world.may(plain, &web(), 1, Tcp),
        "for ingress"
    );
}

#[test]
fn isolation_is_by_direction_and_policy_types_have_defaults() {
    let everyone = json!([{}]);
    for (spec, enters, reached) in [
        (json!({}), false, true),
        (json!({ "policyTypes": ["Ingress"] }), false, true),
        (json!({ "policyTypes": ["Egress"] }), true, false),
        (json!({ "policyTypes": ["Ingress", "Egress"] }), false, false),
        (json!({ "policyTypes": [] }), false, true),
        (
            json!({ "policyTypes": null, "ingress": null, "egress": null }),
            false,
            true,
        ),
        // No types: always about ingress, about egress only with a rule for it.
        (json!({ "ingress": everyone }), true, true),
        (json!({ "egress": [] }), false, true),
        (
            json!({ "egress": [{ "to": [{ "podSelector": { "matchLabels": { "app": "nobody" } } }] }] }),
            false,
            false,
        ),
        (json!({ "egress": everyone }), false, true),
        // Rules for a direction that isn't among the types are nothing.
        (
            json!({ "policyTypes": ["Egress"], "ingress": [{ "ports": [{ "port": 1 }] }] }),
            true,
            false,
        ),
        (json!({ "policyTypes": ["Ingress"], "egress": [] }), false, true),
        (
            json!({ "policyTypes": ["Ingress", "Egress"], "ingress": everyone, "egress": everyone }),
            true,
            true,
        ),
    ] {
        for selector in [json!({}), json!(null), json!({ "matchLabels": { "app": "web" } })] {
            let mut spec = spec.clone();
            spec["podSelector"] = selector;
            // With `{}`, the others of the namespace are isolated as well: ask those that are not.
            let world = under(&[spec.clone()]);
            let client = outside("203.0.113.5");
            assert_eq!(world.may(&client, &web(), 80, Tcp), enters, "{spec}");
            assert_eq!(world.may(&web(), &client, 80, Tcp), reached, "{spec}");
        }
    }
}

/// Peers, for `from` and `to` alike.
#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn a_peer_is_what_its_selectors_say_together_and_peers_are_alternatives() {
    let db = json!({ "matchLabels": { "app": "db" } });
    let red = json!({ "matchLabels": { "team": "red" } });
    let expression = |key: &str, operator: &str, values: &[&str]| {
        let mut expression = json!({ "key": key, "operator": operator });
        if !values.is_empty() {
            expression["values"] = json!(values);
        }
        json!({ "matchExpressions": [expression] })
    };
    let pods = ["db", "bare", "red web", "red db", "plain db"];
    let cases: Vec<(Value, Vec<&str>)> = vec![
        (json!(null), ALL.to_vec()),
        (json!([]), ALL.to_vec()),
        // Pods alone: of the policy's own namespace.
        (json!([{ "podSelector": {} }]), vec!["db", "bare"]),
        (json!([{ "podSelector": db }]), vec!["db"]),
        (
            json!([{ "podSelector": db, "namespaceSelector": null }]),
            vec!["db"],
        ),
        // Namespaces alone: all pods there; never an address that is no pod's.
        (json!([{ "namespaceSelector": {} }]), pods.to_vec()),
        (json!([{ "namespaceSelector": red }]), vec!["red web", "red db"]),
        (
            json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "plain" } } }]),
            vec!["plain db"],
        ),
        // One peer with two selectors, and two peers with one each.
        (
            json!([{ "podSelector": db, "namespaceSelector": red }]),
            vec!["red db"],
        ),
        (
            json!([{ "podSelector": db }, { "namespaceSelector": red }]),
            vec!["db", "red web", "red db"],
        ),
        (
            json!([{ "podSelector": db, "namespaceSelector": {} }]),
            vec!["db", "red db", "plain db"],
        ),
        (
            json!([{ "podSelector": {}, "namespaceSelector": red }]),
            vec!["red web", "red db"],
        ),
        // All labels have to be there.
        (
            json!([{ "podSelector": { "matchLabels": { "app": "db", "tier": "back" } }, "namespaceSelector": {} }]),
            vec!["db"],
        ),
        (
            json!([{ "podSelector": { "matchLabels": { "app": "db" }, "matchExpressions": [
                { "key": "tier", "operator": "DoesNotExist" }] }, "namespaceSelector": {} }]),
            vec!["red db", "plain db"],
        ),
        (
            json!([{ "podSelector": expression("app", "In", &["db", "cache"]) }]),
            vec!["db"],
        ),
        // What lacks the label isn't in the list of its values, so NotIn takes it.
        (
            json!([{ "podSelector": expression("app", "NotIn", &["db"]) }]),
            vec!["bare"],
        ),
        (
            json!([{ "podSelector": expression("tier", "NotIn", &["front"]) }]),
            vec!["db", "bare"],
        ),
        (
            json!([{ "podSelector": expression("app", "Exists", &[]) }]),
            vec!["db"],
        ),
        (
            json!([{ "podSelector": expression("app", "DoesNotExist", &[]) }]),
            vec!["bare"],
        ),
        (
            json!([{ "namespaceSelector": expression("team", "NotIn", &["red"]) }]),
            vec!["db", "bare", "plain db"],
        ),
        (
            json!([{ "namespaceSelector": expression("team", "DoesNotExist", &[]) }]),
            vec!["plain db"],
        ),
        (
            json!([{ "namespaceSelector": expression("env", "Exists", &[]) }]),
            vec!["red web", "red db"],
        ),
        (
            json!([{ "podSelector": { "matchLabels": {}, "matchExpressions": [] } }]),
            vec!["db", "bare"],
        ),
        // Addresses, whoever has them.
        (
            json!([{ "ipBlock": { "cidr": "203.0.113.0/24" } }]),
            vec!["client"],
        ),
        (
            json!([{ "ipBlock": { "cidr": "203.0.113.5/32" } }]),
            vec!["client"],
        ),
        (json!([{ "ipBlock": { "cidr": "203.0.113.4/32" } }]), vec![]),
        // Bits beyond the length don't count.
        (
            json!([{ "ipBlock": { "cidr": "203.0.113.77/24", "except": [] } }]),
            vec!["client"],
        ),
        (
            json!([{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.0.1.0/24", "10.0.0.2/32"] } }]),
            vec!["bare", "plain db"],
        ),
        (
            json!([{ "ipBlock": { "cidr": "172.16.0.0/12" } }]),
            vec!["node-2"],
        ),
        // A family is not the other.
        (
            json!([{ "ipBlock": { "cidr": "0.0.0.0/0" } }]),
            ALL.into_iter().filter(|name| *name != "client6").collect(),
        ),
        (json!([{ "ipBlock": { "cidr": "::/0" } }]), vec!["client6"]),
        (
            json!([{ "ipBlock": { "cidr": "2001:db8::/32", "except": ["2001:db8::/120"] } }]),
            vec![],
        ),
        // Two halves are the whole.
        (
            json!([{ "ipBlock": { "cidr": "0.0.0.0/1" } }, { "ipBlock": { "cidr": "128.0.0.0/1" } }]),
            ALL.into_iter().filter(|name| *name != "client6").collect(),
        ),
        // An exception is one of its block, not of the peer beside it.
        (
            json!([{ "ipBlock": { "cidr": "203.0.0.0/8", "except": ["203.0.113.0/24"] } }, { "ipBlock": { "cidr": "203.0.113.0/24" } }]),
            vec!["client"],
        ),
    ];
    for (peers, expected) in cases {
        let web = json!({ "matchLabels": { "app": "web" } });
        let into = under(&[
            json!({ "podSelector": web, "policyTypes": ["Ingress"], "ingress": [{ "from": peers }] }),
        ]);
        assert_eq!(who_enters(&into), expected, "from {peers}");
        let out =
            under(&[json!({ "podSelector": web, "policyTypes": ["Egress"], "egress": [{ "to": peers }] })]);
        assert_eq!(whom_it_reaches(&out), expected, "to {peers}");
    }
}

/// The ports at which a rule with these ports lets a connection through, of all that are asked.
fn open(target: &Party, world: &World, from: &Party) -> Vec<(u16, Protocol)> {
    let ports = [1, 79, 80, 81, 90, 91, 8080, 65535].into_iter();
    ports
        .flat_map(|port| [Tcp, Udp, Sctp].map(|protocol| (port, protocol)))
        .filter(|(port, protocol)| world.may(from, target, *port, *protocol))
        .collect()
}

#[test]
fn ports_are_numbers_ranges_or_names_of_the_target() {
    let named = |name: &str, number, protocol| NamedPort {
        name: name.into(),
        number,
        protocol,
    };
    let with_ports = |party: Party, ports: Vec<NamedPort>| match party {
        Party::Pod(pod) => Party::Pod(Pod { ports, ..pod }),
        other => other,
    };
    let target = with_ports(
        web(),
        vec![
            named("http", 8080, Tcp),
            named("stats", 81, Udp),
            named("both", 90, Tcp),
            named("both", 90, Udp),
        ],
    );
    // The other side's names are none of the rule's business.
    let client = with_ports(
        pod("red", "c", &[], "10.0.1.9"),
        vec![named("http", 1, Tcp), named("own", 1, Tcp)],
    );
    let everything = [1, 79, 80, 81, 90, 91, 8080, 65535]
        .into_iter()
        .flat_map(|port| [(port, Tcp), (port, Udp), (port, Sctp)])
        .collect::<Vec<_>>();
    let all_of = |wanted| {
        let mut all = everything.clone();
        all.retain(|(_, protocol)| *protocol == wanted);
        all
    };
    let cases: Vec<(Value, Vec<(u16, Protocol)>)> = vec![
        (json!(null), everything.clone()),
        (json!([]), everything.clone()),
        (json!([{ "port": 80 }]), vec![(80, Tcp)]),
        (json!([{ "port": 80, "protocol": null }]), vec![(80, Tcp)]),
        (json!([{ "port": 80, "protocol": "UDP" }]), vec![(80, Udp)]),
        (json!([{ "port": 80, "protocol": "SCTP" }]), vec![(80, Sctp)]),
        (
            json!([{ "port": 80 }, { "port": 80, "protocol": "UDP" }]),
            vec![(80, Tcp), (80, Udp)],
        ),
        // A protocol without a port is all ports of that one; nothing at all is TCP.
        (json!([{ "protocol": "UDP" }]), all_of(Udp)),
        (json!([{}]), all_of(Tcp)),
        (
            json!([{ "port": 80, "endPort": 90 }]),
            vec![(80, Tcp), (81, Tcp), (90, Tcp)],
        ),
        (
            json!([{ "port": 80, "endPort": 80, "protocol": "SCTP" }]),
            vec![(80, Sctp)],
        ),
        (
            json!([{ "port": 91, "endPort": 65535 }]),
            vec![(91, Tcp), (8080, Tcp), (65535, Tcp)],
        ),
        (json!([{ "port": "http" }]), vec![(8080, Tcp)]),
        // The name and the protocol both have to be the target's.
        (json!([{ "port": "http", "protocol": "UDP" }]), vec![]),
        (json!([{ "port": "stats" }]), vec![]),
        (json!([{ "port": "stats", "protocol": "UDP" }]), vec![(81, Udp)]),
        (json!([{ "port": "both", "protocol": "UDP" }]), vec![(90, Udp)]),
        (json!([{ "port": "own" }]), vec![]),
    ];
    for (ports, expected) in &cases {
        let ingress = json!({ "podSelector": {}, "ingress": [{ "ports": ports }] });
        let world = under(&[ingress]);
        assert_eq!(&open(&target, &world, &client), expected, "into {ports}");
    }
    for (ports, expected) in cases {
        let egress = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "ports": ports }] });
        let world = world().with(&policy("red", &egress)).unwrap();
        assert_eq!(open(&target, &world, &client), expected, "out of {ports}");
        // Names mean nothing at an address that is no pod's.
        let by_name = ports
            .as_array()
            .is_some_and(|ports| ports.iter().any(|port| port["port"].is_string()));
        let expected = if by_name { vec![] } else { expected };
        assert_eq!(
            open(&outside("203.0.113.5"), &world, &client),
            expected,
            "out of {ports}"
        );
    }
}

#[test]
fn a_rule_wants_peer_and_port_and_rules_and_policies_add_up() {
    let from_red_to_80 = json!({ "from": [{ "namespaceSelector": { "matchLabels": { "team": "red" } } }], "ports": [{ "port": 80 }] });
    let from_db = json!({ "from": [{ "podSelector": { "matchLabels": { "app": "db" } } }] });
    let spec = |rules: Value| json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules });
    let (red, db) = (&cast()[2].1, &cast()[0].1);
    let answers = |world: &World| {
        [(red, 80), (red, 81), (db, 80), (db, 81)].map(|(from, port)| world.may(from, &web(), port, Tcp))
    };
    assert_eq!(
        answers(&under(&[spec(json!([from_red_to_80]))])),
        [true, false, false, false]
    );
    // One after the other, in one policy or in two; an isolating one takes nothing away.
    let both = [true, false, true, true];
    assert_eq!(answers(&under(&[spec(json!([from_red_to_80, from_db]))])), both);
    assert_eq!(
        answers(&under(&[spec(json!([from_red_to_80])), spec(json!([from_db]))])),
        both
    );
    assert_eq!(
        answers(&under(&[
            spec(json!([])),
            spec(json!([from_db, from_red_to_80])),
            spec(json!([]))
        ])),
        both
    );
    // One of another direction neither adds nor takes.
    let egress = json!({ "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Egress"], "ingress": [{}] });
    assert_eq!(
        answers(&under(&[spec(json!([from_red_to_80])), egress])),
        [true, false, false, false]
    );
    // An empty rule is everybody at every port, also beside a narrow one.
    assert_eq!(answers(&under(&[spec(json!([from_red_to_80, {}]))])), [true; 4]);
}

#[test]
fn both_ends_have_to_agree() {
    let closed = |app: &str, types: &[&str]| json!({ "podSelector": { "matchLabels": { "app": app } }, "policyTypes": types });
    let db = &cast()[0].1;
    assert!(under(&[]).may(&web(), db, 80, Tcp));
    assert!(!under(&[closed("web", &["Egress"])]).may(&web(), db, 80, Tcp));
    assert!(!under(&[closed("db", &["Ingress"])]).may(&web(), db, 80, Tcp));
    // The other directions of the same pods don't matter: an answer needs no rule.
    assert!(under(&[closed("web", &["Ingress"]), closed("db", &["Egress"])]).may(&web(), db, 80, Tcp));
    let opened = json!({ "podSelector": { "matchLabels": { "app": "db" } }, "ingress": [{ "from": [{ "podSelector": {} }] }] });
    assert!(under(&[closed("db", &["Ingress"]), opened.clone()]).may(&web(), db, 80, Tcp));
    assert!(
        !under(&[closed("web", &["Egress"]), opened]).may(&web(), db, 80, Tcp),
        "only one end agrees"
    );
}

#[test]
fn neither_a_pod_itself_nor_its_node_can_be_kept_away() {
    let world = under(&[json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })]);
    assert!(world.may(&web(), &web(), 80, Tcp));
    let (own, other) = (node("node-1", "172.18.0.1"), node("node-2", "172.18.0.2"));
    assert!(world.may(&own, &web(), 80, Tcp) && world.may(&web(), &own, 80, Tcp));
    assert!(!world.may(&other, &web(), 80, Tcp) && !world.may(&web(), &other, 80, Tcp));
    // A pod of the same name elsewhere is another.
    let namesake = pod("red", "web", &[("app", "web")], "10.0.1.1");
    assert!(!world.may(&namesake, &web(), 80, Tcp));
    // Nodes themselves are beyond any policy.
    assert!(world.may(&outside("203.0.113.5"), &own, 22, Tcp));
}

#[test]
fn what_the_api_refuses_has_no_meaning() {
    let rule = |rule: Value| json!({ "podSelector": {}, "ingress": [rule] });
    for spec in [
        json!({ "podSelector": {}, "ingres": [] }),
        json!({ "podSelector": {}, "policyTypes": ["ingress"] }),
        json!({ "podSelector": { "app": "web" } }),
        json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } }),
        json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "NotIn", "values": [] }] } }),
        json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "Exists", "values": ["b"] }] } }),
        json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "Equals", "values": ["b"] }] } }),
        rule(json!({ "to": [] })),
        rule(json!({ "from": [{}] })),
        rule(json!({ "from": [{ "podSelector": null }] })),
        rule(json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8" }, "podSelector": {} }] })),
        rule(json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0" } }] })),
        rule(json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/33" } }] })),
        rule(json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"] } }] })),
        rule(json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"] } }] })),
        rule(json!({ "ports": [{ "port": 0 }] })),
        rule(json!({ "ports": [{ "port": 65536 }] })),
        rule(json!({ "ports": [{ "port": 80, "protocol": "tcp" }] })),
        rule(json!({ "ports": [{ "port": 80, "protocol": "" }] })),
        rule(json!({ "ports": [{ "port": 80, "endPort": 79 }] })),
        rule(json!({ "ports": [{ "port": "http", "endPort": 90 }] })),
        rule(json!({ "ports": [{ "endPort": 90 }] })),
    ] {
        assert!(world().with(&policy("shop", &spec)).is_err(), "{spec}");
    }
    let mut other = policy("shop", &json!({ "podSelector": {} }));
    assert!(world().with(&other).is_ok());
    other["apiVersion"] = json!("cilium.io/v2");
    assert!(world().with(&other).is_err());
}
