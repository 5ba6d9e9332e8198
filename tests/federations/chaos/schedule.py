"""
What happens in one round: what users do, what breaks, when. Pure; the same seed gives the same schedule.

A schedule can be written as JSON, shortened by hand or by `shrink`, and played again.
"""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MEMBERS = ("m0", "m1", "m2")
NAMESPACE = "shop"
MAPS = tuple(f"c{at}" for at in range(6))
SECRETS = ("s0", "s1")
DEPLOYMENTS = ("d0", "d1", "d2")
SERVICES = ("v0",)
GROUPS = ("", "a", "b")
"""Of the label that policies select by; the empty one is under no policy."""
TAKEN = "c5"
"""A name that somebody else's object has in one member."""
TAKEN_IN = "m1"

KINDS: Mapping[str, str] = {
    **dict.fromkeys(MAPS, "ConfigMap"), **dict.fromkeys(SECRETS, "Secret"), **dict.fromkeys(DEPLOYMENTS, "Deployment"),
    **dict.fromkeys(SERVICES, "Service"),
}  # fmt: skip
_USER = {"create": 6, "update": 6, "delete": 3, "recreate": 2, "policy": 2, "drift": 1, "steal": 1}
_TROUBLE = {
    "kill manager": 3, "pause manager": 2, "kill apiserver": 3, "pause apiserver": 2, "cut manager": 2,
    "crash member": 3, "hang member": 2, "cut member": 3, "lose answers": 2, "fail": 2, "throttle": 1, "forget": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    at: float
    """Seconds from the round's beginning."""
    what: str
    target: str = ""
    """Name of an object, a policy group or a member."""
    seconds: float = 0.0
    """Until what broke is whole again."""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def is_trouble(step: Step) -> bool:
    return step.what in _TROUBLE


def schedule(seed: int, round_: int, *, seconds: float = 3.0, changes: int = 14, troubles: int = 3) -> list[Step]:
    """The steps of one round, in the order of time."""
    chosen = random.Random(f"federation chaos {seed} {round_}")
    steps = [_change(chosen, seconds, round_ * 1000 + at) for at in range(changes)]
    steps += [_trouble(chosen, seconds) for _ in range(chosen.randint(1, troubles))]
    return sorted(steps, key=lambda step: step.at)


def _change(chosen: random.Random, seconds: float, value: int) -> Step:
    at = round(chosen.uniform(0, seconds), 2)
    what = chosen.choices(list(_USER), list(_USER.values()))[0]
    if what == "policy":
        members = sorted(chosen.sample(MEMBERS, chosen.randint(1, len(MEMBERS))))
        return Step(at, what, chosen.choice(GROUPS[1:]), details={"members": members, "kept": chosen.random() < 0.8})
    details = {"value": value, "replicas": chosen.randint(0, 9), "group": chosen.choice(GROUPS)}
    if what in ("drift", "steal"):
        details["member"] = chosen.choice(MEMBERS)
        return Step(at, what, chosen.choice(MAPS[:-1]), details=details)
    return Step(at, what, chosen.choice(list(KINDS)), details=details)


def _trouble(chosen: random.Random, seconds: float) -> Step:
    at = round(chosen.uniform(0, seconds * 0.9), 2)
    what = chosen.choices(list(_TROUBLE), list(_TROUBLE.values()))[0]
    lasts = round(chosen.uniform(0.1, seconds * 1.2), 2)
    details: dict[str, Any] = {}
    if what.startswith("cut"):
        details["mode"] = chosen.choice(("refuse", "swallow"))
    return Step(at, what, chosen.choice(MEMBERS), lasts, details)
