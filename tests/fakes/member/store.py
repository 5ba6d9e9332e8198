"""
Objects of a fake member: their JSON, a version that grows with every change, and the changes since a while.

An object is kept as bytes without kind and apiVersion, which are those of whoever asks. Nothing here waits.
"""

import base64
import bisect
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from cluster.api.resources import Resource
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import BadRequest, Gone

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
HISTORY = 5000
"""Changes that a watch can still begin at."""
SNAPSHOTS = 64
"""Lists that have a page left."""

Place = tuple[str, str]
"""Group and plural: where objects of all versions of a resource are."""


def place_of(resource: Resource) -> Place:
    return resource.group, resource.plural


class Stored(NamedTuple):
    """One object as it was at a version. Shared; nobody changes it."""

    key: Key
    version: int
    body: bytes
    """JSON without kind and apiVersion."""
    labels: Mapping[str, str]

    def decode(self, resource: Resource) -> Object:
        """A copy of one's own."""
        return {"kind": resource.kind, "apiVersion": resource.api_version, **orjson.loads(self.body)}

    def encode(self, resource: Resource) -> bytes:
        return b'{"kind":"%s","apiVersion":"%s",%s' % (
            resource.kind.encode(), resource.api_version.encode(), self.body[1:]
        )  # fmt: skip


class Rest(NamedTuple):
    """What of a list is still to be told."""

    version: int
    listed: Sequence[Stored]
    start: int = 0


class Change(NamedTuple):
    type: str
    version: int
    place: Place
    stored: Stored
    """At a deletion: as it was last, with the deletion's version."""
    old: Stored | None


class Store:
    def __init__(self) -> None:
        self._objects: dict[Place, dict[Key, Stored]] = {}
        self._order: dict[Place, list[Key]] = {}
        self._history: deque[Change] = deque(maxlen=HISTORY)
        self._snapshots: dict[str, Rest] = {}
        self._listed: dict[tuple[Place, str], Sequence[Stored]] = {}
        """Whole lists by place and namespace, until something in the place changes."""
        self._tokens = itertools.count(1)
        self._forgotten = 0
        """Version before which no change is known any more."""
        self.version = 1
        self.listeners: list[Callable[[Change], None]] = []
        """Told of every change, in order."""

    # --- reading

    def get(self, resource: Resource, key: Key) -> Stored | None:
        return self._objects.get(place_of(resource), {}).get(key)

    def objects(self, resource: Resource, namespace: str = "") -> Sequence[Stored]:
        """In the order of namespaces and names. What is returned does not change any more."""
        place = place_of(resource)
        listed = self._listed.get((place, namespace))
        if listed is None:
            listed = self._listed[place, namespace] = tuple(self._in_order(place, namespace))
        return listed

    def _in_order(self, place: Place, namespace: str) -> Iterator[Stored]:
        found, order = self._objects.get(place, {}), self._order.get(place, [])
        start = bisect.bisect_left(order, Key(namespace, "")) if namespace else 0
        for key in order[start:]:
            if namespace and key.namespace != namespace:
                return
            yield found[key]

    def places(self) -> list[Place]:
        return [place for place, objects in self._objects.items() if objects]

    def in_namespace(self, namespace: str) -> list[tuple[Place, Key]]:
        found = ((place, key) for place, objects in self._objects.items() for key in objects)
        return [(place, key) for place, key in found if key.namespace == namespace]

    def since(self, version: int) -> list[Change]:
        """Changes after a version. Raises Gone when some of them are forgotten."""
        if version < self._forgotten or version > self.version:
            # A version of the future is one from before this store went back.
            raise Gone(f"too old resource version: {version} ({self._forgotten + 1})")
        return [change for change in self._history if change.version > version]

    # --- pages

    def page(self, rest: Rest, limit: int) -> tuple[Sequence[Stored], str]:
        """The first of a list, and the token for what is left."""
        start, left = rest.start, len(rest.listed) - rest.start
        if not limit or left <= limit:
            return rest.listed[start:], ""
        token = base64.urlsafe_b64encode(orjson.dumps({"v": "meta.k8s.io/v1", "n": next(self._tokens)})).decode()
        self._snapshots[token] = rest._replace(start=start + limit)
        while len(self._snapshots) > SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        return rest.listed[start : start + limit], token

    def continued(self, token: str) -> Rest:
        """Raises Gone, BadRequest."""
        found = self._snapshots.get(token)
        if found is None:
            if not token.startswith("eyJ"):
                raise BadRequest("invalid continue token: continue key is not valid")
            raise Gone("The provided continue parameter is too old to display a consistent list result.")
        return found

    # --- writing

    def put(self, resource: Resource, obj: Object) -> Stored:
        """`obj` gets its version. It replaces what is there, whatever that is."""
        place, key = place_of(resource), key_of(obj)
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        body = orjson.dumps({name: value for name, value in obj.items() if name not in ("kind", "apiVersion")})
        stored = Stored(key, self.version, body, obj["metadata"].get("labels") or {})
        old = self._objects.setdefault(place, {}).get(key)
        self._objects[place][key] = stored
        if old is None:
            bisect.insort(self._order.setdefault(place, []), key)
        self._tell(Change(ADDED if old is None else MODIFIED, self.version, place, stored, old))
        return stored

    def remove(self, resource: Resource, key: Key) -> Stored | None:
        return self.remove_at(place_of(resource), key)

    def remove_at(self, place: Place, key: Key) -> Stored | None:
        old = self._objects.get(place, {}).pop(key, None)
        if old is None:
            return None
        order = self._order[place]
        del order[bisect.bisect_left(order, key)]
        self.version += 1
        content: dict[str, Any] = orjson.loads(old.body)
        content["metadata"]["resourceVersion"] = str(self.version)
        last = Stored(key, self.version, orjson.dumps(content), old.labels)
        self._tell(Change(DELETED, self.version, place, last, old))
        return last

    def fill(self, resource: Resource, objects: Iterable[Stored]) -> None:
        """Objects that were there before anybody looked, without a change each."""
        place = place_of(resource)
        self._objects.setdefault(place, {}).update({stored.key: stored for stored in objects})
        self._order[place] = sorted(self._objects[place])
        self._changed(place)
        self._forgotten = self.version

    def _tell(self, change: Change) -> None:
        self._changed(change.place)
        if len(self._history) == HISTORY:
            self._forgotten = self._history[0].version
        self._history.append(change)
        for listener in list(self.listeners):
            listener(change)

    def _changed(self, place: Place) -> None:
        for known in [known for known in self._listed if known[0] == place]:
            del self._listed[known]

    # --- trouble

    def forget(self) -> None:
        """Compaction: no watch can begin before now, and no list goes on."""
        self._history.clear()
        self._snapshots.clear()
        self._forgotten = self.version

    def go_back(self, version: int) -> None:
        """Versions start again from a smaller one, as after the restore of a snapshot; objects stay."""
        self._history.clear()
        self._snapshots.clear()
        self.version = version
        self._forgotten = version
        self._listed.clear()
        for place, objects in self._objects.items():
            for key, stored in objects.items():
                content = orjson.loads(stored.body)
                content["metadata"]["resourceVersion"] = str(min(stored.version, version))
                self._objects[place][key] = stored._replace(
                    version=min(stored.version, version), body=orjson.dumps(content)
                )
