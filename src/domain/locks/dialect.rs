//! How the values of each lock library name their holders, and how each library is set by default. Pure.
//!
//! In: a dialect, and the bytes that a lock's key holds. Out: the library's settings, and the owner that a value names.
//! A value is foreign input: at most 4 KiB of bytes, not necessarily UTF-8, and never shown.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use regex::bytes::{Regex, RegexBuilder};

use crate::api::spec::Dialect;

/// What a dialect says about keys and timings where the spec is silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Defaults {
    /// What stands before a name in Redis.
    pub key_prefix: &'static str,
    /// What stands behind a name in Redis.
    pub key_suffix: &'static str,
    /// Lifetime of a lock; `None`: whatever the application asks for.
    pub ttl: Option<Duration>,
    /// Renewal; `None`: the library doesn't renew by itself.
    pub renew_interval: Option<Duration>,
    /// Time between two tries to take a lock; `None`: the library has none of its own.
    pub retry_interval: Option<Duration>,
    /// Whether the library refuses to renew less than twice within a ttl.
    pub renews_twice: bool,
}

/// `rigatoni-core` 0.2.0, `DistributedLockConfig::default()`: `SET rigatoni:lock:{db}:{collection} {hostname}-{uuid} NX EX`.
const RIGATONI: Defaults = Defaults {
    key_prefix: "rigatoni:lock:",
    key_suffix: "",
    ttl: Some(Duration::from_secs(30)),
    renew_interval: Some(Duration::from_secs(10)),
    retry_interval: Some(Duration::from_secs(5)),
    renews_twice: true,
};

/// Nothing is known of a library that only the spec describes.
pub const NO_DEFAULTS: Defaults = Defaults {
    key_prefix: "",
    key_suffix: "",
    ttl: None,
    renew_interval: None,
    retry_interval: None,
    renews_twice: false,
};

/// The defaults of a dialect; `None`: this version can't read it.
#[must_use]
pub const fn defaults(dialect: Dialect) -> Option<&'static Defaults> {
    match dialect {
        Dialect::Rigatoni => Some(&RIGATONI),
        Dialect::Custom => Some(&NO_DEFAULTS),
        Dialect::Redlock
        | Dialect::Bull
        | Dialect::BullMQ
        | Dialect::Redisson
        | Dialect::ShedLock
        | Dialect::SpringIntegration
        | Dialect::DistributedLockNet
        | Dialect::RedisPy
        | Dialect::RedBeat
        | Dialect::Laravel => None,
    }
}

/// How the owner is found in a value. Cheap to clone; two are equal if they were made from the same text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern(Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    /// `{hostname}-{uuid}`. By hand: it is read on every renewal, and it can't fail to compile.
    HostnameAndUuid,
    Custom(Custom),
}

#[derive(Clone)]
struct Custom {
    source: Arc<str>,
    regex: Regex,
}

/// Why a pattern can't be used; the text is for the user who wrote it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression.
    #[error("is not a valid regular expression: {0}")]
    Syntax(String),
    /// It is one, but too large to be compiled for every lock.
    #[error("is too large when compiled: use smaller repetition counts")]
    TooLarge,
    /// It has neither the group `owner` nor `holder`.
    #[error("has no group named owner: write (?<owner>…) around what names the pod")]
    NoOwner,
    /// It has the group `holder` alone: locks that name no pod.
    #[error("a pattern without a group named owner is not supported yet by this version of Lockstep")]
    HolderOnly,
}

/// Limit of a compiled pattern, bytes: room for every pattern of 512 characters without large repetitions.
const COMPILED_SIZE_LIMIT: usize = 256 * 1024;
/// Limit of the regex engine's cache, bytes.
const CACHE_SIZE_LIMIT: usize = 1024 * 1024;
/// Limit of nested groups.
const NEST_LIMIT: u32 = 32;
/// Length of a UUID in its hyphenated form.
const UUID_LENGTH: usize = 36;

impl Pattern {
    /// Rigatoni's `{hostname}-{uuid}`.
    #[must_use]
    pub const fn rigatoni() -> Self {
        Self(Kind::HostnameAndUuid)
    }

    /// A pattern that the user wrote. It is anchored at both ends and works on bytes: `.` is any byte, and classes are
    /// ASCII, so that a value which is not UTF-8 can fit.
    pub fn custom(source: &str) -> Result<Self, PatternError> {
        // Alone first: `a)|(?:b` would only become valid, and unanchored, between our own brackets.
        compile(source)?;
        // The line break ends a comment, which `(?x)` allows at the end; it counts only where that flag is off.
        let regex = compile(&format!("^(?:{source})$")).or_else(|_| compile(&format!("^(?:{source}\n)$")))?;
        let has = |group| regex.capture_names().flatten().any(|name| name == group);
        if has("owner") {
            Ok(Self(Kind::Custom(Custom {
                source: source.into(),
                regex,
            })))
        } else if has("holder") {
            Err(PatternError::HolderOnly)
        } else {
            Err(PatternError::NoOwner)
        }
    }

    /// The owner that a value names; `None`: the value doesn't fit (Malformed).
    #[must_use]
    pub fn owner<'v>(&self, value: &'v [u8]) -> Option<Owner<'v>> {
        match &self.0 {
            Kind::HostnameAndUuid => hostname_before_uuid(value).and_then(Owner::new),
            Kind::Custom(custom) => {
                let captures = custom.regex.captures(value)?;
                Owner::new(captures.name("owner")?.as_bytes())
            }
        }
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Custom {}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Custom").field(&self.source).finish()
    }
}

/// What a value says its holder is: the name of a pod, if it is one. `Debug` doesn't show it, since it may belong to
/// somebody else.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Owner<'v>(Cow<'v, str>);

impl<'v> Owner<'v> {
    /// Normalised as host names are compared: what stands before the first dot (a pod with `setHostnameAsFQDN` writes its
    /// FQDN), in lower case. `None`: nothing that could be a name.
    fn new(raw: &'v [u8]) -> Option<Self> {
        let text = std::str::from_utf8(raw).ok()?;
        let label = text.split_once('.').map_or(text, |(label, _)| label);
        if label.is_empty() {
            None
        } else if label.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Some(Self(label.to_ascii_lowercase().into()))
        } else {
            Some(Self(label.into()))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({} bytes)", self.0.len())
    }
}

fn compile(source: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(source)
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(COMPILED_SIZE_LIMIT)
        .dfa_size_limit(CACHE_SIZE_LIMIT)
        .nest_limit(NEST_LIMIT)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            // A picture of the pattern stands in the lines before; the last line says what is wrong.
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                PatternError::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned())
            }
        })
}

/// What stands before `-` and a hyphenated, lower-case UUID at the end.
fn hostname_before_uuid(value: &[u8]) -> Option<&[u8]> {
    let (head, uuid) = value.split_at_checked(value.len().checked_sub(UUID_LENGTH)?)?;
    let is_uuid = uuid.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    if is_uuid { head.strip_suffix(b"-") } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b";

    fn name(pattern: &Pattern, value: impl AsRef<[u8]>) -> Option<String> {
        pattern
            .owner(value.as_ref())
            .map(|owner| owner.as_str().to_owned())
    }

    #[test]
    fn rigatoni_names_the_host_before_the_uuid() {
        let pattern = Pattern::rigatoni();
        let long = "x".repeat(4096 - 1 - UUID.len());
        for (host, owner) in [
            ("rigatoni-6f7b9c8d5-x2x4z", "rigatoni-6f7b9c8d5-x2x4z"),
            ("Rigatoni-0", "rigatoni-0"),
            ("rigatoni-0.rigatoni.shop.svc.cluster.local", "rigatoni-0"),
            // A host name that itself ends like a value: only the last UUID is the library's.
            (&format!("host-{UUID}"), &format!("host-{UUID}")),
            (&long, &long),
        ] {
            assert_eq!(name(&pattern, format!("{host}-{UUID}")).as_deref(), Some(owner));
        }
    }

    #[test]
    fn rigatoni_takes_no_other_value() {
        let pattern = Pattern::rigatoni();
        for value in [
            String::new(),
            UUID.to_owned(),
            format!("-{UUID}"),
            format!(".local-{UUID}"),
            format!("host_{UUID}"),
            format!("host-{UUID} "),
            format!("host-{}", UUID.to_uppercase()),
            format!("host-{}", &UUID[..35]),
            format!("host-{}g", &UUID[..35]),
            format!("host-{}", UUID.replace('-', "0")),
        ] {
            assert_eq!(name(&pattern, &value), None, "{value}");
        }
        assert_eq!(name(&pattern, vec![0xff; 4096]), None);
        assert_eq!(
            name(&pattern, [b"\xff\xfe-", UUID.as_bytes()].concat()),
            None,
            "a host name is text"
        );
    }

    #[test]
    fn a_custom_pattern_is_anchored() {
        let pattern = Pattern::custom("(?<owner>[a-z0-9-]+)|x(?P<holder>y)").unwrap();
        assert_eq!(name(&pattern, "pod-1").as_deref(), Some("pod-1"));
        for value in ["pod-1 ", " pod-1", "pod-1\n", "pod_1", ""] {
            assert_eq!(name(&pattern, value), None, "{value:?}");
        }
        // Alternatives are tried until the whole value fits, not the first that fits its beginning.
        let pattern = Pattern::custom("(?<owner>a|ab)").unwrap();
        assert_eq!(name(&pattern, "ab").as_deref(), Some("ab"));
    }

    #[test]
    fn a_custom_pattern_may_carry_its_own_anchors_and_comments() {
        for source in [
            "^(?P<owner>.+):.*$",
            "(?x) (?<owner> .+ ) : .*  # the rest is random",
        ] {
            let pattern = Pattern::custom(source).unwrap();
            assert_eq!(name(&pattern, "pod-1:77").as_deref(), Some("pod-1"), "{source}");
        }
    }

    #[test]
    fn a_custom_pattern_works_on_bytes() {
        let pattern = Pattern::custom(r".{20}(?<owner>.+)").unwrap();
        let mut value = vec![0xff; 19];
        value.push(b'\n');
        value.extend_from_slice(b"POD-1.shop");
        assert_eq!(name(&pattern, &value).as_deref(), Some("pod-1"));
        value.push(0xff);
        assert_eq!(name(&pattern, &value), None, "an owner is text");
        let mut value = vec![0x80; 20];
        value.resize(4096, b'a');
        assert_eq!(name(&pattern, &value).map(|owner| owner.len()), Some(4076));
    }

    #[test]
    fn a_group_that_took_no_part_names_nobody() {
        let pattern = Pattern::custom("free|(?<owner>pod-.*)").unwrap();
        assert_eq!(name(&pattern, "free"), None);
    }

    #[test]
    fn unusable_patterns_say_why() {
        for (source, why) in [
            ("(?<owner>.+", "is not a valid regular expression: unclosed group"),
            (
                "a)|(?:(?<owner>b)",
                "is not a valid regular expression: unopened group",
            ),
            (
                r"(?<owner>.+)\1",
                "is not a valid regular expression: backreferences are not supported",
            ),
            (
                "(?<owner>.+)(?=x)",
                "is not a valid regular expression: look-around, including look-ahead and look-behind, is not supported",
            ),
            (
                "(?<owner>(.{1000}){1000})",
                "is too large when compiled: use smaller repetition counts",
            ),
            (
                ".+",
                "has no group named owner: write (?<owner>…) around what names the pod",
            ),
            (
                "(?<holder>.+)",
                "a pattern without a group named owner is not supported yet by this version of Lockstep",
            ),
        ] {
            assert_eq!(Pattern::custom(source).unwrap_err().to_string(), why, "{source}");
        }
        let deep = format!("{}(?<owner>a){}", "(".repeat(200), ")".repeat(200));
        assert!(matches!(Pattern::custom(&deep), Err(PatternError::Syntax(_))));
    }

    #[test]
    fn patterns_are_equal_by_their_text() {
        let pattern = |source| Pattern::custom(source).unwrap();
        assert_eq!(pattern("(?<owner>a)"), pattern("(?<owner>a)"));
        assert_ne!(pattern("(?<owner>a)"), pattern("(?P<owner>a)"));
        assert_ne!(pattern("(?<owner>a)"), Pattern::rigatoni());
        assert_eq!(Pattern::rigatoni(), Pattern::rigatoni());
    }

    #[test]
    fn debug_shows_no_value() {
        let owner = Pattern::custom("(?<owner>.+)").unwrap();
        assert_eq!(format!("{:?}", owner.owner(b"secret")), "Some(Owner(6 bytes))");
    }

    #[test]
    fn a_regular_expression_reads_rigatoni_alike() {
        let regex = Pattern::custom("(?<owner>.+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
        let hand = Pattern::rigatoni();
        proptest::proptest!(|(value in "[a-fA-F0-9.\\-]{0,60}", uuid: bool)| {
            let value = if uuid { format!("{value}{UUID}") } else { value };
            proptest::prop_assert_eq!(name(&regex, &value), name(&hand, &value));
        });
    }
}
