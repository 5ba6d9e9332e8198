"""From the ledger's lines to runs and their steps. Pure."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from provisioner.execution.ledger import Entry

Outcome = Literal["done", "failed", "held already", "cut off"]
_ENDS: dict[str, Outcome] = {"done": "done", "failed": "failed", "held-already": "held already"}


@dataclass(slots=True)
class Step:
    """One action of a run. Without an end it was cut off, or goes on."""

    action: str
    host: str
    what: str
    began: dt.datetime
    ended: dt.datetime
    outcome: Outcome = "cut off"
    why: str = ""


@dataclass(slots=True)
class Recorded:
    """One run."""

    id: str
    verb: str
    what: str
    operator: str
    began: dt.datetime
    ended: dt.datetime
    """When it was last heard of, if it has no end."""
    outcome: Outcome = "cut off"
    why: str = ""
    steps: list[Step] = field(default_factory=list)

    @property
    def hosts(self) -> list[str]:
        """In the order in which they were reached; empty for what concerns no host."""
        return list(dict.fromkeys(step.host for step in self.steps))

    @property
    def changed(self) -> list[Step]:
        return [step for step in self.steps if step.outcome == "done"]


def runs_in(entries: Iterable[Entry]) -> list[Recorded]:
    """In the order of their beginning. A line whose time cannot be read is left out."""
    found: dict[str, Recorded] = {}
    for entry, at in _timed(entries):
        run = found.get(entry.run)
        if run is None:
            run = found[entry.run] = Recorded(entry.run, entry.verb, "", "", at, at)
        run.ended = max(run.ended, at)
        if entry.event == "run-begun":
            run.what, run.operator = entry.what, entry.why
        elif entry.event in ("run-ended", "run-failed"):
            run.outcome, run.why = "done" if entry.event == "run-ended" else "failed", entry.why
        elif entry.event == "begun":
            run.steps.append(Step(entry.action, entry.host, entry.what, at, at))
        else:
            _end(run, entry, at)
    for run in found.values():
        for step in run.steps:
            step.ended = run.ended if step.outcome == "cut off" else step.ended
    return list(found.values())


def _end(run: Recorded, entry: Entry, at: dt.datetime) -> None:
    open_steps = (s for s in reversed(run.steps) if s.action == entry.action and s.outcome == "cut off")
    step = next(open_steps, None)
    if step is None:
        step = Step(entry.action, entry.host, entry.what, at, at)
        run.steps.append(step)
    step.ended, step.outcome, step.why = at, _ENDS.get(entry.event, "cut off"), entry.why


def _timed(entries: Iterable[Entry]) -> Iterator[tuple[Entry, dt.datetime]]:
    for entry in entries:
        try:
            at = dt.datetime.fromisoformat(entry.at)
        except (ValueError, TypeError):
            continue
        yield entry, at if at.tzinfo else at.replace(tzinfo=dt.UTC)
