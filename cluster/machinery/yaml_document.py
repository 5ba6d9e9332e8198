"""
One YAML document as JSON values, typed as upstream's YAML 1.1 library types them: `y` is true, `010` is eight,
a date stays text.

Built from parser events, not by PyYAML's loader: its C composer recurses and dies with the process on 60 kB of `[`,
and an alias bomb is only seen while counting.
Source: sigs.k8s.io/yaml, which converts YAML to JSON before anything is decoded.
"""

import base64
import math
import re
from typing import Any

import orjson
import yaml

ALIAS_LIMIT = 100
NODE_LIMIT = 200_000
"""Nodes after aliases are followed; 0.3 s of work at worst."""

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_MERGE = "<<"
_SHORT_TAG = "tag:yaml.org,2002:"


def load(data: bytes, depth_limit: int) -> tuple[Any, list[str]]:
    """The first document and the strict faults of its duplicate keys. Raises ValueError."""
    builder = _Builder(depth_limit)
    try:
        for event in yaml.parse(data, Loader=yaml.CSafeLoader):
            if builder.take(event):
                break
    except yaml.YAMLError as fault:
        raise ValueError(f"error converting YAML to JSON: yaml: {_why(fault)}") from None
    faults = builder.duplicates
    document = orjson.loads(orjson.dumps(builder.document)) if builder.aliases else builder.document
    return document, ["yaml: unmarshal errors:\n" + "\n".join(faults)] if faults else []


def _why(fault: yaml.YAMLError) -> str:
    mark = getattr(fault, "problem_mark", None)
    problem = getattr(fault, "problem", None) or getattr(fault, "reason", None) or "control characters are not allowed"
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


class _Collection:
    """A mapping or sequence that is being filled."""

    __slots__ = ("anchor", "is_map", "key", "merged", "nodes", "value")

    def __init__(self, *, is_map: bool, anchor: str | None) -> None:
        self.is_map = is_map
        self.anchor = anchor
        self.value: Any = {} if is_map else []
        self.key: str | None = None
        self.merged: list[Any] = []
        self.nodes = 1


class _Builder:
    """Takes events one by one; `document` holds the result when `take` has said True."""

    def __init__(self, depth_limit: int) -> None:
        self.document: Any = None
        self.duplicates: list[str] = []
        self._depth_limit = depth_limit
        self._open: list[_Collection] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        """Value and number of nodes below."""
        self.aliases = 0
        self._nodes = 0

    def take(self, event: Any) -> bool:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            if len(self._open) >= self._depth_limit:
                raise ValueError("error converting YAML to JSON: yaml: exceeded max depth")
            self._count(1)
            self._open.append(_Collection(is_map=isinstance(event, yaml.MappingStartEvent), anchor=event.anchor))
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        return isinstance(event, yaml.DocumentEndEvent)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > NODE_LIMIT:
            raise ValueError("error converting YAML to JSON: yaml: document contains excessive aliasing")

    def _scalar(self, event: Any) -> None:
        self._count(1)
        plain = event.implicit[0] and event.style in (None, "")
        value = event.value if not plain else resolve(event.value)
        if event.tag:
            value = _tagged(event.tag, event.value, value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"error converting YAML to JSON: json: unsupported value: {event.value}")
        self._add(value, event.anchor, 1, event.start_mark.line + 1)

    def _alias(self, event: Any) -> None:
        self.aliases += 1
        if event.anchor not in self._anchors:
            raise ValueError(f"error converting YAML to JSON: yaml: unknown anchor '{event.anchor}' referenced")
        value, nodes = self._anchors[event.anchor]
        if self.aliases > ALIAS_LIMIT:
            raise ValueError("error converting YAML to JSON: yaml: document contains excessive aliasing")
        self._count(nodes)
        self._add(value, None, nodes, event.start_mark.line + 1)

    def _close(self) -> None:
        closed = self._open.pop()
        for source in closed.merged:
            for key, value in source.items():
                closed.value.setdefault(key, value)
        self._add(closed.value, closed.anchor, closed.nodes, 0)

    def _add(self, value: Any, anchor: str | None, nodes: int, line: int) -> None:
        if anchor:
            self._anchors[anchor] = (value, nodes)
        if not self._open:
            self.document = value
            return
        parent = self._open[-1]
        parent.nodes += nodes
        if not parent.is_map:
            parent.value.append(value)
        elif parent.key is None:
            parent.key = _key(value)
            if parent.key in parent.value:
                self.duplicates.append(f'  line {line}: key "{parent.key}" already set in map')
        else:
            if parent.key == _MERGE:
                parent.merged += _merge_sources(value)
            else:
                parent.value[parent.key] = value
            parent.key = None


def _merge_sources(value: Any) -> list[Any]:
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        raise ValueError("error converting YAML to JSON: yaml: map merge requires map or sequence of maps as the value")
    return sources


def _key(value: Any) -> str:
    """JSON has only text keys; upstream converts what has one obvious text."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case None:
            return "null"
        case _:
            raise ValueError("error converting YAML to JSON: yaml: invalid map key")


def resolve(text: str) -> Any:
    """The value of a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return _integer(digits)
    if _FLOAT.fullmatch(digits) and any(character.isdigit() for character in digits):
        return float(digits)
    return text


def _integer(text: str) -> int | float:
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    prefix = digits[:2].lower()
    if prefix in ("0x", "0b", "0o"):
        value = int(digits[2:], {"0x": 16, "0b": 2, "0o": 8}[prefix])
    elif len(digits) > 1 and digits[0] == "0":
        value = int(digits, 8)
    elif len(digits) > 40:
        return float(text)
    else:
        value = int(digits)
    return sign * value if -(2**63) <= sign * value < 2**64 else float(sign * value)


def _tagged(tag: str, text: str, resolved: Any) -> Any:
    """The few tags upstream's library honours; others are ignored."""
    match tag.removeprefix(_SHORT_TAG):
        case "str" | "!":
            return text
        case "binary":
            try:
                return base64.b64decode(text).decode()
            except ValueError:
                raise ValueError(
                    "error converting YAML to JSON: yaml: !!binary value contains invalid base64 data"
                ) from None
        case "int" | "float" | "bool" | "null":
            return resolve(text)
        case _:
            return resolved
