"""
When members in pull mode were last heard. Pure; the clock is an argument.

A heartbeat is a change of the member's Lease, seen by our clock: what the member's clock says does not matter.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, field

from cluster.machinery.objects import Object
from cluster.machinery.timestamps import parse_time
from federation.membership.health import PROBE_INTERVAL

LATE = 1.5 * PROBE_INTERVAL
"""Seconds after which a heartbeat counts as missed: two that come on time may fall into one round of ours."""
NEW = 10.0
"""Seconds for which a Lease that we see for the first time proves by its age that somebody is there."""


@dataclass(slots=True)
class Heartbeats:
    _renewed: dict[str, str] = field(default_factory=dict)
    """By member, what its Lease said last."""
    _heard: dict[str, float] = field(default_factory=dict)

    def hear(self, name: str, lease: Object | None, now: float, clock: dt.datetime) -> float | None:
        """When the member was heard last, as seen by `now`; None: not since we listen. `clock` is the wall's."""
        if lease is None:
            return self._heard.get(name)
        renewed = str((lease.get("spec") or {}).get("renewTime") or "")
        before = self._renewed.get(name)
        self._renewed[name] = renewed
        if before is None and not _is_new(lease, clock):
            # It may have been silent for long; the next one tells.
            return self._heard.get(name)
        if before != renewed:
            self._heard[name] = now
        return self._heard.get(name)

    def forget_others(self, names: Collection[str]) -> None:
        for known in (self._renewed, self._heard):
            for name in [one for one in known if one not in names]:
                del known[name]


def is_late(heard: float | None, now: float) -> bool:
    return heard is None or now - heard > LATE


def _is_new(lease: Object, clock: dt.datetime) -> bool:
    try:
        made = parse_time(lease["metadata"].get("creationTimestamp") or "")
    except ValueError:
        return False
    return abs((clock - made).total_seconds()) < NEW
