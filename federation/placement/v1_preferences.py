"""
v1 federation's annotations on an object, as the placement they stand for. Pure.

Source: kubernetes-retired/federation, apis/federation (ReplicaAllocationPreferences, ClusterSelector). They are the
object's own word and go before the policy's division and affinity.
"""

import json
from dataclasses import replace
from typing import Any

from cluster.machinery.labels import Requirement, Selector, selector_of
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest
from federation.placement.affinity import EVERYWHERE, Affinity
from federation.placement.policies import DIVIDED, WEIGHTED, Division, PropagationPolicy, Weight

PREFERENCES = {
    "Deployment": "federation.kubernetes.io/deployment-preferences",
    "ReplicaSet": "federation.kubernetes.io/replica-set-preferences",
    "Job": "federation.kubernetes.io/job-preferences",
}
CLUSTER_SELECTOR = "federation.alpha.kubernetes.io/cluster-selector"
_OTHERS = "*"
_OPERATORS = {"in": "In", "notin": "NotIn", "exists": "Exists", "doesnotexist": "DoesNotExist", "!": "DoesNotExist"}
_COMPARED = {"gt": ">", "lt": "<"}


def with_annotations(policy: PropagationPolicy, template: Object) -> PropagationPolicy:
    """The policy as the object's v1 annotations change it; with a `fault` when one is wrong."""
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    preferences = PREFERENCES.get(template.get("kind") or "")
    if preferences in annotations:
        try:
            policy = replace(policy, division=_division(_parsed(annotations[preferences])))
        except ValueError as wrong:
            return replace(policy, fault=f"annotation {preferences} cannot be used: {wrong}")
    if CLUSTER_SELECTOR in annotations:
        try:
            selector = _selector(_parsed(annotations[CLUSTER_SELECTOR]))
        except (ValueError, BadRequest) as wrong:
            return replace(policy, fault=f"annotation {CLUSTER_SELECTOR} cannot be used: {wrong}")
        policy = replace(policy, affinities=tuple(_narrowed(group, selector) for group in policy.affinities))
    return policy


def _narrowed(group: Affinity, selector: Selector) -> Affinity:
    return replace(group, labels=Selector((*group.labels.requirements, *selector.requirements)))


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as wrong:
        raise ValueError(f"it is not JSON ({wrong})") from None


def _division(given: Any) -> Division:
    if not isinstance(given, dict) or not isinstance(given.get("clusters") or {}, dict):
        raise ValueError('an object like {"rebalance": false, "clusters": {"*": {"weight": 1}}} is expected')
    unknown = given.keys() - {"rebalance", "clusters"}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} is not known; rebalance and clusters are")
    if not isinstance(given.get("rebalance", False), bool):
        raise ValueError(f"rebalance is {given['rebalance']!r}, not true or false")
    clusters = given.get("clusters") or {}
    named = frozenset(clusters) - {_OTHERS}
    weights = []
    for name, preference in sorted(clusters.items()):
        whose = replace(EVERYWHERE, exclude=named) if name == _OTHERS else replace(EVERYWHERE, names=frozenset([name]))
        weights.append(_weight(name, whose, preference))
    return Division(DIVIDED, WEIGHTED, tuple(weights), given.get("rebalance", False))


def _weight(name: str, whose: Affinity, given: Any) -> Weight:
    if not isinstance(given, dict):
        raise ValueError(f"cluster {name} has {given!r} where minReplicas, maxReplicas and weight are expected")
    unknown = given.keys() - {"minReplicas", "maxReplicas", "weight"}
    if unknown:
        raise ValueError(f"cluster {name}: {', '.join(sorted(unknown))} is not known")
    numbers = {key: value for key, value in given.items() if value is not None}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
            raise ValueError(f"cluster {name}: {key} is {value!r}, not a whole number from 0 on")
    least, most = numbers.get("minReplicas", 0), numbers.get("maxReplicas")
    if most is not None and most < least:
        raise ValueError(f"cluster {name}: maxReplicas {most} is below minReplicas {least}")
    return Weight(whose, numbers.get("weight", 0), least, most)


def _selector(given: Any) -> Selector:
    if not isinstance(given, list):
        raise ValueError('a list like [{"key": "region", "operator": "in", "values": ["eu"]}] is expected')
    found: list[Requirement] = []
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("key"), str) or not isinstance(one.get("operator"), str):
            raise ValueError(f"{one!r} needs a key and an operator")
        values = one.get("values") or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"key {one['key']}: values is {values!r}, not a list of strings")
        operator = one["operator"].lower()
        if operator in _COMPARED and len(values) == 1:
            found += Selector.parse(f"{one['key']}{_COMPARED[operator]}{values[0]}").requirements
            continue
        if operator not in _OPERATORS:
            raise ValueError(
                f"key {one['key']}: operator {one['operator']} is not In, NotIn, Exists, DoesNotExist, Gt or Lt"
            )
        expression = {"key": one["key"], "operator": _OPERATORS[operator], "values": values}
        found += selector_of({"matchExpressions": [expression]}).requirements
    return Selector(tuple(found))
