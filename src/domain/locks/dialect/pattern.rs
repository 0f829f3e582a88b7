//! Patterns of holder texts: the libraries' own, by hand, since they are read on every renewal and can't fail to
//! compile, and those that users write. Pure.

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
    sync::Arc,
};

use regex::bytes::{Regex, RegexBuilder};

/// What a text must fit, and where in it the owner, the holder and the time stand. Cheap to clone; two are equal if they
/// were made from the same text.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Pattern(Kind);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Kind {
    /// `{owner}-{uuid}`
    NameAndUuid,
    /// `{holder: uuid}`
    Uuid,
    /// `{holder: uuid}:{number}`, with `:write` behind it if that is allowed.
    UuidAndNumber {
        write: bool,
    },
    /// `ADDED:{since}@{owner}` or `ADDED:{since}@{owner}:{uuid}`
    AddedAt,
    /// `{owner}_{number}_{32 hex digits}`, possibly with `_WRITERWAITING`
    NameNumberAndHex,
    Custom(Custom),
}

#[derive(Clone)]
struct Custom {
    source: Arc<str>,
    regex: Regex,
}

/// Where in a text something stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Captured {
    /// What names the pod.
    pub owner: Option<Range<usize>>,
    /// What tells processes apart.
    pub holder: Option<Range<usize>>,
    /// When the lock was taken.
    pub since: Option<Range<usize>>,
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
    #[error(
        "has no group named owner or holder: write (?<owner>…) around what names the pod, or (?<holder>…) around what \
         tells processes apart"
    )]
    NoGroup,
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
    /// `{owner}-{uuid}`.
    pub(super) const NAME_AND_UUID: Self = Self(Kind::NameAndUuid);
    /// A UUID, which is the holder.
    pub(super) const UUID: Self = Self(Kind::Uuid);
    /// A UUID, which is the holder, and a number.
    pub(super) const UUID_AND_NUMBER: Self = Self(Kind::UuidAndNumber { write: false });
    /// The same, possibly with `:write` behind it.
    pub(super) const UUID_AND_THREAD: Self = Self(Kind::UuidAndNumber { write: true });
    /// `ADDED:{since}@{owner}`, possibly with a UUID behind it.
    pub(super) const ADDED_AT: Self = Self(Kind::AddedAt);
    /// `{owner}_{number}_{hex}`.
    pub(super) const NAME_NUMBER_AND_HEX: Self = Self(Kind::NameNumberAndHex);

    /// A pattern that the user wrote. It is anchored at both ends and works on bytes: `.` is any byte, and classes are
    /// ASCII, so that a value which is not UTF-8 can fit.
    pub fn custom(source: &str) -> Result<Self, PatternError> {
        // Alone first: `a)|(?:b` would only become valid, and unanchored, between our own brackets.
        compile(source)?;
        // The line break ends a comment, which `(?x)` allows at the end; it counts only where that flag is off.
        let regex = compile(&format!("^(?:{source})$")).or_else(|_| compile(&format!("^(?:{source}\n)$")))?;
        let mut groups = regex.capture_names().flatten();
        if !groups.any(|name| name == "owner" || name == "holder") {
            return Err(PatternError::NoGroup);
        }
        Ok(Self(Kind::Custom(Custom {
            source: source.into(),
            regex,
        })))
    }

    /// What stands where in a text; `None`: it doesn't fit (Malformed).
    #[must_use]
    pub fn captures(&self, text: &[u8]) -> Option<Captured> {
        match &self.0 {
            Kind::NameAndUuid => name_and_uuid(text),
            Kind::Uuid => is_uuid(text).then(|| holder(0..text.len())),
            Kind::UuidAndNumber { write } => uuid_and_number(text, *write),
            Kind::AddedAt => added_at(text),
            Kind::NameNumberAndHex => name_number_and_hex(text),
            Kind::Custom(custom) => {
                let captures = custom.regex.captures(text)?;
                let group = |name| captures.name(name).map(|found| found.range());
                Some(Captured {
                    owner: group("owner"),
                    holder: group("holder"),
                    since: group("since"),
                })
            }
        }
    }

    /// What tells processes apart: the group `holder`, else all of a text that fits.
    #[must_use]
    pub fn holder<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let holder = self.captures(text)?.holder;
        Some(holder.map_or(text, |at| &text[at]))
    }

    /// Where it says when the lock was taken.
    #[must_use]
    pub fn since(&self, text: &[u8]) -> Option<Range<usize>> {
        self.captures(text)?.since
    }

    /// Whether it has a group `owner`.
    #[must_use]
    pub fn names_owners(&self) -> bool {
        self.has("owner")
    }

    /// Whether it has a group `since`.
    #[must_use]
    pub fn tells_since(&self) -> bool {
        self.has("since")
    }

    fn has(&self, group: &str) -> bool {
        match &self.0 {
            Kind::NameAndUuid | Kind::NameNumberAndHex => group == "owner",
            Kind::Uuid | Kind::UuidAndNumber { .. } => group == "holder",
            Kind::AddedAt => group == "owner" || group == "since",
            Kind::Custom(custom) => custom.regex.capture_names().flatten().any(|name| name == group),
        }
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Custom {}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Custom").field(&self.source).finish()
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

fn owner(at: Range<usize>) -> Captured {
    Captured {
        owner: Some(at),
        ..Captured::default()
    }
}

fn holder(at: Range<usize>) -> Captured {
    Captured {
        holder: Some(at),
        ..Captured::default()
    }
}

/// Hyphenated, in lower case.
fn is_uuid(text: &[u8]) -> bool {
    text.len() == UUID_LENGTH
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => is_hex(*byte),
        })
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn name_and_uuid(text: &[u8]) -> Option<Captured> {
    let (head, uuid) = text.split_at_checked(text.len().checked_sub(UUID_LENGTH)?)?;
    let name = head.strip_suffix(b"-")?;
    (is_uuid(uuid) && !name.is_empty()).then(|| owner(0..name.len()))
}

fn uuid_and_number(text: &[u8], write: bool) -> Option<Captured> {
    let (uuid, rest) = text.split_at_checked(UUID_LENGTH)?;
    let rest = if write {
        rest.strip_suffix(b":write").unwrap_or(rest)
    } else {
        rest
    };
    (is_uuid(uuid) && is_number(rest.strip_prefix(b":")?)).then(|| holder(0..UUID_LENGTH))
}

fn added_at(text: &[u8]) -> Option<Captured> {
    const START: &[u8] = b"ADDED:";
    let rest = text.strip_prefix(START)?;
    let at = START.len() + rest.iter().position(|byte| *byte == b'@')?;
    let host = &text[at + 1..];
    let end = match host.iter().position(|byte| *byte == b':') {
        Some(colon) if is_uuid(&host[colon + 1..]) => colon,
        Some(_) => return None,
        None => host.len(),
    };
    (at > START.len() && end > 0).then(|| Captured {
        owner: Some(at + 1..at + 1 + end),
        holder: None,
        since: Some(START.len()..at),
    })
}

fn name_number_and_hex(text: &[u8]) -> Option<Captured> {
    const HEX_LENGTH: usize = 32;
    let text = text.strip_suffix(b"_WRITERWAITING").unwrap_or(text);
    let (head, hex) = text.split_at_checked(text.len().checked_sub(HEX_LENGTH)?)?;
    let head = head.strip_suffix(b"_")?;
    let name = head.iter().rposition(|byte| *byte == b'_')?;
    let fits = hex.iter().all(|byte| is_hex(*byte)) && is_number(&head[name + 1..]) && name > 0;
    fits.then(|| owner(0..name))
}
