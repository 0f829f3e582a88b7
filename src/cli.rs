//! `kubectl lockstep`: the plugin that answers whoever was asked about a workload. I/O at this edge only.
//!
//! In: a command line, the cluster, manifests. Out: text on standard output, remarks on standard error, and an exit code
//! ([`Exit`]). What is said is made in [`show`], which is pure. Nothing here talks to Redis: status holds what is known.

mod access;
mod diff;
mod manifest;
mod offline;
pub mod show;
mod watch;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use self::{
    access::{Access, Error, Place},
    show::{
        Page, View, locks,
        standing::Standing,
        status,
        text::{Tone, clean, paint, wrap},
        why,
    },
};
use crate::{api::CoordinatedWorkload, clock};

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// All is well, or what was asked for was shown.
    Well = 0,
    /// The command could not do what it was asked. `diff`: there are differences.
    Error = 1,
    /// `status`: something is wrong. `check`: the manifest is. `diff`: an error.
    Wrong = 2,
    /// `status`: not known, or not yet.
    Unknown = 3,
    /// `status --watch --timeout`: not well in time.
    TimedOut = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Is the coordination of a workload healthy, and if not, which lock, which pod, since when, why, and what now?
#[derive(Debug, Parser)]
#[command(name = "kubectl-lockstep", bin_name = "kubectl lockstep", version)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a workload as a tree: its objects, its pods with the locks that they hold, Redis, and the conditions.
    ///
    /// Exit codes: 0 well, 1 error, 2 something is wrong, 3 not known (yet), 4 not well within --timeout.
    Status(StatusArguments),
    /// Show the locks: who holds each, since when, and when it frees.
    ///
    /// Every Continuous lock and everything that is wrong, the worst first. Exit codes: 0 shown, 1 error.
    Locks(LocksArguments),
    /// Say what is wrong with a workload, in order of cause, with the evidence, what happened lately, and what to do.
    ///
    /// Exit codes: 0 said, 1 error.
    Why(Name),
    /// Check manifests without a cluster: what is wrong, how long a lock may be without a holder, and advice.
    ///
    /// Rules that only the apiserver evaluates are left to kubectl apply --dry-run=server. Exit codes: 0 can be used, 1
    /// error, 2 can't be used (with --strict: or there is advice).
    Check(CheckArguments),
    /// Print the objects that the operator would create of manifests, without a cluster.
    Render(Files),
    /// Show what the operator would change in the cluster if manifests were applied.
    ///
    /// Sends reads and dry runs only. Exit codes, as those of kubectl diff: 0 no difference, 1 differences, 2 error.
    Diff(Files),
    /// Print a shell's completion of kubectl-lockstep.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Args, Debug)]
struct Files {
    /// Manifests, with one document or more; - is standard input.
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    filenames: Vec<String>,
}

#[derive(Args, Debug)]
struct CheckArguments {
    #[command(flatten)]
    files: Files,
    /// Advice is a fault, too.
    #[arg(long)]
    strict: bool,
}

#[derive(Args, Debug)]
struct Name {
    /// Name of the CoordinatedWorkload.
    name: String,
}

#[derive(Args, Debug)]
struct StatusArguments {
    /// Name of the CoordinatedWorkload.
    name: String,
    /// Show it again whenever it changes, until it is well.
    #[arg(short, long)]
    watch: bool,
    /// With --watch: give up after this time, such as 90s or 5m.
    #[arg(long, requires = "watch", value_name = "DURATION", value_parser = duration)]
    timeout: Option<std::time::Duration>,
}

#[derive(Args, Debug)]
struct LocksArguments {
    /// Name of the CoordinatedWorkload.
    name: String,
    /// wide: nothing shortened, with the keys in Redis; json or yaml: status.locks as it is stored.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    Json,
    Yaml,
    Wide,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::api::spec::Duration(text.to_owned())
        .parse()
        .map_err(|error| error.to_string())
}

/// The plugin: reads the command line, does it, answers how it went.
pub async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // Not clap's 2, which means here that something is wrong with the workload.
            return if error.use_stderr() {
                Exit::Error
            } else {
                Exit::Well
            }
            .into();
        }
    };
    match Box::pin(run(arguments)).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            complain(&error);
            Exit::Error.into()
        }
    }
}

async fn run(arguments: Arguments) -> Result<Exit, Error> {
    let place = arguments.place;
    // Without a cluster nobody knows the namespace of the context.
    let namespace = place.namespace.as_deref().unwrap_or("default");
    match arguments.command {
        Command::Status(StatusArguments {
            name, watch: false, ..
        }) => {
            let shown = Shown::read(&Access::open(&place).await?, &name).await?;
            let view = shown.view();
            print(&status::page(&view));
            Ok(exit(&view))
        }
        Command::Status(StatusArguments { name, timeout, .. }) => {
            watch::until_well(&Access::open(&place).await?, &name, timeout).await
        }
        Command::Locks(LocksArguments { name, output }) => {
            let access = Access::open(&place).await?;
            let resource = access.resource(&name).await?;
            let stored = resource.status.as_ref().and_then(|status| status.locks.as_ref());
            let view = View::new(&resource, None, clock::wall(), page());
            match output {
                Some(Output::Json) => print(&(json(&stored)? + "\n")),
                Some(Output::Yaml) => print(&yaml(&stored)?),
                Some(Output::Wide) => table(&view, true),
                None => table(&view, false),
            }
            Ok(Exit::Well)
        }
        Command::Why(Name { name }) => {
            let shown = Shown::read(&Access::open(&place).await?, &name).await?;
            print(&why::page(&shown.view()));
            Ok(Exit::Well)
        }
        Command::Check(CheckArguments { files, strict }) => {
            offline::check(&files.filenames, namespace, strict)
        }
        Command::Render(files) => offline::render(&files.filenames, namespace),
        Command::Diff(files) => Ok(match Box::pin(differs(&place, &files)).await {
            Ok(false) => Exit::Well,
            // kubectl's own codes, which scripts know.
            Ok(true) => Exit::Error,
            Err(error) => {
                complain(&error);
                Exit::Wrong
            }
        }),
        Command::Completion { shell } => {
            let mut script = vec![];
            clap_complete::generate(shell, &mut Arguments::command(), "kubectl-lockstep", &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(Exit::Well)
        }
    }
}

async fn differs(place: &Place, files: &Files) -> Result<bool, Error> {
    let access = Access::open(place).await?;
    Box::pin(diff::run(&access, &files.filenames)).await
}

fn complain(error: &Error) {
    say(&paint(
        Tone::Bad,
        &format!("error: {}", clean(&error.to_string())),
    ));
}

/// What was read of a workload, at one moment.
struct Shown {
    resource: CoordinatedWorkload,
    pods: Option<Vec<show::pods::PodLine>>,
}

impl Shown {
    async fn read(access: &Access, name: &str) -> Result<Self, Error> {
        let resource = access.resource(name).await?;
        let pods = access.pods_of(name).await;
        Ok(Self { resource, pods })
    }

    fn view(&self) -> View<'_> {
        View::new(&self.resource, self.pods.as_deref(), clock::wall(), page())
    }
}

fn exit(view: &View<'_>) -> Exit {
    match Standing::of(view) {
        Standing::Well => Exit::Well,
        Standing::Unknown => Exit::Unknown,
        Standing::Wrong => Exit::Wrong,
    }
}

fn table(view: &View<'_>, is_wide: bool) {
    if !view.rows().is_empty() {
        print(&locks::table(view, is_wide));
    }
    for note in locks::notes(view) {
        say(wrap(&note, view.page.text, "").trim_end());
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(|error| unwritable(&error))
}

fn yaml(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_yaml::to_string(value).map_err(|error| unwritable(&error))
}

fn unwritable(error: &dyn std::error::Error) -> Error {
    Error::Unwritable(error.to_string())
}

/// How much room standard output has.
fn page() -> Page {
    if !std::io::stdout().is_terminal() {
        return Page::PIPED;
    }
    let columns = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    Page::terminal(columns.unwrap_or(80))
}

/// Prints on standard output; the colours only where somebody sees them (a terminal, and no `NO_COLOR`). A reader that went
/// away is no error.
fn print(text: &str) {
    let mut output = anstream::AutoStream::auto(std::io::stdout());
    let _ = output.write_all(text.as_bytes());
    let _ = output.flush();
}

/// Says something on standard error.
fn say(text: &str) {
    let mut output = anstream::AutoStream::auto(std::io::stderr());
    let _ = writeln!(output, "{text}");
}
