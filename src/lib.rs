//! Lockstep: a Kubernetes operator for workloads whose replicas coordinate through locks in Redis.
//!
//! # Bird's-eye view
//!
//! A `CoordinatedWorkload` becomes a Deployment, a HorizontalPodAutoscaler, a PodDisruptionBudget, a NetworkPolicy and a
//! Service; the locks that its pods hold in Redis are watched, and what is concluded of them is said in status, conditions and
//! events. One pass is gather → decide → execute → report, and [`reconcile`] is the only place that knows this order.
//!
//! # Code map
//!
//! | module | what | I/O |
//! |---|---|---|
//! | [`api`] | the resource: types, schema rules, the closed vocabulary | none |
//! | [`domain`] | what should be, what is concluded, what is said | none |
//! | [`cluster`] | writes to Kubernetes: children, status, events; reads of Secrets | Kubernetes |
//! | [`observer`] | one supervised connection per Redis endpoint | Redis, DNS |
//! | [`reconcile`] | one pass over one resource | through the two above |
//! | [`controller`] | watches, triggers, concurrency, shutdown | Kubernetes |
//! | [`leader`] | which of several operators writes | Kubernetes |
//! | [`probe`] | asks another operator whether it is ready, for `helm test` | HTTP |
//! | [`version`] | which build this is | none |
//! | [`retry`] | backoff of one object | none |
//! | [`telemetry`] | health and figures of the operator | none |
//! | [`admin`] | serves them | HTTP |
//! | [`clock`] | the clocks | clocks |
//! | [`cli`] | `kubectl lockstep`: what status holds, for people; all but its edge is pure | Kubernetes, files, terminal |
//!
//! Where this departs from the house plan: each child is a room of `domain/children`, planning included; what judging
//! passes around is `domain/judgement`, so that no module of the core needs one that needs it; what was concluded is
//! turned into words by `domain/status`, `domain/finding`, `domain/incident` and `domain/advisory`; what others do to the
//! children is `domain/drift` and `domain/neighbours`; a simulated world beside the core
//! (`domain/simulation`, tests only) drives it through stories and random histories.
//!
//! # Invariants, each held by a test
//!
//! - `api` and `domain` know no client, task, clock or randomness (`tests/purity.rs`).
//! - `crds/` is what `lockstep crd` prints (`tests/crd.rs`).
//! - Nothing is written to Redis; nothing read from it is shown but names of pods of workloads of the same
//!   namespace.
//! - A pass over an unchanged world makes no request.
//! - Nothing in Kubernetes is changed without the claim that the election grants (`tests/purity.rs`: one way for all
//!   requests).

pub mod admin;
pub mod api;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod controller;
pub mod domain;
pub mod leader;
mod mutex;
pub mod observer;
pub mod probe;
pub mod reconcile;
pub mod retry;
pub mod telemetry;
pub mod version;
