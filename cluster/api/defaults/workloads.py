"""Defaults of the workloads: apps, batch, and ReplicationController."""

from cluster.api.defaults.claims import default_claim
from cluster.api.defaults.filling import child, default_condition_times, fill, fill_pointer, items, mappings
from cluster.api.defaults.pod import default_pod_template
from cluster.machinery.objects import Object

REVISIONS_KEPT = 10
PROGRESS_DEADLINE_SECONDS = 600
BACKOFF_LIMIT = 6
NO_BACKOFF_LIMIT = 2**31 - 1


def default_deployment(deployment: Object) -> None:
    spec = child(deployment, "spec")
    fill_pointer(spec, "replicas", 1)
    default_pod_template(child(spec, "template"))
    strategy = child(spec, "strategy")
    fill(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = child(strategy, "rollingUpdate")
        fill_pointer(rolling, "maxUnavailable", "25%")
        fill_pointer(rolling, "maxSurge", "25%")
    fill_pointer(spec, "revisionHistoryLimit", REVISIONS_KEPT)
    fill_pointer(spec, "progressDeadlineSeconds", PROGRESS_DEADLINE_SECONDS)
    child(deployment, "status")


def default_replica_set(replica_set: Object) -> None:
    spec = child(replica_set, "spec")
    fill_pointer(spec, "replicas", 1)
    default_pod_template(child(spec, "template"))
    fill_pointer(child(replica_set, "status"), "replicas", 0)


def default_replication_controller(controller: Object) -> None:
    """Its selector and labels come from the template when absent."""
    spec = child(controller, "spec")
    fill_pointer(spec, "replicas", 1)
    template = spec.get("template")
    if isinstance(template, dict):
        default_pod_template(template)
        labels = template["metadata"].get("labels")
        if labels:
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            if not child(controller, "metadata").get("labels"):
                controller["metadata"]["labels"] = dict(labels)
    fill_pointer(child(controller, "status"), "replicas", 0)


def default_stateful_set(stateful_set: Object) -> None:
    spec = child(stateful_set, "spec")
    fill_pointer(spec, "replicas", 1)
    fill(spec, "podManagementPolicy", "OrderedReady")
    fill_pointer(spec, "revisionHistoryLimit", REVISIONS_KEPT)
    default_pod_template(child(spec, "template"))
    strategy = child(spec, "updateStrategy")
    fill(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = child(strategy, "rollingUpdate")
        fill_pointer(rolling, "partition", 0)
        fill_pointer(rolling, "maxUnavailable", 1)
    retention = child(spec, "persistentVolumeClaimRetentionPolicy")
    fill(retention, "whenDeleted", "Retain")
    fill(retention, "whenScaled", "Retain")
    for claim in items(spec, "volumeClaimTemplates"):
        fill(claim, "apiVersion", "v1")
        fill(claim, "kind", "PersistentVolumeClaim")
        child(claim, "metadata")
        default_claim(claim)
    status = child(stateful_set, "status")
    fill_pointer(status, "replicas", 0)
    fill_pointer(status, "availableReplicas", 0)


def default_daemon_set(daemon_set: Object) -> None:
    spec = child(daemon_set, "spec")
    default_pod_template(child(spec, "template"))
    strategy = child(spec, "updateStrategy")
    fill(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = child(strategy, "rollingUpdate")
        fill_pointer(rolling, "maxUnavailable", 1)
        fill_pointer(rolling, "maxSurge", 0)
    fill_pointer(spec, "revisionHistoryLimit", REVISIONS_KEPT)
    status = child(daemon_set, "status")
    for key in ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"):
        fill_pointer(status, key, 0)


def default_job(job: Object) -> None:
    spec = child(job, "spec")
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    fill_pointer(spec, "parallelism", 1)
    per_index = spec.get("backoffLimitPerIndex") is not None
    fill_pointer(spec, "backoffLimit", NO_BACKOFF_LIMIT if per_index else BACKOFF_LIMIT)
    fill_pointer(spec, "completionMode", "NonIndexed")
    fill_pointer(spec, "suspend", False)
    fill_pointer(spec, "manualSelector", False)
    failure_policy = spec.get("podFailurePolicy") is not None
    fill_pointer(spec, "podReplacementPolicy", "Failed" if failure_policy else "TerminatingOrFailed")
    _default_job_template(spec)
    labels = spec["template"]["metadata"].get("labels")
    if labels and not child(job, "metadata").get("labels"):
        job["metadata"]["labels"] = dict(labels)
    default_condition_times(child(job, "status"), "lastProbeTime", "lastTransitionTime")


def default_cron_job(cron_job: Object) -> None:
    """The job inside gets the defaults of its pods, and those of a Job only when it becomes one."""
    spec = child(cron_job, "spec")
    fill(spec, "concurrencyPolicy", "Allow")
    fill_pointer(spec, "suspend", False)
    fill_pointer(spec, "successfulJobsHistoryLimit", 3)
    fill_pointer(spec, "failedJobsHistoryLimit", 1)
    job_template = child(spec, "jobTemplate")
    child(job_template, "metadata")
    _default_job_template(child(job_template, "spec"))
    child(cron_job, "status")


def _default_job_template(spec: Object) -> None:
    default_pod_template(child(spec, "template"))
    for policy in mappings(spec, "podFailurePolicy"):
        for rule in items(policy, "rules"):
            for condition in items(rule, "onPodConditions"):
                fill(condition, "status", "True")
