"""
Limits of a whole federation as those of clusters: an autoscaler's fewest and most replicas, a quota's amounts. Pure.

v1 divided autoscalers by default, and so do we. A quota is divided where a policy selects it: without one, every
cluster gets what its template says.
"""

from collections.abc import Mapping

from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity, QuantityError
from federation.placement import workloads
from federation.placement.plans import Assignment, Situation
from federation.placement.policies import DIVIDED, PropagationPolicy
from federation.placement.select import Selection
from federation.placement.shares import Assigned, weights_of
from federation.placement.split_replicas import in_proportion


def are_divided(template: Object, policy: PropagationPolicy) -> bool:
    """Whether clusters get parts of the template's limits."""
    if policy.division.mode != DIVIDED:
        return False
    kind = workloads.group_kind(template)
    return kind == workloads.AUTOSCALER or (kind == workloads.QUOTA and bool(policy.name))


def divide(
    template: Object, selection: Selection, policy: PropagationPolicy, situation: Situation, key: str
) -> Assigned:
    """
    The limits by the policy's weights, exactly: parts sum up to the whole.

    Members that are lost keep what they have, and the others share the whole among them: they have to carry the load.
    """
    weights, without = weights_of(selection, policy)
    held = {one.cluster: one for one in situation.held}
    kept = [held[name] for name in sorted(weights) if name in situation.lost and name in held]
    able = {name: weight for name, weight in weights.items() if name not in situation.lost}
    if workloads.group_kind(template) == workloads.AUTOSCALER:
        assignments, more = _autoscaler(template, able, key)
    else:
        assignments, more = _quota(template, able, key), {}
    return Assigned(tuple(sorted([*assignments, *kept], key=lambda one: one.cluster)), {**without, **more})


def _autoscaler(template: Object, weights: Mapping[str, int], key: str) -> tuple[list[Assignment], dict[str, str]]:
    spec = template.get("spec") or {}
    most, least = _number(spec.get("maxReplicas"), 1), _number(spec.get("minReplicas"), 1)
    tops = in_proportion(most, weights, key=key)
    without = {name: f"{most} replicas at most are with other clusters" for name, top in tops.items() if not top}
    scaled = {name: top for name, top in tops.items() if top}
    floors = in_proportion(min(least, most), scaled, key=key) if scaled else {}
    # An autoscaler does not scale to nothing unless it is told to.
    lowest = 0 if least == 0 else 1
    return [
        Assignment(
            name, top, why=f"{top} of {most} replicas at most", minimum=min(top, max(lowest, floors.get(name, 0)))
        )
        for name, top in scaled.items()
    ], without


def _quota(template: Object, weights: Mapping[str, int], key: str) -> list[Assignment]:
    parts: dict[str, dict[str, str]] = {name: {} for name in weights}
    for resource, amount in ((template.get("spec") or {}).get("hard") or {}).items():
        for name, part in _amounts(resource, amount, weights, key).items():
            parts[name][resource] = part
    total = sum(weights.values())
    return [
        Assignment(name, why=f"{weights[name]} of {total} parts of the quota", hard=tuple(sorted(parts[name].items())))
        for name in weights
    ]


def _amounts(resource: str, amount: object, weights: Mapping[str, int], key: str) -> dict[str, str]:
    """What cannot be read is left as it is, for the members to refuse."""
    try:
        whole = Quantity.parse(amount if isinstance(amount, (str, int, float)) else "")
    except QuantityError:
        return dict.fromkeys(weights, str(amount))
    fine = resource.rpartition(".")[2] == "cpu"  # millicores are what of a core can be given
    units = whole.milli if fine else whole.value
    shares = _by_weight(units, weights, key)
    return {
        name: f"{part}m" if fine and part % 1000 else str(part // 1000 if fine else part)
        for name, part in shares.items()
    }


def _by_weight(units: int, weights: Mapping[str, int], key: str) -> dict[str, int]:
    """Whole parts, and what is left over by one each as replicas are: bytes are too many to be dealt one by one."""
    total = sum(weights.values())
    shares = {name: units * weight // total if total else 0 for name, weight in weights.items()}
    left = units - sum(shares.values())
    for name, more in in_proportion(left, weights, key=f"{key}/rest").items():
        shares[name] += more
    return shares


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and value >= 0 else default
