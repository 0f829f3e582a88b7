//! What is learned of renewals from answers, by holders that renew in some way, tracked and polled.

use super::*;
use crate::domain::locks::table::Beat;

/// A holder, a server and the table, as time goes by.
struct Life {
    script: Script,
    mode: Mode,
    now: u64,
    deadline: u64,
    beats: Vec<(u64, Beat)>,
}

impl Life {
    /// Taken at 0 for 60 s.
    fn new(mode: Mode, interval: Option<u64>) -> Self {
        let mut script = Script::new(mode);
        script.0.renews(&probe(), interval.map(ms));
        let mut life = Self {
            script,
            mode,
            now: 0,
            deadline: 60_000,
            beats: vec![],
        };
        life.until(0);
        life
    }

    /// Everything is read that is due until then.
    fn until(&mut self, end: u64) {
        while let Some(next) = self.script.next().map(|next| next.max(self.now))
            && next <= end
        {
            let left = self.deadline.saturating_sub(next);
            self.script.read(next, held("a", left));
            self.now = next + 1;
            let beat = self.script.0.beat(&probe());
            if beat != Beat::default() {
                self.beats.push((next, beat));
            }
        }
        self.now = self.now.max(end);
    }

    fn renew(&mut self, at: u64, ttl: u64) {
        self.until(at);
        self.deadline = self.now + ttl;
        if self.mode == Mode::Tracking {
            self.script.invalidate(self.now);
            self.until(self.now);
        }
    }

    fn gaps(&self) -> Vec<u64> {
        let gaps = self.beats.iter().filter_map(|(_, beat)| beat.gap);
        gaps.map(|gap| u64::try_from(gap.as_millis()).unwrap()).collect()
    }

    fn late(&self) -> Vec<u64> {
        let late = self.beats.iter().filter(|(_, beat)| beat.late);
        late.map(|(at, _)| *at).collect()
    }
}

const BOTH: [Mode; 2] = [Mode::Tracking, Mode::Polling];

#[test]
fn renewals_on_time_are_never_late_whatever_their_jitter() {
    for mode in BOTH {
        let mut life = Life::new(mode, Some(10_000));
        let mut at = 0;
        for jitter in [0, 800, 3_900, 200, 2_700, 4_100, 1_300, 100].repeat(20) {
            at += 8_000 + jitter;
            life.renew(at, 60_000);
        }
        life.until(at + 10_000);
        assert_eq!(life.late(), [0; 0], "{mode:?}");
        let gaps = life.gaps();
        assert_eq!(gaps.len(), 159, "{mode:?}: each but the first ends one");
        let exact = match mode {
            Mode::Tracking => 5,
            Mode::Polling => 2_100,
        };
        let second = gaps[7..].iter().zip([0_u64, 800, 3_900, 200, 2_700].iter());
        for (gap, jitter) in second {
            assert!(gap.abs_diff(8_000 + jitter) <= exact, "{mode:?}: {gaps:?}");
        }
    }
}

#[test]
fn a_holder_that_skips_two_renewals_is_late_once_as_soon_as_that_is_certain() {
    for mode in BOTH {
        let mut life = Life::new(mode, Some(10_000));
        for n in 1..=10 {
            life.renew(n * 10_000, 60_000);
        }
        life.renew(130_000, 60_000);
        for n in 14..=30 {
            life.renew(n * 10_000, 60_000);
        }
        let [late] = life.late()[..] else {
            panic!("{mode:?}: {:?}", life.late())
        };
        let expected = match mode {
            Mode::Tracking => 115_000..=115_010,
            Mode::Polling => 115_000..=119_100,
        };
        assert!(expected.contains(&late), "{mode:?}: {late}");
        let largest = life.gaps().into_iter().max().unwrap();
        assert!((28_000..=32_000).contains(&largest), "{mode:?}: {largest}");
    }
}

#[test]
fn a_gap_in_which_nobody_watched_is_neither_late_nor_learned() {
    for mode in BOTH {
        let mut life = Life::new(mode, Some(10_000));
        for n in 1..=10 {
            life.renew(n * 10_000, 60_000);
        }
        life.until(105_000);
        let known = life.gaps().len();
        life.script.reconnect(life.now, life.now + 1, mode);
        life.renew(140_000, 60_000);
        life.until(148_000);
        assert_eq!((life.late(), life.gaps().len()), (vec![], known), "{mode:?}");
        life.renew(150_000, 60_000);
        life.until(153_000);
        assert_eq!(life.gaps().len(), known + 1, "{mode:?}: two that were watched");
    }
}

#[test]
fn the_pace_of_polling_is_nobodys_delay() {
    for interval in [300, 1_000, 1_900, 2_100, 2_500, 3_300] {
        let mut life = Life::new(Mode::Polling, Some(interval));
        let mut at = 0;
        // Taken for longer than it is renewed for, so that the deadline doesn't tell when that was.
        for n in 0..400 {
            at += interval + n % 7;
            life.renew(at, 20_000);
        }
        assert_eq!(life.late(), [0; 0], "every {interval} ms");
        assert!(life.gaps().len() > 20, "every {interval} ms");
    }
}

#[test]
fn a_set_that_does_not_renew_is_neither_read_more_often_nor_late() {
    let mut life = Life::new(Mode::Tracking, None);
    for n in 1..=10 {
        life.renew(n * 1_000, 60_000);
    }
    assert_eq!(
        life.script.next(),
        Some(70_003),
        "its deadline, and nothing before"
    );
    life.until(60_000);
    assert!(life.beats.is_empty());
}

#[test]
fn a_renewal_that_fails_to_come_is_looked_for_once() {
    let mut life = Life::new(Mode::Tracking, Some(1_000));
    for n in 1..=10 {
        life.renew(n * 1_000, 60_000);
    }
    assert_eq!(life.script.next(), Some(12_001));
    life.until(60_000);
    assert_eq!(life.late(), [12_001]);
    assert_eq!(life.script.next(), Some(70_003));
}

#[test]
fn the_next_holder_begins_anew_and_a_clock_that_was_set_renews_nothing() {
    let mut life = Life::new(Mode::Tracking, Some(1_000));
    for n in 1..=10 {
        life.renew(n * 1_000, 60_000);
    }
    let known = life.gaps().len();
    life.until(10_500);
    life.script.change(10_500, held("b", 60_000));
    life.now = 10_502;
    assert_eq!(life.script.next(), Some(70_503), "it has renewed nothing yet");
    life.script.change(11_000, held("b", 60_000));
    life.script
        .0
        .apply(Event::Happened(ONLY, Evidence::CLOCK_JUMP), at(11_400));
    life.script.change(11_500, held("b", 90_000));
    assert_eq!(life.script.0.beat(&probe()), Beat::default());
    assert_eq!(life.gaps().len(), known);
    assert_eq!(life.script.next(), Some(101_503));
}
