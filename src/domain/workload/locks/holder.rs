//! `spec.locks[].holder`, or the dialect in its place, as a [`Scheme`].

use std::sync::Arc;

use super::SetParser;
use crate::{
    api::spec::{self, Dialect, HolderRule, HolderSource, HolderSourceType, OwnerMatchType},
    domain::locks::{
        dialect::{self, OwnerMatch, Pattern, Scheme},
        probe::{BesideTemplate, Form, KeyTemplate, Part, Registry, ScoreUnit},
    },
};

impl SetParser<'_> {
    /// `None`: a problem was found.
    pub(super) fn scheme(
        &mut self,
        dialect: Dialect,
        prefix: &str,
        holder: Option<&HolderRule>,
    ) -> Option<Scheme> {
        let HolderRule {
            source,
            pattern,
            matches,
            registry,
            container: _,
        } = holder.cloned().unwrap_or_default();
        if let Some(scheme) = Scheme::of(dialect, prefix) {
            if source.is_some() || pattern.is_some() || matches.is_some() || registry.is_some() {
                let message =
                    "of holder only container goes with this dialect, which knows where the holder is";
                self.invalid("holder", message);
            }
            return Some(scheme);
        }
        if pattern.is_none() && registry.is_none() {
            self.invalid(
                "holder.pattern",
                "needed with dialect: Custom, with a group (?<owner>…)",
            );
            return None;
        }
        let pattern = match pattern.as_deref().map(Pattern::custom).transpose() {
            Ok(pattern) => pattern,
            Err(error) => {
                self.invalid("holder.pattern", error.to_string());
                return None;
            }
        };
        let matches = self.owner_match(matches.unwrap_or_default())?;
        let source = source.unwrap_or_default();
        let sibling = self.sibling(&source)?;
        let form = self.form(&source, pattern.as_ref().filter(|_| sibling.is_none()))?;
        match (sibling, registry) {
            (Some(_), Some(_)) => {
                self.invalid(
                    "holder.registry",
                    "goes with a holder that stands in the lock itself, not with type: SiblingKey or SiblingField",
                );
                None
            }
            (Some(sibling), None) => Some(Scheme {
                form,
                pattern: None,
                beside: Some((sibling, pattern)),
                matches,
            }),
            (None, Some(spec::Registry { key, field })) => {
                let registry = Registry {
                    key: key.into(),
                    field: field.map(Into::into),
                    holder: pattern.clone(),
                };
                Some(Scheme {
                    form,
                    pattern,
                    beside: Some((BesideTemplate::Registry(registry), None)),
                    matches,
                })
            }
            (None, None) => Some(Scheme {
                form,
                pattern,
                beside: None,
                matches,
            }),
        }
    }

    /// What a pod is recognised by.
    fn owner_match(&mut self, matches: spec::OwnerMatch) -> Option<OwnerMatch> {
        let spec::OwnerMatch { type_, key } = matches;
        match (type_, key) {
            (OwnerMatchType::PodName, _) => Some(OwnerMatch::PodName),
            (OwnerMatchType::PodUID, _) => Some(OwnerMatch::PodUid),
            (OwnerMatchType::PodIP, _) => Some(OwnerMatch::PodIp),
            (OwnerMatchType::Label, Some(key)) => Some(OwnerMatch::Label(key)),
            (OwnerMatchType::Annotation, Some(key)) => Some(OwnerMatch::Annotation(key)),
            (OwnerMatchType::Label | OwnerMatchType::Annotation, None) => {
                self.invalid(
                    "holder.matches.key",
                    "needed with type: Label and type: Annotation",
                );
                None
            }
        }
    }

    /// What stands in another key; `Some(None)`: nothing does.
    #[expect(clippy::option_option, reason = "the outer one says that a problem was found")]
    fn sibling(&mut self, source: &HolderSource) -> Option<Option<BesideTemplate>> {
        let template = |key: &String| KeyTemplate(key.as_str().into());
        let (key, field) = match source.type_ {
            HolderSourceType::SiblingKey => (source.key.as_ref(), None),
            HolderSourceType::SiblingField => (source.key.as_ref(), source.field.as_ref()),
            HolderSourceType::StringValue
            | HolderSourceType::HashField
            | HolderSourceType::JsonPointer
            | HolderSourceType::SortedSetMember
            | HolderSourceType::SetMember => return Some(None),
        };
        match (source.type_, key, field) {
            (HolderSourceType::SiblingKey, Some(key), _) => Some(Some(BesideTemplate::Key(template(key)))),
            (HolderSourceType::SiblingField, Some(key), Some(field)) => Some(Some(BesideTemplate::Field(
                template(key),
                field.as_bytes().into(),
            ))),
            _ => {
                self.invalid(
                    "holder.source",
                    "type: SiblingKey needs key, type: SiblingField needs key and field",
                );
                None
            }
        }
    }

    fn form(&mut self, source: &HolderSource, pattern: Option<&Pattern>) -> Option<Form> {
        let ignore = || dialect::names(source.ignore.iter().map(String::as_str));
        Some(match source.type_ {
            HolderSourceType::StringValue => Form::String(match pattern {
                Some(pattern) if pattern.tells_since() => Part::WithoutSince(pattern.clone()),
                Some(_) | None => Part::Whole,
            }),
            // The lock is a string; who holds it stands elsewhere.
            HolderSourceType::SiblingKey | HolderSourceType::SiblingField => Form::String(Part::Whole),
            HolderSourceType::JsonPointer => {
                let Some(pointer) = &source.pointer else {
                    self.invalid("holder.source.pointer", "needed with type: JsonPointer");
                    return None;
                };
                Form::String(Part::Pointer(Arc::from(pointer.as_str())))
            }
            HolderSourceType::HashField => Form::HashField { ignore: ignore() },
            HolderSourceType::SetMember => Form::SetMember { ignore: ignore() },
            HolderSourceType::SortedSetMember => Form::SortedSetMember {
                ignore: ignore(),
                unit: match source.score_unit {
                    Some(spec::ScoreUnit::Milliseconds) => ScoreUnit::Milliseconds,
                    Some(spec::ScoreUnit::Seconds) | None => ScoreUnit::Seconds,
                },
            },
        })
    }
}
