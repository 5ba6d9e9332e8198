"""
Label selectors, as text (`app in (a,b),!canary`) and as LabelSelector objects, and what labels may look like.

Source: k8s.io/apimachinery, pkg/labels/selector.go; the error texts are upstream's.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.machinery import field_errors, names
from cluster.machinery.field_errors import FieldError, quoted
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest

ANNOTATIONS_LIMIT = 256 * 1024
_BINARY_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_TOKEN = re.compile(r"[ \t\r\n]*([=!<>]+|[(),]|[^=!(),<> \t\r\n]+|$)")
_SYMBOLS = frozenset(["=", "==", "!=", "!", ">", "<", "(", ")", ","])
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: str
    """in, notin, exists, !, gt or lt; the equality signs are `in` and `notin` of one value."""
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        if not _is_int64(value):
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == "gt" else int(value) < bound

    def __str__(self) -> str:
        if self.operator == "exists":
            return self.key
        if self.operator == "!":
            return f"!{self.key}"
        listed = ",".join(sorted(self.values))
        if self.operator in ("gt", "lt"):
            return f"{self.key}{'>' if self.operator == 'gt' else '<'}{listed}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator == 'in' else '!='}{listed}"
        return f"{self.key} {self.operator} ({listed})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; none select everything, `nothing` selects nothing at all."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    _equal: Mapping[str, str] = field(init=False, repr=False, compare=False)
    """Labels that must have exactly one value; compared in one step, since most selectors are just these."""
    _others: tuple[Requirement, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        equal: dict[str, str] = {}
        others = []
        for requirement in self.requirements:
            single = next(iter(requirement.values)) if len(requirement.values) == 1 else None
            if requirement.operator == "in" and single is not None and requirement.key not in equal:
                equal[requirement.key] = single
            else:
                others.append(requirement)
        object.__setattr__(self, "_equal", equal)
        object.__setattr__(self, "_others", tuple(others))

    @staticmethod
    def parse(text: str) -> "Selector":
        """Raises BadRequest with upstream's text for anything that is not a selector."""
        return Selector(tuple(_Parser(text).requirements())) if text else Selector()

    @staticmethod
    def from_labels(labels: Labels) -> "Selector":
        """As a ReplicationController's or Service's `selector` map is meant."""
        return Selector(tuple(Requirement(key, "in", frozenset([value])) for key, value in labels.items()))

    def matches(self, labels: Labels | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        if not self._equal.items() <= labels.items():
            return False
        return all(requirement.matches(labels) for requirement in self._others)

    @property
    def only_equal(self) -> Mapping[str, str] | None:
        """The labels that must have these values when nothing else is required, else None."""
        return None if self._others or self.nothing else self._equal

    @property
    def empty(self) -> bool:
        """True when it selects everything."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(r) for r in sorted(self.requirements, key=lambda r: r.key))


NOTHING = Selector(nothing=True)


def selector_of(label_selector: Object | None) -> Selector:
    """
    The selector that a LabelSelector object stands for: none selects nothing, an empty one everything.

    Raises ValueError with upstream's text for one that validation would refuse.
    """
    if label_selector is None:
        return NOTHING
    equal = label_selector.get("matchLabels") or {}
    found = [_checked(key, "in", [value]) for key, value in sorted(equal.items())]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    for expression in label_selector.get("matchExpressions") or ():
        operator = operators.get(expression.get("operator", ""))
        if operator is None:
            raise ValueError(f"{quoted(expression.get('operator', ''))} is not a valid label selector operator")
        found.append(_checked(expression.get("key", ""), operator, expression.get("values") or []))
    return Selector(tuple(found))


def validate_labels(labels: Any, path: str) -> list[FieldError]:
    """Keys and values of a `labels` map."""
    faults = []
    for key, value in (labels or {}).items():
        faults += [field_errors.invalid(path, key, fault) for fault in names.qualified_name(key)]
        faults += [field_errors.invalid(path, value, fault) for fault in names.label_value(value)]
    return faults


def validate_annotations(annotations: Any, path: str) -> list[FieldError]:
    """Keys of an `annotations` map, and its size altogether."""
    faults = []
    size = 0
    for key, value in (annotations or {}).items():
        faults += [field_errors.invalid(path, key, fault) for fault in names.qualified_name(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT:
        faults.append(field_errors.too_long(path, ANNOTATIONS_LIMIT))
    return faults


def validate_label_selector(label_selector: Any, path: str) -> list[FieldError]:
    """A LabelSelector object in a spec."""
    if not label_selector:
        return []
    faults = validate_labels(label_selector.get("matchLabels"), f"{path}.matchLabels")
    for index, expression in enumerate(label_selector.get("matchExpressions") or ()):
        faults += _validate_expression(expression, f"{path}.matchExpressions[{index}]")
    return faults


def _validate_expression(expression: Object, path: str) -> list[FieldError]:
    faults = []
    operator, values = expression.get("operator", ""), expression.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            faults.append(
                field_errors.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            )
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            faults.append(
                field_errors.forbidden(
                    f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
            )
    else:
        faults.append(field_errors.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = expression.get("key", "")
    faults += [field_errors.invalid(f"{path}.key", key, fault) for fault in names.qualified_name(key)]
    for index, value in enumerate(values):
        faults += [field_errors.invalid(f"{path}.values[{index}]", value, f) for f in names.label_value(value)]
    return faults


def _is_int64(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and len(text) < 21 and -(2**63) <= int(text) < 2**63


def _checked(key: str, operator: str, values: Iterable[str]) -> Requirement:
    """A requirement whose key and values are valid. Raises ValueError with all faults."""
    ordered = sorted(set(values))
    faults = [str(_key_fault(key))] if names.qualified_name(key) else []
    if operator in ("in", "notin") and not ordered:
        faults.append(
            str(field_errors.invalid("values", ordered, "for 'in', 'notin' operators, values set can't be empty"))
        )
    if operator in ("exists", "!") and ordered:
        faults.append(
            str(field_errors.invalid("values", ordered, "values set must be empty for exists and does not exist"))
        )
    for index, value in enumerate(ordered):
        if operator in ("gt", "lt") and not _is_int64(value):
            text = "for 'Gt', 'Lt' operators, the value must be an integer"
            faults.append(str(field_errors.invalid(f"values[{index}]", value, text)))
        wrong = names.label_value(value)
        if wrong:
            faults.append(str(field_errors.invalid(f"values[{index}][{key}]", value, "; ".join(wrong))))
    if faults:
        raise ValueError(faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")
    return Requirement(key, operator, frozenset(ordered))


def _key_fault(key: str) -> FieldError:
    return field_errors.invalid("key", key, "; ".join(names.qualified_name(key)))


def _tokens(text: str) -> list[str]:
    """The words and signs of a selector, with an empty one for its end. Raises ValueError for `=!` and the like."""
    found: list[str] = []
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None or not match[1]:
            return [*found, ""]
        token = match[1]
        # A run of signs is cut greedily: `=!x` is `=` and `!`, `!=` stays one.
        length = next((n for n in (2, 1) if n <= len(token) and token[:n] in _SYMBOLS), len(token))
        found.append(token[:length])
        position = match.start(1) + length


class _Parser:
    """Recursive descent over the words. `in` and `notin` are operators only where one is expected."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            word = self._peek()
            if not word:
                return found
            if word in _SYMBOLS and word != "!":
                raise BadRequest(f"found '{word}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except ValueError as fault:
                raise BadRequest(f"unable to parse requirement: {fault}") from None
            separator = self._next()
            if not separator:
                return found
            if separator != ",":
                raise BadRequest(f"found '{separator}', expected: ',' or 'end of string'")
            after = self._peek()
            if not after or (after in _SYMBOLS and after != "!"):
                raise BadRequest(f"found '{after}', expected: identifier after ','")

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        word = self._tokens[self._at]
        if word:
            self._at += 1
        return word

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._next()
        if not key or key in _SYMBOLS:
            raise ValueError(f"found '{key}', expected: identifier")
        if names.qualified_name(key):
            raise ValueError(str(_key_fault(key)))
        if negated:
            return Requirement(key, "!")
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        sign = self._next()
        match sign:
            case "in" | "notin":
                return _checked(key, sign, self._values())
            case "=" | "==" | "!=" | ">" | "<":
                operator = {"!=": "notin", ">": "gt", "<": "lt"}.get(sign, "in")
                return _checked(key, operator, [self._exact_value()])
            case _:
                raise ValueError(f"found '{sign}', expected: {_BINARY_OPERATORS}")

    def _exact_value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        value = self._next()
        if value in _SYMBOLS:
            raise ValueError(f"found '{value}', expected: identifier")
        return value

    def _values(self) -> list[str]:
        opening = self._next()
        if opening != "(":
            raise ValueError(f"found '{opening}' expected: '('")
        values: list[str] = []
        expects_value = True
        while True:
            word = self._next()
            if word == ")":
                return [*values, ""] if expects_value else values
            if word == ",":
                if expects_value:
                    values.append("")
                expects_value = True
            elif not word or word in _SYMBOLS:
                raise ValueError(f"found '{word}', expected: ',', or identifier")
            elif not expects_value:
                raise ValueError(f"found '{word}', expected: ',' or ')'")
            else:
                values.append(word)
                expects_value = False
