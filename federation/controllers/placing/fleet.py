"""The members as the planner sees them, and since when one of them is lost. Reads Cluster objects; writes nothing."""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.client.informer import Informer
from cluster.machinery.objects import Object
from cluster.machinery.timestamps import parse_time
from cluster.machinery.tolerations import tolerates
from federation.api.refs import Ref
from federation.membership.shortages import shortages_of
from federation.placement.members import UNREACHABLE, Member, member_of
from federation.placement.policies import PropagationPolicy

LEAVING = "Leaving"
LIMIT_HOLDS = dt.timedelta(minutes=5)
Clock = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class _Limit:
    replicas: int
    until: dt.datetime | None = None
    """None: Pods are waiting now."""


class Fleet:
    """
    Args:
        isolated: whether the federation takes itself to be cut off: nobody is lost then.
    """

    def __init__(self, clusters: Informer, isolated: Callable[[], bool], clock: Clock) -> None:
        self._isolated, self._clock = isolated, clock
        self.members: dict[str, Member] = {}
        self.answered_isolated = False
        """Somebody was told that nobody is lost, because nothing can be said: that has to be asked again."""
        self._gone_since: dict[str, dt.datetime] = {}
        self._tainted_since: dict[str, list[tuple[Object, dt.datetime]]] = {}
        self._limits: dict[Ref, dict[str, _Limit]] = {}
        self._on_limits: Callable[[Ref], None] = lambda _: None
        self._listeners: list[Callable[[Member | None, Member | None], None]] = []
        clusters.add_handler(self._take, lambda _, new: self._take(new), self._drop)

    def listen(self, listener: Callable[[Member | None, Member | None], None]) -> None:
        """Called with what a member was and what it is; None: it was not, or is not, there."""
        self._listeners.append(listener)

    @property
    def leaving(self) -> frozenset[str]:
        return frozenset(name for name, member in self.members.items() if member.phase == LEAVING)

    def isolated(self) -> bool:
        """Whoever is told so is woken when it is over."""
        found = self._isolated()
        self.answered_isolated = self.answered_isolated or found
        return found

    def on_limits(self, listener: Callable[[Ref], None]) -> None:
        """Be told of every workload that some member can run less of, or more again."""
        self._on_limits = listener

    def limits(self, ref: Ref) -> dict[str, int]:
        """Cluster -> replicas of a workload that it is able to run, where Pods of it cannot be scheduled."""
        known = self._limits.get(ref)
        if not known:
            return {}
        now = self._clock()
        for name in [name for name, one in known.items() if one.until is not None and one.until < now]:
            del known[name]
        if not known:
            del self._limits[ref]
        return {name: one.replicas for name, one in known.items()}

    def note_limit(self, ref: Ref, name: str, replicas: int) -> None:
        """A member is seen to run no more of a workload than this. Holds for as long as other limits that ended."""
        self._limits.setdefault(ref, {})[name] = _Limit(replicas, self._clock() + LIMIT_HOLDS)

    def lost(self, policy: PropagationPolicy, held: Collection[str]) -> tuple[frozenset[str], float | None]:
        """Which of these clusters are lost, as far as this policy minds, and seconds until the next of them may be."""
        if self.isolated():
            return frozenset(), None
        found, again = set(), None
        for name in held:
            left = self._seconds_left(name, policy)
            if left is None:
                continue
            if left <= 0:
                found.add(name)
            else:
                again = left if again is None else min(again, left)
        return frozenset(found), again

    def _seconds_left(self, name: str, policy: PropagationPolicy) -> float | None:
        """Until the toleration ends; None where nothing is to be tolerated, or for ever."""
        member = self.members.get(name)
        if member is None:
            return None
        now, ends = self._clock(), []
        if member.phase == UNREACHABLE and name in self._gone_since:
            ends.append(self._gone_since[name] + dt.timedelta(seconds=policy.failover.toleration_seconds))
        for taint, since in self._tainted_since.get(name, ()):
            seconds = tolerated_seconds(policy.tolerations, taint)
            if seconds is not None:
                ends.append(since + dt.timedelta(seconds=seconds))
        return min((end - now).total_seconds() for end in ends) if ends else None

    def _take(self, cluster: Object) -> None:
        new = member_of(cluster)
        old = self.members.get(new.name)
        self.members[new.name] = new
        self._note_since(new, cluster)
        self._note_limits(new.name, shortages_of(cluster))
        if old != new:
            self._tell(old, new)

    def _note_since(self, member: Member, cluster: Object) -> None:
        now = self._clock()
        self._gone_since.pop(member.name, None)
        if member.phase == UNREACHABLE:
            self._gone_since[member.name] = _offline_since(cluster) or now
        before = self._tainted_since.pop(member.name, [])
        noted = []
        for taint in member.taints:
            if taint.get("effect") != "NoExecute":
                continue
            known = next((since for one, since in before if one == taint), now)
            noted.append((taint, parse_time(taint["timeAdded"]) if taint.get("timeAdded") else known))
        if noted:
            self._tainted_since[member.name] = noted

    def _note_limits(self, name: str, short: Mapping[Ref, int]) -> None:
        """One that ends is kept for a while: what moved away would else come back, and find no room again."""
        for ref, known in self._limits.items():
            limit = known.get(name)
            if limit is not None and limit.until is None and ref not in short:
                known[name] = replace(limit, until=self._clock() + LIMIT_HOLDS)
        for ref, replicas in short.items():
            known = self._limits.setdefault(ref, {})
            before, known[name] = known.get(name), _Limit(replicas)
            if before is None or before.replicas != replicas:
                self._on_limits(ref)

    def _drop(self, cluster: Object) -> None:
        name = cluster["metadata"]["name"]
        old = self.members.pop(name, None)
        self._gone_since.pop(name, None)
        self._tainted_since.pop(name, None)
        for known in self._limits.values():
            known.pop(name, None)
        if old is not None:
            self._tell(old, None)

    def _tell(self, old: Member | None, new: Member | None) -> None:
        for listener in self._listeners:
            listener(old, new)


def tolerated_seconds(tolerations: Sequence[Object], taint: Object) -> int | None:
    """The shortest time for which a NoExecute taint is tolerated; None: not at all, or for ever. Pure."""
    fitting = [one["tolerationSeconds"] for one in tolerations if tolerates(one, taint) and "tolerationSeconds" in one]
    return min(fitting, default=None)


def with_kind(members: Mapping[str, Member], ref: Ref, api_version: str, going_to: Collection[str]) -> list[Member]:
    """The members, those among them that get the kind's definition as if they served it already."""
    return [
        replace(one, kinds={**(one.kinds or {}), api_version: frozenset({*one.kinds.get(api_version, ()), ref.kind})})
        if name in going_to and one.kinds is not None and not one.serves(api_version, ref.kind)
        else one
        for name, one in members.items()
    ]


def _offline_since(cluster: Object) -> dt.datetime | None:
    for condition in (cluster.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Offline" and condition["status"] == "True" and condition.get("lastTransitionTime"):
            return parse_time(condition["lastTransitionTime"])
    return None
