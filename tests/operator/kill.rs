//! The operator ends without warning after its k-th request, for every k of a resource's life: the next one makes the
//! same of it, and says nothing twice.
//!
//! The controller runs within the test, behind a layer that carries the k-th request out, lets nothing come back, and
//! sends nothing more; then it is dropped. To the apiserver that is SIGKILL. Watches don't count: they change nothing.

use std::collections::BTreeMap;
use std::future::pending;

use futures::{StreamExt as _, stream};
use lockstep::controller::Duty;
use lockstep::observer::{EndpointRules, Settings};
use lockstep::reconcile::RESYNC;
use lockstep::telemetry::Telemetry;
use lockstep_cluster::{Redis, RedisOptions};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::audit;
use super::faults::{Fault, Faults};
use super::locks::{Holders, key, redis};
use super::place::{History, PATIENCE, Place, QUIET, Seen, config, eventually, spec, spec_with_locks};

/// Lives at a time.
const LIVES: usize = 14;
/// The lists with which an operator begins: five kinds of children, pods, resources.
const LISTS: usize = 7;

const KINDS: [&str; 5] = [
    "Deployment",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Service",
];

/// A controller that ends when it is crashed.
async fn controller(place: &Place, faults: &Faults) -> impl Future<Output = ()> + Send + 'static {
    let client = faults.client(config(&place.kubeconfig).await);
    let settings = Settings {
        cluster_domain: "cluster.local".into(),
        dns_server: None,
        in_cluster: false,
        rules: EndpointRules::default(),
    };
    let run = lockstep::controller::run(
        client,
        "test".into(),
        settings,
        Duty {
            namespaces: [place.namespace.clone()].into(),
            resync: RESYNC,
            claim: lockstep::cluster::Claim::default(),
        },
        Telemetry::default(),
        pending(),
    );
    let faults = faults.clone();
    async move {
        tokio::select! {
            ended = run => panic!("the controller ended: {ended:?}"),
            () = faults.crashed() => {}
        }
    }
}

/// A child's spec, without the addresses that the apiserver deals out.
fn spec_of(child: &Value) -> Value {
    let mut spec = child["spec"].clone();
    for address in ["clusterIP", "clusterIPs"] {
        spec.as_object_mut().unwrap().remove(address);
    }
    spec
}

/// All children; a change of each; then all but the Deployment turned off.
fn stages() -> [Value; 3] {
    let mut created = spec(2);
    created["autoscaling"] = json!({ "minReplicas": 2, "maxReplicas": 4 });
    created["service"] = json!({ "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] });
    let mut changed = created.clone();
    changed["template"]["spec"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    changed["template"]["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 9090 }]);
    changed["autoscaling"]["maxReplicas"] = json!(5);
    changed["disruptionBudget"] = json!({ "minAvailable": 1 });
    changed["service"] = json!({ "ports": [{ "name": "http", "port": 80, "targetPort": 9090 }], "sessionAffinity": "ClientIP" });
    let mut off = changed.clone();
    off.as_object_mut().unwrap().remove("autoscaling");
    off.as_object_mut().unwrap().remove("service");
    off["replicas"] = json!(3);
    off["disruptionBudget"] = json!({ "enabled": false });
    off["networkPolicy"] = json!({ "enabled": false });
    [created, changed, off]
}

/// What a life comes to.
#[derive(Debug, PartialEq)]
struct End {
    /// After each stage: every child's spec and the fields that are ours.
    children: Vec<Vec<Option<Value>>>,
    /// Conditions after the last stage.
    conditions: Vec<String>,
    /// Creations and deletions that the apiserver carried out, by kind.
    made: BTreeMap<String, usize>,
    /// Events by reason and note.
    said: BTreeMap<String, usize>,
}

async fn child(place: &Place, kind: &str) -> Option<Value> {
    let object = place.child(kind, "web").await?;
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let mut ours: Vec<_> = entries
        .iter()
        .filter(|entry| entry["manager"].as_str().unwrap().starts_with("lockstep"))
        .map(|entry| json!([entry["manager"], entry["operation"], entry["fieldsV1"]["f:spec"]]))
        .collect();
    ours.sort_by_key(ToString::to_string);
    Some(json!({ "spec": spec_of(&object), "ours": ours }))
}

/// How often status said that a rollout is under way, and then that nothing is.
fn rollouts(history: &History) -> usize {
    let seen = history.all();
    let mut steps = seen.iter().zip(seen.iter().skip(1));
    let ended = |(before, after): &(&Seen, &Seen)| {
        before.says("Reconciling") == "True/RollingOut"
            && after.says("Reconciling").is_empty()
            && after.says("Stalled").is_empty()
    };
    steps.by_ref().filter(ended).count()
}

async fn end(place: &Place, history: &History, children: Vec<Vec<Option<Value>>>) -> End {
    let last = history.all().pop().unwrap();
    assert_eq!(
        place.count("web", "RolloutComplete").await,
        rollouts(history),
        "each rollout that was in status is said to be complete, once"
    );
    let types = ["Ready", "Reconciling", "Stalled", "Available"];
    let mut made = BTreeMap::new();
    for request in audit::requests(&place.user(), 0) {
        if ["create", "delete"].contains(&request.verb.as_str())
            && request.code < 300
            && request.resource != "events"
        {
            *made
                .entry(format!("{} {}", request.verb, request.resource))
                .or_default() += 1;
        }
    }
    let mut said = BTreeMap::new();
    for event in place.events("web").await {
        *said
            .entry(format!("{}: {}", event.reason, event.note))
            .or_default() += 1;
    }
    End {
        children,
        conditions: types
            .map(|type_| format!("{type_}={}", last.says(type_)))
            .to_vec(),
        made,
        said,
    }
}

/// A life whose first operator ends as `faults` say.
async fn live(namespace: &str, faults: Faults) -> End {
    let place = Place::new(namespace).await;
    let history = place.follow("web");
    let mut controllers = JoinSet::new();
    let first = controller(&place, &faults).await;
    let next = controller(&place, &Faults::none()).await;
    controllers.spawn(async move {
        first.await;
        next.await;
    });
    let mut children = Vec::new();
    for stage in stages() {
        // So that what is written, and so said, does not depend on chance.
        history.rests().await;
        let generation = place.apply("web", &stage).await.metadata.generation;
        history
            .first(0, "this generation runs", |seen| {
                seen.is_ready() && seen.resource.metadata.generation == generation
            })
            .await;
        // Scaling is no rollout: the Deployment may have been available with fewer pods than the stage asks for, and then
        // not. So it is looked for from the end.
        eventually("the stage's pods are all there", async || {
            let seen = history.all().pop()?;
            let pods = seen.status()["summary"]["pods"].as_str()?.to_owned();
            let (ready, wanted) = pods.split_once('/')?;
            (seen.is_ready() && ready == wanted && wanted.parse().ok() == stage["replicas"].as_u64())
                .then_some(())
        })
        .await;
        let mut state = Vec::new();
        for kind in KINDS {
            state.push(child(&place, kind).await);
        }
        children.push(state);
    }
    end(&place, &history, children).await
}

pub(crate) async fn killed_after_any_request_of_a_life_it_comes_to_the_same() {
    let counted = Faults::none();
    let wanted = live("kill-none", counted.clone()).await;
    let count = counted.count();
    println!("a life takes {count} requests beside watches: {:?}", wanted.made);
    println!("and says: {:#?}", wanted.said);
    let missing = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    stream::iter(LISTS + 1..=count)
        .for_each_concurrent(LIVES, async |k| {
            let faults = Faults::at(k, Fault::Crash);
            let mut came = live(&format!("kill-{k}"), faults.clone()).await;
            if faults.count() < k {
                println!("killed after request {k}: there was none");
            }
            for (event, count) in &wanted.said {
                let came = came.said.insert(event.clone(), *count).unwrap_or(0);
                assert!(came <= *count, "killed after request {k}, it says twice: {event}");
                // What was done, and what turned in status, is said; that a child was changed or deleted is not, if the
                // end came between the deed and its event.
                let may_be_missing = ["ChildUpdated", "ChildDeleted", "RolloutComplete"];
                assert!(
                    came == *count || may_be_missing.iter().any(|reason| event.starts_with(reason)),
                    "killed after request {k}, it never says: {event}"
                );
                if came < *count {
                    *missing.lock().unwrap().entry(event.clone()).or_default() += 1;
                }
            }
            assert_eq!(came, wanted, "killed after request {k}");
        })
        .await;
    println!(
        "never said, by the number of lives: {:#?}",
        missing.lock().unwrap()
    );
}

/// What was said and shown of one lost lock.
#[derive(Debug, Default, PartialEq)]
struct Loss {
    /// Events about locks, by reason.
    said: BTreeMap<String, usize>,
    /// Verdicts on the locks, in order, each once in a row.
    shown: Vec<String>,
    /// Causes in `status.recent`.
    recent: Vec<String>,
}

/// A lock is held, orphaned, lost and taken again, while the first operator ends as `faults` say.
async fn lose(namespace: &str, faults: Faults, redis: &Redis, holders: &Holders) -> Loss {
    let place = Place::new(namespace).await;
    let history = place.follow("web");
    let mut controllers = JoinSet::new();
    let first = controller(&place, &faults).await;
    let next = controller(&place, &Faults::none()).await;
    controllers.spawn(async move {
        first.await;
        next.await;
    });
    let lock = format!("{namespace}:a");
    place
        .apply("web", &spec_with_locks(2, &redis.url(), &[&lock]))
        .await;
    let pods = place.ready_pods("web", 2).await;
    let held = |seen: &Seen| seen.says("LocksHeld") == "True/AllHeld" && seen.row(&lock)["state"] == "Held";
    holders.take(&lock, &pods[0]).await;
    history.first(0, "the lock is held", held).await;
    history.rests().await;
    holders.abandon(&lock).await;
    place.delete_pod(&pods[0]).await;
    eventually("the lock expires", async || {
        let left: i64 = holders.run(&["PTTL", &key(&lock)]).await;
        (left < 0).then_some(())
    })
    .await;
    history.rests().await;
    let mark = history.mark();
    let pods = place.ready_pods("web", 2).await;
    holders.take(&lock, &pods[1]).await;
    history.first(mark, "the lock is held again", held).await;
    history.rests().await;

    let mut loss = Loss::default();
    for event in place.events("web").await {
        if event.reason.starts_with("Lock") {
            *loss.said.entry(event.reason).or_default() += 1;
        }
    }
    loss.shown = history.all().iter().map(|seen| seen.says("LocksHeld")).collect();
    loss.shown.dedup();
    let last = history.all().pop().unwrap().status();
    let recent = last["recent"].as_array().into_iter().flatten();
    loss.recent = recent
        .map(|entry| entry["cause"].as_str().unwrap().to_owned())
        .collect();
    loss
}

pub(crate) async fn killed_after_any_request_around_a_loss_it_says_what_it_showed_and_nothing_twice() {
    let redis = redis(RedisOptions::default()).await;
    let holders = Holders::of(&redis).await;
    let counted = Faults::none();
    let whole = lose("lose-none", counted.clone(), &redis, &holders).await;
    println!(
        "undisturbed, a lost lock takes {} requests: {whole:?}",
        counted.count()
    );
    let once = |reason: &str| (reason.to_owned(), 1);
    let wanted = ["LocksOrphaned", "LocksLost", "LocksRecovered"].map(once);
    assert_eq!(whole.said, BTreeMap::from(wanted));
    assert_eq!(whole.recent, ["HolderGone"]);
    stream::iter(LISTS + 1..=counted.count())
        .for_each_concurrent(LIVES, async |k| {
            let faults = Faults::at(k, Fault::Crash);
            let loss = lose(&format!("lose-{k}"), faults, &redis, &holders).await;
            if loss != whole {
                println!("killed after request {k}: {loss:?}");
            }
            let said = |reason: &str| loss.said.get(reason).copied().unwrap_or_default();
            for reason in ["LocksOrphaned", "LocksLost", "LocksRecovered"] {
                assert!(said(reason) <= 1, "killed after request {k}: {loss:?}");
            }
            let shown = |verdict: &str| loss.shown.iter().any(|shown| shown == verdict);
            if shown("False/LocksLost") {
                assert_eq!(said("LocksLost"), 1, "killed after request {k}: {loss:?}");
                assert_eq!(said("LocksRecovered"), 1, "killed after request {k}: {loss:?}");
                assert_eq!(loss.recent, ["HolderGone"], "killed after request {k}: {loss:?}");
            }
            if shown("False/OrphanedOwner") {
                assert_eq!(said("LocksOrphaned"), 1, "killed after request {k}: {loss:?}");
            }
            assert_eq!(loss.shown.last().map(String::as_str), Some("True/AllHeld"));
        })
        .await;
}

pub(crate) async fn killed_at_twenty_points_of_a_first_reconcile_of_fifty_it_comes_to_the_same() {
    const RESOURCES: usize = 50;
    const POINTS: usize = 20;
    let place = Place::new("kill-fifty").await;
    let name = |number| format!("web-{number}");
    let busy = QUIET.write().await;
    let mut autoscaled = spec(1);
    autoscaled["autoscaling"] = json!({ "minReplicas": 1, "maxReplicas": 2 });
    autoscaled["service"] = json!({ "ports": [{ "port": 80, "targetPort": 8080 }] });
    for number in 0..RESOURCES {
        place.apply(&name(number), &autoscaled).await;
    }
    // Of a dozen requests for each resource, up to sixteen are on their way at a time, and all of those are carried out.
    for point in 0..POINTS {
        let faults = Faults::at(LISTS + 1 + point * 7 % 10, Fault::Crash);
        let controller = controller(&place, &faults).await;
        let ended = tokio::time::timeout(PATIENCE, controller).await;
        assert!(ended.is_ok(), "after {point} ends there was nothing left to do");
    }
    let before = audit::requests(&place.user(), 0);
    let writes = before.iter().filter(|request| request.is_write()).count();
    println!("the first reconcile of {RESOURCES} was ended {POINTS} times in its first {writes} writes");
    let mut last = JoinSet::new();
    last.spawn(controller(&place, &Faults::none()).await);
    let mut template = None;
    for number in 0..RESOURCES {
        let name = name(number);
        eventually(&format!("{name} runs"), async || {
            let seen = Seen {
                at: jiff::Timestamp::UNIX_EPOCH,
                resource: place.get(&name).await,
            };
            seen.is_ready().then_some(())
        })
        .await;
        let events = place.events(&name).await;
        let created = events
            .iter()
            .filter(|event| event.reason == "ChildCreated")
            .count();
        assert_eq!(created, KINDS.len(), "each once: {events:#?}");
        let mut specs = Vec::new();
        for kind in KINDS {
            let child = place.child(kind, &name).await;
            let text = |child: &Value| spec_of(child).to_string();
            specs.push(child.map(|child| text(&child).replace(&format!("\"{name}\""), "NAME")));
        }
        assert_eq!(template.get_or_insert_with(|| specs.clone()), &specs, "{name}");
    }
    drop(busy);
    let requests = audit::requests(&place.user(), 0);
    for resource in [
        "deployments",
        "horizontalpodautoscalers",
        "poddisruptionbudgets",
        "networkpolicies",
        "services",
    ] {
        let of = |verb: &str| {
            requests
                .iter()
                .filter(|request| request.verb == verb && request.resource == resource && request.code < 300)
                .count()
        };
        // Whose answer nobody waited for, the apiserver counts as failed, done or not.
        assert!(of("create") <= RESOURCES, "{resource}");
        assert_eq!((of("patch"), of("delete")), (0, 0), "{resource}");
    }
}
