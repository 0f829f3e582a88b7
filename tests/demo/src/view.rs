//! What the stories read from the workload's status, its events and its pods. In: JSON of `kubectl`; out: plain
//! values. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The conditions and the summary of a `CoordinatedWorkload`.
#[derive(Debug)]
pub(crate) struct Workload(Value);

impl Workload {
    pub(crate) fn new(object: Value) -> Self {
        Self(object)
    }

    /// One of the columns: `pods`, `locks`, `spread`.
    pub(crate) fn summary(&self, column: &str) -> &str {
        text(&self.0["status"]["summary"][column])
    }

    /// Status and reason of a condition; empty where it has none.
    pub(crate) fn condition(&self, kind: &str) -> (&str, &str) {
        let conditions = items(&self.0["status"]["conditions"]);
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        found.map_or(("", ""), |condition| {
            (text(&condition["status"]), text(&condition["reason"]))
        })
    }

    /// Whether the status speaks of the spec as it is now.
    pub(crate) fn is_current(&self) -> bool {
        let spec = &self.0["metadata"]["generation"];
        !spec.is_null() && *spec == self.0["status"]["observedGeneration"]
    }

    /// How many locks each pod holds.
    pub(crate) fn holders(&self) -> BTreeMap<String, usize> {
        let mut holders = BTreeMap::new();
        for row in items(&self.0["status"]["locks"]["rows"]) {
            if row["state"] == "Held" {
                *holders.entry(text(&row["pod"]).to_owned()).or_default() += 1;
            }
        }
        holders
    }

    /// What there is to say about it in one line.
    pub(crate) fn in_short(&self) -> String {
        let conditions = items(&self.0["status"]["conditions"]);
        let conditions: Vec<String> = conditions
            .iter()
            .map(|c| {
                format!(
                    "{}={}/{}",
                    text(&c["type"]),
                    text(&c["status"]),
                    text(&c["reason"])
                )
            })
            .collect();
        let column = |name| self.summary(name);
        format!(
            "PODS {} LOCKS {} SPREAD {}; {}",
            column("pods"),
            column("locks"),
            column("spread"),
            conditions.join(", ")
        )
    }
}

/// A pod as far as the stories need it.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) ready: bool,
    pub(crate) going: bool,
}

/// The pods of a list.
pub(crate) fn pods(list: &Value) -> Vec<Pod> {
    let pod = |object: &Value| {
        let conditions = items(&object["status"]["conditions"]);
        Pod {
            name: text(&object["metadata"]["name"]).to_owned(),
            ready: conditions
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True"),
            going: !object["metadata"]["deletionTimestamp"].is_null(),
        }
    };
    items(&list["items"]).iter().map(pod).collect()
}

/// The uids of the events in a list that have this reason; of all, where no reason is given.
pub(crate) fn events(list: &Value, reason: Option<&str>) -> BTreeSet<String> {
    let fits = |event: &&Value| reason.is_none_or(|reason| event["reason"] == reason);
    items(&list["items"])
        .iter()
        .filter(fits)
        .map(|event| text(&event["metadata"]["uid"]).to_owned())
        .collect()
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_the_stories_need() {
        let workload = Workload::new(json!({
            "metadata": {"generation": 2},
            "status": {
                "observedGeneration": 2,
                "conditions": [{"type": "LocksHeld", "status": "False", "reason": "OrphanedOwner"}],
                "summary": {"pods": "3/3", "locks": "4/4", "spread": "2-1-1", "problem": "OrphanedOwner"},
                "locks": {"rows": [
                    {"name": "mydb:users", "state": "Held", "pod": "a"},
                    {"name": "mydb:logs", "state": "Held", "pod": "a"},
                    {"name": "mydb:orders", "state": "Orphaned", "pod": "b"},
                ]},
            },
        }));
        assert_eq!(workload.summary("spread"), "2-1-1");
        assert_eq!(workload.condition("LocksHeld"), ("False", "OrphanedOwner"));
        assert_eq!(workload.condition("Ready"), ("", ""));
        assert!(workload.is_current());
        assert_eq!(workload.holders(), BTreeMap::from([("a".to_owned(), 2)]));
        assert!(!Workload::new(json!({})).is_current());
    }

    #[test]
    fn reads_pods_and_events() {
        let list = json!({"items": [{
            "metadata": {"name": "a", "uid": "1"},
            "reason": "LocksLost",
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }]});
        let pods = pods(&list);
        assert!(pods.iter().all(|pod| pod.name == "a" && pod.ready && !pod.going));
        assert_eq!(events(&list, Some("LocksLost")), BTreeSet::from(["1".to_owned()]));
        assert!(events(&list, Some("LocksRecovered")).is_empty());
    }
}
