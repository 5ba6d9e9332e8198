"""A plan in words: what would be changed at which name, from what to what, and why. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from federation.dns.plan import Change, Plan
from federation.dns.recordsets import Group, RecordSet, Target

CREATE, CHANGE, REMOVE, REFUSED, HELD = "create", "change", "remove", "refused", "held"


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    action: str
    """One of CREATE, CHANGE, REMOVE, or REFUSED, HELD: nothing is done."""
    of: str
    """namespace/name of the Service."""
    before: tuple[str, ...]
    """`A 5 192.0.2.1`, one a value."""
    after: tuple[str, ...]
    why: str


def explain(plan: Plan, services: Mapping[str, str]) -> list[Step]:
    """
    Args:
        services: name -> the Service that wants it, for names that are refused or held.
    """
    steps = [_step(change) for change in plan.changes]
    steps += [Step(name, REFUSED, services.get(name, ""), (), (), why) for name, why in plan.refused.items()]
    steps += [Step(name, HELD, services.get(name, ""), (), (), plan.why_held) for name in plan.held]
    return sorted(steps, key=lambda step: step.name)


def _step(change: Change) -> Step:
    old = change.before.group if change.before else {}
    before, after = lines(old), lines(change.after)
    if change.before is None:
        return Step(change.name, CREATE, change.obj, before, after, f"Service {change.obj} has this name now")
    if not change.after:
        why = f"Service {change.obj} does not want it any more, or is gone"
        return Step(change.name, REMOVE, change.obj, before, after, why)
    return Step(change.name, CHANGE, change.obj, before, after, _difference(old, change.after))


def lines(group: Group) -> tuple[str, ...]:
    return tuple(
        f"{rtype} {group[rtype].ttl} {one}" for rtype in sorted(group) for one in sorted(_values(group[rtype]))
    )


def _values(record: RecordSet) -> Iterable[str]:
    for target in record.targets:
        yield _text(target)
    for target in record.standby:
        yield f"{_text(target)} standby"


def _text(target: Target) -> str:
    parts = [target.value, *(f"({target.cluster})" for _ in range(bool(target.cluster)))]
    if target.weight is not None:
        parts.append(f"weight {target.weight}")
    return " ".join([*parts, *target.places])


def _difference(before: Group, after: Group) -> str:
    said = []
    for rtype in sorted({*before, *after}):
        old, new = before.get(rtype), after.get(rtype)
        gone, come = set(_values(old)) if old else set(), set(_values(new)) if new else set()
        values = [*(f"+{one}" for one in sorted(come - gone)), *(f"-{one}" for one in sorted(gone - come))]
        if old and new and old.ttl != new.ttl:
            values.append(f"TTL {old.ttl} to {new.ttl}")
        if old and new and old.check != new.check:
            values.append("another health check")
        if values:
            said.append(f"{rtype} {', '.join(values)}")
    return "; ".join(said)
