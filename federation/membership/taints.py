"""Taints of clusters as operators write them. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.machinery.objects import Object

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TAINT = re.compile(
    r"(?P<key>(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)"
    r"(?:=(?P<value>[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?)?(?::(?P<effect>[A-Za-z]+))?(?P<away>-)?"
)


@dataclass(frozen=True, slots=True)
class Change:
    """One taint that is put on a cluster, or taken away."""

    key: str
    value: str
    effect: str
    """Empty where all with this key go."""
    away: bool


def read_change(text: str) -> Change:
    """`KEY=VALUE:EFFECT`, `KEY:EFFECT`, `KEY:EFFECT-`, `KEY-`, as kubectl has them. Raises ValueError."""
    found = _TAINT.fullmatch(text)
    effect = (found["effect"] or "") if found else ""
    if found is None or not (effect in EFFECTS or (found["away"] and not effect)):
        raise ValueError(f"{text!r} is neither KEY[=VALUE]:EFFECT nor KEY[:EFFECT]-, of {', '.join(EFFECTS)}")
    return Change(found["key"], found["value"] or "", effect, bool(found["away"]))


def as_text(taint: Object) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def changed(taints: Sequence[Object], changes: Sequence[Change], now: str) -> list[Object]:
    """
    Taints after the changes, in their order. One with the same key and effect is replaced. Pure.

    Args:
        now: since when what is not tolerated has to go.
    """
    found = list(taints)
    for change in changes:
        found = [one for one in found if one["key"] != change.key or (change.effect and one["effect"] != change.effect)]
        if not change.away:
            taint: Object = {"key": change.key, "effect": change.effect}
            if change.value:
                taint["value"] = change.value
            if change.effect == "NoExecute":
                taint["timeAdded"] = now
            found.append(taint)
    return found
