"""
What changed in the zone from serial to serial, as far back as is worth keeping. Pure.

Serial numbers go round at 2^32 and are compared as RFC 1982 says.
"""

from collections import deque
from typing import NamedTuple

from cluster.dns.wire import Record

MAX_CHANGES = 2_000
MAX_RECORDS = 20_000
"""Both together are about 4 MB; whoever is farther behind gets the whole zone."""
_HALF = 1 << 31
MASK = (1 << 32) - 1


def is_newer(serial: int, than: int) -> bool:
    """RFC 1982 §3.2; serials that are half the circle apart are neither newer nor older."""
    return 0 < (serial - than) & MASK < _HALF


class Change(NamedTuple):
    before: int
    """Serial that the change leads away from."""
    after: int
    deleted: tuple[Record, ...]
    added: tuple[Record, ...]


class History:
    def __init__(self) -> None:
        self._changes: deque[Change] = deque()
        self._records = 0

    def add(self, change: Change) -> None:
        """Raises ValueError when it does not go on from the last one."""
        if self._changes and self._changes[-1].after != change.before:
            raise ValueError(f"a change from serial {change.before} does not follow {self._changes[-1].after}")
        self._changes.append(change)
        self._records += _size(change)
        while len(self._changes) > MAX_CHANGES or self._records > MAX_RECORDS:
            self._records -= _size(self._changes.popleft())

    def clear(self) -> None:
        self._changes.clear()
        self._records = 0

    def since(self, serial: int) -> list[Change] | None:
        """Changes from that serial to now, oldest first; None: it is not known any more, or never was."""
        found = list(self._changes)
        for index, change in enumerate(found):
            if change.before == serial:
                return found[index:]
        return None


def _size(change: Change) -> int:
    return len(change.deleted) + len(change.added)
