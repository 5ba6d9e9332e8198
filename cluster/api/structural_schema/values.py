"""
Whether a value fits its schema, and what is wrong with it in upstream's words.

Source: k8s.io/kube-openapi, pkg/validation/validate (order of the checks) and pkg/validation/errors (texts);
k8s.io/apiextensions-apiserver, pkg/apiserver/validation (how they become causes of a 422).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from cluster.api.structural_schema import formats
from cluster.api.structural_schema.patterns import searcher
from cluster.machinery import field_errors
from cluster.machinery.field_errors import FieldError

Schema = Mapping[str, Any]

_INT_LIMITS = {"int32": 2**31, "int64": 2**63, "": 2**63}


@dataclass(slots=True)
class _Result:
    errors: list[FieldError] = field(default_factory=list)
    matches: int = 0
    """How much of the schema was looked at: decides whose faults are told when no alternative fits."""

    def merge(self, other: "_Result") -> None:
        self.errors += other.errors
        self.matches += other.matches


class _Absent:
    """There is no earlier value to compare with."""


_ABSENT = _Absent()


def validate(schema: Schema, value: Any, path: str = "", old: Any = _ABSENT) -> list[FieldError]:
    """
    Faults of a value.

    Args:
        path: where it stands, empty for a whole object.
        old: what it was before an update: parts that stay as they are may go on being wrong.
    """
    return _check(schema, value, path, old).errors


def _check(schema: Schema, value: Any, path: str, old: Any = _ABSENT) -> _Result:
    result = _Result(matches=1)
    if old is not _ABSENT and same(value, old):
        return result
    errors = result.errors
    types = _types(schema)
    if value is None:
        if types and not schema.get("nullable"):
            errors.append(_wrong_type(path, types, "null"))
        errors += _check_enum(schema, value, path)
        return result
    errors += _check_type(types, schema, value, path)
    _check_alternatives(schema, value, path, result)
    match value:
        case bool():
            pass
        case str():
            errors += _check_string(schema, value, path)
        case int() | float():
            errors += _check_number(schema, value, path)
        case list():
            _check_list(schema, value, path, result, old)
        case _:
            pass
    errors += _check_enum(schema, value, path)
    if isinstance(value, dict):
        _check_object(schema, value, path, result, old)
    return result


def _types(schema: Schema) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer", "string"
    declared = schema.get("type")
    return (declared,) if declared else ()


def type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def _wrong_type(path: str, types: Sequence[str], found: str) -> FieldError:
    wanted = ",".join(types)
    text = f"{path} in body must be of type {wanted}: {field_errors.quoted(found)}"
    return field_errors.type_invalid(_place(path), found, text)


def _place(path: str) -> str:
    return path.removeprefix(".") or "<nil>"


def _check_type(types: Sequence[str], schema: Schema, value: Any, path: str) -> list[FieldError]:
    found = type_name(value)
    if not types or found in types:
        return []
    if found == "integer" and "number" in types:
        return []
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return []
    return [_wrong_type(path, types, found)]


def _check_enum(schema: Schema, value: Any, path: str) -> list[FieldError]:
    allowed = schema.get("enum")
    if not allowed or any(same(value, one) for one in allowed):
        return []
    shown = [
        one if isinstance(one, str) else orjson.dumps(one, option=orjson.OPT_SORT_KEYS).decode() for one in allowed
    ]
    return [field_errors.not_supported(_place(path), value, shown)]


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: true is not 1, but 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _check_string(schema: Schema, value: str, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    place = _place(path)
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if longest is not None and len(value) > longest:
        errors.append(field_errors.too_long(place, longest))
    elif shortest is not None and len(value) < shortest:
        errors.append(field_errors.invalid(place, value, f"{path} in body should be at least {shortest} chars long"))
    elif pattern and not searcher(pattern)(value):
        errors.append(field_errors.invalid(place, value, f"{path} in body should match '{pattern}'"))
    name = schema.get("format")
    if name and not formats.fits(name, value):
        text = f"{path} in body must be of type {name}: {field_errors.quoted(value)}"
        errors.append(field_errors.type_invalid(place, value, text))
    return errors


def _check_number(schema: Schema, value: int | float, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    place = _place(path)

    def refuse(text: str) -> None:
        errors.append(field_errors.invalid(place, value, f"{path} in body {text}"))

    name = schema.get("format") or ""
    limit = _INT_LIMITS.get(name)
    if limit is not None and schema.get("type") == "integer" and not -limit <= value < limit:
        how = f"with format {name}" if name else "(default format)"
        errors.append(field_errors.invalid("<nil>", "", f"Checked value must be of type integer {how}"))
    factor = schema.get("multipleOf")
    if factor and not _is_multiple(value, factor):
        refuse(f"should be a multiple of {go_number(factor)}")
    highest, lowest = schema.get("maximum"), schema.get("minimum")
    if highest is not None:
        if schema.get("exclusiveMaximum") and value >= highest:
            refuse(f"should be less than {go_number(highest)}")
        elif value > highest:
            refuse(f"should be less than or equal to {go_number(highest)}")
    if lowest is not None:
        if schema.get("exclusiveMinimum") and value <= lowest:
            refuse(f"should be greater than {go_number(lowest)}")
        elif value < lowest:
            refuse(f"should be greater than or equal to {go_number(lowest)}")
    return errors


def _is_multiple(value: int | float, factor: int | float) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return Decimal(str(value)) % Decimal(str(factor)) == 0


def go_number(value: int | float) -> str:
    """A float64 as Go's %v writes it: `1`, `0.5`, `1e+06`."""
    number = float(value)
    exponent = math.floor(math.log10(abs(number))) if number else 0
    if -5 < exponent < 21:
        return str(int(number)) if number.is_integer() and exponent < 6 else _plain_or_scientific(number, exponent)
    return _scientific(number)


def _plain_or_scientific(number: float, exponent: int) -> str:
    return repr(number) if exponent < 6 else _scientific(number)


def _scientific(number: float) -> str:
    digits = len(repr(abs(number)).split("e")[0].replace(".", "").strip("0")) or 1
    return f"{number:.{digits - 1}e}"


def _check_list(schema: Schema, value: list[Any], path: str, result: _Result, old: Any) -> None:
    place, count = _place(path), len(value)
    items = schema.get("items")
    if isinstance(items, dict):
        before = _by_key(schema, old)
        for index, item in enumerate(value):
            result.merge(_check(items, item, f"{path}[{index}]", before.get(_key(schema, item), _ABSENT)))
    fewest, most = schema.get("minItems"), schema.get("maxItems")
    if fewest is not None and count < fewest:
        text = f"{path} in body should have at least {fewest} items"
        result.errors.append(field_errors.invalid(place, count, text))
    if most is not None and count > most:
        result.errors.append(field_errors.too_many(place, count, most))
    if schema.get("uniqueItems") and _has_duplicates(value):
        text = f"{path} in body shouldn't contain duplicates"
        result.errors.append(field_errors.invalid(place, "", text))


def _key(schema: Schema, item: Any) -> bytes:
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    return canonical({key: item.get(key) for key in keys}) if isinstance(item, dict) else b""


def _by_key(schema: Schema, old: Any) -> Mapping[bytes, Any]:
    """Earlier items of a list that is a map; only there it is known which item was which."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return {}
    return {_key(schema, item): item for item in old if isinstance(item, dict)}


def _has_duplicates(items: Sequence[Any]) -> bool:
    seen: set[bytes] = set()
    for item in items:
        key = canonical(item)
        if key in seen:
            return True
        seen.add(key)
    return False


def canonical(value: Any) -> bytes:
    """The same bytes for values that are equal as JSON."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _check_object(schema: Schema, value: dict[str, Any], path: str, result: _Result, old: Any) -> None:
    place, count = _place(path), len(value)
    fewest, most = schema.get("minProperties"), schema.get("maxProperties")
    if fewest is not None and count < fewest:
        text = f"{path} in body should have at least {fewest} properties"
        result.errors.append(field_errors.invalid(place, count, text))
    if most is not None and count > most:
        result.errors.append(field_errors.too_many(place, count, most))
    properties = schema.get("properties") or {}
    rest = schema.get("additionalProperties")
    before = old if isinstance(old, dict) else {}
    for name, found in value.items():
        inner = properties.get(name)
        if inner is None:
            inner = rest if isinstance(rest, dict) else None
        if inner is not None:
            result.merge(_check(inner, found, f"{path}.{name}" if path else name, before.get(name, _ABSENT)))
    for name in schema.get("required") or ():
        if name not in value:
            result.errors.append(field_errors.required(_place(f"{path}.{name}")))


def _check_alternatives(schema: Schema, value: Any, path: str, result: _Result) -> None:
    where = field_errors.quoted(path)

    def refuse(text: str) -> None:
        result.errors.append(field_errors.invalid("<nil>", "", f"{where} must {text}"))

    if options := schema.get("anyOf"):
        tried = [_check(one, value, path) for one in options]
        if all(one.errors for one in tried):
            refuse("validate at least one schema (anyOf)")
            result.merge(max(tried, key=lambda one: one.matches))
    if options := schema.get("oneOf"):
        tried = [_check(one, value, path) for one in options]
        fitting = sum(not one.errors for one in tried)
        if fitting == 0:
            refuse("validate one and only one schema (oneOf). Found none valid")
            result.merge(max(tried, key=lambda one: one.matches))
        elif fitting > 1:
            refuse(f"validate one and only one schema (oneOf). Found {fitting} valid alternatives")
    if options := schema.get("allOf"):
        tried = [_check(one, value, path) for one in options]
        fitting = sum(not one.errors for one in tried)
        for one in tried:
            result.merge(one)
        if fitting < len(tried):
            refuse("validate all the schemas (allOf)" + ("" if fitting else ". None validated"))
    forbidden = schema.get("not")
    if forbidden is not None and not _check(forbidden, value, path).errors:
        refuse("not validate the schema (not)")
