"""Discovery documents, both forms."""

import json
from typing import Any

import pytest

from cluster.api import resources
from cluster.api.resources import Resource, Subresource
from cluster.apiserver import discovery
from cluster.apiserver.discovery import Discovery, Document

SHIP = Resource(
    "g.example.com", "v1beta1", "ships", "Ship", True, "ship", ("sh",), ("all",),
    frozenset(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]),
    (Subresource("scale", frozenset(["get", "patch", "update"]), "autoscaling/v1/Scale"),
     Subresource("status", frozenset(["get", "patch", "update"]), "Ship")),
)  # fmt: skip


def content(document: Document | None) -> Any:
    assert document is not None
    return json.loads(document.body)


def served(*more: Resource) -> Discovery:
    return Discovery((*resources.ALL, *more), "192.0.2.1:6443")


@pytest.mark.parametrize(
    ("accept", "aggregated"),
    [
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", True),
        ("application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io,application/json", True),
        (
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,"
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
            True,
        ),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json", False),
        ("application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", False),
        ("application/json, */*", False),
        ("", False),
    ],
)
def test_aggregated_form_is_given_to_who_asks_for_it_first(accept: str, aggregated: bool) -> None:
    assert discovery.wants_aggregated(accept) is aggregated


def test_aggregated_answer_says_so_in_its_content_type() -> None:
    found = discovery.serve(
        "/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", resources.ALL
    )

    assert found is not None
    assert found.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def test_preferred_version_comes_first() -> None:
    groups = {group["name"]: group for group in content(served().groups)["groups"]}

    assert [version["version"] for version in groups["autoscaling"]["versions"]] == ["v2", "v1"]
    assert groups["autoscaling"]["preferredVersion"]["version"] == "v2"


def test_versions_are_ordered_as_upstream_orders_them() -> None:
    versions = ["v1", "v10", "v2beta1", "foo1", "v2", "v1alpha1", "v11alpha2", "v2beta2"]

    assert sorted(versions, key=discovery.version_priority) == [
        "v10", "v2", "v1", "v2beta2", "v2beta1", "v11alpha2", "v1alpha1", "foo1",
    ]  # fmt: skip


def test_subresources_are_entries_of_their_own_in_the_old_form() -> None:
    entries = {entry["name"]: entry for entry in content(served().group_version("", "v1"))["resources"]}

    assert entries["pods"]["shortNames"] == ["po"]
    assert entries["pods/eviction"]["group"] == "policy"
    assert entries["pods/eviction"]["kind"] == "Eviction"
    assert "group" not in entries["pods/status"]
    assert "storageVersionHash" in entries["pods"]
    assert "storageVersionHash" not in entries["bindings"]


def test_subresources_are_below_their_resource_in_the_aggregated_form() -> None:
    (core,) = content(served().core_aggregated)["items"]
    pods = next(entry for entry in core["versions"][0]["resources"] if entry["resource"] == "pods")

    assert pods["scope"] == "Namespaced"
    assert {"group": "policy", "version": "v1", "kind": "Eviction"} in [s["responseKind"] for s in pods["subresources"]]


def test_custom_resources_appear_after_the_built_in_groups() -> None:
    found = served(SHIP)

    assert content(found.groups)["groups"][-1]["name"] == "g.example.com"
    last = content(found.groups_aggregated)["items"][-1]
    assert last["versions"][0]["resources"][0]["responseKind"] == {
        "group": "g.example.com", "version": "v1beta1", "kind": "Ship",
    }  # fmt: skip
    names = [entry["name"] for entry in content(found.group_version("g.example.com", "v1beta1"))["resources"]]
    assert names == ["ships", "ships/status", "ships/scale"]


def test_etag_follows_the_content() -> None:
    assert served().groups.etag == served().groups.etag
    assert served().groups.etag != served(SHIP).groups.etag


@pytest.mark.parametrize("path", ["/apis/nothere.example", "/api/v2", "/apis/apps/v2", "/api/v1/x", "/apis/apps/v1/x"])
def test_what_is_not_served_has_no_document(path: str) -> None:
    assert discovery.serve(path, "", resources.ALL) is None


def test_root_lists_the_paths() -> None:
    paths = content(discovery.serve("/", "", resources.ALL))["paths"]

    assert {"/api/v1", "/apis/apps", "/apis/apps/v1", "/openapi/v3", "/version"} <= set(paths)
