//! Completion as kubectl (1.26 and later) asks for it: it runs `kubectl_complete-lockstep` with the words that follow
//! `kubectl lockstep`, the last of them unfinished, and reads one candidate a line, with a description behind a tab, and in
//! the last line what else it may offer.
//!
//! What could come next is read from the definition of the command line ([`wanted`], pure); names are asked of the
//! cluster, for a moment only: who types doesn't wait. (The engine of `clap_complete` does the first part too, behind a
//! feature that is called unstable.)

use std::{fmt::Write as _, time::Duration};

use clap::{Arg, Command, CommandFactory as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ListParams, ObjectList, PartialObjectMeta},
    config::Kubeconfig,
};

use super::{
    Arguments,
    access::{Access, Place},
    show::text::clean,
};

/// The program that kubectl looks for.
pub(super) const SCRIPT: &str = "#!/bin/sh
# Completion of kubectl lockstep: kubectl looks on PATH for a program that is called kubectl_complete-lockstep.
exec kubectl-lockstep __complete \"$@\"
";
/// The first word of a request.
pub(super) const REQUEST: &str = "__complete";
/// Who types doesn't wait longer for names.
const LIMIT: Duration = Duration::from_secs(2);
/// More names than that are no help.
const MOST: u32 = 500;
/// What kubectl may offer besides: files of any name, ...
const FILES: &str = ":0\n";
/// ... nothing, ...
const NO_FILES: &str = ":4\n";
/// ... or files that end in what was printed.
const MANIFESTS: &str = "yaml\nyml\njson\n:8\n";

/// What the last word may become.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// One of these, with what it means.
    These(Vec<(String, String)>),
    /// The name of a CoordinatedWorkload.
    Workload,
    /// The name of a namespace.
    Namespace,
    /// The name of a context.
    Context,
    /// A manifest.
    Manifest,
    /// A file.
    File,
}

/// What completes the last word, how it begins, and where the names are to be found.
#[derive(Debug)]
pub(super) struct Question {
    place: Place,
    begun: String,
    wanted: Wanted,
}

/// Prints what completes the last of the words. Whatever fails completes nothing: nobody asked for its reasons.
pub(super) async fn answer(words: &[String]) -> String {
    let question = ask(words);
    let found = match question.wanted {
        Wanted::Manifest => return MANIFESTS.to_owned(),
        Wanted::File => return FILES.to_owned(),
        Wanted::These(these) => these,
        Wanted::Context => plain(contexts(&question.place)),
        wanted @ (Wanted::Workload | Wanted::Namespace) => {
            let names = tokio::time::timeout(LIMIT, names(&question.place, &wanted)).await;
            plain(names.ok().flatten().unwrap_or_default())
        }
    };
    let mut text = String::new();
    for (candidate, meaning) in found
        .iter()
        .filter(|(found, _)| found.starts_with(&question.begun))
    {
        text += &clean(candidate);
        if !meaning.is_empty() {
            // Writing to a String can't fail.
            let _ = write!(text, "\t{}", clean(meaning));
        }
        text.push('\n');
    }
    text + NO_FILES
}

fn plain(names: Vec<String>) -> Vec<(String, String)> {
    names.into_iter().map(|name| (name, String::new())).collect()
}

/// What is asked for by these words. Pure.
pub(super) fn ask(words: &[String]) -> Question {
    let mut root = Arguments::command();
    root.build();
    let mut command = &root;
    let mut place = Place::default();
    // A flag that still needs its value, and how many arguments without a flag there were.
    let (mut pending, mut position, mut is_escaped) = (None, 0, false);
    let (last, before) = words
        .split_last()
        .map_or(("", words), |(last, before)| (last, before));
    for word in before {
        if let Some(flag) = pending.take() {
            note(&mut place, flag, word);
        } else if !is_escaped && word == "--" {
            is_escaped = true;
        } else if let Some(long) = word.strip_prefix("--").filter(|_| !is_escaped) {
            let (name, value) = long
                .split_once('=')
                .map_or((long, None), |(name, value)| (name, Some(value)));
            let flag = flags(command).find(|flag| flag.get_long() == Some(name));
            match (flag, value) {
                (Some(flag), Some(value)) => note(&mut place, flag, value),
                (Some(flag), None) => pending = Some(flag).filter(|flag| takes_value(flag)),
                (None, _) => {}
            }
        } else if let Some(letters) = word.strip_prefix('-').filter(|_| !is_escaped) {
            pending = short(command, letters, &mut place);
        } else if let Some(below) = command.find_subcommand(word).filter(|_| position == 0) {
            command = below;
        } else {
            position += 1;
        }
    }
    let (begun, wanted) = if let Some(flag) = pending {
        (last, values(flag))
    } else if let Some((name, value)) = last.strip_prefix("--").and_then(|long| long.split_once('=')) {
        let flag = flags(command).find(|flag| flag.get_long() == Some(name));
        (value, flag.map_or_else(nothing, values))
    } else if last.starts_with('-') && !is_escaped {
        (last, Wanted::These(flag_names(command)))
    } else if command.has_subcommands() {
        let below = command.get_subcommands().filter(|below| !below.is_hide_set());
        let these = below.map(|below| (below.get_name().to_owned(), first_line(below.get_about())));
        (last, Wanted::These(these.collect()))
    } else {
        let argument = command.get_positionals().nth(position);
        (last, argument.map_or_else(nothing, values))
    };
    Question {
        place,
        begun: begun.to_owned(),
        wanted,
    }
}

fn nothing() -> Wanted {
    Wanted::These(vec![])
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|argument| !argument.is_positional())
}

fn takes_value(flag: &Arg) -> bool {
    flag.get_action().takes_values()
}

/// Reads flags of one letter; the last of them may still need its value.
fn short<'c>(command: &'c Command, letters: &str, place: &mut Place) -> Option<&'c Arg> {
    for (at, letter) in letters.char_indices() {
        let flag = flags(command).find(|flag| flag.get_short() == Some(letter))?;
        if takes_value(flag) {
            let value = &letters[at + letter.len_utf8()..];
            if value.is_empty() {
                return Some(flag);
            }
            note(place, flag, value.strip_prefix('=').unwrap_or(value));
            return None;
        }
    }
    None
}

/// Keeps what says where names are to be found.
fn note(place: &mut Place, flag: &Arg, value: &str) {
    match flag.get_id().as_str() {
        "namespace" => place.namespace = Some(value.to_owned()),
        "context" => place.context = Some(value.to_owned()),
        "kubeconfig" => place.kubeconfig = Some(value.into()),
        _ => {}
    }
}

/// What an argument can be.
fn values(argument: &Arg) -> Wanted {
    match argument.get_id().as_str() {
        "name" => Wanted::Workload,
        "namespace" | "operator_namespace" => Wanted::Namespace,
        "context" => Wanted::Context,
        "kubeconfig" => Wanted::File,
        "filenames" => Wanted::Manifest,
        _ => {
            let possible = argument.get_possible_values().into_iter();
            let these = possible.map(|value| (value.get_name().to_owned(), first_line(value.get_help())));
            Wanted::These(these.collect())
        }
    }
}

fn flag_names(command: &Command) -> Vec<(String, String)> {
    let named = flags(command)
        .filter(|flag| !flag.is_hide_set())
        .flat_map(|flag| {
            let long = flag.get_long().map(|long| format!("--{long}"));
            let short = flag.get_short().map(|short| format!("-{short}"));
            let help = first_line(flag.get_help());
            long.into_iter()
                .chain(short)
                .map(move |name| (name, help.clone()))
        });
    named.collect()
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn contexts(place: &Place) -> Vec<String> {
    let kubeconfig = match &place.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let contexts = kubeconfig
        .map(|kubeconfig| kubeconfig.contexts)
        .unwrap_or_default();
    contexts.into_iter().map(|context| context.name).collect()
}

async fn names(place: &Place, wanted: &Wanted) -> Option<Vec<String>> {
    let access = Access::open(place).await.ok()?;
    let some = ListParams::default().limit(MOST);
    if *wanted == Wanted::Namespace {
        let namespaces: Api<Namespace> = Api::all(access.client.clone());
        return namespaces.list_metadata(&some).await.ok().map(listed);
    }
    access.resources().list_metadata(&some).await.ok().map(listed)
}

fn listed<K: Clone>(list: ObjectList<PartialObjectMeta<K>>) -> Vec<String> {
    let names = list.items.into_iter().filter_map(|object| object.metadata.name);
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(line: &str) -> Question {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        ask(&words)
    }

    fn offered(line: &str) -> Vec<String> {
        let Question { begun, wanted, .. } = question(line);
        let Wanted::These(these) = wanted else {
            unreachable!("{line}: {wanted:?}")
        };
        let names = these.into_iter().map(|(name, _)| name);
        names.filter(|name| name.starts_with(&begun)).collect()
    }

    #[test]
    fn what_comes_next_is_what_the_command_line_allows() {
        assert_eq!(offered("st"), ["status"]);
        assert_eq!(
            offered(""),
            ["status", "locks", "why", "check", "render", "diff", "completion"]
        );
        assert_eq!(offered("status --w"), ["--watch"]);
        assert_eq!(offered("locks shop -o "), ["json", "yaml", "wide"]);
        assert_eq!(offered("locks shop -o w"), ["wide"]);
        assert_eq!(offered("locks shop --output=y"), ["yaml"]);
        assert_eq!(offered("status shop "), Vec::<String>::new());
        assert_eq!(offered("completion f"), ["fish"]);
        assert!(offered("why -").contains(&"-n".to_owned()));
        for (line, wanted) in [
            ("status ", Wanted::Workload),
            ("status --watch sh", Wanted::Workload),
            ("why -- -x", Wanted::Workload),
            ("-n prod why ", Wanted::Workload),
            ("why -n ", Wanted::Namespace),
            ("why --namespace=p", Wanted::Namespace),
            ("why --operator-namespace ", Wanted::Namespace),
            ("--context ", Wanted::Context),
            ("check -f ", Wanted::Manifest),
            ("--kubeconfig ", Wanted::File),
        ] {
            assert_eq!(question(line).wanted, wanted, "{line}");
        }
    }

    #[test]
    fn names_are_looked_for_where_the_line_says() {
        for line in [
            "status -n prod --context=blue s",
            "-nprod status --context blue s",
            "status -n=prod --watch --context blue s",
            "--namespace prod --context=blue status -wn prod s",
        ] {
            let Question { place, begun, wanted } = question(line);
            let said = (place.namespace.as_deref(), place.context.as_deref());
            assert_eq!(said, (Some("prod"), Some("blue")), "{line}");
            assert_eq!((begun.as_str(), wanted), ("s", Wanted::Workload), "{line}");
        }
    }
}
