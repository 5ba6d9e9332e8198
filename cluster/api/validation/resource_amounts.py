"""Validation of resource names and amounts: requests, limits, quotas."""

import functools
from typing import Any

from cluster.api.validation.rules import Errors, mapping, named, not_negative_quantity, quantity
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object
from cluster.machinery.quantity import canonical

_CONTAINER = ("cpu", "memory", "ephemeral-storage")
COUNTED = ("pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
           "persistentvolumeclaims", "services.nodeports", "services.loadbalancers")  # fmt: skip
"""Objects that a quota counts; their amounts are whole numbers."""
_QUOTA_ONLY = ("storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
               "limits.cpu", "limits.memory", "limits.ephemeral-storage")  # fmt: skip
STANDARD = frozenset((*_CONTAINER, *COUNTED, *_QUOTA_ONLY))
_HUGE_PAGES = "hugepages-"
_KNOWN_LENGTH = 80
"""Characters of a name and its amount that are worth remembering."""


def validate_requirements(path: str, resources: Object) -> Errors:
    """Limits and requests of a container; a request may not be over its limit."""
    errors: Errors = []
    limits, requests = mapping(resources, "limits"), mapping(resources, "requests")
    for name in sorted(limits):
        errors += _check_container_amount(f"{path}.limits[{name}]", name, limits[name])
    for name in sorted(requests):
        errors += _check_container_amount(f"{path}.requests[{name}]", name, requests[name])
        if name in limits:
            errors += _check_against_limit(f"{path}.requests", name, requests[name], limits[name])
        elif not _may_overcommit(name):
            detail = "Limit must be set for non overcommitable resources"
            errors.append(field_errors.required(f"{path}.limits", detail))
    return errors


def _check_container_amount(path: str, name: str, amount: Any) -> Errors:
    if type(amount) is str and len(name) + len(amount) <= _KNOWN_LENGTH and _is_good_in_container(name, amount):
        return []
    return _faults_in_container(path, name, amount)


@functools.lru_cache(4096)
def _is_good_in_container(name: str, amount: str) -> bool:
    """Pods ask for the same few amounts again and again."""
    return not _faults_in_container("", name, amount)


def _faults_in_container(path: str, name: str, amount: Any) -> Errors:
    return _check_container_resource(path, name) + check_amount(path, name, amount)


def check_amount(path: str, name: str, amount: Any) -> Errors:
    """Not negative, and whole where only whole things can be given."""
    errors = not_negative_quantity(path, amount)
    value, faults = quantity(path, amount)
    if not faults and is_whole(name) and value % 1:
        errors.append(field_errors.invalid(path, canonical(amount), "must be an integer"))
    return errors


def _check_against_limit(path: str, name: str, request: Any, limit: Any) -> Errors:
    (asked, bad_request), (allowed, bad_limit) = quantity(path, request), quantity(path, limit)
    if bad_request or bad_limit:
        return []
    if not _may_overcommit(name) and asked != allowed:
        detail = f"must be equal to {name} limit of {canonical(limit)}"
    elif asked > allowed:
        detail = f"must be less than or equal to {name} limit of {canonical(limit)}"
    else:
        return []
    return [field_errors.invalid(path, canonical(request), detail)]


def _may_overcommit(name: str) -> bool:
    return is_native(name) and not name.startswith(_HUGE_PAGES)


def is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def is_whole(name: str) -> bool:
    return name in COUNTED or is_extended(name) or name.startswith("count/")


def is_extended(name: str) -> bool:
    """Of somebody's own domain, like `example.com/gpu`."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name(f"requests.{name}")


def check_resource_name(path: str, name: str) -> Errors:
    errors = named(path, name, names.qualified_name)
    if errors:
        return errors
    if "/" not in name and name not in STANDARD and not name.startswith(_HUGE_PAGES):
        return [field_errors.invalid(path, name, "must be a standard resource type or fully qualified")]
    return []


def _check_container_resource(path: str, name: str) -> Errors:
    errors = check_resource_name(path, name)
    if "/" not in name:
        if name not in _CONTAINER and not name.startswith(_HUGE_PAGES):
            errors.append(field_errors.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        errors.append(field_errors.invalid(path, name, "doesn't follow extended resource name standard"))
    return errors
