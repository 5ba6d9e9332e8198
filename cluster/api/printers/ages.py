"""How long ago, in as few characters as people need: 5s, 3m12s, 4h, 2d3h, 1y20d."""

from datetime import datetime

from cluster.machinery.timestamps import parse_time

UNKNOWN = "<unknown>"

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86_400, 365 * 86_400


def human_duration(seconds: float) -> str:
    """Two units where the second says something, else one. A clock ahead by 2 s or more gives `<invalid>`."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    for below, unit, letter, rest_unit, rest_letter in _STEPS:
        if whole < below:
            count, rest = divmod(whole, unit)
            smaller = rest // rest_unit if rest_unit else 0
            return f"{count}{letter}{smaller}{rest_letter}" if smaller else f"{count}{letter}"
    return f"{whole // _YEAR}y"


_STEPS = (
    # below, counted in, letter, then in, letter
    (2 * _MINUTE, 1, "s", 0, ""),
    (10 * _MINUTE, _MINUTE, "m", 1, "s"),
    (3 * _HOUR, _MINUTE, "m", 0, ""),
    (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
    (2 * _DAY, _HOUR, "h", 0, ""),
    (8 * _DAY, _DAY, "d", _HOUR, "h"),
    (2 * _YEAR, _DAY, "d", 0, ""),
    (8 * _YEAR, _YEAR, "y", _DAY, "d"),
)


def since(timestamp: str | None, now: datetime) -> str:
    """Age of a Time or MicroTime; `<unknown>` for none."""
    if not timestamp:
        return UNKNOWN
    return human_duration((now - parse_time(timestamp)).total_seconds())


def between(start: str, end: str) -> str:
    return human_duration((parse_time(end) - parse_time(start)).total_seconds())
