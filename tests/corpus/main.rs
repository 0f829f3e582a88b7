//! Tens of thousands of histories through the core, in simulated time, each verdict held against the truth; then the
//! same histories through implementations that are wrong, each of which must be caught.
//!
//! A history is its number and the seed: `LOCKSTEP_SEED=7 LOCKSTEP_HISTORY=123 cargo test --test corpus` plays one again.
//! What fails is shrunk to the fewest and simplest acts that still fail, and printed. The figures are left in
//! `target/tmp/truth.txt`, too: `make test` ends with them.

#![expect(clippy::print_stdout, reason = "the figures are what this test is read for")]

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use lockstep::clock;
use lockstep_truth::{
    oracle::{Figures, Kind},
    plan::{Plan, drawn},
    world::{Played, play},
    wrong::Wrong,
};
use proptest::strategy::ValueTree as _;

/// Histories that are played through the core.
const HISTORIES: u64 = 20_000;
/// Each wrong implementation has so many histories to be caught in.
const CHANCES: u64 = 2_000;
/// Disagreements that are printed in full.
const PRINTED: usize = 12;

fn main() -> ExitCode {
    let seed = number("LOCKSTEP_SEED").unwrap_or(0);
    if let Some(history) = number("LOCKSTEP_HISTORY") {
        return again(seed, history);
    }
    let histories = number("LOCKSTEP_HISTORIES").unwrap_or(HISTORIES);
    let (truthful, mut figures) = truth(seed, histories);
    let (caught, wrong) = wrongs(seed);
    figures.push_str(&wrong);
    print!("{figures}");
    if let Err(error) = fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/truth.txt"), figures) {
        println!("The figures could not be kept for the end: {error}");
    }
    if truthful && caught {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// What came of all histories.
#[derive(Default)]
struct Sum {
    figures: Figures,
    passes: usize,
    writes: usize,
    kinds: BTreeMap<Kind, u64>,
    failed: Vec<u64>,
}

/// Whether core and truth agree about all of them, and the figures.
fn truth(seed: u64, histories: u64) -> (bool, String) {
    let began = clock::mono();
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut mine = Sum::default();
                loop {
                    let history = next.fetch_add(1, Ordering::Relaxed);
                    if history >= histories {
                        break;
                    }
                    let played = play(&drawn(seed, history).current(), None);
                    mine.add(history, &played);
                }
                sum.lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .merge(mine);
            });
        }
    });
    let mut sum = sum
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    sum.failed.sort_unstable();
    for history in sum.failed.iter().take(PRINTED) {
        print_shrunk(seed, *history);
    }
    (
        sum.failed.is_empty(),
        sum.figures(seed, histories, clock::mono().since(began)),
    )
}

impl Sum {
    fn add(&mut self, history: u64, played: &Played) {
        self.figures += played.figures;
        self.passes += played.passes;
        self.writes += played.writes;
        for violation in &played.violations {
            *self.kinds.entry(violation.kind).or_default() += 1;
        }
        if !played.violations.is_empty() {
            self.failed.push(history);
        }
    }

    fn merge(&mut self, other: Self) {
        self.figures += other.figures;
        self.passes += other.passes;
        self.writes += other.writes;
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.failed.extend(other.failed);
    }

    fn figures(&self, seed: u64, histories: u64, took: Duration) -> String {
        let of = |kinds: &[Kind]| kinds.iter().filter_map(|kind| self.kinds.get(kind)).sum::<u64>();
        let figures = &self.figures;
        #[expect(clippy::cast_precision_loss, reason = "a share, for people")]
        let unknown = 100.0 * figures.unknown as f64 / figures.verdicts.max(1) as f64;
        let mut text = format!(
            "truth: {histories} histories of seed {seed} in {:.0} s: {} false, {} missed, {} from a blind spot, {} \
             Unknown without a reason; {} other disagreements; {} histories fail\n",
            took.as_secs_f64(),
            of(&[Kind::FalseLoss, Kind::FalseAlarm]),
            of(&[Kind::MissedLoss]),
            of(&[Kind::BlindVerdict]),
            of(&[Kind::UnjustifiedUnknown]),
            of(&[
                Kind::WrongCause,
                Kind::NotOnce,
                Kind::Late,
                Kind::WrongState,
                Kind::WrongEvent,
                Kind::Fault
            ]),
            self.failed.len(),
        );
        let _ = writeln!(
            text,
            "truth: {} ends judged: {} losses that could be seen, {} ends that nobody watched, {} that nothing tells from \
             another cause",
            figures.ends, figures.losses, figures.blind, figures.ambiguous
        );
        let _ = writeln!(
            text,
            "truth: status compared as a whole {} times; {:.1} % of {} verdicts Unknown; {} events, {} writes, {} passes",
            figures.checks, unknown, figures.verdicts, figures.events, self.writes, self.passes
        );
        text
    }
}

/// Shrinks a history that fails for as long as it fails in the same way.
fn print_shrunk(seed: u64, history: u64) {
    let mut tree = drawn(seed, history);
    let Some(kind) = play(&tree.current(), None)
        .violations
        .first()
        .map(|first| first.kind)
    else {
        return;
    };
    let fails = |plan: &Plan| {
        play(plan, None)
            .violations
            .iter()
            .any(|violation| violation.kind == kind)
    };
    let mut least = tree.current();
    if tree.simplify() {
        for _ in 0..400 {
            let failed = fails(&tree.current());
            if failed {
                least = tree.current();
            }
            let more = if failed {
                tree.simplify()
            } else {
                tree.complicate()
            };
            if !more {
                break;
            }
        }
    }
    print_history(seed, history, &least);
}

fn print_history(seed: u64, history: u64, plan: &Plan) {
    println!("history {history} of seed {seed}: {plan:?}");
    let played = play(plan, None);
    for event in &played.said {
        println!("  said: {} {}: {}", event.reason, event.key, event.note);
    }
    for violation in &played.violations {
        println!("  at {}: {:?}: {}", violation.at, violation.kind, violation.what);
    }
}

fn again(seed: u64, history: u64) -> ExitCode {
    let plan = drawn(seed, history).current();
    print_history(seed, history, &plan);
    print_shrunk(seed, history);
    if play(&plan, None).violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether every wrong implementation is caught, and by which history.
fn wrongs(seed: u64) -> (bool, String) {
    let next = AtomicU64::new(0);
    let caught = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                    let Some(wrong) = Wrong::ALL.get(index).copied() else {
                        break;
                    };
                    let found = catch(seed, wrong);
                    caught
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((index, found));
                }
            });
        }
    });
    let mut caught = caught
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    caught.sort_unstable_by_key(|(index, _)| *index);
    let mut text = String::new();
    for (index, found) in &caught {
        let wrong = Wrong::ALL[*index];
        let found = match found {
            Some((history, kind)) => format!("caught by history {history}, {kind:?}"),
            None => format!("NOT CAUGHT in {CHANCES} histories"),
        };
        let _ = writeln!(text, "wrong: {wrong:?}, which {}: {found}", wrong.what());
    }
    let all = caught.iter().filter(|(_, found)| found.is_some()).count();
    let _ = writeln!(
        text,
        "wrong: {all} of {} wrong implementations caught",
        Wrong::ALL.len()
    );
    (all == Wrong::ALL.len(), text)
}

/// The first history that tells it from the core, and how.
fn catch(seed: u64, wrong: Wrong) -> Option<(u64, Kind)> {
    (0..CHANCES).find_map(|history| {
        let plan = drawn(seed, history).current();
        let first = play(&plan, Some(wrong)).violations.first()?.kind;
        play(&plan, None)
            .violations
            .is_empty()
            .then_some((history, first))
    })
}
