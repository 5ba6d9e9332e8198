"""What a Placement's status says that members have. Pure."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.machinery.objects import Object
from federation.api.refs import Ref
from federation.placement.kind_rules import NO_RULE, KindRule, RuleError, is_healthy
from federation.placement.plans import Assignment

log = logging.getLogger(__name__)

APPLIED, GONE = "Applied", "Gone"
_COUNTED = {"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"}


@dataclass(frozen=True, slots=True)
class Report:
    """One cluster's word."""

    state: str = ""
    uid: str = ""
    """Of the template that a tombstone is about, where the state is Gone."""
    message: str = ""
    status: Object | None = None
    """Of the copy."""


NO_REPORT = Report()


def reports_of(placement: Object) -> dict[str, Report]:
    found = (placement.get("status") or {}).get("clusters") or ()
    return {
        one["name"]: Report(one.get("state") or "", one.get("uid") or "", one.get("message") or "", one.get("status"))
        for one in found
    }


def are_ready(
    ref: Ref, assignments: Iterable[Assignment], reports: Mapping[str, Report], rule: KindRule = NO_RULE
) -> bool:
    """Whether every cluster has what it was given and says that it runs. True also when nobody was given anything."""
    return all(is_ready(ref, one, reports.get(one.cluster, NO_REPORT), rule) for one in assignments)


def is_ready(ref: Ref, assignment: Assignment, report: Report, rule: KindRule = NO_RULE) -> bool:
    """Whether a cluster has what it was given and says that it runs, in the words of its kind or of the kind's rule."""
    if report.state != APPLIED:
        return False
    if rule.health:
        try:
            return is_healthy(rule, report.status, assignment.replicas)
        except RuleError as fault:
            log.debug("%s in %s: KindRule %s: %s", ref, assignment.cluster, rule.name, fault)
            return False  # that it runs is not known
    status = report.status or {}
    if ref.kind in _COUNTED:
        wanted = assignment.replicas if assignment.replicas is not None else max(1, _number(status, "replicas"))
        return _number(status, "readyReplicas") >= wanted
    if ref.kind == "DaemonSet":
        return _number(status, "numberReady") >= _number(status, "desiredNumberScheduled")
    return True


def pods_refused(report: Report) -> int | None:
    """How many Pods there are where the member lets no more be made (a quota, say); None where it does."""
    status = report.status or {}
    for one in status.get("conditions") or ():
        if one.get("type") == "ReplicaFailure" and one.get("status") == "True" and one.get("reason") == "FailedCreate":
            return _number(status, "replicas")
    return None


def _number(status: Object, field: str) -> int:
    value = status.get(field)
    return value if isinstance(value, int) else 0
