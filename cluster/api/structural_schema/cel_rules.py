"""
x-kubernetes-validations: rules that authors of definitions write about their objects.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/cel (validation.go, values.go).
"""

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.api.structural_schema.cel_environment import (
    BadRuleError,
    UnsupportedRuleError,
    compile_rule,
    uses_old,
)
from cluster.api.structural_schema.values import Schema, same
from cluster.machinery import field_errors, timestamps
from cluster.machinery.field_errors import FieldError
from cluster.machinery.objects import Object

KEY = "x-kubernetes-validations"
_ABSENT = object()
_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
     "let", "loop", "package", "namespace", "return", "var", "void", "while"}
)  # fmt: skip
_REASONS = {"FieldValueForbidden": "Forbidden", "FieldValueRequired": "Required value"}
_META: Schema = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
_ROOT: Mapping[str, Schema] = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _META}


def rules_of(schema: Schema) -> Iterator[tuple[str, str, bool]]:
    """Every rule and messageExpression in a schema: its place, its text, and whether its oldSelf is optional."""
    yield from _rules_of(schema, "")


def _rules_of(schema: Schema, path: str) -> Iterator[tuple[str, str, bool]]:
    for index, entry in enumerate(schema.get(KEY) or ()):
        optional = bool(entry.get("optionalOldSelf"))
        yield f"{path}.{KEY}[{index}].rule", entry.get("rule") or "", optional
        if entry.get("messageExpression"):
            yield f"{path}.{KEY}[{index}].messageExpression", entry["messageExpression"], optional
    for name, part in (schema.get("properties") or {}).items():
        yield from _rules_of(part, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(part := schema.get(key), dict):
            yield from _rules_of(part, f"{path}.{key}")


def validate_rules(schema: Schema, path: str) -> list[FieldError]:
    """Faults of the rules themselves: what is no expression. Those this server cannot run are no faults."""
    errors: list[FieldError] = []
    for place, rule, optional in rules_of(schema):
        if not rule.strip():
            errors.append(field_errors.required(path + place, "rule is not specified"))
            continue
        try:
            compile_rule(rule, optional_old=optional)
        except BadRuleError as fault:
            errors.append(field_errors.invalid(path + place, rule, f"compilation failed: {fault}"))
        except UnsupportedRuleError:
            continue
    return errors


def unsupported(schema: Schema) -> list[str]:
    """Rules that cannot be enforced here, with the engine's reason."""
    found = []
    for _, rule, optional in rules_of(schema):
        try:
            compile_rule(rule, optional_old=optional)
        except (BadRuleError, UnsupportedRuleError) as fault:
            found.append(f"{rule}: {str(fault).splitlines()[0]}")
    return found


def evaluate(schema: Schema, obj: Object, old: Object | None = None) -> list[FieldError]:
    """Faults that the rules find in a whole object."""
    root = {**schema, "properties": {**(schema.get("properties") or {}), **_ROOT}}
    return _check(root, obj, _ABSENT if old is None else old, "")


def _check(schema: Schema, value: Any, old: Any, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    entries = schema.get(KEY) or ()
    if value is None:
        return errors
    if entries:
        unchanged = old is not _ABSENT and same(value, old)
        variables: dict[str, Any] = {"self": cel_value(schema, value)}
        if old is not _ABSENT:
            variables["oldSelf"] = variables["__old"] = cel_value(schema, old)
        else:
            variables["__old"] = None
        variables["__has_old"] = old is not _ABSENT
        for entry in entries:
            about_change = uses_old(entry.get("rule") or "")
            if about_change and old is _ABSENT and not entry.get("optionalOldSelf"):
                continue
            if unchanged and not about_change:
                continue  # what was stored before the rule may stay
            errors += _run(entry, variables, path)
    return errors + _check_parts(schema, value, old, path)


def _check_parts(schema: Schema, value: Any, old: Any, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if isinstance(value, dict):
        properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        before = old if isinstance(old, dict) else {}
        for name, found in value.items():
            part = properties.get(name)
            if part is not None:
                errors += _check(part, found, before.get(name, _ABSENT), f"{path}.{name}" if path else name)
            elif isinstance(rest, dict):
                errors += _check(rest, found, before.get(name, _ABSENT), f"{path}[{name}]")
    elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        before_items = old if isinstance(old, list) and keys else []
        for index, found in enumerate(value):
            earlier = next((one for one in before_items if _same_keys(keys, one, found)), _ABSENT)
            errors += _check(items, found, earlier, f"{path}[{index}]")
    return errors


def _same_keys(keys: Any, left: Any, right: Any) -> bool:
    if not isinstance(left, dict) or not isinstance(right, dict):
        return False
    return all(left.get(key) == right.get(key) for key in keys)


def _run(entry: Mapping[str, Any], variables: dict[str, Any], path: str) -> list[FieldError]:
    rule, optional = entry.get("rule") or "", bool(entry.get("optionalOldSelf"))
    place = path or "<nil>"
    try:
        if compile_rule(rule, optional_old=optional)(variables) is True:
            return []
    except (BadRuleError, UnsupportedRuleError):
        return []  # the definition's status says so
    except ValueError as fault:
        shown = (entry.get("message") or rule).strip()
        text = f"{fault} evaluating rule: {shown}"
        if str(fault).startswith("no such overload"):
            text = (
                f"'{fault}': call arguments did not match a supported operator, function or macro signature "
                f"for rule: {shown}"
            )
        return [FieldError("FieldValueInvalid", place, f"Invalid value: {text}")]
    if entry.get("fieldPath"):
        place = f"{path}{entry['fieldPath']}".removeprefix(".")
    reason = entry.get("reason") or "FieldValueInvalid"
    head = _REASONS.get(reason, "Invalid value")
    return [FieldError(reason, place, f"{head}: {_message(entry, variables, optional=optional)}")]


def _message(entry: Mapping[str, Any], variables: dict[str, Any], *, optional: bool) -> str:
    expression = entry.get("messageExpression")
    if expression:
        try:
            text = compile_rule(expression, optional_old=optional)(variables)
        except ValueError:
            text = None  # upstream falls back to the fixed message as well
        if isinstance(text, str) and text.strip() and "\n" not in text:
            return text.strip()
    message = (entry.get("message") or "").strip()
    return message or f"failed rule: {(entry.get('rule') or '').strip()}"


def cel_value(schema: Schema, value: Any) -> Any:
    """A value as rules see it: fields under escaped names, times as timestamps, numbers of the declared type."""
    if value is None:
        return None
    if isinstance(value, dict):
        properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        found: dict[str, Any] = {}
        for name, inner in value.items():
            if name in properties:
                found[escaped(name)] = cel_value(properties[name], inner)
            elif isinstance(rest, dict):
                found[name] = cel_value(rest, inner)
            elif rest is True:
                found[name] = cel_value({}, inner)
        return found
    if isinstance(value, list):
        items = schema.get("items")
        return [cel_value(items if isinstance(items, dict) else {}, inner) for inner in value]
    if isinstance(value, str):
        return _text_value(schema.get("format") or "", value)
    if schema.get("type") == "number" and not isinstance(value, bool):
        return float(value)
    if schema.get("type") == "integer" and isinstance(value, float):
        return int(value)
    return value


def _text_value(form: str, text: str) -> Any:
    if form in ("date-time", "date"):
        from google.protobuf.timestamp_pb2 import Timestamp

        whole = text if form == "date-time" else f"{text}T00:00:00Z"
        moment = Timestamp()
        moment.FromDatetime(timestamps.parse_time(whole).astimezone(datetime.UTC))
        return moment
    if form == "duration" and (seconds := _seconds(text)) is not None:
        from google.protobuf.duration_pb2 import Duration

        length = Duration()
        length.FromTimedelta(datetime.timedelta(seconds=seconds))
        return length
    if form == "byte":
        import base64

        return base64.b64decode(text)
    return text


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def _seconds(text: str) -> float | None:
    """Of Go's `1h30m`; None for other forms, which stay texts."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if not rest or _DURATION_PART.sub("", rest):
        return None
    return sign * sum(float(part[1]) * _UNITS[part[2]] for part in _DURATION_PART.finditer(rest))


def escaped(name: str) -> str:
    """A field's name as an identifier: `my-field` -> `my__dash__field`."""
    if name in _RESERVED:
        return f"__{name}__"
    text = name.replace("__", "__underscores__")
    return text.replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")
