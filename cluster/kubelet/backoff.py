"""
How long to wait before the next try: 10 s, doubled up to 300 s. Pure; the caller brings the clock.

Used for crashing containers and for image pulls. Source: upstream pkg/kubelet, MaxCrashLoopBackOff and
client-go's flowcontrol.Backoff.
"""

from dataclasses import dataclass, field

INITIAL_SECONDS = 10.0
LONGEST_SECONDS = 300.0
FORGET_AFTER_SECONDS = 2 * LONGEST_SECONDS
"""A container that ran this long starts again without a wait."""


@dataclass
class BackOff:
    """One wait a key. `now` and `since` are seconds of one clock."""

    initial: float = INITIAL_SECONDS
    longest: float = LONGEST_SECONDS
    _entries: dict[str, tuple[float, float]] = field(default_factory=dict)

    def wait_until(self, key: str, since: float) -> float | None:
        """When the next try may be, after a failure at `since`; None for at once."""
        entry = self._entries.get(key)
        if entry is None or since - entry[1] > FORGET_AFTER_SECONDS:
            return None
        return since + entry[0]

    def delay(self, key: str) -> float:
        """Seconds of the wait in force; 0 without one."""
        return self._entries.get(key, (0.0, 0.0))[0]

    def grow(self, key: str, now: float) -> float:
        """Note one more try at `now`; returns the wait that its failure will have."""
        entry = self._entries.get(key)
        if entry is None or now - entry[1] > FORGET_AFTER_SECONDS:
            delay = self.initial
        else:
            delay = min(entry[0] * 2, self.longest)
        self._entries[key] = (delay, now)
        return delay

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)


def spell_seconds(seconds: float) -> str:
    """`10s`, `1m20s`, `5m0s`: as Go prints a duration."""
    whole = int(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
