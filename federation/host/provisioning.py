"""
`provision federation …` as a program: started, listened to, and its errors turned into ours.

Its output is one JSON object a line (`--json`); the federation knows that, and none of its code.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from federation.errors import FederateError, UnfitHostError, UnreachableError, WrongInputError

Event = dict[str, Any]
Tell = Callable[[str], None]

_KINDS: dict[int, type[FederateError]] = {2: WrongInputError, 3: UnfitHostError, 4: UnreachableError}


def provision(arguments: Sequence[str], tell: Tell) -> Event:
    """
    Run `provision federation ARGUMENTS --json`; returns the last thing it said.

    Args:
        tell: called with a sentence for whatever happens meanwhile.

    Raises WrongInputError, UnfitHostError, UnreachableError or FederateError, as it ended; KeyboardInterrupt when it
    was stopped.
    """
    argv = [sys.executable, "-P", "-m", "provisioner", "federation", *arguments, "--json"]
    if (setpriv := shutil.which("setpriv")) is not None:
        # Whoever kills us means it, too: one that went on would hold the lock against the next run.
        argv = [setpriv, "--pdeathsig", "KILL", *argv]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None  # noqa: S101 - it is piped
        last = listen(child.stdout, tell)
    if child.returncode in (130, -2, -15):
        raise KeyboardInterrupt
    if last.get("event") == "error":
        raise as_error(last)
    if not last:
        raise FederateError(
            "`provision` said nothing", why=f"it ended with {child.returncode}",
            next_step="Install the operator's packages (`pip install hanse[operator]`), then run again.",
        )  # fmt: skip
    return last


def listen(lines: Iterable[str], tell: Tell) -> Event:
    """The last event that is more than a report of progress; {} when there is none."""
    last: Event = {}
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            tell(line.rstrip())
            continue
        if sentence := progress(event):
            tell(sentence)
        elif event.get("event") not in ("phase-started", "phase-failed"):
            last = event
    return last


def progress(event: Event) -> str:
    """A sentence about what has just happened, as `provision` itself prints it; empty for all other events."""
    at = f"{event.get('at', 0.0):6.1f} s  "
    if event.get("event") == "line":
        return at + (f"{event['host']}: " if event.get("host") else "") + str(event["text"])
    if event.get("event") == "phase-ended":
        return f"{at}{event['phase']} ({event['seconds']:.1f} s)"
    return ""


def as_error(event: Event) -> FederateError:
    kind = _KINDS.get(event["exit_code"], FederateError)
    if "faults" in event:
        return kind(f"{event['source']} is wrong", why=faults(event), next_step="Correct it, then run again.")
    where = f"{event['host']}: " if event.get("host") else ""
    return kind(f"{where}{event['what']}", why=event["why"], next_step=event["next_step"])


def faults(event: Event) -> str:
    """Every fault with its place."""
    told = []
    for fault in event["faults"]:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["path"]).lstrip(".")
        place = f"line {fault['line']}: " if fault["line"] else ""
        told.append(f"{place}{path}: {fault['message']}" if path else f"{place}{fault['message']}")
    return "; ".join(told)
