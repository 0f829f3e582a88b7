//! What `spec.networkPolicy` comes to, for a table of specs: each is compared over the whole cast, all ports and
//! protocols, so that "declared ports" is also "no other port".

use serde_json::{Value, json};

use super::evaluator::{
    Party,
    Protocol::{self, Sctp, Tcp, Udp},
};
use super::scene::{Figure, Scene, every_port, foreign, labels_of_pod, listening, merged, spec};

type Ports = Vec<(u16, Protocol)>;

/// Nothing is between the pod and the world.
fn anything(_: &Figure, _: u16, _: Protocol) -> bool {
    true
}

/// The default: whoever is in the namespace, and everybody where a port is declared.
fn home_or(declared: &[(u16, Protocol)]) -> impl Fn(&Figure, u16, Protocol) -> bool {
    move |figure, port, protocol| figure.is_at_home() || declared.contains(&(port, protocol))
}

/// What is added to a restricted egress, for Redis at these ports.
fn additions(redis: &[u16]) -> impl Fn(&Figure, u16, Protocol) -> bool {
    move |_, port, protocol| match protocol {
        Tcp => port == 53 || port == 5353 || redis.contains(&port),
        Udp => port == 53 || port == 5353,
        Sctp => false,
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn by_default_the_namespace_enters_everywhere_and_others_where_a_port_is_declared() {
    let web = json!([{ "name": "http", "containerPort": 8080 }]);
    let with = |list: &str, containers: Value| merged(&listening(&web), &json!({ list: containers }));
    // Init containers that end before the others start serve nobody: no name of a Service's port resolves to them either.
    let init = |restart: Value| json!([{ "name": "init", "image": "x", "restartPolicy": restart, "ports": [{ "containerPort": 9100 }] }]);
    let cases: Vec<(&str, Value, Option<Ports>)> = vec![
        ("one port", listening(&web), Some(vec![(8080, Tcp)])),
        (
            "metrics beside it",
            listening(&json!([{ "containerPort": 8080 }, { "name": "metrics", "containerPort": 9090 }])),
            Some(vec![(8080, Tcp), (9090, Tcp)]),
        ),
        (
            "two containers",
            json!({ "containers": [
                { "name": "a", "image": "x", "ports": [{ "containerPort": 8080 }] },
                { "name": "b", "image": "x" },
                { "name": "c", "image": "x", "ports": [{ "containerPort": 8081 }, { "containerPort": 8080 }] },
            ] }),
            Some(vec![(8080, Tcp), (8081, Tcp)]),
        ),
        (
            "a sidecar",
            with("initContainers", init(json!("Always"))),
            Some(vec![(8080, Tcp), (9100, Tcp)]),
        ),
        (
            "an init container",
            with("initContainers", init(json!(null))),
            Some(vec![(8080, Tcp)]),
        ),
        (
            "only a sidecar",
            merged(
                &listening(&json!([])),
                &json!({ "initContainers": init(json!("Always")) }),
            ),
            Some(vec![(9100, Tcp)]),
        ),
        // Otherwise the policy would close all that the application serves, for a port that nobody serves.
        (
            "only an init container",
            merged(
                &listening(&json!([])),
                &json!({ "initContainers": init(json!(null)) }),
            ),
            None,
        ),
        (
            "UDP",
            listening(&json!([{ "containerPort": 5353, "protocol": "UDP" }])),
            Some(vec![(5353, Udp)]),
        ),
        (
            "SCTP",
            listening(&json!([{ "containerPort": 80, "protocol": "SCTP" }])),
            Some(vec![(80, Sctp)]),
        ),
        (
            "one number, two protocols",
            listening(
                &json!([{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 53, "protocol": "TCP" }]),
            ),
            Some(vec![(53, Udp), (53, Tcp)]),
        ),
        // What comes in by the node's port arrives at the container's.
        (
            "hostPort",
            listening(&json!([{ "containerPort": 8080, "hostPort": 31080 }])),
            Some(vec![(8080, Tcp)]),
        ),
        (
            "no protocol",
            listening(&json!([{ "containerPort": 8080, "protocol": null }])),
            Some(vec![(8080, Tcp)]),
        ),
        (
            "ends of the range",
            listening(&json!([{ "containerPort": 1 }, { "containerPort": 65535 }])),
            Some(vec![(1, Tcp), (65535, Tcp)]),
        ),
        (
            "no ports",
            json!({ "containers": [{ "name": "main", "image": "x" }] }),
            None,
        ),
        ("an empty list of ports", listening(&json!([])), None),
        ("ports: null", listening(&json!(null)), None),
    ];
    for (case, pod, declared) in cases {
        for more in [
            json!({}),
            json!({ "networkPolicy": {} }),
            json!({ "networkPolicy": { "enabled": true, "ingress": null } }),
        ] {
            let scene = Scene::of(&spec(&pod, &more));
            let surprises = match &declared {
                Some(declared) => scene.surprises(home_or(declared), anything),
                None => scene.surprises(anything, anything),
            };
            assert_eq!(surprises, Vec::<String>::new(), "{case}");
            // A policy that isolates nothing would allow everything, against other policies of the namespace.
            assert_eq!(scene.policy.is_some(), declared.is_some(), "{case}");
        }
        let off = Scene::of(&spec(&pod, &json!({ "networkPolicy": { "enabled": false } })));
        assert_eq!(off.surprises(anything, anything), Vec::<String>::new(), "{case}");
        assert_eq!(off.policy, None, "{case}");
    }
}

#[test]
fn the_target_ports_of_a_service_are_declared_too() {
    let web = listening(&json!([{ "name": "http", "containerPort": 8080 }]));
    let silent = listening(&json!(null));
    let cases: Vec<(&str, &Value, Value, Ports)> = vec![
        (
            "another port",
            &web,
            json!([{ "port": 80, "targetPort": 8081 }]),
            vec![(8080, Tcp), (8081, Tcp)],
        ),
        (
            "the same port",
            &web,
            json!([{ "port": 80, "targetPort": 8080 }]),
            vec![(8080, Tcp)],
        ),
        // Without a target it is the port itself.
        (
            "no target",
            &web,
            json!([{ "port": 9090 }]),
            vec![(8080, Tcp), (9090, Tcp)],
        ),
        (
            "UDP",
            &web,
            json!([{ "port": 53, "targetPort": 5353, "protocol": "UDP" }]),
            vec![(8080, Tcp), (5353, Udp)],
        ),
        // A name is a declared port's.
        (
            "by name",
            &web,
            json!([{ "port": 80, "targetPort": "http" }]),
            vec![(8080, Tcp)],
        ),
        // The API takes both for no target.
        (
            "zero",
            &web,
            json!([{ "port": 9090, "targetPort": 0 }]),
            vec![(8080, Tcp), (9090, Tcp)],
        ),
        (
            "empty",
            &web,
            json!([{ "port": 9090, "targetPort": "" }]),
            vec![(8080, Tcp), (9090, Tcp)],
        ),
        (
            "null",
            &web,
            json!([{ "port": 9090, "targetPort": null }]),
            vec![(8080, Tcp), (9090, Tcp)],
        ),
        // Somebody said where the application listens, if not in the template.
        (
            "alone",
            &silent,
            json!([{ "port": 80, "targetPort": 8081, "nodePort": 31080 }]),
            vec![(8081, Tcp)],
        ),
        (
            "several",
            &web,
            json!([{ "name": "a", "port": 80, "targetPort": "http" }, { "name": "b", "port": 443, "targetPort": 7001 }]),
            vec![(8080, Tcp), (7001, Tcp)],
        ),
    ];
    for (case, pod, ports, declared) in cases {
        for kind in [json!(null), json!("NodePort"), json!("LoadBalancer")] {
            let scene = Scene::of(&spec(
                pod,
                &json!({ "service": { "type": kind, "ports": ports } }),
            ));
            let surprises = scene.surprises(home_or(&declared), anything);
            assert_eq!(surprises, Vec::<String>::new(), "{case}");
        }
    }
}

#[test]
fn ingress_that_is_given_replaces_the_default() {
    type Expected = fn(&Figure, u16, Protocol) -> bool;
    let gateway = json!({ "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "ingress-nginx" } } }], "ports": [{ "port": 8080 }] });
    let cases: Vec<(Value, Expected)> = vec![
        // Nobody, not even of the namespace.
        (json!([]), |_, _, _| false),
        (json!([{}]), anything),
        (json!([{ "from": [] }]), anything),
        (json!([gateway]), |figure, port, protocol| {
            (figure.name, port, protocol) == ("gateway", 8080, Tcp)
        }),
        (
            json!([gateway, { "ports": [{ "port": 9090 }] }]),
            |figure, port, protocol| {
                (figure.name, port, protocol) == ("gateway", 8080, Tcp) || (port, protocol) == (9090, Tcp)
            },
        ),
        (json!([{ "ports": [{ "port": "http" }] }]), |_, port, protocol| {
            (port, protocol) == (8080, Tcp)
        }),
        (json!([{ "from": [{ "podSelector": {} }] }]), |figure, _, _| {
            figure.is_at_home()
        }),
        (
            json!([{ "from": [{ "podSelector": {}, "namespaceSelector": {} }] }]),
            |figure, _, _| matches!(figure.party, Party::Pod(_)),
        ),
        (
            json!([{ "from": [{ "ipBlock": { "cidr": "203.0.113.0/24" } }] }]),
            |figure, _, _| figure.name == "client",
        ),
    ];
    for ports in [
        json!([{ "name": "http", "containerPort": 8080 }, { "containerPort": 9100 }]),
        json!([]),
    ] {
        for (ingress, expected) in &cases {
            let declares = ports.as_array().is_some_and(|ports| !ports.is_empty());
            let policy = json!({ "ingress": ingress });
            let scene = Scene::of(&spec(&listening(&ports), &json!({ "networkPolicy": policy })));
            let named = |figure: &Figure, port, protocol| {
                // Without the declaration the name stands for nothing.
                let nameless = !declares && *ingress == json!([{ "ports": [{ "port": "http" }] }]);
                !nameless && expected(figure, port, protocol)
            };
            assert_eq!(
                scene.surprises(named, anything),
                Vec::<String>::new(),
                "{ingress}"
            );
            let off = json!({ "enabled": false, "ingress": ingress });
            let scene = Scene::of(&spec(&listening(&ports), &json!({ "networkPolicy": off })));
            assert_eq!(
                scene.surprises(anything, anything),
                Vec::<String>::new(),
                "{ingress}"
            );
        }
    }
}

/// A name that no container declares leads nowhere: there is nothing to open, and nothing to close for it.
#[test]
fn a_service_of_an_unknown_name_declares_nothing() {
    let by_name = json!({ "service": { "ports": [{ "port": 80, "targetPort": "http" }] } });
    let scene = Scene::of(&spec(&listening(&json!([])), &by_name));
    assert_eq!(scene.surprises(anything, anything), Vec::<String>::new());
    assert_eq!(scene.policy, None);
}

/// Forms of `spec.redis` and the ports to which a restricted egress must let the pods.
fn stores() -> Vec<(Value, Vec<u16>)> {
    let secret = json!({ "secretKeyRef": { "name": "redis", "key": "url" } });
    let endpoints = |endpoints: &[&str]| json!({ "endpoints": endpoints });
    vec![
        (json!({ "url": "redis://redis:6379" }), vec![6379]),
        (json!({ "url": "redis://redis:7000" }), vec![7000]),
        (json!({ "url": "redis://redis" }), vec![6379]),
        (
            json!({ "url": "redis://redis.elsewhere.svc.cluster.local:7000" }),
            vec![7000],
        ),
        (json!({ "url": "redis://198.51.100.6:6380" }), vec![6380]),
        (json!({ "url": "redis://[2001:db8:1::7]:7001" }), vec![7001]),
        (json!({ "url": "redis://[2001:db8:1::7]" }), vec![6379]),
        (json!({ "url": "redis://redis:53" }), vec![53]),
        (json!({ "urlFrom": secret }), vec![6379, 6380]),
        (
            json!({ "url": "redis://redis:7002", "database": 3, "usernameFrom": secret, "passwordFrom": secret }),
            vec![7002],
        ),
        (json!({ "url": "rediss://redis:7001" }), vec![7001]),
        (json!({ "url": "rediss://redis" }), vec![6379]),
        (
            json!({ "url": "rediss://redis:6380", "tls": { "serverName": "redis" } }),
            vec![6380],
        ),
        // The Sentinels' ports, and the usual ones of the servers that they name.
        (
            json!({ "sentinel": { "masterName": "m", "endpoints": ["s-0:26379", "s-1:26379", "[2001:db8:1::7]:26380"] } }),
            vec![26379, 26380, 6379, 6380],
        ),
        (
            json!({ "cluster": endpoints(&["r-0:7000", "r-1:7001"]) }),
            vec![7000, 7001],
        ),
        (
            json!({ "quorum": endpoints(&["a:7000", "b:7001", "c:6381"]) }),
            vec![7000, 7001, 6381],
        ),
    ]
}

#[test]
fn restricted_egress_still_reaches_names_and_redis_and_nothing_more() {
    type Expected = fn(&Figure, u16, Protocol) -> bool;
    let cases: Vec<(Value, Expected)> = vec![
        (json!([]), |_, _, _| false),
        (
            json!([{ "to": [{ "podSelector": { "matchLabels": { "app": "neighbour" } } }], "ports": [{ "port": 80 }] }]),
            |figure, port, protocol| (figure.name, port, protocol) == ("neighbour", 80, Tcp),
        ),
        // The name is that of the target: each Redis here has its own number for it.
        (
            json!([{ "to": [{ "podSelector": {}, "namespaceSelector": {} }], "ports": [{ "port": "redis" }] }]),
            |figure, port, protocol| {
                [("redis", 6379, Tcp), ("far redis", 7000, Tcp)].contains(&(figure.name, port, protocol))
            },
        ),
        (
            json!([{ "to": [{ "ipBlock": { "cidr": "203.0.113.0/24", "except": ["203.0.113.128/25"] } }], "ports": [{ "port": 443, "endPort": 6379 }] }]),
            |figure, port, protocol| {
                figure.name == "client" && (443..=6379).contains(&port) && protocol == Tcp
            },
        ),
        // A rule for another port of Redis' own pods doesn't stand in for the one that is needed.
        (
            json!([{ "to": [{ "podSelector": { "matchLabels": { "app": "redis" } } }], "ports": [{ "port": 9100 }] }]),
            |figure, port, protocol| (figure.name, port, protocol) == ("redis", 9100, Tcp),
        ),
        (json!([{}]), anything),
        (json!([{ "to": [], "ports": [] }]), anything),
    ];
    let none = (json!(null), Vec::new());
    for (redis, ports) in stores().into_iter().chain([none]) {
        for (egress, expected) in &cases {
            let more = json!({ "redis": redis, "networkPolicy": { "egress": egress } });
            let scene = Scene::of(&spec(&listening(&json!([{ "containerPort": 8080 }])), &more));
            let added = additions(&ports);
            let out = |figure: &Figure, port, protocol| {
                expected(figure, port, protocol) || added(figure, port, protocol)
            };
            assert_eq!(
                scene.surprises(home_or(&[(8080, Tcp)]), out),
                Vec::<String>::new(),
                "{more}"
            );
        }
    }
}

#[test]
fn egress_that_is_not_given_is_not_restricted() {
    for (redis, _) in stores().into_iter().chain([(json!(null), Vec::new())]) {
        for policy in [
            json!({}),
            json!({ "egress": null }),
            json!({ "ingress": [] }),
            json!({ "enabled": false, "egress": [] }),
        ] {
            let more = json!({ "redis": redis, "networkPolicy": policy });
            let scene = Scene::of(&spec(&listening(&json!([{ "containerPort": 8080 }])), &more));
            for figure in scene.cast.iter().filter(|figure| figure.name != "sibling") {
                for (port, protocol) in every_port() {
                    assert!(
                        scene.reaches(figure, port, protocol),
                        "{} at {port} in {more}",
                        figure.name
                    );
                }
            }
        }
    }
}

/// The two directions don't depend on each other: what is said of one changes nothing in the other.
#[test]
fn each_direction_is_isolated_for_itself() {
    let silent = listening(&json!([]));
    let egress = |egress: Value| json!({ "networkPolicy": { "egress": egress } });
    let scene = Scene::of(&spec(&silent, &egress(json!([]))));
    assert_eq!(
        scene.surprises(anything, additions(&[])),
        Vec::<String>::new(),
        "no port: open for ingress"
    );
    let both =
        json!({ "networkPolicy": { "ingress": [], "egress": [] }, "redis": { "url": "redis://redis" } });
    let scene = Scene::of(&spec(&silent, &both));
    assert_eq!(
        scene.surprises(|_, _, _| false, additions(&[6379])),
        Vec::<String>::new()
    );
}

/// Pods of other workloads, of no workload, and of the same name in another namespace go on as if there were no policy.
#[test]
fn only_the_pods_of_the_workload_are_isolated() {
    let closed = json!({ "networkPolicy": { "ingress": [], "egress": [] } });
    let scene = Scene::of(&spec(&listening(&json!([{ "containerPort": 8080 }])), &closed));
    let others: Vec<&Figure> = scene
        .cast
        .iter()
        .filter(|figure| figure.name != "sibling")
        .collect();
    for from in &others {
        for to in &others {
            for (port, protocol) in every_port() {
                assert!(
                    scene.between(from, to, port, protocol),
                    "{} to {}",
                    from.name,
                    to.name
                );
            }
        }
    }
    let sibling = scene.figure("sibling");
    assert!(
        others
            .iter()
            .all(|from| !scene.between(from, sibling, 8080, Tcp) || from.name == "node-1")
    );
    // It selects by a label that the template's author can't lose: the Deployment's pods have it whatever they say.
    let bare = json!({ "template": { "spec": listening(&json!([{ "containerPort": 8080 }])) } });
    let scene = Scene::of(&bare);
    assert_eq!(labels_of_pod(&scene)["lockstep.dev/workload"], "web");
    assert_eq!(
        scene.surprises(home_or(&[(8080, Tcp)]), anything),
        Vec::<String>::new()
    );
}

/// A comparison that finds no difference in anything would prove nothing.
#[test]
fn surprises_are_found() {
    let scene = Scene::of(&spec(&listening(&json!([{ "containerPort": 8080 }])), &json!({})));
    let open = scene.surprises(home_or(&[(8080, Tcp), (8081, Tcp)]), anything);
    assert!(
        open.contains(&"client can't enter at 8081 Tcp".to_owned()),
        "{open:?}"
    );
    let closed = scene.surprises(home_or(&[]), anything);
    assert!(
        closed.contains(&"client enters at 8080 Tcp".to_owned()),
        "{closed:?}"
    );
    let out = scene.surprises(home_or(&[(8080, Tcp)]), additions(&[]));
    assert!(
        out.contains(&"client is reached at 443 Tcp".to_owned()),
        "{out:?}"
    );
    let ajar = scene.beside(&foreign(
        "ajar",
        &json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": 9090 }] }] }),
    ));
    let ajar = ajar.surprises(home_or(&[(8080, Tcp)]), anything);
    assert!(ajar.contains(&"client enters at 9090 Tcp".to_owned()), "{ajar:?}");
}
