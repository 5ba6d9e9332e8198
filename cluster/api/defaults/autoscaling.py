"""Defaults of HorizontalPodAutoscalers, v2 and its older face v1."""

from collections.abc import Sequence

from cluster.api.defaults.filling import child, fill, fill_pointer
from cluster.machinery.objects import Object

CPU_PERCENT = 80


def default_autoscaler_v1(autoscaler: Object) -> None:
    spec = child(autoscaler, "spec")
    fill_pointer(spec, "minReplicas", 1)
    fill_pointer(spec, "targetCPUUtilizationPercentage", CPU_PERCENT)
    status = child(autoscaler, "status")
    fill_pointer(status, "currentReplicas", 0)
    fill_pointer(status, "desiredReplicas", 0)


def default_autoscaler_v2(autoscaler: Object) -> None:
    spec = child(autoscaler, "spec")
    fill_pointer(spec, "minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if isinstance(behavior := spec.get("behavior"), dict):
        _default_behavior(behavior)
    status = child(autoscaler, "status")
    fill_pointer(status, "desiredReplicas", 0)
    status.setdefault("currentMetrics", None)


def _default_behavior(behavior: Object) -> None:
    """Up: at once, by 4 pods or double in 15 s, whichever is more. Down: to any number in 15 s."""
    up = child(behavior, "scaleUp")
    fill_pointer(up, "stabilizationWindowSeconds", 0)
    _default_rules(up, [_policy("Pods", 4), _policy("Percent", 100)])
    down = child(behavior, "scaleDown")
    _default_rules(down, [_policy("Percent", 100)])


def _default_rules(rules: Object, policies: Sequence[Object]) -> None:
    fill(rules, "selectPolicy", "Max")
    if rules.get("policies") is None:
        rules["policies"] = list(policies)


def _policy(kind: str, value: int) -> Object:
    return {"type": kind, "value": value, "periodSeconds": 15}
