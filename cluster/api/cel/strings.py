"""
The strings extension (version 2) and regular expressions.

Source: github.com/google/cel-go, ext/strings.go; k8s.io/apiserver, pkg/cel/library/regex.go.
"""

from collections.abc import Callable
from typing import Any

from cluster.api.cel import times
from cluster.api.cel.operators import shown_double, to_string
from cluster.api.cel.values import (
    CelType,
    Duration,
    EvaluationError,
    Maybe,
    Timestamp,
    Uint,
    no_overload,
    type_name,
)
from cluster.api.structural_schema.patterns import BadPatternError, finder

_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def index_of(text: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(text) and (part or start < 0):
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start)


def last_index_of(text: str, part: str, end: int | None = None) -> int:
    if end is None:
        return text.rfind(part)
    if not 0 <= end <= len(text):
        raise EvaluationError(f"index out of range: {end}")
    return text.rfind(part, 0, end + len(part))


def _join(items: list[Any], separator: str = "") -> str:
    if not all(isinstance(item, str) for item in items):
        raise no_overload()
    return separator.join(items)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if not all(isinstance(one, str) for one in (text, old, new)):
        raise no_overload()
    if len(text) * (len(new) + 1) > _LONGEST and text.count(old) * len(new) > _LONGEST:
        raise EvaluationError("the replaced text is too long")
    return text.replace(old, new, count)


_LONGEST = 16 * 1024 * 1024


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not separator:
        return list(text) if limit < 0 or len(text) <= limit else [*text[: limit - 1], text[limit - 1 :]]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if not 0 <= stop <= len(text):
        raise EvaluationError(f"index out of range: {stop}")
    if start > stop:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
           '"': '\\"'}  # fmt: skip


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTED.get(one, one) for one in text) + '"'


def _format(template: str, arguments: list[Any]) -> str:
    parts: list[str] = []
    at = used = 0
    while (found := template.find("%", at)) >= 0:
        parts.append(template[at:found])
        clause, at = _clause(template, found + 1)
        if clause == "%":
            parts.append("%")
            continue
        if used >= len(arguments):
            raise EvaluationError(f"index {used} out of range")
        parts.append(_formatted(clause, arguments[used]))
        used += 1
    return "".join([*parts, template[at:]])


def _clause(template: str, at: int) -> tuple[str, int]:
    start = at
    if at < len(template) and template[at] == ".":
        at += 1
        while at < len(template) and template[at].isdigit():
            at += 1
    if at >= len(template):
        raise EvaluationError("unexpected end of string")
    if at - start > 4:
        shown = template[start + 1 : at][:20]
        raise EvaluationError(f"could not parse formatting clause: precision {shown} is too large")
    return template[start : at + 1], at + 1


def _formatted(clause: str, value: Any) -> str:
    verb, precision = clause[-1], int(clause[1:-1] or 6) if clause.startswith(".") else 6
    match verb:
        case "s":
            return _shown(value)
        case "d":
            if isinstance(value, bool) or not isinstance(value, int):
                raise _misfit("decimal clause can only be used on integers", value)
            return str(int(value))
        case "f" | "e":
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                kind = "fixed-point" if verb == "f" else "scientific"
                raise _misfit(f"{kind} clause can only be used on doubles", value)
            return f"{float(value):.{precision}{verb}}"
        case "b":
            if not isinstance(value, int):
                raise _misfit("only integers and bools can be formatted as binary", value)
            return format(int(value), "b")
        case "o":
            if isinstance(value, bool) or not isinstance(value, int):
                raise _misfit("octal clause can only be used on integers", value)
            return format(int(value), "o")
        case "x" | "X":
            if isinstance(value, (str, bytes)):
                text = (value.encode() if isinstance(value, str) else value).hex()
            elif isinstance(value, int) and not isinstance(value, bool):
                text = format(int(value), "x")
            else:
                raise _misfit("only integers, byte buffers, and strings can be formatted as hex", value)
            return text.upper() if verb == "X" else text
        case _:
            raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')


def _misfit(why: str, value: Any) -> EvaluationError:
    return EvaluationError(f"error during formatting: {why}, was given {type_name(value)}")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = sorted((_shown(key), _shown(item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
    if isinstance(value, CelType):
        return value.name
    if isinstance(value, Timestamp):
        return times.timestamp_text(value)
    if isinstance(value, Duration):
        return times.duration_text(value)
    if isinstance(value, float):
        return shown_double(value)
    if isinstance(value, (str, bool, int, bytes, Uint)):
        return to_string(value)
    if isinstance(value, Maybe):
        return f"optional({_shown(value.value)})" if value.present else "optional.none()"
    kinds = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
    raise _misfit(f"string clause can only be used on {kinds}", value)


def _find(text: str, pattern: str) -> str:
    return next(iter(_find_all(text, pattern)), "")


def _find_all(text: Any, pattern: Any, limit: int = -1) -> list[str]:
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise no_overload()
    try:
        found = finder(pattern)(text)
    except BadPatternError as fault:
        raise EvaluationError(f"Illegal regex: {fault}") from None
    return found if limit < 0 else found[:limit]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "charAt": _char_at,
    "join": _join,
    "lowerAscii": lambda text: text.translate(_LOWER),
    "upperAscii": lambda text: text.translate(_UPPER),
    "replace": _replace,
    "split": _split,
    "substring": _substring,
    "trim": lambda text: text.strip(_SPACE),
    "strings.quote": _quote,
    "format": _format,
    "find": _find,
    "findAll": _find_all,
}
DECLARED = """
string(string) string
string(bool) string
string(int) string
string(uint) string
string(double) string
string(bytes) string
string(timestamp) string
string(duration) string
string.charAt(int) string
list<string>.join() string
list<string>.join(string) string
string.lowerAscii() string
string.upperAscii() string
string.replace(string,string) string
string.replace(string,string,int) string
string.split(string) list<string>
string.split(string,int) list<string>
string.substring(int) string
string.substring(int,int) string
string.trim() string
strings.quote(string) string
string.format(list<dyn>) string
string.indexOf(string) int
string.indexOf(string,int) int
string.lastIndexOf(string) int
string.lastIndexOf(string,int) int
string.find(string) string
string.findAll(string) list<string>
string.findAll(string,int) list<string>
"""
