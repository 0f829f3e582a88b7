//! What the apiserver's answers mean. Pure.

use std::time::Duration;

use kube::core::Status;

use crate::domain::{
    category::Category,
    children::{ChildKind, Failure, FailureKind, Override, RetryCause},
};

/// Longest message that is passed on, in bytes: several findings share a status of 32 KiB.
const MESSAGE_LIMIT: usize = 1024;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Another operator leads, or may soon: nothing was sent.
    #[error("this operator does not lead")]
    NotLeading,
    /// The apiserver said no.
    #[error("the apiserver refused the request")]
    Refused(#[source] Box<Status>),
    /// There was no answer.
    #[error("the apiserver could not be asked")]
    Unreachable(#[source] Box<kube::Error>),
    /// The answer isn't what was asked for.
    #[error("the apiserver's answer could not be read")]
    Decode(#[source] serde_json::Error),
    /// The request can't be expressed.
    #[error("the request could not be made")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            other => Self::Unreachable(Box::new(other)),
        }
    }
}

impl From<kube::core::request::Error> for Error {
    fn from(error: kube::core::request::Error) -> Self {
        Self::Build(Box::new(error))
    }
}

impl Error {
    /// Closed vocabulary for metrics and logs.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Timeout(_) => RetryCause::Timeout.category(),
            Self::NotLeading => Category::NotLeading,
            Self::Refused(_) if self.is_not_found() => Category::NotFound,
            Self::Refused(status) => refusal(status, ChildKind::NetworkPolicy).category(),
            Self::Unreachable(_) => RetryCause::Unreachable.category(),
            Self::Decode(_) => RetryCause::ServerError.category(),
            Self::Build(_) => Category::InvalidRequest,
        }
    }

    /// Whether another writer was first: what was read is no longer so.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status()
            .is_some_and(|status| status.code == 409 && status.reason != "AlreadyExists")
    }

    /// Whether the object as it would be is not a valid one.
    pub(super) fn is_invalid(&self) -> bool {
        self.status()
            .is_some_and(|status| status.code == 422 && status.reason == "Invalid")
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// Whether the name of a POST is taken.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.status()
            .is_some_and(|status| status.code == 409 && status.reason == "AlreadyExists")
    }

    /// The apiserver's own words, or ours where it said none; at most 1 KiB.
    #[must_use]
    pub fn message(&self) -> String {
        match self.status() {
            Some(status) if !status.message.is_empty() => bounded(&status.message, MESSAGE_LIMIT),
            _ => self.to_string(),
        }
    }

    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused(status) => Some(status),
            Self::Timeout(_) | Self::NotLeading | Self::Unreachable(_) | Self::Decode(_) | Self::Build(_) => {
                None
            }
        }
    }

    /// Managers that hold fields against an apply without force; empty if that isn't what failed.
    pub(super) fn overrides(&self) -> Vec<Override> {
        let mut overrides: Vec<Override> = Vec::new();
        let details = self.status().and_then(|status| status.details.as_ref());
        for cause in details
            .map(|details| details.causes.as_slice())
            .unwrap_or_default()
        {
            if cause.reason != "FieldManagerConflict" {
                continue;
            }
            // `conflict with "kubectl-edit" using apps/v1`, `… with subresource "scale" using …`
            let manager = cause
                .message
                .split('"')
                .nth(1)
                .unwrap_or(&cause.message)
                .to_owned();
            match overrides.iter_mut().find(|known| known.manager == manager) {
                Some(known) => known.fields.push(cause.field.clone()),
                None => overrides.push(Override {
                    manager,
                    fields: vec![cause.field.clone()],
                }),
            }
        }
        overrides
    }

    pub(super) fn failure(&self, child: ChildKind) -> Failure {
        let details = self.status().and_then(|status| status.details.as_ref());
        let seconds = details.map_or(0, |details| details.retry_after_seconds);
        Failure {
            child,
            kind: self.kind(child),
            message: self.message(),
            retry_after: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
        }
    }

    fn kind(&self, child: ChildKind) -> FailureKind {
        match self {
            Self::Timeout(_) => FailureKind::Retry(RetryCause::Timeout),
            Self::Refused(status) => refusal(status, child),
            // For this process the apiserver is as far away: nothing that it finds can be written.
            Self::NotLeading | Self::Unreachable(_) => FailureKind::Retry(RetryCause::Unreachable),
            Self::Decode(_) => FailureKind::Retry(RetryCause::ServerError),
            // A name or value that can't stand in a URL came from the spec.
            Self::Build(_) => refused_spec(child),
        }
    }
}

/// Reasons first where there are some; several of these answers differ in nothing but their words.
fn refusal(status: &Status, child: ChildKind) -> FailureKind {
    let says = |words: &str| status.message.contains(words);
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    let cause = |reason: &str| causes.iter().any(|cause| cause.reason == reason);
    let denied_by_webhook = says("admission webhook") && says("denied the request");
    let denied_by_policy = says("AdmissionPolicy") && says("denied request");

    if denied_by_webhook || denied_by_policy {
        return FailureKind::AdmissionDenied;
    }
    // etcd's and gRPC's limits come as 500, and before them the apiserver's own as 413.
    if status.code == 413
        || says("etcdserver: request is too large")
        || says("trying to send message larger than")
    {
        return FailureKind::ObjectTooLarge;
    }
    // What server-side apply can't read against the schema, or into the type, comes as 500.
    let unreadable = [
        "failed to create typed patch object",
        "field not declared in schema",
        "failed to convert new object",
    ];
    if unreadable.into_iter().any(says) {
        return refused_spec(child);
    }
    match status.code {
        403 if cause("NamespaceTerminating") || says("because it is being terminated") => {
            FailureKind::Retry(RetryCause::NamespaceTerminating)
        }
        403 if says("exceeded quota") || says("failed quota") => FailureKind::Retry(RetryCause::Quota),
        // RBAC's form, and the one of OwnerReferencesPermissionEnforcement.
        403 if says("\" cannot ") && says(" resource \"") || says("cannot set blockOwnerDeletion") => {
            FailureKind::Forbidden
        }
        403 => FailureKind::AdmissionDenied,
        // A namespace that is gone.
        404 => FailureKind::Retry(RetryCause::NamespaceTerminating),
        409 => FailureKind::Retry(RetryCause::Conflict),
        422 if says("field is immutable") || says("may not be changed") => FailureKind::ImmutableField,
        400 | 422 => refused_spec(child),
        429 => FailureKind::Retry(RetryCause::Throttled),
        401 => FailureKind::Retry(RetryCause::Unreachable),
        _ => FailureKind::Retry(RetryCause::ServerError),
    }
}

/// What it is called when the apiserver takes no such child.
pub(super) const fn refused_spec(child: ChildKind) -> FailureKind {
    match child {
        ChildKind::Deployment => FailureKind::InvalidPodTemplate,
        ChildKind::HorizontalPodAutoscaler
        | ChildKind::PodDisruptionBudget
        | ChildKind::NetworkPolicy
        | ChildKind::Service => FailureKind::InvalidSpec,
    }
}

/// At most `limit` bytes, cut at a character.
pub(super) fn bounded(text: &str, limit: usize) -> String {
    const CUT: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub(CUT.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;
