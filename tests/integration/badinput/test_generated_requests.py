"""schemathesis reads our own OpenAPI documents and asks for everything in them, rightly and wrongly."""

import json
import os
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core import NotSet
from schemathesis.core.result import Err

from tests.integration.badinput.conftest import UnderFire, check_refusal
from tests.integration.badinput.raw_http import Talk, exchange

EXAMPLES = int(os.environ.get("HANSE_CORPUS_SIZE", "40")) // 20
"""Requests an operation; `make soak` asks for more."""
QUIET = settings(
    max_examples=EXAMPLES, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
# Where upstream itself answers 500, in these words.
_UPSTREAMS_OWN = ("strconv.ParseUint", "failed to create typed patch object")


def operations(document: dict[str, Any]) -> Iterator[Any]:
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        if isinstance(found, Err):
            pytest.fail(f"a documented operation makes no sense: {found.err()}")
        yield found.ok()


def cases(operation: Any) -> list[Any]:
    """Requests that its strategy makes up, the same ones each time."""
    made: list[Any] = []

    @QUIET
    @given(operation.as_strategy())
    def collect(case: Any) -> None:
        made.append(case)

    collect()
    return made


def send(talk: Talk, case: Any) -> None:
    query = {name: value for name, value in case.query.items() if name not in ("watch", "follow")}  # they never end
    if case.method not in ("GET", "HEAD"):
        query["dryRun"] = "All"
    path = f"{case.formatted_path}?{urllib.parse.urlencode(query, doseq=True)}"
    body = None if isinstance(case.body, NotSet) else json.dumps(case.body).encode()
    answer = talk.ask(case.method, path, body, case.media_type or "application/json")
    what = f"{case.method} {path} {(body or b'')[:500]!r}"
    if answer.status == 500 and any(words in answer.body.decode() for words in _UPSTREAMS_OWN):
        return
    check_refusal(answer, what)
    assert answer.status < 500, f"{what}: {answer}"


def test_everything_that_is_documented_can_be_asked_for(fire: UnderFire) -> None:
    asked = 0
    with fire.unharmed(), Talk(fire.plane) as talk:
        paths = json.loads(talk.ask("GET", "/openapi/v3").body)["paths"]
        assert len(paths) >= 20
        for name in sorted(paths):
            document = json.loads(talk.ask("GET", f"/openapi/v3/{name}").body)
            for operation in operations(document):
                for case in cases(operation):
                    send(talk, case)
                    asked += 1

    assert asked >= 500


def test_nothing_that_is_documented_is_open_to_anybody(fire: UnderFire) -> None:
    opened = []
    with fire.unharmed(), Talk(fire.plane) as talk:
        for name in json.loads(talk.ask("GET", "/openapi/v3").body)["paths"]:
            document = json.loads(talk.ask("GET", f"/openapi/v3/{name}").body)
            for operation in operations(document):
                path = operation.full_path.replace("{", "").replace("}", "")
                answer = exchange(fire.plane, f"{operation.method.upper()} {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                if answer.status not in (401, 403):
                    opened.append(f"{operation.method} {path}: {answer.status}")

    assert [entry for entry in opened if "/version" not in entry] == []
