"""
Informers in, bindings out: keeps the state and the queue current and runs the cycle.

The cycle itself does no I/O; binding, conditions, evictions and events go on beside it, so that a slow apiserver
answer costs one Pod its time and not the queue.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Coroutine
from typing import Any

from cluster.api import resources
from cluster.client.events import EventRecorder
from cluster.client.informer import Informer
from cluster.client.metrics import Counter, Gauge, Histogram
from cluster.client.rest import ApiClient
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Object, key_of
from cluster.machinery.status_errors import ApiError, Conflict, NotFound
from cluster.scheduler.bind import bind_pod
from cluster.scheduler.cluster_state import ClusterState
from cluster.scheduler.conditions import not_scheduled
from cluster.scheduler.cycle import Cycle, Unschedulable
from cluster.scheduler.pod_info import PodInfo
from cluster.scheduler.preemption import Budget, Preemption, may_preempt, plan_preemption
from cluster.scheduler.queue import Change, QueuedPod, SchedulingQueue

log = logging.getLogger(__name__)

BUDGETS = resources.named("poddisruptionbudgets.policy")
BINDINGS_AT_ONCE = 64
CYCLES_AT_ONCE = 16
"""Pods scheduled before the event loop gets its turn."""

ATTEMPTS = Counter("scheduler_schedule_attempts_total", "Tries to schedule a Pod, by result.", ("result", "profile"))
DURATION = Histogram(
    "scheduler_scheduling_attempt_duration_seconds", "Seconds from the queue to the decision.", ("result", "profile")
)
PENDING = Gauge("scheduler_pending_pods", "Pods that wait, by part of the queue.", ("queue",))


class Scheduler:
    def __init__(self, client: ApiClient, *, name: str = "default-scheduler") -> None:
        self._client = client
        self._name = name
        self.state = ClusterState()
        self.queue = SchedulingQueue()
        self._cycle = Cycle(self.state)
        self._events = EventRecorder(client, name)
        self._slots = asyncio.Semaphore(BINDINGS_AT_ONCE)
        self._tasks = asyncio.TaskGroup()
        self._informers = {
            "nodes": Informer(client, resources.NODES),
            "pods": Informer(client, resources.PODS, field_selector="status.phase!=Succeeded,status.phase!=Failed"),
            "namespaces": Informer(client, resources.NAMESPACES, metadata_only=True),
            "budgets": Informer(client, BUDGETS),
        }
        self._informers["nodes"].add_handler(self._node_added, self._node_updated, self._node_deleted)
        self._informers["pods"].add_handler(self._pod_set, lambda _, new: self._pod_set(new), self._pod_deleted)
        self._informers["namespaces"].add_handler(
            self._namespace_set, lambda _, new: self._namespace_set(new), self._namespace_deleted
        )
        for part in ("active", "backoff", "unschedulable", "gated"):
            PENDING.set_function(functools.partial(self._pending, part), part)

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with self._tasks as tasks:
            for name, informer in self._informers.items():
                tasks.create_task(informer.run(), name=f"informer of {name}")
            tasks.create_task(self._events.run(), name="events")
            for informer in self._informers.values():
                await informer.wait_synced()
            log.info("scheduling: %d nodes, %d pods wait", len(self.state.ready), len(self.queue))
            tasks.create_task(self._schedule(), name="scheduling")

    @property
    def has_synced(self) -> bool:
        return all(informer.has_synced for informer in self._informers.values())

    def _pending(self, part: str) -> float:
        return float(self.queue.counts()[part])

    # --- what the watches tell -----------------------------------------------------------------------------

    def _node_added(self, node: Object) -> None:
        self.state.set_node(node)
        self.queue.announce(Change.NODE_ADDED)

    def _node_updated(self, old: Object, new: Object) -> None:
        if _what_counts(old) == _what_counts(new):
            return  # a heartbeat
        self.state.set_node(new)
        self.queue.announce(Change.NODE_CHANGED)

    def _node_deleted(self, node: Object) -> None:
        self.state.remove_node(node["metadata"]["name"])

    def _namespace_set(self, namespace: Object) -> None:
        self.state.namespace_labels[namespace["metadata"]["name"]] = namespace["metadata"].get("labels") or {}

    def _namespace_deleted(self, namespace: Object) -> None:
        self.state.namespace_labels.pop(namespace["metadata"]["name"], None)

    def _pod_set(self, pod: Object) -> None:
        spec, metadata = pod["spec"], pod["metadata"]
        uid = metadata["uid"]
        if spec.get("nodeName"):
            self.queue.remove(uid)
            self.state.nominated.pop(uid, None)
            self.state.set_pod(PodInfo.of(pod))
            self.queue.announce(Change.POD_PLACED)
        elif metadata.get("deletionTimestamp"):
            self.queue.remove(uid)
        elif (spec.get("schedulerName") or "default-scheduler") == self._name and not self.state.is_assumed(uid):
            self.queue.set(PodInfo.of(pod))

    def _pod_deleted(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self.queue.remove(uid)
        self.state.forget_nomination(uid)
        self.state.remove_pod(uid)
        if pod["spec"].get("nodeName"):
            self.queue.announce(Change.POD_GONE)

    # --- deciding ------------------------------------------------------------------------------------------

    async def _schedule(self) -> None:
        while True:
            queued: QueuedPod | None = await self.queue.pop()
            for _ in range(CYCLES_AT_ONCE):
                if queued is None:
                    break
                self._schedule_one(queued)
                queued = self.queue.pop_now()
            if queued is not None:
                self._schedule_one(queued)
            await asyncio.sleep(0)

    def _schedule_one(self, queued: QueuedPod) -> None:
        pod = queued.info
        started = time.perf_counter()
        try:
            node_name = self._cycle.choose(pod)
        except Unschedulable as why:
            result = "unschedulable"
            self._unschedulable(queued, why)
        except Exception:
            # A Pod we cannot even read (a rule we do not know) must not end the scheduler for all the others.
            log.exception("%s cannot be scheduled", pod.key)
            result = "error"
            self.queue.put_back(queued, frozenset())
        else:
            result = "scheduled"
            self.state.assume(pod, node_name)
            self._start(self._bind(queued, node_name))
        ATTEMPTS.inc(result, self._name)
        DURATION.observe(time.perf_counter() - started, result, self._name)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(work)

    async def _bind(self, queued: QueuedPod, node_name: str) -> None:
        pod = queued.info
        try:
            async with self._slots:
                await bind_pod(self._client, pod, node_name)
        except (Conflict, NotFound) as gone:
            log.info("%s is not bound to %s: %s", pod.key, node_name, gone)
            self.state.forget(pod.uid)
            self._recheck(queued)
        except ApiError as error:
            log.warning("%s could not be bound to %s, trying again: %s", pod.key, node_name, error)
            self.state.forget(pod.uid)
            self._recheck(queued)
        else:
            self.queue.done(pod.uid)
            self.state.forget_nomination(pod.uid)
            self._events.record(
                pod.pod,
                "Normal",
                "Scheduled",
                f"Successfully assigned {pod.key} to {node_name}",
                action="Binding",
            )

    def _recheck(self, queued: QueuedPod) -> None:
        """After a failed binding: back into the queue, unless the watch knows better."""
        current = self._informers["pods"].get(queued.info.key)
        waits = (
            current is not None
            and current["metadata"]["uid"] == queued.info.uid
            and not current["spec"].get("nodeName")
            and not current["metadata"].get("deletionTimestamp")
        )
        if waits:
            self.queue.put_back(queued, frozenset())
        else:
            self.queue.done(queued.info.uid)

    def _unschedulable(self, queued: QueuedPod, why: Unschedulable) -> None:
        pod = queued.info
        message = str(why)
        preemption: Preemption | None = None
        if why.node_count:
            # Upstream asks the post-filter of resource claims first; Pods here have none.
            message += " no new claims to deallocate,"
            preemption, reason = self._preempt(pod, why)
            message += f" {reason}" if reason else ""
            message = message.removesuffix(",")
        node_name = preemption.node_name if preemption is not None else ""
        if preemption is not None:
            self.state.nominate(pod, preemption.node_name)
            self._start(self._evict(pod, preemption))
        self._events.record(pod.pod, "Warning", "FailedScheduling", message, action="Scheduling")
        patch = not_scheduled(pod.pod, message, node_name)
        if patch is not None:
            self._start(self._report(pod, patch))
        self.queue.put_back(queued, why.plugins)

    def _preempt(self, pod: PodInfo, why: Unschedulable) -> tuple[Preemption | None, str]:
        if not may_preempt(pod.pod):
            return None, ("preemption: not eligible due to preemptionPolicy=Never.")
        budgets = [
            Budget(
                key_of(budget).namespace,
                selector_of(budget["spec"].get("selector")),
                int((budget.get("status") or {}).get("disruptionsAllowed") or 0),
            )
            for budget in self._informers["budgets"].list()
        ]
        nominated = self.state.nominated.get(pod.uid)
        if nominated is not None and self._is_clearing(nominated[0], pod):
            return None, "preemption: not eligible due to a terminating pod on the nominated node."
        return plan_preemption(pod, self.state, why.refusals, budgets)

    def _is_clearing(self, node_name: str, pod: PodInfo) -> bool:
        """Whether lesser Pods are still on their way out of the Node that was cleared for this one."""
        node = self.state.ready.get(node_name)
        return node is not None and any(
            other.priority < pod.priority and other.pod["metadata"].get("deletionTimestamp")
            for other in node.pods.values()
        )

    # --- telling -------------------------------------------------------------------------------------------

    async def _report(self, pod: PodInfo, patch: Object) -> None:
        try:
            async with self._slots:
                await self._client.patch(
                    resources.PODS,
                    pod.key.name,
                    patch,
                    namespace=pod.key.namespace,
                    patch_type="strategic",
                    subresource="status",
                )
        except NotFound:
            return
        except ApiError as error:
            log.warning("the condition of %s could not be written: %s", pod.key, error)

    async def _evict(self, pod: PodInfo, preemption: Preemption) -> None:
        for victim in preemption.victims:
            try:
                condition = {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "PreemptionByScheduler",
                    "message": f"{self._name}: preempting to accommodate a higher priority pod",
                }
                await self._report(victim, {"status": {"conditions": [condition]}})
                await self._client.delete(
                    resources.PODS,
                    victim.key.name,
                    namespace=victim.key.namespace,
                    options={"preconditions": {"uid": victim.uid}},
                )
            except (NotFound, Conflict):
                continue
            except ApiError as error:
                log.warning("%s could not be evicted for %s: %s", victim.key, pod.key, error)
                continue
            self._events.record(
                victim.pod,
                "Normal",
                "Preempted",
                f"Preempted by pod {pod.uid} on node {preemption.node_name}",
                action="Preempting",
            )


def _what_counts(node: Object) -> object:
    """What of a Node concerns the cycle; its heartbeats do not."""
    status = node.get("status") or {}
    return node.get("spec"), node["metadata"].get("labels"), status.get("allocatable"), status.get("images")
