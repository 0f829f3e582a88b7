//! Events: what became of the children, and an announcement as an object. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

use crate::{
    api::{CoordinatedWorkload, GROUP, KIND, VERSION, conditions::EventReason},
    cluster::{Event, EventType},
    domain::{
        children::{Action, Applied, ChildKind, Live, Outcome},
        drift::{Contested, Row},
        memory::Announcement,
    },
};

/// What is said of what was done to the children of `workload`; `corrected` are the corrections of this pass,
/// `replicas` the Deployment's before it.
pub(super) fn announce_children(
    outcome: &Outcome,
    workload: &str,
    corrected: &[Row],
    changed_spec: bool,
    replicas: Option<i64>,
) -> Vec<Announcement> {
    let mut said = Vec::new();
    let mut say = |reason, key, note| said.push(Announcement { reason, key, note });
    for (kind, applied) in outcome.children.iter() {
        let Some(applied) = applied else { continue };
        let noun = kind.kind();
        match &applied.action {
            // Creations are announced with the status that lists them first: so a crash in between loses none.
            // Corrections have rows of their own.
            Action::None
            | Action::Created
            | Action::Updated {
                correction: Some(_), ..
            } => {}
            Action::Adopted { changed } => {
                let key = format!("{} adopted {}", applied.uid, applied.hash);
                say(
                    EventReason::ChildUpdated,
                    key,
                    adopted(kind, workload, applied, *changed),
                );
            }
            Action::Updated { correction: None, .. } => {
                let key = format!("{} {}", applied.uid, applied.hash);
                say(
                    EventReason::ChildUpdated,
                    key,
                    format!("Applied {noun} {workload}."),
                );
            }
        }
    }
    for row in corrected.iter().filter(|row| row.is_told()) {
        let (uid, version) = written(outcome, row.what);
        let key = format!("{uid} {} {} {} {version}", row.rival, row.field, row.count);
        say(EventReason::DriftCorrected, key, correction(row, workload));
    }
    if let (true, Some(uid)) = (changed_spec, handed_over(outcome)) {
        let note = match replicas {
            Some(replicas) => format!(
                "HorizontalPodAutoscaler {workload} decides on the replicas from now on, beginning with the present \
                 {replicas}."
            ),
            None => format!("HorizontalPodAutoscaler {workload} decides on the replicas from now on."),
        };
        say(EventReason::ReplicasHandedOver, uid.to_owned(), note);
    }
    for (kind, uid) in &outcome.deleted {
        let note = format!("Deleted {} {workload}.", kind.kind());
        say(EventReason::ChildDeleted, uid.clone(), note);
    }
    said
}

fn adopted(kind: ChildKind, workload: &str, applied: &Applied, changed: bool) -> String {
    let noun = kind.kind();
    let pods = if changed {
        "Its pods are replaced once, by those of the template with Lockstep's label."
    } else {
        "Nothing of it had to change."
    };
    match (kind, applied.live.as_ref().and_then(Live::replicas)) {
        (ChildKind::Deployment, Some(replicas)) => {
            format!("Adopted {noun} {workload} with its selector and its {replicas} replicas. {pods}")
        }
        _ => format!("Adopted {noun} {workload}."),
    }
}

fn correction(row: &Row, workload: &str) -> String {
    let Row {
        what, rival, field, ..
    } = row;
    if row.is_admission() {
        format!(
            "{rival} changes {field} of {what} {workload} whenever Lockstep applies it. Next: put the value that it wants \
             into the spec, or exempt this object."
        )
    } else if !row.begins_fight {
        format!("{rival} changed {field} of {what} {workload}; Lockstep changed it back.")
    } else {
        format!(
            "{rival} changed {field} of {what} {workload}; Lockstep changed it back, the third time in a row, and does \
             so ever more rarely. Next: stop it, or put the value that it wants into the spec."
        )
    }
}

/// UID and version of the object that a correction was written to.
fn written(outcome: &Outcome, what: Contested) -> (String, String) {
    let kind = match what {
        Contested::Child(kind) => kind,
        Contested::Replicas => ChildKind::Deployment,
    };
    let live = outcome
        .children
        .get(kind)
        .as_ref()
        .and_then(|applied| applied.live.as_ref());
    live.map(|live| (live.uid().to_owned(), live.resource_version().to_owned()))
        .unwrap_or_default()
}

/// The autoscaler that was made for a Deployment that was there before.
fn handed_over(outcome: &Outcome) -> Option<&str> {
    let autoscaler = outcome.children.autoscaler.as_ref()?;
    let deployment = outcome.children.deployment.as_ref()?;
    let handed = autoscaler.action == Action::Created && deployment.action != Action::Created;
    handed.then_some(autoscaler.uid.as_str())
}

/// The event that an announcement becomes. Its name is made from what it announces: the same announcement, made again
/// after a crash, is refused by the apiserver as already there.
///
/// Names begin with `told_until`, since when the condition that it is about is as status says: events are listed by their
/// names, and `kubectl describe` orders them by nothing but a field that events.k8s.io/v1 forbids to set. What status says
/// doesn't change in a crash.
#[must_use]
pub fn event(
    resource: &CoordinatedWorkload,
    announcement: &Announcement,
    told_until: Timestamp,
    at: Timestamp,
) -> Event {
    let uid = resource.uid().unwrap_or_default();
    let identity = format!("{uid} {} {}", announcement.reason, announcement.key);
    let digest = Sha256::digest(identity.as_bytes());
    let suffix = digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let warning = announcement.reason.is_warning();
    // What got bad and good again before status could say so was bad first.
    let (bad, good): (Vec<&EventReason>, Vec<_>) =
        EventReason::ALL.iter().partition(|reason| reason.is_warning());
    let place = bad
        .into_iter()
        .chain(good)
        .position(|reason| *reason == announcement.reason);
    let (moment, place) = (told_until.as_second(), place.unwrap_or_default());
    Event {
        name: format!("{}.{moment:08x}{place:02x}.{suffix}", resource.name_any()),
        type_: if warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: announcement.reason.to_string(),
        action: "Reconcile".to_owned(),
        note: announcement.note.clone(),
        regarding: ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(KIND.to_owned()),
            name: Some(resource.name_any()),
            namespace: resource.namespace(),
            uid: Some(uid),
            ..ObjectReference::default()
        },
        at,
    }
}
