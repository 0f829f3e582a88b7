//! Any spec: what the child lets through is what the user's own rules say, with the documented additions, and nothing else.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::evaluator::Protocol::{self, Sctp, Tcp, Udp};
use super::scene::{Figure, Scene, every_port, foreign, merged, spec};

/// Ports that templates, rules and URLs speak of; all are among those that are asked for.
fn port() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![1, 53, 80, 443, 5353, 6379, 6380, 7000, 8080, 9090, 65535])
}

fn protocol() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![json!(null), json!("TCP"), json!("UDP"), json!("SCTP")])
}

fn protocol_of(given: &Value) -> Protocol {
    match given.as_str() {
        Some("UDP") => Udp,
        Some("SCTP") => Sctp,
        Some(_) | None => Tcp,
    }
}

fn port_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["http", "metrics", "dns", "redis"])
}

fn container_ports() -> impl Strategy<Value = Value> {
    let port = (port(), protocol(), prop::option::of(port_name()), any::<bool>());
    let port = port.prop_map(|(number, protocol, name, on_host)| {
        let mut port = json!({ "containerPort": number });
        for (field, value) in [
            ("protocol", protocol),
            ("name", json!(name)),
            ("hostPort", if on_host { json!(31080) } else { json!(null) }),
        ] {
            if !value.is_null() {
                port[field] = value;
            }
        }
        port
    });
    prop::collection::vec(port, 0..3).prop_map(Value::from)
}

/// A pod spec, and the ports that it declares by the words of the design.
fn pod() -> impl Strategy<Value = (Value, Vec<(u16, Protocol)>)> {
    let restart = prop::sample::select(vec![json!(null), json!("Always")]);
    (
        prop::collection::vec(container_ports(), 1..3),
        prop::collection::vec((container_ports(), restart), 0..3),
    )
        .prop_map(|(containers, inits)| {
            let lasting = inits.iter().filter(|(_, restart)| *restart == "Always").map(|(ports, _)| ports);
            let declared = containers.iter().chain(lasting).flat_map(|ports| ports.as_array().unwrap());
            let declared = declared.map(|port| {
                let number = u16::try_from(port["containerPort"].as_u64().unwrap()).unwrap();
                (number, protocol_of(&port["protocol"]))
            });
            let declared = declared.collect();
            let container = |(index, ports): (usize, Value)| json!({ "name": format!("c-{index}"), "image": "x", "ports": ports });
            let inits = inits.into_iter().enumerate().map(|(index, (ports, restart))| {
                json!({ "name": format!("i-{index}"), "image": "x", "ports": ports, "restartPolicy": restart })
            });
            let pod = json!({
                "initContainers": inits.collect::<Vec<_>>(),
                "containers": containers.into_iter().enumerate().map(container).collect::<Vec<_>>(),
            });
            (pod, declared)
        })
}

fn selector() -> impl Strategy<Value = Value> {
    let expression = |key: &str, operator: &str, values: Value| {
        let expression = json!({ "key": key, "operator": operator });
        json!({ "matchExpressions": [merged(&expression, &values)] })
    };
    prop::sample::select(vec![
        json!({}),
        json!({ "matchLabels": { "app": "web" } }),
        json!({ "matchLabels": { "app": "redis" } }),
        json!({ "matchLabels": { "purpose": "monitoring" } }),
        json!({ "matchLabels": { "kubernetes.io/metadata.name": "ingress-nginx" } }),
        expression("app", "Exists", json!({})),
        expression("team", "DoesNotExist", json!({})),
        expression("team", "In", json!({ "values": ["other", "none"] })),
        expression("app", "NotIn", json!({ "values": ["web"] })),
    ])
}

fn peer() -> impl Strategy<Value = Value> {
    let block = prop::sample::select(vec![
        json!({ "cidr": "0.0.0.0/0" }),
        json!({ "cidr": "::/0", "except": [] }),
        json!({ "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] }),
        json!({ "cidr": "203.0.113.9/32" }),
        json!({ "cidr": "169.254.0.0/16", "except": ["169.254.169.254/32"] }),
        json!({ "cidr": "172.18.0.0/24" }),
    ]);
    prop_oneof![
        selector().prop_map(|pods| json!({ "podSelector": pods })),
        selector().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        (selector(), selector())
            .prop_map(|(pods, namespaces)| json!({ "podSelector": pods, "namespaceSelector": namespaces })),
        block.prop_map(|block| json!({ "ipBlock": block })),
    ]
}

fn rule_port() -> impl Strategy<Value = Value> {
    let which = prop_oneof![
        1 => Just(json!({})),
        3 => port().prop_map(|port| json!({ "port": port })),
        2 => (port(), port()).prop_map(|(a, b)| json!({ "port": a.min(b), "endPort": a.max(b) })),
        2 => port_name().prop_map(|name| json!({ "port": name })),
    ];
    (which, protocol()).prop_map(|(which, protocol)| {
        if protocol.is_null() {
            which
        } else {
            merged(&which, &json!({ "protocol": protocol }))
        }
    })
}

/// Rules of one direction; `null`: not given.
fn rules(peers: &'static str) -> impl Strategy<Value = Value> {
    let list = |item| prop_oneof![1 => Just(json!(null)), 4 => prop::collection::vec(item, 0..3).prop_map(Value::from)];
    let rule = (list(peer().boxed()), list(rule_port().boxed())).prop_map(move |(who, ports)| {
        let mut rule = json!({});
        for (field, value) in [(peers, who), ("ports", ports)] {
            if !value.is_null() {
                rule[field] = value;
            }
        }
        rule
    });
    prop_oneof![1 => Just(json!(null)), 3 => prop::collection::vec(rule, 0..3).prop_map(Value::from)]
}

/// `spec.redis`, and the ports that it needs.
fn redis() -> impl Strategy<Value = (Value, Vec<u16>)> {
    let hosts = vec!["redis", "redis.elsewhere.svc", "198.51.100.6", "[2001:db8:1::7]"];
    let host = || prop::sample::select(hosts.clone());
    let scheme = prop::sample::select(vec!["redis", "rediss"]);
    let endpoints = || {
        // Three servers: none may stand there twice.
        let hosts = Just(hosts.clone()).prop_shuffle();
        (hosts, prop::collection::vec(port(), 3)).prop_map(|(hosts, ports)| {
            let servers: Vec<_> = hosts.into_iter().zip(ports).collect();
            let endpoints = servers.iter().map(|(host, port)| format!("{host}:{port}"));
            let ports = servers.iter().map(|(_, port)| *port).collect::<Vec<_>>();
            (json!({ "endpoints": endpoints.collect::<Vec<_>>() }), ports)
        })
    };
    let usual = [6379, 6380];
    prop_oneof![
        1 => Just((json!(null), vec![])),
        1 => Just((json!({ "urlFrom": { "secretKeyRef": { "name": "redis", "key": "url" } } }), usual.to_vec())),
        2 => (scheme.clone(), host(), port()).prop_map(|(scheme, host, port)| (json!({ "url": format!("{scheme}://{host}:{port}") }), vec![port])),
        1 => (scheme, host()).prop_map(|(scheme, host)| (json!({ "url": format!("{scheme}://{host}") }), vec![6379])),
        1 => endpoints().prop_map(move |(endpoints, ports)| {
            let sentinel = merged(&endpoints, &json!({ "masterName": "m" }));
            (json!({ "sentinel": sentinel }), ports.into_iter().chain(usual).collect())
        }),
        1 => endpoints().prop_map(|(endpoints, ports)| (json!({ "cluster": endpoints }), ports)),
        1 => endpoints().prop_map(|(endpoints, ports)| (json!({ "quorum": endpoints }), ports)),
    ]
}

/// `spec.service`, and the ports of pods to which it leads by number.
fn service() -> impl Strategy<Value = (Value, Vec<(u16, Protocol)>)> {
    let target = prop_oneof![
        Just(json!(null)),
        port().prop_map(|port| json!(port)),
        port_name().prop_map(|name| json!(name)),
    ];
    let ports = prop::collection::vec((port(), target, protocol()), 1..3);
    prop::option::of(ports).prop_map(|ports| {
        let Some(ports) = ports else { return (json!(null), vec![]) };
        let mut declared = Vec::new();
        let mut entries = Vec::new();
        for (index, (port, target, protocol)) in ports.into_iter().enumerate() {
            let number = if target.is_null() { Some(u64::from(port)) } else { target.as_u64() };
            declared.extend(number.map(|number| (u16::try_from(number).unwrap(), protocol_of(&protocol))));
            entries.push(json!({ "name": format!("p-{index}"), "port": port, "targetPort": target, "protocol": protocol }));
        }
        (json!({ "ports": entries }), declared)
    })
}

#[derive(Clone, Debug)]
struct Any {
    spec: Value,
    declared: Vec<(u16, Protocol)>,
    redis: Vec<u16>,
    ingress: Value,
    egress: Value,
    enabled: bool,
}

fn any_spec() -> impl Strategy<Value = Any> {
    let enabled = prop_oneof![4 => Just(json!(null)), 2 => Just(json!(true)), 1 => Just(json!(false))];
    (pod(), service(), rules("from"), rules("to"), redis(), enabled).prop_map(
        |((pod, mut declared), (service, targets), ingress, egress, (redis, ports), enabled)| {
            declared.extend(targets);
            let more = json!({
                "redis": redis,
                "service": service,
                "networkPolicy": { "enabled": enabled, "ingress": ingress, "egress": egress },
            });
            Any {
                spec: spec(&pod, &more),
                declared,
                redis: ports,
                ingress,
                egress,
                enabled: enabled != json!(false),
            }
        },
    )
}

/// The user's rules of one direction as a policy of their own, for all pods of the workload.
fn own(direction: &str, rules: &Value) -> Value {
    foreign(
        "own",
        &json!({
            "podSelector": { "matchLabels": { "app": "web", "lockstep.dev/workload": "web" } },
            "policyTypes": [direction],
            direction.to_lowercase(): rules,
        }),
    )
}

fn is_dns_or_redis(port: u16, protocol: Protocol, redis: &[u16]) -> bool {
    match protocol {
        Tcp => [53, 5353].contains(&port) || redis.contains(&port),
        Udp => [53, 5353].contains(&port),
        Sctp => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing of the user's is lost, and nothing but the documented is added.
    #[test]
    fn the_child_lets_through_what_the_rules_say_and_the_additions(any in any_spec()) {
        let scene = Scene::of(&any.spec);
        // One direction each: the rules as they would be in a policy that the user wrote.
        let into = scene.under(&[&own("Ingress", &any.ingress)]);
        let out = scene.under(&[&own("Egress", &any.egress)]);
        let ingress = |figure: &Figure, port, protocol| {
            let by_default = any.declared.is_empty() || figure.is_at_home() || any.declared.contains(&(port, protocol));
            !any.enabled || if any.ingress.is_null() { by_default } else { into.enters(figure, port, protocol) }
        };
        let egress = |figure: &Figure, port, protocol| {
            let unrestricted = !any.enabled || any.egress.is_null();
            unrestricted || out.reaches(figure, port, protocol) || is_dns_or_redis(port, protocol, &any.redis)
        };
        prop_assert_eq!(scene.surprises(ingress, egress), Vec::<String>::new());
    }

    /// Said again without a reference to compare with.
    #[test]
    fn nobody_outside_enters_an_undeclared_port_and_names_and_redis_are_always_reached(any in any_spec()) {
        let scene = Scene::of(&any.spec);
        let isolated = any.enabled && any.ingress.is_null() && !any.declared.is_empty();
        for figure in scene.cast.iter().filter(|figure| figure.name != "node-1" && figure.name != "sibling") {
            for (port, protocol) in every_port() {
                if isolated && !figure.is_at_home() && !any.declared.contains(&(port, protocol)) {
                    prop_assert!(!scene.enters(figure, port, protocol), "{} at {} {:?}", figure.name, port, protocol);
                }
                if is_dns_or_redis(port, protocol, &any.redis) {
                    prop_assert!(scene.reaches(figure, port, protocol), "{} at {} {:?}", figure.name, port, protocol);
                }
            }
        }
    }

    /// A policy exists only where it isolates: else it could do nothing but take back what others deny.
    #[test]
    fn with_all_denied_by_somebody_else_a_direction_that_ours_leaves_stays_denied(any in any_spec()) {
        let deny = foreign("deny", &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
        let scene = Scene::of(&any.spec).beside(&deny);
        let leaves_ingress = !any.enabled || (any.ingress.is_null() && any.declared.is_empty());
        let leaves_egress = !any.enabled || any.egress.is_null();
        for figure in scene.cast.iter().filter(|figure| figure.name != "node-1") {
            for (port, protocol) in every_port() {
                prop_assert!(!(leaves_ingress && scene.enters(figure, port, protocol)), "{} in", figure.name);
                prop_assert!(!(leaves_egress && scene.reaches(figure, port, protocol)), "{} out", figure.name);
            }
        }
        prop_assert_eq!(scene.policy.is_none(), leaves_ingress && leaves_egress);
    }
}
