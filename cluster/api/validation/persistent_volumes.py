"""
Validation of PersistentVolumes and claims.

Source: k8s.io/kubernetes, pkg/apis/core/validation.
"""

from cluster.api.validation.resource_amounts import check_amount
from cluster.api.validation.rules import (
    Errors,
    immutable,
    listed,
    mapping,
    named,
    one_of,
    positive_quantity,
    quantity,
    required_one_of,
    text,
)
from cluster.api.validation.scheduling import validate_node_selector
from cluster.api.validation.selectors import validate_selector
from cluster.api.validation.volumes import VOLUME_SOURCES, check_source
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_ONLY = ("local",)
_CLAIM_FIXED = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def validate_volume(volume: Object) -> Errors:
    spec = mapping(volume, "spec")
    modes = listed(spec, "accessModes")
    errors = _check_modes(modes, "")
    capacity = spec.get("capacity") or None
    if not capacity:
        errors.append(field_errors.required("spec.capacity"))
    if not capacity or "storage" not in capacity or len(capacity) > 1:
        errors.append(field_errors.not_supported("spec.capacity", capacity, ("storage",)))
    for name, amount in sorted((capacity or {}).items()):
        path = f"spec.capacity[{name}]"
        errors += check_amount(path, name, amount) + positive_quantity(path, amount)
    if policy := text(spec, "persistentVolumeReclaimPolicy"):
        errors += one_of("spec.persistentVolumeReclaimPolicy", policy, ("Delete", "Recycle", "Retain"))
    if (required := mapping(spec, "nodeAffinity").get("required")) is not None:
        errors += validate_node_selector("spec.nodeAffinity.required", required)
    errors += _check_volume_source(spec)
    if mapping(spec, "hostPath").get("path") == "/" and text(spec, "persistentVolumeReclaimPolicy") == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(field_errors.forbidden("spec.persistentVolumeReclaimPolicy", detail))
    if name := text(spec, "storageClassName"):
        errors += named("spec.storageClassName", name, names.dns_subdomain)
    if (mode := spec.get("volumeMode")) is not None:
        errors += one_of("spec.volumeMode", mode, ("Block", "Filesystem"))
    return errors


def _check_modes(modes: list[str], detail: str) -> Errors:
    if not modes:
        return [field_errors.required("spec.accessModes", detail)]
    errors = [field_errors.not_supported("spec.accessModes", mode, _MODES) for mode in modes if mode not in _MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        detail = "may not use ReadWriteOncePod with other access modes"
        errors.append(field_errors.forbidden("spec.accessModes", detail))
    return errors


def _check_volume_source(spec: Object) -> Errors:
    if (local := spec.get("local")) is not None:
        errors = [] if text(local, "path") else [field_errors.required("spec.local.path")]
        if spec.get("nodeAffinity") is None:
            detail = "Local volume requires node affinity"
            errors.append(field_errors.required("spec.nodeAffinity", detail))
        return errors
    return check_source("spec", spec)


def validate_volume_update(new: Object, old: Object) -> Errors:
    errors = validate_volume(new)
    new_spec, old_spec = mapping(new, "spec"), mapping(old, "spec")
    for key in (*VOLUME_SOURCES, *_VOLUME_ONLY):
        if (new_spec.get(key) or None) != (old_spec.get(key) or None):
            detail = "spec.persistentvolumesource is immutable after creation"
            errors.append(field_errors.forbidden("spec.persistentvolumesource", detail))
            break
    return errors + immutable("spec.volumeMode", new_spec.get("volumeMode"), old_spec.get("volumeMode"))


def validate_claim(claim: Object) -> Errors:
    return validate_claim_spec(mapping(claim, "spec"))


def validate_claim_spec(spec: Object) -> Errors:
    errors = _check_modes(listed(spec, "accessModes"), "at least 1 access mode is required")
    errors = validate_selector("spec.selector", spec.get("selector")) + errors
    requests = mapping(mapping(spec, "resources"), "requests")
    if "storage" not in requests:
        errors.append(field_errors.required("spec.resources[storage]"))
    else:
        path = "spec.resources[storage]"
        errors += check_amount(path, "storage", requests["storage"]) + positive_quantity(path, requests["storage"])
    if name := spec.get("storageClassName"):
        errors += named("spec.storageClassName", name, names.dns_subdomain)
    if (mode := spec.get("volumeMode")) is not None:
        errors += one_of("spec.volumeMode", mode, ("Block", "Filesystem"))
    for key in ("dataSource", "dataSourceRef"):
        if (source := spec.get(key)) is not None:
            errors += _check_data_source(f"spec.{key}", source)
    return errors


def _check_data_source(path: str, source: Object) -> Errors:
    errors = [field_errors.required(f"{path}.{key}") for key in ("name", "kind") if not text(source, key)]
    if not text(source, "apiGroup") and text(source, "kind") not in ("", "PersistentVolumeClaim"):
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(field_errors.invalid(path, text(source, "kind"), detail))
    return errors


def validate_claim_update(new: Object, old: Object) -> Errors:
    """A bound claim may grow and change its attributes class; the name of its volume is set once."""
    errors = validate_claim(new)
    new_spec, old_spec = mapping(new, "spec"), mapping(old, "spec")
    free = _free_fields(old_spec, bound=mapping(old, "status").get("phase") == "Bound")
    if _without(new_spec, free) != _without(old_spec, free):
        errors.append(field_errors.forbidden("spec", _CLAIM_FIXED))
        return errors
    wanted = quantity("", mapping(mapping(new_spec, "resources"), "requests").get("storage", "0"))[0]
    before = quantity("", mapping(mapping(old_spec, "resources"), "requests").get("storage", "0"))[0]
    given = quantity("", mapping(mapping(old, "status"), "capacity").get("storage", "0"))[0]
    if wanted < before and wanted <= given:
        detail = "field can not be less than status.capacity"
        errors.append(field_errors.forbidden("spec.resources.requests.storage", detail))
    return errors


def _free_fields(old_spec: Object, *, bound: bool) -> set[str]:
    """What may still change: the volume and the class while there is none, the size once there is one."""
    free = {"volumeAttributesClassName", "resources"} if bound else set()
    if not old_spec.get("volumeName"):
        free.add("volumeName")
    if old_spec.get("storageClassName") is None:
        free.add("storageClassName")
    return free


def _without(spec: Object, fields: set[str]) -> Object:
    return {key: value for key, value in spec.items() if key not in fields and value}


def validate_storage_class(storage_class: Object) -> Errors:
    provisioner = text(storage_class, "provisioner")
    errors: Errors = []
    if not provisioner:
        errors.append(field_errors.required("provisioner", provisioner))
    else:
        faults = names.qualified_name(provisioner.lower())
        errors += [field_errors.invalid("provisioner", provisioner, fault) for fault in faults]
    parameters = mapping(storage_class, "parameters")
    if any(not key for key in parameters):
        errors.append(field_errors.invalid("parameters", "", "field must not be empty."))
    if policy := text(storage_class, "reclaimPolicy"):
        errors += one_of("reclaimPolicy", policy, ("Delete", "Retain"))
    binding = storage_class.get("volumeBindingMode")
    return errors + required_one_of("volumeBindingMode", binding, ("Immediate", "WaitForFirstConsumer"))


def validate_storage_class_update(new: Object, old: Object) -> Errors:
    errors: Errors = []
    for key in ("parameters", "provisioner", "reclaimPolicy"):
        if (new.get(key) or None) != (old.get(key) or None):
            errors.append(field_errors.forbidden(key, f"updates to {key} are forbidden."))
    return errors + immutable("volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))


def validate_volume_attachment(attachment: Object) -> Errors:
    spec = mapping(attachment, "spec")
    attacher, source = text(spec, "attacher"), mapping(spec, "source")
    errors: Errors = []
    if not attacher:
        errors.append(field_errors.required("spec.attacher"))
    else:
        if len(attacher) > 63:
            errors.append(field_errors.too_long("spec.attacher", 63))
        faults = names.dns_subdomain(attacher.lower())
        errors += [field_errors.invalid("spec.attacher", attacher, fault) for fault in faults]
    inline, name = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and name is None:
        errors.append(field_errors.required("spec.source", detail))
    elif inline is not None and name is not None:
        errors.append(field_errors.forbidden("spec.source", detail))
    elif name is not None and not name:
        detail = "must specify non empty persistentVolumeName"
        errors.append(field_errors.required("spec.source.persistentVolumeName", detail))
    return errors + named("spec.nodeName", text(spec, "nodeName"), names.dns_subdomain)


def validate_volume_attachment_update(new: Object, old: Object) -> Errors:
    return validate_volume_attachment(new) + immutable("spec", new.get("spec"), old.get("spec"))
