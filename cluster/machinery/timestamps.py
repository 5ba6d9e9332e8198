"""
Times as they are on the wire: RFC 3339 in UTC, whole seconds for Time, microseconds for MicroTime.

Source: k8s.io/apimachinery, pkg/apis/meta/v1 (time.go, micro_time.go).
"""

import datetime
import functools
import re

_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:[.,](\d+))?(?:([Zz])|([+-])(\d{2}):(\d{2}))", re.ASCII
)
_LAYOUT = "2006-01-02T15:04:05Z07:00"


def format_time(moment: datetime.datetime) -> str:
    """`2026-01-02T03:04:05Z`; fractions of a second are cut off."""
    utc = moment.astimezone(datetime.UTC)
    return f"{utc.year:04d}-{utc.month:02d}-{utc.day:02d}T{utc.hour:02d}:{utc.minute:02d}:{utc.second:02d}Z"


def format_micro_time(moment: datetime.datetime) -> str:
    """`2026-01-02T03:04:05.000006Z`, as Leases and Events use it."""
    return f"{format_time(moment)[:-1]}.{moment.astimezone(datetime.UTC).microsecond:06d}Z"


def from_unix(seconds: int, nanos: int = 0) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(
        seconds=seconds, microseconds=nanos // 1000
    )


@functools.lru_cache(4096)  # tables tell the age of the same objects again and again
def parse_time(text: str) -> datetime.datetime:
    """
    A Time or MicroTime.

    Raises ValueError with the text that Go's time.Parse would give for most wrong inputs.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f'parsing time "{text}" as "{_LAYOUT}": {_why(text)}')
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction = (match[7] or "")[:6].ljust(6, "0")
    offset = datetime.timedelta(0)
    if match[9]:
        offset = datetime.timedelta(hours=int(match[10]), minutes=int(match[11])) * (-1 if match[9] == "-" else 1)
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, int(fraction), tzinfo=datetime.UTC) - offset
    except (ValueError, OverflowError):
        part = next(
            (name for name, value, low, high in _ranges(year, month, day, hour, minute, second)
             if not low <= value <= high), "day"
        )  # fmt: skip
        raise ValueError(f'parsing time "{text}": {part} out of range') from None
    return moment


def _ranges(year: int, month: int, day: int, hour: int, minute: int, second: int) -> list[tuple[str, int, int, int]]:
    return [
        ("month", month, 1, 12),
        ("hour", hour, 0, 23),
        ("minute", minute, 0, 59),
        ("second", second, 0, 59),
        ("day", day, 1, 31),
    ]


_STEPS = (("2006", r"\d{4}"), ("-", "-"), ("01", r"\d{2}"), ("-", "-"), ("02", r"\d{2}"), ("T", "T"),
          ("15", r"\d{2}"), (":", ":"), ("04", r"\d{2}"), (":", ":"), ("05", r"\d{2}"),
          ("Z07:00", r"(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})"))  # fmt: skip


def _why(text: str) -> str:
    """Where parsing stops and what was expected there, as Go says it."""
    rest = text
    for expected, pattern in _STEPS:
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            return f'cannot parse "{rest}" as "{expected}"'
        rest = rest[match.end() :]
    return f'extra text: "{rest}"'
