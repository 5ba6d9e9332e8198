"""Validation of probes and lifecycle hooks."""

import re

from cluster.api.validation.rules import Errors, each, listed, not_negative, one_of, port_number, port_or_name, text
from cluster.machinery import field_errors
from cluster.machinery.objects import Object

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_HEADER = re.compile(r"[-A-Za-z0-9]+")
_SIGNAL_FREE_SECONDS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)


def validate_probes(path: str, container: Object, grace_seconds: int | None) -> Errors:
    """Liveness and startup need one success; readiness has no grace period of its own."""
    errors: Errors = []
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(key)
        if probe is None:
            continue
        where = f"{path}.{key}"
        errors += _check_probe(where, probe, grace_seconds)
        if key == "readinessProbe":
            if probe.get("terminationGracePeriodSeconds") is not None:
                value = probe["terminationGracePeriodSeconds"]
                detail = "must not be set for readinessProbes"
                errors.append(field_errors.invalid(f"{where}.terminationGracePeriodSeconds", value, detail))
        elif (probe.get("successThreshold") or 0) != 1:
            threshold = probe.get("successThreshold") or 0
            errors.append(field_errors.invalid(f"{where}.successThreshold", threshold, "must be 1"))
    return errors


def _check_probe(path: str, probe: Object, grace_seconds: int | None) -> Errors:
    errors = _check_handler(path, probe, grace_seconds)
    for key in _SIGNAL_FREE_SECONDS:
        errors += not_negative(f"{path}.{key}", probe.get(key))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        errors.append(field_errors.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return errors


def validate_lifecycle(path: str, lifecycle: Object | None, grace_seconds: int | None) -> Errors:
    errors: Errors = []
    for key in ("postStart", "preStop"):
        if lifecycle and lifecycle.get(key) is not None:
            errors += _check_handler(f"{path}.{key}", lifecycle[key], grace_seconds)
    return errors


def _check_handler(path: str, handler: Object, grace_seconds: int | None) -> Errors:
    given = [key for key in _HANDLERS if handler.get(key) is not None]
    if not given:
        return [field_errors.required(path, "must specify a handler type")]
    errors: Errors = []
    for index, key in enumerate(given):
        where = f"{path}.{key}"
        if index:
            errors.append(field_errors.forbidden(where, "may not specify more than 1 handler type"))
        else:
            errors += _check_action(key, where, handler[key], grace_seconds)
    return errors


def _check_action(kind: str, path: str, action: Object, grace_seconds: int | None) -> Errors:
    match kind:
        case "exec":
            return [] if listed(action, "command") else [field_errors.required(f"{path}.command")]
        case "httpGet":
            return _check_http_get(path, action)
        case "tcpSocket":
            return port_or_name(f"{path}.port", action.get("port"))
        case "grpc":
            return port_number(f"{path}.port", action.get("port") or 0)
        case _:
            seconds = action.get("seconds") or 0
            if grace_seconds is None or 0 <= seconds <= grace_seconds:
                return []
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})"
            return [field_errors.invalid(path, seconds, detail)]


def _check_http_get(path: str, get: Object) -> Errors:
    errors = [] if text(get, "path") else [field_errors.required(f"{path}.path")]
    errors += port_or_name(f"{path}.port", get.get("port"))
    errors += one_of(f"{path}.scheme", text(get, "scheme"), ("HTTP", "HTTPS"))
    return errors + each(f"{path}.httpHeaders", listed(get, "httpHeaders"), _check_header)


def _check_header(path: str, header: Object) -> Errors:
    name = text(header, "name")
    if _HEADER.fullmatch(name):
        return []
    detail = (
        "a valid HTTP header must consist of alphanumeric characters or '-' "
        "(e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
    )
    return [field_errors.invalid(path.rpartition("[")[0], name, detail)]
