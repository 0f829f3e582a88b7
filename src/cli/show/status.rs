//! `status`: the workload as a tree, with its pods and the locks that they hold, and its conditions. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    View, age,
    standing::{self, Standing},
    table::{Cell, Table},
    text::{Tone, clean, counted, paint, shorten, wrap},
    why,
};
use crate::{
    api::{
        conditions::ConditionType,
        status::{Child, LockState, Row},
    },
    domain::children::ChildKind,
};

/// Columns that the tree usually takes beside the names of locks.
const BESIDE: usize = 60;

/// All of it.
#[must_use]
pub fn page(view: &View<'_>) -> String {
    let mut text = String::new();
    if let Some(abandonment) = view.abandonment("what follows is") {
        text += &paint(Tone::Bad, &wrap(&abandonment, view.page.text, ""));
        text.push('\n');
    }
    if let Some(caveat) = view.caveat() {
        text += &paint(Tone::Unsure, &wrap(&caveat, view.page.text, ""));
        text.push('\n');
    }
    text += &tree(view);
    let conditions = conditions(view);
    if !conditions.is_empty() {
        text.push('\n');
        text += &conditions;
    }
    let remarks = remarks(view);
    if !remarks.is_empty() {
        text.push('\n');
        text += &remarks;
    }
    text
}

/// One line of the tree.
#[derive(Default)]
struct Node {
    name: String,
    ready: String,
    status: Cell,
    age: String,
    locks: Cell,
    below: Vec<Node>,
}

fn tree(view: &View<'_>) -> String {
    let mut table = Table::new(&["NAME", "READY", "STATUS", "AGE", "LOCKS"], &[4, 0]);
    draw(&mut table, root(view), "", "");
    table.render(view.page.table)
}

/// Puts a node and what is below it into the table: `first` stands before its name, `rest` before the names below.
fn draw(table: &mut Table, node: Node, first: &str, rest: &str) {
    table.push([
        Cell::from(format!("{first}{}", node.name)),
        node.ready.into(),
        node.status,
        node.age.into(),
        node.locks,
    ]);
    let count = node.below.len();
    for (at, child) in node.below.into_iter().enumerate() {
        let (branch, line) = if at + 1 == count {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        draw(table, child, &format!("{rest}{branch}"), &format!("{rest}{line}"));
    }
}

fn root(view: &View<'_>) -> Node {
    let status = view.status();
    let summary = status.summary.clone().unwrap_or_default();
    let standing = Standing::of(view);
    let mut below: Vec<Node> = status
        .children
        .iter()
        .map(|child| child_node(view, child))
        .collect();
    below.extend(store_node(view));
    Node {
        name: clean(view.name()),
        ready: clean(&summary.pods),
        status: Cell::new(clean(&summary.problem), standing.tone()),
        age: view
            .resource
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or_else(String::new, |created| age::ago(created.0, view.now)),
        locks: match summary.locks.as_str() {
            "" | "-" => "".into(),
            locks => Cell::from(format!("{} held", clean(locks))),
        },
        below,
    }
}

fn child_node(view: &View<'_>, child: &Child) -> Node {
    let status = view.status();
    let (kind, name) = (clean(&child.kind), clean(&child.name));
    let mut node = Node {
        // Children have the resource's name.
        name: if name == view.name() {
            kind
        } else {
            format!("{kind} {name}")
        },
        ..Node::default()
    };
    let said = |type_| {
        view.condition(type_)
            .map(|condition| verdict(view, condition))
            .unwrap_or_default()
    };
    if child.kind == ChildKind::Deployment.kind() {
        node.ready = format!("{}/{}", status.ready_replicas, status.replicas);
        let outdated = status.replicas - status.updated_replicas;
        node.status = if outdated > 0 {
            let count = usize::try_from(outdated).unwrap_or_default();
            Cell::new(format!("{} to update", counted(count, "pod")), Tone::Unsure)
        } else {
            said(ConditionType::Available)
        };
        node.below = pod_nodes(view);
    } else if child.kind == ChildKind::PodDisruptionBudget.kind() {
        node.status = said(ConditionType::DisruptionsAllowed);
    } else if child.kind == ChildKind::HorizontalPodAutoscaler.kind() {
        node.status = said(ConditionType::ScalingActive);
    }
    node
}

/// A condition's reason where it isn't True, which is all that has room.
fn verdict(view: &View<'_>, condition: &Condition) -> Cell {
    if condition.status == "True" {
        return Cell::default();
    }
    Cell::new(clean(&condition.reason), standing::of(view, condition).tone())
}

fn pod_nodes(view: &View<'_>) -> Vec<Node> {
    let held = by_pod(view, |row| row.state == LockState::Held);
    let none = || {
        let is_complete = view
            .locks()
            .is_some_and(|locks| locks.expected > 0 && locks.rows_omitted == 0);
        let is_seen = view.is(ConditionType::StoreReachable, "True");
        // One that can't be told may be any of them.
        let is_told = view.rows().iter().all(|row| row.state != LockState::Unattributed);
        match (is_complete, is_seen && is_told) {
            (true, true) => Cell::new("none", Tone::Faint),
            (true, false) => Cell::new("?", Tone::Unsure),
            (false, _) => Cell::default(),
        }
    };
    let locks = |pod: &str| {
        held.get(pod)
            .map_or_else(none, |names| Cell::from(listed(view, names)))
    };
    let Some(pods) = view.pods else {
        return held
            .keys()
            .map(|pod| Node {
                name: clean(pod),
                locks: locks(pod),
                ..Node::default()
            })
            .collect();
    };
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by(|one, other| one.name.cmp(&other.name));
    let nodes = pods.into_iter().map(|pod| {
        let restarts = match usize::try_from(pod.restarts).unwrap_or_default() {
            0 => String::new(),
            count => format!(", {}", counted(count, "restart")),
        };
        let tone = if pod.is_well() { Tone::Plain } else { Tone::Unsure };
        Node {
            name: clean(&pod.name),
            ready: format!("{}/{}", pod.ready.0, pod.ready.1),
            status: Cell::new(clean(&pod.status) + &restarts, tone),
            age: pod
                .created
                .map_or_else(String::new, |created| age::ago(created, view.now)),
            locks: locks(&pod.name),
            below: vec![],
        }
    });
    nodes.collect()
}

/// The store, and below it the locks that no pod of the workload holds.
fn store_node(view: &View<'_>) -> Option<Node> {
    let condition = view.condition(ConditionType::StoreReachable);
    let store = view.status().store.as_ref();
    let mut below = vec![];
    let mut add = |who: String, state: LockState| {
        let names: Vec<&str> = view
            .rows()
            .iter()
            .filter(|row| row.state == state && who == holder(row))
            .map(|row| row.name.as_str())
            .collect();
        let grade = view
            .rows()
            .iter()
            .filter(|row| row.state == state)
            .map(|row| view.grade(row))
            .max();
        let tone = match grade {
            Some(super::Grade::Bad) => Tone::Bad,
            Some(super::Grade::Good | super::Grade::Unsure) | None => Tone::Unsure,
        };
        below.push(Node {
            name: who,
            status: Cell::new(format!("{state:?}"), tone),
            locks: listed(view, &names).into(),
            ..Node::default()
        });
    };
    for state in [
        LockState::Unheld,
        LockState::Orphaned,
        LockState::Foreign,
        LockState::Unattributed,
    ] {
        let rows = view.rows().iter().filter(|row| row.state == state);
        let mut holders: Vec<String> = rows.map(holder).collect();
        holders.sort();
        holders.dedup();
        for who in holders {
            add(who, state);
        }
    }
    let version = store
        .and_then(|store| store.version.as_deref())
        .map_or_else(String::new, clean);
    let mode = store.map_or_else(String::new, |store| clean(&store.mode));
    let about = [version, mode]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>();
    Some(Node {
        name: view.store()?,
        status: match condition {
            Some(condition) if condition.status != "True" => verdict(view, condition),
            Some(_) | None => Cell::from(about.join(", ")),
        },
        below,
        ..Node::default()
    })
}

/// Who holds a lock that no pod of the workload holds.
fn holder(row: &Row) -> String {
    match (row.state, &row.pod) {
        (LockState::Unheld, _) => "nobody".to_owned(),
        (LockState::Foreign, None) => "an unknown holder".to_owned(),
        (_, Some(pod)) => clean(pod),
        (_, None) => "a holder that can't be told".to_owned(),
    }
}

fn by_pod<'v>(view: &'v View<'_>, is: impl Fn(&Row) -> bool) -> BTreeMap<&'v str, Vec<&'v str>> {
    let mut held: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in view.rows().iter().filter(|row| is(row)) {
        if let Some(pod) = &row.pod {
            held.entry(pod).or_default().push(&row.name);
        }
    }
    held
}

/// As many names as have room, and how many more.
fn listed(view: &View<'_>, names: &[&str]) -> String {
    let room = view.page.table.saturating_sub(BESIDE).clamp(16, 60);
    let mut text = String::new();
    for (at, name) in names.iter().enumerate() {
        let name = clean(name);
        let more = names.len() - at;
        if !text.is_empty() && text.len() + name.len() + 2 > room {
            return format!("{text} +{more}");
        }
        if !text.is_empty() {
            text += ", ";
        }
        text += &shorten(&name, room);
    }
    text
}

/// The conditions, each with its message where somebody should read it.
fn conditions(view: &View<'_>) -> String {
    let conditions: Vec<_> = ConditionType::ALL
        .iter()
        .filter_map(|type_| view.condition(*type_))
        .collect();
    let mut table = Table::new(&["CONDITION", "STATUS", "REASON", "FOR"], &[]);
    for condition in &conditions {
        let tone = match (condition.type_.as_str(), condition.status.as_str()) {
            ("Suspended", _) | (_, "Unknown") => Tone::Unsure,
            _ => standing::of(view, condition).tone(),
        };
        table.push([
            Cell::from(clean(&condition.type_)),
            Cell::new(clean(&condition.status), tone),
            clean(&condition.reason).into(),
            age::ago(condition.last_transition_time.0, view.now).into(),
        ]);
    }
    let lines = table.render(view.page.table);
    let mut lines = lines.lines();
    let mut text = lines.next().map_or_else(String::new, |head| format!("{head}\n"));
    for (condition, line) in conditions.iter().zip(lines) {
        text += line;
        text.push('\n');
        let is_telling = condition.status == "False"
            || condition.status == "Unknown"
            || [
                ConditionType::Reconciling,
                ConditionType::Stalled,
                ConditionType::Suspended,
            ]
            .iter()
            .any(|type_| type_.as_str() == condition.type_);
        if is_telling {
            let (what, _) = why::parts(&condition.message);
            text += &wrap(&clean(what), view.page.text, "    ");
        }
    }
    text
}

/// What there is to read elsewhere.
fn remarks(view: &View<'_>) -> String {
    let status = view.status();
    let mut text = String::new();
    if let Some(line) = view.operator_line() {
        text += &wrap(&line, view.page.text, "");
    }
    if !status.advisories.is_empty() {
        let codes: Vec<_> = status
            .advisories
            .iter()
            .map(|advice| clean(&advice.code))
            .collect();
        text += &wrap(&format!("Advice: {}.", codes.join(", ")), view.page.text, "");
    }
    let is_well = Standing::of(view) == Standing::Well;
    let in_full = match (status.advisories.is_empty(), status.recent.is_empty()) {
        (true, true) => None,
        (false, true) => Some("Advice in full"),
        (true, false) => Some("What happened lately"),
        (false, false) => Some("Advice, and what happened lately"),
    };
    if let Some(what) = in_full.filter(|_| is_well) {
        let _ = writeln!(text, "{what}: {}", view.command("why"));
    } else if !is_well && (view.status().observed_generation > 0 || view.abandoned().is_some()) {
        let _ = writeln!(text, "Reasons and what to do: {}", view.command("why"));
    }
    text
}
