//! What a failure is called in metrics and logs: a closed vocabulary. Pure.

macro_rules! categories {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What a failure is called in metrics and logs.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Category {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Category {
            /// Every one. It is made of the same list as the enum, so that a counter of each can exist from the start.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

categories! {
    /// A webhook, a policy or Pod Security said no.
    AdmissionDenied = "admission_denied",
    /// Another writer was first.
    Conflict = "conflict",
    /// RBAC said no.
    Forbidden = "forbidden",
    /// A field can't be changed.
    ImmutableField = "immutable_field",
    /// The apiserver refuses the Deployment.
    InvalidPodTemplate = "invalid_pod_template",
    /// The request can't be expressed.
    InvalidRequest = "invalid_request",
    /// The apiserver refuses another child.
    InvalidSpec = "invalid_spec",
    /// An object of that name exists that Lockstep did not make.
    NameConflict = "name_conflict",
    /// The namespace is going, or gone.
    NamespaceTerminating = "namespace_terminating",
    /// There is no such object.
    NotFound = "not_found",
    /// This operator does not lead: nothing was sent.
    NotLeading = "not_leading",
    /// Too large for the apiserver.
    ObjectTooLarge = "object_too_large",
    /// Our owner reference was taken away.
    OwnershipLost = "ownership_lost",
    /// A quota is used up.
    Quota = "quota",
    /// A Secret or `ConfigMap` that `spec.redis` names has no such key.
    SecretKeyNotFound = "secret_key_not_found",
    /// A Secret or `ConfigMap` that `spec.redis` names is not there.
    SecretNotFound = "secret_not_found",
    /// 5xx, or an answer that can't be read.
    ServerError = "server_error",
    /// 429.
    Throttled = "throttled",
    /// No answer in time.
    Timeout = "timeout",
    /// No connection, or credentials that aren't accepted at the moment.
    Unreachable = "unreachable",
}
