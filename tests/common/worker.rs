//! The worker that holds locks with Rigatoni's own library, as the operator's tests and the installed one use it.

use std::path::{Path, PathBuf};

/// The worker; built if it is missing or older than its source.
pub(crate) fn worker() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workers/rigatoni");
    let program = Path::new(env!("CARGO_BIN_EXE_lockstep")).with_file_name("rigatoni-worker");
    let changed = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    let newest = std::fs::read_dir(source.join("src"))
        .unwrap()
        .filter_map(|entry| changed(&entry.unwrap().path()))
        .max();
    if changed(&program) < newest {
        let profile = program.parent().and_then(Path::file_name).unwrap();
        let profile = if profile == "debug" {
            "dev".as_ref()
        } else {
            profile
        };
        let built = lockstep_cluster::tools::cargo()
            .args(["build", "--package", "lockstep-worker-rigatoni", "--target-dir"])
            .arg(program.ancestors().nth(2).unwrap())
            .arg("--profile")
            .arg(profile)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "the worker is built");
    }
    program
}
