"""A fault of a description, with its place. Collected, so that a file's faults are all shown at once."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Keys and list positions from the document's top to a value."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. Line and column count from 1; 0 means unknown."""

    path: Path
    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.line}:{self.column}: " if self.line else ""
        where = dotted(self.path)
        return f"{place}{where}: {self.message}" if where else f"{place}{self.message}"


class DescriptionError(Exception):
    """
    A description that cannot be used. Remedy: edit it; every fault is named.

    `source` is the file, or the command line's words.
    """

    def __init__(self, source: str, faults: Iterable[Fault]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__(source, self.faults)

    def __str__(self) -> str:
        lines = [f"{self.source}:{fault}" if fault.line else f"{self.source}: {fault}" for fault in self.faults]
        return "\n".join(lines)


def dotted(path: Path) -> str:
    """`hosts[2].ssh.port`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean "hosts"?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(given.lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
