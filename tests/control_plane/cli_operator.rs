//! What `kubectl lockstep` says of the operator itself, against a real apiserver: whether it lives, by its Lease, and
//! why what it counts can't be read.

use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams};
use lockstep::clock;
use lockstep::cluster::{LEASE_LABEL, LeaseObject, LeaseRecord};
use serde_json::{Value, json};

use super::cli::{PLUGIN, plugin, run, tell, tempfile};
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

/// The figures themselves are read where an operator runs in a pod: in the test of the installation.
#[tokio::test]
async fn why_there_are_no_figures_is_said_in_words() {
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

    // What must be allowed is named.
    let rights = "coordinatedworkloads.lockstep.dev,leases.coordination.k8s.io";
    let ann = somebody(namespace, rights).await;
    let right = refused(&["--kubeconfig", &ann]).await;
    assert!(
        right.contains("you may not get pods/proxy in plugin-figures"),
        "{right}"
    );
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
