//! Which build this is. Pure.

use std::sync::LazyLock;

/// The version, and the commit where the build was told it: `0.1.0 (1a2b3c4)`.
///
/// A variable of the build rather than a look into `.git`: a build from an archive has none, and must not fail.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("LOCKSTEP_COMMIT") {
        None | Some("") => version.to_owned(),
        Some(commit) => format!("{version} ({commit})"),
    }
});
