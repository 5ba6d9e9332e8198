"""
Validation of ObjectMeta: names, labels, annotations, owners, finalizers.

Source: k8s.io/apimachinery, pkg/api/validation/objectmeta.go.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.api.resources import Resource
from cluster.api.validation.rules import IMMUTABLE, Errors, listed, mapping, named, not_negative, text
from cluster.machinery import field_errors, names
from cluster.machinery.names import NameCheck
from cluster.machinery.objects import Object

ANNOTATIONS_LIMIT = 256 * 1024
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")

_LABEL_NAMED = {("", "namespaces")}
_SERVICE_NAMED = {("", "services")}
_SEGMENT_NAMED = {"rbac.authorization.k8s.io", "apiregistration.k8s.io"}
_ANY_NAMED = {("certificates.k8s.io", "certificatesigningrequests")}


def name_check(resource: Resource) -> NameCheck:
    """The rule for names of this resource; most are DNS subdomains."""
    key = (resource.group, resource.plural)
    if key in _LABEL_NAMED:
        return names.dns_label
    if key in _SERVICE_NAMED:
        return names.dns_1035_label
    if resource.group in _SEGMENT_NAMED:
        return names.path_segment
    if key in _ANY_NAMED:
        return lambda name: []
    return names.dns_subdomain


def validate_metadata(resource: Resource, metadata: Object, path: str = "metadata") -> Errors:
    check = name_check(resource)
    errors: Errors = []
    if prefix := text(metadata, "generateName"):
        errors += named(f"{path}.generateName", prefix, names.as_prefix(check))
    name = text(metadata, "name")
    if not name:
        errors.append(field_errors.required(f"{path}.name", "name or generateName is required"))
    else:
        errors += named(f"{path}.name", name, check)
    errors += _check_namespace(resource, text(metadata, "namespace"), f"{path}.namespace")
    errors += not_negative(f"{path}.generation", metadata.get("generation"))
    errors += validate_labels(mapping(metadata, "labels"), f"{path}.labels")
    errors += validate_annotations(mapping(metadata, "annotations"), f"{path}.annotations")
    errors += _check_owners(listed(metadata, "ownerReferences"), f"{path}.ownerReferences")
    return errors + _check_finalizers(listed(metadata, "finalizers"), f"{path}.finalizers")


def _check_namespace(resource: Resource, namespace: str, path: str) -> Errors:
    if not resource.namespaced:
        return [field_errors.forbidden(path, "not allowed on this type")] if namespace else []
    if not namespace:
        return [field_errors.required(path)]
    return [] if _is_namespace(namespace) else named(path, namespace, names.dns_label)


@functools.lru_cache(maxsize=1024)
def _is_namespace(name: str) -> bool:
    return not names.dns_label(name)


def validate_labels(labels: Mapping[str, str], path: str) -> Errors:
    """Also for node selectors and other maps with the form of labels."""
    errors: Errors = []
    for key in sorted(labels):
        value = labels[key] or ""
        if not _is_label(key, value):
            errors += named(path, key, names.qualified_name)
            errors += named(path, value, names.label_value)
    return errors


@functools.lru_cache(maxsize=4096)
def _is_label(key: str, value: str) -> bool:
    """Labels repeat from object to object; that they are in order is found out once."""
    return not names.qualified_name(key) and not names.label_value(value)


def validate_annotations(annotations: Mapping[str, str], path: str) -> Errors:
    errors: Errors = []
    total = 0
    for key in sorted(annotations):
        if not _is_label(key.lower(), ""):
            errors += [field_errors.invalid(path, key, fault) for fault in names.qualified_name(key.lower())]
        total += len(key.encode()) + len((annotations[key] or "").encode())
    if total > ANNOTATIONS_LIMIT:
        errors.append(field_errors.too_long(path, ANNOTATIONS_LIMIT))
    return errors


def _check_owners(owners: Sequence[Object], path: str) -> Errors:
    errors: Errors = []
    controller = ""
    for owner in owners:
        group, _, version = text(owner, "apiVersion").rpartition("/")
        if not version:
            errors.append(
                field_errors.invalid(f"{path}.apiVersion", text(owner, "apiVersion"), "version must not be empty")
            )
        for key in ("kind", "name", "uid"):
            if not text(owner, key):
                errors.append(field_errors.invalid(f"{path}.{key}", "", f"{key} must not be empty"))
        if text(owner, "kind") == "Event" and group in ("", "events.k8s.io"):
            shown = f"{text(owner, 'apiVersion')}, Kind=Event"
            errors.append(field_errors.invalid(path, owner, f"{shown} is disallowed from being an owner"))
        if owner.get("controller"):
            if controller:
                detail = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {text(owner, 'name')}"
                )
                errors.append(field_errors.invalid(path, owners, detail))
            controller = text(owner, "name")
    return errors


def _check_finalizers(finalizers: Sequence[str], path: str) -> Errors:
    errors: Errors = []
    for finalizer in finalizers:
        errors += named(path, finalizer, names.qualified_name)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(field_errors.invalid(path, list(finalizers), detail))
    return errors + _check_kubernetes_finalizers(finalizers, path)


def _check_kubernetes_finalizers(finalizers: Sequence[str], path: str) -> Errors:
    detail = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        field_errors.invalid(f"{path}[{index}]", finalizer, detail)
        for index, finalizer in enumerate(finalizers)
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS
    ]


def validate_metadata_update(new: Object, old: Object, *, kind_rules: bool = False) -> Errors:
    """
    What may never change, and that nobody adds a finalizer to an object that is being deleted.

    `kind_rules` adds what built-in kinds demand beyond that: finalizers with a domain.
    """
    path = "metadata"
    errors = _check_added_finalizers(new, old, f"{path}.finalizers")
    old_generation, new_generation = old.get("generation") or 0, new.get("generation") or 0
    if new_generation < old_generation:
        errors.append(field_errors.invalid(f"{path}.generation", new_generation, "must not be decremented"))
    for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        errors += _unchanged(f"{path}.{key}", new.get(key), old.get(key))
    errors += validate_labels(mapping(new, "labels"), f"{path}.labels")
    errors += validate_annotations(mapping(new, "annotations"), f"{path}.annotations")
    errors += _check_owners(listed(new, "ownerReferences"), f"{path}.ownerReferences")
    if kind_rules:
        errors += _check_kubernetes_finalizers(listed(new, "finalizers"), f"{path}.finalizers")
    return errors


def _unchanged(path: str, new: Any, old: Any) -> Errors:
    return [] if new == old or (not new and not old) else [field_errors.invalid(path, new, IMMUTABLE)]


def _check_added_finalizers(new: Object, old: Object, path: str) -> Errors:
    if not new.get("deletionTimestamp"):
        return []
    added = sorted(set(listed(new, "finalizers")) - set(listed(old, "finalizers")))
    if not added:
        return []
    shown = "[]string{" + ", ".join(field_errors.quoted(name) for name in added) + "}"
    detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
    return [field_errors.forbidden(path, detail)]
