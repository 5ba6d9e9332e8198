"""A quota from its making to its end, with the apiserver that books and the controller manager that counts."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.badinput.raw_http import Talk
from tests.integration.control_plane_processes import ControlPlane, running

NAMESPACE = "/api/v1/namespaces/small"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with running(tmp_path_factory.mktemp("quota"), "controller_manager") as plane:
        yield plane


def ask(talk: Talk, method: str, path: str, body: object = None) -> Any:
    answer = talk.ask(method, path, body)
    assert answer.status < 300, answer
    return json.loads(answer.body)


def until(talk: Talk, path: str, holds: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 20
    while not holds(found := ask(talk, "GET", path)):
        if time.monotonic() > deadline:
            pytest.fail(f"{path} stays {found}")
        time.sleep(0.1)
    return found


def pod(name: str) -> dict[str, Any]:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "500m"}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container]}}


def test_a_quota_is_taken_over_holds_and_gives_back(plane: ControlPlane) -> None:
    with Talk(plane) as talk:
        ask(talk, "POST", "/api/v1/namespaces", {"metadata": {"name": "small"}})
        until(talk, f"{NAMESPACE}/serviceaccounts", lambda found: bool(found["items"]))
        ask(talk, "POST", f"{NAMESPACE}/configmaps", {"metadata": {"name": "before"}})
        hard = {"pods": "2", "requests.cpu": "1", "configmaps": "3"}
        ask(talk, "POST", f"{NAMESPACE}/resourcequotas", {"metadata": {"name": "all"}, "spec": {"hard": hard}})
        path = f"{NAMESPACE}/resourcequotas/all"
        taken = until(talk, path, lambda found: found.get("status", {}).get("hard") == hard)
        # The ConfigMap with the CA is only published where there is one.
        assert taken["status"]["used"] == {"pods": "0", "requests.cpu": "0", "configmaps": "1"}

        ask(talk, "POST", f"{NAMESPACE}/pods", pod("first"))
        ask(talk, "POST", f"{NAMESPACE}/pods", pod("second"))
        refused = talk.ask("POST", f"{NAMESPACE}/pods", pod("third"))
        assert refused.status == 403
        assert b"exceeded quota: all, requested: pods=1,requests.cpu=500m, used: pods=2,requests.cpu=1" in refused.body

        ask(talk, "DELETE", f"{NAMESPACE}/pods/first?gracePeriodSeconds=0")
        until(talk, path, lambda found: found["status"]["used"]["pods"] == "1")
        ask(talk, "POST", f"{NAMESPACE}/pods", pod("third"))
