"""What controllers make of discovery when other servers answer for a part of it."""

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from cluster.client.discovery import preferred_resources, served_resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ServiceUnavailable


class Served:
    """Answers by path; an error is raised."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    async def request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
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


def aggregated(*groups: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": list(groups)}


def entry(plural: str, kind: str) -> dict[str, Any]:
    named = {"group": "", "version": "", "kind": kind}
    return {"resource": plural, "responseKind": named, "scope": "Namespaced", "verbs": ["list"]}


async def test_the_aggregated_form_is_read_where_there_is_one_and_what_is_stale_is_missing() -> None:
    both = [
        {"version": "v2", "resources": [entry("things", "Thing"), {"resource": "lone", "subresources": []}]},
        {"version": "v1", "resources": [entry("things", "Thing")]},
    ]
    old = {"version": "v1", "freshness": "Stale", "resources": [entry("olds", "Old")]}
    broken = {"version": "v1", "resources": [{"responseKind": {"kind": "x"}}]}
    groups = aggregated(
        {"metadata": {"name": "g"}, "versions": both},
        {"metadata": {"name": "old"}, "versions": [old]},
        {"metadata": {"name": "broken"}, "versions": [broken]},
    )
    core = aggregated({"metadata": {}, "versions": [{"version": "v1", "resources": [entry("pods", "Pod")]}]})

    found, missing = await served_resources(cast(ApiClient, Served({"/apis": groups, "/api": core})))

    assert [(one.group, one.version, one.plural, one.kind, one.namespaced) for one in found] == [
        ("", "v1", "pods", "Pod", True),
        ("g", "v2", "things", "Thing", True),
        ("g", "v1", "things", "Thing", True),
    ]
    assert missing == ["old/v1", "broken/v1"]
