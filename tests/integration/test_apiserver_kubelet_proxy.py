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


async def test_who_may_only_get_exec_cannot_run_programs_over_a_websocket(api: "Api", pod: str) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods/exec", "pods/log"], "verbs": ["get"]}]
    namespace = pod.split("/")[4]
    base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": rules}
    assert (await api.call("POST", f"{base}/roles", role))[0] == 201
    subject = {"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {**role, "kind": "RoleBinding", "subjects": [subject], "roleRef": reference}
    del binding["rules"]
    assert (await api.call("POST", f"{base}/rolebindings", binding))[0] == 201
    as_reader = {"Impersonate-User": "reader"}

    code, refusal = await api.call("GET", f"{pod}/exec?command=id&stdout=true", **as_reader)
    assert code == 403
    assert 'User "reader" cannot create resource "pods/exec"' in refusal["message"]
    assert (await api.call("GET", f"{pod}/log", **as_reader))[0] == 200
