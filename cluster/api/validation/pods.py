"""Validation of pods: creation, and the few things of a spec that may change later."""

from cluster.api.validation.pod_spec import validate_pod_spec
from cluster.api.validation.rules import Errors, listed, mapping, named, text
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object, copy_object

_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod(pod: Object) -> Errors:
    errors = validate_pod_spec("spec", mapping(pod, "spec"))
    if listed(mapping(pod, "spec"), "ephemeralContainers"):
        detail = "cannot be set on create"
        errors.append(field_errors.forbidden("spec.ephemeralContainers", detail))
    return errors


def validate_pod_update(new: Object, old: Object) -> Errors:
    """Images, deadline (shorter), tolerations (more), scheduling gates (fewer); everything else stays."""
    new_spec, old_spec = mapping(new, "spec"), mapping(old, "spec")
    errors: Errors = []
    for key in ("containers", "initContainers"):
        before, after = listed(old_spec, key), listed(new_spec, key)
        if len(before) != len(after):
            detail = "pod updates may not add or remove containers"
            return [field_errors.forbidden(f"spec.{key}", detail)]
        for index, container in enumerate(after):
            if not text(container, "image"):
                errors.append(field_errors.required(f"spec.{key}[{index}].image"))
    errors += _check_deadline(new_spec, old_spec)
    errors += _check_gates(new_spec, old_spec)
    errors += _check_tolerations(new_spec, old_spec)
    if errors:
        return errors
    return _check_rest(new_spec, old_spec)


def _check_deadline(new: Object, old: Object) -> Errors:
    path = "spec.activeDeadlineSeconds"
    after, before = new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if after is not None:
        if not 0 <= after <= 2**31 - 1:
            return [field_errors.invalid(path, after, "must be between 0 and 2147483647, inclusive")]
        if before is not None and before < after:
            return [field_errors.invalid(path, after, "must be less than or equal to previous value")]
    elif before is not None:
        return [field_errors.invalid(path, None, "must not update from a positive integer to nil value")]
    return []


def _check_gates(new: Object, old: Object) -> Errors:
    known = {text(gate, "name") for gate in listed(old, "schedulingGates")}
    added = sorted({text(gate, "name") for gate in listed(new, "schedulingGates")} - known)
    if not added:
        return []
    detail = f"only deletion is allowed, but found new scheduling gates '{','.join(added)}'"
    return [field_errors.forbidden("spec.schedulingGates", detail)]


def _check_tolerations(new: Object, old: Object) -> Errors:
    """An old toleration may only get other seconds."""
    after = [{**toleration, "tolerationSeconds": None} for toleration in listed(new, "tolerations")]
    for toleration in listed(old, "tolerations"):
        if {**toleration, "tolerationSeconds": None} not in after:
            detail = "existing toleration can not be modified except its tolerationSeconds"
            return [field_errors.forbidden("spec.tolerations", detail)]
    return []


def _check_rest(new: Object, old: Object) -> Errors:
    gated = bool(listed(old, "schedulingGates"))
    if gated:
        before, after = mapping(old, "nodeSelector"), mapping(new, "nodeSelector")
        if any(after.get(key) != value for key, value in before.items()):
            detail = "only additions are allowed (no deletions or mutations)"
            return [field_errors.invalid("spec.nodeSelector", after, detail)]
    masked = copy_object(new)
    for key in ("containers", "initContainers"):
        for after, before in zip(listed(masked, key), listed(old, key), strict=True):
            after["image"] = before.get("image")
    for key in ("activeDeadlineSeconds", "tolerations"):
        _take(masked, old, key)
    if gated:
        for key in ("schedulingGates", "nodeSelector", "affinity"):
            _take(masked, old, key)
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and new.get("terminationGracePeriodSeconds") == 1:
        _take(masked, old, "terminationGracePeriodSeconds")
    if _without_nulls(masked) == _without_nulls(old):
        return []
    return [field_errors.forbidden("spec", _MUTABLE)]


def _take(target: Object, source: Object, key: str) -> None:
    if key in source:
        target[key] = source[key]
    else:
        target.pop(key, None)


def _without_nulls(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if value not in (None, [], {}, "")}


def validate_ephemeral_update(new: Object, old: Object) -> Errors:
    """Ephemeral containers are added, one request after another; they neither change nor go."""
    before, after = (listed(mapping(pod, "spec"), "ephemeralContainers") for pod in (old, new))
    by_name = {text(container, "name"): container for container in after}
    errors = validate_pod_spec("spec", mapping(new, "spec"))
    for container in before:
        name = text(container, "name")
        found = by_name.get(name)
        if found != container:
            change = "removed" if found is None else "changed"
            detail = f"existing ephemeral containers {field_errors.quoted(name)} may not be {change}\n"
            errors.append(field_errors.forbidden("spec.ephemeralContainers", detail))
    return errors


def validate_bound(new: Object, old: Object) -> Errors:
    """A binding gives the pod its node, once."""
    node, before = text(mapping(new, "spec"), "nodeName"), text(mapping(old, "spec"), "nodeName")
    if before and node != before:
        return [
            field_errors.forbidden("spec.nodeName", f"pod is already assigned to node {field_errors.quoted(before)}")
        ]
    return named("spec.nodeName", node, names.dns_subdomain)


def validate_resize(new: Object, old: Object) -> Errors:
    """Only what containers ask for and may use changes, and what that makes of the pod's quality stays."""
    errors = validate_pod_spec("spec", mapping(new, "spec"))
    new_spec, old_spec = copy_object(mapping(new, "spec")), mapping(old, "spec")
    if mapping(old, "status").get("phase") in ("Failed", "Succeeded"):
        return [field_errors.forbidden("spec", "Pod is not resizable")]
    for key in ("containers", "initContainers"):
        after, before = listed(new_spec, key), listed(old_spec, key)
        if len(after) == len(before):
            for container, was in zip(after, before, strict=True):
                _take(container, was, "resources")
                _take(container, was, "resizePolicy")
    _take(new_spec, old_spec, "resources")
    if _without_nulls(new_spec) != _without_nulls(old_spec):
        detail = "only cpu and memory resources are mutable"
        errors.append(field_errors.forbidden("spec", detail))
    return errors
