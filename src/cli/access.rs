//! The cluster, as kubectl would reach it. I/O.
//!
//! In: kubectl's own flags. Out: the resource and its pods, or an [`Error`] in words for whoever typed the command.

use std::path::PathBuf;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::show::pods::PodLine;
use crate::{
    api::{CoordinatedWorkload, KIND, WORKLOAD_LABEL},
    cluster,
};

/// Where to look, in kubectl's words.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Place {
    /// Namespace; that of the context by default.
    #[arg(short, long, global = true)]
    pub(super) namespace: Option<String>,
    /// Context of the kubeconfig; the current one by default.
    #[arg(long, global = true)]
    pub(super) context: Option<String>,
    /// The kubeconfig; by default those that KUBECONFIG names, else ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Namespace of the operator; searched for by default.
    #[arg(
        long,
        global = true,
        env = "LOCKSTEP_OPERATOR_NAMESPACE",
        value_name = "NAMESPACE"
    )]
    pub(super) operator_namespace: Option<String>,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is no way to the cluster.
    #[error("no way to the cluster: {0}")]
    Config(String),
    /// There is no such resource.
    #[error("there is no CoordinatedWorkload {name} in namespace {namespace}{}", listed(.others))]
    Missing {
        /// What was asked for.
        name: String,
        /// Where.
        namespace: String,
        /// Those that are there.
        others: Vec<String>,
    },
    /// The kind is not known there.
    #[error(
        "this cluster knows no {KIND}: Lockstep's definitions (crds/) are not installed, or this is another cluster"
    )]
    NotInstalled,
    /// A manifest can't be used.
    #[error("{0}")]
    Manifest(String),
    /// What is to be shown can't be written.
    #[error("it can't be written: {0}")]
    Unwritable(String),
    /// What the operator counts can't be shown.
    #[error("no live figures: {0}")]
    Figures(String),
    /// The apiserver refuses.
    #[error("the apiserver refuses: {0}")]
    Refused(String),
    /// The apiserver does not answer.
    #[error("the apiserver can't be reached: {0}")]
    Unreachable(String),
    /// What is stored can't be read here.
    #[error("{name} can't be read: {why}. Perhaps the operator is newer than this plugin")]
    Unreadable {
        /// What was asked for.
        name: String,
        /// Where it differs from what is known here.
        why: String,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "; it has none".to_owned();
    }
    let shown: Vec<_> = names.iter().take(5).map(String::as_str).collect();
    let more = names.len().saturating_sub(shown.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("; it has {}{more}", shown.join(", "))
}

/// A way to the apiserver, and a namespace.
#[derive(Clone)]
pub(super) struct Access {
    /// The client.
    pub(super) client: Client,
    /// The namespace that is meant.
    pub(super) namespace: String,
    /// The operator's namespace, if it was named.
    pub(super) operator_namespace: Option<String>,
}

impl Access {
    /// Opens it. Nothing is sent yet.
    pub(super) async fn open(place: &Place) -> Result<Self, Error> {
        // One provider for every TLS connection; without this, rustls can't choose and panics.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = config(place).await?;
        let namespace = place
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = cluster::client(config).map_err(|error| Error::Config(chain(&error)))?;
        Ok(Self {
            client,
            namespace,
            operator_namespace: place.operator_namespace.clone(),
        })
    }

    /// The resources of the namespace.
    #[must_use]
    pub(super) fn resources(&self) -> Api<CoordinatedWorkload> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The pods of the namespace.
    #[must_use]
    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The resource of this name.
    pub(super) async fn resource(&self, name: &str) -> Result<CoordinatedWorkload, Error> {
        match self.resources().get_opt(name).await {
            Ok(Some(resource)) => Ok(resource),
            Ok(None) => Err(self.missing(name).await),
            Err(error) => Err(explain(name, error)),
        }
    }

    /// Why it isn't there: the kind may be missing, and a name is easily mistyped.
    async fn missing(&self, name: &str) -> Error {
        let others = match self.resources().list_metadata(&ListParams::default()).await {
            Ok(list) => list.items.iter().map(kube::ResourceExt::name_any).collect(),
            Err(kube::Error::Api(status)) if status.code == 404 => return Error::NotInstalled,
            // The answer is the same without them.
            Err(_) => vec![],
        };
        Error::Missing {
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            others,
        }
    }

    /// The pods of the resource of this name; `None`: they may not be listed, or not now.
    pub(super) async fn pods_of(&self, name: &str) -> Option<Vec<PodLine>> {
        let labelled = ListParams::default().labels(&format!("{WORKLOAD_LABEL}={name}"));
        let list = self.pods().list(&labelled).await.ok()?;
        Some(list.items.iter().map(PodLine::from).collect())
    }
}

async fn config(place: &Place) -> Result<Config, Error> {
    let options = KubeConfigOptions {
        context: place.context.clone(),
        ..KubeConfigOptions::default()
    };
    let refused = |error: KubeconfigError| Error::Config(chain(&error));
    match (&place.kubeconfig, &place.context) {
        (Some(path), _) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(refused)?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(refused)
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(refused),
        (None, None) => Config::infer()
            .await
            .map_err(|error| Error::Config(chain(&error))),
    }
}

/// What an error of the client means for whoever typed the command.
#[must_use]
pub(super) fn explain(name: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if status.code == 404 => Error::NotInstalled,
        kube::Error::Api(status) => Error::Refused(status.message.clone()),
        kube::Error::SerdeError(why) => Error::Unreadable {
            name: name.to_owned(),
            why: why.to_string(),
        },
        other => Error::Unreachable(chain(&other)),
    }
}

/// An error and what it came from, once each.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
