//! Lockstep: a Kubernetes operator for workloads whose replicas coordinate through locks in Redis.

pub mod api;
pub mod clock;
pub mod cluster;
pub mod domain;
pub mod observer;
