//! The control plane comes up, takes workloads, can be disturbed, and says what is wrong with it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use lockstep_cluster::{Cluster, Component, Options};

fn deploy(cluster: &Cluster, name: &str) {
    cluster
        .kubectl(&["create", "deployment", name, "--image=anything", "--replicas=4"])
        .unwrap();
    cluster
        .kubectl(&[
            "rollout",
            "status",
            &format!("deployment/{name}"),
            "--timeout=60s",
        ])
        .unwrap();
}

#[test]
fn two_clusters_run_side_by_side_with_ready_pods() {
    let clusters =
        [(); 2].map(|()| std::thread::spawn(|| Cluster::start(&Options::control_plane()).unwrap()));
    let [first, second] = clusters.map(|cluster| cluster.join().unwrap());
    assert_ne!(first.server_url(), second.server_url());

    deploy(&first, "only-in-the-first");
    let names = second.kubectl(&["get", "deployments", "--output=name"]).unwrap();
    assert_eq!(names, "");
}

#[test]
fn apiserver_can_be_frozen_and_restarted() {
    let audit_log = std::env::temp_dir().join(format!("audit-{}.log", std::process::id()));
    let options = Options {
        fake_nodes: 1,
        audit_log: Some(audit_log.clone()),
        ..Options::control_plane()
    };
    let cluster = Cluster::start(&options).unwrap();

    cluster.freeze(Component::ApiServer).unwrap();
    cluster
        .kubectl(&["get", "namespaces", "--request-timeout=1s"])
        .unwrap_err();
    cluster.thaw(Component::ApiServer).unwrap();
    cluster.kubectl(&["get", "namespaces"]).unwrap();

    let before = cluster.pid(Component::ApiServer);
    cluster.restart(Component::ApiServer).unwrap();
    assert_ne!(cluster.pid(Component::ApiServer), before);
    deploy(&cluster, "after-the-restart");

    let audit = std::fs::read_to_string(&audit_log).unwrap();
    std::fs::remove_file(&audit_log).unwrap();
    assert!(
        audit
            .lines()
            .any(|line| line.contains("\"userAgent\":\"kubectl/"))
    );
}

#[test]
fn a_component_that_refuses_to_start_is_reported_with_its_log() {
    let options = Options {
        apiserver_args: vec!["--no-such-flag".to_owned()],
        ..Options::control_plane()
    };
    let error = Cluster::start(&options).unwrap_err().to_string();
    assert!(
        error.contains("kube-apiserver ended") && error.contains("unknown flag: --no-such-flag"),
        "{error}"
    );
}
