"""
A decoded body as Go would hold it: wrong types refused, unknown fields and empty values dropped, texts canonical.

Works in place, on the way from the decode door to admission. What it drops is told as strict faults.
Source: sigs.k8s.io/json and the Go types of k8s.io/api (omitempty, pointers, custom unmarshallers).
"""

import binascii
import functools
from typing import Any

from cluster.machinery import quantity, timestamps
from cluster.machinery.json_document import go_kind
from cluster.machinery.objects import Object
from cluster.machinery.shapes import NONZERO, Field, Shape

_INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_FAULT_LIMIT = 100
"""Strict faults an object; upstream stops counting there too."""

Place = tuple["Place", "str | int", str] | None
"""Where we are: what is above, the field, key or index, and `field`, `key` or `index`. Rendered only on a fault."""


class TypeFault(ValueError):
    """A value of the wrong type, with Go's text."""


def normalize(shape: Shape, obj: Object) -> list[str]:
    """
    Bring an object into its canonical form, in place.

    Returns the strict faults: `unknown field "spec.x"`. Raises TypeFault.
    """
    faults: list[str] = []
    _object(shape, obj, None, faults)
    return faults


def _path(place: Place) -> str:
    """`spec.containers[0].image`."""
    parts: list[str] = []
    while place is not None:
        place, name, how = place
        parts.append(f"[{name}]" if how == "index" else f".{name}")
    return "".join(reversed(parts)).removeprefix(".")


def _go_field(shape: Shape, place: Place) -> str:
    """`Container.spec.containers.image`: the innermost struct and the fields on the way, as Go's errors have it."""
    parts: list[str] = []
    while place is not None:
        place, name, how = place
        if how == "field":
            parts.append(str(name))
    return ".".join([shape.go.rpartition(".")[2], *reversed(parts)])


def _go_type(shape: Shape) -> str:
    match shape.kind:
        case "list":
            return f"[]{_go_type(shape.element)}"
        case "map":
            return "v1.ResourceList" if shape.element.kind == "quantity" else f"map[string]{_go_type(shape.element)}"
        case "object":
            return shape.go or "map[string]interface {}"
        case "boolean":
            return "bool"
        case "number":
            return "float64"
        case "bytes":
            return "[]uint8"
        case "integer":
            return shape.go
        case _:
            return "string"


def _mismatch(owner: Shape, shape: Shape, value: Any, place: Place) -> TypeFault:
    shown = go_kind(value)
    if shape.kind == "integer" and shown == "number":
        shown = f"number {value!r}"
    return TypeFault(
        f"json: cannot unmarshal {shown} into Go struct field {_go_field(owner, place)} of type {_go_type(shape)}"
    )


def _object(shape: Shape, obj: Object, place: Place, faults: list[str]) -> None:
    fields = shape.fields
    dropped: list[str] = []
    for name, value in obj.items():
        field = fields.get(name)
        if field is None:
            if not shape.preserves and not (place is None and name in ("apiVersion", "kind")):
                dropped.append(name)
                if len(faults) < _FAULT_LIMIT:
                    faults.append(f'unknown field "{_path((place, name, "field"))}"')
        elif value is None:
            if not shape.lenient:
                dropped.append(name)
        else:
            kept = _value(shape, field.shape, value, (place, name, "field"), faults)
            if kept is not value:
                obj[name] = kept
            if not kept and field.presence == NONZERO and kept != "0":
                dropped.append(name)
    for name in dropped:
        del obj[name]
    for name, field in shape.always:
        if name not in obj:
            _add_zero(obj, name, field)


def _add_zero(obj: Object, name: str, field: Field) -> None:
    """Go writes a struct without a value as `{}`. Its null lists are left out here: nobody means anything by them."""
    match field.shape.kind:
        case "object":
            obj[name] = {}
            _object(field.shape, obj[name], None, [])
        case "string" | "bytes":
            obj[name] = ""
        case "integer" | "number" | "int-or-string":
            obj[name] = 0
        case "boolean":
            obj[name] = False
        case "quantity":
            obj[name] = "0"
        case _:
            pass


def _value(owner: Shape, shape: Shape, value: Any, place: Place, faults: list[str]) -> Any:
    """The canonical value; the same object unless a scalar is written differently. `owner` is the innermost struct."""
    kind = shape.kind
    if kind == "string":
        if type(value) is str or shape.lenient:
            return value
        raise _mismatch(owner, shape, value, place)
    if kind == "object":
        if type(value) is dict:
            _object(shape, value, place, faults)
        elif not shape.lenient:
            raise _mismatch(owner, shape, value, place)
        return value
    if kind == "list":
        if type(value) is list:
            _list(owner, shape, value, place, faults)
        elif not shape.lenient:
            raise _mismatch(owner, shape, value, place)
        return value
    if kind == "map":
        if type(value) is dict:
            _map(owner, shape, value, place, faults)
        elif not shape.lenient:
            raise _mismatch(owner, shape, value, place)
        return value
    if kind == "any":
        if shape.fields:
            _perhaps_object(shape, value, place, faults)
        return value
    return value if shape.lenient else _scalar(owner, shape, value, place)


def _perhaps_object(shape: Shape, value: Any, place: Place, faults: list[str]) -> None:
    """A schema or a boolean, a schema or a list of them: what a CRD may have in some places."""
    if type(value) is dict:
        _object(shape, value, place, faults)
    elif type(value) is list:
        for index, item in enumerate(value):
            if type(item) is dict:
                _object(shape, item, (place, index, "index"), faults)


def _list(owner: Shape, shape: Shape, items: list[Any], place: Place, faults: list[str]) -> None:
    element = shape.element
    if element.kind == "string" and not element.lenient:
        for index, item in enumerate(items):
            if type(item) is not str:
                if item is not None:
                    raise _mismatch(owner, element, item, place)
                items[index] = ""
        return
    for index, item in enumerate(items):
        if item is None:
            items[index] = _zero_element(element)
            continue
        kept = _value(owner, element, item, (place, index, "index"), faults)
        if kept is not item:
            items[index] = kept


def _map(owner: Shape, shape: Shape, entries: Object, place: Place, faults: list[str]) -> None:
    element = shape.element
    for key, value in entries.items():
        if value is None:
            entries[key] = _zero_element(element)
            continue
        kept = _value(owner, element, value, (place, key, "key"), faults)
        if kept is not value:
            entries[key] = kept


def _zero_element(element: Shape) -> Any:
    """What Go makes of a null in a list or map."""
    match element.kind:
        case _ if element.lenient:
            return None
        case "object":
            made: Object = {}
            _object(element, made, None, [])
            return made
        case "string" | "bytes":
            return ""
        case "integer" | "number" | "int-or-string":
            return 0
        case "boolean":
            return False
        case "quantity":
            return "0"
        case _:
            return None


def _scalar(owner: Shape, shape: Shape, value: Any, place: Place) -> Any:
    match shape.kind:
        case "integer":
            low, high = _INT_RANGES.get(shape.go, _INT_RANGES["int64"])
            if type(value) is not int or not low <= value <= high:
                raise _mismatch(owner, shape, value, place)
            return value
        case "boolean":
            if type(value) is not bool:
                raise _mismatch(owner, shape, value, place)
            return value
        case "number":
            if type(value) not in (int, float):
                raise _mismatch(owner, shape, value, place)
            return value
        case "quantity":
            return _quantity(value)
        case "int-or-string":
            return _int_or_string(value)
        case "time" | "micro-time":
            return _time(value, micro=shape.kind == "micro-time")
        case _:
            if type(value) is not str:
                raise _mismatch(owner, shape, value, place)
            return _bytes(value)


def _quantity(value: Any) -> str:
    if type(value) not in (str, int, float):
        raise TypeFault("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    try:
        return quantity.canonical(value)
    except quantity.QuantityError as fault:
        raise TypeFault(str(fault)) from None


def _int_or_string(value: Any) -> int | str:
    if type(value) is str:
        return value
    low, high = _INT_RANGES["int32"]
    if type(value) is not int or not low <= value <= high:
        shown = f"number {value!r}" if type(value) in (int, float) else go_kind(value)
        raise TypeFault(f"json: cannot unmarshal {shown} into Go value of type int32")
    return value


def _time(value: Any, *, micro: bool) -> str:
    if type(value) is not str:
        raise TypeFault(f"json: cannot unmarshal {go_kind(value)} into Go value of type string")
    return _canonical_micro_time(value) if micro else _canonical_time(value)


@functools.lru_cache(maxsize=1024)
def _canonical_time(text: str) -> str:
    try:
        return timestamps.format_time(timestamps.parse_time(text))
    except ValueError as fault:
        raise TypeFault(str(fault)) from None


@functools.lru_cache(maxsize=1024)
def _canonical_micro_time(text: str) -> str:
    try:
        return timestamps.format_micro_time(timestamps.parse_time(text))
    except ValueError as fault:
        raise TypeFault(str(fault)) from None


def _bytes(text: str) -> str:
    """Base64, standard alphabet, padded; line breaks are ignored as Go does."""
    stripped = text.replace("\r", "").replace("\n", "") if "\n" in text or "\r" in text else text
    try:
        binascii.a2b_base64(stripped, strict_mode=True)
    except (binascii.Error, ValueError):
        raise TypeFault(f"illegal base64 data at input byte {_base64_fault(stripped)}") from None
    return stripped


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _base64_fault(text: str) -> int:
    """Where Go stops: at the wrong character, or at the start of an unfinished group of four."""
    for position, character in enumerate(text):
        if character in _BASE64:
            continue
        group = position % 4
        if character != "=" or group < 2:
            return position
        rest = text[position:]
        if group == 2 and rest[:2] != "==":
            return position + 1 if len(rest) > 1 else position - group
        return position + (4 - group)
    return len(text) - len(text) % 4
