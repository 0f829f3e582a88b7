//! What has to be read to know one lock, and what of it says who holds it. Pure.
//!
//! In: a dialect's rules. Out: a [`Probe`] per lock for the observer, a [`Discovery`] per place where locks turn up
//! unasked. Equal probes are read once, whoever asks for them. Patterns stand for the whole of their text.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::{Key, Text, dialect::Pattern};

/// One lock as it is read.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Probe {
    /// The lock's own key: it decides whether there is a hold, and until when.
    pub key: Key,
    /// What the library keeps there.
    pub form: Form,
    /// What else must be read to tell who holds it.
    pub beside: Option<Beside>,
}

impl Probe {
    /// A lock that is a string, and nothing beside it.
    #[must_use]
    pub fn string(key: &[u8]) -> Self {
        Self {
            key: key.into(),
            form: Form::String(Part::Whole),
            beside: None,
        }
    }

    /// Every key that this probe reads and that is known beforehand.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let beside = match &self.beside {
            Some(Beside::Key(key) | Beside::Field(key, _)) => Some(key),
            Some(Beside::Registry(_)) | None => None,
        };
        std::iter::once(&self.key).chain(beside)
    }
}

/// What a library keeps at a lock's key, and where in it the holder stands.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Form {
    /// A string.
    String(Part),
    /// A hash: the name of a field is the holder, the whole hash expires.
    HashField {
        /// Fields that are no holders.
        ignore: Names,
    },
    /// A set: a member is the holder, the whole set expires.
    SetMember {
        /// Members that are no holders.
        ignore: Names,
    },
    /// A sorted set: a member is the holder, its score is when it expires.
    SortedSetMember {
        /// Members that are no holders.
        ignore: Names,
        /// What a score counts.
        unit: ScoreUnit,
    },
}

/// Fields or members by name.
pub type Names = Arc<[Arc<[u8]>]>;

/// What a sorted set's scores count, since 1970.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ScoreUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// The part of a string that identifies its holder.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The string at this JSON pointer (RFC 6901).
    Pointer(Arc<str>),
    /// All but what the pattern's group `since` takes: a library that writes the time anew with each extension has
    /// still the same holder.
    WithoutSince(Pattern),
}

impl Part {
    /// What of a value identifies the holder, and what the dialect's pattern reads.
    #[must_use]
    pub fn of(&self, value: &[u8]) -> (Arc<[u8]>, Text) {
        match self {
            Self::Whole => {
                let value: Arc<[u8]> = value.into();
                (Arc::clone(&value), Text::One(value.into()))
            }
            Self::Pointer(pointer) => {
                let found = serde_json::from_slice::<serde_json::Value>(value).ok();
                let found = found.as_ref().and_then(|json| json.pointer(pointer)?.as_str());
                match found {
                    Some(found) => {
                        let found: Arc<[u8]> = found.as_bytes().into();
                        (Arc::clone(&found), Text::One(found.into()))
                    }
                    None => (value.into(), Text::Missing),
                }
            }
            Self::WithoutSince(pattern) => {
                let identity = match pattern.since(value) {
                    Some(since) => [&value[..since.start], &value[since.end..]].concat().into(),
                    None => value.into(),
                };
                (identity, Text::One(Arc::<[u8]>::from(value).into()))
            }
        }
    }
}

/// Where an owner stands that is not in the lock itself.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Beside {
    /// The value of another key.
    Key(Key),
    /// A field of another key's hash.
    Field(Key, Arc<[u8]>),
    /// A key that says which pod a holder is: it can only be named once the holder is known.
    Registry(Registry),
}

/// A registry: the application writes into it which pod a holder is.
#[derive(Clone, Debug)]
pub struct Registry {
    /// The key; `{holder}` stands for the holder.
    pub key: Arc<str>,
    /// Field of a hash, with the same; `None`: the key is a string.
    pub field: Option<Arc<str>>,
    /// Finds the holder in what the lock says: its group `holder`, else all that it fits.
    pub holder: Option<Pattern>,
}

/// What stands for the holder in a registry's key.
const HOLDER: &str = "{holder}";

impl Registry {
    /// The key, and the field if there is one, where this lock's holder is registered; `None`: there is no holder in
    /// the text.
    #[must_use]
    pub fn place(&self, text: &Text) -> Option<(Key, Option<Arc<[u8]>>)> {
        let Text::One(value) = text else { return None };
        let holder = match &self.holder {
            Some(pattern) => pattern.holder(&value.0)?,
            None => &value.0,
        };
        let fill = |template: &str| {
            let mut parts = template.split(HOLDER);
            let mut filled = parts.next().unwrap_or_default().as_bytes().to_vec();
            for part in parts {
                filled.extend_from_slice(holder);
                filled.extend_from_slice(part.as_bytes());
            }
            Arc::from(filled)
        };
        Some((fill(&self.key), self.field.as_deref().map(fill)))
    }
}

impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.field, &self.holder) == (&other.key, &other.field, &other.holder)
    }
}

impl Eq for Registry {}

impl Hash for Registry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.key, &self.field).hash(state);
    }
}

/// Where locks turn up that nobody declared.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Discovery {
    /// Where to look.
    pub place: Place,
    /// What stands before a lock's name in its key.
    pub prefix: Arc<str>,
    /// What stands behind it.
    pub suffix: Arc<str>,
    /// What the library keeps at such a key.
    pub form: Form,
    /// Where the owner stands if it is not in the lock.
    pub beside: Option<BesideTemplate>,
}

/// Where to look for locks.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Place {
    /// In a list that the library itself keeps of them: each entry is a lock's name.
    Index(Key),
    /// Everywhere: every key with the prefix and the suffix is one.
    Keys,
}

/// [`Beside`] of a lock that has no name yet.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum BesideTemplate {
    /// The value of another key.
    Key(KeyTemplate),
    /// A field of another key's hash.
    Field(KeyTemplate, Arc<[u8]>),
    /// A registry.
    Registry(Registry),
}

/// A key in which `{name}` stands for a lock's name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct KeyTemplate(pub Arc<str>);

impl KeyTemplate {
    /// The key of the lock with this name.
    #[must_use]
    pub fn fill(&self, name: &[u8]) -> Key {
        let mut parts = self.0.split("{name}");
        let mut filled = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            filled.extend_from_slice(name);
            filled.extend_from_slice(part.as_bytes());
        }
        filled.into()
    }
}

impl BesideTemplate {
    /// What stands beside the lock with this name.
    #[must_use]
    pub fn fill(&self, name: &[u8]) -> Beside {
        match self {
            Self::Key(key) => Beside::Key(key.fill(name)),
            Self::Field(key, field) => Beside::Field(key.fill(name), Arc::clone(field)),
            Self::Registry(registry) => Beside::Registry(registry.clone()),
        }
    }
}

impl Discovery {
    /// The lock of this name, as bytes: what an index lists.
    #[must_use]
    pub fn named(&self, name: &[u8]) -> Probe {
        Probe {
            key: [self.prefix.as_bytes(), name, self.suffix.as_bytes()]
                .concat()
                .into(),
            form: self.form.clone(),
            beside: self.beside.as_ref().map(|beside| beside.fill(name)),
        }
    }

    /// The name in a key, if it is one of these locks'.
    #[must_use]
    pub fn name<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let name = key.strip_prefix(self.prefix.as_bytes())?;
        let name = name.strip_suffix(self.suffix.as_bytes())?;
        (!name.is_empty()).then_some(name)
    }
}
