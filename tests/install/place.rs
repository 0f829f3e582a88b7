//! A cluster with a real node and KWOK's, the images on it, and what a test sees of it. I/O.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lockstep_cluster::{Cluster, Error, Helm, HelmVersion, Image, Options};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::worker::worker;

/// Of the operator.
pub(crate) const NAMESPACE: &str = "lockstep-system";
/// Of the workloads.
pub(crate) const TEAM: &str = "team-a";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const USER: &str = "system:serviceaccount:lockstep-system:lockstep";
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(2);
/// What a workload consists of, beside its pods.
const CHILDREN: &str = "deployments,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,services";
/// Workloads that prove that the operator is at work; their objects are not judged.
const MARKER: &str = "after-";

pub(crate) struct Place {
    cluster: Cluster,
    helm: Helm,
    audit_log: PathBuf,
    started: Instant,
}

impl Place {
    /// `None` without root, which a real node needs.
    pub(crate) fn start() -> Option<Self> {
        let audit_log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("install-audit.log");
        let _ = fs::remove_file(&audit_log);
        let options = Options {
            fake_nodes: 3,
            audit_log: Some(audit_log.clone()),
            ..Options::node()
        };
        let cluster = match Cluster::start(&options) {
            Err(Error::NeedsRoot) => return None,
            cluster => cluster.unwrap(),
        };
        let place = Self {
            cluster,
            helm: Helm::get(HelmVersion::V4).unwrap(),
            audit_log,
            started: Instant::now(),
        };
        place.load_images();
        // What is not told otherwise runs on the real node.
        place
            .cluster
            .kubectl(&["taint", "nodes", "--selector=type=kwok", "kwok=fake:NoSchedule"])
            .unwrap();
        for (name, level) in [(NAMESPACE, "restricted"), (TEAM, "privileged")] {
            let label = format!("pod-security.kubernetes.io/enforce={level}");
            place.cluster.kubectl(&["create", "namespace", name]).unwrap();
            place
                .cluster
                .kubectl(&["label", "namespace", name, &label])
                .unwrap();
        }
        let redis = include_str!("../common/redis.yaml");
        place.apply(&[redis.to_owned()]);
        Some(place)
    }

    fn load_images(&self) {
        let version = env!("CARGO_PKG_VERSION");
        let images = [
            ("operator", version, env!("CARGO_BIN_EXE_lockstep").into()),
            ("rigatoni-worker", "dev", worker()),
        ];
        for (name, tag, program) in images {
            let path = if name == "operator" {
                "/lockstep"
            } else {
                "/usr/bin/rigatoni-worker"
            };
            let image = Image::new(&format!("lockstep.dev/{name}:{tag}"))
                .program(&program, path)
                .unwrap()
                .entrypoint([path]);
            self.cluster.load_image(&image).unwrap();
        }
        let redis = Image::redis("lockstep.dev/redis:dev").unwrap();
        self.cluster.load_image(&redis).unwrap();
    }

    pub(crate) fn say(&self, what: &str) {
        println!("{:5.1} s: {what}", self.started.elapsed().as_secs_f32());
    }

    /// Asks until there is an answer.
    pub(crate) fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(Instant::now() < deadline, "in vain: {what}\n{}", self.scene());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// For whoever reads that something did not come true.
    fn scene(&self) -> String {
        let look = |line: &str| {
            self.cluster
                .kubectl(&line.split(' ').collect::<Vec<_>>())
                .unwrap_or_else(|error| error.to_string())
        };
        format!(
            "{}{}{}{}",
            look("get pods --all-namespaces -o wide"),
            look("get cwl --all-namespaces -o wide"),
            look("get events --all-namespaces --sort-by=.lastTimestamp"),
            look("logs --namespace lockstep-system --selector=app.kubernetes.io/instance=lockstep --tail=40"),
        )
    }

    pub(crate) fn helm(&self, verb: &str, options: &[&str]) -> String {
        let chart = format!("{ROOT}/charts/lockstep");
        let mut arguments = vec![verb, "lockstep"];
        if ["install", "upgrade"].contains(&verb) {
            arguments.push(&chart);
        }
        arguments.extend(["--namespace", NAMESPACE]);
        arguments.extend(options);
        self.helm
            .run(Some(self.cluster.kubeconfig()), &arguments)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.scene()))
    }

    pub(crate) fn kubectl_in(&self, namespace: &str, arguments: &[&str]) -> Result<String, Error> {
        self.cluster
            .kubectl(&[&["--namespace", namespace], arguments].concat())
    }

    fn apply(&self, documents: &[String]) {
        self.cluster
            .kubectl_stdin(
                &["--namespace", TEAM, "apply", "--filename=-"],
                &documents.join("\n---\n"),
            )
            .unwrap();
    }

    /// A command of the operator's image, in its pod.
    pub(crate) fn operator_command(&self, arguments: &[&str]) -> String {
        let exec = ["exec", "deployment/lockstep", "--", "/lockstep"];
        self.kubectl_in(NAMESPACE, &[&exec, arguments].concat()).unwrap()
    }

    /// `kubectl lockstep`, as whoever installed the operator runs it: whether it ended well, and what it said.
    pub(crate) fn plugin(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-lockstep"))
            .args(arguments)
            .args(["--namespace", TEAM])
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env_remove("LOCKSTEP_OPERATOR_NAMESPACE")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    /// All five; rigatoni as it is, the others on nodes that KWOK plays.
    pub(crate) fn apply_examples(&self) {
        let mut documents = Vec::new();
        for entry in fs::read_dir(format!("{ROOT}/manifests/examples")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for document in serde_yaml::Deserializer::from_str(&text) {
                let mut object = Value::deserialize(document).unwrap();
                if object["metadata"]["name"] != "rigatoni" {
                    on_a_fake_node(&mut object);
                }
                documents.push(object.to_string());
            }
        }
        assert_eq!(documents.len(), 5);
        self.apply(&documents);
    }

    /// Makes a workload and waits until it runs: the operator is at work, and has looked at all that was there before.
    pub(crate) fn marker(&self, name: &str) {
        assert!(name.starts_with(MARKER));
        let container = json!({ "name": "main", "image": "none", "ports": [{ "containerPort": 80 }] });
        let mut object = json!({
            "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
            "metadata": { "name": name },
            "spec": { "replicas": 1, "template": { "spec": { "containers": [container] } } },
        });
        on_a_fake_node(&mut object);
        self.apply(&[object.to_string()]);
        self.until(&format!("{name} is Ready"), || {
            let ready = "--output=jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
            self.kubectl_in(TEAM, &["get", "cwl", name, ready])
                .ok()
                .filter(|status| status == "True")
        });
    }

    /// The operator's pod that holds the Lease; empty: none.
    pub(crate) fn leader(&self) -> String {
        let holder = "--output=jsonpath={.spec.holderIdentity}";
        let holder = self
            .kubectl_in(NAMESPACE, &["get", "lease", "lockstep", holder])
            .unwrap();
        holder.split('_').next().unwrap_or_default().to_owned()
    }

    /// How often the container of a pod of the operator was started again.
    pub(crate) fn restarts(&self, pod: &str) -> u32 {
        self.container(pod, "restartCount").parse().unwrap()
    }

    pub(crate) fn is_ready(&self, pod: &str) -> bool {
        self.container(pod, "ready") == "true"
    }

    fn container(&self, pod: &str, field: &str) -> String {
        let path = format!("--output=jsonpath={{.status.containerStatuses[0].{field}}}");
        self.kubectl_in(NAMESPACE, &["get", "pod", pod, &path]).unwrap()
    }

    /// Lets the operator's process in a pod stand still.
    pub(crate) fn freeze_operator(&self, pod: &str) -> Frozen {
        let process = self.cluster.container_pid(NAMESPACE, pod, "operator").unwrap();
        signal("-STOP", process);
        Frozen {
            process,
            since: Instant::now(),
        }
    }

    /// What a pod of the operator asked to change since the audit log was `mark` bytes long, of whatever kind but the
    /// Lease, which it has to ask for before it knows that it lost it.
    pub(crate) fn writes_of(&self, pod: &str, mark: usize) -> Vec<String> {
        self.requests(mark, |request| {
            request["user"]["extra"]["authentication.kubernetes.io/pod-name"] == json!([pod])
                && request["objectRef"]["resource"] != "leases"
                && is_write(request)
        })
    }

    /// Kills the operator's process as a crash would, and waits until kubelet has started another that is ready.
    pub(crate) fn kill_operator(&self) {
        let pod = self
            .kubectl_in(
                NAMESPACE,
                &["get", "pods", "--output=jsonpath={.items[0].metadata.name}"],
            )
            .unwrap();
        let process = self.cluster.container_pid(NAMESPACE, &pod, "operator").unwrap();
        signal("-KILL", process);
        self.until("the operator is ready again", || {
            let status = "--output=jsonpath={.status.containerStatuses[0].restartCount} \
                          {.status.containerStatuses[0].ready}";
            let status = self.kubectl_in(NAMESPACE, &["get", "pod", &pod, status]).ok()?;
            (status == "1 true").then_some(())
        });
    }

    /// What must stay as it is of every workload: each of its objects, and of its pods which they are and how often they
    /// were restarted.
    pub(crate) fn workloads(&self) -> BTreeMap<String, Value> {
        let list = |kinds: &str| -> Vec<Value> {
            let selector = "--selector=lockstep.dev/workload";
            let text = self
                .kubectl_in(TEAM, &["get", kinds, selector, "--output=json"])
                .unwrap();
            let list: Value = serde_json::from_str(&text).unwrap();
            list["items"].as_array().unwrap().clone()
        };
        let named = |object: &Value| {
            let name = object["metadata"]["name"].as_str().unwrap();
            format!("{}/{name}", object["kind"].as_str().unwrap())
        };
        let children = list(CHILDREN).into_iter().map(|mut object| {
            let name = named(&object);
            // What controllers of the cluster write while nothing changes.
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
            (name, object)
        });
        let pods = list("pods").into_iter().map(|pod| {
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            (
                named(&pod),
                json!({ "uid": pod["metadata"]["uid"], "restarts": restarts }),
            )
        });
        let is_judged = |(name, _): &(String, Value)| !name.contains(MARKER);
        children.chain(pods).filter(is_judged).collect()
    }

    /// Nothing is different, and the operator has asked for no change either since the audit log was that long.
    pub(crate) fn unchanged(&self, before: &BTreeMap<String, Value>, mark: usize) {
        let now = self.workloads();
        for (name, object) in before {
            assert_eq!(now.get(name), Some(object), "{name}");
        }
        assert_eq!(now.len(), before.len(), "{:?}", now.keys());
        let writes = self.requests(mark, |request| {
            let about = &request["objectRef"];
            let resource = about["resource"].as_str().unwrap_or_default();
            let is_child = CHILDREN.split(',').any(|kind| kind == resource);
            let name = about["name"].as_str().unwrap_or_default();
            is_child && is_write(request) && !name.starts_with(MARKER)
        });
        assert_eq!(writes, Vec::<String>::new());
    }

    /// Requests of the operator that it had no right to, since the audit log was `mark` bytes long.
    pub(crate) fn refused(&self, mark: usize) -> Vec<String> {
        self.requests(mark, |request| request["responseStatus"]["code"] == 403)
    }

    pub(crate) fn audit_length(&self) -> usize {
        fs::read(&self.audit_log).unwrap().len()
    }

    fn requests(&self, mark: usize, is_wanted: impl Fn(&Value) -> bool) -> Vec<String> {
        let bytes = fs::read(&self.audit_log).unwrap();
        let text = String::from_utf8_lossy(bytes.get(mark..).unwrap_or_default());
        let entries = text
            .lines()
            // The last line may be cut.
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let own: Vec<Value> = entries
            .filter(|entry| entry["user"]["username"] == USER)
            .collect();
        // A wrong name would find nothing, and so nothing wrong.
        assert!(!own.is_empty() || mark > 0, "no request of {USER}");
        own.iter()
            .filter(|entry| is_wanted(entry))
            .map(|entry| {
                format!(
                    "{} {} {}",
                    entry["verb"], entry["requestURI"], entry["responseStatus"]["code"]
                )
            })
            .collect()
    }
}

/// Whether an entry of the audit log is about a request to change something.
fn is_write(request: &Value) -> bool {
    let verb = request["verb"].as_str().unwrap_or_default();
    !["get", "list", "watch"].contains(&verb)
}

/// A process that stands still.
#[must_use = "it stands still until it is thawed"]
pub(crate) struct Frozen {
    process: u32,
    since: Instant,
}

impl Frozen {
    /// Lets it go on once it has stood still for that long.
    pub(crate) fn thaw_after(self, pause: Duration) {
        std::thread::sleep(pause.saturating_sub(self.since.elapsed()));
        signal("-CONT", self.process);
    }
}

fn signal(signal: &str, process: u32) {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Runs a workload's pods where KWOK plays them.
fn on_a_fake_node(workload: &mut Value) {
    let pod = &mut workload["spec"]["template"]["spec"];
    pod["nodeSelector"] = json!({ "type": "kwok" });
    pod["tolerations"] = json!([{ "key": "kwok", "operator": "Exists" }]);
}
