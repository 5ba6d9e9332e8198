"""Connections inside a tunnel: whole, bounded, each for itself; and what is no tunnel ends it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from cluster.machinery.status_errors import BadRequest
from federation.apiserver.member_proxy import beyond
from federation.tunnel.frames import CREDIT, DATA, END, OPEN, RESET, STREAMS, WINDOW, Frame, FrameError, decode, encode
from federation.tunnel.tunnel import Tunnel

MEBIBYTE = bytes(range(256)) * 4096


@dataclass
class Way:
    """One end of a WebSocket that loses nothing."""

    inbox: "asyncio.Queue[aiohttp.WSMessage]" = field(default_factory=asyncio.Queue)
    other: "Way | None" = None
    sent: list[Frame] = field(default_factory=list)

    async def receive(self) -> aiohttp.WSMessage:
        return await self.inbox.get()

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        self.sent.append(decode(data))
        assert self.other is not None
        self.other.put(data)

    def put(self, data: bytes) -> None:
        self.inbox.put_nowait(aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, data, None))

    def end(self) -> None:
        self.inbox.put_nowait(aiohttp.WSMessage(aiohttp.WSMsgType.CLOSE, 1000, None))


@dataclass
class Pair:
    dialling: Tunnel
    here: Way
    there: Way
    accepted: "asyncio.Queue[socket.socket]"
    running: list["asyncio.Task[None]"]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    here, there = Way(), Way()
    here.other, there.other = there, here
    accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
    dialling, accepting = Tunnel(here), Tunnel(there, accepted.put)
    running = [asyncio.create_task(one.run()) for one in (dialling, accepting)]
    yield Pair(dialling, here, there, accepted, running)
    for way in (here, there):
        way.end()
    await asyncio.gather(*running, return_exceptions=True)
    while not accepted.empty():
        accepted.get_nowait().close()


async def read_all(sock: socket.socket) -> bytes:
    loop, got = asyncio.get_running_loop(), bytearray()
    while data := await loop.sock_recv(sock, 1 << 16):
        got += data
    return bytes(got)


async def test_what_is_sent_arrives_whole_both_ways_and_ends(pair: Pair) -> None:
    loop = asyncio.get_running_loop()
    with await pair.dialling.dial() as near, await pair.accepted.get() as far:

        async def back() -> None:
            await loop.sock_sendall(far, await read_all(far))
            far.close()

        answering = asyncio.create_task(back())
        await loop.sock_sendall(near, MEBIBYTE)
        near.shutdown(socket.SHUT_WR)
        assert await read_all(near) == MEBIBYTE
        await answering
    for _ in range(100):
        await asyncio.sleep(0)
    assert pair.dialling.streams == 0


async def test_who_does_not_read_is_sent_no_more_than_the_window_and_keeps_nobody_waiting(pair: Pair) -> None:
    loop = asyncio.get_running_loop()
    with await pair.dialling.dial() as slow, await pair.accepted.get():
        sending = asyncio.create_task(loop.sock_sendall(slow, MEBIBYTE * 8))
        with await pair.dialling.dial() as quick, await pair.accepted.get() as answered:
            await loop.sock_sendall(quick, b"ping")
            assert await loop.sock_recv(answered, 10) == b"ping"
        for _ in range(200):
            await asyncio.sleep(0)
        taken = sum(frame.credit for frame in pair.there.sent if frame.kind == CREDIT and frame.stream == 1)
        assert sum(len(one.data) for one in pair.here.sent if one.kind == DATA and one.stream == 1) <= WINDOW + taken
        assert taken < len(MEBIBYTE)
        assert not sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_a_side_that_breaks_off_ends_the_other_and_a_tunnel_that_ends_all(pair: Pair) -> None:
    near = await pair.dialling.dial()
    far = await pair.accepted.get()
    far.close()
    assert await read_all(near) == b""
    near.close()
    with await pair.dialling.dial() as left, await pair.accepted.get() as over_there:
        for way in (pair.here, pair.there):
            way.end()
        await asyncio.gather(*pair.running)
        assert await read_all(left) == b""
        assert await read_all(over_there) == b""
    with pytest.raises(ConnectionError, match="ended"):
        await pair.dialling.dial()


async def test_a_tunnel_carries_so_many_connections_and_no_more(pair: Pair) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(STREAMS):
            stack.enter_context(await pair.dialling.dial())
        with pytest.raises(ConnectionError, match=f"{STREAMS} connections"):
            await pair.dialling.dial()


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(DATA, 1, b"x")],  # never opened
        [Frame(OPEN, 1), Frame(OPEN, 1)],
        [Frame(OPEN, 1), Frame(CREDIT, 1, credit=1)],  # for what was never sent
        [Frame(OPEN, 1), Frame(END, 1), Frame(DATA, 1, b"x")],
        [Frame(OPEN, 1), *[Frame(DATA, 1, bytes(32 << 10))] * (WINDOW // (32 << 10) + 1)],
        [Frame(OPEN, number) for number in range(1, STREAMS + 2)],
    ],
)
async def test_what_is_no_tunnel_ends_it(frames: list[Frame]) -> None:
    way, taken = Way(), []
    way.other = Way()

    async def accept(sock: socket.socket) -> None:
        taken.append(sock)

    for frame in frames:
        way.put(encode(frame))
    with pytest.raises(FrameError):
        await Tunnel(way, accept).run()
    for sock in taken:
        sock.close()


async def test_the_dialling_side_takes_no_connections() -> None:
    way = Way()
    way.put(encode(Frame(OPEN, 1)))
    with pytest.raises(FrameError, match="cannot be opened"):
        await Tunnel(way).run()


@pytest.mark.parametrize(
    "message", [b"", b"\1\0\0\0", b"\2\0\0\0\1", b"\1\0\0\0\1x", b"\5\0\0\0\1\0", b"\x09\0\0\0\1", bytes(40 << 10)]
)
def test_a_frame_of_another_form_is_refused(message: bytes) -> None:
    with pytest.raises(FrameError):
        decode(message)


def test_frames_survive_the_way() -> None:
    for frame in (Frame(OPEN, 1), Frame(DATA, 2**32 - 1, b"x"), Frame(CREDIT, 7, credit=9), Frame(RESET, 3)):
        assert decode(encode(frame)) == frame


def test_the_path_at_the_member_is_what_stands_behind_proxy_and_leads_nowhere_else() -> None:
    base = "/apis/federation/v1beta1/clusters/edge/proxy"
    assert beyond(base) == "/"
    assert beyond(f"/{base}/api/v1/pods/a%2Fb") == "/api/v1/pods/a%2Fb"
    for path in ("/..", "/api/%2e%2e/x", "/./api", "/api/.%2E"):
        with pytest.raises(BadRequest):
            beyond(base + path)
