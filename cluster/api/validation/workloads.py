"""
Validation of apps and of ReplicationController.

Source: k8s.io/kubernetes, pkg/apis/apps/validation and pkg/apis/core/validation.
"""

from cluster.api.validation.rules import (
    Errors,
    as_count,
    immutable,
    mapping,
    not_negative,
    not_over_all,
    percent_or_number,
    text,
)
from cluster.api.validation.templates import (
    MISMATCH,
    check_labels,
    validate_always_template,
    validate_workload_selector,
)
from cluster.machinery import field_errors
from cluster.machinery.objects import Object

_STATEFUL_SET_FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_SET_MUTABLE = frozenset((
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
))  # fmt: skip


def validate_deployment(deployment: Object) -> Errors:
    spec = mapping(deployment, "spec")
    errors = not_negative("spec.replicas", spec.get("replicas"))
    errors += validate_workload_selector("spec.selector", spec.get("selector"), "deployment")
    errors += check_labels("spec.template", spec)
    errors += validate_always_template("spec.template", mapping(spec, "template"), "ReplicaSet")
    errors += _check_strategy(mapping(spec, "strategy"))
    errors += not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    errors += not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        errors += not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= (spec.get("minReadySeconds") or 0):
            detail = "must be greater than minReadySeconds"
            errors.append(field_errors.invalid("spec.progressDeadlineSeconds", deadline, detail))
    return errors


def _check_strategy(strategy: Object) -> Errors:
    path, rolling = "spec.strategy", strategy.get("rollingUpdate")
    match text(strategy, "type"):
        case "Recreate":
            if rolling is None:
                return []
            detail = "may not be specified when strategy `type` is 'Recreate'"
            return [field_errors.forbidden(f"{path}.rollingUpdate", detail)]
        case "RollingUpdate":
            return _check_rolling_update(f"{path}.rollingUpdate", rolling or {})
        case kind:
            bounds = (
                {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}
                if (rolling)
                else None
            )
            shown = {"Type": kind, "RollingUpdate": bounds}
            return [field_errors.not_supported(path, shown, ("Recreate", "RollingUpdate"))]


def _check_rolling_update(path: str, rolling: Object) -> Errors:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    errors = percent_or_number(f"{path}.maxUnavailable", unavailable)
    errors += percent_or_number(f"{path}.maxSurge", surge)
    if not as_count(unavailable) and not as_count(surge):
        detail = "may not be 0 when `maxSurge` is 0"
        errors.append(field_errors.invalid(f"{path}.maxUnavailable", unavailable, detail))
    return errors + not_over_all(f"{path}.maxUnavailable", unavailable)


def validate_deployment_update(new: Object, old: Object) -> Errors:
    return validate_deployment(new) + _same_selector(new, old)


def _same_selector(new: Object, old: Object) -> Errors:
    return immutable("spec.selector", mapping(new, "spec").get("selector"), mapping(old, "spec").get("selector"))


def validate_replica_set(replica_set: Object) -> Errors:
    spec = mapping(replica_set, "spec")
    errors = not_negative("spec.replicas", spec.get("replicas"))
    errors += not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    errors += validate_workload_selector("spec.selector", spec.get("selector"), "deployment")
    errors += check_labels("spec.template", spec)
    return errors + validate_always_template("spec.template", mapping(spec, "template"), "ReplicaSet")


def validate_replica_set_update(new: Object, old: Object) -> Errors:
    return validate_replica_set(new) + _same_selector(new, old)


def validate_replication_controller(controller: Object) -> Errors:
    spec = mapping(controller, "spec")
    errors = not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector = mapping(spec, "selector")
    if not selector:
        errors.append(field_errors.required("spec.selector"))
    errors += not_negative("spec.replicas", spec.get("replicas"))
    template = spec.get("template")
    if template is None:
        return [*errors, field_errors.required("spec.template")]
    labels = mapping(mapping(template, "metadata"), "labels")
    if any(labels.get(key) != value for key, value in selector.items()):
        errors.append(field_errors.invalid("spec.template.metadata.labels", labels or None, MISMATCH))
    return errors + validate_always_template("spec.template", template, "ReplicationController")


def validate_stateful_set(stateful_set: Object) -> Errors:
    spec = mapping(stateful_set, "spec")
    policy = text(spec, "podManagementPolicy")
    errors: Errors = []
    if not policy:
        errors.append(field_errors.required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        detail = "must be 'OrderedReady' or 'Parallel'"
        errors.append(field_errors.invalid("spec.podManagementPolicy", policy, detail))
    errors += _check_stateful_strategy("spec.updateStrategy", mapping(spec, "updateStrategy"))
    errors += _check_retention("spec.persistentVolumeClaimRetentionPolicy", spec)
    errors += not_negative("spec.replicas", spec.get("replicas"))
    errors += not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    errors += not_negative("spec.ordinals.start", mapping(spec, "ordinals").get("start"))
    errors += validate_workload_selector("spec.selector", spec.get("selector"), "statefulset")
    errors += check_labels("spec.template", spec)
    return errors + validate_always_template("spec.template", mapping(spec, "template"), "StatefulSet")


def _check_stateful_strategy(path: str, strategy: Object) -> Errors:
    rolling = strategy.get("rollingUpdate")
    match text(strategy, "type"):
        case "":
            return [field_errors.required(path)]
        case "OnDelete":
            if rolling is None:
                return []
            detail = "only allowed for updateStrategy 'RollingUpdate'"
            return [field_errors.invalid(f"{path}.rollingUpdate", rolling, detail)]
        case "RollingUpdate":
            return _check_stateful_rolling(f"{path}.rollingUpdate", rolling or {})
        case kind:
            shown = {"Type": kind, "RollingUpdate": rolling}
            return [field_errors.invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'")]


def _check_stateful_rolling(path: str, rolling: Object) -> Errors:
    errors = not_negative(f"{path}.partition", rolling.get("partition"))
    unavailable = rolling.get("maxUnavailable")
    if unavailable is not None:
        errors += percent_or_number(f"{path}.maxUnavailable", unavailable)
        if not as_count(unavailable):
            errors.append(field_errors.invalid(f"{path}.maxUnavailable", unavailable, "cannot be 0"))
        errors += not_over_all(f"{path}.maxUnavailable", unavailable)
    return errors


def _check_retention(path: str, spec: Object) -> Errors:
    policy = spec.get("persistentVolumeClaimRetentionPolicy")
    if policy is None:
        return []
    return [
        field_errors.not_supported(f"{path}.{key}", text(policy, key), ("Delete", "Retain"))
        for key in ("whenDeleted", "whenScaled")
        if text(policy, key) not in ("Delete", "Retain")
    ]


def validate_stateful_set_update(new: Object, old: Object) -> Errors:
    errors = validate_stateful_set(new)
    if _fixed(mapping(new, "spec")) != _fixed(mapping(old, "spec")):
        errors.append(field_errors.forbidden("spec", _STATEFUL_SET_FIXED))
    return errors


def _fixed(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if key not in _STATEFUL_SET_MUTABLE and value}


def validate_daemon_set(daemon_set: Object) -> Errors:
    spec = mapping(daemon_set, "spec")
    errors = validate_workload_selector("spec.selector", spec.get("selector"), "daemonset")
    errors += check_labels("spec.template", spec)
    errors += validate_always_template("spec.template", mapping(spec, "template"), "DaemonSet")
    errors += not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    errors += _check_daemon_strategy("spec.updateStrategy", mapping(spec, "updateStrategy"))
    return errors + not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))


def _check_daemon_strategy(path: str, strategy: Object) -> Errors:
    match text(strategy, "type"):
        case "OnDelete":
            return []
        case "RollingUpdate":
            rolling = strategy.get("rollingUpdate")
            if rolling is None:
                return [field_errors.required(f"{path}.rollingUpdate")]
            return _check_daemon_rolling(f"{path}.rollingUpdate", rolling)
        case kind:
            shown = {"Type": kind, "RollingUpdate": strategy.get("rollingUpdate")}
            return [field_errors.not_supported(path, shown, ("RollingUpdate", "OnDelete"))]


def _check_daemon_rolling(path: str, rolling: Object) -> Errors:
    """Either some pods are missing for a while or some are there twice, never both and never neither."""
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    errors = percent_or_number(f"{path}.maxUnavailable", unavailable)
    errors += percent_or_number(f"{path}.maxSurge", surge)
    if as_count(unavailable) and as_count(surge):
        detail = "may not be set when maxUnavailable is non-zero"
        errors.append(field_errors.invalid(f"{path}.maxSurge", surge, detail))
    elif not as_count(unavailable) and not as_count(surge):
        errors.append(field_errors.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return errors + not_over_all(f"{path}.maxUnavailable", unavailable) + not_over_all(f"{path}.maxSurge", surge)


def validate_daemon_set_update(new: Object, old: Object) -> Errors:
    return validate_daemon_set(new) + _same_selector(new, old)


def validate_controller_revision(revision: Object) -> Errors:
    errors = not_negative("revision", revision.get("revision"))
    if revision.get("data") is None:
        errors.append(field_errors.required("data", "data is mandatory"))
    return errors


def validate_controller_revision_update(new: Object, old: Object) -> Errors:
    return validate_controller_revision(new) + immutable("data", new.get("data"), old.get("data"))
