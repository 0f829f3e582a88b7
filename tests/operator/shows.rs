//! What `kubectl` does to a workload and its children, what becomes of it, and what Lockstep writes for it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::audit;
use super::operator::operator;
use super::place::{History, PATIENCE, Place, Said, Seen, control_plane, eventually, spec};

/// Writes to children since a mark of the audit log, by kind.
fn child_writes(place: &Place, mark: u64) -> BTreeMap<String, usize> {
    let mut writes = BTreeMap::new();
    for request in audit::requests(&place.user(), mark) {
        if request.is_write()
            && !request.resource.starts_with("coordinatedworkloads")
            && request.resource != "events"
        {
            *writes.entry(request.resource).or_default() += 1;
        }
    }
    writes
}

fn image(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref().unwrap();
    spec.containers[0].image.as_deref().unwrap()
}

/// `kubectl edit` with a script of sed for an editor.
async fn edit(place: &Place, object: &str, script: &str) {
    let mut command = control_plane().await.kubectl_command();
    command
        .args(["--namespace", &place.namespace, "edit", object])
        .env("KUBE_EDITOR", format!("sed -i '{script}'"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("edited"), "{object}: {text} {errors}");
}

pub(crate) async fn a_restart_by_kubectl_replaces_the_pods_and_nothing_is_changed_back() {
    let place = Place::new("restart").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &spec(2)).await;
    history.first(0, "it runs", Seen::is_ready).await;
    history.rests().await;
    let old: BTreeSet<_> = place.ready_pods("web", 2).await.into_iter().collect();
    let (looked, mark) = (history.mark(), audit::now());
    place.kubectl(&["rollout", "restart", "deployment/web"]).await;
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    let done = place
        .kubectl(&["rollout", "status", "deployment/web", &timeout])
        .await;
    assert!(done.contains("successfully rolled out"), "{done}");
    eventually("the old pods are gone", async || {
        let pods = place.pods("web").await;
        let gone = pods.items.iter().all(|pod| !old.contains(&pod.name_any()));
        (gone && pods.items.len() == 2).then_some(())
    })
    .await;
    history.rests().await;
    let last = history.all().pop().unwrap();
    assert!(last.is_ready(), "{}", last.message("Ready"));
    let deployment = place.child("Deployment", "web").await.unwrap();
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_string());
    assert_eq!(child_writes(&place, mark), BTreeMap::new());
    assert_eq!(place.warnings("web").await, Vec::<String>::new());
    // The template did change, and while its pods come up the spec does not run; nothing else is claimed.
    let claims: BTreeSet<_> = history.all()[looked..]
        .iter()
        .map(|seen| (seen.says("Reconciling"), seen.says("Stalled")))
        .collect();
    println!("kubectl rollout restart: Reconciling and Stalled were {claims:?}");
    let calm = (String::new(), String::new());
    let rolling = ("True/RollingOut".to_owned(), String::new());
    assert!(claims.is_subset(&[calm, rolling].into()), "{claims:?}");

    // It stays through the next change of the spec.
    let mut changed = spec(2);
    changed["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    let generation = place.apply("web", &changed).await.metadata.generation;
    history
        .first(0, "the change runs", |seen| {
            seen.is_ready() && seen.resource.metadata.generation == generation
        })
        .await;
    let deployment = place.child("Deployment", "web").await.unwrap();
    assert_eq!(
        deployment["spec"]["template"]["metadata"]["annotations"],
        *annotations
    );
}

/// Waits until it is said that a change of this was taken back.
async fn taken_back(place: &Place, name: &str, what: &str) -> Said {
    eventually(&format!("{name}: {what} is taken back"), async || {
        let events = place.events(name).await;
        let fits = |event: &Said| event.reason == "DriftCorrected" && event.note.contains(what);
        events.into_iter().find(fits)
    })
    .await
}

async fn replicas(place: &Place, name: &str) -> Option<i64> {
    let deployment = place.child("Deployment", name).await?;
    deployment["spec"]["replicas"].as_i64()
}

/// An autoscaler between 2 and 4, and every other child.
fn autoscaled() -> Value {
    let mut spec = unset();
    spec["autoscaling"] = json!({ "minReplicas": 2, "maxReplicas": 4 });
    spec["service"] = json!({ "ports": [{ "port": 80, "targetPort": 8080 }] });
    spec
}

/// Without a number of replicas.
fn unset() -> Value {
    let mut spec = spec(1);
    spec.as_object_mut().unwrap().remove("replicas");
    spec
}

/// Waits until the resource is Ready as it is now.
async fn is_well(place: &Place, history: &History, name: &str) {
    let version = place.get(name).await.metadata.resource_version;
    let mark = history.mark();
    history
        .first(0, name, |seen| seen.resource.metadata.resource_version == version)
        .await;
    history.first(mark.saturating_sub(1), name, Seen::is_ready).await;
}

pub(crate) async fn a_deployment_scaled_by_kubectl_is_scaled_back_only_where_the_spec_says_a_number() {
    let place = Place::new("scaled").await;
    let _operator = operator(&place, &[]).await;
    let all = [
        ("fixed", spec(2)),
        ("unset", unset()),
        ("autoscaled", autoscaled()),
    ];
    let mut histories = Vec::new();
    for (name, spec) in &all {
        histories.push(place.follow(name));
        place.apply(name, spec).await;
    }
    for (history, (name, _)) in histories.iter().zip(&all) {
        history.first(0, name, Seen::is_ready).await;
    }
    for (name, count) in [("unset", 3), ("autoscaled", 3), ("fixed", 5)] {
        let count = format!("--replicas={count}");
        place
            .kubectl(&["scale", &format!("deployment/{name}"), &count])
            .await;
    }
    let said = taken_back(&place, "fixed", "spec.replicas").await;
    assert!(said.note.starts_with("kubectl changed"), "{}", said.note);
    assert_eq!(replicas(&place, "fixed").await, Some(2));
    for (history, (name, _)) in histories.iter().zip(&all) {
        history.rests().await;
        is_well(&place, history, name).await;
    }
    assert_eq!(place.warnings("fixed").await, ["DriftCorrected"], "once");
    for name in ["unset", "autoscaled"] {
        assert_eq!(replicas(&place, name).await, Some(3), "{name}");
        assert_eq!(place.warnings(name).await, Vec::<String>::new(), "{name}");
    }
}

pub(crate) async fn what_kubectl_edits_is_put_right_where_lockstep_sets_it_and_kept_elsewhere() {
    let place = Place::new("edited").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &spec(1)).await;
    history.first(0, "it runs", Seen::is_ready).await;

    edit(&place, "deployment/web", "s/image: web:1/image: evil:9/").await;
    let said = taken_back(&place, "web", "Deployment").await;
    assert!(
        said.note.starts_with("kubectl-edit changed") && said.note.contains("image"),
        "{}",
        said.note
    );
    edit(&place, "pdb/web", "s/maxUnavailable: 1/maxUnavailable: 0/").await;
    let said = taken_back(&place, "web", "PodDisruptionBudget").await;
    assert!(said.note.contains("maxUnavailable"), "{}", said.note);
    let limit = "s/revisionHistoryLimit: 10/revisionHistoryLimit: 4/";
    edit(&place, "deployment/web", limit).await;
    history.rests().await;
    is_well(&place, &history, "web").await;

    let deployment = place.child("Deployment", "web").await.unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "web:1");
    assert_eq!(deployment["spec"]["revisionHistoryLimit"], 4, "the user's");
    let budget = place.child("PodDisruptionBudget", "web").await.unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(
        place.warnings("web").await,
        ["DriftCorrected"; 2],
        "one for each that was Lockstep's"
    );
}

pub(crate) async fn what_kubectl_deletes_comes_back_and_the_autoscaler_finds_its_count() {
    let place = Place::new("deleted").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &autoscaled()).await;
    history.first(0, "it runs", Seen::is_ready).await;
    place.kubectl(&["scale", "deployment/web", "--replicas=3"]).await;
    let delete = async |kind: &str| {
        let before = place.child(kind, "web").await.unwrap()["metadata"]["uid"].clone();
        place.kubectl(&["delete", kind, "web", "--wait=false"]).await;
        eventually(&format!("the {kind} is there again"), async || {
            let child = place.child(kind, "web").await?;
            (child["metadata"]["uid"] != before).then_some(())
        })
        .await;
    };
    for kind in [
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "Service",
    ] {
        delete(kind).await;
        assert_eq!(
            replicas(&place, "web").await,
            Some(3),
            "untouched without the {kind}"
        );
    }
    delete("Deployment").await;
    assert_eq!(replicas(&place, "web").await, Some(2), "as at creation");
    history.rests().await;
    is_well(&place, &history, "web").await;
    assert_eq!(place.warnings("web").await, Vec::<String>::new());
}

pub(crate) async fn a_changed_image_is_one_write_and_kubectl_waits_for_exactly_that_spec() {
    let place = Place::new("waited").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let manifest = |image: &str| {
        let mut spec = spec(2);
        spec["template"]["spec"]["containers"][0]["image"] = json!(image);
        let metadata = json!({ "name": "web" });
        json!({ "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload", "metadata": metadata, "spec": spec })
            .to_string()
    };
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    for (image_now, writes) in [
        // The first manager's entry is turned into one that lets go of what leaves the spec: once in a life.
        (
            "web:1",
            BTreeMap::from([
                ("deployments", 1),
                ("networkpolicies", 1),
                ("poddisruptionbudgets", 1),
            ]),
        ),
        ("web:2", BTreeMap::from([("deployments", 2)])),
        ("web:3", BTreeMap::from([("deployments", 1)])),
        ("web:4", BTreeMap::from([("deployments", 1)])),
    ] {
        let mark = audit::now();
        place
            .kubectl_stdin(&["apply", "--filename=-"], &manifest(image_now))
            .await;
        place
            .kubectl(&["wait", "--for=condition=Ready", &timeout, "cwl/web"])
            .await;
        // At this moment, not eventually.
        let pods = place.pods("web").await;
        let serving = pods.items.iter().filter(|pod| super::place::is_ready(pod));
        let images: Vec<_> = serving.map(image).collect();
        assert_eq!(images, [image_now; 2]);
        let done = place
            .kubectl(&["rollout", "status", "deployment/web", "--watch=false"])
            .await;
        assert!(done.contains("successfully rolled out"), "{done}");
        history.rests().await;
        let counted = child_writes(&place, mark);
        let counted: BTreeMap<_, _> = counted
            .iter()
            .map(|(kind, count)| (kind.as_str(), *count))
            .collect();
        assert_eq!(counted, writes, "{image_now}");
        let all = audit::requests(&place.user(), mark);
        let status = all
            .iter()
            .filter(|request| request.is_write() && request.resource == "coordinatedworkloads/status");
        println!(
            "{image_now}: writes to children {counted:?}, of status {}",
            status.count()
        );
    }
}
