//! Against a real apiserver, etcd and controller-manager: one control plane for the whole run, a namespace per test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test helpers fail by panicking"
)]

mod adoption;
mod apply;
mod cli;
mod cli_operator;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod examples;
mod faults;
mod golden;
mod harness;
mod reach;
mod refusals;
mod replicas;
mod writers;
