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
        children::{Action, Outcome},
        memory::Announcement,
    },
};

/// Announces what was done to the children of `workload`.
pub(super) fn announce_children(outcome: &Outcome, workload: &str, outbox: &mut Vec<Announcement>) {
    let mut say = |reason, key, note| {
        outbox.push(Announcement {
            reason,
            key,
            note,
            pod: None,
        });
    };
    for (kind, applied) in outcome.children.iter() {
        let Some(applied) = applied else { continue };
        let kind = kind.kind();
        match &applied.action {
            // Creations are announced with the status that lists them first: so a crash in between loses none.
            Action::None | Action::Created => {}
            Action::Updated { correction: None, .. } => {
                let key = format!("{} {}", applied.uid, applied.hash);
                say(
                    EventReason::ChildUpdated,
                    key,
                    format!("Applied {kind} {workload}."),
                );
            }
            Action::Updated {
                correction: Some(correction),
                ..
            } => {
                let manager = correction
                    .overrides
                    .first()
                    .map_or("somebody", |other| other.manager.as_str());
                let field = correction.field.as_deref().unwrap_or("a field");
                let note =
                    format!("{manager} changed {field} of {kind} {workload}; Lockstep changed it back.");
                say(
                    EventReason::DriftCorrected,
                    format!("{} {manager} {field}", applied.uid),
                    note,
                );
            }
        }
    }
    for (kind, uid) in &outcome.deleted {
        say(
            EventReason::ChildDeleted,
            uid.clone(),
            format!("Deleted {} {workload}.", kind.kind()),
        );
    }
}

/// The event that an announcement becomes. Its name is made from what it announces: the same announcement, made again
/// after a crash, is refused by the apiserver as already there.
pub(super) fn event(resource: &CoordinatedWorkload, announcement: &Announcement, at: Timestamp) -> Event {
    let uid = resource.uid().unwrap_or_default();
    let identity = format!("{uid} {} {}", announcement.reason, announcement.key);
    let digest = Sha256::digest(identity.as_bytes());
    let suffix = digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let warning = announcement.reason.is_warning();
    Event {
        name: format!("{}.{suffix}", resource.name_any()),
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
