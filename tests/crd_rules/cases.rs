//! Changes of a valid resource, and what the definition says to them.

use serde_json::{Value, json};

/// A change of the base manifest's spec (JSON merge patch), and the message that refuses it.
pub(crate) type Refused = (Value, &'static str);

/// What the rules must refuse.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn refused() -> Vec<Refused> {
    let lock = |change: Value| {
        let mut lock = json!({ "name": "a", "hold": "Continuous", "dialect": "Rigatoni", "names": ["x"] });
        json_patch(&mut lock, &change);
        json!({ "locks": [lock] })
    };
    let custom = |holder: Value| lock(json!({ "dialect": "Custom", "holder": holder }));
    let source = |source: Value| custom(json!({ "pattern": "(?<owner>.+)", "source": source }));
    let budget = |spec: Value, min: Value| {
        let mut spec = spec;
        spec["disruptionBudget"]["minAvailable"] = min;
        spec
    };
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("n{n}")).collect() };
    let sets = |sizes: &[usize]| {
        let set = |(n, size): (usize, &usize)| json!({ "name": format!("s{n}"), "hold": "Continuous", "dialect": "Rigatoni", "names": many(*size) });
        json!({ "locks": sizes.iter().enumerate().map(set).collect::<Vec<_>>() })
    };
    let redis = |change: Value| json!({ "redis": change });
    let url = |url: &str| redis(json!({ "url": url }));
    let secret = json!({ "secretKeyRef": { "name": "s", "key": "k" } });
    let sentinel = |endpoint: &str| {
        redis(json!({ "url": null, "sentinel": { "masterName": "m", "endpoints": [endpoint] } }))
    };
    let quorum = |count: usize| {
        let endpoints: Vec<String> = (0..count).map(|n| format!("redis-{n}:6379")).collect();
        redis(json!({ "url": null, "quorum": { "endpoints": endpoints } }))
    };
    let blocks = "disruptionBudget.minAvailable allows no eviction";
    let exactly_one = "redis needs exactly one of url, urlFrom, sentinel, cluster and quorum";
    let host_port = "url must be redis://HOST:PORT";
    let endpoint = "each endpoint must be HOST:PORT";
    let path = "url must have no path and no query";
    let together = "with mode: External something else decides on the replicas";
    let positive = "ttl, renewInterval, retryInterval, maxHold and every must be longer than 0s";
    let rigatoni = "with dialect: Rigatoni renewInterval";
    let discover = "discover needs a keyPrefix of at least 4 characters";
    let duration = "should match '^([0-9]{1,5}(h|m|s|ms)){1,4}$'";
    vec![
        // Required fields and types of verbatim parts are the API's.
        (json!({ "template": null }), "spec.template: Required value"),
        (
            json!({ "template": { "spec": { "containers": [{ "image": "x" }] } } }),
            "spec.template.spec.containers[0].name: Required value",
        ),
        (
            json!({ "template": { "spec": { "containers": [{ "name": 5 }] } } }),
            "must be of type string",
        ),
        (json!({ "replicas": -1 }), "should be greater than or equal to 0"),
        (
            json!({ "minReadySeconds": 600 }),
            "progressDeadlineSeconds (600 unless given) must be greater than minReadySeconds",
        ),
        (
            json!({ "minReadySeconds": 60, "progressDeadlineSeconds": 60 }),
            "progressDeadlineSeconds (600 unless given)",
        ),
        // Autoscaling.
        (
            json!({ "autoscaling": { "mode": "External", "maxReplicas": 3 } }),
            together,
        ),
        (
            json!({ "autoscaling": { "mode": "External", "minReplicas": 3 } }),
            together,
        ),
        (
            json!({ "autoscaling": { "mode": "External", "metrics": [] } }),
            together,
        ),
        (
            json!({ "autoscaling": { "mode": "External", "behavior": {} } }),
            together,
        ),
        (
            json!({ "autoscaling": { "mode": "External", "targetCPUUtilizationPercentage": 5 } }),
            together,
        ),
        (
            json!({ "autoscaling": { "mode": "External", "targetMemoryUtilizationPercentage": 5 } }),
            together,
        ),
        (
            json!({ "autoscaling": {} }),
            "autoscaling needs maxReplicas; or mode: External",
        ),
        (
            json!({ "autoscaling": { "mode": "Managed", "minReplicas": 2 } }),
            "autoscaling needs maxReplicas",
        ),
        (
            json!({ "autoscaling": { "minReplicas": 3, "maxReplicas": 2 } }),
            "minReplicas must not be greater than maxReplicas",
        ),
        (
            json!({ "autoscaling": { "maxReplicas": 0 } }),
            "should be greater than or equal to 1",
        ),
        (
            json!({ "autoscaling": { "maxReplicas": 2, "metrics": [{ "type": "Resource" }], "targetCPUUtilizationPercentage": 70 } }),
            "targetCPUUtilizationPercentage and targetMemoryUtilizationPercentage stand for metrics",
        ),
        (
            json!({ "autoscaling": { "maxReplicas": 2, "metrics": [{ "type": "Resource" }], "targetMemoryUtilizationPercentage": 70 } }),
            "targetCPUUtilizationPercentage and targetMemoryUtilizationPercentage stand for metrics",
        ),
        (
            json!({ "autoscaling": { "mode": "Other" } }),
            "Unsupported value: \"Other\"",
        ),
        // Budget.
        (
            json!({ "disruptionBudget": { "minAvailable": 1, "maxUnavailable": 1 } }),
            "give minAvailable or maxUnavailable, not both",
        ),
        (
            json!({ "disruptionBudget": { "minAvailable": "half" } }),
            "minAvailable must be a number of pods",
        ),
        (
            json!({ "disruptionBudget": { "minAvailable": -1 } }),
            "minAvailable must be a number of pods",
        ),
        (
            json!({ "disruptionBudget": { "maxUnavailable": "101%" } }),
            "maxUnavailable must be a number of pods",
        ),
        (
            json!({ "disruptionBudget": { "maxUnavailable": -1 } }),
            "maxUnavailable must be a number of pods",
        ),
        (
            json!({ "disruptionBudget": { "unhealthyPodEvictionPolicy": "Never" } }),
            "Unsupported value: \"Never\"",
        ),
        (budget(json!({ "replicas": 1 }), json!(1)), blocks),
        (budget(json!({ "replicas": 3 }), json!(3)), blocks),
        (budget(json!({ "replicas": 3 }), json!(4)), blocks),
        (budget(json!({ "replicas": 3 }), json!("100%")), blocks),
        (budget(json!({ "replicas": 3 }), json!("67%")), blocks),
        (budget(json!({ "replicas": 1 }), json!("1%")), blocks),
        (
            budget(
                json!({ "replicas": 5, "autoscaling": { "minReplicas": 2, "maxReplicas": 9 } }),
                json!(2),
            ),
            blocks,
        ),
        (
            budget(
                json!({ "replicas": 5, "disruptionBudget": { "enabled": true, "allowBlocking": false } }),
                json!(5),
            ),
            blocks,
        ),
        // Service.
        (
            json!({ "service": { "ports": [{ "port": 80 }], "externalTrafficPolicy": "Local" } }),
            "externalTrafficPolicy goes with type: NodePort or LoadBalancer only",
        ),
        (
            redis(json!({ "url": null, "cluster": { "endpoints": ["redis:6379"] }, "database": 1 })),
            "a Redis Cluster has no database but 0",
        ),
        (
            lock(json!({ "balance": { "for": "10m1s" } })),
            "balance.for must be at most 10m",
        ),
        (
            json!({ "service": {} }),
            "service needs at least one entry in ports",
        ),
        (
            json!({ "service": { "ports": [] } }),
            "service needs at least one entry in ports",
        ),
        (
            json!({ "service": { "ports": [{}] } }),
            "spec.service.ports[0].port: Required value",
        ),
        // Redis.
        (
            json!({ "redis": null }),
            "locks need redis, which says where they are",
        ),
        (redis(json!({ "url": null })), exactly_one),
        (redis(json!({ "urlFrom": secret })), exactly_one),
        (
            redis(
                json!({ "cluster": { "endpoints": ["a:1"] }, "url": null, "quorum": { "endpoints": ["a:1", "b:1", "c:1"] } }),
            ),
            exactly_one,
        ),
        (
            url("redis:6379"),
            "url must begin with redis:// or, for TLS, with rediss://",
        ),
        (url("http://redis:6379"), "url must begin with redis://"),
        (
            url("redis://user:pw@redis:6379"),
            "url must not hold a user or a password",
        ),
        (url("redis://redis:6379/0"), path),
        (url("redis://redis:6379/"), path),
        (url("redis://redis:6379?db=1"), path),
        (url("redis://redis#1"), path),
        (url("redis://"), host_port),
        (url("redis://:6379"), host_port),
        (url("redis://redis:"), host_port),
        (url("redis://redis:0"), host_port),
        (url("redis://redis:65536"), host_port),
        (url("redis://redis:123456"), host_port),
        (url("redis://re dis:1"), host_port),
        (url("redis://::1:6379"), host_port),
        (
            redis(json!({ "tls": {} })),
            "tls contradicts url, whose redis:// says that the connection is plain",
        ),
        (
            redis(json!({ "url": "rediss://r", "tls": { "caFrom": {} } })),
            "give exactly one of secretKeyRef and configMapKeyRef",
        ),
        (
            redis(
                json!({ "url": "rediss://r", "tls": { "caFrom": { "secretKeyRef": { "name": "s", "key": "k" }, "configMapKeyRef": { "name": "s", "key": "k" } } } }),
            ),
            "give exactly one of secretKeyRef and configMapKeyRef",
        ),
        (
            redis(json!({ "database": -1 })),
            "should be greater than or equal to 0",
        ),
        (sentinel("sentinel"), endpoint),
        (sentinel("redis://sentinel:26379"), endpoint),
        (sentinel("::1:26379"), endpoint),
        (
            redis(json!({ "url": null, "cluster": { "endpoints": ["redis-0:6379", "redis-1:70000"] } })),
            endpoint,
        ),
        (
            redis(json!({ "url": null, "cluster": { "endpoints": ["a:1", "a:1"] } })),
            "Duplicate value: \"a:1\"",
        ),
        (quorum(1), "quorum needs 3, 5, 7 or 9 endpoints"),
        (quorum(4), "quorum needs 3, 5, 7 or 9 endpoints"),
        (quorum(11), "quorum needs 3, 5, 7 or 9 endpoints"),
        // Lock sets.
        (
            sets(&[700, 700, 601]),
            "all sets of locks together may declare at most 2000 names",
        ),
        (sets(&[1001]), "must have at most 1000 items"),
        (sets(&[1; 17]), "must have at most 16 items"),
        (
            json!({ "locks": [{ "name": "a", "hold": "Continuous", "dialect": "Rigatoni", "names": ["x"] }, { "name": "a", "hold": "Continuous", "dialect": "Rigatoni", "names": ["y"] }] }),
            "Duplicate value: {\"name\":\"a\"}",
        ),
        (
            lock(json!({ "name": "A" })),
            "spec.locks[0].name in body should match",
        ),
        (
            lock(json!({ "hold": null })),
            "spec.locks[0].hold: Required value",
        ),
        (lock(json!({ "names": ["x", "x"] })), "Duplicate value: \"x\""),
        (lock(json!({ "names": [""] })), "should be at least 1 chars long"),
        (
            lock(json!({ "names": ["x".repeat(257)] })),
            "may not be more than 256",
        ),
        (lock(json!({ "names": null })), "hold: Continuous needs names"),
        (
            lock(json!({ "names": [], "discover": true })),
            "hold: Continuous needs names",
        ),
        (
            lock(json!({ "hold": "Intermittent", "names": null })),
            "hold: Intermittent needs names, or discover: true",
        ),
        (
            lock(json!({ "hold": "Intermittent", "names": null, "discover": false })),
            "hold: Intermittent needs names, or discover: true",
        ),
        (
            lock(json!({ "dialect": "Bull" })),
            "hold must be Intermittent with dialect: Bull and BullMQ",
        ),
        (
            lock(json!({ "dialect": "BullMQ" })),
            "hold must be Intermittent with dialect: Bull and BullMQ",
        ),
        (lock(json!({ "discover": true, "keyPrefix": "job" })), discover),
        (lock(json!({ "discover": true, "keyPrefix": "jobs" })), discover),
        (lock(json!({ "discover": true, "keyPrefix": "" })), discover),
        (lock(json!({ "discover": true, "dialect": "Redlock" })), discover),
        (
            lock(json!({ "holder": { "pattern": "(?<owner>.+)" } })),
            "of holder only container goes with this dialect",
        ),
        (
            lock(json!({ "holder": { "source": { "type": "StringValue" } } })),
            "of holder only container goes with this dialect",
        ),
        (
            lock(json!({ "holder": { "matches": { "type": "PodName" } } })),
            "of holder only container goes with this dialect",
        ),
        (
            lock(json!({ "holder": { "registry": { "key": "{holder}" } } })),
            "of holder only container goes with this dialect",
        ),
        (
            lock(json!({ "dialect": "Custom" })),
            "dialect: Custom needs holder.pattern",
        ),
        (
            custom(json!({ "container": "main" })),
            "dialect: Custom needs holder.pattern",
        ),
        (
            custom(json!({ "pattern": "x".repeat(513) })),
            "may not be more than 512",
        ),
        (lock(json!({ "ttl": "0s", "dialect": "Redisson" })), positive),
        (lock(json!({ "renewInterval": "0ms" })), positive),
        (lock(json!({ "retryInterval": "0h0m" })), positive),
        (lock(json!({ "maxHold": "0s" })), positive),
        (lock(json!({ "hold": "Intermittent", "every": "0s" })), positive),
        (lock(json!({ "ttl": "30" })), duration),
        (lock(json!({ "ttl": "1.5s" })), duration),
        (lock(json!({ "balance": { "for": "1d" } })), duration),
        (
            lock(json!({ "dialect": "Redisson", "ttl": "30s", "renewInterval": "30s" })),
            "renewInterval must be shorter than ttl",
        ),
        (
            lock(json!({ "dialect": "Redisson", "ttl": "1m", "renewInterval": "90s" })),
            "renewInterval must be shorter than ttl",
        ),
        (lock(json!({ "ttl": "30s", "renewInterval": "15s" })), rigatoni),
        (lock(json!({ "renewInterval": "15s" })), rigatoni),
        (lock(json!({ "ttl": "20s" })), rigatoni),
        (
            lock(json!({ "every": "1h" })),
            "every goes with hold: Intermittent",
        ),
        (
            lock(json!({ "hold": "Intermittent", "unheldGrace": "1m" })),
            "unheldGrace goes with hold: Continuous",
        ),
        (
            lock(json!({ "balance": { "slack": -1 } })),
            "should be greater than or equal to 0",
        ),
        (
            lock(json!({ "balance": { "ratio": 0.5 } })),
            "should be greater than or equal to 1",
        ),
        (
            lock(json!({ "balance": { "maxPerInstance": 0 } })),
            "should be greater than or equal to 1",
        ),
        // Holders.
        (
            source(json!({ "type": "JsonPointer" })),
            "pointer goes with type: JsonPointer",
        ),
        (
            source(json!({ "type": "StringValue", "pointer": "/a" })),
            "pointer goes with type: JsonPointer",
        ),
        (
            source(json!({ "type": "JsonPointer", "pointer": "a" })),
            "pointer must be a JSON pointer",
        ),
        (
            source(json!({ "type": "JsonPointer", "pointer": "/a~2" })),
            "pointer must be a JSON pointer",
        ),
        (
            source(json!({ "type": "SiblingKey" })),
            "key goes with type: SiblingKey or SiblingField",
        ),
        (
            source(json!({ "type": "HashField", "key": "k" })),
            "key goes with type: SiblingKey or SiblingField",
        ),
        (
            source(json!({ "type": "SiblingField", "key": "k" })),
            "field goes with type: SiblingField",
        ),
        (
            source(json!({ "type": "SiblingKey", "key": "k", "field": "f" })),
            "field goes with type: SiblingField",
        ),
        (
            source(json!({ "type": "SetMember", "scoreUnit": "Seconds" })),
            "scoreUnit goes with type: SortedSetMember",
        ),
        (
            source(json!({ "type": "StringValue", "ignore": ["mode"] })),
            "ignore goes with type: HashField",
        ),
        (
            custom(json!({ "pattern": "(?<owner>.+)", "matches": { "type": "Label" } })),
            "key goes with type: Label or Annotation",
        ),
        (
            custom(json!({ "pattern": "(?<owner>.+)", "matches": { "type": "PodIP", "key": "k" } })),
            "key goes with type: Label or Annotation",
        ),
        (
            custom(json!({ "registry": { "key": "workers" } })),
            "key or field must contain {holder}",
        ),
        (
            custom(
                json!({ "source": { "type": "SiblingKey", "key": "k" }, "registry": { "key": "{holder}" } }),
            ),
            "registry goes with a holder that stands in the lock itself",
        ),
        (
            custom(
                json!({ "source": { "type": "SiblingField", "key": "k", "field": "f" }, "registry": { "key": "{holder}" } }),
            ),
            "registry goes with a holder that stands in the lock itself",
        ),
    ]
}

/// What they must let through.
pub(crate) fn accepted() -> Vec<Value> {
    let lock = |change: Value| {
        let mut lock = json!({ "name": "a", "hold": "Continuous", "dialect": "Rigatoni", "names": ["x"] });
        json_patch(&mut lock, &change);
        json!({ "locks": [lock] })
    };
    let custom = |holder: Value| lock(json!({ "dialect": "Custom", "holder": holder }));
    let source = |source: Value| custom(json!({ "pattern": "(?<owner>.+)", "source": source }));
    let many = |from: usize, to: usize| -> Vec<String> { (from..to).map(|n| format!("{n:0>256}")).collect() };
    vec![
        json!({}),
        json!({ "locks": null, "redis": null }),
        json!({ "locks": [], "redis": null }),
        json!({ "locks": null }),
        // Empty sections and defaults spelt out.
        json!({ "networkPolicy": {}, "disruptionBudget": {}, "podDefaults": {}, "conflictPolicy": "Fail", "suspend": false }),
        lock(
            json!({ "discover": false, "foreignHolders": "Report", "readiness": "Advisory", "balance": {}, "holder": {} }),
        ),
        json!({ "strategy": { "type": "Recreate" }, "minReadySeconds": 5, "progressDeadlineSeconds": 6, "revisionHistoryLimit": 0 }),
        // Autoscaling.
        json!({ "autoscaling": { "mode": "External" } }),
        json!({ "autoscaling": { "minReplicas": 3, "maxReplicas": 3 } }),
        json!({ "autoscaling": { "maxReplicas": 3, "metrics": [], "targetCPUUtilizationPercentage": 70, "targetMemoryUtilizationPercentage": 80 } }),
        // Budgets that leave an eviction, or of which nothing can be said.
        json!({ "replicas": 3, "disruptionBudget": { "minAvailable": 2 } }),
        json!({ "replicas": 3, "disruptionBudget": { "minAvailable": "66%" } }),
        json!({ "replicas": 0, "disruptionBudget": { "minAvailable": 1 } }),
        json!({ "disruptionBudget": { "minAvailable": "100%" } }),
        json!({ "replicas": 1, "disruptionBudget": { "minAvailable": 1, "allowBlocking": true } }),
        json!({ "replicas": 1, "disruptionBudget": { "minAvailable": 1, "enabled": false } }),
        json!({ "replicas": 1, "disruptionBudget": { "minAvailable": 1 }, "autoscaling": { "mode": "External" } }),
        json!({ "replicas": 1, "disruptionBudget": { "minAvailable": 1 }, "autoscaling": { "minReplicas": 2, "maxReplicas": 3 } }),
        json!({ "disruptionBudget": { "minAvailable": 5 }, "autoscaling": { "maxReplicas": 3 } }),
        json!({ "replicas": 1, "disruptionBudget": { "maxUnavailable": "100%" } }),
        json!({ "service": { "type": "NodePort", "ports": [{ "port": 80, "targetPort": "http" }], "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 5 } }, "externalTrafficPolicy": "Local", "annotations": { "a": "b" } } }),
        // Redis.
        json!({ "redis": { "url": "redis://redis" } }),
        json!({ "redis": { "url": "redis://redis.shop.svc.cluster.local:65535", "database": 3 } }),
        json!({ "redis": { "url": "redis://[fd00::1]:6379" } }),
        json!({ "redis": { "url": "redis://10.0.0.1:6379" } }),
        json!({ "redis": { "url": "rediss://redis_1:6380", "tls": {} } }),
        json!({ "redis": { "url": null, "urlFrom": { "secretKeyRef": { "name": "s", "key": "url" } }, "tls": { "caFrom": { "configMapKeyRef": { "name": "ca", "key": "ca.crt" } }, "serverName": "redis", "clientCertificateSecretName": "c" } } }),
        json!({ "redis": { "url": null, "sentinel": { "masterName": "m", "endpoints": ["s-0:26379", "[::1]:26379"], "tls": {} }, "tls": {} } }),
        json!({ "redis": { "url": null, "quorum": { "endpoints": ["a:1", "b:1", "c:1", "d:1", "e:1"] } } }),
        // Lock sets.
        json!({ "locks": [
            { "name": "a", "hold": "Continuous", "dialect": "Rigatoni", "names": many(0, 1000) },
            { "name": "b", "hold": "Continuous", "dialect": "Rigatoni", "names": many(1000, 2000) },
        ] }),
        lock(json!({ "hold": "Intermittent", "names": null, "discover": true })),
        lock(
            json!({ "hold": "Intermittent", "dialect": "Redlock", "keyPrefix": "job:", "names": null, "discover": true }),
        ),
        lock(json!({ "hold": "Intermittent", "dialect": "BullMQ", "keyPrefix": "{bull}:" })),
        lock(json!({ "hold": "Intermittent", "dialect": "RedBeat", "names": null, "discover": true })),
        lock(json!({ "hold": "Intermittent", "dialect": "Laravel", "names": null, "discover": true })),
        lock(json!({ "discover": true })),
        lock(json!({ "ttl": "30s", "renewInterval": "14s999ms" })),
        lock(
            json!({ "ttl": "99999h99999h", "renewInterval": "1m30s", "retryInterval": "500ms", "unheldGrace": "0s", "maxHold": "8h" }),
        ),
        lock(json!({ "dialect": "Redisson", "ttl": "30s", "renewInterval": "29s" })),
        lock(json!({ "hold": "Intermittent", "every": "1h" })),
        lock(json!({ "holder": { "container": "worker" } })),
        lock(
            json!({ "balance": { "enabled": false, "slack": 0, "ratio": 1.5, "maxPerInstance": 3, "for": "20s", "warmUp": "0s" } }),
        ),
        custom(json!({ "registry": { "key": "worker:{holder}" } })),
        custom(json!({ "registry": { "key": "workers", "field": "{holder}" } })),
        custom(json!({ "source": { "type": "SetMember" }, "registry": { "key": "{holder}" } })),
        custom(json!({ "pattern": "x".repeat(512), "matches": { "type": "Annotation", "key": "a/b" } })),
        source(json!({ "type": "HashField", "ignore": ["mode"] })),
        source(json!({ "type": "JsonPointer", "pointer": "/a~1b/0" })),
        source(json!({ "type": "JsonPointer", "pointer": "" })),
        source(json!({ "type": "SortedSetMember", "scoreUnit": "Seconds" })),
        source(json!({ "type": "SiblingField", "key": "{name}:x", "field": "pb" })),
    ]
}

/// JSON merge patch, except that a null inside a list stays.
pub(crate) fn json_patch(target: &mut Value, change: &Value) {
    let (Value::Object(fields), Value::Object(changes)) = (&mut *target, change) else {
        *target = change.clone();
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            json_patch(fields.entry(name).or_insert(Value::Null), change);
        }
    }
}
