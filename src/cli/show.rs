//! What the commands say, as text. Pure.
//!
//! In: a [`View`], everything that was read of one workload, and the moment at which it is shown. Out: text with colours,
//! for whoever prints it. Everything that comes from the cluster is made harmless for a terminal ([`text::clean`]).

pub mod age;
pub mod check;
pub mod history;
pub mod live;
pub mod locks;
pub mod objects;
pub mod operator;
pub mod pods;
pub mod standing;
pub mod status;
pub mod stuck;
pub mod table;
pub mod text;
pub mod why;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use self::{operator::Operator, pods::PodLine, text::clean};
use crate::{
    api::{
        CoordinatedWorkload, CoordinatedWorkloadStatus,
        conditions::ConditionType,
        spec::ForeignHolders,
        status::{Flag, LockState, Locks, Row},
    },
    domain::{
        status::find,
        workload::{LockSet, StoreAddress, Workload, parse},
    },
};

/// How much room there is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Page {
    /// Sentences are wrapped here.
    pub text: usize,
    /// Tables are shortened to this.
    pub table: usize,
}

impl Page {
    /// For a file or another program: nothing is cut.
    pub const PIPED: Self = Self {
        text: 80,
        table: usize::MAX,
    };

    /// For a terminal with so many columns; sentences wider than a hundred columns are hard to read.
    #[must_use]
    pub fn terminal(columns: usize) -> Self {
        Self {
            text: columns.clamp(40, 100),
            table: columns.max(40),
        }
    }
}

/// What is shown of one workload.
#[derive(Debug)]
pub struct View<'a> {
    /// The resource, with its status.
    pub resource: &'a CoordinatedWorkload,
    /// Its pods; `None`: they may not be listed.
    pub pods: Option<&'a [PodLine]>,
    /// The present moment.
    pub now: Timestamp,
    /// How much room there is.
    pub page: Page,
    /// Whether somebody keeps status up to date.
    pub operator: Operator,
    status: CoordinatedWorkloadStatus,
    workload: Option<Workload>,
}

/// How bad a row is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grade {
    /// In good hands.
    Good,
    /// Not known, or not yet to be judged.
    Unsure,
    /// Something is wrong.
    Bad,
}

impl<'a> View<'a> {
    /// What is shown of this resource with these pods at this moment.
    #[must_use]
    pub fn new(
        resource: &'a CoordinatedWorkload,
        pods: Option<&'a [PodLine]>,
        now: Timestamp,
        page: Page,
    ) -> Self {
        Self {
            resource,
            pods,
            now,
            page,
            operator: Operator::Unasked,
            status: resource.status.clone().unwrap_or_default(),
            workload: parse(resource).ok(),
        }
    }

    /// The same with what is known of the operator.
    #[must_use]
    pub fn with_operator(self, operator: Operator) -> Self {
        Self { operator, ..self }
    }

    /// Its status; empty before the first.
    #[must_use]
    pub fn status(&self) -> &CoordinatedWorkloadStatus {
        &self.status
    }

    /// Its spec, parsed; `None`: it can't be used, and status says why.
    #[must_use]
    pub fn workload(&self) -> Option<&Workload> {
        self.workload.as_ref()
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.resource.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.resource.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The locks, as status has them.
    #[must_use]
    pub fn locks(&self) -> Option<&Locks> {
        self.status.locks.as_ref()
    }

    /// The rows of status.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        self.locks()
            .map(|locks| locks.rows.as_slice())
            .unwrap_or_default()
    }

    /// A condition.
    #[must_use]
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        find(&self.status.conditions, type_)
    }

    /// Whether a condition has this status.
    #[must_use]
    pub fn is(&self, type_: ConditionType, status: &str) -> bool {
        self.condition(type_)
            .is_some_and(|condition| condition.status == status)
    }

    /// The parsed set of this name.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&LockSet> {
        let workload = self.workload.as_ref()?;
        workload.locks.iter().find(|set| set.name == name)
    }

    /// How bad a row is. What `LocksHeld` doesn't call wrong isn't: a lock may be free for a while.
    #[must_use]
    pub fn grade(&self, row: &Row) -> Grade {
        let set = self.set(&row.set);
        let judged = if self.is(ConditionType::LocksHeld, "False") {
            Grade::Bad
        } else {
            Grade::Unsure
        };
        let is_flagged = row.flags.iter().any(|flag| match flag {
            Flag::Lost | Flag::Malformed | Flag::Overheld => true,
            // Only advice where no expiry is expected of a lock that is held.
            Flag::NoExpiry => row.state == LockState::Orphaned || set.is_none_or(|set| set.ttl.is_some()),
        });
        if is_flagged {
            return judged;
        }
        match row.state {
            LockState::Unknown => Grade::Unsure,
            LockState::Unheld | LockState::Orphaned => judged,
            LockState::Foreign => match set.map(|set| set.foreign_holders) {
                Some(ForeignHolders::Expected) => Grade::Good,
                Some(ForeignHolders::Report) | None => judged,
            },
            LockState::Held | LockState::Unattributed => Grade::Good,
        }
    }

    /// Whether locks of more than one set are shown: else their set needn't be named.
    #[must_use]
    pub fn has_many_sets(&self) -> bool {
        let rows: BTreeSet<_> = self.rows().iter().map(|row| row.set.as_str()).collect();
        rows.len() > 1 || self.resource.spec.locks.len() > 1
    }

    /// What stands before everything else: that the status is not of this spec, or not there at all.
    #[must_use]
    pub fn caveat(&self) -> Option<String> {
        let (observed, generation) = (
            self.status.observed_generation,
            self.resource.metadata.generation.unwrap_or_default(),
        );
        if observed < 1 {
            return Some(
                "No operator has looked at this workload yet, so nothing is known of it. If this lasts, see whether the \
                 operator runs, and whether it watches this namespace."
                    .to_owned(),
            );
        }
        (observed < generation).then(|| {
            format!(
                "What follows is of generation {observed} of the spec, and the spec is at generation {generation}: the \
                 operator has not seen the change yet. If this lasts, see whether the operator runs."
            )
        })
    }

    /// Where the locks are, for people.
    #[must_use]
    pub fn store(&self) -> Option<String> {
        let store = self.workload.as_ref()?.store.as_ref()?;
        let database = match store.database {
            0 => String::new(),
            number => format!(", database {number}"),
        };
        let place = match &store.address {
            StoreAddress::Url(host) => format!("Redis {host}"),
            StoreAddress::Secret(key) => format!("Redis (URL in Secret {})", key.name),
            StoreAddress::Sentinel(sentinel) => format!("Redis {} (by Sentinel)", sentinel.master),
            StoreAddress::Cluster(_) => "Redis Cluster".to_owned(),
            StoreAddress::Quorum(hosts) => format!("Redis, a quorum of {}", hosts.len()),
        };
        Some(clean(&(place + &database)))
    }

    /// What to type next, with the namespace that was meant.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        format!(
            "kubectl lockstep {command} {} -n {}",
            self.name(),
            self.namespace()
        )
    }
}
