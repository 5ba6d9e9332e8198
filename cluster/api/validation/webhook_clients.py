"""
Validation of where a webhook is and which reviews it understands: admission, conversion of custom resources.

Source: k8s.io/apiserver, pkg/util/webhook/validation.go; k8s.io/kubernetes, pkg/apis/admissionregistration/validation.
"""

import base64
import binascii
import ssl
from urllib.parse import urlsplit

from cluster.api.validation.rules import Errors, listed, text
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_REVIEWS = ("v1", "v1beta1")
_HTTPS = 443
_EMPTY = "segment[{}] may not be empty"


def validate_client(path: str, client: Object) -> Errors:
    """A clientConfig: exactly one of `url` and `service`."""
    url, service = client.get("url"), client.get("service")
    if url is not None and service is None:
        return _check_url(f"{path}.url", url)
    if url is not None or service is None:
        return [field_errors.required(path, "exactly one of url or service is required")]
    return _check_service(f"{path}.service", service)


def validate_bundle(path: str, client: Object) -> Errors:
    """The client's caBundle holds certificates, if it is there."""
    bundle = client.get("caBundle")
    if not bundle:
        return []
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=base64.b64decode(bundle, validate=True).decode("ascii"))
    except (ssl.SSLError, binascii.Error, UnicodeDecodeError, ValueError):
        why = "unable to load root certificates: unable to parse bytes as PEM block"
        return [field_errors.invalid(f"{path}.caBundle", bundle, why)]
    return []


def validate_review_versions(path: str, versions: list[str], missing: str) -> Errors:
    """`missing` is the detail of the error when none is given."""
    if not versions:
        return [field_errors.required(path, missing)]
    errors: Errors = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        if version in seen:
            errors.append(field_errors.invalid(f"{path}[{index}]", version, "duplicate version"))
        else:
            errors += [
                field_errors.invalid(f"{path}[{index}]", version, fault) for fault in names.dns_1035_label(version)
            ]
        seen.add(version)
    if not seen & set(_REVIEWS):
        detail = f"must include at least one of {', '.join(_REVIEWS)}"
        errors.append(field_errors.invalid(path, versions, detail))
    return errors


def review_versions(holder: Object, key: str) -> list[str]:
    return [str(version) for version in listed(holder, key)]


def _check_service(path: str, service: Object) -> Errors:
    errors = [field_errors.required(f"{path}.{key}", f"service {key} is required")
              for key in ("name", "namespace") if not text(service, key)]  # fmt: skip
    port = service.get("port", _HTTPS)
    if not 1 <= port <= 65535:
        detail = "port is not valid: must be between 1 and 65535, inclusive"
        errors.append(field_errors.invalid(f"{path}.port", port, detail))
    return errors + _check_path(f"{path}.path", text(service, "path"))


def _check_path(path: str, wanted: str) -> Errors:
    """A URL path of plain names: what is asked cannot be bent by dots, queries or escapes."""
    if wanted in ("", "/"):
        return []
    if wanted == "//":
        return [field_errors.invalid(path, wanted, _EMPTY.format(0))]
    errors = [] if wanted.startswith("/") else [field_errors.invalid(path, wanted, "must start with a '/'")]
    for index, segment in enumerate(wanted[1:].removesuffix("/").split("/")):
        if not segment:
            errors.append(field_errors.invalid(path, wanted, _EMPTY.format(index)))
            continue
        errors += [
            field_errors.invalid(path, wanted, f"segment[{index}]: {fault}") for fault in names.dns_subdomain(segment)
        ]
    return errors


def _check_url(path: str, url: str) -> Errors:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        port_fault = "" if parts.port is None or parts.port > 0 else "invalid port"
    except ValueError as fault:
        return [
            field_errors.required(path, f"url must be a valid URL: parse {field_errors.quoted(url)}: {fault}{form}")
        ]
    errors: Errors = []
    if port_fault:
        errors.append(field_errors.required(path, f"url must be a valid URL: {port_fault}{form}"))
    if parts.scheme != "https":
        errors.append(field_errors.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{form}"))
    if not parts.hostname:
        errors.append(field_errors.invalid(path, "", f"host must be specified{form}"))
    if parts.username is not None:
        detail = "user information is not permitted in the URL"
        errors.append(field_errors.invalid(path, parts.username, detail))
    if parts.fragment:
        detail = "fragments are not permitted in the URL"
        errors.append(field_errors.invalid(path, parts.fragment, detail))
    if parts.query:
        detail = "query parameters are not permitted in the URL"
        errors.append(field_errors.invalid(path, parts.query, detail))
    return errors
