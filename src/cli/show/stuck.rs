//! The one command that frees a lock which never frees itself: its owner is gone, and it has no expiry. Pure.
//!
//! Lockstep never writes to Redis: the command is printed for somebody to run, who has made sure that the former holder is
//! gone. It deletes the key only if it still has no expiry when it runs; a lock that somebody took again as it should be
//! taken has one, and stays.

use std::fmt::Write as _;

use super::{
    View,
    locks::key,
    text::{clean, is_harmless, wrap},
};
use crate::{
    api::{
        spec::KeySelector,
        status::{Flag, LockState, Row},
    },
    domain::{
        locks::probe::Form,
        workload::{Store, StoreAddress, StoreHost},
    },
};

/// Deletes the key if it is there and has no expiry; answers 1 if it did.
const SCRIPT: &str = r#"return redis.call("PTTL",KEYS[1])==-1 and redis.call("DEL",KEYS[1])"#;
/// Locks for which a command is shown.
const MOST: usize = 3;

/// The locks that never free themselves.
fn stuck<'v>(view: &'v View<'_>) -> Vec<(&'v Row, String)> {
    let rows = view.rows().iter();
    rows.filter(|row| row.state == LockState::Orphaned && row.flags.contains(&Flag::NoExpiry))
        .filter(|row| may_be_deleted(view, row))
        .filter_map(|row| Some((row, key(view, row)?)))
        .collect()
}

/// Whether the whole key is this one hold: of a set, other members may be holds of their own.
fn may_be_deleted(view: &View<'_>, row: &Row) -> bool {
    view.set(&row.set).is_some_and(|set| match set.scheme.form {
        Form::String(_) | Form::HashField { .. } => true,
        Form::SetMember { .. } | Form::SortedSetMember { .. } => false,
    })
}

/// What to say and to run for the locks that never free themselves; empty if there are none.
#[must_use]
pub fn advice(view: &View<'_>, indent: &str) -> String {
    let stuck = stuck(view);
    let Some(store) = view.workload().and_then(|workload| workload.store.as_ref()) else {
        return String::new();
    };
    let Some((first, _)) = stuck.first() else {
        return String::new();
    };
    let it = if stuck.len() == 1 { "it" } else { "each" };
    let pod = first.pod.as_deref().map_or("the former holder".to_owned(), clean);
    let mut text = wrap(
        &format!(
            "Once you are sure that {pod} does not run any more, this deletes {it}, and only if it still has no expiry \
             then (1: deleted; nil: left alone). Lockstep never runs it.{}",
            hints(view, store)
        ),
        view.page.text,
        indent,
    );
    for (row, key) in stuck.iter().take(MOST) {
        text.push('\n');
        match command(store, key) {
            Some(command) => {
                for line in command.lines() {
                    let _ = writeln!(text, "{indent}  {line}");
                }
            }
            None => {
                text += &wrap(
                    &format!(
                        "The key of {} holds a NUL, which no command line can carry.",
                        clean(&row.name)
                    ),
                    view.page.text,
                    indent,
                );
            }
        }
    }
    if stuck.len() > MOST {
        let _ = writeln!(text, "\n{indent}and {} more like these.", stuck.len() - MOST);
    }
    text
}

/// What the command needs that only its reader has.
fn hints(view: &View<'_>, store: &Store) -> String {
    let mut hints = String::new();
    let secret = |key: &KeySelector| format!("key {} of Secret {}", clean(&key.key), clean(&key.name));
    let is_short = |host: &StoreHost| host.name.parse::<std::net::IpAddr>().is_err();
    let hosts: &[StoreHost] = match &store.address {
        StoreAddress::Url(host) => std::slice::from_ref(host),
        StoreAddress::Cluster(hosts) | StoreAddress::Quorum(hosts) => hosts,
        StoreAddress::Secret(key) => {
            let _ = write!(hints, " Set REDIS_URL to {} first.", secret(key));
            &[]
        }
        StoreAddress::Sentinel(sentinel) => {
            if let Some(endpoint) = sentinel.endpoints.first() {
                let _ = write!(
                    hints,
                    " Set MASTER_HOST and MASTER_PORT first, to what redis-cli -h {} -p {} SENTINEL \
                     GET-MASTER-ADDR-BY-NAME {} answers.",
                    clean(&endpoint.name),
                    endpoint.port,
                    clean(&quoted(&sentinel.master).unwrap_or_default())
                );
            }
            &sentinel.endpoints
        }
    };
    if hosts.iter().any(is_short) {
        let _ = write!(
            hints,
            " Run it where names resolve as in namespace {}, such as in a pod there.",
            clean(view.namespace())
        );
    }
    if let Some(user) = &store.username_from {
        let _ = write!(hints, " Set REDIS_USER to {}.", secret(user));
    }
    if let Some(password) = &store.password_from {
        let _ = write!(hints, " Set REDISCLI_AUTH to {}.", secret(password));
    }
    if store.tls.is_some() {
        hints += " Add --cacert, --cert and --key as your server asks for them.";
    }
    hints
}

/// The command, over several lines that a shell joins; `None`: no command line can carry this key.
#[must_use]
pub fn command(store: &Store, key: &str) -> Option<String> {
    let key = quoted(key)?;
    let script = quoted(SCRIPT)?;
    let mut options = String::new();
    if store.username_from.is_some() {
        options += " --user \"$REDIS_USER\"";
    }
    if store.tls.is_some() {
        options += " --tls";
    }
    if store.database != 0 {
        let _ = write!(options, " -n {}", store.database);
    }
    let at = |host: &StoreHost| Some(format!("-h {} -p {}", quoted(&host.name)?, host.port));
    let eval = format!("EVAL \\\n  {script} \\\n  1 {key}");
    Some(match &store.address {
        StoreAddress::Url(host) => format!("redis-cli {}{options} {eval}", at(host)?),
        StoreAddress::Secret(_) => format!("redis-cli -u \"$REDIS_URL\"{options} {eval}"),
        StoreAddress::Sentinel(_) => {
            format!("redis-cli -h \"$MASTER_HOST\" -p \"$MASTER_PORT\"{options} {eval}")
        }
        // -c: any member leads to the one that has the key.
        StoreAddress::Cluster(hosts) => format!("redis-cli -c {}{options} {eval}", at(hosts.first()?)?),
        StoreAddress::Quorum(hosts) => {
            let hosts = hosts
                .iter()
                .map(|host| quoted(&format!("{} {}", host.name, host.port)));
            let hosts = hosts.collect::<Option<Vec<_>>>()?.join(" ");
            format!(
                "for at in {hosts}; do\n  redis-cli -h \"${{at% *}}\" -p \"${{at#* }}\"{options} {eval}\ndone"
            )
        }
    })
}

/// One word of a shell's command line, whatever the text holds. What a terminal would obey, or nobody can see, is
/// written in octal (`$'…'`, which bash, zsh and ksh know; a shell that doesn't passes another key, which isn't there).
/// `None`: a NUL, which can't be in a word.
#[must_use]
pub fn quoted(text: &str) -> Option<String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/@%+=,".contains(letter);
    if text.contains('\0') {
        return None;
    }
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('=') {
        return Some(text.to_owned());
    }
    if text.chars().all(is_harmless) {
        return Some(format!("'{}'", text.replace('\'', r"'\''")));
    }
    let mut word = "$'".to_owned();
    for letter in text.chars() {
        if is_plain(letter) || letter == ' ' {
            word.push(letter);
        } else {
            for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(word, "\\{byte:03o}");
            }
        }
    }
    word.push('\'');
    Some(word)
}
