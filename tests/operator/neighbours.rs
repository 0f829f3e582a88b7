//! Others' objects that act on the same pods: autoscalers, budgets, and people who scale.

use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use super::audit;
use super::conflicts::{GIVE_IN, INSTEAD, advice, advises, consistent, tells};
use super::operator::operator;
use super::place::{Place, Seen, eventually, spec};

/// Makes an object of a kind that children are of.
async fn create(place: &Place, kind: &str, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let api = place.children(kind);
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// An autoscaler `other` of the Deployment.
async fn create_autoscaler(place: &Place, min: u32) {
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "other" },
        "spec": { "minReplicas": min, "maxReplicas": 5,
                  "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } },
    });
    create(place, "HorizontalPodAutoscaler", autoscaler).await;
}

async fn delete(place: &Place, kind: &str) {
    let api = place.children(kind);
    api.delete("other", &kube::api::DeleteParams::default())
        .await
        .unwrap();
}

/// What was said under a reason.
async fn told(place: &Place, reason: &str) -> Vec<String> {
    let events = place.events("web").await.into_iter();
    let told = events.filter(|event| event.reason == reason);
    told.map(|event| event.note).collect()
}

pub(crate) async fn a_second_autoscaler_is_named_until_it_goes() {
    let place = Place::new("two-autoscalers").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let mut spec = spec(1);
    spec.as_object_mut().unwrap().remove("replicas");
    spec["autoscaling"] = json!({ "minReplicas": 1, "maxReplicas": 3 });
    place.apply("web", &spec).await;
    let alone = history.first(0, "it runs", Seen::is_ready).await;
    assert_eq!(advice(&alone, "ForeignAutoscaler"), "");

    create_autoscaler(&place, 1).await;
    let ambiguous = history
        .first(0, "two are too many", |seen| {
            !advice(seen, "ForeignAutoscaler").is_empty()
                && seen.says("ScalingActive") == "False/AmbiguousSelector"
        })
        .await;
    let message = advice(&ambiguous, "ForeignAutoscaler");
    advises(
        &message,
        &[
            "HorizontalPodAutoscaler other",
            "of the Deployment",
            "two autoscalers",
        ],
        "set spec.autoscaling.mode to External and leave the other fields out.",
    );
    let message = ambiguous.message("ScalingActive");
    assert!(message.contains("multiple HPAs"), "{message}");
    assert!(ambiguous.is_ready(), "it is advice and no failure");

    let mark = history.mark();
    delete(&place, "HorizontalPodAutoscaler").await;
    history
        .first(mark, "one is left", |seen| {
            advice(seen, "ForeignAutoscaler").is_empty()
                && seen.says("ScalingActive") != "False/AmbiguousSelector"
        })
        .await;
    assert_eq!(place.warnings("web").await, Vec::<String>::new());
    consistent(&history);
}

pub(crate) async fn replicas_that_others_set_are_put_back_and_an_autoscaler_that_insists_is_braked() {
    let place = Place::new("scaled-by-others").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &spec(2)).await;
    history.first(0, "it runs", Seen::is_ready).await;
    let replicas = async || place.child("Deployment", "web").await.unwrap()["spec"]["replicas"].as_i64();

    let mark = history.mark();
    place.kubectl(&["scale", "deployment/web", "--replicas=4"]).await;
    eventually("the replicas are put back", async || {
        (replicas().await == Some(2)).then_some(())
    })
    .await;
    let seen = history
        .first(mark, "it is said", |seen| {
            seen.is_ready() && !advice(seen, "DriftCorrected").is_empty()
        })
        .await;
    advises(
        &advice(&seen, "DriftCorrected"),
        &["spec.replicas", "kubectl"],
        INSTEAD,
    );
    let corrections = told(&place, "DriftCorrected").await;
    assert_eq!(corrections.len(), 1, "{corrections:?}");
    assert!(
        corrections[0].contains("kubectl changed spec.replicas of Deployment web"),
        "{corrections:?}"
    );

    // This one wants three at least, whatever the metrics, and looks every other second.
    let (mark, from) = (history.mark(), audit::now());
    create_autoscaler(&place, 3).await;
    let fight = history
        .first(mark, "the autoscaler insists", |seen| {
            !advice(seen, "FieldConflict").is_empty()
        })
        .await;
    let rival = "kube-controller-manager";
    assert_eq!(fight.says("Ready"), "False/ChildApplyFailed");
    assert_eq!(fight.says("Reconciling"), "True/Retrying");
    let parts = [rival, "spec.replicas", "Deployment"];
    tells(&fight.message("Reconciling"), &parts);
    advises(&advice(&fight, "FieldConflict"), &parts, GIVE_IN);
    let message = advice(&fight, "ForeignAutoscaler");
    advises(
        &message,
        &["HorizontalPodAutoscaler other", "mode to External"],
        "give spec.replicas and no spec.autoscaling.",
    );
    let corrections = told(&place, "DriftCorrected").await;
    assert!((2..=3).contains(&corrections.len()), "{corrections:?}");
    assert!(
        corrections[1..].iter().all(|note| note.contains(rival)),
        "{corrections:?}"
    );
    let mut writes = audit::requests(&place.user(), from);
    writes.retain(|write| write.verb == "patch" && write.resource == "deployments" && write.code < 300);
    assert!(writes.len() <= 3, "{writes:?}");
    consistent(&history);
}

pub(crate) async fn a_budget_over_the_same_pods_is_named_until_it_goes() {
    let place = Place::new("two-budgets").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &spec(2)).await;
    let allowed = |seen: &Seen| seen.says("DisruptionsAllowed") == "True/BudgetAvailable";
    history
        .first(0, "it runs", |seen| seen.is_ready() && allowed(seen))
        .await;

    let mark = history.mark();
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "other" },
        "spec": { "minAvailable": 0, "selector": { "matchLabels": { "app": "web" } } },
    });
    create(&place, "PodDisruptionBudget", budget).await;
    let overlapping = history
        .first(mark, "two are too many", |seen| {
            seen.says("DisruptionsAllowed") == "False/OverlappingBudgets"
        })
        .await;
    tells(
        &overlapping.message("DisruptionsAllowed"),
        &["PodDisruptionBudget other", "enabled to false"],
    );
    assert!(overlapping.is_ready(), "the spec runs all the same");
    let blocked = told(&place, "DrainBlocked").await;
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    tells(&blocked[0], &["PodDisruptionBudget other"]);

    let mark = history.mark();
    delete(&place, "PodDisruptionBudget").await;
    history.first(mark, "one is left", allowed).await;
    assert_eq!(place.warnings("web").await, ["DrainBlocked"]);
    consistent(&history);
}

pub(crate) async fn a_budget_that_blocks_every_drain_is_said_until_it_allows_one() {
    let place = Place::new("blocked").await;
    let _operator = operator(&place, &[]).await;
    let cases = [
        ("none", json!({ "maxUnavailable": 0 })),
        ("all", json!({ "minAvailable": 2, "allowBlocking": true })),
    ];
    for (name, budget) in cases {
        let history = place.follow(name);
        let mut blocking = spec(2);
        blocking["disruptionBudget"] = budget;
        place.apply(name, &blocking).await;
        let seen = history
            .first(0, "no eviction is allowed", |seen| {
                seen.is_ready() && seen.says("DisruptionsAllowed") == "False/BudgetBlocksEviction"
            })
            .await;
        tells(&seen.message("DisruptionsAllowed"), &["of 2 pods, 2 must be"]);
        assert_eq!(place.warnings(name).await, ["DrainBlocked"], "{name}");

        let mark = history.mark();
        place.apply(name, &spec(2)).await;
        history
            .first(mark, "one at a time", |seen| {
                seen.is_ready() && seen.says("DisruptionsAllowed") == "True/BudgetAvailable"
            })
            .await;
        assert_eq!(place.warnings(name).await, ["DrainBlocked"], "{name}");
        consistent(&history);
    }
}
