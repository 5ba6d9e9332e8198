"""
Files that flags name and that hold one object: read strictly, every fault told at once, with its path.

Called by   audit/policy.py, authentication and authorization configuration, admission configuration.
Pure, except for `read`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from cluster.machinery import decode
from cluster.machinery.field_errors import FieldError, type_invalid

Fields = dict[str, Any]
Default = TypeVar("Default")


def read(path: str, kind: str, api_versions: Sequence[str]) -> "tuple[Fields, Reading]":
    """The object of a file. Raises OSError, or ValueError for a file that holds no object of this kind."""
    return parse(Path(path).read_bytes(), path, kind, api_versions)


def parse(data: bytes, path: str, kind: str, api_versions: Sequence[str]) -> "tuple[Fields, Reading]":
    """As `read`, from a file's content."""
    try:
        found, duplicates = decode.decode_yaml(data)
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from None
    wanted = f"write kind {kind}, apiVersion {api_versions[0]}"
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no object; {wanted}")
    if found.get("kind") != kind or found.get("apiVersion") not in api_versions:
        raise ValueError(
            f'{path}: no kind "{found.get("kind")}" is registered for version "{found.get("apiVersion")}"; {wanted}'
        )
    return found, Reading(path, duplicates)


class Reading:
    """One pass over a file, collecting what is wrong; `finish` tells it."""

    def __init__(self, path: str, duplicates: Sequence[str] = ()) -> None:
        self._path = path
        self._duplicates = list(duplicates)
        self.faults: list[FieldError] = []

    def finish(self, kind: str) -> None:
        """Raises ValueError when anything was wrong."""
        faults = [*self._duplicates, *map(str, self.faults)]
        if faults:
            raise ValueError(f"{self._path} is no valid {kind}: {'; '.join(faults)}")

    def known(self, given: Fields, path: str, names: Sequence[str]) -> None:
        """Complain about every other field; `path` is the object's, empty at the top."""
        for name in given:
            if name not in names:
                at = f"{path}.{name}" if path else str(name)
                self.faults.append(FieldError("FieldValueInvalid", at, f'unknown field "{name}"'))

    def text(self, given: Any, path: str, default: str = "") -> str:
        if given is None:
            return default
        return given if isinstance(given, str) else self._wrong(path, given, "a string", default)

    def flag(self, given: Any, path: str, default: bool = False) -> bool:
        if given is None:
            return default
        return given if isinstance(given, bool) else self._wrong(path, given, "true or false", default)

    def number(self, given: Any, path: str, default: int) -> int:
        if given is None:
            return default
        is_number = isinstance(given, int) and not isinstance(given, bool)
        return given if is_number else self._wrong(path, given, "a whole number", default)

    def words(self, given: Any, path: str) -> tuple[str, ...]:
        if given is None:
            return ()
        if isinstance(given, list) and all(isinstance(word, str) for word in given):
            return tuple(given)
        return self._wrong(path, given, "a list of strings", ())

    def fields(self, given: Any, path: str) -> Fields:
        if given is None:
            return {}
        return given if isinstance(given, dict) else self._wrong(path, given, "an object", {})

    def objects(self, given: Any, path: str) -> list[tuple[str, Fields]]:
        """Each with its path, `rules[0]`."""
        if given is None:
            return []
        if isinstance(given, list) and all(isinstance(one, dict) for one in given):
            return [(f"{path}[{at}]", one) for at, one in enumerate(given)]
        return self._wrong(path, given, "a list of objects", [])

    def _wrong(self, path: str, given: Any, wanted: str, default: Default) -> Default:
        self.faults.append(type_invalid(path, given, f"must be {wanted}"))
        return default
