//! `manifests/examples/`: what the apiserver stores for each of them has the figures of the guide it was made from.
//!
//! In: the manifests as they are delivered. The namespaces enforce Pod Security "restricted", so that the pods which
//! follow show that the templates pass it.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use lockstep::domain::children::ChildKind;
use serde_json::{Value, json};

use super::harness::{Room, eventually};

/// The children of one example, as they are in the cluster.
struct Example {
    deployment: Value,
    autoscaler: Option<Value>,
    budget: Value,
    policy: Value,
    service: Option<Value>,
}

impl Example {
    /// Applies the manifest of that name in a namespace of its own, and waits until its pods were admitted.
    async fn applied(file: &str) -> Self {
        let manifest = manifest(file);
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let room = Room::new(&format!("example-{file}")).await;
        let label =
            json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
        Api::<Namespace>::all(room.client.clone())
            .patch(&room.namespace, &PatchParams::default(), &Patch::Merge(&label))
            .await
            .unwrap();

        let workload = room.set(name, &manifest["spec"]).await;
        room.converge(&workload).await;
        // A pod that Pod Security refuses is missing here, and the Deployment's condition says why.
        let deployment = eventually("the pods are admitted", async || {
            let deployment = room.deployment(name).await;
            let status = &deployment["status"];
            if let Some(failure) = condition(status, "ReplicaFailure") {
                let message = failure["message"].as_str().unwrap_or_default();
                assert!(!message.contains("PodSecurity"), "{file}: {message}");
            }
            (status["replicas"] == deployment["spec"]["replicas"]).then_some(deployment)
        })
        .await;
        Self {
            deployment,
            autoscaler: room.get(ChildKind::HorizontalPodAutoscaler, name).await,
            budget: room.get(ChildKind::PodDisruptionBudget, name).await.unwrap(),
            policy: room.get(ChildKind::NetworkPolicy, name).await.unwrap(),
            service: room.get(ChildKind::Service, name).await,
        }
    }

    fn pod(&self) -> &Value {
        &self.deployment["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// The container's own variables; before them must stand Lockstep's.
    fn variables(&self) -> Vec<(&str, String)> {
        let variables: Vec<_> = self.container()["env"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| (variable["name"].as_str().unwrap(), value_of(variable)))
            .collect();
        let (lockstep, own) = variables.split_at(3);
        let field = |name, path: &str| (name, format!("field {path}"));
        assert_eq!(
            lockstep,
            [
                field("POD_NAME", "metadata.name"),
                field("POD_NAMESPACE", "metadata.namespace"),
                field("POD_UID", "metadata.uid"),
            ]
        );
        // The kubelet expands $(NAME) only if NAME stands before; else the letters stay.
        for (at, (name, value)) in variables.iter().enumerate() {
            for reference in value.split("$(").skip(1) {
                let (reference, _) = reference.split_once(')').unwrap();
                assert!(
                    variables[..at].iter().any(|(name, _)| *name == reference),
                    "{name} refers to {reference}, which doesn't stand before it"
                );
            }
        }
        own.to_vec()
    }

    /// Ports that may be reached anywhere.
    fn open_egress(&self) -> BTreeSet<String> {
        let rules = self.policy["spec"]["egress"].as_array().unwrap();
        let open = rules.iter().filter(|rule| rule.get("to").is_none());
        open.flat_map(|rule| rule["ports"].as_array().unwrap())
            .map(|port| format!("{} {}", port["protocol"].as_str().unwrap(), port["port"]))
            .collect()
    }

    /// The other egress rules: those of the manifest.
    fn own_egress(&self) -> Vec<Value> {
        let rules = self.policy["spec"]["egress"].as_array().unwrap();
        rules
            .iter()
            .filter(|rule| rule.get("to").is_some())
            .cloned()
            .collect()
    }
}

fn manifest(file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples");
    let text = std::fs::read_to_string(folder.join(file).with_extension("yaml")).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

fn condition<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let conditions = status.get("conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == name)
}

/// Where a variable comes from, in words.
fn value_of(variable: &Value) -> String {
    let source = &variable["valueFrom"];
    if let Some(path) = source["fieldRef"]["fieldPath"].as_str() {
        return format!("field {path}");
    }
    if let Some(secret) = source["secretKeyRef"].as_object() {
        return format!(
            "secret {} {}",
            secret["name"].as_str().unwrap(),
            secret["key"].as_str().unwrap()
        );
    }
    variable["value"].as_str().unwrap().to_owned()
}

/// Fails unless `found` has all that is in `wanted`; lists are as long as wanted. The apiserver adds defaults.
#[track_caller]
fn assert_has(found: &Value, wanted: &Value) {
    fn has(found: &Value, wanted: &Value) -> bool {
        match (found, wanted) {
            (Value::Object(found), Value::Object(wanted)) => wanted
                .iter()
                .all(|(key, wanted)| found.get(key).is_some_and(|found| has(found, wanted))),
            (Value::Array(found), Value::Array(wanted)) => {
                found.len() == wanted.len()
                    && found.iter().zip(wanted).all(|(found, wanted)| has(found, wanted))
            }
            _ => found == wanted,
        }
    }
    assert!(has(found, wanted), "wanted: {wanted:#}\nfound: {found:#}");
}

fn ports(ports: &[&str]) -> BTreeSet<String> {
    let dns = ["UDP 53", "TCP 53", "UDP 5353", "TCP 5353"];
    dns.iter().chain(ports).map(ToString::to_string).collect()
}

/// A metric on a resource, as the apiserver stores it.
fn utilization(resource: &str, percent: i32) -> Value {
    let target = json!({ "type": "Utilization", "averageUtilization": percent });
    json!({ "type": "Resource", "resource": { "name": resource, "target": target } })
}

fn from_proxy(port: u16) -> Value {
    let proxy = json!({ "matchLabels": { "kubernetes.io/metadata.name": "ingress-nginx" } });
    json!([{ "from": [{ "namespaceSelector": proxy }], "ports": [{ "port": port, "protocol": "TCP" }] }])
}

fn to_pods(app: &str, port: u16) -> Value {
    let pods = json!({ "podSelector": { "matchLabels": { "app": app } } });
    json!({ "to": [pods], "ports": [{ "port": port, "protocol": "TCP" }] })
}

fn to_the_internet() -> Value {
    let inside = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"];
    let outside = json!({ "ipBlock": { "cidr": "0.0.0.0/0", "except": inside } });
    json!({ "to": [outside], "ports": [{ "port": 443, "protocol": "TCP" }] })
}

fn get(path: &str, port: impl Into<Value>) -> Value {
    json!({ "path": path, "port": port.into() })
}

fn given(variables: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
    variables.iter().map(owned).collect()
}

#[test]
fn every_manifest_of_the_folder_has_its_test_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".yaml").map(ToOwned::to_owned))
        .collect();
    let tested = [
        "mongodb-crud-api",
        "reporadar-compose",
        "reporadar-kubernetes",
        "rigatoni",
        "taskflow",
    ];
    assert_eq!(found, tested.map(ToOwned::to_owned).into());
}

#[tokio::test]
async fn rigatoni() {
    let example = Example::applied("rigatoni").await;
    assert_has(
        &example.deployment["spec"],
        &json!({ "replicas": 3, "template": { "metadata": { "labels": { "app": "rigatoni" } } } }),
    );
    assert_has(example.pod(), &json!({ "terminationGracePeriodSeconds": 30 }));
    assert_eq!(
        example.variables()[..3],
        given(&[
            ("MONGODB_URI", "mongodb://mongo:27017/?replicaSet=rs0"),
            ("REDIS_URL", "redis://redis:6379"),
            ("RUST_LOG", "info,rigatoni_core=info"),
        ])
    );
    assert_has(
        example.container(),
        &json!({
            "resources": {
                "requests": { "memory": "256Mi", "cpu": "100m" }, "limits": { "memory": "512Mi", "cpu": "500m" },
            },
        }),
    );
    assert_has(
        &example.autoscaler.as_ref().unwrap()["spec"],
        &json!({
            "minReplicas": 2, "maxReplicas": 10, "metrics": [utilization("cpu", 70)],
            "scaleTargetRef": { "kind": "Deployment", "name": "rigatoni" },
        }),
    );
    assert_has(&example.budget["spec"], &json!({ "minAvailable": 1 }));
    assert_has(
        &example.policy["spec"]["ingress"],
        &json!([{ "from": [{ "podSelector": {} }] }, { "ports": [{ "port": 8080, "protocol": "TCP" }] }]),
    );
    assert_eq!(example.own_egress(), [to_pods("mongo", 27017)]);
    assert_eq!(example.open_egress(), ports(&["TCP 6379"]));
    assert_eq!(example.service, None);
}

#[tokio::test]
async fn reporadar_of_the_compose_guide() {
    let example = Example::applied("reporadar-compose").await;
    assert_has(&example.deployment["spec"], &json!({ "replicas": 3 }));
    assert_has(example.pod(), &json!({ "terminationGracePeriodSeconds": 45 }));
    let secret = |key: &str| format!("secret reporadar-compose-secrets {key}");
    assert_eq!(
        example.variables(),
        given(&[
            ("NODE_ENV", "production"),
            ("DATABASE_URL", &secret("database-url")),
            ("DB_POOL_MIN", "2"),
            ("DB_POOL_MAX", "10"),
            ("REDIS_PASSWORD", &secret("redis-password")),
            ("REDIS_URL", "redis://:$(REDIS_PASSWORD)@redis-master:6379"),
            ("USE_REDIS_SESSIONS", "true"),
            ("SESSION_SECRET", &secret("session-secret")),
            ("SESSION_ENCRYPTION_KEY", &secret("session-encryption-key")),
            ("GITHUB_TOKEN", &secret("github-token")),
        ])
    );
    let every_15_seconds = |path| {
        let get = get(path, "http");
        json!({ "httpGet": get, "periodSeconds": 15, "failureThreshold": 3, "timeoutSeconds": 5 })
    };
    assert_has(
        example.container(),
        &json!({
            "ports": [{ "name": "http", "containerPort": 3000 }],
            "readinessProbe": every_15_seconds("/health/ready"),
            "livenessProbe": every_15_seconds("/health/live"),
            "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
            "resources": { "limits": { "memory": "4G", "cpu": "2" } },
        }),
    );
    assert_eq!(example.autoscaler, None);
    assert_has(&example.budget["spec"], &json!({ "maxUnavailable": 1 }));
    assert_has(&example.policy["spec"]["ingress"], &from_proxy(3000));
    assert_eq!(
        example.own_egress(),
        [to_pods("postgres", 5432), to_the_internet()]
    );
    assert_eq!(
        example.open_egress(),
        ports(&["TCP 26379", "TCP 6379", "TCP 6380"])
    );
    assert_has(
        &example.service.as_ref().unwrap()["spec"],
        &json!({
            "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
            "selector": { "lockstep.dev/workload": "reporadar-compose" },
        }),
    );
}

#[tokio::test]
async fn reporadar_of_the_kubernetes_guide() {
    let example = Example::applied("reporadar-kubernetes").await;
    assert_has(
        &example.deployment["spec"],
        &json!({ "replicas": 3, "template": { "metadata": { "labels": { "app": "reporadar" } } } }),
    );
    assert_has(example.pod(), &json!({ "terminationGracePeriodSeconds": 45 }));
    let secret = |key: &str| format!("secret reporadar-secrets {key}");
    assert_eq!(
        example.variables(),
        given(&[
            ("USE_REDIS_SESSIONS", "true"),
            ("REDIS_URL", "redis://redis-service:6379"),
            ("DATABASE_URL", &secret("database-url")),
            ("INSTANCE_ID", "field metadata.name"),
            ("SESSION_SECRET", &secret("session-secret")),
            ("SESSION_ENCRYPTION_KEY", &secret("session-encryption-key")),
        ])
    );
    assert_has(
        example.container(),
        &json!({
            "image": "reporadar:latest",
            "ports": [{ "containerPort": 3000 }],
            "livenessProbe": {
                "httpGet": get("/health/live", 3000), "initialDelaySeconds": 30, "periodSeconds": 10,
            },
            "readinessProbe": {
                "httpGet": get("/health/ready", 3000), "initialDelaySeconds": 10, "periodSeconds": 5,
            },
            "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
            // A target in percent is one of these.
            "resources": { "requests": { "memory": "1G", "cpu": "500m" }, "limits": { "memory": "4G", "cpu": "2" } },
        }),
    );
    assert_has(
        &example.autoscaler.as_ref().unwrap()["spec"],
        &json!({
            "minReplicas": 3, "maxReplicas": 10, "metrics": [utilization("cpu", 70), utilization("memory", 80)],
        }),
    );
    assert_has(&example.budget["spec"], &json!({ "maxUnavailable": 1 }));
    // A load balancer comes from anywhere.
    assert_has(
        &example.policy["spec"]["ingress"],
        &json!([{ "from": [{ "podSelector": {} }] }, { "ports": [{ "port": 3000, "protocol": "TCP" }] }]),
    );
    assert_eq!(
        example.own_egress(),
        [to_pods("postgres", 5432), to_the_internet()]
    );
    assert_eq!(example.open_egress(), ports(&["TCP 6379"]));
    assert_has(
        &example.service.as_ref().unwrap()["spec"],
        &json!({
            "type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{ "port": 80, "targetPort": 3000 }],
            "selector": { "lockstep.dev/workload": "reporadar" },
        }),
    );
}

#[tokio::test]
async fn mongodb_crud_api() {
    let example = Example::applied("mongodb-crud-api").await;
    assert_has(
        &example.deployment["spec"],
        &json!({
            "replicas": 3, "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } },
        }),
    );
    assert_has(example.pod(), &json!({ "terminationGracePeriodSeconds": 45 }));
    assert_eq!(
        example.variables(),
        given(&[
            ("MONGODB_URI", "mongodb://mongo:27017/crud-api"),
            ("REDIS_PASSWORD", "secret crud-api-redis password"),
            ("REDIS_URL", "redis://:$(REDIS_PASSWORD)@redis:6379"),
            ("REDIS_KEY_PREFIX", "crud-api"),
            ("REDIS_CONNECTION_TIMEOUT", "5000"),
            ("REDIS_COMMAND_TIMEOUT", "5000"),
            ("CLUSTER_INSTANCE_ID", "$(POD_NAME)"),
            ("CLUSTER_ENABLE_DISTRIBUTED_LOCKING", "true"),
            ("CLUSTER_CRON_LEADER_ELECTION", "true"),
            ("CLUSTER_SCALING_MAX_INSTANCES", "10"),
            ("CLUSTER_SCALING_MIN_INSTANCES", "2"),
            ("CLUSTER_LOCK_TTL", "30000"),
            ("CLUSTER_REQUIRE_REDIS", "true"),
            ("WEBHOOKS_ENHANCED_DELIVERY", "true"),
            ("WEBHOOKS_QUEUE_CONCURRENCY", "5"),
            ("WEBHOOKS_RATE_LIMIT_PER_MINUTE", "60"),
            ("WEBHOOKS_RETRY_ATTEMPTS", "3"),
            ("WEBHOOKS_RETRY_DELAY", "1000"),
            ("SCRIPTS_ENABLE_ENHANCED_EXECUTION", "true"),
            ("SCRIPTS_MAX_CONCURRENT_EXECUTIONS", "10"),
            ("SCRIPTS_EXECUTION_TIMEOUT", "30000"),
            ("SCRIPTS_VM_TIMEOUT", "5000"),
        ])
    );
    assert_has(
        example.container(),
        &json!({
            "livenessProbe": { "httpGet": get("/health", "http") },
            "readinessProbe": { "httpGet": get("/api/cluster/health", "http") },
            "resources": {
                "requests": { "memory": "256Mi", "cpu": "200m" }, "limits": { "memory": "512Mi", "cpu": "500m" },
            },
        }),
    );
    assert_has(
        &example.autoscaler.as_ref().unwrap()["spec"],
        &json!({
            "minReplicas": 2, "maxReplicas": 10, "metrics": [utilization("cpu", 70), utilization("memory", 80)],
            "behavior": {
                "scaleUp": { "stabilizationWindowSeconds": 60 }, "scaleDown": { "stabilizationWindowSeconds": 300 },
            },
        }),
    );
    assert_has(&example.budget["spec"], &json!({ "maxUnavailable": 1 }));
    assert_has(&example.policy["spec"]["ingress"], &from_proxy(3000));
    assert_eq!(example.own_egress(), [to_pods("mongo", 27017), to_the_internet()]);
    assert_eq!(example.open_egress(), ports(&["TCP 6379"]));
    assert_has(
        &example.service.as_ref().unwrap()["spec"],
        &json!({ "type": "ClusterIP", "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] }),
    );
}

#[tokio::test]
async fn taskflow() {
    let example = Example::applied("taskflow").await;
    assert_has(&example.deployment["spec"], &json!({ "replicas": 3 }));
    // As long as the cron job's lock, 10 min, and one more.
    assert_has(example.pod(), &json!({ "terminationGracePeriodSeconds": 660 }));
    assert_eq!(
        example.variables(),
        given(&[
            ("REDIS_HOST", "redis-cluster.example.com"),
            ("REDIS_PORT", "6379"),
            ("REDIS_PASSWORD", "secret taskflow-redis password"),
            ("REDIS_TLS", "true"),
            ("DB_POOL_SIZE", "20"),
            ("DB_POOL_TIMEOUT", "30000"),
            ("NODE_ENV", "production"),
            ("INSTANCE_ID", "$(POD_NAME)"),
            ("NODE_EXTRA_CA_CERTS", "/etc/redis-ca/ca.crt"),
        ])
    );
    assert_has(
        example.container(),
        &json!({
            "ports": [{ "containerPort": 3000 }],
            "readinessProbe": { "httpGet": get("/health", "http") },
            "livenessProbe": { "tcpSocket": { "port": "http" } },
        }),
    );
    assert_eq!(example.autoscaler, None);
    assert_has(&example.budget["spec"], &json!({ "maxUnavailable": 1 }));
    assert_has(&example.policy["spec"]["ingress"], &from_proxy(3000));
    // The guide names no database: egress is not restricted.
    assert_eq!(example.policy["spec"]["policyTypes"], json!(["Ingress"]));
    assert_has(
        &example.service.as_ref().unwrap()["spec"],
        &json!({
            "type": "ClusterIP", "sessionAffinity": "ClientIP",
            "ports": [{ "name": "http", "port": 3000, "targetPort": "http" }],
        }),
    );
}
