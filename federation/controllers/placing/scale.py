"""What becomes of a workload's replicas once no autoscaler sets them any more. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from cluster.machinery.objects import Object
from federation.controllers.placing.reports import APPLIED, NO_REPORT, Report
from federation.placement.plans import Assignment
from federation.placement.policies import DIVIDED, PropagationPolicy
from federation.placement.record import Record
from federation.placement.v1_preferences import with_annotations
from federation.placement.workloads import is_divided, replicas_of


def replicas_to_keep(
    template: Object, before: Record | None, reports: Mapping[str, Report], policy: PropagationPolicy
) -> int | None:
    """
    The number that the template should have: what runs, as in one cluster whose autoscaler goes.

    Where every cluster gets all of them, what the one with the most runs. None where the template has that, where its
    user has written something meanwhile, and where members have not told yet.
    """
    metadata = template["metadata"]
    if before is None or not is_divided(template) or not before.clusters:
        return None
    if before.uid != metadata.get("uid") or before.generation != metadata.get("generation"):
        return None
    if any(one.replicas is not None for one in before.clusters):
        return None
    told = [reports.get(one.cluster, NO_REPORT) for one in before.clusters]
    if any(one.state != APPLIED or one.status is None for one in told):
        return None
    counts = [_replicas(one) for one in told]
    running = sum(counts) if with_annotations(policy, template).division.mode == DIVIDED else max(counts)
    return running if running and running != replicas_of(template) else None


def as_they_run(held: tuple[Assignment, ...], reports: Mapping[str, Report]) -> tuple[Assignment, ...]:
    """What members have, with the numbers that they set themselves until now."""
    return tuple(
        one if one.replicas is not None else replace(one, replicas=_replicas(reports.get(one.cluster, NO_REPORT)))
        for one in held
    )


def _replicas(report: Report) -> int:
    value = (report.status or {}).get("replicas")
    return value if isinstance(value, int) else 0
