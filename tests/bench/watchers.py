"""
`python -m tests.bench.watchers PORT WATCHERS WRITES [pods]`: open watches, create objects (ConfigMaps unless Pods are
asked for), count what arrives; JSON.

Bare protocols: a client library would cost more than the server that is measured.
"""

import asyncio
import json
import ssl
import sys
import time
from functools import partial
from typing import cast

import uvloop

from tests.bench.control_plane import NAMESPACE, USER, config_map, pod

_COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/"
_PATH = f"{_COLLECTION}configmaps"
_MARK = b'{"type":"ADDED"'
_WRITERS = 32


class _Count:
    def __init__(self, expected: int) -> None:
        self.missing = expected
        self.done = asyncio.Event()
        if not expected:
            self.done.set()

    def arrived(self, number: int) -> None:
        self.missing -= number
        if self.missing <= 0:
            self.done.set()


class _Watch(asyncio.Protocol):
    def __init__(self, version: str, count: _Count) -> None:
        self._version = version
        self._count = count
        self._tail = b""
        self.opened = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(
            _head("GET", f"{_PATH}?watch=1&resourceVersion={self._version}") + b"\r\n"
        )

    def data_received(self, data: bytes) -> None:
        self.opened.set()
        seen = self._tail + data
        if found := seen.count(_MARK):
            self._count.arrived(found)
        # Less than a whole mark, so that nothing is counted twice.
        self._tail = seen[-(len(_MARK) - 1) :]


class _Writer(asyncio.Protocol):
    """Creates objects, the next when the one before is answered."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = requests
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        if self._requests:
            self._transport.write(self._requests.pop())
        else:
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 201"):
            self.done.set_exception(SystemExit(f"a create was refused: {(head + body).decode()}"))
            return
        self._next()


def _head(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {USER}\r\n".encode()


def _create(kind: str, name: str) -> bytes:
    if kind == "pods":
        obj = pod(name)
    else:
        obj = config_map(name, 0)
        del obj["metadata"]["uid"], obj["metadata"]["creationTimestamp"]
    body = json.dumps(obj, separators=(",", ":")).encode()
    head = _head("POST", _COLLECTION + kind)
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def _measure(port: int, watchers: int, writes: int, kind: str = "configmaps") -> dict[str, float]:
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context()
    # Loopback, and the certificate is made anew for each run.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    count = _Count(watchers * writes)
    opened: list[asyncio.Event] = []
    version = await _version(port, context) if watchers else ""
    for _ in range(watchers):
        _, watch = await loop.create_connection(partial(_Watch, version, count), "127.0.0.1", port, ssl=context)
        opened.append(watch.opened)
    for event in opened:
        await event.wait()
    run = f"{time.time_ns():x}"
    shares = [
        [_create(kind, f"written-{run}-{at}") for at in range(writer, writes, _WRITERS)] for writer in range(_WRITERS)
    ]
    began = time.perf_counter()
    running = []
    for share in shares:
        _, protocol = await loop.create_connection(partial(_Writer, share), "127.0.0.1", port, ssl=context)
        running.append(protocol.done)
    await asyncio.gather(*running)
    written = time.perf_counter() - began
    await asyncio.wait_for(count.done.wait(), 120)
    return {"write_seconds": written, "events_per_second": watchers * writes / (time.perf_counter() - began)}


async def _version(port: int, context: ssl.SSLContext) -> str:
    """The resourceVersion of a list of nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(_head("GET", _PATH + "?limit=1&labelSelector=none%3Dsuch") + b"Connection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["metadata"]["resourceVersion"])


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_measure(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5]))))
