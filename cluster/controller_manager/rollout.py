"""
How a Deployment moves from old ReplicaSets to the new one, one step at a time.

Pure: numbers in, numbers out. The controller carries a step out and is called again when the world has followed.
Source: kube-controller-manager, pkg/controller/deployment/{rolling,recreate,sync}.go and util/deployment_util.go.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Limits:
    """How many Pods more than desired, and how many fewer than available, a rollout may have."""

    surge: int
    unavailable: int


@dataclass(frozen=True, slots=True)
class Share:
    """One ReplicaSet of a Deployment."""

    name: str
    replicas: int
    """spec.replicas"""
    available: int = 0
    pods: int = 0
    """status.replicas"""
    created: str = ""
    max_replicas: int = 0
    """What the annotation says the Deployment's maximum was when this was scaled; 0 when it says nothing."""


Scaling = dict[str, int]
"""Names of ReplicaSets and the replicas they shall have. Empty: nothing to do."""


def scaled_value(value: Any, total: int, *, round_up: bool) -> int:
    """An int or a percentage of `total`."""
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * total / 100
        return math.ceil(share) if round_up else math.floor(share)
    return int(value)


def limits_of(spec: Object, desired: int) -> Limits:
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate" or not desired:
        return Limits(0, desired if strategy.get("type") == "Recreate" else 0)
    rolling = strategy.get("rollingUpdate") or {}
    surge = scaled_value(rolling.get("maxSurge", "25%"), desired, round_up=True)
    unavailable = scaled_value(rolling.get("maxUnavailable", "25%"), desired, round_up=False)
    if not surge and not unavailable:
        unavailable = 1  # a rollout that may do neither would never move
    return Limits(surge, min(unavailable, desired))


def plan_new(desired: int, new: Share, old: Sequence[Share], limits: Limits) -> Scaling:
    """Grow the new ReplicaSet as far as the surge allows."""
    if new.replicas == desired:
        return {}
    if new.replicas > desired:
        return {new.name: desired}
    room = desired + limits.surge - new.replicas - sum(share.replicas for share in old)
    grow = min(room, desired - new.replicas)
    return {new.name: new.replicas + grow} if grow > 0 else {}


def plan_old(desired: int, new: Share, old: Sequence[Share], limits: Limits) -> Scaling:
    """Shrink the old ones as far as availability allows: what is unhealthy anyway first, then the oldest."""
    minimum = desired - limits.unavailable
    total = new.replicas + sum(share.replicas for share in old)
    spare = total - minimum - (new.replicas - new.available)
    if spare <= 0 or not any(share.replicas for share in old):
        return {}
    left = {share.name: share.replicas for share in old}
    by_age = sorted(old, key=lambda share: (share.created, share.name))
    for share in by_age:
        unhealthy = max(share.replicas - share.available, 0)
        drop = min(spare, unhealthy)
        left[share.name] -= drop
        spare -= drop
    available = new.available + sum(share.available for share in old)
    spare = available - minimum
    for share in by_age:
        if spare <= 0:
            break
        drop = min(left[share.name], spare)
        left[share.name] -= drop
        spare -= drop
    return {share.name: left[share.name] for share in old if left[share.name] != share.replicas}


def plan_rolling(desired: int, new: Share, old: Sequence[Share], limits: Limits) -> Scaling:
    return plan_new(desired, new, old, limits) or plan_old(desired, new, old, limits)


def plan_proportional(
    desired: int, new: Share | None, old: Sequence[Share], limits: Limits, *, rolling: bool
) -> Scaling:
    """
    What follows from a changed `replicas` in the middle of a rollout: everyone grows or shrinks by its share.

    Largest first and newest first among equals, so that rounding does not start a ReplicaSet anew.
    """
    shares = [share for share in (*old, *([new] if new else [])) if share.replicas]
    if len(shares) <= 1:
        only = shares[0] if shares else (new or max(old, key=lambda s: s.created, default=None))
        return {only.name: desired} if only is not None and only.replicas != desired else {}
    if new is not None and new.replicas == desired and new.available == desired:
        return {share.name: 0 for share in old if share.replicas}
    if not rolling:
        return {}
    allowed = desired + limits.surge if desired else 0
    to_add = allowed - sum(share.replicas for share in shares)
    if not to_add:
        return {}
    growing = to_add > 0
    shares.sort(key=lambda share: (share.replicas, share.created), reverse=True)
    if not growing:
        shares.sort(key=lambda share: share.created)
        shares.sort(key=lambda share: share.replicas, reverse=True)
    added = 0
    target: Scaling = {}
    for share in shares:
        before = share.max_replicas or sum(other.replicas for other in shares)
        part = round(share.replicas * allowed / before) - share.replicas
        rest = to_add - added
        part = max(min(part, rest), 0) if growing else min(max(part, rest), 0)
        target[share.name] = share.replicas + part
        added += part
    first = shares[0].name  # what rounding left over
    target[first] = max(target[first] + to_add - added, 0)
    return {share.name: target[share.name] for share in shares if target[share.name] != share.replicas}


def plan_recreate(desired: int, new: Share | None, old: Sequence[Share]) -> Scaling:
    """First everything old goes, then the new one comes at once."""
    shrink = {share.name: 0 for share in old if share.replicas}
    if shrink or any(share.pods for share in old):
        return shrink
    return {new.name: desired} if new is not None and new.replicas != desired else {}


def is_complete(desired: int, status: Mapping[str, Any], generation: int) -> bool:
    """Everything is new and available, and nothing else is left."""
    return bool(
        status.get("updatedReplicas", 0) == desired
        and status.get("replicas", 0) == desired
        and status.get("availableReplicas", 0) == desired
        and status.get("observedGeneration", 0) >= generation
    )


def plan_history(old: Sequence[Share], limit: int, revisions: Mapping[str, int]) -> list[str]:
    """Names of the empty old ReplicaSets beyond the history limit, oldest revision first."""
    empty = [share for share in old if not share.replicas and not share.pods]
    surplus = len(old) - limit
    if surplus <= 0:
        return []
    empty.sort(key=lambda share: (revisions.get(share.name, 0), share.created))
    return [share.name for share in empty[:surplus]]
