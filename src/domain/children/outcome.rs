//! What came of applying the children. Pure data: written by `cluster`, read by the report.

use std::time::Duration;

use super::{ChildKind, Children, Live};
use crate::domain::category::Category;

/// What came of one pass over the children.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What was found or done, per child; `None`: it does not exist, or what was tried failed.
    pub children: Children<Option<Applied>>,
    /// Children that were deleted, with their UIDs.
    pub deleted: Vec<(ChildKind, String)>,
    /// Replicas that were applied to the Deployment.
    pub replicas: Option<ReplicasApplied>,
    /// Something has to go first; a watch will show when. In words: `the HorizontalPodAutoscaler is being deleted`.
    pub waiting: Vec<String>,
    /// What failed, in the order of [`ChildKind`].
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// The failure to be reported first: one that waiting won't help before one that will be tried again.
    #[must_use]
    pub fn first_failure(&self) -> Option<&Failure> {
        let stalled = self.failures.iter().find(|failure| !failure.kind.is_retried());
        stalled.or_else(|| self.failures.first())
    }

    /// Whether further requests would only wait for their time limits too.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.failures.iter().any(|failure| match failure.kind {
            FailureKind::Retry(
                RetryCause::Throttled
                | RetryCause::ServerError
                | RetryCause::Timeout
                | RetryCause::Unreachable,
            ) => true,
            FailureKind::Retry(
                RetryCause::Quota | RetryCause::NamespaceTerminating | RetryCause::Conflict,
            )
            | FailureKind::NameConflict
            | FailureKind::OwnershipLost
            | FailureKind::InvalidPodTemplate
            | FailureKind::InvalidSpec
            | FailureKind::ImmutableField
            | FailureKind::Forbidden
            | FailureKind::AdmissionDenied
            | FailureKind::ObjectTooLarge => false,
        })
    }

    /// Whether every child is as intended.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.waiting.is_empty()
    }
}

/// Replicas that were applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplicasApplied {
    /// How many.
    pub count: i32,
    /// Who had set them, by the apiserver's account; empty: Lockstep.
    pub overrides: Vec<Override>,
}

/// A child that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// `metadata.uid`.
    pub uid: String,
    /// Hash of the intent that it carries now.
    pub hash: String,
    /// What was done.
    pub action: Action,
    /// The object as the apiserver answered, when something was written: newer than any cache.
    pub live: Option<Live>,
}

/// What was done to a child.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Nothing: it is as intended.
    None,
    /// It was created.
    Created,
    /// It was somebody's and is Lockstep's now.
    Adopted {
        /// Whether that changed the pods.
        changed: bool,
    },
    /// It was applied.
    Updated {
        /// What of it was the putting right of somebody else's change; `None`: the intent is a new one and nobody
        /// had changed what Lockstep owns.
        correction: Option<Correction>,
        /// The first intended field that differs even in the answer to this apply: something in the apiserver
        /// changes it back, so that applying at once again would not end.
        unsettled: Option<String>,
    },
}

/// Somebody else's change that was put right.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Correction {
    /// First intended field that differed, as a path.
    pub field: Option<String>,
    /// Who had changed owned fields, by the apiserver's account.
    pub overrides: Vec<Override>,
}

/// A field manager whose values were overwritten.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Override {
    /// Name of the manager, such as `kubectl-edit`.
    pub manager: String,
    /// The fields, as the apiserver writes them.
    pub fields: Vec<String>,
}

/// A request for a child that failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The child.
    pub child: ChildKind,
    /// What kind of failure.
    pub kind: FailureKind,
    /// The apiserver's words, bounded.
    pub message: String,
    /// When the apiserver asks to be left alone until then.
    pub retry_after: Option<Duration>,
}

/// What kind of failure; all but `Retry` are reasons of `Stalled`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FailureKind {
    /// An object of that name exists that Lockstep did not make.
    NameConflict,
    /// Our owner reference was taken away.
    OwnershipLost,
    /// The apiserver refuses the Deployment.
    InvalidPodTemplate,
    /// The apiserver refuses another child.
    InvalidSpec,
    /// A field can't be changed.
    ImmutableField,
    /// RBAC.
    Forbidden,
    /// A webhook, a policy or Pod Security.
    AdmissionDenied,
    /// Too large.
    ObjectTooLarge,
    /// Trying again may help.
    Retry(RetryCause),
}

impl FailureKind {
    /// Whether trying again may help.
    #[must_use]
    pub const fn is_retried(self) -> bool {
        matches!(self, Self::Retry(_))
    }

    /// Closed vocabulary for metrics and logs.
    #[must_use]
    pub const fn category(self) -> Category {
        match self {
            Self::NameConflict => Category::NameConflict,
            Self::OwnershipLost => Category::OwnershipLost,
            Self::InvalidPodTemplate => Category::InvalidPodTemplate,
            Self::InvalidSpec => Category::InvalidSpec,
            Self::ImmutableField => Category::ImmutableField,
            Self::Forbidden => Category::Forbidden,
            Self::AdmissionDenied => Category::AdmissionDenied,
            Self::ObjectTooLarge => Category::ObjectTooLarge,
            Self::Retry(cause) => cause.category(),
        }
    }
}

/// Why trying again may help.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RetryCause {
    /// A quota is used up.
    Quota,
    /// The namespace is going, or gone.
    NamespaceTerminating,
    /// The object changed meanwhile.
    Conflict,
    /// 429.
    Throttled,
    /// 5xx, or an answer that can't be read.
    ServerError,
    /// No answer in time.
    Timeout,
    /// No connection, or credentials that aren't accepted at the moment.
    Unreachable,
}

impl RetryCause {
    /// Closed vocabulary for metrics and logs.
    #[must_use]
    pub const fn category(self) -> Category {
        match self {
            Self::Quota => Category::Quota,
            Self::NamespaceTerminating => Category::NamespaceTerminating,
            Self::Conflict => Category::Conflict,
            Self::Throttled => Category::Throttled,
            Self::ServerError => Category::ServerError,
            Self::Timeout => Category::Timeout,
            Self::Unreachable => Category::Unreachable,
        }
    }
}
