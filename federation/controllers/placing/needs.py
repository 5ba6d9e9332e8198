"""
Who has to be where whom: a namespace with its objects, a definition with its resources, a ConfigMap with its workload.

Counted, so that the thousandth object of a namespace costs what the first does. Pure bookkeeping.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from federation.api.refs import Ref

_NOTHING: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Needed:
    """Of one object that others need."""

    by_cluster: dict[str, int]
    """How many of them are in a cluster."""
    dependents: dict[Ref, None]
    """In the order in which they came."""


class Needs:
    def __init__(self) -> None:
        self._of: dict[Ref, tuple[frozenset[Ref], frozenset[str]]] = {}
        self._needed: dict[Ref, _Needed] = {}

    def put(self, ref: Ref, needed: Iterable[Ref], clusters: Iterable[str]) -> list[Ref]:
        """What an object needs, and where it is. Returns what has to be looked at: it is needed elsewhere now."""
        new_needed, new_clusters = frozenset(needed), frozenset(clusters)
        old_needed, old_clusters = self._of.get(ref, (frozenset[Ref](), _NOTHING))
        if new_needed == old_needed and new_clusters == old_clusters:
            return []
        if new_needed and new_clusters:
            self._of[ref] = (new_needed, new_clusters)
        else:
            self._of.pop(ref, None)
            new_needed = frozenset()
        changed = []
        for one in new_needed | old_needed:
            before = old_clusters if one in old_needed else _NOTHING
            after = new_clusters if one in new_needed else _NOTHING
            if self._count(one, ref, before, after):
                changed.append(one)
        return changed

    def needed_by(self, ref: Ref) -> frozenset[Ref]:
        """What an object was last said to need."""
        return self._of.get(ref, (frozenset[Ref](), _NOTHING))[0]

    def clusters(self, ref: Ref) -> Iterator[str]:
        """Where others need it."""
        found = self._needed.get(ref)
        if found is not None:
            yield from found.by_cluster

    def dependents(self, ref: Ref) -> Iterator[Ref]:
        found = self._needed.get(ref)
        if found is not None:
            yield from found.dependents

    def _count(self, needed: Ref, by: Ref, before: frozenset[str], after: frozenset[str]) -> bool:
        entry = self._needed.setdefault(needed, _Needed({}, {}))
        changed = False
        for cluster in after - before:
            entry.by_cluster[cluster] = entry.by_cluster.get(cluster, 0) + 1
            changed = changed or entry.by_cluster[cluster] == 1
        for cluster in before - after:
            entry.by_cluster[cluster] -= 1
            if not entry.by_cluster[cluster]:
                del entry.by_cluster[cluster]
                changed = True
        if after:
            entry.dependents[by] = None
        else:
            entry.dependents.pop(by, None)
        if not entry.by_cluster:
            del self._needed[needed]
        return changed
