//! What is counted, and that it is counted once.

use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::json;

use super::*;
use crate::{
    api::CoordinatedWorkload,
    domain::{
        judgement::Ended,
        locks::{Mode, Mono},
        memory::{Gap, Loss, Taken},
        workload::parse,
    },
};

fn workload(sets: &[&str]) -> Workload {
    let set = |name: &&str| {
        json!({ "name": name, "dialect": "Rigatoni", "hold": "Continuous", "names": [format!("{name}-a"), format!("{name}-b")], "ttl": "30s",
                "renewInterval": "10s", "retryInterval": "5s" })
    };
    let resource: CoordinatedWorkload = serde_json::from_value(json!({
        "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
        "metadata": { "name": "web", "namespace": "here", "uid": "1", "generation": 1 },
        "spec": {
            "template": { "spec": { "containers": [{ "name": "c", "image": "i" }] } },
            "redis": { "url": "redis://redis:6379" },
            "locks": sets.iter().map(set).collect::<Vec<_>>(),
        },
    }))
    .unwrap();
    parse(&resource).unwrap()
}

fn clear() -> Assessment {
    Assessment {
        sight: Sight::Clear {
            mode: Mode::Tracking,
            version: None,
            hidden: None,
            missing: None,
        },
        ..Assessment::unjudged()
    }
}

fn ended(cause: Cause, counts: bool, held: Option<u64>) -> Ended {
    let when = jiff::Timestamp::UNIX_EPOCH;
    Ended {
        id: ("s".into(), "a".into()),
        continuous: true,
        cause,
        from: None,
        at: Mono::default(),
        held: held.map(std::time::Duration::from_secs),
        loss: counts.then(|| Loss {
            cause: cause.as_str().into(),
            from: None,
            when,
            detail: String::new(),
        }),
    }
}

/// How much a histogram has counted, as it is written.
fn count(histogram: &Histogram) -> u64 {
    let mut registry = Registry::default();
    registry.register("sizes", "", histogram.clone());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let mut counts = text.lines().filter_map(|line| line.strip_prefix("sizes_count "));
    counts.next().unwrap().parse().unwrap()
}

/// Name and labels of every sample of a metric, and its value.
fn samples(figures: &Figures, metric: Metric) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    figures
        .samples(metric, None, &mut |labels, value| {
            let labels: Vec<_> = labels.iter().map(|(_, value)| *value).collect();
            let value = match value {
                Value::Counter(value) => value,
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "whole numbers"
                )]
                Value::Gauge(value) => value as u64,
                Value::Histogram(histogram) => count(histogram),
            };
            assert_eq!(all.insert(labels.join(" "), value), None, "{labels:?} twice");
            Ok(())
        })
        .unwrap();
    all
}

fn record(
    figures: &mut Figures,
    workload: &Workload,
    assessment: &Assessment,
    status: &CoordinatedWorkloadStatus,
) {
    figures.record(Concluded {
        workload: Some(workload),
        assessment,
        memory: &Memory::default(),
        place: Some("redis:6379"),
        renewals: &BTreeMap::from([("s".to_owned(), RenewalTally::default())]),
    });
    figures.report(status);
}

#[test]
fn every_cause_exists_at_zero_and_each_end_counts_in_one_place() {
    let (mut figures, workload) = (Figures::default(), workload(&["s"]));
    let status = CoordinatedWorkloadStatus::default();
    record(&mut figures, &workload, &clear(), &status);
    let at_first = samples(&figures, Metric::Lost);
    assert_eq!(at_first.len(), Cause::LOSSES.len());
    assert!(at_first.values().all(|count| *count == 0));
    let gap = |failover, too_long| {
        let length = std::time::Duration::from_secs(3);
        Some(Gap {
            length,
            failover,
            too_long,
        })
    };
    let taken = |gap| Taken { set: "s".into(), gap };
    let assessment = Assessment {
        ended: vec![
            ended(Cause::HolderGone, true, Some(60)),
            ended(Cause::Expired, false, Some(30)),
            ended(Cause::Released, false, Some(1)),
            ended(Cause::Unexplained, false, None),
        ],
        taken: vec![taken(gap(true, true)), taken(gap(false, false)), taken(None)],
        ..clear()
    };
    record(&mut figures, &workload, &assessment, &status);
    // A look at which nothing happened counts nothing.
    record(&mut figures, &workload, &clear(), &status);
    let lost = samples(&figures, Metric::Lost);
    assert_eq!(lost["s Continuous HolderGone"], 1);
    assert_eq!(lost.values().sum::<u64>(), 1, "what lapsed is no loss");
    let one = |metric| samples(&figures, metric)["s Continuous"];
    assert_eq!(one(Metric::Lapsed), 1);
    assert_eq!(one(Metric::Released), 1);
    assert_eq!(one(Metric::Unexplained), 1);
    assert_eq!(one(Metric::HoldDuration), 3);
    assert_eq!(one(Metric::Acquired), 3);
    assert_eq!(one(Metric::FailoverGap), 1);
    assert_eq!(one(Metric::HandoverGap), 1);
    assert_eq!(one(Metric::LongGaps), 1);
    assert_eq!((one(Metric::Ttl), one(Metric::RetryInterval)), (30, 5));
}

#[test]
fn a_condition_is_one_series_and_its_changes_are_counted() {
    let (mut figures, workload) = (Figures::default(), workload(&["s"]));
    let status = |status: &str, reason: &str| -> CoordinatedWorkloadStatus {
        let condition = json!({ "type": "LocksHeld", "status": status, "reason": reason, "message": "",
                                "lastTransitionTime": "2026-01-01T00:00:00Z" });
        CoordinatedWorkloadStatus {
            conditions: vec![serde_json::from_value(condition).unwrap()],
            ..CoordinatedWorkloadStatus::default()
        }
    };
    for (now, reason) in [
        ("Unknown", "AwaitingHolder"),
        ("True", "AllHeld"),
        ("True", "HeldUnattributed"),
        ("False", "LocksLost"),
    ] {
        record(&mut figures, &workload, &clear(), &status(now, reason));
    }
    let conditions = samples(&figures, Metric::Condition);
    assert_eq!(
        conditions,
        BTreeMap::from([("LocksHeld False LocksLost".to_owned(), 1)])
    );
    assert_eq!(samples(&figures, Metric::ConditionTransitions)["LocksHeld"], 2);
}

#[test]
fn a_set_that_leaves_the_spec_leaves_no_series_and_blindness_shows() {
    let mut figures = Figures::default();
    let status = CoordinatedWorkloadStatus::default();
    record(&mut figures, &workload(&["s", "t"]), &clear(), &status);
    assert_eq!(samples(&figures, Metric::Acquired).len(), 2);
    record(&mut figures, &workload(&["u"]), &Assessment::unjudged(), &status);
    let locks = samples(&figures, Metric::Locks);
    assert_eq!(locks["u Continuous Unknown"], 2, "declared, and not seen yet");
    let blind = Assessment {
        sight: Sight::Blind {
            trouble: crate::domain::locks::Trouble::Timeout,
            since: jiff::Timestamp::UNIX_EPOCH,
        },
        ..Assessment::unjudged()
    };
    record(&mut figures, &workload(&["t"]), &blind, &status);
    let locks = samples(&figures, Metric::Locks);
    assert_eq!(locks.len(), STATES.len());
    assert_eq!(locks["t Continuous Unknown"], 2);
    record(&mut figures, &workload(&["t"]), &Assessment::unjudged(), &status);
    assert_eq!(
        samples(&figures, Metric::Locks),
        locks,
        "what is not looked at stands"
    );
}
