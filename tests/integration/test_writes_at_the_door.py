"""
Writes as bytes: the door and the handler behind it answer alike, and what the door does not take goes on whole.
"""

import asyncio
import json
import re

import pytest

from cluster.apiserver.front_door import connection, plain_writes
from cluster.apiserver.front_door.plain_writes import PlainWrites, Write
from tests.integration.conftest import TOKEN, Api
from tests.integration.test_apiserver_connections import BEHIND, PATH, Answer, Wire, fill, wire

MERGE = "application/merge-patch+json"


@pytest.fixture
def at_the_door(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the verb with every write that begins at the door."""
    begun: list[str] = []
    start = PlainWrites.start

    def noting(self: PlainWrites, write: Write, data: bytes, tell: plain_writes.Tell) -> "asyncio.Task[None] | None":
        task = start(self, write, data, tell)
        if task is not None:
            begun.append(write.writing.route.verb)
        return task

    monkeypatch.setattr(PlainWrites, "start", noting)
    return begun


def config_map(name: str, **more: object) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}).encode()


def message(method: str, path: str, body: bytes, *headers: str, media: str = "application/json") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: h", f"Authorization: Bearer {TOKEN}", f"Content-Type: {media}"]
    return "\r\n".join([*lines, *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def send(client: Wire, *pieces: bytes) -> Answer:
    for piece in pieces:
        client.writer.write(piece)
        await client.writer.drain()
        if len(pieces) > 1:
            await asyncio.sleep(0.03)
    return await client.answer()


def alike(answer: Answer) -> tuple[bytes, bytes]:
    """Head and body without what no two writes have in common."""
    head = re.sub(rb"(Date|Content-Length): [^\r]*", rb"\1:", answer.head)
    body = re.sub(rb'"(resourceVersion|creationTimestamp|time)":"[^"]*"', rb'"\1":""', answer.body)
    return head, re.sub(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", b"UID", body)


async def test_writes_at_the_door_and_behind_it_are_answered_alike(api: Api, at_the_door: list[str]) -> None:
    path = await fill(api, "same-writes", 1)
    strict = f"{path}?fieldValidation=Strict&fieldManager=me"
    wrong_uid = {"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}}
    steps: list[tuple[str, str, bytes, str, int]] = [
        ("POST", path, config_map("w", data={"a": "b"}), "application/json", 201),
        ("POST", path, config_map("w"), "application/json", 409),
        ("POST", path, config_map("Not a name"), "application/json", 422),
        ("POST", path, config_map("v", nothing=1), "application/json", 201),
        ("POST", strict, config_map("u", nothing=1), "application/json", 400),
        ("POST", f"{path}?dryRun=All", config_map("t"), "application/json", 201),
        ("POST", f"{path}?dryRun=Some", config_map("t"), "application/json", 422),
        ("POST", path, b"{", "application/json", 400),
        ("POST", path, config_map("s"), "text/plain", 415),
        ("POST", path, b"metadata: {name: yaml}", "application/yaml", 201),
        ("POST", PATH.format("no-such-namespace"), config_map("w"), "application/json", 404),
        ("PUT", f"{path}/w", config_map("w", data={"a": "c"}), "application/json", 200),
        ("PUT", f"{path}/w", config_map("other"), "application/json", 400),
        ("PUT", f"{path}/none", config_map("none"), "application/json", 404),
        ("PATCH", f"{path}/w", b'{"data":{"d":"e"}}', MERGE, 200),
        ("PATCH", f"{path}/w", b'{"data":{"d":"e"}}', "application/json", 415),
        ("PATCH", f"{path}/none", b"{}", MERGE, 404),
        ("PATCH", f"{path}/w", b'{"metadata":{"name":"x"}}', MERGE, 400),
        ("DELETE", f"{path}/w", json.dumps(wrong_uid).encode(), "application/json", 409),
        ("DELETE", f"{path}/w", b"", "application/json", 200),
        ("DELETE", f"{path}/v", b'{"kind":"DeleteOptions","apiVersion":"v1"}', "application/json", 200),
        ("DELETE", f"{path}/yaml", b"", "application/json", 200),
        ("DELETE", f"{path}/w", b"", "application/json", 404),
    ]  # fmt: skip
    told: dict[bool, list[tuple[bytes, bytes]]] = {}
    async with wire(api.server) as client:
        for behind in (False, True):
            before, told[behind] = len(at_the_door), []
            for method, target, body, media, status in steps:
                headers = [BEHIND] if behind else []
                answer = await send(client, message(method, target, body, *headers, media=media))
                assert answer.status == status, (method, target, answer.body)
                told[behind].append(alike(answer))
            assert len(at_the_door) - before == (0 if behind else len(steps))
    for step, here, there in zip(steps, told[False], told[True], strict=True):
        assert here == there, step


async def test_a_write_whose_body_comes_late_is_done_once(
    api: Api, at_the_door: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await fill(api, "late-writes", 1)
    at_the_door.clear()

    def parts(name: str) -> tuple[bytes, bytes, bytes]:
        whole = message("POST", path, config_map(name, data={"text": "x" * 900}))
        body = whole.index(b"\r\n\r\n") + 4
        return whole[:body], whole[body : body + 200], whole[body + 200 :]

    async with wire(api.server) as client:
        assert (await send(client, *parts("one"))).status == 201
        assert at_the_door == ["create"]
        # Too late for the door: the handler waits on.
        with monkeypatch.context() as impatient:
            impatient.setattr(connection, "BODY_SECONDS", 0.01)
            assert (await send(client, *parts("two"))).status == 201
        assert at_the_door == ["create"]
        # Another request behind it, in the same piece.
        head, some, rest = parts("three")
        client.writer.write(head + some)
        await asyncio.sleep(0.03)
        client.writer.write(rest + message("DELETE", f"{path}/one", b""))
        assert [(await client.answer()).status for _ in range(2)] == [201, 200]
    async with wire(api.server) as client:
        client.writer.write(parts("never")[0])
    status, found = await api.call("GET", path)
    assert status == 200
    assert [item["metadata"]["name"] for item in found["items"]] == ["c0", "three", "two"]


async def test_a_long_answer_to_a_short_write_comes_whole(api: Api, at_the_door: list[str]) -> None:
    path = await fill(api, "long-answers", 1, size=600_000)
    at_the_door.clear()
    async with wire(api.server) as client:
        changed = await send(client, message("PATCH", f"{path}/c0", b'{"data":{"a":"b"}}', media=MERGE))
        assert (changed.status, len(json.loads(changed.body)["data"]["text"])) == (200, 600_000)
        assert (await send(client, message("DELETE", f"{path}/c0", b""))).status == 200
    assert at_the_door == ["patch", "delete"]


async def test_a_write_that_nobody_waits_for_any_more_is_given_up(
    api: Api, at_the_door: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await fill(api, "slow-writes", 1)
    at_the_door.clear()
    create = api.server.writer.create

    async def slow(*args: object) -> object:
        await asyncio.sleep(30)
        return await create(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(api.server.writer, "create", slow)
    async with wire(api.server) as client:
        client.writer.write(message("POST", path, config_map("slow")))
        for _ in range(200):
            if at_the_door:
                break
            await asyncio.sleep(0.01)
        [task] = [one for one in asyncio.all_tasks() if "PlainWrites._run" in repr(one)]
        assert not task.done()
        # The client goes away: nobody waits for it any more.
        client.writer.transport.abort()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
