//! Locks that are held in the wrong way: each state in its row, the worst in `LocksHeld`, and no foreign value shown.

use lockstep_cluster::RedisOptions;
use serde_json::{Value, json};

use super::locks::{Holders, key, redis};
use super::operator::operator;
use super::place::{Place, spec_with_locks};

pub(crate) async fn every_wrong_state_is_in_its_row_and_the_worst_in_the_verdict() {
    let place = Place::new("states").await;
    let redis = redis(RedisOptions::default()).await;
    let holders = Holders::of(&redis).await;
    holders
        .run::<()>(&["RPUSH", &key("wrong-type"), "nonsense-value"])
        .await;
    holders
        .run::<()>(&["SET", &key("malformed"), "nonsense-value", "EX", "3600"])
        .await;
    holders.take("foreign", "laptop").await;
    let _operator = operator(&place, &[]).await;
    let history = place.follow("web");
    let names = ["nobody", "wrong-type", "malformed", "eternal", "foreign", "good"];
    let mut spec = spec_with_locks(1, &redis.url(), &names);
    spec["redis"]["database"] = json!(0);
    spec["locks"][0]["unheldGrace"] = json!("6s");
    place.apply("web", &spec).await;
    let pod = &place.ready_pods("web", 1).await[0];
    holders.take("good", pod).await;
    let value = format!("{pod}-9b2e1f64-0c5d-4b7a-8f3e-6a1d2c3b4e5f");
    holders.run::<()>(&["SET", &key("eternal"), &value]).await;

    let mixed = history
        .first(0, "all states are told", |seen| {
            seen.row("eternal")["flags"] == json!(["NoExpiry"]) && seen.row("good")["state"] == "Held"
        })
        .await;
    let row = |lock: &str| {
        let row = mixed.row(lock);
        (row["state"].clone(), row["flags"].clone())
    };
    assert_eq!(row("nobody"), (json!("Unheld"), Value::Null));
    assert_eq!(row("wrong-type"), (json!("Unknown"), json!(["Malformed"])));
    assert_eq!(row("malformed"), (json!("Unattributed"), json!(["Malformed"])));
    assert_eq!(row("eternal"), (json!("Held"), json!(["NoExpiry"])));
    assert_eq!(row("foreign"), (json!("Foreign"), Value::Null));
    assert_eq!(mixed.row("eternal")["pod"], json!(pod));
    assert_eq!(mixed.row("foreign")["pod"], Value::Null);

    let unheld = history
        .first(0, "the grace is over", |seen| {
            seen.says("LocksHeld") == "False/LocksUnheld"
        })
        .await;
    let message = unheld.message("LocksHeld");
    let place_read = format!("127.0.0.1:{} (database 0), key {}", redis.port(), key("nobody"));
    assert!(
        message.contains("Nobody was seen to hold nobody") && message.contains(&place_read),
        "{message}"
    );
    // In the order of the contract: as the worst is put right, the next is said.
    let mark = history.mark();
    holders.take("nobody", pod).await;
    history
        .first(mark, "malformed is next", |seen| {
            seen.says("LocksHeld") == "False/Malformed"
        })
        .await;
    for lock in ["wrong-type", "malformed"] {
        holders.release(lock).await;
        holders.take(lock, pod).await;
    }
    history
        .first(mark, "no expiry is next", |seen| {
            seen.says("LocksHeld") == "False/NoExpiry"
        })
        .await;
    holders.release("eternal").await;
    holders.take("eternal", pod).await;
    history
        .first(mark, "the foreign holder is next", |seen| {
            seen.says("LocksHeld") == "False/ForeignHolder"
        })
        .await;
    holders.release("foreign").await;
    holders.take("foreign", pod).await;
    let good = history
        .first(mark, "all is good", |seen| {
            seen.says("LocksHeld") == "True/AllHeld"
        })
        .await;
    assert_eq!(good.status()["summary"]["locks"], "6/6");

    for reason in [
        "LocksUnheld",
        "LockWithoutExpiry",
        "ForeignLockHolder",
        "LocksRecovered",
    ] {
        assert_eq!(place.count("web", reason).await, 1, "{reason}");
    }
    history.never(0, "a foreign value is shown", |seen| {
        let text = serde_json::to_string(&seen.resource).unwrap();
        text.contains("laptop") || text.contains("nonsense")
    });
    let events = place.events("web").await;
    assert!(
        !events
            .iter()
            .any(|event| event.note.contains("laptop") || event.note.contains("nonsense")),
        "{events:#?}"
    );
}

/// Two workloads on one prefix: each is told whose pod it is. A pod of another namespace is nobody's business.
pub(crate) async fn a_holder_of_another_workload_is_named_in_its_namespace_only() {
    let place = Place::new("sharing").await;
    let elsewhere = Place::new("sharing-elsewhere").await;
    let redis = redis(RedisOptions::default()).await;
    let holders = Holders::of(&redis).await;
    let _operator = operator(&place, &[]).await;
    let _other = operator(&elsewhere, &[]).await;
    let history = place.follow("web");
    place
        .apply("billing", &spec_with_locks(1, &redis.url(), &["a"]))
        .await;
    elsewhere
        .apply("far", &spec_with_locks(1, &redis.url(), &["b"]))
        .await;
    let billing = &place.ready_pods("billing", 1).await[0];
    let far = &elsewhere.ready_pods("far", 1).await[0];
    holders.take("a", billing).await;
    holders.take("b", far).await;
    place
        .apply("web", &spec_with_locks(1, &redis.url(), &["a", "b"]))
        .await;
    let told = history
        .first(0, "both locks are another's", |seen| {
            seen.row("a")["pod"] == json!(billing) && seen.row("b")["state"] == "Foreign"
        })
        .await;
    assert_eq!(
        (&told.row("a")["state"], &told.row("b")["pod"]),
        (&json!("Foreign"), &Value::Null)
    );
    let message = told.message("LocksHeld");
    let named = format!("{billing}, a pod of CoordinatedWorkload billing");
    assert!(
        message.contains(&named) && message.contains("an unknown holder"),
        "{message}"
    );
    history.never(0, "a pod of another namespace is shown", |seen| {
        serde_json::to_string(&seen.resource)
            .unwrap()
            .contains(far.as_str())
    });
}
