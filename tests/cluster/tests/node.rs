//! Real pods run, find each other by name, and are started again when they die.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::Command;

use common::{eventually, lines_with, processes_of, start_owner};
use lockstep_cluster::{Cluster, Component, Error, Image, Options};

mod common;

const WORKLOAD: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: redis}
spec:
  selector: {app: redis}
  ports: [{port: 6379}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: redis}
spec:
  selector: {matchLabels: {app: redis}}
  template:
    metadata: {labels: {app: redis}}
    spec:
      containers:
      - name: redis
        image: lockstep.dev/redis:test
        imagePullPolicy: Never
        ports: [{containerPort: 6379}]
        readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers:
  - name: client
    image: lockstep.dev/redis:test
    imagePullPolicy: Never
    command: [redis-cli, -h, redis, -i, "1", -r, "-1", PING]
"#;

#[test]
fn real_pods_run_and_find_each_other() {
    let cluster = match Cluster::start(&Options::node()) {
        Err(Error::NeedsRoot) if !running_as_root() => return,
        cluster => cluster.unwrap(),
    };
    let kubectl = |line: &str| cluster.kubectl(&line.split(' ').collect::<Vec<_>>()).unwrap();

    cluster
        .load_image(&Image::redis("lockstep.dev/redis:test").unwrap())
        .unwrap();
    cluster
        .kubectl_stdin(&["apply", "--filename=-"], WORKLOAD)
        .unwrap();
    kubectl("rollout status deployment/redis --timeout=60s");
    kubectl("wait pod/client --for=condition=Ready --timeout=60s");

    // The client resolves `redis` and comes through the service.
    kubectl("wait pod/client --for=jsonpath={.status.containerStatuses[0].ready}=true --timeout=60s");
    let logs = std::iter::repeat_with(|| kubectl("logs client"))
        .take(100)
        .find(|logs| logs.contains("PONG"));
    assert!(logs.is_some());
    let name = "redis.default.svc.cluster.local";
    let answer = kubectl(&format!("exec client -- redis-cli -h {name} PING"));
    assert_eq!(answer, "PONG\n");

    // Its process dies from outside; kubelet starts it again.
    let pod = kubectl("get pods --selector=app=redis --output=jsonpath={.items[0].metadata.name}");
    let pid = cluster.container_pid("default", &pod, "redis").unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
    kubectl(&format!(
        "wait pod/{pod} --for=jsonpath={{.status.containerStatuses[0].restartCount}}=1 --timeout=60s"
    ));
    kubectl("rollout status deployment/redis --timeout=60s");
    assert_ne!(cluster.container_pid("default", &pod, "redis").unwrap(), pid);

    // From this machine, a service is reachable too.
    let service = kubectl("get service redis --output=jsonpath={.spec.clusterIP}");
    let output = Command::new("redis-cli")
        .args(["-h", &service, "PING"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "PONG\n");

    // The node's own programs can be disturbed too; containers live on without them.
    let pid = cluster.container_pid("default", &pod, "redis").unwrap();
    for component in [Component::Containerd, Component::Kubelet] {
        let before = cluster.pid(component);
        cluster.freeze(component).unwrap();
        cluster.thaw(component).unwrap();
        cluster.restart(component).unwrap();
        eventually("another process", || {
            cluster.pid(component).is_some_and(|pid| Some(pid) != before)
        });
    }
    eventually("logs through the new kubelet", || {
        cluster
            .kubectl(&["logs", &pod])
            .is_ok_and(|logs| logs.contains("Ready to accept connections"))
    });
    assert_eq!(cluster.container_pid("default", &pod, "redis").unwrap(), pid);

    let folder = cluster.dir().to_owned();
    drop(cluster);
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<String>::new());
}

#[test]
fn a_killed_node_leaves_nothing() {
    if !running_as_root() {
        return;
    }
    let name = format!("node-{}", std::process::id());
    let (mut owner, folder) = start_owner(&format!("up --profile node --name {name}"));

    // The node's number is in its addresses and names; others may run beside it.
    let kubeconfig = std::fs::read_to_string(folder.join("kubeconfig")).unwrap();
    let (_, address) = kubeconfig.split_once("https://10.253.").unwrap();
    let number = address.split('.').next().unwrap();
    let traces = || {
        let mut traces = lines_with(&format!("lockstep-{number}@"), "ip", "-brief link");
        traces.extend(lines_with(&format!("dev lockstep-{number} "), "ip", "route"));
        traces.extend(lines_with(
            &format!("lockstep-node-{number}"),
            "find",
            "/sys/fs/cgroup -type d",
        ));
        traces
    };
    assert!(traces().len() >= 5, "{:?}", traces());

    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the end of all traces", || {
        !folder.exists() && processes_of(&folder).is_empty() && traces().is_empty()
    });
    assert_eq!(
        lines_with(&folder.to_string_lossy(), "cat", "/proc/mounts"),
        Vec::<String>::new()
    );
}

fn running_as_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}
