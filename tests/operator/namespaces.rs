//! One operator that works in several namespaces: in each as in the others, in no further one, and a namespace in which
//! it has no rights holds up none.

use std::net::SocketAddr;

use kube::api::DeleteParams;
use lockstep_cluster::RedisOptions;

use super::health::readyz;
use super::locks::{Holders, redis};
use super::operator::{get, operator};
use super::place::{Place, eventually, spec_with_locks};

/// The value of a metric without labels, or the number of series of one with labels.
async fn metric(address: SocketAddr, name: &str) -> Option<String> {
    let text = get(address, "/metrics").await?.text;
    let line = text
        .lines()
        .find(|line| line.split([' ', '{']).next() == Some(name))?;
    line.rsplit(' ').next().map(str::to_owned)
}

/// Whether an operator has looked at a resource.
async fn is_seen(place: &Place, name: &str) -> bool {
    let status = place.get(name).await.status;
    status.is_some_and(|status| status.observed_generation > 0)
}

pub(crate) async fn each_of_several_namespaces_is_worked_in_and_one_without_rights_holds_up_none() {
    let (granted, refused, other) = (
        Place::new("several-a").await,
        Place::new("several-b").await,
        Place::new("several-c").await,
    );
    let store = redis(RedisOptions::default()).await;
    let holders = Holders::of(&store).await;
    let spec = spec_with_locks(1, &store.url(), &["mydb:users"]);
    let second = [
        "--watch-namespace",
        "several-b,several-a",
        "--admin-bind",
        "127.0.0.1:0",
    ];
    let process = operator(&granted, &second).await;
    let address = process.admin().await;
    for (place, name) in [(&granted, "web"), (&refused, "shop"), (&other, "web")] {
        place.apply(name, &spec).await;
    }

    // In the second it has no rights yet; in the first it works all the same.
    let pods = granted.ready_pods("web", 1).await;
    let history = granted.follow("web");
    holders.take("mydb:users", &pods[0]).await;
    history
        .first(0, "the lock is held", |seen| {
            seen.says("LocksHeld") == "True/AllHeld"
        })
        .await;
    let said = readyz(address, 503, "pods in namespace several-b can't be listed: ").await;
    assert!(!said.contains("in namespace several-a"), "{said}");
    assert!(!is_seen(&refused, "shop").await);
    assert_eq!(metric(address, "lockstep_workloads").await.as_deref(), Some("1"));

    // What is granted is found without a restart. One connection to Redis serves both.
    let binding = ["--clusterrole=lockstep", "--serviceaccount=several-a:operator"];
    refused
        .kubectl(&[&["create", "rolebinding", "guest"], &binding[..]].concat())
        .await;
    readyz(address, 200, "ready").await;
    refused.ready_pods("shop", 1).await;
    let foreign = refused.follow("shop");
    foreign
        .first(0, "the other namespace's pod is seen as the holder", |seen| {
            seen.says("StoreReachable").starts_with("True") && seen.says("LocksHeld") == "False/ForeignHolder"
        })
        .await;
    let mark = history.mark();
    holders.release("mydb:users").await;
    history
        .first(mark, "the release is seen", |seen| {
            seen.status()["summary"]["locks"] == "0/1"
        })
        .await;
    assert_eq!(metric(address, "lockstep_workloads").await.as_deref(), Some("2"));

    // What goes is forgotten in its own namespace only.
    let resources = refused.api::<lockstep::api::CoordinatedWorkload>();
    resources.delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("one workload is left", async || {
        (metric(address, "lockstep_workloads").await? == "1").then_some(())
    })
    .await;
    let mark = history.mark();
    holders.take("mydb:users", &pods[0]).await;
    history
        .first(mark, "the lock is held again", |seen| {
            seen.says("LocksHeld") == "True/AllHeld"
        })
        .await;
    assert!(!is_seen(&other, "web").await, "nobody asked it to work here");
    process.terminate().await;
}
