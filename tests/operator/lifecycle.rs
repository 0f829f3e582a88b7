//! From creation to deletion and back: suspended and resumed, let go and taken back, made again under the same name,
//! changed before the last change settled.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::watcher;
use lockstep::api::CoordinatedWorkload;
use lockstep_cluster::RedisOptions;
use serde_json::{Value, json};

use super::audit;
use super::locks::{Holders, redis};
use super::operator::operator;
use super::place::{History, Place, QUIET, Seen, apply, eventually, spec, spec_with_locks};

/// The children of a spec with neither autoscaler nor Service.
const KINDS: [&str; 3] = ["Deployment", "PodDisruptionBudget", "NetworkPolicy"];

/// What Lockstep makes of the children: their specs, labels and the hash of what was applied.
pub(crate) async fn children(place: &Place, name: &str) -> Vec<Option<Value>> {
    let mut all = Vec::new();
    for kind in KINDS.into_iter().chain(["HorizontalPodAutoscaler", "Service"]) {
        let child = place.child(kind, name).await;
        all.push(child.map(|child| {
            let metadata = &child["metadata"];
            let applied = &metadata["annotations"]["lockstep.dev/applied"];
            json!([metadata["uid"], metadata["labels"], applied, child["spec"]])
        }));
    }
    all
}

/// Waits until the spec of this generation runs.
pub(crate) async fn runs(history: &History, applied: &CoordinatedWorkload) -> Seen {
    let generation = applied.metadata.generation;
    history
        .first(0, "this spec runs", |seen| {
            seen.is_ready() && seen.resource.metadata.generation == generation
        })
        .await
}

/// Names of the `ReplicaSets` of a resource.
async fn replica_sets(place: &Place, name: &str) -> BTreeSet<String> {
    let ours = ListParams::default().labels(&format!("lockstep.dev/workload={name}"));
    let list = place.api::<ReplicaSet>().list(&ours).await.unwrap();
    list.items.iter().map(kube::ResourceExt::name_any).collect()
}

fn with_image(mut spec: Value, image: &str) -> Value {
    spec["template"]["spec"]["containers"][0]["image"] = json!(image);
    spec
}

fn image_of(deployment: &Deployment) -> String {
    let pods = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    pods.and_then(|pods| pods.containers.first()?.image.clone())
        .unwrap_or_default()
}

/// `spec`, for nodes that don't exist.
fn unschedulable(mut spec: Value) -> Value {
    spec["template"]["spec"]["nodeSelector"] = json!({ "nowhere": "true" });
    spec
}

pub(crate) async fn suspended_it_changes_nothing_and_tells_everything_until_it_is_resumed() {
    let place = Place::new("suspended").await;
    let redis = redis(RedisOptions::default()).await;
    let holders = Holders::of(&redis).await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let good = spec_with_locks(2, &redis.url(), &["a"]);
    runs(&history, &place.apply("web", &good).await).await;
    let pods = place.ready_pods("web", 2).await;
    holders.take("a", &pods[0]).await;
    history
        .first(0, "the lock is held", |seen| {
            seen.says("LocksHeld") == "True/AllHeld" && seen.row("a")["pod"] == json!(pods[0])
        })
        .await;

    // Without a change, Ready keeps its verdict.
    let mut suspended = good.clone();
    suspended["suspend"] = json!(true);
    let seen = runs(&history, &place.apply("web", &suspended).await).await;
    assert_eq!(seen.says("Suspended"), "True/SuspendedByUser");

    let before = children(&place, "web").await;
    let mark = audit::now();
    let mut changed = with_image(suspended, "web:2");
    changed["replicas"] = json!(3);
    changed["disruptionBudget"] = json!({ "enabled": false });
    changed["service"] = json!({ "ports": [{ "port": 80 }] });
    let generation = place.apply("web", &changed).await.metadata.generation;
    let seen = history
        .first(0, "the change waits", |seen| {
            seen.says("Ready") == "False/SuspendedWithChanges"
                && seen.resource.metadata.generation == generation
        })
        .await;
    assert_eq!(seen.says("Suspended"), "True/SuspendedByUser");
    assert_eq!(seen.status()["summary"]["pods"], "2/2");
    // Others still may, and what happens is still told.
    place.kubectl(&["scale", "deployment/web", "--replicas=1"]).await;
    let looked = history.mark();
    let left = place.ready_pods("web", 1).await;
    holders.release("a").await;
    holders.take("a", &left[0]).await;
    let seen = history
        .first(looked, "pods and locks are told", |seen| {
            seen.status()["summary"]["pods"] == "1/1" && seen.row("a")["pod"] == json!(left[0])
        })
        .await;
    assert_eq!(seen.says("Ready"), "False/SuspendedWithChanges");
    assert_eq!(seen.status()["summary"]["locks"], "1/1");
    let mut scaled = before.clone();
    scaled[0].as_mut().unwrap()[3]["replicas"] = json!(1);
    assert_eq!(
        children(&place, "web").await,
        scaled,
        "nothing but what the user did"
    );
    let asked = audit::requests(&place.user(), mark);
    let written: BTreeSet<_> = asked
        .iter()
        .filter(|request| request.is_write())
        .map(|request| request.resource.as_str())
        .collect();
    assert!(
        written.is_subset(&["coordinatedworkloads/status", "events"].into()),
        "{written:?}"
    );

    changed.as_object_mut().unwrap().remove("suspend");
    let seen = runs(&history, &place.apply("web", &changed).await).await;
    assert_eq!(seen.says("Suspended"), "");
    let deployment = place.child("Deployment", "web").await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:2"
    );
    assert!(place.child("PodDisruptionBudget", "web").await.is_none());
    assert!(place.child("Service", "web").await.is_some());
    for reason in ["Suspended", "Resumed"] {
        assert_eq!(place.count("web", reason).await, 1, "{reason}");
    }
    history.never(0, "a suspended resource works", |seen| {
        seen.resource.spec.suspend == Some(true)
            && !seen.says("Suspended").is_empty()
            && !seen.says("Reconciling").is_empty()
    });
}

pub(crate) async fn let_go_by_orphaning_the_children_run_on_and_are_taken_back_without_a_rollout() {
    let place = Place::new("orphaned").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let mut good = spec(2);
    good.as_object_mut().unwrap().remove("replicas");
    runs(&history, &place.apply("web", &good).await).await;
    place.kubectl(&["scale", "deployment/web", "--replicas=3"]).await;
    let pods = place.ready_pods("web", 3).await;
    let sets = replica_sets(&place, "web").await;
    let before = children(&place, "web").await;

    place.kubectl(&["delete", "cwl", "web", "--cascade=orphan"]).await;
    for kind in KINDS {
        let child = place.child(kind, "web").await.unwrap();
        assert!(child["metadata"]["ownerReferences"].is_null(), "{kind} is let go");
    }
    assert_eq!(children(&place, "web").await, before);

    let applied = place.apply("web", &good).await;
    let stalled = history
        .first(0, "what nobody owns is not taken unasked", |seen| {
            seen.says("Stalled") == "True/NameConflict" && seen.resource.uid() == applied.uid()
        })
        .await;
    let message = stalled.message("Stalled");
    assert!(message.contains("conflictPolicy: Adopt"), "{message}");
    assert_eq!(children(&place, "web").await, before);

    good["conflictPolicy"] = json!("Adopt");
    let applied = place.apply("web", &good).await;
    runs(&history, &applied).await;
    let uid = applied.uid().unwrap();
    for kind in KINDS {
        let child = place.child(kind, "web").await.unwrap();
        assert_eq!(
            child["metadata"]["ownerReferences"][0]["uid"],
            json!(uid),
            "{kind}"
        );
    }
    assert_eq!(replica_sets(&place, "web").await, sets, "no rollout");
    assert_eq!(place.ready_pods("web", 3).await, pods, "the same pods");
    let events = place.events("web").await;
    let adopted = events
        .iter()
        .find(|event| event.note.contains("Adopted Deployment"))
        .expect("it is said");
    assert!(
        adopted.note.contains("3 replicas") && adopted.note.contains("Nothing of it had to change"),
        "{}",
        adopted.note
    );
    assert_eq!(place.warnings("web").await, ["NameConflict"]);
}

/// Other resources, that change as soon as the operator is done with the last change.
async fn load(place: &Place, others: usize) {
    for other in 0..others {
        let name = format!("other-{other}");
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut watch = watcher::watcher(place.api::<Deployment>(), only).boxed();
        let (client, namespace) = (place.client.clone(), place.namespace.clone());
        let change = async move |image: &str| {
            let spec = with_image(spec(0), image);
            apply(&client, &namespace, &name, &spec).await.unwrap();
        };
        change("web:0").await;
        place.background(async move {
            let mut round = 0;
            while let Some(event) = watch.next().await {
                if let Ok(watcher::Event::Apply(deployment) | watcher::Event::InitApply(deployment)) = event
                    && image_of(&deployment) == format!("web:{round}")
                {
                    round += 1;
                    change(&format!("web:{round}")).await;
                }
            }
        });
    }
}

pub(crate) async fn deleted_and_created_a_hundred_times_under_load_the_last_has_everything() {
    const TIMES: usize = 100;
    const OTHERS: usize = 3;
    let place = Place::new("recreated").await;
    let _operator = operator(&place, &[]).await;
    let resources = place.api::<CoordinatedWorkload>();
    // A garbage collector that is just up learns of new kinds of owners every 30 s only.
    place.apply("first", &spec(0)).await;
    eventually("the first has a Deployment", async || {
        place.child("Deployment", "first").await
    })
    .await;
    resources
        .delete("first", &DeleteParams::background())
        .await
        .unwrap();
    eventually("what it owned is collected", async || {
        let child = place.child("Deployment", "first").await;
        child.is_none().then_some(())
    })
    .await;

    let busy = QUIET.write().await;
    load(&place, OTHERS).await;
    let mut uids = Vec::new();
    for time in 0..TIMES {
        let mut spec = spec(u32::from(time % 10 == 9));
        if time % 2 == 0 {
            spec["autoscaling"] = json!({ "minReplicas": 1, "maxReplicas": 3 });
        }
        let uid = place.apply("web", &spec).await.uid().unwrap();
        uids.push(uid.clone());
        // Deleted at once, when the operator has begun, when it is done with the children, and never the last.
        let wanted = match time % 4 {
            0 => &[][..],
            1 => &["NetworkPolicy"][..],
            _ => &KINDS[..],
        };
        for kind in wanted {
            eventually(&format!("{kind} number {time}"), async || {
                let child = place.child(kind, "web").await?;
                (child["metadata"]["ownerReferences"][0]["uid"] == json!(uid)).then_some(())
            })
            .await;
        }
        if time + 1 < TIMES {
            resources
                .delete("web", &DeleteParams::background())
                .await
                .unwrap();
        }
    }
    drop(busy);
    let last = uids.last().unwrap().clone();
    eventually("the last one runs", async || {
        let seen = Seen {
            at: lockstep::clock::wall(),
            resource: place.get("web").await,
        };
        seen.is_ready().then_some(())
    })
    .await;
    for kind in KINDS {
        let child = place.child(kind, "web").await.unwrap();
        assert_eq!(
            child["metadata"]["ownerReferences"][0]["uid"],
            json!(last),
            "{kind}"
        );
        assert!(child["metadata"]["deletionTimestamp"].is_null(), "{kind}");
    }
    assert!(place.child("HorizontalPodAutoscaler", "web").await.is_none());
    eventually("nothing is left of the others", async || {
        let deployment = place.child("Deployment", "web").await?;
        let ours = ListParams::default().labels("lockstep.dev/workload=web");
        let sets = place.api::<ReplicaSet>().list(&ours).await.unwrap();
        let all_ours = sets.items.iter().all(|set| {
            let owner = set.owner_references().first();
            owner.is_some_and(|owner| json!(owner.uid) == deployment["metadata"]["uid"])
        });
        (all_ours && place.pods("web").await.items.len() == 1).then_some(())
    })
    .await;

    let events = place.events("web").await;
    let of = |reason: &str| events.iter().filter(|event| event.reason == reason).count();
    println!(
        "made {TIMES} times: {} times ChildCreated, {} times ChildDeleted, {} times ApplyFailed",
        of("ChildCreated"),
        of("ChildDeleted"),
        of("ApplyFailed"),
    );
    assert_eq!(of("NameConflict"), 0, "a predecessor's children are no conflict");
    assert_eq!(of("OwnershipLost"), 0);
    assert_eq!(of("DriftCorrected"), 0);
    assert!(of("ChildCreated") >= KINDS.len(), "of the last one at least");
    assert!(of("ChildCreated") <= 4 * TIMES, "each child once");
    assert!(of("ApplyFailed") <= TIMES / 10, "{events:#?}");
}

pub(crate) async fn a_new_spec_does_not_wait_for_one_that_never_comes_to_run() {
    let place = Place::new("impatient").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let good = spec(2);
    runs(&history, &place.apply("web", &good).await).await;
    let first = children(&place, "web").await;
    let (sender, mut images) = tokio::sync::mpsc::unbounded_channel();
    let mut watch = watcher::watcher(place.api::<Deployment>(), watcher::Config::default()).boxed();
    place.background(async move {
        while let Some(event) = watch.next().await {
            if let Ok(watcher::Event::Apply(deployment)) = event {
                let _ = sender.send((lockstep::clock::mono(), image_of(&deployment)));
            }
        }
    });
    let quiet = QUIET.read().await;
    let mut delays = Vec::new();
    for image in ["web:2", "web:3", "web:4"] {
        let written = lockstep::clock::mono();
        place
            .apply("web", &unschedulable(with_image(good.clone(), image)))
            .await;
        let seen = loop {
            let (at, seen) = images.recv().await.unwrap();
            if seen == image {
                break at;
            }
        };
        delays.push(seen.since(written).as_secs_f64());
    }
    drop(quiet);
    println!("a new spec reaches the Deployment, though the last never ran, after s: {delays:.3?}");
    assert!(delays.iter().all(|delay| *delay < 2.0), "{delays:?}");
    assert_eq!(
        place.ready_pods("web", 2).await.len(),
        2,
        "the first ones serve on"
    );
    history.never(0, "a spec that never ran is Ready", |seen| {
        seen.is_ready() && seen.resource.metadata.generation.unwrap() > 1
    });
    runs(&history, &place.apply("web", &good).await).await;
    assert_eq!(children(&place, "web").await, first);
}
