"""
One priority level: its seats, and the queues of those who wait for one.

Flows are dealt onto a few of the level's queues each, so that a greedy flow fills its own hand and leaves others'
queues short. Seats go to the queue that has had the least service: start-time fair queuing, in seat-seconds.
Nothing here waits but `wait`; all runs in one event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from cluster.apiserver.flow_control.limits import LevelSettings

GUESSED_SECONDS = 0.003
"""How long a request is taken to run until it has."""


class Rejected(Exception):
    """No seat and no place to wait, or the wait was too long: concurrency-limit, queue-full or time-out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Queue:
    __slots__ = ("start", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Waiter] = deque()
        self.start = 0.0
        """Virtual time at which its next request begins."""

    @property
    def seats(self) -> int:
        return sum(waiter.width for waiter in self.waiting)


@dataclass(slots=True, eq=False)
class _Waiter:
    width: int
    place: "asyncio.Future[Seat]"


class Seat:
    """A request's right to run. `leave` gives it back, once."""

    __slots__ = ("_began", "_level", "_queue", "width")

    def __init__(self, level: "Level", queue: _Queue | None, width: int, began: float) -> None:
        self._level: Level | None = level
        self._queue = queue
        self._began = began
        self.width = width

    def leave(self) -> None:
        level, self._level = self._level, None
        if level is not None:
            level.left(self.width, self._queue, self._began)


class Level:
    def __init__(self, settings: LevelSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._virtual = 0.0
        self._queues: list[_Queue] = []
        self._busy: set[_Queue] = set()
        """Queues in which somebody waits."""
        self.limit = 1
        self.used = 0
        """Seats taken."""
        self.waiting = 0
        """Requests in queues."""
        self._waiting_seats = 0
        self.dispatched = 0
        self.rejected = {"concurrency-limit": 0, "queue-full": 0, "time-out": 0}
        self._since = clock()
        self._sum = self._squares = self._high = 0.0
        self._window = self._since
        self.use(settings)

    def use(self, settings: LevelSettings) -> None:
        """Take up changed settings; who waits keeps the place."""
        self.settings = settings
        kept = [queue for queue in self._queues if queue.waiting]
        fresh = max(settings.queues - len(kept), 0)
        self._queues = kept + [_Queue() for _ in range(fresh)] if settings.queues else kept
        if settings.exempt:
            self._dispatch()

    def set_limit(self, seats: int) -> None:
        self.limit = seats
        self._dispatch()

    # Coming and going.

    def try_enter(self, width: int) -> Seat | None:
        """A seat, if there is one and nobody waits for it."""
        if not self.settings.exempt and (self.waiting or not self._fits(width)):
            return None
        return self._seat(None, width)

    async def wait(self, flow: int, width: int, seconds: float) -> Seat:
        """A seat after at most `seconds`. `flow` is a hash of who asks. Raises Rejected."""
        seat = self.try_enter(width)
        if seat is not None:
            return seat
        if not self.settings.queues:
            raise self._reject("concurrency-limit")
        queue = self._deal(flow)
        if len(queue.waiting) >= self.settings.queue_length:
            raise self._reject("queue-full")
        waiter = _Waiter(width, asyncio.get_running_loop().create_future())
        self._line_up(queue, waiter)
        try:
            async with asyncio.timeout(seconds):
                return await waiter.place
        except BaseException as fault:
            self._give_up(queue, waiter)
            if isinstance(fault, TimeoutError):
                raise self._reject("time-out") from None
            raise

    def left(self, width: int, queue: _Queue | None, began: float) -> None:
        self._count()
        self.used -= width
        if queue is not None:
            queue.start += width * (self._clock() - began - GUESSED_SECONDS)
        self._dispatch()

    def _fits(self, width: int) -> bool:
        # What is wider than the whole level runs alone.
        return self.used + width <= self.limit or (width > self.limit and self.used == 0)

    def _seat(self, queue: _Queue | None, width: int) -> Seat:
        self._count()
        self.used += width
        self.dispatched += 1
        return Seat(self, queue, width, self._clock())

    def _reject(self, reason: str) -> Rejected:
        self.rejected[reason] += 1
        return Rejected(reason)

    def _deal(self, flow: int) -> _Queue:
        """The shortest queue of the flow's hand."""
        cards = list(range(len(self._queues)))
        hand = []
        for _ in range(min(self.settings.hand_size, len(cards))):
            flow, at = divmod(flow, len(cards))
            cards[at], cards[-1] = cards[-1], cards[at]
            hand.append(self._queues[cards.pop()])
        return min(hand, key=lambda queue: queue.seats)

    def _line_up(self, queue: _Queue, waiter: _Waiter) -> None:
        self._count()
        if not queue.waiting:
            queue.start = max(queue.start, self._virtual)
            self._busy.add(queue)
        queue.waiting.append(waiter)
        self.waiting += 1
        self._waiting_seats += waiter.width
        self._dispatch()

    def _give_up(self, queue: _Queue, waiter: _Waiter) -> None:
        """Somebody stopped waiting, perhaps just when the seat came."""
        if waiter in queue.waiting:
            self._count()
            queue.waiting.remove(waiter)
            self._gone(queue, waiter)
        elif waiter.place.done() and not waiter.place.cancelled():
            waiter.place.result().leave()

    def _gone(self, queue: _Queue, waiter: _Waiter) -> None:
        self.waiting -= 1
        self._waiting_seats -= waiter.width
        if not queue.waiting:
            self._busy.discard(queue)

    def _dispatch(self) -> None:
        while self._busy:
            queue = min(self._busy, key=lambda one: one.start + one.waiting[0].width * GUESSED_SECONDS)
            waiter = queue.waiting[0]
            if not waiter.place.done():
                if not self.settings.exempt and not self._fits(waiter.width):
                    return
                self._virtual = max(self._virtual, queue.start)
                queue.start += waiter.width * GUESSED_SECONDS
                waiter.place.set_result(self._seat(queue, waiter.width))
            queue.waiting.popleft()
            self._gone(queue, waiter)

    # Demand.

    def _count(self) -> None:
        """Before seats or queues change: how many seats were wanted since the last change."""
        now = self._clock()
        wanted = self.used + self._waiting_seats
        self._sum += wanted * (now - self._since)
        self._squares += wanted * wanted * (now - self._since)
        self._high = max(self._high, wanted)
        self._since = now

    def take_demand(self) -> tuple[float, float, float]:
        """Average, deviation and greatest number of seats wanted since this was last asked."""
        self._count()
        seconds = max(self._since - self._window, 1e-9)
        average = self._sum / seconds
        deviation = max(self._squares / seconds - average * average, 0.0) ** 0.5
        high = max(self._high, float(self.used + self._waiting_seats))
        self._sum = self._squares = 0.0
        self._high, self._window = float(self.used + self._waiting_seats), self._since
        return average, deviation, high
