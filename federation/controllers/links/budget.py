"""
How many writes a second a member gets: so many at first, half as many when it says 429, slowly more afterwards.

Additive increase, multiplicative decrease: every writer to one server ends at its fair share.
"""

import asyncio
from collections.abc import Callable

RATE = 200.0  # writes a second
LEAST = 1.0  # writes a second
BURST = 0.25  # seconds of writes that may come at once
RECOVERY = 10.0  # writes a second that are added every second after a refusal
LONGEST_PAUSE = 60.0  # seconds; an hour in a header shall not stop a member for an hour


class Budget:
    """`await take()` before each write. Owned by one event loop."""

    def __init__(self, clock: Callable[[], float], rate: float = RATE) -> None:
        self._clock = clock
        self._most = rate
        self.rate = rate
        self._raised = clock()
        self._tokens = rate * BURST
        self._counted = clock()
        self._paused_until = 0.0

    async def take(self) -> None:
        while True:
            wait = self.next_in()
            if wait <= 0:
                break
            await asyncio.sleep(wait)
        self._tokens -= 1

    def next_in(self) -> float:
        """Seconds until the next write may go; 0: now."""
        now = self._clock()
        self.rate = min(self._most, self.rate + (now - self._raised) * RECOVERY)
        self._raised = max(now, self._paused_until)
        self._tokens = min(max(1.0, self.rate * BURST), self._tokens + (now - self._counted) * self.rate)
        self._counted = now
        if now < self._paused_until:
            return self._paused_until - now
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self.rate

    def refused(self, retry_after: float | None) -> None:
        """The member said 429; several refusals of what was on its way at once count once."""
        now = self._clock()
        if now < self._paused_until:
            return
        self.rate = max(LEAST, self.rate / 2)
        self._tokens = 0.0
        self._paused_until = now + min(retry_after if retry_after is not None else 1.0, LONGEST_PAUSE)
        self._raised = self._paused_until
