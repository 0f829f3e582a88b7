//! What the operator answers to probes: that it lives, whether it is ready, and what it lacks.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use kube::api::{Api, DeleteParams, PostParams};
use lockstep::telemetry::{METRICS_TYPE, health::CRD_MISSING};
use lockstep_cluster::{Cluster, Options};

use super::operator::{Process, get, operator};
use super::place::{Place, config, control_plane, eventually};

/// Waits until `/readyz` answers with this status, and says what it says.
pub(crate) async fn readyz(address: SocketAddr, status: u16, contains: &str) -> String {
    let what = format!("/readyz says {status}, {contains}");
    eventually(&what, async || {
        let page = get(address, "/readyz").await?;
        (page.status == status && page.text.contains(contains)).then_some(page.text)
    })
    .await
}

pub(crate) async fn it_waits_for_the_definition_says_so_and_goes_on_when_it_comes() {
    // A control plane of its own, without the definition.
    let cluster = tokio::task::spawn_blocking(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Cluster::start(&Options {
            fake_nodes: 0,
            ..Options::control_plane()
        })
        .unwrap()
    })
    .await
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command
        .args(["run", "--admin-bind", "127.0.0.1:0"])
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig());
    let operator = Process::start(&mut command, &cluster.dir().join("logs/operator.log"));
    let address = operator.admin().await;
    let said = readyz(address, 503, "crds/").await;
    // Other lists may not be complete yet.
    let missing = format!("not ready: {CRD_MISSING}");
    assert!(said.lines().any(|line| line == missing), "{said}");
    assert_eq!(
        get(address, "/livez").await.unwrap().status,
        200,
        "it waits, and lives"
    );
    assert_eq!(get(address, "/other").await.unwrap().status, 404);
    let metrics = get(address, "/metrics").await.unwrap();
    assert_eq!(
        (metrics.status, metrics.content_type.as_str()),
        (200, METRICS_TYPE)
    );
    assert!(
        metrics.text.contains("lockstep_build_info{version="),
        "{}",
        metrics.text
    );
    // Everything else is there; only the definition is missing.
    let only = format!("not ready: {CRD_MISSING}\n");
    eventually("only the definition is missing", async || {
        (get(address, "/readyz").await?.text == only).then_some(())
    })
    .await;
    let cluster = tokio::task::spawn_blocking(move || {
        let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        cluster.kubectl(&["apply", "--filename", definitions]).unwrap();
        cluster
    })
    .await
    .unwrap();
    readyz(address, 200, "ready").await;
    let log = operator.log();
    let said = log
        .lines()
        .filter(|line| line.contains("is not installed"))
        .count();
    assert_eq!(said, 1, "once, however often it was looked for:\n{log}");
    // What was there before the operator was ready is served.
    let client = lockstep::cluster::client(config(cluster.kubeconfig()).await).unwrap();
    let spec = super::place::spec(1);
    super::place::apply(&client, "default", "web", &spec)
        .await
        .unwrap();
    let resources: Api<lockstep::api::CoordinatedWorkload> = Api::namespaced(client, "default");
    eventually("the resource is looked at", async || {
        let status = resources.get("web").await.unwrap().status?;
        (status.observed_generation == 1).then_some(())
    })
    .await;
    operator.terminate().await;
}

pub(crate) async fn a_right_to_watch_that_is_missing_is_named_until_it_is_granted() {
    let place = Place::new("readiness").await;
    // Every right that it needs is one of the namespace; without this one it lists nothing.
    let bindings = place.api::<k8s_openapi::api::rbac::v1::RoleBinding>();
    let binding = bindings.get("operator").await.unwrap();
    bindings
        .delete("operator", &DeleteParams::default())
        .await
        .unwrap();
    let operator = operator(&place, &["--admin-bind", "127.0.0.1:0"]).await;
    let address = operator.admin().await;
    let said = readyz(address, 503, "forbidden").await;
    for kind in ["pods", "deployments", "coordinatedworkloads"] {
        readyz(
            address,
            503,
            &format!("{kind} in namespace readiness can't be listed: "),
        )
        .await;
    }
    assert!(!said.contains("is not installed"), "{said}");
    let mut again = binding;
    again.metadata.resource_version = None;
    again.metadata.uid = None;
    bindings.create(&PostParams::default(), &again).await.unwrap();
    readyz(address, 200, "ready").await;
    operator.terminate().await;
}

pub(crate) async fn a_taken_port_ends_the_start_with_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command
        .args(["run", "--admin-bind", &address.to_string()])
        .env_clear()
        .env("KUBECONFIG", control_plane().await.kubeconfig())
        .env("NO_COLOR", "1");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{log}");
    let says = format!("can't serve health and metrics at {address}: Address already in use");
    assert!(log.contains(&says) && log.contains("--admin-bind off"), "{log}");
}
