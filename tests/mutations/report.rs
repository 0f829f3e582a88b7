//! What came of it, in words. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::exceptions;
use super::mutations::Mutation;
use super::values::What;

/// What came of one mutation.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The resource was taken, and so were all children.
    Accepted {
        /// Whether the children are others than the base's.
        differs: bool,
    },
    /// It is stored like its base, or like another mutation of it.
    Alike,
    /// The definition refuses the resource.
    RefusedByDefinition(String),
    /// Lockstep refuses the resource.
    RefusedByLockstep(String),
    /// The definition takes the resource, and this version of Lockstep does not support it yet.
    NotSupportedYet,
    /// The apiserver refuses a child.
    RefusedByApiserver(String),
    /// Something is not as it should be.
    Failed(String),
}

impl Verdict {
    const fn is_taken(&self) -> bool {
        matches!(self, Self::Accepted { .. } | Self::NotSupportedYet)
    }

    /// Why it was not taken.
    fn refusal(&self) -> Option<&str> {
        match self {
            Self::RefusedByDefinition(words)
            | Self::RefusedByLockstep(words)
            | Self::RefusedByApiserver(words) => Some(words),
            Self::Accepted { .. } | Self::Alike | Self::NotSupportedYet | Self::Failed(_) => None,
        }
    }
}

/// All verdicts.
pub(crate) struct Report<'a> {
    mutations: &'a [Mutation],
    verdicts: BTreeMap<usize, Verdict>,
}

impl<'a> Report<'a> {
    pub(crate) const fn new(mutations: &'a [Mutation]) -> Self {
        Self {
            mutations,
            verdicts: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, verdicts: Vec<(usize, Verdict)>) {
        self.verdicts.extend(verdicts);
    }

    fn iter(&self) -> impl Iterator<Item = (&Mutation, &Verdict)> {
        let verdicts = self.verdicts.iter();
        verdicts.filter_map(|(index, verdict)| Some((self.mutations.get(*index)?, verdict)))
    }

    /// The numbers.
    pub(crate) fn summary(&self) -> String {
        let count =
            |wanted: fn(&Verdict) -> bool| self.verdicts.values().filter(|verdict| wanted(verdict)).count();
        let fields = self.iter().filter(|(mutation, _)| mutation.what != What::Class);
        let fields: BTreeSet<&str> = fields.map(|(mutation, _)| mutation.path.as_str()).collect();
        format!(
            "mutations: {} over {} fields, accepted {}, stored like another {}, refused by the definition {}, by Lockstep {}, by \
             the apiserver {}, of what is not supported yet {}, failures {}",
            self.verdicts.len(),
            fields.len(),
            count(|verdict| matches!(verdict, Verdict::Accepted { .. })),
            count(|verdict| matches!(verdict, Verdict::Alike)),
            count(|verdict| matches!(verdict, Verdict::RefusedByDefinition(_))),
            count(|verdict| matches!(verdict, Verdict::RefusedByLockstep(_))),
            count(|verdict| matches!(verdict, Verdict::RefusedByApiserver(_))),
            count(|verdict| matches!(verdict, Verdict::NotSupportedYet)),
            self.failures().len(),
        )
    }

    /// What is not as it should be.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (mutation, verdict) in self.iter() {
            let without_child = exceptions::has_no_child(&mutation.path);
            let fault = match (verdict, mutation.differs) {
                (Verdict::Failed(fault), _) => fault.clone(),
                (Verdict::Accepted { differs: false }, Some(true)) if without_child.is_none() => {
                    "accepted, and no child differs".to_owned()
                }
                (Verdict::Accepted { differs: true }, Some(false)) => {
                    "a child differs, and none should".to_owned()
                }
                (Verdict::Accepted { differs: true }, _) if let Some(reason) = without_child => {
                    format!("a child differs, though none should: {reason}")
                }
                _ => continue,
            };
            failures.push(format!("{}\n    {fault}", mutation.name));
        }
        failures
    }

    /// Fields for which nothing was accepted, and exceptions that are not needed. Asked after a complete run.
    pub(crate) fn uncovered(&self) -> Vec<String> {
        let mut taken: BTreeMap<&str, bool> = BTreeMap::new();
        let mut refusals: BTreeMap<&str, String> = BTreeMap::new();
        for (mutation, verdict) in self.iter().filter(|(mutation, _)| mutation.tells_of_values()) {
            *taken.entry(&mutation.path).or_default() |= verdict.is_taken();
            // What is within a field is of it.
            for (end, _) in mutation
                .path
                .match_indices(['.', '[', '{'])
                .filter(|_| verdict.is_taken())
            {
                taken.insert(&mutation.path[..end], true);
            }
            if let (What::Changed, Some(refusal)) = (mutation.what, verdict.refusal()) {
                let words = refusals.entry(&mutation.path).or_default();
                let _ = write!(words, "\n    {}: {refusal}", mutation.name);
            }
        }
        let mut faults = Vec::new();
        // The spec itself is no field of it.
        for (path, is_taken) in taken.into_iter().filter(|(path, _)| *path != "spec") {
            match (is_taken, exceptions::has_one_value(path)) {
                (true, None) | (false, Some(_)) => {}
                (true, Some(reason)) => faults.push(format!(
                    "{path}: another value is taken, and it is listed: {reason}"
                )),
                (false, None) => faults.push(format!(
                    "{path}: no other value is taken{}",
                    refusals.get(path).map(String::as_str).unwrap_or_default()
                )),
            }
        }
        faults
    }

    /// One line each, for whoever wants to look closer.
    pub(crate) fn lines(&self) -> String {
        self.iter().fold(String::new(), |mut lines, (mutation, verdict)| {
            let _ = writeln!(lines, "{:?}\t{}\t{verdict:?}", mutation.what, mutation.name);
            lines
        })
    }
}
