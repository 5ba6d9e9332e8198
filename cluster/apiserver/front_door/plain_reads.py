"""
Plain reads: a GET of one object or a LIST, of somebody whom and whose rights we know, of what memory holds.

Each step either is sure or leaves the request to the handler behind the door; no refusal and no error is made here,
so there is one place for the words of those. What was found out about a user, a URL or the right of one to the other
is kept for as long as nothing that it came from has changed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cluster.apiserver import list_options, selection, views
from cluster.apiserver.authentication import Authenticator
from cluster.apiserver.authorization import UnionAuthorizer
from cluster.apiserver.deadlines import seconds_allowed
from cluster.apiserver.flow_control.controller import list_width
from cluster.apiserver.front_door.heads import KnownHeaders
from cluster.apiserver.front_door.known_rights import Asking, KnownRights
from cluster.apiserver.in_flight import InFlight, Place
from cluster.apiserver.list_options import ListOptions
from cluster.apiserver.lists import Lister, for_memory
from cluster.apiserver.negotiation import OBJECT, PARTIAL, View
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.router import Route, route, segments_are_safe
from cluster.apiserver.selection import Matches
from cluster.machinery.status_errors import ApiError
from cluster.store.watch_cache import WatchCache

KNOWN_TARGETS = 4096
_NAME = re.compile(rb"[A-Za-z0-9][-A-Za-z0-9._:]*")
_PLACEHOLDER = "x"
_PARAMETERS = frozenset(
    ["resourceVersion", "resourceVersionMatch", "limit", "labelSelector", "fieldSelector", "timeout"]
)


@dataclass(slots=True, eq=False)
class Reading(Asking):
    ended: Callable[[float], None]
    """To be told of every answer: seconds."""
    consistent: bool
    """Answered from memory once it holds all that was written before."""
    options: ListOptions | None = None
    """Of a list; None for one object."""
    matches: Matches = selection.everything


@dataclass(slots=True)
class Read:
    """One request."""

    reading: Reading
    user: UserInfo
    name: str
    view: View
    began: float
    place: Place
    _reads: "PlainReads"

    def answer(self) -> tuple[bytes, ...] | None:
        """The body in pieces, from memory as it is now; None leaves it to the handler."""
        return self._reads.answer(self)

    def close(self) -> None:
        """It runs no longer; its answer may still be on the way."""
        self.place.leave()


class PlainReads:
    def __init__(
        self,
        registry: Registry,
        cache: WatchCache,
        lister: Lister,
        authenticator: Authenticator,
        authorizer: UnionAuthorizer,
        in_flight: InFlight,
        elsewhere: Callable[[Route], bool],
    ) -> None:
        """
        Args:
            elsewhere: whether another server has to answer this.
        """
        self._registry = registry
        self.cache = cache
        self._lister = lister
        self._authenticator = authenticator
        self.in_flight = in_flight
        self._elsewhere = elsewhere
        self._headers = KnownHeaders()
        self._exact: dict[bytes, Reading | None] = {}
        self._named: dict[tuple[bytes, bytes], Reading | None] = {}
        self._rights = KnownRights(registry, authorizer, in_flight, self._forget)

    def open(self, target: bytes, block: bytes, peer: bytes | None, now: float) -> Read | None:
        """
        The read that this head asks for, allowed and counted as running; None leaves it to the handler.

        Args:
            target: path and query.
            block: header lines.
            peer: the connection's client certificate.
            now: when it began (perf_counter).
        """
        head = self._headers.read(block)
        if head is None:
            return None
        user = self._authenticator.recall(head.token, peer)
        if user is None:
            return None
        name = ""
        reading = self._exact.get(target)
        if reading is None:
            reading, name = self._find(target)
            if reading is None:
                return None
        kind = reading.kind
        if self._registry.find(kind.resource.group, kind.resource.version, kind.resource.plural) is not kind:
            self._forget()
            return None
        if head.view.shape != OBJECT and (head.view.shape != PARTIAL or reading.options is not None):
            return None
        if self._elsewhere(reading.route) or not self._rights.allows(reading, user):
            return None
        if self.in_flight.draining:
            return None
        width = list_width(kind, reading.route.namespace) if reading.options is not None else 1
        place = self.in_flight.try_enter_read(self._rights.flow(reading, user), width)
        return None if place is None else Read(reading, user, name, head.view, now, place, self)

    def answer(self, read: Read) -> tuple[bytes, ...] | None:
        reading = read.reading
        kind = reading.kind
        if reading.options is not None:
            return self._lister.parts(kind, reading.route.namespace, reading.options, reading.matches)
        entry = kind.cache.get(reading.route.namespace, read.name)
        if entry is None or entry.api_version != kind.resource.api_version:
            return None
        if read.view.shape == PARTIAL:
            return (views.one(kind, entry, read.view),)
        return (kind.whole(entry),)

    def _forget(self) -> None:
        self._exact.clear()
        self._named.clear()

    def _find(self, target: bytes) -> tuple[Reading | None, str]:
        path, _, query = target.partition(b"?")
        base, _, last = path.rpartition(b"/")
        if _NAME.fullmatch(last):
            key = (base, query)
            try:
                reading = self._named[key]
            except KeyError:
                reading = self._remember(self._named, key, partial(self._read_object, base, query))
            if reading is not None:
                return reading, last.decode()
        if target in self._exact:
            return None, ""
        return self._remember(self._exact, target, partial(self._read_list, path, query)), ""

    @staticmethod
    def _remember(known: dict, key: object, read: partial[Reading | None]) -> Reading | None:  # type: ignore[type-arg]
        if len(known) >= KNOWN_TARGETS:
            known.clear()
        try:
            found = read()
        except (ApiError, UnicodeDecodeError, ValueError):
            found = None  # the handler says what is wrong with it
        known[key] = found
        return found

    def _read_object(self, base: bytes, query: bytes) -> Reading | None:
        found = route("GET", f"{base.decode()}/{_PLACEHOLDER}", query.decode())
        kind = self._kind(found, "get")
        if kind is None or found.name != _PLACEHOLDER or kind.resource.namespaced != bool(found.namespace):
            return None
        version = found.query.get("resourceVersion", "")
        return (
            Reading(found, kind, self.in_flight.ended_with(found, 200), version == "") if version in ("", "0") else None
        )

    def _read_list(self, path: bytes, query: bytes) -> Reading | None:
        found = route("GET", path.decode(), query.decode())
        kind = self._kind(found, "list")
        if kind is None or found.name or (found.namespace and not kind.resource.namespaced):
            return None
        options = list_options.parse(found)
        if not for_memory(options) or options.resource_version not in ("", "0"):
            return None
        matches = selection.build(kind.resource, options.label_selector, options.field_selector)
        ended = self.in_flight.ended_with(found, 200)
        return Reading(found, kind, ended, options.resource_version == "", options, matches)

    def _kind(self, found: Route, verb: str) -> Kind | None:
        """The kind of a URL that this verb reads and that has no peculiarity."""
        if found.verb != verb or found.subresource or not segments_are_safe(found):
            return None
        if not found.query.keys() <= _PARAMETERS:
            return None
        seconds_allowed(found, 1.0)  # raises for a time that the handler refuses
        kind = self._registry.find(found.group, found.version, found.resource)
        return kind if kind is not None and verb in kind.resource.verbs else None
