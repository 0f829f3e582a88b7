//! Tells Lockstep's first stories on a local cluster, with the commands a user would type: `make demo`, and
//! `make demo-down` to end it.
//!
//! It builds the operator and a worker that holds real locks, brings up a cluster with a real node (or attaches to the
//! one from before) and Redis, and installs the operator with Helm; then it tells the stories and leaves all running.
//! Without root there is no real node: then KWOK plays the pods, and processes of this machine hold the locks and are the
//! operator.

mod detached;
mod failure;
mod played;
mod real;
mod shell;
mod stories;
mod tell;
mod view;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::{Parser, Subcommand};
use lockstep_cluster::{Cluster, Helm, HelmVersion, Profile, named, tools};

use crate::detached::Detached;
use crate::failure::{Failure, WhileTrying as _};
use crate::played::Played;
use crate::real::Real;
use crate::shell::Shell;
use crate::stories::Stage;
use crate::tell::{Probe, Stopwatch, heading, line, step};

/// The cluster's name, by which a later run finds it.
const CLUSTER: &str = "demo";
const NAMESPACE: &str = "demo";
/// Where the operator is installed on a real node.
const OPERATOR_NAMESPACE: &str = "lockstep-system";
/// Relative to the repository, as a reader would type it.
const EXAMPLE: &str = "manifests/examples/rigatoni.yaml";
/// From source: the demo shows this repository and runs only from it.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Lockstep's first stories on a local cluster.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Tell the stories and leave everything running (the default).
    Up {
        /// Without a real node, as without root.
        #[arg(long)]
        no_node: bool,
    },
    /// End everything.
    Down,
    /// Run the processes behind the pods that KWOK plays; started by `up`.
    #[command(hide = true)]
    Play,
}

fn main() -> ExitCode {
    let told = match Arguments::parse().action.unwrap_or(Action::Up { no_node: false }) {
        Action::Up { no_node } => up(no_node),
        Action::Down => down(),
        Action::Play => play(),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            line(&format!("\ndemo failed: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Where the demo keeps its kubeconfig, notes and logs, where its programs are built, and what from.
#[derive(Debug)]
struct Places {
    folder: PathBuf,
    programs: PathBuf,
    repository: PathBuf,
}

impl Places {
    /// Notes and logs lie beside the cluster's own, so that a run from another clone finds them with the cluster.
    fn new() -> Result<Self, Failure> {
        let program = std::env::current_exe().while_trying("find", "this program")?;
        let programs = program.parent().unwrap_or(Path::new(".")).to_owned();
        let set = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let cache = set("LOCKSTEP_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("lockstep")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/lockstep")))
            .unwrap_or_else(|| std::env::temp_dir().join("lockstep-cache"));
        let folder = cache.join("demo");
        fs::create_dir_all(&folder).while_trying("create", &folder)?;
        let repository = fs::canonicalize(REPOSITORY).while_trying("find the repository at", REPOSITORY)?;
        Ok(Self {
            folder,
            programs,
            repository,
        })
    }

    /// Two demos on one cluster would tell each other's stories. The lock is held as long as the file is open.
    fn lock(&self) -> Result<File, Failure> {
        let path = self.folder.join("lock");
        let file = File::create(&path).while_trying("create", &path)?;
        file.try_lock().map_err(|_| Failure::Story {
            what: "another demo is running".to_owned(),
            look: "wait for its end, or end it with Ctrl-C in its terminal".to_owned(),
        })?;
        Ok(file)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    fn operator(&self) -> Detached {
        Detached::new("operator", &self.folder)
    }

    fn players(&self) -> Detached {
        Detached::new("players", &self.folder)
    }

    /// How one reads the operator's log.
    fn log_command(&self, profile: Profile) -> String {
        match profile {
            Profile::Node => {
                format!("kubectl --namespace {OPERATOR_NAMESPACE} logs --follow deployment/lockstep")
            }
            Profile::ControlPlane => format!("tail -f {}", self.operator().log().display()),
        }
    }

    /// A shell that finds these programs.
    fn shell(&self, programs: &[&Path], profile: Profile) -> Shell {
        let look = format!(
            "where to look, with KUBECONFIG={}: `kubectl get cwl,pods,events`, the operator's log with `{}`, the \
             cluster's logs (beside its own kubeconfig)",
            self.kubeconfig().display(),
            self.log_command(profile)
        );
        Shell::new(programs, &self.kubeconfig(), &self.repository, look)
    }
}

fn up(no_node: bool) -> Result<(), Failure> {
    let stopwatch = Stopwatch::start();
    let places = Places::new()?;
    let _lock = places.lock()?;
    heading("Setting the stage");
    step("build the operator and the worker", || build(&places))?;
    let cluster = start_cluster(&places, no_node)?;
    let kubeconfig = places.kubeconfig();
    fs::copy(cluster.kubeconfig(), &kubeconfig).while_trying("write", &kubeconfig)?;
    let profile = cluster.profile();
    let mut programs = vec![cluster.kubectl_path().to_owned()];
    if profile == Profile::Node {
        programs.push(Helm::get(HelmVersion::V4)?.program().to_owned());
    }
    let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
    let shell = places.shell(&programs, profile);
    shell.run(&format!(
        "kubectl config set-context --current --namespace={NAMESPACE}"
    ))?;
    shell.run(&format!(
        "kubectl create namespace {NAMESPACE} --dry-run=client -o yaml | kubectl apply -f -"
    ))?;

    let operator = places.programs.join("lockstep");
    let worker = places.programs.join("rigatoni-worker");
    let real = Real { cluster: &cluster };
    let played = Played {
        folder: places.folder.clone(),
    };
    let stage: &dyn Stage = match profile {
        Profile::Node => {
            real.set(&shell, &operator, &worker, &places.folder.join("images"))?;
            line(
                "    The operator is installed as a platform team would, from the chart of this repository:",
            );
            Real::install(&shell, &operator)?;
            &real
        }
        Profile::ControlPlane => {
            line("    No real node: KWOK plays the pods, and processes of this machine hold their locks.");
            step("start Redis and what plays the pods, as processes", || {
                start_players(&places, &cluster, &played)
            })?;
            shell.show("kubectl apply -f crds/")?;
            step("start the operator as a process of this machine", || {
                start_operator(&places, &cluster)
            })?;
            line(&format!("    its log: {}", places.operator().log().display()));
            &played
        }
    };
    // `kubectl wait` fails on a definition that is so new that it has no conditions yet.
    shell.until(
        "the apiserver to serve the new kind",
        Duration::from_secs(30),
        || {
            Ok(match shell.run("kubectl get cwl") {
                Ok(_) => Probe::Ready(()),
                Err(failure) => Probe::NotYet(failure.to_string()),
            })
        },
    )?;

    stories::tell(&shell, stage)?;

    heading(&format!(
        "Told in {} s. Everything is left running; look around:",
        stopwatch.seconds()
    ));
    let folders: Vec<_> = programs.iter().filter_map(|program| program.parent()).collect();
    let folders: Vec<_> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    line(&format!("export KUBECONFIG={}", kubeconfig.display()));
    line(&format!(
        "export PATH={}:$PATH   # the programs that fit the cluster",
        folders.join(":")
    ));
    line("kubectl get cwl\nkubectl describe cwl rigatoni\nkubectl get pods,hpa,pdb,networkpolicy");
    line(&places.log_command(profile));
    line("make demo        # tells the stories again\nmake demo-down   # ends all of it");
    Ok(())
}

/// As this program was built, so that a debug build of the demo does not wait for an optimised one of the rest.
fn build(places: &Places) -> Result<(), Failure> {
    let mut command = tools::cargo();
    command.current_dir(&places.repository);
    command.args([
        "build",
        "--package",
        "lockstep",
        "--bin",
        "lockstep",
        "--package",
        "lockstep-worker-rigatoni",
    ]);
    command.args([
        "--bin",
        "rigatoni-worker",
        "--package",
        "lockstep-cluster",
        "--bin",
        "lockstep-cluster",
    ]);
    if places.programs.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = places.programs.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.status().while_trying("run", "cargo")?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Command {
        command: format!("{command:?}"),
        status: status.to_string(),
        output: "see the compiler's messages above".to_owned(),
    })
}

/// The running cluster, or a new one in a process of its own.
fn start_cluster(places: &Places, no_node: bool) -> Result<Cluster, Failure> {
    if let Some(cluster) = Cluster::attach(CLUSTER)? {
        if no_node && cluster.profile() == Profile::Node {
            return Err(Failure::Story {
                what: "a cluster with a real node is running, so there is no demo without one".to_owned(),
                look: "`make demo-down` ends it".to_owned(),
            });
        }
        line("... the cluster from before is running and is used again");
        return Ok(cluster);
    }
    // Asked here, before minutes are spent on building what a real node needs.
    let profile = match (no_node, rustix::process::geteuid().is_root()) {
        (true, _) => "control-plane",
        (false, true) => "node",
        (false, false) => {
            line(
                "    A real node needs root, for its namespaces, mounts and network links; without it the pods are played.",
            );
            "control-plane"
        }
    };
    bring_up(places, profile)?;
    Cluster::attach(CLUSTER)?.ok_or_else(|| Failure::Malformed {
        what: format!("cluster {CLUSTER}"),
        why: "it ended as soon as it was up: start the demo again".to_owned(),
    })
}

/// Runs the cluster's own command, whose progress is seen.
fn bring_up(places: &Places, profile: &str) -> Result<(), Failure> {
    step(&format!("bring up a cluster (profile {profile})"), || {
        let program = places.programs.join("lockstep-cluster");
        let mut command = Command::new(&program);
        command
            .args(["up", "--detach", "--name", CLUSTER, "--profile", profile])
            .stdout(Stdio::null());
        let status = command.status().while_trying("run", &program)?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::Command {
            command: format!("{command:?}"),
            status: status.to_string(),
            output: "see its messages above".to_owned(),
        })
    })
}

fn start_players(places: &Places, cluster: &Cluster, played: &Played) -> Result<(), Failure> {
    // Those from before go on: they hold the Redis that the workload knows.
    if places.players().id().is_some() {
        return Ok(());
    }
    played.forget()?;
    let program = std::env::current_exe().while_trying("find", "this program")?;
    places.players().start(&program, |command| {
        command
            .arg("play")
            .env("LOCKSTEP_DEMO_KUBECTL", cluster.kubectl_path());
    })?;
    played::until_set(
        played,
        &format!("where to look: {}", places.players().log().display()),
    )
}

/// Where there is no real node, there are no names to resolve: there the manifest names an address.
fn start_operator(places: &Places, cluster: &Cluster) -> Result<(), Failure> {
    places
        .operator()
        .start(&places.programs.join("lockstep"), |command| {
            command.arg("run").env("KUBECONFIG", cluster.kubeconfig());
            // Nobody asks it for its health here, and the usual port may be taken.
            command.args(["--admin-bind", "off"]);
        })
}

fn play() -> Result<(), Failure> {
    let places = Places::new()?;
    let kubectl =
        std::env::var_os("LOCKSTEP_DEMO_KUBECTL").map_or_else(|| "/usr/bin/kubectl".into(), PathBuf::from);
    played::play(
        &places.shell(&[&kubectl], Profile::ControlPlane),
        &places.folder,
        &places.programs.join("rigatoni-worker"),
    )
}

fn down() -> Result<(), Failure> {
    let places = Places::new()?;
    let _lock = places.lock()?;
    step("end the operator", || places.operator().end())?;
    step("end the played pods, if there are any", || places.players().end())?;
    step("end the cluster with everything in it", || {
        Ok(named::stop(CLUSTER).map(drop)?)
    })
}
