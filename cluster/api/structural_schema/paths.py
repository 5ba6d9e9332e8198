"""
The small part of JSONPath that definitions use: printer columns, selectable fields, where replicas are.

`.spec.crew`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.masts[0].n`, `.metadata.annotations.a\\.b/c`.
Source: k8s.io/client-go, util/jsonpath.
"""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

Step = Callable[[Any], Iterable[Any]]

_NAME = re.compile(r"\.?((?:\\.|[^.\[\]\\])+)")
_INDEX = re.compile(r"\[\s*(-?\d+)\s*\]")
_SLICE = re.compile(r"\[\s*(-?\d*)\s*:\s*(-?\d*)\s*\]")
_ALL = re.compile(r"\[\s*\*\s*\]|\.\*")
_KEY = re.compile(r"""\[\s*(?:'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)")\s*\]""")
_FILTER = re.compile(
    r"""\[\?\(\s*@\.((?:\\.|[^=!<>\s)\\])+?)\s*(?:(==|!=|<=|>=|<|>)\s*("(?:\\.|[^"])*"|'(?:\\.|[^'])*'|[^\s)]+)\s*)?\)\]"""
)


class BadPathError(ValueError):
    """The text is no path of the supported form."""


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Step, ...]:
    """Raises BadPathError."""
    rest, steps = text.strip(), list[Step]()
    if rest.startswith("{") and rest.endswith("}"):
        rest = rest[1:-1]
    rest = rest.removeprefix("$")
    while rest:
        for pattern, make in _FORMS:
            if found := pattern.match(rest):
                steps.append(make(found))
                rest = rest[found.end() :]
                break
        else:
            raise BadPathError(f"the path {text!r} cannot be read from {rest!r} on")
    return tuple(steps)


def find(path: str, value: Any) -> list[Any]:
    """All values at the path; none where a part of it is absent."""
    found = [value]
    for step in parse(path):
        found = [inner for outer in found for inner in step(outer)]
    return found


def simple_names(path: str) -> tuple[str, ...]:
    """`.spec.crew` -> ("spec", "crew"): for paths that can be written to. Raises BadPathError."""
    if not path.startswith(".") or "[" in path or ".." in path or len(path) < 2:
        raise BadPathError(f"the path {path!r} is not a chain of field names")
    return tuple(path[1:].split("."))


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _member(name: str) -> Step:
    return lambda value: (value[name],) if isinstance(value, dict) and name in value else ()


def _index(found: re.Match[str]) -> Step:
    at = int(found[1])
    return lambda value: value[at : at + 1 or None] if isinstance(value, list) else ()


def _slice(found: re.Match[str]) -> Step:
    part = slice(int(found[1]) if found[1] else None, int(found[2]) if found[2] else None)
    return lambda value: value[part] if isinstance(value, list) else ()


def _every(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    ">": lambda left, right: bool(left > right),
    "<=": lambda left, right: bool(left <= right),
    ">=": lambda left, right: bool(left >= right),
}


def _filter(found: re.Match[str]) -> Step:
    inner, operator, literal = parse("." + found[1]), found[2], found[3]
    wanted = _literal(literal) if operator else None

    def keep(item: Any) -> bool:
        values = [item]
        for step in inner:
            values = [deeper for value in values for deeper in step(value)]
        if not operator or not values:
            return bool(values)
        try:
            return _COMPARE[operator](values[0], wanted)
        except TypeError:
            return False

    return lambda value: [item for item in _every(value) if keep(item)]


def _literal(text: str) -> Any:
    if text[0] in "\"'":
        return _unescaped(text[1:-1])
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        raise BadPathError(f"{text!r} in a filter is neither a number nor a quoted text") from None


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Step]], ...] = (
    (_ALL, lambda found: _every),
    (_FILTER, _filter),
    (_INDEX, _index),
    (_SLICE, _slice),
    (_KEY, lambda found: _member(_unescaped(found[1] or found[2] or ""))),
    (_NAME, lambda found: _member(_unescaped(found[1]))),
)
