"""
When a cron schedule strikes. Pure; times are aware. The schedule is valid: the apiserver has checked it.

As in cron, day of month and day of week are alternatives when both are restricted.
"""

import datetime
from dataclasses import dataclass
from zoneinfo import ZoneInfo

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_NAMES = {
    name: number
    for names, first in ((("jan feb mar apr may jun jul aug sep oct nov dec"), 1), (("sun mon tue wed thu fri sat"), 0))
    for number, name in enumerate(names.split(), first)
}
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_UNITS = {"h": 3600, "m": 60, "s": 1}
YEARS_AHEAD = 5
"""A schedule that does not strike for so long (31 February) never does."""


def _values(field: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for expression in filter(None, field.split(",")):
        span, _, step = expression.partition("/")
        first, _, last = span.partition("-")
        if first in ("*", "?"):
            start, end = low, high
        else:
            start = _number(first)
            end = _number(last) if last else (high if step else start)
        found |= set(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str) -> int:
    named = _NAMES.get(text.lower())
    return int(text) if named is None else named


@dataclass(frozen=True, slots=True)
class Schedule:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Both kinds of day are restricted: one that fits is enough."""
    every: datetime.timedelta | None = None

    @staticmethod
    def parse(text: str) -> "Schedule":
        if text.startswith("@every "):
            none: frozenset[int] = frozenset()
            return Schedule(none, none, none, none, none, False, _duration(text.removeprefix("@every ").strip()))
        fields = _DESCRIPTORS.get(text, text).split()
        minutes, hours, days, months, weekdays = (
            _values(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)
        )
        restricted = [field.split("/")[0] not in ("*", "?") for field in (fields[2], fields[4])]
        return Schedule(minutes, hours, days, months, weekdays, all(restricted))

    def next_after(self, moment: datetime.datetime, zone: datetime.tzinfo) -> datetime.datetime | None:
        """The first strike after `moment`; None for a schedule that never strikes."""
        if self.every is not None:
            return moment.replace(microsecond=0) + self.every
        local = moment.astimezone(zone).replace(second=0, microsecond=0, tzinfo=None) + datetime.timedelta(minutes=1)
        end = local.year + YEARS_AHEAD
        while local.year <= end:
            if local.month not in self.months:
                local = (local.replace(day=1, hour=0, minute=0) + datetime.timedelta(days=32)).replace(day=1)
            elif not self._is_day(local):
                local = local.replace(hour=0, minute=0) + datetime.timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + datetime.timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += datetime.timedelta(minutes=1)
            else:
                found = local.replace(tzinfo=zone).astimezone(datetime.UTC)
                if found > moment:
                    return found
                local += datetime.timedelta(minutes=1)  # the hour that the clocks repeat
        return None

    def _is_day(self, local: datetime.datetime) -> bool:
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return day or weekday if self.either_day else day and weekday


def _duration(text: str) -> datetime.timedelta:
    seconds, number = 0.0, ""
    for letter in text:
        if letter in _UNITS:
            seconds += float(number) * _UNITS[letter]
            number = ""
        else:
            number += letter
    return datetime.timedelta(seconds=max(round(seconds), 1))


def zone_of(name: str | None) -> datetime.tzinfo:
    """UTC for none. Raises ZoneInfoNotFoundError."""
    return ZoneInfo(name) if name else datetime.UTC


def latest_strike(
    schedule: Schedule, after: datetime.datetime, now: datetime.datetime, zone: datetime.tzinfo
) -> tuple[datetime.datetime | None, int]:
    """The last strike in (after, now] and how many there were; counting stops at 101."""
    found, count = None, 0
    strike = schedule.next_after(after, zone)
    while strike is not None and strike <= now:
        found, count = strike, count + 1
        if count > 100:
            # Far behind: jump close to now instead of counting through a year.
            strike = schedule.next_after(max(strike, now - datetime.timedelta(days=2)), zone)
            count = 101
            while strike is not None and strike <= now:
                found, strike = strike, schedule.next_after(strike, zone)
            return found, count
        strike = schedule.next_after(strike, zone)
    return found, count
