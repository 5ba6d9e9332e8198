"""What a Placement says of one cluster. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cluster.machinery.objects import Key, Object, key_of
from federation.placement.kind_rules import NO_PATHS, KindPaths
from federation.placement.plans import Assignment
from federation.placement.record import assignment_of, paths_of

APPLIED, PENDING, CONFLICT, FAILED, DELETING, GONE = "Applied", "Pending", "Conflict", "Failed", "Deleting", "Gone"
"""Placement.status.clusters[].state."""
DELETED = "Deleted"
"""Why of a tombstone whose template was deleted before our eyes: somebody asked for it."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A copy that is to go."""

    uid: str
    """Of the template."""
    propagation: str = "Background"
    why: str = DELETED


@dataclass(frozen=True, slots=True)
class Part:
    """One cluster's part of one Placement."""

    home: Key
    """Of the Placement; without a namespace that of a ClusterPlacement."""
    uid: str
    """Of the template that was planned for."""
    generation: int | None = None
    """Its generation; None for kinds that count none."""
    assignment: Assignment | None = None
    evicting: bool = False
    """The copy stays as it is until its replacement is there."""
    tombstones: tuple[Tombstone, ...] = ()
    overwrite: bool = False
    suspended: bool = False
    paths: KindPaths = NO_PATHS
    """Of the rule for its kind."""

    @property
    def empty(self) -> bool:
        return self.assignment is None and not self.evicting and not self.tombstones


def part_of(placement: Object, cluster: str) -> Part:
    spec = placement["spec"]
    template = spec["template"]
    given = _named(spec.get("clusters"), cluster)
    return Part(
        home=key_of(placement),
        uid=template.get("uid") or "",
        generation=template.get("generation"),
        # Without its words: they are no reason to look at the copy again.
        assignment=replace(assignment_of(given), why="") if given is not None else None,
        evicting=_named(spec.get("evicting"), cluster) is not None,
        tombstones=tuple(
            Tombstone(one.get("uid") or "", one.get("propagation") or "Background", one.get("why") or "Missing")
            for one in spec.get("tombstones") or ()
            if one["cluster"] == cluster
        ),
        overwrite=spec.get("conflictResolution") == "Overwrite",
        suspended=bool(spec.get("suspended")) or cluster in (spec.get("suspendedIn") or ()),
        paths=paths_of(spec),
    )


def clusters_of(placement: Object) -> set[str]:
    """Every cluster that it names: to have a copy, to keep one for now, or to lose it."""
    spec = placement["spec"]
    named = {one["name"] for part in ("clusters", "evicting") for one in spec.get(part) or ()}
    return named | {one["cluster"] for one in spec.get("tombstones") or ()}


def _named(items: Iterable[Object] | None, cluster: str) -> Object | None:
    return next((one for one in items or () if one["name"] == cluster), None)
