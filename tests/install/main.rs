//! The operator as a platform team gets it: its image on a real node, installed with Helm into a namespace that enforces
//! Pod Security "restricted", with the chart's rights and no more; then killed, upgraded, removed and installed again,
//! while workloads run. One holds real locks in a real Redis; the pods of the others are KWOK's.
//!
//! Nothing that happens to the operator may change a workload: that is judged by the objects themselves, and by what
//! the apiserver was asked.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the helpers of tests fail as tests do, and measure"
)]

mod place;
#[path = "../common/worker.rs"]
mod worker;

use std::time::Duration;

use place::{NAMESPACE, Place, TEAM};

#[test]
fn nothing_that_happens_to_the_operator_changes_a_workload() {
    // A real node needs root.
    let Some(place) = Place::start() else { return };

    place.say("helm install, with the namespace restricted");
    let told = place.helm("install", &["--wait", "--timeout=120s"]);
    assert!(told.contains("helm -n lockstep-system test lockstep"), "{told}");
    let tested = place.helm("test", &["--logs", "--timeout=60s"]);
    assert!(tested.contains("Succeeded"), "{tested}");
    let version = place.operator_command(&["--version"]);
    assert_eq!(
        version,
        format!("lockstep {}\n", lockstep::version::VERSION.as_str())
    );

    place.say("the examples");
    place.apply_examples();
    place.until("kubectl wait for the examples", || {
        place
            .kubectl_in(
                TEAM,
                &["wait", "cwl", "--all", "--for=condition=Ready", "--timeout=90s"],
            )
            .ok()
    });
    place.until("rigatoni's four locks are held by real pods", || {
        let locks = "--output=jsonpath={.status.summary.locks}";
        place
            .kubectl_in(TEAM, &["get", "cwl", "rigatoni", locks])
            .ok()
            .filter(|locks| locks == "4/4")
    });
    asked_by_who_is_on_call(&place);
    let before = place.workloads();
    // Five Deployments and what belongs to them, and the pods of all.
    assert!(before.len() > 20, "{before:#?}");
    let mark = place.audit_length();

    place.say("the operator's process is killed");
    place.kill_operator();
    place.marker("after-a-kill");
    place.unchanged(&before, mark);

    place.say("its pod is deleted");
    place
        .kubectl_in(
            NAMESPACE,
            &["delete", "pod", "--selector=app.kubernetes.io/name=lockstep"],
        )
        .unwrap();
    place.marker("after-a-deletion");
    place.unchanged(&before, mark);

    place.say("helm upgrade, with other values and a second pod");
    let changed = [
        "--wait",
        "--timeout=120s",
        "--set=resyncSeconds=300,log=debug,commonLabels.team=platform,replicaCount=2",
    ];
    place.helm("upgrade", &changed);
    place.marker("after-an-upgrade");
    place.unchanged(&before, mark);
    assert!(place.helm("test", &["--timeout=60s"]).contains("Succeeded"));

    place.say("the leader stands still for 40 s, and the other one takes over");
    let leader = place.leader();
    let restarts = place.restarts(&leader);
    let standing_still = place.freeze_operator(&leader);
    let since = place.audit_length();
    let new = place.until("another leads", || {
        let holder = place.leader();
        (holder != leader && !holder.is_empty()).then_some(holder)
    });
    place.say("another leads");
    place.marker("after-a-takeover");
    standing_still.thaw_after(Duration::from_secs(40));
    place.marker("after-a-thaw");
    place.until(
        "the one that stood still begins anew, as the one that stands by",
        || (place.restarts(&leader) > restarts && place.is_ready(&leader)).then_some(()),
    );
    assert_eq!(place.leader(), new);
    assert_eq!(place.writes_of(&leader, since), Vec::<String>::new());
    assert!(!place.writes_of(&new, since).is_empty(), "pods are told apart");
    place.unchanged(&before, mark);

    // Whatever it asked for so far was granted. From here on its rights may go before its pod does, which then can't
    // give the Lease back.
    assert_eq!(place.refused(0), Vec::<String>::new());

    place.say("helm uninstall");
    place.helm("uninstall", &["--wait", "--timeout=120s"]);
    // A pod that was told to end takes its time.
    place.until("nothing of the operator is left", || {
        place
            .kubectl_in(NAMESPACE, &["get", "deployments,pods,services", "--output=name"])
            .ok()
            .filter(String::is_empty)
    });
    let rights = place
        .kubectl_in(
            NAMESPACE,
            &["get", "clusterroles,clusterrolebindings", "--output=name"],
        )
        .unwrap();
    assert!(!rights.contains("/lockstep"), "{rights}");
    place.unchanged(&before, mark);

    let again = place.audit_length();
    place.say("installed again, it takes up where the old one ended");
    place.helm("install", &["--wait", "--timeout=120s"]);
    place.marker("after-all");
    place.unchanged(&before, mark);
    assert_eq!(place.refused(again), Vec::<String>::new());
}

/// What `kubectl lockstep` says of a workload, and of the operator that it finds by itself.
fn asked_by_who_is_on_call(place: &Place) {
    let leader = place.leader();
    // There are no metrics of pods here, so its autoscaler can't work; nothing else is wrong.
    let (is_well, status) = place.plugin(&["status", "rigatoni"]);
    assert!(!is_well && status.contains("4/4 held"), "{status}");
    assert!(
        status.contains(&format!("Operator {NAMESPACE}/{leader} leads, renewed ")),
        "{status}"
    );
    let (_, why) = place.plugin(&["why", "rigatoni"]);
    assert!(
        why.contains("1. ") && why.contains("ScalingActive") && !why.contains("2. "),
        "{why}"
    );

    // What the operator counts comes through the apiserver, from its pod.
    let live = |name: &str, more: &[&str]| place.plugin(&[&["locks", name, "--live"], more].concat());
    let counted = format!("Counted by {NAMESPACE}/{leader} since");
    place.until("rigatoni's locks are counted", || {
        let (is_well, figures) = live("rigatoni", &[]);
        (is_well && figures.contains(&counted) && figures.contains("Held 4")).then_some(())
    });
    let (is_well, unknown) = live("rigatoni", &["--operator-port=1"]);
    assert!(
        !is_well && unknown.contains("does not answer at port 1"),
        "{unknown}"
    );
}
