"""What differs in one cluster: override policies applied to a rendered object. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.machinery.objects import Object, copy_object
from federation.placement.members import Member
from federation.placement.policies import OverridePolicy


@dataclass(frozen=True, slots=True)
class Overridden:
    """An object after its overrides."""

    obj: Object
    applied: tuple[str, ...] = ()
    """Policies that had a say, in order."""
    fault: str = ""
    """Which rule could not be applied and why; `obj` is then not to be written."""


def override(obj: Object, member: Member, policies: Iterable[OverridePolicy]) -> Overridden:
    """The object as it shall be in this cluster. `policies` in the order of `policies.overrides_for`."""
    return Overridden(copy_object(obj))
