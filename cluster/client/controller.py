"""
The loop every controller shares: take a key, reconcile it, come back later if that failed.

    controller = Controller("replicaset", reconcile, workers=5)
    informer.add_handler(controller.enqueue, lambda old, new: controller.enqueue(new), controller.enqueue)
    await controller.run()
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cluster.client.metrics import Counter, Histogram
from cluster.client.workqueue import ShutDown, WorkQueue
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError, Conflict

log = logging.getLogger(__name__)

RECONCILES = Counter("workqueue_adds_total", "Keys worked on.", ("name",))
RETRIES = Counter("workqueue_retries_total", "Keys put back after a failure.", ("name",))
DURATION = Histogram("workqueue_work_duration_seconds", "Seconds one reconcile took.", ("name",))


@dataclass(frozen=True, slots=True)
class Requeue:
    """Come back for a reason that is known; a failure is raised instead."""

    after: float
    """Seconds."""


def is_being_emptied(error: ApiError) -> bool:
    """Whether a create was refused because its Namespace is going away."""
    return any(c.get("reason") == "NamespaceTerminating" for c in (error.details or {}).get("causes") or ())


Reconcile = Callable[[Key], Awaitable[Requeue | None]]


class Controller:
    def __init__(self, name: str, reconcile: Reconcile, *, workers: int = 5) -> None:
        self.name = name
        self.queue: WorkQueue[Key] = WorkQueue()
        self._reconcile = reconcile
        self._workers = workers

    def enqueue(self, obj: Object) -> None:
        self.queue.add(key_of(obj))

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._workers):
                    tasks.create_task(self._work(), name=f"{self.name} worker {number}")
        finally:
            self.queue.shut_down()

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                await self.reconcile_once(key)
            finally:
                self.queue.done(key)

    async def reconcile_once(self, key: Key) -> None:
        """One pass over one key; what fails goes back into the queue, later each time."""
        started = time.perf_counter()
        RECONCILES.inc(self.name)
        try:
            requeue = await self._reconcile(key)
        except Conflict as conflict:  # our cache is behind; that is how it should be settled
            log.debug("%s: %s is out of date: %s", self.name, key, conflict)
            self._retry(key)
        except ApiError as error:
            if is_being_emptied(error):  # nothing to try again: what we work on goes as well
                log.debug("%s: %s: %s", self.name, key, error)
                self.queue.forget(key)
                return
            log.warning("%s: %s failed, trying again: %s", self.name, key, error)
            self._retry(key)
        except Exception:
            log.exception("%s: %s failed, trying again", self.name, key)
            self._retry(key)
        else:
            self.queue.forget(key)
            if requeue is not None:
                self.queue.add_after(key, requeue.after)
        finally:
            DURATION.observe(time.perf_counter() - started, self.name)

    def _retry(self, key: Key) -> None:
        RETRIES.inc(self.name)
        self.queue.add_rate_limited(key)


async def run_workers(name: str, queue: WorkQueue[Key], reconcile: Reconcile, *, workers: int = 5) -> None:
    """For who has a queue of its own: reconcile its keys until cancelled."""
    controller = Controller(name, reconcile, workers=workers)
    controller.queue = queue
    await controller.run()
