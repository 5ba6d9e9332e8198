"""
The one thread that touches the database: the event loop never waits for the disk.

Whatever waits at the same moment becomes one transaction of SQLite and costs one flush of the disk. Answers and
events are handed to the event loop once the disk has them.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.store.backend import StoreError
from cluster.store.embedded.database import Database, Purge
from cluster.store.embedded.file import Reserve

log = logging.getLogger(__name__)

_BATCH = 256
_SPACE_PAUSE = 1.0
"""Seconds between two looks whether there is room again."""
_LEASE_PAUSE = 1.0
"""Seconds until a lease that could not be ended is tried again."""
_COMPACT_PAUSE = 2.0
"""Seconds between two compactions for want of room."""

Work = Callable[[Database], Any]


@dataclass(slots=True)
class Job:
    work: Work
    future: "asyncio.Future[Any] | None" = None
    """None for what the writer asks of itself."""
    answer: Any = None
    fault: StoreError | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What one transaction of SQLite came to."""

    revision: int
    events: Sequence[Any]
    jobs: Sequence[Job]


class Writer:
    """`start` it in the event loop that gets the answers; `close` when done."""

    def __init__(self, database: Database, reserve: Reserve, deliver: Callable[[Done], None]) -> None:
        self._database = database
        self._reserve = reserve
        self._deliver = deliver
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        now = time.monotonic()
        # As in etcd, nobody's time runs while the store is closed.
        self._ends = {lease: now + seconds for lease, seconds in database.leases.items()}
        self._looked_for_space = 0.0
        self._compacted_for_space = -_COMPACT_PAUSE
        self._closed: asyncio.Future[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread.start()

    def submit(self, work: Work) -> "asyncio.Future[Any]":
        """`work` is called in the thread, inside a transaction; the future gets what it returns or raises."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put(Job(work, future))
        return future

    async def close(self) -> None:
        """What was submitted is still done."""
        if self._loop is None:
            self._database.close()
            return
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            self._jobs.put(None)
        await asyncio.shield(self._closed)
        self._thread.join()

    # In the thread.

    def _run(self) -> None:
        open_to_work = True
        while open_to_work:
            jobs, open_to_work = self._next_jobs()
            self._hand_over(self._execute(jobs))
        self._database.close()
        if self._closed is not None:
            self._in_loop(_settle, self._closed)

    def _next_jobs(self) -> tuple[list[Job], bool]:
        """All that wait, at least one unless a lease ends; False at the end."""
        jobs: list[Job] = []
        wait = None if not self._ends else max(0.0, min(self._ends.values()) - time.monotonic())
        try:
            job = self._jobs.get(timeout=wait)
            while job is not None:
                jobs.append(job)
                if len(jobs) == _BATCH:
                    break
                job = self._jobs.get_nowait()
            else:
                return jobs, False
        except queue.Empty:
            pass
        now = time.monotonic()
        for lease in [lease for lease, end in self._ends.items() if end <= now]:
            self._ends[lease] = now + _LEASE_PAUSE
            jobs.append(Job(_ending(lease)))
        return jobs, True

    def _execute(self, jobs: Sequence[Job]) -> list[Done]:
        self._look_for_space()
        try:
            return [self._together(jobs)]
        except Exception as fault:
            # One of them failed half-way: each for itself, so that the others do not suffer for it.
            log.debug("%d requests are tried one by one: %s", len(jobs), fault)
            self._database.roll_back()
        return [self._alone(job) for job in jobs]

    def _together(self, jobs: Sequence[Job]) -> Done:
        database = self._database
        database.begin()
        for job in jobs:
            job.answer, job.fault = None, None
            try:
                job.answer = job.work(database)
            except sqlite3.Error:
                raise
            except Exception as fault:
                if database.half_done:
                    raise
                job.fault = translate(fault)
        events = database.events
        database.commit()
        return Done(database.revision, events, jobs)

    def _alone(self, job: Job) -> Done:
        try:
            return self._together([job])
        except Exception as fault:
            self._database.roll_back()
            failed = fault
        if _is_full(failed) and self._reserve.stands:
            log.warning("the disk is full: only deletes are taken until there is room again")
            self._reserve.give_up()
            self._looked_for_space = time.monotonic()
            self._database.takes_puts = False
            return self._alone(job)
        job.fault = translate(failed)
        return Done(self._database.revision, (), [job])

    def _look_for_space(self) -> None:
        if not self._reserve.stands and time.monotonic() - self._looked_for_space > _SPACE_PAUSE:
            self._looked_for_space = time.monotonic()
            if not self._reserve.take():
                self._shrink()
            if self._reserve.take():
                log.info("the disk has room again")
        self._database.takes_puts = self._reserve.stands and not self._database.over_quota

    def _shrink(self) -> None:
        try:
            self._database.shrink()
        except sqlite3.Error as fault:
            log.debug("the file stays as large as it is for now: %s", fault)

    def _hand_over(self, results: Sequence[Done]) -> None:
        now = time.monotonic()
        leases = self._database.leases
        self._ends = {lease: self._ends.get(lease, now + seconds) for lease, seconds in leases.items()}
        for done in results:
            for job in done.jobs:
                if isinstance(job.answer, Purge):
                    self._jobs.put(Job(_purging(job.answer)))
                if job.fault is not None and job.fault.full:
                    self._make_room(now)
        self._in_loop(self._delivered, results)

    def _make_room(self, now: float) -> None:
        """History is what can be spared when there is no room for anything new."""
        if now - self._compacted_for_space >= _COMPACT_PAUSE:
            self._compacted_for_space = now
            self._jobs.put(Job(_compacting))

    def _in_loop(self, call: Callable[..., None], *args: Any) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            log.debug("the event loop ended before the store was closed")

    # In the event loop again.

    def _delivered(self, results: Sequence[Done]) -> None:
        for done in results:
            self._deliver(done)
            for job in done.jobs:
                if job.future is None:
                    if job.fault is not None:
                        log.warning("the store could not tidy up: %s", job.fault)
                elif job.future.done():
                    continue
                elif job.fault is not None:
                    job.future.set_exception(job.fault)
                else:
                    job.future.set_result(job.answer)


def translate(fault: Exception) -> StoreError:
    """What callers are told about a fault of SQLite."""
    if isinstance(fault, StoreError):
        return fault
    if _is_full(fault):
        return StoreError(f"etcdserver: mvcc: database space exceeded: {fault}", full=True)
    log.error("the embedded store failed", exc_info=fault)
    # After an I/O error nobody knows how much of the write is on the disk.
    return StoreError(f"the embedded store failed: {fault}", ambiguous=_code(fault) == sqlite3.SQLITE_IOERR)


def _is_full(fault: Exception) -> bool:
    return _code(fault) == sqlite3.SQLITE_FULL


def _code(fault: Exception) -> int:
    return int(getattr(fault, "sqlite_errorcode", 0)) & 0xFF


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _ending(lease: int) -> Work:
    return lambda database: database.end_lease(lease)


def _compacting(database: Database) -> Purge | None:
    return database.compact(database.revision) if database.revision > database.compacted else None


def _purging(purge: Purge) -> Work:
    def work(database: Database) -> Purge | None:
        return None if database.purge(purge) else purge

    return work
