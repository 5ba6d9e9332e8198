"""
The five fields of a cron schedule, checked; the texts are those of the parser upstream uses (robfig/cron v3).
"""

from collections.abc import Mapping
from typing import NamedTuple

_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}  # fmt: skip
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}


class _Bounds(NamedTuple):
    low: int
    high: int
    names: Mapping[str, int]


_FIELDS = (_Bounds(0, 59, {}), _Bounds(0, 23, {}), _Bounds(1, 31, {}), _Bounds(1, 12, _MONTHS), _Bounds(0, 6, _DAYS))


class CronError(ValueError):
    """The schedule cannot be read."""


def check_schedule(schedule: str) -> None:
    """Raises CronError with the parser's text."""
    if not schedule:
        raise CronError("empty spec string")
    if schedule.startswith("@"):
        _check_descriptor(schedule)
        return
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        raise CronError(f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]")
    for field, bounds in zip(fields, _FIELDS, strict=True):
        for expression in field.split(","):
            if expression:
                _check_range(expression, bounds)


def _check_descriptor(schedule: str) -> None:
    if schedule in _DESCRIPTORS or schedule.startswith("@every "):
        return
    raise CronError(f"unrecognized descriptor: {schedule}")


def _check_range(expression: str, bounds: _Bounds) -> None:
    parts = expression.split("/")
    edges = parts[0].split("-")
    if edges[0] in ("*", "?"):
        low, high = bounds.low, bounds.high
    else:
        low = _number_or_name(edges[0], bounds)
        if len(edges) > 2:
            raise CronError(f"too many hyphens: {expression}")
        high = _number_or_name(edges[1], bounds) if len(edges) == 2 else low
    step = 1
    if len(parts) == 2:
        step = _number(parts[1])
        if len(edges) == 1 and edges[0] not in ("*", "?"):
            high = bounds.high
    elif len(parts) > 2:
        raise CronError(f"too many slashes: {expression}")
    if low < bounds.low:
        raise CronError(f"beginning of range ({low}) below minimum ({bounds.low}): {expression}")
    if high > bounds.high:
        raise CronError(f"end of range ({high}) above maximum ({bounds.high}): {expression}")
    if low > high:
        raise CronError(f"beginning of range ({low}) beyond end of range ({high}): {expression}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {expression}")


def _number_or_name(text: str, bounds: _Bounds) -> int:
    found = bounds.names.get(text.lower())
    return _number(text) if found is None else found


def _number(text: str) -> int:
    if text.removeprefix("-").removeprefix("+").isdecimal() and text.isascii():
        number = int(text)
        if number < 0:
            raise CronError(f"negative number ({number}) not allowed: {text}")
        return number
    raise CronError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
