"""
One timer for all tasks that have the same time: a timer each costs more than some of them do.
"""

import asyncio


class Deadlines:
    """Cancels what runs for too long; `passed` then tells that from other cancelling."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[asyncio.Task[None], float] = {}
        """In the order in which they began, so the first is due first."""
        self._late: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[None]) -> None:
        loop = task.get_loop()
        self._due[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)

    def end(self, task: asyncio.Task[None]) -> None:
        self._due.pop(task, None)
        self._late.discard(task)

    def passed(self, task: asyncio.Task[None]) -> bool:
        """Whether its cancelling came from here; it is not asked twice."""
        late = task in self._late
        self._late.discard(task)
        return late

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._due:
            task, due = next(iter(self._due.items()))
            if due > now:
                self._timer = loop.call_at(due, self._look, loop)
                return
            del self._due[task]
            self._late.add(task)
            task.cancel()
        self._timer = None
