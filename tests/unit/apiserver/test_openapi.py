"""OpenAPI documents: what kubectl looks for in them."""

import json
import re
from typing import Any

import pytest

from cluster.api import resources
from cluster.api.resources import Resource, Subresource
from cluster.apiserver import openapi
from cluster.apiserver.openapi import OpenApi
from cluster.machinery.status_errors import NotAcceptable

VERBS = frozenset(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"])
SHIP = Resource(
    "g.example.com", "v1", "ships", "Ship", True, "ship", (), (), VERBS,
    (Subresource("status", frozenset(["get", "patch", "update"]), "Ship"),),
)  # fmt: skip
SHIP_SCHEMA = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {"default": {"type": "string", "nullable": True}}}},
}


def document(path: str) -> Any:
    found = openapi.serve(f"/openapi/v3/{path}", "application/json", resources.ALL)
    assert found is not None
    return json.loads(found.body)


@pytest.fixture(scope="module")
def with_ships() -> OpenApi:
    return OpenApi((*resources.ALL, SHIP), {("g.example.com", "v1", "Ship"): SHIP_SCHEMA})


def test_index_leads_to_every_document() -> None:
    index = openapi.serve("/openapi/v3", "", resources.ALL)
    assert index is not None

    for path, entry in json.loads(index.body)["paths"].items():
        url = entry["serverRelativeURL"]
        assert re.fullmatch(r"/openapi/v3/\S+\?hash=[0-9A-F]{128}", url)
        assert url.startswith(f"/openapi/v3/{path}?")


def test_document_is_named_by_its_hash() -> None:
    index = openapi.serve("/openapi/v3", "", resources.ALL)
    found = openapi.serve("/openapi/v3/apis/apps/v1", "", resources.ALL)
    assert index is not None
    assert found is not None

    hashed = json.loads(index.body)["paths"]["apis/apps/v1"]["serverRelativeURL"].partition("hash=")[2]
    assert found.etag == f'"{hashed}"'


def test_patch_tells_kubectl_its_kind_its_types_and_field_validation() -> None:
    patch = document("apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]

    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    assert "application/apply-patch+yaml" in patch["requestBody"]["content"]
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]


@pytest.mark.parametrize("path", ["api/v1", "apis/apps/v1", "apis/resource.k8s.io/v1"])
def test_every_reference_leads_somewhere(path: str) -> None:
    text = json.dumps(document(path))
    schemas = document(path)["components"]["schemas"]

    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in schemas


def test_operation_ids_are_unique() -> None:
    operations = [op for path in document("api/v1")["paths"].values() for op in path.values()]
    identifiers = [op["operationId"] for op in operations]

    assert len(identifiers) == len(set(identifiers))
    assert "listCoreV1PodForAllNamespaces" in identifiers
    assert "connectCoreV1GetNamespacedPodExec" in identifiers


def test_schemas_keep_their_kinds_and_patch_keys() -> None:
    schemas = document("api/v1")["components"]["schemas"]

    assert schemas["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"][0]["kind"] == "Pod"
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"


def test_custom_resources_are_described_and_have_no_strategic_merge(with_ships: OpenApi) -> None:
    found = with_ships.document("apis/g.example.com/v1")
    assert found is not None
    described = json.loads(found.body)

    assert "com.example.g.v1.Ship" in described["components"]["schemas"]
    assert "com.example.g.v1.ShipList" in described["components"]["schemas"]
    patch = described["paths"]["/apis/g.example.com/v1/namespaces/{namespace}/ships/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]


def test_version_2_has_everything_in_one_document(with_ships: OpenApi) -> None:
    described = json.loads(with_ships.version_2.body)

    assert described["swagger"] == "2.0"
    assert "/api/v1/namespaces/{namespace}/pods/{name}" in described["paths"]
    spec = described["definitions"]["com.example.g.v1.Ship"]["properties"]["spec"]
    assert spec["properties"] == {"default": {"type": "string"}}


def test_only_json_is_spoken() -> None:
    with pytest.raises(NotAcceptable):
        openapi.serve("/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", resources.ALL)


def test_unknown_document_is_not_there() -> None:
    assert openapi.serve("/openapi/v3/apis/x/v1", "", resources.ALL) is None
