"""
What this project made on the operator's machine, so that `destroy` removes that and nothing else.

Lines of JSON, each on disk before the thing is made: a run killed in between leaves an entry for something that does
not exist, never something without an entry. Removing what is gone already is no error.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Made:
    """One thing. `kind` is bridge, nft_table, sysctl, machine or directory; `before` is a sysctl's earlier value."""

    kind: str
    name: str
    before: str = ""


class Journal:
    """An append-only file; one writer at a time (the cluster's lock sees to that)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[Made]:
        """In the order of making, each once. A last line cut short by a crash is left out: nothing was made yet."""
        if not self._path.exists():
            return []
        found: dict[tuple[str, str], Made] = {}
        for line in self._path.read_text().splitlines():
            try:
                made = Made(**json.loads(line))
            except (ValueError, TypeError):
                continue
            # The first entry knows the value from before our first run.
            found.setdefault((made.kind, made.name), made)
        return list(found.values())

    def will_make(self, kind: str, name: str, before: str = "") -> None:
        """Call before making it."""
        made = Made(kind, name, before)
        if any((known.kind, known.name) == (kind, name) for known in self.entries()):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(made)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def has_removed(self, kind: str, name: str) -> None:
        """Call after it is gone."""
        rest = [made for made in self.entries() if (made.kind, made.name) != (kind, name)]
        temporary = self._path.with_suffix(".new")
        temporary.write_text("".join(json.dumps(asdict(made)) + "\n" for made in rest))
        temporary.replace(self._path)
