//! The examples as they are delivered: each runs, and then rests. Their Redis is not there, which is no matter for Ready.

use std::time::Duration;

use lockstep_cluster::Dns;

use super::audit::{self, Request};
use super::operator::operator;
use super::place::{PATIENCE, Place};

const EXAMPLES: [&str; 5] = [
    "mongodb-crud-api",
    "reporadar-compose",
    "reporadar",
    "rigatoni",
    "taskflow",
];
/// The Secrets that their comments ask for, with made-up values.
const SECRETS: [(&str, &[&str]); 4] = [
    ("crud-api-redis", &["password"]),
    (
        "reporadar-compose-secrets",
        &[
            "database-url",
            "session-secret",
            "session-encryption-key",
            "github-token",
            "redis-password",
        ],
    ),
    (
        "reporadar-secrets",
        &["database-url", "session-secret", "session-encryption-key"],
    ),
    ("taskflow-redis", &["password"]),
];
/// For so long nothing may be written.
const REST: Duration = Duration::from_secs(20);

pub(crate) async fn all_examples_run_and_rest() {
    let place = Place::new("examples").await;
    for (name, keys) in SECRETS {
        let literals: Vec<_> = keys
            .iter()
            .map(|key| format!("--from-literal={key}=made-up"))
            .collect();
        let mut command = vec!["create", "secret", "generic", name];
        command.extend(literals.iter().map(String::as_str));
        place.kubectl(&command).await;
    }
    place
        .kubectl(&[
            "create",
            "configmap",
            "taskflow-redis-ca",
            "--from-literal=ca.crt=made-up",
        ])
        .await;
    // A name server that knows no name, so that it does not matter where the test runs.
    let dns = Dns::start::<&str>([]).unwrap();
    let _operator = operator(&place, &["--dns-server", &dns.address().to_string()]).await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/examples");
    let applied = place.kubectl(&["apply", "--filename", folder]).await;
    let histories = EXAMPLES.map(|name| {
        assert!(
            applied.contains(&format!("{name} created")),
            "{name} is in the folder: {applied}"
        );
        (name, place.follow(name))
    });
    assert_eq!(applied.lines().count(), EXAMPLES.len(), "{applied}");
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    place
        .kubectl(&["wait", "--for=condition=Ready", &timeout, "--filename", folder])
        .await;
    for (name, history) in &histories {
        history
            .first(0, "what is not there is said", |seen| {
                // Of its authority's certificate there is only the name here.
                let expected = if *name == "taskflow" {
                    "False/TlsFailure"
                } else {
                    "False/DnsFailure"
                };
                seen.is_ready() && seen.says("StoreReachable") == expected
            })
            .await;
        println!(
            "{name}: {}",
            history.all().last().unwrap().message("StoreReachable")
        );
    }
    for (_, history) in &histories {
        history.rests().await;
    }
    let user = place.user();
    let mark = audit::now();
    tokio::time::sleep(REST).await;
    let writes: Vec<_> = audit::requests(&user, mark)
        .into_iter()
        .filter(Request::is_write)
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    for (name, history) in &histories {
        let last = history.all().pop().unwrap();
        assert!(last.is_ready(), "{name}: {}", last.message("Ready"));
    }
    println!("{}", place.kubectl(&["get", "cwl", "-o", "wide"]).await);
}
