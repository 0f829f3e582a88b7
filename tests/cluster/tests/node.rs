//! Real pods run, find each other by name, and are started again when they die.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::Command;

use lockstep_cluster::{Cluster, Error, Image, Options};

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

    let folder = cluster.dir().to_owned();
    drop(cluster);
    assert!(!folder.exists());
    let left = |program: &str, arguments: &str| {
        let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .filter(|line| line.contains(&*folder.to_string_lossy()))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(left("ps", "-eo args"), Vec::<String>::new());
    assert_eq!(left("cat", "/proc/mounts"), Vec::<String>::new());
}

fn running_as_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}
