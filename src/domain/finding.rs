//! What is wrong with a lock, in one closed vocabulary: the source of condition reasons, events and messages. Pure.

use std::fmt::Write as _;

use jiff::{Timestamp, ToSpan as _};

use super::memory::{Cause, Loss};
use crate::api::conditions::{EventReason, Reason};

/// Longest message of a condition or an event, bytes.
pub const MESSAGE_LIMIT: usize = 1000;

/// Something that is wrong with one lock.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The set.
    pub set: String,
    /// The lock.
    pub lock: String,
    /// What is wrong.
    pub problem: Problem,
    /// Whether it is only known from status.
    pub told: bool,
}

/// What can be wrong with a lock.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// A hold ended by loss and is not made good.
    Lost(Loss),
    /// Nobody holds it for longer than its grace.
    Unheld {
        /// Whose turn it was, as far as it is known.
        history: Unheld,
        /// Since when, for people.
        since: Option<Timestamp>,
    },
    /// Wrong type, or a value that does not fit the pattern.
    Malformed {
        /// Key in Redis.
        key: String,
        /// Whether the type is wrong (else the value).
        wrong_type: bool,
    },
    /// It never expires although it should.
    NoExpiry {
        /// The pod that holds or held it.
        pod: Option<String>,
        /// Key in Redis.
        key: String,
        /// Whether the holder is gone: nobody can take it any more.
        orphaned: bool,
    },
    /// Somebody else holds it.
    Foreign {
        /// The pod that it was, if the holder is a pod of this workload that renews after its object went.
        ghost: Option<String>,
    },
    /// The owner is gone, the lock still runs.
    Orphaned {
        /// The owner.
        pod: String,
        /// Whether the pod lives and only its container restarted.
        restarted: bool,
        /// When the lock becomes free by itself.
        frees_at: Option<Timestamp>,
    },
}

/// What came before a lock was unheld.
#[derive(Clone, Debug, PartialEq)]
pub enum Unheld {
    /// Nobody was ever seen to hold it.
    NeverSeen {
        /// Endpoint, database and full key that were read.
        place: String,
    },
    /// It was given up.
    GivenUp {
        /// By whom.
        by: Option<String>,
    },
    /// It ran out.
    RanOut {
        /// For whom.
        by: Option<String>,
    },
    /// Nobody watched when it ended.
    Unexplained,
    /// It was before this process, and status doesn't tell.
    Untold,
}

impl Finding {
    /// The reason that `LocksHeld` gives for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.problem {
            Problem::Lost(_) => Reason::LocksLost,
            Problem::Unheld { .. } => Reason::LocksUnheld,
            Problem::Malformed { .. } => Reason::Malformed,
            Problem::NoExpiry { .. } => Reason::NoExpiry,
            Problem::Foreign { .. } => Reason::ForeignHolder,
            Problem::Orphaned { .. } => Reason::OrphanedOwner,
        }
    }

    /// The event that says it when `LocksHeld` turns to this reason. A loss is announced by itself, when it happens.
    #[must_use]
    pub fn event(&self) -> Option<EventReason> {
        match self.problem {
            Problem::Lost(_) | Problem::Malformed { .. } => None,
            Problem::Unheld { .. } => Some(EventReason::LocksUnheld),
            Problem::NoExpiry { .. } => Some(EventReason::LockWithoutExpiry),
            Problem::Foreign { .. } => Some(EventReason::ForeignLockHolder),
            Problem::Orphaned { .. } => Some(EventReason::LocksOrphaned),
        }
    }

    /// Place in `LocksHeld`'s order of reasons; smaller is worse.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self.problem {
            Problem::Lost(_) => 0,
            Problem::Unheld { .. } => 1,
            Problem::Malformed { .. } => 2,
            Problem::NoExpiry { .. } => 3,
            Problem::Foreign { .. } => 4,
            Problem::Orphaned { .. } => 5,
        }
    }

    /// What is wrong: set, lock, pod, since when, why.
    #[must_use]
    pub fn message(&self) -> String {
        let lock = format!("{} (set {})", self.lock, self.set);
        match &self.problem {
            Problem::Lost(loss) => {
                let from = loss.from.as_deref().unwrap_or("an unknown holder");
                let mut text = format!("{lock} was lost by {from} at {}", time(loss.when));
                if !loss.cause.is_empty() {
                    let _ = write!(text, ": {}", loss.cause);
                }
                if !loss.detail.is_empty() {
                    let _ = write!(text, " ({})", loss.detail);
                }
                text
            }
            Problem::Unheld { history, since } => {
                let since = since.map_or_else(String::new, |since| format!(" since {}", time(since)));
                match history {
                    Unheld::NeverSeen { place } => {
                        format!("nobody was seen to hold {lock} since the pods are ready; read at {place}")
                    }
                    Unheld::GivenUp { by } => {
                        format!(
                            "nobody holds {lock}{since}: given up by {} and not taken again",
                            named(by.as_ref())
                        )
                    }
                    Unheld::RanOut { by } => {
                        format!(
                            "nobody holds {lock}{since}: it ran out for {} and was not taken again",
                            named(by.as_ref())
                        )
                    }
                    Unheld::Unexplained => {
                        format!("nobody holds {lock}{since}; how its last hold ended was not seen")
                    }
                    Unheld::Untold => format!("nobody holds {lock}{since}"),
                }
            }
            Problem::Malformed {
                key,
                wrong_type: true,
            } => {
                format!("the key {key} of {lock} has a type in which this dialect keeps no locks")
            }
            Problem::Malformed {
                key,
                wrong_type: false,
            } => {
                format!("the value at {key} of {lock} does not have the form that the dialect writes")
            }
            Problem::NoExpiry {
                pod,
                key,
                orphaned: true,
            } => {
                format!(
                    "{lock} still belongs to {}, which is gone, and has no expiry at {key}: nobody can take it",
                    named(pod.as_ref())
                )
            }
            Problem::NoExpiry {
                pod,
                key,
                orphaned: false,
            } => {
                format!(
                    "{lock}, held by {}, has no expiry at {key}: it stays if its holder dies",
                    named(pod.as_ref())
                )
            }
            Problem::Foreign { ghost: Some(pod) } => {
                format!(
                    "{lock} is renewed under the name of {pod}, a pod that no longer exists: its process runs on"
                )
            }
            Problem::Foreign { ghost: None } => {
                format!("{lock} is held by an unknown holder, no pod of this workload")
            }
            Problem::Orphaned {
                pod,
                restarted,
                frees_at,
            } => {
                let why = if *restarted {
                    "whose container restarted since"
                } else {
                    "which is gone"
                };
                let frees = frees_at.map_or_else(
                    || "it has no expiry and stays".to_owned(),
                    |frees_at| format!("it frees at {}", time(frees_at)),
                );
                format!("{lock} still belongs to {pod}, {why}; {frees}")
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match &self.problem {
            Problem::Lost(loss) if Cause::of_store(&loss.cause).is_some() => {
                "Next: see what happened to Redis (its log, INFO, StoreSafe's message); the pods that held the locks may \
                 work on beside the new holders: restart those that don't notice."
            }
            Problem::Lost(_) => {
                "Next: see why the pod stopped renewing (kubectl describe pod, kubectl logs --previous); if nobody takes \
                 the lock within its retry interval, restart a pod that should."
            }
            Problem::Unheld {
                history: Unheld::NeverSeen { .. },
                ..
            } => {
                "Next: compare the key, the database and the Redis host with what the application uses, and check that \
                 its locking is on."
            }
            Problem::Unheld { .. } => {
                "Next: see whether the pods still try to take it; a library that never retries needs a restart \
                 (kubectl rollout restart)."
            }
            Problem::Malformed { .. } => {
                "Next: compare dialect, holder pattern and key prefix with what the application writes."
            }
            Problem::NoExpiry { orphaned: true, .. } => {
                "Next: make sure that the former holder's process does not run any more, delete the key by hand, and \
                 make the application set a TTL."
            }
            Problem::NoExpiry { .. } => {
                "Next: make the application set a TTL; a holder that dies now blocks the others for ever."
            }
            Problem::Foreign { ghost: Some(_) } => {
                "Next: find the process on the node of the deleted pod and end it; two may work at once."
            }
            Problem::Foreign { ghost: None } => {
                "Next: look for another workload or process on the same Redis and prefix; if sharing is meant, set \
                 foreignHolders: Expected."
            }
            Problem::Orphaned { .. } => "Next: nothing, if another pod takes it when it frees.",
        }
    }
}

/// The findings as one bounded message: the worst reason's first three, how many more, and what to do.
#[must_use]
pub fn summarize(findings: &[&Finding]) -> String {
    let Some(first) = findings.first() else {
        return String::new();
    };
    let same: Vec<_> = findings
        .iter()
        .filter(|finding| finding.reason() == first.reason())
        .collect();
    let mut text = same
        .iter()
        .take(3)
        .map(|finding| finding.message())
        .collect::<Vec<_>>()
        .join("; ");
    // A sentence begins with a capital letter, the name of a lock as it is written.
    if text.starts_with("nobody ") || text.starts_with("the ") {
        text[..1].make_ascii_uppercase();
    }
    if same.len() > 3 {
        let _ = write!(text, "; and {} more", same.len() - 3);
    }
    text.push('.');
    with_next_step(&text, first.next_step())
}

/// `text` and what to do about it, of which nothing is cut: the text gives way.
#[must_use]
pub fn with_next_step(text: &str, next_step: &str) -> String {
    let text = cut(text, MESSAGE_LIMIT.saturating_sub(next_step.len() + 1));
    format!("{text} {next_step}")
}

/// `text` cut to [`MESSAGE_LIMIT`] on a character's boundary.
#[must_use]
pub fn bounded(text: &str) -> String {
    cut(text, MESSAGE_LIMIT)
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

fn named(pod: Option<&String>) -> &str {
    pod.map_or("an unknown holder", String::as_str)
}

/// A moment for people: UTC, whole seconds.
#[must_use]
pub fn time(at: Timestamp) -> String {
    // Half up, so that a moment that jitters by a millisecond around a whole second reads the same.
    let at = at.checked_add(500.milliseconds()).unwrap_or(at);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As metav1.Time keeps a moment, without fractions: what the API stores must equal what was sent.
#[must_use]
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// `a`, `a and b`, `a, b and c`, `a, b, c and 2 more`.
#[must_use]
pub fn listed<T: AsRef<str>>(items: &[T]) -> String {
    const MOST: usize = 3;
    let shown: Vec<&str> = items.iter().take(MOST).map(AsRef::as_ref).collect();
    match (items.len().saturating_sub(MOST), shown.split_last()) {
        (0, Some((last, []))) => (*last).to_owned(),
        (0, Some((last, rest))) => format!("{} and {last}", rest.join(", ")),
        (more, _) => format!("{} and {more} more", shown.join(", ")),
    }
}
