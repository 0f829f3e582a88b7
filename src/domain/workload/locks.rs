//! The lock sets of a resource, with their dialects' defaults.

use std::{collections::HashMap, time::Duration};

use super::{AssumedTimings, Balance, Lock, LockSet, parse::Problems};
use crate::{
    api::spec::{self, Dialect, Hold, HolderRule, HolderSourceType, OwnerMatchType, Verbatim},
    domain::{
        locks::dialect::{self, Defaults, Pattern},
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

/// Each set, `None` where a problem was found or this version can't observe it. No key is in two of them.
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
        let before = self.problems.not_supported_count();
        let discover = discover.unwrap_or_default();
        match hold {
            Hold::Continuous if names.is_empty() => self.invalid("names", "needed with hold: Continuous"),
            Hold::Intermittent if names.is_empty() && !discover => {
                self.invalid("names", "needed with hold: Intermittent, unless discover is true");
            }
            Hold::Continuous | Hold::Intermittent => {}
        }
        if discover {
            self.not_supported_yet("discover", "");
        }
        let defaults = dialect::defaults(*dialect);
        if defaults.is_none() {
            self.not_supported_yet("dialect", &format!("{dialect:?}"));
        }
        // Only to find what else is wrong: with a problem nothing of this is used.
        let known = defaults.is_some();
        let defaults = defaults.unwrap_or(&dialect::NO_DEFAULTS);
        // Which keys the names stand for is the library's matter: of an unknown one they can't be compared.
        let mut apart = HashMap::new();
        let declared = if known { declared } else { &mut apart };
        let locks = self.locks(key_prefix.as_deref(), key_suffix.as_deref(), defaults, declared);
        let pattern = self.pattern(*dialect, holder.as_ref());
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
        if max_hold.is_some() {
            self.not_supported_yet("maxHold", "");
        }
        if every.is_some() {
            self.not_supported_yet("every", "");
        }
        let balance = self.balance(*hold, balance.as_ref(), ttl);
        if self.problems.not_supported_count() > before {
            return None;
        }
        Some(LockSet {
            name: name.clone(),
            hold: *hold,
            dialect: *dialect,
            pattern: pattern?,
            container,
            locks,
            ttl,
            renew_interval,
            retry_interval,
            assumed,
            unheld_grace,
            balance,
            foreign_holders: foreign_holders.unwrap_or_default(),
            readiness: readiness.unwrap_or_default(),
        })
    }

    fn locks(
        &mut self,
        prefix: Option<&str>,
        suffix: Option<&str>,
        defaults: &Defaults,
        declared: &mut HashMap<String, String>,
    ) -> Vec<Lock> {
        let prefix = prefix.unwrap_or(defaults.key_prefix);
        let suffix = suffix.unwrap_or(defaults.key_suffix);
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
            locks.push(Lock {
                name: name.clone(),
                key,
            });
        }
        locks
    }

    /// `None`: a problem was found.
    fn pattern(&mut self, dialect: Dialect, holder: Option<&HolderRule>) -> Option<Pattern> {
        let HolderRule {
            source,
            pattern,
            matches,
            registry,
            container: _,
        } = holder.cloned().unwrap_or_default();
        match dialect {
            Dialect::Custom => {}
            Dialect::Rigatoni
            | Dialect::Redlock
            | Dialect::Bull
            | Dialect::BullMQ
            | Dialect::Redisson
            | Dialect::ShedLock
            | Dialect::SpringIntegration
            | Dialect::DistributedLockNet
            | Dialect::RedisPy
            | Dialect::RedBeat
            | Dialect::Laravel => {
                if source.is_some() || pattern.is_some() || matches.is_some() || registry.is_some() {
                    let message =
                        "of holder only container goes with this dialect, which knows where the holder is";
                    self.invalid("holder", message);
                }
                return Some(Pattern::rigatoni());
            }
        }
        if let Some(source) = source
            && source.type_ != HolderSourceType::StringValue
        {
            self.not_supported_yet("holder.source.type", &format!("{:?}", source.type_));
        }
        let compiled = match pattern.as_deref().map(Pattern::custom) {
            Some(Ok(pattern)) => Some(pattern),
            Some(Err(dialect::PatternError::HolderOnly)) => {
                self.not_supported_yet("holder.pattern", "a pattern without a group named owner");
                None
            }
            Some(Err(error)) => {
                self.invalid("holder.pattern", error.to_string());
                None
            }
            None => {
                if registry.is_none() {
                    self.invalid(
                        "holder.pattern",
                        "needed with dialect: Custom, with a group (?<owner>…)",
                    );
                }
                None
            }
        };
        if let Some(matches) = matches
            && matches.type_ != OwnerMatchType::PodName
        {
            self.not_supported_yet("holder.matches.type", &format!("{:?}", matches.type_));
        }
        if registry.is_some() {
            self.not_supported_yet("holder.registry", "");
        }
        compiled
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

    fn not_supported_yet(&mut self, field: &str, what: &str) {
        self.problems
            .not_supported_yet(format!("{}.{field}", self.path), what);
    }
}
