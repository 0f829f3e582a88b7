//! What tests against a real apiserver begin with, whichever program they belong to: a cluster that serves the
//! definition, a way to reach it, and patience.

use std::path::Path;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use lockstep_cluster::{Cluster, Options};

/// Longest wait for anything that should come soon; generous, since many tests share few cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Starts a cluster and waits until it serves the definition of the resource.
pub(crate) fn start(options: &Options) -> Cluster {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = Cluster::start(options).expect("a control plane");
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    cluster
        .kubectl(&["apply", "--filename", &definitions.display().to_string()])
        .expect("kubectl apply -f crds/");
    // `kubectl wait` fails as long as the definition has no conditions at all.
    for _ in 0..200 {
        if cluster.kubectl(&["get", "cwl", "--all-namespaces"]).is_ok() {
            return cluster;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the definition is not served");
}

/// Reaches the apiserver as the user of this kubeconfig.
pub(crate) async fn config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap()
}

/// Asks until the answer is `Some`.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let ask_often = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ask_often)
        .await
        .unwrap_or_else(|_| panic!("in vain: {what}"))
}
