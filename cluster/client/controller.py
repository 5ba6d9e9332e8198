"""
The loop every controller shares: take a key, reconcile it, come back later if that failed.

    controller = Controller("replicaset", reconcile, workers=5)
    informer.add_handler(controller.enqueue, lambda old, new: controller.enqueue(new), controller.enqueue)
    await controller.run()
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from cluster.client.metrics import Counter, Histogram
from cluster.client.workqueue import ShutDown, WorkQueue
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError, Conflict

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

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
        await run_workers(self.name, self.queue, self._reconcile, workers=self._workers)


async def run_workers(
    name: str, queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[Requeue | None]], *, workers: int = 5
) -> None:
    """
    Reconcile the queue's keys until cancelled, and close it then. For who has a queue of its own, of whatever keys.

    `name` is what the logs and metrics call it.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            for number in range(workers):
                tasks.create_task(_work(name, queue, reconcile), name=f"{name} worker {number}")
    finally:
        queue.shut_down()


async def _work(name: str, queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[Requeue | None]]) -> None:
    while True:
        try:
            key = await queue.get()
        except ShutDown:
            return
        try:
            await _reconcile_once(name, queue, reconcile, key)
        finally:
            queue.done(key)


async def _reconcile_once(
    name: str, queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[Requeue | None]], key: K
) -> None:
    """One pass over one key; what fails goes back into the queue, later each time."""

    def retry() -> None:
        RETRIES.inc(name)
        queue.add_rate_limited(key)

    started = time.perf_counter()
    RECONCILES.inc(name)
    try:
        requeue = await reconcile(key)
    except Conflict as conflict:  # our cache is behind; that is how it should be settled
        log.debug("%s: %s is out of date: %s", name, key, conflict)
        retry()
    except ApiError as error:
        if is_being_emptied(error):  # nothing to try again: what we work on goes as well
            log.debug("%s: %s: %s", name, key, error)
            queue.forget(key)
            return
        log.warning("%s: %s failed, trying again: %s", name, key, error)
        retry()
    except Exception:
        log.exception("%s: %s failed, trying again", name, key)
        retry()
    else:
        queue.forget(key)
        if requeue is not None:
            queue.add_after(key, requeue.after)
    finally:
        DURATION.observe(time.perf_counter() - started, name)
