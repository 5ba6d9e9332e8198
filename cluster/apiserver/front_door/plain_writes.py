"""
Plain writes: a create, update, patch or delete whose body is here, of somebody whom and whose rights we know.

As with reads, each step before the body is looked at either is sure or leaves the request to the handler behind the
door. From then on it is the handler's write path, and the words and rules of that.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from aiohttp import web

from cluster.apiserver import responses
from cluster.apiserver.authentication import Authenticator
from cluster.apiserver.authorization import UnionAuthorizer
from cluster.apiserver.front_door.deadlines import Deadlines
from cluster.apiserver.front_door.heads import KnownHeaders, WriteHead
from cluster.apiserver.front_door.known_rights import Asking, KnownRights
from cluster.apiserver.in_flight import InFlight, Place
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.router import Route, route, segments_are_safe
from cluster.apiserver.verbs import Call, Verbs
from cluster.machinery.status_errors import ApiError

BODY_LIMIT = 64 << 10
"""Bytes of a body that is waited for here; longer ones go to the handler as they come."""
KNOWN_TARGETS = 4096
_PLACEHOLDER = "x"
_VERBS = frozenset(["create", "update", "patch", "delete"])
_PARAMETERS = frozenset(["fieldManager", "fieldValidation", "dryRun", "force", "pretty"])

log = logging.getLogger(__name__)

Tell = Callable[[web.Response], None]


@dataclass(slots=True, eq=False)
class Writing(Asking):
    """What a method and URL ask for."""

    ended: dict[int, Callable[[float], None]] = field(default_factory=dict)
    """To be told of every answer, by status: seconds."""


@dataclass(slots=True)
class Write:
    """One request; it is the handler's `request` as far as writes look at it."""

    writing: Writing
    user: UserInfo
    name: str
    headers: Mapping[str, str]
    began: float
    size: int
    """Bytes of head and body."""
    body_at: int
    body: bytes = b""

    async def read(self) -> bytes:
        return self.body


class PlainWrites:
    def __init__(
        self,
        registry: Registry,
        verbs: Verbs,
        authenticator: Authenticator,
        authorizer: UnionAuthorizer,
        in_flight: InFlight,
        elsewhere: Callable[[Route], bool],
        request_timeout: float,
    ) -> None:
        """
        Args:
            elsewhere: whether another server has to answer this.
            request_timeout: seconds for all of a write.
        """
        self._registry = registry
        self._verbs = verbs
        self._authenticator = authenticator
        self.in_flight = in_flight
        self._elsewhere = elsewhere
        self._headers = KnownHeaders()
        self._known: dict[tuple[str, bytes, bytes], Writing | None] = {}
        self._rights = KnownRights(registry, authorizer, in_flight, self._known.clear)
        self._deadlines = Deadlines(request_timeout)

    def open(self, head: WriteHead, peer: bytes | None, now: float) -> Write | None:
        """
        The write that this head asks for, known and allowed; None leaves it to the handler.

        Args:
            peer: the connection's client certificate.
            now: when it began (perf_counter).
        """
        plain = self._headers.read(head.block)
        if plain is None or self.in_flight.draining:
            return None
        user = self._authenticator.recall(plain.token, peer)
        if user is None:
            return None
        writing, name = self._find(head)
        if writing is None:
            return None
        resource = writing.kind.resource
        if self._registry.find(resource.group, resource.version, resource.plural) is not writing.kind:
            self._known.clear()
            return None
        if self._elsewhere(writing.route) or not self._rights.allows(writing, user):
            return None
        return Write(writing, user, name, plain.headers, now, head.end + head.length, head.end)

    def start(self, write: Write, data: bytes, tell: Tell) -> "asyncio.Task[None] | None":
        """
        Do it, with head and body whole; `tell` gets the answer. Cancelled when nobody waits for that any more.

        None when there is no place for it at once: the handler lets it wait.
        """
        place = self.in_flight.try_enter_write(self._rights.flow(write.writing, write.user))
        if place is None:
            return None
        write.body = data[write.body_at :]
        task = asyncio.get_running_loop().create_task(self._run(write, place, tell))
        self._deadlines.begin(task)
        task.add_done_callback(partial(self._left, place))
        return task

    async def _run(self, write: Write, place: Place, tell: Tell) -> None:
        task = asyncio.current_task()
        try:
            response = await self._answer(write, place)
        except asyncio.CancelledError:
            if task is None or not self._deadlines.passed(task):
                raise
            task.uncancel()
            response = responses.error(responses.as_api_error(TimeoutError()))
        except Exception as fault:
            response = responses.error(responses.as_api_error(fault))
        finally:
            place.leave()
        ended = write.writing.ended.get(response.status)
        if ended is None:
            ended = self.in_flight.ended_with(write.writing.route, response.status)
            write.writing.ended[response.status] = ended
        ended(time.perf_counter() - write.began)
        tell(response)

    async def _answer(self, write: Write, place: Place) -> web.Response:
        asked = write.writing.route
        if write.name:
            path = asked.path[: -len(_PLACEHOLDER)] + write.name
            asked = replace(asked, path=path, name=write.name)
        call = Call(write, asked, write.user, write.writing.kind)
        try:
            response = await self._verbs.write(call)
        except ApiError as fault:
            if not call.warnings:
                raise
            response = responses.error(fault)
            responses.add_warnings(response, call.warnings)
        if place.flow is not None:
            response.headers.update(place.flow.headers)
        return response

    def _left(self, place: Place, task: "asyncio.Task[None]") -> None:
        """It has ended, or was cancelled before it began."""
        place.leave()
        self._deadlines.end(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("an answer to a write could not be given", exc_info=fault)

    def _find(self, head: WriteHead) -> tuple[Writing | None, str]:
        path, _, query = head.target.partition(b"?")
        name = ""
        if head.method != "POST":
            path, _, last = path.rpartition(b"/")
            name = last.decode()
            if not _is_plain(name):
                return None, ""
        key = (head.method, path, query)
        try:
            return self._known[key], name
        except KeyError:
            if len(self._known) >= KNOWN_TARGETS:
                self._known.clear()
            found = self._known[key] = self._writing(head.method, path, query)
            return found, name

    def _writing(self, method: str, path: bytes, query: bytes) -> Writing | None:
        text = path.decode() if method == "POST" else f"{path.decode()}/{_PLACEHOLDER}"
        try:
            found = route(method, text, query.decode())
        except ApiError:
            return None  # the handler says what is wrong with it
        if found.verb not in _VERBS or found.subresource or not segments_are_safe(found):
            return None
        if found.name != ("" if method == "POST" else _PLACEHOLDER) or not found.query.keys() <= _PARAMETERS:
            return None
        kind = self._registry.find(found.group, found.version, found.resource)
        if kind is None or found.verb not in kind.resource.verbs:
            return None
        return Writing(found, kind) if kind.resource.namespaced == bool(found.namespace) else None


def _is_plain(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace(".", "").isalnum() and name[0].isalnum()
