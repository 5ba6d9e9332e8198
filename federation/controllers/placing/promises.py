"""
What members were promised and cannot be seen in their facts yet, so that a burst does not promise the same room twice.

A promise counts from the plan on. It ends when the member has what was promised and has looked at its Pods since:
facts are collected every thirty seconds. Pure; the clock is an argument.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.api.refs import Ref
from federation.placement.members import NO_DEMAND, Demand, Member
from federation.placement.plans import Assignment

SEEN_AFTER = 60.0
"""Seconds after which the facts of a member hold what it said it runs: two collections."""


@dataclass(slots=True)
class _Promise:
    seen: int
    """Replicas that the member's facts are taken to hold already."""
    target: int
    demand: Demand
    kept: float | None = None
    """When the member said that it runs them all."""


class Promises:
    def __init__(self) -> None:
        self._by_cluster: dict[str, dict[Ref, _Promise]] = {}

    def less(self, members: Iterable[Member], now: float) -> list[Member]:
        """The members without the room that is promised."""
        return [self._less(member, now) for member in members]

    def promise(
        self, ref: Ref, before: Iterable[Assignment], after: Iterable[Assignment], demand: Demand = NO_DEMAND
    ) -> None:
        """What an object has and gets by a new plan. A smaller one gives room back when the facts say so."""
        had = {one.cluster: one.replicas or 0 for one in before}
        gets = {one.cluster: one.replicas or 0 for one in after}
        for cluster in had.keys() | gets.keys():
            promises = self._by_cluster.setdefault(cluster, {})
            known = promises.get(ref)
            seen, target = known.seen if known is not None else had.get(cluster, 0), gets.get(cluster, 0)
            if target <= seen:
                promises.pop(ref, None)
            elif known is None or known.target != target or known.demand != demand:
                promises[ref] = _Promise(seen, target, demand)

    def kept(self, ref: Ref, cluster: str, now: float) -> None:
        """The member says that it runs what it was given."""
        known = self._by_cluster.get(cluster, {}).get(ref)
        if known is not None and known.kept is None:
            known.kept = now

    def forget(self, ref: Ref) -> None:
        for promises in self._by_cluster.values():
            promises.pop(ref, None)

    def owed(self, ref: Ref) -> bool:
        return any(ref in promises for promises in self._by_cluster.values())

    def _less(self, member: Member, now: float) -> Member:
        promises = self._by_cluster.get(member.name)
        if not promises:
            return member
        for ref in [ref for ref, one in promises.items() if one.kept is not None and now - one.kept > SEEN_AFTER]:
            del promises[ref]
        for one in promises.values():
            member = member.less(one.target - one.seen, one.demand)
        return member
