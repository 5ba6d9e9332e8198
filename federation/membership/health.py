"""
What probes say about members, as phases: Ready, Suspect, Unreachable. Pure; the clock is an argument.

Eviction and DNS go by the same phases. Two misses make a member Suspect, eight seconds without an answer Unreachable,
one answer Ready again. When half of the members and more than one turn doubtful within one window, the federation
takes itself to be cut off: it stays `isolated` until fewer are doubtful.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

PROBE_INTERVAL = 2.0
"""Seconds between probes; one that takes longer than this is a miss."""
MISSES = 2
UNREACHABLE_AFTER = 7.5
"""Seconds since the last answer: the probe after eight seconds decides, although it is a little early now and then."""
WINDOW = 10.0
"""Seconds within which members that turn doubtful count as lost at once."""

PENDING, READY, SUSPECT, UNREACHABLE = "Pending", "Ready", "Suspect", "Unreachable"
LEAVING = "Leaving"
"""The phase of a member that is being let go; whoever lets it go says so, and nobody else speaks then."""


@dataclass(frozen=True, slots=True)
class Health:
    """One member's. Times are seconds of a monotonic clock."""

    phase: str = PENDING
    answered: float | None = None
    """When the question was sent that it answered last; None: none since we look."""
    misses: int = 0
    since: float = 0.0
    """Start of the phase."""
    doubted: float | None = None
    """When it stopped being Ready."""
    first_look: float | None = None
    message: str = ""


def after_answer(health: Health, now: float) -> Health:
    since = health.since if health.phase == READY else now
    return replace(health, phase=READY, answered=now, misses=0, since=since, doubted=None, message="")


def after_miss(health: Health, now: float, message: str, *, vouched: bool = False) -> Health:
    """
    `vouched`: somebody else has reached the member meanwhile; then it stays Suspect, whatever the clock says.

    A member that has never answered since we look is counted from our first look, so that a restart of ours is no
    reason to give it up at once.
    """
    first = health.first_look if health.first_look is not None else now
    missed = replace(health, misses=health.misses + 1, message=message, first_look=first)
    last = health.answered if health.answered is not None else first
    if now - last >= UNREACHABLE_AFTER and missed.misses >= MISSES and not vouched:
        phase = UNREACHABLE
    elif missed.misses >= MISSES and health.phase != UNREACHABLE:
        phase = SUSPECT
    else:
        return missed
    if phase == health.phase:
        return missed
    doubted = health.doubted if health.doubted is not None else now
    return replace(missed, phase=phase, since=now, doubted=doubted)


@dataclass(frozen=True, slots=True)
class Isolation:
    """Whether the federation takes itself to be cut off."""

    isolated: bool = False
    doubtful: Collection[str] = field(default_factory=frozenset)
    """Members lost within the window that made it so."""


def isolation_of(before: Isolation, members: Mapping[str, Health], now: float) -> Isolation:
    """Once isolated it stays so until less than half of the members are doubtful."""
    known = {name: health for name, health in members.items() if health.phase != PENDING}
    doubtful = {name for name, health in known.items() if health.phase != READY}
    if before.isolated:
        still = len(doubtful) > 1 and 2 * len(doubtful) >= len(known)
        return Isolation(still, frozenset(doubtful) if still else frozenset())
    at_once = {name for name in doubtful if (known[name].doubted or now) >= now - WINDOW}
    standing = len(known) - len(doubtful - at_once)
    isolated = len(at_once) > 1 and 2 * len(at_once) >= standing
    return Isolation(isolated, frozenset(at_once) if isolated else frozenset())
