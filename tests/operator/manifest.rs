//! From a manifest to what `kubectl` shows, and what a manifest that can't be used leads to.

use lockstep_cluster::RedisOptions;
use serde_json::json;

use super::locks::{Holders, redis};
use super::operator::operator;
use super::place::{PATIENCE, Place};

/// The example as it is delivered, with another address of Redis and shorter lifetimes of locks.
fn example(redis: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/examples/rigatoni.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    // The one of the spec, not the one of the environment.
    text.replace("url: redis://redis:6379", &format!("url: {redis}"))
}

pub(crate) async fn a_manifest_becomes_four_children_and_kubectl_shows_the_truth() {
    let place = Place::new("manifest").await;
    let redis = redis(RedisOptions::default()).await;
    let holders = Holders::of(&redis).await;
    let _operator = operator(&place, &[]).await;
    place
        .kubectl_stdin(&["apply", "--filename=-"], &example(&redis.url()))
        .await;
    let history = place.follow("rigatoni");
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    place
        .kubectl(&["wait", "--for=condition=Ready", &timeout, "cwl/rigatoni"])
        .await;
    for kind in [
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
    ] {
        let child = place.child(kind, "rigatoni").await;
        let child = child.unwrap_or_else(|| panic!("no {kind}"));
        let owner = &child["metadata"]["ownerReferences"][0];
        assert_eq!(owner["kind"], "CoordinatedWorkload", "{kind}");
        assert_eq!(owner["controller"], true, "{kind}");
    }
    let pods = place.ready_pods("rigatoni", 3).await;
    for (lock, pod) in ["users", "orders", "products", "logs"].iter().zip([0, 0, 1, 2]) {
        holders.take(&format!("mydb:{lock}"), &pods[pod]).await;
    }
    // Nothing measures CPU here, and the autoscaler says so.
    history
        .first(
            0,
            "all locks are held, by three pods, and the autoscaler has spoken",
            |seen| {
                let summary = &seen.status()["summary"];
                summary["locks"] == "4/4"
                    && summary["spread"] == "2-1-1"
                    && seen.says("ScalingActive") == "False/FailedGetResourceMetric"
                    && seen.says("DisruptionsAllowed") == "True/BudgetAvailable"
            },
        )
        .await;

    let table = place.kubectl(&["get", "cwl"]).await;
    println!("{table}");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "NAME", "READY", "PODS", "LOCKS", "SPREAD", "BALANCED", "STATUS", "AGE"
        ]
    );
    assert_eq!(rows[1][..5], ["rigatoni", "True", "3/3", "4/4", "2-1-1"]);
    assert_eq!(rows[1][6], "FailedGetResourceMetric");

    let explained = place
        .kubectl(&["explain", "cwl.spec.template.spec.containers"])
        .await;
    assert!(explained.contains("image\t<string>"), "{explained}");
    let described = place.kubectl(&["describe", "cwl", "rigatoni"]).await;
    for part in [
        "ChildCreated",
        "RolloutComplete",
        "Every Continuous lock is in good hands",
    ] {
        assert!(described.contains(part), "{part} is missing: {described}");
    }
    assert_eq!(place.warnings("rigatoni").await, Vec::<String>::new());
}

pub(crate) async fn a_spec_that_cannot_be_used_stalls_and_creates_nothing_until_it_is_corrected() {
    let place = Place::new("unusable").await;
    let _operator = operator(&place, &[]).await;
    let set = |name: &str| json!({ "name": name, "hold": "Continuous", "dialect": "Rigatoni", "names": ["mydb:users"] });
    let mut spec = super::place::spec(2);
    spec["redis"] = json!({ "url": "redis://redis:6379" });
    spec["locks"] = json!([set("one"), set("two")]);
    place.apply("web", &spec).await;
    let history = place.follow("web");
    let stalled = history
        .first(0, "it stalls", |seen| seen.says("Stalled") == "True/InvalidSpec")
        .await;
    let message = stalled.message("Stalled");
    assert!(
        message.contains("spec.locks[1].names[0]") && message.contains("rigatoni:lock:mydb:users"),
        "{message}"
    );
    assert_eq!(stalled.says("Ready"), "False/InvalidSpec");
    assert_eq!(stalled.says("Reconciling"), "", "never both");
    assert_eq!(place.count("web", "InvalidSpec").await, 1);
    for kind in ["Deployment", "PodDisruptionBudget", "NetworkPolicy"] {
        assert!(place.child(kind, "web").await.is_none(), "{kind}");
    }
    place.apply("web", &super::place::spec(2)).await;
    history
        .first(0, "the good manifest runs", super::place::Seen::is_ready)
        .await;
    assert_eq!(place.warnings("web").await, ["InvalidSpec"]);
}
