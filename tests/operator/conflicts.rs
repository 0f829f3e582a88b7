//! Others at the same objects: names that are taken, owner references that go, fields that somebody insists on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::audit;
use super::operator::operator;
use super::place::{History, Place, Seen, eventually, spec};

/// The shortest that the operator waits before it tries again what was refused, less what the log's clock may be off.
const SHORTEST_RETRY_MS: i128 = 450;

/// How the advice on a corrected change ends.
pub(crate) const INSTEAD: &str = "Change the CoordinatedWorkload instead of its objects.";
/// How the advice on a fight ends.
pub(crate) const GIVE_IN: &str = "or put the value that it wants into the spec.";

/// Fails if the conditions contradicted each other at any moment.
pub(crate) fn consistent(history: &History) {
    let has = |seen: &Seen, type_: &str| !seen.says(type_).is_empty();
    history.never(0, "both Stalled and Reconciling", |seen| {
        has(seen, "Stalled") && has(seen, "Reconciling")
    });
    history.never(0, "Ready, and not at rest", |seen| {
        seen.says("Ready").starts_with("True") && (has(seen, "Stalled") || has(seen, "Reconciling"))
    });
}

/// Fails unless the advice has all of these parts and ends with this one.
pub(crate) fn advises(message: &str, parts: &[&str], next: &str) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
    assert!(
        message.ends_with(next),
        "{next:?} is not at the end of: {message}"
    );
}

/// Somebody who insists is named, in these words, and Ready is False meanwhile.
pub(crate) async fn becomes_a_fight(history: &History, mark: usize, parts: &[&str]) {
    let fight = history
        .first(mark, "it is a fight", |seen| {
            !advice(seen, "FieldConflict").is_empty()
        })
        .await;
    assert_eq!(fight.says("Ready"), "False/ChildApplyFailed");
    assert_eq!(fight.says("Reconciling"), "True/Retrying");
    tells(&fight.message("Reconciling"), parts);
    advises(&advice(&fight, "FieldConflict"), parts, GIVE_IN);
}

/// Fails unless the message has all of these parts and ends with what to do next.
pub(crate) fn tells(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
    let next = message.split_once("Next: ").map_or("", |(_, next)| next);
    assert!(
        next.len() > 10 && next.ends_with('.'),
        "it does not end with a next step: {message}"
    );
}

/// Waits until a creation was refused three times, and fails if it was tried faster than the backoff allows.
pub(crate) async fn tried_with_patience(place: &Place, resource: &str, from: u64) {
    let refused = eventually(&format!("{resource} is tried again"), async || {
        let mut requests = audit::requests(&place.user(), from);
        requests.retain(|request| {
            request.verb == "create" && request.resource == resource && request.code >= 400
        });
        (requests.len() >= 3).then_some(requests)
    })
    .await;
    for (one, next) in refused.iter().zip(refused.iter().skip(1)) {
        let pause = next.at.duration_since(one.at).as_millis();
        assert!(
            pause >= SHORTEST_RETRY_MS,
            "tried again after {pause} ms: {next:?}"
        );
    }
}

/// `spec` with its say on replicas taken out, and with leave to take over what is there.
fn adopting() -> Value {
    let mut spec = spec(1);
    spec.as_object_mut().unwrap().remove("replicas");
    spec["conflictPolicy"] = "Adopt".into();
    spec
}

/// A Deployment by `kubectl create deployment`, once all of its pods are ready.
async fn created_by_kubectl(place: &Place, replicas: u64) -> Value {
    let count = format!("--replicas={replicas}");
    place
        .kubectl(&["create", "deployment", "web", "--image=theirs", &count])
        .await;
    eventually("their pods are ready", async || {
        let deployment = place.child("Deployment", "web").await?;
        let done = deployment["status"]["readyReplicas"] == replicas
            && deployment["status"]["conditions"].as_array()?.len() == 2;
        done.then_some(deployment)
    })
    .await
}

/// Changes a Deployment as somebody else of this name.
async fn meddle(place: &Place, name: &str, manager: &str, patch: &Value) {
    let parameters = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    place
        .children("Deployment")
        .patch(name, &parameters, &Patch::Strategic(patch))
        .await
        .unwrap();
}

fn owners(deployment: &Value) -> &Value {
    &deployment["metadata"]["ownerReferences"]
}

/// Replaces the owner references of a Deployment.
async fn set_owners(place: &Place, name: &str, owners: &Value) {
    let patch = json!({ "metadata": { "ownerReferences": owners } });
    let merge = Patch::Merge(&patch);
    place
        .children("Deployment")
        .patch(name, &PatchParams::default(), &merge)
        .await
        .unwrap();
}

pub(crate) async fn a_deployment_of_kubectl_is_adopted_by_one_rollout() {
    let place = Place::new("adopted").await;
    let before = created_by_kubectl(&place, 5).await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &adopting()).await;
    history.first(0, "it runs", Seen::is_ready).await;

    place.ready_pods("web", 5).await;
    let after = place.child("Deployment", "web").await.unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["spec"]["selector"], before["spec"]["selector"]);
    assert_eq!(after["spec"]["replicas"], 5);
    let sets = place
        .api::<ReplicaSet>()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(sets.items.len(), 2, "theirs and one of Lockstep's");
    let events = place.events("web").await;
    let adoptions: Vec<_> = events
        .iter()
        .filter(|event| event.note.starts_with("Adopted"))
        .collect();
    assert_eq!(adoptions.len(), 1, "{adoptions:?}");
    let note = &adoptions[0].note;
    assert!(
        note.contains("Deployment web with its selector and its 5 replicas")
            && note.contains("replaced once"),
        "{note}"
    );
    assert_eq!(place.warnings("web").await, Vec::<String>::new());
    history.never(0, "it stalled", |seen| !seen.says("Stalled").is_empty());
    consistent(&history);
}

pub(crate) async fn another_controllers_deployment_is_left_alone_and_the_controller_named() {
    let place = Place::new("controlled").await;
    created_by_kubectl(&place, 1).await;
    let boss = json!({ "metadata": { "name": "boss" } });
    let boss: ConfigMap = serde_json::from_value(boss).unwrap();
    let boss = place
        .api::<ConfigMap>()
        .create(&PostParams::default(), &boss)
        .await
        .unwrap();
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "boss", "uid": boss.metadata.uid,
                         "controller": true }]);
    set_owners(&place, "web", &owner).await;
    let before = place.child("Deployment", "web").await.unwrap();

    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let from = audit::now();
    place.apply("web", &adopting()).await;
    let stalled = history
        .first(0, "it stalls", |seen| seen.says("Stalled") == "True/NameConflict")
        .await;
    assert_eq!(stalled.says("Ready"), "False/NameConflict");
    tells(&stalled.message("Stalled"), &["Deployment", "ConfigMap boss"]);
    for kind in ["NetworkPolicy", "PodDisruptionBudget"] {
        assert!(place.child(kind, "web").await.is_some(), "{kind}");
    }
    tried_with_patience(&place, "deployments", from).await;
    let after = place.child("Deployment", "web").await.unwrap();
    assert_eq!(after, before, "untouched");
    assert_eq!(place.warnings("web").await, ["NameConflict"]);

    // Once nobody controls it, it may be taken.
    set_owners(&place, "web", &Value::Null).await;
    history.first(0, "it is adopted", Seen::is_ready).await;
    assert_eq!(place.warnings("web").await, ["NameConflict"]);
    consistent(&history);
}

pub(crate) async fn an_owner_reference_that_goes_is_said_and_taken_back_only_by_leave() {
    let place = Place::new("owners").await;
    let _operator = operator(&place, &[]).await;
    let mut adopts = spec(1);
    adopts["conflictPolicy"] = "Adopt".into();
    let (kept, taken) = (place.follow("kept"), place.follow("taken"));
    place.apply("kept", &spec(1)).await;
    place.apply("taken", &adopts).await;
    for history in [&kept, &taken] {
        history.first(0, "it runs", Seen::is_ready).await;
    }

    let before = place.child("Deployment", "kept").await.unwrap();
    let mark = kept.mark();
    set_owners(&place, "kept", &Value::Null).await;
    let lost = |seen: &Seen| seen.says("Stalled") == "True/OwnershipLost";
    let stalled = kept.first(mark, "it stalls", lost).await;
    assert_eq!(stalled.says("Ready"), "False/OwnershipLost");
    tells(&stalled.message("Stalled"), &["Deployment", "ownerReferences"]);
    let mark = kept.mark();
    set_owners(&place, "kept", owners(&before)).await;
    kept.first(mark, "it is put back", Seen::is_ready).await;
    assert_eq!(place.warnings("kept").await, ["ApplyFailed"]);
    // Lost again, and allowed by a manifest to take it.
    set_owners(&place, "kept", &Value::Null).await;
    kept.first(mark, "it stalls again", lost).await;
    let mark = kept.mark();
    place.apply("kept", &adopts).await;
    kept.first(mark, "it is taken back", Seen::is_ready).await;

    let theirs = place.child("Deployment", "taken").await.unwrap();
    let mark = taken.mark();
    set_owners(&place, "taken", &Value::Null).await;
    eventually("it is taken back", async || {
        let now = place.child("Deployment", "taken").await?;
        (owners(&now) == owners(&theirs)).then_some(())
    })
    .await;
    taken.never(mark, "it stalled", |seen| !seen.says("Stalled").is_empty());
    for (name, old) in [("kept", before), ("taken", theirs)] {
        let now = place.child("Deployment", name).await.unwrap();
        assert_eq!(now["metadata"]["uid"], old["metadata"]["uid"], "{name}");
        assert_eq!(now["spec"], old["spec"], "{name}: no pod was touched");
        eventually("the adoption is told", async || {
            let events = place.events(name).await;
            let told = events
                .iter()
                .filter(|event| event.note.starts_with("Adopted"))
                .count();
            assert!(told <= 1, "{events:?}");
            (told == 1).then_some(())
        })
        .await;
    }
    consistent(&kept);
    consistent(&taken);
}

/// A variable of the Deployment's container.
async fn variable(place: &Place, name: &str) -> Option<String> {
    let deployment = place.child("Deployment", "web").await?;
    let all = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array()?;
    let found = all.iter().find(|variable| variable["name"] == name)?;
    found["value"].as_str().map(str::to_owned)
}

/// A template's container with this MODE, and with nothing else that would have to be owned.
fn with_mode(mode: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{
        "name": "web", "env": [{ "name": "MODE", "value": mode }] }] } } } })
}

/// Applies its own MODE with force as soon as another is there, until it is told to stop.
async fn insist(client: Client, namespace: String, stop: Arc<AtomicBool>) {
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client, &namespace);
    let mut wanted = with_mode("theirs");
    wanted["apiVersion"] = "apps/v1".into();
    wanted["kind"] = "Deployment".into();
    wanted["metadata"] = json!({ "name": "web" });
    let parameters = PatchParams::apply("rival").force();
    while !stop.load(Ordering::Relaxed) {
        // An apply that changes nothing is no write.
        deployments
            .patch("web", &parameters, &Patch::Apply(&wanted))
            .await
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The message of an advisory; empty without it.
pub(crate) fn advice(seen: &Seen, code: &str) -> String {
    let advisories = seen.status()["advisories"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = advisories.into_iter().find(|advisory| advisory["code"] == code);
    found.map_or_else(String::new, |advisory| {
        advisory["message"].as_str().unwrap().to_owned()
    })
}

/// What was said of changes that were taken back.
async fn corrections(place: &Place) -> Vec<String> {
    let events = place.events("web").await.into_iter();
    let told = events.filter(|event| event.reason == "DriftCorrected");
    told.map(|event| event.note).collect()
}

pub(crate) async fn a_change_by_hand_is_taken_back_at_once_and_said() {
    let place = Place::new("drift").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &spec(1)).await;
    history.first(0, "it runs", Seen::is_ready).await;

    let mark = history.mark();
    meddle(&place, "web", "kubectl-edit", &with_mode("edited")).await;
    eventually("it is changed back", async || {
        (variable(&place, "MODE").await? == "a").then_some(())
    })
    .await;
    let seen = history
        .first(mark, "it runs again, with advice", |seen| {
            seen.is_ready() && !advice(seen, "DriftCorrected").is_empty()
        })
        .await;
    advises(
        &advice(&seen, "DriftCorrected"),
        &["kubectl-edit", "Deployment"],
        INSTEAD,
    );
    let told = corrections(&place).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("kubectl-edit changed") && told[0].contains("Deployment web"),
        "{told:?}"
    );

    consistent(&history);
}

pub(crate) async fn a_rival_is_answered_ever_more_rarely_and_a_new_spec_at_once() {
    let place = Place::new("rival").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let mut spec = spec(1);
    place.apply("web", &spec).await;
    history.first(0, "it runs", Seen::is_ready).await;
    // The first change after creation costs a write of its own.
    spec["template"]["spec"]["containers"][0]["env"][1]["value"] = "warn".into();
    place.apply("web", &spec).await;
    let changed = |seen: &Seen| seen.is_ready() && seen.resource.metadata.generation == Some(2);
    history.first(0, "the change runs", changed).await;
    let (mark, from) = (history.mark(), audit::now());
    let stop = Arc::new(AtomicBool::new(false));
    place.background(insist(
        place.client.clone(),
        place.namespace.clone(),
        Arc::clone(&stop),
    ));
    becomes_a_fight(&history, mark, &["rival", "Deployment", "env[MODE]"]).await;
    // The fourth correction is made 7 s after the first at the earliest, and the fifth 8 s after it.
    let corrected = |count: usize| {
        let place = &place;
        async move {
            eventually("one more correction", async || {
                let mut writes = audit::requests(&place.user(), from);
                writes.retain(|write| {
                    write.verb == "patch" && write.resource == "deployments" && write.code < 300
                });
                (writes.len() >= count).then_some(writes)
            })
            .await
        }
    };
    let writes = corrected(4).await;
    assert_eq!(writes.len(), 4, "the next one waits");
    for (number, least) in [(1, 950), (2, 1950), (3, 3950)] {
        let pause = writes[number]
            .at
            .duration_since(writes[number - 1].at)
            .as_millis();
        assert!(pause >= least, "correction {number} came after {pause} ms");
    }
    // A new spec does not wait for any of this.
    spec["template"]["spec"]["containers"][0]["env"][1]["value"] = "debug".into();
    place.apply("web", &spec).await;
    let writes = corrected(5).await;
    let pause = writes[4].at.duration_since(writes[3].at).as_millis();
    assert!(pause < 7000, "the new spec waited for {pause} ms");
    assert_eq!(variable(&place, "LEVEL").await.as_deref(), Some("debug"));
    let told = corrections(&place).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|note| note.contains("rival")), "{told:?}");
    tells(&told[1], &["third time"]);

    stop.store(true, Ordering::Relaxed);
    consistent(&history);
}
