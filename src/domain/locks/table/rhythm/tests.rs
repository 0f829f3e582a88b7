//! The rule, by renewals of which it is known more or less exactly when they were made.

use super::*;

fn at(ms: u64) -> Mono {
    Mono(Duration::from_millis(1_000_000 + ms))
}

fn exact(ms: u64) -> Renewal {
    Renewal {
        earliest: at(ms),
        at: at(ms),
        latest: at(ms),
    }
}

/// Renewed every 10 s, as agreed, the last time at 80 s.
fn regular() -> Rhythm {
    let mut rhythm = Rhythm::new(Duration::from_secs(10));
    for ms in (0..=80_000).step_by(10_000) {
        rhythm.renewed(exact(ms));
    }
    rhythm.take();
    rhythm
}

#[test]
fn nothing_is_late_before_enough_is_known() {
    let mut rhythm = Rhythm::new(Duration::from_secs(10));
    for ms in [0, 10_000, 20_000, 30_000] {
        rhythm.renewed(exact(ms));
        assert_eq!(rhythm.late_at(), None, "at {ms}");
    }
    rhythm.silent(at(1_000_000));
    assert!(!rhythm.take().late);
    rhythm.renewed(exact(40_000));
    assert_eq!(rhythm.late_at(), Some(at(55_000)));
}

#[test]
fn it_is_late_at_half_as_much_again_and_told_once() {
    let mut rhythm = regular();
    rhythm.silent(at(94_999));
    assert!(!rhythm.take().late);
    rhythm.silent(at(95_000));
    assert!(rhythm.take().late);
    rhythm.silent(at(99_000));
    rhythm.renewed(exact(110_000));
    let beat = rhythm.take();
    assert_eq!((beat.late, beat.gap), (false, Some(Duration::from_secs(30))));
    assert_eq!(rhythm.take(), Beat::default(), "handed out once");
}

#[test]
fn a_renewal_that_was_late_counts_also_if_nobody_looked_before_it_came() {
    let mut rhythm = regular();
    rhythm.renewed(exact(110_000));
    assert!(rhythm.take().late);
}

#[test]
fn what_may_have_come_in_time_is_not_late() {
    // Polled: found between 94 s and 97 s, most likely made at the end of that.
    let mut rhythm = regular();
    rhythm.renewed(Renewal {
        earliest: at(94_000),
        at: at(97_000),
        latest: at(97_000),
    });
    assert!(!rhythm.take().late);
    // And the one before may have been made as late as 82 s.
    let mut rhythm = regular();
    rhythm.renewed(Renewal {
        earliest: at(88_000),
        at: at(88_000),
        latest: at(92_000),
    });
    rhythm.silent(at(106_000));
    assert!(!rhythm.take().late);
    rhythm.silent(at(107_000));
    assert!(rhythm.take().late);
}

#[test]
fn one_long_gap_does_not_hide_the_next_but_two_are_a_habit() {
    let mut rhythm = regular();
    let mut now = 80_000;
    let mut renew = |rhythm: &mut Rhythm, gap| {
        now += gap;
        rhythm.renewed(exact(now));
        rhythm.take().late
    };
    assert!(renew(&mut rhythm, 30_000));
    assert!(!renew(&mut rhythm, 10_000));
    assert!(renew(&mut rhythm, 30_000));
    assert!(!renew(&mut rhythm, 30_000), "set up anew");
    assert!(!renew(&mut rhythm, 30_000));
}

#[test]
fn a_habit_is_what_two_of_the_last_eight_gaps_show() {
    let mut rhythm = regular();
    let mut now = 80_000;
    let mut renew = |rhythm: &mut Rhythm, gap| {
        now += gap;
        rhythm.renewed(exact(now));
        now
    };
    for gap in [30_000, 30_000, 10_000, 10_000, 10_000, 10_000, 10_000] {
        renew(&mut rhythm, gap);
    }
    let sixth = renew(&mut rhythm, 10_000);
    assert_eq!(rhythm.late_at(), Some(at(sixth + 45_000)));
    let seventh = renew(&mut rhythm, 10_000);
    assert_eq!(rhythm.late_at(), Some(at(seventh + 15_000)), "one is none");
}

#[test]
fn it_is_small_since_there_may_be_thousands() {
    assert!(size_of::<Rhythm>() <= 96, "{} bytes", size_of::<Rhythm>());
}

#[test]
fn renewing_more_often_than_agreed_binds_nobody() {
    // BullMQ: 15 s at first, then 7.5 s.
    let mut rhythm = Rhythm::new(Duration::from_secs(15));
    for ms in (0..=75_000).step_by(7_500) {
        rhythm.renewed(exact(ms));
    }
    rhythm.renewed(exact(90_000));
    rhythm.silent(at(112_499));
    assert!(!rhythm.take().late);
    rhythm.silent(at(112_500));
    assert!(rhythm.take().late);
}

#[test]
fn a_busy_operator_makes_no_short_interval_late() {
    let mut rhythm = Rhythm::new(Duration::from_millis(100));
    for ms in (0..=1_000).step_by(100) {
        rhythm.renewed(exact(ms));
    }
    assert_eq!(rhythm.late_at(), Some(at(2_100)));
}

#[test]
fn what_was_missed_teaches_nothing() {
    let mut rhythm = regular();
    rhythm.interrupt();
    assert_eq!(rhythm.late_at(), None);
    rhythm.silent(at(1_000_000));
    rhythm.renewed(exact(1_000_000));
    assert_eq!(rhythm.take(), Beat::default());
    assert_eq!(rhythm.late_at(), Some(at(1_015_000)), "what was learned stays");
}
