//! The command for a stuck lock, run by a real shell against real servers: it deletes a key that has no expiry, and leaves
//! alone every other.

use std::process::Command;

use lockstep::{
    api::spec::KeySelector,
    cli::show::stuck::command,
    domain::workload::{Store, StoreAddress, StoreHost, StoreSentinel},
};
use lockstep_cluster::{Redis, RedisOptions};

fn store(address: StoreAddress) -> Store {
    Store {
        address,
        username_from: None,
        password_from: None,
        tls: None,
        database: 0,
    }
}

fn host(redis: &Redis) -> StoreHost {
    StoreHost {
        name: redis.address().to_string(),
        port: redis.port(),
    }
}

/// Runs the printed command as somebody would who has read what stands above it.
fn run(redis: &Redis, store: &Store, key: &str) -> String {
    let output = Command::new("bash")
        .args(["-c", &command(store, key).unwrap()])
        .env("REDIS_URL", redis.url())
        .env("MASTER_HOST", redis.address().to_string())
        .env("MASTER_PORT", redis.port().to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn only_what_has_no_expiry_is_deleted() {
    let servers: Vec<_> = (0..3)
        .map(|_| Redis::start(RedisOptions::default()).unwrap())
        .collect();
    let redis = &servers[0];
    let secret = KeySelector {
        name: "redis".into(),
        key: "url".into(),
    };
    let sentinel = StoreSentinel {
        master: "main".into(),
        endpoints: vec![],
        username_from: None,
        password_from: None,
        tls: None,
    };
    let addresses = [
        StoreAddress::Url(host(redis)),
        StoreAddress::Secret(secret),
        StoreAddress::Sentinel(sentinel),
        StoreAddress::Quorum(servers.iter().map(host).collect()),
    ];
    for address in addresses {
        let store = store(address);
        for key in [
            "rigatoni:lock:orders",
            "it's $(reboot) \"x\"",
            "-n",
            "two\nlines\u{1b}[2J",
            "größe",
        ] {
            let said = |expected: &str| {
                let count = if matches!(store.address, StoreAddress::Quorum(_)) {
                    3
                } else {
                    1
                };
                let answers = [expected].repeat(count).join("\n");
                assert_eq!(run(redis, &store, key), answers.trim(), "{key:?} {store:?}");
            };
            let each = |arguments: &[&str]| -> Vec<String> {
                servers
                    .iter()
                    .map(|redis| redis.cli(arguments).unwrap().trim().to_owned())
                    .collect()
            };
            // Held as it should be: it stays.
            each(&["SET", key, "somebody", "PX", "100000"]);
            said("");
            each(&["PERSIST", key]);
            assert_eq!(each(&["EXISTS", key])[0], "1");
            said("1");
            assert_eq!(each(&["EXISTS", key])[0], "0", "{key:?}");
            // Gone already: nothing to do.
            each(&["DEL", key]);
            said("");
            each(&["HSET", key, "somebody", "1"]);
            said("1");
            each(&["DEL", key]);
        }
    }
}
