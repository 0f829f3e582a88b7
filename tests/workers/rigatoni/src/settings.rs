//! What the worker is told by its environment. In: variables; out: [`Settings`] or what to correct. Pure but
//! for the host name, which is read from the system when no variable gives one.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

/// Where the readiness endpoint listens unless `HEALTH_ADDRESS` says otherwise.
const DEFAULT_HEALTH_ADDRESS: &str = "0.0.0.0:8080";

/// What stands in a setting that cannot be used, and what to write instead.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SettingsError {
    /// A variable without a default is absent or empty.
    #[error("{variable} is not set: set it, for example {variable}={example}")]
    Missing {
        /// The variable.
        variable: &'static str,
        /// A value that would do.
        example: &'static str,
    },
    /// A variable holds something else than it should.
    #[error("{variable}={value:?} is not {wanted}: set it, for example {variable}={example}")]
    Malformed {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        wanted: &'static str,
        /// A value that would do.
        example: &'static str,
    },
    /// A lock would expire after a single refresh that fails.
    #[error(
        "LOCK_REFRESH_SECONDS={refresh} is not less than half of LOCK_TTL_SECONDS={ttl}: one late refresh would \
         cost the lock; set LOCK_REFRESH_SECONDS to a third of LOCK_TTL_SECONDS"
    )]
    RefreshTooSlow {
        /// Seconds between two refreshes.
        refresh: u64,
        /// Seconds until an unrefreshed lock expires.
        ttl: u64,
    },
}

/// The settings of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `REDIS_URL`: where the locks are. It may hold a password, so it is never logged.
    pub(crate) redis_url: String,
    /// `DATABASE`: the middle part of each lock's key.
    pub(crate) database: String,
    /// `COLLECTIONS`: a comma list; one lock each.
    pub(crate) collections: Vec<String>,
    /// `LOCK_TTL_SECONDS`: after this long without a refresh a lock expires.
    pub(crate) ttl: Duration,
    /// `LOCK_REFRESH_SECONDS`: how often a held lock is refreshed.
    pub(crate) refresh: Duration,
    /// `LOCK_RETRY_SECONDS`: how often a lock that another instance holds is tried again.
    pub(crate) retry: Duration,
    /// `MAX_LOCKS`: how many locks this instance holds at most; absent: no limit, as in the library.
    pub(crate) max_locks: Option<usize>,
    /// `LOCK_RENEWAL`: `off` lets every lock that is taken run out, as if the renewal hung.
    pub(crate) renewal: bool,
    /// `HEALTH_ADDRESS`: where the readiness endpoint listens.
    pub(crate) health_address: SocketAddr,
    /// `POD_NAME`, else `HOSTNAME`, else the system's host name: the first part of every lock's value.
    pub(crate) hostname: String,
}

impl Settings {
    /// Reads the process's environment.
    pub(crate) fn from_environment() -> Result<Self, SettingsError> {
        Self::read(|variable| std::env::var(variable).ok(), system_hostname)
    }

    /// The settings that `variable` gives, with the document's figures (30 s, 10 s, 5 s) as defaults.
    fn read(
        variable: impl Fn(&'static str) -> Option<String>,
        system_hostname: impl FnOnce() -> String,
    ) -> Result<Self, SettingsError> {
        // In a manifest an empty value is how one says "not set".
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let required = |name, example| {
            variable(name).ok_or(SettingsError::Missing {
                variable: name,
                example,
            })
        };

        let collections: Vec<String> = required("COLLECTIONS", "users,orders")?
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        if collections.is_empty() {
            return Err(SettingsError::Missing {
                variable: "COLLECTIONS",
                example: "users,orders",
            });
        }
        // Whole seconds only: the library takes with `SET … EX` and refreshes with `EXPIRE`, and cuts fractions off.
        let ttl = positive("LOCK_TTL_SECONDS", variable("LOCK_TTL_SECONDS"), 30)?;
        let refresh = positive("LOCK_REFRESH_SECONDS", variable("LOCK_REFRESH_SECONDS"), 10)?;
        let retry = positive("LOCK_RETRY_SECONDS", variable("LOCK_RETRY_SECONDS"), 5)?;
        if refresh * 2 >= ttl {
            return Err(SettingsError::RefreshTooSlow { refresh, ttl });
        }
        let max_locks = variable("MAX_LOCKS")
            .map(|value| {
                let limit = value.trim().parse().ok().filter(|limit| *limit > 0);
                limit.ok_or(SettingsError::Malformed {
                    variable: "MAX_LOCKS",
                    value,
                    wanted: "a number above 0",
                    example: "2",
                })
            })
            .transpose()?;
        let renewal = match variable("LOCK_RENEWAL") {
            None => true,
            Some(value) if value == "on" => true,
            Some(value) if value == "off" => false,
            Some(value) => {
                return Err(SettingsError::Malformed {
                    variable: "LOCK_RENEWAL",
                    value,
                    wanted: "`on` or `off`",
                    example: "on",
                });
            }
        };
        let health = variable("HEALTH_ADDRESS").unwrap_or_else(|| DEFAULT_HEALTH_ADDRESS.to_owned());
        let health_address = health.parse().map_err(|_| SettingsError::Malformed {
            variable: "HEALTH_ADDRESS",
            value: health,
            wanted: "an address with a port",
            example: DEFAULT_HEALTH_ADDRESS,
        })?;

        Ok(Self {
            redis_url: required("REDIS_URL", "redis://redis:6379")?,
            database: required("DATABASE", "mydb")?,
            collections,
            ttl: Duration::from_secs(ttl),
            refresh: Duration::from_secs(refresh),
            retry: Duration::from_secs(retry),
            max_locks,
            renewal,
            health_address,
            hostname: variable("POD_NAME")
                .or_else(|| variable("HOSTNAME"))
                .unwrap_or_else(system_hostname),
        })
    }

    /// A new owner id, `{hostname}-{uuid}`, as the library's pipeline makes one when it is created.
    pub(crate) fn new_owner_id(&self) -> String {
        format!("{}-{}", self.hostname, Uuid::new_v4())
    }

    /// The Redis key of a collection's lock, as the library's pipeline makes it. The store adds no prefix.
    pub(crate) fn lock_key(&self, collection: &str) -> String {
        format!("rigatoni:lock:{}:{collection}", self.database)
    }
}

/// A whole number above 0, or `default` where there is none.
fn positive(variable: &'static str, value: Option<String>, default: u64) -> Result<u64, SettingsError> {
    let Some(value) = value else { return Ok(default) };
    // An hour bounds the sums that are made with it; no lock of this kind lives longer.
    value
        .trim()
        .parse()
        .ok()
        .filter(|seconds| (1..=3600).contains(seconds))
        .ok_or(SettingsError::Malformed {
            variable,
            value,
            wanted: "a whole number of seconds from 1 to 3600 (the library has no fractions)",
            example: "30",
        })
}

/// The host name as the library reads it, with the library's own word for one that cannot be read.
fn system_hostname() -> String {
    hostname::get().map_or_else(
        |_| "unknown".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&'static str, &str)]) -> Result<Settings, SettingsError> {
        let base = [
            ("REDIS_URL", "redis://redis:6379"),
            ("DATABASE", "mydb"),
            ("COLLECTIONS", "users, orders,"),
        ];
        Settings::read(
            |name| {
                let found = set.iter().chain(&base).find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            },
            || "system".to_owned(),
        )
    }

    #[test]
    fn defaults_are_the_documents_figures() {
        let settings = read(&[]).expect("complete");
        assert_eq!(settings.collections, ["users", "orders"]);
        let seconds = [settings.ttl, settings.refresh, settings.retry].map(|time| time.as_secs());
        assert_eq!(seconds, [30, 10, 5]);
        assert_eq!(settings.max_locks, None);
        assert!(settings.renewal);
        assert_eq!(settings.lock_key("users"), "rigatoni:lock:mydb:users");
    }

    #[test]
    fn the_pods_name_comes_first() {
        let name = |set: &[(&'static str, &str)]| read(set).expect("complete").hostname;
        assert_eq!(name(&[("HOSTNAME", "host"), ("POD_NAME", "pod")]), "pod");
        assert_eq!(name(&[("HOSTNAME", "host"), ("POD_NAME", "")]), "host");
        assert_eq!(name(&[]), "system");
        let settings = read(&[("POD_NAME", "pod")]).expect("complete");
        let (host, uuid) = settings
            .new_owner_id()
            .split_at_checked(4)
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .expect("long");
        assert_eq!(host, "pod-");
        assert!(Uuid::parse_str(&uuid).is_ok());
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_named_with_a_way_out() {
        for (variable, value) in [
            ("COLLECTIONS", ","),
            ("DATABASE", ""),
            ("LOCK_TTL_SECONDS", "1.5"),
            ("LOCK_RETRY_SECONDS", "0"),
            ("LOCK_REFRESH_SECONDS", "15"),
            ("MAX_LOCKS", "0"),
            ("LOCK_RENEWAL", "false"),
            ("HEALTH_ADDRESS", "8080"),
        ] {
            let message = read(&[(variable, value)]).expect_err(variable).to_string();
            assert!(
                message.contains(variable) && message.contains("set "),
                "{message}"
            );
        }
        assert_eq!(
            read(&[("MAX_LOCKS", "2"), ("LOCK_RENEWAL", "off")]).map(|s| (s.max_locks, s.renewal)),
            Ok((Some(2), false))
        );
    }
}
