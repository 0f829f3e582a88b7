//! What `kubectl lockstep` says, without a cluster.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod kube_state_metrics;
mod live;
mod operator;
mod shell;
mod stories;
mod stuck;
