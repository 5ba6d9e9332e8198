"""When somebody in a member changes the same field back again and again: correct it at once, then more seldom. Pure."""

from dataclasses import dataclass

FREE = 5
"""Corrections of one field that are made at once."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0  # seconds; doubles with each correction
CALM = 120.0  # seconds without a change after which all is forgotten


@dataclass(frozen=True, slots=True)
class Fight:
    field: str
    corrections: int
    until: float
    """Of the clock: when the next correction may be made."""


def corrected(before: Fight | None, field: str, now: float) -> Fight:
    """After one more correction."""
    if before is None or before.field != field or now > before.until + CALM:
        return Fight(field, 1, now)
    count = before.corrections + 1
    pause = 0.0 if count < FREE else min(FIRST_PAUSE * 2.0 ** min(count - FREE, 20), LONGEST_PAUSE)
    return Fight(field, count, now + pause)


def words(fight: Fight, owners: str) -> str:
    who = f"by {owners} " if owners else ""
    return (
        f"{fight.field} is changed {who}in the cluster again and again and was set back {fight.corrections} times; "
        "it is corrected more seldom now. Let only one of them set it: by an override, or not in the template"
    )
