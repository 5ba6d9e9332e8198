"""
Clients that do random work on a few ConfigMaps and write down what they did and were told.

Each is sequential, as a real client is, and goes to another server when its own does not answer.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from tests.histories.operations import Operation, Seen
from tests.histories.servers import HEADERS, Servers

NAMESPACE = "history"
COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
COLORS = ("red", "blue")
PATIENCE = 8.0
"""Seconds until a client gives up on an answer."""
_MIX = {
    "get": 22, "get-any": 6, "list": 3, "list-pages": 2, "list-any": 2,
    "create": 14, "update": 26, "patch": 14, "apply": 4, "delete": 7,
}  # fmt: skip


def seen(obj: Mapping[str, Any]) -> Seen:
    metadata, data = obj["metadata"], obj.get("data") or {}
    return Seen(
        name=metadata["name"],
        revision=int(metadata["resourceVersion"]),
        mark=data.get("mark", ""),
        uid=metadata["uid"],
        parts=frozenset(part for part in data if part != "mark"),
    )


class Client:
    """`run` adds to `done` until `budget` is used up."""

    def __init__(self, number: int, servers: Servers, keys: int, done: list[Operation], seed: int) -> None:
        self._number = number
        self._servers = servers
        self._server = number % len(servers.apiservers)
        self._keys = [f"k{at:02}" for at in range(keys)]
        self._done = done
        self._random = random.Random(f"{seed}/{number}")
        self._writes = 0
        self._last: dict[str, Seen] = {}
        """What this client saw last of each key: conditions of its updates, often no longer true."""

    async def run(self, operations: int) -> None:
        connector = aiohttp.TCPConnector(limit=2)
        patience = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(connector=connector, headers=HEADERS, timeout=patience) as session:
            for _ in range(operations):
                verb = self._random.choices(list(_MIX), weights=list(_MIX.values()))[0]
                await self._one(session, verb)

    async def _one(self, session: aiohttp.ClientSession, verb: str) -> None:
        name = "" if verb.startswith("list") else self._random.choice(self._keys)
        op = Operation(self._number, self._server, verb, name, time.monotonic())
        try:
            await self._ask(session, op)
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError):
            op.status = 0
        op.end = time.monotonic()
        self._done.append(op)
        if op.status in (0, 500, 503, 504):
            self._server = (self._server + 1) % len(self._servers.apiservers)
            await asyncio.sleep(0.02)
        if op.verb == "delete":
            self._last.pop(op.name, None)
        elif op.seen is not None and op.status < 300:
            self._last[op.name] = op.seen

    def _mark(self) -> str:
        self._writes += 1
        return f"c{self._number}w{self._writes}"

    async def _ask(self, session: aiohttp.ClientSession, op: Operation) -> None:
        url = f"{COLLECTION}/{op.name}"
        match op.verb:
            case "get" | "get-any":
                await self._object(session, op, "GET", url + ("?resourceVersion=0" if op.verb == "get-any" else ""))
            case "list" | "list-any":
                query = "?resourceVersion=0" if op.verb == "list-any" else ""
                await self._list(session, op, [f"{COLLECTION}{query}"])
            case "list-pages":
                await self._list(session, op, [f"{COLLECTION}?limit={self._random.randint(2, 6)}"])
            case "delete":
                await self._delete(session, op, url)
            case _:
                await self._write(session, op, url)

    async def _send(
        self, session: aiohttp.ClientSession, op: Operation, method: str, path: str, body: Any = None, kind: str = ""
    ) -> Any:
        server = self._servers.apiservers[op.server]
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": kind or "application/json"} if data is not None else {}
        context = self._servers.context(server)
        async with session.request(method, server.url + path, data=data, headers=headers, ssl=context) as answer:
            found = orjson.loads(await answer.read())
            op.status = answer.status
            if answer.status >= 400:
                op.reason = str(found.get("message", ""))
            return found

    async def _object(self, session: aiohttp.ClientSession, op: Operation, *request: Any) -> None:
        found = await self._send(session, op, *request)
        if op.status < 300:
            op.seen = seen(found)

    async def _write(self, session: aiohttp.ClientSession, op: Operation, url: str) -> None:
        op.mark = self._mark()
        metadata: dict[str, Any] = {"name": op.name, "labels": {"color": self._random.choice(COLORS)}}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mark": op.mark}}
        match op.verb:
            case "create":
                await self._object(session, op, "POST", COLLECTION, obj)
            case "update":
                known = self._last.get(op.name)
                if known is not None and self._random.random() < 0.8:
                    op.expected = known.revision
                    metadata["resourceVersion"] = str(known.revision)
                await self._object(session, op, "PUT", url, obj)
            case "patch":
                change = {"data": {"mark": op.mark, f"p{op.mark}": "1"}}
                await self._object(session, op, "PATCH", url, change, "application/merge-patch+json")
            case "apply":
                query = "?fieldManager=history&force=true"
                await self._object(session, op, "PATCH", url + query, obj, "application/apply-patch+yaml")
            case _:
                raise ValueError(f"{op.verb} writes nothing")

    async def _delete(self, session: aiohttp.ClientSession, op: Operation, url: str) -> None:
        known, body = self._last.get(op.name), None
        if known is not None and self._random.random() < 0.5:
            op.expected = known.revision
            body = {"preconditions": {"resourceVersion": str(known.revision)}}
        found = await self._send(session, op, "DELETE", url, body)
        if op.status == 200:
            op.seen = Seen(op.name, 0, "", found["details"]["uid"])

    async def _list(self, session: aiohttp.ClientSession, op: Operation, paths: list[str]) -> None:
        """With a limit, all its pages."""
        items: list[Seen] = []
        revisions: list[int] = []
        while paths:
            path = paths.pop()
            found = await self._send(session, op, "GET", path)
            if op.status != 200:
                return
            items += map(seen, found["items"])
            revisions.append(int(found["metadata"]["resourceVersion"]))
            if token := found["metadata"].get("continue"):
                paths.append(f"{path.partition('&')[0]}&continue={token}")
        op.items, op.revision, op.revisions = tuple(items), revisions[0], tuple(revisions)
