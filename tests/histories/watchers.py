"""
Clients that watch all the time: from where they were, or anew with the initial state, all objects or those of a color.
"""

import asyncio
import contextlib
import random
import time

import aiohttp
import orjson

from tests.histories.clients import COLLECTION, COLORS, seen
from tests.histories.operations import Event, WatchSession
from tests.histories.servers import HEADERS, Servers


class Watcher:
    """`run` until cancelled; every session is in `sessions` from its begin."""

    def __init__(self, number: int, servers: Servers, sessions: list[WatchSession], seed: int) -> None:
        self._number = number
        self._servers = servers
        self._sessions = sessions
        self._random = random.Random(f"watch {seed}/{number}")
        self._color = ("", *COLORS)[number % 3]
        self._reached = 0
        self._current: WatchSession | None = None
        self._whole = False
        """Whether the present session has told the state it began from."""
        self._leave: asyncio.Timeout | None = None

    def stay(self) -> None:
        """No more changes come: the present session stays open to the end."""
        if self._leave is not None and not self._leave.expired():
            self._leave.reschedule(None)

    def mark_live(self) -> None:
        """What is open now has had the time to tell all."""
        if self._current is not None:
            self._current.live_at_end = True

    async def run(self) -> None:
        async with aiohttp.ClientSession(headers=HEADERS, read_bufsize=1 << 22) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with asyncio.timeout(self._random.uniform(0.5, 6)) as self._leave:
                        await self._watch(session)
                self._current = self._leave = None
                await asyncio.sleep(0.05)

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        at = self._random.randrange(len(self._servers.apiservers))
        server = self._servers.apiservers[at]
        again = self._reached and self._random.random() < 0.8
        one = WatchSession(self._number, at, self._reached if again else 0, self._color, time.monotonic())
        query = f"?watch=true&allowWatchBookmarks=true&resourceVersion={one.since or ''}"
        if not one.since:
            query += "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        if self._color:
            query += f"&labelSelector=color%3D{self._color}"
        context = self._servers.context(server)
        patience = aiohttp.ClientTimeout(total=None, sock_connect=3)
        async with session.get(f"{server.url}{COLLECTION}{query}", ssl=context, timeout=patience) as answer:
            if answer.status != 200:
                return
            self._sessions.append(one)
            self._current, self._whole = one, bool(one.since)
            async for line in answer.content:
                if line.endswith(b"\n"):
                    self._take(one, orjson.loads(line))

    def _take(self, session: WatchSession, line: dict[str, object]) -> None:
        kind, obj = str(line["type"]), line["object"]
        assert isinstance(obj, dict)
        now = time.monotonic()
        if kind == "ERROR":
            session.events.append(Event(kind, None, int(obj["code"]), now))
            self._reached = 0
            return
        revision = int(obj["metadata"]["resourceVersion"])
        initial = (obj["metadata"].get("annotations") or {}).get("k8s.io/initial-events-end") == "true"
        told = None if kind == "BOOKMARK" else seen(obj)
        session.events.append(Event(kind, told, revision, now, initial))
        self._whole = self._whole or initial
        if self._whole:
            self._reached = revision
