"""
What has to be changed in a zone: desired - observed, with what must not be touched left away. Pure.

Nothing is taken away on the word of a source that is not complete, nor more than half of the names at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.dns.ownership import Owner
from federation.dns.recordsets import Group

BRAKE_ABOVE = 20
"""Names; fewer removals are carried out whatever share of the zone they are."""


@dataclass(frozen=True, slots=True)
class Desired:
    group: Group
    obj: str
    """namespace/name of the Service."""


@dataclass(frozen=True, slots=True)
class Observed:
    group: Group
    owner: Owner | None
    """None with a group that is not empty: somebody else's."""


@dataclass(frozen=True, slots=True)
class Change:
    name: str
    after: Group
    """Empty: the name goes away."""
    obj: str
    before: Observed | None = None
    """None: the name is new."""


@dataclass(frozen=True, slots=True)
class Plan:
    changes: tuple[Change, ...]
    refused: Mapping[str, str]
    """Name -> why nothing is done about it."""
    held: tuple[str, ...] = ()
    """Names that would go away."""
    why_held: str = ""


def plan_changes(
    desired: Mapping[str, Desired],
    observed: Mapping[str, Observed],
    federation: str,
    *,
    synced: bool,
    confirmed: bool = False,
) -> Plan:
    """
    Args:
        desired: name -> what it shall answer.
        observed: name -> what the zone has there, of every name that we know of.
        federation: our UID.
        synced: everything that `desired` is made of is known; else nothing is taken away.
        confirmed: an operator agreed to a plan that takes many names away.
    """
    changes: list[Change] = []
    removals: list[Change] = []
    refused: dict[str, str] = {}
    ours = 0
    for name in sorted({*desired, *observed}):
        there, wanted = observed.get(name), desired.get(name)
        if there is not None and there.owner is not None and there.owner.federation == federation:
            ours += 1
            if wanted is None or not wanted.group:
                removals.append(Change(name, {}, there.owner.obj, there))
            elif there.owner.obj != wanted.obj:
                refused[name] = f"the name {name} belongs to Service {there.owner.obj}; give {wanted.obj} another host"
            elif content(there.group) != content(wanted.group):
                changes.append(Change(name, wanted.group, wanted.obj, there))
        elif wanted is None or not wanted.group:
            continue
        elif there is not None and (there.group or there.owner):
            holder = f"federation {there.owner.federation}" if there.owner else "somebody who left no owner record"
            refused[name] = f"the name {name} belongs to {holder}; remove it there, or choose another name"
        else:
            changes.append(Change(name, wanted.group, wanted.obj))
    held = _why_held(len(removals), ours, synced=synced, confirmed=confirmed)
    if held:
        return Plan(tuple(changes), refused, tuple(change.name for change in removals), held)
    # What goes away comes first: a new host may take the name's place in a CNAME chain.
    return Plan((*removals, *changes), refused)


def _why_held(removals: int, ours: int, *, synced: bool, confirmed: bool) -> str:
    if not removals:
        return ""
    if not synced:
        return f"{removals} names would go away, but the list of Services is not complete yet: none does"
    if removals > BRAKE_ABOVE and removals * 2 > ours and not confirmed:
        return f"{removals} of {ours} names would go away at once: confirm it, or bring the Services back"
    return ""


def content(group: Group) -> dict[str, object]:
    """What counts of it when two are compared, by type; the order of values does not."""
    return {
        rtype: (
            record.ttl,
            frozenset(target._replace(value=target.value.rstrip(".").lower()) for target in record.targets),
            tuple(sorted(record.standby)),
            record.check,
        )
        for rtype, record in group.items()
    }
