//! Whether children are what they should be. Pure.

use std::collections::BTreeSet;

use lockstep::domain::children::{ChildKind, Children};
use serde_json::{Map, Value};

/// Children without what differs by chance.
pub(crate) type Shape = Children<Option<Value>>;

/// What is left of a spec once it was applied.
pub(crate) struct Applied {
    pub(crate) shape: Shape,
    /// Children that the apiserver refused, and its words.
    pub(crate) refused: Vec<(ChildKind, String)>,
}

impl Applied {
    fn refuses(&self, kind: ChildKind) -> bool {
        self.refused.iter().any(|(refused, _)| *refused == kind)
    }

    fn kinds(&self) -> Vec<ChildKind> {
        self.refused.iter().map(|(kind, _)| *kind).collect()
    }

    /// Everything was accepted and is what it should be.
    pub(crate) fn is_whole(&self, wanted: &Shape) -> Result<(), String> {
        if let Some((kind, words)) = self.refused.first() {
            return Err(format!("the {} is refused: {words}", kind.kind()));
        }
        let mut children = wanted.iter();
        children.try_for_each(|(kind, wanted)| same(kind, self.shape.get(kind).as_ref(), wanted.as_ref()))
    }

    /// The same was accepted as of a fresh resource, and refused; what was refused is as it was `before`.
    pub(crate) fn is_like(&self, fresh: &Self, before: &Shape) -> Result<(), String> {
        if self.kinds() != fresh.kinds() {
            return Err(format!(
                "refused: {:?}; of a fresh one: {:?}",
                self.refused, fresh.refused
            ));
        }
        for (kind, wanted) in fresh.shape.iter() {
            let (mut found, mut wanted) = (self.shape.get(kind).clone(), wanted.clone());
            match kind {
                // Without its Deployment no fresh one is made.
                ChildKind::HorizontalPodAutoscaler if fresh.refuses(ChildKind::Deployment) => continue,
                // The API clears what goes with another type, before it refuses what doesn't go with this one.
                ChildKind::Service if fresh.refuses(kind) => continue,
                // Replicas are applied by themselves, so also where the rest is refused.
                ChildKind::Deployment if fresh.refuses(kind) => {
                    wanted.clone_from(before.get(kind));
                    for child in [&mut found, &mut wanted].into_iter().flatten() {
                        child["spec"]["replicas"] = Value::Null;
                    }
                }
                _ if fresh.refuses(kind) => wanted.clone_from(before.get(kind)),
                _ => {}
            }
            same(kind, found.as_ref(), wanted.as_ref())?;
        }
        Ok(())
    }
}

fn same(kind: ChildKind, found: Option<&Value>, wanted: Option<&Value>) -> Result<(), String> {
    match (found, wanted) {
        (None, None) => Ok(()),
        (Some(found), Some(wanted)) => match difference(found, wanted) {
            None => Ok(()),
            Some(difference) => Err(format!("{}{difference}", kind.kind())),
        },
        (Some(_), None) => Err(format!("a {} is there that should not be", kind.kind())),
        (None, Some(_)) => Err(format!("no {} is there", kind.kind())),
    }
}

/// Where two values differ first, and how.
fn difference(found: &Value, wanted: &Value) -> Option<String> {
    match (found, wanted) {
        (found, wanted) if found == wanted => return None,
        (Value::Object(found), Value::Object(wanted)) => {
            let keys: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
            let of = |fields: &Map<String, Value>, key: &str| fields.get(key).cloned().unwrap_or_default();
            let mut keys = keys.into_iter();
            return keys.find_map(|key| {
                let rest = difference(&of(found, key), &of(wanted, key))?;
                Some(format!(".{key}{rest}"))
            });
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            let mut pairs = found.iter().zip(wanted).enumerate();
            return pairs.find_map(|(index, (found, wanted))| {
                Some(format!("[{index}]{}", difference(found, wanted)?))
            });
        }
        _ => {}
    }
    Some(format!(" is {found}, and should be {wanted}"))
}
