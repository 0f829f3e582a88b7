//! The command keeps named clusters, and nothing outlives the process that owns one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::Output;

use common::{command, eventually, processes_of, start_owner};
use lockstep_cluster::Cluster;

mod common;

fn run(line: &str) -> Output {
    command(line).output().unwrap()
}

/// The standard output of a command that must succeed.
fn answer(line: &str) -> String {
    let output = run(line);
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nothing_outlives_a_killed_owner() {
    let name = format!("killed-{}", std::process::id());
    let (mut owner, folder) = start_owner(&format!("up --name {name} --fake-nodes 1"));
    assert!(processes_of(&folder).len() >= 5, "{:?}", processes_of(&folder));

    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the end of all processes and of their folder", || {
        !folder.exists() && processes_of(&folder).is_empty()
    });
    // What the owner wrote down is still there, and misleads nobody.
    assert!(Cluster::attach(&name).unwrap().is_none());
    assert!(!run(&format!("status --name {name}")).status.success());
    answer(&format!("down --name {name}"));
}

#[test]
fn a_detached_cluster_is_found_by_its_name() {
    let name = format!("detached-{}", std::process::id());
    let kubeconfig = answer(&format!("up --detach --name {name} --fake-nodes 1"));
    assert_eq!(
        answer(&format!("up --detach --name {name} --fake-nodes 1")),
        kubeconfig,
        "twice is no error"
    );
    assert_eq!(answer(&format!("status --name {name}")), kubeconfig);

    let cluster = Cluster::attach(&name).unwrap().unwrap();
    assert_eq!(format!("{}\n", cluster.kubeconfig().display()), kubeconfig);
    assert_eq!(
        cluster.kubectl(&["get", "nodes", "--output=name"]).unwrap(),
        "node/fake-0\n"
    );
    cluster.dns_address().unwrap_err();
    let folder = cluster.dir().to_owned();
    drop(cluster);
    assert!(folder.exists(), "who attaches does not own");

    answer(&format!("down --name {name}"));
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<String>::new());
    assert!(Cluster::attach(&name).unwrap().is_none());
    answer(&format!("down --name {name}"));
}

#[test]
fn a_name_is_not_a_path() {
    let output = run("up --name ../elsewhere");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("can't name a cluster"));
}
