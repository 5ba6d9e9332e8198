"""Validation of HorizontalPodAutoscalers and PodDisruptionBudgets."""

from cluster.api.validation.rules import (
    Errors,
    listed,
    mapping,
    named,
    not_over_all,
    one_of,
    percent_or_number,
    positive,
    quantity,
    required_name,
    text,
)
from cluster.api.validation.selectors import validate_selector
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_SOURCES = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
            "External": "external"}  # fmt: skip
_TYPES = ("ContainerResource", "External", "Object", "Pods", "Resource")
_MAX_PERIOD_SECONDS, _MAX_WINDOW_SECONDS = 1800, 3600


def validate_autoscaler(autoscaler: Object) -> Errors:
    """Both versions; v1 knows the CPU target alone."""
    spec = mapping(autoscaler, "spec")
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    errors: Errors = []
    if least is not None and least < 1:
        detail = "must be greater than or equal to 1"
        errors.append(field_errors.invalid("spec.minReplicas", least, detail))
    if most < 1:
        errors.append(field_errors.invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        detail = "must be greater than or equal to `minReplicas`"
        errors.append(field_errors.invalid("spec.maxReplicas", most, detail))
    target = mapping(spec, "scaleTargetRef")
    for key in ("kind", "name"):
        errors += required_name(f"spec.scaleTargetRef.{key}", text(target, key), names.path_segment)
    errors += positive("spec.targetCPUUtilizationPercentage", spec.get("targetCPUUtilizationPercentage"))
    for index, metric in enumerate(listed(spec, "metrics")):
        errors += _check_metric(f"spec.metrics[{index}]", metric)
    return errors + _check_behavior("spec.behavior", spec.get("behavior"))


def _check_metric(path: str, metric: Object) -> Errors:
    kind = text(metric, "type")
    if not kind:
        return [field_errors.required(f"{path}.type", "must specify a metric source type")]
    if kind not in _SOURCES:
        return one_of(f"{path}.type", kind, _TYPES)
    key = _SOURCES[kind]
    errors: Errors = []
    source = metric.get(key)
    if source is None:
        detail = "must populate the given metric source"
        return [field_errors.required(f"{path}.{key}", detail)]
    if key in ("resource", "containerResource"):
        if not text(source, "name"):
            errors.append(field_errors.required(f"{path}.{key}.name", "must specify a resource name"))
        if key == "containerResource" and not text(source, "container"):
            errors.append(field_errors.required(f"{path}.{key}.container", "must specify a container name"))
    else:
        errors += required_name(
            f"{path}.{key}.metric.name", text(mapping(source, "metric"), "name"), names.path_segment,
            "must specify a metric name",
        )  # fmt: skip
    return errors + _check_target(f"{path}.{key}.target", mapping(source, "target"), key)


def _check_target(path: str, target: Object, source: str) -> Errors:
    kind = text(target, "type")
    errors: Errors = []
    if not kind:
        errors.append(field_errors.required(f"{path}.type", "must specify a metric target type"))
    elif kind not in ("Utilization", "Value", "AverageValue"):
        detail = "must be either Utilization, Value, or AverageValue"
        errors.append(field_errors.invalid(f"{path}.type", kind, detail))
    for key in ("value", "averageValue"):
        if target.get(key) is not None and quantity(path, target[key])[0] <= 0:
            errors.append(field_errors.invalid(f"{path}.{key}", target[key], "must be positive"))
    utilization = target.get("averageUtilization")
    errors += positive(f"{path}.averageUtilization", utilization)
    if source in ("resource", "containerResource"):
        raw = target.get("averageValue")
        if utilization is None and raw is None:
            detail = "must set either a target raw value or a target utilization"
            errors.append(field_errors.required(f"{path}.averageUtilization", detail))
        if utilization is not None and raw is not None:
            detail = "may not set both a target raw value and a target utilization"
            errors.append(field_errors.forbidden(f"{path}.averageValue", detail))
    elif source == "pods":
        if target.get("averageValue") is None:
            detail = "must specify a positive target averageValue"
            errors.append(field_errors.required(f"{path}.averageValue", detail))
    elif target.get("value") is None and target.get("averageValue") is None:
        detail = "must set either a target value or averageValue"
        errors.append(field_errors.required(f"{path}.averageValue", detail))
    return errors


def _check_behavior(path: str, behavior: Object | None) -> Errors:
    errors: Errors = []
    for direction in ("scaleUp", "scaleDown"):
        rules = (behavior or {}).get(direction)
        if rules is None:
            continue
        where = f"{path}.{direction}"
        window = rules.get("stabilizationWindowSeconds")
        if window is not None and window < 0:
            detail = "must be greater than or equal to zero"
            errors.append(field_errors.invalid(f"{where}.stabilizationWindowSeconds", window, detail))
        if window is not None and window > _MAX_WINDOW_SECONDS:
            detail = f"must be less than or equal to {_MAX_WINDOW_SECONDS}"
            errors.append(field_errors.invalid(f"{where}.stabilizationWindowSeconds", window, detail))
        if (choice := rules.get("selectPolicy")) is not None:
            errors += one_of(f"{where}.selectPolicy", choice, ("Disabled", "Max", "Min"))
        policies = listed(rules, "policies")
        if not policies:
            errors.append(field_errors.required(f"{where}.policies", "must specify at least one Policy"))
        for index, policy in enumerate(policies):
            errors += _check_scaling_policy(f"{where}.policies[{index}]", policy)
    return errors


def _check_scaling_policy(path: str, policy: Object) -> Errors:
    errors = one_of(f"{path}.type", text(policy, "type"), ("Percent", "Pods"))
    for key in ("value", "periodSeconds"):
        if (number := policy.get(key) or 0) <= 0:
            errors.append(field_errors.invalid(f"{path}.{key}", number, "must be greater than zero"))
    if (period := policy.get("periodSeconds") or 0) > _MAX_PERIOD_SECONDS:
        detail = f"must be less than or equal to {_MAX_PERIOD_SECONDS}"
        errors.append(field_errors.invalid(f"{path}.periodSeconds", period, detail))
    return errors


def validate_disruption_budget(budget: Object) -> Errors:
    spec = mapping(budget, "spec")
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    errors: Errors = []
    if least is not None and most is not None:
        shown = {
            "MinAvailable": least,
            "Selector": spec.get("selector"),
            "MaxUnavailable": most,
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        errors.append(field_errors.invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    for key, bound in (("minAvailable", least), ("maxUnavailable", most)):
        if bound is not None:
            errors += percent_or_number(f"spec.{key}", bound) + not_over_all(f"spec.{key}", bound)
    errors += validate_selector("spec.selector", spec.get("selector"))
    if (policy := spec.get("unhealthyPodEvictionPolicy")) is not None:
        errors += one_of("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
    return errors


def validate_priority_class(priority_class: Object) -> Errors:
    name, value = text(mapping(priority_class, "metadata"), "name"), priority_class.get("value") or 0
    errors: Errors = []
    if name.startswith("system-"):
        known = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
        if known.get(name) != value:
            detail = (
                "priority class names with 'system-' prefix are reserved for system use only. "
                f"error: {name} is not a known system priority class"
            )
            errors.append(field_errors.forbidden("metadata.name", detail))
    elif value > 1_000_000_000:
        detail = "maximum allowed value of a user defined priority is 1000000000"
        errors.append(field_errors.forbidden("value", detail))
    if (policy := priority_class.get("preemptionPolicy")) is not None:
        errors += one_of("preemptionPolicy", policy, ("Never", "PreemptLowerPriority"))
    return errors


def validate_priority_class_update(new: Object, old: Object) -> Errors:
    errors: Errors = []
    if (new.get("value") or 0) != (old.get("value") or 0):
        errors.append(field_errors.forbidden("value", "may not be changed in an update."))
    if (new.get("preemptionPolicy") or None) != (old.get("preemptionPolicy") or None):
        detail = "field is immutable"
        errors.append(field_errors.invalid("preemptionPolicy", new.get("preemptionPolicy"), detail))
    return errors


def validate_runtime_class(runtime_class: Object) -> Errors:
    return named("handler", text(runtime_class, "handler"), names.dns_label)


def validate_runtime_class_update(new: Object, old: Object) -> Errors:
    if new.get("handler") == old.get("handler"):
        return []
    return [field_errors.invalid("handler", new.get("handler"), "field is immutable")]
