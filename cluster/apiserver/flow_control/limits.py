"""
How many seats each priority level has: its share of the server's, less what others borrow, more what it borrows.

Pure. Source: k8s.io/apiserver, pkg/util/flowcontrol/apf_controller.go and conc_alloc.go.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.machinery.objects import Object

SMOOTHING = 0.977
"""How much of yesterday's demand is remembered in each period: half of it after five minutes."""


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """One PriorityLevelConfiguration. Without queues it rejects what finds no seat."""

    name: str
    uid: str
    exempt: bool
    shares: int
    lendable_percent: int
    borrowing_percent: int | None
    """Of the nominal seats, how many more it may take from others; None for all there are."""
    queues: int = 0
    hand_size: int = 1
    queue_length: int = 0


EXEMPT = LevelSettings("exempt", "", True, 0, 0, None)
CATCH_ALL = LevelSettings("catch-all", "", False, 5, 0, None)


def read_level(obj: Object) -> LevelSettings:
    """A stored, and so defaulted and valid, PriorityLevelConfiguration."""
    metadata, spec = obj["metadata"], obj["spec"]
    exempt = spec["type"] == "Exempt"
    settings = spec.get("exempt" if exempt else "limited") or {}
    queuing = (settings.get("limitResponse") or {}).get("queuing") or {}
    return LevelSettings(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        exempt=exempt,
        shares=settings.get("nominalConcurrencyShares", 0 if exempt else 30),
        lendable_percent=settings.get("lendablePercent") or 0,
        borrowing_percent=settings.get("borrowingLimitPercent"),
        queues=queuing.get("queues", 0),
        hand_size=queuing.get("handSize", 1),
        queue_length=queuing.get("queueLengthLimit", 0),
    )


@dataclass(frozen=True, slots=True)
class Seats:
    """What a level owns, and between which numbers lending and borrowing may move it."""

    nominal: int
    least: int
    most: int


def share_out(server: int, levels: Sequence[LevelSettings]) -> dict[str, Seats]:
    """`server` seats in all, by the levels' shares."""
    total = sum(level.shares for level in levels) or 1
    found = {}
    for level in levels:
        nominal = math.ceil(server * level.shares / total)
        lendable = round(nominal * level.lendable_percent / 100)
        if level.borrowing_percent is None:
            most = max(server, nominal)
        else:
            most = nominal + round(nominal * level.borrowing_percent / 100)
        found[level.name] = Seats(nominal, nominal - lendable, most)
    return found


@dataclass(frozen=True, slots=True)
class Demand:
    """Seats that a level's requests, running or waiting, wanted in the last period."""

    average: float = 0.0
    deviation: float = 0.0
    high: float = 0.0
    smoothed: float = 0.0

    @staticmethod
    def after(average: float, deviation: float, high: float, before: float) -> "Demand":
        """A rise is believed at once, a fall slowly. `before` is the last period's smoothed demand."""
        envelope = min(average + deviation, high)
        return Demand(average, deviation, high, max(envelope, SMOOTHING * before + (1 - SMOOTHING) * envelope))


def adjust(
    server: int, seats: Mapping[str, Seats], exempt: frozenset[str], demand: Mapping[str, Demand]
) -> dict[str, int]:
    """The present limit of each level: nobody gets less than its least, and the rest goes where the demand is."""
    least, target = {}, {}
    for name, own in seats.items():
        wanted = demand.get(name, Demand())
        least[name] = max(own.least, math.ceil(min(own.nominal, wanted.high) if name not in exempt else wanted.high))
        target[name] = max(float(least[name]), wanted.smoothed)
    limited = [name for name in seats if name not in exempt]
    left = server - sum(least[name] for name in seats if name in exempt)
    most = {name: max(seats[name].most, least[name]) for name in limited}
    fraction = _fair_fraction(left, [(least[name], most[name], target[name]) for name in limited])
    return {
        name: max(1, round(min(most[name], max(least[name], fraction * target[name])))) if name in most else least[name]
        for name in seats
    }


def _fair_fraction(total: int, levels: Sequence[tuple[float, float, float]]) -> float:
    """The number with which targets, kept between least and most, add up to `total`; the nearest where none does."""

    def used(fraction: float) -> float:
        return sum(min(most, max(least, fraction * target)) for least, most, target in levels)

    low, high = 0.0, 1.0
    while used(high) < total and high < 1e9:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if used(middle) < total else (low, middle)
    return high
