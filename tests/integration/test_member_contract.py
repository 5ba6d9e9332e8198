"""
What the federation relies on in a member, asked of our apiserver and of the fake: both keep this contract.

The fake is believed in other tests for no other reason.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.fakes.fake_member import FakeMember
from tests.integration.conftest import serving

Call = Callable[..., Awaitable[tuple[int, Any]]]
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
STRATEGIC, JSON_PATCH = "application/strategic-merge-patch+json", "application/json-patch+json"
SPACE = "/api/v1/namespaces/shop"
MAPS, DEPLOYMENTS = f"{SPACE}/configmaps", "/apis/apps/v1/namespaces/shop/deployments"
MANAGER = "fieldManager=federation"


@contextlib.asynccontextmanager
async def fake() -> AsyncIterator[Call]:
    async with FakeMember() as member, aiohttp.ClientSession() as session:

        async def call(
            method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
        ) -> tuple[int, Any]:
            data = None if body is None else json.dumps(body).encode()
            sent = {"Content-Type": content_type} if data is not None else {}
            async with session.request(
                method, URL(member.url + path, encoded=True), data=data, headers={**sent, **headers}
            ) as answer:
                raw = await answer.read()
                if "watch=" in path:
                    return answer.status, [json.loads(line) for line in raw.splitlines()]
                return answer.status, json.loads(raw) if "json" in answer.content_type else raw.decode()

        yield call


@contextlib.asynccontextmanager
async def real(store: str, directory: Path) -> AsyncIterator[Call]:
    async with serving(store, directory) as api:

        async def call(*arguments: Any, **headers: str) -> tuple[int, Any]:
            if "watch=" not in arguments[1]:
                return await api.call(*arguments, **headers)
            async with api.session.get(URL(api.url + arguments[1], encoded=True), headers=headers) as answer:
                return answer.status, [json.loads(line) for line in (await answer.read()).splitlines()]

        yield call


@pytest.fixture(params=["fake", "apiserver"])
async def call(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Call]:
    """With a Namespace `shop`."""
    running = fake() if request.param == "fake" else real(f"embedded://{tmp_path}/store.db", tmp_path)
    async with running as found:
        status, _ = await found("POST", "/api/v1/namespaces", named("Namespace", "shop", namespace=""))
        assert status == 201
        yield found


def named(kind: str, name: str, version: str = "v1", namespace: str = "shop", **content: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **content.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def deployment(name: str = "web", replicas: int = 3, image: str = "web:1") -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return named("Deployment", name, "apps/v1", spec=spec)


def owned(obj: dict[str, Any], manager: str) -> dict[str, Any]:
    [entry] = [one for one in obj["metadata"]["managedFields"] if one["manager"] == manager]
    fields: dict[str, Any] = entry["fieldsV1"]
    return fields


async def test_it_says_which_version_it_is_and_that_it_is_ready(call: Call) -> None:
    assert (await call("GET", "/readyz"))[1] == "ok"
    assert (await call("GET", "/version"))[1]["gitVersion"].startswith("v1.36")


async def test_discovery_has_the_old_form_and_the_aggregated_one(call: Call) -> None:
    _, groups = await call("GET", "/apis")
    assert {"apps", "policy", "discovery.k8s.io"} <= {group["name"] for group in groups["groups"]}
    _, apps = await call("GET", "/apis/apps/v1")
    [entry] = [one for one in apps["resources"] if one["name"] == "deployments"]
    assert (entry["kind"], entry["namespaced"]) == ("Deployment", True)
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    _, aggregated = await call("GET", "/apis", Accept=accept)
    assert aggregated["kind"] == "APIGroupDiscoveryList"
    assert await call("GET", "/apis/nobody.example/v1") == (404, "404 page not found\n")


async def test_what_is_created_comes_back_completed(call: Call) -> None:
    status, made = await call("POST", DEPLOYMENTS, deployment())
    assert status == 201
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["uid"]
    assert made["spec"]["strategy"]["type"] == "RollingUpdate"
    status, again = await call("POST", DEPLOYMENTS, deployment())
    assert (status, again["reason"], again["message"]) == (
        409, "AlreadyExists", 'deployments.apps "web" already exists',
    )  # fmt: skip
    status, found = await call("GET", f"{DEPLOYMENTS}/web")
    assert (status, found["metadata"]["uid"]) == (200, made["metadata"]["uid"])


async def test_what_is_wrong_is_refused_in_upstreams_words(call: Call) -> None:
    status, missing = await call("GET", f"{DEPLOYMENTS}/web")
    assert (status, missing["message"]) == (404, 'deployments.apps "web" not found')
    nowhere = MAPS.replace("shop", "nowhere")
    status, refused = await call("POST", nowhere, named("ConfigMap", "a", namespace="nowhere"))
    assert (status, refused["message"]) == (404, 'namespaces "nowhere" not found')
    status, refused = await call("POST", DEPLOYMENTS, deployment(replicas=-1))
    assert (status, refused["reason"]) == (422, "Invalid")
    assert "spec.replicas" in refused["message"]
    status, refused = await call("POST", MAPS, named("ConfigMap", "a", namespace="other"))
    assert (status, refused["reason"]) == (400, "BadRequest")


async def test_an_update_of_an_old_version_is_a_conflict(call: Call) -> None:
    _, first = await call("POST", MAPS, named("ConfigMap", "a", data={"x": "1"}))
    status, second = await call("PUT", f"{MAPS}/a", {**first, "data": {"x": "2"}})
    assert status == 200
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    status, refused = await call("PUT", f"{MAPS}/a", {**first, "data": {"x": "3"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    assert "the object has been modified" in refused["message"]


async def test_a_write_that_changes_nothing_makes_no_new_version(call: Call) -> None:
    _, first = await call("PATCH", f"{MAPS}/a?{MANAGER}", named("ConfigMap", "a", data={"x": "1"}), APPLY)
    _, again = await call("PATCH", f"{MAPS}/a?{MANAGER}", named("ConfigMap", "a", data={"x": "1"}), APPLY)
    assert again == first
    _, merged = await call("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, MERGE)
    assert merged["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_generation_counts_changes_of_the_spec_alone(call: Call) -> None:
    await call("POST", DEPLOYMENTS, deployment())
    _, labelled = await call("PATCH", f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert labelled["metadata"]["generation"] == 1
    _, scaled = await call("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 5}}, MERGE)
    assert scaled["metadata"]["generation"] == 2


async def test_status_is_written_by_its_own_door(call: Call) -> None:
    await call("POST", DEPLOYMENTS, {**deployment(), "status": {"replicas": 77}})
    _, written = await call("PATCH", f"{DEPLOYMENTS}/web", {"status": {"collisionCount": 9}}, MERGE)
    assert written["status"].get("collisionCount") != 9
    body = {"status": {"collisionCount": 9}, "spec": {"replicas": 9}}
    _, written = await call("PATCH", f"{DEPLOYMENTS}/web/status", body, MERGE)
    assert (written["status"]["collisionCount"], written["spec"]["replicas"]) == (9, 3)


async def test_an_applier_owns_what_it_applied_and_takes_back_what_it_leaves_out(call: Call) -> None:
    applied = named("ConfigMap", "a", data={"x": "1", "y": "1"})
    status, made = await call("PATCH", f"{MAPS}/a?{MANAGER}", applied, APPLY)
    assert status == 201
    assert owned(made, "federation")["f:data"] == {"f:x": {}, "f:y": {}}
    await call("PATCH", f"{MAPS}/a?fieldManager=somebody", {"data": {"z": "theirs"}}, MERGE)
    status, less = await call("PATCH", f"{MAPS}/a?{MANAGER}", named("ConfigMap", "a", data={"x": "2"}), APPLY)
    assert (status, less["data"]) == (200, {"x": "2", "z": "theirs"})


async def test_another_managers_field_is_a_conflict_until_it_is_forced(call: Call) -> None:
    await call("POST", f"{MAPS}?fieldManager=somebody", named("ConfigMap", "a", data={"x": "theirs"}))
    ours = named("ConfigMap", "a", data={"x": "ours"})
    status, refused = await call("PATCH", f"{MAPS}/a?{MANAGER}", ours, APPLY)
    assert status == 409
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "somebody" using v1: .data.x'
    _, forced = await call("PATCH", f"{MAPS}/a?{MANAGER}&force=true", ours, APPLY)
    assert forced["data"] == {"x": "ours"}
    assert "f:x" in owned(forced, "federation")["f:data"]
    assert "f:x" not in owned(forced, "somebody")["f:data"]


async def test_a_dry_run_answers_and_leaves_nothing(call: Call) -> None:
    status, shown = await call("POST", f"{DEPLOYMENTS}?dryRun=All", deployment())
    assert (status, shown["spec"]["revisionHistoryLimit"]) == (201, 10)
    assert (await call("GET", f"{DEPLOYMENTS}/web"))[0] == 404
    _, made = await call("PATCH", f"{MAPS}/a?{MANAGER}", named("ConfigMap", "a", data={"x": "1"}), APPLY)
    _, shown = await call("PATCH", f"{MAPS}/a?{MANAGER}&dryRun=All", named("ConfigMap", "a", data={"x": "2"}), APPLY)
    assert shown["data"] == {"x": "2"}
    await call("DELETE", f"{MAPS}/a?dryRun=All")
    assert (await call("GET", f"{MAPS}/a"))[1] == made


async def test_patches_of_three_kinds(call: Call) -> None:
    await call("POST", DEPLOYMENTS, deployment())
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}}
    _, found = await call("PATCH", f"{DEPLOYMENTS}/web", sidecar, STRATEGIC)
    assert sorted(one["name"] for one in found["spec"]["template"]["spec"]["containers"]) == ["main", "side"]
    steps = [{"op": "replace", "path": "/spec/replicas", "value": 7}]
    assert (await call("PATCH", f"{DEPLOYMENTS}/web", steps, JSON_PATCH))[1]["spec"]["replicas"] == 7
    await call("POST", MAPS, named("ConfigMap", "a", data={"x": "1", "y": "2"}))
    assert (await call("PATCH", f"{MAPS}/a", {"data": {"x": None}}, MERGE))[1]["data"] == {"y": "2"}
    assert (await call("PATCH", f"{MAPS}/a", {}, "application/unheard-of"))[0] == 415


async def test_a_delete_asks_for_the_object_that_it_means(call: Call) -> None:
    _, made = await call("POST", MAPS, named("ConfigMap", "a"))
    wrong = {"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}}
    status, refused = await call("DELETE", f"{MAPS}/a", {"kind": "DeleteOptions", "apiVersion": "v1", **wrong})
    assert (status, refused["reason"]) == (409, "Conflict")
    right = {"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}}
    status, gone = await call("DELETE", f"{MAPS}/a", {"kind": "DeleteOptions", "apiVersion": "v1", **right})
    assert (status, gone["kind"], gone["status"]) == (200, "Status", "Success")
    assert (await call("DELETE", f"{MAPS}/a"))[0] == 404


async def test_a_finalizer_holds_an_object_until_it_is_taken_away(call: Call) -> None:
    await call("POST", MAPS, named("ConfigMap", "a", metadata={"finalizers": ["example.com/wait"]}))
    status, marked = await call("DELETE", f"{MAPS}/a")
    assert (status, bool(marked["metadata"]["deletionTimestamp"])) == (200, True)
    assert (await call("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, MERGE))[0] == 200
    assert (await call("GET", f"{MAPS}/a"))[0] == 404


async def test_lists_choose_by_label_and_field_and_come_in_pages(call: Call) -> None:
    for number in range(5):
        labels = {"app": "even" if number % 2 == 0 else "odd"}
        await call("POST", MAPS, named("ConfigMap", f"m{number}", metadata={"labels": labels}))
    _, even = await call("GET", f"{MAPS}?labelSelector=app%3Deven")
    assert [one["metadata"]["name"] for one in even["items"]] == ["m0", "m2", "m4"]
    _, one = await call("GET", f"{MAPS}?fieldSelector=metadata.name%3Dm3")
    assert [one["metadata"]["name"] for one in one["items"]] == ["m3"]
    names, path = [], f"{MAPS}?labelSelector=app&limit=2"
    while True:
        _, page = await call("GET", path)
        names += [one["metadata"]["name"] for one in page["items"]]
        if "continue" not in page["metadata"]:
            break
        path = f"{MAPS}?labelSelector=app&limit=2&continue={page['metadata']['continue']}"
    assert names == [f"m{number}" for number in range(5)]
    assert (await call("GET", f"{MAPS}?continue=nonsense"))[0] == 400


async def test_a_metadata_list_brings_no_more_than_that(call: Call) -> None:
    await call("POST", MAPS, named("ConfigMap", "a", data={"x": "1"}, metadata={"labels": {"a": "b"}}))
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
    _, found = await call("GET", f"{MAPS}?labelSelector=a", Accept=accept)
    assert found["kind"] == "PartialObjectMetadataList"
    assert [sorted(one) for one in found["items"]] == [["apiVersion", "kind", "metadata"]]


async def test_a_watch_goes_on_where_a_list_ended(call: Call) -> None:
    await call("POST", MAPS, named("ConfigMap", "old", metadata={"labels": {"app": "x"}}))
    _, listed = await call("GET", MAPS)
    version = listed["metadata"]["resourceVersion"]
    await call("POST", MAPS, named("ConfigMap", "new", metadata={"labels": {"app": "x"}}))
    await call("PATCH", f"{MAPS}/old", {"metadata": {"labels": {"app": "y"}}}, MERGE)
    await call("DELETE", f"{MAPS}/new")
    query = f"watch=true&resourceVersion={version}&timeoutSeconds=1"
    _, events = await call("GET", f"{MAPS}?{query}")
    seen = [(one["type"], one["object"]["metadata"]["name"]) for one in events]
    assert seen == [("ADDED", "new"), ("MODIFIED", "old"), ("DELETED", "new")]
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in events]
    assert versions == sorted(set(versions))
    # By a selector, what no longer matches is gone.
    _, events = await call("GET", f"{MAPS}?{query}&labelSelector=app%3Dx")
    seen = [(one["type"], one["object"]["metadata"]["name"]) for one in events]
    assert seen == [("ADDED", "new"), ("DELETED", "old"), ("DELETED", "new")]


async def test_a_watch_list_ends_its_beginning_with_a_bookmark(call: Call) -> None:
    await call("POST", MAPS, named("ConfigMap", "a", metadata={"labels": {"app": "x"}}))
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    _, events = await call("GET", f"{MAPS}?{query}&timeoutSeconds=1&labelSelector=app")
    assert [one["type"] for one in events][:2] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_of_a_version_that_never_was_is_refused(call: Call) -> None:
    _, events = await call("GET", f"{MAPS}?watch=true&resourceVersion=99999999&timeoutSeconds=1")
    assert all(one["type"] == "ERROR" for one in events)


async def test_a_definition_brings_a_kind_of_its_own(call: Call) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "baskets", "singular": "basket", "kind": "Basket"}
    spec = {"group": "shop.example", "scope": "Namespaced", "names": names, "versions": [version]}
    crd = named("CustomResourceDefinition", "baskets.shop.example", "apiextensions.k8s.io/v1", "", spec=spec)
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await call("POST", path, crd))[0] == 201
    baskets = "/apis/shop.example/v1/namespaces/shop/baskets"
    async with asyncio.timeout(10):
        while (await call("GET", baskets))[0] != 200:  # noqa: ASYNC110  (the server has no event to wait for)
            await asyncio.sleep(0.05)
    basket = named("Basket", "b", "shop.example/v1", spec={"apples": 3})
    status, made = await call("PATCH", f"{baskets}/b?{MANAGER}", basket, APPLY)
    assert (status, made["spec"]) == (201, {"apples": 3})
    assert (await call("PATCH", f"{baskets}/b", {}, STRATEGIC))[0] == 415


async def test_services_get_addresses_of_their_own(call: Call) -> None:
    service = named("Service", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    _, made = await call("PATCH", f"{SPACE}/services/web?{MANAGER}", service, APPLY)
    assert made["spec"]["clusterIP"]
    _, again = await call("PATCH", f"{SPACE}/services/web?{MANAGER}", service, APPLY)
    assert again["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert "f:clusterIP" not in owned(again, "federation")["f:spec"]


async def test_a_selector_of_a_deployment_cannot_be_changed(call: Call) -> None:
    await call("POST", DEPLOYMENTS, deployment())
    other = {"spec": {"selector": {"matchLabels": {"app": "other"}}}}
    status, refused = await call("PATCH", f"{DEPLOYMENTS}/web", other, MERGE)
    assert (status, refused["reason"]) == (422, "Invalid")
