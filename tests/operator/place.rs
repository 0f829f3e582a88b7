//! One control plane for the run; a namespace for each test, with a user for its operator, and what a test sees there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, DeleteParams, ListParams, ObjectList, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use lockstep::api::CoordinatedWorkload;
use lockstep_cluster::{Cluster, Options};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(crate) use super::common::{PATIENCE, config, eventually};

/// Every request to the apiserver, one line of JSON each.
pub(crate) static AUDIT_LOG: LazyLock<PathBuf> = LazyLock::new(|| {
    let program = env!("CARGO_CRATE_NAME");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}-audit.log"))
});

/// The role with what the chart grants.
const ROLE: &str = "lockstep";

/// Held for reading while a latency is measured, for writing while one test keeps all cores busy.
pub(crate) static QUIET: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// Statics aren't dropped: the crate ends the processes.
static CONTROL_PLANE: LazyLock<Cluster> = LazyLock::new(|| {
    let _ = std::fs::remove_file(&*AUDIT_LOG);
    let options = Options {
        audit_log: Some(AUDIT_LOG.clone()),
        ..Options::control_plane()
    };
    let cluster = super::common::start(&options);
    cluster
        .kubectl_stdin(&["create", "--filename=-"], &role(ROLE, &granted()).to_string())
        .expect("the operator's rights");
    cluster
});

/// Rules of RBAC as `manifests/install.yaml` grants them to the operator.
pub(crate) fn granted() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/install.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let objects = serde_yaml::Deserializer::from_str(&text).map(|object| Value::deserialize(object).unwrap());
    let rules: Vec<_> = objects
        .filter(|object| {
            let role = ["ClusterRole", "Role"].iter().any(|kind| object["kind"] == *kind);
            let names = ["lockstep", "lockstep-leader-election"];
            role && names.iter().any(|name| object["metadata"]["name"] == *name)
        })
        .flat_map(|object| object["rules"].as_array().unwrap().clone())
        .collect();
    assert!(rules.len() > 10, "{rules:#?}");
    rules
}

/// A cluster role of these rules.
pub(crate) fn role(name: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": name }, "rules": rules,
    })
}

/// The control plane of this run.
pub(crate) async fn control_plane() -> &'static Cluster {
    tokio::task::spawn_blocking(|| &*CONTROL_PLANE).await.unwrap()
}

/// A namespace.
pub(crate) struct Place {
    pub(crate) namespace: String,
    /// The test's own client, an administrator.
    pub(crate) client: Client,
    /// For an operator.
    pub(crate) kubeconfig: PathBuf,
    tasks: Mutex<JoinSet<()>>,
}

impl Place {
    /// A new namespace, with a service account `operator` in it that may what the chart grants.
    pub(crate) async fn new(namespace: &str) -> Self {
        Self::with_role(namespace, ROLE).await
    }

    /// The same, where the operator has another cluster role.
    pub(crate) async fn with_role(namespace: &str, role: &str) -> Self {
        let cluster = control_plane().await;
        let client = lockstep::cluster::client(config(cluster.kubeconfig()).await).unwrap();
        let place = Self {
            namespace: namespace.to_owned(),
            kubeconfig: cluster.dir().join(format!("{namespace}.kubeconfig")),
            client,
            tasks: Mutex::default(),
        };
        let new = PostParams::default();
        let object = json!({ "metadata": { "name": namespace } });
        let namespaces: Api<Namespace> = Api::all(place.client.clone());
        namespaces
            .create(&new, &serde_json::from_value(object).unwrap())
            .await
            .unwrap();
        place.account("operator", role, &place.kubeconfig).await;
        place
    }

    /// Another service account with the rights of an operator; how it logs in is written to `kubeconfig`.
    pub(crate) async fn second(&self, name: &str, kubeconfig: &Path) {
        self.account(name, ROLE, kubeconfig).await;
    }

    async fn account(&self, name: &str, role: &str, kubeconfig: &Path) {
        let (namespace, new) = (&self.namespace, PostParams::default());
        let object = json!({ "metadata": { "name": name } });
        self.api::<ServiceAccount>()
            .create(&new, &serde_json::from_value(object).unwrap())
            .await
            .unwrap();
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
        });
        self.api::<RoleBinding>()
            .create(&new, &serde_json::from_value(binding).unwrap())
            .await
            .unwrap();
        let request = json!({ "spec": { "audiences": [], "expirationSeconds": 7200 } });
        let request: TokenRequest = serde_json::from_value(request).unwrap();
        let token = self
            .api::<ServiceAccount>()
            .create_token_request(name, &new, &request)
            .await
            .unwrap();
        let cluster = control_plane().await;
        let login = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "operator",
            "clusters": [{ "name": "test", "cluster": {
                "server": cluster.server_url(), "certificate-authority": cluster.ca_certificate(),
            }}],
            "users": [{ "name": "operator", "user": { "token": token.status.unwrap().token } }],
            "contexts": [{ "name": "operator", "context": { "cluster": "test", "user": "operator" } }],
        });
        std::fs::write(kubeconfig, login.to_string()).unwrap();
    }

    /// The user that the operator's requests are made by.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:operator", self.namespace)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Runs until the place is dropped.
    pub(crate) fn background(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap().spawn(task);
    }

    /// Runs kubectl in the namespace and hands back what it printed.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_stdin(arguments, "").await
    }

    /// The same with this standard input.
    pub(crate) async fn kubectl_stdin(&self, arguments: &[&str], input: &str) -> String {
        let namespace = format!("--namespace={}", self.namespace);
        let arguments: Vec<String> = [&[namespace.as_str()], arguments]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let input = input.to_owned();
        let cluster = control_plane().await;
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            cluster.kubectl_stdin(&arguments, &input).unwrap()
        })
        .await
        .unwrap()
    }

    /// Applies a resource with this spec, as `kubectl apply --server-side` would.
    pub(crate) async fn apply(&self, name: &str, spec: &Value) -> CoordinatedWorkload {
        apply(&self.client, &self.namespace, name, spec)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The resource as it is now.
    pub(crate) async fn get(&self, name: &str) -> CoordinatedWorkload {
        self.api::<CoordinatedWorkload>().get(name).await.unwrap()
    }

    /// A child as it is now.
    pub(crate) async fn child(&self, kind: &str, name: &str) -> Option<Value> {
        let object = self.children(kind).get_opt(name).await.unwrap();
        object.map(|object| serde_json::to_value(object).unwrap())
    }

    /// The children of a kind.
    pub(crate) fn children(&self, kind: &str) -> Api<DynamicObject> {
        let (group, version, plural) = match kind {
            "Deployment" => ("apps", "v1", "deployments"),
            "HorizontalPodAutoscaler" => ("autoscaling", "v2", "horizontalpodautoscalers"),
            "PodDisruptionBudget" => ("policy", "v1", "poddisruptionbudgets"),
            "NetworkPolicy" => ("networking.k8s.io", "v1", "networkpolicies"),
            "Service" => ("", "v1", "services"),
            other => panic!("no child is a {other}"),
        };
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// The pods of a resource that are neither starting nor going, by name, as soon as there are so many.
    pub(crate) async fn ready_pods(&self, name: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} ready pods of {name}"), async || {
            let ready: Vec<_> = self
                .pods(name)
                .await
                .items
                .into_iter()
                .filter(is_ready)
                .map(|pod| pod.name_any())
                .collect();
            (ready.len() == count).then_some(ready)
        })
        .await
    }

    /// The pods of a resource.
    pub(crate) async fn pods(&self, name: &str) -> ObjectList<Pod> {
        let ours = ListParams::default().labels(&format!("lockstep.dev/workload={name}"));
        self.api::<Pod>().list(&ours).await.unwrap()
    }

    /// Deletes a pod as a lost node would: without waiting for anything.
    pub(crate) async fn delete_pod(&self, pod: &str) {
        let at_once = DeleteParams::default().grace_period(0);
        self.api::<Pod>().delete(pod, &at_once).await.unwrap();
    }

    /// Says that the container of a pod was killed and runs again, as a kubelet would.
    pub(crate) async fn restart_container(&self, pod: &str, reason: &str) {
        let api = self.api::<Pod>();
        let mut status = serde_json::to_value(api.get(pod).await.unwrap().status).unwrap();
        let container = &mut status["containerStatuses"][0];
        let restarts = container["restartCount"].as_i64().unwrap_or(0);
        let now = lockstep::clock::wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        container["restartCount"] = json!(restarts + 1);
        container["lastState"] = json!({ "terminated": {
            "exitCode": 137, "reason": reason, "startedAt": now, "finishedAt": now,
        }});
        container["state"] = json!({ "running": { "startedAt": now } });
        let patch = json!({ "status": { "containerStatuses": status["containerStatuses"] } });
        api.patch_status(pod, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// What was said about a resource, in the order in which it was said.
    pub(crate) async fn events(&self, name: &str) -> Vec<Said> {
        let list = self.api::<Event>().list(&ListParams::default()).await.unwrap();
        let mut said: Vec<_> = list
            .items
            .into_iter()
            .filter(|event| {
                let about = event.regarding.clone().unwrap_or_default();
                about.kind.as_deref() == Some("CoordinatedWorkload") && about.name.as_deref() == Some(name)
            })
            .map(|event| Said {
                at: event.event_time.map(|at| at.0).unwrap_or_default(),
                warning: event.type_.as_deref() == Some("Warning"),
                reason: event.reason.unwrap_or_default(),
                note: event.note.unwrap_or_default(),
            })
            .collect();
        said.sort_by_key(|event| event.at);
        said
    }

    /// Names of all events about resources of the namespace.
    pub(crate) async fn all_events(&self) -> Vec<String> {
        let about = ListParams::default().fields("regarding.kind=CoordinatedWorkload");
        let list = self.api::<Event>().list(&about).await.unwrap();
        let mut names: Vec<_> = list.items.iter().map(kube::ResourceExt::name_any).collect();
        names.sort();
        names
    }

    /// How often a reason was said.
    pub(crate) async fn count(&self, name: &str, reason: &str) -> usize {
        let events = self.events(name).await;
        events.iter().filter(|event| event.reason == reason).count()
    }

    /// The Warnings said, by reason.
    pub(crate) async fn warnings(&self, name: &str) -> Vec<String> {
        let events = self.events(name).await.into_iter();
        events
            .filter(|event| event.warning)
            .map(|event| event.reason)
            .collect()
    }

    /// Follows a resource from now on.
    pub(crate) fn follow(&self, name: &str) -> History {
        let history = History::default();
        let shared = Arc::clone(&history.0);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher::watcher(self.api::<CoordinatedWorkload>(), config).boxed();
        self.background(async move {
            while let Some(event) = events.next().await {
                let at = lockstep::clock::wall();
                if let Ok(watcher::Event::Apply(resource) | watcher::Event::InitApply(resource)) = event {
                    shared.seen.lock().unwrap().push(Seen { at, resource });
                    shared.news.notify_waiters();
                }
            }
        });
        history
    }
}

/// Applies a resource with this spec, as `kubectl apply --server-side` would.
pub(crate) async fn apply(
    client: &Client,
    namespace: &str,
    name: &str,
    spec: &Value,
) -> Result<CoordinatedWorkload, kube::Error> {
    let body = json!({
        "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    });
    let resource = ApiResource::erase::<CoordinatedWorkload>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let parameters = PatchParams::apply("user").force();
    let object = api.patch(name, &parameters, &Patch::Apply(&body)).await?;
    Ok(serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap())
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) at: Timestamp,
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) note: String,
}

/// A resource at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When the watch brought it.
    pub(crate) at: Timestamp,
    pub(crate) resource: CoordinatedWorkload,
}

impl Seen {
    /// Status and reason of a condition, such as `False/LocksLost`; empty without it.
    pub(crate) fn says(&self, type_: &str) -> String {
        self.condition(type_)
            .map_or_else(String::new, |(verdict, _)| verdict)
    }

    /// Message of a condition; empty without it.
    pub(crate) fn message(&self, type_: &str) -> String {
        self.condition(type_)
            .map_or_else(String::new, |(_, message)| message)
    }

    fn condition(&self, type_: &str) -> Option<(String, String)> {
        let status = self.resource.status.as_ref()?;
        let condition = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_)?;
        let verdict = format!("{}/{}", condition.status, condition.reason);
        Some((verdict, condition.message.clone()))
    }

    /// All conditions, for people.
    fn conditions(&self) -> String {
        let status = self.resource.status.clone().unwrap_or_default();
        let all: Vec<_> = status
            .conditions
            .iter()
            .map(|condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason))
            .collect();
        format!(
            "{} generation {:?}: {}",
            self.at,
            self.resource.metadata.generation,
            all.join(" ")
        )
    }

    /// `status` as JSON.
    pub(crate) fn status(&self) -> Value {
        serde_json::to_value(&self.resource.status).unwrap()
    }

    /// The row of a lock in status.
    pub(crate) fn row(&self, lock: &str) -> Value {
        let status = self.status();
        let rows = status["locks"]["rows"].as_array().cloned().unwrap_or_default();
        rows.into_iter()
            .find(|row| row["name"] == lock)
            .unwrap_or_default()
    }

    /// Whether the spec runs and status speaks of this generation.
    pub(crate) fn is_ready(&self) -> bool {
        let generation = self.resource.metadata.generation;
        self.says("Ready") == "True/Reconciled"
            && self
                .resource
                .status
                .as_ref()
                .map(|status| status.observed_generation)
                == generation
    }
}

/// What was seen of a resource, in order.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Shared>);

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    news: Notify,
}

impl History {
    /// Everything seen so far.
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    /// How much was seen so far: where a later look begins.
    pub(crate) fn mark(&self) -> usize {
        self.0.seen.lock().unwrap().len()
    }

    /// The first state that fits, seen at `from` (see [`History::mark`]) or later.
    pub(crate) async fn first(&self, from: usize, what: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        let look = async {
            loop {
                let news = self.0.news.notified();
                let found = self.all().into_iter().skip(from).find(&fits);
                if let Some(found) = found {
                    return found;
                }
                // Once a second even without news: a notification may come between the look and the wait.
                let _ = tokio::time::timeout(Duration::from_secs(1), news).await;
            }
        };
        let Ok(found) = tokio::time::timeout(PATIENCE, look).await else {
            let seen: Vec<_> = self.all().iter().map(Seen::conditions).collect();
            panic!("in vain: {what}; seen:\n{}", seen.join("\n"))
        };
        found
    }

    /// Waits until a next change would be written at once: nothing was for 2 s.
    pub(crate) async fn rests(&self) {
        loop {
            let before = self.mark();
            tokio::time::sleep(Duration::from_millis(2200)).await;
            if self.mark() == before {
                return;
            }
        }
    }

    /// Fails if any state seen since `from` fits.
    pub(crate) fn never(&self, from: usize, what: &str, fits: impl Fn(&Seen) -> bool) {
        if let Some(seen) = self.all().into_iter().skip(from).find(&fits) {
            panic!("{what}: {}\n{:#}", seen.conditions(), seen.status());
        }
    }
}

/// Whether a pod is Ready and not on its way out.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A spec of one container, `replicas` times.
pub(crate) fn spec(replicas: u32) -> Value {
    json!({
        "replicas": replicas,
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

/// The same with a set of Continuous locks that a library like Rigatoni renews every 3 s for 12 s.
pub(crate) fn spec_with_locks(replicas: u32, redis: &str, names: &[&str]) -> Value {
    let mut spec = spec(replicas);
    spec["redis"] = json!({ "url": redis });
    spec["locks"] = json!([{
        "name": "collections", "dialect": "Rigatoni", "hold": "Continuous", "names": names,
        "ttl": "12s", "renewInterval": "3s", "retryInterval": "10m", "unheldGrace": "20s",
        "balance": { "enabled": false },
    }]);
    spec
}
