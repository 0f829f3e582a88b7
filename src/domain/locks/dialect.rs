//! How the values of each lock library name their holders, and how each library is set by default. Pure.
//!
//! In: a dialect, or what `holder` says in its place. Out: a [`Scheme`]: what must be read of a lock, and whom an answer
//! names. Values are foreign input: at most 4 KiB of bytes, not necessarily UTF-8, and never shown.

mod library;
mod pattern;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

pub use self::{
    library::{Defaults, defaults, remedy},
    pattern::{Captured, Pattern, PatternError},
};
use super::{
    Hold, HolderValue, Text,
    probe::{BesideTemplate, Discovery, Form, Part, Place, Probe},
};
use crate::api::spec::Dialect;

/// How the locks of a set are read, and how their holders are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheme {
    /// What is kept at a lock's key.
    pub form: Form,
    /// What the lock's own text must fit; `None`: anything, and it names nobody.
    pub pattern: Option<Pattern>,
    /// Where the owner stands if it is not in the lock, and what the text there must fit (`None`: it is the owner).
    pub beside: Option<(BesideTemplate, Option<Pattern>)>,
    /// What of a pod an owner is.
    pub matches: OwnerMatch,
}

/// What of a pod an owner is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum OwnerMatch {
    /// Its name.
    #[default]
    PodName,
    /// Its UID.
    PodUid,
    /// One of its addresses.
    PodIp,
    /// The value of this label.
    Label(String),
    /// The value of this annotation.
    Annotation(String),
}

/// Whom a hold names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Named<'v> {
    /// This, which may be a pod.
    Owner(Owner<'v>),
    /// Nobody: the library names no owner, or not yet, or several hold the lock.
    Nobody,
    /// What stands there is nothing that the library writes.
    Unfit,
}

impl Scheme {
    /// A library's own; `prefix` is what stands before a name in Redis. `None` for `Custom`, which is what the spec says.
    #[must_use]
    pub fn of(dialect: Dialect, prefix: &str) -> Option<Self> {
        library::scheme(dialect, prefix)
    }

    /// The lock of this name.
    #[must_use]
    pub fn probe(&self, prefix: &str, name: &str, suffix: &str) -> Probe {
        Probe {
            key: format!("{prefix}{name}{suffix}").as_bytes().into(),
            form: self.form.clone(),
            beside: self
                .beside
                .as_ref()
                .map(|(beside, _)| beside.fill(name.as_bytes())),
        }
    }

    /// The job locks of a queue, whose name ends `prefix`: they are found through the library's own list of the jobs
    /// that run.
    #[must_use]
    pub fn jobs(&self, prefix: &str, suffix: &str) -> Discovery {
        Discovery {
            place: Place::Index(format!("{prefix}active").as_bytes().into()),
            ..self.everywhere(prefix, suffix)
        }
    }

    /// Every lock with this prefix and suffix.
    #[must_use]
    pub fn everywhere(&self, prefix: &str, suffix: &str) -> Discovery {
        Discovery {
            place: Place::Keys,
            prefix: prefix.into(),
            suffix: suffix.into(),
            form: self.form.clone(),
            beside: self.beside.as_ref().map(|(beside, _)| beside.clone()),
        }
    }

    /// Whom a hold names.
    #[must_use]
    pub fn named<'v>(&self, hold: &'v Hold) -> Named<'v> {
        let text: &HolderValue = match &hold.text {
            Text::One(text) => text,
            Text::Missing => return Named::Unfit,
            Text::Several => return Named::Nobody,
        };
        let own = match &self.pattern {
            Some(pattern) => match pattern.captures(&text.0) {
                Some(captured) => captured.owner,
                None => return Named::Unfit,
            },
            None => None,
        };
        let owner = match (&self.beside, &hold.beside) {
            (None, _) => own.map(|at| &text.0[at]),
            // Who it is has not been written, or not yet.
            (Some(_), None) => None,
            (Some((_, None)), Some(said)) => Some(&said.0[..]),
            (Some((_, Some(pattern))), Some(said)) => match pattern.captures(&said.0) {
                Some(captured) => captured.owner.map(|at| &said.0[at]),
                None => return Named::Unfit,
            },
        };
        match owner {
            None => Named::Nobody,
            Some(owner) => self.matches.owner(owner).map_or(Named::Unfit, Named::Owner),
        }
    }

    /// Whether an owner can be told at all.
    #[must_use]
    pub fn tells_owners(&self) -> bool {
        match &self.beside {
            Some((_, pattern)) => pattern.as_ref().is_none_or(Pattern::names_owners),
            None => self.pattern.as_ref().is_some_and(Pattern::names_owners),
        }
    }
}

/// What a lock says its holder is, as it is compared with pods. `Debug` doesn't show it, since it may belong to somebody
/// else.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Owner<'v>(Cow<'v, str>);

impl OwnerMatch {
    /// Normalised as the thing that it is. `None`: it can't be one.
    fn owner<'v>(&self, raw: &'v [u8]) -> Option<Owner<'v>> {
        let text = std::str::from_utf8(raw).ok().filter(|text| !text.is_empty())?;
        let lower = |text: &'v str| {
            if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                text.to_ascii_lowercase().into()
            } else {
                Cow::Borrowed(text)
            }
        };
        Some(Owner(match self {
            // As host names are compared: up to the first dot (a pod with `setHostnameAsFQDN` writes its FQDN).
            Self::PodName => {
                let label = text.split_once('.').map_or(text, |(label, _)| label);
                if label.is_empty() {
                    return None;
                }
                lower(label)
            }
            Self::PodUid => lower(text),
            Self::PodIp => {
                let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                let address: IpAddr = address.unwrap_or(text).parse().ok()?;
                address.to_canonical().to_string().into()
            }
            Self::Label(_) | Self::Annotation(_) => Cow::Borrowed(text),
        }))
    }
}

impl Owner<'_> {
    /// The text that pods are compared with.
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

/// A string value that is read whole.
fn whole() -> Form {
    Form::String(Part::Whole)
}

/// Names of fields or members.
#[must_use]
pub fn names<'n>(names: impl IntoIterator<Item = &'n str>) -> Arc<[Arc<[u8]>]> {
    names.into_iter().map(|name| name.as_bytes().into()).collect()
}
