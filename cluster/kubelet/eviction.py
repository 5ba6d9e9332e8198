"""
Gives the node room when memory or disk runs out: images first, then one pod at a time, the least deserving first.

`victims` and the texts are pure; `EvictionLoop` measures and acts. Source: upstream pkg/kubelet/eviction; only its
hard thresholds memory.available and nodefs.available are known here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.kubelet.node_facts import read_pressure
from cluster.kubelet.node_status import Pressure, threshold
from cluster.kubelet.pod_worker import PodWorker
from cluster.kubelet.pods import app_containers, is_critical, log_directory
from cluster.kubelet.resources import pod_requests, qos_class, requests_of
from cluster.kubelet.runtime import ContainerRuntime, ContainerState, ContainerUsage, RuntimeFault
from cluster.kubelet.settings import KubeletSettings
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
CONDITIONS = {"memory": "MemoryPressure", "ephemeral-storage": "DiskPressure"}


@dataclass(frozen=True, slots=True)
class Shortage:
    """`resource` is memory or ephemeral-storage; bytes."""

    resource: str
    available: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod and what it takes of what is short, in bytes: as a whole and container by container."""

    pod: Object
    usage: int
    containers: Mapping[str, int]


def shortages(pressure: Pressure, settings: KubeletSettings, memory_bytes: int) -> list[Shortage]:
    """Memory first: it kills faster."""
    found = [
        Shortage("memory", pressure.memory_available, threshold(settings.eviction_memory, memory_bytes)),
        Shortage(
            "ephemeral-storage", pressure.disk_available, threshold(settings.eviction_disk, pressure.disk_capacity)
        ),
    ]
    return [s for s in found if s.available < s.wanted]


def victims(candidates: Iterable[Candidate], resource: str) -> list[Candidate]:
    """Who goes first: above their request, then of low priority, then far above it. Critical pods never."""

    def rank(candidate: Candidate) -> tuple[bool, int, int]:
        excess = candidate.usage - int(pod_requests(candidate.pod).get(resource, 0))
        return excess <= 0, int(candidate.pod["spec"].get("priority") or 0), -excess

    return sorted((c for c in candidates if not is_critical(c.pod)), key=rank)


def eviction_message(shortage: Shortage, candidate: Candidate) -> str:
    parts = [
        f"The node was low on resource: {shortage.resource}. ",
        f"Threshold quantity: {_binary(shortage.wanted)}, available: {_binary(shortage.available)}. ",
    ]
    for container in app_containers(candidate.pod):
        used = candidate.containers.get(container.name, 0)
        request = int(requests_of(container.spec).get(shortage.resource, 0))
        if used > request:
            parts.append(
                f"Container {container.name} was using {_binary(used)}, request is {_binary(request)},"
                f" has larger consumption of {shortage.resource}. "
            )
    return "".join(parts)


def _binary(amount: int) -> str:
    """Bytes as the API writes quantities of memory: 100Mi, 52Ki."""
    for unit, size in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if amount and amount % size == 0:
            return f"{amount // size}{unit}"
    return f"{amount // 1024}Ki" if amount >= 1024 else str(amount)


def pressure_fault(pod: Object, resources: Iterable[str]) -> tuple[str, str] | None:
    """Reason and message when a node that lacks these takes no such pod in."""
    conditions = [CONDITIONS[resource] for resource in resources]
    if not conditions or is_critical(pod):
        return None
    tolerated = any(
        t.get("key") in (None, "node.kubernetes.io/memory-pressure") and t.get("effect") in (None, "NoSchedule")
        for t in pod["spec"].get("tolerations") or ()
    )
    if conditions == ["MemoryPressure"] and (qos_class(pod) != "BestEffort" or tolerated):
        return None
    return "Evicted", f"The node had condition: [{' '.join(conditions)}]. "


class EvictionLoop:
    def __init__(
        self,
        settings: KubeletSettings,
        memory_bytes: int,
        runtime: ContainerRuntime,
        workers: Mapping[str, PodWorker],
        free_images: Callable[[], Awaitable[object]],
    ) -> None:
        self._settings, self._memory, self._runtime = settings, memory_bytes, runtime
        self._workers, self._free_images = workers, free_images
        self.short_of: tuple[str, ...] = ()
        """Resources that were short at the last look."""

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (RuntimeFault, OSError) as fault:
                log.warning("room on the node is looked at again later: %s", fault)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> PodWorker | None:
        """Evict at most one pod; returns its worker. Raises RuntimeFault, OSError."""
        short = await self._shortages()
        if any(s.resource == "ephemeral-storage" for s in short):
            await self._free_images()
            short = await self._shortages()
        self.short_of = tuple(s.resource for s in short)
        if not short:
            return None
        log.warning("the node is short of %s", ", ".join(f"{s.resource} ({s.available} bytes left)" for s in short))
        usage = {u.container_id: u for u in await self._runtime.usage()}
        alive = {w.uid: w for w in self._workers.values() if w.observed.running and not w.is_ending}
        candidates = [await self._candidate(w, usage, short[0].resource) for w in alive.values()]
        ordered = victims(candidates, short[0].resource)
        if not ordered:
            log.warning("no pod on this node may be evicted")
            return None
        chosen = alive[ordered[0].pod["metadata"]["uid"]]
        chosen.evict("Evicted", eviction_message(short[0], ordered[0]))
        return chosen

    async def _shortages(self) -> Sequence[Shortage]:
        pressure = await asyncio.to_thread(read_pressure, self._settings.root_dir)
        return shortages(pressure, self._settings, self._memory)

    async def _candidate(self, worker: PodWorker, usage: Mapping[str, ContainerUsage], resource: str) -> Candidate:
        found: dict[str, int] = {}
        for run in worker.observed.containers:
            if run.state is ContainerState.RUNNING and run.id in usage:
                one = usage[run.id]
                found[run.name] = one.memory_working_set if resource == "memory" else one.writable_layer_bytes
        total = sum(found.values())
        if resource != "memory":
            directories = (
                self._settings.pods_dir / worker.uid,
                Path(log_directory(self._settings.log_dir, worker.pod)),
            )
            for directory in directories:
                total += await asyncio.to_thread(bytes_below, directory)
        return Candidate(worker.pod, total, found)


def bytes_below(directory: Path) -> int:
    """What the files there take on this file system; other mounts are left out. Blocking."""
    total, seen = 0, [directory]
    try:
        device = directory.stat().st_dev
    except OSError:
        return 0
    while seen:
        try:
            for entry in seen.pop().iterdir():
                found = entry.lstat()
                if found.st_dev != device:
                    continue
                total += found.st_blocks * 512
                if entry.is_dir() and not entry.is_symlink():
                    seen.append(entry)
        except OSError as error:  # pods delete their files while we count
            log.debug("not counted: %s", error)
    return total
