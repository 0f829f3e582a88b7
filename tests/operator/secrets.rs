//! What `spec.redis` names in Secrets and `ConfigMap`s: read when it is needed, and again when it changed.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams};
use lockstep_cluster::{Redis, RedisOptions};
use serde_json::{Value, json};

use super::certificates::{Authority, Folder, options};
use super::locks::{Holders, redis};
use super::operator::operator;
use super::place::{Place, eventually, spec, spec_with_locks};

async fn secret(place: &Place, name: &str, data: Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data,
    });
    place
        .api::<Secret>()
        .patch(name, &PatchParams::apply("test").force(), &Patch::Apply(secret))
        .await
        .unwrap();
}

fn from(name: &str, key: &str) -> Value {
    json!({ "secretKeyRef": { "name": name, "key": key } })
}

/// From here on this password is the user's, and whoever came with another one has to come again.
async fn rotate(holders: &Holders, password: &str) {
    let password = format!(">{password}");
    let set = ["ACL", "SETUSER", "lockstep", "resetpass", &password];
    holders.run::<()>(&set).await;
    holders.run::<u64>(&["CLIENT", "KILL", "USER", "lockstep"]).await;
}

async fn is_back(holders: &Holders) {
    eventually("a connection with the new password", async || {
        let clients: String = holders.run(&["CLIENT", "LIST"]).await;
        clients
            .lines()
            .any(|client| client.contains(" user=lockstep ") && client.contains(" flags=t "))
            .then_some(())
    })
    .await;
}

pub(crate) async fn a_password_is_rotated_without_a_gap_whichever_side_changes_first() {
    let place = Place::new("rotation").await;
    let args = "--user lockstep on >first ~* +@all"
        .split(' ')
        .map(str::to_owned)
        .collect();
    let redis = redis(RedisOptions {
        args,
        ..RedisOptions::default()
    })
    .await;
    let holders = Holders::of(&redis).await;
    secret(
        &place,
        "redis",
        json!({ "username": "lockstep", "password": "first" }),
    )
    .await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let mut wanted = spec_with_locks(2, &redis.url(), &["mydb:users", "mydb:orders"]);
    wanted["redis"]["usernameFrom"] = from("redis", "username");
    wanted["redis"]["passwordFrom"] = from("redis", "password");
    place.apply("web", &wanted).await;
    let pods = place.ready_pods("web", 2).await;
    holders.take("mydb:users", &pods[0]).await;
    holders.take("mydb:orders", &pods[1]).await;
    history
        .first(0, "all locks are held", |seen| {
            seen.says("LocksHeld") == "True/AllHeld" && seen.is_ready()
        })
        .await;
    let mark = history.mark();

    rotate(&holders, "second").await;
    eventually("a refusal", async || {
        let refused: Vec<redis::Value> = holders.run(&["ACL", "LOG"]).await;
        (!refused.is_empty()).then_some(())
    })
    .await;
    secret(
        &place,
        "redis",
        json!({ "username": "lockstep", "password": "second" }),
    )
    .await;
    is_back(&holders).await;
    secret(
        &place,
        "redis",
        json!({ "username": "lockstep", "password": "third" }),
    )
    .await;
    rotate(&holders, "third").await;
    is_back(&holders).await;

    // It sees again what happens, and said nothing in between.
    holders.release("mydb:users").await;
    holders.take("mydb:users", &pods[1]).await;
    history
        .first(mark, "another holder", |seen| {
            seen.row("mydb:users")["pod"] == json!(pods[1]) && seen.says("LocksHeld") == "True/AllHeld"
        })
        .await;
    history.never(mark, "a gap", |seen| {
        seen.says("StoreReachable") != "True/Reachable" || seen.says("LocksHeld").starts_with("Unknown")
    });
    assert_eq!(place.warnings("web").await, Vec::<String>::new());
}

pub(crate) async fn every_kind_of_store_is_reached_with_what_its_secrets_hold() {
    let place = Place::new("stores").await;
    let authority = Authority::new();
    let folder = Folder::new();
    let identity = authority.of_loopback();
    let secured = redis(options(folder.path(), &authority, &identity, "yes")).await;
    let mut plain = Vec::new();
    for _ in 0..3 {
        plain.push(redis(RedisOptions::default()).await);
    }
    let sentinel = redis(RedisOptions {
        sentinel: true,
        args: format!(
            "--requirepass other --sentinel monitor main 127.0.0.1 {} 1",
            plain[0].port()
        )
        .split(' ')
        .map(str::to_owned)
        .collect(),
        cli_args: ["-a", "other"].map(str::to_owned).to_vec(),
        ..RedisOptions::default()
    })
    .await;
    let at = |redis: &Redis| format!("{}:{}", redis.address(), redis.port());
    let client = authority.of_loopback();
    secret(
        &place,
        "client",
        json!({ "tls.crt": client.certificate, "tls.key": client.key }),
    )
    .await;
    secret(&place, "sentinel", json!({ "password": "other" })).await;
    let url = format!("rediss://{}/1", at(&secured));
    secret(&place, "url", json!({ "url": url })).await;
    let tls = json!({
        "caFrom": { "configMapKeyRef": { "name": "authority", "key": "ca.crt" } },
        "clientCertificateSecretName": "client",
    });
    let servers: Vec<String> = plain.iter().map(at).collect();
    let stores = [
        (
            "tls",
            json!({ "url": format!("rediss://{}", at(&secured)), "tls": tls }),
        ),
        (
            "tls-url-from",
            json!({ "urlFrom": from("url", "url"), "tls": tls }),
        ),
        (
            "sentinel",
            json!({ "sentinel": {
                "masterName": "main", "endpoints": [at(&sentinel)], "passwordFrom": from("sentinel", "password"),
            } }),
        ),
        ("quorum", json!({ "quorum": { "endpoints": servers } })),
    ];
    let _operator = operator(&place, &[]).await;
    let mut histories = Vec::new();
    for (name, store) in &stores {
        let mut wanted = spec(1);
        wanted["redis"] = store.clone();
        place.apply(name, &wanted).await;
        histories.push((*name, place.follow(name)));
    }
    for (name, history) in &histories[..2] {
        let missing = history
            .first(0, name, |seen| {
                seen.says("StoreReachable") == "False/SecretNotFound"
            })
            .await;
        assert!(missing.message("StoreReachable").contains("ConfigMap"));
    }
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "authority" },
        "data": { "ca.crt": authority.pem() },
    });
    place
        .api::<ConfigMap>()
        .patch("authority", &PatchParams::apply("test"), &Patch::Apply(map))
        .await
        .unwrap();
    for (name, history) in &histories {
        let reached = history
            .first(0, name, |seen| seen.says("StoreReachable") == "True/Reachable")
            .await;
        println!("{}", reached.message("StoreReachable"));
    }
}
