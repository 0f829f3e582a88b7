//! A cluster: keeps the map of its slots, and one supervisor for each master. I/O.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::board::Endpoint;
use super::{Supervisor, Whereabouts};
use crate::clock;
use crate::domain::locks::Trouble;
use crate::domain::locks::table::Lane;
use crate::observer::Host;
use crate::observer::slots::{Node, SlotMap, SlotRange};
use crate::observer::topology::Topology;
use crate::observer::wire::{Connection, Login};

/// The map is looked at again this often: a master that dies is replaced without a word to us.
const REFRESH: Duration = Duration::from_secs(2);

/// When a server says that the map is old, another look is taken after this, not sooner: while slots move, each of them
/// says so.
const PACE: Duration = Duration::from_millis(100);

/// Keeps the whole cluster under observation.
pub(super) async fn supervise(
    endpoint: Arc<Endpoint>,
    topology: Arc<Topology>,
    seeds: &[Host],
) -> Infallible {
    let mut cluster = Cluster {
        endpoint: Arc::clone(&endpoint),
        topology,
        seeds: seeds.to_vec(),
        map: SlotMap::default(),
        asked: None,
        supervisors: HashMap::new(),
        tasks: JoinSet::new(),
    };
    loop {
        cluster.refresh().await;
        sleep(PACE).await;
        let _ = timeout(REFRESH, endpoint.old_map()).await;
    }
}

struct Cluster {
    endpoint: Arc<Endpoint>,
    topology: Arc<Topology>,
    seeds: Vec<Host>,
    map: SlotMap,
    /// The server that the map is asked of, as long as it answers.
    asked: Option<(Host, Connection)>,
    supervisors: HashMap<Lane, (Node, AbortHandle)>,
    /// The masters' supervisors; they end with this.
    tasks: JoinSet<Infallible>,
}

impl Cluster {
    async fn refresh(&mut self) {
        let result = self.look().await;
        let now = clock::mono();
        match result {
            Ok(ranges) => {
                let map = self.map.next(ranges);
                if map != self.map {
                    self.map = map;
                    self.endpoint.mapped(Ok(self.map.clone()), now);
                    self.staff();
                }
            }
            Err(trouble) => self.endpoint.mapped(Err(trouble), now),
        }
    }

    /// The map as some server sees it: the one that was asked before, else any master, else any that is written down.
    async fn look(&mut self) -> Result<Vec<SlotRange>, Trouble> {
        if let Some((host, connection)) = &self.asked {
            match connection.commands().slots().await {
                Ok(ranges) => return Ok(complete(ranges, host)),
                Err(_) => self.asked = None,
            }
        }
        let masters = self.map.masters().map(|(_, node)| Host {
            name: node.host.clone(),
            port: node.port,
        });
        let hosts: Vec<Host> = masters.chain(self.seeds.iter().cloned()).collect();
        let mut trouble = Trouble::Unreachable;
        for host in hosts {
            match self.ask(&host).await {
                Ok(ranges) => return Ok(ranges),
                Err(other) => trouble = other,
            }
        }
        Err(trouble)
    }

    async fn ask(&mut self, host: &Host) -> Result<Vec<SlotRange>, Trouble> {
        let target = self.endpoint.target();
        let addresses = self.topology.resolve(host, &target.namespace).await?;
        let mut trouble = Trouble::Unreachable;
        for address in addresses {
            let connection = match Connection::open(address, &Login::of(target, &host.name)).await {
                Ok(connection) => connection,
                Err(fault) => {
                    if fault.spoke {
                        trouble = fault.trouble;
                    }
                    continue;
                }
            };
            match connection.commands().slots().await {
                Ok(ranges) if ranges.is_empty() => trouble = Trouble::ClusterDown,
                Ok(ranges) => {
                    self.asked = Some((host.clone(), connection));
                    return Ok(complete(ranges, host));
                }
                Err(fault) => trouble = fault.trouble,
            }
        }
        Err(trouble)
    }

    /// A supervisor for every master, and none for what is none any more.
    fn staff(&mut self) {
        let map = &self.map;
        self.supervisors.retain(|lane, (node, task)| {
            let stays = map.master(*lane) == Some(node);
            if !stays {
                task.abort();
            }
            stays
        });
        for (lane, node) in map.masters() {
            if self.supervisors.contains_key(&lane) {
                continue;
            }
            let host = Host {
                name: node.host.clone(),
                port: node.port,
            };
            let supervisor = Supervisor::new(
                Arc::clone(&self.endpoint),
                Arc::clone(&self.topology),
                lane,
                Whereabouts::At(host),
            );
            let task = self.tasks.spawn(supervisor.run());
            self.supervisors.insert(lane, (node.clone(), task));
        }
        // Ended ones stay in the set until they are asked for.
        while self.tasks.try_join_next().is_some() {}
    }
}

/// A master without a host name is where the one who was asked is.
fn complete(mut ranges: Vec<SlotRange>, asked: &Host) -> Vec<SlotRange> {
    for range in &mut ranges {
        if range.master.host.is_empty() {
            range.master.host.clone_from(&asked.name);
        }
    }
    ranges
}
