"""
x-kubernetes-validations: rules that authors of definitions write about their objects.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/cel (validation.go, values.go).
"""

import base64
import functools
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from cluster.api.cel import costs, estimates, sizes
from cluster.api.cel.environment import Environment, Program, dynamic
from cluster.api.cel.schema_types import SchemaTypes, escaped
from cluster.api.cel.times import read_duration, read_timestamp
from cluster.api.cel.values import CelError, CompileError, CostExceededError, EvaluationError, Maybe
from cluster.api.structural_schema.values import Schema, same
from cluster.machinery import field_errors
from cluster.machinery.field_errors import FieldError
from cluster.machinery.objects import Object

KEY = "x-kubernetes-validations"
_ABSENT = object()
_REASONS = {"FieldValueForbidden": "Forbidden", "FieldValueRequired": "Required value"}
_META: Schema = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
_ROOT: Mapping[str, Schema] = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _META}


_RULES = dynamic("self", "oldSelf")
TYPED_PLACES = 100
"""
Places of one schema whose rules are checked against types: an environment takes three milliseconds to make. Rules of
further ones are checked without them.
"""
EVALUATION_SECONDS = 0.5
"""
Processor time that all rules of one write may take together, since nothing else is served meanwhile. Upstream's limit
of cost holds as well; here a rule reaches this one first.
"""
_STRINGS = re.compile(r"""[rRbB]*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_OLD_SELF = re.compile(r"\boldSelf\b")


def uses_old(rule: str) -> bool:
    """Is it about a change, so that it only holds for updates?"""
    return _OLD_SELF.search(_STRINGS.sub("", rule)) is not None


@dataclass(frozen=True, slots=True)
class Place:
    """A schema with rules, and where it is in the whole one."""

    path: str
    schema: Schema
    root: bool
    count: int | None
    """How often it can be in one object; None when nothing in the schema bounds that."""


def places(schema: Schema, path: str = "", *, root: bool = True, count: int | None = 1) -> Iterator[Place]:
    """Every part of a schema that has rules."""
    if schema.get(KEY):
        yield Place(path, schema, root, count)
    for name, part in (schema.get("properties") or {}).items():
        yield from places(part, f"{path}.properties[{name}]", root=False, count=count)
    for key, bound in (("items", "maxItems"), ("additionalProperties", "maxProperties")):
        if isinstance(part := schema.get(key), dict):
            many = schema.get(bound)
            within = None if count is None or many is None else sizes.product(count, int(many))
            yield from places(part, f"{path}.{key}", root=False, count=within)


def validate_rules(schema: Schema, path: str) -> list[FieldError]:
    """Faults of the rules themselves: what is no expression over the types of its place, or could cost too much."""
    errors: list[FieldError] = []
    costs_of: list[tuple[int, str]] = []
    for number, place in enumerate(places(schema)):
        typed = _environments(place) if number < TYPED_PLACES else (_RULES, _RULES)
        for index, entry in enumerate(place.schema[KEY]):
            where = f"{path}{place.path}.{KEY}[{index}]"
            environment = typed[bool(entry.get("optionalOldSelf"))]
            for key, wanted in (("rule", "bool"), ("messageExpression", "string")):
                expression = entry.get(key) or ""
                if expression.strip():
                    found, cost = _judged(environment, f"{where}.{key}", expression, wanted, place)
                    errors += found
                    costs_of.append((cost, f"{where}.{key}"))
                elif key == "rule":
                    errors.append(field_errors.required(f"{where}.rule", "rule is not specified"))
    return errors + _over_total(costs_of, path)


MOST_EXPENSIVE = 4
"""Rules that are named when all together are too expensive."""


def _over_total(costs_of: list[tuple[int, str]], path: str) -> list[FieldError]:
    whole = sizes.total(*(cost for cost, _ in costs_of)) if costs_of else 0
    if whole <= estimates.SCHEMA_LIMIT:
        return []
    detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
    worst = sorted(costs_of, key=lambda one: -one[0])[:MOST_EXPENSIVE]
    subject = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
    text = estimates.exceeded(subject, whole, estimates.SCHEMA_LIMIT)
    return [*(field_errors.forbidden(where, detail) for _, where in worst), field_errors.forbidden(path, text)]


def _environments(place: Place) -> tuple[Environment, Environment]:
    """For rules whose oldSelf is a plain value, and for those where it is optional."""
    return _typed(orjson.dumps(place.schema, option=orjson.OPT_SORT_KEYS), place.root)


@functools.lru_cache(maxsize=256)  # definitions are applied again and again
def _typed(schema: bytes, root: bool) -> tuple[Environment, Environment]:
    types = SchemaTypes()
    own = types.add(orjson.loads(schema), root=root)
    # The checker cannot say "optional of"; what is done with an optional oldSelf is checked when it runs.
    return types.typed({"self": own, "oldSelf": own}), types.typed({"self": own, "oldSelf": "dyn"})


def _judged(
    environment: Environment, path: str, expression: str, wanted: str, place: Place
) -> tuple[list[FieldError], int]:
    """Faults, and the estimated cost for a whole object."""
    subject = "messageExpression" if wanted == "string" else "cel expression"
    try:
        program = environment.compile(expression)
    except CompileError as fault:
        return [field_errors.invalid(path, expression, f"compilation failed: {fault}")], 0
    if program.result not in (wanted, "dyn"):
        return [field_errors.invalid(path, expression, f"{subject} must evaluate to a {wanted}")], 0
    bounds = sizes.of_schema(_whole(place))
    once = estimates.most(program.checked.root, {"self": bounds, "oldSelf": bounds})
    count = sizes.most_of(place.schema) if place.count is None else place.count
    cost = sizes.product(once, count)
    if cost <= estimates.RULE_LIMIT:
        return [], cost
    name = "estimated messageExpression cost" if wanted == "string" else "estimated rule cost"
    return [field_errors.forbidden(path, estimates.exceeded(name, cost, estimates.RULE_LIMIT))], cost


def _whole(place: Place) -> Schema:
    if not place.root:
        return place.schema
    return {**place.schema, "type": "object", "properties": {**(place.schema.get("properties") or {}), **_ROOT}}


def unsupported(schema: Schema) -> list[str]:
    """Rules that cannot be enforced here, with the engine's reason."""
    found = []
    for place in places(schema):
        for entry in place.schema[KEY]:
            for expression in filter(None, (entry.get("rule"), entry.get("messageExpression"))):
                try:
                    _program(expression)
                except CompileError as fault:
                    found.append(f"{expression}: {str(fault).splitlines()[0]}")
    return found


def _program(expression: str) -> Program:
    return _RULES.compile(expression)


class _Budget:
    """What the rules of one write may still cost."""

    def __init__(self) -> None:
        self.left = costs.REQUEST_BUDGET
        self.deadline = time.thread_time() + EVALUATION_SECONDS

    def run(self, expression: str, variables: dict[str, Any]) -> Any:
        value, cost = _program(expression).evaluate(variables, min(self.left, costs.PER_CALL_LIMIT), self.deadline)
        self.left -= cost
        return value


def evaluate(schema: Schema, obj: Object, old: Object | None = None) -> list[FieldError]:
    """Faults that the rules find in a whole object."""
    root = {**schema, "properties": {**(schema.get("properties") or {}), **_ROOT}}
    errors: list[FieldError] = []
    try:
        for found in _check(root, obj, _ABSENT if old is None else old, "", _Budget()):
            errors.append(found)  # noqa: PERF402 - what was found before the budget ended is kept
    except _SpentError as fault:
        errors.append(fault.error)
    return errors


class _SpentError(Exception):
    """No more rules are run."""

    def __init__(self, error: FieldError) -> None:
        super().__init__(str(error))
        self.error = error


def _check(schema: Schema, value: Any, old: Any, path: str, budget: _Budget) -> Iterator[FieldError]:
    if value is None:
        return
    entries = schema.get(KEY) or ()
    if entries:
        unchanged = old is not _ABSENT and same(value, old)
        variables: dict[str, Any] = {"self": cel_value(schema, value)}
        if old is not _ABSENT:
            variables["oldSelf"] = cel_value(schema, old)
        for entry in entries:
            about_change = uses_old(entry.get("rule") or "")
            optional = bool(entry.get("optionalOldSelf"))
            if about_change and old is _ABSENT and not optional:
                continue
            if unchanged and not about_change:
                continue  # what was stored before the rule may stay
            seen = variables
            if optional:
                seen = {**variables, "oldSelf": Maybe(variables.get("oldSelf"), "oldSelf" in variables)}
            yield from _run(entry, seen, path, budget)
    yield from _check_parts(schema, value, old, path, budget)


def _check_parts(schema: Schema, value: Any, old: Any, path: str, budget: _Budget) -> Iterator[FieldError]:
    if isinstance(value, dict):
        properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        before = old if isinstance(old, dict) else {}
        for name, found in value.items():
            part = properties.get(name)
            if part is not None:
                yield from _check(part, found, before.get(name, _ABSENT), f"{path}.{name}" if path else name, budget)
            elif isinstance(rest, dict):
                yield from _check(rest, found, before.get(name, _ABSENT), f"{path}[{name}]", budget)
    elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        before_items = old if isinstance(old, list) and keys else []
        for index, found in enumerate(value):
            earlier = next((one for one in before_items if _same_keys(keys, one, found)), _ABSENT)
            yield from _check(items, found, earlier, f"{path}[{index}]", budget)


def _same_keys(keys: Any, left: Any, right: Any) -> bool:
    if not isinstance(left, dict) or not isinstance(right, dict):
        return False
    return all(left.get(key) == right.get(key) for key in keys)


def _run(entry: Mapping[str, Any], variables: dict[str, Any], path: str, budget: _Budget) -> Iterator[FieldError]:
    rule, place = entry.get("rule") or "", path or "<nil>"
    shown = (entry.get("message") or rule).strip()
    try:
        if budget.run(rule, variables) is True:
            return
    except CompileError:
        return  # the definition's status says so
    except CostExceededError:
        text = f"no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
        if budget.left < costs.PER_CALL_LIMIT:
            text = "validation failed due to running out of cost budget, no further validation rules will be run"
        raise _SpentError(FieldError("FieldValueInvalid", place, f"Invalid value: {text}")) from None
    except EvaluationError as fault:
        text = f"{fault} evaluating rule: {shown}"
        if str(fault).startswith("no such overload"):
            text = (
                f"'{fault}': call arguments did not match a supported operator, function or macro signature "
                f"for rule: {shown}"
            )
        yield FieldError("FieldValueInvalid", place, f"Invalid value: {text}")
        return
    if entry.get("fieldPath"):
        place = f"{path}{entry['fieldPath']}".removeprefix(".")
    reason = entry.get("reason") or "FieldValueInvalid"
    head = _REASONS.get(reason, "Invalid value")
    yield FieldError(reason, place, f"{head}: {_message(entry, variables, budget)}")


def _message(entry: Mapping[str, Any], variables: dict[str, Any], budget: _Budget) -> str:
    expression = entry.get("messageExpression")
    if expression:
        try:
            text = budget.run(expression, variables)
        except (CompileError, CelError):
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
    if form == "byte":
        return base64.b64decode(text)
    try:
        if form in ("date-time", "date"):
            return read_timestamp(text if form == "date-time" else f"{text}T00:00:00Z")
        if form == "duration":
            return read_duration(text)
    except EvaluationError:
        return text  # the format's own check has said so, or lets more pass than an expression can use
    return text
