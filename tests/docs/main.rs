//! The README and `docs/` say what is so: their tables have the names of the closed vocabulary, and what they mention
//! (flags, fields, files, manifests, targets) exists.
//!
//! Every check is a function from a text to the faults in it, so that each is also shown to fire on a text made wrong.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

mod api;
mod definition;
mod markdown;
mod mentions;
mod rights;
mod troubleshooting;
mod vocabulary;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

static README: LazyLock<String> = LazyLock::new(|| read("README.md"));
static ADVICE: LazyLock<String> = LazyLock::new(|| read("docs/advisories.md"));

/// The README and every page of `docs/`, by its path.
static PAGES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let pages = ["docs", "docs/runbooks"].into_iter().flat_map(|folder| {
        let files = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
        files
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .map(move |path| format!("{folder}/{}", path.file_name().unwrap().display()))
    });
    std::iter::once("README.md".to_owned())
        .chain(pages)
        .map(|name| {
            let text = read(&name);
            (name, text)
        })
        .collect()
});

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The faults of every page.
fn faults(check: impl Fn(&str, &str) -> Vec<String>) {
    let all: Vec<_> = PAGES
        .iter()
        .flat_map(|(page, text)| {
            check(page, text)
                .into_iter()
                .map(move |fault| format!("{page}: {fault}"))
        })
        .collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}
