//! One pod that renews none of its locks while the others renew theirs: not the locks are wrong, but that pod. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::Assessment;
use crate::{
    api::status::LockState,
    domain::{
        finding::{CUT_OFF, Problem, RUNS_ON},
        judgement::Judged,
        locks::Mono,
        memory::{Loss, Memory},
        workload::Workload,
    },
};

/// By how much a renewal may be late before it counts as missed, over its interval.
const LATE: Duration = Duration::from_secs(1);

/// Tells losses by living pods that renew nothing any more, while others do, from those of a single lock.
pub(super) fn tell(workload: &Workload, assessment: &mut Assessment, memory: &mut Memory, now: Mono) {
    let lives = |loss: &Loss| loss.detail == RUNS_ON || loss.detail == CUT_OFF;
    let told = assessment.findings.iter().filter_map(|finding| {
        let Problem::Lost(loss) = &finding.problem else {
            return None;
        };
        Some(((finding.set.as_str(), finding.lock.as_str()), loss))
    });
    let ended = assessment.ended.iter().filter_map(|end| {
        let loss = end.loss.as_ref()?;
        Some(((end.id.0.as_str(), end.id.1.as_str()), loss))
    });
    // A loss of a Continuous lock is both, and may have been made good within the same look.
    let losses: BTreeMap<_, _> = told.chain(ended).filter(|(_, loss)| lives(loss)).collect();
    let mut by_pod: BTreeMap<&str, usize> = BTreeMap::new();
    for loss in losses.values() {
        if let Some(pod) = &loss.from {
            *by_pod.entry(pod).or_default() += 1;
        }
    }
    if by_pod.is_empty() {
        return;
    }
    let locks = assessment.locks.iter();
    let held: Vec<(&str, bool)> = locks.filter_map(|lock| renews(workload, lock, now)).collect();
    let cut_off = |(pod, lost): &(&str, usize)| {
        let mine = held.iter().filter(|(holder, _)| holder == pod);
        let silent = mine.clone().all(|(_, renewed)| !renewed);
        let others = held.iter().any(|(holder, renewed)| holder != pod && *renewed);
        silent && others && lost + mine.count() > 1
    };
    let pods: Vec<String> = by_pod
        .into_iter()
        .filter(cut_off)
        .map(|(pod, _)| pod.to_owned())
        .collect();
    let mark = |loss: &mut Loss| {
        if lives(loss) && loss.from.as_ref().is_some_and(|pod| pods.contains(pod)) {
            CUT_OFF.clone_into(&mut loss.detail);
        }
    };
    for finding in &mut assessment.findings {
        if let Problem::Lost(loss) = &mut finding.problem {
            mark(loss);
        }
    }
    assessment
        .ended
        .iter_mut()
        .filter_map(|end| end.loss.as_mut())
        .for_each(mark);
    let kept = memory.locks.values_mut();
    kept.filter_map(|lock| lock.lost.as_mut()).for_each(mark);
}

/// The pod that holds a lock that is to be renewed, and whether it was, lately.
fn renews<'l>(workload: &Workload, lock: &'l Judged, now: Mono) -> Option<(&'l str, bool)> {
    let set = workload.locks.get(lock.set)?;
    let interval = set.renew_interval.filter(|_| lock.state == LockState::Held)?;
    Some((lock.pod.as_deref()?, now.since(lock.renewed?) <= interval + LATE))
}
