"""
What is stored under one place (`pods`, `services/specs`): the objects as bytes, their recent changes, and who watches.

Filled by `watch_cache` from the store's one watch, in the order of revisions; nothing here waits or does I/O.
"""

import bisect
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cluster.store.encoding import Entry
from cluster.store.encryption import UnreadableError

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"

RING_MIN_SECONDS = 300
"""Changes younger than this are kept, so that a client that lost its connection can go on where it was."""
RING_MIN_EVENTS = 100
RING_MAX_EVENTS = 50_000


class Hidden(NamedTuple):
    """A stored value that cannot be read, as it is in the store, and why."""

    value: bytes
    revision: int
    fault: UnreadableError


class Change:
    """One change of one object. `frames` holds its encodings, made once for all watchers that want them."""

    __slots__ = ("entry", "frames", "old", "revision", "time", "type")

    def __init__(self, kind: str, entry: Entry, old: Entry | None) -> None:
        self.type = kind
        self.entry = entry
        """The object after the change; for DELETED its last state under the revision of the delete."""
        self.old = old
        self.revision = entry.revision
        self.time = time.monotonic()
        self.frames: dict[Any, bytes] = {}


class TooOldError(Exception):
    """Changes after the asked revision are no longer all there."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")


Deliver = Callable[[Change], None]


def cache_key(namespace: str, name: str) -> str:
    """Sorts as the keys in etcd do."""
    return f"{namespace}/{name}" if namespace else name


class ResourceCache:
    """All objects of one place. Iteration is in key order, as etcd would list them."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.version = 0
        """Revision of the last change here: changes whenever any object does."""
        self.changes = 0
        """How often anything changed; unlike `version` it tells changes of one revision apart."""
        self.unreadable: dict[str, Hidden] = {}
        """Objects that are there and cannot be shown; mostly none."""
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._ring: deque[Change] = deque()
        self._complete_since = 0
        self._watchers: dict[int, Deliver] = {}
        self._resets: dict[int, Callable[[], None]] = {}
        self._ids = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def get(self, namespace: str, name: str) -> Entry | None:
        return self._entries.get(cache_key(namespace, name))

    def check_readable(self, namespace: str = "", name: str = "") -> None:
        """Raises UnreadableError when what is asked for includes an object that cannot be shown."""
        wanted = cache_key(namespace, name) if name else f"{namespace}/" if namespace else ""
        for key, hidden in self.unreadable.items():
            if key == wanted or (not name and key.startswith(wanted)):
                raise hidden.fault

    def count(self, namespace: str = "", after: str = "") -> int:
        """How many `entries` there are."""
        first, last = self._bounds(namespace)
        if after:
            first = max(first, bisect.bisect_right(self._keys, after))
        return max(last - first, 0)

    def entries(self, namespace: str = "", after: str = "") -> Iterator[Entry]:
        """Objects of one namespace or of all, from the key behind `after` on."""
        first, last = self._bounds(namespace)
        if after:
            first = max(first, bisect.bisect_right(self._keys, after))
        return map(self._entries.__getitem__, self._keys[first:last])

    def _bounds(self, namespace: str) -> tuple[int, int]:
        if not namespace:
            return 0, len(self._keys)
        # "0" is the character after "/".
        return bisect.bisect_left(self._keys, namespace + "/"), bisect.bisect_left(self._keys, namespace + "0")

    def changes_since(self, revision: int) -> list[Change]:
        """Everything after `revision`, oldest first. Raises TooOldError when some of it is forgotten."""
        if revision < self._complete_since:
            raise TooOldError(revision, self._complete_since)
        found = []
        for change in reversed(self._ring):
            if change.revision <= revision:
                break
            found.append(change)
        found.reverse()
        return found

    def subscribe(self, deliver: Deliver, on_reset: Callable[[], None]) -> Callable[[], None]:
        """`deliver` gets every later change, at once and in order. Call the result to stop."""
        watcher = next(self._ids)
        self._watchers[watcher] = deliver
        self._resets[watcher] = on_reset

        def stop() -> None:
            self._watchers.pop(watcher, None)
            self._resets.pop(watcher, None)

        return stop

    def end_watches(self) -> None:
        """Tell all who watch to begin again: what is shown of the objects has changed, or is shown no longer."""
        for reset in list(self._resets.values()):
            reset()

    # What the feeding watch calls.

    def put(self, key: str, entry: Entry) -> None:
        if self.unreadable:
            self.unreadable.pop(key, None)
        old = self._entries.get(key)
        self._entries[key] = entry
        if old is None:
            bisect.insort(self._keys, key)
        self._announce(Change(ADDED if old is None else MODIFIED, entry, old))

    def remove(self, key: str, revision: int) -> None:
        old = self._entries.pop(key, None)
        if self.unreadable and self.unreadable.pop(key, None) is not None:
            self.version = revision
        if old is None:
            return
        del self._keys[bisect.bisect_left(self._keys, key)]
        self._announce(Change(DELETED, old.at_revision(revision), old))

    def hide(self, key: str, hidden: Hidden) -> None:
        """
        The object became one that cannot be read. Whoever watches has to list again, and is told why it cannot.
        """
        self.unreadable[key] = hidden
        if self._entries.pop(key, None) is not None:
            del self._keys[bisect.bisect_left(self._keys, key)]
        self._begin_anew(hidden.revision)

    def reveal(self, entries: dict[str, Entry], revision: int) -> None:
        """Objects that could not be read can be now."""
        still = {key: hidden for key, hidden in self.unreadable.items() if key not in entries}
        self.load({**self._entries, **entries}, revision, still)

    def load(self, entries: dict[str, Entry], revision: int, unreadable: dict[str, Hidden] | None = None) -> None:
        """Replace everything. Watchers are told to begin again: what happened in between is not known."""
        self.unreadable = unreadable or {}
        self._entries = entries
        self._keys = sorted(entries)
        self._begin_anew(revision)

    def _begin_anew(self, revision: int) -> None:
        self._ring.clear()
        self.changes += 1
        self._complete_since = revision
        self.version = revision
        self.end_watches()

    def _announce(self, change: Change) -> None:
        self.version = change.revision
        self.changes += 1
        ring = self._ring
        ring.append(change)
        while len(ring) > RING_MIN_EVENTS and (
            len(ring) > RING_MAX_EVENTS or change.time - ring[0].time > RING_MIN_SECONDS
        ):
            dropped = ring.popleft()
            dropped.frames.clear()
            self._complete_since = dropped.revision
        for deliver in tuple(self._watchers.values()):
            deliver(change)
