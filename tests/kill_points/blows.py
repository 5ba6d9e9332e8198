"""
How a run of `provision` is ended before its time.

    kill        kill -9 of the process itself; what it has started is left to what it made of that
    kill all    of it and everything that it has started, but for the machines
    interrupt   Ctrl-C

Each strikes at an edge (the Nth place that `execution.failpoints` reaches; the process has stopped itself there) or
some time after the beginning, so that it also strikes inside of Ansible, of streams and of waits.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["kill", "kill all", "interrupt"]
PATIENCE = 600.0  # seconds; a run that takes longer hangs


@dataclass(frozen=True, slots=True)
class Blow:
    """One end. Either `edge` is set, or `after` seconds."""

    kind: Kind
    edge: int = 0
    after: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} at edge {self.edge}" if self.edge else f"{self.kind} after {self.after:.1f} s"


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a run. `code` is negative after a signal."""

    code: int
    out: str
    err: str
    seconds: float
    struck: bool
    """Whether the blow came before the end."""


def blows(rng: random.Random, edges: int, seconds: float) -> Iterator[Blow]:
    """Endless. `edges` and `seconds` are those of an undisturbed run."""
    while True:
        kind: Kind = rng.choices(("kill", "kill all", "interrupt"), (5, 3, 2))[0]
        if rng.random() < 0.6:
            yield Blow(kind, edge=rng.randint(1, max(1, edges)))
        else:
            yield Blow(kind, after=rng.uniform(0.3, max(0.5, seconds)))


def run_until(argv: Sequence[str], env: Mapping[str, str], blow: Blow | None, folder: Path) -> Ended:
    """Run to its end, or to the blow. Output goes through files: what was started may hold them open."""
    own = {**os.environ, **env}
    if blow and blow.edge:
        own["PROVISION_FAILPOINT"] = f"#{blow.edge}=pause"
    out, err = folder / "stdout", folder / "stderr"
    began = time.monotonic()
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(argv, env=own, stdout=stdout, stderr=stderr, start_new_session=True)
    struck = False
    while process.poll() is None:
        now = time.monotonic() - began
        if blow and not struck and (_is_stopped(process.pid) if blow.edge else now >= blow.after):
            struck = True
            _strike(process.pid, blow.kind)
        if now > PATIENCE:
            _strike(process.pid, "kill all")
            raise AssertionError(f"{' '.join(argv)} takes more than {PATIENCE:g} s: {err.read_text()[-2000:]}")
        time.sleep(0.02)
    return Ended(process.returncode, out.read_text(), err.read_text(), time.monotonic() - began, struck)


def _strike(process: int, kind: Kind) -> None:
    if kind == "interrupt":
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGCONT)
        return
    victims = [process, *(_descendants(process) if kind == "kill all" else ())]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def _stat(process: int) -> tuple[str, int]:
    """State and parent; empty when it has ended."""
    try:
        rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return rest[0], int(rest[1])


def _is_stopped(process: int) -> bool:
    return _stat(process)[0] == "T"


def _descendants(process: int) -> list[int]:
    """Machines are none: they were forked away."""
    parents = {int(entry.name): _stat(int(entry.name))[1] for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found, looking = [], [process]
    while looking:
        parent = looking.pop()
        children = [child for child, its in parents.items() if its == parent]
        found += children
        looking += children
    return found
