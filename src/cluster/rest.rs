//! Requests for children, each with a time limit. I/O.
//!
//! Plain JSON over paths rather than `kube::Api`: a POST with strict field validation is not to be had there.

use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use kube::core::Request as Call;
use kube::core::params::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, ValidationDirective};
use serde_json::{Map, Value, json};

use super::TIME_LIMIT;
use super::claim::Claim;
use super::error::Error;
use crate::api::{FIELD_MANAGER, REPLICAS_FIELD_MANAGER};
use crate::domain::children::{ChildKind, Live};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// Whether an apply may take fields from other managers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Force {
    /// Refused if another manager set a field to another value.
    No,
    /// It may.
    Yes,
}

/// The name of one child.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) kind: ChildKind,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Target<'_> {
    fn request(self) -> Call {
        // The core group is as old as the API, and has a path of its own.
        let root = if self.kind.group().is_empty() {
            "api"
        } else {
            "apis"
        };
        Call::new(format!(
            "/{root}/{}/namespaces/{}/{}",
            self.kind.api_version(),
            self.namespace,
            self.kind.plural()
        ))
    }
}

/// A client with time limits, that changes nothing without a claim.
#[derive(Clone)]
pub(super) struct Rest {
    client: Client,
    claim: Claim,
}

impl Rest {
    pub(super) fn new(client: Client) -> Self {
        let claim = Claim::default();
        Self { client, claim }
    }

    /// From now on nothing is changed but while `claim` is held.
    pub(super) fn fence(&mut self, claim: Claim) {
        self.claim = claim;
    }

    /// The right to change something.
    pub(super) const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The one way of every request but those for the Lease, for at most `limit`. What changes something is not sent
    /// without the claim, and not waited for beyond it.
    pub(super) async fn send(&self, limit: Duration, request: Request<Vec<u8>>) -> Result<String, Error> {
        let limit = if request.method() == Method::GET {
            limit
        } else {
            self.claim.remaining().ok_or(Error::NotLeading)?.min(limit)
        };
        limited(limit, self.client.request_text(request)).await
    }

    /// GET; `None` if there is no such object.
    pub(super) async fn get(&self, target: Target<'_>) -> Result<Option<Object>, Error> {
        let request = target
            .request()
            .get(target.name, &kube::core::params::GetParams::default())?;
        match self.send(TIME_LIMIT, request).await {
            Ok(text) => decode(&text).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// POST with strict field validation.
    pub(super) async fn create(&self, target: Target<'_>, body: &Object) -> Result<Live, Error> {
        self.post(target, body, false).await
    }

    /// Whether the apiserver would take such an object, were there none of its name. Nothing is stored.
    pub(super) async fn would_create(&self, target: Target<'_>, body: &Object) -> Result<(), Error> {
        match self.post(target, body, true).await {
            Err(error) if !error.is_already_exists() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn post(&self, target: Target<'_>, body: &Object, dry_run: bool) -> Result<Live, Error> {
        let parameters = PostParams {
            dry_run,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let mut request = target.request().create(&parameters, encode(body)?)?;
        let uri = format!("{}&fieldValidation=Strict", request.uri());
        *request.uri_mut() = uri.parse().map_err(|source| Error::Build(Box::new(source)))?;
        let text = self.send(TIME_LIMIT, request).await?;
        decode(&text).map(Live::new)
    }

    /// Server-side apply of an intent to the object `uid`, never to another one of its name.
    pub(super) async fn apply(
        &self,
        target: Target<'_>,
        uid: &str,
        body: &Object,
        force: Force,
    ) -> Result<Live, Error> {
        let mut body = body.clone();
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            metadata.insert("uid".into(), uid.into());
        }
        self.patch_apply(target, FIELD_MANAGER, &body, force).await
    }

    /// Server-side apply of `spec.replicas` alone, to this very version of the Deployment: should the request be
    /// delayed, it must not undo what an autoscaler did meanwhile.
    pub(super) async fn apply_replicas(
        &self,
        target: Target<'_>,
        live: &Live,
        replicas: i32,
        force: Force,
    ) -> Result<Live, Error> {
        let body = json!({
            "apiVersion": target.kind.api_version(),
            "kind": target.kind.kind(),
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "uid": live.uid(),
                "resourceVersion": live.resource_version(),
            },
            "spec": { "replicas": replicas },
        });
        self.patch_apply(target, REPLICAS_FIELD_MANAGER, &body, force)
            .await
    }

    async fn patch_apply<B>(
        &self,
        target: Target<'_>,
        manager: &str,
        body: &B,
        force: Force,
    ) -> Result<Live, Error>
    where
        B: serde::Serialize + std::fmt::Debug + Sync,
    {
        let parameters = PatchParams {
            dry_run: false,
            force: force == Force::Yes,
            field_manager: Some(manager.into()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let request = target
            .request()
            .patch(target.name, &parameters, &Patch::Apply(body))?;
        let text = self.send(TIME_LIMIT, request).await?;
        decode(&text).map(Live::new)
    }

    /// Writes other managedFields to this very version of `object`.
    pub(super) async fn replace_managed_fields(
        &self,
        target: Target<'_>,
        object: &Object,
        managed_fields: Vec<Value>,
    ) -> Result<(), Error> {
        let version = object
            .get("metadata")
            .and_then(|metadata| metadata.get("resourceVersion"));
        // `replace` rather than `test` of the version, as client-go's csaupgrade does it: a lost race is then answered
        // by 409 like any other, not by 422.
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
            { "op": "replace", "path": "/metadata/managedFields", "value": managed_fields },
        ]);
        let patch = serde_json::from_value(patch).map_err(|source| Error::Build(Box::new(source)))?;
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let request = target
            .request()
            .patch(target.name, &parameters, &Patch::Json::<()>(patch))?;
        self.send(TIME_LIMIT, request).await.map(drop)
    }

    /// Deletes the object `uid`, never another one of its name. Whether there was one.
    pub(super) async fn delete(&self, target: Target<'_>, uid: &str) -> Result<bool, Error> {
        let preconditions = Preconditions {
            uid: Some(uid.into()),
            resource_version: None,
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let request = target.request().delete(target.name, &parameters)?;
        match self.send(TIME_LIMIT, request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Runs a request for at most `limit`.
pub(super) async fn limited<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::from(error)),
        Err(_elapsed) => Err(Error::Timeout(limit)),
    }
}

pub(super) fn encode<B: serde::Serialize>(body: &B) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|source| Error::Build(Box::new(source)))
}

/// By ourselves, not by the client, which logs what it can't decode.
pub(super) fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(Error::Decode)
}
