//! What goes wrong with network policies elsewhere, one test each.
//!
//! Not of the workload's policy, so not here: the way to the apiserver that an operator needs (its own pod's policy, in the
//! chart); in which order a namespace's policies and pods go when it is deleted (no policy can say it); whether the cluster
//! enforces policies at all (an advisory; nothing here claims it).

use serde_json::{Value, json};

use super::evaluator::Protocol::{self, Sctp, Tcp, Udp};
use super::scene::{Figure, PORTS, PROTOCOLS, Scene, every_port, foreign, listening, merged, spec};

/// A workload that listens on 8080, with its metrics on 9090.
fn scene(more: &Value) -> Scene {
    let ports =
        json!([{ "name": "http", "containerPort": 8080 }, { "name": "metrics", "containerPort": 9090 }]);
    Scene::of(&spec(&listening(&ports), more))
}

fn with_egress(egress: &Value) -> Scene {
    scene(&json!({ "redis": { "url": "redis://redis:7000" }, "networkPolicy": { "egress": egress } }))
}

/// Everything denied to all pods of the namespace, in both directions: a common baseline.
fn deny_all() -> Value {
    foreign(
        "default-deny",
        &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
    )
}

fn enters(scene: &Scene, name: &str, port: u16) -> bool {
    scene.enters(scene.figure(name), port, Tcp)
}

fn reaches(scene: &Scene, name: &str, port: u16, protocol: Protocol) -> bool {
    scene.reaches(scene.figure(name), port, protocol)
}

/// Restricted egress kills DNS: in the cluster's own pods, at a node-local cache, behind `OpenShift`'s other port; over TCP
/// as well, which long answers need.
#[test]
fn names_resolve_wherever_the_dns_server_is() {
    for egress in [
        json!([]),
        json!([{ "to": [{ "podSelector": {} }] }]),
        json!([{ "to": [{ "ipBlock": { "cidr": "203.0.113.0/24" } }] }]),
        json!([{ "ports": [{ "port": 53, "protocol": "SCTP" }] }]),
    ] {
        let scene = with_egress(&egress);
        for protocol in [Udp, Tcp] {
            assert!(reaches(&scene, "kube-dns", 53, protocol));
            assert!(reaches(&scene, "openshift dns", 5353, protocol));
            assert!(reaches(&scene, "node-local dns", 53, protocol));
            // A resolver of the company's, named in `dnsConfig`.
            assert!(reaches(&scene, "client", 53, protocol) && reaches(&scene, "client6", 53, protocol));
        }
        assert!(
            !reaches(&scene, "kube-dns", 9090, Tcp),
            "the way to DNS is no way to its other ports"
        );
    }
}

/// A workload doesn't speak with the apiserver: it isn't let there, unless its own rules say so.
#[test]
fn the_apiserver_is_reached_only_by_the_users_own_rule() {
    assert!(!reaches(&with_egress(&json!([])), "apiserver", 6443, Tcp));
    // The trap: a selector of namespaces never means an address outside the pods' network.
    let namespaces = with_egress(&json!([{ "to": [{ "namespaceSelector": {} }] }]));
    assert!(!reaches(&namespaces, "apiserver", 6443, Tcp));
    let own = with_egress(
        &json!([{ "to": [{ "ipBlock": { "cidr": "172.18.0.100/32" } }], "ports": [{ "port": 6443 }] }]),
    );
    assert!(reaches(&own, "apiserver", 6443, Tcp) && !reaches(&own, "apiserver", 443, Tcp));
}

/// A managed Redis has a name, and its address changes with a failover: no address is ever written down, the port is open
/// wherever the server is.
#[test]
fn redis_is_reached_after_its_address_changed() {
    let places = [
        "redis",
        "far redis",
        "managed redis",
        "managed redis after failover",
        "redis6",
    ];
    for url in [
        "redis://cache.example.com:7000",
        "redis://198.51.100.6:7000",
        "redis://[2001:db8:1::7]:7000",
        "redis://redis:7000",
    ] {
        let scene = scene(&json!({ "redis": { "url": url }, "networkPolicy": { "egress": [] } }));
        for place in places {
            let open: Vec<u16> = PORTS
                .into_iter()
                .filter(|port| reaches(&scene, place, *port, Tcp))
                .collect();
            assert_eq!(open, [53, 5353, 7000], "{place} by {url}");
        }
    }
}

/// The whole internet as one block or as its two halves (some plugins can't take the first) is the same, without IPv6 and
/// without what is excepted; both come through as written.
#[test]
fn the_internet_in_two_halves_is_the_internet() {
    let private = json!(["10.0.0.0/8", "169.254.0.0/16"]);
    let whole = with_egress(&json!([{ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": private } }] }]));
    let halves = with_egress(&json!([{ "to": [
        { "ipBlock": { "cidr": "0.0.0.0/1", "except": ["10.0.0.0/8"] } },
        { "ipBlock": { "cidr": "128.0.0.0/1", "except": ["169.254.0.0/16"] } },
    ] }]));
    for figure in &whole.cast {
        for (port, protocol) in every_port() {
            let (one, two) = (
                whole.reaches(figure, port, protocol),
                halves.reaches(figure, port, protocol),
            );
            assert_eq!(one, two, "{} at {port}", figure.name);
        }
    }
    let answers = ["client", "client6", "neighbour", "metadata"].map(|name| reaches(&whole, name, 443, Tcp));
    assert_eq!(answers, [true, false, false, false]);
}

/// Credentials of a cloud come from a link-local address: closed with the rest, opened by the user's rule and no further.
#[test]
fn the_metadata_endpoint_is_the_users_to_open() {
    let closed = with_egress(&json!([]));
    assert!(!reaches(&closed, "metadata", 80, Tcp) && !reaches(&closed, "pod identity", 80, Tcp));
    let open = with_egress(
        &json!([{ "to": [{ "ipBlock": { "cidr": "169.254.170.23/32" } }], "ports": [{ "port": 80 }] }]),
    );
    let answers = [("pod identity", 80), ("pod identity", 443), ("metadata", 80)]
        .map(|(name, port)| reaches(&open, name, port, Tcp));
    assert_eq!(answers, [true, false, false]);
}

/// Prometheus scrapes from another namespace what is declared; the kubelet probes any port, from the pod's own node, which
/// no policy can keep away. A probe of another node's is nobody's.
#[test]
fn scrapes_and_probes_arrive() {
    let default = scene(&json!({}));
    assert!(enters(&default, "prometheus", 9090) && !enters(&default, "prometheus", 9100));
    assert!(enters(&default, "gateway", 8080) && !enters(&default, "gateway", 8081));
    let closed = scene(&json!({ "networkPolicy": { "ingress": [] } }));
    for (port, protocol) in every_port() {
        assert!(closed.enters(closed.figure("node-1"), port, protocol));
        assert!(!closed.enters(closed.figure("node-2"), port, protocol));
    }
    // Metrics only to the one who scrapes, all else as it should be: given by the user.
    let rules = json!([
        { "ports": [{ "port": "http" }] },
        { "from": [{ "namespaceSelector": { "matchLabels": { "purpose": "monitoring" } },
                     "podSelector": { "matchLabels": { "app.kubernetes.io/name": "prometheus" } } }], "ports": [{ "port": "metrics" }] },
    ]);
    let narrow = scene(&json!({ "networkPolicy": { "ingress": rules } }));
    assert!(enters(&narrow, "prometheus", 9090) && enters(&narrow, "client", 8080));
    assert!(!enters(&narrow, "client", 9090) && !enters(&narrow, "neighbour", 9090));
}

/// The apiserver drops empty lists, and what lacks them must mean the same: "nobody" must not become "everybody".
#[test]
fn without_its_empty_lists_a_policy_means_the_same() {
    let peers = json!([{ "podSelector": { "matchLabels": {} } }]);
    for policy in [
        json!({ "ingress": [], "egress": [] }),
        json!({ "ingress": [] }),
        json!({ "egress": [] }),
        json!({ "ingress": [{ "from": [], "ports": [] }], "egress": [{ "to": [], "ports": [{ "port": 443 }] }] }),
        json!({ "ingress": [{ "from": peers, "ports": [] }], "egress": [{ "to": peers, "ports": [] }] }),
        json!({ "egress": [{ "to": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": [] } }] }] }),
    ] {
        let scene = scene(&json!({ "networkPolicy": policy }));
        let stored = scene.under(&[&without_empty_lists(scene.policy.as_ref().unwrap())]);
        assert_eq!(scene.differences(&stored), Vec::<String>::new(), "{policy}");
    }
}

/// What the apiserver does to lists that hold nothing.
fn without_empty_lists(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty()))
            .map(|(key, value)| (key.clone(), without_empty_lists(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_empty_lists).collect(),
        other => other.clone(),
    }
}

/// A policy that allows all by mistake is a vulnerability. The ways there: an empty selector of namespaces, an empty peer
/// list where "nobody" was meant, a selector without its namespace's beside it, one for pods of the same name elsewhere.
#[test]
fn nobody_outside_gets_more_than_what_is_declared() {
    let scene = scene(&json!({ "redis": { "url": "redis://redis:7000" } }));
    for figure in scene
        .cast
        .iter()
        .filter(|figure| !figure.is_at_home() && figure.name != "node-1")
    {
        let open: Vec<_> = every_port()
            .filter(|(port, protocol)| scene.enters(figure, *port, *protocol))
            .collect();
        assert_eq!(open, [(8080, Tcp), (9090, Tcp)], "{}", figure.name);
    }
    // The port of Redis is for going out.
    assert!(!enters(&scene, "namesake", 7000) && enters(&scene, "neighbour", 7000));
}

/// Policies add up: with the namespace's own default-deny, ours still opens what it says, and where we say nothing the
/// denial stands.
#[test]
fn beside_a_default_deny_ours_opens_what_it_says_and_no_more() {
    let nothing = |_: &Figure, _, _| false;
    let declared = |figure: &Figure, port, protocol| {
        figure.is_at_home() || [(8080, Tcp), (9090, Tcp)].contains(&(port, protocol))
    };
    // The neighbours are let in, but the denial doesn't let them out.
    let ingress = |figure: &Figure, port, protocol| declared(figure, port, protocol) && !figure.is_at_home();
    // Nothing of ours restricts egress, so nothing of ours opens it, DNS included: that is the namespace's to say.
    let scene_beside = |more: &Value| scene(more).beside(&deny_all());
    assert_eq!(
        scene_beside(&json!({})).surprises(ingress, nothing),
        Vec::<String>::new()
    );
    // With egress given, DNS and Redis pass as they do without the denial (to those who let them in).
    let restricted =
        scene_beside(&json!({ "redis": { "url": "redis://redis:7000" }, "networkPolicy": { "egress": [] } }));
    for (name, port, protocol) in [
        ("kube-dns", 53, Udp),
        ("node-local dns", 53, Tcp),
        ("openshift dns", 5353, Udp),
        ("far redis", 7000, Tcp),
    ] {
        assert!(reaches(&restricted, name, port, protocol), "{name}");
    }
    assert!(!reaches(&restricted, "client", 443, Tcp));
    // Where ours isn't made, because it is turned off or would isolate nothing, the denial is whole: a policy that allowed
    // everything would have taken it back.
    let silent = Scene::of(&spec(&listening(&json!([])), &json!({}))).beside(&deny_all());
    let off = scene_beside(&json!({ "networkPolicy": { "enabled": false } }));
    for scene in [silent, off] {
        assert_eq!(scene.surprises(nothing, nothing), Vec::<String>::new());
    }
    // The direction that ours doesn't isolate stays denied as well.
    let only_egress = Scene::of(&spec(
        &listening(&json!([])),
        &json!({ "networkPolicy": { "egress": [{}] } }),
    ))
    .beside(&deny_all());
    for figure in &only_egress.cast {
        for (port, protocol) in every_port() {
            assert_eq!(
                only_egress.enters(figure, port, protocol),
                figure.name == "node-1"
            );
        }
    }
}

/// Another policy may open more: ours can't take it back.
#[test]
fn a_wider_policy_of_somebody_else_wins() {
    let wide = foreign(
        "wide",
        &json!({ "podSelector": { "matchLabels": { "app": "web" } }, "ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"] }),
    );
    let scene = scene(&json!({ "networkPolicy": { "ingress": [], "egress": [] } })).beside(&wide);
    assert_eq!(
        scene.surprises(|_, _, _| true, |_, _, _| true),
        Vec::<String>::new()
    );
}

/// A Service's port is not its pods': policies see the latter. Where a Service of Redis translates, the user's own rule is
/// needed, for the spec tells the Service's port only.
#[test]
fn a_redis_service_that_translates_its_port_needs_the_users_rule() {
    // `redis://redis:6379`, a Service whose targetPort is 7000.
    let spec_of = |egress: Value| json!({ "redis": { "url": "redis://redis:6379" }, "networkPolicy": { "egress": egress } });
    assert!(!reaches(&scene(&spec_of(json!([]))), "far redis", 7000, Tcp));
    let rule = json!([{ "to": [{ "podSelector": { "matchLabels": { "app": "redis" } }, "namespaceSelector": {} }], "ports": [{ "port": "redis" }] }]);
    assert!(reaches(&scene(&spec_of(rule)), "far redis", 7000, Tcp));
}

/// Protocols are told apart in what is added.
#[test]
fn no_protocol_is_opened_that_nobody_speaks() {
    let scene = with_egress(&json!([]));
    let open = |name: &str| -> Vec<_> {
        PORTS
            .into_iter()
            .flat_map(|port| PROTOCOLS.map(|protocol| (port, protocol)))
            .filter(|(port, protocol)| reaches(&scene, name, *port, *protocol))
            .collect()
    };
    let expected = [(53, Tcp), (53, Udp), (5353, Tcp), (5353, Udp), (7000, Tcp)];
    assert_eq!(open("client"), expected);
    assert_eq!(open("metadata"), expected);
    let sctp = merged(
        &json!({}),
        &json!({ "networkPolicy": { "egress": [{ "ports": [{ "protocol": "SCTP" }] }] } }),
    );
    let scene = self::scene(&sctp);
    assert!(reaches(&scene, "client", 443, Sctp) && !reaches(&scene, "client", 443, Tcp));
}
