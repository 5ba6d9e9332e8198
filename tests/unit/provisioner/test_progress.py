"""What a person sees: a list that moves on a terminal, lines in a pipe, JSON for scripts."""

import io
import json

import pytest
from rich.console import Console

from provisioner.progress import JsonProgress, LiveProgress, PlainProgress, Progress


def tell_a_story(progress: Progress) -> None:
    with progress.phase("Push the bundle"):
        progress.line("has release abc", "dev-1")
    with pytest.raises(ValueError, match="bad"), progress.phase("Lay down files"):
        raise ValueError("bad")
    progress.line("all is said")


def test_a_terminal_shows_phases_with_their_end_and_keeps_what_belongs_to_none() -> None:
    out = io.StringIO()
    with LiveProgress(Console(file=out, force_terminal=True, width=60, height=20)) as live:
        tell_a_story(live)

    shown = out.getvalue()
    assert "✓" in shown
    assert "✗" in shown
    assert "Lay down files" in shown
    assert "all is said" in shown


def test_a_long_sentence_takes_one_line_of_the_terminal() -> None:
    out = io.StringIO()
    with LiveProgress(Console(file=out, force_terminal=True, width=40, height=20)) as live, live.phase("Work"):
        live.line("word " * 40)
        rows = live._render().plain.splitlines()

    assert len(rows) == 2
    assert len(rows[1]) < 40


def test_a_pipe_gets_a_line_when_something_ends() -> None:
    out = io.StringIO()
    tell_a_story(PlainProgress(out))

    said = [line.split(" s  ", 1)[1] for line in out.getvalue().splitlines()]
    assert said == ["dev-1: has release abc", "Push the bundle (0.0 s)", "Lay down files: failed", "all is said"]


def test_scripts_get_an_object_a_line() -> None:
    out = io.StringIO()
    tell_a_story(JsonProgress(out))

    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in events] == [
        "phase-started", "line", "phase-ended", "phase-started", "phase-failed", "line",
    ]  # fmt: skip
    assert events[1]["host"] == "dev-1"
    assert events[4]["error"] == "ValueError"
