"""
Second opinions: whether agents of other members reach one that the federation does not. Pure.

An agent writes what it sees into its own Cluster's status when that changes. It counts for as long as the federation
hears the agent. The federation has a voice like every agent. A member is given up when more than half of the voices do
not reach it: one agent against the federation is a doubt and keeps the member, and one alone among many, which may be
the one that is wrong, does not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.machinery.objects import Object
from federation.membership.health import READY, SUSPECT, UNREACHABLE, Health

DOUBTED = frozenset({SUSPECT, UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Opinions:
    """Of agents, about one member that the federation does not reach."""

    reached_by: tuple[str, ...] = ()
    missed_by: tuple[str, ...] = ()

    @property
    def vouched(self) -> bool:
        """Whether so many reach it that it is not given up."""
        voices = len(self.reached_by) + len(self.missed_by) + 1
        return 2 * len(self.reached_by) >= voices

    def __str__(self) -> str:
        """In words; empty when nobody was asked."""
        said = []
        if self.reached_by:
            said.append(f"reached by {', '.join(self.reached_by)}")
        if self.missed_by:
            said.append(f"not reached by {', '.join(self.missed_by)} either")
        return ", ".join(said)


def opinions(name: str, clusters: Iterable[Object], known: Mapping[str, Health]) -> Opinions:
    """What members that are Ready themselves say of the member of this name."""
    reached: list[str] = []
    missed: list[str] = []
    for cluster in clusters:
        observer = cluster["metadata"]["name"]
        health = known.get(observer)
        if observer == name or health is None or health.phase != READY or health.misses:
            continue
        for one in _sightings(cluster):
            if one["cluster"] == name:
                (reached if one["answers"] else missed).append(observer)
    return Opinions(tuple(sorted(reached)), tuple(sorted(missed)))


def wanted(clusters: Iterable[Object], own: str) -> list[Object]:
    """Whom an agent has to look at: others in doubt, whose address and CA are known."""
    return [
        cluster
        for cluster in clusters
        if cluster["metadata"]["name"] != own
        and (cluster.get("status") or {}).get("phase") in DOUBTED
        and cluster["spec"].get("serverAddressByClientCIDRs")
        and cluster["spec"].get("caBundle")
    ]


def updated(before: Iterable[Object], seen: Mapping[str, bool], now: str) -> list[Object]:
    """The list for the status; times of what is as before stay, so that the same is not written again."""
    known = {one["cluster"]: one for one in before}
    found: list[Object] = []
    for name in sorted(seen):
        old = known.get(name)
        same = old is not None and old["answers"] == seen[name]
        found.append(old if same and old is not None else {"cluster": name, "answers": seen[name], "time": now})
    return found


def _sightings(cluster: Object) -> Iterable[Object]:
    return (cluster.get("status") or {}).get("sightings") or ()
