"""APIs that another server serves, through a real apiserver to a real TLS server of this test."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cluster.apiserver.aggregation import remote
from tests.fakes.extension_server import Certificates, ExtensionServer, api_service, service_objects
from tests.integration.conftest import Api, serving
from tests.integration.test_apiserver_page_proxies import own_address

SHIPS = {
    "name": "ships", "singularName": "ship", "namespaced": True, "kind": "Ship", "shortNames": ["sh"],
    "verbs": ["create", "delete", "get", "list", "update", "watch"],
}  # fmt: skip
SHIP_STATUS = {"name": "ships/status", "singularName": "", "namespaced": True, "kind": "Ship", "verbs": ["get"]}
AGGREGATED = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def eventually(probe: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await probe():  # noqa: ASYNC110  # the other side is a server, it sets no event of ours
            await asyncio.sleep(0.05)


@dataclass
class Extended:
    """An apiserver and a server that extends it, not yet registered."""

    api: Api
    server: ExtensionServer
    namespace: str
    authorities: str

    @property
    def name(self) -> str:
        return f"{self.server.version}.{self.server.group}"

    async def register(self, authorities: str | None = None, **spec: Any) -> None:
        given = self.authorities if authorities is None else authorities
        wanted = api_service(self.server, self.namespace, given, **spec)
        status, answer = await self.api.call("POST", SERVICES, wanted)
        assert status == 201, answer

    async def connect(self, host: str, port: int) -> None:
        for path, obj in service_objects(self.namespace, host, port):
            status, answer = await self.api.call("POST", path, obj)
            assert status == 201, answer

    async def until(self, reason: str) -> dict[str, Any]:
        """The condition Available, once it has this reason."""
        condition: dict[str, Any] = {}

        async def is_there() -> bool:
            _, found = await self.api.call("GET", f"{SERVICES}/{self.name}")
            condition.update(*((found.get("status") or {}).get("conditions") or [{}]))
            return condition.get("reason") == reason

        try:
            await eventually(is_there)
        except TimeoutError:
            pytest.fail(f"no condition with reason {reason} but {condition}")
        return condition

    async def is_current(self) -> bool:
        return (await self.version_in_discovery() or {}).get("freshness") == "Current"

    async def version_in_discovery(self) -> dict[str, Any] | None:
        _, found = await self.api.call("GET", "/apis", **AGGREGATED)
        for item in found["items"]:
            if item["metadata"]["name"] == self.server.group:
                return dict(next((v for v in item["versions"] if v["version"] == self.server.version), {}))
        return None


@pytest.fixture
async def extended(etcd_url: str, tmp_path: Path) -> AsyncIterator[Extended]:
    certificates = Certificates(tmp_path)
    host = own_address()
    certificate, key = certificates.proxy_client()
    flags = (
        "--enable-aggregator-routing=true",
        f"--proxy-client-cert-file={certificate}",
        f"--proxy-client-key-file={key}",
    )
    unique = base64.b32encode(str(tmp_path).encode()[-12:]).decode().lower().strip("=")
    namespace = f"x{unique}"
    server = ExtensionServer(f"{namespace}.example.com", "v1", [SHIPS, SHIP_STATUS])
    context = certificates.server_context(f"extension.{namespace}.svc")
    authorities = base64.b64encode(certificates.servers.certificate_pem).decode()
    async with serving(etcd_url, tmp_path / "server", *flags) as api, server.running(host, context):
        await api.namespace(namespace)
        found = Extended(api, server, namespace, authorities)
        yield found
        await api.call("DELETE", f"{SERVICES}/{found.name}")


@pytest.fixture
async def ready(extended: Extended) -> Extended:
    """The same, registered and available."""
    await extended.connect(own_address(), extended.server.port)
    await extended.register()
    await extended.until("Passed")
    return extended


async def test_requests_reach_the_other_server_with_the_users_identity(ready: Extended) -> None:
    path = f"{ready.server.root}/namespaces/a/ships/b%20c?x=1&x=2%26"
    sent = {
        "Impersonate-User": "jane", "Impersonate-Uid": "u1", "Impersonate-Group": "crew",
        "Impersonate-Extra-Scopes.example.com%2Fa": "read", "X-Remote-User": "root", "X-Remote-Extra-Evil": "1",
        "X-Own": "kept",
    }  # fmt: skip
    rules = [{"apiGroups": [ready.server.group], "resources": ["ships"], "verbs": ["update"]}]
    await let(ready.api, "jane", ready.namespace, rules)

    status, heard = await ready.api.call("PUT", path, {"a": 1}, **sent)

    assert (status, heard["method"], heard["path"], heard["body"]) == (200, "PUT", path, 8), heard
    assert {k.lower(): sorted(v) for k, v in heard["user"].items()} == {
        "x-remote-user": ["jane"],
        "x-remote-uid": ["u1"],
        "x-remote-group": ["crew", "system:authenticated"],
        "x-remote-extra-scopes.example.com%2fa": ["read"],
    }
    assert heard["headers"]["X-Own"] == "kept"
    assert heard["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert not {"Authorization", "Impersonate-User"} & set(heard["headers"])


async def let(api: Api, user: str, name: str, rules: list[dict[str, Any]]) -> None:
    base = "/apis/rbac.authorization.k8s.io/v1"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    assert (await api.call("POST", f"{base}/clusterroles", {**role, "rules": rules}))[0] == 201
    binding = {
        **role,
        "kind": "ClusterRoleBinding",
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": "rbac.authorization.k8s.io"},
    }
    assert (await api.call("POST", f"{base}/clusterrolebindings", binding))[0] == 201


async def test_who_is_not_allowed_does_not_get_there(ready: Extended) -> None:
    before = len(ready.server.asked)

    status, refusal = await ready.api.call("GET", f"{ready.server.root}/ships", **{"Impersonate-User": "nobody"})

    assert status == 403
    assert f'cannot list resource "ships" in API group "{ready.server.group}"' in refusal["message"]
    assert not [one for one in ready.server.asked[before:] if "ships" in one[1]]


async def test_a_watch_streams_and_an_upgrade_is_a_tunnel(ready: Extended) -> None:
    url = ready.api.url + ready.server.root
    async with ready.api.session.get(f"{url}/ships?watch=true") as answer:
        events = [json.loads(line) async for line in answer.content]
    assert [event["object"]["number"] for event in events] == [0, 1, 2]

    async with ready.api.session.ws_connect(f"{url}/namespaces/a/ships/b/chat") as chat:
        assert await chat.receive_str(timeout=5) == "admin"
        await chat.send_str("hello")
        assert await chat.receive_str(timeout=5) == "HELLO"


async def test_redirects_are_not_passed_on(ready: Extended) -> None:
    status, text = await ready.api.call("GET", f"{ready.server.root}/namespaces/a/ships/away")
    assert (status, text) == (502, "the backend attempted to redirect this request, which is not permitted")

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await ready.api.session.ws_connect(f"{ready.api.url}{ready.server.root}/namespaces/a/ships/b/away")
    assert refused.value.status == 502


async def test_a_path_that_could_be_read_in_two_ways_is_refused(ready: Extended) -> None:
    before = len(ready.server.asked)
    for path in ("namespaces/a/ships/../../b", "namespaces/a/ships/x/sub/..%2f..%2fy", "namespaces/a%2f..%2fb/ships/x"):
        status, answer = await ready.api.call("GET", f"{ready.server.root}/{path}")
        assert status == 400, answer
    assert not [one for one in ready.server.asked[before:] if ".." in one[1]]


async def test_discovery_has_what_the_other_server_serves(ready: Extended) -> None:
    await eventually(ready.is_current)

    version = await ready.version_in_discovery()
    assert version is not None
    assert version["resources"][0]["resource"] == "ships"
    _, groups = await ready.api.call("GET", "/apis")
    assert [g["name"] for g in groups["groups"]][-1] == ready.server.group, "its priority is the lowest"
    _, group = await ready.api.call("GET", f"/apis/{ready.server.group}")
    assert group["preferredVersion"] == {"groupVersion": f"{ready.server.group}/v1", "version": "v1"}
    _, listed = await ready.api.call("GET", ready.server.root)
    assert [one["name"] for one in listed["resources"]] == ["ships", "ships/status"]
    _, root = await ready.api.call("GET", "/")
    assert ready.server.root in root["paths"]


async def test_a_server_without_aggregated_discovery_is_asked_in_the_old_way(extended: Extended) -> None:
    extended.server.aggregated = False
    await extended.connect(own_address(), extended.server.port)
    await extended.register()
    await extended.until("Passed")
    await eventually(extended.is_current)

    version = await extended.version_in_discovery()

    kind = {"group": extended.server.group, "version": "v1", "kind": "Ship"}
    assert version is not None
    assert version["resources"] == [
        {
            "resource": "ships", "responseKind": kind, "scope": "Namespaced", "singularResource": "ship",
            "verbs": SHIPS["verbs"], "shortNames": ["sh"],
            "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["get"]}],
        }
    ]  # fmt: skip


async def test_openapi_documents_are_merged(extended: Extended) -> None:
    server = extended.server
    root, url = server.root, f"/openapi/v3{server.root}?hash=ABC"
    server.pages["/openapi/v3"] = {
        "paths": {root[1:]: {"serverRelativeURL": url}, "api/v1": {"serverRelativeURL": "/"}}
    }
    server.pages[f"/openapi/v3{root}"] = {"openapi": "3.0.0", "paths": {}}
    ship = {"type": "object", "properties": {"metadata": {"$ref": "#/definitions/Meta"}}}
    server.pages["/openapi/v2"] = {
        "swagger": "2.0",
        "paths": {f"{root}/ships": {"get": {"schema": {"$ref": "#/definitions/Ship"}}}, "/version": {}},
        "definitions": {"Ship": ship, "Meta": {"type": "object"}, "Unused": {}},
    }
    await extended.connect(own_address(), server.port)
    await extended.register()
    await extended.until("Passed")

    async def is_merged() -> bool:
        return f"{root}/ships" in (await extended.api.call("GET", "/openapi/v2"))[1]["paths"]

    await eventually(is_merged)
    _, index = await extended.api.call("GET", "/openapi/v3")
    assert index["paths"][root[1:]] == {"serverRelativeURL": url}
    assert index["paths"]["api/v1"]["serverRelativeURL"] != "/"
    assert await extended.api.call("GET", url) == (200, {"openapi": "3.0.0", "paths": {}})
    _, whole = await extended.api.call("GET", "/openapi/v2")
    assert whole["definitions"]["Ship"] == ship
    assert "Unused" not in whole["definitions"]
    assert "/api/v1/pods" in whole["paths"]


async def test_what_is_wrong_is_told_step_by_step_until_nothing_is(extended: Extended) -> None:
    name, namespace = extended.name, extended.namespace
    await extended.register()

    found = await extended.until("ServiceNotFound")
    assert (found["status"], found["message"]) == ("False", f'service/extension in "{namespace}" is not present')
    assert await extended.api.call("GET", f"{extended.server.root}/ships") == (503, "service unavailable\n")
    gauge = f'aggregator_unavailable_apiservice{{name="{name}"}}'
    assert f"{gauge} 1.0" in (await extended.api.call("GET", "/metrics"))[1]

    (services, service), (slices, slice_) = service_objects(namespace, own_address(), extended.server.port)
    assert (await extended.api.call("POST", services, service))[0] == 201
    found = await extended.until("EndpointsNotFound")
    assert found["message"] == f'cannot find endpointslices for service/extension in "{namespace}"'
    endpoint = {"addresses": [own_address()], "conditions": {"ready": False}}
    assert (await extended.api.call("POST", slices, {**slice_, "endpoints": [endpoint]}))[0] == 201
    await extended.until("MissingEndpoints")

    extended.server.fails = True
    assert (await extended.api.call("PUT", f"{slices}/extension-1", slice_))[0] == 200
    found = await extended.until("FailedDiscoveryCheck")
    assert "bad status from https://" in found["message"]
    extended.server.fails = False
    found = await extended.until("Passed")
    assert (found["status"], found["message"]) == ("True", "all checks passed")
    assert (await extended.api.call("GET", f"{extended.server.root}/ships"))[0] == 200
    assert f"{gauge} 0.0" in (await extended.api.call("GET", "/metrics"))[1]


async def test_a_certificate_of_nobody_we_know_is_not_good_enough(extended: Extended) -> None:
    other = Certificates(Path("/nonexistent"))
    await extended.connect(own_address(), extended.server.port)
    await extended.register(base64.b64encode(other.servers.certificate_pem).decode())
    await extended.until("Passed")

    status, text = await extended.api.call("GET", f"{extended.server.root}/ships")

    assert status == 503
    assert text.startswith("error trying to reach service: tls: ")
    assert not [one for one in extended.server.asked if "ships" in one[1]]


async def test_a_server_that_has_gone_is_unavailable_and_its_last_words_are_stale(ready: Extended) -> None:
    await eventually(ready.is_current)
    path = f"/apis/discovery.k8s.io/v1/namespaces/{ready.namespace}/endpointslices/extension-1"
    (_, _), (_, slice_) = service_objects(ready.namespace, own_address(), 1)

    assert (await ready.api.call("PUT", path, slice_))[0] == 200

    status, text = await ready.api.call("GET", f"{ready.server.root}/ships")
    assert (status, text.rstrip().rpartition(": ")[2]) in ((503, "connection refused"), (503, "service unavailable"))
    found = await ready.until("FailedDiscoveryCheck")
    assert "connect: connection refused" in found["message"]
    version = await ready.version_in_discovery()
    assert version is not None
    assert (version["freshness"], version["resources"][0]["resource"]) == ("Stale", "ships")


async def test_a_slow_server_is_not_waited_for_and_keeps_nobody_else_waiting(
    extended: Extended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "DISCOVERY_SECONDS", 0.3)
    monkeypatch.setattr(remote, "REQUEST_SECONDS", 0.3)
    await extended.connect(own_address(), extended.server.port)
    await extended.register()
    await extended.until("Passed")
    extended.server.slow = True

    for path in (extended.server.root, f"{extended.server.root}/ships"):
        late, local = await asyncio.gather(extended.api.call("GET", path), extended.api.call("GET", "/api/v1/nodes"))
        assert late == (503, "error trying to reach service: context deadline exceeded\n")
        assert local[0] == 200


async def test_a_request_that_another_server_works_on_takes_nobodys_seat(ready: Extended) -> None:
    ready.server.slow = True
    waiting = asyncio.create_task(ready.api.call("GET", f"{ready.server.root}/namespaces/a/ships/slow"))

    async def has_arrived() -> bool:
        return any("ships/slow" in path for _, path, _ in ready.server.asked)

    await eventually(has_arrived)
    _, told = await ready.api.call("GET", "/metrics")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    seats = re.findall(r"^apiserver_flowcontrol_current_executing_seats.* (\d+)$", told, re.MULTILINE)
    assert sum(map(int, seats)) == 1, "that of the request for the metrics"


async def test_a_service_that_leads_back_to_this_host_is_not_followed(extended: Extended) -> None:
    (path, service), _ = service_objects(extended.namespace, own_address(), extended.server.port)
    service["spec"] = {"type": "ExternalName", "externalName": "localhost"}
    assert (await extended.api.call("POST", path, service))[0] == 201
    # Without --enable-aggregator-routing a name is dialled as it is.
    extended.api.server.services._to_endpoints = False
    await extended.register()

    assert (await extended.until("FailedDiscoveryCheck"))["message"] == "address not allowed"
    assert (await extended.api.call("GET", f"{extended.server.root}/ships"))[0] == 503
    assert not extended.server.asked


async def test_definitions_get_an_api_service_unless_somebody_else_has_the_name(extended: Extended) -> None:
    group, api = extended.server.group, extended.api
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"ships.{group}"},
        "spec": {
            "group": group,
            "names": {"plural": "ships", "kind": "Ship"},
            "scope": "Namespaced",
            "versions": [
                {"name": v, "served": True, "storage": v == "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}
                for v in ("v1", "v2")
            ],
        },
    }
    await extended.connect(own_address(), extended.server.port)
    await extended.register()
    await extended.until("Passed")
    assert (await api.call("POST", DEFINITIONS, definition))[0] == 201

    async def is_registered() -> bool:
        return bool(((await api.call("GET", f"{SERVICES}/v2.{group}"))[1].get("status") or {}).get("conditions"))

    async def is_gone() -> bool:
        return (await api.call("GET", f"{SERVICES}/v2.{group}"))[0] == 404

    async def is_ours(version: str) -> bool:
        status, found = await api.call("GET", f"/apis/{group}/{version}/ships")
        return status == 200 and bool(found["kind"] == "ShipList")

    await eventually(is_registered)
    _, local = await api.call("GET", f"{SERVICES}/v2.{group}")
    assert local["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    assert (local["spec"]["groupPriorityMinimum"], local["spec"]["versionPriority"]) == (1000, 100)
    assert local["status"]["conditions"][0]["reason"] == "Local"
    assert (await api.call("GET", f"/apis/{group}/v1/ships"))[1]["kind"] == "Heard", "the other server comes first"
    await eventually(lambda: is_ours("v2"))

    assert (await api.call("DELETE", f"{SERVICES}/v1.{group}"))[0] == 200
    await eventually(lambda: is_ours("v1"))
    assert (await api.call("DELETE", f"{DEFINITIONS}/ships.{group}"))[0] == 200
    await eventually(is_gone)


async def test_the_api_of_api_services_is_never_given_away(extended: Extended) -> None:
    server = ExtensionServer("apiregistration.k8s.io", "v1", [])
    wanted = api_service(server, extended.namespace)
    assert (await extended.api.call("POST", SERVICES, wanted))[0] == 201
    try:
        assert (await extended.api.call("GET", SERVICES))[1]["kind"] == "APIServiceList"
    finally:
        assert (await extended.api.call("DELETE", f"{SERVICES}/v1.apiregistration.k8s.io"))[0] == 200
