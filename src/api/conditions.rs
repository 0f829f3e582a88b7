//! The closed vocabulary of conditions, events and advisories. Pure.
//!
//! Every name that a user can see in a condition, an event or an advisory is a variant here, once; the tables of the README
//! and of `docs/advisories.md` are compared with these lists by a test.

/// Defines a closed set of names: the enum, its spelling and the list of all of them.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is spelt in the API.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// Type of a condition. True is good, except for the three that are absent when there is nothing to say.
    ConditionType {
        /// The spec runs: valid, applied, rolled out, available.
        Ready,
        /// Work is going on; absent otherwise.
        Reconciling,
        /// Waiting will not help; absent otherwise.
        Stalled,
        /// Lockstep changes nothing, by `spec.suspend`; absent otherwise.
        Suspended,
        /// The Deployment's own verdict.
        Available,
        /// Complete, fresh, usable answers come from Redis.
        StoreReachable,
        /// Redis will not lose locks, refuse them or answer late by its own configuration.
        StoreSafe,
        /// Every Continuous lock is in good hands and nothing judged is wrong.
        LocksHeld,
        /// No pod holds more than its share.
        LocksBalanced,
        /// The autoscaler's own verdict.
        ScalingActive,
        /// An eviction is possible.
        DisruptionsAllowed,
    }
}

names! {
    /// Reason of a condition.
    Reason {
        /// Ready: the spec runs.
        Reconciled,
        /// Ready: work is going on.
        Progressing,
        /// Ready: the Deployment is not available.
        DeploymentUnavailable,
        /// Ready: a child could not be written; it is tried again.
        ChildApplyFailed,
        /// Ready: suspended, and the children differ from the spec.
        SuspendedWithChanges,
        /// Ready: a set with `readiness: Required` is unheld.
        LocksNotHeld,
        /// Ready: a set with `readiness: Required` is not observed.
        LocksNotObserved,
        /// Reconciling: this generation is being applied.
        NewGeneration,
        /// Reconciling: the Deployment rolls out the current template.
        RollingOut,
        /// Reconciling: a write failed for a reason that passes.
        Retrying,
        /// Stalled: the spec can't be used as it is.
        InvalidSpec,
        /// Stalled: the apiserver refuses the pod template.
        InvalidPodTemplate,
        /// Stalled: an object of that name exists that Lockstep did not make.
        NameConflict,
        /// Stalled: somebody took away the owner reference.
        OwnershipLost,
        /// Stalled: a field that can't be changed was changed.
        ImmutableField,
        /// Stalled: the operator lacks a permission.
        Forbidden,
        /// Stalled: a webhook or policy refuses the object.
        AdmissionDenied,
        /// Stalled: the object is larger than the apiserver takes.
        ObjectTooLarge,
        /// Stalled: the rollout made no progress within its deadline.
        ProgressDeadlineExceeded,
        /// Suspended: by `spec.suspend`.
        SuspendedByUser,
        /// Available: enough pods are available.
        MinimumReplicasAvailable,
        /// Available: too few pods are available.
        MinimumReplicasUnavailable,
        /// Available, `LocksHeld`: no replicas are wanted.
        NoReplicasWanted,
        /// Available, `ScalingActive`, `DisruptionsAllowed`: not known yet.
        Pending,
        /// `StoreReachable`: complete, fresh answers.
        Reachable,
        /// `StoreReachable`: never answered yet.
        Connecting,
        /// `StoreReachable`: no connection.
        Unreachable,
        /// `StoreReachable`: the name does not resolve.
        DnsFailure,
        /// `StoreReachable`: no answer in time.
        Timeout,
        /// `StoreReachable`: the TLS handshake fails.
        TlsFailure,
        /// `StoreReachable`: user or password refused.
        AuthenticationFailed,
        /// `StoreReachable`: the ACL user lacks a command or key.
        PermissionDenied,
        /// `StoreReachable`: a Secret or its key is missing.
        SecretNotFound,
        /// `StoreReachable`: the server loads its data.
        Loading,
        /// `StoreReachable`: the server is a replica.
        NotMaster,
        /// `StoreReachable`: a failover is going on.
        FailoverInProgress,
        /// `StoreReachable`: the cluster is down.
        ClusterDown,
        /// `StoreReachable`: the operator's settings forbid the address.
        EndpointForbidden,
        /// `StoreReachable`: the server does not speak Redis as expected.
        ProtocolError,
        /// `StoreReachable`: connected, but no complete answer lately.
        Stale,
        /// `StoreSafe`: nothing is wrong with the server.
        Safe,
        /// `StoreSafe`: the server's clock was set.
        ClockJump,
        /// `StoreSafe`: the server may evict locks.
        EvictionPolicy,
        /// `StoreSafe`: the server takes no writes, or soon won't.
        RefusesWrites,
        /// `StoreSafe`: nothing could take over from the server.
        NoFailover,
        /// `StoreSafe`: the server answers slowly.
        Slow,
        /// `StoreSafe`: the server doesn't show it, or can't be read.
        NotCheckable,
        /// `LocksHeld`: a hold ended by loss and is not made good.
        LocksLost,
        /// `LocksHeld`: nobody holds a Continuous lock for longer than its grace.
        LocksUnheld,
        /// `LocksHeld`: an Intermittent lock was not taken for its period.
        LocksOverdue,
        /// `LocksHeld`: a key has a wrong type or a value that does not fit.
        Malformed,
        /// `LocksHeld`: a lock never expires although it should.
        NoExpiry,
        /// `LocksHeld`: somebody else holds a lock.
        ForeignHolder,
        /// `LocksHeld`: a hold lasts longer than `maxHold`.
        Overheld,
        /// `LocksHeld`: the holder's pod is gone, the lock still runs.
        OrphanedOwner,
        /// `LocksHeld`, `LocksBalanced`: no complete answer from Redis.
        NotObserved,
        /// `LocksHeld`: no holder yet, within the grace.
        AwaitingHolder,
        /// `LocksHeld`: held, by owners that can't be told.
        HeldUnattributed,
        /// `LocksHeld`: every Continuous lock is in good hands.
        AllHeld,
        /// `LocksBalanced`: one pod holds more than its share.
        Concentrated,
        /// `LocksBalanced`: fewer than two replicas are wanted.
        SingleReplica,
        /// `LocksBalanced`: the set names fewer than two locks.
        TooFewLocks,
        /// `LocksBalanced`: too many owners can't be told.
        Unattributed,
        /// `LocksBalanced`: too early to say.
        Settling,
        /// `LocksBalanced`: no pod holds more than its share.
        Balanced,
        /// `DisruptionsAllowed`: a pod may be evicted.
        BudgetAvailable,
        /// `DisruptionsAllowed`: for too long, no pod may be evicted, because too few are healthy.
        BudgetExhausted,
        /// `DisruptionsAllowed`: the budget allows no eviction even if every pod is healthy.
        BudgetBlocksEviction,
        /// `DisruptionsAllowed`: another budget covers the pods too, and a pod of two budgets can't be evicted.
        OverlappingBudgets,
    }
}

names! {
    /// Reason of an event.
    EventReason {
        /// A child was created.
        ChildCreated,
        /// A child was changed.
        ChildUpdated,
        /// A child was deleted.
        ChildDeleted,
        /// The Deployment runs the current template.
        RolloutComplete,
        /// Lost or unheld locks are in good hands again.
        LocksRecovered,
        /// A concentration is over.
        LocksRebalanced,
        /// Redis answers again.
        StoreReachable,
        /// The autoscaler decides on the replicas from now on.
        ReplicasHandedOver,
        /// Lockstep changes nothing any more.
        Suspended,
        /// Lockstep works again.
        Resumed,
        /// A hold ended by loss.
        LocksLost,
        /// One pod holds more than its share.
        LocksConcentrated,
        /// Nobody holds a Continuous lock for longer than its grace.
        LocksUnheld,
        /// An Intermittent lock was not taken for its period.
        LocksOverdue,
        /// An Intermittent lock was taken twice where once was enough.
        LockRepeated,
        /// A lock's owner is gone and the lock still runs.
        LocksOrphaned,
        /// A lock never expires although it should.
        LockWithoutExpiry,
        /// A hold lasts longer than `maxHold`.
        LockOverheld,
        /// Somebody else holds a lock.
        ForeignLockHolder,
        /// Redis gives no usable answers.
        StoreUnreachable,
        /// Redis may lose locks, refuse them or answer late.
        StoreUnsafe,
        /// The spec can't be used as it is.
        InvalidSpec,
        /// An object of that name exists that Lockstep did not make.
        NameConflict,
        /// A child could not be written.
        ApplyFailed,
        /// The rollout made no progress within its deadline.
        RolloutStuck,
        /// Somebody changed a child; Lockstep changed it back.
        DriftCorrected,
        /// No pod can be evicted, so that draining a node would wait.
        DrainBlocked,
    }
}

impl EventReason {
    /// The condition whose turn, or whose subject, it tells of.
    #[must_use]
    pub fn about(self) -> ConditionType {
        match self {
            Self::StoreReachable | Self::StoreUnreachable => ConditionType::StoreReachable,
            Self::StoreUnsafe => ConditionType::StoreSafe,
            Self::LocksConcentrated | Self::LocksRebalanced => ConditionType::LocksBalanced,
            Self::DrainBlocked => ConditionType::DisruptionsAllowed,
            Self::LocksRecovered
            | Self::LocksLost
            | Self::LocksUnheld
            | Self::LocksOverdue
            | Self::LockRepeated
            | Self::LocksOrphaned
            | Self::LockWithoutExpiry
            | Self::LockOverheld
            | Self::ForeignLockHolder => ConditionType::LocksHeld,
            Self::ChildCreated
            | Self::ChildUpdated
            | Self::ChildDeleted
            | Self::RolloutComplete
            | Self::ReplicasHandedOver
            | Self::Suspended
            | Self::Resumed
            | Self::InvalidSpec
            | Self::NameConflict
            | Self::ApplyFailed
            | Self::RolloutStuck
            | Self::DriftCorrected => ConditionType::Ready,
        }
    }

    /// Whether the event is a Warning.
    #[must_use]
    pub fn is_warning(self) -> bool {
        match self {
            Self::ChildCreated
            | Self::ChildUpdated
            | Self::ChildDeleted
            | Self::RolloutComplete
            | Self::LocksRecovered
            | Self::LocksRebalanced
            | Self::StoreReachable
            | Self::ReplicasHandedOver
            | Self::Suspended
            | Self::Resumed => false,
            Self::LocksLost
            | Self::LocksConcentrated
            | Self::LocksUnheld
            | Self::LocksOverdue
            | Self::LockRepeated
            | Self::LocksOrphaned
            | Self::LockWithoutExpiry
            | Self::LockOverheld
            | Self::ForeignLockHolder
            | Self::StoreUnreachable
            | Self::StoreUnsafe
            | Self::InvalidSpec
            | Self::NameConflict
            | Self::ApplyFailed
            | Self::RolloutStuck
            | Self::DriftCorrected
            | Self::DrainBlocked => true,
        }
    }
}

names! {
    /// Code of an advisory, the worst first: what may break the locks, then what may break the workload, then what is
    /// without effect, then what is open to others.
    AdvisoryCode {
        /// Somebody keeps changing a field that Lockstep sets.
        FieldConflict,
        /// An autoscaler that the spec makes no room for.
        ForeignAutoscaler,
        /// Within the last hour, a lock was taken twice where once was enough.
        LockRepeated,
        /// The pods' environment names another Redis than `spec.redis`.
        RedisHostDiffers,
        /// Locks without an expiry, where none is expected.
        LocksWithoutExpiry,
        /// More locks turned up than are watched.
        LocksNotWatched,
        /// The locks' own expiry is not `ttl`.
        TtlDiffers,
        /// `renewInterval` is above a third, or half, of `ttl`.
        RenewIntervalLong,
        /// `maxHold`, or a ttl that is not renewed, is above `terminationGracePeriodSeconds`.
        GraceShorterThanHold,
        /// A restart of the server would lose the locks.
        StoreWithoutPersistence,
        /// The server has no replica.
        StoreWithoutReplica,
        /// A container has no request for a resource whose utilization is scaled on.
        NoResourceRequests,
        /// A container that holds locks or listens has no readiness probe.
        NoReadinessProbe,
        /// Liveness and readiness ask the same.
        LivenessEqualsReadiness,
        /// The wanted minimum of replicas is 1.
        SingleReplicaWanted,
        /// Declared ports that nothing outside the namespace can reach.
        PortsUnreachable,
        /// The server listens on a port that the policy does not open.
        RedisPortGuessed,
        /// Nothing that is read says which pod holds a lock.
        OwnersNotTold,
        /// `spec.replicas` beside autoscaling is not what the Deployment wants.
        ReplicasIgnored,
        /// More replicas than Continuous locks.
        ReplicasExceedLocks,
        /// No ports are declared, so the default ingress isolates nothing.
        NotIsolated,
        /// The store is reached without a password.
        StoreWithoutPassword,
        /// The store is reached without TLS.
        StoreWithoutTls,
        /// Whether the policy is enforced depends on the network plugin.
        PolicyNeedsCni,
        /// Within the last hour, somebody's change was changed back.
        DriftCorrected,
    }
}
