"""
CSIDriver, CSINode, CSIStorageCapacity and VolumeAttributesClass: what drivers say of themselves, and classes for them.

Source: k8s.io/kubernetes, pkg/apis/storage/validation/validation.go.
"""

from typing import Any

from cluster.api.validation.rules import (
    Errors,
    immutable,
    listed,
    mapping,
    not_negative,
    not_negative_quantity,
    one_of,
    text,
)
from cluster.api.validation.selectors import validate_selector
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_TOKEN_SECONDS = 600
_DRIVER_NAME_LIMIT = 63
_NODE_ID_LIMIT = 192
_PARAMETER_LIMIT, _PARAMETER_BYTES = 512, 256 << 10


def driver_name(path: str, name: str) -> Errors:
    if not name:
        return [field_errors.required(path)]
    errors = [field_errors.too_long(path, _DRIVER_NAME_LIMIT)] if len(name) > _DRIVER_NAME_LIMIT else []
    return errors + [field_errors.invalid(path, name, fault) for fault in names.dns_subdomain(name.lower())]


def validate_driver(driver: Object) -> Errors:
    spec = mapping(driver, "spec")
    errors = [
        field_errors.required(f"spec.{key}")
        for key in ("attachRequired", "podInfoOnMount", "storageCapacity")
        if spec.get(key) is None
    ]
    if policy := spec.get("fsGroupPolicy"):
        errors += one_of("spec.fsGroupPolicy", policy, ("ReadWriteOnceWithFSType", "File", "None"))
    for mode in listed(spec, "volumeLifecycleModes"):
        errors += one_of("spec.volumeLifecycleModes", mode, ("Ephemeral", "Persistent"))
    return errors + _check_token_requests("spec.tokenRequests", listed(spec, "tokenRequests"))


def _check_token_requests(path: str, requests: list[Any]) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, request in enumerate(requests):
        where, audience, seconds = f"{path}[{index}]", text(request, "audience"), request.get("expirationSeconds")
        if audience in seen:
            errors.append(field_errors.duplicate(f"{where}.audience", audience))
            continue
        seen.add(audience)
        if seconds is None:
            continue
        if seconds < _TOKEN_SECONDS:
            detail = "may not specify a duration less than 10 minutes"
            errors.append(field_errors.invalid(f"{where}.expirationSeconds", seconds, detail))
        if seconds > 1 << 32:
            detail = "may not specify a duration larger than 2^32 seconds"
            errors.append(field_errors.invalid(f"{where}.expirationSeconds", seconds, detail))
    return errors


def validate_driver_update(new: Object, old: Object) -> Errors:
    after, before = mapping(new, "spec"), mapping(old, "spec")
    required = after.get("attachRequired")
    errors = [] if required == before.get("attachRequired") else [
        # The path is upstream's own spelling.
        field_errors.invalid("spec.attachedRequired", required, "field is immutable")
    ]  # fmt: skip
    errors += immutable(
        "spec.volumeLifecycleModes", after.get("volumeLifecycleModes"), before.get("volumeLifecycleModes")
    )
    return errors + _check_token_requests("spec.tokenRequests", listed(after, "tokenRequests"))


def validate_node(node: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, driver in enumerate(listed(mapping(node, "spec"), "drivers")):
        path, name = f"spec.drivers[{index}]", text(driver, "name")
        errors += driver_name(f"{path}.name", name)
        node_id = text(driver, "nodeID")
        if not node_id:
            errors.append(field_errors.required(f"{path}.nodeID"))
        elif len(node_id) > _NODE_ID_LIMIT:
            detail = f"must be {_NODE_ID_LIMIT} characters or less"
            errors.append(field_errors.invalid(f"{path}.nodeID", node_id, detail))
        errors += not_negative(f"{path}.allocatable.count", mapping(driver, "allocatable").get("count"))
        errors += _check_topology_keys(f"{path}.topologyKeys", listed(driver, "topologyKeys"))
        if name in seen:
            errors.append(field_errors.duplicate(f"{path}.name", name))
        seen.add(name)
    return errors


def _check_topology_keys(path: str, keys: list[Any]) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for key in keys:
        if not key:
            errors.append(field_errors.required(path, key))
        if key in seen:
            errors.append(field_errors.duplicate(path, key))
        seen.add(key)
        errors += [field_errors.invalid(path, keys, fault) for fault in names.qualified_name(key)]
    return errors


def validate_node_update(new: Object, old: Object) -> Errors:
    """A driver that is listed stays as it is, but for how many volumes it takes."""
    errors = validate_node(new)
    before = {text(driver, "name"): driver for driver in listed(mapping(old, "spec"), "drivers")}
    for driver in listed(mapping(new, "spec"), "drivers"):
        known = before.get(text(driver, "name"))
        if known is not None and {**driver, "allocatable": None} != {**known, "allocatable": None}:
            errors.append(field_errors.invalid("CSINodeDriver", driver, "field is immutable"))
    return errors


def validate_capacity(capacity: Object) -> Errors:
    name = text(capacity, "storageClassName")
    errors = [field_errors.invalid("storageClassName", name, fault) for fault in names.dns_subdomain(name)]
    for key in ("capacity", "maximumVolumeSize"):
        if capacity.get(key) is not None:
            errors += not_negative_quantity(key, capacity[key])
    return errors + validate_selector("nodeTopology", capacity.get("nodeTopology"))


def validate_capacity_update(new: Object, old: Object) -> Errors:
    errors = validate_capacity(new)
    for key in ("nodeTopology", "storageClassName"):
        errors += immutable(key, new.get(key), old.get(key))
    return errors


def validate_attributes_class(attributes: Object) -> Errors:
    name, parameters = text(attributes, "driverName"), mapping(attributes, "parameters")
    if not name:
        errors = [field_errors.required("driverName", name)]
    else:
        errors = [field_errors.invalid("driverName", name, fault) for fault in names.qualified_name(name.lower())]
    if not parameters:
        errors.append(field_errors.required("parameters", "must contain at least one key/value pair"))
    if len(parameters) > _PARAMETER_LIMIT:
        return [*errors, field_errors.too_long("Provisioner Parameters exceeded max allowed", _PARAMETER_LIMIT)]
    if "" in parameters:
        errors.append(field_errors.invalid("parameters", "", "field can not be empty."))
    if sum(len(key) + len(value) for key, value in parameters.items()) > _PARAMETER_BYTES:
        errors.append(field_errors.too_long("parameters", _PARAMETER_BYTES))
    return errors


def validate_attributes_class_update(new: Object, old: Object) -> Errors:
    return validate_attributes_class(new) + [
        field_errors.forbidden(key, f"updates to {key} are forbidden.")
        for key in ("driverName", "parameters")
        if (new.get(key) or None) != (old.get(key) or None)
    ]
