"""
What this process has written and its watch has not brought back yet: the entry is made once for both.

The answer to a write and its event come on two connections, in either order. Whoever comes first makes the entry from
the object at hand, without reading its bytes again; the other one takes it. Only an event with the very bytes that
were sent counts as one's own.
"""

from cluster.machinery.objects import Object
from cluster.store.encoding import Entry

_LIMIT = 2000
"""Far more than are ever on their way; above it some were for kinds that no cache shows."""


class OwnWrite:
    __slots__ = ("_entry", "_obj", "_value", "answered", "seen", "stored")

    def __init__(self, obj: Object, value: bytes, stored: bytes) -> None:
        self._obj = obj
        self._value = value
        self.stored = stored
        """What lies in the store: `value`, or what it is encrypted to."""
        self._entry: Entry | None = None
        self.answered = self.seen = False

    def at(self, revision: int) -> Entry:
        if self._entry is None or self._entry.revision != revision:
            self._entry = Entry.of(self._obj, self._value, revision)
        return self._entry


class OwnWrites:
    """Between the object store and the cache of one process. An object on its way must not be changed."""

    def __init__(self) -> None:
        self._writes: dict[bytes, OwnWrite] = {}

    def __len__(self) -> int:
        return len(self._writes)

    def begin(self, key: bytes, obj: Object, value: bytes, stored: bytes) -> OwnWrite:
        if len(self._writes) >= _LIMIT:
            self.clear()
        write = self._writes[key] = OwnWrite(obj, value, stored)
        return write

    def answered(self, key: bytes, write: OwnWrite) -> None:
        write.answered = True
        if write.seen:
            self.forget(key, write)

    def seen(self, key: bytes, stored: bytes, revision: int) -> Entry | None:
        """The entry of an event, when it is of a write of ours."""
        write = self._writes.get(key)
        if write is None or write.stored != stored:
            return None
        write.seen = True
        if write.answered:
            del self._writes[key]
        return write.at(revision)

    def forget(self, key: bytes, write: OwnWrite) -> None:
        if self._writes.get(key) is write:
            del self._writes[key]

    def clear(self) -> None:
        """Events that were on their way do not come, or are read as anybody's."""
        self._writes.clear()
