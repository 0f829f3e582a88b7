//! From workloads to intents.

use super::*;

#[test]
fn the_hash_does_not_depend_on_the_order_of_keys() {
    let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
    let one = object(r#"{"b": [1, "x", null], "a": {"d": 1, "c": {"f": true, "e": "\""}}}"#);
    let other = object(r#"{"a": {"c": {"e": "\"", "f": true}, "d": 1}, "b": [1, "x", null]}"#);
    assert_eq!(super::hash(&one), super::hash(&other));
    let mut text = String::new();
    super::write_canonical(&one, &mut text);
    assert_eq!(
        text,
        r#"{"a":{"c":{"e":"\"","f":true,},"d":1,},"b":[1,"x",null,],}"#
    );
    // What is nested elsewhere, or split elsewhere, is something else.
    assert_ne!(
        super::hash(&object(r#"{"a": {"b": 1}}"#)),
        super::hash(&object(r#"{"a": {}, "b": 1}"#))
    );
    assert_ne!(
        super::hash(&object(r#"{"a": [[1], 2]}"#)),
        super::hash(&object(r#"{"a": [[1, 2]]}"#))
    );
}

#[test]
fn the_hash_is_of_everything_that_is_applied() {
    let before = build(&workload());
    assert_eq!(before, build(&workload()));
    let mut changed = workload();
    changed.template["spec"]["containers"][0]["image"] = "web:2".into();
    let after = build(&changed);
    assert_ne!(
        before.deployment.unwrap().hash(),
        after.deployment.unwrap().hash()
    );
    assert_eq!(
        before.network_policy.unwrap().hash(),
        after.network_policy.unwrap().hash()
    );
    // Another resource of the same name applies something else: its owner reference.
    let mut recreated = workload();
    recreated.uid = "uid-2".into();
    let recreated = build(&recreated);
    assert_ne!(
        before.disruption_budget.unwrap().hash(),
        recreated.disruption_budget.unwrap().hash()
    );
}

#[test]
fn replicas_are_in_the_creation_only_and_not_in_the_hash() {
    for (scaling, initial) in [
        (Scaling::Fixed { replicas: None }, Some(1)),
        (Scaling::Fixed { replicas: Some(0) }, Some(0)),
        (managed(2, 5, None), Some(2)),
        (managed(2, 5, Some(9)), Some(5)),
        (managed(2, 5, Some(1)), Some(2)),
        (Scaling::External { replicas: None }, None),
        (Scaling::External { replicas: Some(3) }, Some(3)),
    ] {
        let intent = build(&Workload {
            scaling,
            ..workload()
        })
        .deployment
        .unwrap();
        assert!(intent.body()["spec"].get("replicas").is_none());
        assert_eq!(
            intent.creation_body()["spec"].get("replicas").cloned(),
            initial.map(Value::from)
        );
        assert_eq!(intent.hash(), build(&workload()).deployment.unwrap().hash());
    }
}

#[test]
fn variables_come_first_and_only_where_they_are_missing() {
    let mut workload = workload();
    workload.template["spec"]["containers"] = json!([
        { "name": "a", "env": [{ "name": "X" }, { "name": "POD_NAME", "value": "mine" }] },
        { "name": "b" },
        { "name": "c", "env": null },
        { "name": "d", "env": "not a list" },
    ]);
    workload.template["spec"]["initContainers"] = json!([{ "name": "e", "env": [] }]);
    let spec = &deployment(&workload)["spec"]["template"]["spec"];
    let names = |container: &Value| -> Vec<String> {
        let env = container["env"].as_array().unwrap();
        env.iter()
            .map(|variable| variable["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&spec["containers"][0]),
        ["POD_NAMESPACE", "POD_UID", "X", "POD_NAME"]
    );
    for container in [
        &spec["containers"][1],
        &spec["containers"][2],
        &spec["initContainers"][0],
    ] {
        assert_eq!(names(container), ["POD_NAME", "POD_NAMESPACE", "POD_UID"]);
    }
    assert_eq!(spec["containers"][3]["env"], "not a list");
    workload.inject_env = false;
    assert!(
        deployment(&workload)["spec"]["template"]["spec"]["containers"][1]
            .get("env")
            .is_none()
    );
}

#[test]
fn pods_are_spread_unless_the_template_says_how() {
    let constraints = |workload: &Workload| {
        deployment(workload)["spec"]["template"]["spec"]["topologySpreadConstraints"].clone()
    };
    let mut workload = workload();
    assert_eq!(constraints(&workload)[0]["whenUnsatisfiable"], "ScheduleAnyway");
    workload.template["spec"]["topologySpreadConstraints"] = json!([]);
    assert_eq!(constraints(&workload)[0]["topologyKey"], "kubernetes.io/hostname");
    workload.template["spec"]["topologySpreadConstraints"] = json!([{ "topologyKey": "zone" }]);
    assert_eq!(constraints(&workload), json!([{ "topologyKey": "zone" }]));
    workload.template["spec"] = json!({});
    workload.topology_spread = false;
    assert_eq!(constraints(&workload), Value::Null);
}

#[test]
fn a_template_of_any_shape_is_carried() {
    for template in [
        json!({}),
        json!({ "metadata": null }),
        json!({ "metadata": "x", "spec": "y" }),
    ] {
        let built = deployment(&Workload {
            template: map(template.clone()),
            ..workload()
        });
        let carried = &built["spec"]["template"];
        if template["metadata"] == "x" {
            assert_eq!(carried, &template);
        } else {
            assert_eq!(carried["metadata"]["labels"][WORKLOAD_LABEL], "web");
        }
    }
    let mut unknown = workload();
    unknown.template["spec"]["fieldOfTheFuture"] = json!({ "a": [1, 2.5, null] });
    assert_eq!(
        deployment(&unknown)["spec"]["template"]["spec"]["fieldOfTheFuture"],
        json!({ "a": [1, 2.5, null] })
    );
}

#[test]
fn names_of_the_application_are_taken_from_its_template() {
    let mut workload = workload();
    let labels = json!({ "app.kubernetes.io/name": "shop", "app.kubernetes.io/part-of": "mall" });
    workload.template["metadata"]["labels"] = labels;
    let labels = &deployment(&workload)["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "shop");
    assert_eq!(labels["app.kubernetes.io/instance"], "web");
    assert_eq!(labels["app.kubernetes.io/part-of"], "mall");
}

#[test]
fn an_autoscaler_is_made_only_between_two_bounds() {
    let autoscaler = |scaling| {
        build(&Workload {
            scaling,
            ..workload()
        })
        .autoscaler
    };
    assert!(autoscaler(Scaling::Fixed { replicas: None }).is_none());
    assert!(autoscaler(Scaling::External { replicas: None }).is_none());
    assert!(autoscaler(managed(3, 3, None)).is_none());
    let intent = autoscaler(managed(2, 3, None)).unwrap();
    assert_eq!(
        intent.body()["spec"],
        json!({
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "minReplicas": 2, "maxReplicas": 3,
        })
    );
}

#[test]
fn the_default_policy_opens_the_declared_ports() {
    let mut workload = workload();
    let policy = |workload: &Workload| {
        build(workload)
            .network_policy
            .map(|intent| intent.body()["spec"].clone())
    };
    assert_eq!(
        policy(&workload).unwrap(),
        json!({
            "podSelector": { "matchLabels": { WORKLOAD_LABEL: "web" } },
            "policyTypes": ["Ingress"],
            "ingress": [
                { "from": [{ "podSelector": {} }] },
                { "ports": [{ "port": 80, "protocol": "TCP" }] },
            ],
        })
    );
    workload.template["spec"]["containers"] = json!([{ "name": "web" }]);
    assert_eq!(policy(&workload), None, "nobody knows what it listens on");
    workload.network_policy = Some(Policy {
        ingress: None,
        egress: Some(Vec::new()),
    });
    assert_eq!(policy(&workload).unwrap()["policyTypes"], json!(["Egress"]));
    workload.network_policy = Some(Policy {
        ingress: Some(Vec::new()),
        egress: None,
    });
    let closed = policy(&workload).unwrap();
    assert_eq!(
        (&closed["policyTypes"], closed.get("ingress")),
        (&json!(["Ingress"]), None)
    );
    workload.network_policy = None;
    assert_eq!(policy(&workload), None);
}

#[test]
fn restricted_egress_still_reaches_dns_and_redis() {
    let egress = |store_ports| {
        let egress = Some(vec![map(json!({ "to": [] }))]);
        let network_policy = Some(Policy {
            ingress: None,
            egress,
        });
        let built = build(&Workload {
            network_policy,
            store_ports,
            ..workload()
        });
        built.network_policy.unwrap().body()["spec"]["egress"].clone()
    };
    let ports = |rule: &Value| -> Vec<u64> {
        let ports = rule["ports"].as_array().unwrap();
        ports.iter().map(|port| port["port"].as_u64().unwrap()).collect()
    };
    let rules = egress(vec![6379, 7000]);
    assert_eq!(rules[0], json!({ "to": [] }));
    assert_eq!(ports(&rules[1]), [53, 53, 5353, 5353]);
    assert_eq!(ports(&rules[2]), [6379, 7000]);
    assert_eq!(
        egress(vec![]).as_array().unwrap().len(),
        2,
        "a rule without ports would let everything out"
    );
}

#[test]
fn a_service_leads_to_the_pods_and_opens_what_it_leads_to() {
    let service = Service {
        spec: map(json!({ "type": "LoadBalancer", "ports": [
            { "port": 80, "targetPort": 8080 }, { "port": 443, "targetPort": "https" }, { "port": 9000 },
            { "port": 53, "targetPort": 5353, "protocol": "UDP" }, { "port": 81, "targetPort": 80 },
        ] })),
        annotations: [("a".to_owned(), "b".to_owned())].into(),
    };
    let built = build(&Workload {
        service: Some(service.clone()),
        ..workload()
    });
    let child = built.service.unwrap();
    let body = Value::Object(child.body().clone());
    assert_eq!(
        (&body["apiVersion"], &body["kind"]),
        (&json!("v1"), &json!("Service"))
    );
    assert_eq!(
        body["spec"]["selector"],
        json!({ "lockstep.dev/workload": "web" })
    );
    assert_eq!(body["spec"]["ports"], service.spec["ports"], "verbatim");
    assert_eq!(body["metadata"]["annotations"]["a"], "b");
    assert_eq!(
        body["metadata"]["annotations"][crate::api::APPLIED_ANNOTATION],
        child.hash()
    );
    let open = built.network_policy.unwrap().body()["spec"]["ingress"][1]["ports"].clone();
    assert_eq!(
        open,
        json!([
            { "port": 80, "protocol": "TCP" }, { "port": 8080, "protocol": "TCP" }, { "port": 9000, "protocol": "TCP" },
            { "port": 5353, "protocol": "UDP" },
        ])
    );
    let without = build(&Workload {
        service: Some(Service {
            annotations: BTreeMap::new(),
            ..service
        }),
        ..workload()
    });
    assert_ne!(
        without.service.unwrap().hash(),
        child.hash(),
        "annotations are part of the intent"
    );
}

#[test]
fn what_the_api_would_drop_of_a_service_is_not_intended() {
    let kept = |affinity: Value| {
        let mut spec = map(
            json!({ "ports": [{ "port": 80 }], "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 5 } } }),
        );
        spec.insert("sessionAffinity".into(), affinity);
        let service = Some(Service {
            spec,
            annotations: BTreeMap::new(),
        });
        let built = build(&Workload {
            service,
            ..workload()
        });
        built.service.unwrap().body()["spec"]
            .get("sessionAffinityConfig")
            .is_some()
    };
    assert!(kept("ClientIP".into()));
    assert!(!kept("None".into()) && !kept(Value::Null));
}

#[test]
fn both_names_of_a_service_account_are_applied_or_neither() {
    let named = |pod: Value| {
        let mut workload = workload();
        let spec = workload.template["spec"].as_object_mut().unwrap();
        spec.extend(map(pod));
        let built = build(&workload).deployment.unwrap();
        ["serviceAccountName", "serviceAccount"]
            .map(|name| built.body()["spec"]["template"]["spec"][name].clone())
    };
    assert_eq!(
        named(json!({ "serviceAccountName": "robot" })),
        ["robot", "robot"]
    );
    assert_eq!(
        named(json!({ "serviceAccount": "robot", "serviceAccountName": "" })),
        ["robot", "robot"]
    );
    assert_eq!(
        named(json!({ "serviceAccount": "old", "serviceAccountName": "new" })),
        ["new", "new"]
    );
    assert_eq!(named(json!({})), [Value::Null, Value::Null]);
}
