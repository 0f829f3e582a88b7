//! `kubectl lockstep` as it is built, against a real apiserver: alone, and through the real kubectl.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use kube::ResourceExt as _;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::harness::{Room, control_plane, ordinary};

/// The plugin.
pub(crate) const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-lockstep");

/// What came of it: exit code, standard output, standard error.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) async fn run(mut command: Command, arguments: &[&str]) -> Said {
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
        .into()
}

/// Runs the plugin in a namespace, in which it looks for an operator, too: other tests have their own.
pub(crate) async fn plugin(namespace: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(PLUGIN);
    command
        .env("KUBECONFIG", control_plane().await.kubeconfig())
        .env("LOCKSTEP_OPERATOR_NAMESPACE", namespace);
    run(command, &[arguments, &["--namespace", namespace]].concat()).await
}

/// The real kubectl, where it finds the plugin, and what `kubectl lockstep completion kubectl` prints.
async fn kubectl(namespace: &str, arguments: &[&str]) -> Said {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(namespace);
    std::fs::create_dir_all(&folder).unwrap();
    let script = folder.join("kubectl_complete-lockstep");
    let text = run(Command::new(PLUGIN), &["completion", "kubectl"]).await;
    std::fs::write(&script, text.out).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = control_plane().await.kubectl_command();
    let (plugins, path) = (
        Path::new(PLUGIN).parent().unwrap(),
        std::env::var("PATH").unwrap(),
    );
    command
        .env(
            "PATH",
            format!("{}:{}:{path}", folder.display(), plugins.display()),
        )
        .env("LOCKSTEP_OPERATOR_NAMESPACE", namespace);
    run(command, arguments).await
}

/// A golden story: a status as the operator would have written it.
pub(crate) fn told(story: &str) -> Value {
    let path = format!(
        "{}/src/domain/simulation/told/{story}.snap",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    let (_, told) = text.split_once("\n---\n").unwrap();
    serde_json::from_str::<Value>(told).unwrap()["resource"].clone()
}

/// Creates the story's resource, with a pod; its status only if it is wanted.
pub(crate) async fn tell(room: &Room, story: &str) {
    let told = told(story);
    room.set("shop", &told["spec"]).await;
    let resource = room.resources().get("shop").await.unwrap();
    let status = serde_json::from_value(told["status"].clone()).unwrap();
    let version = resource.resource_version().unwrap();
    let written = room
        .writer()
        .write_status(&room.namespace, "shop", &version, &status);
    written.await.unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "shop-7d9c8b6f5d-bbbbb", "labels": { "lockstep.dev/workload": "shop" } },
        "spec": { "containers": [{ "name": "main", "image": "shop:1" }], "automountServiceAccountToken": false },
    });
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(room.client.clone(), &room.namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_plugin_shows_what_status_holds() {
    let namespace = "plugin-shows";
    let room = Room::new(namespace).await;
    tell(&room, "stuck_lock_without_expiry").await;

    let status = plugin(namespace, &["status", "shop"]).await;
    assert_eq!(status.code, 2, "{status:?}");
    for line in [
        "│  └─ shop-7d9c8b6f5d-bbbbb  ",
        "LocksHeld           False   NoExpiry",
    ] {
        assert!(status.out.contains(line), "{line}: {}", status.out);
    }
    assert!(
        !status.out.contains('\u{1b}'),
        "no colours when piped: {}",
        status.out
    );

    let locks = plugin(namespace, &["locks", "shop"]).await;
    assert_eq!(locks.code, 0, "{locks:?}");
    let first: Vec<_> = locks.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        first[..3],
        ["orders", "Orphaned,NoExpiry", "shop-7d9c8b6f5d-ccccc"],
        "{}",
        locks.out
    );
    let wide = plugin(namespace, &["locks", "shop", "-o", "wide"]).await;
    assert!(wide.out.contains("rigatoni:lock:orders"), "{}", wide.out);
    let stored = told("stuck_lock_without_expiry")["status"]["locks"].clone();
    let shown = plugin(namespace, &["locks", "shop", "-o", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&shown.out).unwrap(), stored);
    let shown = plugin(namespace, &["locks", "shop", "-o", "yaml"]).await;
    assert_eq!(serde_yaml::from_str::<Value>(&shown.out).unwrap(), stored);

    let why = plugin(namespace, &["why", "shop"]).await;
    assert_eq!(why.code, 0, "{why:?}");
    assert!(why.out.contains("1 rigatoni:lock:orders\n"), "{}", why.out);

    let missing = plugin(namespace, &["status", "shpo"]).await;
    assert_eq!(missing.code, 1, "{missing:?}");
    assert_eq!(
        missing.err,
        format!("error: there is no CoordinatedWorkload shpo in namespace {namespace}; it has shop\n")
    );
    let late = plugin(namespace, &["status", "shop", "--watch", "--timeout", "1s"]).await;
    assert_eq!(late.code, 4, "{late:?}");
    assert!(late.out.contains("NoExpiry"), "{}", late.out);
}

#[tokio::test]
async fn a_watch_ends_when_all_is_well() {
    let namespace = "plugin-watches";
    let room = Room::new(namespace).await;
    room.set("shop", &told("healthy")["spec"]).await;
    let unseen = plugin(namespace, &["status", "shop"]).await;
    assert_eq!(unseen.code, 3, "{unseen:?}");
    assert!(
        unseen
            .out
            .starts_with("No operator has looked at this workload yet"),
        "{}",
        unseen.out
    );
    let watching = plugin(namespace, &["status", "shop", "--watch", "--timeout", "90s"]);
    let telling = tell(&room, "healthy");
    let (watched, ()) = tokio::join!(watching, telling);
    assert_eq!(watched.code, 0, "{watched:?}");
    assert!(watched.out.contains("4/4 held"), "{}", watched.out);
}

#[tokio::test]
async fn the_real_kubectl_finds_it() {
    let namespace = "plugin-kubectl";
    let room = Room::new(namespace).await;
    tell(&room, "healthy").await;
    let said = kubectl(namespace, &["lockstep", "status", "shop", "-n", namespace]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("4/4 held"), "{}", said.out);
}

#[tokio::test]
async fn the_real_kubectl_completes_it() {
    let namespace = "plugin-completes";
    let room = Room::new(namespace).await;
    for name in ["shop", "shelf", "web"] {
        room.set(name, &told("healthy")["spec"]).await;
    }
    let completed = async |words: &[&str]| {
        let said = kubectl(namespace, &[&["__complete", "lockstep"], words].concat()).await;
        assert_eq!(said.code, 0, "{said:?}");
        let lines = said.out.lines().map(|line| {
            let (candidate, _) = line.split_once('\t').unwrap_or((line, ""));
            candidate.to_owned()
        });
        lines.collect::<Vec<_>>()
    };
    let commands = completed(&[""]).await;
    assert!(
        commands.contains(&"status".into()) && commands.contains(&"why".into()),
        "{commands:?}"
    );
    assert_eq!(completed(&["loc"]).await, ["locks", ":4"]);
    assert_eq!(completed(&["status", "--wa"]).await, ["--watch", ":4"]);
    assert_eq!(
        completed(&["why", "-n", namespace, "sh"]).await,
        ["shelf", "shop", ":4"]
    );
    assert_eq!(
        completed(&["-n", namespace, "status", "--watch", ""]).await,
        ["shelf", "shop", "web", ":4"]
    );
    assert_eq!(
        completed(&["why", "shop", "-n", "plugin-comp"]).await,
        [namespace, ":4"]
    );
    assert_eq!(
        completed(&["check", "-f", ""]).await,
        ["yaml", "yml", "json", ":8"]
    );
    // Nobody answers there, and nobody waits for it.
    let nowhere = completed(&["why", "--kubeconfig", "/nonexistent", ""]).await;
    assert_eq!(nowhere, [":4"]);
}

#[tokio::test]
async fn a_difference_is_what_the_operator_then_does() {
    let namespace = "plugin-differs";
    let room = Room::new(namespace).await;
    let workload = room.set("web", &ordinary()).await;
    let file = tempfile(namespace);
    let write = |spec: &Value| {
        let manifest = json!({
            "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
            "metadata": { "name": "web" }, "spec": spec,
        });
        std::fs::write(&file, serde_yaml::to_string(&manifest).unwrap()).unwrap();
    };
    let diff = async || plugin(namespace, &["diff", "-f", &file]).await;
    write(&ordinary());
    let created = diff().await;
    assert_eq!(created.code, 1, "{created:?}");
    assert!(
        created
            .out
            .contains("--- /dev/null (Deployment web is not there)"),
        "{}",
        created.out
    );

    room.converge(&workload).await;
    let same = diff().await;
    assert_eq!((same.code, same.out.as_str()), (0, ""), "{same:?}");

    // What is changed, what leaves, and a child that goes; each is what the apply then brings about.
    let mut spec = ordinary();
    spec["replicas"] = 3.into();
    spec["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "MODE", "value": "b" }]);
    spec["disruptionBudget"] = json!({ "enabled": false });
    write(&spec);
    let changed = diff().await;
    assert_eq!(changed.code, 1, "{changed:?}");
    let lines: Vec<&str> = changed
        .out
        .lines()
        .filter(|line| line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---"))
        .collect();
    for line in [
        "-  replicas: 2",
        "+  replicas: 3",
        "-          value: a",
        "+          value: b",
        "-        - name: LEVEL",
    ] {
        assert!(lines.contains(&line), "{line}: {}", changed.out);
    }
    assert!(
        changed
            .out
            .contains("+++ /dev/null (PodDisruptionBudget web is not there)"),
        "{}",
        changed.out
    );
    let workload = room.set("web", &spec).await;
    room.converge(&workload).await;
    let same = diff().await;
    assert_eq!((same.code, same.out.as_str()), (0, ""), "{same:?}");

    let broken = plugin(namespace, &["diff", "-f", "/nonexistent.yaml"]).await;
    assert_eq!(broken.code, 2, "{broken:?}");
    assert!(
        broken.err.starts_with("error: /nonexistent.yaml can't be read: "),
        "{broken:?}"
    );
}

pub(crate) fn tempfile(name: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    folder.join(format!("{name}.yaml")).display().to_string()
}
