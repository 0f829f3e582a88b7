//! Locks in every form that a set can describe: where the holder stands, and where its owner does.

use std::sync::Arc;
use std::time::Duration;

use lockstep::api::CoordinatedWorkload;
use lockstep::clock;
use lockstep::domain::locks::dialect::{Named, Scheme};
use lockstep::domain::locks::probe::Discovery;
use lockstep::domain::locks::{Hold, KeySnapshot, KeyState, Observation, Text};
use lockstep::domain::workload::{self, LockSet};
use lockstep::observer::{Interest, Observers};
use lockstep_cluster::Redis;
use serde_json::{Value, json};

use crate::support::{Client, View, eventually, hold, redis, settings, target, who};

/// The one set of a resource with these fields.
fn set(fields: &Value) -> LockSet {
    let mut set = json!({ "name": "own", "hold": "Intermittent", "dialect": "Custom" });
    for (field, value) in fields.as_object().unwrap() {
        set[field] = value.clone();
    }
    let resource: CoordinatedWorkload = serde_json::from_value(json!({
        "apiVersion": "lockstep.dev/v1alpha1",
        "kind": "CoordinatedWorkload",
        "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "generation": 1 },
        "spec": {
            "template": { "spec": { "containers": [{ "name": "main", "image": "x" }] } },
            "redis": { "url": "redis://redis:6379" },
            "locks": [set],
        },
    }))
    .unwrap();
    workload::parse(&resource).unwrap().locks.swap_remove(0)
}

/// The lock `lock`, read as `holder` says.
fn of(redis: &Redis, holder: &Value) -> (View, Scheme) {
    let set = set(&json!({ "names": ["lock"], "holder": holder }));
    let mut view = View::new(target(redis), &[]);
    view.keys = set.locks.iter().map(|lock| Arc::clone(&lock.probe)).collect();
    (view, set.scheme)
}

/// Whom a hold names: `Ok(None)` nobody, `Err(())` what stands there fits nothing.
fn named(scheme: &Scheme, hold: &Hold) -> Result<Option<String>, ()> {
    match scheme.named(hold) {
        Named::Owner(owner) => Ok(Some(owner.as_str().to_owned())),
        Named::Nobody => Ok(None),
        Named::Unfit => Err(()),
    }
}

/// Looks until the lock is held and names this. What stands beside it need not be announced.
async fn names(view: &View, scheme: &Scheme, expected: Result<Option<&str>, ()>) -> Hold {
    eventually(&format!("{expected:?}"), || {
        let key = view.first();
        let hold = hold(&key)?;
        let found = named(scheme, hold);
        (found.as_ref().map(Option::as_deref) == expected.as_ref().copied()).then(|| hold.clone())
    })
    .await
}

async fn free(view: &View) -> KeySnapshot {
    eventually("nobody", || {
        let key = view.first();
        matches!(key.state, KeyState::Absent { .. }).then_some(key)
    })
    .await
}

const BEFORE_COLON: &str = "(?<owner>[^:]+):.*";

#[tokio::test]
async fn a_field_of_a_hash_is_the_holder_and_others_are_ignored() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let source = json!({ "type": "HashField", "ignore": ["mode", "queue"] });
    let (mut view, scheme) = of(&redis, &json!({ "pattern": BEFORE_COLON, "source": source }));
    client.run::<()>("HSET lock mode write queue x");
    view.up().await;
    free(&view).await;
    client.run::<()>("HSET lock pod-a:1 1");
    client.run::<()>("PEXPIRE lock 30000");
    let held = names(&view, &scheme, Ok(Some("pod-a"))).await;
    client.run::<()>("HINCRBY lock pod-a:1 1");
    client.run::<()>("PEXPIRE lock 60000");
    let again = eventually("a renewal", || {
        hold(&view.first())
            .filter(|hold| hold.last_renewed.is_some())
            .cloned()
    })
    .await;
    assert_eq!(again.first_seen, held.first_seen, "taken once more by the same");
    client.run::<()>("HSET lock pod-b:1 1");
    let both = names(&view, &scheme, Ok(None)).await;
    assert_eq!(both.text, Text::Several);
    client.run::<()>("HDEL lock pod-a:1");
    names(&view, &scheme, Ok(Some("pod-b"))).await;
    client.run::<()>("HSET lock bad 1");
    client.run::<()>("HDEL lock pod-b:1");
    names(&view, &scheme, Err(())).await;
    client.run::<()>("HDEL lock bad");
    free(&view).await;
}

#[tokio::test]
async fn a_member_of_a_set_is_the_holder() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let source = json!({ "type": "SetMember", "ignore": ["none"] });
    let (mut view, scheme) = of(&redis, &json!({ "pattern": BEFORE_COLON, "source": source }));
    client.run::<()>("SADD lock none");
    view.up().await;
    free(&view).await;
    client.run::<()>("SADD lock pod-a:1");
    let held = names(&view, &scheme, Ok(Some("pod-a"))).await;
    assert_eq!(held.deadline, None);
    client.run::<()>("SADD lock pod-b:1");
    names(&view, &scheme, Ok(None)).await;
    client.run::<()>("DEL lock");
    free(&view).await;
}

#[tokio::test]
async fn a_score_is_when_a_member_s_hold_ends_in_either_unit() {
    for (unit, scale) in [(Some("Seconds"), 1000), (Some("Milliseconds"), 1), (None, 1000)] {
        let redis = redis();
        let mut client = Client::of(&redis);
        let mut source = json!({ "type": "SortedSetMember", "ignore": ["__write__"] });
        if let Some(unit) = unit {
            source["scoreUnit"] = json!(unit);
        }
        let (mut view, scheme) = of(&redis, &json!({ "pattern": BEFORE_COLON, "source": source }));
        view.up().await;
        let now = clock::wall().as_millisecond();
        // Whole seconds, as such scores are: between one and two from now.
        let ends = (now / 1000 + 2) * 1000;
        client.run::<()>(&format!(
            "ZADD lock {} pod-a:1 {} __write__",
            ends / scale,
            9_999_999_999_999_i64
        ));
        let held = names(&view, &scheme, Ok(Some("pod-a"))).await;
        let left = held.deadline.unwrap().since(held.last_answer);
        assert!(left <= Duration::from_secs(2), "{unit:?}: {left:?}");
        let key = free(&view).await;
        let late = clock::wall().as_millisecond() - ends;
        assert!((-50..2_000).contains(&late), "{unit:?}: {late} ms");
        assert!(key.ends[0].watched, "{key:?}");
        assert_eq!(
            client.run::<u64>("EXISTS lock"),
            1,
            "the library removes it later, or never"
        );

        let later = (clock::wall().as_millisecond() + 600_000) / scale;
        client.run::<()>(&format!("ZADD lock {later} pod-b:1"));
        names(&view, &scheme, Ok(Some("pod-b"))).await;
        client.run::<()>("PEXPIRE lock 5000");
        let sooner = eventually("the key's own expiry", || {
            let key = view.first();
            let now = hold(&key)?;
            let left = now.deadline?.since(now.last_answer);
            (left <= Duration::from_secs(5)).then_some(left)
        })
        .await;
        assert!(sooner > Duration::from_secs(3), "{sooner:?}");
        client.run::<()>(&format!("ZADD lock {later} pod-c:1"));
        names(&view, &scheme, Ok(None)).await;
        client.run::<()>("PERSIST lock");
        client.run::<()>("ZREM lock pod-b:1 pod-c:1");
        client.run::<()>("ZADD lock +inf pod-d:1");
        let forever = names(&view, &scheme, Ok(Some("pod-d"))).await;
        assert_eq!(forever.deadline, None);
    }
}

#[tokio::test]
async fn a_string_in_json_is_the_holder() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let source = json!({ "type": "JsonPointer", "pointer": "/owner/pod" });
    let (mut view, scheme) = of(&redis, &json!({ "pattern": "(?<owner>.+)", "source": source }));
    view.up().await;
    client.run::<()>(r#"SET lock {"owner":{"pod":"pod-a"},"at":1} PX 30000"#);
    let held = names(&view, &scheme, Ok(Some("pod-a"))).await;
    client.run::<()>(r#"SET lock {"owner":{"pod":"pod-a"},"at":2} PX 60000"#);
    let renewed = eventually("a renewal", || {
        hold(&view.first())
            .filter(|hold| hold.last_renewed.is_some())
            .cloned()
    })
    .await;
    assert_eq!(
        renewed.first_seen, held.first_seen,
        "what else stands there may change"
    );
    for other in [r#"{"owner":"pod-a"}"#, r#"{"owner":{"pod":7}}"#, "pod-a", "{"] {
        client.run::<()>(&format!("SET lock {other} PX 30000"));
        names(&view, &scheme, Err(())).await;
        client.run::<()>("DEL lock");
        free(&view).await;
    }
}

#[tokio::test]
async fn an_owner_may_stand_in_another_key_or_in_a_field_of_one() {
    for field in [None, Some("who")] {
        let redis = redis();
        let mut client = Client::of(&redis);
        let mut source = json!({ "type": "SiblingKey", "key": "owner:{name}:of" });
        if let Some(field) = field {
            source = json!({ "type": "SiblingField", "key": "owner:{name}:of", "field": field });
        }
        let (mut view, scheme) = of(&redis, &json!({ "pattern": BEFORE_COLON, "source": source }));
        view.up().await;
        let says = |client: &mut Client, owner: &str| match field {
            None => client.run::<()>(&format!("SET owner:lock:of {owner}")),
            Some(field) => client.run::<()>(&format!("HSET owner:lock:of {field} {owner} more x")),
        };
        client.run::<()>("SET lock anything PX 30000");
        let held = names(&view, &scheme, Ok(None)).await;
        says(&mut client, "pod-a:1");
        let told = names(&view, &scheme, Ok(Some("pod-a"))).await;
        assert_eq!(told.first_seen, held.first_seen, "told later, held since then");
        says(&mut client, "pod-b:1");
        let other = names(&view, &scheme, Ok(Some("pod-b"))).await;
        assert_ne!(
            other.first_seen, told.first_seen,
            "the value need not change with the owner"
        );
        client.run::<()>("DEL owner:lock:of");
        client.run::<()>("PEXPIRE lock 60000");
        eventually("a renewal", || {
            hold(&view.first())
                .filter(|hold| hold.last_renewed.is_some())
                .cloned()
        })
        .await;
        names(&view, &scheme, Ok(Some("pod-b"))).await;

        // A string is read in part, a field that is too long not at all.
        let long = if field.is_some() { Ok(None) } else { Err(()) };
        let too_long = "x".repeat(5000);
        for (owner, expected) in [("nonsense", Err(())), (&too_long, long)] {
            client.run::<()>("DEL lock");
            free(&view).await;
            says(&mut client, owner);
            client.run::<()>("SET lock anything PX 30000");
            names(&view, &scheme, expected).await;
        }
        client.run::<()>("DEL lock owner:lock:of");
        free(&view).await;
        client.run::<()>("SADD owner:lock:of pod-a:1");
        client.run::<()>("SET lock anything PX 30000");
        names(&view, &scheme, Ok(None)).await;
    }
}

#[tokio::test]
async fn a_registry_says_which_pod_a_holder_is_also_when_it_is_written_later_or_never() {
    for registry in [
        json!({ "key": "pod-of:{holder}" }),
        json!({ "key": "instances", "field": "i:{holder}" }),
    ] {
        let redis = redis();
        let mut client = Client::of(&redis);
        let holder = json!({ "pattern": "(?<holder>[a-z0-9-]+):.*", "registry": registry });
        let (mut view, scheme) = of(&redis, &holder);
        view.up().await;
        let by_key = registry.get("field").is_none();
        let register = |client: &mut Client, holder: &str, pod: &str| {
            client.run::<()>(&if by_key {
                format!("SET pod-of:{holder} {pod}")
            } else {
                format!("HSET instances i:{holder} {pod}")
            });
        };
        register(&mut client, "client-1", "pod-a");
        client.run::<()>("SET lock client-1:1 PX 30000");
        let held = names(&view, &scheme, Ok(Some("pod-a"))).await;
        // A holder never becomes another pod: what was read once is not read again.
        client.run::<()>("PEXPIRE lock 60000");
        eventually("a renewal", || {
            hold(&view.first())
                .filter(|hold| hold.last_renewed > held.last_renewed)
                .cloned()
        })
        .await;
        let lookups = client.calls("hget") + client.calls("hstrlen");
        client.run::<()>("SET lock client-1:2 PX 30000");
        eventually("another hold", || {
            hold(&view.first())
                .filter(|hold| hold.value != held.value)
                .cloned()
        })
        .await;
        names(&view, &scheme, Ok(Some("pod-a"))).await;
        assert_eq!(client.calls("hget") + client.calls("hstrlen"), lookups);

        client.run::<()>("SET lock client-2:1 PX 30000");
        let nobody = names(&view, &scheme, Ok(None)).await;
        register(&mut client, "client-2", "Pod-B.shop.svc");
        let later = names(&view, &scheme, Ok(Some("pod-b"))).await;
        assert_eq!(later.first_seen, nobody.first_seen);
        client.run::<()>("SET lock :no-holder PX 30000");
        names(&view, &scheme, Err(())).await;
        client.run::<()>("DEL lock");
        free(&view).await;
    }
}

#[tokio::test]
async fn a_registry_fits_members_and_fields_too() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let source = json!({ "type": "HashField", "ignore": ["mode"] });
    let registry = json!({ "key": "instances", "field": "{holder}" });
    let (mut view, scheme) = of(&redis, &json!({ "source": source, "registry": registry }));
    client.run::<()>("HSET instances client-1 pod-a");
    client.run::<()>("HSET lock mode read client-1 1");
    view.up().await;
    names(&view, &scheme, Ok(Some("pod-a"))).await;
    client.run::<()>("HSET lock client-2 1");
    names(&view, &scheme, Ok(None)).await;
}

#[tokio::test]
async fn another_time_in_a_value_is_the_same_hold() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let (mut view, scheme) = of(&redis, &json!({ "pattern": "(?<since>[0-9]+)@(?<owner>.+)" }));
    view.up().await;
    client.run::<()>("SET lock 1700000000@pod-a PX 30000");
    let held = names(&view, &scheme, Ok(Some("pod-a"))).await;
    client.run::<()>("SET lock 1700000009@pod-a PX 60000");
    let renewed = eventually("a renewal", || {
        hold(&view.first())
            .filter(|hold| hold.last_renewed.is_some())
            .cloned()
    })
    .await;
    assert_eq!(renewed.first_seen, held.first_seen);
    client.run::<()>("SET lock 1700000009@pod-b PX 60000");
    let other = names(&view, &scheme, Ok(Some("pod-b"))).await;
    assert_ne!(other.first_seen, held.first_seen);
    client.run::<()>("SET lock soon@pod-b PX 60000");
    names(&view, &scheme, Err(())).await;
}

/// One workload's look at one place.
fn look_at(observers: &Observers, name: &str, redis: &Redis, place: &Arc<Discovery>) -> Observation {
    let interest = Interest {
        locks: vec![],
        places: vec![Arc::clone(place)],
        renewed: vec![],
    };
    observers
        .observe(&who(name), vec![target(redis)], interest)
        .pop()
        .unwrap()
}

fn found(seen: &Observation) -> Vec<String> {
    let keys = seen.discovered[0].keys.iter();
    let held = keys.filter(|key| hold(key).is_some());
    held.map(|key| key.probe.key.escape_ascii().to_string()).collect()
}

#[tokio::test]
async fn each_workload_finds_what_stands_under_its_own_prefix_and_suffix() {
    let redis = redis();
    let mut client = Client::of(&redis);
    let place = |prefix: &str, suffix: &str| {
        let holder = json!({ "pattern": "(?<owner>.+)" });
        let fields = json!({ "discover": true, "keyPrefix": prefix, "keySuffix": suffix, "holder": holder });
        set(&fields).discover.unwrap()
    };
    let (all, mail) = (place("jobs:", ""), place("jobs:mail:", ":lock"));
    for key in ["jobs:mail:1:lock", "jobs:mail:1", "jobs:7", "other:1", "jobs:"] {
        client.run::<()>(&format!("SET {key} pod-a PX 60000"));
    }
    let (observers, _changes) = Observers::new(settings());
    eventually("both", || {
        let all = found(&look_at(&observers, "all", &redis, &all));
        let mail = found(&look_at(&observers, "mail", &redis, &mail));
        (all == ["jobs:7", "jobs:mail:1", "jobs:mail:1:lock"] && mail == ["jobs:mail:1:lock"]).then_some(())
    })
    .await;
    let scans = client.calls("scan");
    client.run::<()>("SET jobs:mail:2:lock pod-b PX 60000");
    client.run::<()>("SET jobs:8 pod-b PX 60000");
    client.run::<()>("DEL jobs:7 jobs:mail:1:lock");
    eventually("what came and went", || {
        let all = found(&look_at(&observers, "all", &redis, &all));
        let mail = found(&look_at(&observers, "mail", &redis, &mail));
        (all == ["jobs:8", "jobs:mail:1", "jobs:mail:2:lock"] && mail == ["jobs:mail:2:lock"]).then_some(())
    })
    .await;
    assert_eq!(
        client.calls("scan"),
        scans,
        "one search for both, when the connection came to stand"
    );
}
