"""Custom resources from their definition to their end, against a real apiserver on etcd and on the embedded store."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from cluster.apiserver.app import Apiserver
from cluster.store.resource_cache import TooOldError
from tests.integration.conftest import BOTH_STORES, server_options

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Api

pytestmark = BOTH_STORES
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def schema(**spec: Any) -> dict[str, Any]:
    properties = {
        "spec": {"type": "object", **spec},
        "status": {"type": "object", "properties": {"n": {"type": "integer"}}},
    }
    return {"openAPIV3Schema": {"type": "object", "properties": properties}}


SPEC: dict[str, Any] = {
    "required": ["flag"],
    "properties": {
        "flag": {"type": "string", "enum": ["red", "blue"]},
        "crew": {"type": "integer", "minimum": 1, "default": 3},
        "title": {"type": "string", "pattern": "^(a+)+$"},
    },
}


def definition(group: str, plural: str = "ships", **version: Any) -> dict[str, Any]:
    first = {"name": "v1", "served": True, "storage": True, "schema": schema(**SPEC), "subresources": {"status": {}}}
    kind = plural.removesuffix("s").capitalize()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [first | version],
        },
    }


def ship(group: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1", "kind": "Ship", "metadata": {"name": name}, "spec": spec}


async def define(api: "Api", wanted: dict[str, Any]) -> dict[str, Any]:
    """Create a definition and wait until it is established."""
    status, made = await api.call("POST", CRDS, wanted)
    assert status == 201, made
    for _ in range(100):
        _, found = await api.call("GET", f"{CRDS}/{wanted['metadata']['name']}")
        conditions = {c["type"]: c["status"] for c in found["status"]["conditions"] or ()}
        if conditions.get("Established") == "True":
            return dict(found)
        await asyncio.sleep(0.02)
    raise AssertionError(f"not established: {found['status']}")


async def gone(api: "Api", path: str) -> None:
    for _ in range(200):
        if (await api.call("GET", path))[0] == 404:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path} is still there")


async def test_a_definition_is_served_described_and_withdrawn(api: "Api") -> None:
    group = "serve.example.com"
    found = await define(api, definition(group))
    assert found["status"]["acceptedNames"]["listKind"] == "ShipList"
    assert found["status"]["storedVersions"] == ["v1"]
    _, listed = await api.call("GET", f"/apis/{group}/v1")
    assert [entry["name"] for entry in listed["resources"]] == ["ships", "ships/status"]
    _, document = await api.call("GET", f"/openapi/v3/apis/{group}/v1")
    assert "com.example.serve.v1.Ship" in document["components"]["schemas"]
    _, swagger = await api.call("GET", "/openapi/v2")
    assert "com.example.serve.v1.Ship" in swagger["definitions"]
    base = f"/apis/{group}/v1/namespaces/default/ships"
    assert (await api.call("POST", base, ship(group, "a", flag="red")))[0] == 201
    await api.call("DELETE", f"{CRDS}/ships.{group}")
    await gone(api, f"{CRDS}/ships.{group}")
    assert (await api.call("GET", base))[0] == 404
    assert (await api.call("GET", f"/apis/{group}"))[0] == 404
    await define(api, definition(group))
    assert (await api.call("GET", base))[1]["items"] == []
    await api.call("DELETE", f"{CRDS}/ships.{group}")


async def test_instances_are_pruned_completed_and_judged(api: "Api") -> None:
    group = "judge.example.com"
    await define(api, definition(group))
    base = f"/apis/{group}/v1/namespaces/default/ships"
    status, made = await api.call("POST", base, ship(group, "a", flag="red", odd=1))
    assert (status, made["spec"], made["metadata"]["generation"]) == (201, {"flag": "red", "crew": 3}, 1)
    status, refused = await api.call("POST", f"{base}?fieldValidation=Strict", ship(group, "b", flag="red", odd=1))
    assert (status, "spec.odd" in refused["message"]) == (400, True)
    status, refused = await api.call("POST", base, ship(group, "b", flag="green", crew=0))
    fields = [cause["field"] for cause in refused["details"]["causes"]]
    assert (status, sorted(fields)) == (422, ["spec.crew", "spec.flag"])
    # A pattern that sends a backtracking engine away for ever.
    async with asyncio.timeout(2):
        status, _ = await api.call("POST", base, ship(group, "b", flag="red", title="a" * 40 + "!"))
    assert status == 422
    _, same = await api.call("PATCH", f"{base}/a", {"status": {"n": 1}}, MERGE)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    _, told = await api.call("PATCH", f"{base}/a/status", {"status": {"n": 1}, "spec": {"flag": "blue"}}, MERGE)
    assert (told["status"], told["spec"]["flag"], told["metadata"]["generation"]) == ({"n": 1}, "red", 1)
    strategic = "application/strategic-merge-patch+json"
    assert (await api.call("PATCH", f"{base}/a", {"spec": {}}, strategic))[0] == 415
    await api.call("DELETE", f"{CRDS}/ships.{group}")


async def test_a_changed_schema_holds_for_objects_that_are_stored_already(api: "Api") -> None:
    group = "change.example.com"
    made = await define(api, definition(group))
    base = f"/apis/{group}/v1/namespaces/default/ships"
    await api.call("POST", base, ship(group, "a", flag="red"))
    properties = {"flag": {"type": "string"}, "sails": {"type": "integer", "default": 7}}
    made["spec"]["versions"][0]["schema"] = schema(properties=properties)
    status, changed = await api.call("PUT", f"{CRDS}/ships.{group}", made)
    assert status == 200, changed
    await asyncio.sleep(0.1)
    _, found = await api.call("GET", f"{base}/a")
    assert found["spec"] == {"flag": "red", "sails": 7}
    _, listed = await api.call("GET", base)
    assert listed["items"][0]["spec"] == {"flag": "red", "sails": 7}
    await api.call("DELETE", f"{CRDS}/ships.{group}")


async def test_versions_show_the_same_objects_under_their_own_name(api: "Api") -> None:
    group = "versions.example.com"
    wanted = definition(group)
    second = {"name": "v2", "served": True, "storage": False, "schema": schema(**SPEC)}
    second["additionalPrinterColumns"] = [{"name": "Flag", "type": "string", "jsonPath": ".spec.flag"}]
    wanted["spec"]["versions"].append(second)
    await define(api, wanted)
    await api.call("POST", f"/apis/{group}/v1/namespaces/default/ships", ship(group, "a", flag="red"))
    other = f"/apis/{group}/v2/namespaces/default/ships"
    _, found = await api.call("GET", f"{other}/a")
    assert found["apiVersion"] == f"{group}/v2"
    _, changed = await api.call("PATCH", f"{other}/a", {"spec": {"crew": 9}}, MERGE)
    assert (changed["apiVersion"], changed["spec"]["crew"]) == (f"{group}/v2", 9)
    _, first = await api.call("GET", f"/apis/{group}/v1/namespaces/default/ships/a")
    assert (first["apiVersion"], first["spec"]["crew"]) == (f"{group}/v1", 9)
    _, table = await api.call("GET", other, Accept=TABLE)
    assert [row["cells"] for row in table["rows"]] == [["a", "red"]]
    _, aggregated = await api.call(
        "GET", "/apis", Accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    )
    entry = next(item for item in aggregated["items"] if item["metadata"]["name"] == group)
    assert [version["version"] for version in entry["versions"]] == ["v2", "v1"]
    await api.call("DELETE", f"{CRDS}/ships.{group}")


async def test_a_finalizer_keeps_instance_and_definition_until_it_is_gone(api: "Api") -> None:
    group = "keep.example.com"
    await define(api, definition(group))
    base = f"/apis/{group}/v1/namespaces/default/ships"
    held = ship(group, "a", flag="red")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.call("POST", base, held)
    await api.call("DELETE", f"{CRDS}/ships.{group}")
    for _ in range(100):
        _, instance = await api.call("GET", f"{base}/a")
        if instance["metadata"].get("deletionTimestamp"):
            break
        await asyncio.sleep(0.02)
    assert instance["metadata"]["deletionTimestamp"]
    status, refused = await api.call("POST", base, ship(group, "b", flag="red"))
    assert (status, refused["message"]) == (
        405, "create not allowed while custom resource definition is terminating",
    )  # fmt: skip
    await api.call("PATCH", f"{base}/a", {"metadata": {"finalizers": None}}, MERGE)
    await gone(api, f"{CRDS}/ships.{group}")


async def test_names_belong_to_the_definition_that_had_them_first(api: "Api") -> None:
    group = "names.example.com"
    await define(api, definition(group))
    second = definition(group, "boats")
    second["spec"]["names"]["kind"] = "Ship"
    await api.call("POST", CRDS, second)
    for _ in range(100):
        _, found = await api.call("GET", f"{CRDS}/boats.{group}")
        if found["status"]["conditions"]:
            break
        await asyncio.sleep(0.02)
    reasons = {c["type"]: (c["status"], c["reason"]) for c in found["status"]["conditions"]}
    assert reasons["Established"] == ("False", "NotAccepted")
    assert reasons["NamesAccepted"][0] == "False"
    for name in ("ships", "boats"):
        await api.call("DELETE", f"{CRDS}/{name}.{group}")


async def test_a_watch_ends_when_what_it_shows_changes(api: "Api") -> None:
    group = "watch.example.com"
    await define(api, definition(group))
    base = f"/apis/{group}/v1/namespaces/default/ships"
    async with api.session.get(f"{api.url}{base}?watch=1&timeoutSeconds=5") as answer:
        await api.call("POST", base, ship(group, "a", flag="red"))
        await api.call("DELETE", f"{CRDS}/ships.{group}")
        async with asyncio.timeout(3):
            events = [json.loads(line) async for line in answer.content]
    assert events[0]["type"] == "ADDED"


async def test_another_apiserver_serves_a_definition_at_once(api: "Api", etcd_url: str, tmp_path: "Path") -> None:
    group = "two.example.com"
    (tmp_path / "second").mkdir()
    second = Apiserver(server_options(etcd_url, tmp_path / "second"))
    async with second.run():
        await define(api, definition(group))
        for _ in range(50):
            if second.registry.find(group, "v1", "ships") is not None:
                break
            await asyncio.sleep(0.02)
        assert second.registry.find(group, "v1", "ships") is not None
        assert any(resource.group == group for resource in second.custom.resources)
        await api.call("DELETE", f"{CRDS}/ships.{group}")


async def test_an_apiserver_that_starts_later_knows_what_is_stored(api: "Api", etcd_url: str, tmp_path: "Path") -> None:
    group = "later.example.com"
    await define(api, definition(group))
    _, made = await api.call("POST", f"/apis/{group}/v1/namespaces/default/ships", ship(group, "a", flag="red"))
    (tmp_path / "later").mkdir()
    later = Apiserver(server_options(etcd_url, tmp_path / "later"))
    async with later.run():
        kind = later.registry.find(group, "v1", "ships")
        assert kind is not None
        entry = kind.cache.get("default", "a")
        assert entry is not None
        assert json.loads(kind.whole(entry)) == made
        # Changes from before the start are not known: a watch from there has to begin again.
        with pytest.raises(TooOldError):
            kind.cache.changes_since(1)
    await api.call("DELETE", f"{CRDS}/ships.{group}")


WIDE: dict[str, Any] = {
    "port": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
    "memory": {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE])?$",
        "x-kubernetes-int-or-string": True,
    },
    "selector": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
    "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "raw": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    "when": {"type": "string", "format": "date-time", "nullable": True},
    "source": {
        "type": "object",
        "properties": {"git": {"type": "string"}, "image": {"type": "string"}},
        "oneOf": [{"required": ["git"]}, {"required": ["image"]}],
        "x-kubernetes-validations": [{"rule": "!has(self.git) || isURL(self.git)", "message": "git must be a URL"}],
    },
    "conditions": {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "maxItems": 8,
        "items": {
            "type": "object", "required": ["type", "status"],
            "properties": {"type": {"type": "string"}, "status": {"type": "string", "enum": ["True", "False"]}},
        },
    },
}  # fmt: skip


async def test_the_schemas_that_generators_write_are_accepted_and_hold(api: "Api") -> None:
    group = "wide.example.com"
    await define(api, definition(group, schema=schema(properties=WIDE)))
    base = f"/apis/{group}/v1/namespaces/default/ships"
    spec = {
        "port": "http", "memory": "1Gi", "selector": {"a": "b"}, "template": {"any": {"thing": [1]}}, "when": None,
        "raw": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"x": 1}},
        "source": {"git": "https://a.example/x"}, "conditions": [{"type": "Ready", "status": "True"}],
    }  # fmt: skip
    status, made = await api.call("POST", base, ship(group, "a", **spec))
    assert status == 201, made
    spec["raw"] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"x": 1}}
    assert made["spec"] == spec
    for wrong, field in (
        ({"port": 1.5}, "spec.port"),
        ({"memory": "lots"}, "spec.memory"),
        ({"source": {}}, "<nil>"),
        ({"source": {"git": "nowhere"}}, "spec.source"),
        ({"conditions": [{"type": "Ready"}]}, "spec.conditions[0].status"),
    ):
        status, refused = await api.call("POST", base, ship(group, "b", **wrong))
        assert status == 422, (wrong, refused)
        assert field in [cause["field"] for cause in refused["details"]["causes"]]
    await api.call("DELETE", f"{CRDS}/ships.{group}")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"versions": []}, "spec.versions"),
        ({"group": "nodots"}, "spec.group"),
        ({"scope": "Planet"}, "spec.scope"),
    ],
)
async def test_a_definition_that_means_nothing_is_refused(api: "Api", change: dict[str, Any], field: str) -> None:
    wanted = definition("bad.example.com")
    wanted["spec"] |= change
    status, refused = await api.call("POST", CRDS, wanted)
    assert status == 422
    assert field in [cause["field"] for cause in refused["details"]["causes"]]


async def test_applies_merge_lists_by_the_keys_the_schema_names(api: "Api") -> None:
    group = "apply.example.com"
    masts = {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
        "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}}},
    }  # fmt: skip
    await define(api, definition(group, schema=schema(properties={"masts": masts})))
    base = f"/apis/{group}/v1/namespaces/default/ships"
    for manager, mast in (("one", "a"), ("two", "b")):
        wanted = json.dumps(ship(group, "a", masts=[{"n": mast}])).encode()
        status, found = await api.call("PATCH", f"{base}/a?fieldManager={manager}", wanted, APPLY)
        assert status in (200, 201)
    assert found["spec"]["masts"] == [{"n": "a"}, {"n": "b"}]
    status, _ = await api.call("PATCH", f"{base}/a", {"spec": {"masts": [{"n": "a"}, {"n": "a"}]}}, MERGE)
    assert status == 422
    await api.call("DELETE", f"{CRDS}/ships.{group}")
