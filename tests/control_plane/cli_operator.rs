//! What `kubectl lockstep` says of the operator itself, against a real apiserver: whether it lives, by its Lease, and
//! what it counts, through the apiserver's proxy.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use lockstep::clock;
use lockstep::cluster::{LEASE_LABEL, LeaseObject, LeaseRecord};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::cli::{PLUGIN, plugin, run, tell, tempfile, told};
use super::harness::{Room, control_plane, kubectl};

/// Writes a Lease as somebody does who is not the operator: of the last renewal it then says what is given here.
async fn lease(room: &Room, holder: &str, renewed: Timestamp) {
    let body = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "elsewhere", "labels": { LEASE_LABEL.0: LEASE_LABEL.1 } },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": MicroTime(renewed) },
    });
    let api: kube::Api<Lease> = kube::Api::namespaced(room.client.clone(), &room.namespace);
    let force = PatchParams::apply("test").force();
    api.patch("elsewhere", &force, &Patch::Apply(&body))
        .await
        .unwrap();
}

fn minutes_ago(minutes: i64) -> Timestamp {
    clock::wall() - SignedDuration::from_mins(minutes)
}

/// Rounded down it stays four minutes for a while.
fn four_minutes_ago() -> Timestamp {
    minutes_ago(4) - SignedDuration::from_secs(5)
}

#[tokio::test]
async fn a_dead_operator_does_not_look_healthy() {
    let namespace = "plugin-operator";
    let room = Room::new(namespace).await;
    tell(&room, "healthy").await;
    let status = async || plugin(namespace, &["status", "shop"]).await;
    let why = async || plugin(namespace, &["why", "shop"]).await.out;

    let none = status().await;
    assert_eq!(none.code, 0, "{none:?}");
    assert!(
        none.out
            .contains("\nOperator not checked: there is no lease of one."),
        "{}",
        none.out
    );

    // It died; its lease has a name of its own, and is found by its label.
    lease(&room, "lockstep-6c8f9d7b54-x2x4z_0f3a", four_minutes_ago()).await;
    let dead = status().await;
    assert_eq!(dead.code, 3, "{dead:?}");
    let first = "The operator has not renewed its lease for 4m";
    assert!(dead.out.starts_with(first), "{}", dead.out);
    assert!(
        dead.out.contains("(plugin-operator/lockstep-6c8f9d7b54-x2x4z)"),
        "{}",
        dead.out
    );
    let reasons = why().await;
    assert!(reasons.starts_with("shop in namespace plugin-operator: not known\n"));
    for line in [
        "\n1. The operator has not renewed its lease for 4m",
        "\n     kubectl get pods -n plugin-operator -l app.kubernetes.io/part-of=lockstep\n",
    ] {
        assert!(reasons.contains(line), "{line}: {reasons}");
    }
    for format in ["json", "yaml", "wide"] {
        let locks = plugin(namespace, &["locks", "shop", "-o", format]).await;
        assert_eq!(locks.code, 0, "{locks:?}");
        assert!(locks.err.starts_with(first), "{format}: {}", locks.err);
    }

    // One that was asked to end, just now.
    lease(&room, "", minutes_ago(0)).await;
    let ended = status().await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.out.starts_with("No operator has led for "), "{}", ended.out);

    // A new one comes while somebody waits for it. Its node's clock is an hour slow, which makes no difference.
    let watching = plugin(namespace, &["status", "shop", "--watch", "--timeout", "90s"]);
    let coming = async {
        let object = LeaseObject::new(room.client.clone(), namespace, "elsewhere");
        let limit = Duration::from_secs(10);
        let found = object.read(limit).await.unwrap().unwrap();
        let record = LeaseRecord {
            holder: Some("lockstep-6c8f9d7b54-new_1b".into()),
            renewed: Some(minutes_ago(60)),
            ..found
        };
        object.write(&record, limit).await.unwrap();
    };
    let (watched, ()) = tokio::join!(watching, coming);
    assert_eq!(watched.code, 0, "{watched:?}");
    let line = "\nOperator plugin-operator/lockstep-6c8f9d7b54-new leads, renewed ";
    assert!(watched.out.contains(line), "{}", watched.out);
    let reasons = why().await;
    assert!(
        reasons.starts_with("shop in namespace plugin-operator: nothing is wrong\n")
            && !reasons.contains("1. "),
        "{reasons}"
    );
}

/// Of its death nothing that is watched says anything.
#[tokio::test]
async fn an_operator_that_dies_while_somebody_watches_is_noticed() {
    let namespace = "plugin-dies";
    let room = Room::new(namespace).await;
    tell(&room, "stuck_lock_without_expiry").await;
    let object = LeaseObject::new(room.client.clone(), namespace, "lockstep");
    let record = LeaseRecord {
        holder: Some("lockstep-a_0f3a".into()),
        duration: Duration::from_secs(8),
        renewed: Some(clock::wall()),
        ..LeaseRecord::default()
    };
    object.write(&record, Duration::from_secs(10)).await.unwrap();
    let watched = plugin(namespace, &["status", "shop", "--watch", "--timeout", "25s"]).await;
    assert_eq!(watched.code, 4, "{watched:?}");
    let alive = watched
        .out
        .find("Operator plugin-dies/lockstep-a leads, renewed ");
    let dead = watched.out.find("The operator has not renewed its lease for ");
    assert!(alive.is_some() && alive < dead, "{}", watched.out);
}

/// Somebody who may read these in a namespace and nothing else; answers their kubeconfig.
async fn somebody(namespace: &str, resources: &str) -> String {
    let space = ["--namespace", namespace];
    let resource = format!("--resource={resources}");
    let role = ["create", "role", "look", "--verb=get,list", &resource];
    kubectl(&[&role, &space[..]].concat()).await;
    let bind = ["create", "rolebinding", "look", "--role=look", "--user=ann"];
    kubectl(&[&bind, &space[..]].concat()).await;
    let kubeconfig = std::fs::read_to_string(control_plane().await.kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_yaml::from_str(&kubeconfig).unwrap();
    kubeconfig["users"][0]["user"]["as"] = "ann".into();
    let file = tempfile(namespace);
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    file
}

/// An address of this machine that a pod could have: the apiserver forwards nothing to loopback.
fn address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: only the way there is chosen.
    socket
        .connect("192.0.2.254:9")
        .expect("a network beside loopback");
    socket.local_addr().unwrap().ip()
}

/// Serves a page to whoever asks, until it is dropped.
async fn serve(page: String) -> (JoinSet<()>, SocketAddr) {
    let listener = TcpListener::bind((address(), 0)).await.unwrap();
    let place = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let asked = String::from_utf8_lossy(&request[..length]).into_owned();
            let (status, text) = if asked.starts_with("GET /metrics ") {
                ("200 OK", page.as_str())
            } else {
                ("404 Not Found", "")
            };
            let length = text.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (serving, place)
}

#[tokio::test]
async fn figures_are_read_from_the_operator_that_leads() {
    let namespace = "plugin-figures";
    let room = Room::new(namespace).await;
    tell(&room, "healthy").await;
    let refused = async |arguments: &[&str]| {
        let said = plugin(namespace, &[&["locks", "shop", "--live"], arguments].concat()).await;
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        said.err
    };
    let none = refused(&[]).await;
    assert!(
        none.starts_with("error: no live figures: ") && none.contains("there is no lease of one"),
        "{none}"
    );
    lease(&room, "lockstep-a_0f3a", four_minutes_ago()).await;
    let dead = refused(&[]).await;
    assert!(
        dead.contains("The operator has not renewed its lease for 4m"),
        "{dead}"
    );
    lease(&room, "lockstep-a_0f3a", minutes_ago(-30)).await;
    let gone = refused(&[]).await;
    assert!(
        gone.contains("there is no pod lockstep-a in plugin-figures"),
        "{gone}"
    );

    let page =
        include_str!("../cli/metrics.txt").replace(r#"namespace="prod""#, r#"namespace="plugin-figures""#);
    let (serving, place) = serve(page).await;
    let (port, ip) = (place.port().to_string(), place.ip());
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "lockstep-a" },
        "spec": { "containers": [{ "name": "main", "image": "lockstep:1" }], "automountServiceAccountToken": false },
    });
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(room.client.clone(), namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    let status = json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] } });
    pods.patch_status("lockstep-a", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let port_flag = ["--operator-port", port.as_str()];
    let said = plugin(
        namespace,
        &[&["locks", "shop", "--live"], &port_flag[..]].concat(),
    )
    .await;
    assert_eq!(said.code, 0, "{said:?}");
    for line in [
        "Counted by plugin-figures/lockstep-a since it began to look after shop.\n",
        "\ncollections (Continuous)\n  locks                  Held 3, Orphaned 1\n",
        "\n  failover gap           3: median up to 30s, 99% up to 2m\n",
        "\nnightly jobs (Intermittent)\n",
    ] {
        assert!(said.out.contains(line), "{line}: {}", said.out);
    }

    // What must be allowed is named.
    let rights = "coordinatedworkloads.lockstep.dev,leases.coordination.k8s.io";
    let ann = somebody(namespace, rights).await;
    let right = refused(&["--kubeconfig", &ann]).await;
    assert!(
        right.contains("you may not get pods/proxy in plugin-figures"),
        "{right}"
    );

    // A workload of which it knows nothing, and one that doesn't answer.
    room.set("web", &told("healthy")["spec"]).await;
    let unknown = plugin(namespace, &[&["locks", "web", "--live"], &port_flag[..]].concat()).await;
    assert!(
        unknown.code == 1
            && unknown
                .err
                .contains("counts nothing of web in namespace plugin-figures"),
        "{unknown:?}"
    );
    drop(serving);
    let silent = refused(&port_flag).await;
    assert!(silent.contains("does not answer at port"), "{silent}");
}

/// Rights to the resource and nothing else: what else is shown is shown without.
#[tokio::test]
async fn whoever_may_not_read_leases_is_told_so_and_sees_the_rest() {
    let namespace = "plugin-rights";
    let room = Room::new(namespace).await;
    tell(&room, "healthy").await;
    lease(&room, "lockstep-6c8f9d7b54-x2x4z_0f3a", four_minutes_ago()).await;
    let ann = somebody(namespace, "coordinatedworkloads.lockstep.dev").await;
    let status = plugin(namespace, &["status", "shop", "--kubeconfig", &ann]).await;
    assert_eq!(status.code, 0, "{status:?}");
    let told = status.out.replace('\n', " ");
    let right = "Operator not checked: you may not get leases of coordination.k8s.io in";
    assert!(
        told.contains(&format!("{right} plugin-rights, where it says that it lives.")),
        "{told}"
    );
    // Neither where it was told to look nor anywhere else.
    let mut command = Command::new(PLUGIN);
    command
        .env("KUBECONFIG", &ann)
        .env_remove("LOCKSTEP_OPERATOR_NAMESPACE");
    let anywhere = run(command, &["why", "shop", "--namespace", namespace]).await;
    let told = anywhere.out.replace('\n', " ");
    assert!(told.contains(&format!("{right} lockstep-system, ")), "{told}");
}

/// Without being told where: the administrator may list the leases of all namespaces.
#[tokio::test]
async fn an_operator_is_found_wherever_it_is() {
    let namespace = "plugin-anywhere";
    let room = Room::new(namespace).await;
    tell(&room, "healthy").await;
    let elsewhere = Room::new("plugin-anywhere-operator").await;
    let object = LeaseObject::new(elsewhere.client.clone(), &elsewhere.namespace, "lockstep");
    let record = LeaseRecord {
        holder: Some("lockstep-6c8f9d7b54-x2x4z_0f3a".into()),
        duration: Duration::from_hours(1),
        renewed: Some(clock::wall()),
        ..LeaseRecord::default()
    };
    object.write(&record, Duration::from_secs(10)).await.unwrap();
    let mut command = Command::new(PLUGIN);
    command
        .env("KUBECONFIG", control_plane().await.kubeconfig())
        .env_remove("LOCKSTEP_OPERATOR_NAMESPACE");
    let said = run(command, &["status", "shop", "--namespace", namespace]).await;
    // That of a test beside this one, or this one's: there is none in this namespace nor in the usual one.
    let told = said.out.replace('\n', " ");
    assert!(told.contains(" leads, "), "{told}");
}
