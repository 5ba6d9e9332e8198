"""What controllers make of discovery when other servers answer for a part of it."""

import json
from typing import Any, cast

import pytest

from cluster.client.discovery import preferred_resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ServiceUnavailable


class Served:
    """Answers by path; an error is raised."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    async def request(self, method: str, path: str) -> bytes:
        answer = self._answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


PODS = {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["list"]}
GROUPS = {"groups": [{"name": "g", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}]}


@pytest.mark.parametrize(
    "answer",
    [
        ServiceUnavailable("service unavailable"), b"<html>", b"[]", b"7", {"resources": 7}, {"resources": [1]},
        {"resources": [{"kind": "x"}]}, {"resources": [{"name": None, "kind": "x"}]},
    ],
)  # fmt: skip
async def test_a_group_that_makes_no_sense_is_missing_and_the_others_are_found(answer: Any) -> None:
    served = Served({"/apis": GROUPS, "/api/v1": {"resources": [PODS]}, "/apis/g/v1": answer})

    found, missing = await preferred_resources(cast(ApiClient, served))

    assert [resource.plural for resource in found] == ["pods"]
    assert missing == ["g/v1"]
