"""
Timestamps and durations: reading, writing, arithmetic and the parts of a date.

Source: github.com/google/cel-spec, doc/langdef.md (timestamps, durations); Go's time package for the texts.
"""

import datetime
import re
import zoneinfo
from collections.abc import Callable
from typing import Any

from cluster.api.cel.values import (
    INT_MAX,
    INT_MIN,
    NANOS,
    TIME_MAX,
    TIME_MIN,
    Duration,
    EvaluationError,
    Timestamp,
    no_overload,
)

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": NANOS,
          "m": 60 * NANOS, "h": 3600 * NANOS}  # fmt: skip
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)")
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)")


def read_timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises EvaluationError."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise _no_time(text)
    year, month, day, hour, minute, second = (int(found[index]) for index in range(1, 7))
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        raise _no_time(text) from None
    zone = found[8]
    shift = 0 if zone in "Zz" else (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60) * (-1 if zone[0] == "-" else 1)
    seconds = round((moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()) - shift
    return _timestamp(seconds * NANOS + int((found[7] or "").ljust(9, "0")))


def _no_time(text: str) -> EvaluationError:
    layout = "2006-01-02T15:04:05Z07:00"
    return EvaluationError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"')


def read_duration(text: str) -> Duration:
    """Go's form, `1h30m`. Raises EvaluationError."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            break
        unit = _UNITS[part[3]]
        total += int(part[1] or 0) * unit
        if part[2]:
            total += int(part[2]) * unit // 10 ** len(part[2])
        at = part.end()
    if at != len(rest) or not rest or total > INT_MAX:
        raise EvaluationError(f'time: invalid duration "{text}"')
    return Duration(sign * total)


def convert_timestamp(value: Any) -> Timestamp:
    if isinstance(value, Timestamp):
        return value
    if isinstance(value, str):
        return read_timestamp(value)
    if type(value) is not int:
        raise no_overload()
    return _timestamp(value * NANOS)


def convert_duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, str):
        return read_duration(value)
    if type(value) is not int:
        raise no_overload()
    return Duration(value)


def _timestamp(nanos: int) -> Timestamp:
    if not TIME_MIN <= nanos <= TIME_MAX:
        raise EvaluationError("timestamp overflow")
    return Timestamp(nanos)


def _duration(nanos: int) -> Duration:
    if not INT_MIN <= nanos <= INT_MAX:
        raise EvaluationError("duration overflow")
    return Duration(nanos)


def add(left: Timestamp | Duration, right: Timestamp | Duration) -> Timestamp | Duration:
    if isinstance(left, Duration) and isinstance(right, Duration):
        return _duration(left.nanos + right.nanos)
    if isinstance(left, Timestamp) and isinstance(right, Timestamp):
        raise no_overload()
    return _timestamp(left.nanos + right.nanos)


def subtract(left: Timestamp | Duration, right: Timestamp | Duration) -> Timestamp | Duration:
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        return _timestamp(left.nanos - right.nanos)
    if type(left) is not type(right):
        raise no_overload()
    return _duration(left.nanos - right.nanos)


def timestamp_text(value: Timestamp) -> str:
    fraction = f"{value.nanos % NANOS:09d}".rstrip("0")
    text = value.moment().strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text.rjust(19, '0')}{'.' + fraction if fraction else ''}Z"


def duration_text(value: Duration) -> str:
    whole, fraction = divmod(abs(value.nanos), NANOS)
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{'-' if value.nanos < 0 else ''}{whole}{tail}s"


def _zone(name: str) -> datetime.tzinfo:
    if found := _OFFSET.fullmatch(name):
        length = datetime.timedelta(hours=int(found[2]), minutes=int(found[3]))
        return datetime.timezone(-length if found[1] == "-" else length)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None


def _part(read: Callable[[datetime.datetime], int], length_unit: int = 0) -> Callable[..., int]:
    """`length_unit`: what a duration is counted in, in nanoseconds."""

    def get(value: Any, zone: str = "UTC") -> int:
        if isinstance(value, Duration) and length_unit:
            whole = abs(value.nanos) // length_unit
            return whole if value.nanos >= 0 else -whole
        if not isinstance(value, Timestamp):
            raise no_overload()
        return read(value.moment(_zone(zone)))

    return get


def _milliseconds(value: Any, zone: str = "UTC") -> int:
    if isinstance(value, Duration):
        return abs(value.nanos) % NANOS // 1_000_000 * (1 if value.nanos >= 0 else -1)
    return _part(lambda moment: moment.microsecond // 1000)(value, zone)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "getFullYear": _part(lambda moment: moment.year),
    "getMonth": _part(lambda moment: moment.month - 1),
    "getDate": _part(lambda moment: moment.day),
    "getDayOfMonth": _part(lambda moment: moment.day - 1),
    "getDayOfWeek": _part(lambda moment: moment.isoweekday() % 7),
    "getDayOfYear": _part(lambda moment: moment.timetuple().tm_yday - 1),
    "getHours": _part(lambda moment: moment.hour, 3600 * NANOS),
    "getMinutes": _part(lambda moment: moment.minute, 60 * NANOS),
    "getSeconds": _part(lambda moment: moment.second, NANOS),
    "getMilliseconds": _milliseconds,
}
