//! `why`: what is wrong, in order of cause, with the evidence that status has, and what to do. Pure.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Grade, View, age, history, locks,
    operator::Operator,
    pods::PodLine,
    standing::{self, Standing},
    stuck,
    table::{Cell, Table},
    text::{Tone, clean, counted, paint, wrap},
};
use crate::api::{
    conditions::{ConditionType, Reason},
    status::Row,
};

/// What comes first causes what comes later: without Redis pods may fail, without pods locks are lost.
const CAUSES: [ConditionType; 11] = [
    ConditionType::Stalled,
    ConditionType::Suspended,
    ConditionType::Reconciling,
    ConditionType::StoreReachable,
    ConditionType::StoreSafe,
    ConditionType::Available,
    ConditionType::LocksHeld,
    ConditionType::LocksBalanced,
    ConditionType::ScalingActive,
    ConditionType::DisruptionsAllowed,
    ConditionType::Ready,
];
/// Rows that are shown as evidence.
const MOST: usize = 10;
const INDENT: &str = "   ";

/// All of it.
#[must_use]
pub fn page(view: &View<'_>) -> String {
    let mut text = heading(view);
    if let Some(caveat) = view.caveat() {
        text += &paint(Tone::Unsure, &wrap(&caveat, view.page.text, ""));
    }
    let conditions: Vec<&Condition> = CAUSES.iter().filter_map(|type_| view.condition(*type_)).collect();
    let (follows, causes): (Vec<&Condition>, Vec<&Condition>) = conditions
        .into_iter()
        .partition(|condition| is_consequence(view, condition));
    let mut number = 0;
    if let Some(lead) = view.abandoned() {
        number += 1;
        text.push('\n');
        text += &paint(Tone::Bad, &format!("{number}. {}", lead.fault()));
        text.push('\n');
        text += &wrap(&lead.meaning(), view.page.text, INDENT);
        text.push('\n');
        text += &wrap(&format!("Next: {}", lead.next()), view.page.text, INDENT);
        // Not wrapped: it is there to be copied.
        let _ = writeln!(text, "\n{INDENT}  {}", lead.command());
    }
    for condition in causes
        .iter()
        .filter(|condition| standing::of(view, condition) > Standing::Well)
    {
        number += 1;
        text.push('\n');
        text += &reason(view, number, condition);
    }
    let also = causes.iter().filter(|condition| {
        standing::of(view, condition) == Standing::Well
            && (condition.status == "Unknown" || condition.type_ == ConditionType::Suspended.as_str())
    });
    for condition in also {
        text.push('\n');
        let is = format!("{} is {}", clean(&condition.type_), clean(&condition.status));
        let (what, _) = parts(&condition.message);
        text += &wrap(
            &format!("Also: {is} ({}). {}", clean(&condition.reason), clean(what)),
            view.page.text,
            "",
        );
    }
    if !follows.is_empty() {
        let follows: Vec<_> = follows
            .iter()
            .map(|condition| {
                format!(
                    "{} is {} ({})",
                    clean(&condition.type_),
                    clean(&condition.status),
                    clean(&condition.reason)
                )
            })
            .collect();
        text.push('\n');
        text += &wrap(
            &format!("It follows that {}.", follows.join(", ")),
            view.page.text,
            "",
        );
    }
    if !view.status().recent.is_empty() {
        let _ = writeln!(text, "\n{}", paint(Tone::Strong, "What happened lately"));
        text += &history::lines(view);
    }
    text += &advice(view);
    // That it lives is no reason for anything.
    if let Some(line) = view
        .operator_line()
        .filter(|_| matches!(view.operator, Operator::Unchecked(_)))
    {
        let _ = write!(text, "\n{}", wrap(&line, view.page.text, ""));
    }
    text
}

/// Advice in full only where nothing is wrong: what comes last is what a terminal shows.
fn advice(view: &View<'_>) -> String {
    let advisories = &view.status().advisories;
    if advisories.is_empty() {
        return String::new();
    }
    if Standing::of(view) != Standing::Well {
        let codes: Vec<_> = advisories.iter().map(|advice| clean(&advice.code)).collect();
        let text = format!(
            "Advice, not the reason: {} (in full by kubectl describe cwl).",
            codes.join(", ")
        );
        return format!("\n{}", wrap(&text, view.page.text, ""));
    }
    let mut text = format!("\n{}\n", paint(Tone::Strong, "Advice"));
    for advice in advisories {
        let _ = writeln!(text, "  {}", clean(&advice.code));
        text += &wrap(&clean(&advice.message), view.page.text, "      ");
    }
    text
}

fn heading(view: &View<'_>) -> String {
    let summary = view.status().summary.clone().unwrap_or_default();
    let standing = Standing::of(view);
    let who = format!("{} in namespace {}", clean(view.name()), clean(view.namespace()));
    let mut facts = vec![];
    if !summary.pods.is_empty() {
        facts.push(format!("{} pods ready", clean(&summary.pods)));
    }
    if !summary.locks.is_empty() && summary.locks != "-" {
        facts.push(format!("{} locks in good hands", clean(&summary.locks)));
    }
    let verdict = match standing {
        Standing::Well => "nothing is wrong".to_owned(),
        // What is summed up is what was well.
        Standing::Unknown if view.abandoned().is_some() && view.caveat().is_none() => "not known".to_owned(),
        Standing::Unknown | Standing::Wrong if !summary.problem.is_empty() => clean(&summary.problem),
        Standing::Unknown => "not known".to_owned(),
        Standing::Wrong => "something is wrong".to_owned(),
    };
    let mut text = format!("{who}: {}\n", paint(standing.tone(), &verdict));
    if !facts.is_empty() {
        let _ = writeln!(text, "{}", facts.join(", "));
    }
    text
}

/// Whether a condition only says what follows from another one that is shown.
fn is_consequence(view: &View<'_>, condition: &Condition) -> bool {
    let of_store = [Reason::NotObserved, Reason::NotCheckable]
        .iter()
        .any(|reason| reason.as_str() == condition.reason);
    if of_store && !view.is(ConditionType::StoreReachable, "True") {
        return true;
    }
    if condition.type_ != ConditionType::Ready.as_str() || condition.status == "True" {
        return false;
    }
    let is_said = |type_, status| view.is(type_, status);
    is_said(ConditionType::Stalled, "True")
        || is_said(ConditionType::Reconciling, "True")
        || (condition.reason == Reason::DeploymentUnavailable.as_str()
            && is_said(ConditionType::Available, "False"))
        || (condition.reason == Reason::LocksNotHeld.as_str() && is_said(ConditionType::LocksHeld, "False"))
        || (condition.reason == Reason::LocksNotObserved.as_str()
            && !is_said(ConditionType::LocksHeld, "True"))
}

fn reason(view: &View<'_>, number: usize, condition: &Condition) -> String {
    let tone = standing::of(view, condition).tone();
    let mut text = format!(
        "{number}. {} is {}, for {}: {}\n",
        clean(&condition.type_),
        clean(&condition.status),
        age::ago(condition.last_transition_time.0, view.now),
        paint(tone, &clean(&condition.reason)),
    );
    let (what, next) = parts(&condition.message);
    text += &wrap(&clean(what), view.page.text, INDENT);
    let evidence = evidence(view, condition);
    if !evidence.is_empty() {
        text.push('\n');
        for line in evidence.lines() {
            let _ = writeln!(text, "{INDENT}{line}");
        }
    }
    if let Some(next) = next {
        text.push('\n');
        text += &wrap(&format!("Next: {}", clean(next)), view.page.text, INDENT);
    }
    if condition.type_ == ConditionType::LocksHeld.as_str() {
        let stuck = stuck::advice(view, INDENT);
        if !stuck.is_empty() {
            text.push('\n');
            text += &stuck;
        }
    }
    text
}

/// What status and pods show of it.
fn evidence(view: &View<'_>, condition: &Condition) -> String {
    let is = |type_: ConditionType| condition.type_ == type_.as_str();
    if is(ConditionType::LocksHeld) {
        rows(view)
    } else if is(ConditionType::LocksBalanced) && condition.status == "False" {
        shares(view)
    } else if is(ConditionType::Available) || is(ConditionType::Reconciling) || is(ConditionType::Stalled) {
        pods(view)
    } else {
        String::new()
    }
}

fn width(view: &View<'_>) -> usize {
    view.page.table.saturating_sub(INDENT.len())
}

fn rows(view: &View<'_>) -> String {
    let bad: Vec<&Row> = view
        .rows()
        .iter()
        .filter(|row| view.grade(row) > Grade::Good)
        .collect();
    if bad.is_empty() {
        return String::new();
    }
    let shown: Vec<&Row> = bad.iter().copied().take(MOST).collect();
    let mut text = locks::narrow(view, &shown, width(view));
    if bad.len() > MOST {
        let _ = writeln!(text, "and {} more: {}", bad.len() - MOST, view.command("locks"));
    }
    text
}

/// Who holds how many, in the sets where somebody holds too many.
fn shares(view: &View<'_>) -> String {
    let sets = view
        .locks()
        .map(|locks| locks.sets.as_slice())
        .unwrap_or_default();
    let mut text = String::new();
    for set in sets {
        let Some(balance) = set.balance.as_ref().filter(|balance| balance.excess > 0) else {
            continue;
        };
        let mut table = Table::new(&["POD", "LOCKS", "FAIR SHARE"], &[0]);
        for top in &balance.top {
            table.push([
                Cell::from(clean(&top.pod)),
                top.locks.to_string().into(),
                balance.ideal.to_string().into(),
            ]);
        }
        text += &table.render(width(view));
        let idle = usize::try_from(balance.idle).unwrap_or_default();
        if idle > 0 {
            let _ = writeln!(text, "and {} without any", counted(idle, "pod"));
        }
    }
    text
}

/// The pods that aren't well.
fn pods(view: &View<'_>) -> String {
    let bad: Vec<&PodLine> = view
        .pods
        .unwrap_or_default()
        .iter()
        .filter(|pod| !pod.is_well())
        .collect();
    if bad.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["POD", "READY", "STATUS", "RESTARTS", "AGE"], &[0, 2]);
    for pod in bad.iter().take(MOST) {
        table.push([
            Cell::from(clean(&pod.name)),
            format!("{}/{}", pod.ready.0, pod.ready.1).into(),
            clean(&pod.status).into(),
            pod.restarts.to_string().into(),
            pod.created
                .map_or("-".to_owned(), |created| age::ago(created, view.now))
                .into(),
        ]);
    }
    let mut text = table.render(width(view));
    if bad.len() > MOST {
        let _ = writeln!(text, "and {} more", bad.len() - MOST);
    }
    text
}

/// What a message says, and what it says to do next.
#[must_use]
pub fn parts(message: &str) -> (&str, Option<&str>) {
    match message.rsplit_once("Next: ") {
        Some((what, next)) => (what.trim_end(), Some(next)),
        None => (message, None),
    }
}
