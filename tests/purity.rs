//! The core knows no client, no task, no clock, no randomness and no environment, and neither does what the plugin shows:
//! `src/domain`, `src/api` and `src/cli/show` are read, and what would break that is named with its place.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::{fs, path::Path};

/// What must not stand in code, and why. An end that is part of a name is matched only as a whole name.
const FORBIDDEN: [(&str, &str); 21] = [
    ("async", "the core never waits"),
    ("await", "the core never waits"),
    ("tokio", "no runtime: the core is called, it runs nothing"),
    ("futures", "no runtime: the core is called, it runs nothing"),
    ("redis::", "no client: the observer hands in what Redis answered"),
    ("Client", "no client: reconcile gathers, the core decides"),
    ("Api<", "no client: reconcile gathers, the core decides"),
    ("now(", "no clock: the time is handed in"),
    ("Instant", "no clock: moments are `Mono`"),
    ("SystemTime", "no clock: the time is handed in"),
    ("elapsed(", "no clock: the time is handed in"),
    ("rand", "no randomness: the same input gives the same decision"),
    ("env::", "no environment: settings are handed in"),
    ("std::env", "no environment: settings are handed in"),
    ("fs::", "no files"),
    ("process::", "no processes"),
    ("thread::", "no threads"),
    ("sleep", "the core never waits"),
    ("println", "no output: findings are returned"),
    ("eprintln", "no output: findings are returned"),
    ("tracing", "no output: findings are returned"),
];

#[test]
fn the_core_is_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![
        root.join("api.rs"),
        root.join("domain.rs"),
        root.join("cli/show.rs"),
    ];
    for folder in ["api", "domain", "cli/show"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(
        files.len() > 10,
        "only {} files were found: is the path right?",
        files.len()
    );
    let mut offences = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let shown = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display();
        offences.extend(
            find(&source)
                .into_iter()
                .map(|(line, what)| format!("{shown}:{line}: {what}")),
        );
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// So that nothing is changed without the claim: what asks for the claim is the one way of all requests, and the Lease by
/// which a claim is made the one exception. (What the plugin of kubectl compares with the cluster are dry runs.)
#[test]
fn requests_that_change_something_have_one_way() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let sends = |text: &str| {
        let typed = text.contains("Api<") || text.contains("Api::");
        let calls = [".create(", ".replace(", ".patch(", ".delete("];
        let plain = ["request_text(", "request::<", "request_status", "request_stream("];
        plain.iter().any(|call| text.contains(call)) || typed && calls.iter().any(|call| text.contains(call))
    };
    let found: Vec<_> = files
        .iter()
        .filter(|file| sends(&fs::read_to_string(file).unwrap()))
        .filter_map(|file| file.file_name()?.to_str())
        .collect();
    assert_eq!(found, ["diff.rs", "lease.rs", "rest.rs"]);
}

#[test]
fn the_detector_fires() {
    for planted in [
        "async fn f() {}",
        "x.await;",
        "use tokio::sync::Mutex;",
        "fn f(c: redis::Client) {}",
        "use kube::{Api, Client};",
        "let pods: Api<Pod> = f();",
        "let t = Timestamp::now();",
        "use std::time::Instant;",
        "let x = rand::random();",
        "use std::env;",
        "let v = env::var(x);",
        "println!();",
        "    eprintln!(\"{x}\");",
        "let a = '\"'; let t = now();",
        "let a = \"// no comment\"; let t = now();",
        "let a = \"\\\"\"; let t = now();",
        "let a = r#\"\"x\"#; let t = now();",
        "fn f<'a>(x: &'a str) { now() }",
        "/* /* nested */ */ now()",
    ] {
        let source = format!("//! Pure.\n\nfn before() {{}}\n{planted}\n");
        let lines: Vec<usize> = find(&source).into_iter().map(|(line, _)| line).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| *line == 4),
            "{planted}: {lines:?}"
        );
    }
}

#[test]
fn the_detector_fires_on_code_only() {
    for innocent in [
        "// async, tokio, redis::, now()",
        "/// `println!` and\n//! `rand`",
        "/* now() */",
        "let x = \"redis://redis:6379 async now()\";",
        "let x = r#\"\"now()\"\"#;",
        "let x = \"two\n lines now()\";",
        "let operand = brand_random(); let known = 1;",
        "#[derive(kube::CustomResource)] struct S;",
        "let environment = is_unknown();",
        "let a = b'\"'; // now()",
    ] {
        assert_eq!(find(innocent), [], "{innocent}");
    }
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Line and offence, in the order of the lines.
fn find(source: &str) -> Vec<(usize, String)> {
    let mut offences = Vec::new();
    for (number, line) in code_of(source).lines().enumerate() {
        for (needle, why) in FORBIDDEN {
            if contains(line, needle) {
                offences.push((number + 1, format!("`{needle}`: {why}")));
            }
        }
    }
    offences
}

fn contains(line: &str, needle: &str) -> bool {
    let in_name = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + needle.len()..].chars().next();
        let begins_within = in_name(before) && in_name(needle.chars().next());
        let ends_within = in_name(needle.chars().next_back()) && in_name(after);
        !begins_within && !ends_within
    })
}

/// The source with comments and the contents of literals left out; lines stay where they are.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) =
            raw_string(rest).filter(|_| !code.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        {
            length
        } else if first == '"' {
            string(rest)
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            // A blank, so that two names don't grow together.
            code.push(' ');
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of a raw string, if the text begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        text.strip_prefix(*prefix)
            .is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = text[prefix.len()..].len() - text[prefix.len()..].trim_start_matches('#').len();
    let start = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(
        text[start..]
            .find(&end)
            .map_or(text.len(), |at| start + at + end.len()),
    )
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal; 0: it is a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| 3 + at + 1),
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}
