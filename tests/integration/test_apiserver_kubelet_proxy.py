"""Logs and upgraded connections, through a real apiserver to something that answers like a kubelet."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Api


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    first = head.split(b"\r\n")[0]
    if b"Upgrade: SPDY/3.1" in head:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
        writer.write(first + b"\n")
        while chunk := await reader.read(1024):
            writer.write(chunk.upper())
    else:
        body = b"line one\n" + first
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    writer.close()


@pytest.fixture
async def pod(api: "Api") -> AsyncIterator[str]:
    """Path of a running Pod on a node whose kubelet is `_answer`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*api.server.serving)
    kubelet = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context)
    port = kubelet.sockets[0].getsockname()[1]
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"generateName": "node-"}, "status": status}
    code, made = await api.call("POST", "/api/v1/nodes", node)
    assert code == 201
    name = made["metadata"]["name"]
    base = await api.namespace(f"t-{name}")
    spec = {"nodeName": name, "containers": [{"name": "c", "image": "i"}]}
    created = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    assert (await api.call("POST", f"{base}/pods", created))[0] == 201
    yield f"{base}/pods/p"
    kubelet.close()


async def test_logs_come_from_the_kubelet_of_the_pods_node(api: "Api", pod: str) -> None:
    status, text = await api.call("GET", f"{pod}/log?tailLines=3")
    namespace = pod.split("/")[4]
    assert status == 200
    assert text == f"line one\nGET /containerLogs/{namespace}/p/c?tailLines=3 HTTP/1.1"


async def test_a_container_that_does_not_exist_is_named_in_the_refusal(api: "Api", pod: str) -> None:
    status, refusal = await api.call("GET", f"{pod}/log?container=x")
    assert (status, refusal["message"]) == (400, "container x is not valid for pod p")


async def test_an_upgraded_connection_is_a_tunnel_of_bytes(api: "Api", pod: str) -> None:
    context = ssl.create_default_context(cafile=api.server.serving[0])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", api.server.port, ssl=context, server_hostname="localhost"
    )
    authorization = api.session.headers["Authorization"]
    writer.write(
        f"POST {pod}/exec?command=ls&command=-l&stdout=true HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
        "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n".encode()
    )
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        namespace = pod.split("/")[4]
        assert await reader.readline() == (
            f"POST /exec/{namespace}/p/c?command=ls&command=-l&output=1 HTTP/1.1\n".encode()
        )
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
    writer.close()
    await writer.wait_closed()


async def _page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(first) + first)
    writer.close()


async def test_a_pods_own_pages_are_reached_through_its_proxy(api: "Api", pod: str) -> None:
    server = await asyncio.start_server(_page, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    running = {"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    patched = await api.call("PATCH", f"{pod}/status", running, "application/merge-patch+json")
    assert patched[0] == 200
    assert await api.call("GET", f"{pod}:{port}/proxy/a/b?c=d") == (200, "GET /a/b?c=d HTTP/1.1")
    server.close()
