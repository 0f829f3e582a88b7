//! Values of Secrets. I/O.

use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use kube::core::Request;
use kube::core::params::GetParams;

use super::error::Error;
use super::rest::{decode, limited};
use super::{Cluster, TIME_LIMIT};

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

/// Why a value of a Secret isn't there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No such Secret.
    #[error("there is no Secret of this name")]
    NotFound,
    /// No such key in it.
    #[error("the Secret has no such key")]
    NoSuchKey,
    /// It could not be read.
    #[error("the Secret could not be read")]
    Read(#[source] Error),
}

impl SecretError {
    /// Closed vocabulary for metrics and logs.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotFound => "secret_not_found",
            Self::NoSuchKey => "secret_key_not_found",
            Self::Read(error) => error.category(),
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
        // The name comes from a resource, and a Secret is nothing to be led astray about.
        if !could_be_a_name(name) {
            return Err(SecretError::NotFound);
        }
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let request = Request::new(path).get(name, &GetParams::default());
        let request = request.map_err(|error| SecretError::Read(error.into()))?;
        let text = match limited(TIME_LIMIT, self.rest.client().request_text(request)).await {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Err(SecretError::NotFound),
            Err(error) => return Err(SecretError::Read(error)),
        };
        let secret: Secret = decode(&text).map_err(SecretError::Read)?;
        let value = secret
            .data
            .unwrap_or_default()
            .remove(key)
            .ok_or(SecretError::NoSuchKey)?;
        Ok(SecretBytes(value.0))
    }
}

/// Whether the API takes this as an object's name (a DNS subdomain, as far as a path is concerned).
fn could_be_a_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    name.bytes().all(allowed) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}
