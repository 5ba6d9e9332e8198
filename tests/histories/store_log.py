"""
The truth: every change of a prefix since revision 1, told by etcd itself through its HTTP gateway.

Not through the store's own client, whose faults it is to find.
"""

import asyncio
import base64
import contextlib

import aiohttp
import orjson

from tests.histories.operations import Stored

QUIET = 0.5
"""Seconds without a change after which the log is taken to be told."""


def _end(prefix: bytes) -> bytes:
    return prefix[:-1] + bytes([prefix[-1] + 1])


async def read_log(url: str, prefix: str) -> list[Stored]:
    """Compaction must have been off. Raises RuntimeError when the beginning is gone."""
    key = prefix.encode()
    create = {
        "key": base64.b64encode(key).decode(),
        "range_end": base64.b64encode(_end(key)).decode(),
        "start_revision": "1",
    }
    found: list[Stored] = []
    async with aiohttp.ClientSession(read_bufsize=1 << 24) as session:
        body = orjson.dumps({"create_request": create})
        async with session.post(f"{url}/v3/watch", data=body, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            with contextlib.suppress(TimeoutError):
                while True:
                    line = await asyncio.wait_for(_line(answer), QUIET)
                    result = orjson.loads(line)["result"]
                    if result.get("canceled"):
                        raise RuntimeError(f"etcd cannot tell its log: {result}")
                    found += [_stored(event, len(key)) for event in result.get("events", ())]
    return found


async def _line(answer: aiohttp.ClientResponse) -> bytes:
    """One line of any length."""
    parts = []
    while True:
        try:
            parts.append(await answer.content.readuntil(b"\n"))
        except ValueError:
            parts.append(await answer.content.readany())
            continue
        return b"".join(parts)


def _stored(event: dict[str, object], skip: int) -> Stored:
    kv = event["kv"]
    assert isinstance(kv, dict)
    name = base64.b64decode(kv["key"])[skip:].decode()
    revision = int(kv["mod_revision"])
    if event.get("type") == "DELETE":
        return Stored(name, revision)
    obj = orjson.loads(base64.b64decode(kv["value"]))
    metadata, data = obj["metadata"], obj.get("data") or {}
    return Stored(
        name=name,
        revision=revision,
        mark=data.get("mark", ""),
        uid=metadata["uid"],
        color=(metadata.get("labels") or {}).get("color", ""),
        parts=frozenset(part for part in data if part != "mark"),
        node=(obj.get("spec") or {}).get("nodeName", ""),
    )
