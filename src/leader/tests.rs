//! Candidates with clocks of their own, before an apiserver that is slow, fails and is cut off: never two that may write.

use proptest::prelude::*;

use super::*;

/// Milliseconds.
type Ms = u64;

/// The Lease as the apiserver stores it.
#[derive(Default)]
struct Stored {
    record: Option<LeaseRecord>,
    version: u64,
}

impl Stored {
    /// Stores it, if it is still as the writer knows it.
    fn write(&mut self, record: &LeaseRecord) -> Option<LeaseRecord> {
        let known = self.record.as_ref().map_or("", |record| record.version.as_str());
        if known != record.version {
            return None;
        }
        self.version += 1;
        let stored = LeaseRecord {
            version: self.version.to_string(),
            ..record.clone()
        };
        self.record = Some(stored.clone());
        Some(stored)
    }
}

/// What happens to one request, and after it.
#[derive(Clone, Copy, Debug)]
struct Luck {
    /// Until it is carried out.
    there: Ms,
    /// Until the answer arrives.
    back: Ms,
    /// It never arrives.
    lost: bool,
    /// It is carried out, and the answer never arrives.
    mute: bool,
    /// The process stands still before the next one.
    pause: Ms,
}

fn luck() -> impl Strategy<Value = Luck> {
    let slow = prop_oneof![8 => 0_u64..50, 1 => 0_u64..1400];
    let pause = prop_oneof![12 => Just(0_u64), 1 => 0_u64..40_000];
    (
        slow.clone(),
        slow,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        pause,
    )
        .prop_map(|(there, back, lost, mute, pause)| Luck {
            there,
            back,
            lost,
            mute,
            pause,
        })
}

/// A process: where it is in its request, and what it may do until when, on the world's clock.
struct Process {
    candidate: Candidate,
    /// What its clock shows when the world's shows zero.
    offset: Ms,
    /// When something happens next.
    at: Ms,
    phase: Phase,
    luck: std::vec::IntoIter<Luck>,
}

/// What came of a request.
enum Answer {
    Found(Option<LeaseRecord>),
    Stored(LeaseRecord),
    /// Refused, or lost on its way.
    None,
}

enum Phase {
    Idle,
    Sent { step: Step, sent: Ms, luck: Luck },
    Answered { sent: Ms, luck: Luck, answer: Answer },
}

impl Process {
    fn clock(&self, at: Ms) -> Mono {
        Mono(Duration::from_millis(self.offset + at))
    }

    /// Until when it may write, as far as it knows.
    fn until(&self) -> Option<Ms> {
        match self.candidate.standing() {
            Standing::Leads { until } => Some(
                u64::try_from(until.0.as_millis())
                    .unwrap()
                    .saturating_sub(self.offset),
            ),
            Standing::Standby | Standing::Replaced => None,
        }
    }

    /// The next thing happens; `false`: it is over.
    fn go_on(&mut self, stored: &mut Stored) -> bool {
        let wall = Timestamp::UNIX_EPOCH;
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {
                let Some(luck) = self.luck.next().filter(|_| !self.candidate.replaced) else {
                    return false;
                };
                let step = self.candidate.step(self.clock(self.at), wall);
                self.phase = Phase::Sent {
                    step,
                    sent: self.at,
                    luck,
                };
                self.at += luck.there;
            }
            Phase::Sent { step, sent, luck } => {
                let answer = match &step {
                    _ if luck.lost => Answer::None,
                    Step::Look => Answer::Found(stored.record.clone()),
                    Step::Write(record) => stored.write(record).map_or(Answer::None, Answer::Stored),
                };
                let answer = if luck.mute { Answer::None } else { answer };
                self.at = match answer {
                    Answer::Found(_) | Answer::Stored(_) => self.at + luck.back,
                    Answer::None => sent + 3000,
                };
                self.phase = Phase::Answered { sent, luck, answer };
            }
            Phase::Answered { sent, luck, answer } => {
                let now = self.clock(self.at);
                match answer {
                    Answer::Found(found) => self.candidate.looked(found, now),
                    Answer::Stored(stored) => self.candidate.wrote(stored, self.clock(sent), now),
                    Answer::None => self.candidate.failed(),
                }
                let wait = u64::try_from(self.candidate.wait(now).as_millis()).unwrap();
                self.at += wait + luck.pause;
            }
        }
        true
    }
}

/// Runs them side by side; how many led at all. `Err`: two could write at once.
fn run(processes: &mut [Process]) -> Result<usize, String> {
    let mut stored = Stored::default();
    let mut led = std::collections::BTreeSet::new();
    loop {
        let next = processes
            .iter()
            .enumerate()
            .filter(|(_, process)| process.at < Ms::MAX);
        let Some((next, _)) = next.min_by_key(|(_, process)| process.at) else {
            return Ok(led.len());
        };
        let at = processes[next].at;
        if !processes[next].go_on(&mut stored) {
            processes[next].at = Ms::MAX;
        }
        // Whoever is allowed to write at this moment, paused or not.
        let allowed: Vec<_> = (0..processes.len())
            .filter(|process| processes[*process].until().is_some_and(|until| at < until))
            .collect();
        led.extend(allowed.iter().copied());
        if allowed.len() > 1 {
            return Err(format!("{allowed:?} may write at {at} ms"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn never_may_two_write(lives in prop::collection::vec((0_u64..1_000_000, 0_u64..20_000, prop::collection::vec(luck(), 20..80)), 2..4)) {
        let mut processes: Vec<_> = lives.into_iter().enumerate().map(|(number, (offset, at, luck))| Process {
            candidate: Candidate::new(format!("operator-{number}")),
            offset,
            at,
            phase: Phase::Idle,
            luck: luck.into_iter(),
        }).collect();
        let led = run(&mut processes);
        prop_assert!(led.as_ref().is_ok_and(|led| *led > 0), "{led:?}");
    }
}

fn lucky(requests: usize) -> std::vec::IntoIter<Luck> {
    vec![
        Luck {
            there: 5,
            back: 5,
            lost: false,
            mute: false,
            pause: 0
        };
        requests
    ]
    .into_iter()
}

fn process(name: &str, at: Ms, requests: usize) -> Process {
    Process {
        candidate: Candidate::new(name.into()),
        offset: 0,
        at,
        phase: Phase::Idle,
        luck: lucky(requests),
    }
}

/// Until `end` on the world's clock.
fn until(processes: &mut [Process], stored: &mut Stored, end: Ms) {
    while let Some(process) = processes
        .iter_mut()
        .filter(|process| process.at < end)
        .min_by_key(|process| process.at)
    {
        if !process.go_on(stored) {
            process.at = Ms::MAX;
        }
    }
}

#[test]
fn the_first_leads_and_renews_every_five_seconds() {
    let mut stored = Stored::default();
    let mut one = [process("a", 0, 100)];
    until(&mut one, &mut stored, 60_000);
    assert!(
        (11..=14).contains(&stored.version),
        "{} writes in a minute",
        stored.version
    );
    assert!(one[0].until() > Some(60_000));
}

#[test]
fn who_stands_by_takes_over_after_the_lease_has_ended_and_not_before() {
    let mut stored = Stored::default();
    let mut both = [process("a", 0, 2), process("b", 1000, 1000)];
    // The first one dies after its first write.
    until(&mut both, &mut stored, 14_500);
    assert_eq!(stored.record.as_ref().unwrap().holder.as_deref(), Some("a"));
    assert_eq!(both[1].candidate.standing(), Standing::Standby);
    until(&mut both, &mut stored, 18_500);
    let record = stored.record.as_ref().unwrap();
    assert_eq!((record.holder.as_deref(), record.transitions), (Some("b"), 1));
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_the_next_look() {
    let mut stored = Stored::default();
    let mut both = [process("a", 0, 3), process("b", 1000, 1000)];
    until(&mut both, &mut stored, 6000);
    let record = stored.record.clone().unwrap();
    stored
        .write(&LeaseRecord {
            holder: None,
            ..record
        })
        .unwrap();
    until(&mut both, &mut stored, 8100);
    assert_eq!(stored.record.as_ref().unwrap().holder.as_deref(), Some("b"));
}

#[test]
fn a_leader_that_was_paused_looks_before_it_writes_and_ends_if_another_one_leads() {
    let mut stored = Stored::default();
    let mut both = [process("a", 0, 1000), process("b", 1000, 1000)];
    until(&mut both, &mut stored, 4000);
    both[0].at += 40_000;
    until(&mut both, &mut stored, 43_000);
    assert_eq!(stored.record.as_ref().unwrap().holder.as_deref(), Some("b"));
    until(&mut both, &mut stored, 60_000);
    assert_eq!(both[0].candidate.standing(), Standing::Replaced);
    assert_eq!(stored.record.as_ref().unwrap().holder.as_deref(), Some("b"));
}

#[test]
fn a_leader_that_was_cut_off_goes_on_if_nobody_took_its_place() {
    let mut stored = Stored::default();
    let mut one = [process("a", 0, 1000)];
    until(&mut one, &mut stored, 4000);
    let lapsed = one[0].until().unwrap();
    one[0].at += 60_000;
    until(&mut one, &mut stored, 70_000);
    assert!(one[0].until().unwrap() > 70_000 && lapsed < 64_000);
    assert_eq!(stored.record.as_ref().unwrap().transitions, 0);
}
