"""
`format.dns1123Label()` and its like: what a text must look like, with the faults' texts.

Source: k8s.io/apiserver, pkg/cel/library/format.go.
"""

import base64
import binascii
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from cluster.api.cel.times import read_timestamp
from cluster.api.cel.values import NONE, EvaluationError, Maybe, Opaque, no_overload
from cluster.machinery import names

_Check = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class NamedFormat(Opaque):
    name: str
    type_name: ClassVar[str] = "kubernetes.NamedFormat"


def _date(text: str) -> list[str]:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        try:
            read_timestamp(f"{text}T00:00:00Z")
        except EvaluationError:
            return ["invalid date"]
        return []
    return ["invalid date"]


def _date_time(text: str) -> list[str]:
    try:
        read_timestamp(text)
    except EvaluationError:
        return ["invalid datetime"]
    return []


def _uri(text: str) -> list[str]:
    from cluster.api.cel.network import FUNCTIONS as NETWORK

    return [] if NETWORK["isURL"](text) else ["invalid URI"]


def _uuid(text: str) -> list[str]:
    try:
        uuid.UUID(text)
    except ValueError:
        return ["does not match the UUID format"]
    return (
        []
        if re.fullmatch(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", text)
        else ["does not match the UUID format"]
    )


def _bytes(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


_FORMATS: dict[str, _Check] = {
    "dns1123Label": names.dns_label,
    "dns1123Subdomain": names.dns_subdomain,
    "dns1035Label": names.dns_1035_label,
    "qualifiedName": names.qualified_name,
    "dns1123LabelPrefix": names.as_prefix(names.dns_label),
    "dns1123SubdomainPrefix": names.as_prefix(names.dns_subdomain),
    "dns1035LabelPrefix": names.as_prefix(names.dns_1035_label),
    "labelValue": names.label_value,
    "uri": _uri,
    "uuid": _uuid,
    "byte": _bytes,
    "date": _date,
    "datetime": _date_time,
}


def _named(name: Any) -> Maybe:
    return Maybe(NamedFormat(name), True) if name in _FORMATS else NONE


def _validate(form: NamedFormat, text: Any) -> Maybe:
    if not isinstance(text, str):
        raise no_overload()
    faults = _FORMATS[form.name](text)
    return Maybe(faults, True) if faults else NONE


def _always(name: str) -> Callable[[], NamedFormat]:
    return lambda: NamedFormat(name)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "format.named": _named,
    "validate": _validate,
    **{f"format.{name}": _always(name) for name in _FORMATS},
}
DECLARED = "\n".join(
    [
        # Optional values; the engine has no way to say so in a declaration.
        "format.named(string) dyn",
        "kubernetes.NamedFormat.validate(string) dyn",
        *(f"format.{name}() kubernetes.NamedFormat" for name in _FORMATS),
    ]
)
