"""What clients do with objects, against a real apiserver on a real etcd and on the embedded store."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.integration.conftest import BOTH_STORES

if TYPE_CHECKING:
    from tests.integration.conftest import Api

pytestmark = BOTH_STORES
MERGE = "application/merge-patch+json"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_an_object_can_be_created_read_changed_and_deleted(api: "Api") -> None:
    base = await api.namespace("t-crud")
    assert (await api.call("POST", f"{base}/configmaps", config_map("a", k="1")))[0] == 201
    status, again = await api.call("POST", f"{base}/configmaps", config_map("a", k="1"))
    assert (status, again["reason"]) == (409, "AlreadyExists")
    _, changed = await api.call("PATCH", f"{base}/configmaps/a", {"data": {"k": "2"}}, MERGE)
    _, read = await api.call("GET", f"{base}/configmaps/a")
    assert read == changed
    assert (await api.call("DELETE", f"{base}/configmaps/a"))[1]["status"] == "Success"
    assert (await api.call("GET", f"{base}/configmaps/a"))[0] == 404


async def test_a_write_that_changes_nothing_keeps_the_version(api: "Api") -> None:
    base = await api.namespace("t-noop")
    _, made = await api.call("POST", f"{base}/configmaps", config_map("a", k="1"))
    _, same = await api.call("PATCH", f"{base}/configmaps/a", {"data": {"k": "1"}}, MERGE)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_version_zero_is_no_condition_of_an_update(api: "Api") -> None:
    base = await api.namespace("t-zero")
    await api.call("POST", f"{base}/configmaps", config_map("a", k="1"))
    wanted = config_map("a", k="2")
    wanted["metadata"]["resourceVersion"] = "0"
    status, changed = await api.call("PUT", f"{base}/configmaps/a", wanted)
    assert (status, changed["data"]) == (200, {"k": "2"})


async def test_appliers_of_one_new_object_do_not_meet_as_a_conflict(api: "Api") -> None:
    base = await api.namespace("t-apply-race")

    async def apply(name: str, manager: int) -> int:
        body = config_map(name, **{f"k{manager}": "x"})
        path = f"{base}/configmaps/{name}?fieldManager=m{manager}"
        return (await api.call("PATCH", path, body, "application/apply-patch+yaml"))[0]

    statuses = await asyncio.gather(*(apply(f"c{number}", manager) for number in range(10) for manager in range(4)))
    assert set(statuses) == {200, 201}
    _, found = await api.call("GET", f"{base}/configmaps")
    assert all(len(item["data"]) == 4 for item in found["items"])


async def test_a_dry_run_stores_nothing(api: "Api") -> None:
    base = await api.namespace("t-dry")
    status, _ = await api.call("POST", f"{base}/configmaps?dryRun=All", config_map("a"))
    assert status == 201
    assert (await api.call("GET", f"{base}/configmaps/a"))[0] == 404


async def test_concurrent_patches_are_all_applied(api: "Api") -> None:
    base = await api.namespace("t-race")
    await api.call("POST", f"{base}/configmaps", config_map("a"))
    patches = [api.call("PATCH", f"{base}/configmaps/a", {"data": {f"k{i}": "x"}}, MERGE) for i in range(20)]
    assert {status for status, _ in await asyncio.gather(*patches)} == {200}
    assert len((await api.call("GET", f"{base}/configmaps/a"))[1]["data"]) == 20


async def test_pages_show_one_revision_even_when_objects_change_in_between(api: "Api") -> None:
    base = await api.namespace("t-pages")
    for number in range(5):
        await api.call("POST", f"{base}/configmaps", config_map(f"c{number}"))
    _, first = await api.call("GET", f"{base}/configmaps?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await api.call("DELETE", f"{base}/configmaps/c3")
    await api.call("POST", f"{base}/configmaps", config_map("c9"))
    token = first["metadata"]["continue"]
    _, rest = await api.call("GET", f"{base}/configmaps?limit=10&continue={token}")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c2", "c3", "c4"]


async def test_a_watch_goes_on_from_a_version_and_tells_each_change_once(api: "Api") -> None:
    base = await api.namespace("t-watch")
    _, made = await api.call("POST", f"{base}/configmaps", config_map("a", k="1"))
    await api.call("PATCH", f"{base}/configmaps/a", {"data": {"k": "2"}}, MERGE)
    await api.call("DELETE", f"{base}/configmaps/a")
    version = made["metadata"]["resourceVersion"]
    path = f"{base}/configmaps?watch=1&timeoutSeconds=1&resourceVersion={version}"
    async with api.session.get(api.url + path) as answer:
        events = [json.loads(line) async for line in answer.content]
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert int(version) < versions[0] < versions[1]


async def test_a_selecting_watch_sees_objects_come_and_go(api: "Api") -> None:
    base = await api.namespace("t-select")
    path = f"{base}/configmaps?watch=1&timeoutSeconds=2&labelSelector=on%3D1"
    async with api.session.get(api.url + path) as answer:
        await api.call("POST", f"{base}/configmaps", config_map("a"))
        await api.call("PATCH", f"{base}/configmaps/a", {"metadata": {"labels": {"on": "1"}}}, MERGE)
        await api.call("PATCH", f"{base}/configmaps/a", {"metadata": {"labels": {"on": "0"}}}, MERGE)
        events = [json.loads(line) async for line in answer.content]
    assert [event["type"] for event in events] == ["ADDED", "DELETED"]


async def test_a_watch_list_ends_its_first_state_with_a_bookmark(api: "Api") -> None:
    base = await api.namespace("t-watchlist")
    await api.call("POST", f"{base}/configmaps", config_map("a"))
    path = (
        f"{base}/configmaps?watch=1&timeoutSeconds=1&sendInitialEvents=true"
        "&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    )
    async with api.session.get(api.url + path) as answer:
        events = [json.loads(line) async for line in answer.content]
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_two_services_never_get_the_same_address_or_port(api: "Api") -> None:
    base = await api.namespace("t-services")

    def service(name: str) -> dict[str, Any]:
        spec = {"type": "NodePort", "ports": [{"port": 80}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}

    made = await asyncio.gather(*(api.call("POST", f"{base}/services", service(f"s{i}")) for i in range(20)))
    assert {status for status, _ in made} == {201}
    assert len({obj["spec"]["clusterIP"] for _, obj in made}) == 20
    assert len({obj["spec"]["ports"][0]["nodePort"] for _, obj in made}) == 20
    address = made[0][1]["spec"]["clusterIP"]
    await api.call("DELETE", f"{base}/services/s0")
    assert (await api.call("GET", f"/apis/networking.k8s.io/v1/ipaddresses/{address}"))[0] == 404


async def test_a_pod_is_bound_once_and_its_budget_keeps_it(api: "Api") -> None:
    base = await api.namespace("t-pods")
    spec = {"containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": "p", "labels": {"app": "p"}}
    assert (await api.call("POST", f"{base}/pods", {"kind": "Pod", "metadata": metadata, "spec": spec}))[0] == 201
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert (await api.call("POST", f"{base}/pods/p/binding", binding))[0] == 201
    assert (await api.call("POST", f"{base}/pods/p/binding", binding))[0] == 409
    running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    assert (await api.call("PATCH", f"{base}/pods/p/status", running, MERGE))[0] == 200
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}}
    path = "/apis/policy/v1/namespaces/t-pods/poddisruptionbudgets"
    assert (await api.call("POST", path, budget))[0] == 201
    status, refused = await api.call("POST", f"{base}/pods/p/eviction", {"metadata": {"name": "p"}})
    assert (status, refused["details"]["causes"][0]["reason"]) == (429, "DisruptionBudget")


async def test_finalizers_keep_a_deleted_object_until_the_last_is_gone(api: "Api") -> None:
    base = await api.namespace("t-final")
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    await api.call("POST", f"{base}/configmaps", obj)
    _, marked = await api.call("DELETE", f"{base}/configmaps/a")
    assert marked["metadata"]["deletionTimestamp"]
    await api.call("PATCH", f"{base}/configmaps/a", {"metadata": {"finalizers": None}}, MERGE)
    assert (await api.call("GET", f"{base}/configmaps/a"))[0] == 404


@pytest.mark.parametrize("name", ["a%2Fb", "a%00"])
async def test_names_that_could_leave_their_place_are_refused(api: "Api", name: str) -> None:
    status, _ = await api.call("GET", f"/api/v1/namespaces/default/configmaps/{name}")
    assert status in (400, 404)


async def test_objects_and_refusals_can_be_had_as_yaml(api: "Api") -> None:
    base = await api.namespace("t-yaml")
    await api.call("POST", f"{base}/configmaps", config_map("a", k="yes"))
    status, text = await api.call("GET", f"{base}/configmaps/a", Accept="application/yaml")
    assert status == 200
    assert yaml.safe_load(text)["data"] == {"k": "yes"}
    status, text = await api.call("GET", f"{base}/configmaps/b", Accept="application/yaml")
    assert (status, yaml.safe_load(text)["reason"]) == (404, "NotFound")
    assert (await api.call("GET", f"{base}/configmaps?watch=1", Accept="application/yaml"))[0] == 406


async def test_a_refused_or_raced_update_of_a_service_keeps_no_address(api: "Api") -> None:
    base = await api.namespace("t-undo")
    spec = {"type": "ExternalName", "externalName": "a.example.com", "ports": [{"port": 80}]}
    made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}
    assert (await api.call("POST", f"{base}/services", made))[0] == 201
    change = {"spec": {"type": "ClusterIP", "externalName": None}}
    paths = [f"{base}/services/s?dryRun=All", *[f"{base}/services/s"] * 8]
    labelled = [{**change, "metadata": {"labels": {"n": str(number)}}} for number in range(len(paths))]
    answers = await asyncio.gather(
        *(api.call("PATCH", path, patch, MERGE) for path, patch in zip(paths, labelled, strict=True))
    )
    assert {status for status, _ in answers} == {200}
    _, service = await api.call("GET", f"{base}/services/s")
    _, taken = await api.call("GET", "/apis/networking.k8s.io/v1/ipaddresses")
    ours = [a["metadata"]["name"] for a in taken["items"] if a["spec"]["parentRef"]["namespace"] == "t-undo"]
    assert ours == [service["spec"]["clusterIP"]]


async def test_a_service_cannot_ask_for_two_families_of_addresses(api: "Api") -> None:
    base = await api.namespace("t-stack")
    spec = {"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}
    made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}
    status, refusal = await api.call("POST", f"{base}/services", made)
    assert (status, refusal["details"]["causes"][0]["field"]) == (422, "spec.ipFamilyPolicy")
