//! What a sequence of events makes of one key, case by case. Times are milliseconds after an arbitrary start.

mod renewals;

use std::sync::Arc;
use std::time::Duration;

use super::super::{Answer, End, Evidence, Hold, HolderValue, KeyState, Mode, Mono, Trouble, probe::Probe};
use super::{ENDS_PER_KEY, Effect, Event, ONLY, Table};

const KEY: &[u8] = b"lock";
/// The lock that all cases are about.
fn probe() -> Arc<Probe> {
    Probe::string(KEY).into()
}

const START: u64 = 1_000_000;

fn at(ms: u64) -> Mono {
    Mono(Duration::from_millis(START + ms))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn value(name: &str) -> HolderValue {
    HolderValue(name.as_bytes().into())
}

fn held(name: &str, ttl: u64) -> Answer {
    Answer::held(name.as_bytes(), Some(ms(ttl)))
}

fn endless(name: &str) -> Answer {
    Answer::held(name.as_bytes(), None)
}

/// A table with one key, and the server's side of the conversation.
struct Script(Table);

impl Script {
    fn new(mode: Mode) -> Self {
        let mut table = Table::default();
        table.watch(&probe(), ONLY, at(0));
        table.apply(Event::Up(ONLY, mode), at(0));
        Self(table)
    }

    /// Asks at `asked`, which must be due, and answers 1 ms later.
    fn read(&mut self, asked: u64, answer: Answer) -> Effect {
        self.ask(asked);
        self.answer(asked + 1, answer)
    }

    fn ask(&mut self, asked: u64) {
        assert_eq!(self.0.due(ONLY, at(asked), 10), [probe()], "due at {asked}");
    }

    fn answer(&mut self, received: u64, answer: Answer) -> Effect {
        self.0.apply(Event::Answered(&probe(), answer), at(received))
    }

    fn invalidate(&mut self, now: u64) {
        assert_eq!(self.0.apply(Event::Invalidated(KEY), at(now)), Effect::Nothing);
    }

    /// An invalidation, and the read that follows from it.
    fn change(&mut self, now: u64, answer: Answer) -> Effect {
        self.invalidate(now);
        self.read(now, answer)
    }

    /// The connection is lost at `lost` and stands again at `again`.
    fn reconnect(&mut self, lost: u64, again: u64, mode: Mode) {
        self.0.apply(Event::Doubt(ONLY), at(lost));
        assert_eq!(
            (self.state(), self.0.next_deadline(ONLY)),
            (KeyState::Unknown, None)
        );
        self.0.apply(Event::Up(ONLY, mode), at(again));
        assert!(!self.0.is_complete(ONLY));
    }

    fn state(&self) -> KeyState {
        self.0.snapshot(&probe()).state
    }

    fn hold(&self) -> Hold {
        match self.state() {
            KeyState::Held(hold) => hold,
            other => panic!("not held: {other:?}"),
        }
    }

    fn ends(&self) -> Vec<End> {
        self.0.snapshot(&probe()).ends
    }

    fn only_end(&self) -> End {
        let [end] = &self.ends()[..] else {
            panic!("{:?}", self.ends())
        };
        end.clone()
    }

    fn next(&self) -> Option<u64> {
        let millis = u64::try_from(self.0.next_deadline(ONLY)?.0.as_millis()).unwrap();
        Some(millis - START)
    }
}

#[test]
fn a_key_is_unknown_until_it_is_answered() {
    let mut script = Script::new(Mode::Tracking);
    assert_eq!(
        (script.state(), script.0.is_complete(ONLY)),
        (KeyState::Unknown, false)
    );
    assert_eq!(script.read(0, Answer::Absent), Effect::Changed);
    assert_eq!(
        (script.state(), script.0.is_complete(ONLY)),
        (KeyState::Absent { since: at(1) }, true)
    );
    assert_eq!(script.next(), None, "its changes are announced");
}

#[test]
fn only_a_hold_that_was_seen_to_be_taken_is_called_so() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 1000));
    assert!(!script.hold().seen_taken, "there was no answer before");
    assert_eq!(script.change(100, held("b", 1000)), Effect::Changed);
    assert!(script.hold().seen_taken);
    script.reconnect(200, 300, Mode::Tracking);
    script.read(300, held("c", 1000));
    assert!(!script.hold().seen_taken, "it was unwatched meanwhile");
}

#[test]
fn a_renewal_is_a_later_deadline_beyond_the_uncertainty_and_changes_no_verdict() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 1000));
    // The same expiry, seen again: 1001 then 1003, within the round trip and the resolution.
    assert_eq!(script.change(100, held("a", 902)), Effect::Nothing);
    assert_eq!(
        (script.hold().last_renewed, script.hold().deadline),
        (None, Some(at(1003)))
    );
    assert_eq!(script.change(200, held("a", 1000)), Effect::Nothing);
    assert_eq!(
        (script.hold().last_renewed, script.hold().first_seen),
        (Some(at(201)), at(1))
    );
    assert_eq!(
        (script.hold().largest_ttl, script.hold().uncertainty),
        (Some(ms(1000)), ms(3))
    );
    assert!(script.ends().is_empty());
}

#[test]
fn a_deadline_is_looked_at_two_milliseconds_later() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 1000));
    assert_eq!(script.next(), Some(1003));
    assert!(script.0.due(ONLY, at(1002), 10).is_empty());
    // A read that comes a moment too early finds PTTL 0, and the key is looked at once more.
    assert_eq!(script.read(1003, held("a", 0)), Effect::Nothing);
    assert_eq!(script.next(), Some(1006));
    assert_eq!(script.read(1006, Answer::Absent), Effect::Changed);
    let end = script.only_end();
    assert_eq!((end.ended, end.noticed, end.watched), (at(1007), at(1007), true));
}

#[test]
fn a_hold_ends_at_the_first_invalidation_after_its_last_answer() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 1000));
    script.change(100, held("a", 1000));
    script.invalidate(200);
    script.invalidate(210);
    assert_eq!(script.read(250, Answer::Absent), Effect::Changed);
    let end = script.only_end();
    assert_eq!(
        (end.ended, end.noticed, end.watched, end.shortened),
        (at(200), at(251), true, false)
    );
    assert_eq!(end.hold.last_answer, at(101));
}

#[test]
fn another_value_ends_a_hold_and_begins_one_in_the_same_answer() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 1000));
    script.change(100, held("b", 1000));
    assert_eq!(script.only_end().hold.value, value("a"));
    assert_eq!(
        (script.hold().value, script.hold().first_seen),
        (value("b"), at(101))
    );
    script.change(200, Answer::WrongType);
    assert_eq!(script.state(), KeyState::WrongType { since: at(201) });
    assert!(script.ends()[0].seq < script.ends()[1].seq);
}

#[test]
fn a_shortened_ttl_is_remembered_until_it_is_renewed() {
    for (after, expected) in [(None, true), (Some(held("a", 5000)), false)] {
        let mut script = Script::new(Mode::Tracking);
        script.read(0, held("a", 1000));
        script.change(100, held("a", 10));
        if let Some(answer) = after {
            script.change(105, answer);
        }
        script.change(110, Answer::Absent);
        assert_eq!(script.only_end().shortened, expected);
    }
}

#[test]
fn no_expiry_takes_two_answers_two_seconds_apart() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, endless("a"));
    assert_eq!((script.hold().no_expiry, script.next()), (false, Some(2001)));
    assert_eq!(script.change(1000, endless("a")), Effect::Nothing);
    assert_eq!((script.hold().no_expiry, script.next()), (false, Some(2001)));
    assert_eq!(script.read(2001, endless("a")), Effect::Changed);
    assert_eq!((script.hold().no_expiry, script.next()), (true, None));
    assert_eq!(script.change(3000, held("a", 1000)), Effect::Changed);
    assert!(!script.hold().no_expiry);
}

#[test]
fn a_hold_shown_again_after_a_doubt_goes_on_and_one_that_is_gone_ended_unwatched() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 10_000));
    script.reconnect(100, 500, Mode::Tracking);
    script.read(500, held("a", 10_000));
    assert_eq!(
        (script.hold().first_seen, script.hold().last_renewed),
        (at(1), Some(at(501)))
    );
    assert!(script.ends().is_empty());
    script.reconnect(600, 700, Mode::Tracking);
    script.read(700, Answer::Absent);
    let end = script.only_end();
    assert_eq!((end.ended, end.noticed, end.watched), (at(701), at(701), false));
}

#[test]
fn an_invalidation_left_unread_by_a_lost_connection_is_when_the_hold_ended_unwatched() {
    for reading in [false, true] {
        let mut script = Script::new(Mode::Tracking);
        script.read(0, held("a", 10_000));
        if reading {
            script.change(50, held("a", 10_000));
            script.invalidate(90);
            script.ask(95);
        }
        script.invalidate(100);
        script.reconnect(110, 500, Mode::Tracking);
        script.read(500, Answer::Absent);
        let end = script.only_end();
        assert_eq!(
            (end.ended, end.watched),
            (at(if reading { 90 } else { 100 }), false)
        );
    }
}

#[test]
fn an_answer_that_may_mix_two_states_is_set_aside_once() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 1000));
    script.invalidate(100);
    script.ask(100);
    script.invalidate(101);
    assert_eq!(script.answer(102, held("a", 9000)), Effect::Nothing);
    assert_eq!(
        script.hold().deadline,
        Some(at(1001)),
        "the old value may have come with the new one's PTTL"
    );
    // A key that changes with every round trip must not stay unknown: the second one counts, and is read again.
    script.ask(102);
    script.invalidate(103);
    assert_eq!(script.answer(104, held("b", 9000)), Effect::Changed);
    assert_eq!(script.only_end().ended, at(100));
    assert_eq!(script.next(), Some(104));
}

#[test]
fn absence_is_believed_at_once_although_our_own_read_announces_the_deletion() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 1000));
    script.ask(1003);
    script.invalidate(1004);
    assert_eq!(script.answer(1004, Answer::Absent), Effect::Changed);
    assert_eq!(
        (script.only_end().ended, script.only_end().watched),
        (at(1004), true)
    );
    assert_eq!(script.read(1004, Answer::Absent), Effect::Nothing);
    assert_eq!(script.state(), KeyState::Absent { since: at(1004) });
}

#[test]
fn an_empty_value_is_asked_for_twice_before_it_counts() {
    let mut script = Script::new(Mode::Polling);
    assert_eq!(
        script.read(0, held("", 30_000)),
        Effect::Nothing,
        "a missing key looks like it"
    );
    assert_eq!(script.read(1, held("", 30_000)), Effect::Changed);
    assert_eq!(script.read(2002, held("", 30_000)), Effect::Nothing);
    assert_eq!(script.hold().last_answer, at(2003));
}

#[test]
fn a_change_that_was_not_announced_means_that_tracking_is_lost() {
    let cases = [
        (held("a", 1000), held("b", 1000), Effect::TrackingLost),
        (held("a", 1000), Answer::WrongType, Effect::TrackingLost),
        (held("a", 1000), held("a", 9000), Effect::Nothing),
        (held("a", 1000), Answer::Absent, Effect::Changed),
    ];
    for (before, after, effect) in cases {
        let mut script = Script::new(Mode::Tracking);
        script.read(0, before);
        assert_eq!(script.read(1003, after.clone()), effect, "{after:?}");
    }
    let mut script = Script::new(Mode::Tracking);
    script.read(0, endless("a"));
    assert_eq!(script.read(2001, Answer::Absent), Effect::TrackingLost);
    assert_eq!(script.hold().value, value("a"));
}

#[test]
fn polling_reads_at_the_interval_and_shortly_before_the_deadline() {
    let mut script = Script::new(Mode::Polling);
    script.read(0, held("a", 5000));
    assert_eq!(script.next(), Some(2001));
    script.read(2001, held("a", 2999));
    script.read(4002, held("a", 998));
    assert_eq!(script.next(), Some(4901));
    script.read(4901, held("a", 99));
    assert_eq!(script.next(), Some(5003));
    script.read(5003, Answer::Absent);
    let end = script.only_end();
    assert_eq!((end.ended, end.noticed, end.watched), (at(5004), at(5004), true));
}

#[test]
fn polling_watched_only_what_it_looked_at_in_time() {
    // (when the last answer shows it with a deadline at 5001, when it is found gone, watched)
    let cases = [
        (4001, 4900, true),
        (4001, 5003, false),
        (4910, 5003, true),
        (1001, 3001, true),
        (1001, 4500, false),
    ];
    for (shown, gone, watched) in cases {
        let mut script = Script::new(Mode::Polling);
        script.read(0, held("a", 5000));
        script.0.apply(Event::Invalidated(KEY), at(shown - 1));
        script.read(shown - 1, held("a", 5001 - shown));
        script.0.apply(Event::Invalidated(KEY), at(gone - 1));
        script.read(gone - 1, Answer::Absent);
        assert_eq!(
            script.only_end().watched,
            watched,
            "shown at {shown}, gone at {gone}"
        );
    }
}

#[test]
fn a_refused_key_is_unknown_and_tried_again() {
    let mut script = Script::new(Mode::Tracking);
    script.ask(0);
    assert_eq!(
        script
            .0
            .apply(Event::Refused(&probe(), Trouble::PermissionDenied), at(1)),
        Effect::Changed
    );
    assert_eq!(
        script.0.refusal(&probe()),
        Some((Trouble::PermissionDenied, at(1)))
    );
    assert!(script.0.is_complete(ONLY), "it doesn't keep the others waiting");
    script.ask(5001);
    assert_eq!(
        script
            .0
            .apply(Event::Refused(&probe(), Trouble::PermissionDenied), at(5002)),
        Effect::Nothing
    );
    assert_eq!(script.read(10_002, held("a", 1000)), Effect::Changed);
    assert_eq!(
        (script.0.refusal(&probe()), script.hold().seen_taken),
        (None, false)
    );
}

#[test]
fn the_oldest_ends_make_room() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("0", 1000));
    let count = ENDS_PER_KEY as u64 + 3;
    for i in 1..=count {
        script.change(i * 10, held(&i.to_string(), 1000));
    }
    let ended: Vec<_> = script.ends().iter().map(|end| end.hold.value.clone()).collect();
    assert_eq!(
        ended,
        (3..count).map(|i| value(&i.to_string())).collect::<Vec<_>>()
    );
}

#[test]
fn ends_are_numbered_so_that_later_ones_have_higher_numbers_at_every_endpoint() {
    let [mut older, mut younger] = [Script::new(Mode::Tracking), Script::new(Mode::Tracking)];
    for script in [&mut older, &mut younger] {
        script.read(0, held("a", 1000));
    }
    older.change(10, held("b", 1000));
    younger.change(20, held("b", 1000));
    older.change(30, held("c", 1000));
    assert!(older.ends()[0].seq < younger.ends()[0].seq && younger.ends()[0].seq < older.ends()[1].seq);
}

#[test]
fn a_key_watched_later_is_due_at_once_and_a_forgotten_one_never() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 1000));
    let second: Arc<Probe> = Probe::string(b"second").into();
    script.0.watch(&second, ONLY, at(500));
    assert!(!script.0.is_complete(ONLY));
    assert_eq!(script.0.due(ONLY, at(500), 10), [Arc::clone(&second)]);
    script.0.forget(&second);
    assert!(script.0.is_complete(ONLY));
    assert_eq!(
        script.0.apply(Event::Answered(&second, held("a", 1)), at(501)),
        Effect::Nothing
    );
    script.0.forget(&probe());
    assert_eq!(script.0.next_deadline(ONLY), None);
    assert_eq!(script.state(), KeyState::Unknown);
}

/// The moment of a renewal is known better than by when it was noticed: so much is left of what it gave.
#[test]
fn a_renewal_was_when_its_lifetime_began() {
    let mut script = Script::new(Mode::Polling);
    script.read(0, held("a", 10_000));
    script.read(2_001, held("a", 9_000));
    assert_eq!(script.hold().last_renewed, Some(at(1_002)), "1 s of 10 s is gone");
    script.read(4_002, held("a", 9_999));
    assert_eq!(script.hold().last_renewed, Some(at(4_002)));
    // Never before it was last seen not to have happened.
    script.read(6_003, held("a", 8_003));
    assert_eq!(script.hold().last_renewed, Some(at(4_007)));
}

#[test]
fn a_deadline_that_the_servers_clock_moved_was_not_shortened_by_its_holder() {
    let mut script = Script::new(Mode::Tracking);
    script.read(0, held("a", 10_000));
    script.change(500, held("a", 7_000));
    script
        .0
        .apply(Event::Happened(ONLY, Evidence::CLOCK_JUMP), at(600));
    script.0.apply(Event::Up(ONLY, Mode::Tracking), at(600));
    script.read(600, held("a", 6_900));
    script.change(7_502, Answer::Absent);
    let end = script.only_end();
    assert!(end.watched && !end.shortened, "{end:?}");
}
