//! A lock on three servers, each with a table of its own, read by a majority.

use super::super::table::{Event, ONLY, Table};
use super::super::{Answer, Mode};
use super::*;

const START: u64 = 1_000_000;
const SECOND: u64 = 1000;

fn at(ms: u64) -> Mono {
    Mono(Duration::from_millis(START + ms))
}

fn probe() -> Arc<Probe> {
    Probe::string(b"lock").into()
}

struct World {
    servers: Vec<(Table, bool)>,
    quorum: Quorum,
}

impl World {
    fn new(servers: usize) -> Self {
        let server = |_| {
            let mut table = Table::default();
            table.watch(&probe(), ONLY, at(0));
            table.apply(Event::Up(ONLY, Mode::Tracking), at(0));
            (table, true)
        };
        Self {
            servers: (0..servers).map(server).collect(),
            quorum: Quorum::default(),
        }
    }

    /// What each server shows from now on; `None`: nothing changes there.
    fn show(&mut self, now: u64, answers: &[Option<Answer>]) -> KeySnapshot {
        for ((table, up), answer) in self.servers.iter_mut().zip(answers) {
            if let Some(answer) = answer.clone().filter(|_| *up) {
                table.apply(Event::Invalidated(b"lock"), at(now));
                table.due(ONLY, at(now), 1);
                table.apply(Event::Answered(&probe(), answer), at(now));
            }
        }
        self.look(now)
    }

    fn cut(&mut self, server: usize, now: u64) -> KeySnapshot {
        self.servers[server].0.apply(Event::Doubt(ONLY), at(now));
        self.servers[server].1 = false;
        self.look(now)
    }

    fn mend(&mut self, server: usize, now: u64) {
        self.servers[server]
            .0
            .apply(Event::Up(ONLY, Mode::Tracking), at(now));
        self.servers[server].1 = true;
    }

    fn observe(&mut self, now: u64) -> Observation {
        let observations: Vec<_> = self
            .servers
            .iter()
            .map(|(table, up)| Observation {
                at: at(now),
                link: if *up {
                    Link::Up {
                        since: at(0),
                        mode: Mode::Tracking,
                        version: None,
                    }
                } else {
                    Link::Down {
                        since: at(now),
                        trouble: Trouble::Timeout,
                    }
                },
                hidden: None,
                health: None,
                keys: vec![table.snapshot(&probe())],
                discovered: vec![],
            })
            .collect();
        self.quorum.combine(&observations, at(now))
    }

    fn look(&mut self, now: u64) -> KeySnapshot {
        self.observe(now).keys.pop().unwrap()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "beside those that show nothing new")]
fn held(value: &str, ttl: u64) -> Option<Answer> {
    Some(Answer::held(value.as_bytes(), Some(Duration::from_millis(ttl))))
}

const FREE: Option<Answer> = Some(Answer::Absent);

fn holder(snapshot: &KeySnapshot) -> Option<&Hold> {
    match &snapshot.state {
        KeyState::Held(hold) => Some(hold),
        _ => None,
    }
}

#[test]
fn a_majority_holds_a_minority_does_not() {
    let mut world = World::new(3);
    assert_eq!(world.look(1).state, KeyState::Unknown, "nobody has answered");
    let free = world.show(2, &[FREE, FREE, FREE]);
    assert_eq!(free.state, KeyState::Absent { since: at(2) });
    let one = world.show(10, &[held("a", 9000), None, None]);
    assert_eq!(one.state, KeyState::Absent { since: at(2) });
    let two = world.show(20, &[None, held("a", 8000), None]);
    let hold = holder(&two).unwrap();
    assert_eq!(
        (hold.first_seen, hold.seen_taken, hold.deadline),
        (at(20), true, Some(at(8020))),
        "with the second server, until the second largest deadline"
    );
    let three = world.show(30, &[None, None, held("a", 7000)]);
    assert_eq!(holder(&three).unwrap().deadline, Some(at(8020)));
    assert!(three.ends.is_empty());
}

#[test]
fn two_minorities_are_nobody() {
    let mut world = World::new(3);
    let split = world.show(1, &[held("a", SECOND), held("b", SECOND), FREE]);
    assert_eq!(split.state, KeyState::Absent { since: at(1) });
    let mut world = World::new(5);
    let split = world.show(
        1,
        &[
            held("a", SECOND),
            held("a", SECOND),
            held("b", SECOND),
            held("b", SECOND),
            FREE,
        ],
    );
    assert_eq!(split.state, KeyState::Absent { since: at(1) });
}

#[test]
fn a_server_that_is_away_makes_doubt_only_where_its_vote_counts() {
    let mut world = World::new(3);
    world.show(1, &[held("a", 9000), held("a", 9000), held("a", 9000)]);
    assert!(holder(&world.cut(0, 10)).is_some(), "two are a majority");
    let doubt = world.show(20, &[None, FREE, None]);
    assert_eq!(
        doubt.state,
        KeyState::Unknown,
        "the one that is away may have it still"
    );
    assert!(doubt.ends.is_empty());
    let gone = world.show(30, &[None, None, FREE]);
    assert_eq!(gone.state, KeyState::Absent { since: at(30) });
    let [end] = &gone.ends[..] else {
        panic!("{:?}", gone.ends)
    };
    assert!(!end.watched, "a vote was missing meanwhile");
}

#[test]
fn a_hold_ends_once_when_no_majority_is_left() {
    let mut world = World::new(3);
    world.show(1, &[FREE, FREE, FREE]);
    world.show(2, &[held("a", 9000), held("a", 9000), held("a", 9000)]);
    assert!(holder(&world.show(100, &[FREE, None, None])).is_some());
    let gone = world.show(110, &[None, FREE, None]);
    let [end] = &gone.ends[..] else {
        panic!("{:?}", gone.ends)
    };
    assert_eq!((end.ended, end.watched, end.shortened), (at(110), true, false));
    assert_eq!(end.hold.deadline, Some(at(9002)));
    let after = world.show(120, &[None, None, FREE]);
    assert_eq!(after.ends, gone.ends, "once");
    let next = world.show(130, &[held("b", 9000), held("b", 9000), held("b", 9000)]);
    assert_eq!(next.ends, gone.ends);
    assert_eq!(holder(&next).unwrap().first_seen, at(130));
}

#[test]
fn another_holder_is_another_hold() {
    let mut world = World::new(3);
    world.show(1, &[held("a", 500), held("a", 500), held("a", 500)]);
    world.show(600, &[FREE, FREE, FREE]);
    world.show(700, &[held("b", 9000), held("b", 9000), held("b", 9000)]);
    let taken = world.show(800, &[held("c", 9000), held("c", 9000), held("c", 9000)]);
    let values: Vec<_> = taken.ends.iter().map(|end| &*end.hold.value.0).collect();
    assert_eq!(values, [b"a", b"b"]);
    assert!(taken.ends[0].seq < taken.ends[1].seq);
    assert_eq!(&*holder(&taken).unwrap().value.0, b"c");
}

#[test]
fn renewals_count_once_a_majority_has_them() {
    let mut world = World::new(3);
    world.show(1, &[held("a", 5000), held("a", 5000), held("a", 5000)]);
    let one = world.show(2000, &[held("a", 5000), None, None]);
    let hold = holder(&one).unwrap();
    assert_eq!((hold.last_renewed, hold.deadline), (None, Some(at(5001))));
    let two = world.show(2010, &[None, held("a", 5000), None]);
    let hold = holder(&two).unwrap();
    assert_eq!(
        (hold.last_renewed, hold.deadline),
        (Some(at(2000)), Some(at(7000)))
    );
}

#[test]
fn the_store_is_there_while_a_majority_is() {
    let mut world = World::new(3);
    world.show(1, &[FREE, FREE, FREE]);
    assert!(matches!(world.observe(2).link, Link::Up { .. }));
    world.cut(2, 3);
    let two = world.observe(4);
    assert!(matches!(two.link, Link::Up { .. }));
    assert_eq!(two.hidden.map(|(trouble, _)| trouble), Some(Trouble::Timeout));
    world.cut(1, 5);
    assert!(matches!(
        world.observe(6).link,
        Link::Down {
            trouble: Trouble::Timeout,
            ..
        }
    ));
    world.mend(1, 7);
    world.show(8, &[None, FREE, None]);
    assert_eq!(world.look(9).state, KeyState::Absent { since: at(1) });
}

#[test]
fn what_happened_to_the_servers_is_told_of_the_end() {
    let mut world = World::new(3);
    world.show(1, &[held("a", 9000), held("a", 9000), held("a", 9000)]);
    let flushed = Evidence::FLUSHED;
    for (table, _) in &mut world.servers {
        table.apply(Event::Happened(ONLY, flushed), at(10));
    }
    let gone = world.show(11, &[FREE, FREE, FREE]);
    assert_eq!(gone.ends[0].evidence, flushed);
}
