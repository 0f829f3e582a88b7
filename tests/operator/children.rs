//! Objects of the same name that Lockstep did not make, and changes of the template.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::operator::operator;
use super::place::{Place, Seen, eventually, spec};

pub(crate) async fn a_deployment_that_lockstep_did_not_make_is_left_alone_and_said() {
    let place = Place::new("conflict").await;
    let foreign = json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": "old" } },
            "template": {
                "metadata": { "labels": { "app": "old" } },
                "spec": { "containers": [{ "name": "old", "image": "old:1" }] },
            },
        },
    });
    let deployments = place.api::<Deployment>();
    deployments
        .create(&PostParams::default(), &serde_json::from_value(foreign).unwrap())
        .await
        .unwrap();
    // Once its controller has nothing left to write.
    eventually("the foreign Deployment settles", async || {
        let status = deployments.get("web").await.unwrap().status?;
        status.conditions.filter(|conditions| conditions.len() == 2)
    })
    .await;
    let before = place.child("Deployment", "web").await.unwrap();

    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    place.apply("web", &spec(1)).await;
    let stalled = history
        .first(0, "it stalls", |seen| seen.says("Stalled") == "True/NameConflict")
        .await;
    assert_eq!(stalled.says("Ready"), "False/NameConflict");
    assert_eq!(stalled.says("Reconciling"), "", "never both");
    let message = stalled.message("Stalled");
    assert!(
        message.contains("Deployment") && message.contains("web"),
        "{message}"
    );
    assert_eq!(
        place.child("Deployment", "web").await.unwrap(),
        before,
        "untouched"
    );
    assert!(
        place.child("HorizontalPodAutoscaler", "web").await.is_none(),
        "what is not ours is not scaled"
    );
    assert_eq!(place.warnings("web").await, ["NameConflict"]);

    deployments.delete("web", &DeleteParams::default()).await.unwrap();
    history
        .first(0, "with the name free again, it runs", Seen::is_ready)
        .await;
    assert_eq!(place.count("web", "NameConflict").await, 1);
}

fn environment(deployment: &Value) -> Vec<&str> {
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    variables
        .into_iter()
        .flatten()
        .filter_map(|variable| variable["name"].as_str())
        .collect()
}

/// `spec` without its first variable.
fn without_mode(mut spec: Value) -> Value {
    spec["template"]["spec"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    spec
}

pub(crate) async fn a_variable_removed_as_the_first_change_goes_and_replicas_stay() {
    let place = Place::new("first-change").await;
    let _operator = operator(&place, &[]).await;
    // One says its replicas, of the other somebody else does.
    let said = spec(3);
    let mut unsaid = spec(1);
    unsaid.as_object_mut().unwrap().remove("replicas");
    for (name, spec) in [("said", &said), ("unsaid", &unsaid)] {
        let history = place.follow(name);
        place.apply(name, spec).await;
        history.first(0, "it runs", Seen::is_ready).await;
    }
    place
        .kubectl(&["scale", "deployment/unsaid", "--replicas=2"])
        .await;
    for (name, spec, replicas) in [("said", said, 3), ("unsaid", unsaid, 2)] {
        let before = place.child("Deployment", name).await.unwrap();
        assert!(environment(&before).contains(&"MODE"), "{before:#}");
        let history = place.follow(name);
        history.rests().await;
        let changed = place.apply(name, &without_mode(spec)).await;
        history
            .first(0, "the change runs", |seen| {
                seen.is_ready() && seen.resource.metadata.generation == changed.metadata.generation
            })
            .await;
        let after = place.child("Deployment", name).await.unwrap();
        let names = environment(&after);
        assert!(!names.contains(&"MODE") && names.contains(&"LEVEL"), "{names:?}");
        assert_eq!(after["spec"]["replicas"], replicas, "{name}");
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "{name}");
        assert_eq!(place.count(name, "RolloutComplete").await, 2, "{name}");
        assert_eq!(place.warnings(name).await, Vec::<String>::new());
    }
}
