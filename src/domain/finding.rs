//! What is wrong with a lock, in one closed vocabulary: the source of condition reasons, events and messages. Pure.

mod sentence;

use std::{fmt::Write as _, time::Duration};

use jiff::{Timestamp, ToSpan as _};

use self::sentence::sentence;
use super::memory::{Cause, Loss};
use crate::api::conditions::{EventReason, Reason};

/// Longest message of a condition or an event, bytes.
pub const MESSAGE_LIMIT: usize = 1000;

/// How a holder ended that was deleted on purpose, or with its node.
pub const DELETED: &str = "the pod was deleted without a release";

/// What is said of a loss by a pod that lives.
pub const RUNS_ON: &str =
    "by what Kubernetes shows, its container still runs and may work on without the lock";
/// The same, if that pod renews none of its locks any more and others renew theirs.
pub const CUT_OFF: &str = "the pod renews none of its locks while other pods renew theirs: it is cut off from Redis or \
    starved; by what Kubernetes shows, its container still runs and may work on without them";

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
    /// Nobody took it for its period.
    Overdue {
        /// Since when, for people; `None`: only status knew.
        since: Option<Timestamp>,
        /// The pod that took it then; `None`: nobody was seen to.
        by: Option<Option<String>>,
        /// The pod that holds it still; `None`: nobody does.
        still: Option<Option<String>>,
        /// The period.
        every: Duration,
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
        /// The pod of another workload of the namespace that it is, and that workload.
        other: Option<(String, String)>,
    },
    /// A hold lasts longer than it may.
    Overheld {
        /// The pod that holds or held it.
        pod: Option<String>,
        /// Since when it is held, for people; `None`: that is not known any more.
        since: Option<Timestamp>,
        /// For how long it may be.
        allowed: Duration,
        /// Whether the holder is gone.
        orphaned: bool,
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
            Problem::Overdue { .. } => Reason::LocksOverdue,
            Problem::Malformed { .. } => Reason::Malformed,
            Problem::NoExpiry { .. } => Reason::NoExpiry,
            Problem::Foreign { .. } => Reason::ForeignHolder,
            Problem::Overheld { .. } => Reason::Overheld,
            Problem::Orphaned { .. } => Reason::OrphanedOwner,
        }
    }

    /// The event that says it when `LocksHeld` turns to this reason. A loss is announced by itself, when it happens.
    #[must_use]
    pub fn event(&self) -> Option<EventReason> {
        match self.problem {
            Problem::Lost(_) | Problem::Malformed { .. } => None,
            Problem::Unheld { .. } => Some(EventReason::LocksUnheld),
            Problem::Overdue { .. } => Some(EventReason::LocksOverdue),
            Problem::NoExpiry { .. } => Some(EventReason::LockWithoutExpiry),
            Problem::Foreign { .. } => Some(EventReason::ForeignLockHolder),
            Problem::Overheld { .. } => Some(EventReason::LockOverheld),
            Problem::Orphaned { .. } => Some(EventReason::LocksOrphaned),
        }
    }

    /// Place in `LocksHeld`'s order of reasons; smaller is worse.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self.problem {
            Problem::Lost(_) => 0,
            Problem::Unheld { .. } => 1,
            Problem::Overdue { .. } => 2,
            Problem::Malformed { .. } => 3,
            Problem::NoExpiry { .. } => 4,
            Problem::Foreign { .. } => 5,
            Problem::Overheld { .. } => 6,
            Problem::Orphaned { .. } => 7,
        }
    }

    /// What is wrong: set, lock, pod, since when, why.
    #[must_use]
    pub fn message(&self) -> String {
        sentence(self, &[self])
    }

    /// Whether the same can be said of both locks, in one sentence.
    fn goes_with(&self, other: &Self) -> bool {
        let same = match (&self.problem, &other.problem) {
            // What the store did it did to all pods.
            (Problem::Lost(one), Problem::Lost(two)) => {
                let of_store = Cause::of_store(&one.cause).is_some();
                (of_store || one.from == two.from) && (&one.cause, &one.detail) == (&two.cause, &two.detail)
            }
            (
                Problem::Unheld { history: one, since },
                Problem::Unheld {
                    history: two,
                    since: other,
                },
            ) => {
                let never = |history| matches!(history, &Unheld::NeverSeen { .. });
                since == other && (one == two || (never(one) && never(two)))
            }
            (Problem::Malformed { wrong_type: one, .. }, Problem::Malformed { wrong_type: two, .. }) => {
                one == two
            }
            (
                Problem::NoExpiry { pod, orphaned, .. },
                Problem::NoExpiry {
                    pod: other,
                    orphaned: too,
                    ..
                },
            )
            | (
                Problem::Overheld { pod, orphaned, .. },
                Problem::Overheld {
                    pod: other,
                    orphaned: too,
                    ..
                },
            ) => (pod, orphaned) == (other, too),
            (
                Problem::Orphaned { pod, restarted, .. },
                Problem::Orphaned {
                    pod: other,
                    restarted: too,
                    ..
                },
            ) => (pod, restarted) == (other, too),
            (one, two) => one == two,
        };
        same && self.set == other.set
    }

    /// What to do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match &self.problem {
            Problem::Lost(loss) => match Cause::of_store(&loss.cause) {
                Some(Cause::StoreFailover) => {
                    "Next: see why Redis failed over or lost its data (its log; a server without persistence restarts \
                     empty). The pods that held the locks may work on beside the new holders: restart those that don't \
                     notice."
                }
                Some(Cause::Flushed) => {
                    "Next: find out who flushes this Redis (FLUSHDB, FLUSHALL), and take away that right. The pods that \
                     held the locks may work on beside the new holders: restart those that don't notice."
                }
                Some(Cause::ClockJump) => {
                    "Next: see to the clock of the Redis server (NTP, a resumed virtual machine). The pods that held the \
                     locks may work on beside the new holders: restart those that don't notice."
                }
                Some(Cause::Evicted) => {
                    "Next: set maxmemory-policy to noeviction, or give the locks a Redis of their own. The pods that held \
                     the locks may work on beside the new holders: restart those that don't notice."
                }
                Some(Cause::Unexplained | Cause::HolderGone | Cause::Expired | Cause::Released) | None => {
                    if loss.detail == CUT_OFF {
                        "Next: see whether the pod reaches Redis (its NetworkPolicy, node and network) and whether it gets CPU \
                         (kubectl top pod, throttling, long pauses in kubectl logs). If it works on without the locks, delete \
                         it; if nobody takes them within their retry interval, restart a pod that should."
                    } else if loss.cause == Cause::Expired.as_str() {
                        "Next: see why the pod stopped renewing (kubectl logs): cut off from Redis, starved or hung. If it \
                         works on without the lock, delete the pod; if nobody takes the lock within its retry interval, \
                         restart a pod that should."
                    } else if loss.detail.starts_with(DELETED) {
                        "Next: if nobody takes the lock within its retry interval, restart a pod that should. So that no \
                         rollout, scale-down or drain loses locks, let the application release them on SIGTERM, within \
                         terminationGracePeriodSeconds."
                    } else {
                        "Next: see why the holder ended (kubectl describe pod, kubectl logs --previous); if nobody takes the \
                         lock within its retry interval, restart a pod that should."
                    }
                }
            },
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
            Problem::Overdue { still: Some(_), .. } => {
                "Next: see whether the last run still gets on with its work (kubectl logs); if it hangs, delete its pod; if \
                 runs may take that long, raise every."
            }
            Problem::Overdue { still: None, .. } => {
                "Next: see whether any pod still schedules this work (kubectl logs), and whether it takes this lock for it; \
                 if it runs more seldom, raise every."
            }
            Problem::Malformed { .. } => {
                "Next: compare dialect, holder pattern and key prefix with what the application writes."
            }
            Problem::NoExpiry { orphaned: true, .. } => {
                "Next: make sure that the former holder's process does not run any more, delete the key \
                 (kubectl lockstep why NAME prints the command), and make the application set a TTL."
            }
            Problem::NoExpiry { .. } => {
                "Next: make the application set a TTL; a holder that dies now blocks the others for ever."
            }
            Problem::Foreign { ghost: Some(_), .. } => {
                "Next: end that process, on the node where the pod ran (the node was lost, or the pod deleted with --force); \
                 until then two may do the same work."
            }
            Problem::Foreign {
                ghost: None,
                other: Some(_),
            } => {
                "Next: give one of the two workloads another key prefix, or a Redis of its own; if they are to share these \
                 locks, set foreignHolders: Expected."
            }
            Problem::Foreign {
                ghost: None,
                other: None,
            } => {
                "Next: look for another workload or process that uses the same Redis and key prefix; if it is to share \
                 these locks, set foreignHolders: Expected."
            }
            Problem::Overheld { orphaned: true, .. } => {
                "Next: nothing, as long as another pod takes over once the lock is free; a shorter ttl frees it sooner."
            }
            Problem::Overheld { orphaned: false, .. } => {
                "Next: see whether the holder still gets on with its work (kubectl logs); if it hangs, delete its pod; if \
                 the work may last longer, raise maxHold."
            }
            Problem::Orphaned { .. } => {
                "Next: nothing, as long as another pod takes over once the lock is free."
            }
        }
    }
}

/// The findings as one bounded message: the worst reason's first three, how many more, and what to do.
#[must_use]
pub fn summarize(findings: &[&Finding]) -> String {
    let Some(first) = findings.first() else {
        return String::new();
    };
    let same = findings.iter().copied();
    let same: Vec<_> = same
        .filter(|finding| finding.reason() == first.reason())
        .collect();
    with_next_step(&sentences(&same), first.next_step())
}

/// All that is wrong, locks of which the same can be said together: the first three sentences, and how many more locks.
#[must_use]
pub fn sentences(findings: &[&Finding]) -> String {
    const MOST: usize = 3;
    let mut groups: Vec<Vec<&Finding>> = vec![];
    let mut more = 0;
    for finding in findings {
        let is_full = groups.len() >= MOST;
        let group = groups
            .iter_mut()
            .find(|group| group.first().is_some_and(|first| first.goes_with(finding)));
        match group {
            Some(group) => group.push(finding),
            None if is_full => more += 1,
            None => groups.push(vec![finding]),
        }
    }
    let said = groups.iter();
    let said = said.filter_map(|group| Some(sentence(group.first()?, group)));
    let mut text = said.collect::<Vec<_>>().join("; ");
    // A sentence begins with a capital letter, the name of a lock as it is written.
    if text.starts_with("nobody ") || text.starts_with("the ") {
        text[..1].make_ascii_uppercase();
    }
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text.push('.');
    text
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

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn joined<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The same, but of more than three only the first: `a, b, c and 2 more`.
#[must_use]
pub fn listed<T: AsRef<str>>(items: &[T]) -> String {
    const MOST: usize = 3;
    match items.len().saturating_sub(MOST) {
        0 => joined(items),
        more => {
            let shown: Vec<&str> = items.iter().take(MOST).map(AsRef::as_ref).collect();
            format!("{} and {more} more", shown.join(", "))
        }
    }
}
