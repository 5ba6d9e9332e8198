"""
Between API versions of the same stored object: core and events.k8s.io Events, autoscaling v1 and v2.

Pure. Source: k8s.io/kubernetes, pkg/apis/core/v1 + events/v1 + autoscaling/v1 conversion.
"""

from collections.abc import Callable

import orjson

from cluster.api.resources import Resource
from cluster.machinery.objects import Object

# Field in core/v1, field in events.k8s.io/v1; None of these changes meaning.
_EVENT_FIELDS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)


def _convert_event(obj: Object, api_version: str) -> Object:
    to_core = api_version == "v1"
    for core, new in _EVENT_FIELDS:
        have, want = (new, core) if to_core else (core, new)
        if have in obj:
            obj[want] = obj.pop(have)
    obj["apiVersion"] = api_version
    return obj


_METRICS_ANNOTATION = "autoscaling.alpha.kubernetes.io/metrics"
_CURRENT_ANNOTATION = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS_ANNOTATION = "autoscaling.alpha.kubernetes.io/conditions"
_BEHAVIOR_ANNOTATION = "autoscaling.alpha.kubernetes.io/behavior"


def _is_cpu(metric: Object, kind: str) -> bool:
    resource = metric.get("resource") or {}
    return metric.get("type") == "Resource" and resource.get("name") == "cpu" and kind in resource


def _to_v1(obj: Object) -> Object:

    spec, status = obj.setdefault("spec", {}), obj.setdefault("status", {})
    annotations = dict(obj["metadata"].get("annotations") or {})
    others = []
    for metric in spec.pop("metrics", None) or []:
        target = (metric.get("resource") or {}).get("target") or {}
        if _is_cpu(metric, "target") and target.get("averageUtilization") is not None:
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
        else:
            others.append(metric)
    if others:
        annotations[_METRICS_ANNOTATION] = orjson.dumps(others).decode()
    if spec.get("behavior"):
        annotations[_BEHAVIOR_ANNOTATION] = orjson.dumps(spec["behavior"]).decode()
    spec.pop("behavior", None)
    rest = []
    for metric in status.pop("currentMetrics", None) or []:
        current = (metric.get("resource") or {}).get("current") or {}
        if _is_cpu(metric, "current") and current.get("averageUtilization") is not None:
            status["currentCPUUtilizationPercentage"] = current["averageUtilization"]
        else:
            rest.append(metric)
    if rest:
        annotations[_CURRENT_ANNOTATION] = orjson.dumps(rest).decode()
    conditions = status.pop("conditions", None)
    if conditions:
        annotations[_CONDITIONS_ANNOTATION] = orjson.dumps(conditions).decode()
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    if annotations:
        obj["metadata"]["annotations"] = annotations
    obj["apiVersion"] = "autoscaling/v1"
    return obj


def _to_v2(obj: Object) -> Object:

    spec, status = obj.setdefault("spec", {}), obj.setdefault("status", {})
    annotations = dict(obj["metadata"].get("annotations") or {})
    metrics = []
    utilization = spec.pop("targetCPUUtilizationPercentage", None)
    if utilization is not None:
        target = {"type": "Utilization", "averageUtilization": utilization}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if _METRICS_ANNOTATION in annotations:
        metrics += orjson.loads(annotations.pop(_METRICS_ANNOTATION))
    if metrics:
        spec["metrics"] = metrics
    if _BEHAVIOR_ANNOTATION in annotations:
        spec["behavior"] = orjson.loads(annotations.pop(_BEHAVIOR_ANNOTATION))
    current = status.pop("currentCPUUtilizationPercentage", None)
    if current is not None:
        shown = {"averageUtilization": current, "averageValue": "0"}
        status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": shown}}]
    if _CURRENT_ANNOTATION in annotations:
        status["currentMetrics"] = [
            *(status.get("currentMetrics") or []),
            *orjson.loads(annotations.pop(_CURRENT_ANNOTATION)),
        ]
    if _CONDITIONS_ANNOTATION in annotations:
        status["conditions"] = orjson.loads(annotations.pop(_CONDITIONS_ANNOTATION))
    status.setdefault("desiredReplicas", 0)
    if annotations:
        obj["metadata"]["annotations"] = annotations
    else:
        obj["metadata"].pop("annotations", None)
    obj["apiVersion"] = "autoscaling/v2"
    return obj


def _convert_autoscaler(obj: Object, api_version: str) -> Object:
    return _to_v1(obj) if api_version == "autoscaling/v1" else _to_v2(obj)


_BY_NAME: dict[str, Callable[[Object, str], Object]] = {
    "events": _convert_event,
    "events.events.k8s.io": _convert_event,
    "horizontalpodautoscalers.autoscaling": _convert_autoscaler,
}


def converter_of(resource: Resource) -> Callable[[Object, str], Object] | None:
    """What brings objects of this resource into another version; None when there is only one."""
    return _BY_NAME.get(resource.qualified)
