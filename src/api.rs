//! The resource: `lockstep.dev/v1alpha1`, kind `CoordinatedWorkload`. Types and schema rules, no behaviour. Pure.

pub mod conditions;
mod crd;
mod schema;
pub mod spec;
pub mod status;

pub use crd::{crd, crd_yaml};
pub use spec::{CoordinatedWorkload, CoordinatedWorkloadSpec};
pub use status::CoordinatedWorkloadStatus;

/// API group of the resource.
pub const GROUP: &str = "lockstep.dev";
/// API version of the resource.
pub const VERSION: &str = "v1alpha1";
/// Kind of the resource.
pub const KIND: &str = "CoordinatedWorkload";
/// Field manager of everything that Lockstep creates and applies, except replicas.
pub const FIELD_MANAGER: &str = "lockstep";
/// Field manager that applies a Deployment's `spec.replicas` and nothing else.
pub const REPLICAS_FIELD_MANAGER: &str = "lockstep-replicas";
/// Label that selects the pods and every other child of one workload; its value is the resource's name.
pub const WORKLOAD_LABEL: &str = "lockstep.dev/workload";
/// Annotation of a child: the hash of the intent that was applied last.
pub const APPLIED_ANNOTATION: &str = "lockstep.dev/applied";
