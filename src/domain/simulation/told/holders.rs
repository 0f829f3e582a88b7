//! Pods and processes that hold locks and shouldn't, or should and don't.

use super::*;

#[test]
fn killed_holder() {
    let mut world = usual();
    // Its locks were renewed at different moments.
    world.take("users", A);
    world.advance(secs(4));
    world.take("logs", A);
    world.advance(secs(3));
    world.crash(A);
    world.advance(secs(24));
    assert_eq!(world.held(), "LocksLost");
    tell(&world, "killed_holder");
    world.advance(secs(6));
    world.take("users", B);
    world.take("logs", C);
    world.advance(secs(60));
    assert_eq!(world.held(), "AllHeld");
    tell(&world, "killed_holder_replaced");
    world.at_rest();
}

#[test]
fn hung_holder_that_renews_for_ever() {
    let mut world = World::healthy(&shop(&[
        collections(&json!({})),
        json!({
            "name": "imports",
            "hold": "Intermittent",
            "dialect": "Rigatoni",
            "keyPrefix": "rigatoni:lock:import:",
            "names": ["invoices"],
            "maxHold": "20m",
        }),
    ]));
    world.take("import:invoices", B);
    // Its thread that renews is well; the one that works waits for an answer that never comes.
    world.advance(secs(45 * 60));
    assert_eq!(world.held(), "Overheld");
    tell(&world, "hung_holder_that_renews_for_ever");
    world.at_rest();
}

#[test]
fn first_pod_takes_all() {
    let mut world = World::new(&shop(&[collections(&json!({}))]));
    for name in world.names() {
        world.take(&name, A);
    }
    world.advance(secs(10 * 60));
    assert_eq!(world.reason(ConditionType::LocksBalanced), "Concentrated");
    tell(&world, "first_pod_takes_all");
    world.at_rest();
}

#[test]
fn stuck_lock_without_expiry() {
    let mut world = usual();
    world.put(&World::key("orders"), format!("{B}-{SECRET}"), None, false);
    world.advance(secs(60));
    world.delete(B);
    world.start("shop-7d9c8b6f5d-fffff");
    world.take("logs", C);
    world.advance(secs(120));
    assert_eq!(world.held(), "NoExpiry");
    tell(&world, "stuck_lock_without_expiry");
    world.at_rest();
}

#[test]
fn crash_and_restart_within_the_ttl() {
    let mut world = usual();
    world.crash(A);
    world.advance(secs(15));
    // The pod is Ready all the time, and the locks still bear its name.
    assert_eq!(world.held(), "OrphanedOwner");
    tell(&world, "crash_and_restart_within_the_ttl");
    world.advance(secs(15));
    world.take("users", A);
    world.take("logs", A);
    world.advance(secs(60));
    assert_eq!(world.held(), "AllHeld");
    tell(&world, "crash_and_restart_within_the_ttl_over");
    world.at_rest();
}

#[test]
fn scale_down_without_a_release() {
    let mut world = usual();
    world.wanted = 2;
    world.pod(A).terminating = true;
    world.advance(secs(12));
    // It never heard of SIGTERM.
    world.delete(A);
    world.advance(secs(32));
    assert_eq!(world.held(), "LocksLost");
    tell(&world, "scale_down_without_a_release");
    world.at_rest();
}

#[test]
fn node_lost() {
    let mut world = usual();
    // Nobody hears of its kubelet any more; what Kubernetes shows of the pod is what it showed before.
    world.silence(B);
    world.advance(secs(45));
    world.pod(B).ready_since = None;
    world.take("orders", C);
    world.advance(secs(300));
    world.pod(B).terminating = true;
    world.start("shop-7d9c8b6f5d-fffff");
    world.advance(secs(60));
    assert_eq!(world.held(), "AllHeld");
    tell(&world, "node_lost");
    world.at_rest();
}

#[test]
fn cut_off_from_redis() {
    let mut world = usual();
    world.silence(A);
    world.advance(secs(33));
    assert_eq!(world.held(), "LocksLost");
    tell(&world, "cut_off_from_redis");
    world.take("users", B);
    world.take("logs", C);
    world.advance(secs(600));
    assert_eq!(world.held(), "AllHeld");
    tell(&world, "cut_off_from_redis_replaced");
    world.at_rest();
}

#[test]
fn force_deleted_pod_runs_on() {
    let mut world = usual();
    // kubectl delete --force: the object is gone at once, the process on a node that doesn't answer is not.
    world.pods.retain(|pod| pod.name != A);
    world.start("shop-7d9c8b6f5d-fffff");
    world.advance(secs(60));
    assert_eq!(world.held(), "ForeignHolder");
    tell(&world, "force_deleted_pod_runs_on");
    world.at_rest();
}

#[test]
fn two_workloads_on_one_prefix() {
    let mut world = usual();
    world.others.insert("billing-5f6d8c9b7-kkkkk");
    world.release("orders");
    world.take("orders", "billing-5f6d8c9b7-kkkkk");
    world.advance(secs(60));
    assert_eq!(world.held(), "ForeignHolder");
    tell(&world, "two_workloads_on_one_prefix");
    world.at_rest();
}

#[test]
fn an_unknown_holder() {
    let mut world = usual();
    // It has the form of a pod's name, but there is no such pod in the namespace: its name is nobody's business.
    world.release("orders");
    world.take("orders", "billing-5f6d8c9b7-kkkkk");
    world.advance(secs(60));
    assert_eq!(world.held(), "ForeignHolder");
    assert!(!serde_json::to_string(world.status()).unwrap().contains("billing"));
    tell(&world, "an_unknown_holder");
    world.at_rest();
}

#[test]
fn never_taken() {
    let mut world = World::new(&shop(&[collections(&json!({ "keyPrefix": "rigatoni:locks:" }))]));
    for (name, pod) in [("users", A), ("orders", B), ("products", C), ("logs", A)] {
        world.take(name, pod);
    }
    world.advance(secs(300));
    assert_eq!(world.held(), "LocksUnheld");
    tell(&world, "never_taken");
    world.at_rest();
}

#[test]
fn given_up_and_not_taken_again() {
    let mut world = usual();
    world.release("products");
    world.advance(secs(120));
    assert_eq!(world.held(), "LocksUnheld");
    tell(&world, "given_up_and_not_taken_again");
    world.at_rest();
}

#[test]
fn a_value_of_something_else() {
    let mut world = usual();
    world.put(
        &World::key("users"),
        "cache entry".into(),
        Some(secs(3600)),
        false,
    );
    world.advance(secs(60));
    assert_eq!(world.held(), "Malformed");
    tell(&world, "a_value_of_something_else");
    world.at_rest();
}
