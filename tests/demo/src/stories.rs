//! The four stories, in order. Each prints the commands that a user would type, runs exactly those, and fails with
//! the last state where the cluster tells another story.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::failure::Failure;
use crate::shell::Shell;
use crate::tell::{Probe, Stopwatch, heading, line, remark};
use crate::view::{self, Pod, Workload};

/// Three pods start, or start anew.
const PODS_LIMIT: Duration = Duration::from_mins(2);
/// A killed holder's locks: 30 s until they expire, 5 s until the next attempt, and some for a slow machine.
const TAKEOVER_LIMIT: Duration = Duration::from_mins(1);
/// How often two of three pods are taken away, so that the third takes what they give back. The autoscaler, whose minimum
/// is two, brings a second one soon, which may take some of it: then it is tried again.
const RACES: usize = 10;

const EVENTS: &str = "kubectl get events --field-selector involvedObject.kind=CoordinatedWorkload,involvedObject.name=rigatoni";

/// What differs between real pods and played ones.
pub(crate) trait Stage {
    /// The command that puts the example in place, with `filter` applied to the manifest's text.
    fn apply_command(&self, filter: Option<&str>) -> Result<String, Failure>;

    /// The process that holds a pod's locks, and how one finds it.
    fn lock_process(&self, pod: &Pod) -> Result<(u32, String), Failure>;
}

/// Tells all four.
pub(crate) fn tell(shell: &Shell, stage: &dyn Stage) -> Result<(), Failure> {
    let teller = Teller { shell, stage };
    teller.one_manifest()?;
    teller.one_pod_has_all()?;
    teller.the_locks_spread()?;
    teller.a_holder_is_killed()
}

/// How many pods a spread such as `2-1-1` tells of, and how many locks.
fn counts(spread: &str) -> (usize, usize) {
    let counts: Vec<usize> = spread.split('-').filter_map(|count| count.parse().ok()).collect();
    (counts.len(), counts.iter().sum())
}

struct Teller<'a> {
    shell: &'a Shell,
    stage: &'a dyn Stage,
}

impl Teller<'_> {
    fn one_manifest(&self) -> Result<(), Failure> {
        heading("Story 1: from one manifest, four objects and a verdict");
        self.shell.show(&self.stage.apply_command(None)?)?;
        self.wait("Ready", 180)?;
        self.shell.show(
            "kubectl get deployment,horizontalpodautoscaler,poddisruptionbudget,networkpolicy rigatoni",
        )?;
        remark(
            "The autoscaler shows <unknown>: this cluster has no source of metrics, so it leaves the replicas alone. \
             Lockstep repeats its words (ScalingActive is False), and where nothing worse is to be said, STATUS shows \
             its reason: FailedGetResourceMetric.",
        );
        self.until_one_pod_has_all()?;
        self.shell.show("kubectl get cwl")?;
        remark(
            "The library's rule is first come, first served: the first pod that was up took all four locks.",
        );
        Ok(())
    }

    /// First come, first served is a race: of pods that start together, the first may take all, or each a part. Where
    /// it came out so, one pod is left alone until it has all, and the others come back too late.
    fn until_one_pod_has_all(&self) -> Result<(), Failure> {
        for race in 1..=RACES {
            let spread = self.until_all_held()?;
            if spread == "4-0-0" {
                return Ok(());
            }
            remark(&format!(
                "SPREAD is {spread}: no pod took all (race {race} of at most {RACES})."
            ));
            remark(
                "Two of them go, and what they give back is taken by the one that is left. Then they come again.",
            );
            self.shell
                .show("kubectl scale deployment rigatoni --replicas=1")?;
            // A pod on its way out counts as a holder until it has given back.
            self.until(
                "all locks with one pod, or a second pod",
                PODS_LIMIT,
                |workload| {
                    let seen = (workload.summary("pods"), counts(workload.summary("spread")));
                    matches!(seen, ("1/1", (1, 4)) | ("2/2", (2, 4))).then_some(())
                },
            )?;
            self.shell
                .show("kubectl scale deployment rigatoni --replicas=3")?;
        }
        Err(self.differently(&format!("no pod took all four locks in {RACES} races")))
    }

    /// Waits until the status counts three pods and four held locks, and hands back how they are spread.
    fn until_all_held(&self) -> Result<String, Failure> {
        self.until("PODS 3/3 and LOCKS 4/4 in the status", PODS_LIMIT, |workload| {
            let spread = workload.summary("spread");
            let whole = workload.summary("pods") == "3/3" && workload.summary("locks") == "4/4";
            (workload.is_current() && whole && counts(spread) == (3, 4)).then(|| spread.to_owned())
        })
    }

    fn one_pod_has_all(&self) -> Result<(), Failure> {
        heading("Story 2: one pod does all the work, and Lockstep says so");
        let stopwatch = Stopwatch::start();
        self.wait("LocksBalanced=False", 120)?;
        remark(&format!(
            "That took {} s: the example's warmUp of 10 s and its `for` of 20 s.",
            stopwatch.seconds()
        ));
        self.shell.show("kubectl get cwl")?;
        self.show_message("LocksBalanced")?;
        Ok(())
    }

    fn the_locks_spread(&self) -> Result<(), Failure> {
        heading("Story 3: the same manifest with MAX_LOCKS=2, and the locks move without a loss");
        let before = self.events("type=Warning", None)?;
        self.shell.show(
            &self
                .stage
                .apply_command(Some("s/# - {name: MAX_LOCKS/- {name: MAX_LOCKS/"))?,
        )?;
        self.wait("Ready", 180)?;
        self.wait("LocksBalanced", 180)?;
        let spread = self.until_all_held()?;
        self.shell.show("kubectl get cwl")?;
        let new: BTreeSet<String> = self
            .events("type=Warning", None)?
            .difference(&before)
            .cloned()
            .collect();
        if !new.is_empty() {
            self.shell.show(&format!("{EVENTS},type=Warning"))?;
            let count = new.len();
            return Err(self.differently(&format!(
                "the rollout made {count} Warning events where none was due"
            )));
        }
        remark(&format!(
            "Each old pod released its locks on SIGTERM and others took them: SPREAD {spread}, no new Warning."
        ));
        Ok(())
    }

    fn a_holder_is_killed(&self) -> Result<(), Failure> {
        heading("Story 4: a holder is killed, and the gap is measured");
        let (lost, recovered) = (self.events_of("LocksLost")?, self.events_of("LocksRecovered")?);
        let victim = self.largest_holder()?;
        let (process, how) = self.stage.lock_process(&victim)?;
        remark(&format!(
            "The process {process} of pod {} is killed as the OOM killer would do it:",
            victim.name
        ));
        remark(&how);
        let stopwatch = Stopwatch::start();
        self.shell.show(&format!("kill -KILL {process}"))?;

        // Only seen if the next renewal was due before the locks expire, which is so with the example's figures.
        let orphaned = self.until("LocksHeld to turn False", TAKEOVER_LIMIT, |workload| {
            let (status, reason) = workload.condition("LocksHeld");
            (status == "False").then(|| reason.to_owned())
        })?;
        remark(&format!(
            "{} s after the kill: LocksHeld is False/{orphaned}. The container runs again in the same pod, but nobody \
             renews what it held before.",
            stopwatch.seconds()
        ));
        self.shell.show("kubectl get cwl")?;
        self.show_message("LocksHeld")?;

        self.shell
            .until("the events LocksLost and LocksRecovered", TAKEOVER_LIMIT, || {
                let said = |reason, old: &BTreeSet<String>| {
                    self.events_of(reason)
                        .map(|events| events.difference(old).next().is_some())
                };
                let (lost, recovered) = (said("LocksLost", &lost)?, said("LocksRecovered", &recovered)?);
                Ok(if lost && recovered {
                    Probe::Ready(())
                } else {
                    Probe::NotYet(format!(
                        "LocksLost: {lost}, LocksRecovered: {recovered}; {}",
                        self.workload()?.in_short()
                    ))
                })
            })?;
        self.until("LocksHeld to be True again", TAKEOVER_LIMIT, |workload| {
            (workload.condition("LocksHeld").0 == "True" && workload.summary("locks") == "4/4").then_some(())
        })?;
        remark(&format!(
            "{} s after the kill: expired, and taken over.",
            stopwatch.seconds()
        ));
        self.shell.show("kubectl get cwl")?;
        self.shell.show(&format!(
            "{EVENTS} --sort-by=.metadata.creationTimestamp | tail -n 2"
        ))?;
        self.shell.show(
            "kubectl get cwl rigatoni -o 'jsonpath={range .status.recent[*]}{.when}  {.lock}  {.cause}  {.from} -> {.to}  \
             gap {.gap}{\"\\n\"}{end}'",
        )?;
        remark("`gap` is how long nobody held the lock: from its expiry to the next hold.");
        Ok(())
    }

    /// Waits as a user would, and says more than `kubectl` when it was in vain.
    fn wait(&self, condition: &str, seconds: u64) -> Result<(), Failure> {
        let command = format!("kubectl wait --for=condition={condition} cwl/rigatoni --timeout={seconds}s");
        match self.shell.show(&command) {
            Ok(_) => Ok(()),
            Err(Failure::Command { .. }) => Err(Failure::Timeout {
                what: format!("condition {condition} (`{command}`)"),
                seconds,
                last_seen: self.state(),
                look: self.shell.look.clone(),
            }),
            Err(other) => Err(other),
        }
    }

    fn show_message(&self, condition: &str) -> Result<(), Failure> {
        let path = format!("{{.status.conditions[?(@.type==\"{condition}\")].message}}{{\"\\n\"}}");
        self.shell
            .show(&format!("kubectl get cwl rigatoni -o 'jsonpath={path}'"))
            .map(drop)
    }

    fn workload(&self) -> Result<Workload, Failure> {
        self.shell.get("cwl rigatoni").map(Workload::new)
    }

    /// The last state in one line, for a message of failure.
    fn state(&self) -> String {
        self.workload()
            .map_or_else(|error| error.to_string(), |workload| workload.in_short())
    }

    fn pods(&self) -> Result<Vec<Pod>, Failure> {
        self.shell
            .get("pods -l app=rigatoni")
            .map(|list| view::pods(&list))
    }

    fn largest_holder(&self) -> Result<Pod, Failure> {
        let holders = self.workload()?.holders();
        let most = holders.into_iter().max_by_key(|(_, locks)| *locks);
        let (name, locks) = most.ok_or_else(|| self.differently("no pod holds a lock"))?;
        line(&format!("    {name} holds {locks} of the 4 locks"));
        let pod = self.pods()?.into_iter().find(|pod| pod.name == name);
        pod.ok_or_else(|| self.differently(&format!("the holder {name} is no pod any more")))
    }

    fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Workload) -> Option<T>,
    ) -> Result<T, Failure> {
        self.shell.until(what, limit, || {
            let workload = self.workload()?;
            Ok(condition(&workload).map_or_else(|| Probe::NotYet(workload.in_short()), Probe::Ready))
        })
    }

    fn events_of(&self, reason: &'static str) -> Result<BTreeSet<String>, Failure> {
        self.events(&format!("reason={reason}"), Some(reason))
    }

    fn events(&self, selector: &str, reason: Option<&str>) -> Result<BTreeSet<String>, Failure> {
        let query = EVENTS.trim_start_matches("kubectl get ");
        self.shell
            .get(&format!("{query},{selector}"))
            .map(|list| view::events(&list, reason))
    }

    fn differently(&self, what: &str) -> Failure {
        let state = self.state();
        Failure::Story {
            what: format!("{what}; {state}"),
            look: self.shell.look.clone(),
        }
    }
}
