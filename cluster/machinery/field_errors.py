"""
What is wrong with one field of an object: `spec.replicas: Invalid value: -1: must be greater than or equal to 0`.

Validation returns lists of these; the registry turns a list into one 422 (`status_errors.invalid`).
Texts and reasons are upstream's to the letter. Source: k8s.io/apimachinery, pkg/util/validation/field.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.machinery.status_errors import Invalid, invalid as invalid_object

_GO_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f",
               "\v": "\\v"}  # fmt: skip


class Named(Protocol):
    """What a 422 says about the kind; `cluster.api.resources.Resource` is one."""

    @property
    def group(self) -> str: ...

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault: the machine-readable reason, the path of the field, and the text without the path."""

    reason: str
    """`FieldValueRequired`, `FieldValueInvalid` …"""
    field: str
    """`spec.containers[0].name`."""
    message: str

    def as_cause(self) -> tuple[str, str, str]:
        """(reason, message, field): what `status_errors.invalid` takes."""
        return self.reason, self.message, self.field

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def quoted(text: str) -> str:
    """A string as Go's %q writes it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_GO_ESCAPES.get(c) or (c if c.isprintable() else _go_escape(c)) for c in text) + '"'


def _go_escape(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(value: Any) -> str:
    """How a message writes the wrong value: strings quoted, everything else as JSON."""
    if isinstance(value, str):
        return quoted(value)
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, (dict, list)):
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def _with_detail(head: str, detail: str) -> str:
    return f"{head}: {detail}" if detail else head


def required(path: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", path, _with_detail("Required value", detail))


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, _with_detail(f"Invalid value: {shown(value)}", detail))


def type_invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", path, _with_detail(f"Invalid value: {shown(value)}", detail))


def not_supported(path: str, value: Any, supported: Sequence[str]) -> FieldError:
    """`supported` in the order upstream names them; mostly sorted."""
    detail = "supported values: " + ", ".join(quoted(name) for name in supported) if supported else ""
    return FieldError("FieldValueNotSupported", path, _with_detail(f"Unsupported value: {shown(value)}", detail))


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", path, f"Duplicate value: {shown(value)}")


def not_found(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", path, f"Not found: {shown(value)}")


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", path, _with_detail("Forbidden", detail))


def too_long(path: str, limit: int) -> FieldError:
    """`limit` in bytes. The value is left out: it may be a megabyte."""
    unit = "byte" if limit == 1 else "bytes"
    return FieldError("FieldValueTooLong", path, f"Too long: may not be more than {limit} {unit}")


def too_many(path: str, count: int, limit: int) -> FieldError:
    unit = "item" if limit == 1 else "items"
    return FieldError("FieldValueTooMany", path, f"Too many: {count}: must have at most {limit} {unit}")


def internal(path: str, detail: str) -> FieldError:
    return FieldError("InternalError", path, _with_detail("Internal error", detail))


def invalid_from(resource: Named, name: str, errors: Sequence[FieldError]) -> Invalid:
    """The 422 for an object of the resource that has these faults."""
    return invalid_object(resource.group, resource.kind, name, [error.as_cause() for error in errors])
