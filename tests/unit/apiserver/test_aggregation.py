"""What the aggregator decides without asking anybody, and what it makes of others' documents."""

import datetime as dt
from typing import Any

import orjson
import pytest

from cluster.apiserver.aggregation import documents
from cluster.apiserver.aggregation.api_services import (
    LOCAL,
    PASSED,
    Backend,
    Verdict,
    next_changes,
    verdict_without_asking,
    wanted_for,
    with_verdict,
)
from cluster.apiserver.discovery import Discovery, Document, ServedElsewhere

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
BACKEND = Backend("ns", "s", 443)


def api_service(name: str, managed: str = "", **spec: Any) -> dict[str, Any]:
    labels = {"kube-aggregator.kubernetes.io/automanaged": managed} if managed else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


WANTED = {"v1.g": api_service("v1.g", "true", group="g")}


@pytest.mark.parametrize(
    ("present", "at_start", "outcome"),
    [
        ({}, (), "create"),
        ({"v1.g": api_service("v1.g", "true", group="g")}, (), ""),
        ({"v1.g": api_service("v1.g", "true", group="other")}, (), "update"),
        ({"v1.g": api_service("v1.g", "", service={"name": "s"})}, (), ""),
        ({**WANTED, "v1.h": api_service("v1.h", "true")}, (), "delete"),
        ({**WANTED, "v1.h": api_service("v1.h")}, (), ""),
        ({**WANTED, "v1.h": api_service("v1.h", "onstart")}, (), ""),
        ({**WANTED, "v1.h": api_service("v1.h", "onstart")}, ("v1.h",), "delete"),
        ({**WANTED, "v1.apps": api_service("v1.apps", "onstart")}, ("v1.apps",), ""),
    ],
)
def test_only_managed_api_services_are_kept(present: dict[str, Any], at_start: tuple[str, ...], outcome: str) -> None:
    changes = next_changes(present, WANTED, ["v1.apps"], at_start)

    found = {"create": changes.create, "update": changes.update, "delete": changes.delete}
    assert [name for name, listed in found.items() if listed] == ([outcome] if outcome else [])


def test_served_versions_of_definitions_want_an_api_service_unless_built_in() -> None:
    versions = [{"name": "v1", "served": True}, {"name": "v2", "served": False}]
    definitions = [{"spec": {"group": group, "versions": versions}} for group in ("g", "apps")]

    assert list(wanted_for(definitions, [("apps", "v1")])) == ["v1.g"]


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    first = with_verdict({"status": {}}, Verdict("True", "Local", "old text"), NOW)
    assert first is not None
    second = with_verdict(first, LOCAL, NOW + dt.timedelta(1))
    assert second is not None
    assert second["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-02T00:00:00Z"
    assert with_verdict(second, LOCAL, NOW + dt.timedelta(2)) is None
    third = with_verdict(second, Verdict("False", "ServiceNotFound", ""), NOW + dt.timedelta(3))
    assert third is not None
    assert third["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-05T00:00:00Z"
    assert PASSED.passed


def test_an_external_name_can_only_be_asked_itself() -> None:
    assert verdict_without_asking(BACKEND, {"spec": {"type": "ExternalName"}}, []) is None


def test_a_port_that_the_service_does_not_have_is_told() -> None:
    found = verdict_without_asking(BACKEND, {"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}}, [])

    assert found == Verdict("False", "ServicePortError", 'service/s in "ns" is not listening on port 443')


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"no json", b"null", b'{"kind":"APIGroupDiscoveryList","items":{"a":1}}',
        b'{"kind":"APIGroupDiscoveryList","items":[1,null,{"versions":[3]}]}', b'{"paths":[],"definitions":1}',
        b'{"kind":"APIGroupDiscoveryList","items":[{"metadata":"g","versions":[]},{"metadata":{"name":"g"}}]}',
        b'{"paths":{"/apis/h/v1/x":{}},"definitions":{"a":3,"b":{"x-kubernetes-group-version-kind":[1]}}}',
        b'{"paths":{"apis/g/v1":[]}}', b'{"kind":"APIResourceList","resources":7}',
        b'{"paths":{"apis/g/v1":{"serverRelativeURL":"https://elsewhere/"}}}',
    ],
)  # fmt: skip
def test_documents_of_a_wrong_shape_add_nothing(body: bytes) -> None:
    assert not documents.resources_of(body, "g", "v1")
    assert not documents.resources_of_list(body, "g", "v1")
    assert documents.index_entries(body, "g", "v1") == {}
    assert documents.version_2_part(body, "g", "v1") == b""


def test_a_document_that_is_nested_without_end_is_left_out() -> None:
    def nested(depth: int) -> bytes:
        definition = b'{"items":' * depth + b"{}" + b"}" * depth
        return b'{"paths":{"/apis/g/v1/x":{"$ref":"#/definitions/D"}},"definitions":{"D":%s}}' % definition

    assert documents.version_2_part(nested(20), "g", "v1")
    assert documents.version_2_part(nested(500), "g", "v1") == b""


def test_definitions_of_one_name_and_two_meanings_are_told_apart() -> None:
    own = Document.of({"paths": {"/a": {}}, "definitions": {"Ship": {"type": "string"}, "io.k8s.apimachinery.M": {}}})
    theirs = {
        "paths": {"/apis/g/v1/ships": {"$ref": "#/definitions/Ship"}},
        "definitions": {
            "Ship": {"items": {"$ref": "#/definitions/Ship"}, "x": {"$ref": "#/definitions/io.k8s.apimachinery.M"}},
            "io.k8s.apimachinery.M": {"description": "another text"},
        },
    }
    part = documents.version_2_part(orjson.dumps(theirs), "g", "v1")

    merged = orjson.loads(documents.merge_version_2(own, [part]).body)

    assert merged["definitions"]["Ship"] == {"type": "string"}
    assert merged["definitions"]["Ship_v2"]["items"] == {"$ref": "#/definitions/Ship_v2"}
    assert merged["definitions"]["io.k8s.apimachinery.M"] == {}
    assert merged["paths"]["/apis/g/v1/ships"] == {"$ref": "#/definitions/Ship_v2"}


def test_groups_and_versions_are_ordered_by_priority() -> None:
    elsewhere = [
        ServedElsewhere("a.example.com", "v1", 100, 10),
        ServedElsewhere("b.example.com", "v1", 17900, 10),
        ServedElsewhere("b.example.com", "v1alpha1", 17900, 20),
    ]
    found = orjson.loads(Discovery([], "", elsewhere).groups.body)["groups"]

    assert [group["name"] for group in found] == ["b.example.com", "a.example.com"]
    assert found[0]["preferredVersion"]["version"] == "v1alpha1"
