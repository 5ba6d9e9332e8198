"""Spread constraints: among clusters that fit, those that together fill enough groups and not too many. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from federation.placement.members import Member
from federation.placement.policies import Spread


@dataclass(frozen=True, slots=True)
class Chosen:
    members: tuple[Member, ...]
    passed_over: dict[str, str]
    fault: str = ""


def choose(ranked: Sequence[Member], constraints: Sequence[Spread]) -> Chosen:
    """
    Keep of `ranked` (the best first) what the constraints allow.

    Groups are taken in the order of their best cluster. Where the number of clusters is limited, every group gets its
    best cluster before any gets a second one. A minimum that cannot be had is a fault, and nobody is chosen.
    """
    members = list(ranked)
    passed_over: dict[str, str] = {}
    most = min((one.maximum for one in constraints if one.by == "cluster" and one.maximum is not None), default=None)
    grouping: Callable[[Member], tuple[str, ...]] = _nothing
    for constraint in constraints:
        if constraint.by == "cluster":
            continue
        title, grouping = _grouping(constraint)
        groups = list(dict.fromkeys(value for member in members for value in grouping(member)))
        allowed = groups[: min(len(groups) if constraint.maximum is None else constraint.maximum, most or len(groups))]
        if len(allowed) < constraint.minimum:
            listed = f" ({', '.join(groups)})" if groups else ""
            limit = f", and no more than {most} clusters may be used" if most is not None and most < len(groups) else ""
            fault = (
                f"{constraint.minimum} {title}s are asked for; clusters that fit are in {len(groups)}{listed}{limit}"
            )
            return Chosen((), passed_over, fault)
        for member in members:
            values = grouping(member)
            if not any(value in allowed for value in values):
                where = f"its {title} {', '.join(values)} is one too many" if values else f"it says no {title}"
                passed_over[member.name] = f"{where} for the spread constraint"
        members = [member for member in members if member.name not in passed_over]
    if most is not None and len(members) > most:
        kept = _one_of_each_first(members, grouping)[:most]
        for member in members:
            if member not in kept:
                passed_over[member.name] = f"{most} better clusters are enough for the spread constraint"
        members = [member for member in members if member in kept]
    least = max((one.minimum for one in constraints if one.by == "cluster"), default=0)
    if len(members) < least:
        return Chosen((), passed_over, f"{least} clusters are asked for; {len(members)} fit")
    return Chosen(tuple(members), passed_over)


def _nothing(_member: Member) -> tuple[str, ...]:
    return ()


def _grouping(constraint: Spread) -> tuple[str, Callable[[Member], tuple[str, ...]]]:
    if constraint.label:
        return f"label {constraint.label} value", lambda member: _known(member.labels.get(constraint.label))
    match constraint.by:
        case "zone":
            return "zone", lambda member: member.zones
        case "region":
            return "region", lambda member: _known(member.region)
        case _:
            return "provider", lambda member: _known(member.provider)


def _known(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()


def _one_of_each_first(members: Sequence[Member], grouping: Callable[[Member], tuple[str, ...]]) -> list[Member]:
    """The best of every group, then the second best of every group, and so on."""
    rounds: list[tuple[int, Member]] = []
    seen: dict[tuple[str, ...], int] = {}
    for member in members:
        group = grouping(member)
        rounds.append((seen.get(group, 0), member))
        seen[group] = seen.get(group, 0) + 1
    return [member for _, member in sorted(rounds, key=lambda one: one[0])]
