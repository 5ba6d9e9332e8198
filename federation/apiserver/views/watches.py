"""
WATCH over members: their streams become one. Each event carries, as its version, how far all members have been seen,
so a client goes on from any event.

A member whose stream ends by itself is asked again; one whose stream breaks ends the watch with 410, so that the
client lists again and learns who is left. A member that was not there at the start comes in when it answers.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from cluster.api.resources import Resource
from cluster.apiserver.negotiation import OBJECT, PARTIAL, TABLE
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, Gone
from federation.apiserver.views import marks, versions
from federation.apiserver.views.asking import ANSWER_SECONDS, BROKEN, UnansweredError, accept, ask
from federation.apiserver.views.lists import Wanted
from federation.membership.member_clients import Member

RETURN_SECONDS = 2.0
"""Between two looks at a member that did not answer."""
_LINE_LIMIT = 16 << 20
_INITIAL_END = "k8s.io/initial-events-end"


class _EndedError(Exception):
    """The watch is over; `fault` is for the client."""

    def __init__(self, fault: ApiError) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(slots=True)
class MergedWatch:
    wanted: Wanted
    bookmarks: bool
    seen: dict[str, str]
    """By cluster, the version up to which the client knows its objects; grows while the watch runs."""
    response: web.StreamResponse
    _columns: marks.Columns = field(default_factory=marks.Columns)
    _named: dict[str, list[str]] = field(default_factory=dict)
    """Names of each member's columns."""
    _headed: bool = False
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, members: Sequence[Member], seconds: float, *, initial: bool, tell_end: bool) -> None:
        """
        Until the time is over, or a stream breaks: then the client is told by an event.

        Args:
            initial: begin with all there is.
            tell_end: and say when that is done.
        """
        ended: list[ApiError] = []
        try:
            async with asyncio.timeout(seconds):
                await self._merge(members, ended, initial=initial, tell_end=tell_end)
        except TimeoutError:
            if self.bookmarks:
                await self._bookmark()
        if ended:
            await self.error(ended[0])

    async def _merge(self, members: Sequence[Member], ended: list[ApiError], *, initial: bool, tell_end: bool) -> None:
        if initial:
            await self._start(members)
            if tell_end and self.bookmarks:
                await self._bookmark(initial_end=True)
        try:
            async with asyncio.TaskGroup() as tasks:
                for member in members:
                    tasks.create_task(self._follow(member), name=f"watch {member.name}")
                tasks.create_task(asyncio.Event().wait(), name="without members a watch is quiet")
        except* _EndedError as faults:
            ended += [fault.fault for fault in faults.exceptions if isinstance(fault, _EndedError)]

    async def error(self, fault: ApiError) -> None:
        await self._write("ERROR", fault.status)

    # One member.

    async def _start(self, members: Sequence[Member]) -> None:
        async def one(member: Member) -> None:
            with contextlib.suppress(UnansweredError, ApiError):
                await self._state(member)

        await asyncio.gather(*(one(member) for member in members))

    async def _state(self, member: Member) -> None:
        """All there is, as ADDED. Raises UnansweredError, ApiError."""
        wanted = self.wanted
        found = await ask(member, wanted.path, wanted.params, accept(wanted.view, many=True))
        version = str((found.get("metadata") or {}).get("resourceVersion") or "")
        if wanted.view.shape == TABLE:
            rows = found.pop("rows", None) or []
            for row in rows:
                await self._event(member.name, "ADDED", {**found, "rows": [row]}, version)
        else:
            names = {"kind": wanted.resource.kind, "apiVersion": wanted.resource.api_version}
            if wanted.view.shape == PARTIAL:
                names = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{wanted.view.version}"}
            for item in found.get("items") or []:
                await self._event(member.name, "ADDED", {**names, **item}, version)
        self.seen[member.name] = version

    async def _follow(self, member: Member) -> None:
        while member.name not in self.seen:
            try:
                await self._state(member)
            except (UnansweredError, ApiError):
                await asyncio.sleep(RETURN_SECONDS)
        while True:
            try:
                async with contextlib.aclosing(self._events(member)) as events:
                    async for kind, obj in events:
                        await self._event(member.name, kind, obj, _version(obj))
            except ApiError as fault:
                raise _EndedError(Gone(f"the watch of cluster {member.name} ended: {fault.message}")) from fault
            except BROKEN as fault:
                why = str(fault) or type(fault).__name__
                raise _EndedError(Gone(f"the watch of cluster {member.name} broke: {why}; list again")) from fault

    async def _events(self, member: Member) -> AsyncGenerator[tuple[str, Object]]:
        """Until the member ends its stream. Raises ApiError and what a broken connection raises."""
        wanted = self.wanted
        params = {
            **wanted.params, "watch": "true", "allowWatchBookmarks": "true",
            "resourceVersion": self.seen[member.name],
        }  # fmt: skip
        head = {"Accept": accept(wanted.view, many=False)}
        async with asyncio.timeout(ANSWER_SECONDS * 5) as limit:
            async with member.client.stream("GET", wanted.path, params=params, headers=head) as answer:
                limit.reschedule(None)
                if answer.status >= 400:
                    raise ApiError(f"it answered {answer.status}", code=answer.status)
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    if len(rest) > _LINE_LIMIT:
                        raise ConnectionError("it sent an event without end")
                    for line in lines:
                        if not line.strip():
                            continue
                        event = orjson.loads(line)
                        if event["type"] == "ERROR":
                            raise ApiError(str(event["object"].get("message")), code=410)
                        yield event["type"], event["object"]

    # Towards the client.

    async def _event(self, cluster: str, kind: str, obj: Object, version: str) -> None:
        if kind == "BOOKMARK":
            self.seen[cluster] = version or self.seen[cluster]
            if self.bookmarks:
                await self._bookmark()
            return
        async with self._writing:
            before = self.seen.get(cluster)
            token = versions.pack({**self.seen, **({cluster: version} if before is not None else {})})
            if before is not None and version:
                self.seen[cluster] = version
            await self._send(kind, self._shown(cluster, obj, token))

    def _shown(self, cluster: str, obj: Object, token: str) -> Object:
        if self.wanted.view.shape != TABLE:
            marks.mark(obj, cluster)["metadata"]["resourceVersion"] = token
            return obj
        if obj.get("columnDefinitions"):
            self._named[cluster] = marks.column_names(obj)
        rows = self._columns.take(obj, cluster, self._named.get(cluster, []))
        for row in rows:
            if isinstance(row.get("object"), dict):
                row["object"]["metadata"]["resourceVersion"] = token
        shown = {**obj, "metadata": {"resourceVersion": token}, "rows": rows}
        shown["columnDefinitions"] = None if self._headed else self._columns.definitions
        self._headed = True
        return shown

    async def _bookmark(self, *, initial_end: bool = False) -> None:
        metadata: Object = {"resourceVersion": versions.pack(self.seen)}
        if initial_end:
            metadata["annotations"] = {_INITIAL_END: "true"}
        await self._write("BOOKMARK", _bookmark(self.wanted, metadata))

    async def _write(self, kind: str, obj: Object) -> None:
        async with self._writing:
            await self._send(kind, obj)

    async def _send(self, kind: str, obj: Object) -> None:
        await self.response.write(orjson.dumps({"type": kind, "object": obj}) + b"\n")


def _bookmark(wanted: Wanted, metadata: Object) -> Object:
    resource: Resource = wanted.resource
    view = wanted.view
    if view.shape == OBJECT:
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{view.version}", "metadata": metadata}
    if view.shape == PARTIAL:
        return partial
    head = {"kind": "Table", "apiVersion": f"meta.k8s.io/{view.version}"}
    table = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "columnDefinitions": None}
    return {**head, **table, "rows": [{"cells": [], "object": partial}]}


def _version(obj: Object) -> str:
    """Of an event: the object's, or the one in a Table's only row."""
    if obj.get("kind") == "Table":
        rows = obj.get("rows") or []
        inner: Mapping[str, object] = ((rows[0].get("object") or {}).get("metadata") or {}) if rows else {}
        return str(inner.get("resourceVersion") or (obj.get("metadata") or {}).get("resourceVersion") or "")
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")
