"""
Own writes the cache has not shown yet.

A controller that creates or deletes says so here first; until the informer has told of all of it, the cache is
known to be late and the controller creates and deletes nothing more for that key. Without this, one late watch
event doubles a ReplicaSet. Source: kube-controller-manager, pkg/controller/controller_utils.go.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

TIMEOUT = 300.0  # seconds; then an event is taken as lost and the cache as the truth


@dataclass(slots=True)
class _Expected:
    since: float
    creates: int = 0
    deletes: set[str] = field(default_factory=set)


class Expectations:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_key: dict[Hashable, _Expected] = {}

    def met(self, key: Hashable) -> bool:
        """Whether the cache has shown everything expected of `key`, or too long has passed."""
        expected = self._by_key.get(key)
        if expected is None:
            return True
        if (expected.creates <= 0 and not expected.deletes) or self._clock() - expected.since > TIMEOUT:
            del self._by_key[key]
            return True
        return False

    def expect(self, key: Hashable, *, creates: int = 0, deletes: set[str] | frozenset[str] = frozenset()) -> None:
        """`deletes` holds the uids: a deletion is told twice, as a change and as the end."""
        expected = self._by_key.setdefault(key, _Expected(self._clock()))
        expected.since = self._clock()
        expected.creates += creates
        expected.deletes |= deletes

    def created(self, key: Hashable, count: int = 1) -> None:
        """The cache showed it, or the write failed and will never show."""
        if expected := self._by_key.get(key):
            expected.creates -= count

    def deleted(self, key: Hashable, uid: str) -> None:
        if expected := self._by_key.get(key):
            expected.deletes.discard(uid)

    def forget(self, key: Hashable) -> None:
        self._by_key.pop(key, None)
