"""
Validation of the core group's plain objects: ConfigMap, Secret, Namespace, Node, quotas, limits, bindings.

Source: k8s.io/kubernetes, pkg/apis/core/validation.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

from cluster.api.validation.resource_amounts import STANDARD, check_amount, check_resource_name
from cluster.api.validation.rules import (
    Errors,
    cidr,
    config_key,
    immutable,
    listed,
    mapping,
    named,
    one_of,
    quantity,
    required_name,
    text,
)
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object
from cluster.machinery.quantity import canonical

DATA_LIMIT = 1024 * 1024
_SEALED = "field is immutable when `immutable` is set"
_ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"
_QUOTA_SCOPES = ("BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass",
                 "Terminating", "VolumeAttributesClass")  # fmt: skip


def validate_config_map(config_map: Object) -> Errors:
    data, binary = mapping(config_map, "data"), mapping(config_map, "binaryData")
    errors: Errors = []
    size = 0
    for key in sorted(data):
        errors += named(f"data[{key}]", key, config_key)
        if key in binary:
            detail = "duplicate of key present in binaryData"
            errors.append(field_errors.invalid(f"data[{key}]", key, detail))
        size += len((data[key] or "").encode())
    for key in sorted(binary):
        errors += named(f"binaryData[{key}]", key, config_key)
        size += _decoded_size(binary[key])
    if size > DATA_LIMIT:
        errors.append(field_errors.too_long("", DATA_LIMIT))
    return errors


def _decoded_size(encoded: Any) -> int:
    return len(str(encoded or "").rstrip("=")) * 3 // 4


def validate_config_map_update(new: Object, old: Object) -> Errors:
    return _check_sealed(new, old, ("data", "binaryData")) + validate_config_map(new)


def _check_sealed(new: Object, old: Object, fields: Sequence[str]) -> Errors:
    """Once immutable, always immutable."""
    if not old.get("immutable"):
        return []
    errors = [] if new.get("immutable") else [field_errors.forbidden("immutable", _SEALED)]
    return errors + [
        field_errors.forbidden(field, _SEALED) for field in fields if (new.get(field) or {}) != (old.get(field) or {})
    ]


def validate_secret(secret: Object) -> Errors:
    data = mapping(secret, "data")
    errors: Errors = []
    for key in sorted(data):
        errors += named(f"data[{key}]", key, config_key)
    if sum(_decoded_size(value) for value in data.values()) > DATA_LIMIT:
        errors.append(field_errors.too_long("data", DATA_LIMIT))
    return errors + _check_secret_type(secret, data)


def _check_secret_type(secret: Object, data: Object) -> Errors:
    match text(secret, "type"):
        case "kubernetes.io/service-account-token":
            annotations = mapping(mapping(secret, "metadata"), "annotations")
            if annotations.get(_ACCOUNT_ANNOTATION):
                return []
            return [field_errors.required(f"metadata.annotations[{_ACCOUNT_ANNOTATION}]")]
        case "kubernetes.io/dockercfg":
            return _check_json(".dockercfg", data)
        case "kubernetes.io/dockerconfigjson":
            return _check_json(".dockerconfigjson", data)
        case "kubernetes.io/basic-auth":
            if "username" in data or "password" in data:
                return []
            return [field_errors.required(f"data[{key}]") for key in ("username", "password")]
        case "kubernetes.io/ssh-auth":
            return [] if data.get("ssh-privatekey") else [field_errors.required("data[ssh-privatekey]")]
        case "kubernetes.io/tls":
            return [field_errors.required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]
        case _:
            return []


def _check_json(key: str, data: Object) -> Errors:
    """What is wrong is not shown: the value is a secret."""
    if key not in data:
        return [field_errors.required(f"data[{key}]")]
    try:
        content = base64.b64decode(data[key] or "")
        json.loads(content)
    except ValueError:
        fault = "unexpected end of JSON input" if not data[key] else "must be a JSON object"
        return [field_errors.invalid(f"data[{key}]", "<secret contents redacted>", fault)]
    return []


def validate_secret_update(new: Object, old: Object) -> Errors:
    errors = immutable("type", new.get("type"), old.get("type"))
    return errors + _check_sealed(new, old, ("data",)) + validate_secret(new)


def validate_namespace(namespace: Object) -> Errors:
    errors: Errors = []
    for index, finalizer in enumerate(listed(mapping(namespace, "spec"), "finalizers")):
        path = f"spec.finalizers[{index}]"
        errors += named(path, finalizer, names.qualified_name)
        if "/" not in finalizer and finalizer not in ("kubernetes", "orphan", "foregroundDeletion"):
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(field_errors.invalid(path, finalizer, detail))
    return errors


def validate_node(node: Object) -> Errors:
    spec, status = mapping(node, "spec"), mapping(node, "status")
    errors = _check_taints("spec.taints", listed(spec, "taints"))
    for field in ("capacity", "allocatable"):
        for name, amount in sorted(mapping(status, field).items()):
            errors += check_amount(f"status.{field}[{name}]", name, amount)
    for index, network in enumerate(listed(spec, "podCIDRs")):
        errors += cidr(f"spec.podCIDRs[{index}]", network)
    return errors


def _check_taints(path: str, taints: Sequence[Object]) -> Errors:
    errors: Errors = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        where, key, effect = f"{path}[{index}]", text(taint, "key"), text(taint, "effect")
        errors += named(f"{where}.key", key, names.qualified_name)
        faults = names.label_value(text(taint, "value"))
        if faults:
            errors.append(field_errors.invalid(f"{where}.value", text(taint, "value"), ";".join(faults)))
        if not effect:
            errors.append(field_errors.required(f"{where}.effect"))
        else:
            errors += one_of(f"{where}.effect", effect, ("NoSchedule", "PreferNoSchedule", "NoExecute"))
        if effect and (key, effect) in seen:
            detail = field_errors.duplicate(where, taint)
            errors.append(
                field_errors.FieldError(
                    detail.reason, where, f"{detail.message}: taints must be unique by key and effect pair"
                )
            )
        seen.add((key, effect))
    return errors


def _with_pod_networks(spec: Object) -> Object:
    """Both spellings of the Pod networks say the same; the older one wins, as clients that know no other write it."""
    first, networks = spec.get("podCIDR"), listed(spec, "podCIDRs")
    return {**spec, "podCIDRs": [first]} if first and networks[:1] != [first] else spec


def validate_node_update(new: Object, old: Object) -> Errors:
    """Spec stays but for taints, schedulability, and addresses and provider given for the first time."""
    errors = validate_node(new)
    new_spec, old_spec = (_with_pod_networks(mapping(node, "spec")) for node in (new, old))
    for key, detail in (
        ("podCIDRs", 'node updates may not change podCIDR except from "" to valid'),
        ("providerID", 'node updates may not change providerID except from "" to valid'),
    ):
        if old_spec.get(key) and new_spec.get(key) != old_spec.get(key):
            errors.append(field_errors.forbidden(f"spec.{key}", detail))
    changeable = ("podCIDR", "podCIDRs", "providerID", "taints", "unschedulable", "configSource")
    fixed = [{k: v for k, v in spec.items() if k not in changeable and v} for spec in (new_spec, old_spec)]
    if fixed[0] != fixed[1]:
        detail = "may not update fields other than labels, taints, capacity, or unschedulable"
        errors.append(field_errors.forbidden("spec", detail))
    return errors


def validate_quota(quota: Object) -> Errors:
    spec = mapping(quota, "spec")
    errors: Errors = []
    hard = mapping(spec, "hard")
    for name in sorted(hard):
        path = f"spec.hard[{name}]"
        errors += _check_quota_resource(path, name)
        errors += check_amount(path, name, hard[name])
    scopes = listed(spec, "scopes")
    errors += [
        field_errors.invalid("spec.scopes", scopes, "unsupported scope")
        for scope in scopes
        if scope not in _QUOTA_SCOPES
    ]
    if {"Terminating", "NotTerminating"} <= set(scopes) or {"BestEffort", "NotBestEffort"} <= set(scopes):
        errors.append(field_errors.invalid("spec.scopes", scopes, "conflicting scopes"))
    return errors


def _check_quota_resource(path: str, name: str) -> Errors:
    errors = check_resource_name(path, name)
    if "/" not in name and name not in STANDARD and not name.startswith(("hugepages-", "requests.hugepages-")):
        errors.append(field_errors.invalid(path, name, "must be a standard resource for quota"))
    return errors


def validate_quota_update(new: Object, old: Object) -> Errors:
    errors = validate_quota(new)
    after, before = set(listed(mapping(new, "spec"), "scopes")), set(listed(mapping(old, "spec"), "scopes"))
    if after != before:
        scopes = mapping(new, "spec").get("scopes")
        errors.append(field_errors.invalid("spec.scopes", scopes, "field is immutable"))
    return errors


def validate_limit_range(limit_range: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, item in enumerate(listed(mapping(limit_range, "spec"), "limits")):
        path, kind = f"spec.limits[{index}]", text(item, "type")
        errors += required_name(f"{path}.type", kind, names.qualified_name)
        if kind in seen:
            errors.append(field_errors.duplicate(f"{path}.type", ""))
        seen.add(kind)
        if kind == "Pod":
            for key in ("default", "defaultRequest"):
                if mapping(item, key):
                    detail = "may not be specified when `type` is 'Pod'"
                    errors.append(field_errors.forbidden(f"{path}.{key}", detail))
        if kind == "PersistentVolumeClaim" and not any("storage" in mapping(item, key) for key in ("min", "max")):
            detail = "either minimum or maximum storage value is required, but neither was provided"
            errors.append(field_errors.required(f"{path}.limits", detail))
        errors += _check_limit_order(path, item)
    return errors


_ORDERS = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min value {} is greater than default value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
)


def _check_limit_order(path: str, item: Object) -> Errors:
    """min <= default request <= default limit <= max, as far as they are given."""
    errors: Errors = []
    fields = {key: mapping(item, key) for key in ("min", "max", "default", "defaultRequest")}
    for name in sorted({name for field in fields.values() for name in field}):
        for low, high, blamed, detail in _ORDERS:
            if name not in fields[low] or name not in fields[high]:
                continue
            (small, bad_low), (large, bad_high) = quantity(path, fields[low][name]), quantity(path, fields[high][name])
            if not bad_low and not bad_high and small > large:
                shown = detail.format(canonical(fields[low][name]), canonical(fields[high][name]))
                value = canonical(fields[blamed][name])
                errors.append(field_errors.invalid(f"{path}.{blamed}[{name}]", value, shown))
    for name, ratio in sorted(mapping(item, "maxLimitRequestRatio").items()):
        amount, bad = quantity(path, ratio)
        if not bad and amount < 1:
            where, shown = f"{path}.maxLimitRequestRatio[{name}]", canonical(ratio)
            errors.append(field_errors.invalid(where, shown, f"ratio {shown} is less than 1"))
    return errors


def validate_binding(binding: Object) -> Errors:
    target = mapping(binding, "target")
    errors: Errors = []
    if (kind := text(target, "kind")) and kind != "Node":
        errors.append(field_errors.not_supported("target.kind", kind, ("Node", "<empty>")))
    if not text(target, "name"):
        errors.append(field_errors.required("target.name"))
    return errors


def validate_event(event: Object) -> Errors:
    """The event lives where the object lives that it is about; of cluster objects, in `default`."""
    involved = mapping(event, "involvedObject") or mapping(event, "regarding")
    namespace, about = text(mapping(event, "metadata"), "namespace"), text(involved, "namespace")
    if about == namespace or (not about and namespace in ("default", "kube-system")):
        return []
    field = "regarding" if mapping(event, "regarding") else "involvedObject"
    return [field_errors.invalid(f"{field}.namespace", about, "does not match event.namespace")]
