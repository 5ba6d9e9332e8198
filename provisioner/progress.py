"""
What the operator sees while something happens: a live list on a terminal, plain lines in a pipe, JSON for scripts.

Every phase reports through one `Progress`. Nothing here decides anything.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text


class Progress(Protocol):
    """Where phases report."""

    def line(self, text: str, host: str = "") -> None:
        """One sentence."""

    def phase(self, title: str) -> contextlib.AbstractContextManager[None]:
        """For the length of the block the phase runs; several may at once."""

    def end(self) -> None:
        """All is done; what is printed from now on stands below."""


class PlainProgress:
    """A line when something ends, in the order of ending."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._start = time.monotonic()

    def line(self, text: str, host: str = "") -> None:
        where = f"{host}: " if host else ""
        self._write(f"{time.monotonic() - self._start:6.1f} s  {where}{text}")

    @contextlib.contextmanager
    def phase(self, title: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            self.line(f"{title}: {'stopped' if not isinstance(error, Exception) else 'failed'}")
            raise
        self.line(f"{title} ({time.monotonic() - began:.1f} s)")

    def end(self) -> None:
        """Every line is out already."""

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


class JsonProgress:
    """One JSON object a line: event is phase-started, -ended, -failed or line; at counts seconds from the start."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._start = time.monotonic()

    def line(self, text: str, host: str = "") -> None:
        self.event("line", text=text, **({"host": host} if host else {}))

    @contextlib.contextmanager
    def phase(self, title: str) -> Iterator[None]:
        began = time.monotonic()
        self.event("phase-started", phase=title)
        try:
            yield
        except BaseException as error:
            self.event("phase-failed", phase=title, error=type(error).__name__)
            raise
        self.event("phase-ended", phase=title, seconds=round(time.monotonic() - began, 3))

    def end(self) -> None:
        """Every line is out already."""

    def event(self, event: str, **values: Any) -> None:
        at = round(time.monotonic() - self._start, 3)
        self._out.write(json.dumps({"event": event, "at": at, **values}) + "\n")
        self._out.flush()


class LiveProgress:
    """A list of phases that moves: what is done with its seconds, what runs with the last sentence about it."""

    def __init__(self, console: Console) -> None:
        self._phases: dict[str, tuple[str, float, float]] = {}
        self._last = ""
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8, transient=False)

    def __enter__(self) -> "LiveProgress":
        return self

    def __exit__(self, *reason: object) -> None:
        self.end()

    def end(self) -> None:
        self._last = ""
        self._live.stop()

    def line(self, text: str, host: str = "") -> None:
        told = f"{host}: {text}" if host else text
        if any(state == "running" for state, _, _ in self._phases.values()):
            self._last = told
        else:  # it is no remark about a phase but the matter itself, and stays
            self._console.print(Text(told), soft_wrap=True)

    @contextlib.contextmanager
    def phase(self, title: str) -> Iterator[None]:
        began = time.monotonic()
        self._phases[title] = ("running", began, 0.0)
        self._live.start()  # with the first phase: an empty list would be an empty line
        try:
            yield
        except BaseException:
            self._phases[title] = ("failed", began, time.monotonic())
            raise
        self._phases[title] = ("done", began, time.monotonic())
        self._last = ""

    def _render(self) -> Text:
        """Called by rich's thread; phases may begin meanwhile."""
        lines = []
        for title, (state, began, ended) in list(self._phases.items()):
            mark, style = {"done": ("✓", "green"), "failed": ("✗", "red"), "running": ("…", "cyan")}[state]
            seconds = (ended or time.monotonic()) - began
            lines.append(Text.assemble((f" {mark} ", style), f"{title:<28}{seconds:6.1f} s"))
        if self._last:
            last = Text(f"   {self._last}", style="dim")
            # A second row would make the list jump.
            last.truncate(max(self._console.width - 1, 1), overflow="ellipsis")
            lines.append(last)
        return Text("\n").join(lines)
