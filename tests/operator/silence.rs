//! Nothing that was read from Redis, and no credential, leaves the process: not in status, not in events, not in its log,
//! however much it is told to say. Whatever must not come out holds the same word, and everything that comes out is
//! searched for it.

use lockstep_cluster::RedisOptions;
use serde_json::{Value, json};

use super::locks::{Holders, redis};
use super::operator::operator;
use super::place::{Place, Seen, control_plane, spec};

/// What must never be seen.
const CANARY: &str = "canary7f3a";

fn options() -> RedisOptions {
    let user = format!(
        "{CANARY}-user on >{CANARY}-password resetkeys resetchannels -@all +hello +auth +ping +info +role +time \
         +client|tracking +getrange +pttl +hrandfield +srandmember +zrevrange +hget +hstrlen +lrange +scan ~*"
    );
    let mut args = vec!["--user".to_owned()];
    args.extend(user.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
    RedisOptions {
        args,
        ..RedisOptions::default()
    }
}

fn custom(name: &str, key: &str, holder: &Value) -> Value {
    json!({ "name": name, "hold": "Continuous", "dialect": "Custom", "names": [key], "holder": holder, "ttl": "10m" })
}

/// A set for every place where a holder can stand, each with a pattern that takes in the whole of it.
fn sets() -> Value {
    let whole = "(?<owner>.+)";
    json!([
        custom("string", "string", &json!({ "pattern": whole })),
        custom("json", "json", &json!({ "pattern": whole, "source": { "type": "JsonPointer", "pointer": "/pod" } })),
        custom("hash", "hash", &json!({ "pattern": whole, "source": { "type": "HashField" } })),
        custom("set", "set", &json!({ "pattern": whole, "source": { "type": "SetMember" } })),
        custom("zset", "zset", &json!({ "pattern": whole, "source": { "type": "SortedSetMember" } })),
        custom("sibling", "sibling", &json!({ "pattern": whole, "source": { "type": "SiblingKey", "key": "of:{name}" } })),
        custom("registry", "registry", &json!({ "registry": { "key": "pods", "field": "{holder}" } })),
        { "name": "malformed", "hold": "Continuous", "dialect": "Rigatoni", "names": ["malformed"] },
        { "name": "jobs", "hold": "Intermittent", "dialect": "BullMQ", "names": ["mail"] },
        { "name": "found", "hold": "Intermittent", "dialect": "Redlock", "discover": true, "keyPrefix": "tenant:" },
    ])
}

async fn fill(holders: &Holders) {
    let worker = "0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b:1";
    let token = format!("{CANARY}-token");
    let json = json!({ "pod": token, "secret": token }).to_string();
    let until = "9999999999";
    let found = format!("tenant:{CANARY}");
    let commands: [&[&str]; 14] = [
        &["SET", "string", &token, "PX", "600000"],
        &["SET", "json", &json, "PX", "600000"],
        &["HSET", "hash", &token, "1"],
        &["SADD", "set", &token],
        &["ZADD", "zset", until, &token],
        &["SET", "sibling", &token, "PX", "600000"],
        &["SET", "of:sibling", &token],
        &["SET", "registry", &token, "PX", "600000"],
        &["HSET", "pods", &token, &token],
        &["SET", "rigatoni:lock:malformed", &token, "PX", "600000"],
        &["SET", &found, &token, "PX", "600000"],
        &["LPUSH", "bull:mail:active", CANARY],
        &["HSET", &format!("bull:mail:{CANARY}"), "pb", &token],
        &["SET", &format!("bull:mail:{CANARY}:lock"), worker, "PX", "600000"],
    ];
    for command in commands {
        let _: redis::Value = holders.run(command).await;
    }
    for key in ["hash", "set"] {
        let _: redis::Value = holders.run(&["PEXPIRE", key, "600000"]).await;
    }
}

pub(crate) async fn nothing_read_from_redis_and_no_credential_leaves_the_process() {
    let place = Place::new("silence").await;
    let redis = redis(options()).await;
    let holders = Holders::of(&redis).await;
    fill(&holders).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "redis", "namespace": "silence" },
        "stringData": { "username": format!("{CANARY}-user"), "password": format!("{CANARY}-password") },
    });
    place
        .kubectl_stdin(&["apply", "--filename=-"], &secret.to_string())
        .await;
    let process = operator(&place, &["--log", "trace"]).await;
    let history = place.follow("web");
    let mut spec = spec(2);
    let from = |key: &str| json!({ "secretKeyRef": { "name": "redis", "key": key } });
    spec["redis"] =
        json!({ "url": redis.url(), "usernameFrom": from("username"), "passwordFrom": from("password") });
    spec["locks"] = sets();
    place.apply("web", &spec).await;
    let seen = history
        .first(0, "all is read and judged", |seen| {
            seen.says("LocksHeld") == "False/Malformed" && seen.is_ready()
        })
        .await;
    let rows = &seen.status()["locks"]["rows"];
    for set in ["string", "json", "hash", "set", "zset", "sibling", "registry"] {
        let row = rows.as_array().unwrap().iter().find(|row| row["set"] == set);
        assert_eq!(
            row.unwrap()["state"],
            "Foreign",
            "{set}: read, and shown as nobody: {rows}"
        );
    }
    let malformed = seen.message("LocksHeld");
    assert!(
        malformed.contains("rigatoni:lock:malformed"),
        "the key is in the spec: {malformed}"
    );

    // Losses, handovers, and a server that refuses the credentials in its own words.
    for key in [
        "string",
        "hash",
        "rigatoni:lock:malformed",
        &format!("tenant:{CANARY}"),
    ] {
        let _: i64 = holders.run(&["DEL", key]).await;
    }
    let _: redis::Value = holders
        .run(&["SET", "string", &format!("{CANARY}-other"), "PX", "600000"])
        .await;
    let _: redis::Value = holders
        .run(&[
            "ACL",
            "SETUSER",
            &format!("{CANARY}-user"),
            "resetpass",
            ">another",
        ])
        .await;
    let _: redis::Value = holders
        .run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    history
        .first(0, "the refusal", |seen| {
            seen.says("StoreReachable") == "False/AuthenticationFailed"
        })
        .await;
    process.terminate().await;

    let log = control_plane().await.dir().join("logs/operator-silence.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.len() > 100_000, "it says all it can: {} bytes", log.len());
    let statuses: Vec<String> = history
        .all()
        .iter()
        .map(|seen: &Seen| seen.status().to_string())
        .collect();
    assert!(statuses.len() >= 3, "{} statuses", statuses.len());
    let events = place
        .kubectl(&["get", "events.events.k8s.io", "--output=json"])
        .await;
    assert!(
        events.contains("ForeignLockHolder") || events.contains("StoreUnreachable"),
        "{events}"
    );
    for (what, text) in [("log", log), ("status", statuses.join("\n")), ("events", events)] {
        let line = text.lines().find(|line| line.contains(CANARY));
        // Encoded, too: as a Secret holds it, and as JSON escapes nothing of it.
        let encoded = text.lines().find(|line| line.contains("Y2FuYXJ5N2YzYS"));
        assert!(
            line.is_none() && encoded.is_none(),
            "{what}: {line:?} {encoded:?}"
        );
    }
}
