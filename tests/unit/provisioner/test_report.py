"""What a report says of runs: all of it, escaped, without secrets, whole in one file."""

import datetime as dt
import html.parser
import json
import pathlib

import pytest
from click.testing import CliRunner

from provisioner.cli import provision
from provisioner.execution.ledger import Entry, Event, Ledger, read_entries
from provisioner.execution.noted_phases import NotedPhases
from provisioner.progress import PlainProgress
from provisioner.report.page import render
from provisioner.report.runs import runs_in


def entry(second: float, event: Event, *, run: str = "r1", **more: str) -> Entry:
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)
    return Entry(at.isoformat(), run, "upgrade", event, **more)


STORY = [
    entry(0, "run-begun", what="upgrade to abc", why="eve@desk"),
    entry(1, "held-already", action="a/release", host="a", what="unpack the release"),
    entry(1, "begun", action="a/upgrade", host="a", what="lay down and restart"),
    entry(5, "done", action="a/upgrade", host="a", what="lay down and restart"),
    entry(5, "begun", action="b/upgrade", host="b", what="lay down and restart"),
    entry(8, "failed", action="b/upgrade", host="b", what="lay down and restart", why="no answer"),
    entry(9, "run-failed", what="upgrade to abc", why="b: no answer"),
    entry(20, "run-begun", run="r2", what="upgrade to abc", why="eve@desk"),
    entry(21, "begun", run="r2", action="b/upgrade", host="b", what="lay down and restart"),
]


def test_runs_steps_and_what_was_cut_off_are_told_apart() -> None:
    first, second = runs_in(STORY)

    assert [(step.action, step.outcome) for step in first.steps] == [
        ("a/release", "held already"),
        ("a/upgrade", "done"),
        ("b/upgrade", "failed"),
    ]
    assert (first.outcome, first.operator, first.hosts) == ("failed", "eve@desk", ["a", "b"])
    assert [step.action for step in first.changed] == ["a/upgrade"]
    assert (second.outcome, second.steps[0].outcome) == ("cut off", "cut off")


class Reader(html.parser.HTMLParser):
    """Collects what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        if tag in ("script", "img", "link", "iframe", "object", "form") or names & {"src", "href", "onload", "onclick"}:
            self.asked.append(tag)


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style></title><script>", "' onload='x"],
)
def test_what_hosts_said_is_text_and_nothing_else(hostile: str) -> None:
    story = [
        entry(0, "run-begun", run=hostile, what=hostile, why=hostile),
        entry(1, "begun", run=hostile, action=hostile, host=hostile, what=hostile),
        entry(2, "failed", run=hostile, action=hostile, host=hostile, what=hostile, why=hostile),
    ]

    page = render(hostile, runs_in(story))

    reader = Reader()
    reader.feed(page)
    assert reader.asked == []
    assert hostile not in page


def test_secrets_are_taken_out() -> None:
    secret = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"
    page = render("dev", runs_in([entry(0, "run-failed", what="x", why=f"token: {secret}")]))

    assert secret not in page
    assert "redacted" in page


def test_the_command_writes_one_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "clusters" / "dev"
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text(json.dumps({"provider": "local", "nodes": 1, "subnet": "10.89.0.0/24"}))
    ledger = Ledger(folder / "ledger", "converge")
    with ledger.running("converge dev"), NotedPhases(PlainProgress(), ledger).phase("Join nodes"):
        pass

    done = CliRunner().invoke(provision, ["report", "dev", "--output", str(tmp_path / "page.html")])

    assert done.exit_code == 0, done.stderr
    assert "Join nodes" in (tmp_path / "page.html").read_text()
    assert [one.event for one in read_entries(ledger.path)] == ["run-begun", "begun", "done", "run-ended"]
    refused = CliRunner().invoke(provision, ["report", "dev", "--output", "/proc/no/page.html"])
    assert refused.exit_code == 1
    assert "cannot write /proc/no/page.html" in refused.stderr
