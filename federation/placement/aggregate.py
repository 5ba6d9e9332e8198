"""
Members' statuses into the one that the template shows, so that `kubectl rollout status`, `kubectl wait` and Helm see
one object. Pure.

Counts are summed, conditions are the worst of all, and a generation is observed once every member observed its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity, QuantityError
from federation.placement.conditions import MESSAGE_LIMIT, is_true, merged
from federation.placement.kind_rules import NO_RULE, KindRule, RuleError, status_by
from federation.placement.workloads import group_kind


@dataclass(frozen=True, slots=True)
class Reported:
    """One member's copy, as last seen."""

    cluster: str
    status: Object | None
    """None: not there yet, or its status is not known."""
    generation: int = 0
    """metadata.generation of the copy in the member."""
    current: bool = True
    """The copy was written from the template's present generation."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """Fields that are summed: those that a status always has, and those that it leaves out at zero."""

    always: tuple[str, ...] = ()
    if_any: tuple[str, ...] = ()


_REPLICAS = _Counts(
    ("replicas",), ("fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
)
SUMMED: Mapping[tuple[str, str], _Counts] = {
    ("apps", "Deployment"): _Counts(
        (),
        (
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
        ),
    ),
    ("apps", "ReplicaSet"): _REPLICAS,
    ("", "ReplicationController"): _REPLICAS,
    ("apps", "StatefulSet"): _Counts(
        ("replicas", "availableReplicas"), ("readyReplicas", "currentReplicas", "updatedReplicas")
    ),
    ("apps", "DaemonSet"): _Counts(
        ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"),
        ("updatedNumberScheduled", "numberAvailable", "numberUnavailable"),
    ),
    ("policy", "PodDisruptionBudget"): _Counts(
        ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), ()
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): _Counts(("desiredReplicas",), ("currentReplicas",)),
}
_UNDERSTOOD = "StatusUnderstood"
OWN_STATUS = frozenset(
    [
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
    ]
)
"""The federation's apiserver serves these itself, and their status speaks of it."""


def aggregate(template: Object, reports: Iterable[Reported], rule: KindRule = NO_RULE) -> Object | None:
    """
    The template's status, in the words of its kind; None where the kind has none or the federation sets it itself.

    `reports` holds every cluster of the plan, also those that have nothing yet. `rule`: for its kind.
    """
    kind = group_kind(template)
    known = sorted(reports, key=lambda report: report.cluster)
    if kind in OWN_STATUS:
        return None
    if rule.status or rule.summed:
        return _by_rule(template, known, rule)
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(template, known)
    counts = SUMMED.get(kind)
    return _unknown_kind(template, known) if counts is None else _counted(template, known, counts)


def observed_generation(template: Object, reports: Sequence[Reported]) -> int | None:
    """The template's generation when every member has observed its copy of it; what was observed before, else."""
    generation = (template.get("metadata") or {}).get("generation")
    complete = bool(reports) and all(
        report.current
        and report.status is not None
        and _number(report.status, "observedGeneration") >= report.generation
        for report in reports
    )
    before = (template.get("status") or {}).get("observedGeneration")
    return generation if complete else before


def _counted(template: Object, reports: Sequence[Reported], counts: _Counts) -> Object:
    status: Object = {}
    observed = observed_generation(template, reports)
    if observed is not None:
        status["observedGeneration"] = observed
    for field in (*counts.always, *counts.if_any):
        total = sum(_number(report.status, field) for report in reports)
        if total or field in counts.always:
            status[field] = total
    conditions = merged({report.cluster: report.status for report in reports})
    if conditions:
        status["conditions"] = conditions
    return status


def _stateful_set(template: Object, reports: Sequence[Reported]) -> Object:
    """Revisions are equal when they are in every member; else those of the first where they are not."""
    status = _counted(template, reports, SUMMED["apps", "StatefulSet"])
    pairs = [(one.status.get("currentRevision"), one.status.get("updateRevision")) for one in reports if one.status]
    chosen = next((pair for pair in pairs if pair[0] != pair[1]), pairs[0] if pairs else (None, None))
    for field, value in zip(("currentRevision", "updateRevision"), chosen, strict=True):
        if value:
            status[field] = value
    return status


def _job(_template: Object, reports: Sequence[Reported]) -> Object:
    """
    Complete when it is everywhere. Failed when it failed anywhere and runs nowhere; until then FailureTarget says so.

    A status with active Pods and the condition Failed would be refused by every server.
    """
    status: Object = {}
    for field in ("active", "ready", "terminating", "succeeded", "failed"):
        total = sum(_number(report.status, field) for report in reports)
        if total:
            status[field] = total
    starts = [report.status["startTime"] for report in reports if report.status and report.status.get("startTime")]
    if starts:
        status["startTime"] = min(starts)
    statuses = {report.cluster: report.status for report in reports}
    every, some = statuses.values(), len(statuses)
    finished = all(is_true(one, "Complete") or is_true(one, "Failed") for one in every)
    conditions = {one["type"]: one for one in merged(statuses)}
    kept = []
    for kind, condition in conditions.items():
        holds = [cluster for cluster, one in statuses.items() if is_true(one, kind)]
        everywhere = kind in ("Complete", "SuccessCriteriaMet", "Suspended")
        if not holds or (everywhere and len(holds) < some) or (kind == "Failed" and not finished):
            continue
        kept.append(condition | {"status": "True"})
    if kept:
        status["conditions"] = kept
    ends = [one["completionTime"] for one in every if one and one.get("completionTime")]
    if ends and some and all(is_true(one, "Complete") for one in every):
        status["completionTime"] = max(ends)
    return status


def _load_balancer(_template: Object, reports: Sequence[Reported]) -> Object:
    """The addresses of all, each once, in the order of cluster names."""
    addresses: list[Any] = []
    for report in reports:
        for one in ((report.status or {}).get("loadBalancer") or {}).get("ingress") or ():
            if one not in addresses:
                addresses.append(one)
    return {"loadBalancer": {"ingress": addresses} if addresses else {}}


def _claim(_template: Object, reports: Sequence[Reported]) -> Object:
    """Bound when it is everywhere, Lost when it is anywhere; as large as the smallest of them."""
    phases = [(report.status or {}).get("phase") or "Pending" for report in reports]
    bound = bool(phases) and all(phase == "Bound" for phase in phases)
    status: Object = {"phase": "Lost" if "Lost" in phases else "Bound" if bound else "Pending"}
    modes = [mode for report in reports for mode in (report.status or {}).get("accessModes") or ()]
    if modes:
        status["accessModes"] = list(dict.fromkeys(modes))
    sizes = [size for report in reports if (size := ((report.status or {}).get("capacity") or {}).get("storage"))]
    if sizes and bound:
        status["capacity"] = {"storage": min(sizes, key=_size)}
    return status


def _cron_job(_template: Object, reports: Sequence[Reported]) -> Object:
    """When it last ran anywhere. References to running Jobs are to objects of members, and stay there."""
    status: Object = {}
    for field in ("lastScheduleTime", "lastSuccessfulTime"):
        times = [report.status[field] for report in reports if report.status and report.status.get(field)]
        if times:
            status[field] = max(times)
    return status


def _quota(_template: Object, reports: Sequence[Reported]) -> Object:
    """What all of them allow and use together."""
    status: Object = {}
    for field in ("hard", "used"):
        total: dict[str, Quantity] = {}
        for report in reports:
            for resource, amount in ((report.status or {}).get(field) or {}).items():
                try:
                    part = Quantity.parse(amount)
                except QuantityError:
                    continue  # a member's own word; the Placement has it
                total[resource] = total[resource] + part if resource in total else part
        if total:
            status[field] = {resource: str(amount) for resource, amount in sorted(total.items())}
    return status


def _unknown_kind(template: Object, reports: Sequence[Reported]) -> Object | None:
    """The members' own words where they agree; where they do not, a condition that says so."""
    statuses = [report.status for report in reports if report.status]
    if not statuses:
        return None
    bare = [{key: value for key, value in status.items() if key != "observedGeneration"} for status in statuses]
    observed = observed_generation(template, reports)
    generation = (
        {"observedGeneration": observed} if observed is not None and "observedGeneration" in statuses[0] else {}
    )
    if len(statuses) == len(reports) and all(one == bare[0] for one in bare):
        return bare[0] | generation
    listed = ", ".join(report.cluster for report in reports)
    message = f"clusters {listed} report different statuses; the object's Placement has each of them"
    return generation | {"conditions": [_condition(template, reports, "ClustersAgree", "StatusesDiffer", message)]}


def _by_rule(template: Object, reports: Sequence[Reported], rule: KindRule) -> Object:
    """As the rule says; where it fails, as without it, and a condition says why."""
    if not rule.status:
        return _counted(template, reports, _Counts((), rule.summed))
    clusters = [
        {"name": report.cluster, "status": report.status or {}, "current": report.current} for report in reports
    ]
    try:
        status = status_by(rule, template, clusters)
    except RuleError as fault:
        without = _unknown_kind(template, reports) or {}
        message = f"KindRule {rule.name}: {fault}"[:MESSAGE_LIMIT]
        conditions = [one for one in without.get("conditions") or () if one.get("type") != _UNDERSTOOD]
        failed = _condition(template, reports, _UNDERSTOOD, "RuleFailed", message)
        return without | {"conditions": [*conditions, failed]}
    observed = observed_generation(template, reports)
    if observed is not None and any("observedGeneration" in (report.status or {}) for report in reports):
        status.setdefault("observedGeneration", observed)
    return status


def _condition(template: Object, reports: Sequence[Reported], kind: str, reason: str, message: str) -> Object:
    """One that is not so, of our own: with all fields that kinds commonly require, and no clock in it."""
    said = [one for report in reports for one in (report.status or {}).get("conditions") or () if isinstance(one, dict)]
    times = [one["lastTransitionTime"] for one in said if isinstance(one.get("lastTransitionTime"), str)]
    since = max(times, default=(template.get("metadata") or {}).get("creationTimestamp"))
    found = {"type": kind, "status": "False", "reason": reason, "message": message}
    return found | ({"lastTransitionTime": since} if since else {})


_SPECIAL: Mapping[tuple[str, str], Callable[[Object, Sequence[Reported]], Object]] = {
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "Service"): _load_balancer,
    ("networking.k8s.io", "Ingress"): _load_balancer,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "ResourceQuota"): _quota,
}


def _number(status: Object | None, field: str) -> int:
    value = (status or {}).get(field)
    return value if isinstance(value, int) else 0


def _size(text: Any) -> int:
    try:
        return Quantity.parse(text).nanos
    except QuantityError:
        return 0
