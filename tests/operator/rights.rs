//! The rights that the chart grants: enough, none too many, and each that is missing is named.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::audit;
use super::operator::operator;
use super::place::{Place, control_plane, eventually, granted, role, spec_with_locks};

/// At a time: each is an operator of its own.
const AT_A_TIME: usize = 4;

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Verb and resource of each right of a rule.
fn rights(rule: &Value) -> BTreeSet<(String, String)> {
    let pairs =
        strings(&rule["verbs"]).flat_map(|verb| strings(&rule["resources"]).map(move |what| (verb, what)));
    pairs
        .map(|(verb, what)| (verb.to_owned(), what.to_owned()))
        .collect()
}

/// Asked for by admission where `OwnerReferencesPermissionEnforcement` is on, and never by a request.
fn is_of_admission(rule: &Value) -> bool {
    strings(&rule["resources"]).all(|resource| resource.ends_with("/finalizers"))
}

/// To be asked after all tests: what is granted and was never used is too much.
pub(crate) fn each_was_used() {
    let granted: BTreeSet<_> = granted()
        .iter()
        .filter(|rule| !is_of_admission(rule))
        .flat_map(rights)
        .collect();
    let used: BTreeSet<_> = audit::of_operators()
        .into_iter()
        .filter(|request| request.code < 300)
        .map(|request| (request.verb, request.resource))
        .collect();
    let unused: Vec<_> = granted.difference(&used).collect();
    assert!(unused.is_empty(), "granted, and never used: {unused:#?}");
    println!("rights: {} granted, each was used", granted.len());
}

pub(crate) async fn without_any_one_of_its_rights_the_operator_lives_and_says_which_it_misses() {
    let all = granted();
    let without = all.iter().enumerate().filter(|(_, rule)| !is_of_admission(rule));
    let missing: Vec<_> = without
        .flat_map(|(at, rule)| strings(&rule["resources"]).map(move |resource| (at, resource.to_owned())))
        .collect();
    assert!(missing.len() > 10, "{missing:?}");
    let count = missing.len();
    futures::stream::iter(missing.into_iter().enumerate())
        .map(|(number, (at, resource))| lives_without(number, all.clone(), at, resource))
        .buffer_unordered(AT_A_TIME)
        .collect::<Vec<()>>()
        .await;
    println!("rights: {count} operators, each without one, lived and said which");
}

/// One operator without the rights to `resource` that rule `at` grants.
async fn lives_without(number: usize, mut rules: Vec<Value>, at: usize, resource: String) {
    let verbs: Vec<String> = strings(&rules[at]["verbs"]).map(str::to_owned).collect();
    let others: Vec<Value> = strings(&rules[at]["resources"])
        .filter(|other| *other != resource)
        .map(Value::from)
        .collect();
    rules[at]["resources"] = others.into();
    if rules[at]["resources"] == json!([]) {
        rules.remove(at);
    }
    let name = format!("lockstep-without-{number}");
    let role = role(&name, &rules).to_string();
    let cluster = control_plane().await;
    tokio::task::spawn_blocking(move || cluster.kubectl_stdin(&["create", "--filename=-"], &role).unwrap())
        .await
        .unwrap();
    let place = Place::with_role(&format!("without-{number}"), &name).await;
    let arguments = ["--leader-elect", "--lease-namespace", &place.namespace];
    let mut operator = operator(&place, &arguments).await;
    // Every child, and a store with a password or an authority.
    let mut spec = spec_with_locks(2, "redis://127.0.0.1:1024", &["a"]);
    let from = |source: &str, name: &str| json!({ source: { "name": name, "key": "value" } });
    if resource == "configmaps" {
        spec["redis"]["url"] = "rediss://127.0.0.1:1024".into();
        spec["redis"]["tls"] = json!({ "caFrom": from("configMapKeyRef", "ca") });
    } else {
        spec["redis"]["passwordFrom"] = from("secretKeyRef", "password");
    }
    spec["service"] = json!({ "ports": [{ "port": 80 }] });
    spec["autoscaling"] = json!({ "minReplicas": 2, "maxReplicas": 4 });
    spec.as_object_mut().unwrap().remove("replicas");
    let value = "--from-literal=value=x";
    place
        .kubectl(&["create", "secret", "generic", "password", value])
        .await;
    place.kubectl(&["create", "configmap", "ca", value]).await;
    place.apply("web", &spec).await;
    eventually(
        &format!("without {verbs:?} on {resource} that is said"),
        async || {
            assert!(operator.lives(), "without {verbs:?} on {resource} it ends");
            let log = operator.log();
            let status = place.get("web").await.status;
            let status = serde_json::to_string(&status).unwrap();
            // Quotes within quotes, in the log as in JSON.
            let said = format!("{log}{status}").replace("\\\"", "\"");
            let plain = resource.split('/').next().unwrap();
            let words = |verb: &String| format!("cannot {verb} resource \"{plain}");
            let help = resource == "leases" && said.contains("on leases of coordination.k8s.io");
            (help || verbs.iter().any(|verb| said.contains(&words(verb)))).then_some(())
        },
    )
    .await;
}
