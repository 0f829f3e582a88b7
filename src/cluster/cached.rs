//! A child as the watch caches keep it. Pure data.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::Deserialize;
use serde_json::Value;

use super::rest::Object;
use crate::api::WORKLOAD_LABEL;
use crate::domain::children::{ChildKind, Live};

/// A child, made for `kube::runtime::reflector`: whole, since any field of it may be intended, but kept as text.
/// Parsed, a Deployment with thirteen variables took 35 kB, as text 3.3 kB; and it is needed parsed only when its
/// workload is reconciled (0.1 ms without optimization).
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Object")]
pub struct CachedChild {
    /// Name, namespace, UID and version only; the rest is in the text.
    metadata: ObjectMeta,
    unconverted: bool,
    labelled: bool,
    object: Box<str>,
}

impl CachedChild {
    /// Whether it bears Lockstep's label with its own name, as every child does: of the kinds that are watched whole, the
    /// others are nobody's children.
    #[must_use]
    pub const fn is_labelled(&self) -> bool {
        self.labelled
    }

    /// The child as planning sees it.
    #[must_use]
    pub fn live(&self) -> Live {
        // What we wrote ourselves can be read.
        Live::from_parts(
            serde_json::from_str(&self.object).unwrap_or_default(),
            self.unconverted,
        )
    }
}

impl From<Object> for CachedChild {
    fn from(object: Object) -> Self {
        let live = Live::new(object);
        let metadata = |field: &str| {
            let value = live
                .object()
                .get("metadata")
                .and_then(|metadata| metadata.get(field));
            value.and_then(Value::as_str).map(str::to_owned)
        };
        Self {
            metadata: ObjectMeta {
                name: metadata("name"),
                namespace: metadata("namespace"),
                uid: metadata("uid"),
                resource_version: metadata("resourceVersion"),
                ..ObjectMeta::default()
            },
            unconverted: live.unconverted(),
            labelled: live
                .object()
                .get("metadata")
                .and_then(|metadata| metadata.get("labels")?.get(WORKLOAD_LABEL)?.as_str())
                .is_some_and(|label| Some(label) == metadata("name").as_deref()),
            object: serde_json::to_string(live.object())
                .unwrap_or_default()
                .into_boxed_str(),
        }
    }
}

impl Resource for CachedChild {
    type DynamicType = ChildKind;
    type Scope = NamespaceResourceScope;

    fn kind(kind: &ChildKind) -> Cow<'_, str> {
        kind.kind().into()
    }

    fn group(kind: &ChildKind) -> Cow<'_, str> {
        kind.group().into()
    }

    fn version(kind: &ChildKind) -> Cow<'_, str> {
        kind.version().into()
    }

    fn plural(kind: &ChildKind) -> Cow<'_, str> {
        kind.plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
