//! A short host name means the Redis of the resource's own namespace, and never another one of that name.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use lockstep::api::CoordinatedWorkload;
use lockstep_cluster::{Dns, Options, Redis, RedisOptions};
use serde_json::json;

use super::locks::{Holders, redis};
use super::operator::Process;
use super::place::{config, eventually, spec_with_locks};

/// A Redis of a namespace.
async fn redis_at(last: u8, port: u16) -> (Redis, Holders, IpAddr) {
    let address: IpAddr = Ipv4Addr::new(127, 0, 0, last).into();
    let options = RedisOptions {
        port: Some(port),
        bind: vec![address],
        ..RedisOptions::default()
    };
    let redis = redis(options).await;
    let holders = Holders::of(&redis).await;
    (redis, holders, address)
}

async fn apply(client: &Client, namespace: &str, spec: &serde_json::Value) {
    let body = json!({ "metadata": { "name": namespace } });
    Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone())
        .create(&PostParams::default(), &serde_json::from_value(body).unwrap())
        .await
        .unwrap();
    let body = json!({
        "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
        "metadata": { "name": "web" }, "spec": spec,
    });
    let resource = ApiResource::erase::<CoordinatedWorkload>(&());
    Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource)
        .patch("web", &PatchParams::apply("user"), &Patch::Apply(&body))
        .await
        .unwrap();
}

pub(crate) async fn a_short_name_is_the_redis_of_the_resources_own_namespace() {
    // A control plane of its own: this operator looks at all namespaces. No pod needs to run.
    let cluster = tokio::task::spawn_blocking(|| {
        let options = Options {
            fake_nodes: 0,
            ..Options::control_plane()
        };
        super::common::start(&options)
    })
    .await
    .unwrap();
    let client = lockstep::cluster::client(config(cluster.kubeconfig()).await).unwrap();
    let port = TcpListener::bind("127.0.0.2:0")
        .and_then(|socket| socket.local_addr())
        .unwrap()
        .port();
    let (_first, first, first_address) = redis_at(2, port).await;
    let (_second, second, second_address) = redis_at(3, port).await;
    // What is held where tells them apart.
    first.take("a", "somebody").await;
    second.take("b", "somebody").await;
    let dns = Dns::start([
        ("redis.first.svc.cluster.local", vec![first_address]),
        ("redis.second.svc.cluster.local", vec![second_address]),
    ])
    .unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command
        .args([
            "run",
            "--admin-bind",
            "off",
            "--dns-server",
            &dns.address().to_string(),
        ])
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig());
    let _operator = Process::start(&mut command, &cluster.dir().join("logs/operator.log"));
    let spec = spec_with_locks(1, &format!("redis://redis:{port}"), &["a", "b"]);
    for namespace in ["third", "first", "second"] {
        apply(&client, namespace, &spec).await;
    }
    for (namespace, held, free) in [("first", "a", "b"), ("second", "b", "a")] {
        let api: Api<CoordinatedWorkload> = Api::namespaced(client.clone(), namespace);
        eventually(&format!("{namespace} reads its own Redis"), async || {
            let resource = api.get("web").await.unwrap();
            let seen = super::place::Seen {
                at: jiff::Timestamp::UNIX_EPOCH,
                resource,
            };
            let own = seen.row(held)["state"] == "Foreign" && seen.row(free)["state"] == "Unheld";
            own.then_some(())
        })
        .await;
    }
    // Where there is none of that name, none is used.
    let api: Api<CoordinatedWorkload> = Api::namespaced(client.clone(), "third");
    eventually("the third namespace has no Redis", async || {
        let resource = api.get("web").await.unwrap();
        let seen = super::place::Seen {
            at: jiff::Timestamp::UNIX_EPOCH,
            resource,
        };
        assert_ne!(seen.says("StoreReachable"), "True/Reachable");
        (seen.says("StoreReachable") == "False/DnsFailure").then_some(())
    })
    .await;
    // Until it gets one.
    dns.set("redis.third.svc.cluster.local", vec![first_address]);
    eventually("the third namespace got a Redis", async || {
        let resource = api.get("web").await.unwrap();
        let seen = super::place::Seen {
            at: jiff::Timestamp::UNIX_EPOCH,
            resource,
        };
        (seen.says("StoreReachable") == "True/Reachable").then_some(())
    })
    .await;
    tokio::task::spawn_blocking(|| drop(cluster)).await.unwrap();
}
