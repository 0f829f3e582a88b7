//! Others in the same namespace: autoscalers and budgets that act on the same pods, and pods of other workloads that hold
//! the same locks. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    children::{ChildKind, Live, LiveChildren},
    locks::{
        KeyState, Observation,
        dialect::{Named, OwnerMatch},
    },
    ownership::workload_of_pod_name,
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
    /// Pods of other workloads of the namespace that hold our locks, and the workloads' names.
    pub pods: BTreeMap<String, String>,
}

/// Holders that may be pods of other workloads, by the form of their names, and the names of these workloads: what is
/// no pod of such a workload in the same namespace must not be shown.
#[must_use]
pub fn strangers(workload: &Workload, observation: &Observation) -> BTreeMap<String, String> {
    let mut keys = observation.keys.iter();
    let mut strangers = BTreeMap::new();
    for set in &workload.locks {
        // The keys were asked for in this order.
        for key in keys.by_ref().take(set.locks.len()) {
            let KeyState::Held(hold) = &key.state else {
                continue;
            };
            if set.scheme.matches == OwnerMatch::PodName
                && let Named::Owner(owner) = set.scheme.named(hold)
                && let Some(of) = workload_of_pod_name(owner.as_str())
                && of != workload.name
            {
                strangers.insert(owner.as_str().to_owned(), of.to_owned());
            }
        }
    }
    strangers
}

impl Neighbours {
    /// Those among all of the namespace that act on the pods of `workload`.
    #[must_use]
    pub fn among<'a>(
        all: impl IntoIterator<Item = (&'a String, &'a Neighbour)>,
        workload: &Workload,
        live: &LiveChildren,
    ) -> Self {
        let labels = pod_labels(workload, live.deployment.as_ref());
        let mut found = Self::default();
        for (name, neighbour) in all {
            found.take(name, neighbour, workload, &labels);
        }
        // An object of the child's name is the child, or its name's conflict. Where no child is wanted, it is one more:
        // one that was left behind, for instance.
        for kind in [ChildKind::HorizontalPodAutoscaler, ChildKind::PodDisruptionBudget] {
            let stranger = live
                .get(kind)
                .as_ref()
                .filter(|live| live.controller() != Some(&workload.uid));
            if let Some(neighbour) = stranger.and_then(|live| Neighbour::of(kind, live.object())) {
                found.take(&workload.name, &neighbour, workload, &labels);
            }
        }
        found.autoscalers.sort_by(|one, other| one.0.cmp(&other.0));
        found.autoscalers.dedup();
        found.budgets.sort();
        found.budgets.dedup();
        found
    }

    fn take(
        &mut self,
        name: &str,
        neighbour: &Neighbour,
        workload: &Workload,
        labels: &BTreeMap<String, String>,
    ) {
        let wanted = match neighbour {
            Neighbour::Autoscaler { .. } => workload.scaling.has_autoscaler(),
            Neighbour::Budget(_) => workload.disruption_budget.is_some(),
        };
        if wanted && name == workload.name {
            return;
        }
        match neighbour {
            Neighbour::Autoscaler { target, of } if *of == workload.name => {
                self.autoscalers.push((name.to_owned(), *target));
            }
            Neighbour::Budget(selector) if selector.selects(labels) => self.budgets.push(name.to_owned()),
            Neighbour::Autoscaler { .. } | Neighbour::Budget(_) => {}
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{api::CoordinatedWorkload, domain::workload::parse};

    fn workload(spec: &Value) -> Workload {
        let mut spec = spec.clone();
        spec["template"] = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "a" }] } });
        let resource: CoordinatedWorkload = serde_json::from_value(json!({
            "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
            "metadata": { "name": "web", "namespace": "shop", "uid": "u" }, "spec": spec,
        }))
        .unwrap();
        parse(&resource).unwrap()
    }

    fn autoscaler(api_version: &str, kind: &str) -> Option<Neighbour> {
        let object = json!({ "spec": { "scaleTargetRef": { "apiVersion": api_version, "kind": kind, "name": "web" } } });
        Neighbour::of(ChildKind::HorizontalPodAutoscaler, object.as_object().unwrap())
    }

    fn budget(selector: &Value) -> Option<Neighbour> {
        let object = json!({ "spec": { "selector": selector } });
        Neighbour::of(ChildKind::PodDisruptionBudget, object.as_object().unwrap())
    }

    #[test]
    fn what_acts_on_the_pods_is_found() {
        let of = |target| {
            Some(Neighbour::Autoscaler {
                target,
                of: "web".into(),
            })
        };
        assert_eq!(autoscaler("apps/v1", "Deployment"), of(Target::Deployment));
        assert_eq!(
            autoscaler("lockstep.dev/v1alpha1", "CoordinatedWorkload"),
            of(Target::Resource)
        );
        assert_eq!(autoscaler("argoproj.io/v1alpha1", "Deployment"), None);
        assert_eq!(budget(&Value::Null), None, "it covers nothing");

        let all = BTreeMap::from([
            ("all".to_owned(), budget(&json!({})).unwrap()),
            ("hpa".to_owned(), autoscaler("apps/v1", "Deployment").unwrap()),
            (
                "others".to_owned(),
                budget(&json!({ "matchLabels": { "app": "db" } })).unwrap(),
            ),
            (
                "ours".to_owned(),
                budget(&json!({ "matchLabels": { "app": "web" } })).unwrap(),
            ),
            // The name of a child is its own, or in conflict: that is said elsewhere.
            ("web".to_owned(), budget(&json!({})).unwrap()),
        ]);
        let found = Neighbours::among(&all, &workload(&json!({})), &LiveChildren::default());
        assert_eq!(found.autoscalers, [("hpa".to_owned(), Target::Deployment)]);
        assert_eq!(found.budgets, ["all", "ours"]);
        let without = workload(&json!({ "disruptionBudget": { "enabled": false } }));
        let found = Neighbours::among(&all, &without, &LiveChildren::default());
        assert_eq!(
            found.budgets,
            ["all", "ours", "web"],
            "no child of this name is wanted"
        );
    }

    #[test]
    fn an_autoscaler_that_was_left_behind_is_one_more() {
        let left = json!({
            "metadata": { "name": "web" },
            "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } },
        });
        let live = LiveChildren {
            autoscaler: Some(Live::new(left.as_object().unwrap().clone())),
            ..LiveChildren::default()
        };
        let none = BTreeMap::new();
        let found = Neighbours::among(&none, &workload(&json!({ "replicas": 3 })), &live);
        assert_eq!(found.autoscalers, [("web".to_owned(), Target::Deployment)]);
        let wanted = workload(&json!({ "autoscaling": { "maxReplicas": 3 } }));
        assert_eq!(Neighbours::among(&none, &wanted, &live), Neighbours::default());
    }
}
