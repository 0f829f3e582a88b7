//! Objects of others that act on the same pods: autoscalers and budgets. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    children::{ChildKind, Live},
    selector::Selector,
    workload::Workload,
};
use crate::api::{GROUP, KIND, WORKLOAD_LABEL};

/// What is kept of an object that is no child: enough to tell whose pods it acts on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Neighbour {
    /// A HorizontalPodAutoscaler, of the object of this name.
    Autoscaler {
        /// What it scales.
        target: Target,
        /// Name of what it scales, and of the resource, if there is one.
        of: String,
    },
    /// A PodDisruptionBudget of what this selects.
    Budget(Selector),
}

/// What an autoscaler scales.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// A Deployment.
    Deployment,
    /// A resource of ours, through its `/scale`.
    Resource,
}

impl Neighbour {
    /// `None`: it acts on no pods that could be those of a workload.
    #[must_use]
    pub fn of(kind: ChildKind, object: &Map<String, Value>) -> Option<Self> {
        let spec = object.get("spec")?;
        match kind {
            ChildKind::HorizontalPodAutoscaler => {
                let reference = spec.get("scaleTargetRef")?;
                let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
                let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
                let target = if text("kind") == ChildKind::Deployment.kind()
                    && group == ChildKind::Deployment.group()
                {
                    Target::Deployment
                } else if text("kind") == KIND && group == GROUP {
                    Target::Resource
                } else {
                    return None;
                };
                let of = text("name").to_owned();
                Some(Self::Autoscaler { target, of })
            }
            ChildKind::PodDisruptionBudget => {
                // Without a selector it covers nothing; with an empty one, everything.
                let selector = spec.get("selector").filter(|selector| !selector.is_null())?;
                serde_json::from_value(selector.clone()).ok().map(Self::Budget)
            }
            ChildKind::Deployment | ChildKind::NetworkPolicy | ChildKind::Service => None,
        }
    }
}

/// The neighbours of one workload, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Neighbours {
    /// Autoscalers that aren't ours, of the Deployment or of the resource.
    pub autoscalers: Vec<(String, Target)>,
    /// Budgets that aren't ours and cover the pods.
    pub budgets: Vec<String>,
}

impl Neighbours {
    /// Those among all of the namespace that act on the pods of `workload`.
    #[must_use]
    pub fn among<'a>(
        all: impl IntoIterator<Item = (&'a String, &'a Neighbour)>,
        workload: &Workload,
        deployment: Option<&Live>,
    ) -> Self {
        let labels = pod_labels(workload, deployment);
        let mut found = Self::default();
        for (name, neighbour) in all {
            match neighbour {
                Neighbour::Autoscaler { target, of } if *of == workload.name => {
                    found.autoscalers.push((name.clone(), *target));
                }
                Neighbour::Budget(selector) if selector.selects(&labels) => found.budgets.push(name.clone()),
                Neighbour::Autoscaler { .. } | Neighbour::Budget(_) => {}
            }
        }
        found.autoscalers.sort_by(|one, other| one.0.cmp(&other.0));
        found.budgets.sort();
        found
    }
}

/// Labels that the pods bear: those of the Deployment that is there, else those that it will get.
fn pod_labels(workload: &Workload, deployment: Option<&Live>) -> BTreeMap<String, String> {
    let of_template = |template: &Map<String, Value>| -> BTreeMap<String, String> {
        let labels = template
            .get("metadata")
            .and_then(|metadata| metadata.get("labels")?.as_object());
        let labels = labels.into_iter().flatten();
        labels
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    };
    let live = deployment.and_then(|live| live.object().get("spec")?.get("template")?.as_object());
    let mut labels = of_template(live.unwrap_or(&workload.template));
    labels.insert(WORKLOAD_LABEL.to_owned(), workload.name.clone());
    labels
}
