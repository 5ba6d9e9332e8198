"""Whether a member answers: when it does not, its link asks it alone whether it is back, and sends nothing else."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from cluster.client.rest import ApiClient
from federation.membership.probe import probe

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 4.0  # seconds between questions; doubles


class Reach:
    """`run` in a task; `await reached()` before each piece of work."""

    def __init__(self, name: str, client: ApiClient, on_return: Callable[[], None]) -> None:
        self._name, self._client, self._on_return = name, client, on_return
        self._open = asyncio.Event()
        self._open.set()
        self._lost = asyncio.Event()
        self._hint = asyncio.Event()

    async def reached(self) -> None:
        await self._open.wait()

    def lost(self) -> None:
        self._open.clear()
        self._lost.set()

    def look_now(self) -> None:
        """Somebody else has reached the member: ask at once, and not when the pause is over."""
        self._hint.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._lost.wait()
            pause, why = FIRST_PAUSE, ""
            self._hint.clear()
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hint.wait(), pause)
                self._hint.clear()
                pause = min(pause * 2, LONGEST_PAUSE)
                before, why = why, await probe(self._client)
                if not why:
                    break
                if not before:
                    log.info("cluster %s does not answer; what it is to have waits: %s", self._name, why)
            self._lost.clear()
            self._open.set()
            self._on_return()
