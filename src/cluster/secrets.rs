//! Values of Secrets and `ConfigMap`s. I/O.

use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::Request;
use kube::core::params::GetParams;
use serde::de::DeserializeOwned;

use super::error::Error;
use super::rest::decode;
use super::{Cluster, TIME_LIMIT};
use crate::domain::category::Category;

/// A value that is never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// Why a value of a Secret or `ConfigMap` isn't there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No such object.
    #[error("there is no object of this name")]
    NotFound,
    /// No such key in it.
    #[error("the object has no such key")]
    NoSuchKey,
    /// It could not be read.
    #[error("the object could not be read")]
    Read(#[source] Error),
}

impl SecretError {
    /// Closed vocabulary for metrics and logs.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::NotFound => Category::SecretNotFound,
            Self::NoSuchKey => Category::SecretKeyNotFound,
            Self::Read(error) => error.category(),
        }
    }

    /// The apiserver's own words, or ours where it said none.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::NotFound | Self::NoSuchKey => self.to_string(),
            Self::Read(error) => error.message(),
        }
    }

    /// Whether the operator may not read it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        match self {
            Self::Read(error) => error.status().is_some_and(|status| status.code == 403),
            Self::NotFound | Self::NoSuchKey => false,
        }
    }

    /// Whether nothing is known of the object: the apiserver was not reached, or could not answer.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Read(_) => !self.is_forbidden(),
            Self::NotFound | Self::NoSuchKey => false,
        }
    }
}

impl Cluster {
    /// One key of a Secret.
    pub async fn secret_key(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<SecretBytes, SecretError> {
        let secret: Secret = self.read_object(namespace, "secrets", name).await?;
        let value = secret.data.unwrap_or_default().remove(key);
        Ok(SecretBytes(value.ok_or(SecretError::NoSuchKey)?.0))
    }

    /// One key of a `ConfigMap`.
    pub async fn config_map_key(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<SecretBytes, SecretError> {
        let map: ConfigMap = self.read_object(namespace, "configmaps", name).await?;
        let text = map.data.unwrap_or_default().remove(key).map(String::into_bytes);
        let binary = || {
            map.binary_data
                .unwrap_or_default()
                .remove(key)
                .map(|bytes| bytes.0)
        };
        Ok(SecretBytes(text.or_else(binary).ok_or(SecretError::NoSuchKey)?))
    }

    async fn read_object<T: DeserializeOwned>(
        &self,
        namespace: &str,
        plural: &str,
        name: &str,
    ) -> Result<T, SecretError> {
        // The name comes from a resource, and a Secret is nothing to be led astray about.
        if !could_be_a_name(name) {
            return Err(SecretError::NotFound);
        }
        let path = format!("/api/v1/namespaces/{namespace}/{plural}");
        let request = Request::new(path).get(name, &GetParams::default());
        let request = request.map_err(|error| SecretError::Read(error.into()))?;
        let text = match self.rest.send(TIME_LIMIT, request).await {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Err(SecretError::NotFound),
            Err(error) => return Err(SecretError::Read(error)),
        };
        decode(&text).map_err(SecretError::Read)
    }
}

/// Whether the API takes this as an object's name (a DNS subdomain, as far as a path is concerned).
fn could_be_a_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    name.bytes().all(allowed) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}
