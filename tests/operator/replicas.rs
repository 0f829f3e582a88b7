//! Who sets the Deployment's replicas, under the real autoscaler controller (it enforces the limits though nothing
//! measures): a watch from the first moment on sees no count that neither the old nor the new spec allows.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use kube::runtime::watcher;
use serde_json::{Value, json};

use super::operator::operator;
use super::place::{History, Place, Seen, eventually, spec};

type Allowed = RangeInclusive<i32>;

/// A Deployment's counts, in order, as a watch brought them.
struct Counts(Arc<Mutex<Vec<i32>>>);

impl Counts {
    fn of(place: &Place, name: &str) -> Self {
        let counts = Self(Arc::default());
        let shared = Arc::clone(&counts.0);
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher::watcher(place.api::<Deployment>(), only).boxed();
        place.background(async move {
            while let Some(event) = events.next().await {
                if let Ok(watcher::Event::Apply(deployment) | watcher::Event::InitApply(deployment)) = event {
                    let count = deployment.spec.and_then(|spec| spec.replicas).unwrap();
                    shared.lock().unwrap().push(count);
                }
            }
        });
        counts
    }

    fn since(&self, mark: usize) -> Vec<i32> {
        self.0.lock().unwrap()[mark..].to_vec()
    }
}

/// One resource and what its spec allows.
struct Scene<'a> {
    place: &'a Place,
    name: &'static str,
    history: History,
    counts: Counts,
    allowed: Allowed,
    /// How many counts were checked.
    mark: usize,
}

impl<'a> Scene<'a> {
    fn new(place: &'a Place, name: &'static str) -> Self {
        Self {
            place,
            name,
            history: place.follow(name),
            counts: Counts::of(place, name),
            allowed: 0..=0,
            mark: 0,
        }
    }

    async fn count(&self) -> Option<i64> {
        let deployment = self.place.child("Deployment", self.name).await?;
        deployment["spec"]["replicas"].as_i64()
    }

    /// What was seen since the last check is allowed by one of these.
    fn check(&mut self, what: &str, allowed: &[&Allowed]) {
        let seen = self.counts.since(self.mark);
        self.mark += seen.len();
        let wrong: Vec<_> = seen
            .iter()
            .filter(|count| !allowed.iter().any(|allowed| allowed.contains(count)))
            .collect();
        assert!(
            wrong.is_empty(),
            "{} {what}: wrong counts {wrong:?} of {seen:?}",
            self.name
        );
    }

    /// Changes the spec and waits until status speaks of it, the count is `end` and there is an autoscaler or none.
    async fn turn(&mut self, what: &str, changes: &Value, allowed: Allowed, end: i32, autoscaled: bool) {
        let before = self.allowed.clone();
        self.check(what, &[&before]);
        let mut spec = spec(1);
        spec.as_object_mut().unwrap().remove("replicas");
        spec.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let generation = self.place.apply(self.name, &spec).await.metadata.generation;
        self.settle(what, generation, end, autoscaled).await;
        self.check(what, &[&before, &allowed]);
        self.allowed = allowed;
    }

    async fn settle(&self, what: &str, generation: Option<i64>, end: i32, autoscaled: bool) {
        self.history
            .first(0, what, |seen| {
                let observed = seen
                    .resource
                    .status
                    .as_ref()
                    .map(|status| status.observed_generation);
                observed == generation
            })
            .await;
        eventually(&format!("{} {what}: {end} replicas", self.name), async || {
            let found = self.place.child("HorizontalPodAutoscaler", self.name).await;
            let counted = self.count().await == Some(i64::from(end));
            (counted && found.is_some() == autoscaled).then_some(())
        })
        .await;
        // The watch of this test has seen it too.
        eventually("the watch is there", async || {
            (self.counts.since(0).last() == Some(&end)).then_some(())
        })
        .await;
    }

    /// The resource as status shows it when `fits`.
    async fn sees(&self, what: &str, fits: impl Fn(&Seen) -> bool) {
        self.history.first(0, what, fits).await;
    }

    async fn scale(&self, target: &str, count: i32) {
        let target = format!("{target}/{}", self.name);
        self.place
            .kubectl(&["scale", &target, &format!("--replicas={count}")])
            .await;
    }

    async fn end(mut self, handovers: usize) {
        let allowed = self.allowed.clone();
        self.check("at the end", &[&allowed]);
        println!("{}: replicas {:?}", self.name, {
            let mut all = self.counts.since(0);
            all.dedup();
            all
        });
        assert_eq!(
            self.place.count(self.name, "ReplicasHandedOver").await,
            handovers,
            "{}: said once each time it is turned on",
            self.name
        );
    }
}

fn fixed(count: i32) -> Value {
    json!({ "replicas": count })
}

fn managed(min: i32, max: i32) -> Value {
    json!({ "autoscaling": { "minReplicas": min, "maxReplicas": max } })
}

/// Off, on, off, and limits that move.
async fn on_and_off(place: &Place) {
    let mut scene = Scene::new(place, "on-off");
    scene.allowed = 2..=2;
    scene.turn("created", &fixed(2), 2..=2, 2, false).await;
    scene.turn("on", &managed(4, 6), 4..=6, 4, true).await;
    scene.turn("off, count left", &json!({}), 4..=4, 4, false).await;
    scene.turn("on again", &managed(3, 6), 3..=6, 4, true).await;
    scene
        .turn("the minimum is raised", &managed(5, 6), 5..=6, 5, true)
        .await;
    scene
        .turn("the maximum is lowered", &managed(2, 3), 2..=3, 3, true)
        .await;
    scene
        .turn("both are equal", &managed(4, 4), 4..=4, 4, false)
        .await;
    scene.turn("and no more", &managed(2, 6), 2..=6, 4, true).await;
    scene.turn("off", &fixed(1), 1..=1, 1, false).await;
    scene.end(3).await;
}

/// Something else scales, and then Lockstep's autoscaler, and back.
async fn external(place: &Place) {
    let mut scene = Scene::new(place, "external");
    scene.allowed = 3..=3;
    let external = json!({ "replicas": 3, "autoscaling": { "mode": "External" } });
    scene.turn("created", &external, 3..=3, 3, false).await;
    scene.allowed = 3..=5;
    scene.scale("deployment", 5).await;
    scene.settle("scaled by somebody", Some(1), 5, false).await;
    scene.turn("managed", &managed(2, 6), 2..=6, 5, true).await;
    let external = json!({ "autoscaling": { "mode": "External" } });
    scene.turn("external again", &external, 5..=5, 5, false).await;
    scene.turn("managed, lower", &managed(1, 2), 1..=2, 2, true).await;
    scene
        .turn(
            "external, with another count",
            &json!({ "replicas": 9, "autoscaling": { "mode": "External" } }),
            2..=2,
            2,
            false,
        )
        .await;
    scene.turn("fixed", &fixed(3), 3..=3, 3, false).await;
    scene.end(2).await;
}

/// Suspended meanwhile, the autoscaler deleted by hand, and `kubectl scale`.
async fn by_hand(place: &Place) {
    let mut scene = Scene::new(place, "by-hand");
    scene.allowed = 3..=5;
    let mut started = managed(2, 5);
    started["replicas"] = json!(3);
    scene
        .turn("created with an autoscaler", &started, 2..=5, 3, true)
        .await;

    let autoscalers = place.children("HorizontalPodAutoscaler");
    let before = autoscalers.get("by-hand").await.unwrap().metadata.uid;
    autoscalers
        .delete("by-hand", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the autoscaler is made anew", async || {
        let uid = autoscalers.get_opt("by-hand").await.unwrap()?.metadata.uid;
        (uid != before).then_some(())
    })
    .await;
    scene.check("the autoscaler was deleted", &[&(3..=3)]);

    // Within the limits it stays, beyond them the autoscaler takes it back.
    scene.scale("deployment", 4).await;
    scene.settle("scaled within the limits", Some(1), 4, true).await;
    scene.scale("deployment", 7).await;
    scene.settle("scaled beyond them", Some(1), 5, true).await;
    scene.check("kubectl scale", &[&(3..=5), &(7..=7)]);
    scene.scale("cwl", 2).await;
    scene
        .sees("the count of the resource is of no effect", |seen| {
            seen.resource.spec.replicas == Some(2)
                && seen.status()["advisories"]
                    .to_string()
                    .contains("ReplicasIgnored")
        })
        .await;
    scene.check("kubectl scale of the resource", &[&(5..=5)]);

    let suspended = json!({ "replicas": 1, "suspend": true });
    scene.turn("suspended, and off", &suspended, 5..=5, 5, true).await;
    scene
        .sees("it waits", |seen| {
            seen.says("Ready") == "False/SuspendedWithChanges"
        })
        .await;
    scene.turn("resumed", &fixed(1), 1..=1, 1, false).await;

    scene.check("fixed", &[&(1..=1)]);
    scene.scale("cwl", 4).await;
    let generation = place.get("by-hand").await.metadata.generation;
    scene.settle("the resource is scaled", generation, 4, false).await;
    scene.check("the resource is scaled", &[&(1..=1), &(4..=4)]);
    scene.scale("deployment", 9).await;
    eventually("it is taken back", async || {
        let seen = scene.counts.since(scene.mark);
        (seen.contains(&9) && seen.last() == Some(&4)).then_some(())
    })
    .await;
    scene.check("the Deployment is scaled", &[&(4..=4), &(9..=9)]);
    scene.allowed = 4..=4;

    let mut suspended = managed(5, 6);
    suspended["suspend"] = json!(true);
    scene.turn("suspended, and on", &suspended, 4..=4, 4, false).await;
    scene.turn("resumed", &managed(5, 6), 5..=6, 5, true).await;
    scene.end(1).await;
}

pub(crate) async fn no_wrong_count_whoever_scales_and_whichever_way_it_changes() {
    let place = Place::new("counts").await;
    let _operator = operator(&place, &[]).await;
    tokio::join!(on_and_off(&place), external(&place), by_hand(&place));
}
