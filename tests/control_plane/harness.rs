//! One control plane for the run, a namespace per test, and what tests do there.

use std::sync::LazyLock;

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, Config, ResourceExt};
use lockstep::api::CoordinatedWorkload;
use lockstep::cluster::{CachedChild, Cluster};
use lockstep::domain::children::{self, ChildKind, Children, LiveChildren, Outcome, Plan, Prepared};
use lockstep::domain::workload::{Workload, parse};
use lockstep_cluster::Options;
use serde_json::{Value, json};

pub(crate) use super::common::eventually;
use super::{common, faults::Faults};

/// The control plane, with the definition of the resource. Statics aren't dropped: the crate ends the processes.
static CONTROL_PLANE: LazyLock<lockstep_cluster::Cluster> =
    LazyLock::new(|| common::start(&Options::control_plane()));

/// The control plane of this run.
pub(crate) async fn control_plane() -> &'static lockstep_cluster::Cluster {
    tokio::task::spawn_blocking(|| &*CONTROL_PLANE).await.unwrap()
}

/// How to reach the apiserver as an administrator.
pub(crate) async fn config() -> Config {
    common::config(control_plane().await.kubeconfig()).await
}

/// Runs kubectl in the control plane.
pub(crate) async fn kubectl(arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let cluster = control_plane().await;
    let run = move || cluster.kubectl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap().unwrap()
}

/// A namespace with one resource, and what an operator would do about it.
pub(crate) struct Room {
    pub(crate) namespace: String,
    /// The test's own client.
    pub(crate) client: Client,
    /// Counts what [`Room::pass`] sends.
    pub(crate) faults: Faults,
    cluster: Cluster,
}

impl Room {
    /// A new namespace.
    pub(crate) async fn new(namespace: &str) -> Self {
        let faults = Faults::none();
        let client = lockstep::cluster::client(config().await).unwrap();
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(body).unwrap())
            .await
            .unwrap();
        let cluster = Cluster::new(faults.client(config().await), "test");
        Self {
            namespace: namespace.to_owned(),
            client,
            faults,
            cluster,
        }
    }

    /// The same namespace, as another process meets it.
    pub(crate) async fn reopened(&self, faults: Faults) -> Self {
        let cluster = Cluster::new(faults.client(config().await), "test");
        Self {
            namespace: self.namespace.clone(),
            client: self.client.clone(),
            faults,
            cluster,
        }
    }

    /// The same namespace, for a process with other rights or another way to the apiserver.
    pub(crate) fn with_config(&self, config: Config) -> Self {
        let faults = Faults::none();
        let cluster = Cluster::new(faults.client(config), "test");
        Self {
            namespace: self.namespace.clone(),
            client: self.client.clone(),
            faults,
            cluster,
        }
    }

    pub(crate) fn resources(&self) -> Api<CoordinatedWorkload> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn writer(&self) -> &Cluster {
        &self.cluster
    }

    /// Creates the resource, or replaces its spec, and answers it parsed.
    pub(crate) async fn set(&self, name: &str, spec: &Value) -> Workload {
        self.try_set(name, spec).await.unwrap()
    }

    /// The same for a spec that the definition may refuse.
    pub(crate) async fn try_set(&self, name: &str, spec: &Value) -> Result<Workload, kube::Error> {
        let body = json!({
            "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
            "metadata": { "name": name, "namespace": self.namespace }, "spec": spec,
        });
        let resource = ApiResource::erase::<CoordinatedWorkload>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        // Server-side apply removes what left the spec, as `kubectl apply` would.
        let parameters = PatchParams::apply("user").force();
        let object = api.patch(name, &parameters, &Patch::Apply(&body)).await?;
        let resource = serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
        Ok(parse(&resource).unwrap())
    }

    /// What a cache would hold: it selects by Lockstep's label.
    pub(crate) async fn live(&self, name: &str) -> LiveChildren {
        let mut live = LiveChildren::default();
        for kind in ChildKind::ALL {
            let api = Api::<CachedChild>::all_with(self.client.clone(), &kind).constrain(&self.namespace);
            let list = api
                .list(&ListParams::default().labels("lockstep.dev/workload"))
                .await
                .unwrap();
            let found = list.items.iter().find(|child| child.name_any() == name);
            *live.get_mut(kind) = found.map(CachedChild::live);
        }
        live
    }

    /// What is left to do.
    pub(crate) async fn plan(&self, workload: &Workload) -> (Children<Prepared>, Plan) {
        let prepared = children::build(workload);
        let plan = children::plan(workload, &prepared, &self.live(&workload.name).await, &[]);
        (prepared, plan)
    }

    /// Does it once.
    pub(crate) async fn pass(&self, workload: &Workload) -> Outcome {
        let (prepared, plan) = self.plan(workload).await;
        self.cluster.apply(workload, &prepared, &plan).await
    }

    /// Does it until nothing is left to do.
    pub(crate) async fn converge(&self, workload: &Workload) {
        eventually("nothing is left to do", async || {
            let outcome = self.pass(workload).await;
            let (_, plan) = self.plan(workload).await;
            (outcome.is_complete() && plan.is_empty()).then_some(())
        })
        .await;
    }

    /// A child as it is, without what differs by chance.
    pub(crate) async fn get(&self, kind: ChildKind, name: &str) -> Option<Value> {
        let object = self.api(kind).get_opt(name).await.unwrap();
        object.map(|object| serde_json::to_value(object).unwrap())
    }

    /// The Deployment.
    pub(crate) async fn deployment(&self, name: &str) -> Value {
        self.get(ChildKind::Deployment, name).await.expect("a Deployment")
    }

    /// Its replicas.
    pub(crate) async fn replicas(&self, name: &str) -> i64 {
        self.deployment(name).await["spec"]["replicas"].as_i64().unwrap()
    }

    /// Waits until nobody writes to the Deployment any more.
    pub(crate) async fn rolled_out(&self, name: &str) {
        eventually("it has rolled out", async || {
            let deployment = self.deployment(name).await;
            let (spec, status) = (&deployment["spec"], &deployment["status"]);
            let observed = status["observedGeneration"] == deployment["metadata"]["generation"];
            (observed && status["availableReplicas"] == spec["replicas"]).then_some(())
        })
        .await;
    }

    /// Changes a child as somebody else would.
    pub(crate) async fn meddle(&self, kind: ChildKind, name: &str, manager: &str, merge: &Value) {
        let parameters = PatchParams {
            field_manager: Some(manager.into()),
            ..PatchParams::default()
        };
        self.api(kind)
            .patch(name, &parameters, &Patch::Merge(merge))
            .await
            .unwrap();
    }

    /// Applies a manifest as somebody else would.
    pub(crate) async fn manifest(&self, manifest: &Value) {
        let cluster = control_plane().await;
        let (namespace, text) = (format!("--namespace={}", self.namespace), manifest.to_string());
        let run = move || cluster.kubectl_stdin(&["apply", &namespace, "--filename=-"], &text);
        tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    }

    /// Deletes a child as somebody else would.
    pub(crate) async fn delete(&self, kind: ChildKind, name: &str) {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    pub(crate) fn api(&self, kind: ChildKind) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), kind.kind());
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }
}

/// An ordinary spec.
pub(crate) fn ordinary() -> Value {
    json!({
        "replicas": 2,
        "template": {
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{
                "name": "web",
                "image": "web:1",
                "env": [{ "name": "MODE", "value": "a" }, { "name": "LEVEL", "value": "info" }],
                "ports": [{ "containerPort": 8080 }],
            }] },
        },
    })
}
