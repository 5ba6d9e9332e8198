"""
Breaks a valid object in one place: every field, by everything that goes wrong in manifests.

Pure. The order is the document's, so that a seed picks the same cases on every machine.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
_TEXTS = (
    "", " ", "UPPER", "under_score", "-dash", "a" * 64, "a" * 254, "a/b/c", "../x", "a%2fb", "ä", "\0", "a\nb", "*",
    "0", "1.5", "-1", "010.1.1.1", "::1", "10.0.0.0/33", "http://x", "999999999999999999999", "1e9", "(a+)+$", "[",
    "{{", "$(A)", "2024-13-01T00:00:00Z", "@every 1s", "60 * * * *", "true", "null",
)  # fmt: skip
_NUMBERS = (-1, 0, 1, 65536, -(1 << 31), 1 << 31, 1 << 63, 1 << 64, 10**40, 1.5, 1e300, -0.0)
_ODD: tuple[Any, ...] = (None, True, "x", 7, [], {}, [None], [[]], [{}], {"x": None}, {"": {}}, ["x", "x"])


@dataclasses.dataclass(frozen=True, slots=True)
class Mutation:
    """`name` says what was done where; `refused` that no server may take it with fieldValidation=Strict."""

    name: str
    obj: Any
    refused: bool = False


def mutations(obj: dict[str, Any]) -> Iterator[Mutation]:
    for path, value in _walk(obj):
        if not path:
            continue
        where = ".".join(map(str, path))
        yield Mutation(f"without {where}", _changed(obj, path, None, drop=True))
        for odd in _ODD:
            refused = _fits_never(value, odd) and path[0] not in ("apiVersion", "kind") and not _is_free(path)
            yield Mutation(f"{where} = {odd!r}", _changed(obj, path, odd), refused)
        if isinstance(value, str):
            for text in _TEXTS:
                yield Mutation(f"{where} = {text!r}", _changed(obj, path, text))
        elif isinstance(value, int) and not isinstance(value, bool):
            for number in _NUMBERS:
                yield Mutation(f"{where} = {number!r}", _changed(obj, path, number))
        elif isinstance(value, list) and value:
            yield Mutation(f"{where} twice", _changed(obj, path, value * 2))
            yield Mutation(f"{where} a thousand times", _changed(obj, path, value * 1000))
        elif isinstance(value, dict):
            yield Mutation(f"{where} with another field", _changed(obj, (*path, "bogusField"), 1))


def _fits_never(value: Any, odd: Any) -> bool:
    """A list where an object belongs, and the like; texts and numbers stand for each other in quantities and ports."""
    shapes = (dict, list)
    if odd is None or isinstance(value, bool) or not isinstance(value, shapes):
        return False
    return isinstance(odd, shapes) and type(odd) is not type(value)


def _is_free(path: Path) -> bool:
    """What is below is anybody's: `data` of a ControllerRevision, parameters of a driver, a schema."""
    return any(part in ("data", "parameters", "openAPIV3Schema") for part in path)


def _walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, index))


def _changed(obj: dict[str, Any], path: Path, value: Any, *, drop: bool = False) -> dict[str, Any]:
    made = copy.deepcopy(obj)
    at: Any = made
    for part in path[:-1]:
        at = at[part]
    if drop:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made
