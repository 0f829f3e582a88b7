//! `kubectl lockstep`: what Lockstep knows of a workload, for whoever is asked about it. All of it is in [`lockstep::cli`].

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lockstep::cli::main().await
}
