"""An apiserver under fire, and what every part of the corpus asks of it afterwards."""

import base64
import contextlib
import dataclasses
import http
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.badinput.raw_http import Answer, Talk
from tests.integration.control_plane_processes import TOKEN, ControlPlane, running

KEPT_LIMIT = 50 << 20
"""Bytes of memory that a part of the corpus may leave behind."""
# What the apiserver writes on its own, however quiet its clients are.
_OWN_KEYS = (
    "/registry/masterleases/",
    "/registry/leases/",
    "/registry/services/",
    "/registry/events/",
    "/registry/flowschemas/",
)

_OWN_FAULT = re.compile(r"Internal error occurred: \w+")
"""What a client hears of an exception that nobody foresaw; upstream's own 500s say more."""


@dataclasses.dataclass(frozen=True, slots=True)
class UnderFire:
    plane: ControlPlane

    def revision(self) -> int:
        return int(self._range({"key": _encoded("/registry/"), "count_only": True})["header"]["revision"])

    def changed_since(self, revision: int) -> list[str]:
        """Keys that clients changed after `revision`."""
        question = {
            "key": _encoded("/registry/"), "range_end": _encoded("/registry0"), "keys_only": True,
            "min_mod_revision": str(revision + 1),
        }  # fmt: skip
        keys = [base64.b64decode(entry["key"]).decode() for entry in self._range(question).get("kvs", [])]
        return [key for key in keys if not key.startswith(_OWN_KEYS)]

    def _range(self, question: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{self.plane.etcd_url}/v3/kv/range", json.dumps(question).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    @contextlib.contextmanager
    def unharmed(self, *, stored: bool = False) -> Iterator[None]:
        """
        The process that runs before the block runs after it, keeps no more memory, and has logged no fault of its own.

        `stored`: the block may write; otherwise nothing in the store may have changed.
        """
        process, memory, revision, told = self.plane.apiserver, self.plane.resident(), self.revision(), self.plane.log()
        yield
        assert process.poll() is None, f"the apiserver ended with {process.returncode}: {self.plane.log()[-2000:]}"
        if not stored:
            assert self.changed_since(revision) == []
        news = self.plane.log()[len(told) :]
        assert "Traceback" not in news, news[:4000]
        assert TOKEN not in news
        deadline = time.monotonic() + 30
        while self.plane.resident() > memory + KEPT_LIMIT and time.monotonic() < deadline:
            time.sleep(0.5)  # memory goes back to the system in its own time
        assert self.plane.resident() <= memory + KEPT_LIMIT


def _encoded(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def check_refusal(answer: Answer, what: str, *, within: float = 1) -> None:
    """An error is a whole Status with the code of the answer, or one of upstream's plain pages; it shows no secret."""
    assert TOKEN.encode() not in answer.body, what
    assert answer.seconds < within, f"{what}: took {answer.seconds:.2f} s of work"
    if answer.status < 400:
        return
    kind = answer.headers.get("content-type", "")
    if kind != "application/json":
        phrase = f"{answer.status} {http.HTTPStatus(answer.status).phrase}".encode()
        assert answer.status in (404, 405) or answer.body == phrase, (
            f"{what}: {answer.status} {kind} {answer.body[:200]!r}"
        )
        return
    status = json.loads(answer.body)
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure"), what
    assert status["code"] == answer.status, what
    assert status["message"], what
    assert not _OWN_FAULT.fullmatch(status["message"]), f"{what}: {status['message']}"


@pytest.fixture(scope="package")
def fire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnderFire]:
    with running(tmp_path_factory.mktemp("fire")) as plane, Talk(plane) as talk:
        account = {"metadata": {"name": "default"}}  # what Pods need, and a controller would make
        assert talk.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account).status == 201
        yield UnderFire(plane)
