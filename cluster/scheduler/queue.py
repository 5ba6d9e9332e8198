"""
Pods that wait for a Node: ready ones by priority, failed ones for their backoff, hopeless ones for an event.

No I/O and no tasks; `pop` is the only thing that waits. A Pod that failed waits for something that could have
changed the verdict of the filters that refused it: a Node, a deleted Pod. Every five minutes it gets a chance
anyway. Source: kube-scheduler, backend/queue/scheduling_queue.go.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from cluster.machinery.objects import Object
from cluster.scheduler.pod_info import PodInfo

FIRST_BACKOFF = 1.0  # seconds
LAST_BACKOFF = 10.0  # seconds
MAX_UNSCHEDULABLE = 300.0  # seconds without an event until a Pod is tried again
SWEEP_INTERVAL = 30.0  # seconds between looks for those


class Change(Enum):
    """What happened in the cluster, as far as it may help a waiting Pod."""

    NODE_ADDED = auto()
    NODE_CHANGED = auto()
    POD_GONE = auto()
    POD_PLACED = auto()
    VOLUME_CHANGED = auto()


# Which filters may judge anew after a change. Source: each plugin's EventsToRegister.
HELPED: dict[Change, frozenset[str] | None] = {
    Change.NODE_ADDED: None,
    Change.NODE_CHANGED: None,
    Change.POD_GONE: frozenset({"NodeResourcesFit", "NodePorts", "InterPodAffinity", "PodTopologySpread"}),
    Change.POD_PLACED: frozenset({"InterPodAffinity", "PodTopologySpread"}),
    Change.VOLUME_CHANGED: frozenset({"VolumeBinding"}),
}


@dataclass(slots=True, eq=False)
class QueuedPod:
    info: PodInfo
    added: float
    """When it was first seen; earlier ones of a priority go first."""
    attempts: int = 0
    refused_by: frozenset[str] = frozenset()
    """Empty: the try failed for another reason, and any change may help."""
    since: float = 0.0
    """When it was put aside, or when its backoff ends."""


class SchedulingQueue:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pods: dict[str, QueuedPod] = {}
        """Everything that waits, by uid. What is popped is no longer here."""
        self._active: list[tuple[int, float, int, str]] = []
        self._backoff: list[tuple[float, int, str]] = []
        self._unschedulable: dict[str, QueuedPod] = {}
        self._flying: dict[str, set[Change]] = {}
        """Pods being scheduled, with what changed meanwhile."""
        self._count = itertools.count()
        self._wake = asyncio.Event()
        self._gated: set[str] = set()
        self._swept = clock()

    def __len__(self) -> int:
        return len(self._pods)

    def counts(self) -> dict[str, int]:
        """Pods by part of the queue, named as the metric scheduler_pending_pods names them."""
        backoff = sum(1 for _, _, uid in self._backoff if uid in self._pods and uid not in self._unschedulable)
        return {
            "active": len(self._pods) - len(self._unschedulable) - backoff - len(self._gated),
            "backoff": backoff,
            "unschedulable": len(self._unschedulable),
            "gated": len(self._gated),
        }

    def set(self, info: PodInfo) -> None:
        """A Pod without a Node was added or changed."""
        uid = info.uid
        if uid in self._flying:
            self._flying[uid].add(Change.NODE_CHANGED)  # it itself changed: no verdict about it holds
            return
        queued = self._pods.get(uid)
        if queued is None:
            queued = self._pods[uid] = QueuedPod(info, self._clock())
            self._admit(queued)
            return
        changed = _what_counts(queued.info.pod) != _what_counts(info.pod)
        queued.info = info
        if uid in self._gated:
            self._gated.discard(uid)
            self._admit(queued)
        elif changed and uid in self._unschedulable:
            del self._unschedulable[uid]
            self._activate(queued)

    def remove(self, uid: str) -> None:
        """Deleted, or bound by whomever."""
        self._pods.pop(uid, None)
        self._unschedulable.pop(uid, None)
        self._gated.discard(uid)
        self._flying.pop(uid, None)

    async def pop(self) -> QueuedPod:
        """The next Pod to schedule. Say `done` or `put_back` afterwards."""
        while True:
            queued = self._take()
            if queued is not None:
                return queued
            self._wake.clear()
            try:
                async with asyncio.timeout(self._until_next()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def pop_now(self) -> QueuedPod | None:
        """The next Pod to schedule if there is one."""
        return self._take()

    def done(self, uid: str) -> None:
        self._flying.pop(uid, None)

    def put_back(self, queued: QueuedPod, refused_by: frozenset[str]) -> None:
        """No Node took it, or binding failed (nobody refused it then)."""
        uid = queued.info.uid
        meanwhile = self._flying.pop(uid, None)
        if meanwhile is None:
            return  # deleted while we tried
        queued.refused_by = refused_by
        self._pods[uid] = queued
        if not refused_by or any(_helps(change, refused_by) for change in meanwhile):
            self._back_off(queued)
        else:
            queued.since = self._clock()
            self._unschedulable[uid] = queued

    def announce(self, change: Change) -> None:
        """Something changed: give the Pods a chance whose filters it may concern."""
        for meanwhile in self._flying.values():
            meanwhile.add(change)
        helped = [queued for queued in self._unschedulable.values() if _helps(change, queued.refused_by)]
        for queued in helped:
            del self._unschedulable[queued.info.uid]
            self._back_off(queued)

    # --- parts ---------------------------------------------------------------------------------------------

    def _admit(self, queued: QueuedPod) -> None:
        if (queued.info.pod.get("spec") or {}).get("schedulingGates"):
            self._gated.add(queued.info.uid)
        else:
            self._activate(queued)

    def _activate(self, queued: QueuedPod) -> None:
        entry = (-queued.info.priority, queued.added, next(self._count), queued.info.uid)
        heapq.heappush(self._active, entry)
        self._wake.set()

    def _back_off(self, queued: QueuedPod) -> None:
        wait = min(FIRST_BACKOFF * 2.0 ** max(queued.attempts - 1, 0), LAST_BACKOFF)
        due = max(queued.since, self._clock() - LAST_BACKOFF) + wait if queued.since else self._clock() + wait
        queued.since = 0.0
        if due <= self._clock():
            self._activate(queued)
        else:
            heapq.heappush(self._backoff, (due, next(self._count), queued.info.uid))
            self._wake.set()

    def _take(self) -> QueuedPod | None:
        now = self._clock()
        while self._backoff and self._backoff[0][0] <= now:
            _, _, uid = heapq.heappop(self._backoff)
            queued = self._pods.get(uid)
            if queued is not None:
                self._activate(queued)
        self._sweep(now)
        while self._active:
            _, _, _, uid = heapq.heappop(self._active)
            if uid in self._unschedulable or uid in self._gated:
                continue  # an entry from before it was put aside
            queued = self._pods.pop(uid, None)
            if queued is not None:
                queued.attempts += 1
                self._flying[uid] = set()
                return queued
        return None

    def _sweep(self, now: float) -> None:
        """Give those that have waited too long for an event another try. Looked at twice a minute."""
        if now - self._swept < SWEEP_INTERVAL:
            return
        self._swept = now
        for queued in [q for q in self._unschedulable.values() if now - q.since >= MAX_UNSCHEDULABLE]:
            del self._unschedulable[queued.info.uid]
            self._activate(queued)

    def _until_next(self) -> float:
        """Seconds until something falls due by itself; half a minute when nothing does."""
        due = self._backoff[0][0] - self._clock() if self._backoff else 30.0
        return min(max(due, 0.0), 30.0)


def _helps(change: Change, refused_by: frozenset[str]) -> bool:
    helped = HELPED[change]
    return helped is None or not refused_by or not helped.isdisjoint(refused_by)


def _what_counts(pod: Object) -> object:
    """What of a waiting Pod may change a verdict: all but its status and bookkeeping."""
    metadata = pod["metadata"]
    return pod.get("spec"), metadata.get("labels"), metadata.get("annotations")
