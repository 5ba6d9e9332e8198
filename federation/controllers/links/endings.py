"""
In which order a member's copies are deleted: the reverse of the one in which they came.

Custom resources before workloads, workloads before what they use, definitions after their objects, a namespace last.
What cannot be deleted now holds nobody up.
"""

from collections import Counter

from federation.api.refs import Ref
from federation.placement.dependencies import rank

_DEFINITION = ("apiextensions.k8s.io", "CustomResourceDefinition")
_LAST_RANK = 9


def rank_of(ref: Ref) -> int:
    return rank({"apiVersion": f"{ref.group}/v1" if ref.group else "v1", "kind": ref.kind})


class Endings:
    """Objects with tombstones whose deletion was not sent yet."""

    def __init__(self) -> None:
        self._open: set[Ref] = set()
        self._ranks: Counter[tuple[str, int]] = Counter()
        self._namespaces: Counter[str] = Counter()
        self._groups: Counter[str] = Counter()

    def open(self, ref: Ref) -> None:
        if ref not in self._open:
            self._open.add(ref)
            self._count(ref, 1)

    def close(self, ref: Ref) -> bool:
        """It was sent, or it cannot be; whether it was the last that others may wait for."""
        if ref not in self._open:
            return False
        self._open.discard(ref)
        self._count(ref, -1)
        left = (self._ranks[ref.namespace, rank_of(ref)], self._namespaces[ref.namespace], self._groups[ref.group])
        return 0 in left

    def _count(self, ref: Ref, by: int) -> None:
        self._ranks[ref.namespace, rank_of(ref)] += by
        self._namespaces[ref.namespace] += by
        self._groups[ref.group] += by

    def must_wait(self, ref: Ref) -> bool:
        """Whether something else goes first."""
        if (ref.group, ref.kind) == ("", "Namespace"):
            return self._namespaces[ref.name] > 0
        if (ref.group, ref.kind) == _DEFINITION:
            return self._groups[ref.name.partition(".")[2]] > 0
        return any(self._ranks[ref.namespace, higher] > 0 for higher in range(rank_of(ref) + 1, _LAST_RANK + 1))
