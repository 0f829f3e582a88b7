//! Flags, targets, packages, files and links on the pages exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    sync::LazyLock,
};

use regex::Regex;

use crate::{
    PAGES, ROOT, faults,
    markdown::{code, headings, matches, slug},
    read,
};

static HELP: LazyLock<String> = LazyLock::new(|| {
    let command = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    assert!(command.status.success());
    String::from_utf8(command.stdout).unwrap()
});

/// Flags of the operator: in code that begins with one, and after `-- run`.
fn flags(text: &str) -> BTreeSet<&str> {
    let own = |piece: &'_ str| piece.starts_with("--") || piece.contains("-- run");
    code(text)
        .into_iter()
        .filter(|piece| own(piece))
        .flat_map(|piece| {
            let arguments = piece
                .split_once("-- run")
                .map_or(piece, |(_, arguments)| arguments);
            matches(r"(?:^| )(--[a-z][a-z-]*)", arguments)
        })
        .collect()
}

fn flag_faults(text: &str) -> Vec<String> {
    let known: BTreeSet<&str> = matches(r"(?m)^ +(?:-[a-z], )?(--[a-z][a-z-]*)", &HELP)
        .into_iter()
        .collect();
    flags(text)
        .difference(&known)
        .map(|flag| format!("{flag} is no flag of `lockstep run`"))
        .collect()
}

#[test]
fn flags_are_those_of_the_operator() {
    faults(|_, text| flag_faults(text));
    assert_eq!(
        flag_faults(
            "`--dns-server A:P`, `--dns`, `kubectl --raw`\n    cargo run -- run --log debug --logs\n"
        ),
        [
            "--dns is no flag of `lockstep run`",
            "--logs is no flag of `lockstep run`"
        ]
    );
    let described: BTreeSet<&str> = PAGES.values().flat_map(|text| flags(text)).collect();
    let known = matches(r"(?m)^ +(--[a-z][a-z-]*)", &HELP);
    assert!(known.len() > 5, "{known:?}");
    for flag in known {
        assert!(described.contains(flag), "no page mentions {flag}");
    }
}

/// `make TARGET` and `cargo run -p PACKAGE` in code.
fn target_faults(text: &str) -> Vec<String> {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = matches(r"(?m)^([a-z-]+):", &makefile).into_iter().collect();
    let manifests = [
        "Cargo.toml",
        "tests/cluster/Cargo.toml",
        "tests/demo/Cargo.toml",
        "tests/workers/rigatoni/Cargo.toml",
    ]
    .map(read)
    .concat();
    let packages: BTreeSet<&str> = matches(r#"(?m)^name = "([^"]+)""#, &manifests)
        .into_iter()
        .collect();
    let pieces = code(text).join("\n");
    let unknown = |pattern, known: &BTreeSet<&str>, what| {
        matches(pattern, &pieces)
            .into_iter()
            .filter(|found| !known.contains(found))
            .map(|found| format!("{found} is no {what}"))
            .collect::<Vec<_>>()
    };
    [
        unknown(r"(?m)^make ([a-z-]+)", &targets, "target of the Makefile"),
        unknown(r"cargo \S+ (?:-p|--package) (\S+)", &packages, "package"),
    ]
    .concat()
}

#[test]
fn targets_and_packages_exist() {
    faults(|_, text| target_faults(text));
    assert_eq!(
        target_faults(
            "`make test`, `make cake`\n    make demo-up\n    cargo run -p lockstep-clutter -- up\n"
        ),
        [
            "cake is no target of the Makefile",
            "demo-up is no target of the Makefile",
            "lockstep-clutter is no package"
        ]
    );
}

/// Links and paths in code, the former with the heading that they point at.
fn path_faults(page: &str, text: &str) -> Vec<String> {
    let is_path = Regex::new(r"^(\.ci|charts|crds|docs|manifests|src|tests)/[^ *]*$").unwrap();
    let in_code = code(text)
        .into_iter()
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches([',', '.', ':', ';']))
        .filter(|word| is_path.is_match(word) || ["Cargo.toml", "Makefile", "LICENSE"].contains(word))
        .filter(|path| !Path::new(ROOT).join(path).exists())
        .map(|path| format!("{path} does not exist"));
    let folder = Path::new(page).parent().unwrap();
    // In code the same signs are a pattern.
    let prose = Regex::new("`[^`\n]*`").unwrap().replace_all(text, "");
    let links = matches(r"\]\(([^)]+)\)", &prose)
        .into_iter()
        .filter(|link| !link.starts_with("https://"))
        .filter(|link| {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if path.is_empty() {
                Path::new(page).to_owned()
            } else {
                folder.join(path)
            };
            let Ok(target) = fs::read_to_string(Path::new(ROOT).join(file)) else {
                return true;
            };
            !anchor.is_empty()
                && !(1..=4).any(|level| headings(&target, level).iter().any(|h| slug(h) == anchor))
        })
        .map(|link| format!("the link to {link} leads nowhere"));
    in_code.chain(links).collect()
}

#[test]
fn files_and_links_exist() {
    faults(path_faults);
    let text = "`src/lib.rs`, `tests/none.rs`, `[a](b)`\n    kubectl apply -f crds/\n    kubectl apply -f manifests/none.yaml\n\
                [a](README.md#events), [b](README.md#nothing), [c](docs/none.md)\n";
    assert_eq!(
        path_faults("README.md", text),
        [
            "tests/none.rs does not exist",
            "manifests/none.yaml does not exist",
            "the link to README.md#nothing leads nowhere",
            "the link to docs/none.md leads nowhere"
        ]
    );
}

/// Pages to which no link leads from the README, over however many pages.
fn unlinked(pages: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = BTreeSet::from(["README.md".to_owned()]);
    let mut new = vec!["README.md".to_owned()];
    while let Some(page) = new.pop() {
        let folder = Path::new(&page).parent().unwrap();
        let links = pages.get(&page).map(|text| matches(r"\]\(([^)#]+)", text));
        for link in links.into_iter().flatten() {
            let target = folder.join(link).display().to_string();
            if pages.contains_key(&target) && found.insert(target.clone()) {
                new.push(target);
            }
        }
    }
    let missing = pages.keys().filter(|page| !found.contains(*page));
    missing.cloned().collect()
}

#[test]
fn every_page_is_linked() {
    assert_eq!(unlinked(&PAGES), Vec::<String>::new());
    let mut pages = PAGES.clone();
    pages.insert("docs/forgotten.md".to_owned(), String::new());
    assert_eq!(unlinked(&pages), ["docs/forgotten.md"]);
}
