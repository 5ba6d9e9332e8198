"""Which clusters a policy means: by names, labels, and provider, region and zone. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.machinery.labels import Selector, selector_of
from cluster.machinery.objects import Object
from federation.placement.members import Member

EVERY_LABEL = Selector()


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    key: str
    """provider, region or zone; a cluster of several zones is in each of them."""
    operator: str
    """In or NotIn."""
    values: frozenset[str]

    def matches(self, member: Member) -> bool:
        found = {"provider": (member.provider,), "region": (member.region,), "zone": member.zones}[self.key]
        inside = any(value in self.values for value in found)
        return inside if self.operator == "In" else not inside


@dataclass(frozen=True, slots=True)
class Affinity:
    """Clusters that fulfil everything that is given here; an empty one means all."""

    names: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    labels: Selector = EVERY_LABEL
    fields: tuple[FieldRequirement, ...] = ()
    group: str = ""
    """The affinityName of an ordered group."""

    def matches(self, member: Member) -> bool:
        return self.why_not(member) is None

    def why_not(self, member: Member) -> str | None:
        """Why the cluster is not meant, as a user reads it; None when it is."""
        if member.name in self.exclude:
            return "excluded by the policy"
        if self.names and member.name not in self.names:
            return "not among the clusters the policy names"
        if not self.labels.matches(member.labels):
            return f"its labels do not match {self.labels}"
        for requirement in self.fields:
            if not requirement.matches(member):
                listed = ", ".join(sorted(requirement.values))
                return f"its {requirement.key} is {'not one' if requirement.operator == 'In' else 'one'} of {listed}"
        return None


EVERYWHERE = Affinity()


def affinity_of(given: Object | None) -> Affinity:
    """From a policy's clusterAffinity. Raises ValueError for a selector that nobody can mean."""
    given = given or {}
    selector = given.get("labelSelector")
    return Affinity(
        names=frozenset(given.get("clusterNames") or ()),
        exclude=frozenset(given.get("exclude") or ()),
        labels=EVERY_LABEL if selector is None else selector_of(selector),
        fields=tuple(_fields(given.get("fieldSelector") or ())),
        group=given.get("affinityName") or "",
    )


def _fields(given: Iterable[Object]) -> Iterable[FieldRequirement]:
    for one in given:
        if one["key"] not in ("provider", "region", "zone") or one["operator"] not in ("In", "NotIn"):
            raise ValueError(
                f"{one['key']} {one['operator']} is no field selector: use provider, region or zone with In or NotIn"
            )
        yield FieldRequirement(one["key"], one["operator"], frozenset(one.get("values") or ()))
