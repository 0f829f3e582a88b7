//! Bases × fields × values, and the classes: the list of what is tried. Pure.

use std::collections::HashSet;

use serde_json::Value;

use super::bases::{self, Base};
use super::classes;
use super::schema::fields;
use super::values::{Alternatives, What};

/// One changed spec.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    /// `base/path: change`.
    pub(crate) name: String,
    /// Path of the field; of a class, its name.
    pub(crate) path: String,
    pub(crate) what: What,
    /// Whether the field is an object or a list.
    pub(crate) is_composite: bool,
    /// Index of the base.
    pub(crate) base: usize,
    pub(crate) spec: Value,
    /// Whether the children must differ from the base's; `None`: as it comes.
    pub(crate) differs: Option<bool>,
}

impl Mutation {
    /// Whether it, taken, shows that a field can have more than one value: of a scalar another one, of an object or list
    /// also none. What is within them has mutations of its own.
    pub(crate) fn tells_of_values(&self) -> bool {
        match self.what {
            What::Changed | What::Respelt | What::Bounds | What::Added => true,
            What::Removed | What::Emptied => self.is_composite,
            What::WrongKind | What::Class => false,
        }
    }
}

/// All of them, by base.
pub(crate) fn all(bases: &[Base]) -> Vec<Mutation> {
    let alternatives = Alternatives::read();
    let mut mutations = Vec::new();
    for field in fields() {
        // The first one in which it stands will do.
        let mut found = bases.iter().enumerate();
        let found = found.find_map(|(index, base)| Some((index, bases::place(&base.spec, &field.steps)?)));
        let Some((base, place)) = found else { continue };
        let Base { name, spec } = &bases[base];
        let path = field.path();
        for change in alternatives.changes(&field, bases::at(spec, &place)) {
            mutations.push(Mutation {
                name: format!("{name}/{path}: {}", change.label),
                path: path.clone(),
                what: change.what,
                is_composite: ["object", "array"].contains(&field.kind()),
                base,
                spec: bases::with(spec, &place, change.value),
                differs: match change.what {
                    // In which order servers are named is nothing to a child.
                    What::Changed => (!path.starts_with("spec.redis")).then_some(true),
                    What::Respelt => Some(false),
                    What::Removed
                    | What::Emptied
                    | What::Bounds
                    | What::Added
                    | What::WrongKind
                    | What::Class => None,
                },
            });
        }
    }
    mutations.extend(classes::all(bases));
    mutations.sort_by_key(|mutation| mutation.base);
    let mut names = HashSet::new();
    for mutation in &mutations {
        assert!(names.insert(&mutation.name), "two are named {}", mutation.name);
    }
    mutations
}
