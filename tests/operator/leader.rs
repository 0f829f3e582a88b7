//! Several operators for the same resources: by a Lease one of them leads; without an election they agree.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use lockstep::clock;
use serde_json::{Value, json};

use super::audit;
use super::operator::{Process, operator, operator_as};
use super::place::{Place, Seen, eventually, spec};

/// How long the others wait before they take a lease that nobody renews.
const LEASE: Duration = Duration::from_secs(15);
/// A leader that was paused between two renewals may have written until this long after.
const CLAIM: Duration = Duration::from_secs(5);

/// Another account with the same rights, so that the apiserver's log tells the two apart: where it logs in from, and the
/// user that its requests are made by.
async fn second(place: &Place) -> (PathBuf, String) {
    let kubeconfig = place.kubeconfig.with_extension("second");
    place.second("second", &kubeconfig).await;
    (
        kubeconfig,
        format!("system:serviceaccount:{}:second", place.namespace),
    )
}

async fn elected(place: &Place, name: &str, kubeconfig: &std::path::Path) -> Process {
    let arguments = ["--leader-elect", "--lease-namespace", &place.namespace];
    operator_as(place, name, kubeconfig, &arguments).await
}

/// Who holds the lease now; empty: nobody.
async fn holder(place: &Place) -> Option<String> {
    let lease = place.api::<Lease>().get_opt("lockstep").await.unwrap();
    lease?.spec?.holder_identity
}

fn writes(user: &str, mark: u64) -> Vec<audit::Request> {
    let requests = audit::requests(user, mark).into_iter();
    requests.filter(audit::Request::is_write).collect()
}

fn with_image(tag: &str) -> Value {
    let mut spec = spec(2);
    spec["template"]["spec"]["containers"][0]["image"] = json!(format!("registry.example.com/web:{tag}"));
    spec
}

async fn runs(place: &Place, tag: &str) {
    let wanted = json!(format!("registry.example.com/web:{tag}"));
    eventually("the Deployment has the new image", async || {
        let deployment = place.child("Deployment", "web").await?;
        (deployment["spec"]["template"]["spec"]["containers"][0]["image"] == wanted).then_some(())
    })
    .await;
}

pub(crate) async fn a_paused_leader_is_replaced_and_writes_nothing_when_it_goes_on() {
    let place = Place::new("leader").await;
    let (kubeconfig, second_user) = second(&place).await;
    let start = audit::now();
    let first = elected(&place, "first", &place.kubeconfig).await;
    let history = place.follow("web");
    place.apply("web", &with_image("1")).await;
    history.first(0, "it runs", Seen::is_ready).await;
    let leader = holder(&place).await.unwrap();

    // The second one fills its caches, and writes nothing.
    let standby = elected(&place, "second", &kubeconfig).await;
    eventually("the second one looks at the lease", async || {
        let requests = audit::requests(&second_user, start);
        requests
            .iter()
            .any(|request| request.resource == "leases")
            .then_some(())
    })
    .await;
    history.rests().await;
    assert_eq!(holder(&place).await.as_ref(), Some(&leader));
    assert!(
        writes(&second_user, start).is_empty(),
        "{:#?}",
        writes(&second_user, start)
    );

    // Of what changes while the first one stands still, it knows nothing.
    first.pause();
    let (paused, mark) = (clock::mono(), audit::now());
    let paused_at = clock::wall();
    place.apply("web", &with_image("2")).await;
    runs(&place, "2").await;
    let took_over = clock::mono().since(paused);
    let new = holder(&place).await.unwrap();
    assert_ne!(new, leader);
    let early = writes(&second_user, start)
        .into_iter()
        .find(|request| request.at.duration_since(paused_at) < CLAIM.try_into().unwrap());
    assert!(
        early.is_none(),
        "before the first one's claim had ended: {early:?}"
    );
    assert!(took_over < LEASE + Duration::from_secs(15), "{took_over:?}");

    // It goes on after 40 s, with something new to do at that very moment.
    tokio::time::sleep_until(clock::instant(paused + Duration::from_secs(40))).await;
    place.apply("web", &with_image("3")).await;
    first.resume();
    let (in_order, log) = first.ended().await;
    assert!(!in_order, "it says that it did not end by itself");
    assert!(log.contains("another operator leads now"), "{log}");
    runs(&place, "3").await;
    history.rests().await;
    let late = writes(&place.user(), mark);
    assert!(late.is_empty(), "{late:#?}");
    assert_eq!(holder(&place).await.as_ref(), Some(&new));

    // Asked to end, the second one gives the lease back; who comes next need not wait, and has nothing to do.
    let mark = audit::now();
    standby.terminate().await;
    assert_eq!(holder(&place).await.as_deref(), Some(""));
    let _third = elected(&place, "third", &place.kubeconfig).await;
    let released = clock::mono();
    eventually("the next one leads", async || {
        let holder = holder(&place).await?;
        (!holder.is_empty() && holder != new).then_some(())
    })
    .await;
    let idle = clock::mono().since(released);
    history.rests().await;
    let mut further = writes(&place.user(), mark);
    further.retain(|request| request.resource != "leases");
    assert!(further.is_empty(), "{further:#?}");
    assert!(idle < CLAIM, "it waited for {idle:?}");
    println!("a paused leader: taken over after {took_over:?}; a lease that was given back: after {idle:?}");
}

pub(crate) async fn two_without_an_election_come_to_the_same_and_rest() {
    let place = Place::new("two-operators").await;
    let (kubeconfig, second_user) = second(&place).await;
    let start = audit::now();
    let _first = operator(&place, &[]).await;
    let _second = operator_as(&place, "second", &kubeconfig, &[]).await;
    let history = place.follow("web");
    for tag in ["1", "2", "3", "4"] {
        place.apply("web", &with_image(tag)).await;
        runs(&place, tag).await;
    }
    history
        .first(history.mark().saturating_sub(1), "it runs", Seen::is_ready)
        .await;
    history.rests().await;
    let mark = audit::now();
    let events = place.all_events().await;
    let said = place.count("web", "ChildCreated").await;
    assert_eq!(said, 3, "each child is said to be created once: {events:#?}");
    assert_eq!(place.warnings("web").await, Vec::<String>::new());
    // Both see the same, so both have nothing to do.
    history.rests().await;
    for user in [&place.user(), &second_user] {
        let writes = writes(user, mark);
        assert!(writes.is_empty(), "{user}: {writes:#?}");
    }
    let all = [&place.user(), &second_user].map(|user| writes(user, start).len());
    println!("two operators without an election: {all:?} requests to write for 4 specs");
}
