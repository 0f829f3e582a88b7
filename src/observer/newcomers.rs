//! How many new hosts a namespace may make the operator connect to: so few that naming one after the other is no way to
//! find out what listens where. Pure but for the lock; time comes with each call.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use super::{Host, lock};
use crate::domain::locks::Mono;

/// So many hosts that were not connected to before,
const LIMIT: usize = 10;

/// within so long.
const PERIOD: Duration = Duration::from_mins(1);

/// The hosts that each namespace named lately.
#[derive(Default)]
pub(super) struct Newcomers(Mutex<HashMap<String, VecDeque<(Mono, Host)>>>);

impl Newcomers {
    /// Whether these hosts may be connected to now, on behalf of this namespace; if not, when to ask again. Known ones
    /// count once, so that other credentials for the same host are nothing new. One resource may name more than
    /// [`LIMIT`], but then nothing else.
    pub(super) fn admit(&self, namespace: &str, hosts: &[Host], now: Mono) -> Result<(), Mono> {
        let mut namespaces = lock(&self.0);
        for named in namespaces.values_mut() {
            while named.front().is_some_and(|(at, _)| *at + PERIOD <= now) {
                named.pop_front();
            }
        }
        namespaces.retain(|_, named| !named.is_empty());
        let named = namespaces.entry(namespace.to_owned()).or_default();
        let is_new = |host: &&Host| !named.iter().any(|(_, known)| known == *host);
        let new: Vec<Host> = hosts.iter().filter(is_new).cloned().collect();
        match named.front() {
            Some((first, _)) if !new.is_empty() && named.len() + new.len() > LIMIT => Err(*first + PERIOD),
            Some(_) | None => {
                named.extend(new.into_iter().map(|host| (now, host)));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(port: u16) -> Host {
        Host {
            name: "redis".to_owned(),
            port,
        }
    }

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    #[test]
    fn ten_in_a_minute_and_no_more() {
        let newcomers = Newcomers::default();
        for port in 0..10 {
            assert_eq!(newcomers.admit("shop", &[host(port)], at(port.into())), Ok(()));
        }
        let eleventh = [host(10)];
        assert_eq!(newcomers.admit("shop", &eleventh, at(20)), Err(at(60)));
        assert_eq!(newcomers.admit("shop", &[host(3)], at(20)), Ok(()), "known");
        assert_eq!(
            newcomers.admit("bank", &eleventh, at(20)),
            Ok(()),
            "another namespace"
        );
        assert_eq!(newcomers.admit("shop", &eleventh, at(60)), Ok(()));
        assert_eq!(newcomers.admit("shop", &[host(11)], at(60)), Err(at(61)));
    }

    #[test]
    fn a_resource_with_many_hosts_takes_the_whole_minute() {
        let newcomers = Newcomers::default();
        let many: Vec<Host> = (0..12).map(host).collect();
        assert_eq!(newcomers.admit("shop", &many, at(0)), Ok(()));
        assert_eq!(newcomers.admit("shop", &[host(20)], at(1)), Err(at(60)));
        assert_eq!(newcomers.admit("shop", &many, at(1)), Ok(()));
        assert_eq!(newcomers.admit("shop", &[host(20)], at(60)), Ok(()));
    }
}
