"""
Notices what happens in the runtime: lists it when its events say so, and now and then anyway.

A list compares with the one before; only pods whose containers changed are woken (upstream calls this PLEG).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from cluster.kubelet.runtime import ContainerRuntime, RuntimeFault

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.03
"""containerd tells of an exit at once; its CRI part notes it some milliseconds later."""
SECOND_LOOK_SECONDS = 0.4
POLL_SECONDS = 1.0
"""Between lists when the runtime has no events. Source: upstream's generic PLEG."""

PodState = frozenset[tuple[str, str]]


class RuntimeWatch:
    def __init__(
        self,
        runtime: ContainerRuntime,
        relist_interval: float,
        changed: Callable[[str], None],
        seen: Callable[[set[str]], None],
    ) -> None:
        """
        Args:
            changed: called with the uid of a pod whose containers or sandbox changed.
            seen: called after each list with the uids of all pods that the runtime holds anything of.
        """
        self._runtime, self._changed, self._seen = runtime, changed, seen
        self._interval = relist_interval
        self._poked = asyncio.Event()
        self._known: dict[str, PodState] = {}
        self._has_events = False

    def poke(self) -> None:
        """List soon."""
        self._poked.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="runtime events")
            group.create_task(self._keep_listing(), name="runtime list")

    async def _listen(self) -> None:
        while True:
            try:
                self._has_events = True
                async for _ in self._runtime.events():
                    self._poked.set()
            except RuntimeFault as fault:
                self._has_events = False
                if fault.code == "UNIMPLEMENTED":
                    log.info("the runtime has no events; it is listed every %g s", POLL_SECONDS)
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def _keep_listing(self) -> None:
        while True:
            second_look = self._poked.is_set()
            self._poked.clear()
            try:
                await self.relist()
            except RuntimeFault as fault:
                log.warning("cannot list the runtime: %s", fault)
            wait = self._interval if self._has_events else POLL_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SECOND_LOOK_SECONDS if second_look else wait):
                    await self._poked.wait()
                    await asyncio.sleep(SETTLE_SECONDS)

    async def relist(self) -> None:
        """Raises RuntimeFault."""
        found: dict[str, set[tuple[str, str]]] = {}
        for sandbox in await self._runtime.list_sandboxes():
            found.setdefault(sandbox.uid, set()).add((sandbox.id, str(sandbox.ready)))
        for container in await self._runtime.list_containers():
            found.setdefault(container.pod_uid, set()).add((container.id, container.state))
        now = {uid: frozenset(state) for uid, state in found.items()}
        before, self._known = self._known, now
        for uid in before.keys() | now.keys():
            if before.get(uid) != now.get(uid):
                self._changed(uid)
        self._seen(set(now))
