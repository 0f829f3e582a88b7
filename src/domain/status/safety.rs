//! StoreSafe: whether the store may lose locks, refuse them or answer late by its own configuration. Pure.
//!
//! In: what the servers say of themselves ([`Health`]), and the status before. Out: the verdict. A False that is seen
//! wins over what isn't shown; what can't be told yet, by a process that has just started, stays as it was said.

#[cfg(test)]
mod tests;

use jiff::Timestamp;

use super::{Truth, Verdict, find, verdict::again};
use crate::{
    api::{
        CoordinatedWorkloadSpec, CoordinatedWorkloadStatus,
        conditions::{ConditionType, Reason},
    },
    domain::{
        assessment::StoreView,
        finding::{listed, time, whole_seconds},
        judgement::Sight,
        locks::health::{Health, Refusal, Unseen},
    },
};

/// The verdict on the store.
pub(super) fn verdict(
    spec: &CoordinatedWorkloadSpec,
    store: &StoreView,
    sight: &Sight,
    previous: &CoordinatedWorkloadStatus,
    now: Timestamp,
) -> Verdict {
    let not_read = || unknown("No complete answer from Redis; see StoreReachable.".to_owned());
    let health = store.seen.as_ref().ok().and_then(|seen| seen.health.as_ref());
    match (sight, health) {
        (Sight::Clear { .. }, Some(health)) => judge(spec, &store.place, health, previous, now),
        (Sight::Pending, _) => again(previous, ConditionType::StoreSafe).unwrap_or_else(not_read),
        (Sight::Clear { .. }, None) | (Sight::Blind { .. }, _) => not_read(),
    }
}

fn judge(
    spec: &CoordinatedWorkloadSpec,
    place: &str,
    health: &Health,
    previous: &CoordinatedWorkloadStatus,
    now: Timestamp,
) -> Verdict {
    let before = find(&previous.conditions, ConditionType::StoreSafe);
    let turned = before.filter(|before| before.status == "False");
    // As long as it is False, whatever the reason: another operator must find the same moment.
    let since = turned.map_or(whole_seconds(now), |before| before.last_transition_time.0);
    let hazard = |reason, what: &str, why: &str, next: &str| {
        let since = time(since);
        let message = format!("Redis at {place} {what}; not safe since {since}. {why} Next: {next}.");
        Verdict::new(Truth::False, reason, message)
    };
    // What a new process can't tell yet stays as it was said, unless it can't be told at all.
    let still = |reason, fact: Option<bool>, unseen: Unseen| {
        let was = before.is_some_and(|before| before.reason == Reason::as_str(reason));
        let told = || again(previous, ConditionType::StoreSafe);
        (fact.is_none() && was && !health.unseen.contains(&unseen)).then(told)?
    };
    if health.clock_jumped == Some(true) {
        return hazard(
            Reason::ClockJump,
            "had its clock set within the last 10 min",
            "Locks ran out earlier, or will run out later, than their holders think.",
            "let the time service slew the clock of that machine instead of setting it, and see whether the machine was \
             suspended",
        );
    }
    if let Some(told) = still(Reason::ClockJump, health.clock_jumped, Unseen::Clock) {
        return told;
    }
    if let Some(policy) = health.evicts {
        return hazard(
            Reason::EvictionPolicy,
            &format!("has a memory limit and the maxmemory-policy {policy}"),
            "When memory is full it evicts locks that are held, and another pod takes them beside the holder.",
            "set maxmemory-policy noeviction, or keep the locks on a server of their own",
        );
    }
    if !health.refuses.is_empty() {
        let causes: Vec<_> = health.refuses.iter().map(|refusal| words(*refusal).0).collect();
        let next: Vec<_> = health.refuses.iter().map(|refusal| words(*refusal).1).collect();
        return hazard(
            Reason::RefusesWrites,
            &format!("refuses writes, or is about to: {}", causes.join("; ")),
            "Locks can be neither taken nor renewed then, and run out while their holders work.",
            &next.join("; "),
        );
    }
    let fails_over = spec
        .redis
        .as_ref()
        .is_some_and(|redis| redis.sentinel.is_some() || redis.cluster.is_some());
    if health.outvoted == Some(true) {
        return hazard(
            Reason::NoFailover,
            "has Sentinels of which too few see each other to agree on a failover",
            "If its master dies, nothing takes its place, and no lock can be taken until it is back.",
            "see SENTINEL CKQUORUM, and which of the Sentinels are down",
        );
    }
    if fails_over && health.alone == Some(true) {
        return hazard(
            Reason::NoFailover,
            "has a master without a replica that could take over",
            "If that master dies, its locks are gone, and none can be taken until it is back.",
            "start a replica, or see why it doesn't follow (INFO replication)",
        );
    }
    let by_sentinels = spec.redis.as_ref().is_some_and(|redis| redis.sentinel.is_some());
    if by_sentinels
        && health.outvoted.is_none()
        && before.is_some_and(|before| before.reason == Reason::NoFailover.as_str())
        && let Some(told) = again(previous, ConditionType::StoreSafe)
    {
        return told;
    }
    if health.slow == Some(true) {
        return hazard(
            Reason::Slow,
            "answers slowly: of 30 PINGs half take more than 10 ms, for a minute",
            "Renewals come late, and locks run out while their holders work.",
            "see what keeps it busy (SLOWLOG GET, LATENCY DOCTOR), and how far it is from the operator",
        );
    }
    if let Some(told) = still(Reason::Slow, health.slow, Unseen::Ping) {
        return told;
    }
    let matters = |unseen: &&Unseen| fails_over || **unseen != Unseen::Replicas;
    let unseen: Vec<_> = health.unseen.iter().filter(matters).collect();
    if !unseen.is_empty() {
        let fields: Vec<_> = unseen.iter().map(|unseen| field(**unseen)).collect();
        return unknown(format!(
            "Redis at {place} shows nothing wrong, but keeps to itself: {}. Next: grant the \
             documented least rights.",
            listed(&fields)
        ));
    }
    Verdict::new(
        Truth::True,
        Reason::Safe,
        format!("Redis at {place} shows nothing that endangers locks."),
    )
}

fn unknown(message: String) -> Verdict {
    Verdict::new(Truth::Unknown, Reason::NotCheckable, message)
}

/// What is so, and what to do.
fn words(refusal: Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::MemoryFull => (
            "memory is full under noeviction",
            "raise maxmemory, or delete what takes it (MEMORY STATS)",
        ),
        Refusal::DiskFailed => (
            "it could not write its data to disk",
            "see the server's log and its disk; BGSAVE, once there is room",
        ),
        Refusal::TooFewReplicas => (
            "fewer replicas follow than min-replicas-to-write asks for",
            "bring the replicas back (INFO replication)",
        ),
        Refusal::ClientsNearLimit => (
            "nine tenths of maxclients are connected, or a client was turned away",
            "find who opens so many connections (CLIENT LIST), or raise maxclients",
        ),
    }
}

/// What is to be granted, or which part of INFO a server keeps to itself.
fn field(unseen: Unseen) -> &'static str {
    match unseen {
        Unseen::Ping => "PING (+ping)",
        Unseen::Clock => "TIME (+time)",
        Unseen::Memory => "INFO memory",
        Unseen::Clients => "INFO clients",
        Unseen::Replicas => "INFO replication",
    }
}
