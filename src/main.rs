//! `lockstep run` is the operator, `lockstep crd` prints the definition of its resource, `lockstep probe` asks an operator
//! whether it is ready.

use std::{
    io::IsTerminal as _,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use lockstep::{
    admin::{self, Admin},
    api, cluster, controller, leader, observer, probe, reconcile,
    telemetry::Telemetry,
};
use tracing_subscriber::EnvFilter;

/// A Kubernetes operator for workloads whose replicas coordinate through locks in Redis.
#[derive(Parser)]
#[command(version = lockstep::version::VERSION.as_str())]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator, in a pod or with KUBECONFIG.
    Run(Run),
    /// Print the `CustomResourceDefinition`.
    Crd,
    /// Ask an operator's health endpoint until it answers that all is well; `helm test` does.
    Probe {
        /// Such as `http://lockstep.lockstep-system:8080/readyz`.
        url: http::Uri,
        /// For how long, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
    },
}

#[derive(Args)]
struct Run {
    /// Work in these namespaces only, separated by commas; in the whole cluster without any.
    #[arg(
        long,
        env = "LOCKSTEP_WATCH_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        value_parser = namespace
    )]
    watch_namespace: Vec<String>,
    /// DNS server that resolves Redis hosts, as ADDRESS:PORT; those of the system by default.
    #[arg(long, env = "LOCKSTEP_DNS_SERVER")]
    dns_server: Option<SocketAddr>,
    /// DNS domain of the cluster.
    #[arg(long, env = "LOCKSTEP_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Allow Redis on loopback addresses also when running in a pod.
    #[arg(long, env = "LOCKSTEP_ALLOW_LOOPBACK")]
    allow_loopback: bool,
    /// Allow Redis on link-local addresses.
    #[arg(long, env = "LOCKSTEP_ALLOW_LINK_LOCAL")]
    allow_link_local: bool,
    /// Allow Redis in these networks only (CIDR), on loopback and link-local addresses of them too.
    #[arg(
        long,
        env = "LOCKSTEP_ALLOW_ENDPOINT",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    allow_endpoint: Vec<IpNet>,
    /// Never connect to these networks (CIDR), whatever else is allowed.
    #[arg(
        long,
        env = "LOCKSTEP_DENY_ENDPOINT",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    deny_endpoint: Vec<IpNet>,
    /// Allow Redis on ports below 1024, 2379–2380 and 10248–10259.
    #[arg(long, env = "LOCKSTEP_ALLOW_RESERVED_PORTS")]
    allow_reserved_ports: bool,
    /// Let one of several operators lead, by a Lease; true in a pod, false elsewhere.
    #[arg(long, env = "LOCKSTEP_LEADER_ELECT", num_args = 0..=1, default_missing_value = "true")]
    leader_elect: Option<bool>,
    /// Name of the Lease.
    #[arg(long, env = "LOCKSTEP_LEASE_NAME", default_value = "lockstep")]
    lease_name: String,
    /// Namespace of the Lease; that of the pod by default.
    #[arg(long, env = "LOCKSTEP_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// Look at each resource again after so many seconds, give or take a fifth, also if nothing happened.
    #[arg(long, env = "LOCKSTEP_RESYNC", value_name = "SECONDS", default_value_t = reconcile::RESYNC.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    resync: u64,
    /// Serve /livez, /readyz and /metrics at this ADDRESS:PORT; `off` for nowhere.
    #[arg(
        long,
        env = "LOCKSTEP_ADMIN_BIND",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    admin_bind: admin::Bind,
    /// What to log, in the syntax of `tracing`'s `EnvFilter`.
    #[arg(long, env = "LOCKSTEP_LOG", default_value = "info")]
    log: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Crd => print_crd(),
        Command::Probe { url, timeout } => ask(&url, Duration::from_secs(timeout)).await,
        Command::Run(run) => match start(run).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "the operator can't run");
                ExitCode::FAILURE
            }
        },
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this command is for"
)]
fn print_crd() -> ExitCode {
    match api::crd_yaml() {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the definition can't be printed: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this command is for"
)]
async fn ask(url: &http::Uri, limit: Duration) -> ExitCode {
    match probe::until_good(url, limit).await {
        Ok(words) => {
            println!("{url}: {words}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{url}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(run: Run) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_new(quieted(&run.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for a terminal; in a pod's log they would be signs in the text.
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // One provider for every TLS connection; without this, rustls can't choose and panics.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let in_cluster =
        std::env::var_os("KUBECONFIG").is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let config = kube::Config::infer().await?;
    let own_namespace = config.default_namespace.clone();
    let telemetry = Telemetry::default();
    let client = cluster::counted_client(config, &telemetry.requests())?;
    let settings = observer::Settings {
        cluster_domain: run.cluster_domain,
        dns_server: run.dns_server,
        in_cluster,
        rules: observer::EndpointRules {
            allow_loopback: run.allow_loopback,
            allow_link_local: run.allow_link_local,
            allow_reserved_ports: run.allow_reserved_ports,
            refused: own_addresses(),
            allow: run.allow_endpoint,
            deny: run.deny_endpoint,
        },
    };
    let instance = variable("POD_NAME").or_else(|| variable("HOSTNAME"));
    let instance = instance.unwrap_or_else(|| "lockstep".to_owned());
    tracing::info!(version = *lockstep::version::VERSION, in_cluster, "starting");
    let admin = Admin::bind(run.admin_bind).await?;
    // A task of its own: a busy controller must not look like a dead one. Its drop ends it.
    let mut served = tokio::task::JoinSet::new();
    served.spawn(admin.serve(telemetry.clone()));
    let election = run.leader_elect.unwrap_or(in_cluster).then(|| {
        let namespace = run.lease_namespace.or_else(|| variable("POD_NAMESPACE"));
        leader::Election::join(
            client.clone(),
            leader::Settings {
                // In a pod, the namespace of its service account.
                namespace: namespace.unwrap_or(own_namespace),
                name: run.lease_name,
                identity: leader::identity(&instance),
            },
        )
    });
    let duty = controller::Duty {
        // A variable that is set and empty names one namespace, which has no name: none.
        namespaces: run
            .watch_namespace
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect(),
        resync: Duration::from_secs(run.resync),
        claim: election.as_ref().map(leader::Election::claim).unwrap_or_default(),
    };
    let ended = controller::run(client, instance, settings, duty, telemetry, terminated()).await;
    if let Some(election) = election {
        election.leave().await;
    }
    ended?;
    Ok(())
}

/// Of a watch that fails, kube's own line comes with every attempt; this operator's comes once, and is enough unless
/// kube's are asked for.
fn quieted(log: &str) -> String {
    if log.contains("kube_runtime") {
        log.to_owned()
    } else {
        format!("{log},kube_runtime::watcher=error")
    }
}

/// A namespace as it is written on the command line: a typing error would be a namespace in which nothing ever happens.
fn namespace(name: &str) -> Result<String, String> {
    let fits =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    if name.len() <= 63 && name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-') {
        Ok(name.to_owned())
    } else {
        Err(
            "a namespace has at most 63 lower-case letters, digits and dashes, and no dash at either end"
                .to_owned(),
        )
    }
}

/// An environment variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where no Redis is, and nobody may be led: this pod, and the apiserver.
fn own_addresses() -> Vec<IpAddr> {
    ["POD_IP", "POD_IPS", "KUBERNETES_SERVICE_HOST"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .flat_map(|addresses| {
            let parsed = addresses.split(',').map(|address| address.trim().parse());
            parsed.flatten().collect::<Vec<_>>()
        })
        .collect()
}

/// Ready when the process is asked to end.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
