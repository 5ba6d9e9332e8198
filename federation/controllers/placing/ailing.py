"""
Copies whose Pods are not ready for longer than their policy tolerates, although their cluster is well.

Kept in memory alone: who starts anew begins to count anew.
"""

import datetime as dt
from collections.abc import Callable, Mapping

from cluster.machinery.objects import Object
from federation.api.refs import Ref, ref_of_template
from federation.controllers.placing.fleet import Fleet
from federation.controllers.placing.reports import APPLIED, NO_REPORT, Report, is_ready, pods_refused, reports_of
from federation.placement.kind_rules import NO_RULE, KindRule
from federation.placement.plans import Assignment
from federation.placement.policies import PropagationPolicy
from federation.placement.record import Record
from federation.placement.workloads import pod_template

HOLDS = dt.timedelta(minutes=10)
"""For so long a cluster gets nothing new of what did not get ready there."""


class Ailing:
    def __init__(self, fleet: Fleet, clock: Callable[[], dt.datetime]) -> None:
        self._fleet, self._clock = fleet, clock
        self._since: dict[Ref, dict[str, dt.datetime]] = {}
        """Of every object whose policy minds, clusters where it is not ready."""
        self._until: dict[Ref, dict[str, dt.datetime]] = {}
        """Where it was given up."""

    def minds(self, placement: Object) -> bool:
        """Whether what members say of an object may change where it is to be."""
        if ref_of_template(placement) in self._since:
            return True
        return any(pods_refused(one) is not None for one in reports_of(placement).values())

    def forget(self, ref: Ref) -> None:
        self._since.pop(ref, None)
        self._until.pop(ref, None)

    def look(
        self,
        ref: Ref,
        template: Object,
        before: Record | None,
        policy: PropagationPolicy,
        reports: Mapping[str, Report],
        rule: KindRule = NO_RULE,
    ) -> tuple[frozenset[str], float | None]:
        """Clusters that shall not have it, and seconds until there may be another; those that refuse Pods are noted."""
        held = before.clusters if before is not None else ()
        for one in held:
            refused = pods_refused(reports.get(one.cluster, NO_REPORT))
            if refused is not None and one.replicas is not None and refused < one.replicas:
                self._fleet.note_limit(ref, one.cluster, refused)
        tolerated = policy.failover.unready_seconds
        if tolerated is None or pod_template(template) is None:
            self.forget(ref)
            return frozenset(), None
        if self._fleet.isolated():
            return frozenset(), None
        now, since = self._clock(), self._since.setdefault(ref, {})
        given_up = self._until.setdefault(ref, {})
        ailing = {
            one.cluster
            for one in held
            if self._is_well(one.cluster) and _is_unready(ref, one, reports.get(one.cluster, NO_REPORT), rule)
        }
        for name in [name for name in since if name not in ailing]:
            del since[name]
        again = None
        for name in ailing:
            left = tolerated - (now - since.setdefault(name, now)).total_seconds()
            if left <= 0:
                given_up[name] = now + HOLDS
            else:
                again = left if again is None else min(again, left)
        for name in [name for name, until in given_up.items() if until <= now]:
            del given_up[name]
        return frozenset(given_up), again

    def _is_well(self, name: str) -> bool:
        member = self._fleet.members.get(name)
        return member is not None and member.ready


def _is_unready(ref: Ref, assignment: Assignment, report: Report, rule: KindRule) -> bool:
    return report.state == APPLIED and not is_ready(ref, assignment, report, rule)
