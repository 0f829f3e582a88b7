//! The contract's table of conditions: which reasons go with which type and status. Spelt out, and not taken from the
//! code, so that the two are compared. Pure.

/// One line of the table: a type, a status, and its reasons.
type Line = (&'static str, &'static str, &'static [&'static str]);

const STALLED: &[&str] = &[
    "InvalidSpec",
    "InvalidPodTemplate",
    "NameConflict",
    "OwnershipLost",
    "ImmutableField",
    "Forbidden",
    "AdmissionDenied",
    "ObjectTooLarge",
    "ProgressDeadlineExceeded",
];

/// `ScalingActive` has the autoscaler's own reasons beside `Pending`, which says that nothing is known yet.
const TABLE: &[Line] = &[
    ("Ready", "True", &["Reconciled"]),
    (
        "Ready",
        "False",
        &[
            "Progressing",
            "DeploymentUnavailable",
            "ChildApplyFailed",
            "SuspendedWithChanges",
            "LocksNotHeld",
            "LocksNotObserved",
        ],
    ),
    ("Ready", "False", STALLED),
    (
        "Reconciling",
        "True",
        &["NewGeneration", "RollingOut", "Retrying"],
    ),
    ("Stalled", "True", STALLED),
    ("Suspended", "True", &["SuspendedByUser"]),
    (
        "Available",
        "True",
        &["MinimumReplicasAvailable", "NoReplicasWanted"],
    ),
    ("Available", "False", &["MinimumReplicasUnavailable"]),
    ("Available", "Unknown", &["Pending"]),
    ("StoreReachable", "True", &["Reachable"]),
    (
        "StoreReachable",
        "False",
        &[
            "Unreachable",
            "DnsFailure",
            "Timeout",
            "TlsFailure",
            "AuthenticationFailed",
            "PermissionDenied",
            "SecretNotFound",
            "Loading",
            "NotMaster",
            "FailoverInProgress",
            "ClusterDown",
            "EndpointForbidden",
            "ProtocolError",
            "Stale",
        ],
    ),
    ("StoreReachable", "Unknown", &["Connecting"]),
    ("StoreSafe", "True", &["Safe"]),
    (
        "StoreSafe",
        "False",
        &[
            "ClockJump",
            "EvictionPolicy",
            "RefusesWrites",
            "NoFailover",
            "Slow",
        ],
    ),
    ("StoreSafe", "Unknown", &["NotCheckable"]),
    ("LocksHeld", "True", &["HeldUnattributed", "AllHeld"]),
    (
        "LocksHeld",
        "False",
        &[
            "LocksLost",
            "LocksUnheld",
            "LocksOverdue",
            "Malformed",
            "NoExpiry",
            "ForeignHolder",
            "Overheld",
            "OrphanedOwner",
        ],
    ),
    (
        "LocksHeld",
        "Unknown",
        &["NoReplicasWanted", "NotObserved", "AwaitingHolder"],
    ),
    (
        "LocksBalanced",
        "True",
        &["SingleReplica", "TooFewLocks", "Balanced"],
    ),
    ("LocksBalanced", "False", &["Concentrated"]),
    (
        "LocksBalanced",
        "Unknown",
        &["NotObserved", "Unattributed", "Settling"],
    ),
    ("ScalingActive", "Unknown", &["Pending"]),
    ("DisruptionsAllowed", "True", &["BudgetAvailable"]),
    (
        "DisruptionsAllowed",
        "False",
        &["BudgetExhausted", "BudgetBlocksEviction", "OverlappingBudgets"],
    ),
    ("DisruptionsAllowed", "Unknown", &["Pending"]),
];

/// Whether the contract knows this reason with this type and status.
pub(in crate::domain) fn contract_knows(type_: &str, status: &str, reason: &str) -> bool {
    let quoted = type_ == "ScalingActive"
        && reason != "Pending"
        && !reason.is_empty()
        && matches!(status, "True" | "False" | "Unknown");
    let listed = TABLE
        .iter()
        .any(|line| (line.0, line.1) == (type_, status) && line.2.contains(&reason));
    quoted || listed
}
