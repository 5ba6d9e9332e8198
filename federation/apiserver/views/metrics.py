"""
metrics.k8s.io at the federation's API: what the members' metrics servers say, for `kubectl top` and autoscalers.

A member without a metrics server is left out with a warning. Source of the shapes: k8s.io/metrics, v1beta1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity, QuantityError
from federation.api.kinds import established
from federation.apiserver.views import marks
from federation.apiserver.views.asked import CLUSTER_LABEL

GROUP = "metrics.k8s.io"
_VERSION = "v1beta1"
VIEWS = frozenset({(GROUP, "pods"), (GROUP, "nodes")})
_USAGE: Mapping[str, Any] = {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}}
_MEASURED: Mapping[str, Any] = {
    "timestamp": {"type": "string", "format": "date-time"},
    "window": {"type": "string", "description": "The time before the timestamp over which was measured."},
}
_CONTAINERS: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "object", "properties": {"name": {"type": "string"}, "usage": _USAGE}},
}


def definitions() -> tuple[Object, ...]:
    """As the apiserver serves them."""
    return (
        _definition("pods", "PodMetrics", "Namespaced", {**_MEASURED, "containers": _CONTAINERS}),
        _definition("nodes", "NodeMetrics", "Cluster", {**_MEASURED, "usage": _USAGE}),
    )


def _definition(plural: str, kind: str, scope: str, properties: Mapping[str, Any]) -> Object:
    schema = {"type": "object", "description": "Metrics of a member cluster.", "properties": dict(properties)}
    version = {"name": _VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": plural, "singular": "", "kind": kind, "listKind": f"{kind}List"}
    return established(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{GROUP}"},
            "spec": {"group": GROUP, "scope": scope, "names": names, "versions": [version]},
        }
    )


def table(items: Sequence[Object], metadata: Object, version: str) -> Object:
    """Marked objects as a Table: members need not be able to make one of metrics."""
    names = ("CPU", "Memory", "Window")
    columns = [
        {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
        marks.COLUMN,
        *({"name": name, "type": "string", "format": "", "description": "", "priority": 0} for name in names),
    ]
    head: Object = {"kind": "Table", "apiVersion": f"meta.k8s.io/{version}", "metadata": metadata}
    return {**head, "columnDefinitions": columns, "rows": [_row(item) for item in items]}


def _row(item: Object) -> Object:
    metadata = item["metadata"]
    usages = [item.get("usage") or {}, *(one.get("usage") or {} for one in item.get("containers") or ())]
    cpu = f"{sum(_amount(usage.get('cpu')).milli for usage in usages)}m"
    memory = f"{sum(_amount(usage.get('memory')).value for usage in usages) >> 10}Ki"
    cluster = (metadata.get("labels") or {}).get(CLUSTER_LABEL)
    cells = [metadata.get("name"), cluster, cpu, memory, str(item.get("window") or "")]
    return {
        "cells": cells,
        "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata},
    }


def _amount(value: object) -> Quantity:
    """What cannot be read is nothing."""
    try:
        return Quantity.parse(value if isinstance(value, str | int | float) else "0")
    except QuantityError:
        return Quantity.parse("0")
