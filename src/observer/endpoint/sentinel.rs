//! Which server is the master, as the Sentinels see it. I/O.
//!
//! A server that was the master may go on as one for seconds after another was promoted, and grants locks meanwhile: only
//! the Sentinels know better. All of them are asked, and the newest decision counts, else that of most of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{join_all, select_all};
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::board::Endpoint;
use super::{ADDRESSES, ONLY, Peer};
use crate::clock;
use crate::domain::locks::Trouble;
use crate::domain::locks::health::Sign;
use crate::observer::topology::Topology;
use crate::observer::wire::{Connection, Fault, Login, Named, Push};
use crate::observer::{Host, Sentinel, Servers, Target};

/// How long one Sentinel may take to answer, connecting included.
const PATIENCE: Duration = Duration::from_secs(1);

/// Once more than half have answered, how long the others are waited for.
const GRACE: Duration = Duration::from_millis(200);

/// The Sentinels are asked again this often; what they publish is only faster.
const AGAIN: Duration = Duration::from_secs(2);

/// Whether they could agree on a failover is asked this often.
const QUORUM: Duration = Duration::from_secs(5);

/// Whatever they publish, they are asked no more often.
const PACE: Duration = Duration::from_millis(50);

/// The master with its addresses, allowed ones only, at least one.
pub(super) async fn master(topology: &Topology, target: &Target) -> Result<(Host, Vec<SocketAddr>), Trouble> {
    let Servers::Sentinel(sentinel) = &target.servers else {
        return Err(Trouble::UnknownMaster);
    };
    let mut circle = Circle::new(topology, &target.namespace, sentinel);
    let host = circle.master().await?;
    let addresses = topology.resolve(&host, &target.namespace).await?;
    Ok((host, addresses))
}

/// Returns when the Sentinels name another master than this one; never where there are none. Sentinels that are gone say
/// nothing against a master that is there.
pub(super) async fn switched(topology: Arc<Topology>, endpoint: Arc<Endpoint>, peer: Peer) -> Trouble {
    let target = endpoint.target();
    let sentinel = match &target.servers {
        Servers::Sentinel(sentinel) => sentinel,
        Servers::One(_) | Servers::Cluster(_) => return std::future::pending().await,
    };
    let mut circle = Circle::new(&topology, &target.namespace, sentinel);
    let mut quorum_due = Instant::now();
    loop {
        let again = Instant::now() + AGAIN;
        if let Ok(host) = circle.master().await
            && host != peer.host
        {
            // The same server may have several names.
            let addresses = topology.resolve(&host, &target.namespace).await;
            if !addresses.is_ok_and(|addresses| addresses.contains(&peer.address)) {
                return Trouble::FailoverInProgress;
            }
        }
        circle.listen().await;
        if Instant::now() >= quorum_due {
            quorum_due = Instant::now() + QUORUM;
            if let Some(agree) = circle.quorum().await {
                endpoint.sign(ONLY, Sign::Quorum(agree), clock::mono());
            }
        }
        circle.news(again).await;
        sleep(PACE).await;
    }
}

/// The Sentinels of one master.
struct Circle<'a> {
    master: &'a str,
    seats: Vec<Seat<'a>>,
}

/// One Sentinel.
struct Seat<'a> {
    topology: &'a Topology,
    namespace: &'a str,
    host: &'a Host,
    sentinel: &'a Sentinel,
    connection: Option<Connection>,
    /// Whether it was asked to say when another server becomes the master.
    subscribed: bool,
}

impl<'a> Circle<'a> {
    fn new(topology: &'a Topology, namespace: &'a str, sentinel: &'a Sentinel) -> Self {
        let seat = |host| Seat {
            topology,
            namespace,
            host,
            sentinel,
            connection: None,
            subscribed: false,
        };
        Self {
            master: &sentinel.master,
            seats: sentinel.endpoints.iter().map(seat).collect(),
        }
    }

    /// Asks all of them.
    async fn master(&mut self) -> Result<Host, Trouble> {
        let count = self.seats.len();
        let name = self.master;
        let mut asked: FuturesUnordered<_> = self.seats.iter_mut().map(|seat| seat.master(name)).collect();
        let mut answers = Vec::with_capacity(count);
        let mut until = Instant::now() + PATIENCE + GRACE;
        while let Ok(Some(answer)) = timeout_at(until, asked.next()).await {
            answers.push(answer);
            if answers.iter().filter(|answer| answer.is_ok()).count() * 2 > count {
                until = until.min(Instant::now() + GRACE);
            }
        }
        drop(asked);
        decide(answers)
    }

    /// Whether enough of them see each other to agree on a failover, as most of those say who answer; `None`: nobody
    /// does. Who may not be asked speaks against nothing.
    async fn quorum(&self) -> Option<bool> {
        let asked = self.seats.iter().map(|seat| seat.quorum(self.master));
        let answers: Vec<bool> = join_all(asked).await.into_iter().flatten().collect();
        let against = answers.iter().filter(|agree| !**agree).count();
        (!answers.is_empty()).then_some(against * 2 <= answers.len())
    }

    /// Asks those who answer to say when another server becomes the master.
    async fn listen(&mut self) {
        join_all(self.seats.iter_mut().map(Seat::listen)).await;
    }

    /// Returns when one of them says something, at the latest at `until`.
    async fn news(&mut self, until: Instant) {
        let seats = self.seats.iter_mut().filter(|seat| seat.subscribed);
        let pushes: Vec<_> = seats.map(|seat| Box::pin(seat.news())).collect();
        if pushes.is_empty() {
            sleep_until(until).await;
        } else {
            let _ = timeout_at(until, select_all(pushes)).await;
        }
    }
}

impl Seat<'_> {
    async fn master(&mut self, name: &str) -> Result<Option<Named>, Trouble> {
        let result = match timeout(PATIENCE, self.ask(name)).await {
            Ok(result) => result,
            Err(_) if self.connection.is_some() => Err(Trouble::Timeout),
            // It never spoke.
            Err(_) => Err(Trouble::Unreachable),
        };
        if result.is_err() {
            self.connection = None;
            self.subscribed = false;
        }
        result
    }

    async fn ask(&mut self, name: &str) -> Result<Option<Named>, Trouble> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(self.topology, self.namespace, self.host, self.sentinel).await?),
        };
        connection
            .commands()
            .master(name)
            .await
            .map_err(|fault| fault.trouble)
    }

    async fn quorum(&self, name: &str) -> Option<bool> {
        let commands = self.connection.as_ref()?.commands();
        let answer = timeout(PATIENCE, commands.ckquorum(name)).await.ok()?;
        Some(answer.unwrap_or(true))
    }

    async fn listen(&mut self) {
        let Some(connection) = self.connection.as_ref().filter(|_| !self.subscribed) else {
            return;
        };
        // Where that is refused, asking has to do.
        self.subscribed = matches!(
            timeout(PATIENCE, connection.subscribe_to_switches()).await,
            Ok(Ok(true))
        );
    }

    /// Returns when it published something, or is gone.
    async fn news(&mut self) {
        if let Some(connection) = &mut self.connection {
            match connection.pushes.recv().await {
                Some((_, Push::Published | Push::Invalidated(_) | Push::Flushed)) => {
                    while connection.pushes.try_recv().is_ok() {}
                }
                Some((_, Push::Closed)) | None => {
                    self.connection = None;
                    self.subscribed = false;
                }
            }
        }
    }
}

async fn connect(
    topology: &Topology,
    namespace: &str,
    host: &Host,
    sentinel: &Sentinel,
) -> Result<Connection, Trouble> {
    let login = Login {
        host: &host.name,
        username: sentinel.username.as_ref(),
        password: sentinel.password.as_ref(),
        database: 0,
        tls: sentinel.tls.as_ref(),
    };
    let mut trouble = Trouble::Unreachable;
    for address in topology
        .resolve(host, namespace)
        .await?
        .into_iter()
        .take(ADDRESSES)
    {
        match Connection::open(address, &login).await {
            Ok(connection) => return Ok(connection),
            Err(Fault {
                trouble: shown,
                spoke: true,
            }) => trouble = shown,
            // What never spoke Redis is only unreachable.
            Err(Fault { spoke: false, .. }) => {}
        }
    }
    Err(trouble)
}

/// The newest decision, else that of most; none where two are equally good.
fn decide(answers: Vec<Result<Option<Named>, Trouble>>) -> Result<Host, Trouble> {
    let mut trouble = None;
    let mut votes: BTreeMap<(String, u16), (Option<u64>, usize)> = BTreeMap::new();
    for answer in answers {
        match answer {
            Ok(Some(Named { host, port, epoch })) => {
                let vote = votes.entry((host, port)).or_default();
                vote.0 = vote.0.max(epoch);
                vote.1 += 1;
            }
            // Who answers is worth more than who doesn't.
            Ok(None) => trouble = Some(Trouble::UnknownMaster),
            Err(other) => {
                if trouble.is_none_or(|known| known == Trouble::Unreachable) {
                    trouble = Some(other);
                }
            }
        }
    }
    let best = votes.values().max().copied();
    let mut named = votes.into_iter().filter(|(_, vote)| Some(*vote) == best);
    match (named.next(), named.next()) {
        (None, _) => Err(trouble.unwrap_or(Trouble::Timeout)),
        (Some(((name, port), _)), None) => Ok(Host { name, port }),
        (Some(_), Some(_)) => Err(Trouble::FailoverInProgress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = Result<Option<Named>, Trouble>;

    #[expect(clippy::unnecessary_wraps, reason = "one of several answers")]
    fn named(host: &str, epoch: Option<u64>) -> Answer {
        Ok(Some(Named {
            host: host.to_owned(),
            port: 6379,
            epoch,
        }))
    }

    #[test]
    fn the_newest_decision_counts_then_the_majority() {
        let unreachable = || Err(Trouble::Unreachable);
        for (answers, expected) in [
            (
                vec![named("a", None), named("b", None), named("b", None)],
                Ok("b"),
            ),
            (
                vec![named("a", Some(2)), named("b", Some(1)), named("b", Some(1))],
                Ok("a"),
            ),
            (vec![named("a", None), unreachable(), unreachable()], Ok("a")),
            (vec![named("a", Some(0)), Ok(None), Ok(None)], Ok("a")),
            (
                vec![named("a", Some(1)), named("b", Some(1))],
                Err(Trouble::FailoverInProgress),
            ),
            (vec![Ok(None), unreachable()], Err(Trouble::UnknownMaster)),
            (vec![unreachable(), Ok(None)], Err(Trouble::UnknownMaster)),
            (
                vec![unreachable(), Err(Trouble::AuthenticationFailed), unreachable()],
                Err(Trouble::AuthenticationFailed),
            ),
            (vec![unreachable()], Err(Trouble::Unreachable)),
            (vec![], Err(Trouble::Timeout)),
        ] {
            let shown = format!("{answers:?}");
            let host = decide(answers).map(|host| host.name);
            assert_eq!(host, expected.map(str::to_owned), "{shown}");
        }
    }
}
