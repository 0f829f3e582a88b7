//! From manifests to workloads and problems.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    api::CoordinatedWorkload,
    domain::locks::{
        dialect::{Pattern, names},
        probe::{Beside, Form, Part, Place, ScoreUnit},
    },
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn parse_spec(spec: &Value) -> Result<Workload, Vec<Problem>> {
    let resource: CoordinatedWorkload = serde_json::from_value(json!({
        "apiVersion": "lockstep.dev/v1alpha1",
        "kind": "CoordinatedWorkload",
        "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "generation": 7 },
        "spec": spec,
    }))
    .unwrap();
    parse(&resource)
}

/// A spec of a template, a Redis and one lock set, with changes of the spec and of the set.
fn spec(change: &Value, set_change: &Value) -> Value {
    let mut set = json!({ "name": "a", "hold": "Continuous", "dialect": "Rigatoni", "names": ["x", "y"] });
    let mut spec = json!({
        "template": { "spec": { "containers": [{ "name": "main", "image": "x", "resources": { "limits": { "cpu": 0.5 } } }] } },
        "redis": { "url": "redis://redis:6379" },
    });
    merge(&mut set, set_change);
    spec["locks"] = json!([set]);
    merge(&mut spec, change);
    spec
}

fn merge(target: &mut Value, change: &Value) {
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            target[name] = value.clone();
        }
    }
}

fn with(change: &Value) -> Result<Workload, Vec<Problem>> {
    parse_spec(&spec(change, &json!({})))
}

fn with_set(change: &Value) -> Result<Workload, Vec<Problem>> {
    parse_spec(&spec(&json!({}), change))
}

fn set(change: &Value) -> LockSet {
    with_set(change).unwrap().locks.remove(0)
}

fn fields(result: Result<Workload, Vec<Problem>>) -> Vec<String> {
    result
        .unwrap_err()
        .into_iter()
        .map(|problem| problem.field)
        .collect()
}

#[test]
fn the_smallest_resource_gets_every_default() {
    let template = json!({ "spec": { "containers": [{ "name": "main", "madeUp": 0.5 }] } });
    let workload = parse_spec(&json!({ "template": template })).unwrap();
    let expected = Workload {
        name: "shop".into(),
        namespace: "prod".into(),
        uid: "u".into(),
        generation: 7,
        template: template.as_object().unwrap().clone(),
        deployment: Map::new(),
        scaling: Scaling::Fixed { replicas: None },
        disruption_budget: Some(Budget {
            bound: BudgetBound::MaxUnavailable(json!(1)),
            unhealthy_pod_eviction_policy: "AlwaysAllow".into(),
        }),
        network_policy: Some(Policy {
            ingress: None,
            egress: None,
        }),
        inject_env: true,
        topology_spread: true,
        service: None,
        store: None,
        store_ports: Vec::new(),
        locks: Vec::new(),
        suspend: false,
        conflict_policy: ConflictPolicy::Fail,
    };
    assert_eq!(workload, expected);
    let spelt_out = json!({
        "template": template, "networkPolicy": {}, "disruptionBudget": {}, "podDefaults": {}, "locks": [],
        "suspend": false, "conflictPolicy": "Fail",
    });
    assert_eq!(parse_spec(&spelt_out).unwrap(), expected);
}

#[test]
fn ports_of_the_store_are_those_that_the_spec_tells_else_the_usual_ones() {
    let ports = |redis: Value| with(&json!({ "redis": redis })).unwrap().store_ports;
    let endpoints = |ports: [u16; 3]| json!({ "endpoints": ports.map(|port| format!("[::1]:{port}")) });
    assert_eq!(ports(json!({ "url": "redis://redis" })), [6379]);
    assert_eq!(ports(json!({ "url": "rediss://[::1]:7000" })), [7000]);
    assert_eq!(
        ports(json!({ "urlFrom": { "secretKeyRef": { "name": "s", "key": "k" } } })),
        [6379, 6380]
    );
    let sentinel =
        json!({ "sentinel": { "masterName": "m", "endpoints": ["a:26379", "b:26379", "c:26380"] } });
    assert_eq!(ports(sentinel), [6379, 6380, 26379, 26380]);
    assert_eq!(
        ports(json!({ "cluster": endpoints([7001, 7002, 7003]) })),
        [7001, 7002, 7003]
    );
    let quorum = json!({ "endpoints": ["a:1", "b:2", "c:1"] });
    assert_eq!(ports(json!({ "quorum": quorum })), [1, 2]);
    let sentinel = json!({ "sentinel": { "masterName": "m", "endpoints": ["a:26379", "b:x"] } });
    assert_eq!(
        fields(with(&json!({ "redis": sentinel }))),
        ["spec.redis.sentinel.endpoints[1]"]
    );
}

#[test]
fn a_service_is_carried_as_it_was_written() {
    let service = json!({
        "type": "NodePort", "ports": [{ "port": 80, "madeUp": 1 }], "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 5 } }, "externalTrafficPolicy": "Local",
        "annotations": { "a": "b" },
    });
    let parsed = with(&json!({ "service": service })).unwrap().service.unwrap();
    let mut spec = service.as_object().unwrap().clone();
    spec.remove("annotations");
    assert_eq!(parsed.spec, spec);
    assert_eq!(parsed.annotations, [("a".to_owned(), "b".to_owned())].into());
}

#[test]
fn sections_are_turned_off_and_fields_are_carried() {
    let workload = with(&json!({
        "networkPolicy": { "enabled": false }, "disruptionBudget": { "enabled": false, "minAvailable": 1 },
        "podDefaults": { "env": false, "topologySpread": false }, "suspend": true,
        "strategy": { "type": "Recreate", "madeUp": 1 }, "minReadySeconds": 1, "progressDeadlineSeconds": 2,
        "revisionHistoryLimit": 3,
    }))
    .unwrap();
    assert_eq!(workload.network_policy, None);
    assert_eq!(workload.disruption_budget, None);
    assert!(!workload.inject_env && !workload.topology_spread && workload.suspend);
    assert_eq!(
        Value::Object(workload.deployment),
        json!({
            "strategy": { "type": "Recreate", "madeUp": 1 }, "minReadySeconds": 1, "progressDeadlineSeconds": 2,
            "revisionHistoryLimit": 3,
        })
    );
    let budget = |spec| {
        with(&json!({ "disruptionBudget": spec }))
            .unwrap()
            .disruption_budget
            .unwrap()
    };
    assert_eq!(
        budget(json!({ "minAvailable": "50%" })).bound,
        BudgetBound::MinAvailable(json!("50%"))
    );
    let policy = budget(json!({ "maxUnavailable": 2, "unhealthyPodEvictionPolicy": "IfHealthyBudget" }));
    assert_eq!(policy.bound, BudgetBound::MaxUnavailable(json!(2)));
    assert_eq!(policy.unhealthy_pod_eviction_policy, "IfHealthyBudget");
    let policy = with(&json!({ "networkPolicy": { "ingress": [], "egress": [{ "madeUp": 1 }] } })).unwrap();
    let rules = json!([{ "madeUp": 1 }])
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule.as_object().unwrap().clone())
        .collect();
    assert_eq!(
        policy.network_policy,
        Some(Policy {
            ingress: Some(vec![]),
            egress: Some(rules)
        })
    );
}

#[test]
fn scaling_says_who_decides_on_replicas() {
    let scaling = |autoscaling: Value| {
        with(&json!({ "replicas": 5, "autoscaling": autoscaling }))
            .unwrap()
            .scaling
    };
    assert_eq!(
        with(&json!({ "replicas": 5 })).unwrap().scaling,
        Scaling::Fixed { replicas: Some(5) }
    );
    assert_eq!(
        scaling(json!({ "mode": "External" })),
        Scaling::External { replicas: Some(5) }
    );
    let Scaling::Managed {
        min,
        max,
        metrics,
        behavior,
        replicas,
    } = scaling(json!({
        "maxReplicas": 9, "targetCPUUtilizationPercentage": 70, "targetMemoryUtilizationPercentage": 80,
        "behavior": { "madeUp": 1 }, "metrics": [],
    }))
    else {
        panic!("not managed")
    };
    assert_eq!((min, max, replicas), (1, 9, Some(5)));
    let metric = |name: &str, percent: i32| {
        json!({ "type": "Resource", "resource": {
            "name": name, "target": { "type": "Utilization", "averageUtilization": percent },
        }})
    };
    assert_eq!(json!(metrics), json!([metric("cpu", 70), metric("memory", 80)]));
    assert_eq!(json!(behavior), json!({ "madeUp": 1 }));
}

#[test]
fn rigatoni_brings_its_settings() {
    let parsed = set(&json!({}));
    let lock = |name: &str| Lock {
        name: name.into(),
        key: format!("rigatoni:lock:{name}"),
        probe: Probe::string(format!("rigatoni:lock:{name}").as_bytes()).into(),
    };
    assert_eq!(
        parsed,
        LockSet {
            name: "a".into(),
            hold: Hold::Continuous,
            dialect: Dialect::Rigatoni,
            scheme: Scheme::of(Dialect::Rigatoni, "rigatoni:lock:").unwrap(),
            container: None,
            locks: vec![lock("x"), lock("y")],
            queues: vec![],
            discover: None,
            ttl: Some(secs(30)),
            renew_interval: Some(secs(10)),
            retry_interval: secs(5),
            assumed: AssumedTimings {
                ttl: true,
                renew_interval: true,
                retry_interval: true
            },
            unheld_grace: secs(30),
            max_hold: None,
            every: None,
            balance: Some(Balance {
                slack: 1,
                ratio: 2.0,
                max_per_instance: None,
                sustained: Some(secs(120)),
                warm_up: secs(60),
            }),
            foreign_holders: ForeignHolders::Report,
            readiness: Readiness::Advisory,
        }
    );
}

#[test]
fn custom_brings_none() {
    let holder = json!({ "pattern": "(?<owner>.+)", "source": { "type": "StringValue" }, "matches": { "type": "PodName" } });
    let parsed =
        set(&json!({ "dialect": "Custom", "holder": holder, "hold": "Intermittent", "discover": false }));
    assert_eq!(
        (parsed.ttl, parsed.renew_interval, parsed.retry_interval),
        (None, None, secs(5))
    );
    assert_eq!(parsed.locks[0].key, "x");
    assert_eq!(
        parsed.scheme.pattern,
        Some(Pattern::custom("(?<owner>.+)").unwrap())
    );
    assert_eq!(
        parsed.balance, None,
        "Intermittent sets are not balanced by default"
    );
    let parsed = set(&json!({ "dialect": "Custom", "holder": holder }));
    assert_eq!(
        parsed.balance.unwrap().sustained,
        None,
        "the ttl is to be learned"
    );
}

#[test]
fn what_is_given_is_taken() {
    let parsed = set(&json!({
        "ttl": "1h", "renewInterval": "20m", "retryInterval": "15s", "keyPrefix": "p:", "keySuffix": ":s",
        "balance": { "enabled": true, "slack": 0, "ratio": 1.5, "maxPerInstance": 3, "warmUp": "0s" },
        "foreignHolders": "Expected", "readiness": "Required", "holder": { "container": "main" },
    }));
    assert_eq!(
        (parsed.ttl, parsed.renew_interval),
        (Some(secs(3600)), Some(secs(1200)))
    );
    assert_eq!(parsed.assumed, AssumedTimings::default());
    assert_eq!(parsed.unheld_grace, secs(45), "three tries");
    assert_eq!(parsed.locks[0].key, "p:x:s");
    let balance = parsed.balance.unwrap();
    assert_eq!(
        balance.sustained,
        Some(secs(600)),
        "twice the ttl, but at most ten minutes"
    );
    assert_eq!(
        (balance.slack, balance.max_per_instance, balance.warm_up),
        (0, Some(3), Duration::ZERO)
    );
    assert_eq!(
        (parsed.foreign_holders, parsed.readiness),
        (ForeignHolders::Expected, Readiness::Required)
    );
    assert_eq!(parsed.container.as_deref(), Some("main"));
    let parsed = set(&json!({ "unheldGrace": "1s", "balance": { "for": "20s" } }));
    assert_eq!(
        (parsed.unheld_grace, parsed.balance.unwrap().sustained),
        (secs(1), Some(secs(20)))
    );
    assert_eq!(set(&json!({ "balance": { "enabled": false } })).balance, None);
}

#[test]
fn urls_name_a_host_and_a_port() {
    let address = |url: &str| {
        with(&json!({ "redis": { "url": url, "database": 3 } })).map(|workload| workload.store.unwrap())
    };
    for (url, host, port) in [
        ("redis://redis", "redis", 6379),
        ("redis://redis:1", "redis", 1),
        ("redis://redis.shop.svc:65535", "redis.shop.svc", 65535),
        ("redis://10.0.0.1:6380", "10.0.0.1", 6380),
        ("redis://[fd00::1]", "fd00::1", 6379),
        ("redis://[::ffff:10.0.0.1]:7000", "::ffff:10.0.0.1", 7000),
    ] {
        let store = address(url).unwrap();
        assert_eq!(
            store.address,
            StoreAddress::Url(StoreHost {
                name: host.into(),
                port
            }),
            "{url}"
        );
        assert_eq!(store.database, 3);
    }
    for url in [
        "redis://",
        "redis://:1",
        "redis://redis:",
        "redis://redis:0",
        "redis://redis:65536",
        "redis://redis:+1",
        "redis://user:secret@redis",
        "redis://redis/0",
        "redis://redis?x",
        "redis://redis#x",
        "redis://::1",
        "redis://[::1",
        "redis://[::1]1",
        "redis://[x]:1",
        "redis://re dis",
        "http://redis",
        "redis:6379",
        "",
    ] {
        let problems = address(url).unwrap_err();
        assert_eq!(problems.len(), 1, "{url}");
        assert!(
            !problems[0].to_string().contains("secret"),
            "a message must not repeat a password"
        );
    }
    let key = |name: &str| KeySelector {
        name: name.into(),
        key: "k".into(),
    };
    let from = |name: &str| json!({ "secretKeyRef": { "name": name, "key": "k" } });
    let redis =
        json!({ "urlFrom": from("url"), "usernameFrom": from("user"), "passwordFrom": from("password") });
    assert_eq!(
        with(&json!({ "redis": redis })).unwrap().store,
        Some(Store {
            address: StoreAddress::Secret(key("url")),
            username_from: Some(key("user")),
            password_from: Some(key("password")),
            tls: None,
            database: 0,
        })
    );
}

#[test]
fn every_kind_of_store_and_tls_is_understood() {
    let store = |redis: Value| with(&json!({ "redis": redis })).map(|workload| workload.store.unwrap());
    let host = |name: &str, port| StoreHost {
        name: name.into(),
        port,
    };
    let key = |name: &str| KeySelector {
        name: name.into(),
        key: "k".into(),
    };
    let from = |name: &str| json!({ "secretKeyRef": { "name": name, "key": "k" } });
    let hosts = vec![host("a", 1), host("fd00::1", 2), host("c", 3)];
    let endpoints = json!({ "endpoints": ["a:1", "[fd00::1]:2", "c:3"] });

    let secure = store(json!({ "url": "rediss://redis:6380" })).unwrap();
    assert_eq!(secure.address, StoreAddress::Url(host("redis", 6380)));
    assert_eq!(secure.tls, Some(StoreTls::default()), "the system's authorities");
    assert_eq!(store(json!({ "url": "redis://redis" })).unwrap().tls, None);
    assert_eq!(
        store(json!({ "cluster": endpoints })).unwrap().address,
        StoreAddress::Cluster(hosts.clone())
    );
    let quorum = store(json!({ "quorum": endpoints, "tls": {}, "database": 3 })).unwrap();
    assert_eq!(
        (quorum.address, quorum.tls, quorum.database),
        (StoreAddress::Quorum(hosts), Some(StoreTls::default()), 3)
    );
    let sentinel = store(json!({
        "sentinel": {
            "masterName": "main", "endpoints": ["a:1"], "usernameFrom": from("su"), "passwordFrom": from("sp"),
            "tls": { "caFrom": { "configMapKeyRef": { "name": "ca", "key": "k" } } },
        },
        "tls": {
            "caFrom": from("ca"), "clientCertificateSecretName": "client", "serverName": "redis.example",
        },
    }))
    .unwrap();
    assert_eq!(
        sentinel.address,
        StoreAddress::Sentinel(StoreSentinel {
            master: "main".into(),
            endpoints: vec![host("a", 1)],
            username_from: Some(key("su")),
            password_from: Some(key("sp")),
            tls: Some(StoreTls {
                ca_from: Some(StoreCa::ConfigMap(key("ca"))),
                ..StoreTls::default()
            }),
        })
    );
    assert_eq!(
        sentinel.tls,
        Some(StoreTls {
            ca_from: Some(StoreCa::Secret(key("ca"))),
            client_certificate: Some("client".into()),
            server_name: Some("redis.example".into()),
        })
    );

    for (redis, field) in [
        (json!({ "url": "redis://redis", "tls": {} }), "spec.redis.tls"),
        (
            json!({ "url": "rediss://redis", "tls": { "caFrom": {} } }),
            "spec.redis.tls.caFrom",
        ),
        (
            json!({ "sentinel": { "masterName": "m", "endpoints": ["a:1"], "tls": { "caFrom": {} } } }),
            "spec.redis.sentinel.tls.caFrom",
        ),
        (
            json!({ "sentinel": { "masterName": "m", "endpoints": [] } }),
            "spec.redis.sentinel.endpoints",
        ),
        (
            json!({ "quorum": { "endpoints": ["a:1", "b:1"] } }),
            "spec.redis.quorum.endpoints",
        ),
        (
            json!({ "quorum": { "endpoints": ["a:1", "b:1", "A:1"] } }),
            "spec.redis.quorum.endpoints[2]",
        ),
    ] {
        assert_eq!(fields(with(&json!({ "redis": redis }))), [field], "{redis}");
    }
}

#[test]
fn limits_of_holds_and_periods_are_carried() {
    let parsed = set(&json!({ "hold": "Intermittent", "maxHold": "10m", "every": "1h" }));
    assert_eq!(
        (parsed.max_hold, parsed.every),
        (Some(secs(600)), Some(secs(3600)))
    );
    for field in ["maxHold", "every"] {
        let zero = with_set(&json!({ "hold": "Intermittent", field: "0s" }));
        assert_eq!(fields(zero), [format!("spec.locks[0].{field}")]);
    }
}

#[test]
fn custom_reads_whatever_the_application_writes() {
    let scheme = |holder: Value| {
        let set = set(&json!({ "dialect": "Custom", "keyPrefix": "p:", "holder": holder }));
        (set.locks[0].probe.clone(), set.scheme)
    };
    let pattern = json!("(?<owner>.+)");
    let with_source = |source: Value| scheme(json!({ "pattern": pattern, "source": source }));
    for (source, form) in [
        (json!({ "type": "StringValue" }), Form::String(Part::Whole)),
        (
            json!({ "type": "HashField", "ignore": ["mode"] }),
            Form::HashField {
                ignore: names(["mode"]),
            },
        ),
        (
            json!({ "type": "SetMember" }),
            Form::SetMember { ignore: names([]) },
        ),
        (
            json!({ "type": "SortedSetMember", "ignore": ["__write__"], "scoreUnit": "Milliseconds" }),
            Form::SortedSetMember {
                ignore: names(["__write__"]),
                unit: ScoreUnit::Milliseconds,
            },
        ),
        (
            json!({ "type": "JsonPointer", "pointer": "/owner" }),
            Form::String(Part::Pointer("/owner".into())),
        ),
    ] {
        let (probe, scheme) = with_source(source.clone());
        assert_eq!((&probe.form, &probe.beside), (&form, &None), "{source}");
        assert!(scheme.tells_owners());
    }
    let (probe, _) = with_source(json!({ "type": "SiblingKey", "key": "owner:{name}" }));
    assert_eq!(probe.beside, Some(Beside::Key(b"owner:x".as_slice().into())));
    let (probe, _) = with_source(json!({ "type": "SiblingField", "key": "owners", "field": "f" }));
    let field = Beside::Field(b"owners".as_slice().into(), b"f".as_slice().into());
    assert_eq!(probe.beside, Some(field));
    let (probe, _) =
        scheme(json!({ "pattern": "(?<holder>.+):.*", "registry": { "key": "i", "field": "{holder}" } }));
    assert!(matches!(probe.beside, Some(Beside::Registry(_))));
    let (_, opaque) = scheme(json!({ "pattern": "(?<holder>.+)" }));
    assert!(!opaque.tells_owners());
    let (probe, _) = scheme(json!({ "pattern": "(?<since>.+)@(?<owner>.+)" }));
    assert!(matches!(probe.form, Form::String(Part::WithoutSince(_))));
}

#[test]
fn the_names_of_queues_are_places() {
    let change =
        json!({ "dialect": "BullMQ", "hold": "Intermittent", "keyPrefix": "{bull}:", "discover": true });
    let set = set(&change);
    assert!(set.locks.is_empty(), "no name is a lock");
    let [index, _, everywhere] = set.places().collect::<Vec<_>>()[..] else {
        panic!("{set:?}")
    };
    assert_eq!(index.place, Place::Index(b"{bull}:x:active".as_slice().into()));
    let job = index.named(b"17");
    assert_eq!(&*job.key, b"{bull}:x:17:lock");
    let worker = Beside::Field(b"{bull}:x:17".as_slice().into(), b"pb".as_slice().into());
    assert_eq!(job.beside, Some(worker));
    assert_eq!(everywhere.name(b"{bull}:y:18:lock"), Some(&b"y:18"[..]));
    assert_eq!(
        everywhere.named(b"y:18").beside,
        Some(Beside::Field(
            b"{bull}:y:18".as_slice().into(),
            b"pb".as_slice().into()
        ))
    );
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    for (change, field) in [
        (json!({ "names": [] }), "names"),
        (json!({ "hold": "Intermittent", "names": [] }), "names"),
        (json!({ "names": ["x", "x"] }), "names[1]"),
        (json!({ "ttl": "30" }), "ttl"),
        (json!({ "retryInterval": "0s" }), "retryInterval"),
        (json!({ "renewInterval": "15s" }), "renewInterval"),
        (json!({ "ttl": "20s" }), "renewInterval"),
        (json!({ "unheldGrace": "soon" }), "unheldGrace"),
        (json!({ "balance": { "for": "x" } }), "balance.for"),
        (json!({ "balance": { "for": "10m1s" } }), "balance.for"),
        (
            json!({ "balance": { "enabled": false, "warmUp": "x" } }),
            "balance.warmUp",
        ),
        (json!({ "holder": { "container": "other" } }), "holder.container"),
        (json!({ "holder": { "pattern": "(?<owner>.+)" } }), "holder"),
        (json!({ "dialect": "Bull" }), "hold"),
        (json!({ "discover": true, "keyPrefix": "jobs" }), "discover"),
        (
            json!({ "dialect": "Custom", "holder": { "pattern": "(?<owner>.+)", "source": { "type": "JsonPointer" } } }),
            "holder.source.pointer",
        ),
        (json!({ "dialect": "Custom" }), "holder.pattern"),
        (
            json!({ "dialect": "Custom", "holder": { "pattern": "(" } }),
            "holder.pattern",
        ),
        (
            json!({ "dialect": "Custom", "holder": { "pattern": ".+" } }),
            "holder.pattern",
        ),
        (
            json!({ "dialect": "Custom", "holder": { "pattern": "(?<owner>.+)" }, "ttl": "10s", "renewInterval": "10s" }),
            "renewInterval",
        ),
    ] {
        assert_eq!(
            fields(with_set(&change)),
            [format!("spec.locks[0].{field}")],
            "{change}"
        );
    }
    let own_label = json!({ "metadata": { "labels": { "lockstep.dev/workload": "other" } }, "spec": {} });
    for (change, field) in [
        (
            json!({ "template": own_label }),
            "spec.template.metadata.labels[lockstep.dev/workload]",
        ),
        (json!({ "autoscaling": {} }), "spec.autoscaling.maxReplicas"),
        (
            json!({ "autoscaling": { "minReplicas": 3, "maxReplicas": 2 } }),
            "spec.autoscaling.minReplicas",
        ),
        (
            json!({ "autoscaling": { "mode": "External", "maxReplicas": 2 } }),
            "spec.autoscaling",
        ),
        (
            json!({ "autoscaling": { "maxReplicas": 2, "metrics": [{}], "targetCPUUtilizationPercentage": 1 } }),
            "spec.autoscaling.metrics",
        ),
        (
            json!({ "disruptionBudget": { "minAvailable": 1, "maxUnavailable": 1 } }),
            "spec.disruptionBudget",
        ),
        (json!({ "redis": {} }), "spec.redis"),
        (json!({ "redis": null }), "spec.redis"),
    ] {
        assert_eq!(fields(with(&change)), [field.to_owned()], "{change}");
    }
}

#[test]
fn a_sidecar_may_hold_the_locks() {
    let template = |sidecar: Value| json!({ "spec": { "containers": [{ "name": "main" }], "initContainers": [sidecar] } });
    let holder = json!({ "holder": { "container": "side" } });
    let parse = |sidecar| parse_spec(&spec(&json!({ "template": template(sidecar) }), &holder));
    assert!(parse(json!({ "name": "side", "restartPolicy": "Always" })).is_ok());
    assert_eq!(
        fields(parse(json!({ "name": "side" }))),
        ["spec.locks[0].holder.container"]
    );
}

#[test]
fn no_key_is_in_two_sets() {
    let set = |name: &str, prefix: &str, names: Value| json!({ "name": name, "hold": "Continuous", "dialect": "Rigatoni", "keyPrefix": prefix, "names": names });
    let problems =
        with(&json!({ "locks": [set("a", "p:", json!(["x", "y"])), set("b", "", json!(["z", "p:y"]))] }))
            .unwrap_err();
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            r#"spec.locks[1].names[1]: key "p:y" is the one of spec.locks[0].names[1] already: a lock belongs to one set"#
        ]
    );
}

#[test]
fn all_problems_are_found_at_once_in_the_order_of_the_spec() {
    let set = json!({ "name": "a", "hold": "Continuous", "dialect": "Bull", "names": [], "ttl": "1", "every": "1h" });
    let result = with(&json!({
        "autoscaling": {}, "service": { "ports": [] }, "redis": { "url": "redis://r/", "tls": {} }, "locks": [set, set],
        "conflictPolicy": "Adopt",
    }));
    let fields = fields(result);
    assert_eq!(
        fields,
        [
            "spec.autoscaling.maxReplicas",
            "spec.redis.url",
            "spec.locks[0].names",
            "spec.locks[0].ttl",
            "spec.locks[1].names",
            "spec.locks[1].ttl",
        ]
    );
}

#[test]
fn the_example_is_valid() {
    let example = include_str!("../../../manifests/examples/rigatoni.yaml");
    let resource: CoordinatedWorkload = serde_yaml::from_str(example).unwrap();
    let workload = parse(&resource).unwrap();
    assert_eq!(workload.locks[0].locks[0].key, "rigatoni:lock:mydb:users");
    assert_eq!(json!(resource.spec.template), json!(workload.template));
}
