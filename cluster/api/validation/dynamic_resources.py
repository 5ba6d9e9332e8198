"""
ResourceClaim, ResourceClaimTemplate, DeviceClass and ResourceSlice: devices that are asked for, and that there are.

Source: k8s.io/kubernetes, pkg/apis/resource/validation/validation.go.
"""

from typing import Any

from cluster.api.validation.csi import driver_name
from cluster.api.validation.rules import Errors, duplicates, each, immutable, listed, mapping, required_name, text
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_ONE_TYPE = "exactly one of `exactly` or `firstAvailable` is required"
_REQUEST_NAME = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_DEVICES = 128


def validate_claim(claim: Object) -> Errors:
    return _check_claim("spec", mapping(claim, "spec"))


def validate_claim_template(template: Object) -> Errors:
    return _check_claim("spec.spec", mapping(mapping(template, "spec"), "spec"))


def _check_claim(path: str, spec: Object) -> Errors:
    devices, path = mapping(spec, "devices"), f"{path}.devices"
    requests = listed(devices, "requests")
    known = {text(request, "name") for request in requests}
    known |= {
        f"{text(request, 'name')}/{text(part, 'name')}"
        for request in requests
        for part in listed(request, "firstAvailable")
    }
    errors = each(f"{path}.requests", requests, _check_request)
    errors += duplicates(f"{path}.requests", enumerate(text(request, "name") for request in requests))
    for key in ("constraints", "config"):
        for index, entry in enumerate(listed(devices, key)):
            for at, name in enumerate(listed(entry, "requests")):
                if name not in known:
                    place = f"{path}.{key}[{index}].requests[{at}]"
                    errors.append(field_errors.invalid(place, name, _REQUEST_NAME))
    return errors + each(f"{path}.config", listed(devices, "config"), _check_config)


def _check_request(path: str, request: Object) -> Errors:
    errors = required_name(f"{path}.name", text(request, "name"), names.dns_label)
    exact, alternatives = request.get("exactly"), listed(request, "firstAvailable")
    if exact is None and not alternatives:
        errors.append(field_errors.required(path, _ONE_TYPE))
    elif exact is not None and alternatives:
        errors.append(field_errors.invalid(path, None, f"{_ONE_TYPE}, but multiple fields are set"))
    elif exact is not None:
        errors += _check_exact(f"{path}.exactly", exact)
    for index, part in enumerate(alternatives):
        place = f"{path}.firstAvailable[{index}]"
        errors += required_name(f"{place}.name", text(part, "name"), names.dns_label)
        errors += _check_exact(place, part)
    return errors


def _check_exact(path: str, request: Object) -> Errors:
    errors = required_name(f"{path}.deviceClassName", text(request, "deviceClassName"), names.dns_subdomain)
    errors += each(f"{path}.selectors", listed(request, "selectors"), _check_selector)
    mode, count = text(request, "allocationMode"), request.get("count") or 0
    if mode == "ExactCount":
        if count <= 0:
            errors.append(field_errors.invalid(f"{path}.count", count, "must be greater than zero"))
    elif mode == "All":
        if count:
            detail = "must not be specified when allocationMode is 'All'"
            errors.append(field_errors.invalid(f"{path}.count", count, detail))
    else:
        errors.append(field_errors.not_supported(f"{path}.allocationMode", mode, ("All", "ExactCount")))
    return errors


def _check_selector(path: str, selector: Object) -> Errors:
    return [field_errors.required(f"{path}.cel")] if selector.get("cel") is None else []


def _check_config(path: str, config: Object) -> Errors:
    opaque = config.get("opaque")
    if opaque is None:
        return [field_errors.required(f"{path}.opaque")]
    errors = driver_name(f"{path}.opaque.driver", text(opaque, "driver"))
    if opaque.get("parameters") is None:
        errors.append(field_errors.required(f"{path}.opaque.parameters"))
    return errors


def validate_device_class(device_class: Object) -> Errors:
    spec = mapping(device_class, "spec")
    errors = each("spec.selectors", listed(spec, "selectors"), _check_selector)
    return errors + each("spec.config", listed(spec, "config"), _check_config)


def validate_slice(resource_slice: Object) -> Errors:
    spec = mapping(resource_slice, "spec")
    errors = driver_name("spec.driver", text(spec, "driver")) + _check_pool("spec.pool", mapping(spec, "pool"))
    if text(spec, "nodeName"):
        errors += required_name("spec.nodeName", text(spec, "nodeName"), names.dns_subdomain)
    places = [key for key in _PLACES if spec.get(key)]
    detail = f"exactly one of {', '.join(f'`{key}`' for key in _PLACES)} is required"
    if not places:
        errors.append(field_errors.required("spec", detail))
    elif len(places) > 1:
        shown = "{" + ", ".join(f"`{key}`" for key in places) + "}"
        errors.append(field_errors.invalid("spec", shown, f"{detail}, but multiple fields are set"))
    devices = listed(spec, "devices")
    if len(devices) > _DEVICES:
        errors.append(field_errors.FieldError("FieldValueTooMany", "spec.devices", _too_many(len(devices))))
    errors += each("spec.devices", devices, _check_device)
    return errors + duplicates("spec.devices", enumerate(text(device, "name") for device in devices))


def _too_many(number: int) -> str:
    return f"Too many: {number}: must have at most {_DEVICES} items"


def _check_pool(path: str, pool: Object) -> Errors:
    errors: Errors = []
    name, generation, slices = text(pool, "name"), pool.get("generation") or 0, pool.get("resourceSliceCount") or 0
    if not name:
        errors.append(field_errors.required(f"{path}.name"))
    for part in name.split("/") if name else ():
        errors += [field_errors.invalid(f"{path}.name", part, fault) for fault in names.dns_subdomain(part)]
    if slices <= 0:
        errors.append(field_errors.invalid(f"{path}.resourceSliceCount", slices, "must be greater than zero"))
    if generation < 0:
        detail = "must be greater than or equal to zero"
        errors.append(field_errors.invalid(f"{path}.generation", generation, detail))
    return errors


def _check_device(path: str, device: Any) -> Errors:
    return required_name(f"{path}.name", text(device, "name"), names.dns_label)


def validate_slice_update(new: Object, old: Object) -> Errors:
    after, before = mapping(new, "spec"), mapping(old, "spec")
    errors = validate_slice(new)
    for key in ("nodeName", "driver"):
        errors += immutable(f"spec.{key}", after.get(key), before.get(key))
    return errors + immutable("spec.pool.name", mapping(after, "pool").get("name"), mapping(before, "pool").get("name"))
