"""
What was done, when, and by which run: lines of JSON that are on disk before the thing begins.

One file a cluster on the operator's side; hosts keep the lines that concern them. Nothing decides by it (probes do);
reports, status and the diagnostics bundle are made from it.
"""

import contextlib
import datetime as dt
import getpass
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Event = Literal["run-begun", "run-ended", "run-failed", "begun", "done", "failed", "held-already"]
HOST_LEDGER = "/var/lib/hanse/ledger"
KEPT_BYTES = 4 << 20
"""A larger file becomes `ledger.1` when the next run begins."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `at` is RFC 3339 in UTC; `action` is empty for what concerns the whole run."""

    at: str
    run: str
    verb: str
    event: Event
    action: str = ""
    host: str = ""
    what: str = ""
    why: str = ""


@dataclass(slots=True)
class Ledger:
    """One run's writer. `operator` is who ran it, as that machine knows them."""

    path: Path
    verb: str
    run: str = field(default_factory=lambda: secrets.token_hex(6))
    operator: str = field(default_factory=lambda: f"{getpass.getuser()}@{socket.gethostname()}")
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)

    @contextlib.contextmanager
    def running(self, what: str) -> Iterator[None]:
        """The run as a whole lasts as long as the block. A run without an end was killed."""
        self._make_room()
        self.write("run-begun", what=what, why=self.operator)
        try:
            yield
        except BaseException as error:
            self.write("run-failed", what=what, why=str(error) or type(error).__name__)
            raise
        self.write("run-ended", what=what)

    def write(self, event: Event, *, action: str = "", host: str = "", what: str = "", why: str = "") -> Entry:
        """On disk when this returns."""
        at = self.clock().isoformat(timespec="milliseconds")
        entry = Entry(at, self.run, self.verb, event, action, host, what, why)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(line_of(entry))
            file.flush()
            os.fsync(file.fileno())
        return entry

    def _make_room(self) -> None:
        if self.path.exists() and self.path.stat().st_size > KEPT_BYTES:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))


def line_of(entry: Entry) -> str:
    return json.dumps({name: value for name, value in asdict(entry).items() if value}) + "\n"


def read_entries(path: Path) -> Iterator[Entry]:
    """In the order of writing, the older file first. A line cut short by a crash is left out."""
    for file in (path.with_name(f"{path.name}.1"), path):
        if file.exists():
            for line in file.read_text(errors="replace").splitlines():
                try:
                    yield Entry(**json.loads(line))
                except (ValueError, TypeError):
                    continue
