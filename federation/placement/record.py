"""A Placement's spec as data, and back. Pure; only the placer makes one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.machinery.objects import Object
from federation.api.refs import Ref
from federation.placement.kind_rules import NO_PATHS, KindPaths, path_of, text_of
from federation.placement.plans import Assignment, Displaced

BACKGROUND, FOREGROUND, ORPHAN = "Background", "Foreground", "Orphan"
"""How a tombstone is carried out; Orphan: the copy stays in the member and is nobody's any more."""
DELETED, MISSING, NOT_SELECTED, EVICTED, LEFT = "Deleted", "Missing", "NotSelected", "Evicted", "Left"
"""Why there is a tombstone. Nobody was seen to ask for Missing and NotSelected: they count for the brake."""
NOT_READY = "it is not ready"
"""How select.py begins its words about a member that does not answer."""
_WORDS = 1024
_NAMED = 5
"""Clusters that are named in one line."""
_FAULT = 4096


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A copy that is to go and is not yet known to be gone."""

    cluster: str
    uid: str
    """Of the template that it is a copy of."""
    why: str
    since: str
    """RFC 3339."""
    propagation: str = BACKGROUND


@dataclass(frozen=True, slots=True)
class Evicting:
    """A copy that stays until its replacement is there."""

    cluster: str
    replicas: int | None
    since: str
    """RFC 3339."""
    reason: str
    """That of plans.Eviction."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be where."""

    api_version: str
    uid: str = ""
    """Of the template."""
    generation: int | None = None
    policy: str = ""
    suspended: bool = False
    overwrite: bool = False
    delete_with_policy: bool = False
    overrides_hash: str = ""
    clusters: tuple[Assignment, ...] = ()
    evicting: tuple[Evicting, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    displaced: tuple[Displaced, ...] = ()
    passed_over: Mapping[str, str] = field(default_factory=dict)
    unplaced: int = 0
    fault: str = ""
    lazy_policy: Object | None = None
    """The spec by which it was placed, where the policy is a lazy one: that may say something else by now."""
    suspended_in: tuple[str, ...] = ()
    """Clusters where nothing is written."""
    rebalanced: str = ""
    """The wish to be placed anew that was fulfilled last."""
    paths: KindPaths = NO_PATHS
    """Where its kind's rule says that replicas and members' own fields are."""

    @property
    def empty(self) -> bool:
        """Nothing is anywhere, and nothing has to go."""
        return not (self.clusters or self.evicting or self.tombstones)

    def holders(self) -> Iterator[str]:
        """Clusters that have a copy or may have one still; some more than once."""
        yield from (one.cluster for one in self.clusters)
        yield from (one.cluster for one in self.evicting)
        yield from (one.cluster for one in self.tombstones)


def record_of(placement: Object) -> Record:
    spec = placement["spec"]
    template = spec["template"]
    return Record(
        api_version=template["apiVersion"],
        uid=template.get("uid") or "",
        generation=template.get("generation"),
        policy=spec.get("policy") or "",
        suspended=bool(spec.get("suspended")),
        suspended_in=tuple(spec.get("suspendedIn") or ()),
        overwrite=spec.get("conflictResolution") == "Overwrite",
        delete_with_policy=spec.get("deletionPolicy") == "Delete",
        overrides_hash=spec.get("overridesHash") or "",
        clusters=tuple(assignment_of(one) for one in spec.get("clusters") or ()),
        evicting=tuple(
            Evicting(one["name"], one.get("replicas"), one.get("since") or "", one.get("reason") or "")
            for one in spec.get("evicting") or ()
        ),
        tombstones=tuple(
            Tombstone(
                one["cluster"],
                one.get("uid") or "",
                one.get("why") or MISSING,
                one.get("since") or "",
                one.get("propagation") or BACKGROUND,
            )
            for one in spec.get("tombstones") or ()
        ),
        displaced=tuple(
            Displaced(one["cluster"], one.get("replicas") or 0, one.get("ordinalStart"))
            for one in spec.get("displaced") or ()
        ),
        passed_over={one["cluster"]: one.get("why") or "" for one in spec.get("passedOver") or ()},
        unplaced=spec.get("unplaced") or 0,
        fault=spec.get("fault") or "",
        lazy_policy=spec.get("lazyPolicy"),
        rebalanced=spec.get("rebalanced") or "",
        paths=paths_of(spec),
    )


def paths_of(spec: Object) -> KindPaths:
    """Of a Placement's spec."""
    rule = spec.get("rule") or {}
    replicas = path_of(rule["replicas"]) if rule.get("replicas") else ()
    return KindPaths(replicas, tuple(path_of(one) for one in rule.get("memberOwned") or ()))


def assignment_of(given: Object) -> Assignment:
    """One entry of a Placement's `spec.clusters`."""
    return Assignment(
        given["name"],
        given.get("replicas"),
        given.get("completions"),
        given.get("ordinalStart"),
        given.get("why") or "",
        given.get("minReplicas"),
        tuple(sorted((given.get("hard") or {}).items())),
    )


def spec_of(ref: Ref, record: Record) -> Object:
    """As it is stored: without what is empty."""
    template = {
        "apiVersion": record.api_version,
        "kind": ref.kind,
        "namespace": ref.namespace or None,
        "name": ref.name,
        "uid": record.uid or None,
        "generation": record.generation,
    }
    spec: dict[str, Any] = {
        "template": _given(template),
        "policy": record.policy,
        "suspended": record.suspended,
        "suspendedIn": list(record.suspended_in),
        "conflictResolution": "Overwrite" if record.overwrite else "",
        "deletionPolicy": "Delete" if record.delete_with_policy else "",
        "overridesHash": record.overrides_hash,
        "where": where(record.clusters),
        "clusters": _all(
            {
                "name": one.cluster,
                "replicas": one.replicas,
                "completions": one.completions,
                "ordinalStart": one.ordinal_start,
                "minReplicas": one.minimum,
                "hard": dict(one.hard) or None,
                "why": one.why[:_WORDS] or None,
            }
            for one in record.clusters
        ),
        "evicting": _all(
            {"name": one.cluster, "replicas": one.replicas, "since": one.since, "reason": one.reason}
            for one in record.evicting
        ),
        "tombstones": _all(
            {
                "cluster": one.cluster,
                "uid": one.uid,
                "propagation": one.propagation,
                "why": one.why,
                "since": one.since,
            }
            for one in record.tombstones
        ),
        "displaced": _all(
            {"cluster": one.cluster, "replicas": one.replicas, "ordinalStart": one.ordinal_start}
            for one in record.displaced
        ),
        "passedOver": [
            {"cluster": cluster, "why": why[:_WORDS]} for cluster, why in sorted(record.passed_over.items())
        ],
        "unplaced": record.unplaced,
        "fault": record.fault[:_FAULT],
        "lazyPolicy": record.lazy_policy,
        "rebalanced": record.rebalanced,
        "rule": {
            name: value
            for name, value in (
                ("replicas", text_of(record.paths.replicas)),
                ("memberOwned", [text_of(one) for one in record.paths.member_owned]),
            )
            if value
        },
    }
    return {name: value for name, value in spec.items() if value}


def is_worth_a_write(old: Record, new: Record) -> bool:
    """
    Whether anything is different but the words for a member that is not ready.

    It is passed over with other words than before, and will be with the former ones in a moment.
    """
    words = dict(new.passed_over)
    for cluster, why in old.passed_over.items():
        if cluster in words and (why.startswith(NOT_READY) or words[cluster].startswith(NOT_READY)):
            words[cluster] = why
    return replace(new, passed_over=words) != old


def where(clusters: Sequence[Assignment]) -> str:
    """`east (2), west (1)`: a column of a table shows one value."""
    named = [one.cluster if one.replicas is None else f"{one.cluster} ({one.replicas})" for one in clusters[:_NAMED]]
    more = len(clusters) - len(named)
    return ", ".join([*named, f"{more} more"] if more else named)


def _all(items: Iterable[Mapping[str, Any]]) -> list[Object]:
    return [_given(item) for item in items]


def _given(item: Mapping[str, Any]) -> Object:
    return {name: value for name, value in item.items() if value is not None and value != ""}
