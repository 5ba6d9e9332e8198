"""
Connections as bytes: the door and the handler behind it give the same answers, and no client can hold the server up.
"""

import asyncio
import contextlib
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.apiserver.app import Apiserver
from cluster.apiserver.front_door import connection
from cluster.apiserver.front_door.plain_reads import PlainReads
from cluster.pki.service_account_key import make_service_account_key
from cluster.store.watch_cache import Told, WatchCache
from tests.integration.conftest import TOKEN, Api, server_options
from tests.ports import free_ports

PATH = "/api/v1/namespaces/{}/configmaps"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Wire:
    """One TLS connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, *, bodyless: bool = False) -> Answer:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        found = re.search(rb"content-length: (\d+)", head, re.I)
        body = b"" if bodyless or found is None else await self.reader.readexactly(int(found[1]))
        return Answer(int(head.split(b" ", 2)[1]), head, body)

    async def ask(self, path: str, *headers: str, method: str = "GET", token: str = TOKEN) -> Answer:
        self.writer.write(request(path, *headers, method=method, token=token))
        return await self.answer(bodyless=method == "HEAD")

    async def ends(self) -> bytes:
        """What still comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 20)


def request(path: str, *headers: str, method: str = "GET", token: str = TOKEN, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


BEHIND = "TE: trailers"
"""A header with which a request is none for the door."""


@asynccontextmanager
async def wire(server: Apiserver) -> AsyncIterator[Wire]:
    context = ssl.create_default_context(cafile=server.serving[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, limit=1 << 26)
    try:
        # The handler's task begins with the first request, so that one never goes through the door.
        connected = Wire(reader, writer)
        assert (await connected.ask("/version")).status == 200
        yield connected
    finally:
        await leave(writer)


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.fixture
def at_the_door(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the path's collection with every answer that the door gives."""
    answered: list[str] = []
    answer = PlainReads.answer

    def noting(self: PlainReads, read: object) -> object:
        parts = answer(self, read)  # type: ignore[arg-type]
        if parts is not None:
            answered.append(read.reading.route.path)  # type: ignore[attr-defined]
        return parts

    monkeypatch.setattr(PlainReads, "answer", noting)
    return answered


async def fill(api: Api, namespace: str, number: int, size: int = 10) -> str:
    await api.namespace(namespace)
    path = PATH.format(namespace)
    for at in range(number):
        labels = {"half": "even" if at % 2 == 0 else "odd"}
        obj = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"c{at}", "labels": labels},
            "data": {"text": "x" * size},
        }
        assert (await api.call("POST", path, obj))[0] == 201
    return path


def without_date(head: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*", b"Date:", head)


async def test_the_door_and_the_handler_give_the_same_answers(api: Api, at_the_door: list[str]) -> None:
    path = await fill(api, "same-answers", 7)
    partial = "Accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    questions: list[tuple[str, list[str]]] = [
        (f"{path}/c1", []),
        (f"{path}/c1?resourceVersion=0", []),
        (f"{path}/c1", [partial]),
        (f"{path}/c1?timeout=5s", ["Accept: application/vnd.kubernetes.protobuf, application/json", "User-Agent: a/1"]),
        (path, []),
        (f"{path}?labelSelector=half%3Deven", []),
        (f"{path}?labelSelector=half+in+(even),!x&resourceVersion=0", []),
        (f"{path}?fieldSelector=metadata.name%3Dc2", []),
        (f"{path}?limit=3", []),
        ("/api/v1/nodes", []),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node", []),
    ]
    async with wire(api.server) as client:
        for question, headers in questions:
            for _ in range(3):  # made, made and kept, taken from what is kept
                before = len(at_the_door)
                here = await client.ask(question, *headers)
                assert len(at_the_door) == before + 1, question
                there = await client.ask(question, *headers, BEHIND)
                assert len(at_the_door) == before + 1
                assert (here.status, here.body) == (200, there.body), question
                assert without_date(here.head) == without_date(there.head)


async def test_what_the_door_does_not_answer_is_answered_behind_it(api: Api, at_the_door: list[str]) -> None:
    path = await fill(api, "behind", 1)
    async with wire(api.server) as client:
        for question, headers, status in [
            (f"{path}/none", [], 404),
            (f"{path}/c0?resourceVersion=x", [], 500),
            (f"{path}?labelSelector=%3D", [], 400),
            (f"{path}?continue=x", [], 400),
            (f"{path}?timeout=soon", [], 400),
            (f"{path}/c0?timeout=soon", [], 400),
            (f"{path}/c0", ["Accept: text/html"], 406),
            (f"{path}/%2e%2e", [], 400),
            ("/api/v1/nothing/x", [], 404),
        ]:
            assert (await client.ask(question, *headers)).status == status, question
        told = await client.ask(f"{path}/c0?timeout=soon")
        assert b"invalid timeout specified in the request URL" in told.body
        assert (await client.ask(f"{path}/c0", token="wrong")).status == 401
        assert (await client.ask(f"{path}/c0", "Impersonate-User: nobody")).status == 403
        head = await client.ask(f"{path}/c0", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert at_the_door == []
        assert (await client.ask(f"{path}/c0")).status == 200
        assert len(at_the_door) == 1


async def test_requests_in_pieces_and_requests_in_one_piece_are_answered_in_order(
    api: Api, at_the_door: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await fill(api, "pieces", 4)
    when_current = WatchCache.when_current

    def late(cache: WatchCache, told: Told) -> None:
        asyncio.get_running_loop().call_later(0.2, when_current, cache, told)

    async with wire(api.server) as client:
        for byte in request(f"{path}/c0"):
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert b'"name":"c0"' in (await client.answer()).body
    async with wire(api.server) as client:
        client.writer.write(b"".join(request(f"{path}/c{at}") for at in (3, 1, 2, 0)))
        assert [json.loads((await client.answer()).body)["metadata"]["name"] for _ in range(4)] == [
            "c3", "c1", "c2", "c0",
        ]  # fmt: skip
    async with wire(api.server) as client:
        # A consistent read waits for the store; what comes meanwhile waits for it.
        monkeypatch.setattr(WatchCache, "when_current", late)
        for at in (3, 1, 2, 0):
            client.writer.write(request(f"{path}/c{at}"))
            await asyncio.sleep(0.02)
        assert [json.loads((await client.answer()).body)["metadata"]["name"] for _ in range(4)] == [
            "c3", "c1", "c2", "c0",
        ]  # fmt: skip
    assert len(at_the_door) == 1


async def test_what_looks_like_a_request_inside_a_body_is_none(api: Api, at_the_door: list[str]) -> None:
    path = await fill(api, "inside", 1)
    text = request(f"{path}/c0").decode()
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "holder"}, "data": {"text": text}}
    body = json.dumps(obj, indent=1).encode()
    async with wire(api.server) as client:
        whole = request(path, method="POST", body=body)
        cut = whole.index(b"GET ")
        client.writer.write(whole[:cut])
        await client.writer.drain()
        await asyncio.sleep(0.1)
        client.writer.write(whole[cut:])
        assert (await client.answer()).status == 201
        assert at_the_door == []
        # The body's end is known, so what follows goes through the door again.
        assert (await client.ask(f"{path}/c0")).status == 200
        assert len(at_the_door) == 1
        # A chunked body's end is not looked for: from here on the handler answers.
        chunked = request(path, "Transfer-Encoding: chunked", "Content-Type: application/json", method="POST")
        client.writer.write(chunked + b"2\r\n{}\r\n0\r\n\r\n")
        assert (await client.answer()).status in (400, 422)
        assert (await client.ask(f"{path}/c0")).status == 200
        assert len(at_the_door) == 1


async def test_rights_that_are_taken_are_gone_on_the_open_connection(etcd_url: str, tmp_path: Path) -> None:
    options = server_options(etcd_url, tmp_path)
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(tokens.read_text() + 'reader-token,door-reader,7,""\n')
    server = Apiserver(options)
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "door-reader"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "door-reader"}],
    }
    path = "/api/v1/namespaces/default/configmaps"
    bindings = f"/apis/{group}/v1/clusterrolebindings"
    async with server.run(), wire(server) as admin, wire(server) as reader:
        admin.writer.write(request(bindings, method="POST", body=json.dumps(binding).encode()))
        assert (await admin.answer()).status == 201
        for _ in range(2):
            await admin.ask(bindings)  # consistent: memory has the binding
            assert (await reader.ask(path, token="reader-token")).status == 200
        assert (await admin.ask(f"{bindings}/door-reader", method="DELETE")).status == 200
        await admin.ask(bindings)
        assert (await reader.ask(path, token="reader-token")).status == 403
        tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n')
        for _ in range(100):
            if (await reader.ask(path, token="reader-token")).status == 401:
                break
            await asyncio.sleep(0.1)
        assert (await reader.ask(path, token="reader-token")).status == 401


async def test_a_service_account_token_is_good_at_the_door_until_its_account_goes(
    etcd_url: str, tmp_path: Path, at_the_door: list[str]
) -> None:
    key, public = make_service_account_key()
    (tmp_path / "sa.key").write_bytes(key)
    (tmp_path / "sa.pub").write_bytes(public)
    options = server_options(
        etcd_url,
        tmp_path,
        f"--service-account-key-file={tmp_path / 'sa.pub'}",
        f"--service-account-signing-key-file={tmp_path / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=AlwaysAllow",
    )
    server = Apiserver(options)
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    async with server.run(), wire(server) as client:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "door"}}
        client.writer.write(request(accounts, method="POST", body=json.dumps(account).encode()))
        assert (await client.answer()).status == 201
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        client.writer.write(request(f"{accounts}/door/token", method="POST", body=json.dumps(asked).encode()))
        token = json.loads((await client.answer()).body)["status"]["token"]
        assert [(await client.ask(accounts, token=token)).status for _ in range(3)] == [200] * 3
        assert len(at_the_door) == 2
        assert (await client.ask(f"{accounts}/door", method="DELETE")).status == 200
        assert (await client.ask(accounts, token=token)).status == 401


async def test_a_big_list_reaches_a_slow_reader_whole(api: Api, at_the_door: list[str]) -> None:
    path = await fill(api, "slow-reader", 60, size=100_000)
    async with wire(api.server) as client:
        client.writer.write(request(f"{path}?resourceVersion=0"))
        await asyncio.sleep(0.5)
        client.writer.write(request(f"{path}/c1"))
        answer = await client.answer()
        assert len(json.loads(answer.body)["items"]) == 60
        assert json.loads((await client.answer()).body)["metadata"]["name"] == "c1"
        assert len(at_the_door) == 2


async def test_a_head_that_does_not_end_ends_the_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
    async with wire(api.server) as slow, wire(api.server) as idle:
        slow.writer.write(b"GET /version HTTP/1.1\r\nHost: a\r\n")

        async def drip() -> None:
            while not slow.writer.transport.is_closing():
                slow.writer.write(b"X: y\r\n")
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        assert await slow.ends() == b""
        dripping.cancel()
        # Who has asked something and waits is not late.
        assert (await idle.ask("/version")).status == 200
    context = ssl.create_default_context(cafile=api.server.serving[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port, ssl=context)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    await leave(writer)


async def test_a_body_that_does_not_end_gets_504(etcd_url: str, tmp_path: Path) -> None:
    server = Apiserver(server_options(etcd_url, tmp_path, "--request-timeout=700ms"))
    async with server.run(), wire(server) as client:
        whole = request("/api/v1/namespaces", method="POST", body=b"{" + b" " * 99)
        client.writer.write(whole[:-50])
        answer = await client.answer()
        assert answer.status == 504
        told = json.loads(answer.body)
        assert told["reason"] == "Timeout"
        assert told["message"] == "Timeout: request did not complete within the allotted timeout"
        assert await client.ends() == b""
        async with wire(server) as other:
            assert (await other.ask("/api/v1/namespaces")).status == 200


async def test_what_is_no_request_is_refused_in_one_line(api: Api) -> None:
    long = "x" * (connection.HEAD_LIMIT + 1)
    for data, status in [
        (b"\x00\x01nonsense\r\n\r\n", 400),
        (b"GET /version HTTP/1.1\r\nBad Header: x\r\n\r\n", 400),
        (b"GET /version HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (request("/version", f"X-Long: {long}"), 431),
        (request("/" + long), 431),
        (request("/version", *(f"X-{at}: y" for at in range(9000))), 400),
    ]:
        async with wire(api.server) as client:
            client.writer.write(data)
            answer = await client.answer()
            assert answer.status == status, data[:60]
            assert len(answer.body) < 100
            assert await client.ends() == b""


async def test_a_client_that_asks_whether_to_go_on_is_told(api: Api) -> None:
    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "expected"}}).encode()
    async with wire(api.server) as client:
        whole = request("/api/v1/namespaces", "Expect: 100-continue", method="POST", body=body)
        client.writer.write(whole[: -len(body)])
        assert (await client.answer()).status == 100
        client.writer.write(body)
        assert (await client.answer()).status == 201


async def test_a_stopping_server_finishes_requests_and_sends_clients_away(etcd_url: str, tmp_path: Path) -> None:
    server = Apiserver(server_options(etcd_url, tmp_path, "--shutdown-delay-duration=1s"))
    running = server.run()
    await running.__aenter__()
    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "while-stopping"}}).encode()
    async with wire(server) as slow, wire(server) as client:
        whole = request("/api/v1/namespaces", method="POST", body=body)
        slow.writer.write(whole[:-5])
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(running.__aexit__(None, None, None))
        await asyncio.sleep(0.2)
        ready = await client.ask("/readyz")
        assert ready.status == 500
        assert b"[-]shutdown failed" in ready.body
        assert b"Connection: close" in ready.head
        assert await client.ends() == b""
        await asyncio.sleep(1.3)  # the delay is over, the listener closed
        assert not stopping.done()
        slow.writer.write(whole[-5:])
        assert (await slow.answer()).status == 201
        await asyncio.wait_for(stopping, 10)


def test_a_server_without_free_descriptors_serves_those_it_has_and_recovers(etcd_url: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n')
    command = (
        f"ulimit -n 80; exec {sys.executable} -m cluster.apiserver --etcd-servers={etcd_url} --secure-port={port} "
        f"--bind-address=127.0.0.1 --cert-dir={tmp_path} --token-auth-file={tokens} --endpoint-reconciler-type=none"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["bash", "-c", command], stdout=log, stderr=log)
    try:
        asyncio.run(_exhaust(port, tmp_path / "apiserver.crt", process.pid))
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


async def _exhaust(port: int, certificate: Path, pid: int) -> None:
    async def connect() -> Wire:
        context = ssl.create_default_context(cafile=str(certificate))
        return Wire(*await asyncio.open_connection("127.0.0.1", port, ssl=context))

    for _ in range(300):
        try:
            first = await connect()
            if (await first.ask("/readyz")).status == 200:
                break
            await leave(first.writer)
        except OSError:
            pass
        await asyncio.sleep(0.1)
    held: list[asyncio.StreamWriter] = []
    for _ in range(150):
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1)
            held.append(writer)
        except (OSError, TimeoutError):
            break
    await asyncio.sleep(0.3)
    assert len(os.listdir(f"/proc/{pid}/fd")) >= 78
    assert (await first.ask("/version")).status == 200
    for writer in held:
        await leave(writer)
    for _ in range(100):
        try:
            again = await connect()
        except OSError:
            await asyncio.sleep(0.1)
            continue
        assert (await again.ask("/version")).status == 200
        await leave(again.writer)
        await leave(first.writer)
        return
    pytest.fail("no new connection was taken after descriptors were free again")
