//! Losses that belong together, and what is said of them: one LocksLost, one LocksRecovered an incident. Pure.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::{
    Now,
    finding::{Finding, Problem, bounded, listed, sentences, time, with_next_step},
    judgement::{Ended, Judged, Recheck},
    memory::{Announcement, Cause, Incident, LockId, Loss, Memory},
};
use crate::{
    api::{
        conditions::EventReason,
        spec,
        status::{self, LockState},
    },
    domain::locks::Mono,
};

/// Entries of `status.recent`.
const RECENT: usize = 10;
/// While `LocksHeld` is False, further losses are said this often at most.
const PAUSE: Duration = Duration::from_mins(5);

/// Writes a loss down in `status.recent` and its set's `lastLoss`.
pub fn record(memory: &mut Memory, id: &LockId, loss: &Loss) {
    let when = loss.when.into();
    memory.last_loss.insert(
        id.0.clone(),
        status::LastLoss {
            lock: id.1.clone(),
            cause: loss.cause.clone(),
            from: loss.from.clone(),
            when,
        },
    );
    remember(
        memory,
        status::Incident {
            set: Some(id.0.clone()),
            lock: Some(id.1.clone()),
            cause: loss.cause.clone(),
            from: loss.from.clone(),
            to: None,
            when: loss.when.into(),
            gap: None,
        },
    );
}

/// Writes an entry down in `status.recent`, newest first.
pub fn remember(memory: &mut Memory, entry: status::Incident) {
    memory.recent.insert(0, entry);
    memory.recent.truncate(RECENT);
}

/// A next hold ends the gap of the loss of `id` at `when`.
/// `gap` is `None` if it was not seen when that hold was taken.
pub fn close_gap(
    memory: &mut Memory,
    id: &LockId,
    when: Timestamp,
    gap: Option<Duration>,
    to: Option<String>,
) {
    let entry = memory.recent.iter_mut().find(|entry| {
        entry.set.as_ref() == Some(&id.0) && entry.lock.as_ref() == Some(&id.1) && entry.when.0 == when
    });
    if let Some(entry) = entry {
        entry.gap = gap.map(|gap| spec::Duration::from(gap).0);
        entry.to = to;
    }
    if let Some(incident) = memory
        .incident
        .as_mut()
        .filter(|incident| incident.locks.contains(id))
    {
        incident.longest_gap = incident.longest_gap.max(gap);
    }
}

/// Opens or continues an incident by the losses among what ended, and announces what is to be said of them.
pub fn say(ended: &[Ended], judged: &[Judged], memory: &mut Memory, now: Now) {
    let lost = |continuous| {
        ended
            .iter()
            .filter(move |end| end.continuous == continuous)
            .filter_map(|end| Some((&end.id, end.loss.as_ref()?)))
    };
    say_intermittent(lost(false), memory, now.mono);
    if let Some((id, loss)) = lost(true).next() {
        let anchor = format!("{} {}", loss.when, id.1);
        memory.incident.get_or_insert_with(|| Incident {
            anchor,
            ..Incident::default()
        });
    }
    let Some(incident) = &mut memory.incident else {
        return;
    };
    if let Some(told) = incident.told_until.take() {
        let ago = Duration::try_from(now.wall.duration_since(told)).unwrap_or_default();
        incident.last_said = now.mono.0.checked_sub(ago).map(Mono);
    }
    for (id, loss) in lost(true) {
        incident.locks.insert(id.clone());
        // Losses of one pod, or by one thing that the store did, are one incident: the first was said together with the
        // locks that would follow.
        if !incident.sources.contains(&source(loss)) {
            incident.unsaid.push((id.clone(), loss.clone()));
        }
    }
    let may_speak = incident.last_said.is_none_or(|last| now.mono >= last + PAUSE);
    if incident.unsaid.is_empty() || !may_speak {
        return;
    }
    incident.last_said = Some(now.mono);
    let unsaid = std::mem::take(&mut incident.unsaid);
    incident
        .sources
        .extend(unsaid.iter().map(|(_, loss)| source(loss)));
    let sources = incident.sources.clone();
    let orphaned = orphaned_too(judged, &sources);
    let note = list(&unsaid) + &orphaned;
    announce_loss(memory, &unsaid, &note);
}

/// What lost a lock: the store, by the name of the cause, which no pod can have; else the pod.
fn source(loss: &Loss) -> String {
    match Cause::of_store(&loss.cause) {
        Some(cause) => cause.as_str().to_owned(),
        None => loss.from.clone().unwrap_or_default(),
    }
}

/// How many more locks of these pods will follow.
fn orphaned_too(judged: &[Judged], pods: &BTreeSet<String>) -> String {
    let orphaned: Vec<_> = judged
        .iter()
        .filter(|lock| {
            lock.state == LockState::Orphaned && lock.pod.as_ref().is_some_and(|pod| pods.contains(pod))
        })
        .collect();
    if orphaned.is_empty() {
        return String::new();
    }
    let names: Vec<_> = orphaned.iter().take(3).map(|lock| lock.name.as_str()).collect();
    let more = if orphaned.len() > 3 { ", …" } else { "" };
    let whose = if pods.len() == 1 { "that pod" } else { "those pods" };
    let (what, frees) = if orphaned.len() == 1 {
        ("lock of", "is orphaned, too, and frees")
    } else {
        ("locks of", "are orphaned, too, and free")
    };
    let mut note = format!(
        " {} more {what} {whose} ({}{more}) {frees}",
        orphaned.len(),
        names.join(", ")
    );
    match orphaned.iter().filter_map(|lock| lock.frees_at).max() {
        Some(last) if orphaned.len() == 1 => {
            let _ = write!(note, " at {}.", time(last));
        }
        Some(last) => {
            let _ = write!(note, " until {}.", time(last));
        }
        None => note.push_str(" only by hand: no expiry is set."),
    }
    note
}

fn say_intermittent<'a>(
    losses: impl Iterator<Item = (&'a LockId, &'a Loss)>,
    memory: &mut Memory,
    now: Mono,
) {
    let losses = losses.map(|(id, loss)| (id.clone(), loss.clone()));
    memory.intermittent_unsaid.extend(losses);
    let may_speak = memory.intermittent_said.is_none_or(|last| now >= last + PAUSE);
    if memory.intermittent_unsaid.is_empty() || !may_speak {
        return;
    }
    memory.intermittent_said = Some(now);
    let losses = std::mem::take(&mut memory.intermittent_unsaid);
    announce_loss(memory, &losses, &list(&losses));
}

fn announce_loss(memory: &mut Memory, losses: &[(LockId, Loss)], note: &str) {
    let Some((id, first)) = losses.first() else { return };
    memory.outbox.push(Announcement {
        reason: EventReason::LocksLost,
        key: format!("{} {}", first.when, id.1),
        note: with_next_step(note, finding(id, first).next_step()),
    });
}

fn list(losses: &[(LockId, Loss)]) -> String {
    let findings: Vec<_> = losses.iter().map(|(id, loss)| finding(id, loss)).collect();
    sentences(&findings.iter().collect::<Vec<_>>())
}

fn finding(id: &LockId, loss: &Loss) -> Finding {
    Finding {
        set: id.0.clone(),
        lock: id.1.clone(),
        problem: Problem::Lost(loss.clone()),
        told: false,
    }
}

/// Says what waits to be said, if its time has come, and looks again when it will.
pub fn say_in_time(memory: &mut Memory, now: Now, at: &mut Recheck) {
    say(&[], &[], memory, now);
    recheck(memory, at);
}

/// Looks again when what was not said may be said.
pub fn recheck(memory: &Memory, recheck: &mut Recheck) {
    if let Some(Incident {
        last_said: Some(last),
        unsaid,
        ..
    }) = &memory.incident
        && !unsaid.is_empty()
    {
        recheck.at(*last + PAUSE);
    }
    if let Some(last) = memory.intermittent_said
        && !memory.intermittent_unsaid.is_empty()
    {
        recheck.at(last + PAUSE);
    }
}

/// Closes the incident, and says that its locks are in good hands again. `transition` is when `LocksHeld` turned False,
/// as status says it: it survives a crash between the event and the status.
pub fn recover(memory: &mut Memory, transition: Option<Timestamp>) {
    let Some(incident) = memory.incident.take() else {
        return;
    };
    let names: Vec<_> = incident.locks.iter().map(|(_, name)| name.as_str()).collect();
    let sets: BTreeSet<_> = incident.locks.iter().map(|(set, _)| set.as_str()).collect();
    let names = listed(&names);
    let mut note = match (incident.locks.len(), sets.first()) {
        (1, Some(set)) => format!("{names} (set {set}) is in good hands again"),
        (count, Some(set)) if sets.len() == 1 => {
            format!("{count} locks of set {set} are in good hands again ({names})")
        }
        (count, Some(_)) => {
            format!(
                "{count} locks of {} sets are in good hands again ({names})",
                sets.len()
            )
        }
        (_, None) => "All locks are in good hands again".to_owned(),
    };
    if let Some(gap) = incident.longest_gap {
        let _ = write!(
            note,
            "; longest time without a holder: {}",
            spec::Duration::from(gap).0
        );
    }
    note.push('.');
    memory.outbox.push(Announcement {
        reason: EventReason::LocksRecovered,
        key: transition.map_or(incident.anchor, |transition| transition.to_string()),
        note: bounded(&note),
    });
}
