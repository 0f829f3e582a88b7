//! The lock sets of a resource, with their dialects' defaults.

mod holder;

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{AssumedTimings, Balance, Lock, LockSet, Queue, parse::Problems};
use crate::{
    api::spec::{self, Hold, Verbatim},
    domain::{
        locks::dialect::{self, Defaults, Scheme},
        template::{lasting_containers, name},
    },
};

/// Retry of a library that has no default of its own.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest default of `unheldGrace`.
const UNHELD_GRACE: Duration = Duration::from_secs(30);
/// Shortest and longest default of `balance.for`.
const BALANCE_FOR: (Duration, Duration) = (Duration::from_mins(2), Duration::from_mins(10));
/// Default of `balance.warmUp`.
const BALANCE_WARM_UP: Duration = Duration::from_mins(1);

/// Each set, `None` where a problem was found. No key is in two of them.
pub(super) fn lock_sets(
    sets: &[spec::LockSet],
    template: &Verbatim,
    problems: &mut Problems,
) -> Vec<Option<LockSet>> {
    // From a key to where it was declared first.
    let mut declared = HashMap::new();
    let mut parsed = Vec::with_capacity(sets.len());
    for (at, set) in sets.iter().enumerate() {
        let parser = SetParser {
            path: format!("spec.locks[{at}]"),
            set,
            template,
            problems,
        };
        parsed.push(parser.parse(&mut declared));
    }
    parsed
}

/// What surrounds the names of a set in Redis.
struct Surroundings<'a> {
    prefix: &'a str,
    suffix: &'a str,
}

struct SetParser<'a> {
    path: String,
    set: &'a spec::LockSet,
    template: &'a Verbatim,
    problems: &'a mut Problems,
}

impl SetParser<'_> {
    fn parse(mut self, declared: &mut HashMap<String, String>) -> Option<LockSet> {
        // Every field by name: a new one can't be forgotten here.
        let spec::LockSet {
            name,
            hold,
            names,
            key_prefix,
            key_suffix,
            discover,
            dialect,
            holder,
            ttl,
            renew_interval,
            retry_interval,
            unheld_grace,
            max_hold,
            every,
            balance,
            foreign_holders,
            readiness,
        } = self.set;
        let discover = discover.unwrap_or_default();
        let defaults = dialect::defaults(*dialect);
        match hold {
            Hold::Continuous if names.is_empty() => self.invalid("names", "needed with hold: Continuous"),
            Hold::Continuous if defaults.queues => self.invalid(
                "hold",
                "must be Intermittent with Bull and BullMQ: a name is a queue, and its jobs come and go",
            ),
            Hold::Intermittent if names.is_empty() && !discover => {
                self.invalid("names", "needed with hold: Intermittent, unless discover is true");
            }
            Hold::Continuous | Hold::Intermittent => {}
        }
        let prefix = key_prefix.as_deref().unwrap_or(defaults.key_prefix);
        let suffix = key_suffix.as_deref().unwrap_or(defaults.key_suffix);
        let scheme = self.scheme(*dialect, prefix, holder.as_ref());
        let place = Surroundings { prefix, suffix };
        let locks = self.locks(&place, defaults, scheme.as_ref(), declared);
        let queues = if defaults.queues {
            self.queues(&place)
        } else {
            vec![]
        };
        if discover {
            self.check_prefix(prefix);
        }
        let discover = scheme
            .as_ref()
            .filter(|_| discover)
            .map(|scheme| Arc::new(scheme.everywhere(prefix, suffix)));
        let container = holder.as_ref().and_then(|holder| holder.container.clone());
        if let Some(container) = &container {
            self.check_container(container);
        }
        let assumed = AssumedTimings {
            ttl: ttl.is_none(),
            renew_interval: renew_interval.is_none(),
            retry_interval: retry_interval.is_none(),
        };
        let ttl = self.positive("ttl", ttl.as_ref()).or(defaults.ttl);
        let renew_interval = self
            .positive("renewInterval", renew_interval.as_ref())
            .or(defaults.renew_interval);
        self.check_renewal(ttl, renew_interval, defaults);
        let retry_interval = self
            .positive("retryInterval", retry_interval.as_ref())
            .or(defaults.retry_interval)
            .unwrap_or(RETRY_INTERVAL);
        let unheld_grace = self
            .duration("unheldGrace", unheld_grace.as_ref())
            .unwrap_or_else(|| UNHELD_GRACE.max(retry_interval.saturating_mul(3)));
        let max_hold = self.positive("maxHold", max_hold.as_ref());
        let every = self.positive("every", every.as_ref());
        let balance = self.balance(*hold, balance.as_ref(), ttl);
        Some(LockSet {
            name: name.clone(),
            hold: *hold,
            dialect: *dialect,
            scheme: scheme?,
            container,
            locks,
            queues,
            discover,
            ttl,
            renew_interval,
            retry_interval,
            assumed,
            unheld_grace,
            max_hold,
            every,
            balance,
            foreign_holders: foreign_holders.unwrap_or_default(),
            readiness: readiness.unwrap_or_default(),
        })
    }

    /// The declared locks; queues are none.
    fn locks(
        &mut self,
        place: &Surroundings<'_>,
        defaults: &Defaults,
        scheme: Option<&Scheme>,
        declared: &mut HashMap<String, String>,
    ) -> Vec<Lock> {
        let Surroundings { prefix, suffix } = place;
        let mut locks = Vec::with_capacity(self.set.names.len());
        for (at, name) in self.set.names.iter().enumerate() {
            let key = format!("{prefix}{name}{suffix}");
            let path = format!("{}.names[{at}]", self.path);
            if let Some(first) = declared.get(&key) {
                let message = format!("key {key:?} is the one of {first} already: a lock belongs to one set");
                self.problems.invalid(path, message);
            } else {
                declared.insert(key.clone(), path);
            }
            if let Some(scheme) = scheme.filter(|_| !defaults.queues) {
                locks.push(Lock {
                    name: name.clone(),
                    key,
                    probe: Arc::new(scheme.probe(prefix, name, suffix)),
                });
            }
        }
        locks
    }

    /// The queues that the names stand for.
    fn queues(&self, place: &Surroundings<'_>) -> Vec<Queue> {
        let names = self.set.names.iter();
        names
            .filter_map(|name| {
                let prefix = format!("{}{name}:", place.prefix);
                let jobs = Scheme::of(self.set.dialect, &prefix)?.jobs(&prefix, place.suffix);
                Some(Queue {
                    name: name.clone(),
                    jobs: Arc::new(jobs),
                })
            })
            .collect()
    }

    /// A prefix that is too wide would make every write to the server a message to the operator.
    fn check_prefix(&mut self, prefix: &str) {
        if prefix.chars().count() < 4 || prefix.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            self.invalid(
                "discover",
                "needs a keyPrefix of at least 4 characters with a separator in it, such as jobs:",
            );
        }
    }

    /// The container must be one that lives as long as the pod: init containers only as sidecars.
    fn check_container(&mut self, container: &str) {
        if !lasting_containers(self.template).any(|known| name(known) == container) {
            self.invalid(
                "holder.container",
                format!("there is no container {container:?} in spec.template"),
            );
        }
    }

    fn check_renewal(
        &mut self,
        ttl: Option<Duration>,
        renew_interval: Option<Duration>,
        defaults: &Defaults,
    ) {
        let (Some(ttl), Some(renew_interval)) = (ttl, renew_interval) else {
            return;
        };
        let (limit, share) = if defaults.renews_twice {
            (ttl / 2, "half of ttl")
        } else {
            (ttl, "ttl")
        };
        if renew_interval >= limit {
            let [renew_interval, ttl] = [renew_interval, ttl].map(spec::Duration::from);
            let message =
                format!("must be shorter than {share}: it is {renew_interval}, with a ttl of {ttl}");
            self.invalid("renewInterval", message);
        }
    }

    fn balance(
        &mut self,
        hold: Hold,
        balance: Option<&spec::Balance>,
        ttl: Option<Duration>,
    ) -> Option<Balance> {
        let spec::Balance {
            enabled,
            slack,
            ratio,
            max_per_instance,
            for_,
            warm_up,
        } = balance.cloned().unwrap_or_default();
        let given = self.duration("balance.for", for_.as_ref());
        if given > Some(BALANCE_FOR.1) {
            self.invalid("balance.for", "must be at most 10m");
        }
        let sustained = given.or_else(|| {
            let (shortest, longest) = BALANCE_FOR;
            ttl.map(|ttl| ttl.saturating_mul(2).clamp(shortest, longest))
        });
        let warm_up = self
            .duration("balance.warmUp", warm_up.as_ref())
            .unwrap_or(BALANCE_WARM_UP);
        enabled.unwrap_or(hold == Hold::Continuous).then(|| Balance {
            slack: slack.map_or(1, i64::from),
            ratio: ratio.unwrap_or(2.0),
            max_per_instance: max_per_instance.map(i64::from),
            sustained,
            warm_up,
        })
    }

    fn positive(&mut self, field: &str, duration: Option<&spec::Duration>) -> Option<Duration> {
        let duration = self.duration(field, duration)?;
        if duration.is_zero() {
            self.invalid(field, "must be longer than 0s");
        }
        Some(duration)
    }

    fn duration(&mut self, field: &str, duration: Option<&spec::Duration>) -> Option<Duration> {
        match duration?.parse() {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.invalid(field, error.to_string());
                None
            }
        }
    }

    fn invalid(&mut self, field: &str, message: impl Into<String>) {
        self.problems.invalid(format!("{}.{field}", self.path), message);
    }
}
