//! Status writes. I/O.

use kube::core::Request;
use kube::core::params::PostParams;
use serde::Deserialize;
use serde_json::json;

use super::error::Error;
use super::rest::{decode, encode};
use super::{Cluster, STATUS_TIME_LIMIT};
use crate::api::{CoordinatedWorkloadStatus, FIELD_MANAGER, GROUP, KIND, VERSION};

/// What is needed of the answer.
#[derive(Deserialize)]
struct Answer {
    metadata: AnswerMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerMetadata {
    resource_version: String,
}

impl Cluster {
    /// Replaces the whole status of a resource, if its `resource_version` is still the one that the status was computed
    /// from (else [`Error::is_conflict`]). Answers the new version.
    ///
    /// A PUT, since a merge would keep fields that left the status. The apiserver takes nothing but the status from
    /// it, so nothing else is sent.
    pub async fn write_status(
        &self,
        namespace: &str,
        name: &str,
        resource_version: &str,
        status: &CoordinatedWorkloadStatus,
    ) -> Result<String, Error> {
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": KIND,
            "metadata": { "name": name, "namespace": namespace, "resourceVersion": resource_version },
            "status": status,
        });
        let path = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/coordinatedworkloads");
        let parameters = PostParams {
            dry_run: false,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let request = Request::new(path).replace_subresource("status", name, &parameters, encode(&body)?)?;
        let text = self.rest.send(STATUS_TIME_LIMIT, request).await?;
        decode::<Answer>(&text).map(|answer| answer.metadata.resource_version)
    }
}
