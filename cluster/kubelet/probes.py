"""
Startup, liveness and readiness probes of one pod's containers: one task a probed container.

The worker reads `findings()` and is woken when they change.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from cluster.kubelet.handlers import HandlerFailed, Handlers
from cluster.kubelet.pod_plan import Observation, ProbeFindings
from cluster.kubelet.pods import PodContainer, all_containers
from cluster.kubelet.runtime import Container, ContainerState
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

Recorder = Callable[[str, str, str, str], None]
"""(container name, type, reason, message)."""


def has_probes(container: Object) -> bool:
    return any(container.get(kind) for kind in ("startupProbe", "livenessProbe", "readinessProbe"))


class PodProbes:
    def __init__(self, handlers: Handlers, changed: Callable[[], None], record: Recorder) -> None:
        self._handlers, self._changed, self._record = handlers, changed, record
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._started: set[str] = set()
        self._ready: set[str] = set()
        self._failed: dict[str, str] = {}

    def findings(self) -> ProbeFindings:
        return ProbeFindings(frozenset(self._started), frozenset(self._ready), dict(self._failed))

    def follow(self, pod: Object, observed: Observation) -> None:
        """Probe what runs, stop probing what does not."""
        running = {c.id: c for c in observed.containers if c.state is ContainerState.RUNNING}
        for gone in self._tasks.keys() - running.keys():
            self._tasks.pop(gone).cancel()
        for known in (self._started, self._ready):
            known.intersection_update(running)
        self._failed = {key: why for key, why in self._failed.items() if key in running}
        before = _reported(pod)
        for item in all_containers(pod):
            run = observed.latest(item.name)
            if run is None or run.id not in running or run.id in self._tasks:
                continue
            if not has_probes(item.spec):
                self._started.add(run.id)
                self._ready.add(run.id)
                continue
            # A kubelet that was restarted goes on from what it had reported of the same container.
            was_started, was_ready = before.get(run.id, (False, False))
            if was_started or not item.spec.get("startupProbe"):
                self._started.add(run.id)
                if was_ready or not item.spec.get("readinessProbe"):
                    self._ready.add(run.id)
            ip = observed.sandbox.ips[0] if observed.sandbox is not None and observed.sandbox.ips else ""
            ip = ip or (pod.get("status") or {}).get("hostIP") or "127.0.0.1"
            self._tasks[run.id] = asyncio.create_task(self._probe(item, run, ip), name=f"probes {item.name}")

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def unready(self) -> None:
        """The pod is ending: readiness is over, liveness no longer matters."""
        self._ready.clear()
        self._failed.clear()

    async def _probe(self, item: PodContainer, run: Container, ip: str) -> None:
        try:
            await self._probe_in_turn(item, run, ip)
        except* Exception as unforeseen:
            # Nobody awaits this task: without a word the container would stay unprobed and nobody knew why.
            log.exception("container %s is not probed any more", item.name, exc_info=unforeseen)

    async def _probe_in_turn(self, item: PodContainer, run: Container, ip: str) -> None:
        spec = item.spec
        if spec.get("startupProbe") and run.id not in self._started:
            if not await self._wait_started(item, run, ip):
                return
            self._started.add(run.id)
            if not spec.get("readinessProbe"):
                self._ready.add(run.id)
            self._changed()
        async with asyncio.TaskGroup() as group:
            if spec.get("livenessProbe"):
                group.create_task(self._watch_liveness(item, run, ip))
            if spec.get("readinessProbe"):
                group.create_task(self._watch_readiness(item, run, ip))

    async def _wait_started(self, item: PodContainer, run: Container, ip: str) -> bool:
        probe = item.spec["startupProbe"]
        failures = 0
        await _initial_delay(probe, run)
        while True:
            if await self._once("Startup", probe, item, run, ip):
                return True
            failures += 1
            if failures >= int(probe.get("failureThreshold") or 3):
                self._failed[run.id] = "startup"
                self._changed()
                return False
            await asyncio.sleep(_period(probe))

    async def _watch_liveness(self, item: PodContainer, run: Container, ip: str) -> None:
        probe = item.spec["livenessProbe"]
        failures = 0
        await _initial_delay(probe, run)
        while True:
            failures = 0 if await self._once("Liveness", probe, item, run, ip) else failures + 1
            if failures >= int(probe.get("failureThreshold") or 3):
                self._failed[run.id] = "liveness"
                self._changed()
                return
            await asyncio.sleep(_period(probe))

    async def _watch_readiness(self, item: PodContainer, run: Container, ip: str) -> None:
        probe = item.spec["readinessProbe"]
        streak = 0  # positive for successes, negative for failures
        await _initial_delay(probe, run)
        while True:
            good = await self._once("Readiness", probe, item, run, ip)
            streak = max(streak, 0) + 1 if good else min(streak, 0) - 1
            is_ready = run.id in self._ready
            if not is_ready and streak >= int(probe.get("successThreshold") or 1):
                self._ready.add(run.id)
                self._changed()
            elif is_ready and -streak >= int(probe.get("failureThreshold") or 3):
                self._ready.discard(run.id)
                self._changed()
            await asyncio.sleep(_period(probe))

    async def _once(self, kind: str, probe: Object, item: PodContainer, run: Container, ip: str) -> bool:
        seconds = int(probe.get("timeoutSeconds") or 1)
        try:
            # The runtime ends a command by itself; the second on top lets it say so.
            async with asyncio.timeout(seconds + (1 if probe.get("exec") else 0)):
                await self._handlers.run(probe, item.spec, run.id, ip, seconds)
        except TimeoutError:
            message = f"{kind} probe failed: context deadline exceeded: no answer within {seconds} s"
            self._record(item.name, "Warning", "Unhealthy", message)
            return False
        except HandlerFailed as failure:
            self._record(item.name, "Warning", "Unhealthy", f"{kind} probe failed: {failure}")
            return False
        return True


def _reported(pod: Object) -> dict[str, tuple[bool, bool]]:
    """Container id -> (started, ready) as the API has it."""
    status = pod.get("status") or {}
    return {
        str(entry["containerID"]).rpartition("//")[2]: (bool(entry.get("started")), bool(entry.get("ready")))
        for field in ("initContainerStatuses", "containerStatuses")
        for entry in status.get(field) or ()
        if entry.get("containerID")
    }


def _period(probe: Object) -> float:
    return float(probe.get("periodSeconds") or 10)


async def _initial_delay(probe: Object, run: Container) -> None:
    left = run.started_at / 1e9 + float(probe.get("initialDelaySeconds") or 0) - time.time()
    if left > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.sleep(left)
