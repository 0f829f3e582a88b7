//! The chart `charts/lockstep`: Helm's own lint, what its schema and its guards refuse, what a real apiserver says to
//! everything that it renders, and that its documentation, `manifests/install.yaml` and its definition are what they
//! are made of. `UPDATE=1` writes the files that are derived.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod contradictions;
mod derived;
mod helm;
mod meaning;
mod server;
mod values;
