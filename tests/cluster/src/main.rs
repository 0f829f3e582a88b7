//! `lockstep-cluster`: a local Kubernetes for the demo and for looking around.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use lockstep_cluster::{Cluster, Error, Helm, HelmVersion, NamedCluster, Options, named};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A real Kubernetes on this machine, without containers around it.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a cluster, print the path of its kubeconfig, and run until Ctrl-C.
    ///
    /// Exits with 3 if the profile needs root.
    Up(Up),
    /// End a cluster and wait until all of it is gone.
    Down {
        #[command(flatten)]
        name: Name,
    },
    /// Print the path of a running cluster's kubeconfig; exit with 1 if it does not run.
    Status {
        #[command(flatten)]
        name: Name,
    },
    /// Build Helm 3 and 4, so that the tests of the chart are quick.
    Helm,
    /// Build the programs of a profile, so that `up` is quick.
    Build {
        #[command(flatten)]
        profile: ProfileArgument,
    },
}

#[derive(Args)]
struct Up {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    profile: ProfileArgument,
    /// How many fake nodes KWOK plays [default: 3 without a real node, else 0].
    #[arg(long)]
    fake_nodes: Option<usize>,
    /// Return when the cluster is ready and leave it running.
    #[arg(long)]
    detach: bool,
}

#[derive(Args)]
struct Name {
    /// The name that the cluster is found by.
    #[arg(long, default_value = "demo")]
    name: String,
}

#[derive(Args)]
struct ProfileArgument {
    /// How much of a cluster.
    #[arg(long, value_enum, default_value_t = ProfileName::ControlPlane)]
    profile: ProfileName,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProfileName {
    /// A control plane with fake nodes.
    ControlPlane,
    /// A control plane with one real node; needs root.
    Node,
}

impl ProfileName {
    fn options(self) -> Options {
        match self {
            Self::ControlPlane => Options::control_plane(),
            Self::Node => Options::node(),
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().action) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::NeedsRoot) { 3 } else { 1 })
        }
    }
}

fn run(action: Action) -> Result<ExitCode, Error> {
    match action {
        Action::Up(arguments) => up(&arguments)?,
        Action::Down { name: Name { name } } => {
            let ended = named::stop(&name)?;
            eprintln!("cluster {name} {}", if ended { "is gone" } else { "did not run" });
        }
        Action::Status { name: Name { name } } => {
            let Some(cluster) = Cluster::attach(&name)? else {
                eprintln!("cluster {name} does not run");
                return Ok(ExitCode::FAILURE);
            };
            eprintln!(
                "cluster {name} runs at {}, logs in {}",
                cluster.server_url(),
                cluster.dir().join("logs").display()
            );
            print_kubeconfig(cluster.kubeconfig());
        }
        Action::Build { profile } => Cluster::build(&profile.profile.options())?,
        Action::Helm => {
            for version in HelmVersion::ALL {
                Helm::get(version)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(arguments: &Up) -> Result<(), Error> {
    let name = &arguments.name.name;
    let mut options = arguments.profile.profile.options();
    options.fake_nodes = arguments.fake_nodes.unwrap_or(options.fake_nodes);

    if let Some(cluster) = Cluster::attach(name)? {
        if cluster.profile() != options.profile {
            return Err(Error::Unsupported(format!(
                "cluster {name} runs with another profile: end it with `lockstep-cluster down --name {name}` first, \
                 or choose another name"
            )));
        }
        eprintln!("cluster {name} runs already");
        print_kubeconfig(cluster.kubeconfig());
        return Ok(());
    }
    if arguments.detach {
        // Here, where its progress can be seen.
        Cluster::build(&options)?;
        let cluster = named::start_detached(name, &foreground(arguments)?)?;
        print_kubeconfig(cluster.kubeconfig());
        return Ok(());
    }

    let named = NamedCluster::start(name, &options)?;
    print_kubeconfig(named.cluster().kubeconfig());
    eprintln!("cluster {name} is ready; Ctrl-C ends it");
    let signals = Signals::new([SIGINT, SIGTERM]);
    let mut signals = signals.map_err(|source| Error::Io {
        action: "wait for signals".to_owned(),
        source,
    })?;
    signals.forever().next();
    drop(named);
    eprintln!("cluster {name} is gone");
    Ok(())
}

/// The command that does the same without detaching.
fn foreground(arguments: &Up) -> Result<Command, Error> {
    let program = std::env::current_exe();
    let program = program.map_err(|source| Error::Io {
        action: "find this program".to_owned(),
        source,
    })?;
    let mut command = Command::new(program);
    command.args(["up", "--name", &arguments.name.name, "--profile"]);
    command.arg(match arguments.profile.profile {
        ProfileName::ControlPlane => "control-plane",
        ProfileName::Node => "node",
    });
    if let Some(count) = arguments.fake_nodes {
        command.arg("--fake-nodes").arg(count.to_string());
    }
    Ok(command)
}

/// Alone on the standard output, so that a shell can take it: `export KUBECONFIG=$(lockstep-cluster up
/// --detach)`.
fn print_kubeconfig(path: &Path) {
    println!("{}", path.display());
}
