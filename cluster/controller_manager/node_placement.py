"""
Does a Pod's template fit a Node: selector, required affinity, taints. Pure. DaemonSets ask it.
"""

from collections.abc import Iterable, Mapping

from cluster.machinery.labels import Requirement
from cluster.machinery.objects import Object
from cluster.machinery.tolerations import first_untolerated

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def _holds(expressions: Iterable[Object], labels: Mapping[str, str]) -> bool:
    return all(
        Requirement(e["key"], _OPERATORS[e["operator"]], frozenset(e.get("values") or ())).matches(labels)
        for e in expressions
    )


def _term_fits(term: Object, name: str, labels: Mapping[str, str]) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    return bool(expressions or fields) and _holds(expressions, labels) and _holds(fields, {"metadata.name": name})


def fits_labels(spec: Object, node: Object) -> bool:
    """nodeName, nodeSelector and required node affinity of a Pod spec."""
    name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
    if spec.get("nodeName") and spec["nodeName"] != name:
        return False
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term_fits(t, name, labels) for t in required.get("nodeSelectorTerms") or ())


def fits_taints(tolerations: list[Object], node: Object, *effects: str) -> bool:
    return first_untolerated(tolerations, (node.get("spec") or {}).get("taints") or (), effects) is None
