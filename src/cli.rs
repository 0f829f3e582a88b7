//! `kubectl lockstep`: the plugin that answers whoever was asked about a workload. I/O at this edge only.
//!
//! In: a command line, the cluster, manifests. Out: text on standard output, remarks on standard error, and an exit code
//! ([`Exit`]). What is said is made in [`show`], which is pure. Nothing here talks to Redis: status holds what is known.

mod access;
mod complete;
mod diff;
mod live;
mod manifest;
mod offline;
mod operator;
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
    /// Print what completes the command line: for kubectl, or for a shell and the name kubectl-lockstep.
    ///
    /// For kubectl (1.26 or later) it is a program, to be put on PATH as kubectl_complete-lockstep.
    Completion {
        /// What asks for it.
        shell: Completed,
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
    /// Show what the operator counts of every set, which status leaves out: locks by state, taken, released, lost, and gaps.
    ///
    /// Asks its pod through the apiserver, with the right to get pods/proxy in the operator's namespace.
    #[arg(long, conflicts_with = "output")]
    live: bool,
    /// With --live: where the operator serves its metrics.
    #[arg(long, requires = "live", value_name = "PORT", default_value_t = 8080)]
    operator_port: u16,
    /// wide: nothing shortened, with the keys in Redis; json or yaml: status.locks as it is stored.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
}

/// What can complete a command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Completed {
    Kubectl,
    Bash,
    Zsh,
    Fish,
    Elvish,
    #[value(name = "powershell")]
    PowerShell,
}

impl Completed {
    fn script(self) -> String {
        let shell = match self {
            Self::Kubectl => return complete::SCRIPT.to_owned(),
            Self::Bash => Shell::Bash,
            Self::Zsh => Shell::Zsh,
            Self::Fish => Shell::Fish,
            Self::Elvish => Shell::Elvish,
            Self::PowerShell => Shell::PowerShell,
        };
        let mut script = vec![];
        clap_complete::generate(shell, &mut Arguments::command(), "kubectl-lockstep", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
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
    // Not a command of its own: whatever follows is no flag of ours yet.
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(complete::REQUEST) {
        print(&complete::answer(&words.collect::<Vec<_>>()).await);
        return Exit::Well.into();
    }
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
            Box::pin(watch::until_well(&Access::open(&place).await?, &name, timeout)).await
        }
        Command::Locks(LocksArguments {
            name,
            output,
            live: is_live,
            operator_port,
        }) => {
            let access = Access::open(&place).await?;
            let (resource, seen) = tokio::join!(access.resource(&name), operator::look(&access));
            let resource = resource?;
            let stored = resource.status.as_ref().and_then(|status| status.locks.as_ref());
            let now = seen.now.unwrap_or_else(clock::wall);
            let view = View::new(&resource, None, now, page()).with_operator(seen.operator);
            if is_live {
                let (who, sets) = live::read(&access, &view, operator_port).await?;
                print(&show::live::page(&who, &name, &sets, view.page));
                return Ok(Exit::Well);
            }
            match output {
                Some(Output::Json) => print(&(json(&stored)? + "\n")),
                Some(Output::Yaml) => print(&yaml(&stored)?),
                Some(Output::Wide) => print(&table(&view, true)),
                None => print(&table(&view, false)),
            }
            notes(&view, output);
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
            print(&shell.script());
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
    seen: operator::Seen,
}

impl Shown {
    async fn read(access: &Access, name: &str) -> Result<Self, Error> {
        let (resource, pods, seen) = tokio::join!(
            access.resource(name),
            access.pods_of(name),
            operator::look(access)
        );
        Ok(Self {
            resource: resource?,
            pods,
            seen,
        })
    }

    fn view(&self) -> View<'_> {
        // By the clock that the conditions' times are compared with elsewhere, too.
        let now = self.seen.now.unwrap_or_else(clock::wall);
        View::new(&self.resource, self.pods.as_deref(), now, page()).with_operator(self.seen.operator.clone())
    }
}

fn exit(view: &View<'_>) -> Exit {
    match Standing::of(view) {
        Standing::Well => Exit::Well,
        Standing::Unknown => Exit::Unknown,
        Standing::Wrong => Exit::Wrong,
    }
}

fn table(view: &View<'_>, is_wide: bool) -> String {
    if view.rows().is_empty() {
        return String::new();
    }
    locks::table(view, is_wide)
}

/// What the table doesn't say; beside what is for programs only that it is old.
fn notes(view: &View<'_>, output: Option<Output>) {
    let notes = match output {
        Some(Output::Json | Output::Yaml) => locks::age_note(view).into_iter().collect(),
        Some(Output::Wide) | None => locks::notes(view),
    };
    for note in notes {
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
