//! Probes and requests.

use serde_json::{Value, json};

use super::*;

#[test]
fn containers_that_hold_locks_or_listen_need_a_readiness_probe() {
    use AdvisoryCode::NoReadinessProbe;
    let without = (&*of_app("readinessProbe"), Value::Null);
    let alone = Case::of(std::slice::from_ref(&without)).message(NoReadinessProbe);
    assert_says(&alone, &["Container app has no readinessProbe", "spec.template"]);

    let idle = json!({ "name": "idle", "image": "x" });
    none(&[("/template/spec/containers/-", idle.clone())]);
    let listening = json!({ "name": "listening", "image": "x", "ports": [{ "containerPort": 1 }] });
    let both = Case::of(&[
        without.clone(),
        ("/template/spec/containers/-", listening.clone()),
    ]);
    assert_says(
        &both.message(NoReadinessProbe),
        &["Containers app and listening have"],
    );

    // The locks are another container's, which the set names, and which may be a sidecar.
    let holder = ("/locks/0/holder", json!({ "container": "holder" }));
    let sidecar = json!([{ "name": "holder", "image": "x", "restartPolicy": "Always" }]);
    let case = Case::of(&[holder, ("/template/spec/initContainers", sidecar)]);
    assert_says(&case.message(NoReadinessProbe), &["Container holder has"]);

    // Nothing listens and nothing locks: the first stands for the pod.
    let only_idle = [
        (CONTAINERS, json!([idle, { "name": "other", "image": "x" }])),
        ("/locks", json!([])),
    ];
    assert_says(
        &Case::of(&only_idle).message(NoReadinessProbe),
        &["Container idle has"],
    );
    // An init container that ends is never ready.
    let init = json!([{ "name": "init", "image": "x", "ports": [{ "containerPort": 1 }] }]);
    none(&[("/template/spec/initContainers", init)]);
}

#[test]
fn liveness_must_not_ask_the_same_as_readiness() {
    let probes = |readiness: Value, liveness: Value| {
        Case::of(&[
            (&*of_app("readinessProbe"), readiness),
            (&*of_app("livenessProbe"), liveness),
        ])
    };
    let http = |get: Value| json!({ "httpGet": get });
    for (readiness, liveness, told) in [
        // By number and by name, with the defaults and without, whatever the figures are.
        (
            json!({ "httpGet": { "path": "/health", "port": "web" }, "periodSeconds": 5 }),
            json!({ "httpGet": { "path": "/health", "port": 8080, "scheme": "HTTP" }, "failureThreshold": 9 }),
            "container app (GET /health on port 8080)",
        ),
        (
            http(json!({ "port": 1 })),
            http(json!({ "port": 1, "path": "/" })),
            "GET / on port 1",
        ),
        (
            json!({ "exec": { "command": ["a"] } }),
            json!({ "exec": { "command": ["a"] } }),
            "the same command",
        ),
        (
            json!({ "grpc": { "port": 9 } }),
            json!({ "grpc": { "port": 9, "service": "" } }),
            "gRPC on port 9",
        ),
    ] {
        let message = probes(readiness, liveness).message(AdvisoryCode::LivenessEqualsReadiness);
        assert_says(&message, &[told, "check the process alone"]);
    }
    for (readiness, liveness) in [
        (
            http(json!({ "port": 1, "path": "/a" })),
            http(json!({ "port": 1, "path": "/b" })),
        ),
        (
            http(json!({ "port": 1 })),
            http(json!({ "port": 1, "scheme": "HTTPS" })),
        ),
        (
            http(json!({ "port": 1 })),
            http(json!({ "port": 1, "httpHeaders": [{ "name": "a", "value": "b" }] })),
        ),
        (
            json!({ "grpc": { "port": 9, "service": "ready" } }),
            json!({ "grpc": { "port": 9 } }),
        ),
        (
            json!({ "tcpSocket": { "port": 1 } }),
            json!({ "tcpSocket": { "port": 1 } }),
        ),
        (http(json!({ "port": 1 })), Value::Null),
    ] {
        assert_eq!(
            probes(readiness.clone(), liveness.clone()).codes(),
            [""; 0],
            "{readiness} {liveness}"
        );
    }
}

/// The quiet workload, autoscaled from 2 to 3 replicas for 3 locks; with changes of `autoscaling`, and others.
fn scaled(change: &Value, more: &[(&str, Value)]) -> Case {
    let mut autoscaling = json!({ "minReplicas": 2, "maxReplicas": 3 });
    for (field, value) in change.as_object().unwrap() {
        autoscaling[field] = value.clone();
    }
    let mut changes = vec![
        ("/autoscaling", autoscaling),
        ("/replicas", Value::Null),
        ("/locks/0/names", json!(["x", "y", "z"])),
    ];
    changes.extend(more.iter().cloned());
    Case::of(&changes)
}

/// A metric of autoscaling/v2.
fn metric(type_: &str, source: &Value) -> Value {
    let field = type_[..1].to_lowercase() + &type_[1..];
    json!({ "metrics": [{ "type": type_, (field): source }] })
}

const RESOURCES: &str = "/template/spec/containers/0/resources";

#[test]
fn a_utilization_target_needs_requests_of_every_container() {
    use AdvisoryCode::NoResourceRequests;
    let by_cpu = json!({ "targetCPUUtilizationPercentage": 70 });
    let message = scaled(&by_cpu, &[(RESOURCES, Value::Null)]).message(NoResourceRequests);
    assert_says(
        &message,
        &["Container app has a cpu utilization target to meet but no resources.requests.cpu, so that"],
    );
    let both = json!({ "targetCPUUtilizationPercentage": 70, "targetMemoryUtilizationPercentage": 80 });
    let sidecar = json!([
        { "name": "proxy", "image": "x", "restartPolicy": "Always", "resources": { "requests": { "cpu": 1 } } },
        { "name": "init", "image": "x" },
    ]);
    let message = scaled(
        &both,
        &[
            (RESOURCES, Value::Null),
            ("/template/spec/initContainers", sidecar),
        ],
    )
    .message(NoResourceRequests);
    assert_says(
        &message,
        &[
            "Container app has a cpu utilization",
            "containers app and proxy have a memory utilization",
        ],
    );
    assert!(!message.contains("init"), "{message}");

    let utilization = json!({ "type": "Utilization", "averageUtilization": 70 });
    let idle = (
        "/template/spec/containers/-",
        json!({ "name": "idle", "image": "x" }),
    );
    let resource = metric("Resource", &json!({ "name": "cpu", "target": utilization }));
    assert_says(
        &scaled(&resource, std::slice::from_ref(&idle)).message(NoResourceRequests),
        &["Container idle has"],
    );
    for container in ["idle", "app"] {
        let target = json!({ "name": "cpu", "container": container, "target": utilization });
        let case = scaled(&metric("ContainerResource", &target), std::slice::from_ref(&idle));
        assert_eq!(
            case.codes().len(),
            usize::from(container == "idle"),
            "{container}"
        );
    }
    // No metric at all is the API's default, CPU utilization.
    assert_says(
        &scaled(&json!({}), &[(RESOURCES, Value::Null)]).message(NoResourceRequests),
        &["cpu"],
    );
}

#[test]
fn requests_are_needed_only_where_utilization_is_computed_from_them() {
    let by_cpu = json!({ "targetCPUUtilizationPercentage": 70 });
    let average = json!({ "type": "AverageValue", "averageValue": "1" });
    let limits = json!({ "limits": { "cpu": 1 } });
    let without = (RESOURCES, Value::Null);
    let of_the_pod = json!({ "requests": { "cpu": 1 } });
    for (scaling, more, why) in [
        (&by_cpu, vec![], "requested"),
        (&by_cpu, vec![(RESOURCES, limits)], "a limit is a request"),
        (
            &by_cpu,
            vec![without.clone(), ("/template/spec/resources", of_the_pod)],
            "the pod's request",
        ),
        (
            &metric("Resource", &json!({ "name": "cpu", "target": average })),
            vec![without.clone()],
            "no utilization",
        ),
        (
            &metric("Pods", &json!({ "metric": { "name": "a" }, "target": average })),
            vec![without.clone()],
            "another metric",
        ),
        (
            &json!({ "minReplicas": 3, "targetCPUUtilizationPercentage": 1 }),
            vec![without.clone()],
            "no autoscaler",
        ),
    ] {
        assert_eq!(scaled(scaling, &more).codes(), [""; 0], "{why}");
    }
    let external = [
        ("/autoscaling", json!({ "mode": "External" })),
        without,
        ("/replicas", Value::Null),
    ];
    none(&external);
}
