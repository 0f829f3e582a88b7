//! Fields for which something can't be had, each with the reason. Pure data. The tests fail on an entry that is not needed.

/// Fields that stand in no base.
const NO_BASE: [(&str, &str); 18] = [
    (
        "spec.template.spec.ephemeralContainers",
        "a pod template can't have any: they are added to pods that run",
    ),
    (
        "spec.template.spec.activeDeadlineSeconds",
        "a Deployment's pods have no end",
    ),
    (
        "spec.template.spec.containers[].readinessProbe.terminationGracePeriodSeconds",
        "a readiness probe ends nothing",
    ),
    (
        "spec.template.spec.initContainers[].readinessProbe.terminationGracePeriodSeconds",
        "a readiness probe ends nothing",
    ),
    (
        "spec.template.spec.resources.claims",
        "a pod as a whole has no claims here",
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.creationTimestamp",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.deletionGracePeriodSeconds",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.deletionTimestamp",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.finalizers",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.generateName",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.generation",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.managedFields",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.name",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.namespace",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.ownerReferences",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.resourceVersion",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.selfLink",
        TEMPLATE_METADATA,
    ),
    (
        "spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.uid",
        TEMPLATE_METADATA,
    ),
];

const TEMPLATE_METADATA: &str = "a claim's template has labels and annotations only";

/// Why a field stands in no base; `None`: it must.
pub(crate) fn has_no_base(path: &str) -> Option<&'static str> {
    reason(&NO_BASE, path)
}

/// Fields that no child shows.
const NO_CHILD: [(&str, &str); 13] = [
    (
        "spec.conflictPolicy",
        "it is about objects that are not Lockstep's",
    ),
    (
        "spec.disruptionBudget.allowBlocking",
        "only the definition's rule needs it",
    ),
    ("spec.locks", "they are observed only"),
    ("spec.redis.database", "only Lockstep's own connection needs it"),
    (
        "spec.redis.passwordFrom",
        "only Lockstep's own connection needs it",
    ),
    (
        "spec.redis.sentinel.masterName",
        "only Lockstep's own connection needs it",
    ),
    (
        "spec.redis.sentinel.passwordFrom",
        "only Lockstep's own connection needs it",
    ),
    (
        "spec.redis.sentinel.usernameFrom",
        "only Lockstep's own connection needs it",
    ),
    (
        "spec.redis.sentinel.tls",
        "only Lockstep's own connection needs it",
    ),
    (
        "spec.redis.urlFrom.secretKeyRef",
        "the Secret is not read for the policy",
    ),
    (
        "spec.redis.usernameFrom",
        "only Lockstep's own connection needs it",
    ),
    (
        "spec.template.spec.serviceAccount",
        "it is the old name of a field that stands beside it",
    ),
    (
        "spec.suspend",
        "it is not what is written that changes, but whether",
    ),
];

/// Fields that can't have another value, or not by themselves.
const ONE_VALUE: [(&str, &str); 10] = [
    (
        "spec.autoscaling.mode",
        "it goes with other fields: see the classes",
    ),
    (
        "spec.autoscaling.metrics[].type",
        "it goes with another field: see the classes",
    ),
    (
        "spec.template.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[].preference.matchFields[].key",
        "of a node only its name is a field",
    ),
    (
        "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[].matchFields[].key",
        "of a node only its name is a field",
    ),
    (
        "spec.template.spec.containers[].env[].valueFrom.fieldRef.apiVersion",
        "pods have one version",
    ),
    (
        "spec.template.spec.initContainers[].env[].valueFrom.fieldRef.apiVersion",
        "pods have one version",
    ),
    (
        "spec.template.spec.initContainers[].securityContext.windowsOptions.hostProcess",
        "all containers of a pod have the same",
    ),
    (
        "spec.template.spec.restartPolicy",
        "a Deployment's pods are always restarted",
    ),
    (
        "spec.template.spec.volumes[].downwardAPI.items[].fieldRef.apiVersion",
        "pods have one version",
    ),
    (
        "spec.template.spec.volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion",
        "pods have one version",
    ),
];

/// Why no child shows a field; `None`: one must.
pub(crate) fn has_no_child(path: &str) -> Option<&'static str> {
    reason(&NO_CHILD, path)
}

/// Why a field can't have another value; `None`: it must be tried.
pub(crate) fn has_one_value(path: &str) -> Option<&'static str> {
    reason(&ONE_VALUE, path)
}

fn reason(table: &[(&'static str, &'static str)], path: &str) -> Option<&'static str> {
    let is_within = |part: &str| {
        path.strip_prefix(part)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']))
    };
    let found = table.iter().find(|(part, _)| is_within(part));
    found.map(|(_, reason)| *reason)
}
