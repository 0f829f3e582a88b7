//! What the apiserver stores of a policy means what was applied.

use lockstep::domain::children::ChildKind;
use serde_json::json;

use super::harness::Room;

#[path = "../network_policy/evaluator.rs"]
mod evaluator;
#[expect(dead_code, reason = "shared with the tests of policies, which ask more")]
#[path = "../network_policy/scene.rs"]
mod scene;

use scene::{NAME, NAMESPACE, Scene, listening, spec};

/// Empty lists go, defaults come: whoever may reach whom stays the same. Each is applied over the one before.
#[tokio::test]
async fn a_stored_policy_means_what_was_applied() {
    let room = Room::new(NAMESPACE).await;
    let peers = json!([
        { "podSelector": {} },
        { "namespaceSelector": { "matchLabels": {} }, "podSelector": { "matchExpressions": [{ "key": "app", "operator": "Exists", "values": [] }] } },
        { "ipBlock": { "cidr": "203.0.113.0/24", "except": [] } },
    ]);
    let ports = json!([{ "port": 8080 }, { "protocol": "UDP" }, { "port": "http" }, { "port": 6379, "endPort": 7000 }, {}]);
    let policies = [
        json!({}),
        json!({ "ingress": [], "egress": [] }),
        json!({ "ingress": [{}], "egress": [] }),
        json!({ "ingress": [{ "from": [], "ports": [] }], "egress": [{ "to": [], "ports": ports }] }),
        json!({ "ingress": [{ "from": peers, "ports": ports }], "egress": [{ "to": peers, "ports": ports }] }),
        json!({ "ingress": [{ "ports": [{ "port": 53, "protocol": "UDP" }] }] }),
        json!({ "egress": [{ "to": peers }] }),
    ];
    for policy in policies {
        let ports =
            json!([{ "name": "http", "containerPort": 8080 }, { "containerPort": 8080, "protocol": "UDP" }]);
        let more = json!({
            "networkPolicy": policy, "redis": { "url": "redis://redis:7000" },
            // Both are no target to the API, which then takes the port, and 0 is no port of the node.
            "service": { "type": "NodePort", "ports": [{ "name": "a", "port": 9090, "targetPort": 0, "nodePort": 0 }, { "name": "b", "port": 80, "targetPort": "" }] },
        });
        let spec = spec(&listening(&ports), &more);
        let workload = room.set(NAME, &spec).await;
        room.converge(&workload).await;
        let stored = room.get(ChildKind::NetworkPolicy, NAME).await.unwrap();
        let scene = Scene::of(&spec);
        let differences = scene.differences(&scene.under(&[&stored]));
        assert_eq!(differences, Vec::<String>::new(), "{policy}");
        // None of them means as much as no policy.
        assert_ne!(
            scene.differences(&scene.under(&[])),
            Vec::<String>::new(),
            "{policy}"
        );
    }
}
