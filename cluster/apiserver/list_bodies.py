"""
The joined items of lists that are asked for again and again, kept while nothing in them has changed.

A body is kept from the second time on that it is asked for: most lists are asked for once. What nobody has asked
for since the last sweep is forgotten.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

LIMIT = 24 << 20
"""Bytes of all bodies together."""
_SEEN_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Items:
    """What stands between the brackets of a list, and how the list goes on."""

    data: bytes
    continue_from: tuple[str, str] | None = None
    """Namespace and name of the last item when there are more."""
    remaining: int = 0


@dataclass(slots=True)
class _Kept:
    state: int
    items: Items
    used: bool = True


class ListBodies:
    def __init__(self) -> None:
        self._kept: dict[Hashable, _Kept] = {}
        self._size = 0
        self._seen: dict[Hashable, int] = {}

    def get(self, key: Hashable, state: int, make: Callable[[], Items]) -> Items:
        """
        The items of the list `key`, made by `make` unless they are kept.

        Args:
            state: a number that differs whenever the list might.
        """
        kept = self._kept.get(key)
        if kept is not None:
            if kept.state == state:
                kept.used = True
                return kept.items
            self._forget(key)
        items = make()
        if self._seen.get(key) == state:
            self._keep(key, state, items)
        else:
            if len(self._seen) >= _SEEN_LIMIT:
                self._seen.clear()
            self._seen[key] = state
        return items

    def sweep(self) -> None:
        """Forget what was not used since the last time."""
        for key, kept in tuple(self._kept.items()):
            if kept.used:
                kept.used = False
            else:
                self._forget(key)
        self._seen.clear()

    def _keep(self, key: Hashable, state: int, items: Items) -> None:
        size = len(items.data)
        if size > LIMIT // 2:
            return
        while self._size + size > LIMIT:
            self._forget(next(iter(self._kept)))
        self._kept[key] = _Kept(state, items)
        self._size += size

    def _forget(self, key: Hashable) -> None:
        self._size -= len(self._kept.pop(key).items.data)
