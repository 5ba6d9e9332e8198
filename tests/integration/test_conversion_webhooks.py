"""Custom resources in two versions that a webhook converts, against a real apiserver and a real HTTPS server."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster.apiserver.app import Apiserver
from tests.integration.conftest import server_options
from tests.integration.webhook_server import Answer, WebhookServer, webhook_server

if TYPE_CHECKING:
    from tests.integration.conftest import Api

MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def convert(asked: dict[str, Any]) -> Answer:
    """v1 has `spec.hostPort: "host:port"`, v2 has host and port apart."""
    return {"result": {"status": "Success"}, "convertedObjects": [one(o, asked) for o in asked["objects"]]}


def one(obj: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    wanted, spec = asked["desiredAPIVersion"], dict(obj.get("spec") or {})
    if wanted.endswith("/v2"):
        host, _, port = spec.pop("hostPort", ":").partition(":")
        spec |= {"host": host, "port": port}
    else:
        spec["hostPort"] = f"{spec.pop('host', '')}:{spec.pop('port', '')}"
    return {**obj, "apiVersion": wanted, "spec": spec}


def version(name: str, *fields: str, storage: bool) -> dict[str, Any]:
    spec = {"type": "object", "properties": {one: {"type": "string"} for one in fields}}
    properties = {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": f".spec.{fields[0]}"}],
        "additionalPrinterColumns": [{"name": "First", "type": "string", "jsonPath": f".spec.{fields[0]}"}],
    }


def definition(group: str, hook: WebhookServer, stored: str = "v1") -> dict[str, Any]:
    conversion = {"clientConfig": hook.client("/convert"), "conversionReviewVersions": ["v1"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"doors.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "doors", "kind": "Door"},
            "conversion": {"strategy": "Webhook", "webhook": conversion},
            "versions": [
                version("v1", "hostPort", storage=stored == "v1"),
                version("v2", "host", "port", storage=stored == "v2"),
            ],
        },
    }


def door(group: str, name: str, version: str = "v1", **spec: str) -> dict[str, Any]:
    return {"apiVersion": f"{group}/{version}", "kind": "Door", "metadata": {"name": name}, "spec": spec}


async def define(api: "Api", wanted: dict[str, Any]) -> dict[str, Any]:
    status, made = await api.call("POST", CRDS, wanted)
    assert status == 201, made
    group = wanted["spec"]["group"]
    for _ in range(200):
        if (await api.call("GET", f"/apis/{group}/v2/namespaces/default/doors"))[0] == 200:
            return dict(made)
        await asyncio.sleep(0.02)
    raise AssertionError(f"{wanted['metadata']['name']} is not served")


def base(group: str, version: str) -> str:
    return f"/apis/{group}/{version}/namespaces/default/doors"


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path) as server:
        server.handlers["/convert"] = convert
        yield server


async def test_objects_are_read_and_written_in_the_version_that_is_not_stored(api: "Api", hook: WebhookServer) -> None:
    group = "rw.doors.example.com"
    await define(api, definition(group, hook))
    v1, v2 = base(group, "v1"), base(group, "v2")
    await api.call("POST", v1, door(group, "a", hostPort="web:80"))
    status, made = await api.call("POST", v2, door(group, "b", "v2", host="db", port="5432"))
    assert (status, made["apiVersion"], made["spec"]) == (201, f"{group}/v2", {"host": "db", "port": "5432"})
    assert (await api.call("GET", f"{v1}/b"))[1]["spec"] == {"hostPort": "db:5432"}
    assert (await api.call("GET", f"{v2}/a"))[1]["spec"] == {"host": "web", "port": "80"}

    _, patched = await api.call("PATCH", f"{v2}/a", {"spec": {"port": "81"}}, MERGE)
    assert (patched["apiVersion"], patched["spec"]) == (f"{group}/v2", {"host": "web", "port": "81"})
    _, put = await api.call("GET", f"{v2}/a")
    put["spec"]["host"] = "www"
    status, put = await api.call("PUT", f"{v2}/a", put)
    assert (status, put["spec"]) == (200, {"host": "www", "port": "81"})
    _, told = await api.call("PATCH", f"{v2}/a/status", {"status": {"open": True}}, MERGE)
    assert (told["status"], told["spec"]["host"]) == ({"open": True}, "www")
    _, found = await api.call("GET", f"{v1}/a")
    assert (found["spec"], found["status"]) == ({"hostPort": "www:81"}, {"open": True})

    applied = door(group, "c", "v2", host="x", port="1")
    status, made = await api.call("PATCH", f"{v2}/c?fieldManager=me", applied, APPLY)
    assert (status, made["spec"]) == (201, {"host": "x", "port": "1"})
    applied["spec"]["port"] = "2"
    status, made = await api.call("PATCH", f"{v2}/c?fieldManager=me", applied, APPLY)
    assert (status, made["spec"]) == (200, {"host": "x", "port": "2"})

    _, listed = await api.call("GET", v2)
    assert [(item["apiVersion"], item["spec"]["host"]) for item in listed["items"]] == [
        (f"{group}/v2", "www"), (f"{group}/v2", "db"), (f"{group}/v2", "x"),
    ]  # fmt: skip
    _, found = await api.call("GET", f"{v2}?fieldSelector=spec.host%3Ddb")
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
    _, page = await api.call("GET", f"{v2}?fieldSelector=spec.host%21%3Ddb&limit=1")
    _, rest = await api.call(
        "GET", f"{v2}?fieldSelector=spec.host%21%3Ddb&limit=1&continue={page['metadata']['continue']}"
    )
    assert [item["metadata"]["name"] for item in (*page["items"], *rest["items"])] == ["a", "c"]
    _, table = await api.call("GET", v2, Accept=TABLE)
    assert [row["cells"] for row in table["rows"]] == [["a", "www"], ["b", "db"], ["c", "x"]]

    status, gone = await api.call("DELETE", f"{v2}/b")
    assert (status, gone["details"]["name"]) == (200, "b")
    await api.call("DELETE", f"{CRDS}/doors.{group}")


async def test_one_call_converts_many_objects_of_a_list(api: "Api", hook: WebhookServer) -> None:
    group = "many.doors.example.com"
    await define(api, definition(group, hook))
    for number in range(120):
        await api.call("POST", base(group, "v1"), door(group, f"d{number:03}", hostPort=f"h{number}:1"))
    assert hook.asked("/convert") == []
    _, listed = await api.call("GET", base(group, "v2"))
    assert [item["spec"]["host"] for item in listed["items"]] == [f"h{number}" for number in range(120)]
    assert [len(asked["objects"]) for asked in hook.asked("/convert")] == [100, 20]
    await api.call("DELETE", f"{CRDS}/doors.{group}")


async def test_watches_see_converted_events_in_order(api: "Api", hook: WebhookServer) -> None:
    group = "watch.doors.example.com"
    await define(api, definition(group, hook))
    v1, v2 = base(group, "v1"), base(group, "v2")
    await api.call("POST", v1, door(group, "first", hostPort="web:0"))
    query = "watch=1&timeoutSeconds=5&fieldSelector=spec.host%3Dweb"

    async def slow(asked: dict[str, Any]) -> Answer:
        await asyncio.sleep(0.02)
        return convert(asked)

    hook.handlers["/convert"] = slow
    async with api.session.get(f"{api.url}{v2}?{query}", timeout=None) as answer:
        events = [json.loads(await answer.content.readline())]
        await api.call("POST", v2, door(group, "second", "v2", host="web", port="0"))
        for port in range(1, 6):
            await api.call("PATCH", f"{v1}/first", {"spec": {"hostPort": f"web:{port}"}}, MERGE)
        await api.call("PATCH", f"{v1}/second", {"spec": {"hostPort": "db:0"}}, MERGE)
        await api.call("DELETE", f"{v1}/first")
        while len(events) < 9:
            events.append(json.loads(await answer.content.readline()))
    seen = [(e["type"], e["object"]["metadata"]["name"], e["object"]["spec"]) for e in events]
    assert seen == [
        ("ADDED", "first", {"host": "web", "port": "0"}),
        ("ADDED", "second", {"host": "web", "port": "0"}),
        *(("MODIFIED", "first", {"host": "web", "port": str(port)}) for port in range(1, 6)),
        ("DELETED", "second", {"host": "web", "port": "0"}),
        ("DELETED", "first", {"host": "web", "port": "5"}),
    ]
    revisions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert revisions == sorted(revisions)
    assert all(e["object"]["apiVersion"] == f"{group}/v2" for e in events)
    await api.call("DELETE", f"{CRDS}/doors.{group}")


async def test_the_storage_version_may_change_while_old_objects_stay(
    api: "Api", hook: WebhookServer, etcd_url: str, tmp_path: Path
) -> None:
    group = "move.doors.example.com"
    await define(api, definition(group, hook))
    v1, v2 = base(group, "v1"), base(group, "v2")
    await api.call("POST", v1, door(group, "old", hostPort="web:80"))
    _, found = await api.call("GET", f"{CRDS}/doors.{group}")
    found["spec"]["versions"] = definition(group, hook, "v2")["spec"]["versions"]
    status, changed = await api.call("PUT", f"{CRDS}/doors.{group}", found)
    assert (status, changed["status"]["storedVersions"]) == (200, ["v1", "v2"])
    for _ in range(100):
        kind = api.server.registry.find(group, "v2", "doors")
        if kind is not None and kind.storage_version == f"{group}/v2":
            break
        await asyncio.sleep(0.02)
    await api.call("POST", v1, door(group, "new", hostPort="db:1"))
    assert kind is not None
    assert [entry.api_version for entry in kind.cache.entries()] == [f"{group}/v2", f"{group}/v1"]
    for path, shown in ((v1, ["db:1", "web:80"]), (v2, ["db", "web"])):
        _, listed = await api.call("GET", path)
        assert [next(iter(item["spec"].values())) for item in listed["items"]] == shown
    # Writing moves it over, even when nothing changes.
    _, old = await api.call("GET", f"{v1}/old")
    await api.call("PUT", f"{v1}/old", old)
    for _ in range(100):
        if {entry.api_version for entry in kind.cache.entries()} == {f"{group}/v2"}:
            break
        await asyncio.sleep(0.02)
    assert [entry.api_version for entry in kind.cache.entries()] == [f"{group}/v2"] * 2
    # Another server, started afterwards, shows the same.
    (tmp_path / "later").mkdir()
    later = Apiserver(server_options(etcd_url, tmp_path / "later"))
    async with later.run():
        url = f"https://127.0.0.1:{later.port}{v1}"
        async with api.session.get(url, ssl=False) as answer:
            listed = await answer.json()
    assert [item["spec"]["hostPort"] for item in listed["items"]] == ["db:1", "web:80"]
    await api.call("DELETE", f"{CRDS}/doors.{group}")


async def test_without_the_webhook_the_other_version_says_why_and_all_else_works(api: "Api", tmp_path: Path) -> None:
    group = "down.doors.example.com"
    async with webhook_server(tmp_path) as hook:
        hook.handlers["/convert"] = convert
        await define(api, definition(group, hook))
        v1, v2 = base(group, "v1"), base(group, "v2")
        await api.call("POST", v1, door(group, "a", hostPort="web:80"))
        port = hook.port
    why = (
        f'conversion webhook for {group}/v1, Kind=Door failed: Post "https://127.0.0.1:{port}/convert?timeout=30s": '
        f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    )
    for path in (f"{v2}/a", v2):
        status, refused = await api.call("GET", path)
        assert (status, refused["message"]) == (500, why)
    status, refused = await api.call("POST", v2, door(group, "b", "v2", host="db", port="1"))
    assert (status, refused["message"]) == (500, why.replace("/v1, Kind", "/v2, Kind"))
    async with api.session.get(f"{api.url}{v2}?watch=1&timeoutSeconds=3") as answer:
        event = json.loads(await answer.content.readline())
    assert (event["type"], event["object"]["code"], event["object"]["message"]) == ("ERROR", 500, why)
    assert (await api.call("GET", f"{v1}/a"))[0] == 200
    assert (await api.call("GET", "/api/v1/namespaces"))[0] == 200
    async with webhook_server(tmp_path, port) as hook:
        hook.handlers["/convert"] = convert
        assert (await api.call("GET", f"{v2}/a"))[1]["spec"] == {"host": "web", "port": "80"}
    await api.call("DELETE", f"{CRDS}/doors.{group}")


def renamed(asked: dict[str, Any]) -> Answer:
    answer = convert(asked)
    for obj in answer["convertedObjects"]:
        obj["metadata"] = {**obj["metadata"], "name": "other"}
    return answer


def labelled(asked: dict[str, Any]) -> Answer:
    answer = convert(asked)
    for obj in answer["convertedObjects"]:
        obj["metadata"] = {**obj["metadata"], "labels": {"by": "hook"}, "finalizers": ["hook.example.com/own"]}
    return answer


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (lambda asked: {"result": {"status": "Failed", "message": "no idea"}}, "failed: no idea"),
        (lambda asked: {"result": {"status": "Success"}}, "returned 0 objects, expected 1"),
        (lambda asked: {"uid": "x"}, "failed: expected response.uid="),
        (
            lambda asked: {"result": {"status": "Success"}, "convertedObjects": asked["objects"]},
            "returned invalid converted object at index 0: invalid groupVersion",
        ),
        (renamed, "returned invalid converted object at index 0: must have the same name: a != other"),
    ],
)
async def test_an_answer_that_is_no_conversion_is_refused(
    api: "Api", hook: WebhookServer, handler: Any, why: str
) -> None:
    group = "bad.doors.example.com"
    await define(api, definition(group, hook))
    await api.call("POST", base(group, "v1"), door(group, "a", hostPort="web:80"))
    hook.handlers["/convert"] = handler
    status, refused = await api.call("GET", f"{base(group, 'v2')}/a")
    assert (status, f"conversion webhook for {group}/v1, Kind=Door {why}" in refused["message"]) == (500, True), refused
    await api.call("DELETE", f"{CRDS}/doors.{group}")
    for _ in range(200):
        if (await api.call("GET", f"{CRDS}/doors.{group}"))[0] == 404:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the definition stays")


async def test_of_metadata_a_webhook_changes_labels_and_annotations_alone(api: "Api", hook: WebhookServer) -> None:
    group = "meta.doors.example.com"
    await define(api, definition(group, hook))
    await api.call("POST", base(group, "v1"), door(group, "a", hostPort="web:80"))
    hook.handlers["/convert"] = labelled
    _, found = await api.call("GET", f"{base(group, 'v2')}/a")
    assert found["metadata"]["labels"] == {"by": "hook"}
    assert "finalizers" not in found["metadata"]
    _, listed = await api.call("GET", f"{base(group, 'v2')}?labelSelector=by%3Dhook")
    assert len(listed["items"]) == 1
    await api.call("DELETE", f"{CRDS}/doors.{group}")


async def test_admission_webhooks_see_and_change_custom_resources_in_the_version_of_their_rule(
    api: "Api", hook: WebhookServer
) -> None:
    group = "admit.doors.example.com"
    await define(api, definition(group, hook))

    def move(asked: dict[str, Any]) -> Answer:
        operations = [{"op": "replace", "path": "/spec/hostPort", "value": asked["object"]["spec"]["hostPort"] + "0"}]
        encoded = base64.b64encode(json.dumps(operations).encode()).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}

    hook.handlers["/move"] = move
    rule = {"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": ["doors"]}
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": group},
        "webhooks": [{
            "name": "move.example.com", "clientConfig": hook.client("/move"), "rules": [rule],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }],
    }  # fmt: skip
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    assert (await api.call("POST", path, configuration))[0] == 201
    await api.server.cache.catch_up()
    status, made = await api.call("POST", base(group, "v2"), door(group, "a", "v2", host="web", port="8"))
    assert (status, made["apiVersion"], made["spec"]) == (201, f"{group}/v2", {"host": "web", "port": "80"})
    [asked] = hook.asked("/move")
    assert (asked["kind"]["version"], asked["requestKind"]["version"]) == ("v1", "v2")
    await api.call("DELETE", f"{path}/{group}")
    await api.call("DELETE", f"{CRDS}/doors.{group}")
