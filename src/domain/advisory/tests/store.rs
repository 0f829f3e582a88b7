//! The store: which one, and how it is reached.

use serde_json::{Value, json};

use super::*;
use crate::domain::locks::Trouble;

fn redis(changes: &Value) -> (&'static str, Value) {
    ("/redis", changes.clone())
}

#[test]
fn a_store_without_password_or_tls_is_open() {
    let open = Case::of(&[redis(&json!({ "url": "redis://redis" }))]);
    assert_eq!(open.codes(), ["StoreWithoutPassword", "StoreWithoutTls"]);
    let advice = open.advice();
    assert_says(&advice[0].message, &["spec.redis.passwordFrom"]);
    assert_says(&advice[1].message, &["rediss://", "service mesh"]);

    let secret = json!({ "secretKeyRef": { "name": "a", "key": "b" } });
    none(&[redis(&json!({ "urlFrom": secret }))]);
    none(&[("/redis", Value::Null), ("/locks", json!([]))]);
    let endpoints = json!(["a:1", "b:1", "c:1"]);
    for store in ["sentinel", "cluster", "quorum"] {
        let servers = json!({ "masterName": "m", "endpoints": endpoints });
        let bare = json!({ (store): servers });
        assert_eq!(
            Case::with(&[], &[redis(&bare)]).codes(),
            ["StoreWithoutPassword", "StoreWithoutTls"],
            "{store}"
        );
        let safe = json!({ (store): servers, "passwordFrom": secret, "tls": {} });
        assert_eq!(Case::with(&[], &[redis(&safe)]).codes(), [""; 0], "{store}");
    }
    let certified = json!({ "url": "rediss://redis", "tls": { "clientCertificateSecretName": "c" } });
    assert_eq!(
        Case::with(&[], &[redis(&certified)]).codes(),
        [""; 0],
        "a certificate is a credential"
    );
}

/// The quiet workload whose container has these variables.
fn with_env(env: &[(&str, &str)]) -> Vec<(&'static str, Value)> {
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    vec![("/template/spec/containers/0/env", json!(env))]
}

#[test]
fn the_pods_must_lock_where_lockstep_looks() {
    use AdvisoryCode::RedisHostDiffers;
    for (variable, value, host) in [
        ("REDIS_URL", "redis://other:6379/0", "other"),
        ("STORE", "rediss://other", "other"),
        ("REDIS_HOST", "other", "other"),
        ("APP_REDIS_HOSTNAME", "other:7000", "other"),
        ("REDIS_URL", "redis://redis.staging:6379", "redis.staging"),
        (
            "REDIS_URL",
            "redis://redis.staging.svc.cluster.local",
            "redis.staging.svc.cluster.local",
        ),
        ("REDIS_HOSTS", "a:1, b:2", "a"),
        ("REDIS_URL", "redis://localhost:6379", "localhost"),
        ("REDIS_URL", "redis://127.0.0.1", "127.0.0.1"),
        ("REDIS_URL", "redis://user:hunter2@other:6379", "other"),
        ("REDIS_URL", "redis://:p@ss,hunter2@other:6379", "other"),
    ] {
        let message = Case::of(&with_env(&[(variable, value)])).message(RedisHostDiffers);
        assert_says(
            &message,
            &[
                &format!("{variable} of container app names host {host}, while spec.redis names redis:"),
                "Name the same host in both.",
            ],
        );
        assert!(
            !message.contains("hunter2") && !message.contains("user"),
            "{message}"
        );
    }
    for (variable, value) in [
        ("REDIS_URL", "redis://redis:6379/3?x=y"),
        ("REDIS_URL", "redis://REDIS.prod:6380"),
        ("REDIS_URL", "redis://redis.prod.svc.cluster.local.:6379"),
        ("REDIS_HOST", "redis.prod.svc"),
        ("REDIS_HOST", "$(SOME_HOST)"),
        ("REDIS_HOST", "redis-$(SHARD)"),
        ("REDIS_HOST", "true"),
        ("REDIS_HOST_COUNT", "3"),
        ("REDIS_HOST", ""),
        ("REDIS_PORT", "6380"),
        ("REDIS_PREFIX", "other"),
        ("HOST_REDIS", "other"),
        ("CACHE", "memcached://other"),
        // An address, and a name that may have it.
        ("REDIS_URL", "redis://10.0.0.7:6379"),
        ("REDIS_URL", "redis://[fd00::1]:6379"),
        // No host: a piece of a password would be shown.
        ("REDIS_URL", "redis://:hunter2/x@redis"),
        ("REDIS_URL", "redis://:hunter2"),
        ("REDIS_URL", "redis://hunter2:x"),
    ] {
        let case = Case::of(&with_env(&[(variable, value)]));
        assert_eq!(case.codes(), [""; 0], "{variable}={value}");
    }
    // A second Redis for something else.
    none(&with_env(&[
        ("CACHE_URL", "redis://cache"),
        ("REDIS_URL", "redis://redis"),
    ]));
    // What another container uses holds no locks; behind localhost a proxy may listen.
    let exporter = json!({ "name": "exporter", "image": "x", "readinessProbe": { "exec": {} }, "env": [{ "name": "REDIS_HOST", "value": "other" }] });
    let mut changes = with_env(&[("REDIS_URL", "redis://localhost")]);
    changes.push(("/template/spec/containers/-", exporter));
    none(&changes);
    changes.push(("/locks/0/holder", json!({ "container": "exporter" })));
    let message = Case::of(&changes).message(RedisHostDiffers);
    assert_says(&message, &["REDIS_HOST of container exporter names host other"]);
}

#[test]
fn a_fixed_server_beside_sentinels_is_named() {
    let secret = json!({ "secretKeyRef": { "name": "a", "key": "b" } });
    let sentinels = json!({ "sentinel": { "masterName": "m", "endpoints": ["sentinel-0.sentinels:26379"] }, "tls": {}, "passwordFrom": secret });
    let case = |value: &str| Case::with(&with_env(&[("REDIS_URL", value)]), &[redis(&sentinels)]);
    let message = case("redis://redis-master:6379").message(AdvisoryCode::RedisHostDiffers);
    assert_says(
        &message,
        &[
            "names host redis-master, while spec.redis names Sentinels",
            "ask the Sentinels",
        ],
    );
    assert_eq!(
        case("redis://sentinel-0.sentinels.prod.svc:26379").codes(),
        [""; 0]
    );
    let url = json!({ "urlFrom": secret });
    let case = Case::with(&with_env(&[("REDIS_URL", "redis://other")]), &[redis(&url)]);
    assert_eq!(case.codes(), [""; 0], "what a Secret holds is not compared");
}

#[test]
fn a_port_from_a_secret_may_be_shut() {
    use AdvisoryCode::RedisPortGuessed;
    let url = redis(&json!({ "urlFrom": { "secretKeyRef": { "name": "a", "key": "b" } } }));
    let case = |egress: Value, port: Option<u16>| {
        let mut case = Case::of(&[url.clone(), ("/networkPolicy", json!({ "egress": egress }))]);
        case.store = Some(StoreView {
            place: String::new(),
            port,
            identity: 1,
            seen: Err(Trouble::SecretNotFound),
        });
        case
    };
    let codes = |case: Case| {
        let mut codes = case.codes();
        codes.retain(|code| code != "PolicyNeedsCni");
        codes
    };
    let told = case(json!([]), Some(7001));
    let advice = told.advice();
    assert_eq!(
        (advice[0].code.as_str(), advice[1].code.as_str()),
        ("RedisPortGuessed", "PolicyNeedsCni")
    );
    assert_says(&advice[0].message, &["spec.redis.urlFrom", "6379 and 6380"]);
    assert!(
        !advice[0].message.contains("7001"),
        "what a Secret holds is not shown"
    );
    assert_eq!(codes(case(json!([]), Some(6380))), [""; 0]);
    assert_eq!(codes(case(json!([]), None)), [""; 0], "nobody knows");
    // The Secret went, and nobody knows any more: what was said stands.
    let mut gone = case(json!([]), None);
    gone.previous = advice;
    assert_eq!(codes(gone), [RedisPortGuessed.as_str()]);
    for open in [
        json!([{ "ports": [{ "port": 7001 }] }]),
        json!([{ "ports": [{ "port": 7000, "endPort": 7002 }] }]),
        json!([{ "to": [{ "podSelector": {} }] }]),
    ] {
        assert_eq!(codes(case(open, Some(7001))), [""; 0]);
    }
    let other = json!([{ "ports": [{ "port": 7001, "protocol": "UDP" }, { "port": "redis" }] }]);
    assert_eq!(codes(case(other, Some(7001))), [RedisPortGuessed.as_str()]);
}
