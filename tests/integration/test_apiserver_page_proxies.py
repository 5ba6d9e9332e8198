"""Pages of Pods, Services and Nodes through a real apiserver; the pages are served by this test, on this host."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

if TYPE_CHECKING:
    from tests.integration.conftest import Api

PAGE = b'<html><body background="/b.png"><a href="/next?x=1">n</a> <a href="far">f</a> &amp; <img src="//o/i"></body>'


def own_address() -> str:
    """An address of this host that is not loopback; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has loopback addresses only, and proxies do not go there")
        return str(probe.getsockname()[0])


@dataclass
class Backend:
    host: str
    port: int = 0
    seen: list[web.BaseRequest] = field(default_factory=list)
    received: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request)
        path = request.rel_url.path
        if path == "/chat":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data.upper())
            return socket
        if path == "/away":
            return web.Response(status=302, headers={"Location": "/here?y=2"})
        if path == "/nothing":
            return web.Response(status=204)
        if path == "/half":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"half of it")
            assert request.transport is not None
            request.transport.abort()
            return response
        if path == "/page":
            return web.Response(body=PAGE, content_type="text/html")
        async for chunk in request.content.iter_any():
            self.received += len(chunk)
        headers = {"Access-Control-Allow-Origin": "*", "X-Kept": "yes", "Connection": "X-Dropped", "X-Dropped": "1"}
        text = f"{request.method} {request.rel_url.raw_path_qs} {self.received}"
        return web.Response(text=text, headers=headers)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    found = Backend(own_address())
    server = web.Server(found.answer)
    listener = await asyncio.get_running_loop().create_server(server, found.host, 0)
    found.port = listener.sockets[0].getsockname()[1]
    yield found
    listener.close()
    await server.shutdown(1)


@pytest.fixture
async def pod(api: "Api", backend: Backend) -> str:
    """Path of a Pod that says it has the backend's address."""
    base = await api.namespace(f"pages-{backend.port}")
    port = {"name": "web", "containerPort": backend.port}
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i", "ports": [port]}]}
    created = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    assert (await api.call("POST", f"{base}/pods", created))[0] == 201
    await tell_address(api, f"{base}/pods/p", backend.host)
    return f"{base}/pods/p"


async def tell_address(api: "Api", pod: str, address: str) -> None:
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    code, answer = await api.call("PATCH", f"{pod}/status", status, "application/merge-patch+json")
    assert code == 200, answer


async def make_service(api: "Api", base: str, slice_: dict[str, Any], name: str = "s") -> None:
    spec = {"ports": [{"name": "web", "port": 81, "targetPort": 8081}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    assert (await api.call("POST", f"{base}/services", service))[0] == 201
    metadata = {"name": name, "labels": {"kubernetes.io/service-name": name}}
    made = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "metadata": metadata}
    path = base.replace("/api/v1", "/apis/discovery.k8s.io/v1")
    code, answer = await api.call("POST", f"{path}/endpointslices", {**made, **slice_})
    assert code == 201, answer


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_reaches_a_pod_with_its_path_and_query(
    api: "Api", pod: str, backend: Backend, method: str
) -> None:
    path = f"{pod}:{backend.port}/proxy/a%3Fb/c%20d/?q=1&q=2%26"

    assert await api.call(method, path) == (200, f"{method} /a%3Fb/c%20d/?q=1&q=2%26 0")


async def test_an_answer_without_a_body_stays_one(api: "Api", pod: str, backend: Backend) -> None:
    async with api.session.head(f"{api.url}{pod}/proxy/x") as answer:
        assert (answer.status, answer.headers["Content-Length"], await answer.read()) == (200, "9", b"")
    async with api.session.get(f"{api.url}{pod}/proxy/nothing") as answer:
        assert (answer.status, await answer.read()) == (204, b"")


async def test_an_answer_that_breaks_off_does_not_look_like_a_whole_one(api: "Api", pod: str, backend: Backend) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with api.session.get(f"{api.url}{pod}/proxy/half") as answer:
            await answer.read()


async def test_credentials_and_hops_stay_and_the_client_is_named(api: "Api", pod: str, backend: Backend) -> None:
    asked = {"X-Own": "1", "Connection": "X-Hop", "X-Hop": "1", "Proxy-Authorization": "secret"}
    async with api.session.get(f"{api.url}{pod}:web/proxy/x", headers=asked) as answer:
        assert answer.headers["X-Kept"] == "yes"
        assert not {"Access-Control-Allow-Origin", "X-Dropped"} & set(answer.headers)

    seen = backend.seen[-1].headers
    assert seen["X-Own"] == "1"
    assert not {"Authorization", "X-Hop", "Proxy-Authorization"} & set(seen)
    assert seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["X-Forwarded-Uri"] == f"{pod}:web/proxy/x"
    assert seen["Host"] == api.url.removeprefix("https://")


async def test_a_large_body_goes_through_in_pieces(api: "Api", pod: str, backend: Backend) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(1 << 20)

    async with api.session.post(f"{api.url}{pod}/proxy/up", data=pieces()) as answer:
        assert await answer.text() == f"POST /up {64 << 20}"


async def test_links_and_redirects_lead_through_the_proxy(api: "Api", pod: str, backend: Backend) -> None:
    prefix = f"{pod}:web/proxy"
    _, page = await api.call("GET", f"{prefix}/page")
    assert f'<body background="{prefix}/b.png">' in page
    assert f'<a href="{prefix}/next?x=1">n</a> <a href="far">f</a> &amp; <img src="//o/i"></body>' in page

    async with api.session.get(f"{api.url}{prefix}/away", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, f"{prefix}/here?y=2")
    assert [request.rel_url.path for request in backend.seen] == ["/page", "/away"], "redirects are not followed"


async def test_the_slash_at_the_end_is_added_for_reads(api: "Api", pod: str, backend: Backend) -> None:
    async with api.session.get(f"{api.url}{pod}/proxy?a=b", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"{pod}/proxy/?a=b")
    assert await api.call("POST", f"{pod}/proxy?a=b") == (200, "POST /?a=b 0")


async def test_a_websocket_goes_through_and_its_connection_is_forgotten(api: "Api", pod: str, backend: Backend) -> None:
    async with api.session.ws_connect(f"{api.url}{pod}:web/proxy/chat") as chat:
        await chat.send_str("hello")
        assert await chat.receive_str(timeout=5) == "HELLO"
    async with api.session.get(f"{api.url}{pod}:web/proxy/still") as answer:
        assert answer.status == 200


async def test_a_refused_upgrade_is_quoted(api: "Api", pod: str, backend: Backend) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.session.ws_connect(f"{api.url}{pod}:web/proxy/plain")
    assert refused.value.status == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_our_own_host_and_link_are_out_of_bounds(api: "Api", pod: str, backend: Backend, address: str) -> None:
    await tell_address(api, pod, address)

    status, refusal = await api.call("GET", f"{pod}:{backend.port}/proxy/")

    assert (status, refusal["message"]) == (400, "address not allowed")
    assert not backend.seen


async def test_a_pod_that_nobody_listens_for_is_unavailable(api: "Api", pod: str, backend: Backend) -> None:
    status, refusal = await api.call("GET", f"{pod}:1/proxy/")

    assert (status, refusal["reason"]) == (503, "ServiceUnavailable")
    assert refusal["message"] == (
        f"error trying to reach service: dial tcp {backend.host}:1: connect: connection refused"
    )


async def test_a_service_leads_to_one_of_its_pods(api: "Api", pod: str, backend: Backend) -> None:
    base, _, name = pod.rpartition("/pods/")
    reference = {"kind": "Pod", "name": name, "namespace": base.rpartition("/")[2]}
    endpoint = {"addresses": [backend.host], "conditions": {"ready": True}, "targetRef": reference}
    await make_service(api, base, {"endpoints": [endpoint], "ports": [{"name": "web", "port": backend.port}]})

    for port in ("web", "81"):
        assert await api.call("GET", f"{base}/services/http:s:{port}/proxy/a?b") == (200, "GET /a?b 0")
    status, refusal = await api.call("GET", f"{base}/services/s:82/proxy/")
    assert (status, refusal["message"]) == (503, 'no service port 82 found for service "s"')


async def test_an_endpoint_that_is_no_pod_of_the_namespace_is_not_asked(api: "Api", pod: str, backend: Backend) -> None:
    base = pod.rpartition("/pods/")[0]
    endpoint = {"addresses": [backend.host], "conditions": {"ready": True}}
    await make_service(api, base, {"endpoints": [endpoint], "ports": [{"name": "web", "port": backend.port}]})

    status, refusal = await api.call("GET", f"{base}/services/s:web/proxy/")

    assert (status, refusal["message"]) == (503, 'no endpoints available for service "s:web"')
    assert not backend.seen


async def test_a_nodes_other_ports_are_shown_unless_it_claims_to_be_us(api: "Api", backend: Backend) -> None:
    for name, address, wanted in (("far", backend.host, 200), ("near", "127.0.0.1", 400)):
        name = f"{name}-{backend.port}"
        status = {"addresses": [{"type": "InternalIP", "address": address}]}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}
        assert (await api.call("POST", "/api/v1/nodes", node))[0] == 201
        code, answer = await api.call("GET", f"/api/v1/nodes/{name}:{backend.port}/proxy/x")
        assert code == wanted, answer


@pytest.mark.parametrize("name", ["ftp:p:1", "a:b:c:d", ":1"])
async def test_a_name_that_cannot_be_taken_apart_is_refused(api: "Api", pod: str, name: str) -> None:
    status, refusal = await api.call("GET", f"{pod.removesuffix('p')}{name}/proxy/")

    assert (status, refusal["message"]) == (400, f'invalid pod request "{name}"')
